"""The exceptions of this package. `schemas` imports nothing of ours, so they are no children of `conf.errors`."""

from __future__ import annotations


class SchemaError(ValueError):
    """A record, version, table or value breaks a rule; the message names the thing, the value found and the rule.

    `exit_code` is what a command line ends with.
    """

    exit_code = 2


class WireError(SchemaError):
    """Bytes that cannot be read.

    `error_class` is the `error_class` of a dead letter: ``frame`` (no Confluent header), ``schema`` (unknown id or not
    the record asked for), ``decode`` (the bytes do not follow the schema), ``range`` (a time no calendar holds).
    The text never repeats the value of a field, which may be personal.
    """

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class
