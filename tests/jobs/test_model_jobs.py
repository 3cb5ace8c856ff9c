"""The model jobs in Spark: record in, record out, equal to the pure core, and the same bytes on a rerun."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from conf.settings import Settings
from schemas import tables as t

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

START = date(2026, 2, 2)
DAY = START + timedelta(days=5)
GENRES = ("comedy", "crime", "space")
pytestmark = pytest.mark.spark


def at(day: date, minutes: int = 0) -> pd.Timestamp:
    return pd.Timestamp(datetime(day.year, day.month, day.day, tzinfo=UTC)) + pd.Timedelta(minutes=minutes)


def universe(seed: int = 4, profiles: int = 30, films: int = 24) -> dict[str, pd.DataFrame]:
    """Six days of a small service, in record form."""
    rng = np.random.default_rng(seed)
    ids = [f"f{i:02d}" for i in range(films)]
    title = pd.DataFrame({
        "title_id": ids, "show_id": ids, "kind": "film", "name": [f"Film {i}" for i in range(films)],
        "genres": [[GENRES[i % 3]] for i in range(films)], "country_origin": "DE", "season": None, "episode": None,
        "launch_date": [START - timedelta(days=30) if i else DAY + timedelta(days=1) for i in range(films)],
        "duration_ms": 3_600_000, "maturity": 0})  # fmt: skip
    artwork = pd.DataFrame([
        {"artwork_id": f"{film}-a{n}", "title_id": film, "theme": GENRES[n], "added_date": START,
         "themes": [0.8 if g == n else 0.1 for g in range(3)]} for film in ids for n in range(3)])  # fmt: skip
    files = pd.DataFrame([
        {"file_id": f"{film}-avc-{rung}", "asset_id": f"{film}-avc", "title_id": film, "codec": "avc", "rung": rung,
         "bitrate_kbps": 500 * (rung + 1), "bytes": 1_000 * (rung + 1), "url": f"/v/{film}/{rung}.mp4"}
        for film in ids for rung in range(2)])  # fmt: skip
    profile = pd.DataFrame({
        "profile_id": [f"p{i:02d}" for i in range(profiles)], "household_id": "h",
        "country": ["DE", "FR"] * (profiles // 2),
        "isp": "i", "device": "tv", "created_date": START, "maturity_limit": 21})  # fmt: skip
    cluster = pd.DataFrame({
        "cdn_id": ["c-de", "c-fr"], "isp": "i", "country": ["DE", "FR"],
        "disk_bytes": 20_000, "fill_budget_bytes": 6_000,
        "edge_latency_ms": 10, "origin_latency_ms": 60})  # fmt: skip
    play, request, outcome, session = [], [], [], []
    for i, person in enumerate(profile.itertuples()):
        for d in range(6):
            film = (
                ids[int(rng.integers(1, films))] if rng.random() < 0.4 else ids[1 + (i + 3 * int(rng.integers(7))) % 23]
            )
            day, sid = START + timedelta(days=d), f"s{i}.{d}"
            common = {"session_id": sid, "segment": 0, "profile_id": person.profile_id, "country": person.country,
                      "device": "tv", "isp": "i", "cdn_id": f"c-{person.country.lower()}"}  # fmt: skip
            share = float(rng.choice([0.5, 1.0]))
            play.append(common | {
                "title_id": film, "show_id": film, "started_at": at(day, i), "play_date": day, "started": True,
                "watched_ms": int(3_600_000 * share), "duration_ms": 3_600_000, "watched_share": share,
                "completed": share == 1.0, "quality_play": True, "censored": False, "impression_id": None,
                "event_at": at(day, i + 60), "available_at": at(day, 26 * 60)})  # fmt: skip
            session += [
                {"session_id": sid, "segment": 0, "revision": revision, "profile_id": person.profile_id,
                 "close_date": day, "stall_ms": stall, "play_ms": 90, "attempts": 2, "start_failures": 1,
                 "start_failures_recovered": 0}
                for revision, stall in (("live", 999), ("final", 10))
            ]  # fmt: skip
            request += [{"request_id": f"{sid}.{k}", "session_id": sid, "file_id": f"{film}-avc-{i % 2}",
                         "cdn_id": common["cdn_id"], "tier": "origin", "bytes": 300, "requests": 3, "plan_id": None,
                         "minute_at": at(day, i + k), "received_at": at(day, i + k)} for k in (0, 1, 1)]  # fmt: skip
            for show in rng.choice(ids[1:], 6, replace=False):
                n = int(rng.integers(3))
                outcome.append({
                    "impression_id": f"{sid}.{show}", "page_id": f"{sid}",
                    "profile_id": person.profile_id, "title_id": show,
                    "artwork_id": f"{show}-a{n}", "artwork_probability": 1 / 3, "artwork_decision_id": None,
                    "row_kind": "popular", "row": 0, "col": 0, "page_arm": "policy", "artwork_arm": "policy",
                    "country": person.country, "device": "tv", "shown_at": at(day, i), "shown_date": day,
                    "taken": bool(rng.random() < 0.1), "attempted": False, "watched_ms": 0})  # fmt: skip
    names = {"title": title, "artwork": artwork, "asset_file": files, "profile": profile, "cdn_cluster": cluster}
    return names | {"play": pd.DataFrame(play), "cdn_request": pd.DataFrame(request),
                    "impression_outcome": pd.DataFrame(outcome), "session": pd.DataFrame(session)}  # fmt: skip


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return universe()


class Day:
    """The jobs of one day, run through their transforms; each output becomes an input of the next."""

    def __init__(self, spark: SparkSession, settings: Settings, tables: dict[str, pd.DataFrame]) -> None:
        from schemas.render import spark as render

        self.spark, self.settings, self.frames = spark, settings, {}
        for name, frame in tables.items():
            struct = render.struct(name)
            kept = [field for field in struct.fields if field.name in frame.columns]
            self.frames[name] = spark.createDataFrame(frame[[f.name for f in kept]], schema=type(struct)(kept))
        for name in ("artwork_choice", "fill_plan", "profile_choice", "promotion"):
            self.frames[name] = spark.createDataFrame([], schema=render.struct(name))

    def run(self, job: str) -> dict[str, pd.DataFrame]:
        import importlib

        from jobs.registry import job as spec
        from schemas.render import spark as render

        outputs = importlib.import_module(f"jobs.{job}").transform(dict(self.frames), day=DAY, settings=self.settings)
        assert set(outputs) == {table.name for table in spec(job).writes}
        for table in spec(job).writes:
            assert outputs[table.name].schema == render.table_struct(table)
            if table is t.PROMOTION or table.name not in self.frames:  # the others that a job reads back stay empty
                self.frames[table.name] = outputs[table.name]
        return {name: rows(frame) for name, frame in outputs.items()}


def rows(frame: DataFrame) -> pd.DataFrame:
    return frame.toPandas()


ORDER = ("features", "train_recommender", "pages", "train_artwork", "choose_artwork", "popularity", "fill_plan")


@pytest.fixture(scope="module")
def made(spark: SparkSession, lake_settings: Settings, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    day = Day(spark, lake_settings, tables)
    return {name: frame for job in ORDER for name, frame in day.run(job).items()}


def test_every_table_has_its_keys_once_and_its_day(made: dict[str, pd.DataFrame]) -> None:
    for table in (t.FEATURE_PROFILE, t.FEATURE_TITLE, t.PROMOTION, t.HOME_PAGE, t.ARTWORK_STATISTICS, t.ARTWORK_CHOICE,
                  t.DEMAND_FORECAST, t.FILL_PLAN):  # fmt: skip
        frame = made[table.name]
        assert len(frame) and not frame.duplicated(list(table.key)).any(), table.name
        written = DAY + timedelta(
            days=1 if table.producer in ("pages", "choose_artwork", "popularity", "fill_plan") else 0
        )
        assert set(frame[table.partition]) == {written}, table.name


def test_who_opted_out_or_is_erased_says_nothing(
    spark: SparkSession, lake_settings: Settings, tables: dict[str, pd.DataFrame], made: dict[str, pd.DataFrame]
) -> None:
    """The tables of a day are those of a service in which two profiles never played or saw anything."""
    from jobs.registry import job as spec

    gone = tables["profile"]["profile_id"].isin(["p03", "p04"])
    people = tables["profile"].assign(
        kids=False, opted_out=tables["profile"]["profile_id"] == "p03", erased=tables["profile"]["profile_id"] == "p04"
    )
    silent = tables["profile"].loc[gone, "profile_id"]
    without = {
        name: frame[~frame["profile_id"].isin(silent)] if name in ("play", "session", "impression_outcome") else frame
        for name, frame in tables.items()
    }
    one = Day(spark, lake_settings, {**tables, "profile": people})
    other = Day(spark, lake_settings, {**without, "profile": people})
    for job in ("features", "train_artwork"):
        found, wanted = one.run(job), other.run(job)
        for table in spec(job).writes:
            key = list(table.key)
            pd.testing.assert_frame_equal(
                found[table.name].sort_values(key, ignore_index=True),
                wanted[table.name].sort_values(key, ignore_index=True),
            )
            assert not found[table.name].equals(made[table.name])
    features = one.run("features")["feature_profile"].set_index("profile_id")
    assert "p04" not in features.index and features.loc["p03", "plays_28d"] == 0
    assert len(features) == len(people) - 1


def test_a_repeated_log_line_counts_once(made: dict[str, pd.DataFrame], tables: dict[str, pd.DataFrame]) -> None:
    """Each session logged 3 lines, two of them equal: 600 bytes a play, not 900."""
    forecast = made["demand_forecast"]
    per_play = (
        forecast["expected_bytes"].sum() / forecast.drop_duplicates(["region", "title_id"])["expected_plays"].sum()
    )
    assert per_play == pytest.approx(600, rel=0.01)


def test_plans_obey_their_limits_and_start_from_the_log(made: dict[str, pd.DataFrame]) -> None:
    plans = made["fill_plan"]
    assert (plans["held_bytes"] <= 20_000).all() and (plans["fill_bytes"] <= 6_000).all()
    assert all(any(f["action"] == "keep" for f in files) for files in plans["files"])


def test_choices_cover_the_pages_and_the_launch_is_on_them(made: dict[str, pd.DataFrame]) -> None:
    cells = {
        (p.profile_id, title) for p in made["home_page"].itertuples() for row in p.rows for title in row["title_ids"]
    }
    assert cells == set(zip(made["artwork_choice"]["profile_id"], made["artwork_choice"]["title_id"], strict=True))
    assert any(title == "f00" for _, title in cells)
    assert np.allclose([sum(p) for p in made["artwork_choice"]["probabilities"]], 1.0)


def test_pages_follow_the_promotion_row(made: dict[str, pd.DataFrame]) -> None:
    row, pages = made["promotion"].iloc[0], made["home_page"]
    policy = set(pages.loc[pages["page_arm"] == "policy", "model_id"])
    assert policy == ({f"recommender-{row['serves']}"} if row["serves"] else {"decayed_popularity"})
    assert bool(len(made["factors"])) == bool(row["promoted"])
    assert row["serves"] == (row["version"] if row["promoted"] else None), "nothing served before this day"


def test_pages_by_a_version_of_days_ago(
    spark: SparkSession, lake_settings: Settings, tables: dict[str, pd.DataFrame]
) -> None:
    """After a rollback: the row of the day names an older version, whose vectors lie in an older partition."""
    from jobs import train_recommender
    from jobs.session import to_spark
    from models.recommend.train import train

    old = train(tables["play"][tables["play"]["play_date"] < DAY], tables["title"], DAY - timedelta(days=1))
    day = Day(spark, lake_settings, tables)
    passed = replace(old, verdict=replace(old.verdict, promoted=True))
    made_then = train_recommender.factors(passed, DAY - timedelta(days=1))
    day.run("features")
    day.run("train_recommender")
    rolled = rows(day.frames["promotion"]).assign(serves=old.version, decided_by="rollback")
    both = [made_then, rows(day.frames["factors"])]
    day.frames["factors"] = to_spark(spark, pd.concat([one for one in both if len(one)]), t.FACTORS)
    day.frames["promotion"] = to_spark(spark, rolled, t.PROMOTION)
    pages = day.run("pages")["home_page"]
    assert set(pages.loc[pages["page_arm"] == "policy", "model_id"]) == {f"recommender-{old.version}"}
    again = train_recommender.transform(day.frames, day=DAY, settings=lake_settings)["promotion"]
    pd.testing.assert_frame_equal(rows(again), rolled)  # a rerun of the day leaves the rollback as it is


def test_a_rerun_leaves_the_same_content(spark: SparkSession, lake_settings: Settings, tables: dict[str, pd.DataFrame],
                                         made: dict[str, pd.DataFrame]) -> None:  # fmt: skip
    """Other row order in, other partitions, same rows out, to the last bit."""
    shuffled = {name: frame.sample(frac=1.0, random_state=8) for name, frame in tables.items()}
    day = Day(spark, lake_settings, shuffled)
    day.frames = {name: frame.repartition(3) for name, frame in day.frames.items()}
    for job in ORDER:
        for name, frame in day.run(job).items():
            key = [column for column in frame.columns if column in {"profile_id", "title_id", "cdn_id", "model", "side",
                   "entity_id", "artwork_id", "cell", "region", "file_id"}]  # fmt: skip
            one, two = (f.sort_values(key, ignore_index=True).map(repr) for f in (made[name], frame))
            pd.testing.assert_frame_equal(one, two)


def test_mlflow_holds_one_run_and_one_version_however_often(
    spark: SparkSession, lake_settings: Settings, tables: dict[str, pd.DataFrame]
) -> None:
    from jobs import train_recommender
    from jobs.tracking import KEY_TAG, connect

    day = Day(spark, lake_settings, tables)
    ids = []
    for _ in range(2):
        outputs = train_recommender.transform(day.frames, day=DAY, settings=lake_settings)
        train_recommender.effects(
            day.frames, outputs, day=DAY, settings=lake_settings, snapshots={"silver.play": 12345}
        )
        ids.append(outputs["promotion"].first()["run_id"])
    client = connect(lake_settings)
    experiment = client.get_experiment_by_name("recommender")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags[KEY_TAG] == ids[0] == ids[1]
    assert run.data.params["snapshot.silver.play"] == "12345"
    wanted = {f"{name}.ndcg{end}" for name in ("als_blend", "decayed_popularity", "implicit_als")
              for end in ("", ".low", ".high")}  # fmt: skip
    wanted |= {"gain_over_implicit_als.ndcg.low", "als_blend.coverage", "als_blend.genre_kl", "als_blend.reachable"}
    wanted |= {f"quality.{arm}.{metric}{end}" for arm in ("policy", "holdback", "difference")
               for metric in ("rebuffer_ratio", "start_failure_rate") for end in ("", ".low", ".high")}  # fmt: skip
    assert wanted <= set(run.data.metrics)
    assert run.data.metrics["quality.policy.rebuffer_ratio"] == pytest.approx(0.1), "the final revision alone"
    assert run.data.metrics["quality.holdback.start_failure_rate"] == pytest.approx(0.5)
    assert run.data.metrics["als_blend.ndcg.low"] <= run.data.metrics["als_blend.ndcg"]
    assert run.data.params["origins"] == "2026-02-05 2026-02-06 2026-02-07"
    assert run.data.params["train_until"] == DAY.isoformat()
    plots = {file.path for file in client.list_artifacts(run.info.run_id, "plots")}
    assert plots == {"plots/ndcg.svg", "plots/gain.svg", "plots/origins.svg"}
    (version,) = client.search_model_versions("name = 'recommender'")
    assert version.run_id == run.info.run_id
    folder = client.download_artifacts(run.info.run_id, "model")
    arrays = np.load(f"{folder}/arrays.npz", allow_pickle=False)
    assert len(arrays["profiles"]) == len(arrays["profile_vectors"]) == 30
    assert json.loads(Path(folder, "model.json").read_text())["recipe"]["ials.factors"] == 64
    serving = client.get_registered_model("recommender").aliases.get("serving")
    assert serving == (version.version if outputs["promotion"].first()["promoted"] else None)
