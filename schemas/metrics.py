"""The metrics: each a row-level numerator and denominator over spans, declared once.

Stream windows, daily tables, experiment arms and alerts all hold ``SUM(num)`` and ``SUM(den)`` of these expressions
and nothing else, so they add up and agree to the last integer. Only the renderers write aggregates
(`schemas.render.sql`); an expression here is plain SQL arithmetic over the integer measures of the `span` record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Direction(Enum):
    """Which way a metric gets better."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    `num` and `den` are row-level integer expressions over span measures; without `den` the metric is a plain sum.
    `scale` divides the ratio (or the sum) for display. `source` names where the definition comes from.
    """

    name: str
    num: str
    den: str | None
    unit: str
    better: Direction
    doc: str
    source: str
    scale: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the sums this metric adds to a table of sums."""
        return (f"{self.name}_num",) if self.den is None else (f"{self.name}_num", f"{self.name}_den")


HIGHER, LOWER, NEITHER = Direction.HIGHER, Direction.LOWER, Direction.NEITHER

# fmt: off
METRICS: tuple[Metric, ...] = (
    Metric("attempts", "attempts", None, "1", NEITHER, "Intents to play.", "CTA-2066 playbackRequest"),
    Metric("plays", "plays", None, "1", HIGHER, "Attempts that showed a content frame.", "CTA-2066 playbackStart"),
    Metric("video_start_time", "start_delay_ms", "starts_measured", "ms", LOWER,
           "Mean wait for the first content frame, without ads and pauses between.", "CTA-2066 initialStartupTime"),
    Metric("exit_before_start_rate", "exits_before_start", "attempts", "1", LOWER,
           "Share of attempts left before the first frame without a fatal error.", "Conviva EBVS"),
    Metric("start_failure_rate", "start_failures", "attempts", "1", LOWER,
           "Share of attempts ended by a fatal error before the first frame.", "Conviva VSF"),
    Metric("playback_failure_rate", "playback_failures", "plays", "1", LOWER,
           "Share of plays ended by a fatal error.", "CTA-2066 playbackFail; Conviva VPF"),
    Metric("stall_count", "stalls", "plays", "1", LOWER, "Stalls per play.", "CTA-2066 playbackStallCount"),
    Metric("stall_time", "stall_ms", "plays", "ms", LOWER, "Stalled time per play.", "CTA-2066 playbackStallDuration"),
    Metric("rebuffer_ratio", "stall_ms", "stall_ms + play_ms", "1", LOWER,
           "Stalled time over stalled plus playing time.", "Conviva rebuffering ratio"),
    Metric("stalled_time_ratio", "stall_ms", "watched_ms", "1", LOWER,
           "Stalled time over watched time, starting and seeking included.", "CTA-2066 stalled time"),
    Metric("played_bitrate", "bitrate_kbps_ms", "bitrate_known_ms", "kbps", HIGHER,
           "Time-weighted bitrate shown.", "CTA-2066 average bitrate"),
    Metric("switch_count", "switches_up + switches_down", "plays", "1", NEITHER,
           "Bitrate switches while playing, per play.", "CTA-2066 renditionUpdate"),
    Metric("watched_time", "watched_ms", None, "ms", HIGHER,
           "Time the viewer wanted video: starting, playing, rebuffering, seeking.", "CTA-2066 watchedTime"),
    Metric("concurrency", "alive_ms", None, "1", NEITHER,
           "Mean number of sessions alive in a minute: alive time over 60,000 ms.", "Conviva concurrent plays", 60_000),
)
# fmt: on

DIMENSIONS: tuple[str, ...] = ("cdn_id", "isp", "device", "country", "app_version", "title_id")
"""Dimensions of a sum of spans, in the order of the tables' columns."""

ALL = "*"
"""Value of a dimension that a rollup does not break down by."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """A declared set of dimensions; never one joint key with title, which would be a row per session and minute."""

    name: str
    by: tuple[str, ...]


ROLLUPS: tuple[Rollup, ...] = (
    Rollup("total", ()),
    Rollup("delivery", ("cdn_id", "isp")),
    Rollup("client", ("device", "app_version")),
    Rollup("place", ("country", "isp")),
    Rollup("title", ("title_id",)),
)
