"""Root cause on labelled incidents of a real video service: ``.venv/bin/python -m bench.qoe_cause --incidents DIR``.

DIR holds the incidents published with RobustSpot (IEEE TSC 2023): one CSV each (min, value, cnt and the dimensions cdn,
bitrate, p2p, isp, device) beside ``anomaly.yaml`` with the incident's minute and its true cause, as in the folder
``data/RS`` of github.com/shaido987/riskloc (MIT licence). The ratio is value over cnt.

- *Before*: the calmer half of the minutes before the incident's, *during*: that minute alone.
- Two folds by date, the earlier and the later half. Each incident is scored with the parameters (`prior`,
  `second_share`) under which the other fold has most hits.
- *top-1*: the cause ranked first is one of the labelled ones. *top-5*: all labelled ones are among the first five
  single causes. *exact*: the reported set of causes is the labelled set. A cause counts only as it is spelled.
- Intervals: 95 %, Wilson. Time: one call of `explain` from frames of sums.

Fewer hits than needed, or more CPU seconds a case, end with exit 4.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bench import verdict
from models.incident.cause import Explanation, Search, calm, explain

GRID = tuple(Search(prior, share) for prior, share in product((0.005, 0.01, 0.02, 0.05), (0.10, 0.12, 0.15, 0.20)))
INCIDENTS = 63
"""How many are published; `NEEDED` hits are counted of so many."""
NEEDED = {"top-1": 54, "top-5": 62}
NEEDED_S = 0.2
"""CPU seconds a case."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One labelled incident: its minutes, its minute, the set of its causes as {dimension: value}."""

    name: str
    minute: int
    rows: pd.DataFrame
    dimensions: tuple[str, ...]
    causes: tuple[dict[str, str], ...]

    def frames(self, quiet: bool = True) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Sums before and during; `quiet`: of the minutes before, the calmer half."""
        history = self.rows[self.rows["min"] < self.minute]
        before = calm(history, "min", num="value", den="cnt") if quiet else history
        return before, self.rows[self.rows["min"] == self.minute]

    def explained(self, search: Search, quiet: bool = True) -> Explanation:
        before, during = self.frames(quiet)
        return explain(before, during, self.dimensions, num="value", den="cnt", search=search)

    def hits(self, answer: Explanation) -> tuple[bool, bool, bool]:
        """top-1, top-5, exact."""
        ranked = [cause.where for cause in answer.ranked]
        found = [cause.where for cause in answer.causes]
        return (
            bool(ranked) and ranked[0] in self.causes,
            all(cause in ranked[:5] for cause in self.causes),
            len(found) == len(self.causes) and all(cause in found for cause in self.causes),
        )


def incidents(folder: Path) -> list[Incident]:
    """Every incident of the folder, by date.

    Raises:
        SystemExit: there is no anomaly.yaml, it names fewer than two incidents, or a file it names is absent.
    """
    index = folder / "anomaly.yaml"
    if not index.is_file():
        raise SystemExit(f"{index} is absent: --incidents names the folder with anomaly.yaml and one CSV an incident")
    found = []
    for entry in yaml.safe_load(index.read_text(encoding="utf-8")) or ():
        file = folder / f"{entry['data']}.csv"
        if not file.is_file():
            raise SystemExit(f"{file} is absent, but {index} names it")
        rows = pd.read_csv(file)
        dimensions = tuple(sorted(set(rows.columns) - {"min", "value", "cnt"}))
        rows[list(dimensions)] = rows[list(dimensions)].astype(str)
        causes = entry["cause"] if isinstance(entry["cause"], list) else [entry["cause"]]
        labels = tuple({name: str(value) for name, value in cause.items()} for cause in causes)
        found.append(Incident(entry["data"], int(entry["timestamp"]), rows, dimensions, labels))
    if len(found) < 2:
        raise SystemExit(f"{index} names {len(found)} incidents: two folds need two at least")
    return sorted(found, key=lambda incident: (incident.minute, incident.name))


def cross_validated(cases: list[Incident], quiet: bool = True, grid: tuple[Search, ...] = GRID) -> dict[str, Any]:
    """Hits (case, 3) with the parameters of the other fold, the answers, and the parameters chosen for each fold."""
    answers = {search: [case.explained(search, quiet) for case in cases] for search in grid}
    hits = {
        search: np.array([case.hits(answer) for case, answer in zip(cases, told, strict=True)])
        for search, told in answers.items()
    }
    later = np.arange(len(cases)) >= len(cases) // 2
    scored, told, chosen = np.zeros((len(cases), 3), dtype=bool), list(answers[grid[0]]), []
    for fold in (False, True):
        search = max(grid, key=lambda search: int(hits[search][later != fold].sum()))
        chosen.append(search)
        scored[later == fold] = hits[search][later == fold]
        for place in np.flatnonzero(later == fold):
            told[place] = answers[search][place]
    return {"hits": scored, "answers": told, "chosen": chosen}


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share."""
    share, scale = hits / of, 1 + z * z / of
    middle = (share + z * z / (2 * of)) / scale
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / scale
    return middle - half, middle + half


def line(title: str, hits: np.ndarray) -> str:
    """One row of the table: hits of top-1, top-5 and exact with their intervals."""
    cells = []
    for count in hits.sum(axis=0):
        low, high = wilson(int(count), len(hits))
        cells.append(f"{int(count):>3} of {len(hits)} [{100 * low:3.0f}, {100 * high:3.0f}] %")
    return f"{title:<44} " + "  ".join(cells)


def seconds(cases: list[Incident], search: Search) -> tuple[float, float]:
    """Mean wall and CPU seconds of one explanation, frames of sums in hand."""
    total = np.zeros(2)
    for case in cases:
        before, during = case.frames()
        begin = np.array([time.perf_counter(), time.process_time()])
        explain(before, during, case.dimensions, num="value", den="cnt", search=search)
        total += np.array([time.perf_counter(), time.process_time()]) - begin
    wall, cpu = total / len(cases)
    return float(wall), float(cpu)


def missed(hits: np.ndarray, cpu: float) -> list[str]:
    """What is below needed, one line each; of another number of incidents the same share is needed."""
    counts = dict(zip(("top-1", "top-5"), hits.sum(axis=0), strict=False))
    wrong = [
        f"{name}: {int(counts[name])} of {len(hits)}, needed {needed} of {INCIDENTS}"
        for name, needed in NEEDED.items()
        if counts[name] * INCIDENTS < needed * len(hits)
    ]
    if cpu > NEEDED_S:
        wrong.append(f"time: {cpu:.3f} s of CPU a case, needed {NEEDED_S}")
    return wrong


def spelled(causes: Iterable[dict[str, str]]) -> str:
    """Causes as text."""
    return " + ".join("&".join(f"{name}={value}" for name, value in sorted(cause.items())) for cause in causes)


def main(arguments: list[str] | None = None) -> None:
    """Print the table, the misses and the time; exit 4 if less than needed was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--incidents", type=Path, required=True, metavar="DIR", help="anomaly.yaml and the CSV files")
    parser.add_argument("--compare", action="store_true", help="also without each choice of the method")
    given = parser.parse_args(arguments)
    cases = incidents(given.incidents)

    result = cross_validated(cases)
    print(f"{'':<44} {'top-1':<22}{'top-5':<22}exact set")
    print(line("matinee, parameters from the other fold", result["hits"]))
    for half, search in zip(("earlier", "later"), result["chosen"], strict=True):
        print(f"  {half} half scored with prior {search.prior}, second share {search.second_share}")
    if given.compare:
        never = tuple(Search(s.prior, s.second_share, (math.inf,)) for s in GRID)
        print(line("  rows never saturate", cross_validated(cases, grid=never)["hits"]))
        for limit in (0.1, 1.0):
            one = tuple(Search(s.prior, s.second_share, (limit,)) for s in GRID)
            print(line(f"  rows saturate at {limit} mean rows alone", cross_validated(cases, grid=one)["hits"]))
        single = tuple(Search(s.prior, 0.999) for s in GRID)
        print(line("  no second fault, so none joined", cross_validated(cases, grid=single)["hits"]))
        print(line("  before: all minutes, not the calmer half", cross_validated(cases, quiet=False)["hits"]))
    wall, cpu = seconds(cases, Search())
    print(f"mean time: {wall:.3f} s a case, {cpu:.3f} s of CPU ({os.cpu_count()} cores, one used)")
    print(f"needed of {INCIDENTS}: {NEEDED}; {NEEDED_S} s of CPU")
    print("misses:")
    for case, hits, answer in zip(cases, result["hits"], result["answers"], strict=True):
        if not hits.all():
            said = spelled(cause.where for cause in answer.causes)
            ranked = " | ".join(spelled([cause.where]) for cause in answer.ranked)
            absent = ", ".join(name for name, hit in zip(("top-1", "top-5", "exact"), hits, strict=True) if not hit)
            print(f"  {case.name}: {spelled(case.causes)}; said {said} ({absent}); ranked {ranked}")
    verdict.end(missed(result["hits"], cpu))


if __name__ == "__main__":
    main()
