"""A command's whole tree ends with it, however it ends; its exit code is its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from airflow_dags.processes import Command, guarded

ROOT = Path(__file__).resolve().parents[2]


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", textwrap.dedent(code)]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 130])
def test_the_exit_code_and_the_output_are_the_commands_own(code: int) -> None:
    lines: list[str] = []
    command = Command(
        python(f"import sys; print('one'); print('two', file=sys.stderr); sys.exit({code})"), ROOT, os.environ
    )
    assert command.follow(lines.append) == code
    assert lines == ["one", "two"]


PARENT_OF_A_STUBBORN_CHILD = """
    import signal, subprocess, sys, time
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    options = {"start_new_session": True} if sys.argv[-1] == "escape" else {}
    process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, **options)
    process.stdout.readline()
    print(process.pid)
    time.sleep(600)
"""


@pytest.mark.parametrize("session", ["same", "escape"])
def test_stop_ends_descendants_that_ignore_sigterm_or_left_the_session(
    session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_dags.processes.GRACE_S", 0.5)
    pids: list[int] = []
    command = Command([*python(PARENT_OF_A_STUBBORN_CHILD), session], ROOT, os.environ)

    def stop_after_first_line(line: str) -> None:
        pids.append(int(line))
        command.stop()

    assert command.follow(stop_after_first_line) == -signal.SIGTERM
    assert pids and not alive(pids[0])
    assert not alive(command.pid)


def test_an_interruption_while_following_leaves_nothing() -> None:
    command = Command(python("import time; print('up'); time.sleep(600)"), ROOT, os.environ)

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command.follow(interrupt)
    assert not alive(command.pid)


def test_stop_of_a_finished_command_harms_nobody() -> None:
    command = Command(python("pass"), ROOT, os.environ)
    assert command.follow(print) == 0
    command.stop()


@pytest.mark.skipif(guarded(["x"]) == ["x"], reason="this system has no setpriv")
def test_a_killed_parent_takes_the_command_with_it() -> None:
    code = """
        import os, sys
        from pathlib import Path
        from airflow_dags.processes import Command
        child = "import os, time; print(os.getpid()); time.sleep(600)"
        Command([sys.executable, "-u", "-c", child], Path.cwd(), os.environ).follow(print)
    """
    parent = subprocess.Popen(
        python(code), cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.wait()
    assert until(lambda: not alive(child))
