"""Root cause: planted causes are found in seeded cubes, whatever the order, the units or the length of time."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import qoe_cause
from models.incident.cause import Explanation, Search, calm, explain, explain_rollups
from schemas.metrics import METRICS, ROLLUPS, Direction

VALUES = {
    "cdn": ("edge-1", "edge-2", "edge-3"),
    "device": ("mobile", "tv", "web", "tablet"),
    "isp": ("north", "south", "west"),
    "version": ("7.1", "7.2"),
}
NAMES = tuple(VALUES)


def cube(seed: int, faults: list[tuple[dict[str, str], float]], sessions: int = 60_000) -> tuple[pd.DataFrame, ...]:
    """Sums before and during: rows differ in ratio and, a hundredfold, in volume; each fault spoils a share."""
    rng = np.random.default_rng(seed)
    rows = pd.MultiIndex.from_product(VALUES.values(), names=NAMES).to_frame(index=False)
    popular = rng.lognormal(0.0, 1.0, len(rows))
    usual = 0.01 + 0.04 * rng.random(len(rows))
    frames = []
    for moment, spoiled in (("before", 0.0), ("during", 1.0)):
        rate = usual.copy()
        for where, harm in faults:
            inside = np.all([rows[name] == value for name, value in where.items()], axis=0)
            uneven = rng.uniform(0.6, 1.4, len(rows))  # a fault does not hit every row alike
            rate = np.where(inside, rate + spoiled * (1 - rate) * harm * uneven, rate)
        den = rng.poisson(sessions * popular / popular.sum() * (4 if moment == "before" else 1))
        frames.append(rows.assign(num=rng.binomial(den, np.minimum(rate, 1.0)), den=den))
    return frames[0], frames[1]


def told(answer: Explanation) -> list[dict[str, str]]:
    return [cause.where for cause in answer.causes]


FAULTS = [
    {"isp": "south"},
    {"device": "web"},
    {"cdn": "edge-2", "isp": "north"},
    {"device": "tv", "version": "7.2"},
    {"cdn": "edge-3", "device": "mobile", "isp": "west"},
]


@pytest.mark.parametrize("where", FAULTS, ids=lambda where: "&".join(where.values()))
@pytest.mark.parametrize("seed", range(2))
def test_a_planted_fault_is_the_first_cause(where: dict[str, str], seed: int) -> None:
    answer = explain(*cube(seed, [(where, 0.3)]), NAMES)
    assert told(answer) == [where]
    cause = answer.causes[0]
    assert 0.8 < cause.share < 1.2
    assert cause.ratio_during > cause.ratio_before + 0.1
    assert answer.share == pytest.approx(cause.share)


@pytest.mark.parametrize("seed", range(3))
def test_two_faults_apart_are_two_causes(seed: int) -> None:
    one, other = {"cdn": "edge-1", "isp": "south"}, {"device": "tv", "version": "7.2"}
    answer = explain(*cube(seed, [(one, 0.3), (other, 0.3)]), NAMES)
    assert sorted(map(str, told(answer))) == sorted(map(str, (one, other)))
    assert answer.share < sum(cause.share for cause in answer.causes)  # sessions of both are counted once


def test_two_values_of_one_place_are_that_place() -> None:
    """Of edge-1 two of four devices fell ill, one much more: seen one by one, but the cause is the edge."""
    faults = [({"cdn": "edge-1", "device": "mobile"}, 0.6), ({"cdn": "edge-1", "device": "tv"}, 0.18)]
    before, during = cube(0, faults)
    answer = explain(before, during, NAMES)
    assert told(answer) == [{"cdn": "edge-1"}]
    assert answer.ranked[1].where == {"cdn": "edge-1", "device": "mobile"}
    alone = explain(before, during, NAMES, search=Search(second_share=0.9))
    assert told(alone) == [{"cdn": "edge-1", "device": "mobile"}]


def test_a_cohort_unseen_before_is_expected_to_be_like_the_rest() -> None:
    before, during = cube(1, [({"isp": "west"}, 0.3)])
    new = before.assign(version="8.0", num=(before["den"] * 0.03).astype(int))
    assert told(explain(before, pd.concat([during, new]), NAMES)) == [{"isp": "west"}]


def test_a_ratio_that_should_be_high() -> None:
    before, during = cube(1, [({"isp": "west"}, 0.3)])
    good = [frame.assign(num=frame["den"] - frame["num"]) for frame in (before, during)]
    assert told(explain(*good, NAMES, worse=Direction.LOWER)) == [{"isp": "west"}]
    assert explain(*good, NAMES, worse=Direction.HIGHER).ratio_during < 1


def test_more_viewers_of_a_bad_place_are_no_cause() -> None:
    """The overall ratio doubles because a place that was always bad grew: no row got worse, so there is no cause."""
    rows = pd.DataFrame({"isp": ["bad", "good"], "num": [300, 100], "den": [1000, 10_000]})
    grown = rows.assign(num=[3000, 100], den=[10_000, 10_000])
    answer = explain(rows, grown, ["isp"], search=Search(prior=1e-9))
    assert answer.causes == answer.ranked == ()
    assert answer.ratio_before == pytest.approx(answer.ratio_during)


def test_one_description_stands_for_the_same_rows() -> None:
    """Version 9 runs on web alone: 'version 9' and 'web, version 9' are the same sessions, told with all they share."""
    before, during = cube(2, [({"version": "7.2"}, 0.3)])
    for frame in (before, during):
        frame.loc[frame["version"] == "7.2", "isp"] = "north"
    merged = [frame.groupby(list(NAMES), as_index=False).sum() for frame in (before, during)]
    assert told(explain(*merged, NAMES)) == [{"isp": "north", "version": "7.2"}]


def test_calm_minutes_leave_out_earlier_bursts() -> None:
    history = pd.DataFrame({"minute": [1, 1, 2, 2, 3, 3], "num": [1, 1, 90, 1, 1, 2], "den": [100] * 6})
    assert set(calm(history, "minute")["minute"]) == {1, 3}
    assert set(calm(history, "minute", worse=Direction.LOWER)["minute"]) == {2, 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="isp"), "columns ['isp'] are missing"),
        (lambda frame: frame.assign(isp=None), "dimensions ['isp'] hold nulls"),
        (lambda frame: frame.assign(num=-frame["num"]), "negative or not finite"),
        (lambda frame: frame.assign(den=np.inf), "negative or not finite"),
        (lambda frame: frame.assign(den=0), "the sum of den is 0"),
        (lambda frame: frame.iloc[:0], "the sum of den is 0"),
    ],
)
def test_a_broken_frame_is_named(change: object, message: str) -> None:
    before, during = cube(0, [])
    with pytest.raises(ValueError, match=f"during: .*{re.escape(message)}"):
        explain(before, change(during), NAMES)  # type: ignore[operator]


def test_settings_out_of_range_are_refused() -> None:
    before, during = cube(0, [])
    for wrong in ({"prior": 0.0}, {"second_share": 1.0}, {"limits": ()}):
        with pytest.raises(ValueError, match="must be positive|between 0 and 1|at least one"):
            Search(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one to 8 different"):
        explain(before, during, [])
    with pytest.raises(ValueError, match="without a worse side"):
        explain(before, during, NAMES, worse=Direction.NEITHER)


class TestContract:
    """What every answer keeps, over any cube and any fault."""

    faults = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()})
    cubes = st.builds(
        lambda seed, where, harm: cube(seed, [(where, harm)], sessions=20_000),
        st.integers(0, 10_000),
        faults,
        st.floats(0.1, 0.5),
    )

    @settings(max_examples=12, deadline=None)
    @given(frames=cubes)
    def test_shares_and_ratios_add_up(self, frames: tuple[pd.DataFrame, pd.DataFrame]) -> None:
        before, during = frames
        answer = explain(before, during, NAMES)
        assert answer.ranked[: len(answer.causes)] == answer.causes
        assert len({str(cause) for cause in answer.ranked}) == len(answer.ranked) <= 5
        assert answer.ratio_during == pytest.approx(during["num"].sum() / during["den"].sum())
        whole = (answer.ratio_during - answer.ratio_before) * during["den"].sum()
        for cause in answer.ranked:
            held = during[np.all([during[name] == value for name, value in cause.where.items()], axis=0)]
            assert cause.den == held["den"].sum()
            assert cause.ratio_during == pytest.approx(held["num"].sum() / held["den"].sum())
            assert cause.excess == pytest.approx((cause.ratio_during - cause.ratio_before) * cause.den)
            assert cause.share == pytest.approx(cause.excess / whole)
            assert 0 <= cause.score <= 1

    @settings(max_examples=6, deadline=None)
    @given(frames=cubes, order=st.permutations(NAMES), seed=st.integers(0, 100))
    def test_order_of_dimensions_and_rows_is_nothing(
        self, frames: tuple[pd.DataFrame, pd.DataFrame], order: list[str], seed: int
    ) -> None:
        before, during = frames
        mixed = [frame.sample(frac=1.0, random_state=seed) for frame in frames]
        again = explain(mixed[0][[*order, "den", "num"]], mixed[1], order)
        first = explain(before, during, NAMES)
        assert told(again) == told(first)
        assert again.share == pytest.approx(first.share)

    @settings(max_examples=6, deadline=None)
    @given(frames=cubes, seconds=st.sampled_from((1e-3, 7.0, 60_000.0)), longer=st.sampled_from((0.25, 3.0)))
    def test_units_and_length_of_time_are_nothing(
        self, frames: tuple[pd.DataFrame, pd.DataFrame], seconds: float, longer: float
    ) -> None:
        before, during = frames
        first = explain(before, during, NAMES)
        scaled = [
            frame.assign(num=frame["num"] * seconds * many, den=frame["den"] * many)
            for frame, many in ((before, longer), (during, 1.0))
        ]
        again = explain(*scaled, NAMES)
        assert told(again) == told(first)
        assert [cause.share for cause in again.ranked] == pytest.approx([cause.share for cause in first.ranked])

    @settings(max_examples=4, deadline=None)
    @given(frames=cubes)
    def test_minutes_may_come_apart_or_summed(self, frames: tuple[pd.DataFrame, pd.DataFrame]) -> None:
        before, during = frames
        half = before.assign(num=before["num"] // 2, den=before["den"] // 2)
        rest = before.assign(num=before["num"] - half["num"], den=before["den"] - half["den"])
        apart = explain(pd.concat([half, rest]), during, NAMES)
        assert told(apart) == told(explain(before, during, NAMES))


REBUFFER = next(metric for metric in METRICS if metric.name == "rebuffer_ratio")


def rollups(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of qoe_minute, as the stream writes them: each rollup summed on its own, '*' elsewhere."""
    parts = []
    for rollup in ROLLUPS:
        keys = list(rollup.by)
        sums = frame.groupby(keys, as_index=False)[["num", "den"]].sum() if keys else frame[["num", "den"]].sum()
        part = sums if keys else sums.to_frame().T
        parts.append(part.assign(rollup=rollup.name))
    columns = dict(zip(("num", "den"), REBUFFER.columns, strict=True))
    return pd.concat(parts, ignore_index=True).fillna("*").rename(columns=columns)


def service(seed: int, where: dict[str, str]) -> list[pd.DataFrame]:
    """Rollups before and during a fault of a service with every dimension of the rollups."""
    rng = np.random.default_rng(seed)
    many = 4000
    frame = pd.DataFrame(
        {name: rng.choice(6, many, p=[0.4, 0.25, 0.15, 0.1, 0.06, 0.04]) for rollup in ROLLUPS for name in rollup.by}
    ).astype(str)
    frames = []
    for ill in (False, True):
        inside = np.all([frame[name] == value for name, value in where.items()], axis=0)
        play = rng.integers(20_000, 60_000, many)
        stall = (play * rng.exponential(0.01, many) * np.where(inside & ill, 20.0, 1.0)).astype(int)
        frames.append(rollups(frame.assign(num=stall, den=play + stall)))
    return frames


@pytest.mark.parametrize(
    "where",
    [{"isp": "1"}, {"device": "2"}, {"country": "1"}, {"cdn_id": "0", "isp": "1"}, {"app_version": "3"}],
    ids=str,
)
def test_rollups_of_the_stream_name_the_cohort(where: dict[str, str]) -> None:
    answer = explain_rollups(*service(5, where), REBUFFER)
    assert told(answer) == [where]
    assert answer.causes[0].share > 0.85


def test_a_plain_sum_has_no_root_cause() -> None:
    attempts = next(metric for metric in METRICS if metric.name == "attempts")
    before, during = service(1, {"isp": "1"})
    with pytest.raises(ValueError, match="'attempts' has no denominator"):
        explain_rollups(before, during, attempts)
    with pytest.raises(ValueError, match="no rollup with dimensions has rows both"):
        explain_rollups(before[before["rollup"] == "total"], during, REBUFFER)


def test_the_bench_reads_labels_and_prints_its_table(
    tmp_path: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    labels = []
    for number, where in enumerate(FAULTS[:3]):
        before, during = cube(number, [(where, 0.3)])
        minutes = [before.assign(min=1_600_000_000 + 60 * step) for step in range(3)]
        rows = pd.concat([*minutes, during.assign(min=1_600_000_180)]).rename(columns={"num": "value", "den": "cnt"})
        rows[rows["cnt"] > 0].to_csv(folder / f"case{number}.csv", index=False)
        labels.append(f"- data: case{number}\n  timestamp: 1600000180\n  cause: {where}\n")
    (folder / "anomaly.yaml").write_text("".join(labels), encoding="utf-8")
    monkeypatch.setattr(qoe_cause, "seconds", lambda cases, search: (9.0, 0.1))
    qoe_cause.main(["--incidents", str(folder)])
    out = capsys.readouterr().out
    assert re.search(r"from the other fold +3 of 3 .* 3 of 3 .* 3 of 3", out)
    assert "missed" not in out
    labelled = (folder / "anomaly.yaml").read_text(encoding="utf-8")
    (folder / "anomaly.yaml").write_text(re.sub(r"cause: .*", "cause: {cdn: nowhere}", labelled), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        qoe_cause.main(["--incidents", str(folder)])
    assert ended.value.code == 4
    assert "missed: top-1: 0 of 3, needed 54 of 63" in capsys.readouterr().out
    (folder / "case2.csv").unlink()
    with pytest.raises(SystemExit, match=r"case2\.csv is absent"):
        qoe_cause.main(["--incidents", str(folder)])
