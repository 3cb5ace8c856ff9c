"""What one demo has to tell: the frames and figures that the report draws, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pandas as pd

from models.experiment.intervals import Estimate

WINDOW = "15min"
"""What one point of a line over the day adds up."""


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """The injected fault: which cohort, from when to when (UTC)."""

    name: str
    isp: str
    start_at: datetime
    end_at: datetime


@dataclass(slots=True)
class Story:
    """Everything the report shows. Frames carry the columns of the records they come from."""

    universe: str
    live_day: date
    next_day: date
    fault: FaultWindow
    qoe: pd.DataFrame
    """qoe_minute as the stream published it, rollups `total` and `place`, of the live day."""
    viewers: pd.DataFrame
    """isp, window, profiles: who watched in each `WINDOW` of the live day, counted as distinct profiles."""
    plays: pd.DataFrame
    """One row: the sums of PLAY_METRICS over the plays of the live day."""
    sessions: pd.DataFrame
    """One row: the sums of SESSION_METRICS over the sessions of the live day, revision `final`."""
    funnel: dict[str, int]
    """Steps of the live day: impressions, takes, attempts, plays, quality plays, completed."""
    forecast: pd.DataFrame
    """region, file_id, method, expected_bytes, asked_bytes: forecast for the day after against what was asked."""
    disk: pd.DataFrame
    """cdn_id, title_id, name, before_bytes, after_bytes: every cluster's disk by title before and after the fill."""
    plan: pd.DataFrame
    """cdn_id, disk_bytes, fill_budget_bytes, held_bytes, fill_bytes."""
    offload: dict[str, float]
    """Share of bytes from the edge on the log of the day after, by policy."""
    logged_offload: float
    take_rates: dict[str, Estimate]
    """`page policy`, `page holdback`, `artwork policy`, `artwork holdback`."""
    lifts: dict[str, Estimate]
    """`page`, `artwork`: policy minus holdback."""
    page: dict[str, Any]
    """One home page record, with names, genres and themes of its titles filled in for drawing."""
    reconcile: pd.DataFrame
    """Rows of ops.reconcile_result for the live day."""
    counts: dict[str, int]
    """Events sent, landed, quarantined, dead letters, sessions, spans, plays."""
    incidents: list[dict[str, Any]] = field(default_factory=list)
    """Rows of record `incident` that the alerts raised on the live day, first one first."""
    timings: list[tuple[str, float]] = field(default_factory=list)
    """(step, seconds)."""
    peak_memory_bytes: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    """The promotion row: model, version, metric, value, baseline, promoted, reason."""
