"""Errors of the world: a wrong setting, a corrupt input, a decision that cannot be lived with."""

from __future__ import annotations


class WorldError(ValueError):
    """Names the thing, the value found, the rule and the way out. The command line exits with `exit_code`."""

    exit_code = 2
