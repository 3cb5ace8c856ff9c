"""Commands: `matinee world produce`, `matinee stream qoe | status | cancel | savepoint | end-day | topics`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from conf.errors import AuditFailed, UsageError
from conf.settings import load

FIRST_YEAR, LAST_YEAR = 1971, 2200


class Day(click.ParamType):
    """A UTC date, 2026-03-14, of a year that milliseconds since 1970 hold in every engine."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The date, or a usage error."""
        if isinstance(value, date):
            return value
        try:
            day = datetime.strptime(value, "%Y-%m-%d").date()
        except ValueError:
            self.fail(f"{value!r} is no date; write it as 2026-03-14", param, ctx)
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            self.fail(f"{value} is not of the years {FIRST_YEAR} to {LAST_YEAR}", param, ctx)
        return day


@click.group()
def world() -> None:
    """Make the seeded service's events and send them to Kafka."""


@world.command()
@click.option("--from", "first", type=Day(), help="First day (UTC); default: the world's own first day.")
@click.option("--days", default=1, show_default=True, type=click.IntRange(1, 3_660), help="How many days.")
@click.option("--seed", default=7, show_default=True, type=click.IntRange(0, 2**63 - 1),
              help="Equal seeds make equal worlds.")
@click.option("--profiles", default=2_000, show_default=True, type=click.IntRange(min=1), help="Viewers.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="N times real time; default: full speed.")
@click.option("--ratings", type=click.Path(path_type=Path), help="A MovieLens folder: each rating becomes a viewing.")
@click.option("--traces", type=click.Path(path_type=Path), help="A folder of JSON network traces.")
@click.option("--fault", "named", multiple=True, metavar="NAME[:COHORT]",
              help="A disturbance, e.g. isp_outage:DE-1 or late_burst; may be given again.")
def produce(first: date | None, days: int, seed: int, profiles: int, speed: float | None, ratings: Path | None,
            traces: Path | None, named: tuple[str, ...]) -> None:
    """Live DAYS days and send everything the service's systems would: catalogue, events, impressions, delivery logs.

    Each day ends with a control record on every partition. Truth goes to <var>/world/truth, for tests and reports
    alone. Sending the same day twice sends it twice.
    """
    from models.world import World, WorldConfig
    from streaming import produce as sending
    from streaming import topics, world_input

    settings = load()
    rated, movies = world_input.read_ratings(ratings) or (None, None)
    paths = world_input.read_traces(traces)
    disturbances = tuple(map(_fault, named))
    topics.create(settings)
    chosen = {} if first is None else {"start": first}
    config = WorldConfig(seed=seed, days=days, profiles=profiles, ratings_days=min(days, 7), **chosen)
    service = World.create(config, rated, paths, movies)
    for number in range(days):
        lived = service.live(number, faults=disturbances)
        with _bar(f"produce {config.date(number)}") as progress:
            news = service.news(number)
            sent = sending.produce_day(
                lived, settings, on=config.date(number), catalogue_frames=news, rate=speed, progress=progress
            )
        total = sum(sent.messages.values())
        click.echo(f"{sent.day}: {total} messages, {len(sent.poison)} of them poison; truth in "
                   f"{sending.truth_folder(settings, sent.day)}")


def _fault(text: str) -> Any:
    """A fault by name; what stands behind a colon is the one cohort it asks for (ISP, cluster, version)."""
    import inspect

    from models.world import faults

    name, _, cohort = text.partition(":")
    make = faults.ALL.get(name)
    if make is None:
        raise UsageError(f"there is no fault {name!r}; there are {', '.join(faults.ALL)}")
    texts = [p.name for p in inspect.signature(make).parameters.values() if "str" in str(p.annotation)]
    needed = [p.name for p in inspect.signature(make).parameters.values() if p.default is inspect.Parameter.empty]
    if needed and not cohort:
        raise UsageError(f"fault {name} needs its {needed[0]}: --fault {name}:NAME")
    if cohort and not texts:
        raise UsageError(f"fault {name} takes no cohort, found {cohort!r}")
    return make(**{texts[0]: cohort}) if cohort else make()


@contextmanager
def _bar(title: str) -> Iterator[Any]:
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@click.group()
def stream() -> None:
    """Submit, watch and stop the stream jobs."""


@stream.command()
@click.option("--detach", is_flag=True, help="Return as soon as the job has completed a checkpoint.")
@click.option("--until-day", type=Day(), help="Return when every partition has passed this day.")
@click.option("--fresh", is_flag=True, help="Forget checkpoints, read from the start: dead letters come twice.")
@click.option("--timeout", type=click.FloatRange(min=0), help="With --until-day: give up after so many s (exit 3).")
@click.option("--keep", is_flag=True, help="Watch; send the job again when a restarted JobManager has forgotten it.")
def qoe(detach: bool, until_day: date | None, fresh: bool, timeout: float | None, keep: bool) -> None:
    """Run the live QoE job: sums by minute, session states, dead letters, exactly once.

    Goes on from the newest checkpoint of an earlier run. Without an option it watches until Ctrl-C; the job goes on
    either way until `matinee stream cancel`.
    """
    from streaming import launch

    if keep and (detach or until_day):
        raise UsageError("--keep watches for ever: leave out --detach and --until-day")
    try:
        if keep:
            launch.keep(load(), fresh=fresh, say=click.echo)
        launch.run(load(), until_day=until_day, detach=detach, fresh=fresh, timeout_s=timeout, say=click.echo)
    except KeyboardInterrupt:
        click.echo("the job goes on; `matinee stream cancel` ends it", err=True)
        raise


@stream.command()
def status() -> None:
    """Show the QoE job and how far each partition of its day is."""
    from conf import flink
    from streaming import follow
    from streaming.jobs import plan

    settings = load()
    jobs = [job for job in flink.list_jobs(settings) if job.name == plan.name(settings)]
    if not jobs:
        click.echo(f"job {plan.name(settings)!r} has not run on this cluster: `matinee stream qoe` starts it")
        return
    for job in jobs:
        failure = f"; last failure: {job.last_failure}" if job.last_failure else ""
        click.echo(f"{job.id} {job.state}: {job.checkpoints or 0} checkpoints, {job.failed_checkpoints or 0} failed, "
                   f"{job.restarts or 0} restarts{failure}")
    for row in follow.progress(settings).itertuples():
        click.echo(f"partition {row.partition}: complete to the end of {row.day}")


@stream.command()
def cancel() -> None:
    """Cancel the QoE job; its last checkpoint stays for the next run."""
    from streaming import launch

    ended = launch.cancel(load())
    click.echo(f"cancelled {ended}; the next run goes on from its last checkpoint" if ended else "no job was running")


@stream.command()
def savepoint() -> None:
    """Stop the QoE job with a savepoint; the next run goes on from there."""
    from streaming import launch

    click.echo(f"stopped; savepoint {launch.savepoint(load())}")


@stream.command(name="end-day")
@click.argument("day", type=Day())
def end_day(day: date) -> None:
    """Say that every event received on DAY has been sent, so that the stream can make the day final.

    For events of your own; `matinee world produce` says it itself.
    """
    from streaming import produce as sending
    from streaming import topics as admin

    settings = load()
    admin.create(settings)
    newest = max(stamp for topic in sending.ENDED for stamp in admin.newest_timestamps(topic, settings))
    begun = max(newest / 1_000, time.time())  # a universe may lie in the future: its topic's clock counts too
    if datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() > begun:
        raise UsageError(
            f"{day} has not begun: it is {datetime.fromtimestamp(begun, UTC):%Y-%m-%d %H:%M:%S} UTC. The stream would "
            "close every session until then, and nothing takes that back"
        )
    sending.end_day(day, settings)
    click.echo(f"{day} ended on {settings.kafka.partitions} partitions")


@stream.command()
@click.option("--delete", is_flag=True, help="Delete them, with everything in them.")
def topics(delete: bool) -> None:
    """Make the topics of this universe that are absent; show all with their sizes."""
    from schemas.topics import TOPICS
    from streaming import topics as admin

    settings = load()
    if delete:
        click.confirm(f"Delete every topic with prefix {settings.kafka.topic_prefix!r} at {settings.kafka.bootstrap}?",
                      abort=True)
        click.echo(f"deleted {len(admin.delete(settings))} topics")
        return
    made = admin.create(settings)
    table = Table("topic", "record", "key", "compacted", "messages")
    for topic in TOPICS:
        name = admin.real_name(topic, settings)
        size = sum(admin.sizes(topic, settings))
        table.add_row(name, topic.record, topic.key, "yes" if topic.compacted else "", str(size))
    Console().print(table)
    click.echo(f"{len(made)} made")


@stream.command()
@click.argument("topic", type=click.Choice(["cmcd", "playback_event"]))
def letters(topic: str) -> None:
    """Write the dead letters of TOPIC to standard output, a line of JSON each, to be corrected and replayed."""
    from streaming import letters as dead

    for line in dead.export(topic, load()):
        click.echo(line)


@stream.command()
@click.argument("file", type=click.File("rb"))
def replay(file: Any) -> None:
    """Send the corrected letters of FILE (see `letters`) back to their topics; those still wrong are told (exit 4)."""
    from streaming import letters as dead

    done = dead.replay(file, load())
    for topic, count in done.sent.items():
        click.echo(f"{count} messages sent to {topic}")
    for number, why in done.wrong:
        click.echo(f"line {number}: {why}", err=True)
    if done.wrong:
        raise AuditFailed(f"{len(done.wrong)} letters are still wrong and were not sent: correct them, replay again")


@stream.command("stamps")
def stamps_() -> None:
    """Hold the Kafka timestamp of every event in topic playback_event against its received_at; wrong ones exit 4.

    For events that another collector writes: the stream goes by the one, the batch by the other.
    """
    from schemas.topics import PLAYBACK_EVENT
    from streaming import consume, stamps

    settings = load()
    found = stamps.judge(consume.messages(PLAYBACK_EVENT, settings), settings.flink.watermark_slack_ms)
    if found.ahead + found.behind:
        raise AuditFailed(found.verdict())
    click.echo(found.verdict())


def _json(line: bytes) -> Any:
    """The line's value; bytes that are no JSON stay bytes, which are no event either."""
    import json

    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line


@stream.command()
@click.argument("file", type=click.File("rb"))
def snowplow(file: Any) -> None:
    """Turn FILE, Snowplow's enriched media events (JSON a line, whole sessions), into playback events.

    `matinee events check` takes what comes out. Lines that are no media event are told (exit 4); the others go on.
    """
    import json

    from models.playback import snowplow as adapter

    done = adapter.adapt(_json(line) for line in file if line.strip())
    for row in done.rows:
        click.echo(json.dumps(row, ensure_ascii=False))
    for place, why in done.refused:
        click.echo(f"event {place + 1}: {why}", err=True)
    if done.refused:
        raise AuditFailed(f"{len(done.refused)} events could not be adapted")
