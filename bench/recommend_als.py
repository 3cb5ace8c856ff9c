"""CPU of ALS to the same NDCG@100: table r3 of bench.recommend (`python -m bench.recommend --data DIR --table r3`).

Training profiles are factorized; after each epoch the validation profiles are folded in and judged, unmeasured. Each
solver has its setting tuned on validation (`SETTINGS`). CPU seconds are those of process and children, BLAS and OpenMP
on one thread, compiling and judging taken out.

Our solvers against `implicit`'s: the goal is the lowest of the solvers' best NDCG@100, less a thousandth of it, and a
solver's figure is what it has used at the end of the first epoch that is there. A solver stops after EPOCHS epochs,
when three have given less than a thousandth, or when the next would take it beyond its budget; one cut off by the
budget sets no goal, and if it was not there it is shown as `>seconds`: the ratio is then at most what is printed.

Spark MLlib's ALS minimizes sum of (1 + alpha) (1 - x.y)^2 over played pairs + (x.y)^2 over the others + lambda n_row
|x_row|^2 (no weight of the catalogue in the regularization): it need not come to the same NDCG@100 at all, so it sets
the goal. It is run for 2, 5 and 10 iterations (10 is its default), and held against what our CG solver uses to be as
good. MLlib has no fold-in: held-out profiles are solved for, in double precision, from its title factors by its own
normal equations, which is what its next half-iteration would give them. local[2], pairs cached, JVM warmed by a
fit of few factors; the CPU of a fit is that of this process and all below it, JVM, compiler and collector included.
Start-up (JVM, session, reading, warming) is measured too and printed apart.

Spark path and one-node path (`jobs.factorize`, `Ials`): training pairs and what is folded in of the held-out profiles
go into both; lists are the hundred best unseen titles of every profile, judged on the held-out profiles' targets.

The world's events: see `world_events`. Its NDCG@100 has nothing to do with that of the folder.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import psutil
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix, vstack

from jobs.session import LOG_SETTINGS
from models.frames import places
from models.recommend.histories import Histories
from models.recommend.ials import Ials
from models.recommend.scorers import LibraryALS
from models.recommend.strong import Held, StrongSplit, judge, judge_lists, ranked
from models.world import catalogue, population, taste
from models.world.config import WorldConfig
from models.world.population import Population
from models.world.rng import stream

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from jobs.factorize import Objective

Floats = NDArray[np.float64]
EPOCHS = 15
TOLERANCE = 0.001
ITERATIONS = (2, 5, 10)
EVENTS, PROFILES, SHOWS, HELD, SEED = 10_000_000, 100_000, 5_000, 2_000, 20261501
MOST_CHOLESKY, MOST_CG, LEAST_SPARK = 1.0, 1.5, 20.0
LEAST_OVERLAP, MOST_APART = 0.99, 0.002
BLOCK = 2_000
"""Profiles of the world drawn at a time: BLOCK x SHOWS doubles, a few times over."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What each solver is run with on a data set, by validation: `library` and `mllib` are regularization and alpha."""

    library: tuple[float, float]
    mllib: tuple[float, float]
    regularization: float
    unobserved: float


FOLDER = Setting((50.0, 6.0), (0.1, 2.0), 0.01, 0.17)
WORLD = Setting((200.0, 8.0), (0.2, 6.0), 0.007, 0.17)
"""By small grids on validation, MLlib's with `Ials` made to minimize MLlib's objective: Spark takes minutes a value."""


@dataclass(frozen=True, slots=True)
class Course:
    """(CPU s so far, NDCG@100) after each epoch; `cut`: the budget ended it."""

    steps: tuple[tuple[float, float], ...]
    cut: bool = False

    def best(self) -> float:
        """The most it came to."""
        return max(worth for _, worth in self.steps)

    def to(self, goal: float) -> Spent:
        """What it took to be there; of one cut off before, what it had taken."""
        for number, (cpu, worth) in enumerate(self.steps, 1):
            if worth >= goal:
                return Spent(cpu, number, True)
        return Spent(self.steps[-1][0], len(self.steps), False)


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds and epochs; not `there`: at least these."""

    cpu_s: float
    epochs: int
    there: bool

    def __str__(self) -> str:
        return f"{'' if self.there else '>'}{self.cpu_s:.2f} ({self.epochs})"


def goal_of(courses: Sequence[Course]) -> float:
    """The lowest best of those that ran to their end, less TOLERANCE of it.

    Raises:
        ValueError: all were cut off.
    """
    whole = [course.best() for course in courses if not course.cut]
    if not whole:
        raise ValueError("no solver came to its end within its budget; raise --budget")
    return min(whole) * (1.0 - TOLERANCE)


def ratio(own: Spent, peer: Spent) -> float:
    """The most that own / peer can be; infinite when our own solver was not there."""
    return own.cpu_s / peer.cpu_s if own.there else np.inf


def world_events(profiles: int, shows: int, events: int, seed: int) -> csr_matrix:
    """About `events` events as ones in (profiles, shows): first plays of a show by a profile, drawn as the world does.

    Shows, people and utility are those of `models.world`; every play is one of its searches (`browsing`), a draw of the
    multinomial logit over everything the profile may see and has not played: the n largest Gumbel maxima of a profile
    are its first n different plays (Plackett-Luce). Pages, players and networks are left out: they do not change what
    a profile likes, and a day of them costs more than all solvers.
    """
    config = WorldConfig(seed=seed, profiles=profiles, shows=shows, days=1)
    people = population.build(config, population.clusters(config))
    every = catalogue.synthetic_shows(config)
    rng = stream(seed, "bench.recommend_als")
    many = np.minimum(rng.poisson(events * people.visits / people.visits.sum()), shows // 2)
    columns, lengths = [], []
    for first in range(0, profiles, BLOCK):
        cut = slice(first, first + BLOCK)
        some = Population(*(getattr(people, field.name)[cut] for field in fields(people)))
        own = replace(config, seed=seed + 1 + first)
        liking = taste.affinity(own, some, every)
        never = np.full(liking.shape, taste.NEVER, dtype=np.int16)
        useful = taste.utility(own, some, every, liking, never, 0)
        noise = -np.log(np.maximum(rng.standard_exponential(useful.shape, dtype=np.float32), 1e-9))
        noisy = np.where(useful > taste.IMPOSSIBLE / 2, useful + noise, -np.inf)
        most = int(many[cut].max())
        best = np.argpartition(-noisy, most, axis=1)[:, :most]
        score = np.take_along_axis(noisy, best, axis=1)
        order = np.argsort(-score, axis=1, kind="stable")
        best, score = np.take_along_axis(best, order, axis=1), np.take_along_axis(score, order, axis=1)
        chosen = (np.arange(most) < many[cut][:, None]) & np.isfinite(score)
        columns.append(best[chosen].astype(np.int32))
        lengths.append(chosen.sum(axis=1))
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    column = np.concatenate(columns)
    matrix = csr_matrix((np.ones(len(column), dtype=np.float32), column, indptr), shape=(profiles, shows))
    matrix.sort_indices()
    return matrix


def cut_off(matrix: csr_matrix, held: int, seed: int, target: float = 0.2, least: int = 5) -> StrongSplit:
    """`strong_split` of a matrix whose rows are in no order: the last `held` rows test, as many before validate.

    Rows with fewer than `least` pairs are left out, and of held-out rows a random `target` of the pairs is sought.
    """
    matrix = matrix[np.diff(matrix.indptr) >= least]
    rows = matrix.shape[0]
    if rows <= 2 * held:
        raise ValueError(f"{rows} profiles with {least} plays or more cannot hold out twice {held}")
    trained = matrix[: rows - 2 * held]
    known = np.flatnonzero(np.asarray(trained.sum(axis=0)).ravel() > 0)
    titles = np.array([f"s{i:05d}" for i in known], dtype=object)
    profiles = np.array([f"p{i:06d}" for i in range(rows)], dtype=object)
    rng = np.random.default_rng(seed)

    def part(first: int) -> Held:
        some = matrix[first : first + held]
        size = np.diff(some.indptr)
        row = np.repeat(np.arange(held), size)
        place = np.lexsort((rng.random(some.nnz), row))
        rank = np.empty(some.nnz, dtype=np.int64)
        rank[place] = np.arange(some.nnz) - np.repeat(some.indptr[:-1], size)
        sought = rank < np.maximum(1, np.floor(target * size))[row]
        shown, goal = (
            csr_matrix((some.data[on], (row[on], some.indices[on])), shape=some.shape)[:, known].tocsr()
            for on in (~sought, sought)
        )
        kept = np.flatnonzero(np.diff(goal.indptr))
        for one in (shown, goal):
            one.sort_indices()
        return Held(Histories(profiles[first : first + held][kept], titles, shown[kept]), goal[kept])

    valid, test = part(rows - 2 * held), part(rows - held)
    train = trained[:, known].tocsr()
    train.sort_indices()
    out = matrix[rows - 2 * held :]
    coverage = float(np.isin(out.indices, known).mean())
    return StrongSplit(Histories(profiles[: rows - 2 * held], titles, train), valid, test, coverage)


class Enough(Exception):
    """A solver need not begin its next epoch."""


def library_course(split: StrongSplit, factors: int, setting: Setting, use_cg: bool, budget: float) -> Course:
    """`implicit`, iteration by iteration."""
    steps: list[tuple[float, float]] = []
    regularization, alpha = setting.library
    model = LibraryALS(factors, regularization, alpha, iterations=EPOCHS, use_cg=use_cg)
    begun = time.process_time()
    pause = 0.0

    def look(*_: object) -> None:
        nonlocal pause
        now = time.process_time()
        steps.append((now - begun - pause, _worth(model.fold_in(split.valid.fold_in), split.valid)))
        pause += time.process_time() - now
        if levelled(steps) or beyond(steps, budget):
            raise Enough

    with suppress(Enough):
        model.fit(split.train, look)
    return Course(tuple(steps), beyond(steps, budget))


def own_course(
    split: StrongSplit, factors: int, setting: Setting, solver: Literal["cg", "exact"], budget: float
) -> Course:
    """`Ials`, epoch by epoch."""
    model = Ials(factors, regularization=setting.regularization, unobserved=setting.unobserved, solver=solver, steps=2)
    begun = time.process_time()
    model.start(split.train)
    spent = time.process_time() - begun
    steps: list[tuple[float, float]] = []
    while not steps or not (levelled(steps) or beyond(steps, budget)):
        begun = time.process_time()
        model.epoch(split.train)
        spent += time.process_time() - begun
        steps.append((spent, _worth(model.fold_in(split.valid.fold_in), split.valid)))
    return Course(tuple(steps), beyond(steps, budget))


def levelled(steps: Sequence[tuple[float, float]]) -> bool:
    """Whether there is no more to come: EPOCHS epochs, or the last three gave less than TOLERANCE of what was there."""
    worth = [value for _, value in steps]
    return len(worth) >= EPOCHS or (len(worth) > 3 and max(worth[-3:]) < max(worth[:-3]) * (1.0 + TOLERANCE))


def beyond(steps: Sequence[tuple[float, float]], budget: float) -> bool:
    """Whether one more epoch, as long as the mean one, is needed and would end beyond the budget."""
    return not levelled(steps) and steps[-1][0] * (len(steps) + 1) / len(steps) > budget


def _worth(scores: NDArray[np.floating], held: Held) -> float:
    return float(judge(scores, held)["ndcg@100"].mean())


def solvers(name: str, split: StrongSplit, sizes: Sequence[int], setting: Setting, budget: float) -> bool:
    """Print our solvers against `implicit`'s; whether both ratios hold for every number of factors."""
    Ials(8, epochs=1).fit(split.train)  # compiled before anything is timed
    print(
        f"{name}: {split.train.matrix.shape[0]} profiles x {split.train.matrix.shape[1]} titles, "
        f"{split.train.matrix.nnz} pairs to learn from; {len(split.valid.fold_in.profiles)} profiles judged\n"
        f"{'d':>4s} {'NDCG@100':>9s}{'implicit Cholesky':>20s}{'own exact':>14s}{'ratio':>7s}"
        f"{'implicit CG':>14s}{'own CG':>14s}{'ratio':>7s}   CPU s (epochs)",
        flush=True,
    )
    good = True
    for factors in sizes:
        courses = [own_course(split, factors, setting, solver, budget) for solver in ("cg", "exact")]
        courses += [library_course(split, factors, setting, use_cg, budget) for use_cg in (True, False)]
        goal = goal_of(courses)
        own_cg, own_exact, library_cg, cholesky = (course.to(goal) for course in courses)
        by_exact, by_cg = ratio(own_exact, cholesky), ratio(own_cg, library_cg)
        good &= by_exact <= MOST_CHOLESKY and by_cg <= MOST_CG
        print(
            f"{factors:4d} {goal:9.4f}{cholesky!s:>20s}{own_exact!s:>14s}{by_exact:7.2f}"
            f"{library_cg!s:>14s}{own_cg!s:>14s}{by_cg:7.2f}   best "
            + ", ".join(f"{course.best():.4f}{' cut off' if course.cut else ''}" for course in reversed(courses)),
            flush=True,
        )
    return good


def cpu_s() -> float:
    """CPU seconds of this process and all below it, those included that have ended and were waited for."""
    total = 0.0
    own = psutil.Process()
    for one in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@contextmanager
def session() -> Iterator[SparkSession]:
    """Spark on two local cores, without the lake."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    settings = {
        "spark.driver.memory": "4g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={LOG_SETTINGS.as_uri()} -XX:+UseParallelGC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
    }
    builder = SparkSession.builder.master("local[2]").appName("matinee-bench-als")
    found = builder.config(map=settings).getOrCreate()
    found.sparkContext.setLogLevel("ERROR")
    try:
        yield found
    finally:
        found.stop()


class MLlib:
    """Spark MLlib's ALS on the training pairs of a split, read, cached and warmed; numbers are rows and columns."""

    def __init__(self, spark: SparkSession, split: StrongSplit, setting: Setting) -> None:
        self.split = split
        self.regularization, self.alpha = setting.mllib
        pairs = split.train.matrix.tocoo()
        frame = pd.DataFrame({"row": pairs.row, "column": pairs.col, "weight": pairs.data})
        with tempfile.TemporaryDirectory() as folder:
            frame.to_parquet(f"{folder}/pairs.parquet", row_group_size=1 << 20)
            self.pairs: DataFrame = spark.read.parquet(f"{folder}/pairs.parquet").repartition(2).cache()
            self.pairs.count()
        self.fit(8, 1)

    def fit(self, factors: int, iterations: int) -> tuple[float, Floats, Floats]:
        """CPU seconds; factors of titles, shape (titles, factors), and of training profiles, (profiles, factors)."""
        from pyspark.ml.recommendation import ALS

        als = ALS(
            rank=factors,
            maxIter=iterations,
            regParam=self.regularization,
            alpha=self.alpha,
            implicitPrefs=True,
            numUserBlocks=2,
            numItemBlocks=2,
            userCol="row",
            itemCol="column",
            ratingCol="weight",
            seed=17,
        )
        begun = cpu_s()
        model = als.fit(self.pairs)
        spent = cpu_s() - begun
        rows, columns = self.split.train.matrix.shape
        return spent, _numbered(model.itemFactors, columns), _numbered(model.userFactors, rows)

    def worth(self, title_factors: Floats) -> float:
        """NDCG@100 of the validation profiles, folded in by MLlib's own normal equations."""
        held = self.split.valid
        profiles = folded(held.fold_in.matrix, title_factors, self.regularization, self.alpha)
        return _worth(profiles @ title_factors.T, held)

    def close(self) -> None:
        """Give the cached pairs back."""
        self.pairs.unpersist()


def _numbered(factors: DataFrame, count: int) -> Floats:
    """Columns id, features as rows at the place of their id; zeros where there are none."""
    found = factors.toPandas()
    out = np.zeros((count, len(found["features"].iloc[0])))
    out[found["id"].to_numpy()] = np.stack(found["features"].to_list())
    return out


def folded(matrix: csr_matrix, given: Floats, regularization: float, alpha: float) -> Floats:
    """Rows x of (Y'Y + alpha sum w y y' + lambda n I) x = sum (1 + alpha w) y over a row's n pairs: shape (rows, d)."""
    shared = given.T @ given
    out = np.zeros((matrix.shape[0], given.shape[1]))
    for row in range(len(out)):
        cut = slice(matrix.indptr[row], matrix.indptr[row + 1])
        played, weight = given[matrix.indices[cut]], alpha * matrix.data[cut].astype(np.float64)
        if len(weight):
            left = shared + (played * weight[:, None]).T @ played
            left[np.diag_indices_from(left)] += regularization * len(weight)
            out[row] = cho_solve(cho_factor(left), (1.0 + weight) @ played)
    return out


def against_mllib(
    spark: SparkSession, name: str, split: StrongSplit, sizes: Sequence[int], setting: Setting, budget: float
) -> bool:
    """Print MLlib's ALS against our CG; whether it takes LEAST_SPARK times as much, at every number of iterations.

    Iterations that would take more than the budget, going by those before, are left out.
    """
    Ials(8, epochs=1).fit(split.train)  # compiled before anything is timed
    begun = cpu_s()
    mllib = MLlib(spark, split, setting)
    print(
        f"{name}: Spark MLlib, {split.train.matrix.nnz} pairs; reading, caching, warming {cpu_s() - begun:.1f} CPU s\n"
        f"{'d':>4s}{'iterations':>12s}{'CPU s':>9s}{'NDCG@100':>10s}{'own CG':>14s}{'times':>8s}",
        flush=True,
    )
    good = True
    for factors in sizes:
        own = own_course(split, factors, setting, "cg", budget)
        each = 0.0
        for iterations in ITERATIONS:
            if each * iterations > budget:
                print(f"{factors:4d}{iterations:12d}   left out: about {each * iterations:.0f} CPU s", flush=True)
                continue
            cpu, found, _ = mllib.fit(factors, iterations)
            each = cpu / iterations
            worth = mllib.worth(found)
            spent = own.to(worth)
            times = cpu / spent.cpu_s if spent.there else 0.0
            good &= times >= LEAST_SPARK
            print(f"{factors:4d}{iterations:12d}{cpu:9.1f}{worth:10.4f}{spent!s:>14s}{times:8.1f}", flush=True)
    mllib.close()
    return good


def paths(
    spark: SparkSession, split: StrongSplit, sizes: Sequence[int], k: int = 100, objective: Objective | None = None
) -> bool:
    """Print the Spark path against the one-node path; whether lists and NDCG@100 agree for every number of factors."""
    from jobs.factorize import Objective, factorize, top_titles

    known = whole(split)
    pairs = known.matrix.tocoo()
    frame = pd.DataFrame(
        {"profile_id": known.profiles[pairs.row], "title_id": known.titles[pairs.col], "weight": pairs.data}
    )
    print(
        f"Spark path, one node: {len(known.profiles)} profiles x {len(known.titles)} titles, {len(frame)} pairs\n"
        f"{'d':>4s}{'overlap':>9s}{'least':>7s}{'NDCG@100 Spark':>16s}{'one node':>10s}{'apart':>9s}   CPU s",
        flush=True,
    )
    given = spark.createDataFrame(frame.astype({"weight": float}))
    good = True
    for factors in sizes:
        rule = replace(objective or Objective(), factors=factors)
        begun = cpu_s()
        lists = top_titles(factorize(given, rule), k).toPandas()
        by_spark = cpu_s() - begun
        begun = time.process_time()
        alone = Ials(factors, rule.regularization, rule.unobserved, rule.epochs, steps=rule.steps, seed=rule.seed)
        scores = alone.fit(known).fold_in(known)
        own = ranked(scores, known.matrix, k)
        by_one = time.process_time() - begun
        other = placed(lists, known, k)
        overlap = np.array([len(np.intersect1d(a, b)) for a, b in zip(own, other, strict=True)]) / own.shape[1]
        rows, target = held_out(split, known)
        worth = [float(judge_lists(order[rows], target)["ndcg@100"].mean()) for order in (other, own)]
        apart = worth[0] - worth[1]
        good &= overlap.mean() >= LEAST_OVERLAP and abs(apart) <= MOST_APART
        print(
            f"{factors:4d}{overlap.mean():9.4f}{overlap.min():7.2f}{worth[0]:16.4f}{worth[1]:10.4f}{apart:+9.5f}"
            f"   {by_spark:.1f}, {by_one:.1f}",
            flush=True,
        )
    return good


def whole(split: StrongSplit) -> Histories:
    """Training profiles and what is folded in of the held-out ones, in the order of their ids."""
    parts = [split.train, split.valid.fold_in, split.test.fold_in]
    profiles = np.concatenate([part.profiles for part in parts])
    matrix = vstack([part.matrix for part in parts], format="csr")
    order = np.argsort(profiles.astype(str))
    order = order[np.diff(matrix.indptr)[order] > 0]
    return Histories(profiles[order], split.train.titles, matrix[order])


def held_out(split: StrongSplit, known: Histories) -> tuple[NDArray[np.int64], csr_matrix]:
    """Rows of `known` that are held out, and their targets."""
    held = (split.valid, split.test)
    rows = places(known.profiles, np.concatenate([part.fold_in.profiles for part in held]))
    target = vstack([part.target for part in held], format="csr")
    return rows[rows >= 0], target[rows >= 0]


def placed(lists: pd.DataFrame, known: Histories, k: int) -> NDArray[np.int64]:
    """Lists profile_id, title_id, rank as columns of `known`, shape (profiles, k).

    Raises:
        ValueError: a list is missing or short.
    """
    out = np.full((len(known.profiles), k), -1)
    row, column = places(known.profiles, lists["profile_id"]), places(known.titles, lists["title_id"])
    if (row < 0).any() or (column < 0).any():
        raise ValueError("a list names a profile or a title that was not among the pairs")
    out[row, lists["rank"].to_numpy()] = column
    if (out < 0).any():
        raise ValueError(f"{int((out < 0).any(axis=1).sum())} profiles have fewer than {k} titles in their list")
    return out


PARTS = ("folder", "world", "mllib", "mllib-world", "paths")


def table(
    split: StrongSplit,
    sizes: Sequence[int],
    events: int,
    budget: float,
    parts: Sequence[str],
    mllib_sizes: Sequence[int],
) -> bool:
    """Print the parts that are asked for; whether all they hold against the lines of the table is so."""
    good = True
    world: StrongSplit | None = None
    if any("world" in part for part in parts):
        world = cut_off(world_events(max(1, round(PROFILES * events / EVENTS)), SHOWS, events, SEED), HELD, SEED)
    if "folder" in parts:
        good &= solvers("folder", split, sizes, FOLDER, budget)
    if "world" in parts and world is not None:
        good &= solvers(f"{events} world events", world, sizes, WORLD, budget)
    if {"mllib", "mllib-world", "paths"} & set(parts):
        begun = cpu_s()
        with session() as spark:
            print(f"Spark's own start: {cpu_s() - begun:.1f} CPU s", flush=True)
            if "mllib" in parts:
                good &= against_mllib(spark, "folder", split, mllib_sizes, FOLDER, budget)
            if "mllib-world" in parts and world is not None:
                good &= against_mllib(spark, f"{events} world events", world, mllib_sizes, WORLD, budget)
            if "paths" in parts:
                good &= paths(spark, split, sizes)
    print(f"peak memory, without the JVM: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    print("every line holds" if good else "a line does not hold")
    return good
