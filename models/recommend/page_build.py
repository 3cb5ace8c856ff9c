"""The page builder: rows one after another, each for what it adds to the rows above, then titles to cells.

Input are ranked candidates, what each is worth, and the rows they may stand in; output is a page without a title
twice. One compiled loop serves the daily job, the demo and the bench (`python -m bench.pages`).

What a page is worth: the sum over cells of view probability times worth of the title, plus `calibration` times
sum_g p_g log(q_g), p being the genres of the history and q those of the page, less `repeat` for every earlier row of
the same kind. For a page of a given size the second term is -KL(p || q) up to a constant (Steck 2018, calibrated
recommendations), and both are monotone and submodular in the titles, so greedy choice is safe (Nemhauser et al. 1978).
Rows are chosen stage-wise (Alvino and Basilico 2015); then, with the rows fixed, every cell in order of view
probability takes the best title left that may stand in its row, so that later rows begin strongly too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weights:
    """How a page is weighed; see the module.

    Attributes:
        calibration: weight of the genre term against takes as a share of the best page's. 0 leaves it out.
        prior: titles' worth of the history's own genres mixed into the page's, so that no logarithm is infinite.
        repeat: what an earlier row of the same kind costs, as a share of the best page's takes.
        window: titles of a row, best first, among which a cell chooses.
        least: titles a row needs to be shown, unless its own `least` says otherwise.
        spare: a row with this many times its width in candidates lets its cells choose again at the end; infinity
            leaves the stage-wise page as it is.
        unseen: cells seen less than this share of their row's first are filled last, from what is left of the row.
    """

    calibration: float = 0.1
    prior: float = 1.0
    repeat: float = 0.002
    window: int = 12
    least: int = 3
    spare: float = 2.0
    unseen: float = 0.25

    def __post_init__(self) -> None:
        for name in ("calibration", "repeat"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"page weight {name} is {getattr(self, name)}; it must not be below 0")
        if not (self.prior > 0 and self.window >= 1 and self.least >= 1):
            raise ValueError(
                f"page weights prior {self.prior}, window {self.window}, least {self.least}: "
                "prior must be above 0, the others at least 1"
            )


@dataclass(frozen=True, slots=True)
class Sparse:
    """For every show the numbers of what it has, with shares: themes, or genres.

    Attributes:
        first: shape (shows + 1,); item and share: shape (first[-1],). size: numbers are below it.
    """

    first: NDArray[np.int64]
    item: Ints
    share: Floats
    size: int

    @classmethod
    def of(cls, matrix: NDArray[np.generic]) -> Sparse:
        """From a dense (shows, items) array; zeros are left out."""
        row, column = np.nonzero(matrix)
        first = np.zeros(len(matrix) + 1, dtype=np.int64)
        np.cumsum(np.bincount(row, minlength=len(matrix)), out=first[1:])
        return cls(first, column.astype(np.int32), matrix[row, column].astype(np.float64), matrix.shape[1])


@dataclass(frozen=True, slots=True)
class OwnRows:
    """Rows that one page alone may have (continue watching, because you watched, ...), flat over pages.

    Attributes:
        page: shape (rows,), page of every row, ascending. kind: shape (rows,). least: shape (rows,), titles it needs.
        first: shape (rows + 1,) into show and worth, which are in the order of the row, best first.
    """

    page: NDArray[np.int64]
    kind: Ints
    least: Ints
    first: NDArray[np.int64]
    show: Ints
    worth: Floats

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int, Sequence[int], Sequence[float]]]) -> OwnRows:
        """From (page, kind, least, shows, worth) each, pages ascending."""
        sizes = [len(r[3]) for r in rows]
        return cls(
            np.array([r[0] for r in rows], dtype=np.int64),
            np.array([r[1] for r in rows], dtype=np.int32),
            np.array([r[2] for r in rows], dtype=np.int32),
            np.concatenate([[0], np.cumsum(np.array(sizes, dtype=np.int64))]).astype(np.int64),
            np.array([s for r in rows for s in r[3]], dtype=np.int32),
            np.array([w for r in rows for w in r[4]], dtype=np.float64),
        )


@dataclass(frozen=True, slots=True)
class Built:
    """Pages.

    Attributes:
        row: shape (pages, R): theme of every row, themes.size + k for the page's k-th own row, -1 below the last row.
        show: shape (pages, R, C): -1 where a cell is empty; empty cells are at the end of a row.
    """

    row: Ints
    show: Ints


def build(
    shows: Ints,
    worth: Floats,
    themes: Sparse,
    kinds: Ints,
    genres: Sparse,
    history: Floats,
    view: Floats,
    weights: Weights | None = None,
    own: OwnRows | None = None,
    pins: Ints | None = None,
    offered: NDArray[np.bool_] | None = None,
    keep: int = 150,
) -> Built:
    """Pages of many profiles from their ranked candidates.

    Args:
        shows: shape (pages, candidates), unique in a page, best first, -1 behind the last. What a rule forbids is not
            among them; nor is it among `own`.
        worth: same shape, expected takes of a seen cell up to a factor of the page; at least 0, descending.
        themes: row themes of every show; kinds: shape (themes.size,), kind of each theme's row, 0 to 63.
        genres: shares of genres of every show. history: shape (pages, genres), sums to 1 or is all 0.
        view: shape (R, C), probability that a cell is seen; falls to the right in every row.
        own: rows of single pages. pins: shape (pages, R), numbered like Built.row, -1 where the builder chooses; a
            pinned row that cannot be filled leaves its place to the builder.
        offered: shape (pages, themes.size), rows of themes that a page may have; all by default.
        keep: titles of a theme's row that are looked at.

    Raises:
        ValueError: shapes disagree, worth ascends or is negative, view rises to the right.
    """
    weights = weights if weights is not None else Weights()
    own = own if own is not None else OwnRows.of([])
    pages = len(shows)
    pins = pins if pins is not None else np.full((pages, len(view)), -1, dtype=np.int32)
    offered = offered if offered is not None else np.ones((pages, themes.size), dtype=np.bool_)
    if shows.shape != worth.shape or history.shape != (pages, genres.size) or pins.shape != (pages, len(view)):
        raise ValueError(
            f"shapes disagree: shows {shows.shape}, worth {worth.shape}, history {history.shape} for {genres.size} "
            f"genres, pins {pins.shape} for {len(view)} rows"
        )
    if len(kinds) != themes.size or offered.shape != (pages, themes.size):
        raise ValueError(f"{themes.size} themes have {len(kinds)} kinds, offered has shape {offered.shape}")
    if (np.diff(view, axis=1) > 1e-12).any() or view.min() < 0:
        raise ValueError("view probability rises to the right or is below 0; a row is filled from its best cell on")
    there = shows >= 0
    if (np.where(there, worth, 0.0) < 0).any() or ((np.diff(worth, axis=1) > 0) & there[:, 1:]).any():
        raise ValueError("worth of candidates must be 0 or more and descend; take exp or a rank curve of the scores")
    if len(own.worth) and own.worth.min() < 0:
        raise ValueError("worth of a page's own row is below 0")
    own_at = np.searchsorted(own.page, np.arange(pages + 1)).astype(np.int64)
    most_own = int(np.diff(own_at).max()) if pages else 0
    longest = int(np.diff(own.first).max()) if len(own.page) else 1
    row = np.full((pages, len(view)), -1, dtype=np.int32)
    cell = np.full((pages, *view.shape), -1, dtype=np.int32)
    order = np.argsort(-view.ravel(), kind="stable").astype(np.int64)
    _build(
        np.ascontiguousarray(shows, dtype=np.int32),
        np.ascontiguousarray(worth, dtype=np.float64),
        themes.first,
        themes.item,
        np.ascontiguousarray(kinds, dtype=np.int32),
        genres.first,
        genres.item,
        genres.share,
        np.ascontiguousarray(history, dtype=np.float64),
        np.ascontiguousarray(view, dtype=np.float64),
        order,
        own_at,
        own.kind,
        own.least,
        own.first,
        own.show,
        own.worth,
        np.ascontiguousarray(pins, dtype=np.int32),
        np.ascontiguousarray(offered),
        weights.calibration,
        weights.prior,
        weights.repeat,
        weights.window,
        weights.least,
        weights.spare,
        weights.unseen,
        max(keep, longest),
        keep,
        themes.size + most_own,
        row,
        cell,
    )
    return Built(row, cell)


@njit(cache=True, nogil=True)
def _calibration(show, g_first, g_item, g_share, p, q):  # type: ignore[no-untyped-def]  # numba
    """Gain of the genre term when `show` joins a page whose genres weigh q (prior included)."""
    gain = 0.0
    for i in range(g_first[show], g_first[show + 1]):
        g = g_item[i]
        if p[g] > 0.0:
            gain += p[g] * np.log1p(g_share[i] / q[g])
    return gain


@njit(cache=True, nogil=True)
def _build(  # type: ignore[no-untyped-def]  # numba
    shows,
    worth,
    t_first,
    t_item,
    kinds,
    g_first,
    g_item,
    g_share,
    history,
    view,
    order,
    own_at,
    own_kind,
    own_least,
    own_first,
    own_show,
    own_worth,
    pins,
    offered,
    calibration,
    prior,
    repeat,
    window,
    least,
    spare,
    unseen,
    longest,
    keep,
    most,
    row,
    cell,
):
    n_pages, n_candidates = shows.shape
    height, width = view.shape
    n_themes = len(kinds)
    n_genres = history.shape[1]
    list_show = np.empty((most, longest), dtype=np.int32)
    list_worth = np.empty((most, longest))
    count = np.zeros(most, dtype=np.int32)
    head = np.zeros(most, dtype=np.int32)  # titles before it are all placed
    used = np.zeros(most, dtype=np.bool_)
    placed = np.full(len(g_first) - 1, -1, dtype=np.int64)
    filled = np.zeros(height, dtype=np.int32)
    wide = np.ones(height, dtype=np.int32)  # cells of a row that are worth a choice
    for r in range(height):
        while wide[r] < width and view[r, wide[r]] > 0.0 and view[r, wide[r]] >= unseen * view[r, 0]:
            wide[r] += 1
    loose = np.zeros(height, dtype=np.bool_)
    before = np.full((height, width), -1, dtype=np.int32)
    q = np.zeros(n_genres)
    added = np.zeros(n_genres)
    touched = np.zeros(n_genres, dtype=np.int32)
    stamp = np.int64(-1)
    for page in range(n_pages):
        p = history[page]
        rows = n_themes + own_at[page + 1] - own_at[page]
        count[:rows] = 0
        used[:rows] = False
        head[:rows] = 0
        best = 0.0  # takes of the best page: a scale
        for i in range(n_candidates):
            show = shows[page, i]
            if show < 0:
                break
            if i < len(order):
                best += view.flat[order[i]] * worth[page, i]
            for j in range(t_first[show], t_first[show + 1]):
                t = t_item[j]
                if count[t] < keep:
                    list_show[t, count[t]] = show
                    list_worth[t, count[t]] = worth[page, i]
                    count[t] += 1
        for k in range(rows - n_themes):
            o = own_at[page] + k
            for i in range(own_first[o], own_first[o + 1]):
                list_show[n_themes + k, count[n_themes + k]] = own_show[i]
                list_worth[n_themes + k, count[n_themes + k]] = own_worth[i]
                count[n_themes + k] += 1
        scale = 1.0 / best if best > 0.0 else 1.0
        for g in range(n_genres):
            q[g] = prior * p[g]
        of_kind = np.zeros(64, dtype=np.int32)
        stamp += 1
        chosen = 0
        for r in range(height):
            take = -1
            for attempt in range(2):  # a pinned row that is too short leaves its place to the builder
                pin = np.int64(pins[page, r]) if attempt == 0 else np.int64(-1)
                top = -np.inf
                for t in range(rows):
                    if used[t] or (pin >= 0 and t != pin) or (t < n_themes and not offered[page, t]):
                        continue
                    gain, size = _row_gain(
                        t,
                        list_show,
                        list_worth,
                        count,
                        head,
                        placed,
                        stamp,
                        view[r],
                        wide[r],
                        scale,
                        calibration,
                        g_first,
                        g_item,
                        g_share,
                        p,
                        q,
                        added,
                        touched,
                    )
                    need = least if t < n_themes else own_least[own_at[page] + t - n_themes]
                    kind = kinds[t] if t < n_themes else own_kind[own_at[page] + t - n_themes]
                    gain -= repeat * of_kind[kind]
                    if size >= min(need, wide[r]) and gain > top:
                        top, take = gain, t
                if take >= 0:
                    break
            if take < 0:
                break
            used[take] = True
            of_kind[kinds[take] if take < n_themes else own_kind[own_at[page] + take - n_themes]] += 1
            row[page, r] = take
            filled[r] = 0
            for c in range(wide[r]):
                if not _next(
                    page,
                    r,
                    c,
                    take,
                    list_show,
                    list_worth,
                    count,
                    head,
                    placed,
                    stamp,
                    view,
                    scale,
                    calibration,
                    window if take < n_themes else 1,
                    g_first,
                    g_item,
                    g_share,
                    p,
                    q,
                    cell,
                ):
                    break
                filled[r] += 1
            chosen += 1
        # Rows and their sizes are fixed; cells of rows with titles to spare choose again, the best seen cell first.
        for g in range(n_genres):
            q[g] = prior * p[g]
        stamp += 1
        head[:rows] = 0
        for r in range(chosen):
            t = row[page, r]
            loose[r] = t < n_themes and count[t] >= spare * width
            for c in range(filled[r]):
                before[r, c] = cell[page, r, c]
                if not loose[r]:
                    show = cell[page, r, c]
                    placed[show] = stamp
                    for j in range(g_first[show], g_first[show + 1]):
                        q[g_item[j]] += g_share[j]
        short = False
        for i in range(len(order)):
            r, c = order[i] // width, order[i] % width
            if r < chosen and loose[r] and c < filled[r]:
                found = _next(
                    page,
                    r,
                    c,
                    row[page, r],
                    list_show,
                    list_worth,
                    count,
                    head,
                    placed,
                    stamp,
                    view,
                    scale,
                    calibration,
                    window,
                    g_first,
                    g_item,
                    g_share,
                    p,
                    q,
                    cell,
                )
                if not found:
                    short = True
                    break
        if short:
            stamp += 1
            head[:rows] = 0
            for r in range(chosen):
                for c in range(filled[r]):
                    cell[page, r, c] = before[r, c]
                    placed[before[r, c]] = stamp
        for r in range(chosen):  # what hardly anybody sees
            if filled[r] < wide[r]:
                continue
            for c in range(wide[r], width):
                if not _next(
                    page,
                    r,
                    c,
                    row[page, r],
                    list_show,
                    list_worth,
                    count,
                    head,
                    placed,
                    stamp,
                    view,
                    scale,
                    calibration,
                    1,
                    g_first,
                    g_item,
                    g_share,
                    p,
                    q,
                    cell,
                ):
                    break


@njit(cache=True, nogil=True)
def _row_gain(  # type: ignore[no-untyped-def]  # numba
    t,
    list_show,
    list_worth,
    count,
    head,
    placed,
    stamp,
    view,
    width,
    scale,
    calibration,
    g_first,
    g_item,
    g_share,
    p,
    q,
    added,
    touched,
):
    """What the first titles left of row t would add to the page, and how many they are."""
    while head[t] < count[t] and placed[list_show[t, head[t]]] == stamp:
        head[t] += 1
    takes, size, n_touched = 0.0, 0, 0
    for i in range(head[t], count[t]):
        show = list_show[t, i]
        if placed[show] == stamp:
            continue
        takes += view[size] * list_worth[t, i]
        if calibration > 0.0:
            for j in range(g_first[show], g_first[show + 1]):
                g = g_item[j]
                if p[g] > 0.0:
                    if added[g] == 0.0:
                        touched[n_touched] = g
                        n_touched += 1
                    added[g] += g_share[j]
        size += 1
        if size == width:
            break
    genre = 0.0
    for i in range(n_touched):
        g = touched[i]
        genre += p[g] * np.log1p(added[g] / q[g])
        added[g] = 0.0
    return takes * scale + calibration * genre, size


@njit(cache=True, nogil=True)
def _next(  # type: ignore[no-untyped-def]  # numba
    page,
    r,
    c,
    t,
    list_show,
    list_worth,
    count,
    head,
    placed,
    stamp,
    view,
    scale,
    calibration,
    window,
    g_first,
    g_item,
    g_share,
    p,
    q,
    cell,
):
    """Put the best title left of row t into a cell; false when none is left."""
    while head[t] < count[t] and placed[list_show[t, head[t]]] == stamp:
        head[t] += 1
    seen, take, top = 0, -1, -np.inf
    for i in range(head[t], count[t]):
        show = list_show[t, i]
        if placed[show] == stamp:
            continue
        value = view[r, c] * list_worth[t, i] * scale
        if calibration > 0.0:
            value += calibration * _calibration(show, g_first, g_item, g_share, p, q)
        if value > top:
            top, take = value, show
        seen += 1
        if seen == window:
            break
    if take < 0:
        return False
    cell[page, r, c] = take
    placed[take] = stamp
    for j in range(g_first[take], g_first[take + 1]):
        q[g_item[j]] += g_share[j]
    return True
