"""A small Airflow of one machine: API server, scheduler and DAG processor on 127.0.0.1, everything under one folder.

It imports no Airflow: it writes ``airflow.cfg`` and starts the programs of Airflow's own environment.
"""

from __future__ import annotations

import configparser
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from airflow_dags.processes import guarded, stop_trees
from airflow_dags.rest import Api
from conf.environments import python
from conf.errors import ConfigError, MatineeError, ServiceUnavailable
from conf.settings import ROOT, Settings

POOL = "matinee_spark"
POOL_SLOTS = 1
"""One job at a time: a local Spark takes the whole of a small machine, and SQLite catalogues have one writer."""
COMPONENTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}
START_S = 240.0
USER = "admin"


class LocalAirflow:
    """The three processes and their folder ``settings.airflow.home``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.airflow.home
        self.port = settings.airflow.port
        self.url = f"http://127.0.0.1:{self.port}"
        self.bin = python("airflow").parent
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self) -> dict[str, str]:
        """Environment of every Airflow process. ``AIRFLOW__`` variables of the shell are left out: they belong to
        another Airflow, and would let this one migrate its database."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")}
        return kept | {
            "AIRFLOW_HOME": str(self.home),
            "PATH": os.pathsep.join([str(self.bin), os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost"])),
            "MATINEE_CALENDAR": "on" if self.settings.airflow.calendar else "off",
        }

    def prepare(self) -> None:
        """Write the configuration and bring the database up to date; harmless when done before."""
        self.configure()
        self.airflow("db", "migrate")
        self.airflow("pools", "set", POOL, str(POOL_SLOTS), "Jobs that start Spark")

    def configure(self) -> None:
        """Write ``airflow.cfg`` for the settings in force; password and signing key are made once and kept."""
        self.home.mkdir(parents=True, exist_ok=True)
        _write_private(self.home / "airflow.cfg", self._configuration)
        _write_private(self.passwords_file, self._passwords)

    @property
    def passwords_file(self) -> Path:
        """JSON {user: password}, readable by its owner alone."""
        return self.home / "passwords.json"

    @property
    def password(self) -> str:
        """Password of ``USER``."""
        return str(json.loads(self.passwords_file.read_text(encoding="utf-8"))[USER])

    def airflow(self, *arguments: str) -> None:
        """Run one ``airflow`` command to its end, its output kept in ``logs/setup.log``."""
        log = self._log("setup")
        with log.open("ab") as out:
            command = [str(self.bin / "airflow"), *arguments]
            done = subprocess.run(
                command, cwd=ROOT, env=self.environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        if done.returncode:
            raise MatineeError(
                f"airflow {' '.join(arguments)} ended with {done.returncode}; its last lines:\n{_tail(log)}"
            )

    @contextmanager
    def running(self, say: Callable[[str], None]) -> Iterator[Api]:
        """Start everything, give an ``Api`` once it is healthy, stop everything at the end."""
        self._refuse_busy_port()
        self.home.mkdir(parents=True, exist_ok=True)
        with _only_one(self.home / "lock"):
            say("preparing the database")
            self.prepare()
            try:
                for name, arguments in COMPONENTS.items():
                    self._running[name] = self._start(name, arguments)
                say("starting API server, scheduler and DAG processor")
                yield self._await_health()
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                stop_trees(*(process.pid for process in self._running.values()))
                for process in self._running.values():
                    process.wait()
                self._running.clear()

    def check(self) -> None:
        """`ServiceUnavailable` if one of the processes has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise ServiceUnavailable(
                    f"Airflow's {name} ended with {process.returncode}; its last lines:\n{_tail(self._log(name))}"
                )

    def _start(self, name: str, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        with self._log(name).open("ab") as out:
            command = guarded([str(self.bin / "airflow"), *arguments])
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _await_health(self) -> Api:
        api = Api(self.url)
        deadline = time.monotonic() + START_S
        while not api.healthy(("metadatabase", "scheduler", "dag_processor")):
            self.check()
            if time.monotonic() > deadline:
                raise ServiceUnavailable(f"Airflow is not healthy after {START_S:.0f} s; see {self.home / 'logs'}")
            time.sleep(0.5)
        api.login(USER, self.password)
        return api

    def _refuse_busy_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                raise ConfigError(
                    f"port {self.port} on 127.0.0.1 is in use; stop what listens there, or choose another: "
                    f"MATINEE__AIRFLOW__PORT={self.port + 10} matinee airflow"
                ) from None

    def _log(self, name: str) -> Path:
        folder = self.home / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"

    def _configuration(self, before: str) -> str:
        known = configparser.ConfigParser(interpolation=None)
        known.read_string(before)
        key = known.get("api_auth", "jwt_secret", fallback="") or secrets.token_urlsafe(32)
        tree = {
            "core": {
                "dags_folder": ROOT / "airflow_dags",
                "load_examples": False,
                "executor": "LocalExecutor",
                "parallelism": self.settings.airflow.parallelism,
                "execution_api_server_url": f"{self.url}/execution/",
                "simple_auth_manager_users": f"{USER}:admin",
                "simple_auth_manager_passwords_file": self.passwords_file,
            },
            "database": {"sql_alchemy_conn": f"sqlite:///{self.home / 'airflow.db'}"},
            "api": {"host": "127.0.0.1", "port": self.port, "workers": 1, "base_url": self.url, "secret_key": key},
            "api_auth": {"jwt_secret": key},
            "logging": {"base_log_folder": self.home / "logs" / "tasks"},
            "dag_processor": {"min_file_process_interval": 30},
        }
        lines = ["# Written by `matinee airflow`; change conf/ instead."]
        for section, values in tree.items():
            lines += [
                "",
                f"[{section}]",
                *(f"{name} = {str(value).replace('%', '%%')}" for name, value in values.items()),
            ]
        return "\n".join(lines) + "\n"

    def _passwords(self, before: str) -> str:
        return before or json.dumps({USER: secrets.token_urlsafe(12)}) + "\n"


def _write_private(path: Path, make: Callable[[str], str]) -> None:
    """Replace a file by ``make(its text)``, readable by its owner alone."""
    text = make(path.read_text(encoding="utf-8") if path.exists() else "")
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    fresh.replace(path)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another `matinee airflow` uses {path.parent}; stop it first, or set airflow.home"
            ) from None
        yield


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
