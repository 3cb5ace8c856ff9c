"""Kafka timestamps held against `received_at`: what another collector must stamp. No broker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from conf.settings import load
from schemas import events_check, wire
from schemas import topics as catalogue
from streaming import consume, lanes, stamps
from streaming.cli import stream
from streaming.consume import Message
from tests.schemas.test_events_check import EXAMPLE, GUIDE

AT = 1_790_000_000_000
POISON_IN_ANOTHER = Message("t", 3, 0, AT + 900_000, b"s", b"poison", {})


def frame(tmp_path: Path, received: Sequence[int]) -> pd.DataFrame:
    (tmp_path / "mine.ndjson").write_text("\n".join([EXAMPLE.splitlines()[1]] * len(received)))
    found = events_check.read(tmp_path / "mine.ndjson")
    return found.assign(seq=range(len(received)), received_at=pd.to_datetime(list(received), unit="ms", utc=True))


def held(tmp_path: Path, received: Sequence[int], at: Sequence[int], partition: int = 0) -> list[Message]:
    values = wire.encode_frame(stamps.RECORD, None, frame(tmp_path, received))
    pairs = enumerate(zip(values, at, strict=True))
    return [Message("t", partition, n, ms, b"s", value, {}) for n, (value, ms) in pairs]


@pytest.mark.parametrize(("received", "at", "wrong"), [
    ([AT, AT + 500], [AT, AT + 500], (0, 0, 0)),
    ([AT, AT + 500], [AT + 1_000, AT - 500], (0, 0, 0)),  # a linger, a clock a little off
    ([AT, AT + 500], [AT, AT + 200_500], (1, 0, 200_000)),
    ([AT, AT + 500], [AT - 2_000, AT - 90_000], (0, 2, -90_500)),
    ([AT + 9_000, AT, AT + 1], [AT + 9_000] * 3, (0, 0, 0)),  # raised: the clock does not run back
    ([AT + 9_000, AT], [AT + 9_000, AT + 9_001], (1, 0, 9_001)),
    ([AT, AT, AT, AT + 30_000], [AT, AT + 20_000, AT + 20_500, AT + 30_000], (0, 0, 0)),  # repeats come again later
    ([AT, AT, AT + 30_000], [AT, AT + 200_000, AT + 200_000], (1, 0, 200_000)),  # the second is raised
    ([AT, AT, AT + 30_000, AT + 50_000], [AT, AT + 40_000, AT + 30_000, AT + 50_000], (1, 0, 40_000)),
])  # fmt: skip
def test_what_is_stamped_wrong(
    tmp_path: Path, received: list[int], at: list[int], wrong: tuple[int, int, int]
) -> None:
    found = stamps.judge([POISON_IN_ANOTHER, *held(tmp_path, received, at)], 1_000)
    assert (found.events, found.ahead, found.behind, found.farthest_ms) == (len(at), *wrong)
    assert ("every Kafka timestamp is its received_at" in found.verdict()) == (wrong == (0, 0, 0))


def test_too_many_ahead_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "WAITING", 2)
    received, at = [AT] * 5 + [AT + 90_000], [AT + 2_000 * n for n in range(5)] + [AT + 90_000]
    found = stamps.judge(held(tmp_path, received, at), 0)
    assert (found.events, found.ahead, found.behind) == (6, 2, 0)


def test_the_farthest_is_named(tmp_path: Path) -> None:
    messages = held(tmp_path, [AT] * 2, [AT, AT], 1) + held(tmp_path, [AT] * 3, [AT, AT + 5_000, AT + 200_000], 2)
    verdict = stamps.judge(messages, 1_000).verdict()
    assert "of 2 is ahead" in verdict and "200,000 ms ahead of it, at partition 2, offset 2" in verdict


def test_our_own_producer_stamps_right(tmp_path: Path) -> None:
    """Also into partitions that hold something newer."""
    settings, received = load(environ={}), [AT + 60_000, AT, AT + 120_000]
    events = frame(tmp_path, received)
    floor = [AT + 90_000] * settings.kafka.partitions
    lane = lanes.lane(catalogue.PLAYBACK_EVENT, events, settings, lanes.millis(events["received_at"]), floor)
    partition = int(lane.partitions[0])
    before = held(tmp_path, [AT + 90_000], [AT + 90_000], partition)
    sent = [Message("t", partition, n + 1, int(ms), b"s", value, {})
            for n, (ms, value) in enumerate(zip(lane.at_ms, lane.values, strict=True))]  # fmt: skip
    found = stamps.judge([*before, *sent], 0)
    assert (found.events, found.ahead, found.behind) == (4, 0, 0)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide names it; it ends with 4 if a stamp is wrong."""
    assert "matinee stream stamps" in GUIDE.read_text()
    for at, code in ((AT, 0), (AT + 200_000, 4)):

        def messages(*_: object, at: int = at) -> Iterator[Message]:
            yield from held(tmp_path, [AT], [at])

        monkeypatch.setattr(consume, "messages", messages)
        result = CliRunner().invoke(stream, ["stamps"])
        assert getattr(result.exception, "exit_code", 0) == code, result.output
