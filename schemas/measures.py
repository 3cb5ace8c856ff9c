"""The additive measures of a span and a session, declared once: name, unit, meaning, in the order of the columns.

The fold (`models.playback.spans` and the kernel) decides their values; records `span`, `session` and `qoe_session` end
in these columns (`schemas.generate` writes them there); `schemas.metrics` is arithmetic over them. All are integers, so
that sums agree between engines to the last one, and only ever added up, so that a stream may correct by signed deltas.
Hence the two histograms are columns of counts: which bin a start or a play falls into is known to the fold alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Histogram:
    """A mergeable histogram: counts of values up to each edge (ms, inclusive), and of those above the last.

    `edges` says what a reader would ask at the edges, `owner` who answers for it, as of a metric.
    """

    name: str
    prefix: str
    edges_ms: tuple[int, ...]
    doc: str
    edges: str
    owner: str = "playback"

    @property
    def columns(self) -> tuple[str, ...]:
        """Measures that hold the counts, in the order of the bins."""
        return (
            *(f"{self.prefix}_le_{edge}_ms" for edge in self.edges_ms),
            f"{self.prefix}_over_{self.edges_ms[-1]}_ms",
        )

    def bin_of(self, ms: int) -> str:
        """The measure that counts a value."""
        for edge, column in zip(self.edges_ms, self.columns, strict=False):
            if ms <= edge:
                return column
        return self.columns[-1]


START_TIME = Histogram(
    "video_start_time",
    "start",
    (500, 1_000, 1_500, 2_000, 3_000, 4_000, 6_000, 10_000, 20_000),
    "Measured starts by their start delay.",
    "An edge is in the bin below it. In the minute of the first frame, without ads and pauses before it; a start with "
    "a number missing before its frame is in no bin. A quantile above the last edge is that edge.",
)
STALL_TIME = Histogram(
    "stall_time",
    "stall",
    (0, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000),
    "Plays by their stalled time, at their end.",
    "An edge is in the bin below it: plays without a stall are the first bin, up to 0 ms. In the minute the play ends; "
    "an open one is in no bin yet. A quantile above the last edge is that edge.",
)
HISTOGRAMS = (START_TIME, STALL_TIME)


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of integers."""

    name: str
    unit: str
    doc: str


# fmt: off
MEASURES: tuple[Measure, ...] = (
    Measure("alive_ms", "ms", "Time in any state but ended, failed, quit and preloading."),
    Measure("starting_ms", "ms", "Waiting for the first content frame."),
    Measure("play_ms", "ms", "Content playing, in foreground, no ad."),
    Measure("stall_ms", "ms", "Rebuffering after the first frame, no ad, in foreground."),
    Measure("seek_ms", "ms", "Seeking after the first frame, the buffering after a seek included."),
    Measure("pause_ms", "ms", "Paused."),
    Measure("ad_ms", "ms", "An ad on screen."),
    Measure("background_ms", "ms", "Alive in background."),
    Measure("watched_ms", "ms", "starting, playing, rebuffering and seeking, content only, foreground."),
    Measure("media_ms", "ms", "Content consumed: playing time times playback rate."),
    Measure("content_ms", "ms", "Distinct content played: what is played again is not counted again."),
    Measure("bitrate_kbps_ms", "kbps ms", "Bitrate times media time, where the bitrate is known."),
    Measure("bitrate_known_ms", "ms", "Media time of known bitrate."),
    Measure("cir_stall_ms", "ms", "Stalled time of connection-induced stalls."),
    Measure("start_delay_ms", "ms",
            "Attempt to first content frame, without ads and pauses between; in the row of the first frame."),
    Measure("any_start_delay_ms", "ms",
            "Attempt to first frame of an ad or content, without pauses between; in the row of that frame."),
    Measure("startup_score_milli", "1", "Startup score of a measured start, in thousandths."),
    Measure("smoothness_score_milli", "1", "Smoothness score of a play, in thousandths; at its end."),
    Measure("attempts", "1", "First starting of a segment."),
    Measure("plays", "1", "First content frame of a segment."),
    Measure("starts_measured", "1", "Plays whose start delay is exact (no gap before the first frame)."),
    Measure("any_starts_measured", "1", "First frames of an ad or content whose delay is exact."),
    Measure("exits_before_start", "1", "Attempt that ended without a frame and without a fatal error."),
    Measure("long_wait_exits", "1", "Exit before start after a wait of more than fold.long_wait_ms."),
    Measure("start_failures", "1", "Attempt that ended in a fatal error before the first frame."),
    Measure("start_failures_business", "1", "Those with an error code of class business."),
    Measure("start_failures_recovered", "1", "Technical ones after which the session played within fold.retry_ms."),
    Measure("playback_failures", "1", "Fatal error after the first frame."),
    Measure("playback_failures_business", "1", "Those with an error code of class business."),
    Measure("playback_failures_recovered", "1", "Technical ones after which the session played within fold.retry_ms."),
    Measure("stalls", "1", "Rebuffering that began here."),
    Measure("cir_stalls", "1", "Connection-induced: no seek, resume, rate change, ad end within fold.cause_ms before."),
    Measure("cir_exits", "1", "Quit, or gone without a word, within fold.exit_ms of a connection-induced stall."),
    Measure("switches_up", "1", "Bitrate rose between two playing moments, after the startup."),
    Measure("switches_down", "1", "Bitrate fell between two playing moments, after the startup."),
    Measure("switch_up_kbps", "kbps", "By how much it rose."),
    Measure("switch_down_kbps", "kbps", "By how much it fell."),
    Measure("startup_switches", "1", "Bitrate changes within fold.startup_ms of the first frame, either way."),
    Measure("startup_switch_kbps", "kbps", "Steps of those, both ways added."),
    Measure("smoothness_scored", "1", "Plays that have ended and have a smoothness score."),
    Measure("gaps", "1", "Runs of missing numbers inside a session."),
    Measure("gaps_verified", "1", "Gaps whose stalls the player's counters tell, so that count and time are exact."),
    Measure("repaired_stalls", "1", "Stalls known from the player's counters alone; part of stalls."),
    Measure("repaired_stall_ms", "ms", "Stalled time put right by the counters, signed; part of stall_ms."),
    *(
        Measure(column, "1", f"{histogram.doc[:-1]}: {_range}.")
        for histogram in HISTOGRAMS
        for column, _range in zip(
            histogram.columns,
            [*(f"up to {edge:,} ms" for edge in histogram.edges_ms), f"above {histogram.edges_ms[-1]:,} ms"],
            strict=True,
        )
    ),
)
# fmt: on

NAMES: tuple[str, ...] = tuple(measure.name for measure in MEASURES)
"""Names, in the order of the columns."""
