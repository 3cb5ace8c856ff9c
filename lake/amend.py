"""A small partition replaced from plain Python, for what a person decides at a prompt: no engine, no wait for a JVM.

The law of `lake.publish` holds: lease, audit of the rows, one commit, a row in ``ops.publication``. There is no branch,
because the rows are audited before anything is written.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from conf.errors import AuditFailed, UsageError
from conf.settings import Settings
from lake import lease, publications
from lake.audit import judge_rows
from lake.catalog import identifier
from lake.publications import PUBLISHED, Publication
from lake.publish import AUDIT, HASH, MAIN, PARTITION, RUN
from schemas.tables import Table

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog


def replace(
    catalog: SqlCatalog, settings: Settings, table: Table, day: date, rows: Sequence[Mapping[str, Any]], who: str
) -> Publication:
    """Make `rows` (all columns of the table) the partition of `day`.

    Args:
        who: takes the place of a job's name in the run id and the publication.

    Raises:
        AuditFailed: a rule of the record is broken; nothing was written.
        ServiceUnavailable: the table's lease was not free in time.
    """
    import pyarrow as pa
    from pyiceberg.expressions import EqualTo

    if table.partition is None:
        raise UsageError(f"{table.fqn} has no partitions; there is none of {day} to replace")
    run_id = f"{who}_{day:%Y%m%d}_{secrets.token_hex(4)}"
    held = lease.acquire(settings, table.fqn, f"{who} (pid {os.getpid()})")
    try:
        loaded = catalog.load_table(identifier(settings, table))
        arrow = pa.Table.from_pylist([dict(row) for row in rows], schema=loaded.schema().as_arrow())
        verdict = judge_rows(arrow, table, day.isoformat(), at_a_prompt=True)
        if not verdict.passed:
            raise AuditFailed(f"{who} of {day}: nothing was written. {table.fqn}: {'; '.join(verdict.broken)}")
        held.check()
        properties = {
            RUN: run_id,
            HASH: verdict.content_hash,
            AUDIT: verdict.as_json(),
            PARTITION: day.isoformat(),
        }
        loaded.overwrite(
            arrow, overwrite_filter=EqualTo(table.partition, day.isoformat()), snapshot_properties=properties
        )
        snapshot = loaded.refresh().current_snapshot()
        assert snapshot is not None
    finally:
        held.release()
    row = Publication(
        run_id=run_id,
        job=who,
        day=day,
        table_name=table.fqn,
        branch=MAIN,
        snapshot_id=snapshot.snapshot_id,
        state=PUBLISHED,
        content_hash=verdict.content_hash,
        audit=verdict.as_json(),
        updated_at=publications.now(),
    )
    publications.record(catalog, settings, [row])
    return row
