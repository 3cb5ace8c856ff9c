"""train_recommender: train, hold against the baselines of the same run, promote or not; the run goes to MLflow."""

from __future__ import annotations

import io
import json
import math
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from conf.settings import Settings
from jobs.model_charts import charts
from jobs.pandas_frames import to_pandas
from jobs.session import to_spark
from models.experiment.quality import QUALITY, quality_by_arm
from models.recommend.decision import MODEL, ROLLBACK
from models.recommend.evaluate import MEANS
from models.recommend.page_rules import silent, usable_plays
from models.recommend.promote import incumbent
from models.recommend.train import METRIC, Training, train
from schemas import tables as t
from schemas.render.sql import row_expressions

if TYPE_CHECKING:
    from collections.abc import Mapping

JOB = "train_recommender"
_made: dict[str, Training] = {}
"""The last training of this process by run key, so that `effects` need not train again."""


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """Factors (of a promoted model only) and the promotion row that decides who serves from the next day on.

    Of its own table the job reads the days before, for what serves now; and of the day itself a rollback, which stands
    when the day is run again.
    """
    run = _train(frames, day)
    key = run_key(day, run)
    _made.clear()
    _made[key] = run
    spark = frames["play"].sparkSession
    return {
        t.FACTORS.name: to_spark(spark, factors(run, day), t.FACTORS),
        t.PROMOTION.name: to_spark(spark, _rolled_back(frames, day, promotion(run, day)), t.PROMOTION),
    }


def effects(
    frames: dict[str, DataFrame],
    outputs: dict[str, DataFrame],
    *,
    day: date,
    settings: Settings,
    snapshots: Mapping[str, int],
) -> None:
    """Log the run and register the model as data; a repeat finds the run by its key and adds nothing."""
    from jobs import tracking

    row = outputs[t.PROMOTION.name].first()
    if row is None:
        raise ValueError(f"{JOB} of {day} wrote no promotion row; its transform always writes one")
    run = _made.get(row["run_id"]) or _train(frames, day)
    name = f"{settings.lake.namespace_prefix}{MODEL}"
    tracking.record(
        settings,
        tracking.Run(
            experiment=MODEL,
            key=row["run_id"],
            params=run.params | run.splits | {"day": day.isoformat(), "version": run.version},
            metrics=metrics(run) | quality(frames, settings),
            tags={"promoted": str(run.promoted).lower(), "reason": run.verdict.reason}
            | {f"data.{k}": str(v) for k, v in run.data.items()},
            snapshots=dict(snapshots),
            artifacts=artifacts(run, day) | charts(run.judged, run.verdict),
        ),
        register_as=name,
        version=run.version,
    )
    tracking.serve(settings, name, row["serves"], day)


def run_key(day: date, run: Training) -> str:
    """Name of the run in MLflow: job, day and content of the inputs."""
    return f"{JOB}@{day.isoformat()}@{run.version}"


def factors(run: Training, day: date) -> pd.DataFrame:
    """Record `factors`; empty unless promoted."""
    sides = (
        ("profile", run.model.profiles, run.model.profile_vectors),
        ("title", run.model.titles, run.model.title_vectors),
    )
    rows = [
        (run.model_id, side, entity, vector, day)
        for side, ids, matrix in sides
        for entity, vector in zip(ids, matrix, strict=True)
        if run.promoted
    ]
    return pd.DataFrame(rows, columns=["model_id", "side", "entity_id", "vector", "event_date"])


def promotion(run: Training, day: date) -> pd.DataFrame:
    """Record `promotion`: one row; without a test both values are 0 and the reason says why."""
    own = run.judged.get(run.model.name)
    rivals = [judged.mean("ndcg") for name, judged in run.judged.items() if name != run.model.name]
    return pd.DataFrame(
        [
            {
                "model": MODEL,
                "version": run.version,
                "run_id": run_key(day, run),
                "valid_from_date": day + timedelta(days=1),
                "event_date": day,
                "promoted": run.promoted,
                "metric": METRIC,
                "value": own.mean("ndcg") if own is not None else 0.0,
                "baseline": max(rivals, default=0.0),
                "reason": run.verdict.reason,
                "serves": run.verdict.serves,
                "recipe": json.dumps(run.model.recipe, sort_keys=True),
                "decided_by": JOB,
            }
        ]
    )


def metrics(run: Training) -> dict[str, float]:
    """Means of every model of the run with their 95 % intervals, and the paired differences that decided."""
    out = {
        f"{name}.{mean}": judged.mean(mean)
        for name, judged in run.judged.items()
        for mean in MEANS
        if math.isfinite(judged.mean(mean))
    }
    for name, judged in run.judged.items():
        out |= {
            f"{name}.profiles": len(judged.ndcg),
            f"{name}.pairs": judged.pairs,
            f"{name}.reachable": judged.reachable,
        }
    paired = {f"{name}.{mean}": found for name, by in run.verdict.intervals.items() for mean, found in by.items()}
    against = {f"gain_over_{name}.ndcg": found for name, found in run.verdict.against.items()}
    out |= {name: found.mean for name, found in against.items()}
    for name, found in (paired | against).items():
        out |= {f"{name}.low": found.low, f"{name}.high": found.high}
    return out


def quality(frames: dict[str, DataFrame], settings: Settings) -> dict[str, float]:
    """Rebuffer ratio and start failures of the last week's sessions by arm of the page experiment; the final revision
    of a session counts, of who opted out none."""
    last = Window.partitionBy("session_id", "segment").orderBy("revision")  # 'final' sorts before 'live'
    one = frames["session"].withColumn("place", F.row_number().over(last)).where("place = 1")
    sums = one.groupBy("profile_id").agg(
        *(F.sum(F.expr(expression)).alias(name) for name, expression in row_expressions(QUALITY))
    )
    table = to_pandas(sums.where("profile_id IS NOT NULL").orderBy("profile_id"))
    table = table[~table["profile_id"].isin(silent(to_pandas(frames["profile"])))]
    return quality_by_arm(table, settings.experiment.page_salt, settings.experiment.page_holdback)


def artifacts(run: Training, day: date) -> dict[str, bytes]:
    """The model as data: arrays in npz, the rest in JSON. Nothing that runs code when it is read."""
    arrays = io.BytesIO()
    np.savez(
        arrays,
        profiles=run.model.profiles.astype(str),
        titles=run.model.titles.astype(str),
        profile_vectors=run.model.profile_vectors,
        title_vectors=run.model.title_vectors,
    )
    about = {
        "model_id": run.model_id,
        "day": day.isoformat(),
        "weights": run.model.weights,
        "recipe": run.model.recipe,
        "score": "profile_vectors[i] . title_vectors[j]; a profile without a row has only the last coordinate, 1",
    }
    return {
        "model/arrays.npz": arrays.getvalue(),
        "model/model.json": json.dumps(about, indent=2, sort_keys=True).encode(),
    }


def _rolled_back(frames: dict[str, DataFrame], day: date, row: pd.DataFrame) -> pd.DataFrame:
    """`row`, or what a rollback of the same day wrote in its place."""
    mine = _promotions(frames)
    stands = mine[(mine["event_date"] == day) & (mine["decided_by"] == ROLLBACK)]
    return stands if len(stands) else row


def _promotions(frames: dict[str, DataFrame]) -> pd.DataFrame:
    rows = to_pandas(frames["promotion"])
    return rows[rows["model"] == MODEL]


def _train(frames: dict[str, DataFrame], day: date) -> Training:
    plays = to_pandas(
        frames["play"],
        "profile_id",
        "show_id",
        "impression_id",
        "play_date",
        "started_at",
        "country",
        "device",
        "quality_play",
        "censored",
        "watched_share",
    )
    titles = to_pandas(frames["title"])
    used = usable_plays(plays, to_pandas(frames["profile"]), titles, to_pandas(frames["profile_choice"]))
    promotions = _promotions(frames)
    outcomes = to_pandas(
        frames["impression_outcome"],
        *("impression_id", "page_id", "profile_id", "title_id", "row", "col", "shown_at", "shown_date", "taken"),
    )
    return train(used, titles, day, incumbent(promotions[promotions["event_date"] < day]), outcomes)
