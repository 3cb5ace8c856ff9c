"""Commands: `matinee profile show | not-interested | forget | opt-out | erase`: what a person may say of their profile.

An app writes the same records itself (topics profile_choice and profile); this is the way by hand, and the example.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from conf.errors import InputMissing, UsageError
from conf.settings import Settings, load

if TYPE_CHECKING:
    import pandas as pd

    from schemas.topics import Topic

_NEXT = "job `ingest` lands it, the pages after it obey"
_UNDO = click.option("--undo", is_flag=True, help="Take it back.")
_AT = click.option("--at", metavar="MOMENT", help="When it was said, ISO 8601 in UTC; by default now.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def profile() -> None:
    """Say what a profile wants: shows it never wants to see, plays to be forgotten, no personal page, erasure.

    \b
    matinee profile not-interested p000042 t00017
    matinee profile forget p000042 t00017
    matinee profile opt-out p000042
    """


@profile.command()
@click.argument("profile_id")
def show(profile_id: str) -> None:
    """Print what is known of PROFILE_ID and what it has said."""
    from schemas import topics

    settings = load()
    person = _newest(topics.PROFILE, settings, profile_id, "profile").iloc[0]
    click.echo(", ".join(f"{name} {value}" for name, value in person.items()))
    said = _rows(topics.PROFILE_CHOICE, settings, f"{profile_id}|")
    for row in said.to_dict("records"):
        click.echo(f"{row['chosen_at']:%Y-%m-%d %H:%M} {row['choice']} {row['title_id']}"
                   + ("" if row["active"] else ", taken back"))  # fmt: skip


@profile.command("not-interested")
@click.argument("profile_id")
@click.argument("title_id")
@_UNDO
@_AT
def not_interested(profile_id: str, title_id: str, undo: bool, at: str | None) -> None:
    """Keep TITLE_ID off every page of PROFILE_ID, from the next one on."""
    _choose(profile_id, title_id, "not_interested", undo, at)


@profile.command()
@click.argument("profile_id")
@click.argument("title_id")
@_UNDO
@_AT
def forget(profile_id: str, title_id: str, undo: bool, at: str | None) -> None:
    """Remove TITLE_ID from the history of PROFILE_ID: plays up to now say nothing any more."""
    _choose(profile_id, title_id, "removed_from_history", undo, at)


@profile.command("opt-out")
@click.argument("profile_id")
@_UNDO
@_AT
def opt_out(profile_id: str, undo: bool, at: str | None) -> None:
    """Give PROFILE_ID pages of its country instead of its own, and train on none of its plays."""
    _flag(profile_id, "opted_out", not undo, at)


@profile.command()
@click.argument("profile_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_AT
def erase(profile_id: str, yes: bool, at: str | None) -> None:
    """Erase PROFILE_ID: no page any more (the next `publish` deletes it), and no use of what it played."""
    if not yes:
        click.confirm(f"erase {profile_id}? Its plays are used for nothing any more, and it gets no page", abort=True)
    _flag(profile_id, "erased", True, at)


def _choose(profile_id: str, title_id: str, choice: str, undo: bool, at: str | None) -> None:
    import pandas as pd

    from schemas import topics
    from streaming import produce

    settings, moment = load(), _moment(at)
    _newest(topics.PROFILE, settings, profile_id, "profile")
    _newest(topics.TITLE, settings, title_id, "title")
    row = {"profile_id": profile_id, "title_id": title_id, "choice": choice, "active": not undo, "chosen_at": moment}
    produce.produce_frame(topics.PROFILE_CHOICE, pd.DataFrame([row]), settings, day=moment.date())
    click.echo(
        f"{profile_id}: {choice} {title_id}{' taken back' if undo else ''}; `ingest` lands it, the next pages obey"
    )


def _flag(profile_id: str, name: str, value: bool, at: str | None) -> None:
    from schemas import topics
    from streaming import produce

    settings, moment = load(), _moment(at)
    row = _newest(topics.PROFILE, settings, profile_id, "profile")
    row[name] = value
    produce.produce_frame(topics.PROFILE, row, settings, day=moment.date())
    click.echo(f"{profile_id}: {name} is {str(value).lower()}; {_NEXT}")


def _newest(topic: Topic, settings: Settings, key: str, what: str) -> pd.DataFrame:
    """The newest record of a key, one row."""
    found = _rows(topic, settings, key, whole=True)
    if not len(found):
        raise InputMissing(f"no {what} {key!r} on topic {topic.name}: your catalogue writes it")
    return found


def _rows(topic: Topic, settings: Settings, key: str, whole: bool = False) -> pd.DataFrame:
    """Newest records whose key is `key`, or begins with it."""
    from streaming import consume

    wanted = key.encode()
    return consume.snapshot(topic, settings, wanted=lambda k: k == wanted if whole else k.startswith(wanted))


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--at {text!r} is no moment: write 2026-01-12T10:00:00+00:00") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
