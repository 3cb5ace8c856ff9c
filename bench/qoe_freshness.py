"""From an event in Kafka to the minute row that contains it: ``.venv/bin/python -m bench.qoe_freshness --rate 5000``.

On the running stack (`matinee up`), in real time: copies of a disturbed day at `--rate` events a second for load, and
in between sessions under titles of their own, so that the first committed row of rollup `title` under such a title is
the first that contains its event. The clock runs from the broker's acknowledgement to a reader of committed messages.
Take half the rate at which the job's lag begins to grow. `--seconds` of warming up are not counted.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

import click
import numpy as np

from bench import java
from bench.page_follow import event
from bench.stream import base_day, universe
from conf.settings import Settings, load
from schemas import topics as catalogue
from schemas import wire
from streaming import clients, consume, launch, topics

MARK = "freshness-"
PER_S = 20.0
SETTLE_S = 15.0


class Rows:
    """Minute rows of marked titles as they can be read: title to (moment, attempts, ms alive) each time."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.found = settings, dict[str, list[tuple[float, int, int]]]()
        self.read, self.done = 0, threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        mark = MARK.encode()
        for message in consume.tail(catalogue.QOE_MINUTE, self.settings, self.done.is_set):
            self.read += 1
            if message.key is None or message.value is None or mark not in message.key:
                continue
            row = wire.decode_one(message.value)[2]
            seen = self.found.setdefault(row["title_id"], [])
            seen.append((time.monotonic(), row["attempts_num"], row["concurrency_num"]))


def mark(settings: Settings, seconds: float) -> dict[str, float]:
    """Begin sessions for so long; title to the moment its event was acknowledged."""
    at: dict[str, float] = {}
    producer = clients.producer(settings)
    name = topics.real_name(catalogue.PLAYBACK_EVENT, settings)
    begun = time.monotonic()
    for n in range(int(seconds * PER_S)):
        time.sleep(max(0.0, begun + n / PER_S - time.monotonic()))
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1_000 * 1_000)
        title = f"{MARK}{n:06d}"

        def acknowledged(_: Any, title: str = title) -> None:
            at[title] = time.monotonic()

        value = wire.encode_one("playback_event", event(f"{title}-s", "p", title, 0, "s", now, now))
        producer.send(name, key=f"{title}-s".encode(), value=value).add_callback(acknowledged)
    producer.flush()
    producer.close()
    return at


@click.command()
@click.option("--rate", default=5_000, show_default=True, type=click.IntRange(min=0), help="Events a second beside it.")
@click.option("--seconds", default=60.0, show_default=True, help="How long; as long again before it, not counted.")
@click.option("--profiles", default=400, show_default=True, help="Viewers of the day that is copied.")
def main(rate: int, seconds: float, profiles: int) -> None:
    """Print the delays, and what was corrected later."""
    settings = load()
    origin, target = universe(settings, "fresh-day"), universe(settings, "fresh")
    topics.delete(target)
    topics.create(target)
    names = [topics.real_name(catalogue.PLAYBACK_EVENT, each) for each in (origin, target)]
    flood: subprocess.Popen[bytes] | None = None
    job = None
    try:
        if rate:
            base_day(origin, profiles)
            command = java.command("Flood", target.kafka.bootstrap, *names, 20, 1_000_000, rate)
        job = launch.start(target, fresh=True).job_id
        if rate:
            flood = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        rows = Rows(target)
        time.sleep(2)
        sent = mark(target, seconds)
        time.sleep(SETTLE_S)
        rows.done.set()
    finally:
        if flood is not None:
            flood.terminate()
            flood.wait()
        if job is not None:
            launch.cancel(target, job)
        for each in (origin, target):
            topics.delete(each)
    delays = np.array([rows.found[title][0][0] - at for title, at in sent.items() if title in rows.found])
    absent = len(sent) - len(delays)
    click.echo(f"{len(sent):,} marked events beside {rate:,} a second, {rows.read:,} minute rows read")
    if absent:
        click.echo(f"{absent:,} were in no minute row {SETTLE_S:.0f} s later")
    if len(delays):
        p50, p95, p99 = np.percentile(delays, [50, 95, 99])
        click.echo(f"to the row that contains it: p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s")
        first, last = zip(*((seen[0], seen[-1]) for seen in rows.found.values()), strict=True)
        again = sum(len(seen) > 1 for seen in rows.found.values()) / len(rows.found)
        counts = sum(a[1] != b[1] for a, b in zip(first, last, strict=True))
        alive = np.array([b[2] - a[2] for a, b in zip(first, last, strict=True)])
        click.echo(
            f"later: {again:.1%} of the rows written again, attempts changed in {counts:,}, time alive by "
            f"{np.abs(alive).mean():.0f} ms a row (most {np.abs(alive).max():,} ms)"
        )
    sys.exit(4 if absent else 0)


if __name__ == "__main__":
    main()
