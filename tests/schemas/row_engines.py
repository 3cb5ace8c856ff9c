"""Rows of a test in Flink SQL, in a process of the streaming environment."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any

import pandas as pd

from conf.environments import python
from conf.settings import ROOT

IN_FLINK = """
import json, sys
from pyflink.table import EnvironmentSettings, TableEnvironment
env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
env.get_config().set("parallelism.default", "1")
for query in json.load(sys.stdin):
    rows = list(env.execute_sql(query).collect())
    print(json.dumps([value for value in rows[-1]]))
"""


def in_flink(queries: Sequence[str]) -> list[list[float | None]]:
    """The last row of each query, as a stream has it once its input has come to its end."""
    command = [str(python("streaming")), "-c", IN_FLINK]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    text = json.dumps(list(queries))
    done = subprocess.run(command, cwd=ROOT, env=environment, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def flink_rows(frame: pd.DataFrame) -> str:
    """Rows as Flink SQL, whole numbers as BIGINT."""

    def cell(value: Any) -> str:
        return str(value).upper() if isinstance(value, bool) else f"CAST({value} AS BIGINT)"

    lines = ", ".join(f"({', '.join(map(cell, row))})" for row in frame.astype(object).to_numpy().tolist())
    return f"(VALUES {lines}) AS t({', '.join(f'`{name}`' for name in frame)})"
