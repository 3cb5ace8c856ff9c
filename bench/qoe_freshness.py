"""From an event in Kafka to the minute row that contains it: ``.venv/bin/python -m bench.qoe_freshness --rate 5000``.

On the running stack (`matinee up`), in real time: copies of a disturbed day at `--rate` events a second for load, and
in between sessions under titles of their own, so that the first committed row of rollup `title` under such a title is
the first that contains its event. The clock runs from the broker's acknowledgement to a reader of committed messages.
Take half the rate at which the job's lag begins to grow. `--seconds` of warming up are not counted.

The slower the day runs (`--faster`), the more viewers make the rate. Then it is told what deltas take back: of what was
shown while a message was missing, or of what the player's counters prove to have been a stall. (Versions of the rows
would not say it: there other sessions' growth hides it.) For that the day itself goes through the kernel's live fold in
order of arrival, without Flink, the watermark going on with each message as it does in life (bench/java, `Paced`).
Flink's own counters of the same day are printed too, but of a backlog: it reads the day in seconds, its watermark goes
on once a checkpoint, and so hardly a gap is shown before its message is there.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import click
import numpy as np

from bench import java, verdict
from bench.page_follow import event
from bench.stream import base_day, fold_vertex, universe
from conf import flink
from conf.errors import MatineeError
from conf.settings import Settings, load
from schemas import topics as catalogue
from schemas import wire
from streaming import clients, consume, launch, topics
from tests.kernel import jvm

MARK = "freshness-"
PER_S = 20.0
SETTLE_S = 15.0
P99_S = 3.0
LOAD_SHARE = 0.95
"""How much of the rate must have come while events were marked: beside less, the delays claim nothing."""
METRICS_S, METRICS_TRIES = 12.0, 20
DAY_S = 86_400


class Rows:
    """Moment at which the first minute row of a marked title could be read."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.found = settings, dict[str, float]()
        self.read, self.done = 0, threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        mark = MARK.encode()
        for message in consume.tail(catalogue.QOE_MINUTE, self.settings, self.done.is_set):
            self.read += 1
            if message.key is None or message.value is None or mark not in message.key:
                continue
            self.found.setdefault(wire.decode_one(message.value)[2]["title_id"], time.monotonic())


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


def counters(settings: Settings, job_id: str) -> dict[str, int]:
    """The fold's counters of corrections over all subtasks (the kernel's Corrections.java), by name."""
    path = f"/jobs/{job_id}/vertices/{fold_vertex(settings, job_id)['id']}/subtasks/metrics"
    known = [metric["id"].removeprefix("fold_live.") for metric in flink.get(settings, path)]
    mine = [name for name in known if name in ("deltas", "corrections") or name.startswith("taken_back.")]
    asked = ",".join(f"fold_live.{name}" for name in mine)
    found = flink.get(settings, f"{path}?get={asked}&agg=sum") if mine else []
    return {metric["id"].removeprefix("fold_live."): int(metric["sum"]) for metric in found}


def settled(settings: Settings, job_id: str) -> dict[str, int]:
    """The counters once they stand still and are not 0; Flink gathers metrics every 10 s, and only if it is asked."""
    found: dict[str, int] = {}
    for _ in range(METRICS_TRIES):
        before, found = found, counters(settings, job_id)
        if found.get("deltas") and found == before:
            return found
        time.sleep(METRICS_S)
    raise MatineeError("the counters of corrections did not come to rest")


def paced(messages: Iterable[jvm.Message], settings: Settings) -> dict[str, tuple[int, int]]:
    """`deltas`: how many and how many of them took something back; by measure: its sum, and what was taken back of it.

    The messages are of `playback_event`; each is read at its arrival.
    """
    command = java.command("Paced", settings.fold.text(), settings.flink.watermark_slack_ms)
    found = subprocess.run(command, input=jvm.packed(messages), capture_output=True)
    if found.returncode:
        raise MatineeError(f"the day could not be read at its pace: {launch.root_cause(found.stderr.decode())}")
    rows = (line.split() for line in found.stdout.decode().splitlines())
    return {name: (int(first), int(second)) for name, first, second in rows}


def corrections(settings: Settings) -> Iterator[str]:
    """What deltas of the day took back, a line each, with its share of the sum; the last line is Flink's backlog."""
    held = sorted(consume.messages(catalogue.PLAYBACK_EVENT, settings), key=lambda message: message.at_ms)
    found = paced((jvm.Message(m.partition, m.offset, m.at_ms, m.key, m.value) for m in held), settings)
    yield f"the day at its own pace, the fold alone: {_share(*found.pop('deltas'))}"
    for name, (total, taken) in sorted(found.items()):
        if taken:
            yield f"  {name}: {taken:,}" + (f" ({taken / total:.3%} of the sum)" if total > taken else "")
    job = launch.start(settings, fresh=True).job_id
    try:
        read = settled(settings, job)
    finally:
        launch.cancel(settings, job)
    yield f"the same day as a backlog that Flink reads in seconds: {_share(read['deltas'], read['corrections'])}"


def _share(deltas: int, negative: int) -> str:
    return f"{deltas:,} deltas, {negative:,} took something back: {negative / deltas:.3%}"


@click.command()
@click.option("--rate", default=5_000, show_default=True, type=click.IntRange(min=0), help="Events a second beside it.")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(min=1),
              help="How long; as long again before it, not counted.")
@click.option("--profiles", default=2_000, show_default=True, help="Viewers of the day that is copied.")
@click.option("--faster", default=20.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
              help="How fast the day runs; 1: more viewers, as it was.")
def main(rate: int, seconds: float, profiles: int, faster: float) -> None:
    """Print the delays, and what was corrected later."""
    settings = load()
    origin, target = universe(settings, "fresh-day"), universe(settings, "fresh")
    topics.delete(target)
    topics.create(target)
    names = [topics.real_name(catalogue.PLAYBACK_EVENT, each) for each in (origin, target)]
    try:
        day = base_day(origin, profiles)
        command: list[str] = []
        if rate:
            copies = max(1, round(rate / (day / DAY_S * faster)))
            click.echo(f"{copies:,} copies of each event: the day runs {faster:g} times as fast as it was")
            command = java.command("Flood", target.kafka.bootstrap, *names, copies, 1_000_000, rate)
        sent, rows, came = beside(target, command, seconds)
        missed = told(sent, rows, rate, came, int(seconds * PER_S))
        for line in corrections(origin):
            click.echo(line)
    finally:
        for each in (origin, target):
            topics.delete(each)
    verdict.end(missed)


def beside(settings: Settings, load_command: list[str], seconds: float) -> tuple[dict[str, float], Rows, float]:
    """When each marked event was acknowledged, what was read of their rows, and how many other events came a second;
    beside the load if there is one."""
    job = launch.start(settings, fresh=True).job_id
    flood = subprocess.Popen(load_command, stderr=subprocess.DEVNULL) if load_command else None
    try:
        time.sleep(seconds)
        rows = Rows(settings)
        time.sleep(2)
        before, begun = sum(topics.sizes(catalogue.PLAYBACK_EVENT, settings)), time.monotonic()
        sent = mark(settings, seconds)
        came = sum(topics.sizes(catalogue.PLAYBACK_EVENT, settings)) - before - len(sent)
        per_s = came / (time.monotonic() - begun)
        time.sleep(SETTLE_S)
        rows.done.set()
        return sent, rows, per_s
    finally:
        if flood is not None:
            flood.terminate()
            flood.wait()
        launch.cancel(settings, job)


def told(sent: dict[str, float], rows: Rows, rate: int, came: float, marked: int) -> list[str]:
    """Print the delays; what was missed of the claim. `came` is the load a second beside them, `marked` how many events
    should have been acknowledged."""
    delays = np.array([rows.found[title] - at for title, at in sent.items() if title in rows.found])
    absent = marked - len(delays)
    click.echo(f"{len(sent):,} marked events beside {came:,.0f} a second, {rows.read:,} minute rows read")
    if absent:
        click.echo(f"{absent:,} were in no minute row {SETTLE_S:.0f} s later")
    if len(delays):
        p50, p95, p99 = np.percentile(delays, [50, 95, 99])
        click.echo(f"to the row that contains it: p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s")
        late = verdict.most("p99, s", float(p99), P99_S)
    else:
        late = ["no marked event was found in a row"]
    late += verdict.most("marked events in no row", absent, 0)
    return late + verdict.least("load, events a second", came, LOAD_SHARE * rate)


if __name__ == "__main__":
    main()
