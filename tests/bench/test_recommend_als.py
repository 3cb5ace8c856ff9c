"""What the table of solvers rests on: who is held out, what a goal is, when a solver is there, MLlib's equations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from bench import recommend_als
from bench.recommend_als import FOLDER, Course, beyond, cut_off, folded, goal_of, levelled, placed, ratio, world_events
from models.recommend.histories import Histories
from models.world import catalogue, population, taste
from models.world.config import WorldConfig

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SLOW = Course(((1.0, 0.1), (2.0, 0.3), (3.0, 0.4)))
FAST = Course(((0.5, 0.2), (0.6, 0.5)))


def small() -> csr_matrix:
    return world_events(400, 60, 6_000, seed=3)


def test_a_solver_is_there_at_the_first_epoch_as_good_as_the_worst_solver_at_its_best() -> None:
    goal = goal_of([SLOW, FAST])
    assert goal == pytest.approx(0.4 * 0.999)
    assert str(SLOW.to(goal)) == "3.00 (3)"
    assert str(FAST.to(goal)) == "0.60 (2)"
    assert ratio(FAST.to(goal), SLOW.to(goal)) == pytest.approx(0.2)


def test_a_solver_cut_off_sets_no_goal_and_took_at_least_what_it_had_taken() -> None:
    cut = replace(SLOW, cut=True)
    assert goal_of([cut, FAST]) == pytest.approx(0.5 * 0.999)
    assert str(cut.to(0.45)) == ">3.00 (3)"
    assert ratio(FAST.to(0.45), cut.to(0.45)) == pytest.approx(0.2)
    assert ratio(cut.to(0.45), FAST.to(0.45)) == np.inf
    with pytest.raises(ValueError, match="raise --budget"):
        goal_of([cut])


def test_when_a_solver_stops() -> None:
    rising = [(float(i), 0.1 * i) for i in range(1, 5)]
    assert not levelled(rising)
    assert levelled([*rising, (5.0, 0.4), (6.0, 0.4), (7.0, 0.4003)])
    assert not levelled([*rising, (5.0, 0.4), (6.0, 0.4), (7.0, 0.4005)])
    assert levelled([(float(i), 0.1 * i) for i in range(1, recommend_als.EPOCHS + 1)])
    assert beyond(rising, 4.9)
    assert not beyond(rising, 5.0)
    assert not beyond([(1.0, 0.4)] * 4, 0.5)  # it needs no more


def test_events_are_drawn_by_the_worlds_own_choice() -> None:
    profiles, shows = 2_000, 30
    plays = world_events(profiles, shows, 4_000, seed=5)
    assert plays.data.max() == 1.0
    assert plays.nnz == pytest.approx(4_000, rel=0.1)
    config = WorldConfig(seed=5, profiles=profiles, shows=shows, days=1)
    people, every = population.build(config, population.clusters(config)), catalogue.synthetic_shows(config)
    liking = taste.affinity(replace(config, seed=6), people, every)
    never = np.full(liking.shape, taste.NEVER, dtype=np.int16)
    useful = taste.utility(config, people, every, liking, never, 0)
    assert not plays[useful <= taste.IMPOSSIBLE / 2].sum()
    one = np.diff(plays.indptr) == 1
    expected = taste.softmax(useful)[one].sum(axis=0)
    drawn = np.asarray(plays[one].sum(axis=0)).ravel()
    often = expected > 5
    assert ((drawn - expected)[often] ** 2 / expected[often]).sum() < 2.0 * often.sum()


def test_profiles_held_out_are_not_trained_on_and_a_fifth_of_each_is_sought() -> None:
    plays = small()
    split = cut_off(plays, 50, seed=1)
    kept = plays[np.diff(plays.indptr) >= 5]
    assert split.train.matrix.nnz == kept[:-100].nnz
    np.testing.assert_array_equal(
        split.train.matrix.toarray(), kept[:-100][:, np.flatnonzero(kept[:-100].sum(axis=0))].toarray()
    )
    for held, rows in ((split.valid, kept[-100:-50]), (split.test, kept[-50:])):
        assert not set(held.fold_in.profiles) & set(split.train.profiles)
        size, sought = np.diff(rows.indptr), held.target.sum(axis=1).A1
        np.testing.assert_array_equal(sought, np.maximum(1, size // 5))
        np.testing.assert_array_equal(sought + held.fold_in.lengths(), size)
    with pytest.raises(ValueError, match="hold out"):
        cut_off(plays, 300, seed=1)


def test_folded_solves_mllibs_objective() -> None:
    rng = np.random.default_rng(2)
    given = rng.normal(size=(12, 3))
    plays = csr_matrix(np.where(rng.random((5, 12)) < 0.4, rng.uniform(1.0, 2.0, (5, 12)), 0.0))
    found = folded(plays, given, 0.3, 2.0)
    dense = plays.toarray()
    trust, wanted = 1.0 + 2.0 * dense, (dense > 0).astype(float)
    slope = (trust * (found @ given.T - wanted)) @ given + 0.3 * wanted.sum(axis=1)[:, None] * found
    np.testing.assert_allclose(slope, 0.0, atol=1e-9)


def test_lists_are_whole() -> None:
    known = Histories(np.array(["p", "q"], dtype=object), np.array(["a", "b", "c"], dtype=object), csr_matrix((2, 3)))
    lists = pd.DataFrame({"profile_id": ["q", "p", "p", "q"], "title_id": list("bacc"), "rank": [0, 0, 1, 1]})
    np.testing.assert_array_equal(placed(lists, known, 2), [[0, 2], [1, 2]])
    with pytest.raises(ValueError, match="fewer than 2"):
        placed(lists[:3], known, 2)
    with pytest.raises(ValueError, match="not among"):
        placed(lists.assign(title_id="z"), known, 2)


def test_a_ratio_that_misses_fails_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    split = cut_off(small(), 50, seed=1)
    recommend_als.solvers("small", split, (4,), FOLDER, 60.0)
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "4"
    monkeypatch.setattr(recommend_als, "MOST_CG", 0.0)
    assert not recommend_als.table(split, (4,), 0, 60.0, ("folder",), ())
    assert "a line does not hold" in capsys.readouterr().out


@pytest.mark.spark
def test_spark_itself(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    from jobs.factorize import Objective

    split = cut_off(small(), 50, seed=1)
    mllib = recommend_als.MLlib(spark, split, FOLDER)
    spent, titles, profiles = mllib.fit(4, 3)
    assert spent > 0
    by_hand = folded(split.train.matrix, titles, *FOLDER.mllib)
    np.testing.assert_allclose(profiles, by_hand, atol=1e-4)
    mllib.close()
    few = Objective(epochs=2, profile_blocks=2, title_blocks=2)
    assert recommend_als.paths(spark, split, (4,), k=10, objective=few)
    profiles = len(split.train.profiles) + len(split.valid.fold_in.profiles) + len(split.test.fold_in.profiles)
    assert f"{profiles} profiles" in capsys.readouterr().out
