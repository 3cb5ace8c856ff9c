"""Ctrl-C while Spark works: exit code 130, one line, no JVM left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from conf.settings import ROOT
from tests.fixtures.spark import lake_variables

pytestmark = pytest.mark.spark
ROOM = """
import threading, click

@click.command()
def probe():
    from conf.settings import load
    from jobs.session import start, stop
    session = start(load())
    threading.Timer(3, lambda: print("at work", flush=True)).start()
    try:
        session.sql("SELECT sum(hash(a.id, b.id)) FROM range(100000000) a CROSS JOIN range(1000000) b").collect()
    finally:
        print(session.sql("SELECT 40 + 2 AS answer").head(), flush=True)  # what cleans up may ask Spark
        stop(session)
"""
STARTING = """
import click

@click.command()
def probe():
    from pyspark import SparkContext
    from pyspark.sql import SparkSession
    from conf.settings import load
    from jobs.session import start

    made = SparkSession.Builder.getOrCreate

    def slow(builder):
        print("at work", flush=True)
        for _ in range(600):
            SparkContext._active_spark_context._jvm.java.lang.Thread.sleep(100)
        return made(builder)

    SparkSession.Builder.getOrCreate = slow
    start(load())
"""


@pytest.mark.parametrize("room", [ROOM, STARTING], ids=["query", "start"])
def test_an_interrupt_of_spark_is_an_interrupt(tmp_path: Path, room: str) -> None:
    (tmp_path / "probe_room.py").write_text(room)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import matinee;"
        "matinee.COMMANDS['probe'] = ('probe_room', 'probe', ''); sys.exit(matinee.main(['probe']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, **lake_variables(tmp_path)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    while "at work" not in process.stdout.readline():
        assert process.poll() is None
    family = psutil.Process(process.pid).children(recursive=True)
    assert any("java" in member.name() for member in family)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the foreground group
    said, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert told.rstrip().endswith("interrupted")
    assert "Traceback" not in told and "Py4J" not in told and "Exception in" not in told, told
    assert room is not ROOM or said == "Row(answer=42)\n"
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
