"""Iceberg's form of a table: schema and partition of pyiceberg, properties, and Spark's CREATE TABLE.

Every column is optional at rest, so that a null which breaks the record reaches the audit and is counted there, instead
of killing the writer. Partitions are identity columns (dates): pyiceberg overwrites no other kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from schemas import tables
from schemas.records import Array, Field, Nested, Scalar
from schemas.render import spark
from schemas.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.types import IcebergType, NestedField

PROPERTIES: dict[str, str] = {
    "format-version": "2",
    "write.delete.mode": "copy-on-write",
    "write.update.mode": "copy-on-write",
    "write.merge.mode": "copy-on-write",
    "write.parquet.compression-codec": "zstd",
    # In tasks of 128 MB, the default, 20 million events are five, and one core waits for the other.
    "read.split.target-size": str(32 << 20),
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
"""Properties of every table."""


def schema(table: Table) -> Schema:
    """pyiceberg's schema; ids are given to the columns first, then to what is nested in them."""
    from pyiceberg.schema import Schema

    columns = tables.columns(table)
    return Schema(*_fields(columns, count(1)))


def _fields(fields: Sequence[Field], ids: Iterator[int]) -> list[NestedField]:
    from pyiceberg.types import NestedField

    numbers = [next(ids) for _ in fields]
    return [
        NestedField(field_id=number, name=field.name, field_type=_type(field, ids), required=False, doc=field.doc)
        for number, field in zip(numbers, fields, strict=True)
    ]


def _type(field: Field, ids: Iterator[int]) -> IcebergType:
    from pyiceberg import types

    plain: dict[Scalar, IcebergType] = {
        Scalar.BOOLEAN: types.BooleanType(),
        Scalar.INT: types.IntegerType(),
        Scalar.LONG: types.LongType(),
        Scalar.DOUBLE: types.DoubleType(),
        Scalar.STRING: types.StringType(),
        Scalar.BYTES: types.BinaryType(),
        Scalar.TIMESTAMP: types.TimestamptzType(),
        Scalar.DATE: types.DateType(),
    }
    if not isinstance(field.type, Array):
        return plain[field.type]
    number, items = next(ids), field.type.items
    element: Any = types.StructType(*_fields(items.fields, ids)) if isinstance(items, Nested) else plain[items]
    return types.ListType(element_id=number, element=element, element_required=False)


def partition_spec(table: Table) -> PartitionSpec:
    """The identity partition of a table, or none."""
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.transforms import IdentityTransform

    if table.partition is None:
        return PartitionSpec()
    source = schema(table).find_field(table.partition).field_id
    return PartitionSpec(
        PartitionField(source_id=source, field_id=1000, transform=IdentityTransform(), name=table.partition)
    )


def unmeasured(table: Table) -> tuple[str, ...]:
    """Columns whose bounds stay out of the manifests, because a bound is a copy of a value.

    Personal columns, and text or bytes of the key; times, dates and offsets of a key name nobody and prune files.
    """
    return tuple(
        f.name
        for f in tables.columns(table)
        if f.pii != "none" or (f.name in table.key and f.type in (Scalar.STRING, Scalar.BYTES))
    )


def properties(table: Table) -> dict[str, str]:
    """Table properties: format, copy-on-write, and no metrics on `unmeasured` columns."""
    return PROPERTIES | {f"write.metadata.metrics.column.{name}": "none" for name in unmeasured(table)}


def create_table(table: Table, catalog: str = "lake", namespace_prefix: str = "") -> str:
    """Spark's CREATE TABLE IF NOT EXISTS; the same columns, order and properties as `schema` and `properties`."""
    lines = ",\n".join(f"  `{f.name}` {spark.sql_type(f)} COMMENT {_text(f.doc)}" for f in tables.columns(table))
    partition = f"\nPARTITIONED BY (`{table.partition}`)" if table.partition else ""
    options = ",\n".join(f"  {_text(key)} = {_text(value)}" for key, value in properties(table).items())
    return (
        f"CREATE TABLE IF NOT EXISTS `{catalog}`.`{namespace_prefix}{table.namespace}`.`{table.name}` (\n{lines}\n)\n"
        f"USING iceberg{partition}\nTBLPROPERTIES (\n{options}\n)"
    )


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
