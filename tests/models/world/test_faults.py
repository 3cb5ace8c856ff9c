"""A fault is seen in its cohort and window, and nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.world import Day, Fault, World, WorldError, faults
from tests.models.world.conftest import SMALL, busiest

ISP = "alder-de"


@pytest.fixture(scope="module")
def world() -> World:
    return World.create(SMALL)


@pytest.fixture(scope="module")
def plain(world: World) -> Day:
    return world.live(0)


def of(day: Day, column: str, value: str) -> set[str]:
    rows = day.events[day.events[column] == value]
    return set(rows["session_id"])


def timeline_without(day: Day, sessions: set[str]) -> pd.DataFrame:
    rows = day.truth["timeline"]
    return rows[~rows["session_id"].isin(sessions)].reset_index(drop=True)


def stalled(day: Day, sessions: set[str]) -> float:
    rows = day.truth["sessions"]
    return float(rows.loc[rows["session_id"].isin(sessions), "stall_ms"].sum())


def test_an_outage_hits_its_isp_alone(world: World, plain: Day) -> None:
    isp = busiest(world)
    broken = world.live(0, faults=(faults.isp_outage(isp, start=12 * 60, minutes=720, factor=0.02),))
    hit = of(plain, "isp", isp) | of(broken, "isp", isp)
    assert len(hit) > 20
    assert stalled(broken, hit) > 5 * stalled(plain, hit) + 60_000
    pd.testing.assert_frame_equal(timeline_without(broken, hit), timeline_without(plain, hit))
    assert broken.truth["faults"]["name"].tolist() == ["isp_outage"]


def test_a_bad_release_hits_its_version_alone(world: World, plain: Day) -> None:
    broken = world.live(0, faults=(faults.bad_release("9.9.9", start=0, share=0.4, fail=0.5),))
    hit = of(broken, "app_version", "9.9.9")
    sessions = broken.truth["sessions"].set_index("session_id")
    failed = sessions["end_state"] == "failed"
    assert failed[sessions.index.isin(hit)].mean() > 0.35
    assert failed[~sessions.index.isin(hit)].mean() < 0.05
    on_other_clusters = ~broken.events["cdn_id"].isin(
        broken.events.loc[broken.events["session_id"].isin(hit), "cdn_id"].unique()
    )
    assert "9.9.9" not in set(plain.events["app_version"])
    assert set(broken.events.loc[on_other_clusters, "app_version"]) <= {"5.1.0", "5.2.0"}


def test_a_lost_disk_sends_everyone_to_the_origin(world: World, plain: Day) -> None:
    def in_time(rows: pd.DataFrame) -> pd.Series:
        return ((rows["minute_at"].astype("int64") - SMALL.day_ms(0)) // 60_000).between(16 * 60, 19 * 60 - 1)

    cdn = str(plain.cdn_requests.loc[in_time(plain.cdn_requests), "cdn_id"].mode().iat[0])
    broken = world.live(0, faults=(faults.cdn_node_down(cdn, start=16 * 60, minutes=180),))
    rows = broken.cdn_requests.copy()
    inside = (rows["cdn_id"] == cdn) & in_time(rows)
    assert inside.sum() > 10
    assert (rows.loc[inside, "tier"] == "origin").all()
    assert (rows.loc[(rows["cdn_id"] == cdn) & ~inside, "tier"] == "edge").any()
    hit = of(plain, "cdn_id", cdn)
    pd.testing.assert_frame_equal(timeline_without(broken, hit), timeline_without(plain, hit))


@pytest.mark.parametrize(
    "fault",
    [
        faults.beacon_loss(start=15 * 60, minutes=120, share=0.5),
        faults.duplicate_storm(start=15 * 60, minutes=120, share=0.5, copies=2),
        faults.clock_skew(share=0.3, hours=3.0),
        faults.late_burst(start=15 * 60, minutes=120, share=0.5),
        faults.poison(share=0.2),
    ],
    ids=lambda f: f.name,
)
def test_faults_of_the_beacons_leave_the_truth_alone(world: World, plain: Day, fault: Fault) -> None:
    day = world.live(0, faults=(fault,))
    pd.testing.assert_frame_equal(day.truth["timeline"], plain.truth["timeline"])
    kinds, before = (d.truth["disturbed"]["kind"].value_counts() for d in (day, plain))
    if fault.name == "beacon_loss":
        assert kinds["lost"] > 3 * before["lost"]
    elif fault.name == "duplicate_storm":
        assert kinds["duplicated"] > 5 * before["duplicated"]
    elif fault.name == "late_burst":
        assert kinds["withheld"] > 100 and "withheld" not in before[before > 0]
    elif fault.name == "poison":
        assert len(day.poison) > 5 * len(plain.poison)
    else:
        wrong = (day.events["received_at"] - day.events["device_at"]).dt.total_seconds().abs() > 1_200
        share = day.events.loc[wrong, "session_id"].nunique() / day.events["session_id"].nunique()
        assert 0.15 < share < 0.4


def test_unknown_cohorts_and_windows_are_refused(world: World) -> None:
    with pytest.raises(WorldError, match="no ISP 'nowhere'; there are alder-de"):
        world.live(0, faults=(faults.isp_outage("nowhere"),))
    with pytest.raises(WorldError, match="no cluster"):
        world.live(0, faults=(faults.cdn_node_down("cdn-x"),))
    with pytest.raises(WorldError, match="must lie within the day"):
        faults.isp_outage(ISP, start=-1)
    assert set(faults.ALL) == {
        "isp_outage",
        "bad_release",
        "cdn_node_down",
        "late_burst",
        "duplicate_storm",
        "beacon_loss",
        "clock_skew",
        "poison",
    }
    assert np.isclose(faults.ALL["isp_outage"](ISP).amount, 0.03)
