"""Events a second of the batch: ``.venv/bin/python -m bench.qoe_batch`` on a running stack (`matinee up`).

Prints, and exits 4 where the large size is slower than what is claimed of two quiet cores (`NEEDED`).

Two figures, wall and CPU seconds of this process and its JVM, each at two sizes after a first, small round that is not
counted. The slope between the sizes leaves out what does not grow with them (planning, commits, Java's compiler):

- **ingest**: Kafka to bronze, decoded, audited, published. The messages of a world's day, one in a hundred refused, lie
  in the topic over and over; ingest knows a message by its offset alone, so it cannot tell.
- **sessionize**: bronze to spans, sessions and plays of both revisions, audited, published. Here every copy is another
  session (the copy's number is appended to its id).

The full size is ``--small 5000000 --large 20000000``. Up to `lake.hashing.SMALL` rows a table is audited by DuckDB, not
by Spark: take sizes well above it. Take a quiet machine.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

import click
from pyspark.sql import functions as F

from bench import verdict
from bench.cpu import Meter
from bench.stream import SOME, ordered
from conf.settings import Settings, load
from jobs import topics
from jobs.runner import Runner
from jobs.session import attach
from lake.catalog import NAME, identifier
from lake.publish import handle
from models.world import World, WorldConfig
from schemas import tables
from schemas.topics import PLAYBACK_EVENT
from streaming import clients, lanes, produce
from streaming import topics as admin

DAY = date(2026, 1, 5)
PREFIX = "bench-batch."
NEEDED = {"sessionize": (250_000, 130_000), "ingest": (100_000, 70_000)}
"""Events a second and events per CPU second, of two cores."""


@dataclass
class Spent:
    """Events of a block, its wall and CPU seconds."""

    events: int
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.events:>11,} events: {self.wall_s:6.1f} s wall, {self.cpu_s:6.1f} CPU s: "
            f"{self.events / self.wall_s:>9,.0f} events/s, {self.events / self.cpu_s:>9,.0f} events per CPU second"
        )

    def missed(self, what: str) -> list[str]:
        """Which of the claimed rates these events did not reach."""
        needed = NEEDED[what]
        return [
            *verdict.least(f"{what}, events/s", self.events / self.wall_s, needed[0]),
            *verdict.least(f"{what}, events per CPU second", self.events / self.cpu_s, needed[1]),
        ]

    def __sub__(self, smaller: Spent) -> Spent:
        return Spent(self.events - smaller.events, self.wall_s - smaller.wall_s, self.cpu_s - smaller.cpu_s)


@contextmanager
def measured(what: str, events: int) -> Iterator[Spent]:
    """CPU of this process and everything below it; one line of the result."""
    meter, spent, began = Meter(), Spent(events), time.monotonic()
    before = meter.look(os.getpid())
    yield spent
    spent.wall_s, spent.cpu_s = time.monotonic() - began, meter.look(os.getpid()) - before
    click.echo(f"{what:<11}{spent}")


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


def send(settings: Settings, lane: lanes.Lane) -> None:
    """The lane's messages, once."""
    with clients.reaching(settings):
        producer = clients.producer(settings)
        produce.send(producer, [lane])
        producer.close(timeout=produce.DELIVERY_S)


def send_again(runner: Runner, one: dict[int, int], lie: int, copies: int) -> None:
    """Put `copies` more of the topic's first messages, `one` by partition, behind the `lie` copies that lie there: by
    Spark, as many at a time as there are already."""
    settings, real = runner.settings, topics.real_name(runner.settings, PLAYBACK_EVENT.name)
    while copies:
        taken = min(lie, copies)
        end = {partition: taken * length for partition, length in one.items()}
        rows = topics.raw(runner.session, settings, PLAYBACK_EVENT, dict.fromkeys(one, 0), end)
        options = {
            "topic": real,
            "kafka.bootstrap.servers": settings.kafka.bootstrap,
            "kafka.batch.size": clients.BATCH_BYTES,
            "kafka.linger.ms": clients.LINGER_MS,
        }
        rows.select("key", "value", "partition").write.format("kafka").mode("append").options(**options).save()
        lie, copies = lie + taken, copies - taken


def snapshot(runner: Runner) -> int:
    """The newest of bronze."""
    current = runner.catalog.load_table(identifier(runner.settings, tables.BRONZE_PLAYBACK_EVENT)).current_snapshot()
    assert current is not None
    return int(current.snapshot_id)


def multiply(runner: Runner, landed: int, first: int, last: int) -> int:
    """Add to bronze of the runner's lake copies `first` to `last` (excluded) of every event of its snapshot `landed`,
    each another session, in files as ingest writes them; its rows then."""
    spark, name = runner.session, f"{NAME}.{identifier(runner.settings, tables.BRONZE_PLAYBACK_EVENT)}"
    copies = spark.range(first, last, 1, 2).withColumnRenamed("id", "copy")
    rows = spark.read.option("versionAsOf", landed).table(name).crossJoin(copies)
    marked = rows.withColumn("session_id", F.concat_ws("-", "session_id", "copy")).drop("copy")
    jvm, table = spark._jvm, handle(spark, name)
    assert jvm is not None
    commit = table.newAppend()
    for file in jvm.io.matinee.kernel.spark.ColumnFiles.write(marked._jdf, table):
        commit.appendFile(file)
    commit.commit()
    return spark.table(name).count()


@click.command()
@click.option("--small", default=1_000_000, show_default=True, type=SOME, help="Events of the small size, about.")
@click.option("--large", default=4_000_000, show_default=True, type=SOME, help="Events of the large size, about.")
@click.option("--profiles", default=2_000, show_default=True, help="Profiles of the world whose day is repeated.")
@click.option("--only", type=click.Choice(["ingest", "sessionize"]), help="One figure alone.")
def main(small: int, large: int, profiles: int, only: str | None) -> None:
    """Print both sizes and the slope of each figure; exit 4 where the large size as a whole is slower than claimed."""
    ordered(small, large)
    folder = load().paths.var / "bench" / "batch"
    shutil.rmtree(folder, ignore_errors=True)
    settings, folded = at(folder, "landed"), at(folder, "folded")
    world = World.create(WorldConfig(seed=1, start=DAY, days=1, profiles=profiles))
    admin.delete(settings)
    admin.create(settings)
    produce.produce_catalogue(world.news(0), settings, DAY)
    lived = world.live(0)
    lane = produce.day_lanes(lived, settings, [0] * settings.kafka.partitions)[0]
    copies = [max(1, round(size / len(lane))) for size in (small, large)]
    click.echo(f"{len(lane):,} messages, {copies[0]} and {copies[1]} copies")
    send(settings, lane)
    one = topics.bounds(settings, (PLAYBACK_EVENT,))[PLAYBACK_EVENT.name].end
    found: dict[str, list[Spent]] = {"sessionize": [], "ingest": []}
    try:
        with Runner(settings) as runner:
            runner.run(["ingest"], [DAY])
            inner = Runner(folded, attach(runner.session, folded))
            if only != "ingest":
                inner.run(["ingest"], [DAY])  # the catalogue, and one copy for the warm round
                inner.run(["sessionize"], [DAY])
                landed = snapshot(inner)
                for first, last in pairwise([0, *copies]):
                    rows = multiply(inner, landed, first, last)
                    with measured("sessionize", rows) as spent:
                        inner.run(["sessionize"], [DAY])
                    found["sessionize"].append(spent)
            if only != "sessionize":
                for lie, count in zip([1, 1 + copies[0]], copies, strict=True):
                    send_again(runner, one, lie, count)
                    with measured("ingest", count * len(lane)) as spent:
                        (done,) = runner.run(["ingest"], [DAY])
                    click.echo(f"{'':<11}content hash {done.hashes[tables.BRONZE_PLAYBACK_EVENT.fqn]}")
                    found["ingest"].append(spent)
        missed: list[str] = []
        for what, sizes in found.items():
            if sizes:
                missed += sizes[1].missed(what)
                click.echo(f"{what:<11}{sizes[1] - sizes[0]} (slope)")
    finally:
        admin.delete(settings)
        shutil.rmtree(folder, ignore_errors=True)
    verdict.end(missed)


if __name__ == "__main__":
    sys.exit(main())
