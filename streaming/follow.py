"""Watching the QoE job: wait for what will come, and for nothing else.

A job that ended, that only restarts, or that the cluster has forgotten is reported with its root exception.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date

import pandas as pd

from conf.errors import InputMissing, MatineeError, ServiceUnavailable
from conf.flink import Job
from conf.settings import Settings
from schemas import topics as catalogue
from schemas import wire
from streaming import consume, rest, topics

LOOK_S = 1.0
SILENT_S = 60.0
FUTILE_RESTARTS = 3
NO_TASKMANAGER = "NoResourceAvailableException"
Say = Callable[[str], None]


def mute(_text: str) -> None:
    """The listener of somebody who does not listen."""


class Forgotten(ServiceUnavailable):
    """The cluster answers but does not know the job: its JobManager was started again."""


def forgotten(job_id: str) -> Forgotten:
    """The error for a job the cluster does not know."""
    return Forgotten(
        f"the Flink cluster does not know job {job_id} any more: `matinee stream qoe` goes on from its last checkpoint"
    )


class Watch:
    """What one look after another says of a job: raises when there is nothing left to wait for."""

    def __init__(self, job_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.job_id, self.clock = job_id, clock
        self.seen_at = clock()
        self.restarts: int | None = None
        self.checkpoints = 0

    def judge(self, job: Job | None) -> None:
        """Take in a look at the job; None where the cluster did not answer.

        Raises:
            ServiceUnavailable: no answer for a minute.
            MatineeError: it ended, or restarted three times without completing a checkpoint between. Restarts for want
                of a TaskManager are not its fault; Flink's own bound ends them.
        """
        if job is None:
            if self.clock() - self.seen_at > SILENT_S:
                raise ServiceUnavailable(
                    f"the Flink cluster has not answered for {SILENT_S:.0f} s: `matinee status` shows it, and "
                    f"`matinee stream qoe` goes on from the last checkpoint of job {self.job_id}"
                )
            return
        self.seen_at = self.clock()
        if job.state in rest.ENDED:
            raise MatineeError(f"job {job.id} is {job.state}: {job.last_failure or 'it was stopped'}")
        completed = job.checkpoints or 0
        if self.restarts is None or completed > self.checkpoints or NO_TASKMANAGER in (job.last_failure or ""):
            self.restarts, self.checkpoints = job.restarts or 0, completed
        elif (job.restarts or 0) - self.restarts >= FUTILE_RESTARTS:
            raise MatineeError(
                f"job {job.id} only restarts ({job.restarts} times, no checkpoint since): {job.last_failure}. "
                "`matinee stream cancel` ends it, `matinee logs taskmanager` shows more"
            )


def follow(
    settings: Settings,
    job_id: str,
    *,
    until_day: date | None = None,
    detach: bool = False,
    timeout_s: float | None = None,
    say: Say = mute,
    see: Callable[[Job | None], None] = lambda _job: None,
) -> None:
    """Look once a second until there is a reason to return, or to raise; see `streaming.launch.run`.

    `see` is told what each look found; None where the cluster did not answer.
    """
    watch = Watch(job_id)
    began = time.monotonic()
    told, state = -1, ""
    while True:
        job = _look(settings, job_id)
        watch.judge(job)
        see(job)
        found = "the cluster does not answer" if job is None else job.state
        if found != state:
            state = found
            say(state if job is None or state == "RUNNING" or not job.last_failure else f"{state}: {job.last_failure}")
        working = job is not None and job.state == "RUNNING" and bool(job.checkpoints)
        if detach and working:
            return
        if until_day is not None and working:
            open_ = open_partitions(settings, until_day)
            if len(open_) != told:
                told, count = len(open_), settings.kafka.partitions
                say(f"{until_day}: {count - told} of {count} partitions complete")
            if not open_:
                topics.settle(catalogue.QOE, settings)
                return
        if until_day is not None and timeout_s is not None and time.monotonic() - began > timeout_s:
            raise _incomplete(settings, until_day, timeout_s, state)
        time.sleep(LOOK_S)


def _incomplete(settings: Settings, day: date, timeout_s: float, state: str) -> InputMissing:
    numbers = ", ".join(map(str, open_partitions(settings, day)))
    return InputMissing(
        f"{day} is not complete on partition {numbers} after {timeout_s:.0f} s (job {state}): has the producer ended "
        "the day (`matinee world produce` does, `matinee stream end-day` for events of your own)?"
    )


def _look(settings: Settings, job_id: str) -> Job | None:
    try:
        job = rest.look(settings, job_id)
    except ServiceUnavailable:
        return None  # counted by the watch: a JobManager that is started again is away for seconds
    if job is None:
        raise forgotten(job_id)
    return job


def progress(settings: Settings) -> pd.DataFrame:
    """The newest `qoe_progress` row of every partition that has one."""
    held = consume.newest(consume.messages(catalogue.QOE_PROGRESS, settings)).values()
    return wire.decode_many(held, catalogue.QOE_PROGRESS.record).sort_values("partition", ignore_index=True)


def open_partitions(settings: Settings, day: date) -> list[int]:
    """Partitions for which the stream has not yet said that `day` is complete."""
    rows = progress(settings)
    complete = set(rows.loc[rows["day"] >= day, "partition"].tolist()) if len(rows) else set()
    return [number for number in range(settings.kafka.partitions) if number not in complete]
