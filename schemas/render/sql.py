"""Aggregates of the metrics in SQL: the only place where a SUM over metrics is written.

The laws the engines force (measured): Flink's SUM of an int is an int and overflows, so the operand is cast to BIGINT;
DuckDB's SUM of a BIGINT is a HUGEINT, so its result is cast back; integers are never divided, AVG never used; a
division by zero is an error in Spark and infinity in Flink, so a denominator passes through NULLIF. Then the sums agree
between engines to the last integer and the ratios to the last bit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas import records, tables
from schemas.errors import SchemaError
from schemas.measures import HISTOGRAMS, Histogram
from schemas.measures import NAMES as MEASURE_NAMES
from schemas.metrics import ALL, DIMENSIONS, METRICS, ROLLUPS, Metric, Rollup
from schemas.tables import Table

MINUTE_KEYS: Mapping[str, str] = {"minute_at": "minute_at", "event_date": "start_date", "revision": "revision"}
"""Keys of `qoe_minute` beside the dimensions, with the span column each comes from."""
DAILY_KEYS: Mapping[str, str] = {"event_date": "start_date", "revision": "revision"}
_WORD = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the engines."""

    name: str
    quote: str
    text: str
    cast_sum: bool

    def column(self, name: str) -> str:
        """A quoted name."""
        return f"{self.quote}{name}{self.quote}"

    def literal(self, value: str) -> str:
        """A text constant of the type a text column has (Flink's would be CHAR(n), padded in a union)."""
        escaped = value.replace("'", "''")
        return f"CAST('{escaped}' AS {self.text})" if self.text == "STRING" else f"'{escaped}'"

    def total(self, expression: str) -> str:
        """The BIGINT sum of a row-level integer expression."""
        summed = f"SUM(CAST({expression} AS BIGINT))"
        return f"CAST({summed} AS BIGINT)" if self.cast_sum else summed

    def ratio(self, num: str, den: str) -> str:
        """A guarded DOUBLE division; null where the denominator is 0."""
        return f"CAST({num} AS DOUBLE) / NULLIF(CAST({den} AS DOUBLE), CAST(0 AS DOUBLE))"


SPARK = Dialect("spark", "`", "STRING", cast_sum=False)
FLINK = Dialect("flink", "`", "STRING", cast_sum=False)
DUCKDB = Dialect("duckdb", '"', "VARCHAR", cast_sum=True)
DIALECTS = (SPARK, FLINK, DUCKDB)


def row_expressions(metrics: Sequence[Metric] | None = None) -> list[tuple[str, str]]:
    """(sum column, row-level integer expression over measures) of every sum, in the tables' order.

    Without `metrics` those of a table of sums: `METRICS`, then the bins of the histograms, which sum themselves.
    """
    found = [
        (c, m.num if c.endswith("_num") else m.den or "")
        for m in (METRICS if metrics is None else metrics)
        for c in m.columns
    ]
    return found + [(c, c) for h in HISTOGRAMS for c in h.columns] if metrics is None else found


def measures(metrics: Sequence[Metric] | None = None) -> list[str]:
    """The measures the metrics read, each once, in the order of first use."""
    return list(dict.fromkeys(word for _, expression in row_expressions(metrics) for word in _WORD.findall(expression)))


def sums(dialect: Dialect = SPARK, prefix: str = "", metrics: Sequence[Metric] | None = None) -> list[str]:
    """Select list of the sums: ``SUM(CAST(stall_ms AS BIGINT)) AS `stall_time_num```, ...; `prefix` is put before each
    column (``s.``). Over spans, or the rows that `metrics` are over (`PLAY_METRICS`, `SESSION_METRICS`)."""
    return [
        f"{dialect.total(_WORD.sub(lambda m: prefix + dialect.column(m[0]), expression))} AS {dialect.column(name)}"
        for name, expression in row_expressions(metrics)
    ]


def sums_of_sums(dialect: Dialect = SPARK, metrics: Sequence[Metric] | None = None) -> list[str]:
    """Select list that adds up rows that are sums already (minutes to days, rollups to coarser ones)."""
    return [f"{dialect.total(dialect.column(n))} AS {dialect.column(n)}" for n, _ in row_expressions(metrics)]


def value(metric: Metric, dialect: Dialect = SPARK) -> str:
    """The metric itself over its sum columns, as a DOUBLE: a ratio, or a plain sum; over its scale."""
    num, *den = (dialect.column(name) for name in metric.columns)
    text = dialect.ratio(num, den[0]) if den else f"CAST({num} AS DOUBLE)"
    return text if metric.scale == 1 else f"{text} / CAST({metric.scale} AS DOUBLE)"


def values(dialect: Dialect = SPARK, metrics: Sequence[Metric] = METRICS) -> list[str]:
    """Select list of the metrics over a table of sums."""
    return [f"{value(metric, dialect)} AS {dialect.column(metric.name)}" for metric in metrics]


def quantile(histogram: Histogram, share: float, dialect: Dialect = SPARK) -> str:
    """A quantile in ms over a table of sums, as a DOUBLE: linear inside its bin, null without a count.

    The last bin has no end, so what falls there is its lower edge; `share` lies between 0 and 1.
    """
    if not 0.0 < share < 1.0:
        raise SchemaError(f"quantile {share} of {histogram.name}: it must lie between 0 and 1")
    counts = [f"CAST({dialect.column(name)} AS DOUBLE)" for name in histogram.columns]
    wanted = f"({_double(share)} * ({' + '.join(counts)}))"
    cases, low, before = [], 0, "CAST(0 AS DOUBLE)"
    for edge, count in zip(histogram.edges_ms, counts, strict=False):
        upto = f"({before} + {count})"
        inside = f"({wanted} - {before}) / NULLIF({count}, CAST(0 AS DOUBLE))"
        cases.append(f"WHEN {upto} >= {wanted} THEN CAST({low} AS DOUBLE) + CAST({edge - low} AS DOUBLE) * {inside}")
        low, before = edge, upto
    return (
        f"CASE WHEN {wanted} = CAST(0 AS DOUBLE) THEN CAST(NULL AS DOUBLE) {' '.join(cases)} "
        f"ELSE CAST({low} AS DOUBLE) END"
    )


def _double(number: float) -> str:
    """A DOUBLE constant: without an exponent it would be a decimal."""
    text = repr(float(number)).upper()
    return text if "E" in text else f"{text}E0"


def each_revision(table: Table, source: str, dialect: Dialect) -> str:
    """The query of a twofold table's rows as its record has them, from the rows at rest: one for each revision.

    A reader that asks for one revision reads no row twice: its condition empties the other half of the union.

    Args:
        source: the rows at rest, all columns of the table.
    """
    halves = []
    for revision in tables.REVISIONS:
        named = {f.name: dialect.column(f.name) for f in tables.columns(table)}
        named["revision"] = f"{dialect.literal(revision)} AS {named['revision']}"
        here = f"{dialect.column('revision')} IN ('{revision}', '{tables.BOTH}')"
        halves.append(f"SELECT {', '.join(named.values())} FROM {source} WHERE {here}")
    return " UNION ALL ".join(halves)


def rollup_sums(
    source: str,
    dialect: Dialect = SPARK,
    keys: Mapping[str, str] = MINUTE_KEYS,
    rollups: Sequence[Rollup] = ROLLUPS,
) -> str:
    """The query that makes `qoe_minute` (or, with `DAILY_KEYS`, `qoe_daily`) from spans, in one pass over them.

    Columns in the record's order: rollup, keys but revision, dimensions, revision, sums. For tables at rest: in a
    changelog GROUPING SETS would lose the key, and so wide a row its price; a stream has `stream_sums`.

    Args:
        source: spans (a table, view or parenthesised query with an alias): the dimensions, the measures and the columns
            the keys come from.
        dialect: whose SQL.
        keys: result column to span column.
        rollups: which sets of dimensions.
    """
    q = dialect.column
    leading = [name for name in keys if name != "revision"]
    trailing = [name for name in keys if name == "revision"]
    columns = [
        _rollup_name(dialect, rollups),
        *(f"{q(keys[name])} AS {q(name)}" for name in leading),
        *(_dimension(name, dialect, rollups) for name in DIMENSIONS),
        *(f"{q(keys[name])} AS {q(name)}" for name in trailing),
        *sums(dialect),
    ]
    sets = [f"({', '.join([*(q(origin) for origin in keys.values()), *(q(d) for d in r.by)])})" for r in rollups]
    body = ",\n  ".join(columns)
    return f"SELECT\n  {body}\nFROM {source}\nGROUP BY GROUPING SETS (\n  " + ",\n  ".join(sets) + "\n)"


def stream_sums(
    source: str,
    record: str = "qoe_minute",
    at: str = "minute_ms",
    rollups: Sequence[Rollup] | None = ROLLUPS,
    state_ttl: str | None = None,
) -> str:
    """Flink's query of the messages (`message_key`, `message_value`) of a topic of sums, from rows of deltas.

    Deltas are packed measures (one column of bytes), and so are their sums: a metric is sums and differences of
    measures, so it may as well be taken after adding up, once for each message instead of once for each delta and
    rollup. The group key is the message key, which is the primary key of the sink. The kernel's functions
    ``sum_keys``, ``sum_measures`` and ``encode_sums`` know no metric; what they need is rendered here.

    Args:
        source: a table or view: `at`, the dimensions, ``deltas``.
        record: whose messages; its fields are ``rollup``, a time, a date of it, dimensions, ``revision``, columns of
            `row_expressions` and measures.
        at: column of the time, in UTC milliseconds.
        rollups: which sets of dimensions; without, one key of all dimensions of the record and no ``rollup``.
        state_ttl: how long a sum is kept after its last change, if not as long as the job's other state.
    """
    q = FLINK.column
    fields = [field.name for field in records.load(record).fields]
    cut = [name for name in DIMENSIONS if name in fields]
    keys = [None] if rollups is None else rollups
    templates = ";".join(
        "|".join([
            *([] if rollup is None else [rollup.name]),
            "$0",
            *(f"${i + 1}" if rollup is None or name in rollup.by else ALL for i, name in enumerate(cut)),
        ])
        for rollup in keys
    )  # fmt: skip
    columns = [name for name in fields if name == "rollup" or name.endswith("_at") or name in cut]
    places = {name: f"${i}" for i, name in enumerate(columns)}
    [time] = [places[name] for name in columns if name.endswith("_at")]
    known = dict(row_expressions()) | {name: name for name in MEASURE_NAMES}
    known |= places | {"event_date": f"day {time}", "revision": "'live'"}
    parts = ";".join(known[name] for name in fields)
    hint = "" if state_ttl is None else f"/*+ STATE_TTL('d' = '{state_ttl}') */ "
    return (
        f"SELECT {q('message_key')}, encode_sums('{record}', '{parts.replace(chr(39), chr(39) * 2)}', "
        f"{q('message_key')}, {q('sums')}) AS {q('message_value')}\nFROM (\n"
        f"SELECT {hint}{q('message_key')}, sum_measures({q('deltas')}) AS {q('sums')}\n"
        f"FROM (SELECT {q('sum_key')} AS {q('message_key')}, {q('deltas')} FROM {source}, LATERAL TABLE("
        f"sum_keys('{templates}', {', '.join(q(name) for name in (at, *cut))})) AS k({q('sum_key')})) AS d\n"
        f"GROUP BY {q('message_key')}\n)"
    )


def peak(
    source: str,
    dialect: Dialect = SPARK,
    keys: Mapping[str, str] = MINUTE_KEYS,
    rollups: Sequence[Rollup] = ROLLUPS,
) -> str:
    """The query of the most sessions alive at once in each minute: a sweep over the ends of spans, in batch alone.

    A minute's mean is `concurrency`; a maximum is no sum, so it is asked of the spans, not kept. At one moment ends
    come before starts: a span that follows another does not count twice.
    Columns: rollup, keys but revision, dimensions, revision, ``peak``.

    Args:
        source: spans; the columns of the keys, the dimensions, ``start_at``, ``end_at`` and ``alive_ms``.
        dialect: whose SQL; one with GROUPING SETS, so not a stream's.
        keys: result column to span column.
        rollups: which sets of dimensions.
    """
    q = dialect.column
    kept = [f"{q(origin)} AS {q(name)}" for name, origin in keys.items()]
    rows = []
    for rollup in rollups:
        cut = [q(d) if d in rollup.by else f"{dialect.literal(ALL)} AS {q(d)}" for d in DIMENSIONS]
        for at, step in (("start_at", 1), ("end_at", -1)):
            columns = [f"{dialect.literal(rollup.name)} AS {q('rollup')}", *kept, *cut]
            rows.append(
                f"SELECT {', '.join(columns)}, {q(at)} AS at_moment, {step} AS step FROM {source}"
                f" WHERE {q('alive_ms')} > 0 AND {q('start_at')} < {q('end_at')}"
            )
    trailing = [name for name in keys if name == "revision"]
    group = [q(name) for name in ("rollup", *(k for k in keys if k not in trailing), *DIMENSIONS, *trailing)]
    union = "\nUNION ALL\n".join(rows)
    swept = (
        f"SELECT {', '.join(group)}, SUM(CAST(step AS BIGINT)) OVER (PARTITION BY {', '.join(group)}"
        f" ORDER BY at_moment, step ROWS UNBOUNDED PRECEDING) AS alive FROM (\n{union}\n) AS moved"
    )
    return (
        f"SELECT {', '.join(group)}, CAST(MAX(alive) AS BIGINT) AS {q('peak')} FROM (\n{swept}\n) AS swept\n"
        f"GROUP BY {', '.join(group)}"
    )


def _used(rollups: Sequence[Rollup]) -> list[str]:
    return [name for name in DIMENSIONS if any(name in rollup.by for rollup in rollups)]


def _dimension(name: str, dialect: Dialect, rollups: Sequence[Rollup]) -> str:
    q = dialect.column(name)
    if name not in _used(rollups):
        return f"{dialect.literal(ALL)} AS {q}"
    return f"CASE WHEN GROUPING({q}) = 1 THEN {dialect.literal(ALL)} ELSE {q} END AS {q}"


def _rollup_name(dialect: Dialect, rollups: Sequence[Rollup]) -> str:
    cases = []
    for rollup in rollups:
        bits = [f"GROUPING({dialect.column(d)}) = {int(d not in rollup.by)}" for d in _used(rollups)]
        cases.append(f"WHEN {' AND '.join(bits) or 'TRUE'} THEN {dialect.literal(rollup.name)}")
    return f"CASE {' '.join(cases)} END AS {dialect.column('rollup')}"
