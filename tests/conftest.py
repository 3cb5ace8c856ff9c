"""Fixtures shared by every room: a running stack, a Spark session; both are made once, when the first test asks."""

from __future__ import annotations

pytest_plugins = ["tests.fixtures.stack", "tests.fixtures.spark"]
