"""Spark's form of records and tables.

Every column is nullable, whatever the record says: Spark takes `nullable = false` on trust and leaves null checks out,
so a null that should not be there would vanish from the audit that looks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from schemas import records, tables
from schemas.records import Array, Field, Nested, Scalar
from schemas.tables import Table

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

_JSON = {
    Scalar.BOOLEAN: "boolean",
    Scalar.INT: "integer",
    Scalar.LONG: "long",
    Scalar.DOUBLE: "double",
    Scalar.STRING: "string",
    Scalar.BYTES: "binary",
    Scalar.TIMESTAMP: "timestamp",
    Scalar.DATE: "date",
}
_SQL = {
    Scalar.BOOLEAN: "BOOLEAN",
    Scalar.INT: "INT",
    Scalar.LONG: "BIGINT",
    Scalar.DOUBLE: "DOUBLE",
    Scalar.STRING: "STRING",
    Scalar.BYTES: "BINARY",
    Scalar.TIMESTAMP: "TIMESTAMP",
    Scalar.DATE: "DATE",
}


def struct_json(fields: Sequence[Field]) -> dict[str, Any]:
    """The JSON of a StructType; the doc is each column's comment. Needs no Spark."""
    return {
        "type": "struct",
        "fields": [
            {"name": f.name, "type": _json_type(f), "nullable": True, "metadata": {"comment": f.doc}} for f in fields
        ],
    }


def _json_type(field: Field) -> Any:
    if not isinstance(field.type, Array):
        return _JSON[field.type]
    items = field.type.items
    element = struct_json(items.fields) if isinstance(items, Nested) else _JSON[items]
    return {"type": "array", "elementType": element, "containsNull": True}


def struct(name: str, version: int | None = None) -> StructType:
    """StructType of a record; without `version` of its newest."""
    return _struct(records.load(name, version).fields)


def table_struct(table: Table) -> StructType:
    """StructType of a table, ingest's columns included."""
    return _struct(tables.columns(table))


def _struct(fields: Sequence[Field]) -> StructType:
    from pyspark.sql.types import StructType

    return StructType.fromJson(struct_json(fields))


def sql_type(field: Field) -> str:
    """A column's type in Spark SQL."""
    if not isinstance(field.type, Array):
        return _SQL[field.type]
    items = field.type.items
    if isinstance(items, Nested):
        return f"ARRAY<STRUCT<{', '.join(f'{f.name}: {sql_type(f)}' for f in items.fields)}>>"
    return f"ARRAY<{_SQL[items]}>"


def ddl(fields: Sequence[Field]) -> str:
    """Columns as ``name type, ...``: the schema text `from_json`, `createDataFrame` and pandas functions take."""
    return ", ".join(f"`{f.name}` {sql_type(f)}" for f in fields)
