"""A seeded video service with known truth: the demo's input, the tests' oracle, the benchmarks' load."""

from __future__ import annotations

from models.world.config import CLEAN, Disturb, WorldConfig
from models.world.errors import WorldError
from models.world.faults import Fault
from models.world.service import Day, World
from models.world.tails import Carry, by_receipt

__all__ = ["CLEAN", "Carry", "Day", "Disturb", "Fault", "World", "WorldConfig", "WorldError", "by_receipt"]
