"""Commands: `matinee pages run | show`."""

from __future__ import annotations

import click

from conf.errors import InputMissing
from conf.settings import load


@click.group()
def pages() -> None:
    """Keep home pages right between two batches."""


@pages.command()
def run() -> None:
    """Correct each page right after a play, until Ctrl-C.

    What was finished leaves the page, what was begun comes to the front of "Continue watching". The next `publish`
    replaces the page. A second start finds what the first one knew: plays and pages lie in Kafka.
    """
    from streaming import topics
    from streaming.pages import Pages

    settings = load()
    topics.create(settings)
    Pages(settings, say=click.echo).run(stop=lambda: False)


@pages.command()
@click.argument("profile_id")
def show(profile_id: str) -> None:
    """Print the page of PROFILE_ID as an app would read it now."""
    from schemas import topics as catalogue
    from schemas import wire
    from streaming import consume

    settings = load()
    value = consume.newest(consume.messages(catalogue.HOME_PAGE, settings)).get(profile_id.encode())
    if value is None:
        raise InputMissing(f"no page of {profile_id!r} on topic home_page: jobs `pages` and `publish` make it")
    page = wire.decode_one(value)[2]
    titles = consume.snapshot(catalogue.TITLE, settings)
    names = dict(zip(titles["title_id"], titles["name"], strict=True))
    click.echo(f"page {page['page_id']} for {page['page_date']}: arm {page['page_arm']}, model {page['model_id']}")
    for row in page["rows"]:
        click.echo(f"{row['heading']} ({row['reason']})")
        click.echo("  " + ", ".join(names.get(title, title) for title in row["title_ids"]))
