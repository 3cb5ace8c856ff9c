"""Wall time, CPU and memory of what issues are accepted by: ``.venv/bin/python -m bench.acceptance [NAME ...]``.

Each command runs `--runs` times (3) as a user starts it. CPU is that of the command, its descendants and the stack's
processes (broker, JobManager, TaskManager), as last seen of each in a sample a second; memory is the peak of their
proportional set sizes together. Printed are minimum, median and maximum. Take a quiet machine: the load at the start
stands beside the figures.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import click

from bench.cpu import Meter
from conf import stack
from conf.settings import ROOT, load
from demo.meter import memory

MATINEE = [sys.executable, str(ROOT / "matinee.py")]
COMMANDS = {
    "demo": [*MATINEE, "demo"],
    "demo-kill": [*MATINEE, "demo", "--kill"],
    "check-fold": [*MATINEE, "--demo", "demo", "check-fold"],
    "check-truth": [*MATINEE, "--demo", "demo", "check-truth"],
    "loop": [sys.executable, "-m", "bench.loop", "--seeds", "20"],
    "first-feature": [sys.executable, "-m", "bench.first_feature"],
    "dag-parse": [sys.executable, "-m", "bench.dag_parse"],
    "test": ["make", "test"],
}
SAMPLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run took."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    code: int


def run(command: list[str]) -> Spent:
    """Run a command to its end, its output to the terminal, and measure."""
    settings = load()
    meter = Meter()
    before = meter.look(*(child.pid for child in stack.status(settings).children))
    peak, began = 0, time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    while True:
        try:
            code = process.wait(SAMPLE_S)
            break
        except subprocess.TimeoutExpired:
            services = [child.pid for child in stack.status(settings).children]
            meter.look(process.pid, *services)
            peak = max(peak, memory(services))
    wall = time.monotonic() - began
    after = meter.look(*(child.pid for child in stack.status(settings).children))
    return Spent(wall, after - before, peak, code)


def line(name: str, spent: list[Spent]) -> str:
    """Minimum, median and maximum of each figure."""
    parts = []
    for label, values in (
        ("wall s", [one.wall_s for one in spent]),
        ("CPU s", [one.cpu_s for one in spent]),
        ("GiB", [one.peak_bytes / 2**30 for one in spent]),
    ):
        parts.append(f"{min(values):9.2f} {statistics.median(values):9.2f} {max(values):9.2f} {label}")
    failed = sum(one.code != 0 for one in spent)
    return f"{name:<14}" + "   ".join(parts) + (f"   {failed} of {len(spent)} FAILED" if failed else "")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(COMMANDS)))
@click.option("--runs", default=3, show_default=True, type=click.IntRange(min=1))
def main(names: tuple[str, ...], runs: int) -> None:
    """Measure NAMES (all of them if none is given)."""
    lines = [f"load at the start: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores; minimum, median, maximum"]
    failed = False
    for name in names or COMMANDS:
        spent = [run(COMMANDS[name]) for _ in range(runs)]
        failed = failed or any(one.code for one in spent)
        lines.append(line(name, spent))
        click.echo(lines[-1])
    click.echo("\n".join(lines))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
