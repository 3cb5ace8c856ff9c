"""The QoE stream stopped with a savepoint and gone on with another parallelism, 1-2-1, under load: no row may change.

``.venv/bin/python -m bench.qoe_rescale`` on a free machine (it starts a stack of its own). Results are compared with
those of an undisturbed run, byte for byte, as in `bench.qoe_kills`; exit code 4 if any differs.
"""

from __future__ import annotations

import click

from bench import verdict
from bench.qoe_kills import DAY, Load, await_still, calm, differences, settings_of
from conf import stack
from conf.settings import Settings
from models.world import World, WorldConfig
from streaming import follow, launch, produce, topics
from streaming.lanes import Lane

STEPS = (1, 2, 1)


def with_parallelism(settings: Settings, parallelism: int) -> Settings:
    """The same settings for another number of subtasks."""
    return settings.model_copy(update={"flink": settings.flink.model_copy(update={"parallelism": parallelism})})


def moved(settings: Settings, lane: Lane, per_second: float) -> None:
    """The run that is stopped and started twice."""
    topics.delete(settings)
    topics.create(settings)
    load_ = Load(settings, lane, per_second)
    load_.thread.start()
    job_id = ""
    for number, parallelism in enumerate(STEPS, 1):
        now = with_parallelism(settings, parallelism)
        started = launch.start(now, fresh=number == 1)
        follow.follow(now, started.job_id, detach=True)
        click.echo(f"parallelism {parallelism}, from {started.resumed or 'the start'}")
        load_.await_share(number / len(STEPS))
        job_id = started.job_id
        if number < len(STEPS):
            load_.allowed += 0.2  # events go on coming while the savepoint is taken
            click.echo(f"stopped; savepoint {launch.savepoint(now)}")
    load_.finish()
    produce.end_day(DAY, settings)
    launch.await_day(settings, DAY, job_id, timeout_s=900)
    await_still(settings)


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--profiles", default=2_000, show_default=True, help="Viewers of the day: the load.")
@click.option("--per-second", default=4_000.0, show_default=True, help="Events sent a second.")
def main(seed: int, profiles: int, per_second: float) -> None:
    """Send a day twice, move the stream during one of them, compare."""
    quiet, moving = settings_of("calm"), settings_of("moved")
    lived = World.create(WorldConfig(seed=seed, start=DAY, days=1, profiles=profiles)).live(0)
    stack.up(quiet, owned=True)
    try:
        lane = produce.day_lanes(lived, moving, [0] * moving.kafka.partitions)[0]
        click.echo(f"{len(lane):,} events, {len(lived.poison):,} of them poison")
        calm(quiet, lived)
        moved(moving, lane, per_second)
        differing = differences(quiet, moving)
        launch.cancel(moving)
    finally:
        stack.down(quiet)
    click.echo(f"{differing.total():,} rows differ")
    verdict.end(verdict.most("rows that differ", differing.total(), 0))


if __name__ == "__main__":
    main()
