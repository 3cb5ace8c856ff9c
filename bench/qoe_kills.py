"""The QoE stream under `kill -9`: seeded kills of TaskManager, JobManager and broker under load.

``.venv/bin/python -m bench.qoe_kills [--kills 50] [--seed 1]`` on a free machine (it starts a stack of its own).

The same day is sent twice, once to a stream left alone and once while processes are killed. At the end the compacted
state of every result topic, and the dead letters, must be equal byte for byte; exit code 4 if not, and from fifty kills
on also where recovery takes longer than claimed. A third of the kills is aimed inside a checkpoint (its folder is
there, its metadata not yet), a third inside a commit (right after the metadata, when the sinks commit their
transactions), the rest anywhere. Inside a commit was a kill after which the broker still wrote that transactions were
committed, before another checkpoint was complete. Recovery is the time from the kill to the next completed checkpoint.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import click
import numpy as np
from kafka import TopicPartition
from kafka.record.memory_records import MemoryRecords

from bench import verdict
from conf import stack, supervisor
from conf.errors import MatineeError, ServiceUnavailable
from conf.settings import Settings, load
from models.world import World, WorldConfig
from schemas import topics as catalogue
from streaming import clients, consume, launch, produce, rest, topics
from streaming.jobs import plan
from streaming.lanes import Lane

DAY = date(2026, 1, 5)
TARGETS = ("taskmanager", "jobmanager", "broker")
MOMENTS = ("checkpoint", "commit", "any")
RESULTS = (catalogue.QOE_MINUTE, catalogue.QOE_SESSION, catalogue.QOE_PROGRESS)
PATIENCE_S = 180.0
STILL_S = 10.0
TICK_S = 0.05
WHOLE, INSIDE = 50, 10
RECOVERY_S = {"taskmanager": 15.0, "jobmanager": 30.0, "broker": 20.0}
"""What is claimed of fifty kills: so many inside each moment, and the 95th percentile of recovery."""
GUARD_S = 0.3
"""A checkpoint completed so soon after a kill was on its way already: no sign of recovery."""
COMMITTED = 1
"""Type of the control record that commits a transaction, after two bytes of version in its key."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: what, inside what, whether it was (of commits the broker's log tells that at the end), seconds to the
    next completed checkpoint, and when (epoch s)."""

    target: str
    moment: str
    inside: bool
    recovery_s: float
    at: float = 0.0


class Load:
    """A thread that sends a lane piece by piece, never more than the share allowed so far."""

    def __init__(self, settings: Settings, lane: Lane, per_second: float) -> None:
        self.settings, self.lane, self.per_second = settings, lane, per_second
        self.allowed = 0.0
        self.sent = 0
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="load", daemon=True)

    def _run(self) -> None:
        try:
            producer = clients.producer(self.settings)
            while self.sent < len(self.lane):
                step = max(1, int(self.per_second * TICK_S))
                stop = min(self.sent + step, int(self.allowed * len(self.lane)))
                if stop > self.sent:
                    produce.send(producer, [piece(self.lane, self.sent, stop)])
                    self.sent = stop
                time.sleep(TICK_S)
            producer.close()
        except Exception as error:  # noqa: BLE001 - told at the end by `finish`
            self.failure = error

    def await_share(self, share: float) -> None:
        """Let this share go and wait until it has gone."""
        self.allowed = share
        while self.sent < int(share * len(self.lane)) and self.thread.is_alive():
            time.sleep(TICK_S)

    def finish(self) -> None:
        """Let everything go and wait for it."""
        self.per_second, self.allowed = 1e6, 1.0
        self.thread.join()
        if self.failure is not None:
            raise self.failure


def piece(lane: Lane, start: int, stop: int) -> Lane:
    """Rows of a lane."""
    return replace(
        lane, keys=lane.keys[start:stop], values=lane.values[start:stop], partitions=lane.partitions[start:stop],
        at_ms=lane.at_ms[start:stop], due_ms=lane.due_ms[start:stop], marked=frozenset(),
    )  # fmt: skip


def checkpoints(settings: Settings) -> dict[Path, bool]:
    """Folders of the stack's retained and running checkpoints, and whether each is complete."""
    home = settings.stack.dir / "flink" / "checkpoints"
    return {path: (path / "_metadata").exists() for path in home.glob("*/chk-*")}


def await_moment(settings: Settings, moment: str, rng: random.Random) -> Path | None:
    """Return inside the moment asked for; the checkpoint it belongs to."""
    if moment == "any":
        time.sleep(rng.uniform(0.0, 2.0))
        return None
    before = checkpoints(settings)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for path, complete in checkpoints(settings).items():
            if moment == "checkpoint" and path not in before and not complete:
                return path
            if moment == "commit" and complete and not before.get(path, False):
                return path
        time.sleep(0.001)
    raise MatineeError(f"no {moment} was seen within {PATIENCE_S:.0f} s")


def await_checkpoint(settings: Settings, since: float) -> float:
    """When the next checkpoint after `since` (epoch s) was completed."""
    deadline = time.time() + PATIENCE_S
    while time.time() < deadline:
        for path in checkpoints(settings):
            try:
                completed = (path / "_metadata").stat().st_mtime
            except FileNotFoundError:
                continue
            if completed > since + GUARD_S:
                if _broker_answers(settings):
                    return completed
                since = completed  # it was on its way too: nothing has recovered while no broker answers
        time.sleep(0.02)
    raise MatineeError(f"no checkpoint within {PATIENCE_S:.0f} s; see {settings.stack.dir / 'logs'}")


def _broker_answers(settings: Settings) -> bool:
    try:
        with clients.reaching(settings):
            return True
    except ServiceUnavailable:
        return False


def kill(settings: Settings, target: str, moment: str, rng: random.Random) -> Kill:
    """One kill, and the wait until the stream works again."""
    await_checkpoint(settings, time.time())
    state = supervisor.read_state(settings.stack.dir)
    assert state is not None
    pid = next(child.pid for child in state.children if child.name == target)
    aimed = await_moment(settings, moment, rng)
    os.kill(pid, signal.SIGKILL)
    at = time.time()
    inside = moment == "checkpoint" and aimed is not None and not (aimed / "_metadata").exists()
    return Kill(target, moment, inside, await_checkpoint(settings, at) - at, at)


def commits(settings: Settings) -> np.ndarray:
    """When the stack's broker wrote that a transaction is committed (epoch s, in order), by the log of our topics."""
    found = []
    for path in settings.stack.dir.glob(f"broker/**/{settings.kafka.topic_prefix}*/*.log"):
        records = MemoryRecords(path.read_bytes())
        while (batch := records.next_batch()) is not None:
            if batch.is_control_batch:
                found += [one.timestamp / 1000 for one in batch if struct.unpack(">hh", one.key[:4])[1] == COMMITTED]
    return np.sort(np.array(found, dtype=np.float64))


def judged(done: Sequence[Kill], committed: np.ndarray) -> list[Kill]:
    """With what the log tells of those that were aimed at a commit."""
    first = np.searchsorted(committed, [k.at for k in done], side="right")
    last = np.searchsorted(committed, [k.at + k.recovery_s for k in done])
    cut = last > first
    return [replace(k, inside=bool(c)) if k.moment == "commit" else k for k, c in zip(done, cut, strict=True)]


def settings_of(name: str) -> Settings:
    """Settings of one of the two streams: same stack, own topics."""
    base = load()
    var = base.paths.var / "bench" / "kills"
    return load(overrides={
        "paths": {"var": str(var)},
        "stack": {"dir": str(var / "stack"), "restart_limit": 10_000},
        "kafka": {"topic_prefix": f"{name}."},
        "flink": {"restart_attempts": 10_000},
    })  # fmt: skip


def calm(settings: Settings, lived: object) -> None:
    """The undisturbed run."""
    topics.delete(settings)
    produce.produce_day(lived, settings, on=DAY)  # type: ignore[arg-type]
    launch.run(settings, until_day=DAY, fresh=True, timeout_s=900)
    await_still(settings)
    launch.cancel(settings)


def storm(settings: Settings, lane: Lane, kills: int, seed: int, per_second: float) -> list[Kill]:
    """The run under kills."""
    rng = random.Random(seed)
    topics.delete(settings)
    topics.create(settings)
    keeper = threading.Thread(target=_keep, args=(settings,), name="keeper", daemon=True)
    keeper.start()
    load_ = Load(settings, lane, per_second)
    load_.thread.start()
    pairs = [(target, moment) for moment in MOMENTS for target in TARGETS]
    wanted = [pairs[n % len(pairs)] for n in range(kills)]
    rng.shuffle(wanted)
    done = []
    for number, (target, moment) in enumerate(wanted, 1):
        load_.allowed = 0.95 * number / len(wanted)
        found = kill(settings, target, moment, rng)
        done.append(found)
        seen = "inside" if found.inside else ""
        click.echo(f"{number:>3} of {kills}: {target:<12} {moment:<11} {seen:<7} back after {found.recovery_s:5.1f} s")
    load_.finish()
    produce.end_day(DAY, settings)
    job = None
    while job is None:  # the keeper may just be sending it again
        job = rest.find(settings, plan.name(settings))
        time.sleep(0.5)
    launch.await_day(settings, DAY, job.id, timeout_s=900)
    await_still(settings)
    return done


def _keep(settings: Settings) -> None:
    try:
        launch.keep(settings, fresh=True, say=lambda text: click.echo(f"    {text[:150]}"))
    except MatineeError as error:  # the job is cancelled at the end of the bench
        click.echo(f"    the keeper ended: {error}")


def await_still(settings: Settings) -> None:
    """Return when no result has changed for longer than a silent `cmcd` holds the watermark back.

    A day is complete before: what its viewers do after midnight is shown and closed as the watermark goes on.
    """
    patience_s = settings.flink.cmcd_idle_ms / 1000 + STILL_S
    consumer = clients.consumer(settings)
    names = [topics.real_name(topic, settings) for topic in RESULTS]
    places = [TopicPartition(name, n) for name in names for n in consumer.partitions_for_topic(name) or ()]
    ends, since = consumer.end_offsets(places), time.monotonic()
    while time.monotonic() - since < patience_s:
        time.sleep(1)
        found = consumer.end_offsets(places)
        if found != ends:
            ends, since = found, time.monotonic()
    consumer.close()


def differences(one: Settings, other: Settings) -> Counter[str]:
    """Rows that differ between two streams, by topic: newest value a key; dead letters as a bag of bytes."""
    found: Counter[str] = Counter()
    for topic in RESULTS:
        a, b = (consume.newest(consume.messages(topic, s)) for s in (one, other))
        found[f"{topic.name}, {len(a):,} keys"] = sum(a.get(key) != b.get(key) for key in a.keys() | b.keys())
    letters = [Counter(m.value for m in consume.messages(catalogue.DLQ_PLAYBACK_EVENT, s)) for s in (one, other)]
    name = f"{catalogue.DLQ_PLAYBACK_EVENT.name}, {letters[0].total():,} letters"
    found[name] = ((letters[0] - letters[1]) + (letters[1] - letters[0])).total()
    for name, differing in found.items():
        click.echo(f"{name}: {differing:,} differ")
    return found


@click.command()
@click.option("--kills", default=50, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=1, show_default=True)
@click.option("--profiles", default=4_000, show_default=True, help="Viewers of the day: the load.")
@click.option("--per-second", default=2_000.0, show_default=True, help="Events sent a second between kills.")
def main(kills: int, seed: int, profiles: int, per_second: float) -> None:
    """Send a day twice, kill during one of them, compare; print recovery by process."""
    quiet, stormy = settings_of("calm"), settings_of("storm")
    lived = World.create(WorldConfig(seed=seed, start=DAY, days=1, profiles=profiles)).live(0)
    stack.up(quiet, owned=True)
    try:
        lane = produce.day_lanes(lived, stormy, [0] * stormy.kafka.partitions)[0]
        click.echo(f"{len(lane):,} events, {len(lived.poison):,} of them poison")
        calm(quiet, lived)
        done = storm(stormy, lane, kills, seed, per_second)
        differing = differences(quiet, stormy)
        launch.cancel(stormy)
    finally:
        stack.down(quiet)
    done = judged(done, commits(stormy))
    for moment in MOMENTS[:2]:
        click.echo(f"inside a {moment}: {sum(k.inside for k in done if k.moment == moment)}")
    for target in TARGETS:
        took = [k.recovery_s for k in done if k.target == target]
        if took:
            click.echo(f"{target:<12} {len(took):>3} kills, recovery median {np.median(took):5.1f} s, "
                       f"p95 {np.quantile(took, 0.95):5.1f} s, longest {max(took):5.1f} s")  # fmt: skip
    click.echo(f"{differing.total():,} rows differ")
    verdict.end(missed(done, differing.total()))


def missed(done: Sequence[Kill], differing: int) -> list[str]:
    """What does not hold: equal rows always, the rest from fifty kills on."""
    out = verdict.most("rows that differ", differing, 0)
    if len(done) < WHOLE:
        return out
    for moment in MOMENTS[:2]:
        out += verdict.least(f"kills inside a {moment}", sum(k.inside for k in done if k.moment == moment), INSIDE)
    for target, most_s in RECOVERY_S.items():
        took = [k.recovery_s for k in done if k.target == target]
        out += verdict.most(f"recovery of the {target}, p95, s", float(np.quantile(took, 0.95)), most_s)
    return out


if __name__ == "__main__":
    main()
