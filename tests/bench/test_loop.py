"""The loop without engines on one small world: decisions fit the world, and its log shows them."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.loop import Decisions, Logs, Sizes, line, main, play_seed
from models.delivery.replay import replay_lru, replay_plan, viewings
from models.delivery.tomorrow import on_disk
from models.experiment.assign import arms
from models.world.config import WorldConfig
from models.world.service import Day, World

SIZES = Sizes(profiles=250, shows=60, history=4, holdback=0.3)
SEED = 77


@pytest.fixture(scope="module")
def lived() -> tuple[World, Logs, Decisions, Day]:
    config = WorldConfig(seed=SEED, profiles=SIZES.profiles, shows=SIZES.shows, days=SIZES.history + 1)
    world = World.create(config)
    logs = Logs(world)
    for number in range(SIZES.history):
        logs.add(world.live(number), config.date(number))
    decided = logs.decide(config.date(SIZES.history - 1), SIZES.history - 1, SIZES)
    after = world.live(SIZES.history, pages=decided.pages, artwork=decided.artwork, plan=decided.plan)
    return world, logs, decided, after


def test_the_day_after_is_lived_by_the_decisions(lived: tuple[World, Logs, Decisions, Day]) -> None:
    _, _, decided, after = lived
    shown = after.impressions
    assert set(shown["page_id"]) <= set(decided.pages["page_id"])
    assert set(shown["artwork_decision_id"]) <= set(decided.artwork["decision_id"])
    assert set(after.cdn_requests["plan_id"]) <= set(decided.plan["plan_id"])
    logged = shown.merge(
        decided.artwork, left_on="artwork_decision_id", right_on="decision_id", suffixes=("", "_decided")
    )
    assert (logged["artwork_id"] == logged["artwork_id_decided"]).all()
    assert (logged["artwork_probability"] == logged["probability"]).all()


def test_arms_are_the_two_hashes(lived: tuple[World, Logs, Decisions, Day]) -> None:
    _, _, decided, after = lived
    for column, salt in (("page_arm", "page-bench"), ("artwork_arm", "artwork-bench")):
        assert (
            after.impressions[column].tolist() == arms(salt, after.impressions["profile_id"], SIZES.holdback).tolist()
        )
    assert len(after.impressions.groupby(["page_arm", "artwork_arm"])) == 4
    assert (
        decided.pages["page_arm"].tolist() == arms("page-bench", decided.pages["profile_id"], SIZES.holdback).tolist()
    )


def test_what_the_replay_promises_the_clusters_delivered(lived: tuple[World, Logs, Decisions, Day]) -> None:
    """The world fills what the plan says, as far as its disks agree with the log's LRU: within a tenth of the bytes."""
    _, _, decided, after = lived
    log = viewings(after.cdn_requests)
    promised = replay_plan(log, on_disk(decided.plan)).offload
    requests = after.cdn_requests
    delivered = requests.loc[requests["tier"] == "edge", "bytes"].sum() / requests["bytes"].sum()
    assert abs(promised - delivered) < 0.1
    assert (decided.plan["held_bytes"] <= decided.plan["disk_bytes"]).all()
    assert (decided.plan["fill_bytes"] <= decided.plan["fill_budget_bytes"]).all()


def test_the_lru_replay_is_the_lru_of_the_world(lived: tuple[World, Logs, Decisions, Day]) -> None:
    """Warmed by the days before, the replay of a day under LRU comes within 3 points of what the clusters logged."""
    world, logs, _, _ = lived
    catalogue = world.catalogue(SIZES.history - 1)
    disk = dict(zip(catalogue["cdn_cluster"]["cdn_id"], catalogue["cdn_cluster"]["disk_bytes"], strict=True))
    last = logs.requests[SIZES.history - 1]
    warm = viewings(pd.concat(logs.requests[: SIZES.history - 1], ignore_index=True))
    replayed = replay_lru(warm, viewings(last), catalogue["asset_file"], disk).offload
    logged = last.loc[last["tier"] == "edge", "bytes"].sum() / last["bytes"].sum()
    assert abs(replayed - logged) < 0.03


def test_a_seed_gives_the_same_figures_twice() -> None:
    one, two = play_seed(SEED, SIZES), play_seed(SEED, SIZES)
    assert (one.plan, one.lru, one.oracle, one.pages, one.artwork) == (
        two.plan,
        two.lru,
        two.oracle,
        two.pages,
        two.artwork,
    )
    assert f"plan {one.plan:.3f}" in line(one)


def test_the_exit_code_says_whether_the_contests_were_won(capsys: pytest.CaptureFixture[str]) -> None:
    small = [
        "--seeds",
        "1",
        "--first-seed",
        "77",
        "--profiles",
        "250",
        "--shows",
        "60",
        "--history",
        "4",
        "--holdback",
        "0.3",
    ]
    assert main([*small, "--need", "2"]) == 1
    assert main([*small, "--need", "2", "--report-only"]) == 0
    assert "needed 2" in capsys.readouterr().out
