"""What a plan is held against: other policies' offload, all replayed over the log of one same day."""

from __future__ import annotations

import pandas as pd

from models.delivery.replay import best_held, most_asked, replay_lru, replay_lru_bytes, replay_plan, viewings
from models.delivery.tomorrow import on_disk

OURS, LRU, LRU_PARTS, YESTERDAY, ORACLE, NOTHING = (
    "our plan",
    "LRU",
    "LRU of parts of files",
    "yesterday's counts",
    "rate oracle",
    "no plan, empty disk",
)


def offload_lines(
    log: pd.DataFrame,
    history: pd.DataFrame,
    yesterday: pd.DataFrame,
    plan: pd.DataFrame,
    rates: pd.DataFrame,
    files: pd.DataFrame,
    clusters: pd.DataFrame,
) -> dict[str, float]:
    """Share of the bytes of `log` served from the edge under every policy.

    Args:
        log: record cdn_request of the day scored. history: of the days before, warms LRU. yesterday: of the day before.
        plan: record fill_plan in force on the day.
        rates: cdn_id, file_id, expected_bytes: the true rates, which only a world can tell.
        files, clusters: newest rows of records asset_file and cdn_cluster.
    """
    disk = {str(c): int(b) for c, b in zip(clusters["cdn_id"], clusters["disk_bytes"], strict=True)}
    asked, warm = viewings(log), viewings(history)
    return {
        OURS: replay_plan(asked, on_disk(plan)).offload,
        LRU: replay_lru(warm, asked, files, disk).offload,
        LRU_PARTS: replay_lru_bytes(warm, asked, files, disk).offload,
        YESTERDAY: replay_plan(asked, most_asked(viewings(yesterday), files, disk)).offload,
        ORACLE: replay_plan(asked, best_held(rates, files, disk)).offload,
        NOTHING: 0.0,
    }
