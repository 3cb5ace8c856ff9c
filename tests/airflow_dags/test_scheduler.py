"""The local Airflow: its files, its errors, and (in `make test-all`) one day run by its scheduler through REST."""

from __future__ import annotations

import configparser
import os
import socket
import stat
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psutil
import pytest

from airflow_dags.rest import Api
from airflow_dags.scheduler import LocalAirflow
from conf.errors import ConfigError, ServiceUnavailable
from conf.settings import load
from jobs.registry import DAILY

pytestmark = pytest.mark.airflow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAirflow]:
    config = tmp_path / "settings.yaml"
    config.write_text(
        f"paths: {{var: {tmp_path / 'var'}}}\n"
        f"airflow: {{port: {free_port()}, parallelism: 2}}\n"
        f"kafka: {{bootstrap: '127.0.0.1:{free_port()}'}}\n"
    )
    monkeypatch.setenv("MATINEE_CONFIG", str(config))
    yield LocalAirflow(load())


def test_its_files_are_private_and_kept(local: LocalAirflow) -> None:
    local.configure()
    config, password = (local.home / "airflow.cfg").read_text(), local.password
    local.configure()
    assert (local.home / "airflow.cfg").read_text() == config
    assert local.password == password and len(password) >= 16
    for path in (local.home / "airflow.cfg", local.passwords_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_everything_listens_on_loopback_and_moves_with_the_port(local: LocalAirflow) -> None:
    local.configure()
    found = configparser.ConfigParser()
    found.read(local.home / "airflow.cfg")
    assert found["api"]["host"] == "127.0.0.1" and found["api"].getint("port") == local.port
    assert found["core"]["execution_api_server_url"] == f"http://127.0.0.1:{local.port}/execution/"
    assert found["database"]["sql_alchemy_conn"] == f"sqlite:///{local.home}/airflow.db"
    assert found["core"]["load_examples"] == "False"
    assert found["core"].getint("parallelism") == 2


def test_variables_of_another_airflow_are_left_out(local: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://production/airflow")
    monkeypatch.setenv("AIRFLOW_HOME", "/elsewhere")
    found = local.environment()
    assert not [name for name in found if name.startswith("AIRFLOW__")]
    assert found["AIRFLOW_HOME"] == str(local.home)
    assert (Path(found["PATH"].split(os.pathsep)[0]) / "airflow").exists()


def test_a_busy_port_is_named_before_anything_is_started(local: LocalAirflow) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", local.port))
        other.listen()
        with (
            pytest.raises(ConfigError, match=f"port {local.port} .* in use; .*MATINEE__AIRFLOW__PORT="),
            local.running(print),
        ):
            pass
    assert not local.home.exists()


def test_no_airflow_is_a_service_that_does_not_answer() -> None:
    api = Api(f"http://127.0.0.1:{free_port()}")
    assert not api.healthy(["scheduler"])
    with pytest.raises(ServiceUnavailable, match="no Airflow answers at .*make airflow"):
        api.login("admin", "x")


@pytest.mark.skipif(not os.environ.get("MATINEE_TEST_ALL"), reason="starts a scheduler: make test-all")
@pytest.mark.timeout(900)
def test_the_scheduler_runs_a_day_asked_for_by_rest(local: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker answers: `ingest` ends with 5, so all that wait for it are not run, and nothing else is. Twice."""
    from airflow_dags.cli import await_dag

    monkeypatch.setenv("MATINEE_RETRIES", "0")
    day = date(2026, 1, 2)
    with local.running(print) as api:
        started = psutil.Process().children(recursive=True)
        await_dag(api, "daily")
        run = api.trigger("daily", day)
        assert api.follow("daily", run, print) == "failed"
        states = api.tasks("daily", run)
        assert states == {name: "failed" if name == "ingest" else "upstream_failed" for name in DAILY}
        assert api.trigger("daily", day) == run
        assert api.follow("daily", run, print) == "failed"
    assert len(started) >= 3
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    logs = "".join(path.read_text() for path in (local.home / "logs" / "tasks").rglob("*.log"))
    assert "exit code 5" in logs
