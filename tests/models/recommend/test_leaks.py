"""The eleven leaks of the notes, each planted where it would come in: its own test is green, and red with the leak."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from models.artwork import statistics
from models.days import epoch_day
from models.recommend import blend, features, strong, train
from models.recommend.evaluate import Judged, time_split
from models.recommend.histories import Histories
from models.recommend.parts import Kept

DAY = date(2026, 1, 12)
TODAY = epoch_day(DAY)
Plant = Callable[[pytest.MonkeyPatch], None]


def log(seed: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions of 60 profiles with 40 shows on 6 days, and the catalogue."""
    rng = np.random.default_rng(seed)
    who, what = np.nonzero(rng.random((60, 40)) < np.where(np.arange(60)[:, None] % 2 == np.arange(40) % 2, 0.3, 0.1))
    frame = pd.DataFrame(
        {
            "profile_id": [f"p{i:02d}" for i in who],
            "title_id": [f"t{i:02d}" for i in what],
            "day": TODAY - rng.integers(0, 6, len(who)),
            "country": "DE",
            "device": "tv",
            "weight": 1.5,
            "searched": True,
        }
    ).sort_values(["profile_id", "title_id"], ignore_index=True)
    catalogue = pd.DataFrame(
        {
            "title_id": [f"t{i:02d}" for i in range(40)],
            "kind": "film",
            "name": "",
            "genres": [("even",) if i % 2 == 0 else ("odd",) for i in range(40)],
            "launch_day": TODAY - 900,
            "maturity": 0,
        }
    )
    return frame, catalogue


def rows_of_pages(seed: int = 4) -> pd.DataFrame:
    """Rows that were read on the same days (choices.rows_read)."""
    rng = np.random.default_rng(seed)
    n = 600
    frame = pd.DataFrame(
        {
            "day": np.repeat(TODAY - rng.integers(0, 6, n), 4),
            "choice": np.repeat(np.arange(n), 4),
            "profile_id": np.repeat([f"p{i:02d}" for i in rng.integers(0, 60, n)], 4),
            "title_id": [f"t{i:02d}" for _ in range(n) for i in rng.choice(40, 4, replace=False)],
            "row": 0,
            "col": np.tile(np.arange(4), n),
            "taken": np.tile(np.arange(4), n) == np.repeat(rng.integers(0, 9, n), 4),
        }
    )
    return frame.sort_values(["choice", "col"], ignore_index=True)


def judged_model(
    monkeypatch: pytest.MonkeyPatch, interactions: pd.DataFrame, catalogue: pd.DataFrame, read: pd.DataFrame | None
) -> bytes:
    """All numbers of the model that is judged on the last day."""
    seen: list[bytes] = []

    def spy(model: object, *args: object, **given: object) -> Judged:
        if isinstance(model, blend.Blend):
            seen.append(model.profile_vectors.tobytes() + model.title_vectors.tobytes())
        return evaluate(model, *args, **given)  # type: ignore[arg-type]

    evaluate = train.evaluate
    with monkeypatch.context() as patch:
        patch.setattr(train, "evaluate", spy)
        train._judge(interactions, catalogue, [TODAY], {}, read, Kept(0))
    return seen[0]


def other_last_day(interactions: pd.DataFrame) -> pd.DataFrame:
    """The same log with other plays on the day that judges."""
    last = interactions["day"] == TODAY
    return interactions.assign(title_id=interactions["title_id"].where(~last, "t07"))


# -- what must hold ----------------------------------------------------------------------------------------------------


def the_clock_is_global(_: pytest.MonkeyPatch) -> None:
    interactions, _catalogue = log()
    before, test = train.time_split(interactions, TODAY)
    assert before["day"].max() < TODAY
    there = interactions[interactions["day"] == TODAY]
    assert len(test.merge(there, on=["profile_id", "title_id"])) == len(test) > 0


def features_know_nothing_later(_: pytest.MonkeyPatch) -> None:
    plays = pd.DataFrame(
        {"profile_id": ["a"], "show_id": ["t00"], "title_id": ["t00"], "play_date": [DAY + timedelta(days=1)],
         "started": [True], "completed": [True], "quality_play": [True], "watched_ms": [1]}
    )  # fmt: skip
    titles = pd.DataFrame(
        {"title_id": ["t00"], "show_id": ["t00"], "kind": ["film"], "name": ["x"], "genres": [["drama"]],
         "launch_date": [DAY], "maturity": [0]}
    )  # fmt: skip
    none = pd.DataFrame({"title_id": [], "shown_date": [], "taken": []})
    with pytest.raises(ValueError, match="know nothing later"):
        features.title_features(plays, none, titles, DAY, 2)


def ties_are_cut_by_title(_: pytest.MonkeyPatch) -> None:
    # Each profile seeks one of the titles that lose ties.
    nobody = pd.DataFrame({"profile_id": [], "title_id": []})
    fold_in = Histories.from_pairs(nobody, [f"p{i}" for i in range(200)], [f"t{i}" for i in range(400)])
    held = strong.Held(fold_in, csr_matrix(np.eye(200, 400, 200, dtype=np.float32)))
    assert strong.judge(np.zeros((200, 400)), held)["ndcg@100"].sum() == 0.0


def training_decides_which_titles_there_are(_: pytest.MonkeyPatch) -> None:
    rows = [("a", "x", "train"), ("t", "x", "test_fold_in"), ("t", "only-here", "test_target"),
            ("v", "x", "valid_fold_in")]  # fmt: skip
    split = strong.from_roles(pd.DataFrame(rows, columns=["profile_id", "title_id", "role"]))
    assert split.train.titles.tolist() == ["x"]
    assert split.coverage == pytest.approx(2 / 3)


def what_is_folded_in_is_no_target(_: pytest.MonkeyPatch) -> None:
    both = Histories.from_pairs(pd.DataFrame({"profile_id": ["a", "a"], "title_id": ["x", "y"]}))
    with pytest.raises(ValueError, match="fold-in and target at once"):
        strong.Held(both, csr_matrix(np.array([[1.0, 0.0]])))


def every_title_is_ranked(_: pytest.MonkeyPatch) -> None:
    """A target behind 60 others is worth what place 61 is worth."""
    nobody = pd.DataFrame({"profile_id": [], "title_id": []})
    fold_in = Histories.from_pairs(nobody, ["a"], [f"t{i}" for i in range(90)])
    wanted = np.zeros((1, 90), dtype=np.float32)
    wanted[0, 60] = 1.0
    found = strong.judge(-np.arange(90.0)[None, :], strong.Held(fold_in, csr_matrix(wanted)))
    assert found["ndcg@100"][0] == pytest.approx(1 / np.log2(62))


def weights_are_learned_before_the_day_that_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    interactions, catalogue = log()
    one = judged_model(monkeypatch, interactions, catalogue, None)
    assert one == judged_model(monkeypatch, other_last_day(interactions), catalogue, None)


def pages_of_the_day_that_judges_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was shown on that day and left is what the model before it chose: no evidence against a title."""
    interactions, catalogue = log()
    read = rows_of_pages()
    one = judged_model(monkeypatch, interactions, catalogue, read)
    left = read.assign(taken=read["taken"] & (read["day"] < TODAY))
    assert one == judged_model(monkeypatch, interactions, catalogue, left)
    earlier = read.assign(taken=read["taken"] & (read["day"] < TODAY - 1))
    assert one != judged_model(monkeypatch, interactions, catalogue, earlier)  # those of the day before do count


def nothing_is_listed_before_its_launch(_: pytest.MonkeyPatch) -> None:
    interactions, catalogue = log()
    catalogue.loc[catalogue["title_id"] == "t07", "launch_day"] = TODAY + 5
    previews = interactions.assign(title_id=interactions["title_id"].where(interactions["day"] < TODAY - 1, "t07"))
    model = blend.Blend(catalogue).fit(previews)
    assert "t07" not in set(model.recommend(["p00", "p01", "new"], 40)["title_id"])


def a_household_is_on_one_side(_: pytest.MonkeyPatch) -> None:
    interactions, _catalogue = log()
    home = {f"p{i:02d}": f"h{i // 3}" for i in range(60)}
    split = strong.strong_split(interactions[["profile_id", "title_id"]], 5, 0.2, households=home)
    sides = [{home[p] for p in group} for group in
             (split.train.profiles, split.valid.fold_in.profiles, split.test.fold_in.profiles)]  # fmt: skip
    assert all(sides) and not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def an_image_is_judged_by_the_past(_: pytest.MonkeyPatch) -> None:
    plays = pd.DataFrame({"profile_id": ["a"], "show_id": ["t00"], "play_date": [DAY], "watched_ms": [9]})
    titles = pd.DataFrame(
        {"title_id": ["t00"], "show_id": ["t00"], "kind": ["film"], "name": ["x"], "genres": [["drama"]],
         "launch_date": [DAY], "maturity": [0]}
    )  # fmt: skip
    images = pd.DataFrame({"title_id": ["t00"], "artwork_id": ["i"], "theme": ["drama"], "themes": [[1.0]]})
    shown = pd.DataFrame(
        {"profile_id": ["a"], "title_id": ["t00"], "artwork_id": ["i"], "taken": [True],
         "shown_date": [DAY + timedelta(days=1)]}
    )  # fmt: skip
    with pytest.raises(ValueError, match="know nothing later"):
        statistics.artwork_statistics(shown, plays, titles, images, DAY)


# -- the leaks ---------------------------------------------------------------------------------------------------------


def random_split(patch: pytest.MonkeyPatch) -> None:
    def leak(interactions: pd.DataFrame, _day: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        test = np.random.default_rng(0).random(len(interactions)) < 0.2
        return interactions[~test], interactions.loc[test, ["profile_id", "title_id"]]

    patch.setattr(train, "time_split", leak)


def features_of_all_data(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(features, "no_future", lambda *_: None)


def unstable_sort(patch: pytest.MonkeyPatch) -> None:
    honest = strong.ranked

    def leak(scores: np.ndarray, seen: csr_matrix | None, k: int) -> np.ndarray:
        return honest(scores + 1e-12 * np.random.default_rng(0).random(scores.shape), seen, k)

    patch.setattr(strong, "ranked", leak)


def titles_of_the_test(patch: pytest.MonkeyPatch) -> None:
    class Leak(Histories):
        @classmethod
        def from_pairs(cls, pairs, profiles=None, titles=None):  # type: ignore[no-untyped-def]
            return Histories.from_pairs(pairs, profiles, ["only-here", "x"] if titles is None else titles)

    patch.setattr(strong, "Histories", Leak)


def targets_folded_in(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(strong.Held, "__post_init__", lambda self: None)


def sampled_negatives(patch: pytest.MonkeyPatch) -> None:
    honest = strong.ranked

    def leak(scores: np.ndarray, seen: csr_matrix | None, k: int) -> np.ndarray:
        few = np.where(np.arange(scores.shape[1]) % 3 == 0, scores, -np.inf)  # every third title, the target among them
        return honest(few, seen, k)

    patch.setattr(strong, "ranked", leak)


def tuned_on_the_test(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(train, "time_split", lambda rows, day: (rows, time_split(rows, day)[1]))


def own_impressions(patch: pytest.MonkeyPatch) -> None:
    class Leak(blend.Blend):
        def __init__(self, catalogue, read=None, **given):  # type: ignore[no-untyped-def]
            super().__init__(catalogue, read=whole.assign(day=whole["day"] - 1), **given)

    whole = pd.DataFrame()
    honest = train._judge

    def judge(interactions, catalogue, origins, rivals, read, kept):  # type: ignore[no-untyped-def]
        nonlocal whole
        whole = read
        return honest(interactions, catalogue, origins, rivals, read, kept)

    patch.setattr(train, "Blend", Leak)
    patch.setattr(train, "_judge", judge)


def before_launch(patch: pytest.MonkeyPatch) -> None:
    honest = blend.Blend.__init__

    def leak(self: blend.Blend, catalogue: pd.DataFrame, *args: object, **given: object) -> None:
        honest(self, catalogue.assign(launch_day=TODAY - 900), *args, **given)  # type: ignore[arg-type]

    patch.setattr(blend.Blend, "__init__", leak)


def households_apart(patch: pytest.MonkeyPatch) -> None:
    honest = strong.strong_split
    patch.setattr(strong, "strong_split", lambda pairs, seed, held, households: honest(pairs, seed, held))


def takes_of_tomorrow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(statistics, "no_future", lambda *_: None)


LEAKS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Plant]] = {
    "random split across the clock": (the_clock_is_global, random_split),
    "features of all data": (features_know_nothing_later, features_of_all_data),
    "unstable sort": (ties_are_cut_by_title, unstable_sort),
    "titles of the test": (training_decides_which_titles_there_are, titles_of_the_test),
    "targets folded in": (what_is_folded_in_is_no_target, targets_folded_in),
    "sampled negatives": (every_title_is_ranked, sampled_negatives),
    "tuned on the test": (weights_are_learned_before_the_day_that_judges, tuned_on_the_test),
    "own impressions": (pages_of_the_day_that_judges_say_nothing, own_impressions),
    "titles before launch": (nothing_is_listed_before_its_launch, before_launch),
    "one household on two sides": (a_household_is_on_one_side, households_apart),
    "takes of tomorrow's images": (an_image_is_judged_by_the_past, takes_of_tomorrow),
}


@pytest.mark.parametrize("name", LEAKS)
def test_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    LEAKS[name][0](monkeypatch)


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_turns_it_red(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, plant = LEAKS[name]
    plant(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(monkeypatch)
