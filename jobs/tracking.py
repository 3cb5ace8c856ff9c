"""MLflow, written so that a run may be repeated: one run per key, one registered version per content.

Only files and sqlite on this side (`settings.mlflow.tracking_uri`); artifacts lie beside the database, or where the
tracking server keeps them.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.errors import MatineeError, ServiceUnavailable
from conf.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

KEY_TAG = "matinee.run_key"
VERSION_TAG = "matinee.version"
SERVING = "serving"
"""Alias of the version that serves: for people; jobs read the promotion row of their day, which does not move."""
DAY_TAG = "matinee.serving_day"


@dataclass(frozen=True, slots=True)
class Run:
    """What is logged. `snapshots`: table snapshots read; `artifacts`: file content by path."""

    experiment: str
    key: str
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    snapshots: Mapping[str, int]
    artifacts: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """A run as MLflow holds it."""

    run_id: str
    artifact_uri: str
    reason: str
    params: dict[str, str]
    metrics: dict[str, float]


def record(settings: Settings, run: Run, *, register_as: str, version: str) -> str:
    """Log the run and register its model, unless a finished run of that key is there already.

    Returns:
        MLflow's own id of the run.

    Raises:
        ServiceUnavailable: the tracking database or server does not answer.
    """
    with _answering(settings, f"did not take run {run.key}") as client:
        experiment_id = _experiment(client, settings, run.experiment)
        run_id = _finished(client, experiment_id, run.key) or _log(client, experiment_id, run)
        _register(client, register_as, run_id, version)
    return run_id


def serve(settings: Settings, name: str, version: str | None, day: date, reason: str = "") -> None:
    """Point the alias SERVING of a registered model at what serves after `day`; None takes it away (the fallback).

    An older day than the one it was moved for last moves nothing: a backfill decides nothing about now.

    Args:
        version: content version, as in the promotion row. reason: kept as a tag of that version, if given.

    Raises:
        ServiceUnavailable: the tracking database or server does not answer.
    """
    with _answering(settings, f"did not move {SERVING!r} of {name}") as client:
        model = client.get_registered_model(name)
        if model.tags.get(DAY_TAG, "") > day.isoformat():
            return
        client.set_registered_model_tag(name, DAY_TAG, day.isoformat())
        known = {one.tags.get(VERSION_TAG): one for one in client.search_model_versions(f"name = '{name}'")}
        if version in known:
            client.set_registered_model_alias(name, SERVING, known[version].version)
            if reason:
                client.set_model_version_tag(name, known[version].version, "matinee.rollback", reason)
        elif SERVING in model.aliases:
            client.delete_registered_model_alias(name, SERVING)


def logged(settings: Settings, name: str, key: str) -> LoggedRun | None:
    """What MLflow holds of the finished run of that key, None if it has none.

    Raises:
        ServiceUnavailable: the tracking database or server does not answer.
    """
    with _answering(settings, f"could not be asked for run {key}") as client:
        experiment = client.get_experiment_by_name(name)
        run_id = _finished(client, str(experiment.experiment_id), key) if experiment is not None else None
        if run_id is None:
            return None
        run = client.get_run(run_id)
        said = str(run.data.tags.get("reason", ""))
        return LoggedRun(run_id, str(run.info.artifact_uri), said, dict(run.data.params), dict(run.data.metrics))


@contextmanager
def _answering(settings: Settings, what: str) -> Iterator[MlflowClient]:
    """A client for a block in which its errors become ours."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield connect(settings)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise ServiceUnavailable(
            f"MLflow at {settings.mlflow.tracking_uri} {what}: {error}; is the address right "
            "(setting mlflow.tracking_uri) and its folder writable?"
        ) from error


def connect(settings: Settings) -> MlflowClient:
    """A client of the tracking store and registry; a sqlite file's folder is made."""
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of each table it makes
    uri = settings.mlflow.tracking_uri
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment(client: MlflowClient, settings: Settings, name: str) -> str:
    from mlflow.exceptions import MlflowException

    full = f"{settings.lake.namespace_prefix}{name}"
    for _ in range(2):  # another process may make it between the look and the making
        found = client.get_experiment_by_name(full)
        if found is not None:
            return str(found.experiment_id)
        uri = settings.mlflow.tracking_uri
        place = (
            Path(uri.removeprefix("sqlite:///")).parent / "artifacts" / full if uri.startswith("sqlite:///") else None
        )
        try:
            return str(client.create_experiment(full, artifact_location=place.as_uri() if place else None))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    raise MatineeError(f"MLflow experiment {full!r} exists and cannot be found: it was deleted; restore it or purge it")


def _finished(client: MlflowClient, experiment_id: str, key: str) -> str | None:
    runs = client.search_runs(
        [experiment_id], filter_string=f"tags.`{KEY_TAG}` = '{key}' and attributes.status = 'FINISHED'", max_results=1
    )
    return str(runs[0].info.run_id) if runs else None


def _log(client: MlflowClient, experiment_id: str, run: Run) -> str:
    made = client.create_run(experiment_id, run_name=run.key, tags={KEY_TAG: run.key, **run.tags})
    run_id = str(made.info.run_id)
    for name, value in sorted(run.params.items()):
        client.log_param(run_id, name, value)
    for table, snapshot in sorted(run.snapshots.items()):
        client.log_param(run_id, f"snapshot.{table}", snapshot)
    for name, number in sorted(run.metrics.items()):
        client.log_metric(run_id, name, number)
    with tempfile.TemporaryDirectory() as folder:
        for path, content in run.artifacts.items():
            file = Path(folder) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (Path(folder) / "inputs.json").write_text(json.dumps(dict(run.snapshots), sort_keys=True, indent=2))
        client.log_artifacts(run_id, folder)
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _register(client: MlflowClient, name: str, run_id: str, version: str) -> None:
    """One registered version per content; the version points to the run's artifacts."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known: list[Any] = list(client.search_model_versions(f"name = '{name}'"))
    if any(one.tags.get(VERSION_TAG) == version for one in known):
        return
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    client.create_model_version(name, source=source, run_id=run_id, tags={VERSION_TAG: version})
