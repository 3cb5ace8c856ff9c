"""Point-in-time features: what was known at a moment, the same in every engine.

Of the facts of an entity with ``available_at <= t`` the one with the greatest ``event_at`` is taken, ties by the later
``available_at``, then by key. A join on the newest *available* time alone returns an older fact wherever a fact came
late; here it cannot. `query` renders the rule as SQL that DuckDB and Spark both run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from conf.errors import UsageError
from lake.catalog import all_tables
from schemas.records import load as load_record
from schemas.tables import Table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from lake.reader import Lake

ROW = "matinee_spine_row"


@dataclass(frozen=True)
class FeatureSet:
    """The spine's rows in their order, each with the features asked for; null where nothing was known.

    `manifest` says how to get the same again: snapshot id of each table, the names asked for, the rule.
    """

    table: pa.Table
    manifest: dict[str, Any] = field(repr=False)

    def arrow(self) -> pa.Table:
        """As an Arrow table."""
        return self.table

    def pandas(self) -> pd.DataFrame:
        """As a pandas frame; the manifest is also in its ``attrs``."""
        frame = self.table.to_pandas(date_as_object=True)
        frame.attrs["manifest"] = self.manifest
        return frame

    def polars(self) -> Any:
        """As a Polars frame."""
        import polars

        return polars.from_arrow(self.table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def _repr_html_(self) -> str:
        return str(self.table.slice(0, 20).to_pandas().to_html())


def feature_tables() -> dict[str, Table]:
    """Tables that can be joined point-in-time: those whose record has ``event_at`` and ``available_at``."""
    found = {}
    for table in all_tables():
        columns = {f.name for f in load_record(table.record).fields}
        if {"event_at", "available_at"} <= columns and not table.landed:
            found[table.name] = table
    return found


def parse(names: Sequence[str]) -> dict[str, list[str]]:
    """Columns by table of names like ``feature_profile.plays_7d``.

    Raises:
        UsageError: a name that is not ``table.column`` of a table with event and available time.
    """
    known = feature_tables()
    wanted: dict[str, list[str]] = {}
    if not names:
        raise UsageError(f"no feature asked for; a name is TABLE.COLUMN with TABLE in {', '.join(known)}")
    for name in names:
        table, _, column = name.partition(".")
        if table not in known:
            raise UsageError(f"feature {name!r}: no feature table {table!r}; there are {', '.join(known)}")
        columns = [f.name for f in load_record(known[table].record).fields]
        if column not in columns:
            raise UsageError(f"feature {name!r}: {table} has no column {column!r}; it has {', '.join(columns)}")
        if column not in wanted.setdefault(table, []):
            wanted[table].append(column)
    return wanted


def query(
    spine: str,
    fact: str,
    keys: Sequence[str],
    columns: Sequence[tuple[str, str]],
    at: str = "at",
    tie: Sequence[str] = (),
) -> str:
    """SQL of one point-in-time join, for DuckDB and Spark alike.

    Args:
        spine: relation with the column `ROW` (the row's place), the keys and the time `at`.
        fact: relation of facts with the keys, ``event_at`` and ``available_at``.
        columns: (column of the fact, name in the answer).
        tie: columns that decide between facts of equal times; by default the keys.

    The answer has `ROW` and the named columns, one row for each row of the spine that knew a fact.
    """
    order = ", ".join(["f.event_at DESC", "f.available_at DESC", *(f"f.{c}" for c in (tie or keys))])
    match = " AND ".join(f"f.{k} = s.{k}" for k in keys)
    taken = ", ".join(f"f.{column} AS c{i}" for i, (column, _) in enumerate(columns))
    named = ", ".join(f"c{i} AS {name}" for i, (_, name) in enumerate(columns))
    return (
        f"SELECT {ROW}, {named} FROM (SELECT s.{ROW}, {taken}, "
        f"ROW_NUMBER() OVER (PARTITION BY s.{ROW} ORDER BY {order}) AS place "
        f"FROM {spine} s JOIN {fact} f ON {match} AND f.available_at <= s.{at}) known WHERE place = 1"
    )


def features(
    lake: Lake, spine: Any, names: Sequence[str], *, at: str = "at", as_of: dict[str, int] | datetime | None = None
) -> FeatureSet:
    """Join features to a spine of entities and times.

    Args:
        spine: pandas, Arrow or Polars; the key columns of the tables asked for (``profile_id``, ``title_id``) and the
            time column `at` with time zone. Other columns pass through.
        names: ``table.column``; the answer's columns are called exactly so.
        as_of: read the tables as they were at a moment, or a manifest's ``snapshots`` to repeat an earlier answer.

    Raises:
        UsageError: a name, key or time column that is not there; a null key or one of another type; a time without
            zone or null; two columns of one name.
    """
    import duckdb
    import pyarrow as pa

    wanted = parse(names)
    rows = _arrow(spine)
    known = feature_tables()
    keys = {name: list(known[name].key) for name in wanted}
    every_key = sorted({k for ks in keys.values() for k in ks})
    _check_spine(rows, every_key, at)
    if not isinstance(rows.schema.field(at).type, pa.TimestampType) or rows.schema.field(at).type.tz is None:
        raise UsageError(
            f"spine column {at!r} is {rows.schema.field(at).type}; it must be a timestamp with time zone (UTC)"
        )
    connection = lake.connection([])
    connection.register("spine", _join_columns(rows, every_key, at))
    joins, selected, snapshots = [], [], {}
    for i, (name, columns) in enumerate(wanted.items()):
        table = known[name]
        moment = as_of.get(table.fqn) if isinstance(as_of, dict) else as_of
        snapshots[table.fqn] = lake.snapshot_id(table, moment)
        renamed = [(column, f"v{i}_{j}") for j, column in enumerate(columns)]
        inner = query("spine", lake.source_at(table, snapshots[table.fqn]), keys[name], renamed, at)
        joins.append(f"LEFT JOIN ({inner}) t{i} ON t{i}.{ROW} = s.{ROW}")
        selected += [f't{i}.v{i}_{j} AS "{name}.{column}"' for j, column in enumerate(columns)]
    text = f"SELECT {', '.join(selected)} FROM spine s {' '.join(joins)} ORDER BY s.{ROW}"
    from lake.reader import convert

    try:
        found = convert(connection.sql(text), "arrow")
    except duckdb.ConversionException as error:
        types = ", ".join(f"{k} {rows.schema.field(k).type}" for k in every_key)
        raise UsageError(f"the spine's keys ({types}) are not of the features' type: {error}") from error
    for name in names:
        rows = rows.append_column(name, found[name])
    manifest = {
        "features": list(names),
        "at": at,
        "snapshots": snapshots,
        "rule": "available_at <= at; greatest event_at, then available_at, then key",
    }
    return FeatureSet(rows, manifest)


def _join_columns(rows: pa.Table, keys: list[str], at: str) -> pa.Table:
    """Keys, time in microseconds and place of each row: all that the join needs."""
    import pyarrow as pa

    times = rows[at].cast(pa.timestamp("us", tz="UTC"), safe=False)
    return rows.select(keys).append_column(at, times).append_column(ROW, pa.array(range(rows.num_rows), pa.int64()))


def _arrow(spine: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(spine, pa.Table):
        return spine
    if hasattr(spine, "to_arrow"):
        return spine.to_arrow()
    twice = sorted({str(name) for name in spine.columns if list(spine.columns).count(name) > 1})
    if twice:
        raise UsageError(f"the spine has two columns {', '.join(twice)}; name them apart")
    return pa.Table.from_pandas(spine, preserve_index=False)


def _check_spine(rows: pa.Table, keys: list[str], at: str) -> None:
    missing = [c for c in [*keys, at] if c not in rows.column_names]
    if missing:
        raise UsageError(
            f"the spine has no column {', '.join(missing)}; it has {', '.join(rows.column_names)}. "
            f"Keys are {', '.join(keys)}; name the time column with at=..."
        )
    for column in [*keys, at]:
        if rows[column].null_count:
            raise UsageError(f"spine column {column!r} has {rows[column].null_count} nulls; drop those rows first")
