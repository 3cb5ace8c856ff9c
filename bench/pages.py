"""Home pages measured: `python -m bench.recommend --data DIR --table r4`.

    r4  pages of 10 x 10 cells on MovieLens, one scorer: template, row-independent, ours, flat grids

The protocol of r4: profiles of the strong split, a fifth of each history is to be found; N2DCG with gain
1 / log2(row + col), a repeated title counts once; genre KL of the history against the page, smoothing .01. Weights of
the page are chosen on validation profiles.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.frames import places
from models.recommend.page_build import Built, OwnRows, Sparse, Weights, build
from models.recommend.page_metrics import distinct, gains, genre_kl, hits, n2dcg
from models.recommend.page_themes import Near, Themes, because_rows, label_themes, lifts, shares
from models.recommend.protocol import Scorer
from models.recommend.strong import Held, StrongSplit, paired_bootstrap, ranked

SIZE = 10
CANDIDATES = 400
BECAUSE = 8
LEAST_LIFT = 0.8
MOST_KL = 0.10
GRID = tuple(
    Weights(calibration=calibration, repeat=repeat, least=SIZE)
    for calibration in (0.0, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2)
    for repeat in (0.001, 0.002)
)
"""Weights tried on validation profiles; the best N2DCG with a genre KL of at most MOST_KL is taken."""


def r4_themes(catalogue: pd.DataFrame, plays: NDArray[np.float64]) -> Themes:
    """Top picks, popular, and labels: genres, decades, and what two of them have in common.

    Args:
        catalogue: title_id, name, genres in the order of the scores. plays: shape (titles,).
    """
    years = [re.search(r"\((\d{4})\)", name) for name in catalogue["name"]]
    decades = [(f"{year[1][:3]}0s",) if year else () for year in years]
    popular = np.zeros((len(plays), 1), dtype=bool)
    popular[np.argsort(-plays, kind="stable")[: 2 * SIZE * SIZE]] = True
    first = Themes(["top_picks"], ["Top picks for you"], np.ones((len(plays), 1), dtype=bool))
    labels = label_themes({"genre": list(catalogue["genres"]), "decade": decades}, least=30)
    return first.joined(Themes(["popular"], ["Popular"], popular)).joined(labels)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What the pages of one group of profiles are built from; arrays as page_build.build takes them."""

    held: Held
    order: NDArray[np.int32]
    worth: NDArray[np.float64]
    own: OwnRows
    offered: NDArray[np.bool_]
    history: NDArray[np.float64]


class Library:
    """The titles of a data set: themes, genres, what is near what."""

    def __init__(self, split: StrongSplit, catalogue: pd.DataFrame, weights: NDArray[np.float32]) -> None:
        place = places(catalogue["title_id"], split.train.titles)
        known = catalogue.iloc[np.maximum(place, 0)].reset_index(drop=True)
        if (place < 0).any():
            raise SystemExit(f"{int((place < 0).sum())} of {len(place)} titles have no name and genres; r4 needs both")
        self.plays = np.asarray(split.train.matrix.astype(bool).sum(axis=0), dtype=np.float64).ravel()
        self.themes = r4_themes(known, self.plays)
        names = sorted({g for row in known["genres"] for g in row})
        table = np.array([[float(g in row) for g in names] for row in known["genres"]])
        self.genres = table / np.maximum(table.sum(axis=1, keepdims=True), 1.0)
        self.near = Near.of(weights, 150)
        self.member, self.sparse_genres = Sparse.of(self.themes.member), Sparse.of(self.genres)
        self.base = self.plays @ self.themes.member / self.plays.sum()

    def shelf(self, held: Held, scores: NDArray[np.floating], curve: NDArray[np.float64]) -> Shelf:
        """Ranked candidates and the rows they may stand in."""
        order = ranked(scores, held.fold_in.matrix, CANDIDATES).astype(np.int32)
        worth = np.tile(curve[: order.shape[1]], (len(order), 1))
        seen = held.fold_in.matrix.astype(bool).astype(np.float64)
        history = (seen.indptr.astype(np.int64), seen.indices.astype(np.int32))
        own, _ = because_rows(order, worth, self.near, history, history, BECAUSE, SIZE)
        length = held.fold_in.lengths().astype(np.float64)
        offered = lifts(seen, length, self.themes.member, self.base, 5.0) >= LEAST_LIFT
        return Shelf(held, order, worth, own, offered, shares(seen, self.genres))

    def pages(self, shelf: Shelf, weights: Weights, pins: NDArray[np.int32] | None = None) -> Built:
        """By the one builder."""
        return build(
            shelf.order,
            shelf.worth,
            self.member,
            self.themes.numbers,
            self.sparse_genres,
            shelf.history,
            gains(SIZE, SIZE),
            weights,
            shelf.own,
            pins,
            shelf.offered if pins is None else None,
        )

    def template(self) -> list[int]:
        """The rows of the usual page: top picks, popular, and the genres watched most, the same for everybody."""
        genre = [t for t, kind in enumerate(self.themes.kind) if kind == "genre"]
        watched = self.plays @ self.themes.member[:, genre]
        rows = [0, 1, *(genre[g] for g in np.argsort(-watched, kind="stable"))][:SIZE]
        return rows + [-1] * (SIZE - len(rows))

    def with_repeats(self, shelf: Shelf, themes: Sequence[Sequence[int]]) -> NDArray[np.int32]:
        """Each row its best titles, whatever stands above; themes: rows of every page."""
        out = np.full((len(shelf.order), SIZE, SIZE), -1, dtype=np.int32)
        for page, rows in enumerate(themes):
            for r, t in enumerate(t for t in rows if t >= 0):
                row = shelf.order[page][self.themes.member[shelf.order[page], t]][:SIZE]
                out[page, r, : len(row)] = row
        return out

    def alone(self, shelf: Shelf) -> list[list[int]]:
        """The ten rows worth most each by itself, in that order."""
        worth = np.zeros((len(shelf.order), len(self.themes.kind)))
        for page, order in enumerate(shelf.order):
            inside = self.themes.member[order]
            first = np.cumsum(inside, axis=0) * inside
            view = np.where((first >= 1) & (first <= SIZE), 1.0 / np.log2(np.maximum(first, 1) + 1.0), 0.0)
            worth[page] = shelf.worth[page] @ view
        return np.argsort(-worth, axis=1, kind="stable")[:, :SIZE].tolist()


def rank_curve(order: NDArray[np.int32], held: Held) -> NDArray[np.float64]:
    """Chance that the title at each place of a ranking is sought, a / (place + b)^c of greatest likelihood."""
    hit = np.take_along_axis(held.target.toarray() > 0, order.astype(np.int64), axis=1).mean(axis=0)
    place = np.arange(1, order.shape[1] + 1)

    def curve(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(np.exp(x[0]) / (place + np.exp(x[1])) ** np.exp(x[2]), 1e-9, 0.99)

    def loss(x: NDArray[np.float64]) -> float:
        return -float((hit * np.log(curve(x)) + (1.0 - hit) * np.log1p(-curve(x))).sum())

    return curve(minimize(loss, np.array([0.0, 1.0, 0.0]), method="Nelder-Mead").x)


def flat(order: NDArray[np.int32], cells: NDArray[np.int64]) -> NDArray[np.int32]:
    """The best titles in the cells given, best first: a grid without rows."""
    out = np.full((len(order), SIZE * SIZE), -1, dtype=np.int32)
    best = order[:, : SIZE * SIZE]
    out[:, cells[: best.shape[1]]] = best
    return out.reshape(-1, SIZE, SIZE)


def r4(split: StrongSplit, catalogue: pd.DataFrame, model: Scorer, near: NDArray[np.float32]) -> None:
    """Print the table.

    Args:
        catalogue: title_id, name, genres. near: shape (titles, titles), how much each title speaks for every other.
    """
    library = Library(split, catalogue, near)
    scores = {held: model.fold_in(group.fold_in) for held, group in (("valid", split.valid), ("test", split.test))}
    order = ranked(scores["valid"], split.valid.fold_in.matrix, CANDIDATES).astype(np.int32)
    curve = rank_curve(order, split.valid)
    valid = library.shelf(split.valid, scores["valid"], curve)
    tried = [(weights, *_worth(library, valid, library.pages(valid, weights).show)) for weights in GRID]
    for weights, found, kl in tried:
        print(f"validation: calibration {weights.calibration:.2f}, repeat {weights.repeat}: {found:.4f}, KL {kl:.4f}")
    fit = [one for one in tried if one[2] <= MOST_KL] or tried
    weights = max(fit, key=lambda one: one[1])[0]
    begun = time.process_time()
    shelf = library.shelf(split.test, scores["test"], curve)
    shelf_s = time.process_time() - begun
    begun = time.process_time()
    own = library.pages(shelf, weights)
    build_s = time.process_time() - begun
    pages = len(shelf.order)
    pins = np.tile(np.array(library.template(), dtype=np.int32), (pages, 1))
    stage = replace(weights, spare=np.inf)
    plain = Weights(0.0, 1.0, 0.0, 1, 1, np.inf)
    made = {
        "fixed template, repeats": library.with_repeats(shelf, pins.tolist()),
        "fixed template": library.pages(shelf, plain, pins).show,
        "rows ranked independently, repeats": library.with_repeats(shelf, library.alone(shelf)),
        "stage-wise": library.pages(shelf, plain).show,
        "stage-wise, calibrated": library.pages(shelf, stage).show,
        "stage-wise, cells chosen again": library.pages(shelf, replace(weights, calibration=0.0)).show,
        "ours": own.show,
        "flat grid, row by row (reference)": flat(shelf.order, np.arange(SIZE * SIZE)),
        "flat grid, best cells first": flat(shelf.order, np.argsort(-gains(SIZE, SIZE).ravel(), kind="stable")),
    }
    print(f"{'page':38s}{'N2DCG':>8s}{'hit@page':>10s}{'titles':>8s}{'genre KL':>10s}")
    value = {name: n2dcg(cells, split.test.target) for name, cells in made.items()}
    for name, cells in made.items():
        kl = genre_kl(cells, library.genres, shelf.history).mean()
        hit = hits(cells, split.test.target).mean()
        print(f"{name:38s}{value[name].mean():8.4f}{hit:10.4f}{distinct(cells).mean():8.1f}{kl:10.4f}")
    reference = value["flat grid, row by row (reference)"]
    gap = paired_bootstrap(value["ours"], reference)
    print(
        f"weights {weights}\nours / reference {value['ours'].mean() / reference.mean():.4f}; "
        f"ours - reference {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
    )
    kinds = [*library.themes.kind, *["because_you_watched"] * (int(own.row.max()) + 1)]
    rows = pd.Series([kinds[t] for t in own.row.ravel() if t >= 0]).value_counts() / pages
    print("rows a page:", ", ".join(f"{kind} {count:.1f}" for kind, count in rows.items()))
    print(
        f"{pages / build_s:,.0f} pages/s from candidates and rows, "
        f"{pages / (build_s + shelf_s):,.0f} with ranking {split.train.matrix.shape[1]:,} scores and finding the rows"
    )


def _worth(library: Library, shelf: Shelf, cells: NDArray[np.int32]) -> tuple[float, float]:
    kl = genre_kl(cells, library.genres, shelf.history)
    return float(n2dcg(cells, shelf.held.target).mean()), float(kl.mean())
