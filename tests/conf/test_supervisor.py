"""The supervisor over small real children: restarts, bounds, exact stopping, leftovers, busy ports."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from conf import supervisor
from conf.errors import ServiceUnavailable
from conf.supervisor import Bounds, Process, State

WAIT_S = 30.0
SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
_CHILD = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
PARENT = [sys.executable, "-c", f"import subprocess, sys, time; {_CHILD}; time.sleep(600)"]
DYING = [sys.executable, "-c", "import sys; print('last words', flush=True); sys.exit(7)"]
QUICK = Bounds(restarts=3, window_s=60.0, pause_s=0.05)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def _state(folder: Path) -> State:
    found = supervisor.read_state(folder)
    assert found is not None
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    supervisor.stop(tmp_path)


def test_a_child_that_is_killed_is_started_again(folder: Path) -> None:
    state = supervisor.start(folder, [Process("a", SLEEPER), Process("b", SLEEPER)], QUICK)
    first, other = state.children
    os.kill(first.pid, signal.SIGKILL)
    _until(lambda: _state(folder).children[0].restarts == 1)
    again = _state(folder).children[0]
    assert (again.alive, again.last_exit, again.pid != first.pid) == (True, -signal.SIGKILL, True)
    assert _state(folder).children[1] == other


def test_a_child_dies_with_the_one_it_works_for(folder: Path) -> None:
    """A TaskManager knows that its JobManager is gone only after Flink's heartbeat timeout; it has nothing to save."""
    once = Bounds(restarts=2, window_s=60.0, pause_s=0.05)
    workers = [Process("b", PARENT, of="a"), Process("c", SLEEPER)]
    state = supervisor.start(folder, [Process("a", SLEEPER), *workers], once)
    _, worker, other = state.children
    for deaths in (1, 2):
        os.kill(_state(folder).children[0].pid, signal.SIGKILL)
        _until(lambda deaths=deaths: [c.restarts for c in _state(folder).children] == [deaths, deaths, 0])  # type: ignore[misc]
        _until(lambda: all(c.alive for c in _state(folder).children))
    assert not psutil.pid_exists(worker.pid)
    assert _state(folder).children[2] == other
    for deaths in (3, 4):  # its own deaths are counted from the first: two are allowed
        os.kill(_state(folder).children[1].pid, signal.SIGKILL)
        _until(lambda deaths=deaths: _state(folder).children[1].restarts == deaths)  # type: ignore[misc]
    assert _state(folder).children[0].restarts == 2


def test_an_interrupted_start_ends_the_supervisor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    before = set(psutil.Process().children(recursive=True))
    with monkeypatch.context() as patched:
        patched.setattr(supervisor.time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            supervisor.start(folder, [Process("a", SLEEPER)], QUICK)
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=WAIT_S)
    assert not alive


def test_restarts_are_bounded_and_the_end_is_recorded(folder: Path) -> None:
    supervisor.start(folder, [Process("a", DYING), Process("b", SLEEPER)], QUICK)
    _until(lambda: _state(folder).children[0].status == "failed")
    failed, other = _state(folder).children
    assert (failed.restarts, failed.last_exit) == (QUICK.restarts, 7)
    assert other.alive
    assert supervisor.tail(folder / "logs" / "a.log").splitlines() == ["last words"] * (QUICK.restarts + 1)


def test_stop_ends_every_recorded_process_and_its_children(folder: Path) -> None:
    state = supervisor.start(folder, [Process("a", PARENT), Process("b", SLEEPER)], QUICK)
    _until(lambda: len(psutil.Process(state.children[0].pid).children()) == 1)
    family = [psutil.Process(state.pid), *psutil.Process(state.pid).children(recursive=True)]
    assert len(family) == 4
    assert supervisor.stop(folder) == ["a", "b"]
    assert not [process for process in family if supervisor.is_alive(process.pid, process.create_time())]
    assert supervisor.stop(folder) == []


def test_what_a_killed_supervisor_left_is_stopped(folder: Path) -> None:
    state = supervisor.start(folder, [Process("a", SLEEPER)], QUICK)
    os.kill(state.pid, signal.SIGKILL)
    _until(lambda: not state.alive)
    assert state.children[0].alive
    again = supervisor.start(folder, [Process("a", SLEEPER)], QUICK)
    assert not supervisor.is_alive(state.children[0].pid, state.children[0].started)
    assert again.children[0].alive


def test_an_owned_one_ends_with_its_owner(folder: Path) -> None:
    owner = psutil.Popen(SLEEPER)
    state = supervisor.start(folder, [Process("a", SLEEPER)], Bounds(owner=(owner.pid, owner.create_time())))
    owner.kill()
    owner.wait()
    _until(lambda: not state.alive)
    assert not state.children[0].alive


def test_a_recycled_pid_is_never_signalled(folder: Path) -> None:
    state = supervisor.start(folder, [Process("a", SLEEPER)], QUICK)
    supervisor.stop(folder)
    own = psutil.Process()
    state.pid, state.started = own.pid, own.create_time() - 1000.0
    state.children[0].pid, state.children[0].started = own.pid, own.create_time() - 1000.0
    supervisor._write(folder / "state.json", supervisor.asdict(state))
    assert supervisor.stop(folder) == []


def test_a_child_that_cannot_start_is_an_error_with_the_log(folder: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="no-such-program"):
        supervisor.start(folder, [Process("a", ["/no-such-program"])], QUICK, timeout_s=WAIT_S)


def test_variables_reach_the_child(folder: Path) -> None:
    command = [sys.executable, "-c", "import os, time; print(os.environ['MINE'], flush=True); time.sleep(600)"]
    supervisor.start(folder, [Process("a", command, {"MINE": "here"})], QUICK)
    _until(lambda: "here" in supervisor.tail(folder / "logs" / "a.log"))


def test_a_busy_port_is_named_with_its_owner() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        lines = supervisor.busy_ports({"stack.broker_port": port})
        assert len(lines) == 1
        assert lines[0].startswith(f"port {port} (stack.broker_port) is in use by pid {os.getpid()} (")
    assert supervisor.busy_ports({"stack.broker_port": port}) == []
