"""The one operator: run ``matinee job NAME --date DAY`` in the main environment and tell Airflow what its end means.

Airflow's own environment holds no Spark, pandas or MLflow (docs/decisions/0001); a job runs where its libraries are.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_dags.processes import Command

FINAL = {2: "usage or configuration", 4: "audit failed, nothing was published", 130: "interrupted"}
"""Exit codes that trying again cannot mend."""
PASSING = {1: "internal error", 3: "an input partition is missing", 5: "a service is unavailable"}
"""Exit codes worth the task's retries; so is an end by a signal."""
TAIL_LINES = 15


class JobOperator(BaseOperator):
    """One run of one job.

    Args:
        job: name in ``jobs.registry``.
        date: UTC day, ISO 8601; templated.
        config: settings file handed on as ``MATINEE_CONFIG``; templated. Empty: what the worker's environment says.
        command: start of the command line; by default the main environment's interpreter and ``-m matinee``.
    """

    template_fields: Sequence[str] = ("date", "config")
    ui_color = "#e8eef7"

    def __init__(
        self, *, job: str, date: str = "{{ ds }}", config: str = "", command: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.date = date
        self.config = config
        self.command = tuple(command)
        self._running: Command | None = None

    def execute(self, context: Any) -> None:
        """Run the job to its end; raises what the exit code means."""
        from conf.environments import python
        from conf.settings import ROOT

        start = self.command or (str(python("main")), "-m", "matinee")
        environment = dict(os.environ, PYTHONUNBUFFERED="1")
        if self.config:
            environment["MATINEE_CONFIG"] = self.config
        tail: deque[str] = deque(maxlen=TAIL_LINES)

        def write(line: str) -> None:
            self.log.info("%s", line)
            tail.append(line)

        self._running = Command((*start, "job", self.job, "--date", self.date), ROOT, environment)
        judge(f"{self.job} --date {self.date}", self._running.follow(write), tail)

    def on_kill(self) -> None:
        """Airflow wants the task gone: end the job and every process it started."""
        if self._running is not None:
            self._running.stop()


def judge(what: str, code: int, tail: Sequence[str]) -> None:
    """Nothing for 0; `AirflowFailException` (no retry) or `AirflowException` (retry) with the job's last words."""
    if code == 0:
        return
    meaning = FINAL.get(code) or PASSING.get(code) or (f"ended by signal {-code}" if code < 0 else "unknown exit code")
    message = "\n".join([f"{what}: exit code {code}, {meaning}", *tail])
    raise AirflowFailException(message) if code in FINAL else AirflowException(message)
