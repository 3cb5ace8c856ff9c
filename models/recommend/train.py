"""One training run: fit, hold against the baselines of the same run over rolling origins, decide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import pandas as pd

from models.days import as_date, epoch_day
from models.recommend.als import ImplicitALS
from models.recommend.blend import HELD, Blend
from models.recommend.choices import rows_read
from models.recommend.decision import FALLBACK, INCUMBENT, MODEL
from models.recommend.evaluate import Judged, evaluate, time_split
from models.recommend.interactions import from_plays, shows
from models.recommend.parts import Kept
from models.recommend.popularity import DecayedPopularity
from models.recommend.promote import Incumbent, Verdict, decide
from models.recommend.protocol import Recommender

__all__ = ["FALLBACK", "METRIC", "MODEL", "Training", "train"]

METRIC = "ndcg_at_10"
ORIGINS = 3
"""Last days that judge, each the models of the days before it."""
LEAST_SEARCHED = 100
"""Profiles that must have searched on a day for its searches alone to judge."""
MOST_JUDGED = 4000
"""Profiles drawn for judging at each origin: enough to tell .003 NDCG apart, and it bounds the time of a run."""


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """What a run found. `version` names the content: the same data and parameters give the same version.

    Attributes:
        judged: by model, the baselines of this run among them; empty without a day to test on.
        splits: first and last training day, origins, as ISO dates.
    """

    model: Blend
    version: str
    params: dict[str, float | int | str]
    judged: dict[str, Judged]
    verdict: Verdict
    splits: dict[str, str]
    data: dict[str, int] = field(default_factory=dict)

    @property
    def model_id(self) -> str:
        """Name and version."""
        return f"{MODEL}-{self.version}"

    @property
    def promoted(self) -> bool:
        """The new version serves."""
        return self.verdict.promoted


def train(
    plays: pd.DataFrame,
    titles: pd.DataFrame,
    day: date,
    now: Incumbent | None = None,
    outcomes: pd.DataFrame | None = None,
) -> Training:
    """Train on plays up to `day`, having judged the same recipe on the last of these days.

    Args:
        plays: record `play`. titles: newest rows of record `title`.
        now: what serves on `day`; its recipe is retrained and judged beside the new one where they differ.
        outcomes: record impression_outcome up to `day`, if there are pages to learn from.
    """
    interactions = from_plays(plays, until=day)
    catalogue = shows(titles)
    known = interactions["title_id"].isin(set(catalogue["title_id"]))
    interactions = interactions[known].reset_index(drop=True)
    read = None
    if outcomes is not None and len(outcomes):
        allowed = outcomes["profile_id"].isin(set(plays["profile_id"]))
        read = rows_read(outcomes[allowed], plays)
        read = read[read["day"] <= epoch_day(day)]
    kept = Kept(HELD + 1)
    model = Blend(catalogue, read=read, kept=kept)
    same = now is not None and now.recipe == model.recipe
    rivals: dict[str, Mapping[str, float | int]] = {}
    unknown = ""
    if now is not None and now.recipe is not None and not same:
        try:
            Blend.of(now.recipe, catalogue)
            rivals[INCUMBENT] = now.recipe
        except (TypeError, ValueError) as error:
            unknown = f"; the recipe of {now.version} cannot be retrained: {error}"
    origins = _origins(interactions, day)
    judged = _judge(interactions, catalogue, origins, rivals, read, kept)
    shown = [read.sort_values(list(read.columns), kind="mergesort")] if read is not None else []
    version = content_hash(interactions, catalogue, *shown, pd.DataFrame({"recipe": [json.dumps(model.recipe)]}))[:12]
    verdict = decide(model.name, version, judged, now, same)
    verdict = replace(verdict, reason=verdict.reason + unknown)
    model.fit(interactions)
    days = interactions["day"]
    return Training(
        model,
        version,
        {**model.recipe, **{f"weight.{name}": round(value, 6) for name, value in sorted(model.weights.items())}},
        judged,
        verdict,
        {
            "train_from": as_date(int(days.min())).isoformat() if len(days) else "",
            "train_until": day.isoformat(),
            "origins": " ".join(as_date(origin).isoformat() for origin in origins),
        },
        {
            "interactions": len(interactions),
            "profiles": int(interactions["profile_id"].nunique()),
            "shows": len(catalogue),
            "impressions": len(read) if read is not None else 0,
            "dropped_unknown_show": int((~known).sum()),
        },
    )


def _origins(interactions: pd.DataFrame, day: date) -> list[int]:
    """The last ORIGINS epoch days up to `day` that have plays and a day with plays before them."""
    days = np.unique(interactions["day"].to_numpy(dtype=np.int64))
    return [int(one) for one in days[1:][-ORIGINS:] if one <= epoch_day(day)]


def _judge(
    interactions: pd.DataFrame,
    catalogue: pd.DataFrame,
    origins: list[int],
    rivals: Mapping[str, Mapping[str, float | int]],
    read: pd.DataFrame | None,
    kept: Kept,
) -> dict[str, Judged]:
    """Candidate, baselines and rivals (recipes by name), each fitted before each origin and judged on its day."""
    parts: dict[str, list[Judged]] = {}
    for origin in origins:
        past, test = time_split(_on_their_own(interactions, origin), origin)
        test = _some(test, origin)
        if not len(test):
            continue
        before = read[read["day"] < origin] if read is not None else None
        models: dict[str, Recommender] = {
            one.name: one for one in (Blend(catalogue, read=before, kept=kept), ImplicitALS(), DecayedPopularity())
        }
        models |= {name: Blend.of(recipe, catalogue, before) for name, recipe in rivals.items()}
        for name, one in models.items():
            found = evaluate(one.fit(past), past, test, origin=origin, catalogue=catalogue)
            parts.setdefault(name, []).append(found)
    return {name: Judged.joined(found) for name, found in parts.items()}


def _on_their_own(interactions: pd.DataFrame, origin: int) -> pd.DataFrame:
    """Without the plays that a page led to on the day that judges, if enough were searched for.

    What a page shows is played more whatever it is, so that its plays speak for the ranking that made it.
    """
    judging = (interactions["day"] == origin).to_numpy()
    searched = interactions["searched"].to_numpy(dtype=bool)
    if interactions.loc[judging & searched, "profile_id"].nunique() < LEAST_SEARCHED:
        return interactions
    return interactions[~judging | searched].reset_index(drop=True)


def _some(test: pd.DataFrame, origin: int) -> pd.DataFrame:
    """The pairs of at most MOST_JUDGED profiles, the same for every model and on every rerun."""
    profiles = np.array(sorted(set(test["profile_id"])), dtype=object)
    if len(profiles) <= MOST_JUDGED:
        return test
    drawn = profiles[np.random.default_rng(origin).permutation(len(profiles))[:MOST_JUDGED]]
    return test[test["profile_id"].isin(set(drawn))].reset_index(drop=True)


def content_hash(*frames: pd.DataFrame) -> str:
    """SHA-256 over every value of the frames in their order; equal inputs give equal names of runs and versions."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update("|".join(map(str, frame.columns)).encode())
        hashed = pd.util.hash_pandas_object(frame.map(str), index=False).to_numpy(dtype=np.uint64)
        digest.update(hashed.tobytes())
    return digest.hexdigest()
