"""Every process of the stream killed, inside checkpoints and commits: the rows of an undisturbed run, byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from conf.settings import ROOT

pytestmark = [pytest.mark.flink, pytest.mark.kafka]


@pytest.mark.skipif(not os.environ.get("MATINEE_TEST_ALL"), reason="minutes on a stack of its own: make test-all")
def test_kills_change_no_row() -> None:
    command = [sys.executable, "-m", "bench.qoe_kills", "--kills", "9", "--profiles", "400", "--per-second", "400"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "\n0 rows differ" in done.stdout and "qoe_minute: 0 keys" not in done.stdout
