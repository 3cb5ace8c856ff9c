"""Disks: LRU against a plain one, plans to the letter, bytes accounted for."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.world import Day, World, WorldError, catalogue, delivery


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 11), max_size=120),
    st.lists(st.integers(1, 40), min_size=12, max_size=12),
    st.integers(1, 90),
)
def test_lru_equals_an_ordered_dict(touches: list[int], sizes: list[int], disk: int) -> None:
    disks = delivery.empty(1, 12, disk)
    held: OrderedDict[int, int] = OrderedDict()
    for f in touches:
        hit = delivery.touch(disks.before, disks.after, disks.used, 0, f, np.array(sizes), disk, False)
        assert hit == (f in held)
        if hit:
            held.move_to_end(f)
        elif sizes[f] <= disk:
            while sum(held.values()) + sizes[f] > disk:
                held.popitem(last=False)
            held[f] = sizes[f]
        assert disks.used[0] == sum(held.values()) <= disk
        assert disks.held(0).tolist() == list(held)[::-1]


def plan_for(
    world: World, files: list[int], cdn: int = 0, budget: int | None = None, action: str = "add"
) -> pd.DataFrame:
    disk, fill = catalogue.budgets(world.config, world.cat)
    rows = [
        {
            "file_id": world.cat.file_id[f],
            "rank": i,
            "bytes": int(world.cat.file_bytes[f]),
            "expected_bytes": 1.0,
            "action": action,
        }
        for i, f in enumerate(files)
    ]
    return pd.DataFrame(
        [
            {
                "plan_id": "plan-1",
                "cdn_id": world.isps.cdn_id[cdn],
                "disk_bytes": disk,
                "fill_budget_bytes": fill if budget is None else budget,
                "files": rows,
            }
        ]
    )


def test_a_plan_is_the_disk_and_nothing_else(clean: tuple[World, Day]) -> None:
    world, _ = clean
    day = world.live(0)
    asked = day.cdn_requests[day.cdn_requests["cdn_id"] == world.isps.cdn_id[0]]
    by_file = asked.groupby("file_id")["bytes"].sum().sort_values(ascending=False)
    number = {f: i for i, f in enumerate(world.cat.file_id)}
    disk, _ = catalogue.budgets(world.config, world.cat)
    files: list[int] = []
    for f in by_file.index:
        if sum(int(world.cat.file_bytes[g]) for g in files) + int(world.cat.file_bytes[number[f]]) <= disk:
            files.append(number[f])
    planned = world.live(0, plan=plan_for(world, files, budget=disk))
    rows = planned.cdn_requests[planned.cdn_requests["cdn_id"] == world.isps.cdn_id[0]]
    held = {world.cat.file_id[f] for f in files}
    assert set(rows["plan_id"]) == {"plan-1"}
    assert ((rows["tier"] == "edge") == rows["file_id"].isin(held)).all()
    others = planned.cdn_requests[planned.cdn_requests["cdn_id"] != world.isps.cdn_id[0]]
    assert others["plan_id"].isna().all()
    pd.testing.assert_frame_equal(
        others.drop(columns=["received_at"]).sort_values("request_id", ignore_index=True),
        day.cdn_requests[day.cdn_requests["cdn_id"] != world.isps.cdn_id[0]]
        .drop(columns=["received_at"])
        .sort_values("request_id", ignore_index=True),
    )
    fact = planned.truth["plan"].iloc[0]
    assert fact["held_bytes"] == sum(int(world.cat.file_bytes[f]) for f in files) <= disk
    assert fact["skipped_bytes"] == 0


def test_the_fill_budget_is_respected_and_what_is_there_costs_nothing(clean: tuple[World, Day]) -> None:
    world, _ = clean
    disks = world._states[0].disks.copy()
    there = disks.held(0)[:3].tolist()
    away = [f for f in range(len(world.cat.file_id)) if f not in set(disks.held(0).tolist())][:4]
    size = world.cat.file_bytes
    budget = int(size[away[0]] + size[away[1]])
    _, fact = delivery.apply_plan(
        disks, plan_for(world, there + away, budget=budget, action="keep"), world.cat, world.isps
    )
    held = set(disks.held(0).tolist())
    assert set(there) <= held
    assert fact["filled_bytes"].iloc[0] <= budget
    assert fact["filled_bytes"].iloc[0] == sum(int(size[f]) for f in held - set(there))
    assert fact["filled_bytes"].iloc[0] + fact["skipped_bytes"].iloc[0] == sum(int(size[f]) for f in away)


def test_plans_that_do_not_fit_are_refused(clean: tuple[World, Day]) -> None:
    world, _ = clean
    with pytest.raises(WorldError, match="may not exceed the disk"):
        world.live(0, plan=plan_for(world, list(range(len(world.cat.file_id)))))
    wrong = plan_for(world, [0]).assign(cdn_id="cdn-nowhere")
    with pytest.raises(WorldError, match="'cdn-nowhere' is not one of"):
        world.live(0, plan=wrong)
    wrong = plan_for(world, [0])
    wrong["files"].iloc[0][0]["file_id"] = "ghost"
    with pytest.raises(WorldError, match="unknown files, first 'ghost'"):
        world.live(0, plan=wrong)


def test_bytes_fetched_are_bytes_logged(clean: tuple[World, Day]) -> None:
    """A session that played one film to the end without seeking asked for each chunk once."""
    world, day = clean
    cat, sessions = world.cat, day.truth["sessions"]
    number = {f: i for i, f in enumerate(cat.file_id)}
    plain = sessions[(sessions["end_state"] == "ended") & (sessions["seek_ms"] == 0) & (sessions["parts"] == 1)]
    rows = day.cdn_requests[day.cdn_requests["session_id"].isin(plain["session_id"])].copy()
    assert len(plain) > 20
    file = rows["file_id"].map(number).to_numpy()
    rows["chunks"] = np.ceil(cat.duration_ms[cat.asset_title[cat.file_asset[file]]] / catalogue.CHUNK_MS)
    requests = rows.groupby("session_id").agg(requests=("requests", "sum"), chunks=("chunks", "first"))
    retried = (
        day.events[day.events["error_code"] == "segment_timeout"]
        .groupby("session_id")
        .size()
        .reindex(requests.index)
        .fillna(0)
    )
    assert (requests["requests"] == requests["chunks"] + retried).all()
    per_file = (
        rows[~rows["session_id"].isin(retried[retried > 0].index)]
        .groupby(["session_id", "file_id"])["bytes"]
        .sum()
        .reset_index()
    )
    assert (per_file["bytes"].to_numpy() <= cat.file_bytes[per_file["file_id"].map(number).to_numpy()]).all()
    assert rows["request_id"].is_unique
