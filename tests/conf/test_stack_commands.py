"""The stack's commands where nothing can be started: busy ports, nothing running, data in use."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from click.testing import CliRunner

from conf import cli, flink, stack, supervisor
from conf.settings import ROOT, Settings, load
from conf.supervisor import Bounds, Process
from tests.fixtures.stack import stack_variables

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def variables(tmp_path: Path) -> Iterator[dict[str, str]]:
    found = stack_variables(tmp_path)
    yield found
    supervisor.stop(load(environ=found).stack.dir)


def _matinee(variables: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MATINEE")} | variables
    command = [sys.executable, "-m", "matinee", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_up_names_the_owner_of_a_busy_port_and_starts_nothing(variables: dict[str, str]) -> None:
    port = int(variables["MATINEE__STACK__FLINK_REST_PORT"])
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        done = _matinee(variables, "up")
    assert done.returncode == 2
    assert f"port {port} (stack.flink_rest_port) is in use by pid {os.getpid()} (" in done.stderr
    assert "MATINEE__STACK__BROKER_PORT" in done.stderr
    assert supervisor.read_state(load(environ=variables).stack.dir) is None


def test_status_without_a_stack_is_5_and_says_how_to_start_it(variables: dict[str, str]) -> None:
    done = _matinee(variables, "status")
    assert done.returncode == 5
    assert "make up" in done.stdout
    assert f"no broker listens on 127.0.0.1:{variables['MATINEE__STACK__BROKER_PORT']}" in done.stdout.replace(
        "\n", " "
    )


def test_down_without_a_stack_is_harmless(variables: dict[str, str]) -> None:
    done = _matinee(variables, "down")
    assert (done.returncode, done.stdout) == (0, "nothing was running\n")


def test_logs_name_what_there_is(variables: dict[str, str]) -> None:
    done = _matinee(variables, "logs", "brokr")
    assert done.returncode == 2
    assert "broker, jobmanager, taskmanager, supervisor" in done.stderr
    assert "was not started here" in _matinee(variables, "logs", "broker").stderr


def test_status_tells_a_process_that_failed_from_one_that_runs(variables: dict[str, str]) -> None:
    folder = load(environ=variables).stack.dir
    supervisor.start(folder, [Process("broker", SLEEPER)], Bounds())
    found = stack.status(load(environ=variables))
    assert found.supervised
    assert not found.well
    assert [(child.name, child.alive) for child in found.children] == [("broker", True)]


def test_status_shows_any_failure_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Square brackets are no markup: `[/tmp/x]` in a job's failure ended the command."""
    why = "NoSuchFileException: [/tmp/x]"
    job = flink.Job("1", "qoe", "RESTARTING", 2, 1, 1, why)
    found = SimpleNamespace(children=(), supervised=True, ills={"cluster": why}, jobs=(job,), well=False)
    monkeypatch.setattr(stack, "status", lambda: found)
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(cli.status, standalone_mode=False)
    assert (done.return_value, done.output.count(why)) == (5, 2), done.exception


def test_an_interrupted_up_leaves_no_process(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(environ=variables)
    monkeypatch.setattr(stack.broker, "prepare", lambda *_: Process("broker", SLEEPER))
    monkeypatch.setattr(stack.flink, "prepare", lambda *_: [Process("jobmanager", SLEEPER)])
    monkeypatch.setattr(stack.java, "version", lambda: 17)
    started: list[psutil.Process] = []

    def interrupted(_settings: Settings) -> None:
        state = supervisor.read_state(settings.stack.dir)
        assert state is not None
        started.extend(psutil.Process(pid) for pid in (state.pid, *(child.pid for child in state.children)))
        raise KeyboardInterrupt

    monkeypatch.setattr(stack.broker, "ill", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stack.up(settings)
    assert len(started) == 3
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    assert supervisor.read_state(settings.stack.dir) is None


def test_clean_refuses_while_the_stack_runs_and_keeps_what_set_up_made(
    variables: dict[str, str], tmp_path: Path
) -> None:
    variables |= {"MATINEE__JARS__DIR": str(tmp_path / "jars"), "MATINEE__PATHS__BUILD": str(tmp_path / "build")}
    for name in ("jars", "build", "bootstrap", "lake", "demo"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    folder = load(environ=variables).stack.dir
    supervisor.start(folder, [Process("broker", SLEEPER)], Bounds())
    done = _matinee(variables, "clean")
    assert done.returncode == 2
    assert "make down" in done.stderr
    assert (tmp_path / "lake" / "file").exists()
    supervisor.stop(folder)
    supervisor.start(folder / "spark", [Process("spark-master", SLEEPER)], Bounds())
    done = _matinee(variables, "clean")
    assert (done.returncode, "spark-cluster down" in done.stderr) == (2, True)
    supervisor.stop(folder / "spark")
    (tmp_path / "thesis.tex").write_text("not ours")
    done = _matinee(variables, "clean")
    assert done.returncode == 0 and "left alone, as matinee did not make them: thesis.tex\n" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bootstrap", "build", "jars", "thesis.tex"]
    assert _matinee(variables, "clean", "--all").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
