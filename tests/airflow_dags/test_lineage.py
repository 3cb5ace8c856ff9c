"""Edges of the daily run, held against a simulation of forty days of runs."""

from __future__ import annotations

import graphlib
from dataclasses import replace

import pytest

from airflow_dags.lineage import edges
from jobs.registry import DAILY, JOBS, JobSpec, Kind, Read, job
from schemas import tables as t

HORIZON = 40


def simulated(specs: tuple[JobSpec, ...]) -> set[tuple[str, str]]:
    """For the runs of day 0: who touches a partition that another job's run of day 0 writes."""
    written: dict[tuple[str, int], set[str]] = {}
    for spec in specs:
        days = range(-HORIZON, HORIZON + 1) if spec.kind is Kind.LANDING else [spec.writes_day]
        for table in spec.writes:
            for day in days:
                written.setdefault((table.fqn, day), set()).add(spec.name)
    found = set()
    for spec in specs:
        for read in spec.reads:
            days = range(-HORIZON, 1) if read.latest else range(read.days[0], read.days[1] + 1)
            for day in days:
                found |= {
                    (writer, spec.name) for writer in written.get((read.table.fqn, day), ()) if writer != spec.name
                }
    return found


SPECS = tuple(job(name) for name in DAILY)


@pytest.mark.parametrize("specs", [SPECS, JOBS], ids=["daily", "every job"])
def test_edges_equal_a_simulation_of_the_partitions(specs: tuple[JobSpec, ...]) -> None:
    assert edges(specs) == simulated(specs)


def test_the_daily_run_has_no_circle_and_starts_with_ingest() -> None:
    before: dict[str, set[str]] = {spec.name: set() for spec in SPECS}
    for producer, consumer in edges(SPECS):
        before[consumer].add(producer)
    order = list(graphlib.TopologicalSorter(before).static_order())
    assert order[0] == "ingest"
    assert [name for name, waits in before.items() if not waits] == ["ingest"]


def test_a_decision_for_tomorrow_is_waited_for_only_by_who_reads_tomorrow() -> None:
    producer = JobSpec("maker", Kind.TABLE, "", writes=(t.HOME_PAGE,), writes_day=1)
    tomorrow = JobSpec("tomorrow", Kind.TABLE, "", reads=(Read(t.HOME_PAGE, (1, 1)),))
    today = JobSpec("today", Kind.TABLE, "", reads=(Read(t.HOME_PAGE, (-3, 0)),))
    newest = JobSpec("newest", Kind.TABLE, "", reads=(Read(t.HOME_PAGE, latest=True),))
    assert edges((producer, tomorrow, today, newest)) == {("maker", "tomorrow")}


def test_reading_its_own_earlier_output_is_no_edge() -> None:
    assert not edges((JobSpec("self", Kind.TABLE, "", reads=(Read(t.FILL_PLAN, (-1, 0)),), writes=(t.FILL_PLAN,)),))


def test_a_required_partition_that_only_a_later_run_writes_is_refused() -> None:
    producer = JobSpec("maker", Kind.TABLE, "", writes=(t.SPAN,))
    reader = JobSpec("reader", Kind.TABLE, "", reads=(Read(t.SPAN, (1, 1)),))
    with pytest.raises(ValueError, match=r"reader requires silver\.span of day \+1, but maker writes day \+0"):
        edges((producer, reader))
    assert not edges((producer, replace(reader, reads=(Read(t.SPAN, (1, 1), required=False),))))


def test_two_writers_of_one_table_are_refused() -> None:
    one = JobSpec("one", Kind.TABLE, "", writes=(t.SPAN,))
    with pytest.raises(ValueError, match=r"silver\.span is written by one and by two"):
        edges((one, replace(one, name="two")))
