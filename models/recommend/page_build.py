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
from dataclasses import astuple, dataclass
from typing import NamedTuple

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


class Sparse(NamedTuple):
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


class OwnRows(NamedTuple):
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
    given = _Given(
        np.ascontiguousarray(shows, dtype=np.int32),
        np.ascontiguousarray(worth, dtype=np.float64),
        themes,
        np.ascontiguousarray(kinds, dtype=np.int32),
        genres,
        np.ascontiguousarray(history, dtype=np.float64),
        np.ascontiguousarray(view, dtype=np.float64),
        order,
        own,
        own_at,
        np.ascontiguousarray(pins, dtype=np.int32),
        np.ascontiguousarray(offered),
    )
    lists = _Lists.empty(themes.size + most_own, max(keep, longest))
    _build(given, _Weights(*astuple(weights)), lists, keep, row, cell)
    return Built(row, cell)


class _Weights(NamedTuple):
    """`Weights`, as compiled code takes them."""

    calibration: float
    prior: float
    repeat: float
    window: int
    least: int
    spare: float
    unseen: float


class _Given(NamedTuple):
    """What `build` is given.

    Attributes:
        sight: its view (numba has another use for that name). order: cells of a page, best seen first.
        own_at: shape (pages + 1,) into `own`.
    """

    shows: Ints
    worth: Floats
    themes: Sparse
    kinds: Ints
    genres: Sparse
    history: Floats
    sight: Floats
    order: NDArray[np.int64]
    own: OwnRows
    own_at: NDArray[np.int64]
    pins: Ints
    offered: NDArray[np.bool_]


class _Lists(NamedTuple):
    """Titles of every row that a page may have, best first: show and worth (rows, titles), how many, and how many of
    the first are placed already."""

    show: Ints
    worth: Floats
    size: Ints
    head: Ints

    @classmethod
    def empty(cls, rows: int, longest: int) -> _Lists:
        size, head = np.zeros(rows, dtype=np.int32), np.zeros(rows, dtype=np.int32)
        return cls(np.empty((rows, longest), dtype=np.int32), np.empty((rows, longest)), size, head)


class _Page(NamedTuple):
    """One page in the making. `p`: genres of the history; `q`: of the page, prior included; `placed`: stamp by show."""

    number: int
    lists: _Lists
    genres: Sparse
    p: Floats
    q: Floats
    placed: NDArray[np.int64]
    sight: Floats
    cell: Ints
    scale: float
    calibration: float


@njit(cache=True, nogil=True)
def _build(given, weights, lists, keep, row, cell):  # type: ignore[no-untyped-def]  # numba
    height, width = given.sight.shape
    n_themes = len(given.kinds)
    n_genres = given.history.shape[1]
    most = len(lists.size)
    used = np.zeros(most, dtype=np.bool_)
    kind_of = np.zeros(most, dtype=np.int32)
    least_of = np.full(most, weights.least, dtype=np.int32)
    kind_of[:n_themes] = given.kinds
    placed = np.full(len(given.genres.first) - 1, -1, dtype=np.int64)
    filled = np.zeros(height, dtype=np.int32)
    wide = np.ones(height, dtype=np.int32)  # cells of a row that are worth a choice
    for r in range(height):
        seen = given.sight[r]
        while wide[r] < width and seen[wide[r]] > 0.0 and seen[wide[r]] >= weights.unseen * seen[0]:
            wide[r] += 1
    loose = np.zeros(height, dtype=np.bool_)
    before = np.full((height, width), -1, dtype=np.int32)
    q = np.zeros(n_genres)
    added = np.zeros(n_genres)
    touched = np.zeros(n_genres, dtype=np.int32)
    stamp = np.int64(-1)
    for number in range(len(given.shows)):
        rows = n_themes + given.own_at[number + 1] - given.own_at[number]
        best = _list(given, number, keep, lists)
        p = given.history[number]
        at = _Page(
            number,
            lists,
            given.genres,
            p,
            q,
            placed,
            given.sight,
            cell,
            1.0 / best if best > 0.0 else 1.0,
            weights.calibration,
        )
        for k in range(rows - n_themes):
            kind_of[n_themes + k] = given.own.kind[given.own_at[number] + k]
            least_of[n_themes + k] = given.own.least[given.own_at[number] + k]
        used[:rows] = False
        lists.head[:rows] = 0
        for g in range(n_genres):
            q[g] = weights.prior * p[g]
        of_kind = np.zeros(64, dtype=np.int32)
        stamp += 1
        chosen = 0
        for r in range(height):
            take = -1
            for attempt in range(2):  # a pinned row that is too short leaves its place to the builder
                pin = np.int64(given.pins[number, r]) if attempt == 0 else np.int64(-1)
                top = -np.inf
                for t in range(rows):
                    if used[t] or (pin >= 0 and t != pin) or (t < n_themes and not given.offered[number, t]):
                        continue
                    gain, size = _row_gain(at, r, t, stamp, wide[r], added, touched)
                    gain -= weights.repeat * of_kind[kind_of[t]]
                    if size >= min(least_of[t], wide[r]) and gain > top:
                        top, take = gain, t
                if take >= 0:
                    break
            if take < 0:
                break
            used[take] = True
            of_kind[kind_of[take]] += 1
            row[number, r] = take
            filled[r] = 0
            window = weights.window if take < n_themes else 1
            while filled[r] < wide[r] and _next(at, r, filled[r], take, stamp, window):
                filled[r] += 1
            chosen += 1
        # Rows and their sizes are fixed; cells of rows with titles to spare choose again, the best seen cell first.
        for g in range(n_genres):
            q[g] = weights.prior * p[g]
        stamp += 1
        lists.head[:rows] = 0
        for r in range(chosen):
            t = row[number, r]
            loose[r] = t < n_themes and lists.size[t] >= weights.spare * width
            for c in range(filled[r]):
                before[r, c] = cell[number, r, c]
                if not loose[r]:
                    _place(at, cell[number, r, c], stamp)
        short = False
        for i in range(len(given.order)):
            r, c = given.order[i] // width, given.order[i] % width
            mine = r < chosen and loose[r] and c < filled[r]
            if mine and not _next(at, r, c, row[number, r], stamp, weights.window):
                short = True
                break
        if short:
            stamp += 1
            lists.head[:rows] = 0
            for r in range(chosen):
                for c in range(filled[r]):
                    cell[number, r, c] = before[r, c]
                    placed[before[r, c]] = stamp
        for r in range(chosen):  # what hardly anybody sees
            if filled[r] == wide[r]:
                c = wide[r]
                while c < width and _next(at, r, c, row[number, r], stamp, 1):
                    c += 1


@njit(cache=True, nogil=True)
def _list(given, number, keep, lists):  # type: ignore[no-untyped-def]  # numba
    """Fill the lists of a page's rows; gives the takes of the best page, a scale."""
    n_themes = len(given.kinds)
    first = given.own_at[number]
    lists.size[: n_themes + given.own_at[number + 1] - first] = 0
    best = 0.0
    for i in range(given.shows.shape[1]):
        show = given.shows[number, i]
        if show < 0:
            break
        if i < len(given.order):
            best += given.sight.flat[given.order[i]] * given.worth[number, i]
        for j in range(given.themes.first[show], given.themes.first[show + 1]):
            t = given.themes.item[j]
            if lists.size[t] < keep:
                lists.show[t, lists.size[t]] = show
                lists.worth[t, lists.size[t]] = given.worth[number, i]
                lists.size[t] += 1
    for o in range(first, given.own_at[number + 1]):
        t = n_themes + o - first
        for i in range(given.own.first[o], given.own.first[o + 1]):
            lists.show[t, lists.size[t]] = given.own.show[i]
            lists.worth[t, lists.size[t]] = given.own.worth[i]
            lists.size[t] += 1
    return best


@njit(cache=True, nogil=True)
def _row_gain(at, r, t, stamp, width, added, touched):  # type: ignore[no-untyped-def]  # numba
    """What the first titles left of list t would add to the page as its row r, and how many they are."""
    lists, genres = at.lists, at.genres
    _skip_placed(at, t, stamp)
    takes, size, n_touched = 0.0, 0, 0
    for i in range(lists.head[t], lists.size[t]):
        show = lists.show[t, i]
        if at.placed[show] == stamp:
            continue
        takes += at.sight[r, size] * lists.worth[t, i]
        if at.calibration > 0.0:
            for j in range(genres.first[show], genres.first[show + 1]):
                g = genres.item[j]
                if at.p[g] > 0.0:
                    if added[g] == 0.0:
                        touched[n_touched] = g
                        n_touched += 1
                    added[g] += genres.share[j]
        size += 1
        if size == width:
            break
    genre = 0.0
    for i in range(n_touched):
        g = touched[i]
        genre += at.p[g] * np.log1p(added[g] / at.q[g])
        added[g] = 0.0
    return takes * at.scale + at.calibration * genre, size


@njit(cache=True, nogil=True)
def _next(at, r, c, t, stamp, window):  # type: ignore[no-untyped-def]  # numba
    """Put the best title left of list t into a cell; false when none is left."""
    lists, genres = at.lists, at.genres
    _skip_placed(at, t, stamp)
    seen, take, top = 0, -1, -np.inf
    for i in range(lists.head[t], lists.size[t]):
        show = lists.show[t, i]
        if at.placed[show] == stamp:
            continue
        value = at.sight[r, c] * lists.worth[t, i] * at.scale
        if at.calibration > 0.0:
            for j in range(genres.first[show], genres.first[show + 1]):
                g = genres.item[j]
                if at.p[g] > 0.0:
                    value += at.calibration * at.p[g] * np.log1p(genres.share[j] / at.q[g])
        if value > top:
            top, take = value, show
        seen += 1
        if seen == window:
            break
    if take < 0:
        return False
    at.cell[at.number, r, c] = take
    _place(at, take, stamp)
    return True


@njit(cache=True, nogil=True)
def _skip_placed(at, t, stamp):  # type: ignore[no-untyped-def]  # numba
    lists = at.lists
    while lists.head[t] < lists.size[t] and at.placed[lists.show[t, lists.head[t]]] == stamp:
        lists.head[t] += 1


@njit(cache=True, nogil=True)
def _place(at, show, stamp):  # type: ignore[no-untyped-def]  # numba
    """The show stands on the page: its genres are the page's."""
    at.placed[show] = stamp
    for j in range(at.genres.first[show], at.genres.first[show + 1]):
        at.q[at.genres.item[j]] += at.genres.share[j]
