"""Reading without a JVM: pyiceberg finds the snapshot, DuckDB reads the files.

Every answer is pinned to snapshots: two reads with the same ids give the same rows, whatever was published between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from conf.errors import ConfigError, InputMissing, UsageError
from conf.settings import Settings
from lake.catalog import all_tables, identifier, open_catalog, table_named
from schemas.render.sql import DUCKDB, each_revision
from schemas.tables import Table

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyiceberg.table

    from lake.pointintime import FeatureSet

Form = Literal["pandas", "arrow", "polars", "duckdb"]


@dataclass(frozen=True)
class Snapshot:
    """One published state of a table."""

    snapshot_id: int
    committed_at: datetime
    operation: str
    properties: dict[str, str]


class Lake:
    """The tables of one lake; see `lake.connect`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._catalog = open_catalog(settings)

    def __repr__(self) -> str:
        return f"Lake({self.settings.lake.warehouse})"

    # -- tables --------------------------------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """Names of all tables, ``namespace.name``."""
        return [table.fqn for table in all_tables()]

    def table(self, table: Table | str) -> pyiceberg.table.Table:
        """The pyiceberg table, freshly loaded.

        Raises:
            ConfigError: no such table.
            InputMissing: it is declared, but not in this lake yet.
        """
        from pyiceberg.exceptions import NoSuchTableError

        known = table_named(table) if isinstance(table, str) else table
        try:
            return self._catalog.load_table(identifier(self.settings, known))
        except NoSuchTableError as error:
            raise InputMissing(f"{known.fqn} is not in the lake yet; job {known.producer!r} makes it") from error

    def snapshots(self, table: Table | str) -> list[Snapshot]:
        """Published states, oldest first: the ancestors of ``main``, not the branches of runs."""
        from pyiceberg.table.snapshots import ancestors_of

        loaded = self.table(table)
        chain = (
            [] if loaded.current_snapshot() is None else list(ancestors_of(loaded.current_snapshot(), loaded.metadata))
        )
        return [
            Snapshot(
                s.snapshot_id,
                datetime.fromtimestamp(s.timestamp_ms / 1000, UTC),
                s.summary.operation.value if s.summary else "",
                dict(s.summary.additional_properties) if s.summary else {},
            )
            for s in reversed(chain)
        ]

    def snapshot_id(self, table: Table | str, as_of: datetime | int | None = None) -> int | None:
        """Snapshot in force now, at a moment, or the id itself; None for a table that was empty then.

        Raises:
            UsageError: a moment without time zone, or an id the table does not have.
        """
        loaded = self.table(table)
        if as_of is None:
            current = loaded.current_snapshot()
            return current.snapshot_id if current else None
        if isinstance(as_of, int):
            if loaded.snapshot_by_id(as_of) is None:
                raise UsageError(
                    f"{loaded.name()} has no snapshot {as_of}; it has {[s.snapshot_id for s in loaded.snapshots()]}"
                )
            return as_of
        if as_of.tzinfo is None:
            raise UsageError(f"as_of = {as_of} has no time zone; give a UTC time")
        before = [s for s in self.snapshots(table) if s.committed_at <= as_of]
        return before[-1].snapshot_id if before else None

    def days(self, table: Table | str) -> list[date]:
        """Partitions of a table that hold rows, sorted."""
        known = table_named(table) if isinstance(table, str) else table
        if known.partition is None:
            raise UsageError(f"{known.fqn} has no partitions")
        rows = self._relation(known, None, f"SELECT DISTINCT {known.partition} AS day FROM {{}} ORDER BY 1").fetchall()
        return [row[0] for row in rows]

    # -- rows ----------------------------------------------------------------------------------------------------

    def read(
        self,
        table: Table | str,
        *,
        day: date | str | None = None,
        days: tuple[date | str, date | str] | None = None,
        columns: Sequence[str] | None = None,
        as_of: datetime | int | None = None,
        to: Form = "pandas",
    ) -> Any:
        """Rows of a table: one day, a range of days (both ends included) or all; as they are or as they were.

        Args:
            as_of: a moment with time zone or a snapshot id; without it the newest.
            to: ``pandas``, ``arrow``, ``polars`` or ``duckdb`` (a relation, nothing read yet).

        Raises:
            UsageError: unknown column, or a day asked of a table without partitions.
        """
        known = table_named(table) if isinstance(table, str) else table
        if (day is not None or days is not None) and known.partition is None:
            raise UsageError(f"{known.fqn} has no partitions; read it without day or days")
        names = [f.name for f in self.table(known).schema().fields]
        unknown = sorted(set(columns or ()) - set(names))
        if unknown:
            raise UsageError(f"{known.fqn} has no column {', '.join(unknown)}; it has {', '.join(names)}")
        first, last = (day, day) if day is not None else days if days is not None else (None, None)
        where = ""
        if first is not None and last is not None:
            where = f" WHERE {known.partition} BETWEEN DATE '{_iso(first)}' AND DATE '{_iso(last)}'"
        selected = ", ".join(f'"{name}"' for name in (columns or names))
        return convert(self._relation(known, as_of, f"SELECT {selected} FROM {{}}{where}"), to)

    def sql(self, text: str, to: Form = "pandas", as_of: datetime | None = None) -> Any:
        """Answer one DuckDB SQL query over ``namespace.name`` tables, e.g. ``SELECT count(*) FROM silver.session``.

        Raises:
            UsageError: the query is refused, or the text is anything but one query: the lake is only read here.
        """
        import duckdb

        if _SHOW_TABLES.fullmatch(text):
            return convert(self._listing(), to)
        connection = self.connection(_mentioned(text), as_of)
        try:
            kinds = [str(one.type).rpartition(".")[2] for one in connection.extract_statements(text)]
            if len(kinds) != 1 or kinds[0] not in ("SELECT", "EXPLAIN"):
                found = ", ".join(kinds) or "none"
                raise UsageError(f"one query is expected, found is {found}: the lake is only read here")
            return convert(connection.sql(text), to)
        except (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException) as error:
            raise UsageError(f"the query was refused: {error}. Tables are: {', '.join(self.tables())}") from error
        except duckdb.InternalException:
            raise
        except (duckdb.Error, OverflowError) as error:  # also dates that Python does not have
            raise UsageError(f"the query cannot be answered: {str(error).splitlines()[0]}") from error

    def features(
        self,
        spine: Any,
        names: Sequence[str],
        *,
        at: str = "at",
        as_of: dict[str, int] | datetime | None = None,
    ) -> FeatureSet:
        """Features of each row of `spine` as they were known at its time; see `lake.pointintime`."""
        from lake.pointintime import features

        return features(self, spine, names, at=at, as_of=as_of)

    def _listing(self) -> duckdb.DuckDBPyRelation:
        """The tables that this lake holds: name, column of its partitions, key."""
        import pyarrow as pa

        there = [t for t in all_tables() if self._catalog.table_exists(identifier(self.settings, t))]
        table = pa.table({
            "name": [t.fqn for t in there],
            "partition": pa.array([t.partition for t in there], pa.string()),
            "key": [", ".join(t.key) for t in there],
        })  # fmt: skip
        return _duckdb().from_arrow(table)

    # -- DuckDB --------------------------------------------------------------------------------------------------

    def connection(self, wanted: Sequence[Table], as_of: datetime | None = None) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection in which each wanted table is a view, pinned to its snapshot."""
        connection = _duckdb()
        for table in wanted:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.namespace}")
            connection.execute(f"CREATE VIEW {table.fqn} AS SELECT * FROM {self.source(table, as_of)}")
        return connection

    def source(self, table: Table, as_of: datetime | int | None = None) -> str:
        """What DuckDB reads a table from, as text for a FROM clause."""
        return self.source_at(table, self.snapshot_id(table, as_of))

    def source_at(self, table: Table, snapshot: int | None) -> str:
        """The same at one snapshot; None is the table before its first.

        DuckDB sees a snapshot with the columns its writer knew; those the table was given since are null there. Of a
        twofold table every row is seen in each revision it stands for.
        """
        rows = self._at_rest(table, snapshot)
        return f"({each_revision(table, rows, DUCKDB)})" if table.twofold else rows

    def _at_rest(self, table: Table, snapshot: int | None) -> str:
        loaded = self.table(table)
        if snapshot is None:
            return f"(SELECT {_nulls(loaded.schema().fields)} WHERE false)"
        scan = f"iceberg_scan('{_path(loaded.metadata_location)}', snapshot_from_id = {snapshot})"
        found = loaded.snapshot_by_id(snapshot)
        written = loaded.schemas().get(found.schema_id) if found is not None else None
        known = {f.field_id for f in (written or loaded.schema()).fields}
        younger = [f for f in loaded.schema().fields if f.field_id not in known]
        return f"(SELECT *, {_nulls(younger)} FROM {scan})" if younger else scan

    def _relation(self, table: Table, as_of: datetime | int | None, query: str) -> Any:
        return _duckdb().sql(query.format(self.source(table, as_of)))


def convert(relation: Any, to: Form) -> Any:
    """A DuckDB relation in the form asked for."""

    if to == "duckdb":
        return relation
    if to not in ("pandas", "arrow", "polars"):
        raise UsageError(f"to = {to!r}; it must be pandas, arrow, polars or duckdb")
    table = _utc(relation.to_arrow_table())
    if to == "arrow":
        return table
    if to == "polars":
        import polars

        return polars.from_arrow(table)
    frame: pd.DataFrame = table.to_pandas(date_as_object=True)
    return frame


def _utc(table: Any) -> Any:
    """Times as records keep them, in milliseconds; a finer time of somebody's own query stays as fine as it is."""
    import pyarrow as pa

    columns = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type) and column.type.tz:
            whole = column.cast(pa.timestamp("ms", tz="UTC"), safe=False)
            column = whole if whole.cast(column.type).equals(column) else column
        columns.append(column)
    return pa.table(columns, names=table.column_names)


def _iso(day: date | str) -> str:
    try:
        return date.fromisoformat(str(day)).isoformat()
    except ValueError as error:
        raise UsageError(f"day = {day!r}; it must be a date as YYYY-MM-DD") from error


_SHOW_TABLES = re.compile(r"\s*SHOW\s+(ALL\s+)?TABLES\s*;?\s*", re.IGNORECASE)


def _mentioned(text: str) -> list[Table]:
    return [t for t in all_tables() if re.search(rf'\b{t.namespace}"?\."?{t.name}\b', text, re.IGNORECASE)]


def _duckdb() -> duckdb.DuckDBPyConnection:
    """A connection with the Iceberg reader, loaded from its package: no network, no home folder."""
    import duckdb
    import duckdb_extension_avro
    import duckdb_extension_iceberg

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")  # or a date of a time would be the machine's
    for package in (duckdb_extension_avro, duckdb_extension_iceberg):
        found = sorted(Path(str(package.__file__)).parent.rglob(f"v{duckdb.__version__}/*.duckdb_extension"))
        if not found:
            raise ConfigError(
                f"{package.__name__} brings no extension for DuckDB {duckdb.__version__}: run `make setup`"
            )
        connection.execute(f"LOAD '{found[0]}'")
    return connection


def _path(location: str) -> str:
    """Iceberg writes file:/p or file:///p; DuckDB wants /p. Object stores pass unchanged."""
    return unquote(urlsplit(location).path) if location.startswith("file:") else location


def _nulls(fields: Iterable[Any]) -> str:
    return ", ".join(f'CAST(NULL AS {_duckdb_type(f.field_type)}) AS "{f.name}"' for f in fields)


_TYPES = {
    "string": "VARCHAR",
    "long": "BIGINT",
    "int": "INTEGER",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamptz": "TIMESTAMPTZ",
    "timestamp": "TIMESTAMP",
    "binary": "BLOB",
}


def _duckdb_type(kind: Any) -> str:
    """DuckDB's name of an Iceberg type, for a table that holds nothing yet."""
    from pyiceberg.types import ListType, StructType

    if isinstance(kind, ListType):
        return f"{_duckdb_type(kind.element_type)}[]"
    if isinstance(kind, StructType):
        return f"STRUCT({', '.join(f'{f.name} {_duckdb_type(f.field_type)}' for f in kind.fields)})"
    return _TYPES[str(kind)]
