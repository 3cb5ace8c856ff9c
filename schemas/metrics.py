"""The metrics: each a row-level numerator and denominator over spans, declared once: formula, unit, edges, owner.

Stream windows, daily tables, experiment arms and alerts all hold ``SUM(num)`` and ``SUM(den)`` of these expressions
and nothing else, so they add up and agree to the last integer. Only the renderers write aggregates
(`schemas.render.sql`); an expression here is plain SQL arithmetic over the integer measures of the `span` record.
"""

from __future__ import annotations

from collections.abc import Mapping
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

    `num` and `den` are row-level integer expressions over columns; without `den` the metric is a plain sum. They are
    sums and differences only: a stream corrects by signed deltas, so anything else would not add up. Which columns
    there are, the rows say (`schemas.metric_check`).
    `scale` divides the ratio (or the sum) for display. `source` names where the definition comes from, `edges` says
    what a reader would ask at the edges, `owner` who answers for it.
    """

    name: str
    num: str
    den: str | None
    unit: str
    better: Direction
    doc: str
    source: str
    edges: str
    scale: int = 1
    owner: str = "playback"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the sums this metric adds to a table of sums."""
        return (f"{self.name}_num",) if self.den is None else (f"{self.name}_num", f"{self.name}_den")


HIGHER, LOWER, NEITHER = Direction.HIGHER, Direction.LOWER, Direction.NEITHER
_START = (
    "Null if never played; measured only if no number is missing before the first frame, so exact or null. A retry "
    "that counts as an attempt has waited since it began."
)
_FAILURE = (
    "An unknown code is technical; a technical one after which the session plays within 5 s has recovered, which the "
    "frame's minute takes off: over a minute or a day alone it may be below 0."
)
_STALL = (
    "No ad, in foreground; buffering after a seek is seeking until the next frame; repaired after losses. Under an ad "
    "whose begin and end are both lost it is the content's: nothing tells, if no other ad was shown."
)
_CIR = "Not within 5 s after a seek's frame, resume, rate change or ad end; a repaired stall has no known cause."
_SWITCH = "The same value again is no switch; the first 10 s after the first frame are the start's climb, apart."

# fmt: off
METRICS: tuple[Metric, ...] = (
    Metric("attempts", "attempts", None, "1", NEITHER, "Intents to play.", "CTA-2066 playbackRequest",
           "Preloading alone is none, nor a title told late, nor a request within 5 s after a technical failure, nor "
           "an ad after the end."),
    Metric("plays", "plays", None, "1", HIGHER, "Attempts that showed a content frame.", "CTA-2066 playbackStart",
           "An ad's frame is none; a stall in the player's counters proves a frame that was lost."),
    Metric("video_start_time", "start_delay_ms", "starts_measured", "ms", LOWER,
           "Mean wait for the first content frame, without ads and pauses between.", "CTA-2066 initialStartupTime",
           _START),
    Metric("any_start_time", "any_start_delay_ms", "any_starts_measured", "ms", LOWER,
           "Mean wait for the first frame of an ad or content, without pauses between.", "CMCD msd", _START),
    Metric("startup_score", "startup_score_milli", "starts_measured", "1", HIGHER,
           "Mean of 100 * 8 / (8 + s) over measured starts of s seconds.", "Mux startup time score",
           "Exits before start have no score; Mux's steeper piece below 500 ms is not published and left out.", 1_000),
    Metric("exit_before_start_rate", "exits_before_start", "attempts", "1", LOWER,
           "Share of attempts left before the first frame without a fatal error.", "Conviva EBVS",
           "A crash or lost end counts after the timeout, in a session flagged inferred; a failure takes precedence."),
    Metric("long_wait_exit_rate", "long_wait_exits", "attempts", "1", LOWER,
           "Share of attempts left before the first frame after more than 10 s.", "Conviva EBVS",
           "The wait is without ads and pauses; part of exit_before_start_rate."),
    Metric("start_failure_rate", "start_failures - start_failures_recovered", "attempts", "1", LOWER,
           "Share of attempts ended by a fatal error before the first frame.", "Conviva VSF", _FAILURE),
    Metric("start_failure_technical_rate", "start_failures - start_failures_business - start_failures_recovered",
           "attempts", "1", LOWER, "Those with a fault for a reason.", "Conviva VSF-T", _FAILURE),
    Metric("start_failure_business_rate", "start_failures_business", "attempts", "1", LOWER,
           "Those the service itself decided: no right, no login, too many streams.", "Conviva VSF-B", _FAILURE),
    Metric("playback_failure_rate", "playback_failures - playback_failures_recovered", "plays", "1", LOWER,
           "Share of plays ended by a fatal error.", "CTA-2066 playbackFail; Conviva VPF", _FAILURE),
    Metric("playback_failure_technical_rate",
           "playback_failures - playback_failures_business - playback_failures_recovered", "plays", "1", LOWER,
           "Those with a fault for a reason.", "Conviva VPF-T", _FAILURE),
    Metric("playback_failure_business_rate", "playback_failures_business", "plays", "1", LOWER,
           "Those the service itself decided.", "Conviva VPF-B", _FAILURE),
    Metric("recovered_failure_rate", "start_failures_recovered + playback_failures_recovered", "attempts", "1", LOWER,
           "Fatal errors per attempt after which the same session played within 5 s.", "Conviva VPF, retries apart",
           "In the minute of the frame that recovers; technical failures alone are retried."),
    Metric("stall_count", "stalls", "plays", "1", LOWER, "Stalls per play.", "CTA-2066 playbackStallCount", _STALL),
    Metric("stall_time", "stall_ms", "plays", "ms", LOWER, "Stalled time per play.", "CTA-2066 playbackStallDuration",
           _STALL),
    Metric("rebuffer_ratio", "stall_ms", "stall_ms + play_ms", "1", LOWER,
           "Stalled time over stalled plus playing time.", "Conviva rebuffering ratio", _STALL),
    Metric("stalled_time_ratio", "stall_ms", "watched_ms", "1", LOWER,
           "Stalled time over watched time, starting and seeking included.", "CTA-2066 stalled time", _STALL),
    Metric("connection_stall_count", "cir_stalls", "plays", "1", LOWER,
           "Connection-induced stalls per play.", "Conviva CIRT", _CIR),
    Metric("connection_stall_time", "cir_stall_ms", "plays", "ms", LOWER,
           "Time of connection-induced stalls per play.", "Conviva CIRT", _CIR),
    Metric("connection_rebuffer_ratio", "cir_stall_ms", "cir_stall_ms + play_ms", "1", LOWER,
           "Connection-induced stalled time over playing time plus that.", "Conviva CIRR", _CIR),
    Metric("connection_exit_rate", "cir_exits", "plays", "1", LOWER,
           "Plays left in, or within 3 s after, a connection-induced stall.", "Conviva CIRR-related exits",
           "Quit or gone without a word; one that finished, failed or left a pause did not leave because of it."),
    Metric("smoothness_score", "smoothness_score_milli", "smoothness_scored", "1", HIGHER,
           "Mean over ended plays of half 100 / sqrt(1 + (stalls / 2)^2), half 100 * exp(-10 * rebuffer ratio).",
           "Mux smoothness score",
           "In the minute the play ends; an open one has none yet. One that recovers is scored where it failed, once.",
           1_000),
    Metric("played_bitrate", "bitrate_kbps_ms", "bitrate_known_ms", "kbps", HIGHER,
           "Bitrate shown, weighted by media time.", "CTA-2066 average bitrate",
           "Playing time of unknown bitrate leaves both sums; a rate of 2 weighs twice."),
    Metric("switch_count", "switches_up + switches_down", "plays", "1", NEITHER,
           "Bitrate switches while playing, per play.", "CTA-2066 renditionUpdate", _SWITCH),
    Metric("switch_up_count", "switches_up", "plays", "1", NEITHER, "Those to a higher bitrate.", "Conviva", _SWITCH),
    Metric("switch_down_count", "switches_down", "plays", "1", LOWER, "Those to a lower one.", "Conviva", _SWITCH),
    Metric("switch_up_size", "switch_up_kbps", "switches_up", "kbps", NEITHER, "Mean step up.", "Conviva", _SWITCH),
    Metric("switch_down_size", "switch_down_kbps", "switches_down", "kbps", LOWER, "Mean step down.", "Conviva",
           _SWITCH),
    Metric("startup_switch_count", "startup_switches", "plays", "1", NEITHER,
           "Bitrate changes in the first 10 s of a play: the climb up the ladder.", "Conviva", _SWITCH),
    Metric("watched_time", "watched_ms", None, "ms", HIGHER,
           "Time the viewer wanted video: starting, playing, rebuffering, seeking.", "CTA-2066 watchedTime",
           "Wall clock; pauses, ads and background are left out."),
    Metric("playing_time", "play_ms", None, "ms", HIGHER, "Time a content frame was moving.", "CTA-2066 playing time",
           "Wall clock, in foreground, no ad: a rate of 2 counts once."),
    Metric("media_time", "media_ms", None, "ms", HIGHER, "Content consumed: playing time times rate.",
           "CTA-2066 media time",
           "Rounded down to a millisecond in each piece of a minute."),
    Metric("content_time", "content_ms", None, "ms", HIGHER, "Distinct content played.", "CTA-2066",
           "What is played again is not counted again; holes under 1 s are none; a position not told goes on; content "
           "in a gap ends at the playhead that the next event tells."),
    Metric("concurrency", "alive_ms", None, "1", NEITHER,
           "Mean number of sessions alive in a minute: alive time over 60,000 ms.", "Conviva concurrent plays",
           "Over several minutes, divide by their number: sums of minutes are session-minutes. Preloading, ended, "
           "failed and quit are not alive; the peak in the minute is a sweep of its own (sql.peak).",
           60_000),
    Metric("repaired_stall_share", "repaired_stalls", "stalls", "1", NEITHER,
           "Share of stalls known from the player's counters alone.", "matinee",
           "Their minute is that of the event after the gap."),
    Metric("unverified_gap_rate", "gaps - gaps_verified", "attempts", "1", LOWER,
           "Gaps per attempt in which stalls may have gone unseen.", "matinee",
           "No counters told, or they contradict the timeline, background, an ad on either side or perhaps in it. "
           "Where an ad's begin was lost, the gap counts in the minute of that ad's end, which tells it."),
)
"""Over spans, and so over sessions: in every rollup of `qoe_minute` and `qoe_daily`."""

PLAY_METRICS: tuple[Metric, ...] = (
    Metric("percent_complete", "content_ms", "duration_ms", "1", HIGHER,
           "Distinct content played over the running time of what was played.", "conventional",
           "A live title, or one of unknown running time, is in neither sum, so null by itself; 0.01 is one percent."),
)
"""Over rows of table `play`, which know the running time; rendered by the same functions."""

SESSION_METRICS: tuple[Metric, ...] = (
    Metric("missing_rate", "missing", "events + missing", "1", LOWER,
           "Share of the events sent that never arrived.", "matinee",
           "Known from numbers left out below the highest: of what was lost after the last event that arrived nothing "
           "tells. A repeat is no event; in revision live a late event is missing."),
    Metric("duplicate_rate", "duplicates", "events + duplicates", "1", NEITHER,
           "Share of the events that arrived which had arrived before.", "matinee",
           "All of a session's repeats stand in its segment 0, so around midnight in that segment's day."),
    Metric("inferred_end_rate", "inferred", "1", "1", LOWER,
           "Share of session rows that ended without an end event, by a timeout or limit.", "matinee",
           "A row is a segment: a change of content is an end that was told. One that still lives, as the stream has "
           "it, is in the denominator alone."),
)
"""Over rows of table `session` of one revision: what is known of a whole session, not of a minute of it; rendered by
the same functions. The denominator `1` counts rows."""
# fmt: on

ROWS: Mapping[str, str] = {"METRICS": "span", "PLAY_METRICS": "play", "SESSION_METRICS": "session"}
"""Every registry of metrics, and the record whose rows it is over."""


def registries() -> dict[str, tuple[Metric, ...]]:
    """The registries of `ROWS`, as they stand now: who checks or lists all metrics goes through these."""
    return {name: globals()[name] for name in ROWS}


def by_name() -> dict[str, Metric]:
    """Every metric of every registry by its name, which is its own (`schemas.metric_check`)."""
    return {metric.name: metric for entries in registries().values() for metric in entries}


@dataclass(frozen=True, slots=True)
class Sweep:
    """A figure that is no sum: the most at any moment, asked of the spans (`schemas.render.sql.peak`)."""

    name: str
    unit: str
    better: Direction
    doc: str
    source: str
    edges: str
    owner: str = "playback"


PEAK = Sweep(
    "peak_concurrency",
    "1",
    NEITHER,
    "Most sessions alive at one moment of a minute.",
    "Conviva concurrent plays",
    "At one moment ends come before starts, so a span that follows another does not count twice; a span of length 0 is "
    "none. Alive as in concurrency. Peaks do not add up: each rollup has a sweep of its own, and so has a day. "
    "In batch alone.",
)

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
