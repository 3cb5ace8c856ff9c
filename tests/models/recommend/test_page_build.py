"""The page builder against a plain one, against every page there is, and against its laws on drawn inputs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recommend.page_build import Built, OwnRows, Sparse, Weights, build

VIEW = 1.0 / np.log2(np.arange(1, 4)[:, None] + np.arange(1, 5)[None, :])


class Case:
    """A drawn input of the builder."""

    def __init__(self, seed: int, pages: int = 3, titles: int = 30, themes: int = 6, view: np.ndarray = VIEW) -> None:
        rng = np.random.default_rng(seed)
        self.view = view
        self.member = rng.random((titles, themes)) < rng.uniform(0.1, 0.7, themes)
        self.member[:, 0] = True
        share = rng.random((titles, 4)) * (rng.random((titles, 4)) < 0.5)
        share[share.sum(axis=1) == 0, 0] = 1.0
        self.share = share / share.sum(axis=1, keepdims=True)
        self.history = rng.dirichlet(np.ones(4), pages) * (rng.random((pages, 1)) < 0.9)
        self.shows = np.array([rng.permutation(titles) for _ in range(pages)], dtype=np.int32)
        self.shows[:, int(titles * 0.8) :] = -1
        self.worth = -np.sort(-rng.random((pages, titles)), axis=1)
        self.kinds = rng.integers(0, 3, themes).astype(np.int32)
        self.offered = rng.random((pages, themes)) < 0.8
        self.pins = np.where(rng.random((pages, len(view))) < 0.2, rng.integers(0, themes, (pages, len(view))), -1)
        self.pins = self.pins.astype(np.int32)
        self.own = OwnRows.of(
            [
                (page, 5, 1, (own := rng.permutation(titles)[: rng.integers(1, 6)]).tolist(), [0.9] * len(own))
                for page in range(pages)
                if rng.random() < 0.7
            ]
        )

    def build(self, weights: Weights) -> Built:
        return build(
            self.shows,
            self.worth,
            Sparse.of(self.member),
            self.kinds,
            Sparse.of(self.share),
            self.history,
            self.view,
            weights,
            self.own,
            self.pins,
            self.offered,
        )


def plain(case: Case, page: int, weights: Weights) -> tuple[list[int], list[list[int]]]:
    """The same rule in lists, slowly: rows, then cells again."""
    c, view = case, case.view
    ranked = [(int(s), float(w)) for s, w in zip(c.shows[page], c.worth[page], strict=True) if s >= 0]
    rows = {t: [x for x in ranked if c.member[x[0], t]] for t in range(c.member.shape[1]) if c.offered[page, t]}
    least = dict.fromkeys(rows, weights.least)
    kind = {t: int(c.kinds[t]) for t in rows}
    mine = np.flatnonzero(c.own.page == page)
    for k, o in enumerate(mine):
        t = c.member.shape[1] + k
        cut = slice(c.own.first[o], c.own.first[o + 1])
        rows[t] = list(zip(c.own.show[cut].tolist(), c.own.worth[cut].tolist(), strict=True))
        least[t], kind[t] = int(c.own.least[o]), int(c.own.kind[o])
    best = sum(v * w for v, (_, w) in zip(sorted(view.ravel(), reverse=True), ranked, strict=False))
    p = c.history[page]

    def genre(placed: list[int]) -> float:
        q = weights.prior * p + sum((c.share[s] for s in placed), np.zeros(4))
        return sum(p[g] * math.log(q[g]) for g in range(4) if p[g] > 0)

    def fill(t: int, r: int, col: int, placed: list[int]) -> int | None:
        left = [x for x in rows[t] if x[0] not in placed]
        left = left[: weights.window if t < c.member.shape[1] else 1]
        value = [view[r, col] * w / best + weights.calibration * (genre([*placed, s]) - genre(placed)) for s, w in left]
        return left[int(np.argmax(value))][0] if left else None

    wide = [max(1, sum(v > 0 and v >= weights.unseen * row[0] for v in row)) for row in view]
    chosen: list[int] = []
    cells: list[list[int]] = []
    placed: list[int] = []
    for r in range(len(view)):
        gains: dict[int, float] = {}
        for t in rows:
            row = [x for x in rows[t] if x[0] not in placed][: wide[r]]
            if t in chosen or len(row) < min(least[t], wide[r]):
                continue
            takes = sum(view[r, i] * w for i, (_, w) in enumerate(row)) / best
            more = genre(placed + [s for s, _ in row]) - genre(placed)
            gains[t] = takes + weights.calibration * more
            gains[t] -= weights.repeat * sum(kind[o] == kind[t] for o in chosen)
        if not gains:
            break
        pin = int(c.pins[page, r])
        take = pin if pin in gains else max(gains, key=lambda t: (gains[t], -t))
        chosen.append(take)
        cells.append([])
        for col in range(wide[r]):
            s = fill(take, r, col, placed)
            if s is None:
                break
            cells[r].append(s)
            placed.append(s)
    loose = [t < c.member.shape[1] and len(rows[t]) >= weights.spare * view.shape[1] for t in chosen]
    again = [list(row) if not free else [-1] * len(row) for row, free in zip(cells, loose, strict=True)]
    placed = [s for row in again for s in row if s >= 0]
    for r, col in sorted(np.ndindex(view.shape), key=lambda at: (-view[at], at)):
        if r < len(chosen) and loose[r] and col < len(cells[r]):
            s = fill(chosen[r], r, col, placed)
            if s is None:
                again = cells
                break
            again[r][col] = s
            placed.append(s)
    placed = [s for row in again for s in row]
    for r, row in enumerate(again):
        if len(row) == wide[r]:
            left = [s for s, _ in rows[chosen[r]] if s not in placed][: view.shape[1] - wide[r]]
            row += left
            placed += left
    return chosen, again


WEIGHTS = (
    Weights(0.0, 1.0, 0.0, 1, 1, math.inf),
    Weights(0.0, 1.0, 0.05, 4, 3, 1.0),
    Weights(0.3, 0.5, 0.0, 5, 2, 1.5),
    Weights(1.0, 2.0, 0.02, 12, 3, math.inf),
)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", range(8))
def test_against_a_plain_builder(weights: Weights, seed: int) -> None:
    case = Case(seed, view=VIEW if seed % 2 else np.where(np.arange(4) < [[4], [2], [3]], VIEW, 0.1 * (seed % 4) / 2))
    made = case.build(weights)
    for page in range(len(case.shows)):
        rows, cells = plain(case, page, weights)
        assert [int(t) for t in made.row[page] if t >= 0] == rows
        assert [[int(s) for s in row if s >= 0] for row in made.show[page]][: len(rows)] == cells


def test_near_the_best_of_all_pages() -> None:
    """Every choice of rows and titles of tiny pages, by brute force: greedy is close, and never above the best."""
    view = np.array([[1.0, 0.6], [0.6, 0.4]])
    shares = []
    for seed in range(12):
        case = Case(seed, pages=1, titles=9, themes=3, view=view)
        case.offered[:] = True
        case.pins[:] = -1
        case.own = OwnRows.of([])
        weights = Weights(0.0, 1.0, 0.0, 9, 2, 1.0)
        worth = {int(s): float(w) for s, w in zip(case.shows[0], case.worth[0], strict=True) if s >= 0}

        def value(cells: list[list[int]], worth: dict[int, float] = worth) -> float:
            return sum(view[r, i] * worth[s] for r, row in enumerate(cells) for i, s in enumerate(row))

        best = 0.0
        for rows in itertools.permutations(range(3), 2):
            for titles in itertools.permutations(worth, 4):
                cells = [list(titles[:2]), list(titles[2:])]
                if all(case.member[s, t] for t, row in zip(rows, cells, strict=True) for s in row):
                    best = max(best, value(cells))
        own = value([[int(s) for s in row if s >= 0] for row in case.build(weights).show[0]])
        assert own <= best + 1e-9 or best == 0.0
        shares.append(own / best if best else 1.0)
    assert min(shares) >= 0.5 and np.mean(shares) > 0.95


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(WEIGHTS), st.integers(1, 6), st.integers(1, 9))
def test_laws(seed: int, weights: Weights, height: int, width: int) -> None:
    """Nothing twice, every title allowed in its row, rows long enough and closed up, pins kept where they can be."""
    view = np.sort(np.random.default_rng(seed).random((height, width)))[:, ::-1]
    case = Case(seed, view=np.ascontiguousarray(view))
    made = case.build(weights)
    themes = case.member.shape[1]
    for page in range(len(case.shows)):
        on = made.show[page][made.show[page] >= 0]
        assert len(on) == len(set(on.tolist()))
        rows = made.row[page][made.row[page] >= 0]
        assert len(rows) == len(set(rows.tolist())) and (made.row[page][len(rows) :] == -1).all()
        free = set(case.shows[page][case.shows[page] >= 0].tolist())
        mine = np.flatnonzero(case.own.page == page)
        for r, t in enumerate(rows):
            cells = made.show[page, r]
            size = int((cells >= 0).sum())
            assert (cells[:size] >= 0).all()
            if t < themes:
                wide = int((view[r] >= weights.unseen * view[r, 0]).sum())
                assert case.offered[page, t] and size >= min(weights.least, wide)
                assert all(case.member[s, t] and s in free for s in cells[:size])
            else:
                o = mine[t - themes]
                assert set(cells[:size]) <= set(case.own.show[case.own.first[o] : case.own.first[o + 1]].tolist())
            pin = case.pins[page, r]
            if pin >= 0 and pin != t:
                before = set(made.row[page, :r].tolist())
                assert pin in before or not case.offered[page, pin] or _too_short(case, made, page, pin, weights)


def _too_short(case: Case, made: Built, page: int, theme: int, weights: Weights) -> bool:
    """Whether a theme may have lacked titles once the others had taken theirs."""
    free = [s for s in case.shows[page] if s >= 0 and case.member[s, theme]]
    return len(free) < weights.least + int((made.show[page] >= 0).sum())


def test_calibration_brings_the_page_to_the_history() -> None:
    """Of two equally good genres, the page shows them as the history did."""
    share = np.repeat(np.eye(2), 50, axis=0)
    shows = np.arange(100, dtype=np.int32)[None, np.random.default_rng(1).permutation(100)]
    worth = np.linspace(1.0, 0.99, 100)[None, :]
    themes, kinds = Sparse.of(np.ones((100, 3), dtype=bool)), np.zeros(3, dtype=np.int32)
    history = np.array([[0.75, 0.25]])
    built = build(shows, worth, themes, kinds, Sparse.of(share), history, VIEW, Weights(0.5, window=100))
    assert abs((built.show[built.show >= 0] < 50).mean() - 0.75) < 0.1
    plain_page = build(shows, worth, themes, kinds, Sparse.of(share), history, VIEW, Weights(0.0))
    assert abs((plain_page.show[plain_page.show >= 0] < 50).mean() - 0.5) < 0.2


def test_bad_input_is_refused() -> None:
    case = Case(1)
    case.worth = case.worth[:, ::-1]
    with pytest.raises(ValueError, match="must be 0 or more and descend"):
        case.build(Weights())
    case = Case(1, view=VIEW[:, ::-1])
    with pytest.raises(ValueError, match="view probability rises to the right"):
        case.build(Weights())
    case = Case(1)
    case.history = case.history[:, :2]
    with pytest.raises(ValueError, match="shapes disagree"):
        case.build(Weights())
    with pytest.raises(ValueError, match="prior must be above 0"):
        Weights(prior=0.0)
    with pytest.raises(ValueError, match="calibration is -1"):
        Weights(calibration=-1)


def test_the_same_bytes_again_and_in_any_order_of_pages() -> None:
    case = Case(4, pages=6)
    one = case.build(WEIGHTS[2])
    two = case.build(WEIGHTS[2])
    assert one.show.tobytes() == two.show.tobytes() and one.row.tobytes() == two.row.tobytes()
    case.own = OwnRows.of([])
    whole = case.build(WEIGHTS[2])
    for name in ("shows", "worth", "history", "offered", "pins"):
        setattr(case, name, getattr(case, name)[::-1])
    assert (case.build(WEIGHTS[2]).show[::-1] == whole.show).all()
