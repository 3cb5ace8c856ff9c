"""Features as they were known: held against brute force over random facts, late ones and ties included."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars
import pyarrow as pa
import pytest

import lake
from conf.errors import UsageError
from conf.settings import Settings
from schemas import tables as t
from tests.lake import facts

START = datetime(2026, 11, 1, tzinfo=UTC)


def _facts(rng: random.Random, profiles: int, each: int) -> list[dict[str, Any]]:
    """One fact a day and profile; a quarter comes late, some so late that a newer one is known first."""
    made = []
    for profile in range(profiles):
        for day in range(each):
            event_at = START + timedelta(days=day)
            late = rng.choice((0, 0, 0, rng.randint(1, 90)))
            made.append({
                "profile_id": f"p{profile}", "event_at": event_at, "event_date": event_at.date(),
                "available_at": event_at + timedelta(hours=2 + late), "plays_7d": rng.randint(0, 1000),
            })  # fmt: skip
    rng.shuffle(made)
    return made


def _brute_force(known: list[dict[str, Any]], profile: str, at: datetime) -> int | None:
    best = None
    for fact in known:
        if fact["profile_id"] == profile and fact["available_at"] <= at:
            order = (fact["event_at"], fact["available_at"])
            if best is None or order > best[0]:
                best = (order, fact["plays_7d"])
    return best[1] if best else None


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return facts.settings_of(tmp_path_factory.mktemp("pit"))


@pytest.fixture(scope="module")
def known(settings: Settings) -> list[dict[str, Any]]:
    made = _facts(random.Random(5), 12, 8)
    facts.given(settings, t.FEATURE_PROFILE, *made)
    facts.given(settings, t.FEATURE_TITLE, {"title_id": "t", "event_at": START, "available_at": START, "plays_7d": 7})
    return made


def _spine(rng: random.Random, rows: int) -> pd.DataFrame:
    moments = [START + timedelta(minutes=rng.randint(-600, 12 * 1440)) for _ in range(rows)]
    exact = [START + timedelta(days=d, hours=2) for d in range(4)]
    whom = [f"p{rng.randint(0, 13)}" for _ in range(rows + 4)]
    return pd.DataFrame(
        {"row": range(rows + 4), "profile_id": whom, "title_id": "t", "at": pd.to_datetime(moments + exact, utc=True)}
    )


def test_equals_brute_force_in_spine_order(settings: Settings, known: list[dict[str, Any]]) -> None:
    spine = _spine(random.Random(6), 400)
    found = lake.connect(settings).features(spine, ["feature_profile.plays_7d", "feature_title.plays_7d"])
    frame = found.pandas()
    expected = [_brute_force(known, p, a.to_pydatetime()) for p, a in zip(spine.profile_id, spine["at"], strict=True)]
    assert [None if pd.isna(v) else int(v) for v in frame["feature_profile.plays_7d"]] == expected
    assert sum(v is None for v in expected) > 10 and sum(v is not None for v in expected) > 200
    assert list(frame["row"]) == list(spine["row"])
    assert list(frame["feature_title.plays_7d"].notna()) == list(spine["at"] >= START)


def test_every_form_gives_the_same(settings: Settings, known: list[dict[str, Any]]) -> None:
    spine = _spine(random.Random(7), 50)
    home = lake.connect(settings)
    forms = [spine, pa.Table.from_pandas(spine, preserve_index=False), polars.from_pandas(spine)]
    answers = [home.features(form, ["feature_profile.plays_7d"]) for form in forms]
    columns = [a.arrow()["feature_profile.plays_7d"].to_pylist() for a in answers]
    assert columns[0] == columns[1] == columns[2]
    assert answers[2].polars()["feature_profile.plays_7d"].to_list() == columns[0]


def test_manifest_repeats_an_answer_after_more_facts(settings: Settings, known: list[dict[str, Any]]) -> None:
    spine = pd.DataFrame({"profile_id": ["p0"], "at": pd.to_datetime([START + timedelta(days=300)])})
    before = lake.connect(settings).features(spine, ["feature_profile.plays_7d"])
    late = START + timedelta(days=200)
    facts.given(settings, t.FEATURE_PROFILE, {
        "profile_id": "p0", "event_at": late, "event_date": late.date(), "available_at": late, "plays_7d": 5_000,
    })  # fmt: skip
    home = lake.connect(settings)
    assert home.features(spine, ["feature_profile.plays_7d"]).pandas()["feature_profile.plays_7d"].tolist() == [5_000]
    again = home.features(spine, ["feature_profile.plays_7d"], as_of=before.manifest["snapshots"])
    assert again.arrow().equals(before.arrow())
    nothing = home.features(spine, ["feature_profile.plays_7d"], as_of=START - timedelta(days=10_000))
    assert nothing.arrow()["feature_profile.plays_7d"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"profile_id": [None, "p1"]}, "nulls"),
        ({"profile_id": [17, 18]}, r"keys \(profile_id int64\) are not of the features' type"),
        ({"at": pd.to_datetime(["2026-11-02", "2026-11-03"])}, "time zone"),
        ({"at": pd.to_datetime(["2026-11-02", None], utc=True)}, "nulls"),
    ],
)
def test_refused_spines(settings: Settings, known: list[dict[str, Any]], change: dict[str, Any], words: str) -> None:
    good = {"profile_id": ["p0", "p1"], "at": pd.to_datetime(["2026-11-02", "2026-11-03"], utc=True)}
    with pytest.raises(UsageError, match=words):
        lake.connect(settings).features(pd.DataFrame(good | change), ["feature_profile.plays_7d"])


@pytest.mark.parametrize("name", ["feature_profile.nothing", "session.play_ms", "plays_7d"])
def test_unknown_features_name_what_there_is(settings: Settings, known: list[dict[str, Any]], name: str) -> None:
    spine = pd.DataFrame({"profile_id": ["p0"], "at": pd.to_datetime([START])})
    with pytest.raises(UsageError, match="feature_profile"):
        lake.connect(settings).features(spine, [name])


def test_a_spine_with_a_column_twice(settings: Settings, known: list[dict[str, Any]]) -> None:
    spine = pd.DataFrame({"profile_id": ["p0"], "at": pd.to_datetime([START]), "x": 1})
    with pytest.raises(UsageError, match="two columns x"):
        lake.connect(settings).features(spine[["profile_id", "at", "x", "x"]], ["feature_profile.plays_7d"])


def test_a_spine_without_its_key(settings: Settings, known: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="profile_id"):
        lake.connect(settings).features(pd.DataFrame({"at": pd.to_datetime([START])}), ["feature_profile.plays_7d"])
