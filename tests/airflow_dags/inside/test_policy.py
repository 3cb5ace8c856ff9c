"""What every DAG of ours must be, and that the daily one is exactly the jobs and their lineage."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from airflow_dags.lineage import edges
from jobs.registry import DAILY, UPKEEP, job

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(dag_folder=str(ROOT / "airflow_dags"), collect_dags=True)


def test_every_file_of_the_folder_parses_and_only_dag_files_are_read(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == {"daily", "upkeep"}


def test_every_dag_has_owner_retries_tags_documentation_and_one_run_at_a_time(bag: DagBag) -> None:
    for dag in bag.dags.values():
        assert dag.tags >= {"matinee"}
        assert dag.doc_md and dag.max_active_runs == 1 and dag.catchup is False
        for task in dag.tasks:
            assert task.owner == "matinee"
            assert task.retries == 3 and task.retry_delay >= timedelta(minutes=1)
            assert task.execution_timeout and task.pool == "matinee_spark"
            assert job(task.task_id).doc in task.doc_md


def test_the_daily_dag_is_the_jobs_and_their_lineage(bag: DagBag) -> None:
    tasks = bag.dags["daily"].task_dict
    assert set(tasks) == set(DAILY)
    found = {(task.task_id, after) for task in tasks.values() for after in task.downstream_task_ids}
    assert found == edges(map(job, DAILY))
    for name, task in tasks.items():
        assert (task.job, task.date) == (name, "{{ ds }}")
        assert {outlet.uri for outlet in task.outlets} == {
            f"iceberg://lake/{t.namespace}/{t.name}" for t in job(name).writes
        }


def test_the_upkeep_dag_is_the_upkeep_jobs(bag: DagBag) -> None:
    tasks = bag.dags["upkeep"].task_dict
    assert set(tasks) == set(UPKEEP) == {"retention"}
    assert all((task.job, task.date) == (name, "{{ ds }}") for name, task in tasks.items())


CAUSES = """
import json, sys, importlib
import airflow.sdk
from airflow.sdk import DAG, Asset, BaseOperator, CronDataIntervalTimetable
before, events = set(sys.modules), []
sys.addaudithook(lambda event, _: events.append(event))
importlib.import_module("airflow_dags.daily")
tops = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
watched = {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn",
           "socket.connect", "socket.getaddrinfo"}
print(json.dumps({"modules": sorted(tops), "events": sorted(set(events) & watched), "all": sorted(sys.modules)}))
"""


def test_a_parse_starts_no_process_opens_no_connection_and_loads_nothing_heavy() -> None:
    """The cause of the parse time, instead of the time; `bench/dag_parse.py` measures that."""
    done = subprocess.run([sys.executable, "-c", CAUSES], cwd=ROOT, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["events"] == []
    assert set(seen["modules"]) <= {"airflow", "airflow_dags", "jobs", "schemas", "psutil"}
    assert not {"pyspark", "pyflink", "pandas", "mlflow", "pyiceberg", "py4j"} & set(seen["all"])
