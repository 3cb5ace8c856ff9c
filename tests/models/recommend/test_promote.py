"""The promotion rule by planted models: who is promoted, who goes on, and what each refusal says."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.recommend.blend import Blend
from models.recommend.decision import FALLBACK, INCUMBENT, serving_version
from models.recommend.evaluate import Judged
from models.recommend.promote import Incumbent, Verdict, decide, incumbent
from models.recommend.strong import paired_bootstrap
from models.recommend.train import _on_their_own, train
from tests.models.recommend.test_pages import PAGE_DATE, service

N = 400
RNG = np.random.default_rng(5)
BASE = RNG.random(N) * 0.4
NOISE = RNG.normal(0.0, 0.05, N)
ORIGIN = np.repeat([100, 101], N // 2)


def model(gain: float = 0.0, coverage: float = 0.3, genre_kl: float = 0.2, short_gain: float = 0.0) -> Judged:
    """Everybody `gain` above the common base; short histories (a fifth) by `short_gain` more."""
    length = np.where(np.arange(N) % 5 == 0, 1, 20)
    ndcg = BASE + gain + NOISE * (gain != 0.0) + np.where(length == 1, short_gain, 0.0)
    who = np.array([f"p{i % (N // 2)}" for i in range(N)], dtype=object)
    return Judged(who, ORIGIN, ndcg, ndcg, np.full(N, genre_kl), length, coverage, N, 1.0)


def judged(new: Judged, **others: Judged) -> dict[str, Judged]:
    return {"new": new, "implicit_als": model(), FALLBACK: model(-0.05), **others}


def verdict(new: Judged, now: Incumbent | None = None, same: bool = False, **others: Judged) -> Verdict:
    return decide("new", "v2", judged(new, **others), now, same)


OLD = Incumbent("v1", {"a": 1})


def test_a_better_model_is_promoted_and_says_by_how_much() -> None:
    found = verdict(model(0.03))
    assert found.promoted and found.serves == "v2"
    assert found.reason.startswith("promoted: NDCG@10") and "400 profiles over 2 origins" in found.reason
    assert set(found.against) == {"implicit_als", FALLBACK} and found.against["implicit_als"].low > 0.01
    assert found.intervals["new"]["ndcg"].low < found.intervals["new"]["ndcg"].mean


@pytest.mark.parametrize(
    ("new", "others", "said"),
    [
        (model(0.003), {}, "not above implicit_als"),
        (model(0.03), {FALLBACK: model(0.05)}, f"not above {FALLBACK}"),
        (model(0.03), {INCUMBENT: model(0.03)}, f"not above {INCUMBENT}"),
        (model(0.05, coverage=0.29), {INCUMBENT: model(0.02)}, "coverage 0.2900 was 0.3000"),
        (model(0.05, genre_kl=0.21), {INCUMBENT: model(0.02)}, "genre_kl 0.2100 was 0.2000"),
        (model(0.05, short_gain=-0.04), {INCUMBENT: model(0.02)}, "short_ndcg"),
    ],
)
def test_each_rule_alone_refuses_and_the_last_good_one_goes_on(
    new: Judged, others: dict[str, Judged], said: str
) -> None:
    found = verdict(new, OLD, same=INCUMBENT not in others, **others)
    assert not found.promoted and said in found.reason
    assert found.serves == (None if others.get(FALLBACK) is not None else "v1")


def test_a_guard_may_lose_two_percent() -> None:
    kept = model(0.05, coverage=0.2945, genre_kl=0.2035)
    assert verdict(kept, OLD, **{INCUMBENT: model(0.02)}).promoted


def test_the_same_recipe_is_not_its_own_rival() -> None:
    assert verdict(model(0.03), OLD, same=True).serves == "v2"


def test_nothing_to_test_on_changes_nothing() -> None:
    assert decide("new", "v2", {}, OLD, True).serves == "v1"
    assert decide("new", "v2", {}, None, False).serves is None


def test_profiles_are_drawn_with_all_their_origins() -> None:
    """Each profile twice with the same gap: half as much is known as entries say."""
    gap = RNG.normal(0.01, 0.1, 200)
    twice, ids = np.concatenate([gap, gap]), np.array([f"p{i}" for i in [*range(200), *range(200)]], dtype=object)
    once = paired_bootstrap(gap, 0.0)
    together, apart = paired_bootstrap(twice, 0.0, groups=ids), paired_bootstrap(twice, 0.0)
    width = [one.high - one.low for one in (once, together, apart)]
    assert width[1] == pytest.approx(width[0], rel=0.05) and width[2] < 0.8 * width[0]
    assert together.mean == pytest.approx(once.mean)


def row(day: int, version: str, **values: Any) -> dict[str, Any]:
    common = {"event_date": date(2026, 2, day), "version": version, "promoted": True, "recipe": '{"a": 1}'}
    return {**common, "serves": version, **values}


def test_what_serves_by_its_rows() -> None:
    rows = [row(1, "a"), row(2, "b", recipe='{"a": 2}'), row(3, "c", promoted=False, serves="a")]
    assert incumbent(pd.DataFrame(rows)) == Incumbent("a", {"a": 1})
    assert incumbent(pd.DataFrame([*rows, row(4, "d", serves=None)])) is None  # rolled back to the fallback
    assert incumbent(pd.DataFrame(rows[:0])) is None
    first = {"version": "x", "promoted": True, "event_date": date(2026, 2, 1), "recipe": None, "serves": None}
    assert serving_version(first) == "x" and serving_version({**first, "promoted": False}) is None
    assert incumbent(pd.DataFrame([first])) == Incumbent("x", None)


def test_a_run_retrains_the_recipe_that_serves() -> None:
    plays, titles, _ = service(profiles=120)
    day = PAGE_DATE - timedelta(days=1)
    first = train(plays, titles, day)
    same = json.loads(json.dumps(first.model.recipe))
    again = train(plays, titles, day, Incumbent("old", same))
    assert INCUMBENT not in again.judged and again.verdict.against.keys() == first.verdict.against.keys()
    other = train(plays, titles, day, Incumbent("old", {**same, "ials.factors": 4}))
    assert INCUMBENT in other.verdict.against and len(other.judged[INCUMBENT].ndcg) == len(
        other.judged["als_blend"].ndcg
    )
    broken = train(plays, titles, day, Incumbent("old", {"depth": 3}))
    assert "the recipe of old cannot be retrained: recipe has ['depth']" in broken.verdict.reason
    assert first.splits["origins"].split()[-1] == day.isoformat()
    assert len({*first.splits["origins"].split()}) == 3


def test_searches_judge_where_enough_search() -> None:
    """What a page led to on the day that judges says how pages were, not what is liked."""
    days = pd.DataFrame({"profile_id": [f"p{i}" for i in range(300)], "day": [7] * 100 + [8] * 200})
    led = days.assign(title_id="t", searched=[i % 2 == 0 for i in range(300)])
    left = _on_their_own(led, 8)
    assert len(left) == 200 and left.loc[left["day"] == 8, "searched"].all() and (left["day"] == 7).sum() == 100
    few = led.assign(searched=led["searched"] & (led.index % 4 == 0))
    assert _on_their_own(few, 8).equals(few), "fifty that searched are too few to go by"


def test_a_recipe_makes_the_same_blend_again() -> None:
    _, titles, _ = service(profiles=12)
    from models.recommend.interactions import shows

    made = Blend.of(Blend(shows(titles)).recipe | {"ials.factors": 8}, shows(titles))
    assert made.ials.factors == 8 and made.recipe == Blend(shows(titles)).recipe | {"ials.factors": 8}
