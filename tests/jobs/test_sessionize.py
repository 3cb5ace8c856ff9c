"""sessionize and qoe_daily over random sessions around midnight: row by row what the Python reference says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import lake
from lake.catalog import identifier
from models.playback.spans import REVISIONS, Policy, fold
from schemas import records
from schemas import tables as t
from schemas.records import Scalar
from schemas.render import frames as oracle
from schemas.render.sql import DAILY_KEYS
from tests.jobs import stream
from tests.kernel import hostile
from tests.lake import facts

if TYPE_CHECKING:
    from jobs.runner import Runner

pytestmark = pytest.mark.spark
DAYS = [stream.DAY + timedelta(days=n) for n in (-1, 0, 1)]
RUNNING_MS = 600_000


def _bronze(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    landed = []
    for row in rows:
        times = {n: datetime.fromtimestamp(row[n] / 1000, UTC) for n in ("device_at", "received_at", "post_device_at")}
        kept = {k: v for k, v in row.items() if k != "kafka_at"}
        landed.append(kept | times | {"received_date": times["received_at"].date()})
    return landed


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    return stream.events(21, 250)


@pytest.fixture(scope="module")
def reference(events: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    by_session = defaultdict(list)
    for row in events:
        by_session[row["session_id"]].append(row)
    folded = [fold(rows, Policy(), revision) for rows in by_session.values() for revision in REVISIONS]
    return {
        "span": _typed("span", [row for f in folded for row in f.spans]),
        "session": _typed("session", [row for f in folded for row in f.sessions]),
    }


def _typed(record: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    for field in records.load(record).fields:
        if field.type is Scalar.TIMESTAMP:
            frame[field.name] = pd.to_datetime(frame[field.name], unit="ms", utc=True).astype("datetime64[ms, UTC]")
        elif field.type is Scalar.DATE:
            frame[field.name] = [date(1970, 1, 1) + timedelta(days=d) for d in frame[field.name]]
    return frame


def _same(found: pd.DataFrame, expected: pd.DataFrame, keys: list[str]) -> None:
    columns = list(found)
    left, right = (
        f[columns].sort_values(keys, ignore_index=True).astype(object).where(lambda x: x.notna(), None)
        for f in (found, expected)
    )
    assert len(left) == len(right)
    for column in columns:
        assert left[column].tolist() == right[column].tolist(), column


def test_events_without_a_catalogue_are_plays_all_the_same(new_lake: Callable[..., Runner]) -> None:
    runner = new_lake()
    facts.given(runner.settings, t.BRONZE_PLAYBACK_EVENT, *_bronze(stream.events(22, 30)))
    runner.run(["sessionize"], [stream.DAY])
    found = lake.connect(runner.settings).read(t.PLAY)
    assert len(found) > 3 and found.started.any()
    assert (found.show_id == found.title_id).all() and (found.duration_ms == 0).all()


TEXTS = ("profile_id", "title_id", "asset_id", "isp", "country", "device", "app_version", "cdn_id")
NOTHING = ("bitrate_kbps", "playhead_ms", "stall_count", "stall_total_ms", "error_code", "impression_id", "page_id")
PLAIN: dict[str, Any] = dict.fromkeys(TEXTS, "tv") | dict.fromkeys(NOTHING) | {
    "background": False, "ad": False, "playback_rate": 1.0, "kept": "", "event": "t", "kafka_partition": 0,
    "country": "FR",
}  # fmt: skip


def _viewing(sid: str, *told: tuple[float, str]) -> list[dict[str, Any]]:
    """Events by number: seconds after the day's midnight, and the state; received as they happen."""
    rows = []
    for seq, (seconds, state) in enumerate(told):
        at = hostile.MIDNIGHT + round(seconds * 1000)
        times = dict.fromkeys(("device_at", "post_device_at", "received_at"), at)
        named = {"session_id": sid, "seq": seq, "state": state, "kafka_offset": seq}
        rows.append(PLAIN | named | times)
    return rows


def test_a_day_without_an_end_is_published_empty(new_lake: Callable[..., Runner]) -> None:
    """The only session ends after midnight; once its letters are here the day's rows are replaced by none."""
    runner = new_lake()
    rows = _viewing("s", (-90, "s"), (-89, "p"), (-30, "p"), (30, "p"), (60, "e"))
    facts.given(runner.settings, t.BRONZE_PLAYBACK_EVENT, *_bronze(rows[:3]))
    for _ in range(2):
        assert [_rows(runner, DAYS[0])[name] for name in ("silver.session", "silver.play")] == [1, 1]
    facts.given(runner.settings, t.BRONZE_PLAYBACK_EVENT, *_bronze(rows[3:]))
    for _ in range(2):
        assert _rows(runner, DAYS[0]) == {"silver.span": 3, "silver.session": 0, "silver.play": 0}
    home = lake.connect(runner.settings)
    assert home.read(t.SESSION).empty and home.read(t.PLAY).empty and not home.read(t.SPAN).empty
    assert runner.catalog.load_table("silver.session").refs().keys() == {"main"}
    assert _rows(runner, DAYS[1])["silver.session"] == 1


def _rows(runner: Runner, day: date) -> dict[str, int]:
    return runner.run(["sessionize"], [day])[0].rows


def test_sessions_of_several_days_are_folded_whole_in_any_order_of_days(new_lake: Callable[..., Runner]) -> None:
    """60 hours of a beat a minute; a letter sent again after 48 hours; an id heard of once a day for ten days; one that
    is back after two days. Each in the days around, folded backwards: what the fold of the whole set says."""
    runner, said = new_lake(), []
    runner.say = said.append
    day = 86_400
    long = _viewing("long", (-43_200, "s"), *((-43_200 + 60 * n, "p") for n in range(1, 3_600)))
    letter = _viewing("letter", (36_000, "s"), (36_001, "p"), (36_030, "r"), (36_040, "p"), (36_060, "e"))
    letter[2] |= {n: letter[2][n] + 2 * day * 1000 for n in ("received_at", "post_device_at")} | {"kafka_offset": 9}
    daily = _viewing("daily", *((day * n, "s") for n in range(10)))
    back = _viewing("back", (0, "s"), (30, "p"), (3 * day, "p"))
    facts.given(runner.settings, t.BRONZE_PLAYBACK_EVENT, *_bronze([*long, *letter, *daily, *back]))
    days = [stream.DAY + timedelta(days=n) for n in (-1, 0, 1, 2, 3, 8)]
    known = [r for rows in (long, letter, daily[:7]) for v in REVISIONS for r in fold(rows, Policy(), v).sessions]
    expected = _typed("session", known)
    for each in reversed(days):
        runner.run(["sessionize"], [each])
    found = lake.connect(runner.settings).read(t.SESSION)
    assert sorted(found[found.session_id == "back"].close_date) == [stream.DAY] * 2 + [days[-2]] * 2
    mine = found[found.session_id != "back"]
    assert not mine.duplicated(["session_id", "segment", "revision"]).any()
    _same(mine, expected[expected.close_date.isin(days)], ["session_id", "segment", "revision"])
    of = mine[mine.session_id.eq("long") & mine.revision.eq("final")].sort_values("segment")
    assert of.segment.tolist() == [0, 1, 2] and of.missing.sum() == 0 and of.play_ms.sum() == 215_760_000
    stalls = mine[mine.session_id == "letter"].set_index("revision")
    assert stalls.late.to_dict() == {"live": 1, "final": 1} and stalls.missing.to_dict() == {"live": 1, "final": 0}
    spans = lake.connect(runner.settings).read(t.SPAN)
    inside = [r for rows in (long, letter) for v in REVISIONS for r in fold(rows, Policy(), v).spans]
    whole = _typed("span", inside)
    _same(
        spans[spans.session_id.isin(["long", "letter"])],
        whole[whole.start_date.isin(days)],
        ["session_id", "segment", "revision", "span"],
    )
    assert [text for text in said if "left out" in text] == [
        f"sessionize {days[-1]}: 1 sessions left out: heard of every day for 7 days, their beginning on none of them"
    ]


def test_a_first_event_sent_again_does_not_begin_a_session_anew(new_lake: Callable[..., Runner]) -> None:
    """Over two midnights; number 0 is received again, or for the first time, after a day and more; again as the first
    of all that is received on the first day read, by a new POST or the same; after number 1, with no day before."""
    runner, day = new_lake(), 86_400
    beats = [(-3_600 + 60 * n, "p") for n in range(1, 26 * 60)]
    told: dict[str, list[dict[str, Any]]] = {
        sid: _viewing(sid, (-3_600, "s"), *beats, (day + 3_590, "e")) for sid in ("again", "belated")
    }
    for sid, start in (("midnight", -day - 7_220), ("verbatim", -day - 7_220), ("posts", -day - 20)):
        told[sid] = _viewing(sid, (start, "s"), *((start + 60 * n, "p") for n in range(1, 1_620)))
    told["swapped"] = _viewing("swapped", (-3_600, "s"), *beats)
    told["again"].append(told["again"][0] | _received(1.3 * day) | {"kafka_offset": 99_999})
    told["belated"][0] |= _received(1.3 * day) | {"kafka_offset": 99_999}
    told["midnight"].append(told["midnight"][0] | _received(-day + 5) | {"kafka_offset": 1})
    same = {"received_at": hostile.MIDNIGHT - day * 1000 + 5_000, "kafka_offset": 1}
    told["verbatim"].append(told["verbatim"][0] | same)
    told["posts"][:2] = [row | _received(-day - 1) for row in told["posts"][:2]]
    told["posts"] += [row | _received(-day + 20) | {"kafka_offset": 1} for row in told["posts"][:2]]
    told["swapped"][0] |= _received(-3_530) | {"kafka_offset": 1}
    facts.given(runner.settings, t.BRONZE_PLAYBACK_EVENT, *_bronze([row for rows in told.values() for row in rows]))
    days = [stream.DAY + timedelta(days=n) for n in (-2, -1, 0, 1)]
    for each in reversed(days):
        runner.run(["sessionize"], [each])
    home = lake.connect(runner.settings)
    whole = [fold(rows, Policy(), v) for rows in told.values() for v in REVISIONS]
    place = ["session_id", "segment", "revision"]
    _same(home.read(t.SESSION), _typed("session", [row for f in whole for row in f.sessions]), place)
    _same(home.read(t.SPAN), _typed("span", [row for f in whole for row in f.spans]), [*place, "span"])
    plays = home.read(t.PLAY)
    assert plays[plays.session_id == "again"].watched_ms.sum() == 86_340_000 + 7_130_000


def _received(seconds: float) -> dict[str, int]:
    """A POST of its own, seconds after the day's midnight."""
    return dict.fromkeys(("received_at", "post_device_at"), hostile.MIDNIGHT + round(seconds * 1000))


def test_days_equal_the_reference(
    new_lake: Callable[..., Runner], events: list[dict[str, Any]], reference: dict[str, pd.DataFrame]
) -> None:
    runner = new_lake()
    facts.given(runner.settings, t.BRONZE_PLAYBACK_EVENT, *_bronze(events))
    facts.given(runner.settings, t.BRONZE_TITLE, {
        "title_id": "t1", "show_id": "series", "duration_ms": RUNNING_MS, "received_date": DAYS[0] - timedelta(days=9),
    })  # fmt: skip
    received = {row["received_date"] for row in _bronze(events)}
    days = [day for day in DAYS if day in received]
    assert len(days) >= 2, "the sessions must cross midnight"
    runner.run(["sessionize", "qoe_daily"], days)
    home = lake.connect(runner.settings)
    spans, sessions = home.read(t.SPAN), home.read(t.SESSION)
    inside = {
        name: frame[frame[column].isin(days)]
        for (name, frame), column in zip(reference.items(), ("start_date", "close_date"), strict=True)
    }
    _same(spans, inside["span"], ["session_id", "segment", "revision", "span"])
    _same(sessions, inside["session"], ["session_id", "segment", "revision"])
    for table, seen in ((t.SPAN, spans), (t.SESSION, sessions)):
        lies = runner.catalog.load_table(identifier(runner.settings, table)).scan().to_pandas()
        assert set(lies.revision) == {*REVISIONS, t.BOTH}, "sessions with late events and without"
        assert len(lies) == len(seen) - (lies.revision == t.BOTH).sum() < 0.75 * len(seen)
    _plays_follow(home.read(t.PLAY), inside["session"], reference["span"])
    minutes = oracle.rollup_sums(inside["span"])
    _same(home.read(t.QOE_MINUTE), minutes, list(t.QOE_MINUTE.key))
    final = oracle.rollup_sums(inside["span"][inside["span"].revision == "final"], DAILY_KEYS)
    _same(home.read(t.QOE_DAILY), final, ["event_date", *t.QOE_DAILY.key])


def _plays_follow(plays: pd.DataFrame, sessions: pd.DataFrame, spans: pd.DataFrame) -> None:
    began = sessions.attempts + sessions.start_failures_recovered + sessions.playback_failures_recovered > 0
    attempts = sessions[(sessions.revision == "final") & began]
    assert len(plays) == len(attempts) > 50
    merged = plays.merge(attempts, on=["session_id", "segment"], suffixes=("", "_s"), validate="one_to_one")
    assert len(merged) == len(plays)
    last = spans[(spans.revision == "final") & ~spans.state.isin(["ended", "failed", "quit"])].sort_values("span")
    stalled = last.groupby(["session_id", "segment"]).state.last() == "rebuffering"
    known = merged.title_id == "t1"
    share = (merged.content_ms_s / RUNNING_MS).clip(upper=1.0).where(known, 0.0)
    assert merged.content_ms.tolist() == merged.content_ms_s.clip(upper=RUNNING_MS).where(known, 0).tolist()
    assert merged.watched_ms.tolist() == merged.play_ms.tolist()
    assert merged.show_id.tolist() == merged.title_id.where(~known, "series").tolist()
    assert merged.watched_share.tolist() == share.tolist()
    assert merged.quality_play.tolist() == ((share >= 0.9) | ((merged.play_ms >= 120_000) & (share >= 0.1))).tolist()
    last_of = [bool(stalled.get(place, False)) for place in zip(merged.session_id, merged.segment, strict=True)]
    ended_badly = merged.end_reason.eq("failed") | pd.Series(last_of, index=merged.index)
    assert merged.censored.tolist() == ended_badly.tolist()
    assert ended_badly.any() and merged.quality_play.any()
    known_at = [datetime.combine(d, datetime.min.time(), UTC) + timedelta(days=1, hours=2) for d in merged.play_date]
    assert list(merged.available_at) == known_at
