"""From a fresh interpreter to the first feature, in the notebook's own five lines: ``python -m bench.first_feature``.

Works on the lake that MATINEE_CONFIG names, else on the latest demo's.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from statistics import median

import nbformat

import matinee
from conf.settings import ROOT

REPETITIONS = 5


def first_cell() -> str:
    """The first code cell of the features notebook."""
    cells = nbformat.read(ROOT / "notebooks" / "features.ipynb", as_version=4).cells
    return next(str(cell.source) for cell in cells if cell.cell_type == "code")


def main() -> int:
    """Print lines, rows of the answer and the median time with its range."""
    config = os.environ.get("MATINEE_CONFIG") or str(matinee.demo_settings("latest"))
    code = first_cell()
    program = f"{code}\nprint(len(spine))"
    walls, cpus = [], []
    rows = ""
    for _ in range(REPETITIONS + 1):
        begin, spent = time.perf_counter(), _cpu_s()
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=dict(os.environ, MATINEE_CONFIG=config),
            capture_output=True,
            text=True,
            check=True,
        )
        walls.append(time.perf_counter() - begin)
        cpus.append(_cpu_s() - spent)
        rows = done.stdout.strip()
    print(f"lines {len(code.splitlines())}   rows of the spine {rows}")
    for name, values in (("wall", walls[1:]), ("CPU", cpus[1:])):
        print(f"{name} s, interpreter included: median {median(values):.2f}   {min(values):.2f} to {max(values):.2f}")
    return 0


def _cpu_s() -> float:
    """CPU seconds of the children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
