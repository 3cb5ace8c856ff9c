"""Cohorts: sets of cells that share values of some dimensions, and how they lie in each other.

A *cell* is one combination of all dimensions (country, isp, ...); counters come by cell and are additive. A *cohort*
fixes some dimensions: ``{isp: cedar-de}`` holds every cell of that provider. Cohorts of equal cells are one cohort
(an ISP of one country is its country-and-ISP too); it keeps the shortest name, of equally short ones that of the
dimension named first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
Name = tuple[tuple[str, str], ...]
"""A cohort's fixed dimensions with their values, in the order of the dimensions; () is everything."""


def label(name: Name) -> str:
    """A cohort as text: ``isp=cedar-de device=tv``; ``everything`` where nothing is fixed."""
    return " ".join(f"{dimension}={value}" for dimension, value in name) or "everything"


@dataclass(frozen=True)
class Cohorts:
    """Cohorts over cells, parents before children.

    `member` is (cohorts, cells) of 0 and 1; `parent` the index of the nearest larger cohort that holds all its cells
    (-1 for everything); `depth` how many dimensions are fixed; `weight` what share of the traffic each cell is.
    """

    names: tuple[Name, ...]
    member: sparse.csr_matrix
    parent: I8
    depth: I8
    weight: F8

    def __len__(self) -> int:
        return len(self.names)

    def sums(self, cells: ArrayLike) -> F8:
        """Sums by cohort of values by cell; (cells,) to (cohorts,) or (cells, n) to (cohorts, n)."""
        return np.asarray(self.member @ np.asarray(cells, dtype=np.float64))

    def cells(self, cohort: int) -> NDArray[np.int32]:
        """The cells of a cohort."""
        first, last = self.member.indptr[cohort], self.member.indptr[cohort + 1]
        return np.asarray(self.member.indices[first:last])

    def share_inside(self, of: int) -> F8:
        """For every cohort: what share of the traffic of cohort `of` lies in it; (cohorts,)."""
        inside = np.zeros(self.member.shape[1])
        cells = self.cells(of)
        inside[cells] = self.weight[cells]
        return self.sums(inside) / max(inside.sum(), 1e-300)

    def kinds(self) -> I8:
        """Number of each cohort's set of fixed dimensions, from 0; (cohorts,)."""
        sets = {fixed: i for i, fixed in enumerate(dict.fromkeys(tuple(d for d, _ in name) for name in self.names))}
        return np.array([sets[tuple(d for d, _ in name)] for name in self.names], dtype=np.int64)

    def traffic(self) -> F8:
        """Share of all traffic of every cohort; (cohorts,)."""
        return self.sums(self.weight)

    def index(self, name: Name) -> int:
        """The cohort of this name.

        Raises:
            KeyError: there is none.
        """
        return self.names.index(name)


def build(
    dimensions: Sequence[str],
    values: Sequence[ArrayLike],
    sets: Sequence[Sequence[str]],
    weight: ArrayLike,
    least: float = 0.0,
    most: int | None = None,
) -> Cohorts:
    """The cohorts that some sets of dimensions make of the cells.

    Args:
        dimensions: names of the cells' columns.
        values: for each dimension its value of every cell, as text; each (cells,).
        sets: which dimensions are fixed together; everything (the empty set) is always there.
        weight: traffic of each cell, any unit; (cells,).
        least: cohorts with less than this share of the traffic are left out.
        most: keep at most so many, those with most traffic.

    Raises:
        ValueError: a set names a dimension the cells do not have.
    """
    columns = {name: np.asarray(column, dtype=object) for name, column in zip(dimensions, values, strict=True)}
    traffic = np.asarray(weight, dtype=np.float64)
    traffic = traffic / max(traffic.sum(), 1e-300)
    found: dict[bytes, tuple[Name, NDArray[np.int64]]] = {}
    rank = lambda chosen: (len(chosen), [dimensions.index(d) for d in chosen])  # noqa: E731
    ordered = sorted({tuple(d for d in dimensions if d in chosen) for chosen in [(), *sets]}, key=rank)
    for chosen in [*sets]:
        if unknown := set(chosen) - set(dimensions):
            raise ValueError(
                f"cohort set {list(chosen)}: no dimension {', '.join(sorted(unknown))}; "
                f"cells have {', '.join(dimensions)}"
            )
    for fixed in ordered:
        for name, cells in _groups(fixed, columns, len(traffic)):
            if traffic[cells].sum() >= least:
                found.setdefault(cells.tobytes(), (name, cells))
    kept = list(found.values())
    if most is not None and len(kept) > most:
        heaviest = np.argsort([-traffic[cells].sum() for _, cells in kept], kind="stable")[:most]
        kept = [kept[i] for i in sorted(heaviest)]
    names = tuple(name for name, _ in kept)
    counts = np.array([len(cells) for _, cells in kept])
    member = sparse.csr_matrix(
        (np.ones(counts.sum()), np.concatenate([cells for _, cells in kept]), np.concatenate([[0], np.cumsum(counts)])),
        shape=(len(kept), len(traffic)),
    )
    depth = np.array([len(name) for name in names], dtype=np.int64)
    return Cohorts(names, member, _parents(names, np.asarray(member @ traffic)), depth, traffic)


def only(found: Cohorts, keep: Sequence[int]) -> Cohorts:
    """Some of the cohorts; the nearest larger one is looked for among them."""
    rows = np.asarray(keep, dtype=np.int64)
    names = tuple(found.names[i] for i in rows)
    return Cohorts(names, found.member[rows], _parents(names, found.traffic()[rows]), found.depth[rows], found.weight)


def wider(found: Cohorts, cells: Sequence[Mapping[str, str]]) -> Cohorts:
    """The same cohorts over more cells, which have no traffic yet: each lies in the cohorts whose values it carries."""
    inside = [[all(cell[d] == value for d, value in name) for cell in cells] for name in found.names]
    more = sparse.csr_matrix(np.array(inside, dtype=np.float64).reshape(len(found), len(cells)))
    member = sparse.csr_matrix(sparse.hstack([found.member, more]))
    return Cohorts(found.names, member, found.parent, found.depth, np.append(found.weight, np.zeros(len(cells))))


def replaced(
    found: Cohorts, dimensions: Sequence[str], known: Mapping[int, tuple[str, ...]], cells: Sequence[tuple[str, ...]]
) -> sparse.csr_matrix:
    """Which cohorts a new cell may have taken traffic from; (cohorts, cells) of 0 and 1.

    Those that have a known cell (by its place among the cohorts' cells) which differs from the new one in a single
    dimension, and that one the cohort fixes: another release of the same device, another CDN of the same provider.
    """
    fixed = np.array([[d in dict(name) for d in dimensions] for name in found.names])
    columns = found.member.tocsc()
    out = np.zeros((len(found), len(cells)))
    for place in range(len(dimensions)):
        like: dict[tuple[str, ...], list[int]] = {}
        for i, cell in known.items():
            like.setdefault(cell[:place] + cell[place + 1 :], []).append(i)
        for j, cell in enumerate(cells):
            if same := like.get(cell[:place] + cell[place + 1 :]):
                held = np.asarray(columns[:, same].sum(axis=1)).ravel() > 0
                out[:, j] = np.maximum(out[:, j], held & fixed[:, place])
    return sparse.csr_matrix(out)


def _groups(fixed: tuple[str, ...], columns: dict[str, NDArray[np.object_]], n: int) -> list[tuple[Name, I8]]:
    if not fixed:
        return [((), np.arange(n, dtype=np.int64))]
    code = np.zeros(n, dtype=np.int64)
    for dimension in fixed:
        known, inverse = np.unique(columns[dimension], return_inverse=True)
        code = code * len(known) + inverse
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(code[order]) != 0]))
    groups = np.split(order, starts[1:]) if n else []
    return [(tuple((d, str(columns[d][cells[0]])) for d in fixed), np.sort(cells)) for cells in groups]


def _parents(names: tuple[Name, ...], traffic: F8) -> I8:
    """The smallest cohort of those that fix a proper subset of a cohort's dimensions."""
    place = {name: i for i, name in enumerate(names)}
    out = np.full(len(names), -1, dtype=np.int64)
    for i, name in enumerate(names):
        above = [place[part] for part in _subsets(name) if part in place]
        if above:
            out[i] = min(above, key=lambda j: (traffic[j], -len(names[j])))
    return out


def _subsets(name: Name) -> list[Name]:
    full = 1 << len(name)
    return [tuple(pair for bit, pair in enumerate(name) if mask >> bit & 1) for mask in range(full - 1)]
