"""train_recommender: train, hold against the baselines of the same run, promote or not; the run goes to MLflow."""

from __future__ import annotations

import io
import json
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from conf.settings import Settings
from jobs.pandas_frames import to_pandas
from jobs.session import to_spark
from models.recommend.page_rules import usable_plays
from models.recommend.train import FALLBACK, METRIC, MODEL, Training, train
from schemas import tables as t

if TYPE_CHECKING:
    from collections.abc import Mapping

JOB = "train_recommender"
_made: dict[str, Training] = {}
"""The last training of this process by run key, so that `effects` need not train again."""


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """Factors (of a promoted model only) and the promotion row that decides who serves from the next day on."""
    run = _train(frames, day)
    key = run_key(day, run)
    _made.clear()
    _made[key] = run
    spark = frames["play"].sparkSession
    return {
        t.FACTORS.name: to_spark(spark, factors(run, day), t.FACTORS),
        t.PROMOTION.name: to_spark(spark, promotion(run, day), t.PROMOTION),
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
    tracking.record(
        settings,
        tracking.Run(
            experiment=MODEL,
            key=row["run_id"],
            params=run.params | {"day": day.isoformat(), "version": run.version},
            metrics={
                name: value for model, score in run.scores.items() for name, value in score.as_metrics(model).items()
            },
            tags={"promoted": str(run.promoted).lower(), "reason": run.reason}
            | {f"data.{k}": str(v) for k, v in run.data.items()},
            snapshots=dict(snapshots),
            artifacts=artifacts(run, day),
        ),
        register_as=f"{settings.lake.namespace_prefix}{MODEL}",
        version=run.version,
    )


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
        (run.model_id, side, entity, vector.tolist(), day)
        for side, ids, matrix in sides
        for entity, vector in zip(ids, matrix, strict=True)
        if run.promoted
    ]
    return pd.DataFrame(rows, columns=["model_id", "side", "entity_id", "vector", "event_date"])


def promotion(run: Training, day: date) -> pd.DataFrame:
    """Record `promotion`: one row; without a test both values are 0 and the reason says why."""
    value, baseline = (run.scores[name].ndcg if name in run.scores else 0.0 for name in (run.model.name, FALLBACK))
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
                "value": value,
                "baseline": baseline,
                "reason": run.reason,
            }
        ]
    )


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
        "params": run.params,
        "score": "profile_vectors[i] . title_vectors[j]; a profile without a row has only the last coordinate, 1",
    }
    return {
        "model/arrays.npz": arrays.getvalue(),
        "model/model.json": json.dumps(about, indent=2, sort_keys=True).encode(),
    }


def _train(frames: dict[str, DataFrame], day: date) -> Training:
    plays = to_pandas(
        frames["play"],
        "profile_id",
        "show_id",
        "play_date",
        "started_at",
        "country",
        "quality_play",
        "censored",
        "watched_share",
    )
    titles = to_pandas(frames["title"])
    used = usable_plays(plays, to_pandas(frames["profile"]), titles, to_pandas(frames["profile_choice"]))
    return train(used, titles, day)
