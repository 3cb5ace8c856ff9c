"""What really happened, computed from the player's timeline and the world's own tables, never from what was sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.world.beacons import SPAN_STATE
from models.world.catalogue import Catalogue
from models.world.machine import PAUSED, PLAYING, PRELOAD, REBUFFERING, SEEKING, STARTING
from models.world.population import F8, I8, Obj

Rows = NDArray[Any]


def timeline(intervals: Rows, session_id: Obj, cat: Catalogue, day_ms: int) -> pd.DataFrame:
    """Every interval in which nothing changed: state, background, ad, bitrate; epoch ms, end excluded."""
    return pd.DataFrame(
        {
            "session_id": session_id[intervals["session"]],
            "part": intervals["part"],
            "title_id": cat.title_id[cat.asset_title[intervals["asset"]]],
            "state": SPAN_STATE[intervals["mode"]],
            "start_ms": intervals["start"] + day_ms,
            "end_ms": intervals["end"] + day_ms,
            "background": intervals["background"] == 1,
            "ad": intervals["ad"] == 1,
            "bitrate_kbps": pd.array(np.where(intervals["kbps"] < 0, 0, intervals["kbps"]), dtype="Int32"),
        }
    )


def sessions(
    intervals: Rows, ends: Rows, session_id: Obj, profile_id: Obj, start_ms: I8, day_ms: int, broken: NDArray[np.bool_]
) -> pd.DataFrame:
    """Sums of the timeline per session, ms. `exact`: every event arrived in time and the end was told, so a reader
    of the events must find these very numbers.

    `stall_ms` counts rebuffering in the foreground; `start_delay_ms` is the time spent starting in parts that played.
    """
    n = len(ends)
    length = intervals["end"] - intervals["start"]
    of, mode = intervals["session"], intervals["mode"]
    shown = (intervals["ad"] == 0) & (intervals["background"] == 0)

    def total(rows: NDArray[np.bool_]) -> I8:
        return np.bincount(of[rows], length[rows], minlength=n).astype(np.int64)

    key = of * 8 + intervals["part"]
    frame = (mode == PLAYING) & (intervals["ad"] == 0)
    played = np.unique(key[frame])
    stalled = mode == REBUFFERING
    run = np.cumsum(np.concatenate([[True], (stalled[1:] != stalled[:-1]) | (key[1:] != key[:-1])])[: len(mode)])
    _, first = np.unique(np.where(stalled & shown, run, -1), return_index=True)
    began = first[(stalled & shown)[first]]
    starting = (mode == STARTING) & (intervals["ad"] == 0)
    return pd.DataFrame(
        {
            "session_id": session_id,
            "profile_id": profile_id,
            "start_ms": start_ms + day_ms,
            "end_ms": ends["at"] + day_ms,
            "parts": ends["parts"],
            "plays": np.bincount(played // 8, minlength=n),
            "start_delay_ms": total(starting & np.isin(key, played)),
            "starting_ms": total(starting),
            "stall_ms": total((mode == REBUFFERING) & shown),
            "stalls": np.bincount(of[began], minlength=n),
            "play_ms": total(frame & shown),
            "seek_ms": total((mode == SEEKING) & shown),
            "pause_ms": total(mode == PAUSED),
            "ad_ms": total(intervals["ad"] == 1),
            "preload_ms": total(mode == PRELOAD),
            "background_ms": total((intervals["background"] == 1) & (mode != PRELOAD)),
            "end_state": SPAN_STATE[ends["mode"]],
            "crashed": ends["crashed"] == 1,
            "completed": ends["completed"],
            "exact": ~broken & (ends["crashed"] == 0),
        }
    )


def watch_ms(duration_ms: I8, like: F8) -> tuple[F8, F8]:
    """(expected playing time, probability to reach the end) of a title for a viewer who likes it that much.

    The player's own rule in closed form: to the end with 0.2 + 0.6 like, else a share of the running time distributed
    as the power 2.6 - 1.8 like of a uniform.
    """
    whole = 0.2 + 0.6 * like
    return duration_ms * (whole + (1.0 - whole) / (3.6 - 1.8 * like)), whole
