"""What the planner makes of the job: one fold for all sinks, no Python, no materializer. Needs a JVM, no cluster."""

from __future__ import annotations

import re
import time
from pathlib import Path

import psutil
import pytest

from conf.errors import MatineeError
from conf.settings import load
from streaming import launch

pytestmark = pytest.mark.flink


@pytest.fixture(scope="module")
def plan() -> str:
    return launch.explain(load())


def test_one_fold_feeds_every_sink(plan: str) -> None:
    execution = plan[plan.index("== Optimized Execution Plan =="):plan.index("== Physical Execution Plan ==")]
    assert execution.count("TableSourceScan(") == 1, "the rows of the fold"
    sinks = re.findall(r"Sink\(table=\[default_catalog\.default_database\.(\w+)\]", execution)
    assert sorted(sinks) == ["dead_letter", "qoe_minute", "qoe_progress", "qoe_session", "qoe_step"]
    nodes = plan[plan.index("== Physical Execution Plan =="):]
    assert len(re.findall(r'"type" : "fold_live', nodes)) == 1
    assert len(re.findall(r'"type" : "Source: raw_', nodes)) == 2, "playback_event and cmcd"


def test_the_fold_sees_the_watermarks_of_its_sources(plan: str) -> None:
    nodes = plan[plan.index("== Physical Execution Plan =="):]
    assert nodes.count('"type" : "MiniBatchAssigner') == 1
    assert nodes.index('"type" : "fold_live') < nodes.index('"type" : "MiniBatchAssigner')


def test_no_python_touches_an_event(plan: str) -> None:
    assert not re.search(r"(?i)python", plan[plan.index("== Optimized Physical Plan =="):])


def test_upserts_are_neither_materialized_nor_retracted(plan: str) -> None:
    physical = plan[plan.index("== Optimized Physical Plan =="):plan.index("== Optimized Execution Plan ==")]
    assert "upsertMaterialize" not in physical
    assert "changelogMode=[I,UA]" in physical, "sums are updated in place"
    assert "UB" not in re.sub(r".*changelogMode=\[([A-Z,]*)\].*", r"\1", physical), "a retraction would be a tombstone"


def test_sums_are_batched_and_kept_apart_from_the_fold(plan: str) -> None:
    assert "LocalGroupAggregate" in plan and "GlobalGroupAggregate" in plan and "MiniBatchAssigner" in plan


def test_a_client_that_has_begun_to_plan_can_be_dropped_with_its_jvm() -> None:
    client = launch.Client(load())
    client.plan()
    assert client.process is not None
    child = psutil.Process(client.process.pid)
    while not (family := child.children(recursive=True)):
        assert child.status() != psutil.STATUS_ZOMBIE, "it failed before it started its JVM"
        time.sleep(0.1)
    client.drop()
    assert psutil.wait_procs([child, *family], timeout=60)[1] == []
    client.drop()


def test_a_client_that_fails_says_why() -> None:
    client = launch.Client(load(), jars=[Path("no") / "such.jar"])
    with pytest.raises(MatineeError, match="could not submit the stream job"):
        client.submit(None)
