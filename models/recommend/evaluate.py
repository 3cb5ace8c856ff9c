"""Offline evaluation on a global clock: everything before an origin trains, that day judges.

A random or per-user split lets every model see the future (Ji et al. 2020, arXiv 2010.11060); this one cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.frames import places
from models.recommend.interactions import genre_counts, genre_matrix
from models.recommend.page_metrics import genre_kl
from models.recommend.protocol import Recommender

SHORT = 3
"""Titles up to which a history counts as short."""
MEANS = ("ndcg", "recall", "genre_kl", "coverage", "short_ndcg")


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One model over one or more origins; the arrays have an entry for each profile and origin, shape (n,).

    Attributes:
        profile: ids. origin: epoch days. ndcg, recall: at k; recall is hits over min(k, targets).
        genre_kl: KL(history || list) in nats, nan without a history or a catalogue.
        length: titles watched before the origin.
        coverage: share of the trained titles that anybody is shown, mean of the origins.
        pairs: to be found. reachable: share of them whose title was in training.
    """

    profile: NDArray[np.object_]
    origin: NDArray[np.int64]
    ndcg: NDArray[np.float64]
    recall: NDArray[np.float64]
    genre_kl: NDArray[np.float64]
    length: NDArray[np.int64]
    coverage: float
    pairs: int
    reachable: float

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The same model over the origins of all `parts`, at least one."""
        pairs = np.array([part.pairs for part in parts])
        return cls(
            profile=np.concatenate([part.profile for part in parts]),
            origin=np.concatenate([part.origin for part in parts]),
            ndcg=np.concatenate([part.ndcg for part in parts]),
            recall=np.concatenate([part.recall for part in parts]),
            genre_kl=np.concatenate([part.genre_kl for part in parts]),
            length=np.concatenate([part.length for part in parts]),
            coverage=float(np.mean([part.coverage for part in parts])),
            pairs=int(pairs.sum()),
            reachable=float(np.average([part.reachable for part in parts], weights=np.maximum(pairs, 1))),
        )

    @property
    def short(self) -> NDArray[np.bool_]:
        """Whose history is short, shape (n,)."""
        return self.length <= SHORT

    def mean(self, name: str) -> float:
        """One of MEANS; nan where nobody can be judged by it."""
        if name == "coverage":
            return self.coverage
        values = self.ndcg[self.short] if name == "short_ndcg" else getattr(self, name)
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else float("nan")


def time_split(interactions: pd.DataFrame, day: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(before `day`, on `day`); the second holds each new pair once: what a profile had watched before is no target."""
    train = interactions[interactions["day"] < day]
    test = interactions[interactions["day"] == day][["profile_id", "title_id"]].drop_duplicates()
    seen = train[["profile_id", "title_id"]].drop_duplicates()
    fresh = test.merge(seen, how="left", on=["profile_id", "title_id"], indicator=True)
    return train, fresh[fresh["_merge"] == "left_only"][["profile_id", "title_id"]].reset_index(drop=True)


def evaluate(
    recommender: Recommender,
    train: pd.DataFrame,
    test: pd.DataFrame,
    k: int = 10,
    *,
    origin: int = 0,
    catalogue: pd.DataFrame | None = None,
) -> Judged:
    """Judge a fitted recommender by lists of `k` for the profiles of `test`, what they watched before left out.

    Profiles and titles the model does not know count as misses, never as absent.

    Args:
        train: what it was fitted on. test: pairs to be found, each once.
        origin: epoch day of the test. catalogue: see interactions.shows; without one there is no genre KL.
    """
    profiles = sorted(set(test["profile_id"]))
    seen = train[["profile_id", "title_id"]].drop_duplicates()
    listed = recommender.recommend(profiles, k, exclude=seen)
    hits = listed.merge(test, on=["profile_id", "title_id"])
    targets = test.groupby("profile_id").size().reindex(profiles).to_numpy(dtype=np.int64)
    gain = 1.0 / np.log2(np.arange(k) + 2.0)
    place = places(profiles, hits["profile_id"])
    dcg = np.bincount(place, weights=gain[hits["rank"].to_numpy(dtype=np.int64)], minlength=len(profiles))
    found = np.bincount(place, minlength=len(profiles))
    reach = np.minimum(targets, k)
    known = set(train["title_id"])
    return Judged(
        profile=np.array(profiles, dtype=object),
        origin=np.full(len(profiles), origin, dtype=np.int64),
        ndcg=dcg / np.cumsum(gain)[reach - 1],
        recall=found / reach,
        genre_kl=_genre_kl(listed, seen, profiles, catalogue, k),
        length=seen.groupby("profile_id").size().reindex(profiles).fillna(0).to_numpy(dtype=np.int64),
        coverage=len(set(listed["title_id"])) / max(len(known), 1),
        pairs=len(test),
        reachable=float(test["title_id"].isin(known).mean()) if len(test) else 0.0,
    )


def _genre_kl(
    listed: pd.DataFrame, seen: pd.DataFrame, profiles: list[str], catalogue: pd.DataFrame | None, k: int
) -> NDArray[np.float64]:
    """Of each profile's list against its history, shape (profiles,)."""
    out = np.full(len(profiles), np.nan)
    if catalogue is None or not len(profiles):
        return out
    _, genres = genre_matrix(catalogue)
    mine = seen[seen["profile_id"].isin(set(profiles))]
    counts = genre_counts(mine.assign(weight=1.0), catalogue, genres, profiles)
    lists = np.full((len(profiles), k), -1, dtype=np.int64)
    row, column = places(profiles, listed["profile_id"]), listed["rank"].to_numpy(dtype=np.int64)
    lists[row, column] = places(catalogue["title_id"], listed["title_id"])
    some = (counts.sum(axis=1) > 0) & (lists >= 0).any(axis=1)
    history = counts[some] / counts[some].sum(axis=1, keepdims=True)
    out[some] = genre_kl(lists[some], genres, history)
    return out
