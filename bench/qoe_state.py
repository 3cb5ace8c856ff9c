"""What the fold keeps for a session: ``.venv/bin/python -m bench.qoe_state``, on the running stack (`matinee up`).

A disturbed day goes through the live job; a savepoint then holds what every session of it left. Control records of a
later day move the watermark on, and another savepoint shows what is left when all have been forgotten.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta

import click

from bench.stream import FIRST, base_day, universe
from conf import flink
from conf.settings import Settings, load
from schemas import topics as catalogue
from streaming import consume, launch, produce, rest, topics

LATER_DAYS = 3


def fold_bytes(settings: Settings, job_id: str) -> int:
    """Bytes of the fold's state and timers in a savepoint of the running job."""
    asked = rest.send(settings, "POST", f"/jobs/{job_id}/savepoints", {"cancel-job": False})["request-id"]
    while flink.get(settings, f"/jobs/{job_id}/savepoints/{asked}")["status"]["id"] != "COMPLETED":
        time.sleep(0.5)
    number = flink.get(settings, f"/jobs/{job_id}/checkpoints")["latest"]["savepoint"]["id"]
    vertices = flink.get(settings, f"/jobs/{job_id}")["vertices"]
    fold = next(v["id"] for v in vertices if "ProcessTableFunction" in v["name"])
    tasks = flink.get(settings, f"/jobs/{job_id}/checkpoints/details/{number}")["tasks"]
    return int(tasks[fold]["state_size"])


@click.command()
@click.option("--profiles", default=2_000, show_default=True, help="Viewers of the day.")
def main(profiles: int) -> None:
    """Print bytes per session, and what is left after all have been forgotten."""
    settings = universe(load(), "state")
    events = base_day(settings, profiles)
    job_id = launch.run(settings, until_day=FIRST, fresh=True, timeout_s=1_800)
    sessions = len({m.key for m in consume.messages(catalogue.PLAYBACK_EVENT, settings)})
    full = fold_bytes(settings, job_id)
    later = FIRST + timedelta(days=LATER_DAYS)
    produce.end_day(later, settings)
    launch.await_day(settings, later, job_id, timeout_s=600)
    left = fold_bytes(settings, job_id)
    launch.cancel(settings, job_id)
    topics.delete(settings)
    click.echo(f"{events:,} events of {sessions:,} sessions: {full:,} bytes, {(full - left) / sessions:,.0f} a session")
    click.echo(f"after all have been forgotten: {left:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
