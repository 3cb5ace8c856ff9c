"""Random spans and the plain-Python sums that SQL in every engine has to equal."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from schemas.metrics import DIMENSIONS, ROLLUPS
from schemas.render.sql import measures

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


def random_spans(rows: int, seed: int = 7) -> pd.DataFrame:
    """Spans of two days, measures up to 2e9 (a 32-bit sum would overflow), one title without a play."""
    rng = np.random.default_rng(seed)
    minutes = rng.integers(0, 2 * 1440, rows) // 180 * 180
    frame = pd.DataFrame({
        "minute_at": pd.Series([MIDNIGHT + timedelta(minutes=int(m)) for m in minutes], dtype="datetime64[ms, UTC]"),
        "start_date": [(MIDNIGHT + timedelta(minutes=int(m))).date() for m in minutes],
        "revision": rng.choice(["live", "final"], rows),
    })  # fmt: skip
    for name in DIMENSIONS:
        frame[name] = [f"{name[0]}{i}" for i in rng.integers(0, 3, rows)]
    for name in measures():
        frame[name] = rng.integers(0, 2_000_000_000, rows)
    quiet = frame["title_id"] == "t0"
    frame.loc[quiet, ["plays", "attempts", "starts_measured", "bitrate_known_ms", "watched_ms"]] = 0
    return frame


def loop_sums(spans: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, int]]:
    """{(rollup, minute, date, dimensions..., revision): sums}; numerators and denominators written by hand."""
    found: dict[tuple[Any, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in spans.to_dict("records"):
        hand = {
            "attempts_num": row["attempts"], "plays_num": row["plays"],
            "video_start_time_num": row["start_delay_ms"], "video_start_time_den": row["starts_measured"],
            "exit_before_start_rate_num": row["exits_before_start"], "exit_before_start_rate_den": row["attempts"],
            "any_start_time_num": row["any_start_delay_ms"], "any_start_time_den": row["any_starts_measured"],
            "startup_score_num": row["startup_score_milli"], "startup_score_den": row["starts_measured"],
            "long_wait_exit_rate_num": row["long_wait_exits"], "long_wait_exit_rate_den": row["attempts"],
            "start_failure_rate_num": row["start_failures"] - row["start_failures_recovered"],
            "start_failure_rate_den": row["attempts"],
            "start_failure_technical_rate_num": row["start_failures"] - row["start_failures_business"]
            - row["start_failures_recovered"],
            "start_failure_technical_rate_den": row["attempts"],
            "start_failure_business_rate_num": row["start_failures_business"],
            "start_failure_business_rate_den": row["attempts"],
            "playback_failure_rate_num": row["playback_failures"] - row["playback_failures_recovered"],
            "playback_failure_rate_den": row["plays"],
            "playback_failure_technical_rate_num": row["playback_failures"] - row["playback_failures_business"]
            - row["playback_failures_recovered"],
            "playback_failure_technical_rate_den": row["plays"],
            "playback_failure_business_rate_num": row["playback_failures_business"],
            "playback_failure_business_rate_den": row["plays"],
            "recovered_failure_rate_num": row["start_failures_recovered"] + row["playback_failures_recovered"],
            "recovered_failure_rate_den": row["attempts"],
            "connection_stall_count_num": row["cir_stalls"], "connection_stall_count_den": row["plays"],
            "connection_stall_time_num": row["cir_stall_ms"], "connection_stall_time_den": row["plays"],
            "connection_rebuffer_ratio_num": row["cir_stall_ms"],
            "connection_rebuffer_ratio_den": row["cir_stall_ms"] + row["play_ms"],
            "connection_exit_rate_num": row["cir_exits"], "connection_exit_rate_den": row["plays"],
            "smoothness_score_num": row["smoothness_score_milli"], "smoothness_score_den": row["smoothness_scored"],
            "switch_up_count_num": row["switches_up"], "switch_up_count_den": row["plays"],
            "switch_down_count_num": row["switches_down"], "switch_down_count_den": row["plays"],
            "switch_up_size_num": row["switch_up_kbps"], "switch_up_size_den": row["switches_up"],
            "switch_down_size_num": row["switch_down_kbps"], "switch_down_size_den": row["switches_down"],
            "startup_switch_count_num": row["startup_switches"], "startup_switch_count_den": row["plays"],
            "playing_time_num": row["play_ms"],
            "media_time_num": row["media_ms"], "content_time_num": row["content_ms"],
            "repaired_stall_share_num": row["repaired_stalls"], "repaired_stall_share_den": row["stalls"],
            "unverified_gap_rate_num": row["gaps"] - row["gaps_verified"], "unverified_gap_rate_den": row["attempts"],
            "stall_count_num": row["stalls"], "stall_count_den": row["plays"],
            "stall_time_num": row["stall_ms"], "stall_time_den": row["plays"],
            "rebuffer_ratio_num": row["stall_ms"], "rebuffer_ratio_den": row["stall_ms"] + row["play_ms"],
            "stalled_time_ratio_num": row["stall_ms"], "stalled_time_ratio_den": row["watched_ms"],
            "played_bitrate_num": row["bitrate_kbps_ms"], "played_bitrate_den": row["bitrate_known_ms"],
            "switch_count_num": row["switches_up"] + row["switches_down"], "switch_count_den": row["plays"],
            "watched_time_num": row["watched_ms"], "concurrency_num": row["alive_ms"],
        }  # fmt: skip
        hand |= {name: row[name] for name in row if re.match("sta(rt|ll)_(le|over)_", str(name))}
        for rollup in ROLLUPS:
            cut = [row[name] if name in rollup.by else "*" for name in DIMENSIONS]
            key = (rollup.name, row["minute_at"], row["start_date"], *cut, row["revision"])
            for name, value in hand.items():
                found[key][name] += int(value)
    return {key: dict(sums) for key, sums in found.items()}


def as_sums(frame: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, int]]:
    """Rows of a query's result in the form of `loop_sums`."""
    keys = ["rollup", "minute_at", "event_date", *DIMENSIONS, "revision"]
    found = {}
    for row in frame.to_dict("records"):
        at, day = pd.Timestamp(row["minute_at"]), row["event_date"]
        key = [row[name] for name in keys]
        key[1] = at.tz_localize(UTC) if at.tzinfo is None else at.tz_convert(UTC)
        key[2] = day if type(day) is date else pd.Timestamp(day).date()
        found[tuple(key)] = {name: int(row[name]) for name in frame.columns if name not in keys}
    return found
