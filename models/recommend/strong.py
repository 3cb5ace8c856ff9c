"""Strong generalization (Liang et al. 2018, arXiv 1802.05814): profiles never trained on, ranked from what they saw.

Test profiles are no training rows; part of each history is folded in, the rest is the target. Every title is ranked
(sampled negatives can invert the order of models: Krichene and Rendle 2020), what was folded in is masked, and a target
that training never saw cannot be a target: `coverage` of the split says how many those were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.recommend.histories import Histories

BOOTSTRAP = 10_000
METRICS = ("recall@20", "recall@50", "ndcg@100")


@dataclass(frozen=True, slots=True)
class Held:
    """Profiles held out: what is folded in and what is to be found, same rows, same titles."""

    fold_in: Histories
    target: csr_matrix

    def __post_init__(self) -> None:
        if self.target.shape != self.fold_in.matrix.shape:
            raise ValueError(f"targets have shape {self.target.shape}, fold-in {self.fold_in.matrix.shape}")
        both = int(self.target.astype(bool).multiply(self.fold_in.matrix.astype(bool)).nnz)
        if both:
            raise ValueError(f"{both} pairs are fold-in and target at once; a target that is folded in is a leak")


@dataclass(frozen=True, slots=True)
class StrongSplit:
    """Training profiles, and two disjoint groups of held-out ones.

    Attributes:
        coverage: share of the held-out pairs whose title is in training; the others are in no figure.
    """

    train: Histories
    valid: Held
    test: Held
    coverage: float


def strong_split(
    pairs: pd.DataFrame,
    seed: int,
    held: float = 0.1,
    target: float = 0.2,
    households: Mapping[str, str] | None = None,
    least: int = 5,
) -> StrongSplit:
    """Permute profiles; the last `held` of them test, as many before validate; of each a random `target` is sought.

    Args:
        pairs: unique profile_id, title_id; profiles with fewer than `least` are left out.
        households: by profile_id. Those who share one share their evenings too: they are permuted as one.

    Raises:
        ValueError: there are too few profiles to hold one out.
    """
    count = pairs.groupby("profile_id").size()
    pairs = pairs[pairs["profile_id"].isin(count.index[count >= least])]
    rng = np.random.default_rng(seed)
    profiles = np.unique(pairs["profile_id"].to_numpy(dtype=object).astype(str))
    homes, home = np.unique([(households or {}).get(p, p) for p in profiles], return_inverse=True)
    order = rng.permutation(len(homes))
    n = int(len(homes) * held)
    if not n:
        raise ValueError(f"{len(homes)} profiles have {least} titles or more, too few to hold {held:.0%} of them out")
    role_of = np.full(len(homes), "train", dtype=object)
    role_of[order[-n:]] = "test"
    role_of[order[-2 * n : -n]] = "valid"
    role_of = role_of[home]
    code = np.searchsorted(profiles, pairs["profile_id"].to_numpy(dtype=object).astype(str))
    role = role_of[code]
    key = rng.random(len(pairs))
    place = pd.Series(key).groupby(code).rank(method="first").to_numpy() - 1
    size = np.bincount(code)[code]
    part = np.where(place < np.maximum(1, np.floor(target * size)), "_target", "_fold_in")
    return from_roles(pairs.assign(role=np.where(role == "train", role, role + part)))


def from_roles(pairs: pd.DataFrame) -> StrongSplit:
    """A split that was made before: profile_id, title_id, role (train, valid_fold_in, valid_target, test_...)."""
    role = pairs["role"].astype(str)
    train = Histories.from_pairs(pairs[role == "train"])
    out = pairs[role != "train"]
    known = set(train.titles)
    return StrongSplit(
        train,
        _held(pairs, role, "valid", train.titles),
        _held(pairs, role, "test", train.titles),
        float(out["title_id"].astype(str).isin(known).mean()) if len(out) else 1.0,
    )


def _held(pairs: pd.DataFrame, role: pd.Series, name: str, titles: NDArray[np.object_]) -> Held:
    fold_in, target = pairs[role == f"{name}_fold_in"], pairs[role == f"{name}_target"]
    found = Histories.from_pairs(target, titles=titles)
    profiles = found.profiles[found.lengths() > 0]
    target_matrix = Histories.from_pairs(target, profiles, titles).matrix
    return Held(Histories.from_pairs(fold_in, profiles, titles), target_matrix)


def ranked(scores: NDArray[np.floating], seen: csr_matrix | None, k: int) -> NDArray[np.int64]:
    """Columns of the `k` best scores of each row, what was seen left out, ties to the smaller column: shape (n, k)."""
    masked = np.array(scores, dtype=np.float64)
    if seen is not None:
        row = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
        masked[row, seen.indices] = -np.inf
    count, columns = masked.shape
    k = min(k, columns)
    if k == columns or not count:
        return np.argsort(-masked, axis=1, kind="stable")[:, :k]
    edge = -np.partition(-masked, k - 1, axis=1)[:, k - 1 : k]
    row, column = np.nonzero(masked >= edge)  # with everything equal to the k-th best, so that ties are cut by column
    size = np.bincount(row, minlength=count)
    place = np.arange(len(row)) - (np.cumsum(size) - size)[row]
    best = np.full((count, int(size.max())), -np.inf)
    of = np.zeros(best.shape, dtype=np.int64)
    best[row, place], of[row, place] = masked[row, column], column
    # A masked column is no better than what pads a row, and stands before it.
    order = np.argsort(-best, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(of, order, axis=1)


def judge(scores: NDArray[np.floating], held: Held, seen: csr_matrix | None = None) -> dict[str, NDArray[np.float64]]:
    """Recall@20, Recall@50 (hits over min(k, targets)) and NDCG@100 of each held-out profile, shape (n,) each.

    Args:
        scores: shape (n, titles).
        seen: masked pairs; what was folded in by default.
    """
    order = ranked(scores, held.fold_in.matrix if seen is None else seen, 100)
    return judge_lists(order, held.target)


def judge_lists(order: NDArray[np.int64], target: csr_matrix) -> dict[str, NDArray[np.float64]]:
    """The same for lists already ranked, best first, shape (n, up to 100)."""
    wanted = target.astype(bool).toarray()
    hit = np.take_along_axis(wanted, order, axis=1)
    targets = wanted.sum(axis=1)
    if len(targets) and targets.min() == 0:
        raise ValueError(f"{int((targets == 0).sum())} profiles have no target; leave them out before judging")
    out = {f"recall@{k}": hit[:, :k].sum(axis=1) / np.minimum(k, targets) for k in (20, 50)}
    for k in (20, 100):
        gain = 1.0 / np.log2(np.arange(min(k, order.shape[1])) + 2.0)
        ideal = np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))
        out[f"ndcg@{k}"] = (hit[:, :k] * gain).sum(axis=1) / ideal[np.minimum(k, targets) - 1]
    return out


@dataclass(frozen=True, slots=True)
class Paired:
    """Mean difference over profiles, its 95 % bootstrap interval, and the two-sided bootstrap p."""

    mean: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    one: NDArray[np.float64],
    other: NDArray[np.float64] | float,
    seed: int = 1,
    groups: NDArray[np.object_] | None = None,
    draws: int = BOOTSTRAP,
) -> Paired:
    """Resample profiles, both models together. p: twice the share of means on the other side of zero, at least 1/B.

    Args:
        one, other: values, shape (n,), entry by entry of the same profile; a number as `other` is for all of them.
        groups: ids, shape (n,): entries of one id are drawn together, as when a profile is judged at several origins.
    """
    gap = np.asarray(one) - np.asarray(other)
    size = np.ones(len(gap))
    if groups is not None:
        _, code = np.unique(groups.astype(str), return_inverse=True)
        gap, size = np.bincount(code, weights=gap), np.bincount(code).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    for i in range(draws):
        drawn = rng.integers(0, len(gap), len(gap))
        means[i] = gap[drawn].sum() / size[drawn].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    tail = min((means <= 0).mean(), (means >= 0).mean())
    return Paired(float(gap.sum() / size.sum()), float(low), float(high), float(min(1.0, max(2 * tail, 1 / draws))))


def by_length(values: NDArray[np.float64], held: Held, edges: tuple[int, ...] = (10, 30, 100)) -> dict[str, float]:
    """Mean of a metric by length of the folded-in history: {'<10': ..., '10-29': ..., '>=100': ...}."""
    length = held.fold_in.lengths()
    names = [f"<{edges[0]}", *(f"{a}-{b - 1}" for a, b in pairwise(edges)), f">={edges[-1]}"]
    group = np.searchsorted(edges, length, side="right")
    return {name: float(values[group == i].mean()) for i, name in enumerate(names) if (group == i).any()}


def tune(make: Callable[[float], float], grid: tuple[float, ...]) -> float:
    """The value of `grid` for which `make` returns most; the first of equals."""
    return max(grid, key=make)
