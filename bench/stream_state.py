"""Bytes of checkpoint for each session that lives, and what is left: ``.venv/bin/python -m bench.stream_state``.

On the running stack (`matinee up`) the live job reads copies of a disturbed day up to its busiest hour; the size of the
newest checkpoint is Flink's own figure, of the fold alone and of the whole job. A session lives until it says that it
ends or has been silent for as long as closes it; its fold is kept for stragglers until `fold.session_cap_ms` after its
last event. Then messages come whose arrival clock is two days later: no session lives and none is kept. A job that has
read nothing has a checkpoint too: RocksDB's own files and the names of the states.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import click
import numpy as np
from kafka import TopicPartition

from bench import verdict
from bench.cpu import Meter
from bench.stream import FIRST, MIX, SOME, flooded, fold_vertex, taskmanager, universe
from conf import flink
from conf.settings import Settings, load
from models.world import World, WorldConfig
from schemas import topics as catalogue
from streaming import clients, launch, produce, topics

TERMINAL = ("e", "f", "q")
LATER_MS = 2 * 86_400_000
IDLE_S = 20
SETTLE_S = 10
ROUNDS = 45
"""Seconds of messages two days later: longer than RocksDB puts off merging its files."""
LIVE_B = 1_024


def sizes(settings: Settings, job_id: str) -> tuple[int, int]:
    """Bytes of the newest completed checkpoint: of the fold, of the job."""
    newest = flink.get(settings, f"/jobs/{job_id}/checkpoints")["latest"]["completed"]
    tasks = flink.get(settings, f"/jobs/{job_id}/checkpoints/details/{newest['id']}")["tasks"]
    return tasks[fold_vertex(settings, job_id)["id"]]["state_size"], newest["state_size"]


def empty(settings: Settings) -> tuple[int, int]:
    """The same of a job that has nothing to read."""
    topics.delete(settings)
    topics.create(settings)
    job_id = launch.start(settings, fresh=True).job_id
    try:
        time.sleep(SETTLE_S)
        return sizes(settings, job_id)
    finally:
        launch.cancel(settings)
        topics.delete(settings)


def later(settings: Settings, newest_ms: int) -> None:
    """The first message of each partition again, two days on, each second; a repeat like any other."""
    consumer, producer = clients.consumer(settings), clients.producer(settings)
    name = topics.real_name(catalogue.PLAYBACK_EVENT, settings)
    first = []
    for number in range(settings.kafka.partitions):
        place = TopicPartition(name, number)
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        found: list[Any] = []
        while not found:
            found = consumer.poll(1_000).get(place, [])
        first.append(found[0])
    for second in range(ROUNDS):
        for number, record in enumerate(first):
            at = newest_ms + LATER_MS + second * 1_000
            producer.send(name, record.value, record.key, partition=number, timestamp_ms=at)
        producer.flush()
        time.sleep(1)
    consumer.close()
    producer.close()


@click.command()
@click.option("--copies", default=10, show_default=True, type=SOME, help="How often the day is copied.")
@click.option("--profiles", default=2_000, show_default=True, help="Viewers of the day that is copied.")
def main(copies: int, profiles: int) -> None:
    """Print bytes per session that lives, per session that is kept, and after; exit 4 above a KB or where some stay."""
    base = load()
    origin, target = universe(base, "state.day"), universe(base, "state")
    world = World.create(replace(WorldConfig(seed=1, start=FIRST, days=1, profiles=profiles), disturb=MIX))
    lived = world.live(0)
    order = np.argsort(lived.order_ms, kind="stable")
    arrived, events = np.asarray(lived.order_ms)[order], lived.events.iloc[order]
    busiest = int(np.bincount((arrived - arrived[0]) // 3_600_000).argmax())
    limit = int(np.searchsorted(arrived, arrived[0] + (busiest + 1) * 3_600_000))
    last = events[:limit].assign(at=arrived[:limit]).groupby("session_id").last()
    silence_ms = base.fold.hold_ms + base.fold.lateness_ms
    alive = ~last["state"].isin(TERMINAL) & (last["at"] >= arrived[limit - 1] - silence_ms)
    live, kept = int(alive.sum()) * copies, len(last) * copies
    nothing, job = empty(universe(base, "state.none"))
    click.echo(f"nothing read: fold {nothing:,} B, job {job:,} B")
    topics.delete(origin)
    produce.produce_day(lived, origin, on=FIRST)
    count = flooded(origin, target, copies, limit)
    job_id = launch.start(target, fresh=True).job_id
    try:
        while fold_vertex(target, job_id)["metrics"]["read-records"] < count:
            time.sleep(1)
        time.sleep(5)
        meter, manager = Meter(), taskmanager(target)
        spent, began = meter.look(manager), time.monotonic()
        time.sleep(IDLE_S)
        idle = (meter.look(manager) - spent) / (time.monotonic() - began)
        fold, job = sizes(target, job_id)
        click.echo(f"{count:,} events; {live:,} sessions live, {kept:,} are kept; fold {fold:,} B, job {job:,} B")
        click.echo(f"{fold / live:,.0f} B of the fold a live session, {fold / kept:,.0f} B a kept one")
        click.echo(f"{idle:.3f} CPU s a second when nothing comes, a checkpoint each second")
        later(target, int(arrived[limit - 1]))
        time.sleep(5)
        left, job = sizes(target, job_id)
        click.echo(f"two days later: fold {left:,} B, job {job:,} B; {target.kafka.partitions} sessions are kept")
    finally:
        launch.cancel(target)
        topics.delete(target)
        topics.delete(origin)
    verdict.end(
        verdict.most("B of the fold a live session", fold / live, LIVE_B)
        + verdict.most("B left of the fold beyond an empty job's", left - nothing, LIVE_B * target.kafka.partitions)
    )


if __name__ == "__main__":
    sys.exit(main())
