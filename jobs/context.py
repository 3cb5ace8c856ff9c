"""What one run of a job reads: declared partitions, pinned to snapshots, and topics. Missing input is said here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from conf.errors import InputMissing
from conf.settings import Settings
from jobs import registry, topics
from jobs.registry import JobSpec, Read
from jobs.session import register_kernel
from lake import publications
from lake.catalog import NAME, identifier
from schemas.render.spark import table_struct
from schemas.render.sql import SPARK, each_revision
from schemas.tables import META, Table
from schemas.topics import LANDED, Topic


@dataclass
class JobContext:
    """One run of one job on one day; `snapshots` fills as tables are read: snapshot id by ``namespace.name``."""

    session: SparkSession
    settings: Settings
    catalog: Any
    spec: JobSpec
    day: date
    say: Callable[[str], None] = lambda text: None
    snapshots: dict[str, int] = field(default_factory=dict)

    def frames(self) -> dict[str, DataFrame]:
        """Every declared input: tables by `Table.name`, topics as ``topic.<name>``.

        Raises:
            InputMissing: required partitions are missing; all of them are listed, each with the job that makes it.
        """
        by_table: dict[str, list[Read]] = {}
        for read in self.spec.reads:
            by_table.setdefault(read.table.fqn, []).append(read)
        missing = [text for reads in by_table.values() for text in self._missing(reads)]
        if missing:
            raise InputMissing(f"job {self.spec.name} of {self.day}: " + "; ".join(missing))
        answer = {reads[0].table.name: self._frame(reads) for reads in by_table.values()}
        for topic in reversed(self.spec.reads_topics):  # what vouches for the others stands last and is read first
            answer[f"topic.{topic.name}"] = self.topic(topic)
        return answer

    def topic(self, topic: Topic) -> DataFrame:
        """A compacted topic as it stands (`jobs.topics.snapshot`)."""
        register_kernel(self.session, self.settings)
        return topics.snapshot(self.session, self.settings, topic)

    # -- presence ------------------------------------------------------------------------------------------------

    def _missing(self, reads: Sequence[Read]) -> list[str]:
        table = reads[0].table
        loaded = self.catalog.load_table(identifier(self.settings, table))
        current = loaded.current_snapshot()
        if current is not None:
            self.snapshots[table.fqn] = current.snapshot_id
        texts = []
        for read in reads:
            if not read.required:
                continue
            if read.latest:
                if not self._has_rows(loaded, f"{table.partition} <= '{self.day}'"):
                    texts.append(f"{table.fqn} has no row up to {self.day}; {_maker(table, self.day)}")
                continue
            for shift in range(read.days[0], read.days[1] + 1):
                day = self.day + timedelta(days=shift)
                if not self._present(table, loaded, day):
                    texts.append(f"{table.fqn} has no partition {table.partition}={day}; {_maker(table, day)}")
        return texts

    def _present(self, table: Table, loaded: Any, day: date) -> bool:
        """A partition is there if it holds rows, or if its job published it empty: one that had rows has expired."""
        if self._has_rows(loaded, f"{table.partition} == '{day}'"):
            return True
        if table.landed:
            return False
        maker = registry.job(table.producer)
        run_day = day - timedelta(days=maker.writes_day)
        row = publications.published(self.catalog, self.settings, table.fqn, maker.name, run_day)
        return row is not None and json.loads(row.audit).get("rows", 0) == 0

    def _has_rows(self, loaded: Any, row_filter: str) -> bool:
        snapshot = self.snapshots.get(".".join(loaded.name()[-2:]).removeprefix(self.settings.lake.namespace_prefix))
        if snapshot is None:
            return False
        return any(True for _ in loaded.scan(row_filter=row_filter, snapshot_id=snapshot).plan_files())

    # -- frames --------------------------------------------------------------------------------------------------

    def _frame(self, reads: Sequence[Read]) -> DataFrame:
        table = reads[0].table
        name = f"{NAME}.{identifier(self.settings, table)}"
        snapshot = self.snapshots.get(table.fqn)
        if snapshot is None:
            return self.session.table(name).where("false")
        frame = _with_younger_columns(self.session.read.option("versionAsOf", snapshot).table(name), table)
        if table.twofold:
            frame = self.session.sql(each_revision(table, "{rows}", SPARK), rows=frame)
        if any(read.latest for read in reads):
            return newest(frame.where(F.col(str(table.partition)) <= F.lit(self.day)), table)
        first = self.day + timedelta(days=min(read.days[0] for read in reads))
        last = self.day + timedelta(days=max(read.days[1] for read in reads))
        return frame.where(F.col(str(table.partition)).between(F.lit(first), F.lit(last)))


def _with_younger_columns(frame: DataFrame, table: Table) -> DataFrame:
    """A snapshot is read with the columns its writer knew; those the record was given since are null there."""
    return frame.select(
        "*",
        *(
            F.lit(None).cast(wanted.dataType).alias(wanted.name)
            for wanted in table_struct(table).fields
            if wanted.name not in frame.columns
        ),
    )


def newest(frame: DataFrame, table: Table) -> DataFrame:
    """The newest row of every entity of a landed, compacted topic; one key is always in one partition."""
    topic = next(topic for topic in LANDED if topic.name == table.name)
    last = Window.partitionBy(*topic.key.split("|")).orderBy(F.col("kafka_partition"), F.col("kafka_offset").desc())
    rows = frame.withColumn("matinee_place", F.row_number().over(last)).where("matinee_place = 1")
    return rows.drop("matinee_place", *(name for name, _ in META))


def _maker(table: Table, day: date) -> str:
    """How to make a partition."""
    maker = registry.job(table.producer)
    return f"job {maker.name!r} makes it: `matinee job {maker.name} --date {day - timedelta(days=maker.writes_day)}`"
