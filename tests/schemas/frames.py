"""Frames of valid rows of any table."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pandas as pd

from schemas import tables
from schemas.records import Array, Field, Nested, Scalar
from schemas.tables import Table


def good_rows(table: Table, rows: int = 3) -> list[dict[str, Any]]:
    """Rows that keep every rule: the smallest valid value of each field, the key made unique by its first field."""
    fields = tables.columns(table)
    return [{f.name: _good(f, row if f.name == table.key[0] else 0) for f in fields} for row in range(rows)]


def good_frame(table: Table, rows: int = 3) -> pd.DataFrame:
    """`good_rows` as a frame."""
    return pd.DataFrame(good_rows(table, rows))


def _good(field: Field, row: int) -> object:
    if isinstance(field.type, Array):
        items = field.type.items
        return (
            [{f.name: _good(f, 0) for f in items.fields}]
            if isinstance(items, Nested)
            else [_good(Field("x", items, "X."), 0)]
        )
    if field.values:
        return field.values[row % len(field.values)]
    low = field.minimum or 0
    return {
        Scalar.BOOLEAN: True, Scalar.INT: int(low) + row, Scalar.LONG: int(low) + row, Scalar.DOUBLE: float(low) + row,
        Scalar.STRING: f"v{row}", Scalar.BYTES: b"v", Scalar.TIMESTAMP: datetime.fromtimestamp(row, UTC),
        Scalar.DATE: date(1970, 1, 1 + row),
    }[field.type]  # fmt: skip
