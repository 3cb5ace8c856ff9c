"""Rows for tests, by record: every required field has a value, named fields are overridden."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pandas as pd

from schemas import tables
from schemas.records import Array, Field, Scalar
from schemas.tables import Table

DAY = date(2026, 11, 1)
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def _plain(field: Field) -> Any:
    if field.nullable:
        return None
    if isinstance(field.type, Array):
        return []
    if field.values:
        return field.values[0]
    return {
        Scalar.BOOLEAN: False,
        Scalar.INT: int(field.minimum or 0),
        Scalar.LONG: int(field.minimum or 0),
        Scalar.DOUBLE: float(field.minimum or 0),
        Scalar.STRING: "x",
        Scalar.BYTES: b"x",
        Scalar.TIMESTAMP: NOON,
        Scalar.DATE: DAY,
    }[field.type]


def rows(table: Table, *given: dict[str, Any]) -> pd.DataFrame:
    """A frame of the table's columns; a column nobody gives holds a plain valid value."""
    columns = tables.columns(table)
    known = {f.name for f in columns}
    for row in given:
        if set(row) - known:
            raise KeyError(f"{table.fqn} has no column {sorted(set(row) - known)}")
    data = {f.name: pd.Series([row.get(f.name, _plain(f)) for row in given], dtype=object) for f in columns}
    frame = pd.DataFrame(data)
    for field in columns:
        if field.type is Scalar.TIMESTAMP:
            frame[field.name] = pd.to_datetime(frame[field.name], utc=True).astype("datetime64[ms, UTC]")
        elif not field.nullable and field.type in (Scalar.INT, Scalar.LONG):
            frame[field.name] = frame[field.name].astype("int64")
        elif not field.nullable and field.type is Scalar.DOUBLE:
            frame[field.name] = frame[field.name].astype("float64")
        elif not field.nullable and field.type is Scalar.BOOLEAN:
            frame[field.name] = frame[field.name].astype(bool)
    return frame
