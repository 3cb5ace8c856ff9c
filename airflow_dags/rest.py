"""The few calls of Airflow's public REST API (v2) that ``matinee airflow run`` needs."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any
from urllib.parse import quote

from conf.errors import MatineeError, ServiceUnavailable, UsageError

DONE = ("success", "failed")
POLL_S = 2.0


class Api:
    """An Airflow at ``url``; proxies of the environment are not used."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._token = ""
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def healthy(self, parts: Iterable[str]) -> bool:
        """Whether the server answers and each of ``parts`` reports itself healthy."""
        try:
            health = self._call("GET", "/api/v2/monitor/health")
        except ServiceUnavailable:
            return False
        return all((health.get(part) or {}).get("status") == "healthy" for part in parts)

    def login(self, user: str, password: str) -> None:
        """Get a token; every later call carries it."""
        self._token = self._call("POST", "/auth/token", {"username": user, "password": password})["access_token"]

    def knows(self, dag: str) -> bool:
        """Whether the DAG processor has put ``dag`` into the database."""
        return any(found["dag_id"] == dag for found in self._call("GET", "/api/v2/dags?limit=1000")["dags"])

    def trigger(self, dag: str, day: date) -> str:
        """Unpause ``dag`` and start its run for ``day``, or start it once more; the run's id."""
        moment = f"{day.isoformat()}T00:00:00Z"
        runs = f"/api/v2/dags/{dag}/dagRuns"
        self._call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})
        found = self._call("GET", f"{runs}?logical_date_gte={moment}&logical_date_lte={moment}")["dag_runs"]
        if not found:
            return str(self._call("POST", runs, {"logical_date": moment})["dag_run_id"])
        run = str(found[0]["dag_run_id"])
        if found[0]["state"] in DONE:
            self._call("POST", f"{runs}/{quote(run)}/clear", {"dry_run": False})
        return run

    def tasks(self, dag: str, run: str) -> dict[str, str]:
        """State of each task of a run ('none' before it is scheduled)."""
        found = self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{quote(run)}/taskInstances?limit=1000")["task_instances"]
        return {task["task_id"]: task["state"] or "none" for task in found}

    def follow(self, dag: str, run: str, say: Callable[[str], None]) -> str:
        """Wait for the run's end and say each change of a task; 'success' or 'failed'."""
        seen: dict[str, str] = {}
        while True:
            state = str(self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{quote(run)}")["state"])
            for task, now in self.tasks(dag, run).items():
                if seen.get(task, "none") != now:
                    say(f"{task}: {now}")
                seen[task] = now
            if state in DONE:
                return state
            time.sleep(POLL_S)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self._token}"} if self._token else {}
        )
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=30) as reply:
                return json.loads(reply.read() or b"{}")
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", "replace")
            kind = {401: UsageError, 404: UsageError, 409: UsageError}.get(error.code, MatineeError)
            raise kind(f"{method} {path}: {error.code} {text}") from None
        except (OSError, ValueError) as error:
            raise ServiceUnavailable(
                f"no Airflow answers at {self.url} ({error}); start it with `make airflow`"
            ) from None
