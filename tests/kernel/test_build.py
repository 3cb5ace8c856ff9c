"""The build: reproducible, recognises a stale jar, says what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conf import kernel
from conf.errors import ConfigError
from conf.settings import ROOT
from kernel import build
from schemas import ids, records


def test_schema_table_names_every_version_and_field() -> None:
    lines = [line.split("\t") for line in build.schema_table().splitlines()]
    assert {len(line) for line in lines if line[0] == "F"} == {11}
    versions = {(line[1], int(line[2])): int(line[3]) for line in lines if line[0] == "R"}
    assert versions["playback_event", 2] == ids.schema_id("playback_event", 2)
    assert {name for name, _ in versions} >= {
        "playback_event",
        "day_end",
        "title",
        "span",
        "session",
        "qoe_session",
        "qoe_minute",
    }
    fields = sum(len(records.load(name, version).fields) for name, version in versions)
    assert sum(line[0] == "F" for line in lines) == fields


@pytest.mark.jvm
def test_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("a.jar", "b.jar"):
        build.build(tmp_path / name)
    assert (tmp_path / "a.jar").read_bytes() == (tmp_path / "b.jar").read_bytes()
    assert build.is_fresh(tmp_path / "a.jar")
    assert kernel.built_from(tmp_path / "a.jar") == build.fingerprint()


def test_stale_and_broken_jars(tmp_path: Path) -> None:
    jar = tmp_path / "old.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", f"{kernel.ATTRIBUTE}: 0123\r\n")
    assert not build.is_fresh(jar)
    jar.write_bytes(b"not a zip")
    assert not build.is_fresh(jar)
    assert not build.is_fresh(tmp_path / "absent.jar")


def _java(folder: Path, *names: str) -> dict[str, str]:
    """An environment whose PATH has only programs of these names."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\nexit 1\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder), "PYTHONPATH": str(ROOT), "MATINEE__PATHS__BUILD": str(folder / "out")}


@pytest.mark.parametrize(("present", "word"), [((), "not on PATH"), (("java",), "only a JRE")])
def test_without_a_compiler(tmp_path: Path, present: tuple[str, ...], word: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "JAVA_HOME"} | _java(tmp_path / "bin", *present)
    done = subprocess.run(
        [sys.executable, "-m", "kernel.build"], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert word in done.stderr and "JDK" in done.stderr
    assert "Traceback" not in done.stderr


def test_sources_that_do_not_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "javac"
    compiler.write_text("#!/bin/sh\necho 'Fold.java:1: error' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(build, "tool", lambda name: compiler)
    with pytest.raises(ConfigError, match="does not compile:\nFold.java:1"):
        build.build(tmp_path / "kernel.jar")
    assert not (tmp_path / "kernel.jar").exists()


def test_check_refuses(tmp_path: Path) -> None:
    environment = os.environ | {"MATINEE__PATHS__BUILD": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "kernel.build", "--check"], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "absent" in done.stderr
