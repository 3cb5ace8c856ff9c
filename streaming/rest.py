"""Flink's REST interface, as far as a job's life needs it: find, look, cancel, savepoint."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from conf import flink
from conf.errors import MatineeError, ServiceUnavailable
from conf.flink import Job
from conf.settings import Settings

ENDED = frozenset({"FAILED", "CANCELED", "FINISHED", "SUSPENDED"})
ANSWER_S = 10.0


def find(settings: Settings, name: str) -> Job | None:
    """The job of this name that has not ended, the latest first."""
    return next((job for job in flink.list_jobs(settings) if job.name == name and job.state not in ENDED), None)


def look(settings: Settings, job_id: str) -> Job | None:
    """A job by id; None if the cluster has never heard of it (its JobManager was started again)."""
    return next((job for job in flink.list_jobs(settings) if job.id == job_id), None)


def send(settings: Settings, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """A request that changes something; returns the answer.

    Raises:
        ServiceUnavailable: nobody answers.
        MatineeError: Flink refused; its words are in the message.
    """
    url = settings.flink.rest_url.rstrip("/") + path
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            found: dict[str, Any] = json.loads(answer.read() or b"{}")
            return found
    except urllib.error.HTTPError as error:
        words = error.read().decode(errors="replace")[:500]
        raise MatineeError(f"Flink refused {method} {path}: {words}") from error
    except (urllib.error.URLError, OSError) as error:
        raise ServiceUnavailable(f"Flink does not answer at {url} ({error}): run `make up`") from error


def last_checkpoint(settings: Settings, job_id: str) -> str | None:
    """Address of a job's newest completed checkpoint or savepoint that still exists, or None.

    Asks the JobManager; if that has forgotten the job, looks into the one-machine stack's own folder. A job that was
    stopped with a savepoint has no checkpoint any more, and whoever asked for it may be gone before it was told of.
    """
    try:
        latest = flink.get(settings, f"/jobs/{job_id}/checkpoints")["latest"]
        found = [one for kind in ("completed", "savepoint") if (one := latest.get(kind)) is not None]
    except (ServiceUnavailable, KeyError):
        found = []
    for one in sorted(found, key=lambda one: int(one["id"]), reverse=True):
        if there(address := str(one["external_path"])):
            return address
    folder = settings.stack.dir / "flink" / "checkpoints" / job_id
    kept = [path.parent for path in folder.glob("chk-*/_metadata")]
    return max(kept, key=lambda path: int(path.name.removeprefix("chk-"))).as_uri() if kept else None


def there(address: str) -> bool:
    """Whether a checkpoint's or savepoint's folder exists; addresses that are not files are taken at their word."""
    parts = urlsplit(address)
    return parts.scheme not in ("", "file") or (Path(unquote(parts.path)) / "_metadata").is_file()
