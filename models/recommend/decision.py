"""The words of a promotion row, and which version it lets serve; imports nothing, so that a rollback starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODEL = "recommender"
FALLBACK = "decayed_popularity"
INCUMBENT = "incumbent"
ROLLBACK = "rollback"
"""`decided_by` of a promotion row that `matinee model rollback` wrote."""


def serving_version(row: Mapping[str, Any]) -> str | None:
    """Version that a promotion row lets serve, None for the fallback. Rows of v1 know their own version alone."""
    version = row.get("serves")
    if isinstance(version, str):
        return version
    known = isinstance(row.get("recipe"), str)  # a row of v2 without `serves` means the fallback
    return str(row["version"]) if bool(row["promoted"]) and not known else None
