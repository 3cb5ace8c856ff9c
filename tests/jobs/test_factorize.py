"""Factors made block by block in Spark are those of one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from models.recommend.histories import Histories
from models.recommend.ials import Ials
from models.recommend.strong import ranked

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def pairs() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    who, what = rng.integers(0, 5, 150), rng.integers(0, 5, 60)
    chance = np.where(who[:, None] == what[None, :], 0.5, 0.06) * rng.uniform(0.3, 1.0, 60)
    row, column = np.nonzero(rng.random((150, 60)) < chance)
    return pd.DataFrame(
        {
            "profile_id": [f"p{i:03d}" for i in row],
            "title_id": [f"t{i:02d}" for i in column],
            "weight": rng.uniform(1.0, 2.0, len(row)),
        }
    )


def test_spark_and_one_machine_rank_alike(spark: SparkSession) -> None:
    from jobs.factorize import Objective, factorize, top_titles

    data = pairs()
    rule = Objective(factors=8, epochs=3, profile_blocks=2, title_blocks=2)
    model = factorize(spark.createDataFrame(data.sample(frac=1.0, random_state=1)), rule)
    found = top_titles(model, 20).toPandas()
    histories = Histories.from_pairs(data)
    alone = Ials(8, rule.regularization, rule.unobserved, rule.epochs, steps=rule.steps, seed=rule.seed).fit(histories)
    scores = alone.fold_in(histories)
    order = ranked(scores, histories.matrix, 20)
    place = {profile: i for i, profile in enumerate(histories.profiles)}
    overlap = []
    for profile, rows in found.sort_values("rank").groupby("profile_id"):
        mine = histories.titles[order[place[profile]]]
        overlap.append(len(set(rows["title_id"]) & set(mine)) / 20)
        seen = set(data.loc[data["profile_id"] == profile, "title_id"])
        assert not seen & set(rows["title_id"])
        column = np.searchsorted(histories.titles, rows["title_id"])
        np.testing.assert_allclose(rows["score"], scores[place[profile], column], atol=2e-3)
    assert len(overlap) == len(histories.profiles)
    assert np.mean(overlap) >= 0.99


def test_no_pairs_is_an_error(spark: SparkSession) -> None:
    from jobs.factorize import factorize

    with pytest.raises(ValueError, match="no pairs"):
        factorize(spark.createDataFrame([], "profile_id string, title_id string, weight double"))
