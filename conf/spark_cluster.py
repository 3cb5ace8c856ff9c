"""A real standalone Spark cluster on loopback: one master and a few workers under the supervisor."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from conf import environments, java, supervisor
from conf.errors import ConfigError, ServiceUnavailable
from conf.settings import Settings, load
from conf.stack import locked
from conf.supervisor import Bounds, Process


def folder(settings: Settings) -> Path:
    return settings.stack.dir / "spark"


def master_url(settings: Settings) -> str:
    return f"spark://127.0.0.1:{settings.stack.spark_master_port}"


def up(settings: Settings | None = None) -> str:
    """Start master and workers, wait for every worker, return the master's URL; harmless when they run."""
    settings = settings or load()
    place = folder(settings)
    with locked(place):
        state = supervisor.read_state(place)
        if state is None or not state.alive:
            supervisor.stop(place)
            java.version()
            ports = {
                "stack.spark_master_port": settings.stack.spark_master_port,
                "stack.spark_master_ui_port": settings.stack.spark_master_ui_port,
            }
            busy = supervisor.busy_ports(ports)
            if busy:
                raise ConfigError("; ".join(busy) + ". Stop it, or move ours by the setting named")
            bounds = Bounds(settings.stack.restart_limit, settings.stack.restart_window_s)
            supervisor.start(place, processes(settings, place), bounds)
        _await_workers(settings, place)
    return master_url(settings)


def down(settings: Settings | None = None) -> list[str]:
    """Stop exactly the recorded processes; returns the names of those that were running."""
    settings = settings or load()
    place = folder(settings)
    with locked(place):
        return supervisor.stop(place)


def processes(settings: Settings, place: Path) -> list[Process]:
    """PySpark from pip has no start scripts, but its ``spark-class`` starts master and worker in the foreground."""
    stack = settings.stack
    program = str(environments.spark_home() / "bin" / "spark-class")
    environment = {
        "JAVA_HOME": str(java.home()),
        "SPARK_HOME": str(environments.spark_home()),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "512m",
        "SPARK_LOG_DIR": str(place / "logs"),
        "PYSPARK_PYTHON": sys.executable,
    }
    ui = str(stack.spark_master_ui_port)
    master = [program, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1"]
    master += ["--port", str(stack.spark_master_port), "--webui-port", ui]
    worker = [program, "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0"]
    worker += ["--cores", str(stack.spark_worker_cores), "--memory", stack.spark_worker_memory]
    made = [Process("master", master, environment)]
    for number in range(1, stack.spark_workers + 1):
        name = f"worker{number}"
        made.append(Process(name, [*worker, "--work-dir", str(place / name), master_url(settings)], environment))
    return made


def alive_workers(settings: Settings) -> int | None:
    """How many workers the master knows as alive; ``None`` if it does not answer."""
    url = f"http://127.0.0.1:{settings.stack.spark_master_ui_port}/json/"
    try:
        with urllib.request.urlopen(url, timeout=3.0) as answer:
            return int(json.load(answer)["aliveworkers"])
    except (urllib.error.URLError, OSError, ValueError):
        return None


def _await_workers(settings: Settings, place: Path) -> None:
    deadline = time.monotonic() + settings.stack.health_timeout_s
    found: int | None = None
    while time.monotonic() < deadline:
        found = alive_workers(settings)
        if found is not None and found >= settings.stack.spark_workers:
            return
        time.sleep(0.25)
    who = "master" if found is None else "worker1"
    raise ServiceUnavailable(
        f"{found or 0} of {settings.stack.spark_workers} Spark workers after {settings.stack.health_timeout_s} s\n"
        + supervisor.tail(place / "logs" / f"{who}.log")
    )
