"""Arms are hashes: stable, independent by salt, of the share asked for. Intervals cover what they claim."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, kstest

from models.experiment.assign import arms, in_holdback, join_parts, uniform, uniforms
from models.experiment.intervals import compare, per_profile

IDS = [f"p{i:06d}" for i in range(20_000)]


def test_the_hash_is_blake2b_of_salt_and_unit() -> None:
    key = blake2b(b"salt", digest_size=32).digest()
    expected = int.from_bytes(blake2b(b"p1", digest_size=8, key=key).digest(), "little") / 2**64
    assert uniforms("salt", ["p1"])[0] == uniform("salt", "p1") == expected


def test_uniforms_are_uniform_and_shares_are_kept_and_nested() -> None:
    assert kstest(uniforms("a", IDS), "uniform").pvalue > 0.001
    tenth, fifth = in_holdback("a", IDS, 0.1), in_holdback("a", IDS, 0.2)
    assert abs(tenth.mean() - 0.1) < 0.01
    assert (fifth | ~tenth).all()
    assert not in_holdback("a", IDS, 0.0).any() and in_holdback("a", IDS, 1.0).all()


def test_two_salts_make_two_by_two() -> None:
    table = pd.crosstab(arms("page", IDS, 0.3), arms("artwork", IDS, 0.2))
    assert chi2_contingency(table.to_numpy()).pvalue > 0.001
    assert table.to_numpy().min() > 1000


def test_parts_do_not_run_together() -> None:
    assert len(set(join_parts([["a", "ab"], ["bc", "c"]]))) == 2
    assert uniform("s", "a", "bc") != uniform("s", "ab", "c")
    assert uniform("s", "a", "bc") == uniforms("s", join_parts([["a"], ["bc"]]))[0]


def test_a_wrong_share_is_refused() -> None:
    with pytest.raises(ValueError, match="holdback share is 1.5"):
        in_holdback("s", IDS, 1.5)


def units(rng: np.random.Generator, profiles: int, policy: float, holdback: float) -> pd.DataFrame:
    """Profiles with a rate of their own and 20 to 60 impressions each."""
    arm = np.where(rng.random(profiles) < 0.5, "policy", "holdback")
    shown = rng.integers(20, 60, profiles)
    rate = np.where(arm == "policy", policy, holdback) * rng.gamma(2.0, 0.5, profiles)
    return pd.DataFrame({"arm": arm, "shown": shown, "takes": rng.binomial(shown, np.minimum(rate, 1.0))})


def test_intervals_of_the_difference_cover_the_truth() -> None:
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(300):
        found = compare(units(rng, 400, 0.05, 0.04), repeats=400).difference
        inside += found.low <= 0.01 <= found.high
    assert 0.90 <= inside / 300 <= 0.985


def test_rates_are_sums_over_sums() -> None:
    outcomes = pd.DataFrame(
        {
            "profile_id": ["a", "a", "b", "c"],
            "page_arm": ["policy", "policy", "policy", "holdback"],
            "taken": [True, False, False, True],
        }
    )
    table = per_profile(outcomes, "page_arm")
    assert table[["profile_id", "takes", "shown"]].values.tolist() == [
        ["a", 1.0, 2.0],
        ["b", 0.0, 1.0],
        ["c", 1.0, 1.0],
    ]
    found = compare(table)
    assert found.policy.value == pytest.approx(1 / 3) and found.holdback.value == 1.0
    assert found.lift.value == pytest.approx(-2 / 3)
    with pytest.raises(ValueError, match="no unit in arm 'holdback'"):
        compare(table[table["arm"] == "policy"])
