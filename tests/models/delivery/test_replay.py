"""Replays against caches small enough to follow by hand, and LRU against a plain Python one."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pandas as pd

from models.delivery.replay import Served, replay_lru, replay_plan, viewings


def log(rows: list[tuple[str, int]], cdn_id: str = "c") -> pd.DataFrame:
    return pd.DataFrame({"cdn_id": cdn_id, "file_id": [f for f, _ in rows], "bytes": [b for _, b in rows],
                         "session_id": [f"s{i}" for i in range(len(rows))], "at": range(len(rows))})


def plain_lru(rows: list[tuple[str, int]], disk: int) -> list[int]:
    """The same rule with an OrderedDict: the oracle."""
    cache: OrderedDict[str, int] = OrderedDict()
    hits = []
    for file_id, asked in rows:
        stored = cache.pop(file_id, 0)
        hits.append(min(asked, stored))
        cache[file_id] = min(max(asked, stored), disk)
        while sum(cache.values()) > disk:
            cache.popitem(last=False)
    return hits


def test_lru_equals_the_plain_one() -> None:
    rng = np.random.default_rng(11)
    for disk in (0, 1, 40, 200, 10**6):
        rows = [(f"f{rng.zipf(1.4) % 30}", int(rng.integers(1, 60))) for _ in range(2000)]
        warm, then = rows[:500], rows[500:]
        found = replay_lru(log(warm), log(then), {"c": disk})
        assert found == Served(sum(plain_lru(rows, disk)[500:]), sum(b for _, b in then))


def test_clusters_do_not_share_a_disk() -> None:
    both = pd.concat([log([("f", 5), ("f", 5)]), log([("f", 5)], "d")], ignore_index=True)
    assert replay_lru(both.iloc[:0], both, {"c": 9, "d": 9}) == Served(5, 15)


def test_a_plan_serves_what_it_holds() -> None:
    held = pd.DataFrame({"cdn_id": ["c"], "file_id": ["f"]})
    assert replay_plan(log([("f", 5), ("g", 7), ("f", 2)]), held) == Served(7, 14)
    assert replay_plan(log([("f", 5)], "d"), held).offload == 0.0
    assert replay_plan(log([]), held.iloc[:0]).offload == 0.0


def test_viewings_add_tiers_and_minutes() -> None:
    minute = pd.to_datetime(["2026-01-01T00:01Z", "2026-01-01T00:00Z", "2026-01-01T00:00Z"])
    requests = pd.DataFrame({"cdn_id": "c", "session_id": ["s", "s", "r"], "file_id": "f", "minute_at": minute,
                             "tier": ["edge", "origin", "edge"], "bytes": [3, 4, 9]})
    found = viewings(requests)
    assert found[["session_id", "bytes"]].values.tolist() == [["r", 9], ["s", 7]]
    assert found["at"].tolist() == [minute[1], minute[1]]
