"""A small supervisor: a detached process that starts children, restarts those that die, within bounds, and stops them.

``python -m conf.supervisor FOLDER`` reads ``FOLDER/spec.json`` and keeps ``FOLDER/state.json`` up to date: for itself
and each child the pid *and its start time*, so that only exactly those processes are ever signalled, even after a
reboot gave a pid to a stranger. The functions below are what callers use; none assumes that the supervisor is alive.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from conf.errors import ServiceUnavailable

_TICK_S = 0.2
_TERM_S = 15.0
_PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Process:
    """A child: name, command line, variables laid over the supervisor's own environment.

    `of`: the child that this one works for; when that dies this one is killed and started again with it.
    """

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    of: str | None = None


@dataclass(frozen=True)
class Bounds:
    """At most ``restarts`` restarts of one process within ``window_s`` seconds; ``pause_s`` before each."""

    restarts: int = 5
    window_s: float = 300.0
    pause_s: float = 1.0
    # Pid and start time of a process with which all of it ends: a test run's stack dies with the run.
    owner: tuple[int, float] | None = None


@dataclass
class Child:
    """What ``state.json`` says of one process; ``status`` is running, restarting, failed or stopped."""

    name: str
    pid: int
    started: float
    restarts: int = 0
    status: str = "running"
    last_exit: int | None = None

    @property
    def alive(self) -> bool:
        return self.status == "running" and is_alive(self.pid, self.started)


@dataclass
class State:
    """The supervisor's own pid and start time, and its children."""

    pid: int
    started: float
    children: list[Child]

    @property
    def alive(self) -> bool:
        return is_alive(self.pid, self.started)


def this_process() -> tuple[int, float]:
    """Pid and start time of the caller, to own a supervisor with."""
    own = psutil.Process()
    return own.pid, own.create_time()


def is_alive(pid: int, started: float) -> bool:
    """Whether the very process that started then still runs (a zombie does not)."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 0.05 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_state(folder: Path) -> State | None:
    """The last recorded state, or ``None`` if nothing was started there."""
    try:
        raw = json.loads((folder / "state.json").read_text())
    except FileNotFoundError:
        return None
    return State(raw["pid"], raw["started"], [Child(**child) for child in raw["children"]])


def read_spec(folder: Path) -> dict[str, Any] | None:
    try:
        loaded: dict[str, Any] = json.loads((folder / "spec.json").read_text())
    except FileNotFoundError:
        return None
    return loaded


def spec_of(processes: list[Process], bounds: Bounds) -> dict[str, Any]:
    return {"processes": [asdict(p) for p in processes], "bounds": asdict(bounds)}


def start(folder: Path, processes: list[Process], bounds: Bounds, timeout_s: float = 20.0) -> State:
    """Start a detached supervisor over ``processes``; returns once every child was started once.

    The caller holds whatever lock it needs; leftovers of a supervisor that was killed are stopped first.
    """
    stop(folder)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    _write(folder / "spec.json", spec_of(processes, bounds))
    environment = {k: v for k, v in os.environ.items() if k not in _PYTHON_VARIABLES}
    log = folder / "logs" / "supervisor.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "conf.supervisor", str(folder)],
            cwd=Path(__file__).resolve().parent.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline and process.poll() is None:
            state = read_state(folder)
            if state is not None and state.pid == process.pid and len(state.children) == len(processes):
                return state
            time.sleep(0.05)
    except (KeyboardInterrupt, SystemExit):
        process.terminate()  # it ends the children it has started
        raise
    process.terminate()
    raise ServiceUnavailable(f"the supervisor did not come up within {timeout_s:.0f} s:\n{tail(log)}")


def stop(folder: Path, timeout_s: float = 40.0) -> list[str]:
    """Stop the supervisor and exactly the processes it recorded; returns the names of those that were running."""
    state = read_state(folder)
    if state is None:
        return []
    running = [child.name for child in state.children if child.alive]
    if state.alive:
        os.kill(state.pid, signal.SIGTERM)
        _wait_gone([(state.pid, state.started)], timeout_s)
        if state.alive:
            os.kill(state.pid, signal.SIGKILL)
            _wait_gone([(state.pid, state.started)], 5.0)
        state = read_state(folder) or state
    for child in reversed(state.children):
        if child.alive:
            _end_tree(child.pid, child.started)
    (folder / "state.json").unlink(missing_ok=True)
    return running


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, or a word that there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64 * 1024))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return f"({path} does not exist)"
    return "\n".join(text.splitlines()[-lines:])


def busy_ports(ports: Mapping[str, int]) -> list[str]:
    """For each named port of 127.0.0.1 that somebody listens on: a line naming it and, if visible, its owner."""
    listening: dict[int, int | None] = {}
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr:
            listening.setdefault(connection.laddr.port, connection.pid)
    lines = []
    for setting, port in ports.items():
        if port not in listening:
            continue
        pid = listening[port]
        owner = "a process of another user"
        if pid is not None and psutil.pid_exists(pid):
            command = " ".join(" ".join(psutil.Process(pid).cmdline()).split())
            owner = f"pid {pid} ({command[:80]}{'...' if len(command) > 80 else ''})"
        lines.append(f"port {port} ({setting}) is in use by {owner}")
    return lines


def _end_tree(pid: int, started: float) -> None:
    """TERM, then KILL, a process and its descendants; the start time guards against a recycled pid."""
    if not is_alive(pid, started):
        return
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    for member in family:
        _signal(member, signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=_TERM_S)
    for member in left:
        _signal(member, signal.SIGKILL)
    psutil.wait_procs(left, timeout=5.0)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _wait_gone(processes: list[tuple[int, float]], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(is_alive(*process) for process in processes):
        time.sleep(0.05)


def _write(path: Path, content: Any) -> None:
    staged = path.with_suffix(".tmp")
    staged.write_text(json.dumps(content, indent=1))
    staged.replace(path)


class _Supervisor:
    """The loop of the detached process."""

    def __init__(self, folder: Path) -> None:
        spec = read_spec(folder)
        if spec is None:
            raise FileNotFoundError(folder / "spec.json")
        self.folder = folder
        self.processes = [Process(**p) for p in spec["processes"]]
        self.bounds = Bounds(**spec["bounds"])
        self.handles: dict[str, subprocess.Popen[bytes]] = {}
        self.deaths: dict[str, deque[float]] = {p.name: deque() for p in self.processes}
        self.due: dict[str, float] = {}
        self.stopping = False
        own = psutil.Process()
        self.state = State(own.pid, own.create_time(), [])

    def spawn(self, process: Process) -> tuple[int, float]:
        with (self.folder / "logs" / f"{process.name}.log").open("ab") as out:
            handle = subprocess.Popen(
                process.command,
                cwd=self.folder,
                env={**os.environ, **process.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.handles[process.name] = handle
        return handle.pid, psutil.Process(handle.pid).create_time()

    def save(self) -> None:
        _write(self.folder / "state.json", asdict(self.state))

    def note(self, text: str) -> None:
        print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)

    def tick(self) -> None:
        """Look at every child once: bury the dead, start again those whose pause is over."""
        now = time.monotonic()
        for process, child in zip(self.processes, self.state.children, strict=True):
            code = self.handles[process.name].poll()
            if child.status == "running" and code is not None:
                self.bury(child, code, now)
            elif child.status == "restarting" and now >= self.due[child.name]:
                child.pid, child.started = self.spawn(process)
                child.restarts += 1
                child.status = "running"
                self.note(f"{child.name}: started again as pid {child.pid} (restart {child.restarts})")
                self.save()

    def bury(self, child: Child, code: int, now: float) -> None:
        deaths = self.deaths[child.name]
        deaths.append(now)
        while deaths and now - deaths[0] > self.bounds.window_s:
            deaths.popleft()
        child.last_exit = code
        if len(deaths) > self.bounds.restarts:
            child.status = "failed"
            self.note(
                f"{child.name}: pid {child.pid} ended with {code}; "
                f"{self.bounds.restarts} restarts are used up, giving up"
            )
        else:
            self.revive(child, now)
            self.note(f"{child.name}: pid {child.pid} ended with {code}; starting it again")
            self.take_along(child.name, now)
        self.save()

    def revive(self, child: Child, now: float) -> None:
        """Start a dead child again after the pause."""
        child.status = "restarting"
        self.due[child.name] = now + self.bounds.pause_s

    def take_along(self, dead: str, now: float) -> None:
        """Kill the children that worked for a dead one; it is no death of their own, so no bound counts it."""
        for process, child in zip(self.processes, self.state.children, strict=True):
            if process.of == dead and self.handles[process.name].poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.last_exit = self.handles[process.name].wait()
                self.revive(child, now)
                self.note(f"{process.name}: pid {child.pid} worked for {dead}, ended with it")

    def run(self) -> None:
        def ask_to_stop(_number: int, _frame: object) -> None:
            self.stopping = True

        signal.signal(signal.SIGTERM, ask_to_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in self.processes:
            pid, started = self.spawn(process)
            self.state.children.append(Child(process.name, pid, started))
            self.note(f"{process.name}: started as pid {pid}")
            self.save()
        while not self.stopping:
            self.tick()
            if self.bounds.owner is not None and not is_alive(*self.bounds.owner):
                self.note(f"the owner, pid {self.bounds.owner[0]}, is gone")
                break
            time.sleep(_TICK_S)
        for child in reversed(self.state.children):
            _end_tree(child.pid, child.started)
            child.status = "stopped"
            self.note(f"{child.name}: stopped")
        self.save()


if __name__ == "__main__":
    _Supervisor(Path(sys.argv[1])).run()
