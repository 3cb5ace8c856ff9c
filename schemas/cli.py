"""Commands of this room: ``schemas check|generate|diff``, ``docs``, ``events check``."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import click

from schemas import compat, generate, ids, records
from schemas.errors import SchemaError
from schemas.records import Field, Record


@click.group()
def schemas() -> None:
    """Check and generate what follows from the records."""


@schemas.command()
def check() -> None:
    """Hold records against the lock, versions against each other, generated files against their sources."""
    unlocked = ids.check(ids.lock())
    wrong = unlocked + compat.every_problem()
    if not unlocked:
        wrong += [f"{path} is not what would be generated; run: matinee schemas generate" for path in generate.stale()]
    if wrong:
        raise SchemaError("\n".join(wrong))
    count = len(records.every())
    click.echo(f"{len(records.names())} records in {count} versions: ids, compatibility and generated files are right")


@schemas.command("generate")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail if a file is not up to date.")
def generate_(only_check: bool) -> None:
    """Write the records of sums, the lock of ids and the pages of docs/generated."""
    _generate(only_check)


def _generate(only_check: bool) -> None:
    if only_check:
        stale = generate.stale()
        if stale:
            raise SchemaError(f"not up to date: {', '.join(stale)}; run: matinee schemas generate")
        click.echo("every generated file is up to date")
        return
    written = generate.write()
    click.echo("\n".join(f"wrote {path}" for path in written) or "every generated file was up to date")
    wrong = ids.check(ids.lock())
    if wrong:
        raise SchemaError("\n".join(wrong))


@schemas.command()
@click.argument("record")
def diff(record: str) -> None:
    """Show what changed from version to version of RECORD."""
    versions = [records.load(record, version) for version in records.versions(record)]
    if len(versions) == 1:
        click.echo(f"{versions[0].label} is its only version, with {len(versions[0].fields)} fields")
    for old, new in pairwise(versions):
        click.echo(f"{old.label} -> {new.label} ({compat.mode(record)})")
        click.echo("\n".join(f"  {line}" for line in changes(old, new)) or "  only words")


def changes(old: Record, new: Record) -> list[str]:
    """What differs between two versions, one line a field: ``+`` new, ``-`` gone, ``~`` another meaning."""
    before, after = ({field.name: field for field in record.fields} for record in (old, new))
    lines = [f"- {name}" for name in before if name not in after]
    lines += [f"+ {name} {_told(field)}" for name, field in after.items() if name not in before]
    for name, field in after.items():
        if name in before and _told(before[name]) != _told(field):
            lines.append(f"~ {name} {_told(before[name])} -> {_told(field)}")
    return lines


def _told(field: Field) -> str:
    from schemas.wire import describe

    parts = [describe(field)]
    bounds = (("unit", field.unit), ("min", field.minimum), ("max", field.maximum))
    parts += [f"{word} {value}" for word, value in bounds if value is not None]
    parts += [f"one of {'/'.join(field.values)}"] if field.values else []
    parts += [f"pii {field.pii}"] if field.pii != "none" else []
    parts += [f"default {field.default}"] if field.has_default and field.default is not None else []
    return ", ".join(parts)


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail if a page is not up to date.")
def docs(only_check: bool) -> None:
    """Write the data dictionary, the glossary and the table of flows into docs/generated."""
    _generate(only_check)


@click.group()
def events() -> None:
    """Your own events."""


@events.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(["ndjson", "csv"]), help="Told by the file's name unless given.")
@click.option("--lines", default=3, show_default=True, help="How many lines to name for each kind of mistake.")
def check_file(file: Path, form: str | None, lines: int) -> None:
    """Check FILE, one playback event a line, against the newest playback_event record; changes nothing."""
    from schemas import events_check

    form = form or events_check.form_of(file)
    size = file.stat().st_size
    with click.progressbar(length=size, label="checking", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        report = events_check.check_file(file, form, bar.update)
    for line in report.lines(lines):
        click.echo(line)
    if report.wrong:
        raise SchemaError(report.verdict())
    for line in report.doubts(lines):
        click.echo(line)
    click.echo(report.verdict())
