"""``matinee doctor``: what this machine must have, each failure with its way out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

from conf import bootstrap, environments, jars, java, kernel, stack, supervisor
from conf.errors import MatineeError
from conf.settings import ROOT, Settings

MEMORY_GIB = 10
DISK_GIB = 8


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    ok: bool
    found: str
    way_out: str = ""


def examine(settings: Settings) -> Iterator[Check]:
    """Every check in the order a new user would meet its failure."""
    for name, look in _CHECKS.items():
        try:
            yield look(settings)
        except MatineeError as error:
            yield Check(name, False, str(error), "see the message above")


def _python(_settings: Settings) -> Check:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return Check(
        "Python",
        sys.version_info[:2] == (3, 11),
        found,
        "run it with the 3.11 of .venv: .venv/bin/matinee, or `make doctor`",
    )


def _place(_settings: Settings) -> Check:
    found = str(ROOT)
    return Check(
        "folder", " " not in found, found, "Flink's start scripts break on a path with a space: move the repository"
    )


def _jdk(_settings: Settings) -> Check:
    try:
        java.tool("java")
        compiler = java.tool("javac")
        return Check("JDK", True, f"version {java.version()}, compiler {compiler}")
    except MatineeError as error:
        what, _, way_out = str(error).partition(": ")
        return Check("JDK", False, what, way_out)


def _memory(_settings: Settings) -> Check:
    found = psutil.virtual_memory().total / 2**30
    return Check(
        "memory",
        found >= MEMORY_GIB,
        f"{found:.1f} GiB",
        f"the demo needs {MEMORY_GIB} GiB; close others or use a larger machine",
    )


def _disk(settings: Settings) -> Check:
    folder = settings.paths.var
    while not folder.exists():
        folder = folder.parent
    found = shutil.disk_usage(folder).free / 2**30
    way_out = f"{DISK_GIB} GiB are needed: `make clean` frees old demos, or point paths.var elsewhere"
    return Check("disk", found >= DISK_GIB, f"{found:.1f} GiB free below {folder}", way_out)


def _ports(settings: Settings) -> Check:
    state = supervisor.read_state(settings.stack.dir)
    if state is not None and state.alive:
        return Check("ports", True, "in use by our own stack, which runs")
    busy = supervisor.busy_ports(stack.ports(settings))
    way_out = "stop it, or move ours by the setting named, e.g. MATINEE__STACK__BROKER_PORT=19092"
    return Check("ports", not busy, "; ".join(busy) or "all free", way_out)


def _environments(_settings: Settings) -> Check:
    states = {}
    for name, folder in bootstrap.FOLDERS.items():
        exists = (ROOT / folder / "bin" / "python").exists()
        states[name] = "as locked" if environments.fresh(name) else "differs from its lock" if exists else "absent"
    # Airflow's is set up by `make airflow` alone.
    ok = all(state == "as locked" or (name == "airflow" and state == "absent") for name, state in states.items())
    return Check(
        "environments",
        ok,
        ", ".join(f"{name} {state}" for name, state in states.items()),
        "run `make setup` (Airflow's: `make airflow`)",
    )


def _jars(settings: Settings) -> Check:
    locked = jars.read_lock()
    bad = [f"{jar.file} {reason}" for jar, reason in jars.wrong(locked, settings.jars.dir)]
    found = (
        f"{len(bad)} of {len(locked)} wrong, first: {bad[0]}"
        if bad
        else f"{len(locked)} verified in {settings.jars.dir}"
    )
    return Check(
        "jars", not bad, found, "run `make setup`, which fetches them again; behind a wall set MATINEE__JARS__SOURCE"
    )


def _kernel(settings: Settings) -> Check:
    return Check("kernel", True, str(kernel.jar(settings)))


_CHECKS: dict[str, Callable[[Settings], Check]] = {
    "Python": _python,
    "folder": _place,
    "JDK": _jdk,
    "memory": _memory,
    "disk": _disk,
    "ports": _ports,
    "environments": _environments,
    "jars": _jars,
    "kernel": _kernel,
}
