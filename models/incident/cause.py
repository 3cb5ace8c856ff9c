"""Root cause: which dimension values explain the change of a ratio metric, from additive sums before and during.

A *row* is one combination of all dimensions (a cohort of sessions) with its sums of numerator and denominator. Had the
row behaved as before, its numerator would be ``den * (ratio before)``; what it has beyond that is its **excess**. A
*cell* fixes some dimensions and leaves the others free ("bitrate 4000, any CDN"). The cause is the cell whose inside
and outside differ most in excess per denominator: the two-rate likelihood ratio of a spatial scan (Kulldorff 1997,
Communications in Statistics 26(6)), here over the lattice of cells instead of circles on a map. A cell that is too wide
takes in rows without excess, one that is too narrow leaves excess outside: both lower the ratio, so no weight for the
number of dimensions is needed.

Four choices make it fit a video service; `bench/qoe_cause.py` shows what they bring on labelled incidents:

- **Rows saturate.** Sessions of one row fall ill together, so a row of a million sessions is not a million witnesses.
  A row of denominator d counts d / (1 + d / limit). How strongly sessions hang together is not known: the score is the
  mean over limits from 1/30 to 3 times the mean row.
- **Closed cells.** Several descriptions may mean the same rows (bitrate 2000 exists on one CDN alone). The one that
  says everything true of them stands for all (closed item sets, Pasquier et al. 1999).
- **A second fault** is looked for in the rows outside the first and counts if it holds a share of the whole excess.
- **Two that differ in one value are one.** That one CDN has trouble is likelier than that two bitrates of it, and no
  other place, fell ill at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from schemas.metrics import ROLLUPS, Direction, Metric

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Terms = frozenset[tuple[str, str]]

LIMITS = (1 / 30, 1 / 10, 1 / 3, 1.0, 3.0)
NOTHING = 1e-6
"""An excess below this share of the numerator is rounding, not a change."""
MOST_DIMENSIONS = 8
"""The lattice has two to the power of this many levels of detail."""


@dataclass(frozen=True, slots=True)
class Search:
    """The numbers of the search. All are shares, so they hold for every metric and size of service.

    Attributes:
        prior: Weight of the overall ratio in the ratio before of each row, in mean rows: a row seen for a minute says
            little about itself.
        second_share: A second cause must hold at least this share of the whole excess.
        limits: Denominators at which a row saturates, in mean rows; infinity: never.
    """

    prior: float = 0.01
    second_share: float = 0.12
    limits: tuple[float, ...] = LIMITS

    def __post_init__(self) -> None:
        if not self.prior > 0:
            raise ValueError(f"prior is {self.prior}; it must be positive, or a row unseen before has no ratio")
        if not 0 < self.second_share < 1:
            raise ValueError(f"second_share is {self.second_share}; a share lies between 0 and 1")
        if not self.limits or min(self.limits) <= 0:
            raise ValueError(f"limits are {self.limits}; give at least one, all positive")


@dataclass(frozen=True, slots=True)
class Cause:
    """One cell and what it explains.

    Attributes:
        where: Dimension to value, in alphabetical order of the dimensions.
        share: Its excess over the whole excess: 1 explains the whole change; above 1, the rest got better.
        excess: Numerator beyond what its rows' ratios before would have given; the metric's unit.
        ratio_before: What its ratio would be, had each of its rows kept its own.
        ratio_during: Its ratio.
        den: Its denominator during.
        score: Likelihood ratio over the best one's, 0 to 1, each in its own search.
    """

    where: dict[str, str]
    share: float
    excess: float
    ratio_before: float
    ratio_during: float
    den: float
    score: float

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.where.items())


@dataclass(frozen=True, slots=True)
class Explanation:
    """What explains a change.

    Attributes:
        causes: The set that together explains it; empty if the metric got no worse, each row against itself.
        ranked: `causes`, then the alternatives from likely to unlikely: each cause told one step broader, then others.
        share: Share of the whole excess inside `causes`, rows counted once.
        ratio_before: The whole, had each row kept its ratio.
        ratio_during: The whole.
    """

    causes: tuple[Cause, ...]
    ranked: tuple[Cause, ...]
    share: float
    ratio_before: float
    ratio_during: float


def explain(
    before: pd.DataFrame,
    during: pd.DataFrame,
    dimensions: Sequence[str],
    *,
    num: str = "num",
    den: str = "den",
    worse: Direction = Direction.HIGHER,
    search: Search | None = None,
    most: int = 5,
    shown: Callable[[dict[str, str]], bool] | None = None,
) -> Explanation:
    """The cells that explain why a ratio got worse.

    Args:
        before: Sums while all was well, any number of rows a cohort: `dimensions` (text), `num`, `den` (not negative).
            The spans of time need not be equally long: only its ratios are used.
        during: The same columns, while it was not.
        dimensions: One to eight columns.
        num: Column of the numerator, e.g. ``rebuffer_ratio_num``.
        den: Column of the denominator, e.g. ``rebuffer_ratio_den``.
        worse: `Direction.HIGHER` if a higher ratio is worse, `LOWER` if a lower one is.
        search: Its parameters.
        most: Length of `ranked`.
        shown: Whether a cell may be named at all (of few people it may not); the cause is then the likeliest of those
            that may. A cell with more rows than a shown one must be shown too.

    Raises:
        ValueError: a column is missing, a dimension is null, a sum is negative or not finite, a frame has no
            denominator, or there are no or too many dimensions.
    """
    names = tuple(sorted(dimensions))
    rows = _rows(before, during, names, num, den)
    return _explain(_Cube(names, rows, search or Search(), _sign(worse)), most, shown)


def explain_rollups(
    before: pd.DataFrame,
    during: pd.DataFrame,
    metric: Metric,
    *,
    search: Search | None = None,
    most: int = 5,
) -> Explanation:
    """The same over rows of `qoe_minute` or `qoe_daily`, which hold several rollups, not one cube.

    Each rollup with dimensions is searched on its own; the one whose first cause divides the excess best says the
    causes, the first causes of the others are alternatives. A cause across two rollups (one device of one ISP) cannot
    be seen in them: `explain` on spans sees it.

    Args:
        before: Rows of the record: `rollup`, its dimensions, the metric's sums.
        during: The same, while the metric was worse.
        metric: A ratio: a plain sum has no expectation without a season.

    Raises:
        ValueError: the metric has no denominator or no worse side, no rollup is in both frames, or as `explain`.
    """
    if metric.den is None or metric.better is Direction.NEITHER:
        raise ValueError(f"metric {metric.name!r} has no denominator or no better side; causes explain worse ratios")
    num, den = metric.columns
    found = []
    for rollup in ROLLUPS:
        parts = [frame[frame["rollup"] == rollup.name] for frame in (before, during)]
        if rollup.by and all(len(part) for part in parts):
            names = tuple(sorted(rollup.by))
            rows = _rows(parts[0], parts[1], names, num, den)
            cube = _Cube(names, rows, search or Search(), -_sign(metric.better))
            one = _explain(cube, most)
            found.append((cube.contrast(one.causes[0].where) if one.causes else 0.0, one))
    if not found:
        raise ValueError(
            f"no rollup with dimensions has rows both before and during; before: {sorted(set(before['rollup']))}, "
            f"during: {sorted(set(during['rollup']))}"
        )
    found.sort(key=lambda pair: -pair[0])
    best, others = found[0][1], [one for _, one in found[1:]]
    ranked = list(best.causes)
    for cause in (*(one.causes[0] for one in others if one.causes), *best.ranked):
        if all(cause.where != known.where for known in ranked):
            ranked.append(cause)
    return replace(best, ranked=tuple(ranked[:most]))


def calm(
    history: pd.DataFrame, at: str, *, num: str = "num", den: str = "den", worse: Direction = Direction.HIGHER
) -> pd.DataFrame:
    """The calmer half of a history: rows of the moments whose overall ratio is at most (at least) their median.

    Minutes before an incident often hold an earlier burst of it; a mean over them would call it normal.

    Args:
        history: One row a moment and cohort.
        at: Column of the moment.
    """
    sums = history.groupby(at)[[num, den]].sum()
    ratio = _sign(worse) * sums[num] / sums[den].where(sums[den] > 0)
    kept = ratio.index[ratio <= ratio.median()]
    return history[history[at].isin(kept)]


def _sign(worse: Direction) -> int:
    if worse is Direction.NEITHER:
        raise ValueError("worse must be HIGHER or LOWER; a metric without a worse side has no cause")
    return 1 if worse is Direction.HIGHER else -1


def _rows(before: pd.DataFrame, during: pd.DataFrame, names: tuple[str, ...], num: str, den: str) -> pd.DataFrame:
    """One row a cohort seen in either frame: codes of the dimensions are its text; num0, den0, num1, den1."""
    if not 1 <= len(names) <= MOST_DIMENSIONS or len(set(names)) < len(names):
        raise ValueError(f"dimensions are {names}; give one to {MOST_DIMENSIONS} different ones")
    parts: list[pd.DataFrame] = []
    for title, frame in (("before", before), ("during", during)):
        absent = [name for name in (*names, num, den) if name not in frame.columns]
        if absent:
            raise ValueError(f"{title}: columns {absent} are missing; it has {list(frame.columns)}")
        null = [name for name in names if frame[name].isna().any()]
        if null:
            raise ValueError(f"{title}: dimensions {null} hold nulls; name the unknown value, e.g. 'unknown'")
        sums = frame[[num, den]].to_numpy(dtype=np.float64)
        if not np.isfinite(sums).all() or (sums < 0).any():
            raise ValueError(f"{title}: {num} or {den} holds a negative or not finite sum; sums are counts or times")
        if not sums[:, 1].sum() > 0:
            raise ValueError(f"{title}: the sum of {den} is 0; there is no ratio to compare")
        part = frame[list(names)].astype(str)
        part[[f"num{len(parts)}", f"den{len(parts)}"]] = sums
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True).groupby(list(names), sort=True, as_index=False).sum()
    return rows[(rows["den0"] > 0) | (rows["den1"] > 0)].reset_index(drop=True)


class _Cube:
    """All closed cells over the rows of one cube, and the search among them."""

    def __init__(self, names: tuple[str, ...], rows: pd.DataFrame, search: Search, sign: int) -> None:
        self.search = search
        den0, self.den = rows["den0"].to_numpy(), rows["den1"].to_numpy()
        self.num = rows["num1"].to_numpy()
        prior = search.prior * den0.mean()
        self.expected = (
            self.den * (rows["num0"].to_numpy() + prior * (rows["num0"].sum() / den0.sum())) / (den0 + prior)
        )
        self.excess = sign * (self.num - self.expected)
        seen = self.den > 0
        limits = np.array(search.limits)[:, None] * (self.den.sum() / max(seen.sum(), 1))
        self.weight = 1.0 / (1.0 + self.den / limits)  # (limits, rows)
        self._lattice(names, rows)

    def _lattice(self, names: tuple[str, ...], rows: pd.DataFrame) -> None:
        """`levels`: for each set of dimensions the cell of each row, -1 where that cell is not closed; `holds`: the
        same as a matrix (cells, rows) of 0 and 1."""
        coded = [pd.factorize(rows[name], sort=True) for name in names]
        codes = np.array([code for code, _ in coded], dtype=np.int64)
        self.levels: list[Ints] = []
        self.cells: list[Terms] = []
        self.level_of: list[int] = []
        for size in range(1, len(names) + 1):
            for fixed in combinations(range(len(names)), size):
                key = np.zeros(len(rows), dtype=np.int64)
                for place in fixed:  # renumbered at each step, so that the key never overflows
                    _, key = np.unique(key * len(coded[place][1]) + codes[place], return_inverse=True)
                first = np.unique(key, return_index=True)[1]
                free = [place for place in range(len(names)) if place not in fixed]
                open_ = np.zeros((len(first), len(free)), dtype=bool)
                for column, place in enumerate(free):
                    open_[key[codes[place] != codes[place][first][key]], column] = True
                closed = open_.all(axis=1)
                number = np.where(closed, len(self.cells) + np.cumsum(closed) - 1, -1)
                self.level_of += [len(self.levels)] * int(closed.sum())
                self.levels.append(number[key])
                self.cells += [
                    frozenset((names[place], str(coded[place][1][codes[place][row]])) for place in fixed)
                    for row in first[closed]
                ]
        cell = np.concatenate(self.levels)
        row = np.tile(np.arange(len(rows)), len(self.levels))[cell >= 0]
        cell = cell[cell >= 0]
        self.holds = csr_array((np.ones(len(cell)), (cell, row)), shape=(len(self.cells), len(rows)))

    def sums(self, values: Floats) -> Floats:
        """Sums over each cell; `values` (n, rows) gives (n, cells)."""
        return np.asarray((self.holds @ values.T).T, dtype=np.float64)

    def inside(self, cell: int) -> NDArray[np.bool_]:
        """Which rows a cell holds."""
        return self.levels[self.level_of[cell]] == cell

    def scores(self, live: NDArray[np.bool_]) -> Floats:
        """Likelihood ratio of each cell over the live rows: mean over limits, each over its best; shape (cells,)."""
        weight = self.weight * live
        excess, den = weight * self.excess, weight * self.den
        inside, held = self.sums(excess), self.sums(den)
        whole, all_ = excess.sum(axis=1, keepdims=True), den.sum(axis=1, keepdims=True)
        if (whole <= 0).any():  # at some limit nothing got worse on the whole: no rate to compare with
            least = (weight * self.num).sum(axis=1, keepdims=True)  # in the numerator's unit, whatever that is
            whole = np.maximum(whole, 1e-9 * np.maximum(least, 1e-290))
        gain = _poisson(inside, held, whole / all_) + _poisson(whole - inside, all_ - held, whole / all_)
        gain = np.where((held > 0) & (inside * all_ > whole * held), gain, 0.0)
        best = gain.max(axis=1, keepdims=True, initial=0.0)
        return np.mean(gain / np.where(best > 0, best, 1.0), axis=0)

    def cause(self, cell: int, score: float) -> Cause:
        """What one cell explains."""
        rows = self.inside(cell)
        den, excess = float(self.den[rows].sum()), float(self.excess[rows].sum())
        whole = float(self.excess.sum())
        return Cause(
            where=dict(sorted(self.cells[cell])),
            share=excess / whole if whole > 0 else float("nan"),
            excess=excess,
            ratio_before=float(self.expected[rows].sum()) / den if den > 0 else float("nan"),
            ratio_during=float(self.num[rows].sum()) / den if den > 0 else float("nan"),
            den=den,
            score=score,
        )

    def place(self, terms: Terms) -> int:
        """The closed cell of the rows that `terms` describe; -1 for no terms."""
        holding = [number for number, cell in enumerate(self.cells) if cell >= terms] if terms else []
        return min(holding, key=lambda number: len(self.cells[number]), default=-1)

    def contrast(self, where: dict[str, str]) -> float:
        """Likelihood ratio of one cell over its whole, rows not saturated: one scale for all cubes of a metric."""
        rows = self.inside(self.place(frozenset(where.items())))
        inside, held = self.excess[rows].sum(), self.den[rows].sum()
        whole, all_ = self.excess.sum(), self.den.sum()
        return float((_poisson(inside, held, whole / all_) + _poisson(whole - inside, all_ - held, whole / all_)).sum())


class _Shown:
    """Cells with a score that may be named, likeliest first; each is asked for when its turn comes."""

    def __init__(self, cube: _Cube, scores: Floats, shown: Callable[[dict[str, str]], bool] | None) -> None:
        self.cube, self.scores, self.shown = cube, scores, shown
        self.order = np.argsort(-scores, kind="stable")

    def __iter__(self) -> Iterator[int]:
        for cell in map(int, self.order):
            if not self.scores[cell] > 0:
                return
            if self.shown is None or self.shown(dict(self.cube.cells[cell])):
                yield cell

    def first(self, n: int) -> list[int]:
        """The first `n`."""
        return list(islice(self, n))

    def best(self) -> int:
        """The first; -1 where there is none."""
        return next(iter(self), -1)


def _poisson(excess: Floats, den: Floats, rate: Floats) -> Floats:
    """Log likelihood ratio of `excess` in `den` at its own rate over the overall rate; 0 for no denominator."""
    excess, den = np.maximum(excess, 0.0), np.maximum(den, 0.0)
    expected = np.maximum(den * rate, 1e-300)
    return np.where(excess > 0, excess * np.log(np.maximum(excess, 1e-300) / expected), 0.0) - excess + expected


def _explain(cube: _Cube, most: int, shown: Callable[[dict[str, str]], bool] | None = None) -> Explanation:
    whole = float(cube.excess.sum())
    total = float(cube.den.sum())
    everywhere = np.ones(len(cube.den), dtype=bool)
    overall = (float(cube.expected.sum()) / total, float(cube.num.sum()) / total)
    scores = cube.scores(everywhere)
    order = _Shown(cube, scores, shown)
    if whole <= NOTHING * float(cube.num.sum()) or order.best() < 0:
        return Explanation((), (), 0.0, *overall)

    first = order.best()
    outside = ~cube.inside(first)
    rest = cube.scores(outside)
    second = _Shown(cube, rest, shown).best()
    causes = [first]
    if second >= 0:
        live = cube.inside(second) & outside
        if cube.excess[live].sum() > cube.search.second_share * whole:
            joint = _joint(cube.cells[first], cube.cells[second])
            causes = [cube.place(joint)] if joint else [first, second]

    ranked = list(causes)
    broader = [cube.place(cube.cells[first] - {term}) for term in cube.cells[first]]
    broader.sort(key=lambda cell: -scores[cell])
    likely = chain(order.first(2), [second] if second >= 0 else [], order)
    for cell in chain([first], broader, likely):
        if len(ranked) >= most:
            break
        if cell >= 0 and cell not in ranked:
            ranked.append(cell)
    told = [cube.cause(cell, float(max(scores[cell], rest[cell] if cell == second else 0.0))) for cell in ranked[:most]]
    inside = np.any([cube.inside(cell) for cell in causes], axis=0)
    return Explanation(tuple(told[: len(causes)]), tuple(told), float(cube.excess[inside].sum()) / whole, *overall)


def _joint(one: Terms, other: Terms) -> Terms:
    """What both say, if that is all but the value of one dimension, or all of the wider; else nothing."""
    left, right = one - other, other - one
    differ = {name for name, _ in left | right}
    return one & other if len(left) <= 1 and len(right) <= 1 and len(differ) == 1 else frozenset()
