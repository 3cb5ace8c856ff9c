"""What shows, contexts and profiles add: planted truths are found, and neither place nor page is taken for a liking."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from models.recommend import leanings as module
from models.recommend.leanings import Cells, Leanings, Searches, leanings, likings
from models.recommend.ratios import PULLS, log_ratios, pull_of

NONE = np.zeros(0, dtype=np.int64)


def _of_pages(cells: list[tuple[str, int, int, float]], rng: np.random.Generator, **given: bool) -> Leanings:
    """Of one profile that read `n` cells of (title, column, n, chance)."""
    parts = [
        pd.DataFrame({"title_id": t, "row": 0, "col": c, "taken": rng.random(n) < chance}) for t, c, n, chance in cells
    ]
    read = pd.concat(parts, ignore_index=True).assign(profile_id="p")
    titles = np.array(sorted(set(read["title_id"])), dtype=object)
    home = pd.DataFrame({"country": ["DE"]})
    seen = Cells.of(read, np.array(["p"], dtype=object), titles, **given)
    none = Searches(NONE, NONE, np.ones(len(titles)))
    return leanings(seen, none, home, np.ones((len(titles), 1)), np.zeros((1, 1)), precision=1e6)


def test_a_show_is_not_liked_for_its_place() -> None:
    """Equal shows, one always first: takes differ threefold by place alone."""
    n = 4000
    cells = [("x", 0, n, 0.15), ("y", 1, n, 0.05), ("z", 0, n, 0.15), ("z", 1, n, 0.05)]
    assert np.abs(_of_pages(cells, np.random.default_rng(2)).appeal).max() < 0.1
    blind = _of_pages(cells, np.random.default_rng(2), by_place=False).appeal
    assert blind[0] - blind[1] > 0.9


def test_what_is_liked_does_not_hide_behind_the_place_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show x is liked twice as much and nearly always first; places differ threefold. Rates by place alone would give
    the place what is the show's."""
    like, rate = {"x": 2.0, "y": 1.0}, (0.15, 0.05)
    shown = [("x", 0, 19_000), ("x", 1, 1_000), ("y", 0, 1_000), ("y", 1, 19_000)]
    monkeypatch.setattr(module, "ROUNDS", 1)
    gaps = []
    for turns in (1, 100):
        monkeypatch.setattr(module, "TURNS", turns)
        found = _of_pages([(t, c, n, like[t] * rate[c]) for t, c, n in shown], np.random.default_rng(4)).appeal
        gaps.append(found[0] - found[1])
    assert gaps[0] < 0.3 and gaps[1] == pytest.approx(np.log(2.0), abs=0.1)


def _planted(rng: np.random.Generator, pages: bool) -> tuple[Leanings, dict[str, np.ndarray]]:
    """Two thousand profiles of two countries and two devices choose from forty shows of four genres, by search or on
    pages on which a country's favourites stand first."""
    people, shows = 2000, 40
    genres = np.eye(4)[rng.integers(0, 4, shows)]
    theta = rng.normal(0.0, 0.7, (people, 4))
    country, device = rng.integers(0, 2, people), rng.integers(0, 2, people)
    truth = {"country": rng.normal(0.0, 0.7, (2, shows)), "device": rng.normal(0.0, 0.7, (2, shows))}
    odds = np.exp(theta @ genres.T + truth["country"][country] + truth["device"][device])
    home = pd.DataFrame({"country": np.array(["BR", "DE"])[country], "device": np.array(["tv", "web"])[device]})
    if pages:
        second = (truth["country"] < np.median(truth["country"], axis=1, keepdims=True))[country]
        place = np.where(rng.random(odds.shape) < 0.3, rng.integers(0, 2, odds.shape), second)
        rate = np.array([0.04, 0.01])[place] * odds
        taken = rng.random((people, shows, 10)) < rate[:, :, None]
        who, show, _ = (x.ravel() for x in np.indices(taken.shape))
        cells = Cells(who, show, place[who, show], taken.ravel().astype(float))
        found = leanings(cells, Searches(NONE, NONE, np.ones(shows)), home, genres, taken.sum(axis=2) @ genres)
    else:
        chosen = np.array([rng.multinomial(20, row / row.sum()) for row in odds])
        who, show = (np.repeat(x, chosen.ravel()) for x in np.divmod(np.arange(people * shows), shows))
        cells = Cells(NONE, NONE, NONE, np.zeros(0))
        found = leanings(cells, Searches(who, show, np.ones(shows)), home, genres, chosen @ genres)
    return found, truth | {"likings": theta}


@pytest.mark.parametrize("pages", [False, True])
def test_countries_devices_and_likings_are_told_apart(pages: bool) -> None:
    found, truth = _planted(np.random.default_rng(11), pages)
    for kind in ("country", "device"):
        values, told = found.there[kind]
        assert values == (["BR", "DE"] if kind == "country" else ["tv", "web"])
        gap, true_gap = told[0] - told[1], truth[kind][0] - truth[kind][1]
        assert np.corrcoef(gap - gap.mean(), true_gap - true_gap.mean())[0, 1] > 0.97
        assert np.polyfit(true_gap, gap, 1)[0] == pytest.approx(1.0, abs=0.12)
    mine, theirs = (one - one.mean(axis=1, keepdims=True) for one in (found.likings, truth["likings"]))
    assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.65


def test_memory_does_not_grow_with_profiles_times_kinds_of_genres() -> None:
    """Real catalogues have hundreds of kinds: 902 among the 9,125 films of ml-latest-small."""
    people, kinds = 6 * module.BLOCK, 150
    rng = np.random.default_rng(8)
    genres = rng.random((kinds, 6))
    code = rng.integers(0, 3, people)
    groups = module._Groups.of(pd.DataFrame({"country": code}), genres, {"country": code})
    weight, odds, searched = rng.random((people, kinds)), rng.random((3, kinds)), rng.random(people)
    tracemalloc.start()
    found = groups.searches(weight, odds, np.ones(kinds), searched)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * weight.nbytes
    share = searched / np.einsum("pk,pk->p", weight[:, groups.kind], odds[code])
    for one in range(3):
        expected = odds[one] * (weight[code == one] * share[code == one, None]).sum(axis=0)[groups.kind]
        assert np.allclose(found[one], expected)


def test_a_show_that_came_late_is_not_disliked_for_it() -> None:
    """Shows 0 and 1 are searched for equally often while they are out; 1 was out for the last tenth."""
    rng = np.random.default_rng(5)
    show = np.concatenate([rng.integers(0, 1, 9000), rng.integers(0, 2, 1000)])
    home = pd.DataFrame({"country": ["DE"]})
    took = np.full((1, 1), float(len(show)))
    none = Cells(NONE, NONE, NONE, np.zeros(0))
    late, always = (
        leanings(none, Searches(np.zeros_like(show), show, np.array(out)), home, np.ones((2, 1)), took, precision=1e6)
        for out in ([1.0, 0.1], [1.0, 1.0])
    )
    # while both are out each gets half; before, the first one gets all: 9500 against 500 of a share of one tenth
    assert late.appeal[1] - late.appeal[0] == pytest.approx(np.log(500 / 0.1 / 9500), abs=0.2)
    assert always.appeal[1] - always.appeal[0] < -2.5


def test_likings_find_planted_ones_from_searches_and_from_cells() -> None:
    rng = np.random.default_rng(3)
    genres = np.eye(4)[rng.integers(0, 4, 60)]
    share = rng.dirichlet(np.ones(60))
    theta = rng.normal(0.0, 1.0, (50, 4))
    chance = share * np.exp(theta @ genres.T)
    chance /= chance.sum(axis=1, keepdims=True)
    searched = np.array([rng.multinomial(400, row) for row in chance]).astype(float)
    _, kind = np.unique(genres, axis=0, return_inverse=True)
    base = np.bincount(kind.ravel(), share)[None, :]
    group, start = np.zeros(50, dtype=np.int64), np.zeros((50, 4))

    def found(took: np.ndarray, searches: float, shown: csr_matrix, precision: float) -> np.ndarray:
        n = len(took)
        return likings(start[:n], took, np.full(n, searches), base, group[:n], shown, genres, precision)

    by_search = found(searched @ genres, 400.0, csr_matrix((50, 60)), 0.1)
    centred = [one - one.mean(axis=1, keepdims=True) for one in (by_search, theta)]
    assert np.abs(centred[0] - centred[1]).mean() < 0.25
    shown = csr_matrix(np.full((50, 60), 1.5))
    taken = rng.poisson(1.5 * np.exp(theta @ genres.T)).astype(float)
    assert np.abs(found(taken @ genres, 0.0, shown, 0.1) - theta).mean() < 0.25
    left = found(np.zeros((50, 4)), 0.0, shown, 0.5)
    assert left.max() < -1.0, "shown and left is a dislike"
    assert not found(np.zeros((2, 4)), 0.0, csr_matrix((2, 60)), 0.5).any()


@pytest.mark.parametrize("spread", [0.2, 1.0])
def test_ratios_are_drawn_by_as_much_as_they_really_vary(spread: float) -> None:
    """Gamma ratios of known variance: the pull is one over it, the posterior mean is nearer than the plain ratio."""
    rng = np.random.default_rng(6)
    pull = 1.0 / spread**2
    ratio, expected = rng.gamma(pull, 1.0 / pull, 4000), rng.uniform(0.5, 6.0, 4000)
    count = rng.poisson(ratio * expected).astype(float)
    assert pull_of(count, expected) == pytest.approx(pull, rel=0.35)
    drawn = np.exp(log_ratios(count, expected))
    assert ((drawn - ratio) ** 2).mean() < 0.8 * ((count / expected - ratio) ** 2).mean()


def test_nothing_expected_says_nothing() -> None:
    assert log_ratios(np.zeros((2, 3)), np.zeros((2, 3))).tolist() == [[0.0] * 3] * 2
    assert pull_of(np.zeros(0), np.zeros(0)) == PULLS[-1]
