"""The one-machine stack: a Kafka broker and a Flink session cluster under the supervisor, all on 127.0.0.1.

State lies in ``settings.stack.dir``; two stacks on one machine differ in that folder and in their ports. A second
``up`` finds the first one's processes and only waits for their health; ``down`` ends exactly the processes recorded.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conf import broker, flink, java, supervisor
from conf.errors import ConfigError, ServiceUnavailable
from conf.settings import Settings, load
from conf.supervisor import Bounds, Child

SERVICES = (broker.NAME, *flink.NAMES)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Status:
    """What runs: the supervisor, each process, and for broker and Flink why they are ill (``None``: well)."""

    supervised: bool
    children: list[Child]
    ills: dict[str, str | None]
    jobs: list[flink.Job]

    @property
    def well(self) -> bool:
        return self.supervised and not any(self.ills.values())


def _quiet(_text: str) -> None:
    return


def flink_folder(settings: Settings) -> Path:
    return settings.stack.dir / "flink"


def flink_environment(settings: Settings) -> dict[str, str]:
    """Variables for a process that submits to the stack's Flink (``FLINK_CONF_DIR``, ``FLINK_LIB_DIR``, ...)."""
    return flink.environment(settings, flink_folder(settings))


def up(settings: Settings | None = None, say: Say = _quiet, owned: bool = False) -> Status:
    """Start what does not run yet and wait until it is well; harmless when it already is.

    An ``owned`` stack ends with this process, however it ends; any other stays until ``down``. A call that is
    interrupted stops what it started.

    ``ConfigError`` on a busy port (naming its owner) or when a stack with other settings runs in the same folder,
    ``ServiceUnavailable`` with the log's tail if health does not come within ``stack.health_timeout_s``.
    """
    settings = settings or load()
    folder = settings.stack.dir
    with locked(folder):
        if _runs_already(settings):
            return _await_health(settings, say)
        _refuse_busy_ports(settings)
        java.version()
        processes = [broker.prepare(settings, folder / "broker"), *flink.prepare(settings, flink_folder(settings))]
        _age_logs(folder)
        bounds = Bounds(
            settings.stack.restart_limit,
            settings.stack.restart_window_s,
            owner=supervisor.this_process() if owned else None,
        )
        try:
            supervisor.start(folder, processes, bounds)
            (folder / "settings.json").write_text(_fingerprint(settings))
            say(f"started {', '.join(SERVICES)}; logs in {folder / 'logs'}")
            return _await_health(settings, say)
        except (KeyboardInterrupt, SystemExit):
            supervisor.stop(folder)
            raise


def down(settings: Settings | None = None) -> list[str]:
    """Stop the stack; returns the names of the processes that were running (none if nothing was)."""
    settings = settings or load()
    with locked(settings.stack.dir):
        return supervisor.stop(settings.stack.dir)


def status(settings: Settings | None = None) -> Status:
    """A look without side effects."""
    settings = settings or load()
    state = supervisor.read_state(settings.stack.dir)
    ills = {"broker": broker.ill(settings), "flink": flink.ill(settings)}
    try:
        jobs = flink.list_jobs(settings)
    except ServiceUnavailable:  # the reason stands in ills
        jobs = []
    return Status(state is not None and state.alive, state.children if state else [], ills, jobs)


def log_path(settings: Settings, service: str) -> Path:
    """The log file of a process of the stack; ``ConfigError`` names the ones there are."""
    known = (*SERVICES, "supervisor")
    if service not in known:
        raise ConfigError(f"{service!r} has no log here; there are {', '.join(known)}")
    return settings.stack.dir / "logs" / f"{service}.log"


def ports(settings: Settings) -> dict[str, int]:
    """The fixed ports by the setting that moves them."""
    stack = settings.stack
    return {
        "stack.broker_port": stack.broker_port,
        "stack.controller_port": stack.controller_port,
        "stack.flink_rest_port": stack.flink_rest_port,
        "stack.flink_rpc_port": stack.flink_rpc_port,
    }


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One command at a time in a stack folder: two `up` wait for each other."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fingerprint(settings: Settings) -> str:
    return json.dumps({"stack": settings.stack.model_dump(mode="json")}, sort_keys=True)


def _runs_already(settings: Settings) -> bool:
    folder = settings.stack.dir
    state = supervisor.read_state(folder)
    if state is None or not state.alive or any(child.status == "failed" for child in state.children):
        supervisor.stop(folder)  # what a killed or defeated supervisor left
        return False
    record = folder / "settings.json"
    if record.is_file() and record.read_text() != _fingerprint(settings):
        raise ConfigError(
            f"a stack with other settings runs in {folder}: run `make down` first, or set stack.dir to another folder"
        )
    return True


def _refuse_busy_ports(settings: Settings) -> None:
    busy = supervisor.busy_ports(ports(settings))
    if busy:
        raise ConfigError(
            "; ".join(busy) + ". Stop it, or move ours by the setting named, e.g. MATINEE__STACK__BROKER_PORT=19092"
        )


def _age_logs(folder: Path) -> None:
    """Keep one older log of each process, so that a tail shows this run's lines alone."""
    for service in SERVICES:
        log = folder / "logs" / f"{service}.log"
        if log.is_file():
            log.replace(log.with_suffix(".log.1"))


def _await_health(settings: Settings, say: Say) -> Status:
    folder = settings.stack.dir
    deadline = time.monotonic() + settings.stack.health_timeout_s
    waiting: dict[str, Callable[[Settings], str | None]] = {"broker": broker.ill, "flink": flink.ill}
    reason = ""
    while waiting and time.monotonic() < deadline:
        for name, ill in list(waiting.items()):
            found = ill(settings)
            if found is None:
                say(f"{name} is well")
                del waiting[name]
            else:
                reason = found
        state = supervisor.read_state(folder)
        failed = [child.name for child in state.children if child.status == "failed"] if state else list(SERVICES)
        if failed:
            raise ServiceUnavailable(
                f"{failed[0]} does not stay up:\n{supervisor.tail(folder / 'logs' / f'{failed[0]}.log')}"
            )
        time.sleep(0.25)
    if waiting:
        service = broker.NAME if "broker" in waiting else flink.NAMES[0]
        raise ServiceUnavailable(
            f"not well after {settings.stack.health_timeout_s} s: {reason}\n"
            + supervisor.tail(log_path(settings, service))
        )
    return status(settings)
