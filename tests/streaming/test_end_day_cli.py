"""`matinee stream end-day DAY`: a day that has not begun is refused, as nothing takes the word back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from click.testing import CliRunner

from conf.errors import UsageError
from streaming.cli import stream

TODAY = datetime.now(UTC).date()
FUTURE = round(datetime(2190, 1, 5, 23, 59, tzinfo=UTC).timestamp() * 1_000)


@pytest.mark.parametrize(("day", "newest_ms", "taken"), [
    (TODAY - timedelta(days=1), -1, True),
    (TODAY, -1, True),
    (TODAY + timedelta(days=2), -1, False),
    (date(2190, 1, 5), 1_767_600_000_000, False),
    (date(2190, 1, 5), FUTURE, True),
    (date(2190, 1, 6), FUTURE, False),
])  # fmt: skip
def test_a_day_that_has_not_begun_does_not_end(
    day: date, newest_ms: int, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock on the wall or, where the universe lies in the future, by the topic's own."""
    ended: list[date] = []
    monkeypatch.setattr("streaming.topics.create", lambda *_: [])
    monkeypatch.setattr("streaming.topics.newest_timestamps", lambda topic, _: [-1, newest_ms])
    monkeypatch.setattr("streaming.produce.end_day", lambda day, _: ended.append(day))
    done = CliRunner().invoke(stream, ["end-day", str(day)])
    assert ended == [day] * taken
    assert done.exit_code == 0 if taken else isinstance(done.exception, UsageError), done.exception
    assert taken or f"{day} has not begun" in str(done.exception)
