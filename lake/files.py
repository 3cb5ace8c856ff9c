"""Data files read on the driver, through the catalogue's own file access: for what is small enough to sit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def read(table: Any, locations: Sequence[str]) -> Any:
    """Rows of some data files of a pyiceberg table as one Arrow table, in the table's columns."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    wanted = table.schema().as_arrow()
    names = wanted.names
    parts = []
    for location in locations:
        with table.io.new_input(location).open() as file:
            parts.append(parquet.read_table(file, columns=names))
    if not parts:
        return wanted.empty_table()
    return pa.concat_tables(parts, promote_options="permissive")


def partition(table: Any, column: str | None, day: str | None, snapshot_id: int | None = None) -> Any:
    """Rows of one partition (or of a table without partitions) as an Arrow table."""
    from pyiceberg.expressions import AlwaysTrue, EqualTo

    where = EqualTo(column, day) if column is not None and day is not None else AlwaysTrue()
    return table.scan(row_filter=where, snapshot_id=snapshot_id).to_arrow()


def count(table: Any, column: str | None, day: str | None) -> int:
    """Rows of one partition, from the metadata alone."""
    from pyiceberg.expressions import AlwaysTrue, EqualTo

    where = EqualTo(column, day) if column is not None and day is not None else AlwaysTrue()
    return sum(task.file.record_count for task in table.scan(row_filter=where).plan_files())
