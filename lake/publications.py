"""The table ``ops.publication``: what was audited, what was published, in which snapshot, with which content hash.

Append-only, through pyiceberg: two small commits a run. A row `audited` without its row `published` is a publish that
was cut short; the next writer of that table completes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from conf.settings import Settings
from lake.catalog import identifier
from lake.lease import exclusive
from schemas import tables

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog

AUDITED, PUBLISHED = "audited", "published"


@dataclass(frozen=True)
class Publication:
    """One row of ``ops.publication``."""

    run_id: str
    job: str
    day: date
    table_name: str
    branch: str
    snapshot_id: int
    state: str
    content_hash: str
    audit: str
    updated_at: datetime

    def published(self) -> Publication:
        """The same row, published now."""
        return replace(self, state=PUBLISHED, updated_at=now())


def now() -> datetime:
    """The time in whole milliseconds, as records keep it."""
    found = datetime.now(UTC)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)


def record(catalog: SqlCatalog, settings: Settings, rows: Iterable[Publication]) -> None:
    """Append rows in one commit, under the table's lease: job `retention` rewrites it."""
    import pyarrow as pa

    listed = [asdict(row) for row in rows]
    if not listed:
        return
    with exclusive(settings, tables.PUBLICATION.fqn):
        table = catalog.load_table(identifier(settings, tables.PUBLICATION))
        table.append(pa.Table.from_pylist(listed, schema=table.schema().as_arrow()))


def of_run(catalog: SqlCatalog, settings: Settings, run_id: str) -> list[Publication]:
    """The newest row of each table of a run."""
    from pyiceberg.expressions import EqualTo

    found = _rows(catalog, settings, EqualTo("run_id", run_id))
    return list({row.table_name: row for row in found}.values())


def published(catalog: SqlCatalog, settings: Settings, table_name: str, job: str, day: date) -> Publication | None:
    """The newest published row of a table from one day of a job; an empty partition is present by this row alone."""
    from pyiceberg.expressions import And, EqualTo

    wanted = And(
        EqualTo("table_name", table_name),
        EqualTo("job", job),
        EqualTo("day", day.isoformat()),
        EqualTo("state", PUBLISHED),
    )
    found = _rows(catalog, settings, wanted)
    return found[-1] if found else None


def _rows(catalog: SqlCatalog, settings: Settings, wanted: Any) -> list[Publication]:
    """Oldest first; at one moment `audited` stands before `published`."""
    table = catalog.load_table(identifier(settings, tables.PUBLICATION))
    rows = [Publication(**row) for row in table.scan(row_filter=wanted).to_arrow().to_pylist()]
    return sorted(rows, key=lambda row: (row.updated_at, row.state))
