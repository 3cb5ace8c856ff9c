"""Measured stalls and start times against what the world knows to be true: ``.venv/bin/python -m bench.qoe_truth``.

A world is lived twice: without loss, where every figure must be exact, and with whole POSTs lost, where the player's
counters have to repair stall count and time. A session that is not exact must say so: a gap that the counters could not
verify, or an end that was inferred. Beside it stands the naive count: states in order of the device clock, a stall for
every run of rebuffering, its time until the next event that arrived.

What decision 11 promises is judged, exit 4 if it is missed: without loss every figure is exact; with loss no start time
that is told is wrong, and stalls are exact in every session whose end arrived, but for gaps that the counters cannot
vouch for: these are flagged, and less than one in a hundred. Not judged, but printed, is the share of all that stalled:
99 % of it is out of reach.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import click
import pandas as pd

from bench import verdict
from models.playback.spans import Policy, fold
from models.world import World, WorldConfig
from models.world.config import CLEAN

WANTED = 0.99
"""Share that must be exact of those whose end arrived; of all that stalled it is out of reach (decision 11)."""
MEASURES = ("stalls", "stall_ms", "start_delay_ms", "play_ms", "plays", "starts_measured", "gaps", "gaps_verified")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Sessions of one world: counts of sessions, and the largest error in milliseconds."""

    events: int
    sessions: int
    stalled: int
    stalled_exact: int
    end_lost: int
    ended_exact: int
    stalled_naive_exact: int
    unflagged_wrong: int
    wrong_starts: int
    starts: int
    largest_error_ms: int

    @property
    def share(self) -> float:
        """Share of the sessions that truly stalled whose stall count and time are both exact."""
        return self.stalled_exact / max(self.stalled, 1)

    @property
    def reachable(self) -> float:
        """The same among those whose end arrived: of a lost end nothing tells what came after the last event."""
        return self.ended_exact / max(self.stalled - self.end_lost, 1)

    @property
    def naive_share(self) -> float:
        """The same of the naive count."""
        return self.stalled_naive_exact / max(self.stalled, 1)


def lived(profiles: int, lost: float, seed: int = 7) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events (times in ms, topic order) and the truth of a day of which a share `lost` of the POSTs never arrives."""
    config = WorldConfig(seed=seed, profiles=profiles, days=1, disturb=replace(CLEAN, lost=lost, skew_ms=1_500.0))
    day = World.create(config).live(0)
    events = day.events.reset_index(drop=True)
    for column in ("device_at", "received_at", "post_device_at"):
        events[column] = events[column].astype("datetime64[ms, UTC]").astype("int64")
    for column in ("bitrate_kbps", "stall_count", "stall_total_ms", "playhead_ms", "error_code"):
        events[column] = events[column].astype(object).where(events[column].notna(), None)
    return events.assign(kafka_partition=0, kafka_offset=range(len(events))), day.truth["sessions"]


def measured(events: pd.DataFrame) -> pd.DataFrame:
    """One row a session: the fold's sums, whether it is flagged, and the naive count of stalls and their time."""
    return pd.DataFrame(_measured(events))


def _measured(events: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for session_id, group in events.groupby("session_id", sort=False):
        rows = group.to_dict("records")
        segments = fold(rows, Policy(), "final").sessions
        sums = {name: sum(s[name] for s in segments) for name in MEASURES}
        flagged = sums["gaps"] > sums["gaps_verified"] or any(s["inferred"] for s in segments)
        ended = any(row["state"] in "efq" for row in rows)
        yield {"session_id": session_id, "flagged": flagged, "ended": ended} | sums | naive(rows)


def naive(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Runs of rebuffering after the first frame and their time, by the states that arrived."""
    stalls, stall_ms, played, before = 0, 0, False, None
    for row in sorted(rows, key=lambda r: r["device_at"]):
        if before is not None and before["state"] == "r" and played:
            stall_ms += row["device_at"] - before["device_at"]
        played = played or (row["state"] == "p" and not row["ad"])
        stalls += row["state"] == "r" and played and (before is None or before["state"] != "r")
        before = row
    return {"naive_stalls": stalls, "naive_stall_ms": stall_ms}


def judge(events: pd.DataFrame, truth: pd.DataFrame, *, lossy: bool) -> Verdict:
    """Hold the measurement against the truth; a session of which nothing arrived is no session.

    Without loss the crashed ones are left out: what they had in their queue was never sent.
    """
    both = truth.merge(measured(events), on="session_id", suffixes=("_true", ""))
    both = both[both["exact"]] if not lossy else both
    exact = (both["stalls"] == both["stalls_true"]) & (both["stall_ms"] == both["stall_ms_true"])
    naive_exact = (both["naive_stalls"] == both["stalls_true"]) & (both["naive_stall_ms"] == both["stall_ms_true"])
    stalled = both["stalls_true"] > 0
    told = both["starts_measured"] == both["plays_true"]
    error = (both[["stall_ms", "play_ms"]] - both[["stall_ms_true", "play_ms_true"]].to_numpy()).abs()
    starts = told & (both["plays_true"] > 0)
    late = both["start_delay_ms"] != both["start_delay_ms_true"]
    return Verdict(
        len(events),
        len(both),
        int(stalled.sum()),
        int((stalled & exact).sum()),
        int((stalled & ~both["ended"]).sum()),
        int((stalled & both["ended"] & exact).sum()),
        int((stalled & naive_exact).sum()),
        int((~exact & ~both["flagged"]).sum()),
        int((starts & late).sum()),
        int(starts.sum()),
        int(error.max().max()),
    )


def missed(v: Verdict, *, lossy: bool) -> list[str]:
    """Which promises the measurement broke, one line each."""
    where = "with POSTs lost" if lossy else "without loss"
    wrong = [
        (v.stalled == 0 or v.starts == 0, "no session stalled or no start was measured, so nothing is proved"),
        (v.unflagged_wrong > 0, f"{v.unflagged_wrong:,} sessions neither exact nor flagged"),
        (v.wrong_starts > 0, f"{v.wrong_starts:,} of {v.starts:,} start times wrong"),
    ]
    if lossy:
        ended = v.stalled - v.end_lost
        text = f"stalls exact in {v.ended_exact:,} of {ended:,} sessions whose end arrived, needed {WANTED:.0%}"
        wrong.append((v.reachable < WANTED, text))
    else:
        wrong += [
            (v.stalled_exact < v.stalled, f"stalls exact in {v.stalled_exact:,} of {v.stalled:,} sessions, not all"),
            (v.largest_error_ms > 0, f"an error of {v.largest_error_ms:,} ms of stalled or playing time"),
        ]
    return [f"{where}: {text}" for broken, text in wrong if broken]


def bound(v: Verdict) -> str:
    """The limit of a world with loss in words, beside what was reached."""
    word = "met" if v.share >= WANTED else "not met"
    return (
        f"  {WANTED:.0%} of all that stalled: {word} ({v.share:.2%}), and not judged: the end of {v.end_lost:,} was "
        "lost, and nothing tells what came after the last event (decision 11)\n"
        f"  the bound, all whose end arrived: {1 - v.end_lost / max(v.stalled, 1):.2%}; of them not exact: "
        f"{v.stalled - v.end_lost - v.ended_exact:,}"
    )


@click.command()
@click.option("--profiles", default=8_000, show_default=True, help="Viewers of the world.")
@click.option("--lost", default=0.1, show_default=True, help="Share of the POSTs that never arrive.")
@click.option("--seed", default=7, show_default=True)
def main(profiles: int, lost: float, seed: int) -> None:
    """Print both verdicts; exit 4 if a promise is broken."""
    wrong = []
    for share in (0.0, lost):
        v = judge(*lived(profiles, share, seed), lossy=share > 0)
        wrong += missed(v, lossy=share > 0)
        click.echo(
            f"{share:.0%} of POSTs lost: {v.events:,} events, {v.sessions:,} sessions, {v.stalled:,} truly stalled\n"
            f"  count and time exact: {v.stalled_exact:,} of them, {v.share:.2%}; by naive count {v.naive_share:.2%}\n"
            f"  of those whose end arrived, all but {v.end_lost:,}: {v.reachable:.2%}\n"
            f"  neither exact nor flagged: {v.unflagged_wrong:,} sessions\n"
            f"  start time wrong: {v.wrong_starts:,} of {v.starts:,} measured\n"
            f"  largest error of stalled or playing time: {v.largest_error_ms:,} ms"
        )
        if share > 0:
            click.echo(bound(v))
    verdict.end(wrong)


if __name__ == "__main__":
    sys.exit(main())
