"""The fold's counters of corrections: a delta with a negative measure is one, and what it takes back is added up."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conf import environments, kernel
from conf.java import tool
from tests.kernel import jvm

pytestmark = pytest.mark.jvm
DELTAS = (
    "PLAY_MS=4000,PLAYS=1",
    "PLAY_MS=-1500,STALL_MS=1500",
    "STALLS=-1,PLAY_MS=-500",
    "ATTEMPTS=1",
    "STALL_OVER_60000_MS=-1",
)


def test_what_deltas_take_back_is_counted() -> None:
    flink = next(environments.flink_home().glob("lib/flink-dist*.jar"))
    source = Path(__file__).with_name("Counted.java")
    command = [str(tool("java")), *jvm.QUICK, "-cp", f"{kernel.jar()}:{flink}", str(source), *DELTAS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()) == {
        "deltas": "5",
        "corrections": "3",
        "taken_back.play_ms": "2000",
        "taken_back.stalls": "1",
        "taken_back.stall_over_60000_ms": "1",
    }
