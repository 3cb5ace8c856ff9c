"""The contract of every scorer (fold-in of any profile in one call), and each one's values against an oracle."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from models.recommend.histories import Histories
from models.recommend.ials import Ials, gram_of, solve_block
from models.recommend.kernel import ProfileKernel, tangent_kernel
from models.recommend.linear import Edlae
from models.recommend.neighbours import Bm25Neighbours, ContentNeighbours, CoWatched, Walks, describe
from models.recommend.scorers import LibraryALS, Popularity


def checkerboard(size: int = 40) -> Histories:
    """Even profiles watch even titles, odd ones odd; the diagonal is left out and has to be found."""
    return Histories.from_pairs(
        pd.DataFrame(
            [(f"p{p:02d}", f"t{t:02d}") for p in range(size) for t in range(size) if p % 2 == t % 2 and p != t],
            columns=["profile_id", "title_id"],
        )
    )


def drawn(seed: int = 0, profiles: int = 60, titles: int = 25, share: float = 0.2) -> Histories:
    rng = np.random.default_rng(seed)
    matrix = csr_matrix((rng.random((profiles, titles)) < share).astype(np.float32))
    return Histories(
        np.array([f"p{i:03d}" for i in range(profiles)], dtype=object),
        np.array([f"t{i:03d}" for i in range(titles)], dtype=object),
        matrix,
    )


class ScorerContract:
    """Inherit and give `make()`; set `personal` False for models that rank alike for everybody."""

    personal = True

    def make(self) -> object:
        raise NotImplementedError

    def test_left_out_pair_comes_first(self) -> None:
        if not self.personal:
            pytest.skip("ranks alike for everybody")
        data = checkerboard()
        scores = np.array(self.make().fit(data).fold_in(data), dtype=np.float64)
        scores[data.matrix.toarray() > 0] = -np.inf
        assert (scores.argmax(axis=1)[[0, 7, 39]] == [0, 7, 39]).all()

    def test_a_new_profile_scores_as_a_trained_one_with_its_history(self) -> None:
        data = checkerboard()
        model = self.make().fit(data)
        one = model.fold_in(data.rows(np.array([5])))
        alike = Histories(np.array(["never seen"], dtype=object), data.titles, data.matrix[[5]])
        assert one.tobytes() == model.fold_in(alike).tobytes()
        np.testing.assert_allclose(one, model.fold_in(data)[5:6], rtol=1e-3, atol=1e-5)

    def test_an_empty_history_and_unknown_titles_do_no_harm(self) -> None:
        data = checkerboard()
        model = self.make().fit(data)
        titles = np.array(["unknown"], dtype=object)
        scores = model.fold_in(
            Histories(np.array(["x"], dtype=object), titles, csr_matrix(np.ones((1, 1), np.float32)))
        )
        assert scores.shape == (1, 40) and np.isfinite(scores).all()

    def test_titles_in_another_order_are_put_right(self) -> None:
        data = checkerboard()
        model = self.make().fit(data)
        turned = data.over(data.titles[::-1].copy())
        np.testing.assert_allclose(model.fold_in(turned), model.fold_in(data), rtol=1e-4, atol=1e-6)

    def test_second_fit_forgets_and_a_rerun_gives_the_same_bits(self) -> None:
        data = checkerboard()
        small = data.rows(np.arange(4))
        model = self.make().fit(data)
        first = model.fold_in(data).tobytes()
        model.fit(small)
        fresh = self.make().fit(small)
        assert model.fold_in(small).tobytes() == fresh.fold_in(small).tobytes()
        assert self.make().fit(data).fold_in(data).tobytes() == first

    def test_no_profiles_at_all(self) -> None:
        data = checkerboard()
        nobody = data.rows(np.zeros(0, dtype=np.int64))
        assert self.make().fit(data).fold_in(nobody).shape == (0, 40)
        assert np.isfinite(self.make().fit(nobody).fold_in(data)).all()


class TestIals(ScorerContract):
    def make(self) -> Ials:
        return Ials(factors=8)


class TestIalsExact(ScorerContract):
    def make(self) -> Ials:
        return Ials(factors=8, solver="exact")

    def test_a_row_solves_its_normal_equations(self) -> None:
        data = drawn()
        data = Histories(data.profiles, data.titles, data.matrix.multiply(1.5).tocsr())
        model = Ials(6, regularization=0.03, unobserved=0.2, epochs=3, solver="exact").fit(data)
        y = model.title_factors.astype(np.float64)
        found = model.fold_in_factors(data)
        for row in (0, 11, 59):
            weight = data.matrix[row].toarray().ravel().astype(np.float64)
            penalty = 0.03 * (weight.sum() + 0.2 * len(weight))
            left = 0.2 * y.T @ y + (y * weight[:, None]).T @ y + penalty * np.eye(6)
            np.testing.assert_allclose(found[row], np.linalg.solve(left, weight @ y), rtol=2e-4, atol=1e-6)

    def test_both_solvers_descend_the_same_objective_to_the_same_place(self) -> None:
        data = drawn(share=0.3)

        def objective(model: Ials) -> float:
            x, y = model.profile_factors.astype(np.float64), model.title_factors.astype(np.float64)
            played, fit = data.matrix.toarray(), x @ y.T
            n, m = played.shape
            return float(
                (played * (1 - fit) ** 2).sum()
                + 0.2 * (fit**2).sum()
                + 0.02 * ((played.sum(1) + 0.2 * m) @ (x**2).sum(1) + (played.sum(0) + 0.2 * n) @ (y**2).sum(1))
            )

        last = {}
        for solver in ("exact", "cg"):
            model = Ials(5, regularization=0.02, unobserved=0.2, solver=solver)
            model.start(data)
            values = []
            for _ in range(60):
                model.epoch(data)
                values.append(objective(model))
            assert all(b <= a * (1 + 1e-6) for a, b in pairwise(values))
            last[solver] = values[-1]
        assert last["cg"] == pytest.approx(last["exact"], rel=0.01)  # two of many minima, alike

    def test_fold_in_by_conjugate_gradients_is_the_exact_one(self) -> None:
        data = drawn(3)
        model = Ials(7, epochs=4).fit(data)
        by_steps = model.fold_in(data)
        model.solver = "exact"
        np.testing.assert_allclose(by_steps, model.fold_in(data), atol=1e-4)

    def test_wrong_parameters_are_refused(self) -> None:
        with pytest.raises(ValueError, match="solver is 'newton'"):
            Ials(solver="newton")
        with pytest.raises(ValueError, match="must be above 0"):
            Ials(regularization=0.0)


class TestEdlae(ScorerContract):
    def make(self) -> Edlae:
        return Edlae(regularization=1.0, dropout=0.2)

    @pytest.mark.parametrize(("length_power", "play_power"), [(0.0, 0.0), (0.25, 0.15)])
    def test_weights_against_the_closed_form_in_double_precision(self, length_power: float, play_power: float) -> None:
        data = drawn(share=0.3)
        x = data.matrix.toarray().astype(np.float64)
        length, plays = x.sum(1), x.sum(0)
        scaled = x * ((length / length.mean()) ** -length_power)[:, None] / plays**play_power
        gram = scaled.T @ scaled
        own = np.diag(gram).copy()
        inverse = np.linalg.inv(gram + np.diag(2.0 * own.mean() + 0.35 / 0.65 * own))
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        weights = weights * plays**play_power / (plays**play_power)[:, None]
        model = Edlae(2.0, 0.35, length_power, play_power).fit(data)
        np.testing.assert_allclose(model.weights, weights, atol=2e-5)

    def test_no_weights_with_zero_diagonal_fit_better(self) -> None:
        """EASE is the minimum of its objective: any step away from it costs."""
        data = drawn(share=0.3)
        x = data.matrix.toarray().astype(np.float64)
        model = Edlae(2.0, 0.0, 0.0, 0.0).fit(data)
        penalty = 2.0 * x.sum() / x.shape[1]

        def loss(b: np.ndarray) -> float:
            return float(((x - x @ b) ** 2).sum() + penalty * (b**2).sum())

        best = model.weights.astype(np.float64)
        assert not np.diag(best).any()
        rng = np.random.default_rng(1)
        for _ in range(20):
            step = rng.normal(size=best.shape) * 1e-2
            np.fill_diagonal(step, 0.0)
            assert loss(best + step) > loss(best)

    @pytest.mark.parametrize("titles", [30, 450])  # the whole SVD, and its first vectors
    def test_towers_are_the_best_approximation_of_their_rank(self, titles: int) -> None:
        data = drawn(profiles=200, titles=titles, share=0.1)
        model = Edlae().fit(data)
        left, right = model.towers(12)
        error = np.linalg.norm(model.weights - left @ right.T)
        tail = np.linalg.svd(model.weights.astype(np.float64), compute_uv=False)[12:]
        assert left.shape == right.shape == (titles, 12)
        assert error == pytest.approx(np.sqrt((tail**2).sum()), rel=1e-4)
        assert model.towers(12)[0].tobytes() == left.tobytes()

    def test_more_titles_than_a_panel(self) -> None:
        data = drawn(profiles=40, titles=1100, share=0.05)
        model = Edlae().fit(data)
        assert np.isfinite(model.weights).all() and not np.diag(model.weights).any()


class TestBm25(ScorerContract):
    def make(self) -> Bm25Neighbours:
        return Bm25Neighbours(neighbours=30)

    def test_similarity_by_hand(self) -> None:
        data = Histories.from_pairs(
            pd.DataFrame([("a", "x"), ("a", "y"), ("b", "x"), ("c", "z")], columns=["profile_id", "title_id"])
        )
        found = Bm25Neighbours(neighbours=3).fit(data).similarity.toarray()

        def weight(length: int) -> float:  # of a title with that many profiles; 4 / 3 on average
            return 2.2 / (1.2 * (0.25 + 0.75 * length / (4 / 3)) + 1)

        rare = np.log1p(3 / 2)  # profile a has 2 titles of 3
        assert found[0, 1] == pytest.approx(weight(2) * weight(1) * rare**2, rel=1e-5)
        assert found[0, 2] == 0.0


class TestCoWatched(ScorerContract):
    def make(self) -> CoWatched:
        return CoWatched()

    def test_shares_by_hand(self) -> None:
        """x is watched by a (with y), b (with z) and c (alone): lengths 2, 2, 1, mean 5 / 3."""
        rows = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "z"), ("c", "x")]
        data = Histories.from_pairs(pd.DataFrame(rows, columns=["profile_id", "title_id"]))
        share = CoWatched(shrink=1.0).fit(data).share
        unit = 5 / 3
        assert share[0, 1] == pytest.approx((unit / 2) / (unit / 2 + unit / 2 + unit + 1.0))
        assert share[1, 0] == pytest.approx((unit / 2) / (unit / 2 + 1.0)) and share[1, 2] == 0.0


class TestLibraryALS(ScorerContract):
    def make(self) -> LibraryALS:
        return LibraryALS(factors=8, regularization=1.0)


class TestPopularity(ScorerContract):
    personal = False

    def make(self) -> Popularity:
        return Popularity()


def test_content_finds_an_unplayed_title_by_genre_and_name() -> None:
    catalogue = pd.DataFrame(
        {
            "title_id": ["a1", "a2", "b1", "b2"],
            "name": ["Alien (1979)", "Aliens of Alien (1986)", "Emma (1996)", "Emma Again (1997)"],
            "genres": [("horror", "sci-fi"), ("horror", "sci-fi"), ("romance",), ("romance",)],
        }
    )
    data = Histories.from_pairs(pd.DataFrame({"profile_id": ["x", "y"], "title_id": ["a1", "b1"]}))
    model = ContentNeighbours(catalogue).fit(data)
    scores = model.fold_in(data)
    assert scores[0, 1] > scores[0, 3] and scores[1, 3] > scores[1, 1]
    assert describe("Heat (1995)", ["crime", "action"]) == [
        "genre:action",
        "genre:crime",
        "genre:action+genre:crime",
        "year:1995",
        "decade:199",
        "heat",
    ]


def test_histories_refuse_what_cannot_be() -> None:
    ids = np.array(["a", "b"], dtype=object)
    with pytest.raises(ValueError, match="shape"):
        Histories(ids, ids, csr_matrix((2, 3)))
    with pytest.raises(ValueError, match="above 0"):
        Histories(ids, ids, csr_matrix(np.array([[1.0, -1.0], [0.0, 1.0]])))


def test_histories_do_not_depend_on_row_order() -> None:
    rng = np.random.default_rng(4)
    pairs = pd.DataFrame(
        {"profile_id": rng.integers(0, 9, 300).astype(str), "title_id": rng.integers(0, 9, 300).astype(str)}
    )
    pairs["weight"] = rng.random(300) + 0.1
    one, two = Histories.from_pairs(pairs), Histories.from_pairs(pairs.sample(frac=1, random_state=2))
    assert one.matrix.data.tobytes() == two.matrix.data.tobytes()


class TestProfileKernel(ScorerContract):
    def make(self) -> ProfileKernel:
        return ProfileKernel(1.0)

    def test_against_kernel_ridge_by_hand(self) -> None:
        data, new = drawn(1), drawn(2, profiles=4)

        def kernel(a: np.ndarray, b: np.ndarray) -> float:
            c = min(a @ b / np.sqrt((a @ a) * (b @ b)), 1.0)
            t = np.arccos(c)
            return float((np.sqrt(1 - c * c) + c * (np.pi - t)) / np.pi + c * (np.pi - t) / np.pi)

        x, y = data.matrix.toarray().astype(np.float64), new.matrix.toarray().astype(np.float64)
        gram = np.array([[kernel(a, b) for b in x] for a in x])
        near = np.array([[kernel(a, b) for b in x] for a in y])
        by_hand = near @ np.linalg.solve(gram + 1.5 * 2.0 * np.eye(len(x)), x)
        np.testing.assert_allclose(ProfileKernel(1.5).fit(data).fold_in(new), by_hand, atol=2e-3)

    def test_it_keeps_no_more_profiles_than_asked_for(self) -> None:
        model = ProfileKernel(most=10).fit(drawn(1))
        assert model.dual.shape == (10, 25) and model.known.shape == (10, 25)
        assert tangent_kernel(model.known, model.known).diagonal() == pytest.approx(np.full(10, 2.0), abs=1e-2)


def test_a_block_is_solved_as_the_whole_side_is() -> None:
    data = drawn(3)
    rng = np.random.default_rng(5)
    given, gone = rng.normal(size=(25, 6)).astype(np.float32), np.zeros((60, 6), dtype=np.float32)
    new = solve_block(data.matrix, given, gone, gram_of(given), 25, 0.02, 0.2, 40)
    for row, mine in zip(data.matrix.toarray(), new, strict=True):
        normal = 0.2 * given.T @ given + given.T @ (row[:, None] * given) + 0.02 * (row.sum() + 0.2 * 25) * np.eye(6)
        np.testing.assert_allclose(mine, np.linalg.solve(normal, given.T @ row), atol=1e-3)
    part = solve_block(data.matrix[20:30], given, gone[20:30], gram_of(given), 25, 0.02, 0.2, 40)
    np.testing.assert_array_equal(part, new[20:30])


class TestWalks(ScorerContract):
    def make(self) -> Walks:
        return Walks()

    def test_against_the_chances_of_each_step(self) -> None:
        data = drawn(4)
        x = data.matrix.toarray().astype(np.float64)
        out, back = x / np.maximum(x.sum(1), 1)[:, None] ** 0.8, x.T / np.maximum(x.sum(0), 1)[:, None] ** 0.8
        by_hand = back @ out / np.maximum(x.sum(0), 1) ** 0.6
        np.fill_diagonal(by_hand, 0.0)
        np.testing.assert_allclose(Walks().fit(data).chance, by_hand, rtol=1e-4, atol=1e-7)
