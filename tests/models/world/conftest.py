"""Small worlds, lived once for all tests of this folder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.world import CLEAN, Day, World, WorldConfig, faults

SMALL = WorldConfig(seed=11, profiles=400, shows=60, days=4, isps_per_country=2, visits_per_profile_day=1.0)


def busiest(world: World) -> str:
    """ISP with most profiles."""
    return str(world.isps.isp[np.bincount(world.people.cluster).argmax()])


@pytest.fixture(scope="session")
def clean() -> tuple[World, Day]:
    """A small world in which nothing is lost, and its first day, with one ISP out of breath."""
    world = World.create(replace(SMALL, disturb=replace(CLEAN, skew_ms=1_500.0)))
    return world, world.live(0, faults=(faults.isp_outage(busiest(world), start=0, minutes=1_440, factor=0.05),))


@pytest.fixture(scope="session")
def dirty() -> tuple[World, Day]:
    """The same with everyday disturbances."""
    world = World.create(SMALL)
    return world, world.live(0)
