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
import threading, time, click

@click.command()
def probe():
    from conf.settings import load
    from jobs.session import start, stop
    session = start(load())
    context = session.sparkContext
    cores = context.defaultParallelism

    def watch():
        tracker = context.statusTracker()
        stages = tracker.getActiveStageIds
        while not any((s := tracker.getStageInfo(n)) and s.numActiveTasks == cores for n in stages()):
            time.sleep(0.1)
        print("at work", flush=True)

    threading.Thread(target=watch).start()
    try:
        session.sql("SELECT sum(hash(id)) FROM range(1000000000000000)").collect()
    finally:  # what cleans up may ask Spark, and every core is busy
        print(session.sql("SELECT count(DISTINCT id) AS answer FROM range(42)").head(), flush=True)
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
