"""The promotion rule: who serves from tomorrow on, by paired differences over rolling origins.

A new version is promoted when the lower 95 % bound of its NDCG@10 less each rival's is above 0. The rivals are decayed
popularity, ALS, and the recipe of what serves now, retrained on the same days; all are fitted and judged in the same
run. A recipe is not its own rival: the same one on newer days has to beat the other two. Coverage, genre KL and the
NDCG@10 of short histories may be at most 2 % worse than those of the incumbent's recipe; where popularity serves there
is no model that they could be lost against.

What is not promoted changes nothing: the last good version goes on, unless popularity is shown to be better than it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.recommend.decision import FALLBACK, INCUMBENT, serving_version
from models.recommend.evaluate import Judged
from models.recommend.strong import Paired, paired_bootstrap

LOSS = 0.02
"""Most that a guard may lose, as a share of what it is now."""
GUARDS = {"coverage": 1, "genre_kl": -1, "short_ndcg": 1}
"""Means (evaluate.MEANS) that must not get worse; -1 where less is better."""
DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The version that serves before the decision; `recipe` is None where its row did not keep it."""

    version: str
    recipe: Mapping[str, float | int] | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided.

    Attributes:
        promoted: the new version serves. serves: version that serves from the next day on, None for the fallback.
        reason: in words, with the figures. against: rival to the paired difference of NDCG@10, new less rival.
        intervals: model to {metric: Paired against 0}, the 95 % intervals of the means.
    """

    promoted: bool
    serves: str | None
    reason: str
    against: dict[str, Paired]
    intervals: dict[str, dict[str, Paired]]


def incumbent(promotions: pd.DataFrame) -> Incumbent | None:
    """What serves by the newest of these rows; None when it is the fallback or there is no row.

    Args:
        promotions: record `promotion` of one model, of the days before the decision.
    """
    if not len(promotions):
        return None
    rows = promotions.sort_values("event_date", ascending=False, kind="mergesort").to_dict("records")
    version = serving_version(rows[0])
    if version is None:
        return None
    recipes = (row.get("recipe") for row in rows if row["version"] == version)
    recipe = next((json.loads(text) for text in recipes if isinstance(text, str)), None)
    return Incumbent(version, recipe)


def decide(
    candidate: str, version: str, judged: Mapping[str, Judged], now: Incumbent | None, same_recipe: bool
) -> Verdict:
    """Hold the candidate against every other model of `judged`.

    Args:
        candidate: its name in `judged`. version: of the candidate, trained on all days.
        judged: by model; FALLBACK is among them, and INCUMBENT if its recipe differs and could be retrained.
        now: what serves. same_recipe: the candidate is made by the incumbent's recipe.
    """
    kept = now.version if now is not None else None
    if not judged or not len(judged[candidate].ndcg):
        return Verdict(False, kept, f"no day to test on: two days with plays are needed; {_serve(kept)}", {}, {})
    own = judged[candidate]
    against = {name: _paired(own, rival) for name, rival in judged.items() if name != candidate}
    intervals = {name: _intervals(one) for name, one in judged.items()}
    problems = [f"not above {name}" for name, gap in against.items() if gap.low <= 0.0]
    if INCUMBENT in judged:
        problems += _losses(own, judged[INCUMBENT])
    words = [f"NDCG@10 {own.mean('ndcg'):.4f}, {len(own.ndcg)} profiles over {len(set(own.origin.tolist()))} origins"]
    words += [f"over {name} {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]" for name, gap in against.items()]
    figures = "; ".join(words)
    if not problems:
        return Verdict(True, version, f"promoted: {figures}", against, intervals)
    if kept is not None:
        held = judged.get(INCUMBENT, own if same_recipe else None)
        if held is not None and _paired(held, judged[FALLBACK]).high < 0.0:
            problems.append(f"{FALLBACK} is better than the recipe of {kept}")
            kept = None
    return Verdict(False, kept, f"not promoted, {_serve(kept)}: {', '.join(problems)}; {figures}", against, intervals)


def _serve(version: str | None) -> str:
    return f"{FALLBACK} serves" if version is None else f"{version} goes on"


def _losses(own: Judged, baseline: Judged) -> list[str]:
    """Guards that lost more than LOSS; what cannot be measured on both loses nothing."""
    out = []
    for name, sign in GUARDS.items():
        was, is_ = baseline.mean(name), own.mean(name)
        if np.isfinite(was) and np.isfinite(is_) and sign * (is_ - was) < -LOSS * abs(was):
            out.append(f"{name} {is_:.4f} was {was:.4f}")
    return out


def _paired(one: Judged, other: Judged) -> Paired:
    return paired_bootstrap(one.ndcg, other.ndcg, groups=one.profile, draws=DRAWS)


def _intervals(one: Judged) -> dict[str, Paired]:
    found = {}
    for name in ("ndcg", "recall", "genre_kl"):
        values: NDArray[np.float64] = getattr(one, name)
        some = np.isfinite(values)
        if some.any():
            found[name] = paired_bootstrap(values[some], 0.0, groups=one.profile[some], draws=DRAWS)
    if one.short.any():
        found["short_ndcg"] = paired_bootstrap(one.ndcg[one.short], 0.0, groups=one.profile[one.short], draws=DRAWS)
    return found
