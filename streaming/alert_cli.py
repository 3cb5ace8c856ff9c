"""Commands: `matinee alerts run | replay | list | show | ack | mute | resolve`."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from conf.alerts import RUNBOOKS
from conf.errors import UsageError
from conf.settings import Settings, load
from streaming.cli import Day

YEAR_MIN = 366 * 24 * 60


def _rules(settings: Settings, path: Path | None) -> Any:
    from streaming import alert_rules

    return alert_rules.load(path or settings.alerts.rules)


@click.group()
def alerts() -> None:
    """Watch quality live: one incident a fault, named after who is hurt."""


@alerts.command()
@click.option("--rules", type=click.Path(path_type=Path), help="Another rules file than alerts.rules.")
def run(rules: Path | None) -> None:
    """Follow the stream's counters and raise incidents until Ctrl-C.

    A second start finds what the first one knew: incidents lie on topic `incident`.
    """
    from streaming import topics
    from streaming.alerts import Alerts

    settings = load()
    process = Alerts(settings, _rules(settings, rules), say=click.echo)
    topics.create(settings)
    process.run(stop=lambda: False)


@alerts.command()
@click.argument("day", type=Day())
@click.option("--rules", type=click.Path(path_type=Path), help="Another rules file than alerts.rules.")
def replay(day: date, rules: Path | None) -> None:
    """Go through a UTC DAY whose counters lie in the topic, as if it were now; learns from the days before it."""
    from streaming import topics
    from streaming.alerts import Alerts

    settings = load()
    process = Alerts(settings, _rules(settings, rules), say=click.echo)
    topics.create(settings)
    found = process.replay(day)
    click.echo(f"{day}: {len(found)} incidents")


@alerts.command(name="list")
@click.option("--all", "every", is_flag=True, help="Resolved ones too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(every: bool, as_json: bool) -> None:
    """Show the incidents."""
    from streaming.alerts import incidents
    from streaming.webhook import strict_json

    rows = [row for row in incidents(load()) if every or row["state"] != "resolved"]
    if as_json:
        for row in rows:
            click.echo(strict_json(row))
        return
    table = Table("incident", "state", "signal", "who", "since", "sessions", "why", "runbook")
    for row in rows:
        table.add_row(
            row["incident_id"],
            row["state"],
            row["signal"],
            row["cohort"],
            f"{row['onset_at']:%m-%d %H:%M:%S}",
            str(row["impacted_sessions"]),
            row["explanation"],
            f"docs/runbooks/{row['runbook']}",
        )
    Console(markup=False, emoji=False).print(table)  # a provider or an app's version may be called `[x]`


@alerts.command()
@click.argument("incident_id")
@click.option("--json", "as_json", is_flag=True, help="The record as JSON.")
def show(incident_id: str, as_json: bool) -> None:
    """Tell one incident: who, since when, how bad, why, five sessions to look at, and its runbook."""
    from streaming.alerts import incident
    from streaming.webhook import strict_json

    row = incident(load(), incident_id)
    if as_json:
        click.echo(strict_json(row))
        return
    for name, text in told(row):
        click.echo(f"{name:<12} {text}")
    book = RUNBOOKS / row["runbook"]
    click.echo("\n" + (book.read_text(encoding="utf-8") if book.is_file() else f"{book.name}: no such runbook"))


def told(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, text) of one incident, in the order a reader wants them."""
    over = row["resolved_at"] or row["updated_at"]
    expected = max(row["expected"], 1e-9)
    muted = row["muted_until_at"] if row["state"] == "muted" else None
    until = f", until {muted:%Y-%m-%d %H:%M:%S} UTC" if muted else ""
    lasted = f"{(over - row['onset_at']).total_seconds() / 60:.0f} min{'' if row['resolved_at'] else ' so far'}"
    examples = [f"matinee session {session}" for session in row["example_sessions"]]
    return [
        ("incident", f"{row['incident_id']}, revision {row['revision']}"),
        ("state", f"{row['state']}{until}"),
        ("who", row["cohort"]),
        ("what", f"{row['signal']}: {row['observed']:,.0f} where {row['expected']:,.1f} were expected in "
                 f"{row['window_s']} s ({row['observed'] / expected:.1f} times); told by {row['signals']}"),
        ("since", f"{row['onset_at']:%Y-%m-%d %H:%M:%S} UTC, raised {row['opened_at']:%H:%M:%S}, lasted {lasted}"),
        ("hurt", f"{row['impacted_sessions']:,} sessions"),
        ("why", row["explanation"] or "a fall has no share by cell: look at the suspects"),
        ("suspects", "; ".join(row["suspects"]) or "none beside"),
        *((("look at" if not n else ""), text) for n, text in enumerate(examples or ["no session was seen"])),
    ]  # fmt: skip


@alerts.command()
@click.argument("incident_id")
def ack(incident_id: str) -> None:
    """Say that somebody is on it."""
    _say(incident_id, "ack")


@alerts.command()
@click.argument("incident_id")
@click.option("--minutes", default=60, show_default=True, type=click.IntRange(1, YEAR_MIN), help="For how long.")
def mute(incident_id: str, minutes: int) -> None:
    """Keep an incident quiet for a while; a planned window belongs into the rules file."""
    _say(incident_id, "mute", datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=minutes))


@alerts.command()
@click.argument("incident_id")
def resolve(incident_id: str) -> None:
    """Close an incident; if the fault goes on, another one opens."""
    _say(incident_id, "resolve")


def _say(incident_id: str, action: str, until: datetime | None = None) -> None:
    from streaming.alerts import command

    if not incident_id.strip():
        raise UsageError("name an incident: `matinee alerts list` shows them")
    command(load(), incident_id, action, _user(), until)
    click.echo(f"{action} {incident_id}: said; the alert process takes it in with its next step")


def _user() -> str:
    """Who speaks; a container may run under a number that no user's name belongs to."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return str(os.getuid())
