"""How much of a title was watched, and when that counts: the one rule of recommendation, artwork and percent complete.

Distinct content over running time: who watches the first half twice has watched half. Only table `play` knows the
running time, so the rule is SQL over its columns, in words that Spark, Flink and DuckDB share; everybody else reads the
columns. A running time of 0 is unknown, or live: nothing is a share of it.
"""

from __future__ import annotations

from collections.abc import Mapping

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
