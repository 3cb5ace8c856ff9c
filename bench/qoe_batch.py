"""Events a second of the batch: ``.venv/bin/python -m bench.qoe_batch`` on a running stack (`matinee up`).

Two figures, both for warm code (a first, small round is not counted), wall and CPU seconds of this process and its JVM:

- **ingest**: Kafka to bronze, decoded, audited, published. The events of a world's day lie in the topic over and over;
  ingest knows a message by its offset alone, so it cannot tell.
- **sessionize**: bronze to spans, sessions and plays of both revisions, audited, published. Here every copy is another
  session (the copy's number is appended to its id).

`--events` is the size of each; the full size is 20,000,000. Take a quiet machine.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import click
import psutil

from conf.settings import Settings, load
from jobs.runner import Runner
from jobs.session import attach
from lake.catalog import NAME, identifier
from models.world import World, WorldConfig
from schemas import tables
from streaming import clients, lanes, produce
from streaming import topics as admin

DAY = date(2026, 1, 5)
PREFIX = "bench-batch."


@dataclass
class Spent:
    """Wall and CPU seconds of a block."""

    wall_s: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def measured() -> Iterator[Spent]:
    """CPU of this process and everything below it."""
    spent, began, before = Spent(), time.monotonic(), _cpu_s()
    yield spent
    spent.wall_s, spent.cpu_s = time.monotonic() - began, _cpu_s() - before


def _cpu_s() -> float:
    own = psutil.Process()
    times = [one.cpu_times() for one in (own, *own.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def told(what: str, events: int, spent: Spent) -> None:
    """One line of the result."""
    click.echo(
        f"{what:<11} {events:>11,} events: {spent.wall_s:6.1f} s wall, {spent.cpu_s:6.1f} CPU s: "
        f"{events / spent.wall_s:>9,.0f} events/s, {events / spent.cpu_s:>9,.0f} events per CPU second"
    )


def at(folder: Path, name: str) -> Settings:
    """Settings of a lake of its own below `folder`."""
    return load(
        overrides={
            "kafka": {"topic_prefix": PREFIX},
            "lake": {
                "catalog_uri": f"sqlite:///{folder / name}/lake/catalog.db",
                "warehouse": (folder / name / "warehouse").as_uri(),
            },
        }
    )


def send(settings: Settings, lane: lanes.Lane, copies: int) -> None:
    """The lane's messages `copies` times."""
    with clients.reaching(settings):
        producer = clients.producer(settings)
        for _ in range(copies):
            produce.send(producer, [lane])
        producer.close(timeout=produce.DELIVERY_S)


def multiply(runner: Runner, source: Settings, copies: int) -> int:
    """Bronze of the runner's lake: the newest `copies` of every event of `source`, each another session; rows."""
    spark, bronze = runner.session, tables.BRONZE_PLAYBACK_EVENT
    rows = attach(spark, source).table(f"{NAME}.{identifier(source, bronze)}")
    rows.createOrReplaceGlobalTempView("one_copy")
    columns = ", ".join(
        f"concat({name}, '-', n.id) AS {name}" if name == "session_id" else f"e.{name}" for name in rows.columns
    )
    spark.sql(f"SELECT {columns} FROM global_temp.one_copy AS e CROSS JOIN range(0, {copies}, 1, 2) AS n").writeTo(
        f"{NAME}.{identifier(runner.settings, bronze)}"
    ).append()
    return int(spark.table(f"{NAME}.{identifier(runner.settings, bronze)}").count())


@click.command()
@click.option("--events", default=20_000_000, show_default=True, help="Size of each figure.")
@click.option("--profiles", default=2_000, show_default=True, help="Profiles of the world whose day is repeated.")
@click.option("--only", type=click.Choice(["ingest", "sessionize"]), help="One figure alone.")
def main(events: int, profiles: int, only: str | None) -> None:
    """Print both figures."""
    folder = load().paths.var / "bench" / "batch"
    shutil.rmtree(folder, ignore_errors=True)
    settings, folded = at(folder, "landed"), at(folder, "folded")
    world = World.create(WorldConfig(seed=1, start=DAY, days=1, profiles=profiles))
    admin.delete(settings)
    admin.create(settings)
    produce.produce_catalogue(world.news(0), settings, DAY)
    lived = world.live(0)
    lane = produce.day_lanes(lived, settings, [0] * settings.kafka.partitions)[0]
    copies = max(1, round(events / len(lane)))
    click.echo(f"{len(lane):,} messages, {copies} copies")
    send(settings, lane, 1)
    try:
        with Runner(settings) as runner:
            runner.run(["ingest"], [DAY])
            inner = Runner(folded, attach(runner.session, folded))
            if only != "ingest":
                inner.run(["ingest"], [DAY])  # the catalogue, and one copy for the warm round
                inner.run(["sessionize"], [DAY])
                rows = multiply(inner, settings, copies)
                with measured() as spent:
                    inner.run(["sessionize"], [DAY])
                told("sessionize", rows, spent)
            if only != "sessionize":
                send(settings, lane, copies)
                with measured() as spent:
                    runner.run(["ingest"], [DAY])
                told("ingest", copies * len(lane), spent)
    finally:
        admin.delete(settings)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
