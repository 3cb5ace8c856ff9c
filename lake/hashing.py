"""Content hash of a partition: order-free, over every column.

Every row becomes two 64-bit hashes of all its values (Spark's second one is a hash of the first), nulls hashed as such
where the record allows them (the audit refuses others); the partition's hash is made of the row count and the sums of
the hashes, which do not depend on the rows' order or files. Up to `SMALL` rows they are computed by DuckDB on the
driver, beyond that by Spark where the rows are: by the content's own size, never by the machine, so one content has one
hash everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from schemas import tables
from schemas.records import Array, Field, Scalar
from schemas.render import spark
from schemas.render.sql import DUCKDB, SPARK, Dialect
from schemas.tables import Table

SMALL = 300_000
"""Rows up to which a partition is audited and hashed on the driver: there a Spark query costs more than its rows."""

COUNT, FIRST, SECOND = "matinee_rows", "matinee_hash_1", "matinee_hash_2"
_MODULUS = 1 << 128
_LOW = (1 << 32) - 1


def expressions(table: Table, dialect: Dialect) -> list[str]:
    """Aggregates over a table's columns; give their row to `digest`."""
    columns = sorted(tables.columns(table), key=lambda f: f.name)
    first, second = _spark(columns) if dialect is SPARK else _duckdb(columns)
    total = _spark_total if dialect is SPARK else _duckdb_total
    return [f"count(1) AS {COUNT}", f"{total(first)} AS {FIRST}", f"{total(second)} AS {SECOND}"]


def _spark_total(value: str) -> str:
    """A sum of longs beyond 64 bits, from the sums of their halves: a sum of decimals makes objects of every row."""
    halves = (f"shiftright({value}, 32)", f"{value} & {_LOW}")
    high, low = (f"CAST(coalesce(sum({half}), 0) AS DECIMAL(20, 0))" for half in halves)
    return f"{high} * {_LOW + 1} + {low}"


def _duckdb_total(value: str) -> str:
    return f"coalesce(sum(CAST({value} AS HUGEINT)), 0)"


def _spark(columns: Sequence[Field]) -> tuple[str, str]:
    parts = []
    for field in columns:
        name = SPARK.column(field.name)
        value = f"to_json({name}, map('ignoreNullFields', 'false'))" if isinstance(field.type, Array) else name
        parts += [value, f"isnull({name})"] if field.nullable else [value]
    row = ", ".join(parts)
    return f"xxhash64({row})", f"xxhash64('matinee', xxhash64({row}))"


def _duckdb(columns: Sequence[Field]) -> tuple[str, str]:
    """MD5 of the row's text: each value with its length before it, so that no two rows read alike."""
    parts = []
    for field in columns:
        name = DUCKDB.column(field.name)
        if isinstance(field.type, Array):
            text = f"CAST(to_json({name}) AS VARCHAR)"
        elif field.type is Scalar.BYTES:
            text = f"hex({name})"
        elif field.type is Scalar.TIMESTAMP:
            text = f"CAST(epoch_us({name}) AS VARCHAR)"
        else:
            text = f"CAST({name} AS VARCHAR)"
        parts.append(f"coalesce(length({text}) || ':' || {text}, '-')")
    row = " || ".join(parts)
    return f"md5_number_lower({row})", f"md5_number_upper({row})"


def digest(table: Table, row: Mapping[str, Any]) -> str:
    """32 hex digits of the aggregates' row; the columns' names and types are part of it."""
    shape = ",".join(sorted(f"{field.name} {spark.sql_type(field)}" for field in tables.columns(table)))
    first, second = (int(Decimal(row[key])) % _MODULUS for key in (FIRST, SECOND))
    return hashlib.sha256(f"{shape};{row[COUNT]};{first};{second}".encode()).hexdigest()[:32]
