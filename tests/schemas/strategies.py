"""Strategies shared by the tests of this folder."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from schemas.records import Array, Field, Nested, Record, Scalar

QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=12, database=None)
"""Decorator of property tests here: few examples each, because every record version has its own."""

_MILLIS = st.integers(-(2**40), 2**42).map(lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms))
_SCALARS: dict[Scalar, st.SearchStrategy[Any]] = {
    Scalar.BOOLEAN: st.booleans(),
    Scalar.INT: st.integers(-(2**31), 2**31 - 1),
    Scalar.LONG: st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200),
    Scalar.DOUBLE: st.floats(allow_nan=False),
    Scalar.STRING: st.text(max_size=40) | st.sampled_from(["", "a", "\x00", "x" * 200, "é" * 64]),
    Scalar.BYTES: st.binary(max_size=80) | st.just(b"\x00\x00"),
    Scalar.TIMESTAMP: _MILLIS,
    Scalar.DATE: st.dates(date(1900, 1, 1), date(2200, 1, 1)),
}


def values(field: Field) -> st.SearchStrategy[Any]:
    """Valid Python values of a field's type (ranges and closed sets are not the wire's business)."""
    if isinstance(field.type, Array):
        items = field.type.items
        one = (
            st.fixed_dictionaries({f.name: values(f) for f in items.fields})
            if isinstance(items, Nested)
            else _SCALARS[items]
        )
        strategy: st.SearchStrategy[Any] = st.lists(one, max_size=3)
    else:
        strategy = _SCALARS[field.type]
    return st.none() | strategy if field.nullable else strategy


def rows(record: Record, max_size: int = 8) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Lists of rows of a record."""
    return st.lists(st.fixed_dictionaries({f.name: values(f) for f in record.fields}), max_size=max_size)


def typed(record: Record, data: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with the column types that the house uses."""
    plain = {Scalar.INT: "int32", Scalar.LONG: "int64", Scalar.BOOLEAN: "bool", Scalar.DOUBLE: "float64"}
    nullable = {Scalar.INT: "Int32", Scalar.LONG: "Int64", Scalar.BOOLEAN: "boolean", Scalar.DOUBLE: "float64"}
    columns = {}
    for field in record.fields:
        held = [row[field.name] for row in data]
        if field.type is Scalar.TIMESTAMP:
            columns[field.name] = pd.Series(held, dtype="datetime64[ms, UTC]")
        elif isinstance(field.type, Scalar) and field.type in plain:
            columns[field.name] = pd.Series(held, dtype=(nullable if field.nullable else plain)[field.type])
        else:
            columns[field.name] = pd.Series(held, dtype=object)
    return pd.DataFrame(columns)
