"""The plan never exceeds disk or fill budget, and wastes no more than greedy must (S7)."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.delivery.planner import ADD, DROP, KEEP, Planner

SIZES = st.one_of(st.integers(1, 50), st.integers(1, 2**40), st.just(1))
VALUES = st.one_of(st.just(0.0), st.floats(0, 1e15, allow_nan=False), st.integers(0, 5).map(float))
LIMITS = st.one_of(st.just(0), st.integers(0, 200), st.integers(0, 2**42))


@st.composite
def instances(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame, int, int, float]:
    """Random and adversarial: disks that shrank, files that vanished, ties, worthless files, nothing at all."""
    n = draw(st.integers(0, 40))
    files = pd.DataFrame(
        {
            "file_id": [f"f{i:02d}" for i in range(n)],
            "bytes": np.array(draw(st.lists(SIZES, min_size=n, max_size=n)), dtype=np.int64),
            "expected_bytes": np.array(draw(st.lists(VALUES, min_size=n, max_size=n)), dtype=np.float64),
        }
    )
    on = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=bool)
    vanished = draw(st.integers(0, 3))
    held = pd.concat(
        [
            files.loc[on, ["file_id", "bytes"]],
            pd.DataFrame(
                {"file_id": [f"gone{i}" for i in range(vanished)], "bytes": np.full(vanished, 7, dtype=np.int64)}
            ),
        ]
    )
    return files, held, draw(LIMITS), draw(LIMITS), draw(st.sampled_from([0.0, 0.15, 2.0]))


@given(instances())
@settings(max_examples=600, deadline=None)
def test_never_over_disk_or_budget_and_the_actions_add_up(
    instance: tuple[pd.DataFrame, pd.DataFrame, int, int, float],
) -> None:
    files, held, disk, budget, bonus = instance
    plan = Planner(disk, budget, bonus).plan(files, held)
    after = plan[plan["action"] != DROP]
    assert int(after["bytes"].sum()) <= disk
    assert int(plan.loc[plan["action"] == ADD, "bytes"].sum()) <= budget
    assert not plan["file_id"].duplicated().any()
    on = set(held["file_id"])
    assert set(plan.loc[plan["action"] == ADD, "file_id"]).isdisjoint(on)
    assert set(plan.loc[plan["action"] != ADD, "file_id"]) == on
    assert plan["rank"].tolist() == list(range(len(plan)))
    assert plan["action"].map({ADD: 0, KEEP: 1, DROP: 2}).is_monotonic_increasing


@given(instances())
@settings(max_examples=300, deadline=None)
def test_a_plan_is_worth_at_least_what_was_there(instance: tuple[pd.DataFrame, pd.DataFrame, int, int, float]) -> None:
    files, held, _, budget, bonus = instance
    known = files[files["file_id"].isin(set(held["file_id"]))]
    disk = int(held["bytes"].sum())
    plan = Planner(disk, budget, bonus).plan(files, held)
    after = plan.loc[plan["action"] != DROP, "expected_bytes"].sum()
    assert after >= known["expected_bytes"].sum() * (1 - 1e-12)


@given(instances())
@settings(max_examples=200, deadline=None)
def test_greedy_loses_at_most_one_file_when_only_the_disk_binds(
    instance: tuple[pd.DataFrame, pd.DataFrame, int, int, float],
) -> None:
    files, held, disk, _, _ = instance
    fits = files[files["bytes"] <= disk]
    plan = Planner(disk, 2**62).plan(files, held.iloc[:0])
    got = plan.loc[plan["action"] == ADD, "expected_bytes"].sum()
    order = fits.assign(density=fits["expected_bytes"] / fits["bytes"]).sort_values("density", ascending=False)
    room, bound = disk, 0.0
    for row in order.itertuples():
        take = min(room, row.bytes)
        bound += row.density * take
        room -= take
    assert got >= (bound - (fits["expected_bytes"].max() if len(fits) else 0.0)) * (1 - 1e-9) - 1e-6


def test_equal_sizes_give_the_true_optimum_over_disk_and_budget() -> None:
    """With equal sizes and no bonus greedy is exact: held against all subsets that are legal."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        files = pd.DataFrame(
            {"file_id": list("abcdefg"), "bytes": 10, "expected_bytes": rng.integers(1, 99, 7).astype(float)}
        )
        on = rng.random(7) < 0.4
        slots = max(int(rng.integers(1, 6)), int(on.sum()))
        adds = int(rng.integers(0, 4))
        best = max(
            files["expected_bytes"].iloc[list(subset)].sum()
            for size in range(slots + 1)
            for subset in combinations(range(7), size)
            if sum(not on[i] for i in subset) <= adds
        )
        plan = Planner(slots * 10 + 3, adds * 10 + 9, 0.0).plan(files, files[on])
        assert plan.loc[plan["action"] != DROP, "expected_bytes"].sum() == best


def test_a_small_gain_does_not_replace_a_large_one_does() -> None:
    files = pd.DataFrame({"file_id": ["old", "new"], "bytes": [10, 10], "expected_bytes": [100.0, 110.0]})
    held = files.iloc[:1][["file_id", "bytes"]]
    action = Planner(10, 10, 0.15).plan(files, held).set_index("file_id")["action"]
    assert action.to_dict() == {"old": KEEP}
    better = files.assign(expected_bytes=[100.0, 120.0])
    assert Planner(10, 10, 0.15).plan(better, held).set_index("file_id")["action"].to_dict() == {
        "old": DROP,
        "new": ADD,
    }


def test_broken_input_is_refused_with_its_name() -> None:
    files = pd.DataFrame({"file_id": ["a", "a"], "bytes": [1, 1], "expected_bytes": [1.0, 1.0]})
    with pytest.raises(ValueError, match="names file 'a' more than once"):
        Planner(1, 1).plan(files, files.iloc[:0])
    with pytest.raises(ValueError, match="not finite"):
        Planner(1, 1).plan(files.iloc[:1].assign(expected_bytes=np.nan), files.iloc[:0])
    with pytest.raises(ValueError, match="disk_bytes is -1"):
        Planner(-1, 1)
