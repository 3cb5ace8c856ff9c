"""Content hash of a partition: order-free, over every column, computed where the rows are.

Each row becomes two 64-bit hashes of (value, is-null) pairs of every column; the partition's hash is made of the row
count and the sums of the hashes, which do not depend on the rows' order or files. A null and a value, or two
neighbouring arrays cut elsewhere, cannot trade places: nulls are hashed as such, nested values as JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

COUNT, FIRST, SECOND = "matinee_rows", "matinee_hash_1", "matinee_hash_2"
_MODULUS = 1 << 128


def expressions(columns: Sequence[tuple[str, str]]) -> list[str]:
    """Spark SQL aggregates over (column, Spark type as text) pairs; give their row to `digest`."""
    parts = []
    for name, kind in sorted(columns):
        quoted = f"`{name}`"
        nested = kind.startswith(("array", "struct", "map"))
        parts += [f"to_json({quoted}, map('ignoreNullFields', 'false'))" if nested else quoted, f"isnull({quoted})"]
    row = ", ".join(parts)
    return [
        f"count(1) AS {COUNT}",
        f"coalesce(sum(CAST(xxhash64({row}) AS DECIMAL(38, 0))), 0) AS {FIRST}",
        f"coalesce(sum(CAST(xxhash64('matinee', {row}) AS DECIMAL(38, 0))), 0) AS {SECOND}",
    ]


def digest(columns: Sequence[tuple[str, str]], row: Mapping[str, Any]) -> str:
    """32 hex digits of the aggregates' row; the columns' names and types are part of it."""
    shape = ",".join(f"{name} {kind}" for name, kind in sorted(columns))
    first, second = (int(Decimal(row[key])) % _MODULUS for key in (FIRST, SECOND))
    return hashlib.sha256(f"{shape};{row[COUNT]};{first};{second}".encode()).hexdigest()[:32]


def columns_of(frame: Any) -> list[tuple[str, str]]:
    """(column, type) pairs of a Spark frame."""
    return [(field.name, field.dataType.simpleString()) for field in frame.schema.fields]
