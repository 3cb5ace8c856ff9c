"""Small worlds, lived once for all tests of this folder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.world import CLEAN, Day, World, WorldConfig, faults

SMALL = WorldConfig(seed=11, profiles=400, shows=60, days=4, isps_per_country=2)


@pytest.fixture(scope="session")
def clean() -> tuple[World, Day]:
    """A small world in which nothing is lost, and its first day, with an outage of one ISP in the evening."""
    world = World.create(replace(SMALL, disturb=replace(CLEAN, skew_ms=1_500.0)))
    return world, world.live(0, faults=(faults.isp_outage("alder-de", start=17 * 60, minutes=120, factor=0.03),))


@pytest.fixture(scope="session")
def dirty() -> tuple[World, Day]:
    """The same with everyday disturbances."""
    world = World.create(SMALL)
    return world, world.live(0)
