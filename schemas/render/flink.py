"""Flink's form of a record: the columns of a CREATE TABLE, without a connector.

Every name stands in backticks: `rollup`, `row`, `value`, `day` and others are reserved words in Flink SQL.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import SchemaError
from schemas.records import Array, Field, Nested, Record, Scalar

_SQL = {
    Scalar.BOOLEAN: "BOOLEAN",
    Scalar.INT: "INT",
    Scalar.LONG: "BIGINT",
    Scalar.DOUBLE: "DOUBLE",
    Scalar.STRING: "STRING",
    Scalar.BYTES: "BYTES",
    Scalar.TIMESTAMP: "TIMESTAMP_LTZ(3)",
    Scalar.DATE: "DATE",
}


def sql_type(field: Field) -> str:
    """A column's type with its nullability."""
    if isinstance(field.type, Array):
        items = field.type.items
        text = f"ARRAY<{row_type(items.fields) if isinstance(items, Nested) else _SQL[items]} NOT NULL>"
    else:
        text = _SQL[field.type]
    return text if field.nullable else f"{text} NOT NULL"


def row_type(fields: Sequence[Field]) -> str:
    """``ROW<...>`` of some fields."""
    return f"ROW<{', '.join(f'`{f.name}` {sql_type(f)}' for f in fields)}>"


def columns(record: Record, *, watermark: tuple[str, int] | None = None, primary_key: Sequence[str] = ()) -> str:
    """The lines between the parentheses of CREATE TABLE.

    Args:
        record: whose fields are the columns.
        watermark: a timestamp field and how many milliseconds the watermark stays behind it.
        primary_key: fields of a key that is not enforced (as upsert sinks want it).

    Raises:
        SchemaError: a watermark or key field the record does not have, or a delay Flink cannot push into a source.
    """
    lines = [f"`{f.name}` {sql_type(f)}" for f in record.fields]
    if watermark is not None:
        name, behind_ms = record.field(watermark[0]).name, watermark[1]
        seconds = f"{behind_ms // 1000}.{behind_ms % 1000:03d}"
        if not 0 <= behind_ms < 1_000_000:
            raise SchemaError(f"{record.label}: a watermark {behind_ms} ms behind {name}; it must be 0 to 999,999")
        lines.append(f"WATERMARK FOR `{name}` AS `{name}` - INTERVAL '{seconds}' SECOND(3)")
    if primary_key:
        keys = ", ".join(f"`{record.field(name).name}`" for name in primary_key)
        lines.append(f"PRIMARY KEY ({keys}) NOT ENFORCED")
    return ",\n".join(f"  {line}" for line in lines)
