"""The command line: exit codes, lazy rooms, global options, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

import matinee
from conf.errors import AuditFailed, ConfigError, InputMissing, MatineeError, ServiceUnavailable, UsageError
from conf.settings import ROOT


class ForeignError(ValueError):
    """As schemas and models raise: no member of the family, but with an exit code."""

    exit_code = 2


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type:
    """A room of its own: its command calls ``Room.act``."""
    (tmp_path / "probe_room.py").write_text(
        "import click\nclass Room:\n    act = staticmethod(lambda: None)\n"
        "@click.command()\ndef probe():\n    return Room.act()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "probe_room", raising=False)
    monkeypatch.setitem(matinee.COMMANDS, "probe", ("probe_room", "probe", "test"))
    for name in ("MATINEE_CONFIG", "MATINEE__PROFILE"):
        monkeypatch.setenv(name, "")  # so that what a command leaves there is undone
        monkeypatch.delenv(name)
    import probe_room  # type: ignore[import-not-found]

    return probe_room.Room  # type: ignore[no-any-return]


def _raiser(error: BaseException) -> object:
    def act() -> None:
        raise error

    return staticmethod(act)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MatineeError("m"), 1),
        (UsageError("m"), 2),
        (ConfigError("m"), 2),
        (ForeignError("m"), 2),
        (click.UsageError("m"), 2),
        (InputMissing("m"), 3),
        (AuditFailed("m"), 4),
        (ServiceUnavailable("m"), 5),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (ZeroDivisionError("m"), 1),
        (click.exceptions.Exit(4), 4),
    ],
)
def test_each_error_has_its_exit_code(
    room: type, error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    room.act = _raiser(error)  # type: ignore[attr-defined]
    assert matinee.main(["probe"]) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (5, 5), ("text", 0)])
def test_what_a_command_returns_becomes_the_exit_code(room: type, answer: object, code: int) -> None:
    room.act = staticmethod(lambda: answer)  # type: ignore[attr-defined]
    assert matinee.main(["probe"]) == code


def test_a_traceback_is_shown_under_debug_alone(room: type, capsys: pytest.CaptureFixture[str]) -> None:
    room.act = _raiser(ZeroDivisionError("by what"))  # type: ignore[attr-defined]
    assert matinee.main(["--debug", "probe"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert matinee.main(["probe"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("internal error: ZeroDivisionError: by what (")


def test_a_missing_room_and_a_missing_command_are_named(
    room: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(matinee.COMMANDS, "probe", ("no_room.cli", "probe", "test"))
    assert matinee.main(["probe"]) == 2
    assert "no_room/cli.py, which this checkout does not have" in capsys.readouterr().err
    monkeypatch.setitem(matinee.COMMANDS, "probe", ("probe_room", "other", "test"))
    assert matinee.main(["probe"]) == 2
    assert "defines no command 'other'" in capsys.readouterr().err
    assert matinee.main(["probee"]) == 2
    assert "did you mean 'probe'" in capsys.readouterr().err


def test_options_reach_the_environment(room: type, tmp_path: Path) -> None:
    seen: dict[str, str] = {}
    room.act = staticmethod(lambda: seen.update(os.environ))  # type: ignore[attr-defined]
    assert matinee.main(["--config", str(tmp_path / "x.yaml"), "--profile", "cluster", "probe"]) == 0
    assert seen["MATINEE_CONFIG"] == str(tmp_path / "x.yaml")
    assert seen["MATINEE__PROFILE"] == "cluster"


def demo_runs(var: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Folders of demo runs under `var`, the newest first, none of which came to its end."""
    monkeypatch.setenv("MATINEE__PATHS__VAR", str(var))
    for age, name in enumerate(names):
        file = var / "demo" / name / "settings.yaml"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        os.utime(file, (1_000_000 - age, 1_000_000 - age))


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(["--demo"], "new"), (["--demo", "old"], "old"), (["--demo=old"], "old"), (["--debug", "--demo"], "new")],
)
def test_demo_means_the_named_or_the_latest_run(
    room: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], wanted: str
) -> None:
    demo_runs(tmp_path, monkeypatch, "new", "old")
    seen: dict[str, str] = {}
    room.act = staticmethod(lambda: seen.update(os.environ))  # type: ignore[attr-defined]
    assert matinee.main([*words, "probe"]) == 0
    assert seen["MATINEE_CONFIG"] == str(tmp_path / "demo" / wanted / "settings.yaml")


def test_a_run_that_was_cut_off_is_not_the_latest(
    room: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    demo_runs(tmp_path, monkeypatch, "cut", "whole")
    (tmp_path / "demo" / "whole" / "report.html").touch()
    (tmp_path / "demo" / "latest").symlink_to("cut")
    seen: dict[str, str] = {}
    room.act = staticmethod(lambda: seen.update(os.environ))  # type: ignore[attr-defined]
    assert matinee.main(["--demo", "probe"]) == 0
    assert seen["MATINEE_CONFIG"] == str(tmp_path / "demo" / "whole" / "settings.yaml")
    assert "demo cut has not come to its end; taken is whole" in capsys.readouterr().err
    monkeypatch.delenv("MATINEE_CONFIG", raising=False)
    assert matinee.main(["--demo", "nosuch", "probe"]) == 2
    assert "there are whole, cut" in capsys.readouterr().err


def test_an_unknown_demo_run_is_named(
    room: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MATINEE__PATHS__VAR", str(tmp_path))
    assert matinee.main(["--demo", "probe"]) == 2
    assert "holds no demo run" in capsys.readouterr().err


def test_help_imports_no_engine_and_no_room() -> None:
    program = (
        "import sys, matinee; code = matinee.main(['--help']);"
        "heavy = {'pyspark', 'pyflink', 'mlflow', 'pandas', 'numpy', 'jobs', 'lake', 'streaming'};"
        "print('HEAVY', sorted(heavy & set(sys.modules)));"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    for name in matinee.COMMANDS:
        assert f"\n  {name} " in done.stdout


def test_interrupt_of_a_real_process_is_130(tmp_path: Path) -> None:
    (tmp_path / "probe_room.py").write_text(
        "import click, time\n@click.command()\ndef probe():\n    print('ready', flush=True)\n    time.sleep(600)\n"
    )
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import matinee;"
        "matinee.COMMANDS['probe'] = ('probe_room', 'probe', ''); sys.exit(matinee.main(['probe']))"
    )
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == code
        process.stdout.close()


def test_interrupt_before_the_front_door_listens(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import matinee"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(("number", "code", "word"), [("INT", 130, "interrupted"), ("TERM", 143, "terminated")])
def test_what_breaks_by_giving_up_is_no_error(tmp_path: Path, number: str, code: int, word: str) -> None:
    (tmp_path / "probe_room.py").write_text(
        "import click, os, signal\n@click.command()\ndef probe():\n"
        f"    try:\n        os.kill(os.getpid(), signal.SIG{number})\n    except BaseException:\n        {{}}['m']\n"
    )
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import matinee;"
        "matinee.COMMANDS['probe'] = ('probe_room', 'probe', ''); sys.exit(matinee.main(['probe']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, f"{word}\n")


def test_config_prints_values_with_their_source_and_hides_passwords() -> None:
    environment = {**os.environ, "MATINEE__LAKE__CATALOG_URI": "postgresql+psycopg2://me:secret@db/lake"}
    environment["MATINEE__COLLECTOR__TOKEN"] = "secret"
    environment.pop("MATINEE_CONFIG", None)
    done = subprocess.run(
        [sys.executable, "-m", "matinee", "config"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    wanted = "lake.catalog_uri = 'postgresql+psycopg2://me:***@db/lake'  # MATINEE__LAKE__CATALOG_URI"
    assert wanted in done.stdout.splitlines() and "secret" not in done.stdout


def test_an_unknown_setting_ends_with_2() -> None:
    environment = {**os.environ, "MATINEE__KAFKA__BOOTSTRAPP": "x"}
    done = subprocess.run(
        [sys.executable, "-m", "matinee", "config"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'kafka.bootstrap'" in done.stderr
