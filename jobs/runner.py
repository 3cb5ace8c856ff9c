"""The one shell around every batch job: read, check, transform, write to a branch, audit, publish.

A job's own file never reads, writes, audits or looks at the clock. Several jobs and several days run in one Spark
process, day by day, in the order given. Beside ``transform`` a table job may define ``require(frames, *, day,
settings)`` (more conditions on its input), ``KERNEL = True`` (the kernel's functions are registered first),
``effects(frames, outputs, *, day, settings, snapshots)`` (after the audit, before the publish; idempotent by key) and
``check(frames, *, day, say)`` (looks at the published rows, may fail the run).
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from conf.errors import MatineeError, UsageError
from conf.settings import Settings
from jobs import registry
from jobs import session as spark
from jobs.context import JobContext
from jobs.registry import JobSpec, Kind
from lake import files, hashing
from lake.audit import judge_frame, judge_rows
from lake.catalog import NAME, bootstrap, identifier
from lake.publish import Folded, Publishing
from schemas.tables import Table

Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """What one run left: rows and content hash by ``namespace.name``, seconds it took."""

    job: str
    day: date
    rows: dict[str, int]
    hashes: dict[str, str]
    seconds: float

    def __str__(self) -> str:
        rows = ", ".join(f"{name} {count:,}" for name, count in self.rows.items()) or "nothing to write"
        return f"{self.job} {self.day}: {rows} ({self.seconds:.1f} s)"


class Runner:
    """Runs jobs in one Spark session.

    Args:
        settings: the settings in force.
        session: a session to use; without it one is started, and ended by `close`.
        say: told one line for each job and day, and when a run must wait.
    """

    def __init__(self, settings: Settings, session: SparkSession | None = None, say: Say = lambda text: None) -> None:
        self.settings, self.say = settings, say
        self.catalog = bootstrap(settings)
        self.session = session or spark.start(settings)
        self._own = session is None
        self.session.sql(f"SHOW NAMESPACES IN {NAME}")  # loads the catalogue with this session's properties

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session if this runner started it."""
        if self._own:
            spark.stop(self.session)

    def run(self, names: Sequence[str], days: Sequence[date]) -> list[Result]:
        """Run the jobs called `names` for each day, day by day.

        Raises:
            KeyError: no such job.
            InputMissing, AuditFailed, ServiceUnavailable: as the first run that fails; later ones are not started.
        """
        specs = [registry.job(name) for name in names]
        return [self.run_one(spec, day) for day in days for spec in specs]

    def run_one(self, spec: JobSpec, day: date) -> Result:
        """Run one job for one day."""
        began = time.monotonic()
        context = JobContext(self.session, self.settings, self.catalog, spec, day, self.say)
        module = importlib.import_module(f"jobs.{spec.name}")
        if spec.kind is Kind.TABLE:
            result = self._table_job(module, context)
        else:
            result = module.run(context) or {}
        rows = {name: verdict[0] for name, verdict in result.items()}
        hashes = {name: verdict[1] for name, verdict in result.items()}
        self.session.catalog.clearCache()
        done = Result(spec.name, day, rows, hashes, time.monotonic() - began)
        self.say(str(done))
        return done

    def _table_job(self, module: Any, context: JobContext) -> dict[str, tuple[int, str]]:
        spec, day = context.spec, context.day
        frames = context.frames()
        if hasattr(module, "require"):
            module.require(frames, day=day, settings=self.settings)
        if getattr(module, "KERNEL", False):
            spark.register_kernel(self.session, self.settings)
        outputs: dict[str, DataFrame | Folded] = module.transform(frames, day=day, settings=self.settings)
        _check_outputs(spec, outputs)
        for output in outputs.values():
            if isinstance(output, Folded) and output.unbegun:
                self.say(
                    f"{spec.name} {day}: {output.unbegun:,} sessions left out: heard of every day for "
                    f"{registry.SESSION_DAYS} days, their beginning on none of them"
                )
        with Publishing(
            self.session, self.settings, self.catalog, spec.name, day, spec.writes, say=self.say
        ) as publishing:
            properties = {f"matinee.input.{name}": str(snapshot) for name, snapshot in context.snapshots.items()}
            for table in spec.writes:
                publishing.stage(table, outputs[table.name], day + timedelta(days=spec.writes_day), properties)
            verdicts = publishing.audit()
            if hasattr(module, "effects"):
                module.effects(frames, outputs, day=day, settings=self.settings, snapshots=dict(context.snapshots))
            publishing.publish()
        if hasattr(module, "check"):
            published = {
                table.name: self._partition(table, day + timedelta(days=spec.writes_day)) for table in spec.writes
            }
            module.check(published, day=day, say=self.say)
        return {verdict.table: (verdict.rows, verdict.content_hash) for verdict in verdicts}

    def content_hash(self, table: Table, day: date | None) -> tuple[int, str]:
        """Rows and content hash of a published partition (or of a table without partitions)."""
        loaded = self.catalog.load_table(identifier(self.settings, table))
        partition = day.isoformat() if day is not None and table.partition is not None else None
        if files.count(loaded, table.partition, partition) > hashing.SMALL:
            verdict = judge_frame(self._partition(table, day), table, None)
        else:
            verdict = judge_rows(files.partition(loaded, table.partition, partition), table, None)
        return verdict.rows, verdict.content_hash

    def _partition(self, table: Table, day: date | None) -> DataFrame:
        frame = self.session.table(f"{NAME}.{identifier(self.settings, table)}")
        if table.partition is None:
            return frame
        if day is None:
            raise UsageError(f"{table.fqn} has partitions by {table.partition}; name one with --date")
        return frame.where(f"`{table.partition}` = DATE'{day.isoformat()}'")


def _check_outputs(spec: JobSpec, outputs: dict[str, DataFrame | Folded]) -> None:
    declared = {table.name for table in spec.writes}
    if set(outputs) != declared:
        raise MatineeError(
            f"job {spec.name} made {sorted(outputs)}; jobs.registry declares that it writes {sorted(declared)}"
        )
