"""Replays against caches small enough to follow by hand, and LRU against a plain Python one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.delivery.replay import Served, lru_contents, replay_lru, replay_lru_bytes, replay_plan, viewings


def log(rows: list[tuple[str, int]], cdn_id: str = "c") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cdn_id": cdn_id,
            "file_id": [f for f, _ in rows],
            "bytes": [b for _, b in rows],
            "session_id": [f"s{i}" for i in range(len(rows))],
            "at": range(len(rows)),
        }
    )


def files(sizes: dict[str, int]) -> pd.DataFrame:
    return pd.DataFrame({"file_id": list(sizes), "bytes": list(sizes.values())})


def plain_lru(
    rows: list[tuple[str, int]], sizes: dict[str, int], disk: int, whole: bool
) -> tuple[list[int], dict[str, int]]:
    """The same rules, looking for the oldest by hand: the oracle."""
    cache: dict[str, int] = {}
    asked_at: dict[str, int] = {}
    hits = []
    for now, (file_id, asked) in enumerate(rows):
        stored = cache.get(file_id, 0)
        hits.append((asked if stored else 0) if whole else min(asked, stored))
        cache[file_id] = sizes[file_id] if whole else max(stored, asked)
        asked_at[file_id] = now
        if cache[file_id] > disk:
            del cache[file_id]
        while sum(cache.values()) > disk:
            del cache[min(cache, key=asked_at.__getitem__)]
    return hits, dict(cache)


@pytest.mark.parametrize("whole", [True, False])
def test_lru_equals_the_plain_one(whole: bool) -> None:
    rng = np.random.default_rng(11)
    sizes = {f"f{i}": int(rng.integers(60, 90)) for i in range(30)}
    for disk in (0, 1, 70, 400, 10**6):
        rows = [(f"f{rng.zipf(1.4) % 30}", int(rng.integers(1, 60))) for _ in range(2000)]
        warm, then = rows[:500], rows[500:]
        replay = replay_lru if whole else replay_lru_bytes
        hits, cache = plain_lru(rows, sizes, disk, whole)
        assert replay(log(warm), log(then), files(sizes), {"c": disk}) == Served(
            sum(hits[500:]), sum(b for _, b in then)
        )
        if whole:
            held = lru_contents(log(rows), files(sizes), {"c": disk})
            assert dict(zip(held["file_id"], held["bytes"], strict=True)) == cache


def test_an_unknown_file_is_refused() -> None:
    with pytest.raises(ValueError, match="'nope'.*asset_file does not know"):
        lru_contents(log([("nope", 1)]), files({"f": 3}), {"c": 9})


def test_clusters_do_not_share_a_disk() -> None:
    both = pd.concat([log([("f", 5), ("f", 5)]), log([("f", 5)], "d")], ignore_index=True)
    assert replay_lru(both.iloc[:0], both, files({"f": 7}), {"c": 9, "d": 9}) == Served(5, 15)


def test_a_plan_serves_what_it_holds() -> None:
    held = pd.DataFrame({"cdn_id": ["c"], "file_id": ["f"]})
    assert replay_plan(log([("f", 5), ("g", 7), ("f", 2)]), held) == Served(7, 14)
    assert replay_plan(log([("f", 5)], "d"), held).offload == 0.0
    assert replay_plan(log([]), held.iloc[:0]).offload == 0.0


def test_viewings_add_tiers_and_minutes() -> None:
    minute = pd.to_datetime(["2026-01-01T00:01Z", "2026-01-01T00:00Z", "2026-01-01T00:00Z"])
    requests = pd.DataFrame(
        {
            "cdn_id": "c",
            "session_id": ["s", "s", "r"],
            "file_id": "f",
            "minute_at": minute,
            "tier": ["edge", "origin", "edge"],
            "bytes": [3, 4, 9],
        }
    )
    found = viewings(requests)
    assert found[["session_id", "bytes"]].values.tolist() == [["r", 9], ["s", 7]]
    assert found["at"].tolist() == [minute[1], minute[1]]
