"""Memory is counted over a process and all its descendants."""

from __future__ import annotations

import subprocess
import sys

import pytest

from demo.meter import Meter, memory

HOLD = "import sys; held = bytearray(200_000_000); print('held', flush=True); sys.stdin.read()"


def test_a_childs_memory_counts() -> None:
    before = memory()
    child = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"held\n"
        assert memory() - before > 190_000_000
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()


def test_a_failed_step_is_not_reported_as_done() -> None:
    meter = Meter(lambda: ())
    with meter.step("good"):
        pass
    with pytest.raises(ZeroDivisionError), meter.step("bad"):
        _ = 1 / 0
    assert [name for name, _ in meter.steps] == ["good"]
