"""Named checks on what a demo left: the fold against its reference, the measurement against the world's truth.

Each yields lines for a reader and raises `AuditFailed` at the end if anything differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from conf.errors import AuditFailed, InputMissing
from conf.settings import Settings
from lake.reader import Lake
from models.playback.events import COLUMNS, Event
from models.playback.spans import REVISIONS, SESSION_COLUMNS, SPAN_COLUMNS, Policy, fold
from models.world import ratings as rated
from schemas import records, topics
from schemas import tables as t
from streaming import consume, world_input

SPAN_KEY = ("session_id", "segment", "revision", "span")
SESSION_KEY = ("session_id", "segment", "revision")
LIVE_KEY = ("session_id", "segment")
MEASURED = {"start_delay_ms": "start_delay_ms", "stall_ms": "stall_ms", "stalls": "stalls", "play_ms": "play_ms"}
"""Column of the world's truth: measure of the session record."""

OWN_COUNTERS = ("stall_count", "stall_total_ms")
"""What the player counted itself; the fold reads them to repair gaps (the start delay it tells is not read at all)."""

CLOCKS = pd.Timedelta(seconds=10)
"""A session that ends so shortly before midnight may close on the next day by its corrected clock."""

Keyed = dict[tuple[Any, ...], tuple[Any, ...]]


def fold_against_reference(settings: Settings, sessions: int) -> Iterator[str]:
    """Fold `sessions` sessions of bronze by the Python reference; hold spans and sessions of Spark and the live
    sessions of Flink against them, cell by cell.

    Raises:
        InputMissing: no session is at rest.
        AuditFailed: a row or a cell differs.
    """
    lake = Lake(settings)
    resting = (_last_day_at_rest(lake) - date(1970, 1, 1)).days  # what begins or closes later waits for its day's job
    ids = _some_sessions(lake, sessions)
    if len(ids) < sessions:
        yield f"{sessions:,} sessions were asked for, all {len(ids):,} that are at rest are taken"
    policy = Policy.of(settings.fold)
    spans: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    events = _events(lake, ids)
    for one in events.values():
        for revision in REVISIONS:
            folded = fold(one, policy, revision)
            spans += folded.spans
            found += folded.sessions
    yield f"{sum(map(len, events.values())):,} events of {len(events):,} sessions folded by models.playback.spans"
    at_rest = [span for span in spans if span["start_date"] <= resting]
    closed = [session for session in found if session["close_date"] <= resting]
    left = (len(spans) - len(at_rest), len(found) - len(closed))
    yield f"past the last day at rest and left out: {left[0]:,} spans, {left[1]:,} sessions"
    live_columns = tuple(field.name for field in records.load("qoe_session").fields if field.name in SESSION_COLUMNS)
    live = [row for row in found if row["revision"] == "live"]
    contests = (
        ("spans, Spark", _of(at_rest, SPAN_KEY, SPAN_COLUMNS), _at_rest(lake, t.SPAN.fqn, ids, SPAN_KEY, SPAN_COLUMNS)),
        (
            "sessions, Spark",
            _of(closed, SESSION_KEY, SESSION_COLUMNS),
            _at_rest(lake, t.SESSION.fqn, ids, SESSION_KEY, SESSION_COLUMNS),
        ),
        ("live sessions, Flink", _of(live, LIVE_KEY, live_columns), _published(settings, set(ids), live_columns)),
    )
    wrong = 0
    for name, expected, seen in contests:
        missing = len(expected.keys() ^ seen.keys())
        differing = sum(
            a != b for key in expected.keys() & seen.keys() for a, b in zip(expected[key], seen[key], strict=True)
        )
        wrong += missing + differing
        yield f"{name}: {len(expected):,} rows, {missing:,} in one only, {differing:,} differing cells"
    if wrong:
        raise AuditFailed(f"{wrong:,} rows or cells differ from the reference fold")


def measured_against_truth(settings: Settings, sessions: int) -> Iterator[str]:
    """Start delay, stalls and playing time of the sessions without beacon loss against the world's own timeline: as the
    lake has them, of every session; and folded by the Python reference from events without the player's own counters,
    of `sessions` of them.

    Raises:
        InputMissing: no truth in this universe.
        AuditFailed: a session was measured otherwise than it happened.
    """
    files = sorted((settings.paths.var / "world" / "truth").glob("*/sessions.parquet"))
    if not files:
        raise InputMissing(f"{settings.paths.var} holds no truth of a world: play one with `make demo`")
    truth = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
    lake = Lake(settings)
    sums = ", ".join(f"SUM({measure}) AS {measure}" for measure in MEASURED.values())
    measured = lake.sql(
        f"SELECT session_id, {sums}, SUM(attempts) AS attempts FROM {t.SESSION.fqn} "
        "WHERE revision = 'final' GROUP BY session_id"
    )
    closed = pd.Timestamp(_last_day_at_rest(lake), tz="UTC") + pd.Timedelta(days=1) - CLOCKS
    over = truth["end_ms"] < int(closed.timestamp() * 1000)
    exact = truth[truth["exact"] & over]
    absent = int((~exact["session_id"].isin(measured["session_id"])).sum())
    yield f"{len(truth):,} sessions lived, {int((~over).sum()):,} of them past the last day at rest and left out"
    yield f"{len(exact):,} without beacon loss, {absent:,} of them not at rest"
    wrong = absent + (yield from _errors(exact, measured))
    some = exact.iloc[exact["session_id"].map(_scattered).argsort(kind="stable")[:sessions]]
    yield f"{len(some):,} of them folded once more by models.playback.spans, without the player's own counters"
    wrong += yield from _errors(some, _folded_without_counters(settings, lake, list(some["session_id"])))
    if wrong:
        raise AuditFailed(f"{wrong:,} sessions were not measured as they happened")


def _errors(truth: pd.DataFrame, measured: pd.DataFrame) -> Generator[str, None, int]:
    """A line for each measure; returns how many sessions are in error, counted once for each measure."""
    both = truth.merge(measured, on="session_id", how="left", suffixes=("", "_measured"))
    wrong = 0
    for column, measure in MEASURED.items():
        gap = (both[column] - both[f"{measure}_measured"].fillna(0)).abs()
        wrong += int((gap > 0).sum())
        yield (
            f"{measure}: total {int(both[column].sum()):,}, largest error {int(gap.max()):,}, "
            f"sessions in error {int((gap > 0).sum()):,}"
        )
    return wrong


def _folded_without_counters(settings: Settings, lake: Lake, ids: list[str]) -> pd.DataFrame:
    policy = Policy.of(settings.fold)
    rows = []
    for session_id, events in _events(lake, ids).items():
        bare = [replace(event, **dict.fromkeys(OWN_COUNTERS)) for event in events]
        found = fold(bare, policy, "final").sessions
        rows.append(
            {"session_id": session_id} | {measure: sum(one[measure] for one in found) for measure in MEASURED.values()}
        )
    return pd.DataFrame(rows, columns=["session_id", *MEASURED.values()])


def _scattered(session_id: str) -> str:
    """A key that sorts sessions in no order of time or place, as `_some_sessions` does in the lake."""
    return hashlib.md5(session_id.encode(), usedforsecurity=False).hexdigest()


def attempts_against_ratings(settings: Settings, folder: Path) -> Iterator[str]:
    """Anti-join ratings and attempts in the lake, both ways, by session id; yields one line a finding.

    Raises:
        InputMissing: no session is at rest.
        AuditFailed: a rating without its one attempt, or a rated attempt without a rating.
    """
    found = world_input.read_ratings(folder)
    assert found is not None
    ratings = found[0]
    expected = pd.DataFrame(
        {
            "session_id": [
                rated.session_id(user, item, at)
                for user, item, at in zip(ratings["user_id"], ratings["item_id"], ratings["rated_at"], strict=True)
            ]
        }
    )
    lake = Lake(settings)
    _last_day_at_rest(lake)
    attempts = lake.sql(
        "SELECT session_id, SUM(attempts) AS attempts FROM silver.session WHERE revision = 'final' GROUP BY session_id"
    )
    rated_ids = attempts[attempts["session_id"].str.startswith(rated.SESSION_PREFIX)]
    without = expected[~expected["session_id"].isin(rated_ids.loc[rated_ids["attempts"] == 1, "session_id"])]
    beyond = rated_ids[~rated_ids["session_id"].isin(expected["session_id"])]
    yield f"ratings: {len(expected):,}, with {expected['session_id'].nunique():,} distinct session ids"
    yield f"attempts of rated sessions in silver.session: {int(rated_ids['attempts'].sum()):,}"
    yield f"ratings without exactly one attempt: {len(without):,}"
    yield f"rated attempts without a rating: {len(beyond):,}"
    if len(without) or len(beyond):
        first = (without if len(without) else beyond)["session_id"].iloc[0]
        raise AuditFailed(
            f"{len(without):,} ratings and {len(beyond):,} attempts do not meet, the first is session {first}; "
            "look for it in silver.session and bronze.quarantine"
        )


def _last_day_at_rest(lake: Lake) -> date:
    days = lake.days(t.SESSION)
    if not days:
        raise InputMissing(
            f"{t.SESSION.fqn} of {lake.settings.paths.var} is empty: this demo did not come to its end; name another "
            "with `matinee --demo ID`, or play one with `make demo`"
        )
    return max(days)


def _some_sessions(lake: Lake, count: int) -> list[str]:
    """`count` sessions that are at rest, picked by a hash of their ids: no order of time or place."""
    rows = lake.sql(
        f"SELECT DISTINCT session_id FROM {t.SESSION.fqn} ORDER BY md5(session_id), session_id LIMIT {int(count)}"
    )
    return [str(value) for value in rows["session_id"]]


def _events(lake: Lake, ids: list[str]) -> dict[str, list[Event]]:
    frame = lake.sql(
        f"SELECT {_columns(COLUMNS)} FROM {t.BRONZE_PLAYBACK_EVENT.fqn} WHERE session_id IN ({_in(ids)})",
        to="arrow",
    )
    found: dict[str, list[Event]] = {}
    for row in frame.to_pylist():
        found.setdefault(row["session_id"], []).append(Event.of(row))
    return found


def _at_rest(lake: Lake, table: str, ids: list[str], key: tuple[str, ...], columns: tuple[str, ...]) -> Keyed:
    rows = lake.sql(f"SELECT {_columns(columns)} FROM {table} WHERE session_id IN ({_in(ids)})", to="arrow")
    return _of(rows.to_pylist(), key, columns)


def _published(settings: Settings, ids: set[str], columns: tuple[str, ...]) -> Keyed:
    frame = consume.snapshot(topics.QOE_SESSION, settings)
    frame = frame[frame["session_id"].isin(ids)]
    for name in columns:
        if name.endswith("_at"):
            frame[name] = frame[name].astype("datetime64[ms, UTC]").astype("int64")
    plain = frame[list(columns)].astype(object).where(frame[list(columns)].notna(), None)
    return _of(plain.to_dict("records"), LIVE_KEY, columns)


def _of(rows: list[dict[str, Any]], key: tuple[str, ...], columns: tuple[str, ...]) -> Keyed:
    found = {tuple(row[name] for name in key): tuple(row[name] for name in columns) for row in rows}
    if len(found) != len(rows):
        raise AuditFailed(f"{len(rows) - len(found):,} rows have the key ({', '.join(key)}) of another row")
    return found


def _columns(names: list[str] | tuple[str, ...]) -> str:
    """Select list with times as UTC milliseconds and dates as days since 1970, as the reference has them."""
    return ", ".join(
        f"epoch_ms({name}) AS {name}"
        if name.endswith("_at")
        else f"date_diff('day', DATE '1970-01-01', {name}) AS {name}"
        if name.endswith("_date")
        else name
        for name in names
    )


def _in(ids: list[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in ids)
