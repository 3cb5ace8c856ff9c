"""Mux's startup and smoothness scores, in thousandths of their 0 to 100, as integers that every machine agrees on.

Source: Mux, "Viewer Experience Score" (docs). Its startup score is steeper below 500 ms in a way that is not published,
so the published curve is used throughout; exits before start get no score there and none here.
"""

from __future__ import annotations

import math


def startup_milli(delay_ms: int) -> int:
    """100 * 8 / (8 + s) of a start delay of s seconds, in thousandths, rounded down."""
    return 800_000_000 // (8_000 + delay_ms)


def smoothness_milli(stalls: int, stall_ms: int, play_ms: int) -> int:
    """Mean of 100 / sqrt(1 + (stalls / 2)^2) and 100 * exp(-10 * rebuffer ratio), in thousandths, rounded to nearest.

    Args:
        stalls: number of stalls of the play.
        stall_ms: stalled time.
        play_ms: playing time; the rebuffer ratio is stall_ms over the sum of both, 0 if that is 0.
    """
    count, stalled, played = max(stalls, 0), max(stall_ms, 0), max(play_ms, 0)
    ratio = stalled / (stalled + played) if stalled + played else 0.0
    by_count = 100_000.0 / math.sqrt(1.0 + count * count / 4.0)
    return math.floor((by_count + 100_000.0 * _exp_minus(10.0 * ratio)) / 2.0 + 0.5)


def _exp_minus(x: float) -> float:
    """exp(-x) for 0 <= x <= 10 to nine digits, by operations that IEEE 754 rounds alike everywhere; libm's exp is not
    one of them, and a last bit may move an integer. Four terms of the series at x / 1024, squared ten times."""
    z = x / 1024.0
    term = 1.0 - z * (1.0 - z / 2.0 * (1.0 - z / 3.0 * (1.0 - z / 4.0)))
    for _ in range(10):
        term *= term
    return term
