"""What rows may be about: genres, micro-genres, and shows near one that was finished.

A theme's row holds shows of one label ("Drama"), or of two at once ("Drama, 1990s"); which of them a profile is offered
is decided by lift, its share of a label over everybody's. A row "because you watched X" holds only shows for which X is
among the three titles of the history that speak most, so what the row says of each of its cells is true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.recommend.page_build import Floats, Ints, OwnRows

KINDS = (
    "top_picks",
    "continue_watching",
    "because_you_watched",
    "genre",
    "micro_genre",
    "trending",
    "new",
    "watch_again",
    "mood",
    "popular",
    "more",
)
KIND = {name: i for i, name in enumerate(KINDS)}
CONTRIBUTORS = 3
"""Shows of a history that are named as reasons of a placement."""


@dataclass(frozen=True, slots=True)
class Themes:
    """Row themes that all pages share.

    Attributes:
        kind: names out of KINDS; heading: words above the row; both of length n.
        member: shape (shows, n), which shows a theme's row may hold.
    """

    kind: list[str]
    heading: list[str]
    member: NDArray[np.bool_]

    def joined(self, other: Themes) -> Themes:
        """These, then the others."""
        return Themes(
            self.kind + other.kind, self.heading + other.heading, np.concatenate([self.member, other.member], axis=1)
        )

    @property
    def numbers(self) -> Ints:
        """Number in KINDS of every theme, shape (n,)."""
        return np.array([KIND[k] for k in self.kind], dtype=np.int32)


def label_themes(facets: Mapping[str, Sequence[Sequence[str]]], least: int = 20) -> Themes:
    """A theme for every label and for every two labels that at least `least` shows have.

    Args:
        facets: by name, the labels of every show, e.g. {"genre": [("drama", "war"), ...], "decade": [("1990s",), ...]}.
            Labels of facet "genre" alone make rows of kind genre, everything else micro-genres.
    """
    labels = [(facet, label) for facet, rows in facets.items() for label in sorted({x for row in rows for x in row})]
    has = {(facet, label): np.array([label in row for row in facets[facet]], dtype=bool) for facet, label in labels}
    kind, heading, member = [], [], []
    for facet, label in labels:
        if has[facet, label].sum() >= least:
            kind.append("genre" if facet == "genre" else "micro_genre")
            heading.append(_words(label))
            member.append(has[facet, label])
    for one, other in combinations(labels, 2):
        both = has[one] & has[other]
        if both.sum() >= least and not (both == has[one]).all() and not (both == has[other]).all():
            kind.append("micro_genre")
            heading.append(f"{_words(one[1])}, {_words(other[1])}")
            member.append(both)
    shows = len(next(iter(facets.values()), ()))
    return Themes(kind, heading, np.array(member, dtype=bool).reshape(len(kind), shows).T)


def _words(label: str) -> str:
    return label[:1].upper() + label[1:]


def shares(history: Any, of: NDArray[np.float64]) -> Floats:
    """Rows of `history @ of` as shares; zeros for an empty history.

    Args:
        history: shape (pages, shows), weights, dense or sparse. of: shape (shows, n).
    """
    counts = np.asarray(history @ of, dtype=np.float64)
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)


def lifts(history: Any, length: Floats, member: NDArray[np.bool_], base: Floats, pull: float) -> Floats:
    """Share of each theme in each history over its share in everybody's, shrunk to 1 by `pull` titles: (pages, n).

    Args:
        history: shape (pages, shows), weights, dense or sparse. length: shape (pages,), sums.
        base: shape (n,), everybody's shares.
    """
    counts = np.asarray(history @ member.astype(np.float64))
    expected = np.maximum(base, 1e-9)[None, :]
    return np.asarray((counts + pull * expected) / ((length[:, None] + pull) * expected))


@dataclass(frozen=True, slots=True)
class Near:
    """The shows most like each show: `show` and `likeness`, shape (shows, n); -1 and 0 where there are fewer."""

    show: Ints
    likeness: Floats

    @classmethod
    def of(cls, likeness: NDArray[np.floating], n: int = 100) -> Near:
        """From a square array: row x says how much x speaks for every other show; only values above 0 count."""
        n = min(n, likeness.shape[1])
        shows = np.full((len(likeness), n), -1, dtype=np.int32)
        values = np.zeros((len(likeness), n))
        for x, row in enumerate(likeness):
            order = np.argsort(-row, kind="stable")[: n + 1]
            order = order[(order != x) & (row[order] > 0)][:n]
            shows[x, : len(order)], values[x, : len(order)] = order, row[order]
        return cls(shows, values)


def because_rows(
    shows: Ints,
    worth: Floats,
    near: Near,
    history: tuple[NDArray[np.int64], Ints],
    anchors: tuple[NDArray[np.int64], Ints],
    rows: int = 4,
    least: int = 3,
) -> tuple[OwnRows, Ints]:
    """Rows "because you watched": for the finished shows that explain most, the candidates they explain.

    Args:
        shows, worth: as page_build.build takes them.
        history: (first, show) of what each profile watched and did not remove. anchors: the same of what it finished.
        rows: rows a page at most. least: candidates a row needs.

    Returns:
        the rows, shows in order of worth, and the anchor of each.
    """
    page, anchor, first, show, value = _because(
        shows,
        worth,
        near.show,
        near.likeness,
        history[0],
        history[1],
        anchors[0],
        anchors[1],
        rows,
        least,
    )
    kind = np.full(len(page), KIND["because_you_watched"], dtype=np.int32)
    return OwnRows(page, kind, np.full(len(page), least, dtype=np.int32), first, show, value), anchor


def contributors(show: int, near: Near, history: Sequence[int], most: int = CONTRIBUTORS) -> list[tuple[int, float]]:
    """Shows of a history that speak most for `show`, with their shares of all that speaks: at most `most`."""
    found = []
    for x in dict.fromkeys(history):
        at = np.flatnonzero(near.show[x] == show)
        if len(at):
            found.append((x, float(near.likeness[x, at[0]])))
    total = sum(value for _, value in found)
    found.sort(key=lambda pair: (-pair[1], pair[0]))
    return [(x, value / total) for x, value in found[:most]]


def explain(shows: Ints, near: Near, first: NDArray[np.int64], history: Ints) -> tuple[Ints, Floats]:
    """`contributors` of many cells at once.

    Args:
        shows: shape (pages, cells), -1 where empty. first, history: the history of each page.

    Returns:
        shows that speak most and their shares, shape (pages, cells, CONTRIBUTORS); -1 and 0 where there are fewer.
    """
    who = np.full((*shows.shape, CONTRIBUTORS), -1, dtype=np.int32)
    share = np.zeros((*shows.shape, CONTRIBUTORS))
    _explain(np.ascontiguousarray(shows), near.show, near.likeness, first, history, who, share)
    return who, share


@njit(cache=True, nogil=True)
def _tally(near, likeness, history, page, stamp, who, much, total):  # type: ignore[no-untyped-def]  # numba
    """Per show: the three of a history that speak most for it, by how much, and all that is said."""
    for x in history:
        for j in range(near.shape[1]):
            t = near[x, j]
            if t < 0:
                break
            if stamp[t] != page:
                stamp[t] = page
                who[t, :] = -1
                much[t, :] = 0.0
                total[t] = 0.0
            value = likeness[x, j]
            if x == who[t, 0] or x == who[t, 1] or x == who[t, 2]:
                continue
            total[t] += value
            for k in range(3):  # ties to the smaller show
                if who[t, k] < 0 or value > much[t, k] or (value == much[t, k] and x < who[t, k]):
                    for m in range(2, k, -1):
                        who[t, m], much[t, m] = who[t, m - 1], much[t, m - 1]
                    who[t, k], much[t, k] = x, value
                    break


@njit(cache=True, nogil=True)
def _explain(shows, near, likeness, h_first, h_show, out_who, out_share):  # type: ignore[no-untyped-def]  # numba
    n_shows = len(near)
    who, much, total = np.full((n_shows, 3), -1, dtype=np.int32), np.zeros((n_shows, 3)), np.zeros(n_shows)
    stamp = np.full(n_shows, -1, dtype=np.int64)
    for page in range(len(shows)):
        _tally(near, likeness, h_show[h_first[page] : h_first[page + 1]], page, stamp, who, much, total)
        for c in range(shows.shape[1]):
            t = shows[page, c]
            if t >= 0 and stamp[t] == page:
                for k in range(3):
                    out_who[page, c, k] = who[t, k]
                    if who[t, k] >= 0:
                        out_share[page, c, k] = much[t, k] / total[t]


@njit(cache=True, nogil=True)
def _because(  # type: ignore[no-untyped-def]  # numba
    shows, worth, near, likeness, h_first, h_show, a_first, a_show, rows, least
):
    n_pages, n_candidates = shows.shape
    n_shows = len(near)
    who = np.full((n_shows, 3), -1, dtype=np.int32)
    much, total = np.zeros((n_shows, 3)), np.zeros(n_shows)
    stamp = np.full(n_shows, -1, dtype=np.int64)
    own_page, own_anchor, own_first = [np.int64(0)][:0], [np.int32(0)][:0], [np.int64(0)]
    out_show, out_worth = [np.int32(0)][:0], [np.float64(0.0)][:0]
    for page in range(n_pages):
        _tally(near, likeness, h_show[h_first[page] : h_first[page + 1]], page, stamp, who, much, total)
        n_anchors = a_first[page + 1] - a_first[page]
        size = np.zeros(n_anchors, dtype=np.int64)
        mass = np.zeros(n_anchors)
        for a in range(n_anchors):
            x = a_show[a_first[page] + a]
            for i in range(n_candidates):
                t = shows[page, i]
                if t < 0:
                    break
                if stamp[t] == page and (x == who[t, 0] or x == who[t, 1] or x == who[t, 2]):
                    size[a] += 1
                    if size[a] <= 10:
                        mass[a] += worth[page, i]
        for _ in range(min(rows, n_anchors)):
            best = -1
            for a in range(n_anchors):
                if size[a] >= least and (best < 0 or mass[a] > mass[best]):
                    best = a
            if best < 0:
                break
            size[best] = 0
            x = a_show[a_first[page] + best]
            for i in range(n_candidates):
                t = shows[page, i]
                if t < 0:
                    break
                if stamp[t] == page and (x == who[t, 0] or x == who[t, 1] or x == who[t, 2]):
                    out_show.append(np.int32(t))
                    out_worth.append(worth[page, i])
            own_page.append(np.int64(page))
            own_anchor.append(np.int32(x))
            own_first.append(np.int64(len(out_show)))
    return (
        np.array(own_page, dtype=np.int64),
        np.array(own_anchor, dtype=np.int32),
        np.array(own_first, dtype=np.int64),
        np.array(out_show, dtype=np.int32),
        np.array(out_worth, dtype=np.float64),
    )
