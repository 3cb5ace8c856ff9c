"""Watching a job: what is waited for, what is reported. No cluster."""

from __future__ import annotations

import socket

import pytest
from click.testing import CliRunner

from conf.errors import MatineeError, ServiceUnavailable, UsageError
from conf.flink import Job
from conf.settings import load
from streaming import cli, clients, launch, topics
from streaming.follow import SILENT_S, Watch


def job(state: str = "RUNNING", restarts: int = 0, checkpoints: int = 0, failure: str | None = None) -> Job:
    return Job("j1", "matinee qoe", state, restarts, checkpoints, 0, failure)


def test_a_job_that_only_restarts_is_reported_with_its_cause() -> None:
    watch = Watch("j1", lambda: 0.0)
    with pytest.raises(MatineeError, match=r"only restarts.*NoClassDefFoundError: zstd"):
        for restarts in range(10):
            watch.judge(job("RESTARTING", restarts, 0, "NoClassDefFoundError: zstd"))
    assert watch.restarts == 0


def test_waiting_for_a_taskmanager_is_not_the_jobs_fault() -> None:
    watch = Watch("j1", lambda: 0.0)
    for restarts in range(10):
        watch.judge(job("RESTARTING", restarts, 4, "o.a.f...NoResourceAvailableException: no slots"))


def test_restarts_between_checkpoints_are_life() -> None:
    watch = Watch("j1", lambda: 0.0)
    for number in range(50):
        watch.judge(job(restarts=number, checkpoints=number))


def test_an_ended_job_is_reported() -> None:
    for state in ("FAILED", "CANCELED", "FINISHED"):
        with pytest.raises(MatineeError, match=f"j1 is {state}: the cause"):
            Watch("j1", lambda: 0.0).judge(job(state, failure="the cause"))


def test_a_silent_cluster_is_given_a_minute() -> None:
    now = 0.0
    watch = Watch("j1", lambda: now)
    watch.judge(None)
    now = SILENT_S
    watch.judge(None)
    now = SILENT_S + 1
    with pytest.raises(ServiceUnavailable, match="goes on from the last checkpoint"):
        watch.judge(None)


def test_the_last_cause_of_a_trace_is_told() -> None:
    trace = "Traceback\n  File x\nCaused by: a.B: outer\n\tat x\nCaused by: c.D: inner\n\tat y\n"
    assert launch.root_cause(trace) == "c.D: inner"
    assert launch.root_cause("Traceback (most recent call last):\n  File x\nValueError: no\n") == "ValueError: no"


@pytest.fixture
def nobody() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_broker_and_cluster_away_are_exit_5_with_the_way_out(nobody: int) -> None:
    rest = f"http://127.0.0.1:{nobody}"
    settings = load(overrides={"stack": {"broker_port": nobody}, "flink": {"rest_url": rest}})
    with pytest.raises(ServiceUnavailable, match=f"127.0.0.1:{nobody}.*matinee up") as broker:
        topics.create(settings)
    with pytest.raises(ServiceUnavailable, match="make up") as cluster:
        launch.submit(settings)
    assert broker.value.exit_code == cluster.value.exit_code == 5


def test_a_bootstrap_that_is_no_address_is_said() -> None:
    settings = load(overrides={"kafka": {"bootstrap": "localhost"}})
    with pytest.raises(MatineeError, match="host:port"), clients.reaching(settings):
        pass


def test_faults_are_named_by_the_command_line() -> None:
    assert cli._fault("isp_outage:DE-1").isp == "DE-1"
    assert cli._fault("late_burst").name == "late_burst"
    with pytest.raises(UsageError, match="there are isp_outage"):
        cli._fault("rain")
    with pytest.raises(UsageError, match="needs its isp"):
        cli._fault("isp_outage")


def test_a_wrong_date_is_a_usage_error() -> None:
    done = CliRunner().invoke(cli.stream, ["qoe", "--until-day", "14.3.2026"])
    assert done.exit_code == 2 and "2026-03-14" in done.output
