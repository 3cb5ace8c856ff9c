"""``matinee demo``: the whole loop on this machine, and checks on what it left."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import psutil

from conf.errors import stopped
from conf.settings import given_settings, load

if TYPE_CHECKING:
    import pandas as pd

    from demo.loop import Input
    from models.world.network import Traces

# The demo replays days in minutes, so state that a live service would drop after a day is all still there at each
# checkpoint; every 5 s instead of every second keeps the disk out of the figures.
HISTORY_SCALE, LIVE_SCALE, AFTER_SCALE = 0.5, 3.5, 2.0  # visits: thin history days, a live day worth looking at
OVERLAY = {"flink": {"checkpoint_interval_ms": 5_000}}


@click.group(name="demo", invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--ratings",
    type=click.Path(path_type=Path),
    help="Folder in MovieLens layout (csv or dat): each rating becomes one viewing.",
)
@click.option(
    "--traces",
    type=click.Path(path_type=Path),
    help="Folder of JSON network traces (duration_ms, bandwidth_kbps, latency_ms).",
)
@click.option("--profiles", type=click.IntRange(20, 1_000_000), help="Viewers of the world.")
@click.option(
    "--history",
    "history_days",
    type=click.IntRange(2, 60),
    default=7,
    show_default=True,
    help="Days before the live day.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=7, show_default=True, help="Seed of the world.")
@click.option("--kill", is_flag=True, help="kill -9 the TaskManager in mid-day and ingest's driver at three points.")
@click.pass_context
def demo(
    ctx: click.Context,
    ratings: Path | None,
    traces: Path | None,
    profiles: int | None,
    history_days: int,
    seed: int,
    kill: bool,
) -> None:
    """Play the loop: history, a live day with an outage, decisions, the day after; then a report.

    \b
    The run lives in <var>/demo/<id> with its own topics and lake; earlier runs are left as they are. Broker and Flink
    stay up at the end (`make down` stops them). Afterwards:
      matinee --demo sql "SELECT * FROM gold.qoe_daily LIMIT 10"
      matinee --demo job reconcile --date DAY
    """
    if ctx.invoked_subcommand is None:
        from streaming import world_input

        rated, networks = world_input.read_ratings(ratings), world_input.read_traces(traces)
        play(_input(rated, networks, profiles, history_days, seed, kill))


@demo.command("check-ratings")
@click.option("--ratings", type=click.Path(path_type=Path), required=True, help="The folder the demo was given.")
def check_ratings(ratings: Path) -> None:
    """Hold a demo's lake against its ratings, both ways: each rating one attempt, each rated attempt its rating."""
    from demo import checks

    for line in checks.attempts_against_ratings(load(), ratings):
        click.echo(line)


@demo.command("check-fold")
@click.option("--sessions", type=click.IntRange(1), default=2_000, show_default=True, help="How many sessions.")
def check_fold(sessions: int) -> None:
    """Hold Spark's spans and sessions and Flink's live sessions against the Python reference, cell by cell."""
    from demo import checks

    for line in checks.fold_against_reference(load(), sessions):
        click.echo(line)


@demo.command("check-truth")
@click.option("--sessions", type=click.IntRange(1), default=2_000, show_default=True,
              help="How many to fold once more without the player's own counters.")
def check_truth(sessions: int) -> None:
    """Hold measured start delay, stalls and playing time against the world's own timeline."""
    from demo import checks

    for line in checks.measured_against_truth(load(), sessions):
        click.echo(line)


@demo.command("report")
def write_report() -> None:
    """Write the report of a demo once more, from its lake, topics and truth (matinee --demo ID demo report)."""
    from demo import gather, report

    settings = load()
    story = gather.story(settings, gather.Run.read(settings.paths.var))
    path = settings.paths.var / "report.html"
    path.write_text(report.html(story), encoding="utf-8")
    click.echo(_short(path))


def play(given: Input) -> None:
    """Set a universe up, bring the stack up, play the loop, print its figures."""
    from rich.console import Console

    from demo import report, universe

    base = load()
    console = Console()
    from conf import java, stack
    from demo.loop import Loop
    from demo.meter import Meter

    java.version()  # Flink's and Spark's clients need it too, not only a stack that may be up already
    before = stack.status(base)
    console.print("[dim]broker and Flink are up[/dim]" if before.well else "[bold]start broker and Flink[/bold]")
    meter = Meter(lambda: [child.pid for child in stack.status(base).children])
    with meter.step("start broker and Flink"):
        stack.up(base, say=lambda text: console.print(f"  [dim]{text}[/dim]"))
    try:
        made = universe.create(base.paths.var, base.stack.dir, datetime.now(), OVERLAY, given_settings())
        os.environ["MATINEE_CONFIG"] = str(made.config)
        settings = load()
        with meter:
            story = Loop(settings, made, given, console, meter).play()
    except BaseException as error:
        if stopped(error) is None:
            console.print("[dim]broker and Flink are still up, for a look; stop them with: make down[/dim]")
        elif not before.supervised:
            console.print("interrupted: stopping the broker and Flink this demo started")
            stack.down(base)
        raise
    console.print()
    console.print(report.terminal(story))
    console.print(
        f"\nwall     {time.time() - psutil.Process().create_time():.0f} s, from the first moment of this process\n"
        f"report   {_short(made.report)}\n"
        'lake     matinee --demo sql "SHOW TABLES"\n'
        "stack    still up; stop it with: make down"
    )
    sys.stdout.flush()


def _input(
    ratings: tuple[pd.DataFrame, pd.DataFrame] | None,
    traces: Traces | None,
    profiles: int | None,
    history_days: int,
    seed: int,
    kill: bool,
) -> Input:
    """What the loop is played on: the demo's own sizes, and what the user asked for."""
    from demo.loop import Input
    from models.world.config import WorldConfig

    scale = (*(HISTORY_SCALE,) * history_days, LIVE_SCALE, AFTER_SCALE)
    config = replace(WorldConfig(), seed=seed, days=history_days + 2, ratings_days=history_days, day_scale=scale)
    if ratings is not None:
        # A rating is a viewing that took place: no lost beacon may take one away.
        config = replace(config, disturb=replace(config.disturb, lost=0.0))
    if profiles is not None:
        config = replace(config, profiles=profiles)
    return Input(config, history_days, ratings, traces, kill)


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
