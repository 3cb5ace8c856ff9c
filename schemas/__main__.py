"""``python -m schemas``: the commands of this room alone, with the exit codes of the front door."""

from __future__ import annotations

import sys

import click

from schemas import cli
from schemas.errors import SchemaError

main = click.Group("schemas", commands={**cli.schemas.commands, "docs": cli.docs, "events": cli.events})

if __name__ == "__main__":
    try:
        main(prog_name="python -m schemas")
    except SchemaError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
