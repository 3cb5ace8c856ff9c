"""What the alert process does over time, without a broker: long faults, restarts, pauses of the stream, new cells."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.incident.learn import DIMENSIONS
from schemas import wire
from streaming.alerts import LOUD_S, STEP_S, Alerts
from tests.streaming.test_alert_cells import BEGIN_S, CELLS, HOURS, sessions, watching

T = BEGIN_S + HOURS * 3_600
"""Where the learned hours end."""
Cell = tuple[str, ...]


def counted(
    seed: int,
    until_s: int,
    *,
    rate: float = 1.2,
    hurt: Collection[int] = (),
    fault: tuple[int, int] = (T, T),
    gone: tuple[int, int] = (T, T),
    move: tuple[Collection[int], int, Callable[[Cell], Cell]] | None = None,
) -> pd.DataFrame:
    """Rows of `qoe_step`: cells `hurt` fail within `fault`; within `gone` no beacon of anybody comes; from a moment
    on, some cells are others."""
    rng = np.random.default_rng(seed)
    at = np.arange(BEGIN_S, until_s, STEP_S)
    parts = []
    for i, cell in enumerate(CELLS):
        attempts = rng.poisson(rate, len(at))
        bad = (i in hurt) & (at >= fault[0]) & (at < fault[1])
        failures = rng.binomial(attempts, np.where(bad, 0.95, 0.02))
        attempts = np.where((at >= gone[0]) & (at < gone[1]), 0, attempts)
        failures = np.minimum(failures, attempts)
        columns = [np.full(len(at), value, dtype=object) for value in cell]
        if move is not None and i in move[0]:
            columns = [np.where(at >= move[1], new, old) for new, old in zip(move[2](cell), columns, strict=True)]
        zeros = dict.fromkeys(("exits_before_start", "playback_failures", "stalls", "stall_ms", "play_ms"), 0)
        parts.append(pd.DataFrame({
            "step_at": pd.to_datetime(at, unit="s", utc=True).as_unit("ms"),
            **dict(zip(DIMENSIONS, columns, strict=True)),
            "attempts": attempts, "plays": attempts - failures, "start_failures": failures,
            "alive_ms": 60_000 * attempts, **zeros,
        }))  # fmt: skip
    frame = pd.concat(parts, ignore_index=True)
    return frame[frame["attempts"] > 0].sort_values("step_at", kind="stable").reset_index(drop=True)


def keyed(frame: pd.DataFrame) -> dict[bytes, bytes]:
    keys = [key.encode() for key in wire.message_keys("|".join(DIMENSIONS), frame)]
    ms = frame["step_at"].astype("int64")
    values = wire.encode_frame("qoe_step", None, frame)
    return {b"%d|%s" % (at, key): value for at, key, value in zip(ms, keys, values, strict=True)}


def between(frame: pd.DataFrame, low_s: int, high_s: int) -> pd.DataFrame:
    at = frame["step_at"].astype("int64") // 1_000
    return frame[(at >= low_s) & (at < high_s)]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Alerts]:
    people = sessions([40] * len(CELLS))

    def start(frame: pd.DataFrame, at_s: int = T, known: dict[str, dict[str, Any]] | None = None) -> Alerts:
        alerts = watching([], people, monkeypatch)
        alerts.rows = keyed(frame)
        alerts.books.rows = dict(known or {})
        alerts._gather()
        alerts.learn(at_s)
        alerts.arm(at_s)
        return alerts

    return start


def go(alerts: Alerts, low_s: int, high_s: int, feed: pd.DataFrame | None = None) -> list[dict[str, Any]]:
    """Judge step by step; of `feed` each step comes in time."""
    steps = {} if feed is None else dict(list(feed.groupby(feed["step_at"].astype("int64") // 1_000)))
    for at in range(low_s, high_s, STEP_S):
        if at in steps:
            alerts._add(keyed(steps[at]), at)
        for begin, cells in alerts._steps(at, at + STEP_S):
            alerts.judge(begin, cells)
    return alerts.producer.rows  # type: ignore[attr-defined,no-any-return]


def test_what_explained_a_long_fault_is_still_told_at_its_end(
    started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end, what was before the onset is no longer held: the first explanation stays."""
    monkeypatch.setattr("streaming.alerts.BEFORE_S", 1_200)
    frame = counted(3, T + 4_800, rate=0.8, hurt={0}, fault=(T + 60, T + 3_000))
    rows = go(started(between(frame, 0, T)), T, T + 4_800, frame)
    assert [row["state"] for row in rows] == ["open", "resolved"]
    assert rows[0]["explanation"] and rows[1]["explanation"]


def test_a_restart_counts_no_step_twice(started: Callable[..., Alerts]) -> None:
    """The steps since the fall began are judged again; what is missing is what was missing before."""
    frame = counted(2, T + 900, rate=4, gone=(T + 60, T + 900))
    alerts = started(frame)
    (row,) = [row for row in go(alerts, T, T + 800) if row["signal"] == "attempts"]
    (incident,) = [i for i in alerts.ledger.incidents if alerts.ids[i.number] == row["incident_id"]]
    alerts._publish(incident)
    known, undisturbed = dict(alerts.books.rows), go(alerts, T + 800, T + 900) and incident.excess
    begin = T + 800 - LOUD_S
    again = started(frame, begin, known)
    go(again, begin, T + 900)
    (held,) = [i for i in again.ledger.incidents if again.ids[i.number] == row["incident_id"]]
    assert held.excess == pytest.approx(undisturbed, rel=0.1)
    assert known[row["incident_id"]]["excess"] > 3_000
