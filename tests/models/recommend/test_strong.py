"""Strong generalization: metrics against a plain loop, splits without leaks, the bootstrap against the t interval."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from models.recommend.histories import Histories
from models.recommend.strong import Held, by_length, from_roles, judge, paired_bootstrap, ranked, strong_split


def pairs(seed: int = 0, profiles: int = 120, titles: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    who, what = np.nonzero(rng.random((profiles, titles)) < rng.uniform(0.02, 0.5, (profiles, 1)))
    return pd.DataFrame({"profile_id": [f"u{i}" for i in who], "title_id": [f"m{i}" for i in what]})


def test_metrics_against_a_plain_loop() -> None:
    split = strong_split(pairs(), seed=3, held=0.3)
    rng = np.random.default_rng(1)
    scores = rng.normal(size=split.test.target.shape).round(1)  # with ties
    found = judge(scores, split.test)
    for i in range(len(scores)):
        seen = set(split.test.fold_in.matrix[i].indices.tolist())
        wanted = set(split.test.target[i].indices.tolist())
        order = sorted((j for j in range(scores.shape[1]) if j not in seen), key=lambda j: (-scores[i, j], j))
        for k in (20, 50):
            assert found[f"recall@{k}"][i] == pytest.approx(len(wanted & set(order[:k])) / min(k, len(wanted)))
        gain = sum(1 / math.log2(place + 2) for place, j in enumerate(order[:100]) if j in wanted)
        ideal = sum(1 / math.log2(place + 2) for place in range(min(100, len(wanted))))
        assert found["ndcg@100"][i] == pytest.approx(gain / ideal)


def test_a_perfect_ranking_is_worth_one_and_random_ones_what_chance_gives() -> None:
    split = strong_split(pairs(), seed=3, held=0.3)
    assert judge(split.test.target.toarray(), split.test)["ndcg@100"].mean() == pytest.approx(1.0)


def test_ties_go_to_the_smaller_column_even_at_the_cut() -> None:
    scores = np.array([[0.0, 1.0, 1.0, 1.0, 2.0]])
    assert ranked(scores, None, 3).tolist() == [[4, 1, 2]]
    assert ranked(scores, csr_matrix(np.array([[0, 1, 0, 0, 0.0]])), 3).tolist() == [[4, 2, 3]]


def test_a_split_keeps_profiles_apart_and_hides_a_fifth() -> None:
    data = pairs()
    split = strong_split(data, seed=5, held=0.2)
    groups = [set(split.train.profiles), set(split.valid.fold_in.profiles), set(split.test.fold_in.profiles)]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    length = data.groupby("profile_id").size()
    assert set().union(*groups) <= set(length.index[length >= 5])
    for held in (split.valid, split.test):
        whole = held.fold_in.lengths() + np.diff(held.target.indptr)
        assert (np.diff(held.target.indptr) == np.maximum(1, np.floor(0.2 * whole))).mean() > 0.9
    other = strong_split(data.sample(frac=1, random_state=1), seed=5, held=0.2)
    assert set(other.train.profiles) == groups[0]


def test_planted_leak_a_target_that_is_folded_in() -> None:
    both = Histories.from_pairs(pd.DataFrame({"profile_id": ["a", "a"], "title_id": ["x", "y"]}))
    with pytest.raises(ValueError, match="fold-in and target at once"):
        Held(both, csr_matrix(np.array([[1.0, 0.0]])))


def test_planted_leak_titles_of_the_test_alone_are_not_known_to_training() -> None:
    rows = [("a", "x", "train"), ("a", "y", "train"), ("t", "x", "test_fold_in"), ("t", "y", "test_target")]
    rows += [("t", "only-here", "test_target"), ("v", "x", "valid_fold_in"), ("v", "y", "valid_target")]
    split = from_roles(pd.DataFrame(rows, columns=["profile_id", "title_id", "role"]))
    assert split.train.titles.tolist() == ["x", "y"]
    assert split.coverage == pytest.approx(4 / 5)
    assert split.test.target.toarray().tolist() == [[0.0, 1.0]]


def test_the_bootstrap_agrees_with_the_t_interval() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(0.02, 0.1, 600), np.zeros(600)
    found = paired_bootstrap(one, other)
    error = one.std(ddof=1) / np.sqrt(600)
    assert found.mean == pytest.approx(one.mean())
    assert (found.low, found.high) == pytest.approx((one.mean() - 1.96 * error, one.mean() + 1.96 * error), abs=6e-4)
    assert paired_bootstrap(one, one).p == 1.0


def test_by_length_takes_every_profile_once() -> None:
    split = strong_split(pairs(), seed=3, held=0.3)
    ones = np.ones(len(split.test.fold_in.profiles))
    assert set(by_length(ones, split.test).values()) == {1.0}


def test_too_few_profiles_are_not_all_held_out() -> None:
    pairs = pd.DataFrame([(f"p{p}", f"t{t}") for p in range(8) for t in range(6)], columns=["profile_id", "title_id"])
    with pytest.raises(ValueError, match="8 profiles have 5 titles or more"):
        strong_split(pairs, seed=1)
