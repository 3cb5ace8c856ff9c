"""MLflow, written so that a run may be repeated: one run per key, one registered version per content.

Only files and sqlite on this side (`settings.mlflow.tracking_uri`); artifacts lie beside the database, or where the
tracking server keeps them.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.errors import MatineeError, ServiceUnavailable
from conf.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

KEY_TAG = "matinee.run_key"
VERSION_TAG = "matinee.version"


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


def record(settings: Settings, run: Run, *, register_as: str, version: str) -> str:
    """Log the run and register its model, unless a finished run of that key is there already.

    Returns:
        MLflow's own id of the run.

    Raises:
        ServiceUnavailable: the tracking database or server does not answer.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = connect(settings)
        experiment_id = _experiment(client, settings, run.experiment)
        run_id = _finished(client, experiment_id, run.key) or _log(client, experiment_id, run)
        _register(client, register_as, run_id, version)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise ServiceUnavailable(
            f"MLflow at {settings.mlflow.tracking_uri} did not take run {run.key}: {error}; is the address right "
            "(setting mlflow.tracking_uri) and its folder writable?"
        ) from error
    return run_id


def connect(settings: Settings) -> MlflowClient:
    """A client of the tracking store and registry; a sqlite file's folder is made."""
    from mlflow import MlflowClient

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
