"""Write, audit, publish: a run's rows go to a branch of each table, are audited there, and only then become ``main``.

The branch is named in the write itself (``lake.ns.table.branch_<run>``), never by the session-wide setting, so two runs
in one session cannot write to each other's branch. The order is: leases; unfinished publishes of others completed;
stale branches dropped; all tables written; all audited; each branch sealed with an empty commit that carries verdict
and content hash; one row `audited` each in ``ops.publication``; ``main`` moved forward; rows `published`; branches
removed. A death between any two steps loses nothing and doubles nothing: the next writer of a table takes up from what
it finds.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import Any

from conf.errors import AuditFailed, ConfigError, ServiceUnavailable
from conf.settings import Settings
from lake import files, hashing, lease, publications
from lake.audit import Verdict, judge_frame, judge_rows
from lake.catalog import NAME, identifier
from lake.publications import AUDITED, Publication
from schemas.render import spark
from schemas.tables import Table

MAIN = "main"
RUN, HASH, AUDIT, PARTITION = "matinee.run", "matinee.content-hash", "matinee.audit", "matinee.partition"


@dataclass
class Staged:
    """One table of a run: its branch and what was found there."""

    table: Table
    partition: date | None
    base: int
    verdict: Verdict | None = None
    snapshot_id: int = 0


@dataclass(frozen=True)
class Folded:
    """Spans inside their folded sessions: a Spark frame of one column of bytes, unpacked by the kernel as it writes.

    `unbegun`: sessions that are left out, as they began before what the job reads.
    """

    frame: Any
    unbegun: int = 0


class Publishing:
    """The writes of one run of one job, as a context that holds the tables' leases.

    Args:
        session: a Spark session with the catalogue ``lake``.
        catalog: the same catalogue for pyiceberg (`lake.catalog.bootstrap`).
        tables: every table the run may write.
        any_day: drop unaudited leftovers of any day of the job, not of this day alone (landing jobs).
        say: told when the run must wait or completes another's publish.
    """

    def __init__(
        self,
        session: Any,
        settings: Settings,
        catalog: Any,
        job: str,
        day: date,
        tables: Sequence[Table],
        *,
        any_day: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.session, self.settings, self.catalog = session, settings, catalog
        self.job, self.day, self.say = job, day, say
        self.tables = sorted(tables, key=lambda t: t.fqn)
        self.run_id = f"{job}_{day:%Y%m%d}_{secrets.token_hex(4)}"
        self._prefix = f"{job}_" if any_day else f"{job}_{day:%Y%m%d}_"
        self._staged: dict[str, Staged] = {}
        self._leases: dict[str, lease.Lease] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Publishing:
        with ExitStack() as stack:
            for table in self.tables:
                held = lease.acquire(
                    self.settings,
                    table.fqn,
                    f"job {self.job} of {self.day} (pid {os.getpid()})",
                    waiting=lambda who, name=table.fqn: self.say(
                        f"waiting for the write lease of {name}, held by {who}"
                    ),  # type: ignore[misc]
                )
                stack.callback(held.release)
                self._leases[table.fqn] = held
            for table in self.tables:
                self._clear(table)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # -- write ---------------------------------------------------------------------------------------------------

    def stage(
        self, table: Table, frame: Any, partition: date | None, properties: Mapping[str, str] | None = None
    ) -> None:
        """Write a Spark frame, or spans as `Folded`, to the run's branch of a table.

        With `partition` the rows replace that partition, an empty frame empties it; without it they are appended.
        `properties` go into the snapshot that holds the rows.

        Raises:
            ConfigError: columns or types that differ from the table's, each named.
        """
        staged = self._branch(table, partition)
        told = {RUN: self.run_id, **(properties or {})}
        if table.by_column:
            self._stage_files(staged, frame, told)
            return
        frame = conform(frame, table)
        writer = frame._jdf.writeTo(f"{self.name(table)}.branch_{self.run_id}")
        for key, value in told.items():
            writer.option(f"snapshot-property.{key}", value)
        if staged.partition is None:
            writer.append()
        else:
            rows = f"`{table.partition}` = DATE'{staged.partition.isoformat()}'"
            writer.overwrite(self.session._jvm.org.apache.spark.sql.functions.expr(rows))

    def _stage_files(self, staged: Staged, frame: Any, properties: Mapping[str, str]) -> None:
        """The same commit, of files that the kernel wrote column by column."""
        jvm, handle = self.session._jvm, self._handle(staged.table)
        kernel = jvm.io.matinee.kernel.spark.ColumnFiles
        if isinstance(frame, Folded):
            assert staged.partition is not None, "spans are written a day at a time"
            files = kernel.writeSpans(frame.frame._jdf, handle, staged.partition.isoformat())
        else:
            files = kernel.write(conform(frame, staged.table)._jdf, handle)
        if staged.partition is None:
            commit = handle.newAppend()
            for file in files:
                commit.appendFile(file)
        else:
            equal = jvm.org.apache.iceberg.expressions.Expressions.equal
            rows = equal(staged.table.partition, staged.partition.isoformat())
            commit = handle.newOverwrite().overwriteByRowFilter(rows)
            for file in files:
                commit.addFile(file)
            if files:  # of none Iceberg cannot tell which partition they are of
                commit.validateAddedFilesMatchOverwriteFilter()
        for key, value in properties.items():
            commit.set(key, value)
        commit.toBranch(self.run_id).commit()

    def _branch(self, table: Table, partition: date | None) -> Staged:
        if table.fqn not in self._leases:
            raise ConfigError(f"job {self.job} writes {table.fqn}, which it does not declare")
        if table.fqn not in self._staged:
            handle = self._handle(table)
            handle.manageSnapshots().createBranch(self.run_id).commit()
            self._staged[table.fqn] = Staged(table, partition, base=handle.refs().get(self.run_id).snapshotId())
        return self._staged[table.fqn]

    def written(self, table: Table) -> Any:
        """Spark frame of what this run wrote to its branch of a table."""
        staged = self._staged[table.fqn]
        if staged.partition is not None:
            rows = self.session.read.option("branch", self.run_id).table(self.name(table))
            return rows.where(f"`{table.partition}` = DATE'{staged.partition.isoformat()}'")
        head = self._handle(table).refs().get(self.run_id).snapshotId()
        if head == staged.base:
            return self.session.read.option("branch", self.run_id).table(self.name(table)).limit(0)
        reader = self.session.read.option("start-snapshot-id", staged.base).option("end-snapshot-id", head)
        return reader.table(self.name(table))

    # -- audit ---------------------------------------------------------------------------------------------------

    def audit(self) -> list[Verdict]:
        """Audit every table of the run.

        Raises:
            AuditFailed: at least one rule is broken; ``main`` is untouched and the branches stay for inspection.
        """
        for staged in self._staged.values():
            staged.verdict = self._judge(staged)
        verdicts = [s.verdict for s in self._staged.values() if s.verdict]
        broken = [f"{v.table}: {'; '.join(v.broken)}" for v in verdicts if not v.passed]
        if broken:
            raise AuditFailed(
                f"job {self.job} of {self.day}: nothing was published. {' | '.join(broken)}. "
                f"The rows are in branch {self.run_id} (read {NAME}.<table>.branch_{self.run_id})"
            )
        return verdicts

    def _judge(self, staged: Staged) -> Verdict:
        partition = staged.partition.isoformat() if staged.partition else None
        added = self._added(staged)
        if sum(int(file.recordCount()) for file in added) > hashing.SMALL:
            return judge_frame(self.written(staged.table), staged.table, partition)
        rows = files.read(
            self.catalog.load_table(identifier(self.settings, staged.table)), [f.location() for f in added]
        )
        return judge_rows(rows, staged.table, partition)

    def _added(self, staged: Staged) -> list[Any]:
        """The data files (Java) that this run's commits added to its branch: all the rows it wrote, and no others."""
        handle = self._handle(staged.table)
        snapshot = handle.snapshot(handle.refs().get(self.run_id).snapshotId())
        added: list[Any] = []
        while snapshot is not None and snapshot.snapshotId() != staged.base:
            added += list(snapshot.addedDataFiles(handle.io()))
            parent = snapshot.parentId()
            snapshot = handle.snapshot(parent) if parent is not None else None
        return added

    # -- publish -------------------------------------------------------------------------------------------------

    def publish(self, between: Callable[[str], None] = lambda table: None) -> list[Publication]:
        """Seal, record and publish every audited branch; `between` is called after each table's (tests use it)."""
        rows = [self._seal(staged) for staged in self._staged.values()]
        publications.record(self.catalog, self.settings, rows)
        for staged in self._staged.values():
            self._forward(staged.table, self.run_id, staged.snapshot_id)
            between(staged.table.fqn)
        done = [row.published() for row in rows]
        publications.record(self.catalog, self.settings, done)
        for staged in self._staged.values():
            self._handle(staged.table).manageSnapshots().removeBranch(self.run_id).commit()
        return done

    def _seal(self, staged: Staged) -> Publication:
        """An empty commit on the branch: a verdict is known after the rows are written, and belongs to the snapshot."""
        verdict = staged.verdict
        if verdict is None:
            raise ConfigError(f"job {self.job} would publish {staged.table.fqn} without an audit")
        handle = self._handle(staged.table)
        commit = (
            handle.newFastAppend().set(RUN, self.run_id).set(HASH, verdict.content_hash).set(AUDIT, verdict.as_json())
        )
        if staged.partition is not None:
            commit = commit.set(PARTITION, staged.partition.isoformat())
        commit.toBranch(self.run_id).commit()
        handle.refresh()
        staged.snapshot_id = handle.refs().get(self.run_id).snapshotId()
        return Publication(
            run_id=self.run_id,
            job=self.job,
            day=self.day,
            table_name=staged.table.fqn,
            branch=self.run_id,
            snapshot_id=staged.snapshot_id,
            state=AUDITED,
            content_hash=verdict.content_hash,
            audit=verdict.as_json(),
            updated_at=publications.now(),
        )

    def _forward(self, table: Table, branch: str, snapshot_id: int) -> None:
        """Move ``main`` to the branch, if this writer still holds the lease and nobody else moved ``main``."""
        self._leases[table.fqn].check()
        handle = self._handle(table)
        if not self._follows(handle, snapshot_id):
            raise ServiceUnavailable(
                f"{table.fqn}: main moved while job {self.job} of {self.day} wrote its branch "
                "(a writer without the lease); run it again"
            )
        handle.manageSnapshots().fastForwardBranch(MAIN, branch).commit()

    def _follows(self, handle: Any, snapshot_id: int) -> bool:
        main = handle.currentSnapshot()
        ancestors = self.session._jvm.org.apache.iceberg.util.SnapshotUtil
        return main is None or ancestors.isAncestorOf(handle, snapshot_id, main.snapshotId())

    # -- what others left behind ---------------------------------------------------------------------------------

    def _clear(self, table: Table) -> None:
        """Complete publishes that were cut short, drop this job's stale branches; failed audits of others stay."""
        handle = self._handle(table)
        for branch in sorted(str(name) for name in handle.refs().keySet() if str(name) != MAIN):
            row = next(
                (r for r in publications.of_run(self.catalog, self.settings, branch) if r.table_name == table.fqn), None
            )
            if row is None:
                if branch.startswith(self._prefix):
                    handle.manageSnapshots().removeBranch(branch).commit()
                continue
            if row.state == AUDITED:
                self._complete(table, handle, row)
            handle.refresh()
            handle.manageSnapshots().removeBranch(branch).commit()

    def _complete(self, table: Table, handle: Any, row: Publication) -> None:
        ancestors = self.session._jvm.org.apache.iceberg.util.SnapshotUtil
        main = handle.currentSnapshot()
        if main is None or not ancestors.isAncestorOf(handle, main.snapshotId(), row.snapshot_id):
            if not self._follows(handle, row.snapshot_id):
                self.say(f"{table.fqn}: the unfinished publish of run {row.run_id} is overtaken and dropped")
                return
            self._forward(table, row.branch, row.snapshot_id)
        self.say(f"{table.fqn}: completed the publish of run {row.run_id} that was cut short")
        publications.record(self.catalog, self.settings, [row.published()])

    # -- names ---------------------------------------------------------------------------------------------------

    def name(self, table: Table) -> str:
        """The table's name in Spark."""
        return f"{NAME}.{identifier(self.settings, table)}"

    def _handle(self, table: Table) -> Any:
        """The Iceberg table in the JVM, freshly loaded."""
        return handle(self.session, self.name(table))


def handle(session: Any, name: str) -> Any:
    """The Iceberg (Java) table called ``lake.namespace.name``, freshly loaded."""
    return session._jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(session._jsparkSession, name)


def conform(frame: Any, table: Table) -> Any:
    """The frame with the table's columns in the table's order and types; numbers may be widened, nothing else.

    Raises:
        ConfigError: a column is missing, unknown, or of another kind.
    """
    found = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    expected = {field.name: field.dataType.simpleString() for field in spark.table_struct(table).fields}
    problems = [f"{name}: missing (expected {kind})" for name, kind in expected.items() if name not in found]
    problems += [f"{name}: not a column of the table" for name in found if name not in expected]
    problems += [
        f"{name}: found {found[name]}, expected {kind}"
        for name, kind in expected.items()
        if name in found and not _widens(found[name], kind)
    ]
    if problems:
        raise ConfigError(f"{table.fqn}: {len(problems)} columns differ from the table's. {'. '.join(problems)}")
    return frame.selectExpr(*(f"CAST(`{name}` AS {kind}) AS `{name}`" for name, kind in expected.items()))


_WIDER = {
    "tinyint": ("smallint", "int", "bigint", "double"),
    "smallint": ("int", "bigint", "double"),
    "int": ("bigint", "double"),
    "bigint": ("double", "int"),
    "float": ("double",),
    "void": (),
}


def _widens(found: str, wanted: str) -> bool:
    """Whether a value of one type may be stored as another. ``bigint`` to ``int`` is checked by the cast (ANSI)."""
    if found == wanted or found == "void" or wanted in _WIDER.get(found, ()):
        return True
    return found.startswith(("array", "struct")) and wanted.startswith(found.partition("<")[0])
