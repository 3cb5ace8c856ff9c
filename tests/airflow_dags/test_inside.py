"""Runs the tests of ``inside/`` in Airflow's own environment, which the main one does not hold."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from conf.environments import python

ROOT = Path(__file__).resolve().parents[2]
INSIDE = ROOT / "tests" / "airflow_dags" / "inside"


@pytest.mark.airflow
@pytest.mark.parametrize("name", sorted(path.name for path in INSIDE.glob("test_*.py")))
def test_inside(name: str, tmp_path: Path) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "MATINEE"))}
    environment = clean | {"AIRFLOW_HOME": str(tmp_path / "airflow"), "PYTHONPATH": str(ROOT)}
    command = [str(python("airflow")), "-m", "pytest", "-q", "-x", f"--confcutdir={INSIDE}", str(INSIDE / name)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
