"""reconcile: 0 where the stream says what the batch says, the one integer that differs where it does not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd
import pytest

import lake
from conf.errors import AuditFailed, InputMissing
from conf.settings import Settings
from models.playback.spans import Policy, fold
from schemas import metrics, topics, wire
from schemas import tables as t
from schemas.render import frames as oracle
from tests.jobs import stream
from tests.jobs.test_sessionize import _bronze, _typed
from tests.lake import facts

if TYPE_CHECKING:
    from jobs.runner import Runner

pytestmark = [pytest.mark.spark, pytest.mark.kafka]
DAY = stream.DAY


def _stream_of(rows: list[dict]) -> tuple[pd.DataFrame, pd.DataFrame]:  # type: ignore[type-arg]
    """What a faultless stream would hold: minutes and sessions of revision live, from the Python reference."""
    by_session = defaultdict(list)
    for row in rows:
        by_session[row["session_id"]].append(row)
    folded = [fold(each, Policy(), "live") for each in by_session.values()]
    minutes = oracle.rollup_sums(_typed("span", [row for f in folded for row in f.spans]))
    sessions = _typed("session", [row for f in folded for row in f.sessions]).assign(final=True)
    return minutes, sessions


def _send(settings: Settings, topic: topics.Topic, keys: list[str], frame: pd.DataFrame) -> None:
    values = wire.encode_frame(topic.record, None, frame)
    stream.write(settings, topic, list(zip(keys, values, strict=True)), stream.hostile.MIDNIGHT)


def _minute_keys(frame: pd.DataFrame) -> list[str]:
    minutes = (frame.minute_at.astype("int64")).astype(str)
    return list(frame.rollup.str.cat([minutes, *(frame[d] for d in metrics.DIMENSIONS)], sep="|"))


def _progress(settings: Settings, partitions: list[int]) -> None:
    until = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(days=1)
    at = pd.to_datetime([until] * len(partitions), utc=True).astype("datetime64[ms, UTC]")
    frame = pd.DataFrame({"day": [DAY] * len(partitions), "partition": partitions, "complete_until_at": at})
    _send(settings, topics.QOE_PROGRESS, [str(p) for p in partitions], frame)


def test_nothing_differs_until_one_integer_does(stack: Settings, new_lake: Callable[..., Runner]) -> None:
    runner = new_lake(**stream.universe(stack, "agree"))
    settings = runner.settings
    rows = stream.events(61, 80)
    facts.given(settings, t.BRONZE_PLAYBACK_EVENT, *_bronze(rows))
    facts.given(settings, t.BRONZE_TITLE, {"title_id": "t1", "received_date": DAY - timedelta(days=5)})
    runner.run(["sessionize", "qoe_daily"], [DAY])
    minutes, sessions = _stream_of(rows)
    session_keys = list(sessions.session_id.str.cat(sessions.segment.astype(str), sep="|"))
    _send(settings, topics.QOE_MINUTE, _minute_keys(minutes), minutes)
    _send(settings, topics.QOE_SESSION, session_keys, sessions)

    _progress(settings, [0, 1, 2])
    with pytest.raises(InputMissing, match=r"partitions 3 \(nothing yet\)") as missing:
        runner.run(["reconcile"], [DAY])
    assert missing.value.exit_code == 3
    _progress(settings, [3])

    runner.run(["reconcile"], [DAY])
    found = lake.connect(settings).read(t.RECONCILE_RESULT)
    assert set(found.rollup) == {r.name for r in metrics.ROLLUPS} | {"session"}
    assert found.differing.sum() == 0 and found.rows_missing.sum() == 0
    assert (found.rows_stream == found.rows_batch).all() and (found.rows_batch > 0).all()
    assert (found.sum_stream == found.sum_batch).all() and found.sum_batch.sum() > 0
    live = lake.connect(settings).read(t.SESSION)
    assert (
        int(found[(found.rollup == "session") & (found.metric == "play_ms")].sum_batch.iloc[0])
        == live[live.revision == "live"].play_ms.sum()
    )

    of_day = minutes[(minutes.event_date == DAY) & (minutes.rollup == "title") & (minutes.watched_time_num > 0)].head(1)
    _send(
        settings, topics.QOE_MINUTE, _minute_keys(of_day), of_day.assign(watched_time_num=of_day.watched_time_num + 1)
    )
    with pytest.raises(AuditFailed, match="1 values differ") as differing:
        runner.run(["reconcile"], [DAY])
    assert differing.value.exit_code == 4
    kept = lake.connect(settings).read(t.RECONCILE_RESULT)
    broken = kept[kept.differing > 0]
    assert broken[["rollup", "metric", "differing"]].to_numpy().tolist() == [["title", "watched_time_num", 1]]
    assert (broken.sum_stream - broken.sum_batch).tolist() == [1]
