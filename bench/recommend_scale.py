"""From plays to a promoted model and everybody's pages, at size: `python -m bench.recommend_scale`.

One million plays of 28 days (some of them from cells of pages, which are among the data too), 100,000 profiles, 5,000
shows. Steps are those of the jobs, by the same functions: usable plays, training with its baselines over three origins,
factors in record form, the run in MLflow and its model in the registry, features of titles, pages in record form batch
by batch. Every step prints wall and CPU seconds and its own peak memory. All is done twice, each time in a process of
its own, and everything that was made must have the same hash.

All is pinned to one thread, so that wall time on a quiet machine is about the CPU time. Exit code 1 when a hash
differs, nothing was promoted, a page is missing, or the CPU seconds of a run are above `--most`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bench.cpu import Meter
from bench.memory import forget_peak, peak_mb
from models.days import DAY_MS

DAY = date(2026, 3, 1)
DAYS = 28
VISIT_DAYS = 14
ROWS, COLUMNS = 5, 8
GENRES = ("action", "comedy", "crime", "documentary", "drama", "family", "fantasy", "horror", "romance", "thriller")
COUNTRIES = ("BR", "DE", "FR", "GB", "IN", "JP", "KR", "US")
DEVICES = ("mobile", "tablet", "tv", "web")


@dataclass(frozen=True, slots=True)
class Size:
    """Of the service. `visits`: pages that were opened and read, each of 40 cells, in the last 14 days."""

    profiles: int
    shows: int
    plays: int
    visits: int
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Drawn:
    """Records title, profile, play and impression_outcome (columns that are read)."""

    title: pd.DataFrame
    profile: pd.DataFrame
    play: pd.DataFrame
    outcome: pd.DataFrame


def drawn(size: Size) -> Drawn:
    """Viewers who choose by popularity, genre, country, device and eight things nobody knows; a tenth watch nothing."""
    rng = np.random.default_rng(size.seed)
    shows, profiles = np.arange(size.shows), np.arange(size.profiles)
    show_id = np.array([f"t{i:05d}" for i in shows], dtype=object)
    profile_id = np.array([f"p{i:06d}" for i in profiles], dtype=object)
    launch = np.where(rng.random(size.shows) < 0.04, rng.integers(-DAYS, 1, size.shows), -400)
    genre = rng.permuted(np.tile(np.arange(len(GENRES)), (size.shows, 1)), axis=1)[:, :2]
    has = np.zeros((size.shows, len(GENRES)), dtype=np.float32)
    has[shows[:, None], genre] = (1.0, 0.5)
    title = pd.DataFrame(
        {
            "title_id": show_id,
            "show_id": show_id,
            "kind": "film",
            "name": [f"Film {i}" for i in shows],
            "genres": [[GENRES[g] for g in row] for row in genre.tolist()],
            "country_origin": np.array(COUNTRIES, dtype=object)[rng.integers(0, len(COUNTRIES), size.shows)],
            "launch_date": [DAY + timedelta(days=int(d)) for d in launch],
            "maturity": rng.choice([0, 12, 16], size.shows),
            "duration_ms": 5_400_000,
        }
    )
    country = rng.integers(0, len(COUNTRIES), size.profiles)
    device = rng.integers(0, len(DEVICES), size.profiles)
    profile = pd.DataFrame(
        {
            "profile_id": profile_id,
            "country": np.array(COUNTRIES, dtype=object)[country],
            "device": np.array(DEVICES, dtype=object)[device],
            "maturity_limit": 18,
            "kids": False,
            "opted_out": rng.random(size.profiles) < 0.01,
            "erased": False,
        }
    )
    base = -np.log(rng.permutation(size.shows) + 10.0).astype(np.float32)
    there = rng.normal(0, 1.0, (len(COUNTRIES), size.shows)).astype(np.float32)
    on = rng.normal(0, 0.6, (len(DEVICES), size.shows)).astype(np.float32)
    hidden = rng.normal(0, 1, (size.shows, 8)).astype(np.float32)
    activity = rng.gamma(1.0, 1.0, size.profiles) * (rng.random(size.profiles) < 0.9)
    visitor = rng.choice(size.profiles, size.visits, p=activity / activity.sum())
    visit_day = rng.integers(-VISIT_DAYS + 1, 1, size.visits)
    cells = _laid(base, size, launch, visit_day, rng)
    searched = size.plays - size.visits // 2
    many = rng.multinomial(searched, activity / activity.sum())
    found, taken = [], np.full(size.visits, -1)
    of_visitor = np.argsort(visitor, kind="stable")
    start = np.searchsorted(visitor[of_visitor], np.arange(size.profiles + 1))
    for first in range(0, size.profiles, 2000):
        who = profiles[first : first + 2000]
        liking = rng.normal(0, 1.5, (len(who), len(GENRES))).astype(np.float32) @ has.T
        liking += rng.normal(0, 0.3, (len(who), 8)).astype(np.float32) @ hidden.T
        liking += there[country[who]] + on[device[who]]
        utility = liking + base
        noisy = utility + rng.gumbel(size=utility.shape).astype(np.float32)
        most = min(int(many[who].max(initial=0)), size.shows)
        best = np.argpartition(-noisy, most - 1, axis=1)[:, :most] if most else np.zeros((len(who), 0), dtype=int)
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(noisy, best, 1), axis=1, kind="stable"), 1)
        chosen = np.arange(most) < many[who][:, None]
        row, _ = np.nonzero(chosen)
        found.append(np.stack([who[row], best[chosen]], axis=1))
        for visit in of_visitor[start[first] : start[min(first + 2000, size.profiles)]]:
            worth = liking[visitor[visit] - first, cells[visit]] - 0.05 * np.arange(ROWS * COLUMNS)
            taken[visit] = int(np.argmax(worth + rng.gumbel(size=len(worth))))
    taken[rng.permutation(size.visits)[: size.visits - size.visits // 2]] = -1
    pairs = np.concatenate(found)
    day = np.maximum(rng.integers(-DAYS + 1, 1, len(pairs)), launch[pairs[:, 1]])
    takes = np.flatnonzero(taken >= 0)
    who, what = (
        np.concatenate([pairs[:, 0], visitor[takes]]),
        np.concatenate([pairs[:, 1], cells[takes, taken[takes]]]),
    )
    day = np.concatenate([day, visit_day[takes]])
    impression = np.array([f"i{v:07d}-{c:02d}" for v, c in zip(takes, taken[takes], strict=True)], dtype=object)
    midnight = np.datetime64(DAY, "ms")
    started = midnight + day * DAY_MS + rng.integers(0, 86_000_000, len(day))
    share = np.round(rng.beta(2.0, 1.0, len(day)), 3)
    play = pd.DataFrame(
        {
            "session_id": [f"s{i:07d}" for i in range(len(day))],
            "segment": 0,
            "profile_id": profile_id[who],
            "title_id": show_id[what],
            "show_id": show_id[what],
            "started_at": pd.to_datetime(started).tz_localize("UTC"),
            "play_date": _dates(day),
            "started": True,
            "watched_ms": (share * 5_400_000).astype(np.int64),
            "watched_share": share,
            "completed": share >= 0.9,
            "quality_play": share >= 0.1,
            "censored": rng.random(len(day)) < 0.02,
            "country": np.array(COUNTRIES, dtype=object)[country[who]],
            "device": np.array(DEVICES, dtype=object)[device[who]],
            "impression_id": np.concatenate([np.full(len(pairs), None, dtype=object), impression]),
        }
    )
    return Drawn(title, profile, play, _outcomes(size, profile_id, show_id, visitor, visit_day, cells, taken))


def _laid(
    base: NDArray[np.float32], size: Size, launch: NDArray[np.int64], day: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Shows of each visit's cells: popular ones, no show twice, shape (visits, ROWS x COLUMNS)."""
    out = np.empty((size.visits, ROWS * COLUMNS), dtype=np.int64)
    for first in range(0, size.visits, 2000):
        noisy = base + rng.gumbel(size=(len(out[first : first + 2000]), size.shows)).astype(np.float32)
        noisy[launch[None, :] > day[first : first + 2000, None]] = -np.inf
        out[first : first + 2000] = np.argpartition(-noisy, ROWS * COLUMNS, axis=1)[:, : ROWS * COLUMNS]
    return out


def _outcomes(
    size: Size,
    profile_id: NDArray[np.object_],
    show_id: NDArray[np.object_],
    visitor: NDArray[np.int64],
    day: NDArray[np.int64],
    cells: NDArray[np.int64],
    taken: NDArray[np.int64],
) -> pd.DataFrame:
    width = ROWS * COLUMNS
    visit, cell = np.repeat(np.arange(size.visits), width), np.tile(np.arange(width), size.visits)
    shown = np.datetime64(DAY, "ms") + day * DAY_MS + 1000 * (np.arange(size.visits) % 80_000)
    return pd.DataFrame(
        {
            "impression_id": [f"i{v:07d}-{c:02d}" for v, c in zip(visit.tolist(), cell.tolist(), strict=True)],
            "page_id": np.array([f"v{v:07d}" for v in range(size.visits)], dtype=object)[visit],
            "profile_id": profile_id[visitor][visit],
            "title_id": show_id[cells.ravel()],
            "row": cell // COLUMNS,
            "col": cell % COLUMNS,
            "shown_at": pd.to_datetime(shown).tz_localize("UTC")[visit],
            "shown_date": _dates(day)[visit],
            "taken": taken[visit] == cell,
        }
    )


def _dates(day: NDArray[np.int64]) -> NDArray[np.object_]:
    known = {int(d): DAY + timedelta(days=int(d)) for d in np.unique(day)}
    return np.array([known[int(d)] for d in day], dtype=object)


@dataclass(slots=True)
class Steps:
    """What each step took: (name, wall s, CPU s, peak MB of the process during it)."""

    done: list[tuple[str, float, float, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a block."""
        forget_peak()
        meter, wall = Meter(), time.monotonic()
        cpu = meter.look(os.getpid())
        yield
        self.done.append((name, time.monotonic() - wall, meter.look(os.getpid()) - cpu, peak_mb()))
        print(f"  {name:44s}{self.done[-1][1]:8.1f} s wall{self.done[-1][2]:8.1f} CPU s"
              f"{self.done[-1][3]:9,.0f} MB", flush=True)  # fmt: skip

    def cpu_s(self) -> float:
        """Of all steps but drawing the data."""
        return sum(cpu for name, _, cpu, _ in self.done if not name.startswith("("))


def by_functions(given: Drawn, folder: Path) -> tuple[dict[str, str], Steps, int]:
    """The steps of the jobs without Spark: hashes of what was made, times, number of pages (0 if none was promoted)."""
    from conf.settings import load
    from jobs import tracking
    from jobs import train_recommender as job
    from jobs.model_charts import charts
    from models.recommend.features import title_features
    from models.recommend.page_rules import no_choices, usable_plays
    from models.recommend.pages import PageInputs, page_batches
    from models.recommend.train import MODEL, train
    from schemas import tables as t
    from schemas.render import iceberg

    settings = load(overrides={"mlflow": {"tracking_uri": f"sqlite:///{folder}/mlflow.db"}})
    steps, made = Steps(), {}
    with steps.step("usable plays"):
        used = usable_plays(given.play, given.profile, given.title, no_choices())
    with steps.step("train, judge over three origins, decide"):
        run = train(used, given.title, DAY, None, given.outcome)
    print(f"  {run.verdict.reason}")
    with steps.step("factors in record form"):
        factors = job.factors(run, DAY)
        promotion = job.promotion(run, DAY)
    with steps.step("MLflow: run, model, registry, alias"):
        logged = tracking.Run(
            experiment=MODEL, key=job.run_key(DAY, run), params=run.params | run.splits, metrics=job.metrics(run),
            tags={}, snapshots={}, artifacts=job.artifacts(run, DAY) | charts(run.judged, run.verdict),
        )  # fmt: skip
        tracking.record(settings, logged, register_as=MODEL, version=run.version)
        tracking.serve(settings, MODEL, run.verdict.serves, DAY)
    made["model"] = hashlib.sha256(run.model.profile_vectors.tobytes() + run.model.title_vectors.tobytes()).hexdigest()
    made["decision"] = hashlib.sha256(promotion.to_json().encode()).hexdigest()
    made["figures"] = hashlib.sha256(json.dumps(logged.metrics, sort_keys=True).encode()).hexdigest()
    promoted = run.promoted
    del run, logged, used
    with steps.step("features of shows"):
        features = title_features(given.play, given.outcome, given.title, DAY, 2)
    schema = iceberg.schema(t.HOME_PAGE).as_arrow()
    digest, count = hashlib.sha256(), 0
    with steps.step(f"pages of {len(given.profile):,} profiles, as Arrow"):
        inputs = PageInputs(
            given.play, given.title, given.profile, factors, promotion, features, DAY + timedelta(days=1),
            salt="bench", holdback=0.1, choices=no_choices(), impressions=given.outcome,
        )  # fmt: skip
        for batch in page_batches(inputs):
            arrow = pa.RecordBatch.from_pandas(batch, schema=schema, preserve_index=False)
            digest.update(arrow.serialize())
            count += arrow.num_rows
    made["pages"] = digest.hexdigest()
    return made, steps, count if promoted else 0


def _once(size: Size, folder: Path) -> tuple[dict[str, str], float, int]:
    """One run in this process."""
    steps = Steps()
    with steps.step("(drawing the data)"):
        given = drawn(size)
    print(f"  {len(given.play):,} plays, {len(given.outcome):,} cells shown, {len(given.profile):,} profiles, "
          f"{len(given.title):,} shows", flush=True)  # fmt: skip
    made, steps, pages = by_functions(given, folder)
    print(f"  all steps: {sum(wall for _, wall, _, _ in steps.done):.1f} s wall, {steps.cpu_s():.1f} CPU s, "
          f"at most {max(peak for *_, peak in steps.done):,.0f} MB", flush=True)  # fmt: skip
    return made, steps.cpu_s(), pages


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", type=int, default=100_000)
    parser.add_argument("--shows", type=int, default=5_000)
    parser.add_argument("--plays", type=int, default=1_000_000)
    parser.add_argument("--visits", type=int, default=25_000)
    parser.add_argument("--most", type=float, default=600.0, help="CPU seconds a run may take")
    parser.add_argument("--runs", type=int, default=2)
    given = parser.parse_args(arguments)
    size = Size(given.profiles, given.shows, given.plays, given.visits)
    found = []
    for number in range(given.runs):
        print(f"run {number + 1}", flush=True)
        with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found.append(pool.submit(_once, size, Path(folder)).result())
    hashes = [made for made, _, _ in found]
    for name, value in hashes[0].items():
        same = all(one[name] == value for one in hashes)
        print(f"{name:12s}{value[:16]}  {'the same in all runs' if same else 'DIFFERS'}")
    good = all(one == hashes[0] for one in hashes) and all(pages == size.profiles for *_, pages in found)
    return 0 if good and max(cpu for _, cpu, _ in found) <= given.most else 1


if __name__ == "__main__":
    sys.exit(main())
