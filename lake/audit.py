"""The audit: the rules of a table's record, counted in a pass over the branch, judged by Great Expectations.

Users measured row-by-row validation doubling a job's time; so the rules are counted in one aggregate query, which also
makes the content hash, and Great Expectations judges the one row that comes back. Spark first counts the rows that
break any rule: a counter for each is asked for only if there are such rows (it is several times as much to compile).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from lake import hashing
from schemas import tables
from schemas.records import Scalar
from schemas.render import expectations
from schemas.render.sql import DUCKDB, SPARK, Dialect
from schemas.tables import Table

OUTSIDE, UNSOUND = "matinee_outside_partition", "matinee_unsound"


@dataclass(frozen=True)
class Verdict:
    """What the audit found; `broken` lists the rules that failed, with the figure found."""

    table: str
    rows: int
    content_hash: str
    suite_hash: str
    broken: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """No rule is broken."""
        return not self.broken

    def as_json(self) -> str:
        """For ``ops.publication`` and the snapshot's properties."""
        return json.dumps(
            {"rows": self.rows, "suite_hash": self.suite_hash, "passed": self.passed, "broken": self.broken}
        )


def judge_frame(frame: Any, table: Table, partition: str | None) -> Verdict:
    """Audit a Spark frame of rows just written to a branch.

    Args:
        frame: the rows of the run, all columns of the table.
        table: whose rules hold.
        partition: value of the partition column that every row must have, ``YYYY-MM-DD``; None where a run
            writes several.
    """
    counters = _counters(table, partition, SPARK)
    # The key by itself: beside COUNT(DISTINCT) Spark would group, sort and shuffle all other counters by key.
    key = {expectations.KEY: counters[expectations.KEY]}
    others = {name: text for name, text in counters.items() if name not in key}
    whole = " AND ".join([expectations.sound(table, SPARK), *_inside(table, partition, SPARK)])
    unsound = f"{_breaking(whole)} AS {UNSOUND}"
    row = frame.selectExpr(*hashing.expressions(table, SPARK), unsound).first().asDict()
    if row[UNSOUND]:
        row |= frame.selectExpr(*_named(others, SPARK)).first().asDict()
    else:
        row |= dict.fromkeys(others, 0)
    if _differ(frame, table):
        return _verdict(table, counters, row | {expectations.KEY: 0})
    return _verdict(table, counters, row | frame.selectExpr(*_named(key, SPARK)).first().asDict())


def _differ(frame: Any, table: Table) -> bool:
    """Whether surely no two rows have one key.

    Rows are gathered by a hash of their key without the six low bits of its last number (a span's, an offset), each of
    which sets one of 64 bits: rows of a place that differ set as many bits as they are. Neighbours lie together in the
    files, so that little is left to shuffle; keys of which none is a number are each a place of their own.
    """
    whole = expectations.whole_key(table)
    kinds = {field.name: field.type for field in tables.columns(table)}
    number = next((name for name in reversed(whole) if kinds[name] in (Scalar.INT, Scalar.LONG)), None)
    columns = {name: SPARK.column(name) for name in whole}
    bit = "0" if number is None else f"CAST({columns[number]} & 63 AS INT)"
    place = columns if number is None else columns | {number: f"shiftright({columns[number]}, 6)"}
    gathered = (
        frame.selectExpr(f"xxhash64({', '.join(place.values())}) AS place", f"shiftleft(1L, {bit}) AS bit")
        .groupBy("place")
        .agg({"*": "count", "bit": "bit_or"})
    )
    unlike = gathered.selectExpr("count_if(NOT (bit_count(`bit_or(bit)`) <=> `count(1)`)) AS places").first()
    return bool(unlike.places == 0)


def judge_rows(rows: Any, table: Table, partition: str | None, *, at_a_prompt: bool = False) -> Verdict:
    """The same of an Arrow table, by DuckDB: for partitions of at most `hashing.SMALL` rows.

    `at_a_prompt`: the counters are read without Great Expectations, whose import takes seconds that a person waits.
    """
    import duckdb

    counters = _counters(table, partition, DUCKDB)
    selected = ", ".join([*hashing.expressions(table, DUCKDB), *_named(counters, DUCKDB)])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows", rows)
        found = connection.execute(f"SELECT {selected} FROM rows").fetch_arrow_table().to_pylist()[0]
    return _verdict(table, counters, found, _counted if at_a_prompt else _broken)


def _counters(table: Table, partition: str | None, dialect: Dialect) -> dict[str, str]:
    counters = dict(expectations.aggregates(table, dialect))
    for inside in _inside(table, partition, dialect):
        counters[OUTSIDE] = _breaking(inside)
    return counters


def _inside(table: Table, partition: str | None, dialect: Dialect) -> list[str]:
    """The predicate of a row of the partition, if the run writes one."""
    if partition is None or table.partition is None:
        return []
    return [f"{dialect.column(table.partition)} = DATE '{partition}'"]


def _breaking(predicate: str) -> str:
    return f"COUNT(CASE WHEN {predicate} THEN NULL ELSE 1 END)"


def _named(counters: dict[str, str], dialect: Dialect) -> list[str]:
    return [f"{expression} AS {dialect.column(name)}" for name, expression in counters.items()]


def _verdict(
    table: Table,
    counters: dict[str, str],
    row: dict[str, Any],
    judge: Callable[[dict[str, int]], list[str]] | None = None,
) -> Verdict:
    rules = expectations.aggregates(table)
    return Verdict(
        table=table.fqn,
        rows=int(row[hashing.COUNT]),
        content_hash=hashing.digest(table, row),
        suite_hash=hashlib.sha256(json.dumps(rules).encode()).hexdigest()[:16],
        broken=tuple((judge or _broken)({name: int(row[name]) for name in counters})),
    )


def _counted(found: dict[str, int]) -> list[str]:
    """What `_broken` says, from the counters alone."""
    return [f"{rule}: {count} rows" for rule, count in found.items() if count]


def _broken(found: dict[str, int]) -> list[str]:
    """The rules with a counter above 0, as ``rule: count rows``.

    The row is turned on its side, a line for each rule, and judged by one expectation: Great Expectations' cost grows
    with the square of the number of expectations (1 s for 49), and the answer is the same.
    """
    import pandas as pd

    frame = pd.DataFrame({"rule": list(found), "broken": list(found.values())})
    batch, suite = _judge()
    result = batch.get_batch({"dataframe": frame}).validate(
        suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["rule"]}
    )
    if result.success:
        return []
    unexpected = result.results[0].result["unexpected_index_list"]
    return [f"{item['rule']}: {item['broken']} rows" for item in unexpected]


@cache
def _judge() -> tuple[Any, Any]:
    """One ephemeral context a process, its batch definition and its suite; nothing is written or sent anywhere."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    # jsonschema builds a grammar for one URI format if this module is there: a second of CPU, and nothing here uses it.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import great_expectations
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.expectations import ExpectColumnValuesToBeBetween

    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("audit").add_dataframe_asset("counters")
    none_broken = ExpectColumnValuesToBeBetween(column="broken", min_value=0, max_value=0)
    suite = ExpectationSuite(name="no rule is broken", expectations=[none_broken])
    return asset.add_batch_definition_whole_dataframe("rules"), suite


def warm_up() -> None:
    """Import Great Expectations ahead of need: it takes seconds, so a session start can hide it."""
    _judge()
