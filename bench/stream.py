"""Events per CPU second of the Flink job, Kafka to Kafka, exactly once: ``.venv/bin/python -m bench.stream``.

Two sizes on the running stack (`matinee up`), each with topics of its own; the slope between them leaves out start-up
and compilation, which are some 30 CPU seconds. CPU is that of the TaskManager's process. Take a quiet machine.
"""

from __future__ import annotations

import sys
import time
from datetime import date, timedelta

import click
import psutil

from conf import supervisor
from conf.errors import InputMissing
from conf.settings import Settings, load
from models.world import World, WorldConfig
from streaming import launch, produce, topics

FIRST = date(2026, 1, 5)


def taskmanager_cpu_s(settings: Settings) -> float:
    """CPU seconds of the stack's TaskManager so far."""
    state = supervisor.read_state(settings.stack.dir)
    if state is None:
        raise InputMissing("no stack runs here: `matinee up` starts it")
    pid = next(child.pid for child in state.children if child.name == "taskmanager")
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def measure(base: Settings, profiles: int, days: int) -> tuple[int, float, float]:
    """Events, CPU seconds and wall seconds of the job over a world of this size, lying ready in the topic."""
    kafka = base.kafka.model_copy(update={"topic_prefix": f"bench{profiles}."})
    settings = base.model_copy(update={"kafka": kafka})
    topics.delete(settings)
    world = World.create(WorldConfig(seed=1, start=FIRST, days=days, profiles=profiles))
    events = 0
    for number in range(days):
        sent = produce.produce_day(world.live(number), settings, on=FIRST + timedelta(days=number))
        events += sent.messages[f"{kafka.topic_prefix}playback_event"]
    cpu, began = taskmanager_cpu_s(settings), time.monotonic()
    launch.run(settings, until_day=FIRST + timedelta(days=days - 1), fresh=True, timeout_s=1_800)
    spent, wall = taskmanager_cpu_s(settings) - cpu, time.monotonic() - began
    launch.cancel(settings)
    topics.delete(settings)
    return events, spent, wall


@click.command()
@click.option("--small", default=2_000, show_default=True, help="Profiles of the small world.")
@click.option("--large", default=12_000, show_default=True, help="Profiles of the large one.")
@click.option("--days", default=1, show_default=True)
def main(small: int, large: int, days: int) -> None:
    """Print both sizes and the slope."""
    settings = load()
    found = [measure(settings, profiles, days) for profiles in (small, large)]
    for events, cpu, wall in found:
        click.echo(f"{events:>10,} events: {cpu:6.1f} CPU s, {wall:6.1f} s wall (submission included)")
    (few, cheap, _), (many, dear, _) = found
    click.echo(f"slope: {(many - few) / (dear - cheap):,.0f} events per CPU second of the TaskManager")


if __name__ == "__main__":
    sys.exit(main())
