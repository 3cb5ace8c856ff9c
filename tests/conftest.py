"""Fixtures shared by every room: a running stack, a Spark session; both are made once, when the first test asks."""

from __future__ import annotations

import signal

import hypothesis

pytest_plugins = ["tests.fixtures.stack", "tests.fixtures.spark"]

# A shell that starts the tests in the background lets them and their children ignore Ctrl-C; its tests need it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes says how busy the machine is, nothing of the code.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")
