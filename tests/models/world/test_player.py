"""The fast player against one that ticks through every millisecond, and laws of its outputs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from models.world import World, WorldConfig, cast, delivery, network
from models.world.browsing import Place, browse, wanted
from models.world.cast import Played
from models.world.rng import draw, stream
from tests.models.world.slow_player import Disk, SlowPlayer, mix

TINY = WorldConfig(
    visits_per_profile_day=1.0,
    seed=5,
    profiles=120,
    shows=24,
    days=2,
    isps_per_country=1,
    film_minutes=(1, 3),
    episode_minutes=(1, 2),
    ad_share=0.4,
)
SESSIONS = 25


def setting(traces_seed: int) -> tuple[World, np.ndarray, network.Environment, delivery.Disks]:
    """Sessions that meet everything: ads, previews, poor lines, crashes, a greedy player, a cluster that goes down."""
    world = World.create(replace(TINY, seed=traces_seed))
    place = Place(
        world.config, world.people, world.cat, world.isps, world.liking, world.useful(0), world._states[0].progress, 0
    )
    want = wanted(browse(place, world._states[0].counts, None, None, None))
    rows, _ = cast.sessions(
        world.config, want, world.people, world.cat, world.isps, world.traces, (), stream(1, "x"), 0
    )
    rng = np.random.default_rng(traces_seed)
    rows = rows[:SESSIONS]
    rows["access"] *= rng.choice([0.05, 0.15, 1.0], len(rows))
    rows["preload"] = np.where(rng.random(len(rows)) < 0.2, rng.integers(300, 4_000, len(rows)), 0)
    rows["fail"], rows["crash_per_h"], rows["greedy"] = 0.05, 3.0, rng.random(len(rows)) < 0.2
    env = network.environment(world.config, world.isps, 0)
    env.edge_up[0, 600:1_000] = False
    env.factor[1, 500:1_200] *= 0.02
    disks = delivery.empty(len(world.isps.cdn_id), len(world.cat.file_id), int(world.cat.file_bytes.sum() * 0.2))
    return world, rows, env, disks


def slow(world: World, rows: np.ndarray, env: network.Environment, disk: int) -> list[SlowPlayer]:
    """The same sessions in the same order, ticking."""
    cat, traces = world.cat, world.traces
    loops = [
        [(int(traces.until[i]), float(traces.kbps[i]), int(traces.latency_ms[i])) for i in range(a, b)]
        for a, b in zip(traces.first[:-1], traces.first[1:], strict=True)
    ]
    space = SimpleNamespace(
        duration=[int(d) for d in cat.duration_ms[cat.asset_title]],
        following=[int(n) for n in cat.asset_next],
        ladders=[
            [int(k) for k in cat.file_kbps[f : f + n]] for f, n in zip(cat.asset_file, cat.asset_rungs, strict=True)
        ],
        first_file=[int(f) for f in cat.asset_file],
        sizes=[int(b) for b in cat.file_bytes],
        vbr=cat.asset_vbr,
        traces=loops,
        factor=env.factor,
        origin_factor=env.origin_factor,
        edge_up=env.edge_up,
        edge_rtt=[int(r) for r in world.isps.edge_rtt_ms],
        origin_rtt=[int(r) for r in world.isps.origin_rtt_ms],
        origin_kbps=world.config.origin_kbps,
        disks=[Disk(disk) for _ in world.isps.cdn_id],
    )
    return [SlowPlayer(row, space).run() for row in rows]


def fast(world: World, rows: np.ndarray, env: network.Environment, disks: delivery.Disks) -> Played:
    return cast.play_day(world.config, rows, world.cat, world.isps, world.traces, env, disks)


@pytest.mark.parametrize("seed", [5, 6])
def test_it_equals_the_player_that_ticks(seed: int) -> None:
    world, rows, env, disks = setting(seed)
    size = disks.disk
    played = fast(world, rows, env, disks)
    for i, other in enumerate(slow(world, rows, env, size)):
        e, t, r = (a[a["session"] == i] for a in (played.events, played.intervals, played.requests))
        columns = (
            "code",
            "mode",
            "at",
            "kbps",
            "buffer",
            "stalls",
            "stall_ms",
            "delay",
            "playhead",
            "background",
            "ad",
        )
        assert [tuple(int(row[c]) for c in columns) for row in e] == other.events, f"events of session {i}"
        spans = ("part", "mode", "ad", "background", "kbps", "start", "end")
        assert [tuple(int(row[c]) for c in spans) for row in t] == other.timeline, f"timeline of session {i}"
        assert {(int(q["file"]), int(q["edge"]), int(q["minute"])): int(q["bytes"]) for q in r} == other.fetched, (
            f"bytes of session {i}"
        )
        assert bool(played.ends["crashed"][i]) == other.crashed
    modes = set(played.intervals["mode"].tolist())
    assert {0, 1, 2, 3} <= modes, "the sessions did not meet enough"


def test_draws_are_keyed_and_equal_plain_integers() -> None:
    for seed, purpose, index in [(1, 0, 0), (2**62 + 5, 17, 3), (99, 4, 2**31)]:
        plain = ((mix(seed ^ mix(purpose * 2**32 + index)) >> 11) + 0.5) * 2.0**-53
        assert draw(np.uint64(seed), purpose, index) == plain


def test_a_timeline_has_no_gap_and_no_overlap() -> None:
    world, rows, env, disks = setting(7)
    t = fast(world, rows, env, disks).intervals
    same = t["session"][1:] == t["session"][:-1]
    assert (t["start"][1:][same] == t["end"][:-1][same]).all()
    assert (t["end"] > t["start"]).all()
