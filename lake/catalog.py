"""The Iceberg catalogue ``lake``: its address in each engine's spelling, and the one step that makes its tables.

Two engines that create or migrate the catalogue's own SQL tables at once race, and a table that two writers create at
once is a lost write; so both are made here, in `bootstrap`, under one lock, before any engine starts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from conf.errors import ConfigError, InputMissing, ServiceUnavailable
from conf.settings import Settings
from lake.lease import exclusive
from schemas import tables
from schemas.tables import Table

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog

NAME = "lake"
"""Catalogue name: part of the key of the catalogue's rows, so the same in every engine."""

SQLITE_TIMEOUT_S = 60
WRITER_PROPERTIES = {
    "write.distribution-mode": "none",
    "write.spark.fanout.enabled": "true",
    "commit.manifest-merge.enabled": "true",
    "commit.retry.num-retries": "10",
}
"""How rows are written: a run writes one partition (ingest a few), so a shuffle by partition would leave one task."""

logging.getLogger("pyiceberg").setLevel(logging.ERROR)


def all_tables() -> tuple[Table, ...]:
    """Every table of `schemas.tables`, by name in the catalogue."""
    return tuple(sorted((v for v in vars(tables).values() if isinstance(v, Table)), key=lambda t: t.fqn))


def table_named(fqn: str) -> Table:
    """The table called ``namespace.name``.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    for table in all_tables():
        if table.fqn == fqn:
            return table
    raise ConfigError(f"no table {fqn!r}; tables are: {', '.join(t.fqn for t in all_tables())}")


def identifier(settings: Settings, table: Table) -> str:
    """``namespace.name`` with the settings' namespace prefix."""
    return f"{settings.lake.namespace_prefix}{table.fqn}"


def sqlite_file(settings: Settings) -> Path | None:
    """The catalogue's file if it is SQLite."""
    uri = settings.lake.catalog_uri
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def open_catalog(settings: Settings) -> SqlCatalog:
    """The catalogue for pyiceberg; it must exist.

    Raises:
        InputMissing: the SQLite file is not there.
        ServiceUnavailable: the database does not answer.
    """
    file = sqlite_file(settings)
    if file is not None and not file.is_file():
        raise InputMissing(
            f"no lake at {file}: nothing has been landed yet; run `matinee job ingest --date D` or `make demo`"
        )
    return _catalog(settings, create=False)


def _catalog(settings: Settings, *, create: bool) -> SqlCatalog:
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy.exc import OperationalError

    uri = settings.lake.catalog_uri
    if uri.startswith("sqlite:///"):
        uri = f"{uri}?timeout={SQLITE_TIMEOUT_S}"
    properties = {"uri": uri, "warehouse": settings.lake.warehouse, "init_catalog_tables": str(create).lower()}
    try:
        return SqlCatalog(NAME, **properties)
    except OperationalError as error:
        raise ServiceUnavailable(f"the lake's catalogue {redacted(settings)} does not answer: {error.orig}") from error


def redacted(settings: Settings) -> str:
    """The catalogue's address without user and password, for messages."""
    parts = urlsplit(settings.lake.catalog_uri)
    return (
        settings.lake.catalog_uri.replace(f"{parts.netloc}", parts.netloc.rpartition("@")[2])
        if parts.netloc
        else parts.geturl()
    )


def bootstrap(settings: Settings, only: Iterable[Table] | None = None) -> SqlCatalog:
    """Make the catalogue, its namespaces and every table that is missing; add columns a newer record has.

    Safe to call at every start and from many processes: it works under one lock, and does nothing where nothing is
    missing.
    """
    file = sqlite_file(settings)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(settings, "bootstrap"):
        catalog = _catalog(settings, create=True)
        wanted = all_tables() if only is None else tuple(only)
        _use_wal(catalog)
        for namespace in sorted({t.namespace for t in wanted}):
            catalog.create_namespace_if_not_exists(settings.lake.namespace_prefix + namespace)
        existing = {
            f"{ns}.{name}"
            for ns in {settings.lake.namespace_prefix + t.namespace for t in wanted}
            for *_, name in catalog.list_tables(ns)
        }
        for table in wanted:
            if identifier(settings, table) in existing:
                _evolve(catalog, settings, table)
            else:
                _create(catalog, settings, table)
    return catalog


def _use_wal(catalog: SqlCatalog) -> None:
    """SQLite's readers must not block its writer: write-ahead log, kept in the file's header for every later client."""
    if catalog.engine.dialect.name == "sqlite":
        with catalog.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def _create(catalog: SqlCatalog, settings: Settings, table: Table) -> None:
    from schemas.render import iceberg

    catalog.create_table(
        identifier(settings, table),
        iceberg.schema(table),
        partition_spec=iceberg.partition_spec(table),
        properties={**iceberg.properties(table), **WRITER_PROPERTIES},
    )


def _evolve(catalog: SqlCatalog, settings: Settings, table: Table) -> None:
    from schemas.render import iceberg

    wanted = iceberg.schema(table)
    existing = catalog.load_table(identifier(settings, table))
    if {f.name for f in wanted.fields} - {f.name for f in existing.schema().fields}:
        with existing.update_schema() as update:
            update.union_by_name(wanted)
    # pyiceberg keeps no property of this name: the format's version is the metadata's own.
    ours = {name: value for name, value in iceberg.properties(table).items() if name != "format-version"}
    missing = {name: value for name, value in ours.items() if name not in existing.properties}
    if missing:
        with existing.transaction() as change:
            change.set_properties(missing)


def spark_properties(settings: Settings) -> dict[str, str]:
    """Spark's properties for the same catalogue (JDBC). The table cache is off: other processes publish too."""
    prefix = f"spark.sql.catalog.{NAME}"
    return {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        prefix: "org.apache.iceberg.spark.SparkCatalog",
        f"{prefix}.type": "jdbc",
        f"{prefix}.jdbc.schema-version": "V1",
        f"{prefix}.warehouse": settings.lake.warehouse,
        f"{prefix}.cache-enabled": "false",
        **{f"{prefix}.{key}": value for key, value in _jdbc(settings).items()},
    }


def _jdbc(settings: Settings) -> dict[str, str]:
    file = sqlite_file(settings)
    if file is not None:
        options = urlencode({"journal_mode": "WAL", "busy_timeout": SQLITE_TIMEOUT_S * 1000, "synchronous": "NORMAL"})
        return {"uri": f"jdbc:sqlite:{file}?{options}"}
    parts = urlsplit(settings.lake.catalog_uri)
    if not parts.scheme.startswith("postgresql"):
        raise ConfigError(
            f"lake.catalog_uri is {redacted(settings)}; it must be sqlite:///FILE or postgresql+psycopg2://..."
        )
    port = f":{parts.port}" if parts.port else ""
    answer = {"uri": f"jdbc:postgresql://{parts.hostname}{port}{parts.path}"}
    if parts.username:
        answer["jdbc.user"] = parts.username
    if parts.password:
        answer["jdbc.password"] = parts.password
    return answer
