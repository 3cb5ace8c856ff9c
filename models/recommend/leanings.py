"""What shows, countries, devices and profiles each add to the odds of a take, told apart from one another.

Two kinds of evidence. Takes of a cell that was read are Poisson with mean rate of its place x lift; a search takes one
of the shows that are out with a chance in proportion to lift. lift = exp(appeal of the show + what the profile's
country and device make of the show + theta . genres of the show), theta being the profile's likings. A cell high on the
page is taken more often whatever stands in it, and pages put first what is liked: so places, shows, contexts and
likings are fitted in turn, each beside what the others promise (the examination hypothesis of Craswell et al. 2008;
without it a show that pages put first looks liked, and one that a country's pages are full of looks loved there).

Ratios are drawn to 1 as ratios.py says; theta is normal around 0 and found by Newton steps. Profiles of one country and
device differ in theta alone, and shows of equal genres not in it, so that a pass costs profiles x kinds of genres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.frames import places
from models.recommend.ratios import log_ratios

ROUNDS = 3
"""Of everything in turn; three more change no ranking of the world by more than .002 of the gap it closes."""
TURNS = 6
"""Of rates by place and appeal of shows, within a round."""
STEPS = (6, 2, 2)
"""Newton steps of the likings in each round."""
PRECISION = 0.5
"""Of the prior on likings of genres: a liking of 1.4, four times as many takes, is one standard deviation."""
MOST = 3.0
"""Largest liking, a factor of 20: Newton steps from little evidence stay in reach."""
BLOCK = 4096
"""Profiles at a time; of cells 64 times as many."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of pages that were read: places of profile and show, number of the place on the page, whether taken."""

    who: Ints
    show: Ints
    place: Ints
    taken: Floats

    @classmethod
    def of(
        cls, read: pd.DataFrame, profiles: NDArray[np.object_], titles: NDArray[np.object_], *, by_place: bool = True
    ) -> Cells:
        """From choices.rows_read; `by_place` False expects the same of every place, as who ignores it would."""
        who, show = places(profiles, read["profile_id"]), places(titles, read["title_id"])
        known = (who >= 0) & (show >= 0)
        column = read["col"].to_numpy(dtype=np.int64)
        place = read["row"].to_numpy(dtype=np.int64) * (int(column.max(initial=0)) + 1) + column
        place = place if by_place else np.zeros_like(place)
        return cls(who[known], show[known], place[known], read["taken"].to_numpy(dtype=np.float64)[known])


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """Plays that were searched for: places of profile and show; `out`, by show: the share of them made when it was out.
    """

    who: Ints
    show: Ints
    out: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Leanings:
    """Logs of what everything adds.

    Attributes:
        appeal: of shows, shape (shows,).
        there: by kind of context, its values and their part, shape (values, shows).
        likings: of genres by profile, shape (profiles, genres).
    """

    appeal: Floats
    there: dict[str, tuple[list[str], Floats]]
    likings: Floats


def leanings(
    cells: Cells, searches: Searches, home: pd.DataFrame, genres: Floats, took: Floats, *, precision: float = PRECISION
) -> Leanings:
    """Fit.

    Args:
        home: where profiles are, a column for each kind of context, a row for each profile.
        genres: of shows, shape (shows, genres). took: sums of the genres of all that a profile took, shape (profiles,
            genres).
    """
    profiles, shows = len(home), len(genres)
    values = {str(kind): sorted(set(home[kind])) for kind in home.columns}
    code = {kind: places(of, home[kind]) for kind, of in values.items()}
    groups = _Groups.of(home, genres, code)
    searched = np.bincount(searches.who, minlength=profiles).astype(np.float64)
    taken = _counts(cells.show, cells.taken, shows) + _counts(searches.show, None, shows)
    appeal, theta = np.zeros(shows), np.zeros((profiles, genres.shape[1]))
    there = {kind: np.zeros((len(of), shows)) for kind, of in values.items()}
    for steps in STEPS[:ROUNDS]:
        weight = groups.weights(theta)
        lift = _taste(theta, genres, cells)
        for kind, told in there.items():
            lift *= np.exp(told[code[kind][cells.who], cells.show])
        local = groups.local(there)
        mean = np.zeros(len(cells.show))
        found = np.zeros_like(local)
        for _ in range(TURNS):
            at = np.exp(appeal)
            hope = np.bincount(cells.place, at[cells.show] * lift)
            rate = np.bincount(cells.place, cells.taken) / np.maximum(hope, 1e-9)
            mean = rate[cells.place] * lift
            found = groups.searches(weight, local * searches.out, at, searched)
            appeal = log_ratios(taken, _counts(cells.show, mean, shows) + found.sum(axis=0))
        mean *= np.exp(appeal)[cells.show]
        found *= np.exp(appeal)
        for kind, of in values.items():
            here, size = code[kind], len(of)
            n = _table(here[cells.who], cells.show, cells.taken, size, shows)
            n += _table(here[searches.who], searches.show, None, size, shows)
            m = _table(here[cells.who], cells.show, mean, size, shows)
            np.add.at(m, groups.value[kind], found)
            new = log_ratios(n, m / np.exp(there[kind]))
            change = np.exp(new - there[kind])
            mean *= change[here[cells.who], cells.show]
            found *= change[groups.value[kind]]
            there[kind] = new
        shown = csr_matrix((mean / _taste(theta, genres, cells), (cells.who, cells.show)), shape=(profiles, shows))
        base = groups.by_kind(groups.local(there) * searches.out * np.exp(appeal))
        theta = likings(theta, took, searched, base, groups.group, shown, genres, precision, steps)
    return Leanings(appeal, {kind: (values[kind], there[kind]) for kind in values}, theta)


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Profiles that are in the same place, and shows of the same genres.

    Attributes:
        group: of each profile. value: by kind of context, the place of its value, of each group.
        kinds: shape (kinds, genres). kind: of each show. into: shape (shows, kinds), 1 where a show is of a kind.
    """

    group: Ints
    value: dict[str, Ints]
    kinds: Floats
    kind: Ints
    into: csr_matrix

    @classmethod
    def of(cls, home: pd.DataFrame, genres: Floats, code: dict[str, Ints]) -> _Groups:
        both = np.stack(list(code.values()), axis=1) if code else np.zeros((len(home), 1), dtype=np.int64)
        first, group = np.unique(both, axis=0, return_inverse=True)
        return cls(group.ravel(), {name: first[:, i] for i, name in enumerate(code)}, *_kinds(genres))

    def weights(self, theta: Floats) -> Floats:
        """What likings make of each kind of show, shape (profiles, kinds)."""
        return np.exp(theta @ self.kinds.T)

    def local(self, there: dict[str, Floats]) -> Floats:
        """What contexts make of each show, shape (groups, shows)."""
        out = np.zeros((int(self.group.max(initial=-1)) + 1, len(self.kind)))
        for kind, told in there.items():
            out += told[self.value[kind]]
        return np.exp(out)

    def by_kind(self, odds: Floats) -> Floats:
        """Sums of odds of shape (groups, shows) over shows of equal genres."""
        return np.asarray(odds @ self.into)

    def searches(self, weight: Floats, odds: Floats, appeal: Floats, searched: Floats) -> Floats:
        """Searches expected of each show less its appeal, shape (groups, shows)."""
        base = self.by_kind(odds * appeal)
        sums = np.zeros_like(base)
        for first in range(0, len(weight), BLOCK):
            cut = slice(first, first + BLOCK)
            group, own = self.group[cut], weight[cut]
            total = np.einsum("pk,pk->p", own, base[group])
            share = searched[cut] / np.maximum(total, 1e-12)
            np.add.at(sums, group, own * share[:, None])
        return np.asarray(odds * sums[:, self.kind])


def likings(
    start: Floats,
    took: Floats,
    searched: Floats,
    base: Floats,
    group: Ints,
    shown: csr_matrix,
    genres: Floats,
    precision: float,
    steps: int = STEPS[0],
) -> Floats:
    """Modes of theta, shape (profiles, genres).

    Args:
        start: where Newton's steps begin. took: see leanings. searched: how often each profile did.
        base: odds that a search takes a show of each kind (genres in np.unique's order), shape (groups, kinds).
        group: of each profile. shown: takes expected of the cells a profile read, shape (profiles, shows), sparse.
    """
    kinds, _, into = _kinds(genres)
    out = start.copy()
    prior = precision * np.eye(genres.shape[1])
    outer = (kinds[:, :, None] * kinds[:, None, :]).reshape(len(kinds), -1)
    for first in range(0, len(took), BLOCK):
        cut = slice(first, first + BLOCK)
        cells = np.asarray((shown[cut] @ into).todense())
        theta = out[cut]
        for _ in range(steps):
            lift = np.exp(theta @ kinds.T)
            found = base[group[cut]] * lift
            found *= (searched[cut] / np.maximum(found.sum(axis=1), 1e-12))[:, None]
            mean = cells * lift + found
            slope = took[cut] - mean @ kinds - precision * theta
            curve = (mean @ outer).reshape(len(theta), *prior.shape) + prior
            theta = np.clip(theta + np.linalg.solve(curve, slope[:, :, None])[:, :, 0], -MOST, MOST)
        out[cut] = theta
    return out


def _kinds(genres: Floats) -> tuple[Floats, Ints, csr_matrix]:
    """Shows of equal genres: the genres, the kind of each show, and a matrix that sums over them (see _Groups)."""
    kinds, kind = np.unique(genres, axis=0, return_inverse=True)
    kind = kind.ravel()
    return kinds, kind, csr_matrix((np.ones(len(kind)), (np.arange(len(kind)), kind)), shape=(len(kind), len(kinds)))


def _taste(theta: Floats, genres: Floats, cells: Cells) -> Floats:
    """exp(theta . genres) of every cell."""
    out = np.empty(len(cells.who))
    for first in range(0, len(out), 64 * BLOCK):
        cut = slice(first, first + 64 * BLOCK)
        out[cut] = np.einsum("cg,cg->c", theta[cells.who[cut]], genres[cells.show[cut]])
    return np.exp(out)


def _counts(show: Ints, weight: Floats | None, shows: int) -> Floats:
    return np.bincount(show, weight, shows).astype(np.float64)


def _table(code: Ints, show: Ints, weight: Floats | None, values: int, shows: int) -> Floats:
    return _counts(code * shows + show, weight, values * shows).reshape(values, shows)
