"""Valid rows of any record, without randomness: the ends of every range, every value of a closed set, nulls and none.

They are the real bytes of the compatibility check and a starting point for tests.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from schemas.records import Array, Field, Nested, Record, Scalar, Type

_AT = datetime(2026, 3, 1, 23, 59, 59, 999_000, tzinfo=UTC)
_LIMITS = {Scalar.INT: 2**31 - 1, Scalar.LONG: 2**63 - 1}


def rows(record: Record, count: int = 4) -> list[dict[str, Any]]:
    """`count` valid rows: the first all null where null is allowed and lowest elsewhere, the second highest, then both.

    Long enough (`count` >= 2) to hold both ends of every range.
    """
    return [{field.name: _value(field, number) for field in record.fields} for number in range(count)]


def _value(field: Field, number: int) -> Any:
    if field.nullable and number % 2 == 0:
        return None
    if field.values:
        return field.values[number % len(field.values)]
    if isinstance(field.type, Array):
        return [_item(field.type.items, number + place) for place in range(number % 3)]
    low, high = field.minimum, field.maximum
    if field.type in _LIMITS:
        limit = _LIMITS[field.type]
        return int((-limit - 1 if low is None else low) if number % 2 == 0 else (limit if high is None else high))
    if field.type is Scalar.DOUBLE:
        return float((-1.5e300 if low is None else low) if number % 2 == 0 else (1.5e300 if high is None else high))
    return _plain(field.type, number)


def _item(items: Scalar | Nested, number: int) -> Any:
    if isinstance(items, Nested):
        return {field.name: _value(field, number) for field in items.fields}
    return _value(Field("item", items, "An item."), number)


def _plain(kind: Type, number: int) -> Any:
    if kind is Scalar.BOOLEAN:
        return number % 2 == 1
    if kind is Scalar.BYTES:
        return bytes([0, 255]) * number
    if kind is Scalar.TIMESTAMP:
        return _AT + timedelta(milliseconds=number)
    if kind is Scalar.DATE:
        return date(2026, 3, 1) + timedelta(days=number)
    return f"text {number} é"
