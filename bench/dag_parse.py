"""What a DAG file of ours adds to an interpreter with ``airflow.sdk`` loaded: ``.venv/bin/python -m bench.dag_parse``.

Each repetition is a fresh interpreter of the Airflow environment with a warm file cache.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

from conf.environments import python
from conf.settings import ROOT

REPETITIONS = 7
PROBE = """
import json, resource, sys, time
begin = time.perf_counter()
import airflow.sdk
from airflow.sdk import DAG, Asset, BaseOperator, CronDataIntervalTimetable
from airflow.sdk.exceptions import AirflowFailException
ready, cpu, before = time.perf_counter(), time.process_time(), len(sys.modules)
import airflow_dags.daily
print(json.dumps({
    "sdk_ms": 1000 * (ready - begin),
    "dag_ms": 1000 * (time.perf_counter() - ready),
    "dag_cpu_ms": 1000 * (time.process_time() - cpu),
    "modules": len(sys.modules) - before,
    "resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def main() -> int:
    """Print the median and the range of each figure."""
    with tempfile.TemporaryDirectory() as home:
        environment = dict(os.environ, AIRFLOW_HOME=home, PYTHONPATH=str(ROOT))
        command = [str(python("airflow")), "-c", PROBE]
        seen = []
        for _ in range(REPETITIONS + 1):
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
            seen.append(json.loads(done.stdout.splitlines()[-1]))
    for name in seen[0]:
        values = [one[name] for one in seen[1:]]
        print(f"{name:14} median {statistics.median(values):8.1f}   {min(values):.1f} to {max(values):.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
