"""One training run: fit, hold against the baselines of the same run, decide."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pandas as pd

from models.days import epoch_day
from models.recommend.als import ImplicitALS
from models.recommend.blend import Blend
from models.recommend.evaluate import Score, evaluate, time_split
from models.recommend.interactions import from_plays, shows
from models.recommend.popularity import DecayedPopularity

MODEL = "recommender"
METRIC = "ndcg_at_10"
FALLBACK = "decayed_popularity"


@dataclass(frozen=True, slots=True)
class Training:
    """What a run found. `version` names the content: the same data and parameters give the same version."""

    model: Blend
    version: str
    params: dict[str, float | int | str]
    scores: dict[str, Score]
    promoted: bool
    reason: str
    data: dict[str, int] = field(default_factory=dict)

    @property
    def model_id(self) -> str:
        """Name and version."""
        return f"{MODEL}-{self.version}"


def train(plays: pd.DataFrame, titles: pd.DataFrame, day: date) -> Training:
    """Train on plays up to `day`; the last of these days first serves as the test of models trained before it.

    The winner of that test, refitted on all days, serves from the next day on; decayed popularity serves if it is
    not beaten. Baselines run beside the candidate: decayed popularity and plain ALS.
    """
    interactions = from_plays(plays, until=day)
    catalogue = shows(titles)
    known = interactions["title_id"].isin(set(catalogue["title_id"]))
    interactions = interactions[known].reset_index(drop=True)
    scores: dict[str, Score] = {}
    past, test = time_split(interactions, epoch_day(day))
    if len(past) and len(test):
        candidates = (Blend(catalogue), ImplicitALS(), DecayedPopularity())
        scores = {model.name: evaluate(model.fit(past), past, test) for model in candidates}
    model = Blend(catalogue).fit(interactions)
    promoted, reason = _decide(scores)
    params = settings(model)
    version = content_hash(interactions, catalogue, pd.DataFrame({"settings": [str(sorted(params.items()))]}))[:12]
    params |= {f"weight.{name}": round(value, 6) for name, value in sorted(model.weights.items())}
    return Training(
        model,
        version,
        params,
        scores,
        promoted,
        reason,
        {
            "interactions": len(interactions),
            "profiles": int(interactions["profile_id"].nunique()),
            "shows": len(catalogue),
            "dropped_unknown_show": int((~known).sum()),
        },
    )


def settings(model: Blend) -> dict[str, float | int | str]:
    """What the parts of a blend are trained with."""
    ials, edlae = model.ials, model.edlae
    return {
        "ials.factors": ials.factors,
        "ials.regularization": ials.regularization,
        "ials.unobserved": ials.unobserved,
        "ials.epochs": ials.epochs,
        "ials.seed": ials.seed,
        "edlae.regularization": edlae.regularization,
        "edlae.dropout": edlae.dropout,
        "edlae.length_power": edlae.length_power,
        "edlae.play_power": edlae.play_power,
    }


def _decide(scores: dict[str, Score]) -> tuple[bool, str]:
    if not scores:
        return False, "no day to test on: two days with plays are needed; decayed popularity serves"
    own, floor = scores[Blend.name], scores[FALLBACK]
    words = (
        f"{METRIC} {own.ndcg:.4f} against {floor.ndcg:.4f} of {FALLBACK} "
        f"on {own.pairs} new pairs of {own.profiles} profiles"
    )
    if own.ndcg > floor.ndcg:
        return True, f"promoted: {words}"
    return False, f"not promoted, {FALLBACK} serves: {words}"


def content_hash(*frames: pd.DataFrame) -> str:
    """SHA-256 over every value of the frames in their order; equal inputs give equal names of runs and versions."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update("|".join(map(str, frame.columns)).encode())
        hashed = pd.util.hash_pandas_object(frame.map(str), index=False).to_numpy(dtype=np.uint64)
        digest.update(hashed.tobytes())
    return digest.hexdigest()
