"""The doctor on ill machines: no Java, a JRE, a busy port, damaged jars, no environment."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conf import bootstrap, doctor, java
from conf.errors import ConfigError
from conf.settings import ROOT, load


def _check(name: str, **variables: str) -> doctor.Check:
    return next(check for check in doctor.examine(load(environ=variables)) if check.name == name)


@pytest.fixture
def jre(tmp_path: Path) -> Path:
    """A folder with a program named java, and no compiler beside it."""
    folder = tmp_path / "jre" / "bin"
    folder.mkdir(parents=True)
    program = folder / "java"
    program.write_text("#!/bin/sh\necho 'openjdk version \"17.0.9\"' >&2\n")
    program.chmod(0o755)
    return folder


def test_without_java_the_doctor_fails_and_says_what_to_install(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "JAVA_HOME"} | {"PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "matinee", "doctor"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    lines = done.stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("FAIL JDK: java is not on PATH"))
    assert "install a JDK 17" in lines[place + 1]


def test_a_jre_is_not_a_jdk(monkeypatch: pytest.MonkeyPatch, jre: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(jre))
    check = _check("JDK")
    assert not check.ok
    assert "only a JRE is on PATH" in check.found
    monkeypatch.setenv("JAVA_HOME", str(jre.parent))
    assert "has no bin/javac" in _check("JDK").found


def test_an_old_java_is_refused(monkeypatch: pytest.MonkeyPatch, jre: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{jre}:/bin:/usr/bin")
    shutil.copy(jre / "java", jre / "javac")
    assert java.version() == 17
    (jre / "java").write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    with pytest.raises(ConfigError, match="is version 11: install a JDK 17"):
        java.version()
    assert not _check("JDK").ok


def test_set_up_refuses_a_machine_without_a_compiler(
    monkeypatch: pytest.MonkeyPatch, jre: Path, tmp_path: Path
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(jre))
    with pytest.raises(bootstrap.SetupError, match="only a JRE"):
        bootstrap.check_machine()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(bootstrap.SetupError, match="java is not on PATH"):
        bootstrap.check_machine()


def test_set_up_finds_java_where_the_doctor_does(monkeypatch: pytest.MonkeyPatch, jre: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(jre.parent))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(bootstrap.SetupError, match="has no bin/javac"):
        bootstrap.check_machine()
    shutil.copy(jre / "java", jre / "javac")
    bootstrap.check_machine()
    assert _check("JDK").ok
    (jre / "java").write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    with pytest.raises(bootstrap.SetupError, match="is version 11"):
        bootstrap.check_machine()


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = str(server.getsockname()[1])
        check = _check("ports", MATINEE__STACK__BROKER_PORT=port, MATINEE__PATHS__VAR=str(tmp_path))
    assert not check.ok
    assert f"port {port} (stack.broker_port) is in use by pid {os.getpid()}" in check.found


def test_absent_jars_and_an_unbuilt_kernel_are_named(tmp_path: Path) -> None:
    variables = {"MATINEE__JARS__DIR": str(tmp_path), "MATINEE__PATHS__BUILD": str(tmp_path)}
    jars = _check("jars", **variables)
    assert not jars.ok
    assert "absent" in jars.found
    assert "make setup" in jars.way_out
    assert "not built" in _check("kernel", **variables).found


def test_environments_follow_their_locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _check("environments").found.startswith("main as locked, streaming as locked")
    folder = tmp_path / ".venv"
    monkeypatch.setitem(bootstrap.FOLDERS, "main", str(folder))
    assert "main absent" in _check("environments").found
    shutil.copytree(ROOT / ".venv" / "bin", folder / "bin", symlinks=True)
    assert "main differs from its lock" in _check("environments").found
    (folder / bootstrap.STAMP).write_text(bootstrap.stamp_of("main"))
    assert _check("environments").found.startswith("main as locked, streaming as locked")
