"""Offline evaluation on a global time split: everything before a day trains, that day judges.

A random or per-user split lets every model see the future (Ji et al. 2020, arXiv 2010.11060); this one cannot.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from models.frames import places
from models.recommend.protocol import Recommender


@dataclass(frozen=True, slots=True)
class Score:
    """Means over test profiles. `profiles` judged; `reachable`: share of test pairs whose title was in training."""

    ndcg: float
    recall: float
    coverage: float
    profiles: int
    pairs: int
    reachable: float

    def as_metrics(self, prefix: str) -> dict[str, float]:
        """For a tracking system: {prefix.name: value}."""
        return {f"{prefix}.{name}": float(value) for name, value in asdict(self).items()}


def time_split(interactions: pd.DataFrame, day: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(before `day`, on `day`); the second holds each new pair once: what a profile had watched before is no target."""
    train = interactions[interactions["day"] < day]
    test = interactions[interactions["day"] == day][["profile_id", "title_id"]].drop_duplicates()
    seen = train[["profile_id", "title_id"]].drop_duplicates()
    fresh = test.merge(seen, how="left", on=["profile_id", "title_id"], indicator=True)
    return train, fresh[fresh["_merge"] == "left_only"][["profile_id", "title_id"]].reset_index(drop=True)


def evaluate(recommender: Recommender, train: pd.DataFrame, test: pd.DataFrame, k: int = 10) -> Score:
    """Judge a fitted recommender: NDCG@k, recall@k (hits over min(k, targets)), share of the train titles it shows.

    Profiles and titles the model does not know count as misses, never as absent.
    """
    profiles = sorted(set(test["profile_id"]))
    if not profiles:
        return Score(0.0, 0.0, 0.0, 0, 0, 0.0)
    listed = recommender.recommend(profiles, k, exclude=train[["profile_id", "title_id"]].drop_duplicates())
    hits = listed.merge(test, on=["profile_id", "title_id"])
    targets = test.groupby("profile_id").size().reindex(profiles).to_numpy()
    gain = 1.0 / np.log2(np.arange(k) + 2.0)
    place = places(profiles, hits["profile_id"])
    dcg = np.bincount(place, weights=gain[hits["rank"].to_numpy(dtype=np.int64)], minlength=len(profiles))
    found = np.bincount(place, minlength=len(profiles))
    reach = np.minimum(targets, k)
    known = set(train["title_id"])
    return Score(
        ndcg=float((dcg / np.cumsum(gain)[reach - 1]).mean()),
        recall=float((found / reach).mean()),
        coverage=len(set(listed["title_id"])) / max(len(known), 1),
        profiles=len(profiles),
        pairs=len(test),
        reachable=float(test["title_id"].isin(known).mean()),
    )
