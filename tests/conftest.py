"""Fixtures shared by every room: a running stack, a Spark session; both are made once, when the first test asks."""

from __future__ import annotations

import os
import signal

import hypothesis

pytest_plugins = ["tests.fixtures.stack", "tests.fixtures.spark"]

# A shell that starts the tests in the background lets them and their children ignore Ctrl-C; its tests need it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A JVM of Spark or Flink that lives for a test or a suite compiles more than it runs: the first compiler is enough.
for jvm in ("SPARK_SUBMIT_OPTS", "JVM_ARGS"):
    os.environ.setdefault(jvm, "-XX:TieredStopAtLevel=1")
# How long an example takes says how busy the machine is, nothing of the code.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")
