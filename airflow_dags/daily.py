"""The daily run: land the day, measure it, train on it, decide tomorrow and send the decisions back.

Run **D** (UTC) starts once the day has ended and its results are due; it may be run again at any time, for any past
day, and writes the same bytes. A task that waits for a missing partition or a service tries again; a wrong setting or a
failed audit stops it at once, with `main` untouched. What to do then: `docs/operations.md`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable

from airflow_dags.defaults import ARGUMENTS, BY_HAND
from airflow_dags.job_operator import JobOperator
from airflow_dags.lineage import edges
from jobs.registry import DAILY, JobSpec, job

SPECS = tuple(job(name) for name in DAILY)


def asset(spec: JobSpec) -> list[Asset]:
    """One asset a table that the job publishes."""
    return [Asset(f"iceberg://lake/{table.namespace}/{table.name}") for table in spec.writes]


def doc(spec: JobSpec) -> str:
    """What the task's page says."""
    reads = ", ".join(dict.fromkeys(f"`{read.table.fqn}`" for read in spec.reads)) or "Kafka"
    writes = ", ".join(f"`{table.fqn}`" for table in spec.writes) or "Kafka"
    return (
        f"{spec.doc}\n\nReads {reads}.\n\nWrites {writes}.\n\nBy hand: `.venv/bin/matinee job {spec.name} --date DAY`."
    )


with DAG(
    "daily",
    schedule=None
    if BY_HAND
    else CronDataIntervalTimetable(f"0 {max(spec.delay_h for spec in SPECS)} * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["matinee", "daily"],
    doc_md=__doc__,
    default_args=ARGUMENTS,
) as dag:
    tasks = {
        spec.name: JobOperator(task_id=spec.name, job=spec.name, outlets=asset(spec), doc_md=doc(spec))
        for spec in SPECS
    }
    for before, after in sorted(edges(SPECS)):
        tasks[before] >> tasks[after]
