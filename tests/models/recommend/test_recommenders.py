"""The contract every recommender keeps, and what each one promises beyond it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.recommend.als import ImplicitALS
from models.recommend.blend import HELD, Blend, conditional_logit
from models.recommend.choices import Choices
from models.recommend.evaluate import evaluate, time_split
from models.recommend.ials import Ials
from models.recommend.interactions import from_plays, shows
from models.recommend.parts import Kept, Parts
from models.recommend.popularity import DecayedPopularity


def interactions(pairs: list[tuple[str, str, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(pairs, columns=["profile_id", "title_id", "day"])
    return frame.assign(country="DE", device="tv", weight=1.5, searched=True)


def checkerboard(size: int = 40) -> pd.DataFrame:
    """Even profiles watch even titles, odd ones odd; the diagonal is left out and has to be found."""
    return interactions(
        [
            (f"p{p:02d}", f"t{t:02d}", 1 + (p + t) // 2 % 5)
            for p in range(size)
            for t in range(size)
            if p % 2 == t % 2 and p != t
        ]
    )


def catalogue(size: int = 40, launch_day: int = -1000) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "title_id": [f"t{t:02d}" for t in range(size)],
            "kind": "film",
            "name": "",
            "launch_day": launch_day,
            "genres": [("even",) if t % 2 == 0 else ("odd",) for t in range(size)],
            "maturity": 0,
        }
    )


class RecommenderContract:
    """Inherit and give `make()`; set `personal` False for models that rank alike for everybody."""

    personal = True

    def make(self) -> object:
        raise NotImplementedError

    def test_left_out_pair_comes_first(self) -> None:
        data = checkerboard()
        if not self.personal:
            pytest.skip("ranks alike for everybody")
        found = self.make().fit(data).recommend(["p00", "p07", "p39"], 1, exclude=data[["profile_id", "title_id"]])
        assert found["title_id"].tolist() == ["t00", "t07", "t39"]

    def test_shape_order_and_no_repeats(self) -> None:
        data = checkerboard()
        found = self.make().fit(data).recommend(["p03", "p01"], 7)
        assert list(found.columns) == ["profile_id", "title_id", "rank", "score"]
        assert found.groupby("profile_id").size().to_dict() == {"p01": 7, "p03": 7}
        assert found["profile_id"].drop_duplicates().tolist() == ["p03", "p01"]
        assert not found.duplicated(["profile_id", "title_id"]).any()
        for _, mine in found.groupby("profile_id"):
            assert mine["rank"].tolist() == list(range(7))
            assert (np.diff(mine["score"]) <= 0).all()

    def test_excluded_pairs_never_come_back(self) -> None:
        data = checkerboard(12)
        pairs = data[["profile_id", "title_id"]]
        found = self.make().fit(data).recommend(sorted(set(data["profile_id"])), 99, exclude=pairs)
        assert found.merge(pairs).empty

    def test_second_fit_forgets_the_first(self) -> None:
        model = self.make().fit(checkerboard())
        small = interactions([("p00", "t01", 3), ("p01", "t01", 3), ("p01", "t03", 2)])
        again = model.fit(small).recommend(["p00"], 5)
        fresh = self.make().fit(small).recommend(["p00"], 5)
        pd.testing.assert_frame_equal(again, fresh)

    def test_rerun_gives_the_same_bits_and_row_order_is_no_matter(self) -> None:
        data = checkerboard()
        first = self.make().fit(data).recommend(["p00", "p05"], 20)
        second = self.make().fit(data.copy()).recommend(["p00", "p05"], 20)
        assert first["score"].to_numpy().tobytes() == second["score"].to_numpy().tobytes()
        assert first["title_id"].tolist() == second["title_id"].tolist()

    def test_no_interactions_and_no_profiles(self) -> None:
        nothing = checkerboard().iloc[:0]
        model = self.make().fit(nothing)
        assert model.recommend([], 3).empty


class TestDecayedPopularity(RecommenderContract):
    personal = False

    def make(self) -> DecayedPopularity:
        return DecayedPopularity()

    def test_a_play_counts_half_after_a_half_life(self) -> None:
        data = interactions([("a", "old", 0), ("b", "old", 0), ("c", "old", 0), ("d", "new", 7), ("e", "new", 7)])
        found = DecayedPopularity(7.0).fit(data).recommend(["x"], 2)
        assert found["title_id"].tolist() == ["new", "old"]
        assert found["score"].tolist() == [2.0, 1.5]

    def test_half_life_must_be_positive(self) -> None:
        with pytest.raises(ValueError, match="half_life_days is 0"):
            DecayedPopularity(0)


class TestImplicitALS(RecommenderContract):
    def make(self) -> ImplicitALS:
        return ImplicitALS(factors=8)

    def test_unknown_profiles_get_nothing(self) -> None:
        assert ImplicitALS(factors=4).fit(checkerboard()).recommend(["nobody"], 5).empty


class TestBlend(RecommenderContract):
    def make(self) -> Blend:
        return Blend(catalogue(), Ials(factors=8))

    def test_an_unknown_profile_gets_the_popular_titles(self) -> None:
        data = pd.concat([checkerboard(), interactions([(f"q{i}", "t09", 5) for i in range(200)])], ignore_index=True)
        assert self.make().fit(data).recommend(["nobody"], 1)["title_id"].tolist() == ["t09"]

    def test_a_title_that_is_not_out_is_never_listed(self) -> None:
        data = checkerboard()
        late = catalogue()
        late.loc[late["title_id"] == "t04", "launch_day"] = int(data["day"].max()) + 2
        assert "t04" not in set(Blend(late, Ials(factors=8)).fit(data).recommend(["p02"], 40)["title_id"])

    def test_an_unplayed_title_of_the_liked_genre_beats_one_of_the_other(self) -> None:
        size = 42
        found = Blend(catalogue(size), Ials(factors=8)).fit(checkerboard(40)).recommend(["p02", "p03"], size)
        rank = found.set_index(["profile_id", "title_id"])["rank"]
        assert rank["p02", "t40"] < rank["p02", "t41"]
        assert rank["p03", "t41"] < rank["p03", "t40"]


def test_parts_that_origins_share_are_fitted_once_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data, shows_ = checkerboard(), catalogue()
    fitted: list[int] = []
    fit = Parts.fit

    def counted(*args: object, **given: object) -> Parts:
        found = fit(*args, **given)  # type: ignore[arg-type]
        fitted.append(found.today)
        return found

    monkeypatch.setattr(Parts, "fit", counted)
    models, days = {}, {}
    for most in (0, HELD + 1):
        kept, judged = Kept(most), []
        fitted.clear()
        for origin in (4, 5, 6):
            model = Blend(shows_, kept=kept).fit(data[data["day"] < origin])
            judged.append(model.profile_vectors.tobytes() + model.title_vectors.tobytes())
        models[most], days[most] = judged, sorted(fitted)
    assert models[0] == models[HELD + 1]
    assert days[HELD + 1] == sorted(set(days[0])) != days[0]


def test_conditional_logit_finds_planted_weights() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(20_000, 12, 3))
    truth = np.array([1.2, -0.7, 0.0])
    gumbel = values @ truth + rng.gumbel(size=(20_000, 12))
    winner = gumbel.argmax(axis=1)
    swapped = values.copy()
    rows = np.arange(len(values))
    swapped[rows, 0], swapped[rows, winner] = values[rows, winner], values[rows, 0]
    found = conditional_logit([Choices(swapped, np.ones((20_000, 12), dtype=bool))], np.zeros(3), 1.0)
    assert np.abs(found - truth).max() < 0.04


def test_evaluation_by_hand() -> None:
    """Two targets: one at rank 1 (second place), one in a title training never saw."""
    data = interactions([("a", "x", 1), ("b", "x", 1), ("b", "y", 1), ("a", "y", 2), ("a", "unseen", 2), ("a", "x", 2)])
    train, test = time_split(data, 2)
    assert sorted(test["title_id"]) == ["unseen", "y"]  # x was seen before and is no target
    score = evaluate(DecayedPopularity().fit(train), train, test, k=2)
    assert score.ndcg.tolist() == pytest.approx([1.0 / (1.0 + 1.0 / np.log2(3))])
    assert (score.recall.tolist(), score.pairs, score.profile.tolist(), score.reachable) == ([0.5], 2, ["a"], 0.5)


def test_a_play_from_the_future_is_refused() -> None:
    from models.recommend.interactions import decay

    with pytest.raises(ValueError, match="after the training day"):
        decay(np.array([4]), 3, 7.0)


def test_of_a_play_cut_short_the_choice_counts_and_the_share_is_unknown() -> None:
    plays = pd.DataFrame(
        {
            "profile_id": ["a", "a", "b", "c", "d"],
            "show_id": ["s", "t", "s", "u", "u"],
            "play_date": pd.to_datetime(["2026-01-02"] * 5),
            "country": "DE",
            "device": "tv",
            "quality_play": [True, True, False, False, True],
            "censored": [False, True, False, True, True],
            "watched_share": [0.5, 0.1, 1.0, 0.0, 0.9],
            "impression_id": ["i", None, None, None, None],
        }
    )
    found = from_plays(plays)
    assert found[["profile_id", "title_id", "weight", "searched"]].values.tolist() == [
        ["a", "s", 1.5, False],
        ["a", "t", 1.5, True],  # cut short: as much as those that were not
        ["c", "u", 1.5, True],
        ["d", "u", 1.9, True],  # it was watched further than that
    ]


def test_shows_leave_out_episodes() -> None:
    titles = pd.DataFrame(
        {
            "title_id": ["b", "a", "e1"],
            "kind": ["series", "film", "episode"],
            "name": ["B", "A", "E"],
            "genres": [["drama"], ["crime", "drama"], ["drama"]],
            "launch_date": pd.to_datetime(["2026-01-01"] * 3),
            "maturity": [12, 0, 12],
        }
    )
    assert shows(titles)["title_id"].tolist() == ["a", "b"]
