"""``matinee job``: run batch jobs, list them, print content hashes. Spark is imported when a job runs, not before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import click

from conf.errors import UsageError
from conf.settings import load
from jobs import registry

if TYPE_CHECKING:
    from jobs.runner import Runner


@click.command(name="job", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--date", "day", metavar="DAY", help="The day, YYYY-MM-DD (UTC).")
@click.option("--from", "first", metavar="DAY", help="First day of a range.")
@click.option("--to", "last", metavar="DAY", help="Last day of a range, included.")
@click.option("--list", "listing", is_flag=True, help="List the jobs: what each reads and writes.")
def job(names: tuple[str, ...], day: str | None, first: str | None, last: str | None, listing: bool) -> None:
    """Run jobs, one after the other, for a day or a range of days, in one Spark process.

    \b
    matinee job sessionize qoe_daily --date 2026-11-01
    matinee job features --from 2026-11-01 --to 2026-11-07
    matinee job hash sessionize --date 2026-11-01     content hashes of what the job wrote for that day

    NAME `daily` stands for all jobs of the daily schedule. Ends with 0 done, 2 usage, 3 input missing, 4 audit failed,
    5 service unavailable.
    """
    if listing:
        click.echo(describe())
        return
    if not names:
        raise UsageError(f"name a job: {', '.join(spec.name for spec in registry.JOBS)}; or --list")
    days = _days(day, first, last)
    hashing, wanted = names[0] == "hash", names[1:] if names[0] == "hash" else names
    if not wanted:
        raise UsageError("hash of which job? `matinee job --list` names them; `matinee job hash daily` is all of a day")
    expanded = [name for given in wanted for name in (registry.DAILY if given == "daily" else (given,))]
    for name in expanded:
        _known(name)
    from jobs.runner import Runner

    with Runner(load(), say=lambda text: click.echo(text, err=True)) as runner:
        if hashing:
            for line in _hashes(runner, expanded, days):
                click.echo(line)
        else:
            runner.run(expanded, days)


def _known(name: str) -> registry.JobSpec:
    try:
        return registry.job(name)
    except KeyError as error:
        raise UsageError(str(error.args[0])) from None


def _hashes(runner: Runner, names: list[str], days: list[date]) -> Iterator[str]:
    for at in days:
        for name in names:
            spec = _known(name)
            written = at + timedelta(days=spec.writes_day)
            for table in spec.writes:
                rows, digest = runner.content_hash(table, written)
                yield f"{digest}  {rows:>12,}  {table.fqn}  {written}"


def describe() -> str:
    """The jobs as text: name, kind, cadence, doc, reads and writes."""
    lines = []
    for spec in registry.JOBS:
        reads = sorted({r.table.fqn for r in spec.reads} | {f"topic {t.name}" for t in spec.reads_topics})
        writes = [t.fqn for t in spec.writes] + [f"topic {t.name}" for t in spec.writes_topics]
        lines += [
            f"{spec.name:<18} {spec.kind.value:<8} {spec.cadence:<7} {spec.doc}",
            f"{'':<18} reads  {', '.join(reads)}",
            f"{'':<18} writes {', '.join(writes)}",
        ]
    return "\n".join(lines)


def day_range(first: date, last: date) -> list[date]:
    """Days from first to last, both included.

    Raises:
        UsageError: the range runs backwards.
    """
    if last < first:
        raise UsageError(f"--from {first} is after --to {last}; the range is from the earlier to the later day")
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def parse_day(text: str, option: str) -> date:
    """A day given on the command line.

    Raises:
        UsageError: not a date.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a date; write it as YYYY-MM-DD, e.g. 2026-11-01") from None


def _days(day: str | None, first: str | None, last: str | None) -> list[date]:
    if day and not (first or last):
        return [parse_day(day, "--date")]
    if first and last and not day:
        return day_range(parse_day(first, "--from"), parse_day(last, "--to"))
    raise UsageError("give either --date DAY or both --from DAY and --to DAY")
