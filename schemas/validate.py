"""Does a row of plain values (JSON, CSV) follow a record? Says which field breaks which rule, never its value."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from schemas.errors import SchemaError
from schemas.records import Field, Record, Scalar

_NAMES = {
    dict: "object",
    list: "list",
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}
_BITS = {Scalar.INT: 2**31, Scalar.LONG: 2**63}


@dataclass(frozen=True, slots=True)
class Wrong:
    """One wrong field of one row; `kind` is the type of the value found (the value may be personal)."""

    field: str
    rule: str
    kind: str


def kind_of(value: object) -> str:
    """The type of a value in words."""
    return _NAMES.get(type(value), type(value).__name__)


class Validator:
    """Checks rows of one record whose fields are all scalars.

    Rows are dicts as `json.loads` gives them: a timestamp is an integer (milliseconds since 1970) or ISO 8601 text with
    a zone, a date ISO text. Fields with a default may be absent. The clock of a `playback_event`'s POST is checked too.

    Raises:
        SchemaError: the record has fields that are no scalars.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self._tests: dict[str, Callable[[Any], str | None]] = {}
        for field in record.fields:
            if not isinstance(field.type, Scalar) or field.type is Scalar.BYTES:
                raise SchemaError(f"{record.label}.{field.name}: only scalar fields can be checked as text")
            self._tests[field.name] = _test(field)
        self._needed = [field.name for field in record.fields if not field.has_default]

    def wrong(self, row: dict[str, Any]) -> Iterator[Wrong]:
        """The wrong fields of a row, those it does not know included."""
        for name in self._needed:
            if name not in row:
                yield Wrong(name, "is missing", "nothing")
        for name, value in row.items():
            test = self._tests.get(name)
            if test is None:
                near = difflib.get_close_matches(str(name), self._tests, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                yield Wrong(str(name), f"is not a field of {self.record.name}{hint}", kind_of(value))
                continue
            rule = test(value)
            if rule is not None:
                yield Wrong(name, rule, kind_of(value))
        if self.record.name == "playback_event":
            times = {name: row.get(name) for name in ("received_at", "post_device_at")}
            good = not any(self._tests[name](value) for name, value in times.items())
            if good and strays(*map(milliseconds, times.values())):
                yield Wrong("post_device_at", CLOCK, kind_of(times["post_device_at"]))


def _test(field: Field) -> Callable[[Any], str | None]:
    """A function that says which rule a value breaks, or None."""
    by_type = {
        Scalar.STRING: _text, Scalar.INT: _whole, Scalar.LONG: _whole, Scalar.DOUBLE: _number, Scalar.BOOLEAN: _truth,
        Scalar.TIMESTAMP: _moment, Scalar.DATE: _day,
    }[field.type]  # type: ignore[index]  # fmt: skip

    def test(value: Any) -> str | None:
        if value is None:
            return None if field.nullable else "must not be null"
        return by_type(field, value)

    return test


def _text(field: Field, value: Any) -> str | None:
    if type(value) is not str:
        return "must be text"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "must be Unicode text"
    if value == "" and field.name == "session_id":  # as the kernel's Decoder: every such event would be one session
        return "must not be empty"
    return f"must be one of {', '.join(field.values)}" if field.values and value not in field.values else None


def _whole(field: Field, value: Any) -> str | None:
    if type(value) is not int:
        return "must be an integer"
    bits = _BITS[field.type]  # type: ignore[index]
    return _range(field, value) if -bits <= value < bits else f"must fit {bits.bit_length()} bits"


def _number(field: Field, value: Any) -> str | None:
    if type(value) not in (int, float) or not math.isfinite(value):
        return "must be a finite number"
    return _range(field, value)


def _range(field: Field, value: float) -> str | None:
    if field.minimum is not None and value < field.minimum:
        return f"must be at least {field.minimum:,}"
    if field.maximum is not None and value > field.maximum:
        return f"must be at most {field.maximum:,}"
    return None


def _truth(_: Field, value: Any) -> str | None:
    return None if type(value) is bool else "must be true or false"


_YEAR_1970, _YEAR_2000, _YEAR_2100 = (datetime(year, 1, 1, tzinfo=UTC) for year in (1970, 2000, 2100))
_END_MS = 4_102_444_800_000
"""The kernel's Decoder.MAX_TIMESTAMP: the start of 2100."""
_OUTSIDE = "must be in the years 1970 to 2099"

MAX_CLOCK_MS = 86_400_000
"""The kernel's Decoder.MAX_CLOCK: a POST whose clock is further from its receipt is of no known time."""
CLOCK = "must be within 24 hours of received_at"


def strays(received_ms: int, posted_ms: int) -> bool:
    """Whether the device clock of a POST says nothing of when it was received (law 2 of `models.playback.spans`)."""
    return abs(received_ms - posted_ms) > MAX_CLOCK_MS


def milliseconds(moment: Any) -> int:
    """A valid time, text or number, as milliseconds since 1970."""
    if isinstance(moment, str):
        return (datetime.fromisoformat(moment) - _YEAR_1970) // timedelta(milliseconds=1)
    return int(moment)


def _moment(field: Field, value: Any) -> str | None:
    """A device clock may say anything; the collector's may not lie before 2000 (seconds instead of milliseconds)."""
    if type(value) is int:
        if not 0 <= value < _END_MS:
            return _OUTSIDE
        early = value < _YEAR_2000.timestamp() * 1000
    elif type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return "must be ISO 8601 with a zone, or milliseconds since 1970"
        if moment.tzinfo is None:
            return "must have a time zone (Z)"
        if moment.microsecond % 1000:
            return "must not be finer than a millisecond"
        if not _YEAR_1970 <= moment < _YEAR_2100:
            return _OUTSIDE
        early = moment < _YEAR_2000
    else:
        return "must be ISO 8601 with a zone, or milliseconds since 1970"
    return "must be after 2000: milliseconds, not seconds" if early and field.name == "received_at" else None


def _day(_: Field, value: Any) -> str | None:
    try:
        date.fromisoformat(value)
    except (TypeError, ValueError):
        return "must be a date, YYYY-MM-DD"
    return None
