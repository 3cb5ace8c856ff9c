"""The measurement of the stream: its arithmetic, and that its Java compiles against the kernel as it is."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import psutil
import pytest

from bench import java
from bench.cpu import Meter
from bench.stream import Run, middle, slope

BURN = "import sys, time\nwhile time.process_time() < 1: pass\nprint(flush=True); sys.stdin.read()"
SHELL = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]).wait()"
MANAGER = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]]).wait(); sys.stdin.read()"


def test_one_slow_turn_does_not_count() -> None:
    quick, usual, slow = Run(10, 20.0, 9.0), Run(10, 21.0, 5.0), Run(10, 60.0, 30.0)
    assert middle([slow, quick, usual]) == usual and middle([slow, quick]) == quick


def test_the_slope_leaves_out_what_both_sizes_pay() -> None:
    assert slope(Run(1_000, 30.5, 9.0), Run(5_000, 32.5, 9.0)) == 2_000


def test_who_is_left_to_init_has_been_counted() -> None:
    """As PyFlink's workers are: the shell between them and the TaskManager is killed before them."""
    command = [sys.executable, "-c", MANAGER, SHELL, BURN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as manager:
        assert manager.stdin is not None and manager.stdout is not None
        root = psutil.Process(manager.pid)
        manager.stdout.readline()
        meter = Meter()
        spent = meter.look(root.pid)
        shell, worker = root.children(recursive=True)
        shell.kill()
        psutil.wait_procs([shell])
        assert worker not in root.children(recursive=True) and worker.is_running()
        own = root.cpu_times()
        assert 1 <= spent <= meter.look(root.pid)
        assert own.user + own.system + own.children_user + own.children_system < 1
        manager.stdin.close()


@pytest.mark.jvm
def test_its_java_compiles() -> None:
    with zipfile.ZipFile(java.jar()) as jar:
        assert {"bench/BareFold.class", "bench/Flood.class"} <= set(jar.namelist())
