"""How a bench that claims something ends: with 0 if it holds, with 4 and a line for each claim that it missed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from conf.errors import AuditFailed


def least(what: str, found: float, needed: float) -> list[str]:
    """The claim that a figure is at least so much, if it is missed; none where it holds."""
    return [] if found >= needed else [f"{what}: {found:,.2f}, needed at least {needed:,g}"]


def most(what: str, found: float, needed: float) -> list[str]:
    """The claim that a figure is at most so much, if it is missed; what is no number misses it."""
    return [] if found <= needed else [f"{what}: {found:,.2f}, needed at most {needed:,g}"]


def end(missed: Sequence[str]) -> None:
    """Say what was missed and exit 4, as a failed audit does; nothing missed, nothing said."""
    for claim in missed:
        click.echo(f"missed: {claim}")
    if missed:
        sys.exit(AuditFailed.exit_code)
