"""The nightly upkeep: what is past its retention goes, small files are put together, old snapshots expire.

It takes each table's write lease in turn, so it may run beside the daily run; it may be run again at any time. How long
what is kept: settings `retention`, `docs/operations.md`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, CronDataIntervalTimetable

from airflow_dags.defaults import ARGUMENTS, BY_HAND
from airflow_dags.job_operator import JobOperator
from jobs.registry import UPKEEP, job

with DAG(
    "upkeep",
    schedule=None if BY_HAND else CronDataIntervalTimetable("0 6 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["matinee", "upkeep"],
    doc_md=__doc__,
    default_args=ARGUMENTS,
) as dag:
    for name in UPKEEP:
        doc = f"{job(name).doc}\n\nBy hand: `.venv/bin/matinee job {name} --date DAY`."
        JobOperator(task_id=name, job=name, doc_md=doc)
