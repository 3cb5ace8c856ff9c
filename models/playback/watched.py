"""How much of a title was watched, and when that counts: the one rule of recommendation, artwork and percent complete.

Distinct content over running time: who watches the first half twice has watched half. Only table `play` knows the
running time, so the rule is SQL over its columns, in words that Spark, Flink and DuckDB share; everybody else reads the
columns, or, while a session lives, asks `of`. A running time of 0 is unknown, or live: nothing is a share of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

QUALITY_MS, QUALITY_SHARE, COMPLETED_SHARE = 120_000, 0.1, 0.9
"""A quality play: so long *and* such a share, or completed; completed: such a share."""

_CONTENT = "CASE WHEN duration_ms > 0 THEN LEAST(content_ms, duration_ms) ELSE CAST(0 AS BIGINT) END"
_RATIO = f"CAST({_CONTENT} AS DOUBLE) / CAST(duration_ms AS DOUBLE)"
_SHARE = f"CASE WHEN duration_ms > 0 THEN {_RATIO} ELSE CAST(0 AS DOUBLE) END"


def columns() -> Mapping[str, str]:
    """Column of `play` to its SQL over `content_ms` and `play_ms` of the session and `duration_ms` of the title."""
    completed = f"({_SHARE}) >= {COMPLETED_SHARE}E0"
    return {
        "content_ms": _CONTENT,
        "watched_share": _SHARE,
        "completed": completed,
        "quality_play": f"({completed}) OR (play_ms >= {QUALITY_MS} AND ({_SHARE}) >= {QUALITY_SHARE}E0)",
    }


def of(live: pd.DataFrame) -> pd.DataFrame:
    """The same columns in pandas, for a session that has no row in `play` yet.

    Args:
        live: columns content_ms, play_ms, duration_ms.
    """
    known = live["duration_ms"] > 0
    content = live["content_ms"].clip(upper=live["duration_ms"]).where(known, 0)
    share = (content / live["duration_ms"].where(known, 1)).astype(float)
    completed = share >= COMPLETED_SHARE
    quality = completed | ((live["play_ms"] >= QUALITY_MS) & (share >= QUALITY_SHARE))
    return live.assign(content_ms=content, watched_share=share, completed=completed, quality_play=quality)
