"""One law in four engines: ``.venv/bin/python -m bench.qoe_exact`` holds them together on a hostile stream.

A million events with 5 % duplicates, 5 % out of order up to 10 minutes, 2 % lost, clocks up to 22 hours wrong, 3 % of
the sessions without an end, half of them around midnight. Four ways to the same integers:

- Python: `models.playback.spans` folds, pandas adds up;
- Spark: the kernel's batch fold, the rendered Spark SQL;
- Flink: the kernel's live fold in order of arrival, with watermark and timers, the rendered Flink SQL;
- DuckDB: the rendered DuckDB SQL over spans (a query engine has no session to fold).

Compared are spans, sessions, and every sum of every rollup and minute: revision final of all but Flink, which knows
revision live alone (the batch's other revision); of Flink the last row of each key. A difference ends with exit 4.
"""

from __future__ import annotations

import base64
import csv
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from conf import kernel
from conf.environments import python
from conf.errors import AuditFailed
from conf.settings import ROOT, load
from models.playback.spans import REVISIONS, SESSION_COLUMNS, SPAN_COLUMNS, Policy, fold
from schemas import records, wire
from schemas.measures import NAMES
from schemas.metrics import DIMENSIONS
from schemas.render import frames, sql
from schemas.tables import SESSION, SPAN
from tests.kernel import hostile, jvm

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Row = dict[str, Any]
Keyed = dict[tuple[Any, ...], tuple[Any, ...]]
DUPLICATES, DISORDER, DISORDER_MS, LOST, ENDLESS = 0.05, 0.05, 600_000, 0.02, 0.03
LIVE_SESSION = tuple(f.name for f in records.load("qoe_session").fields if f.name in SESSION_COLUMNS)
SUM_KEY = ("rollup", "minute_ms", *DIMENSIONS)
SUMS = tuple(name for name, _ in sql.row_expressions())
DIFFERENT = 4


def hostile_events(count: int, seed: int) -> list[Row]:
    """About `count` events of random sessions as they lie in the topic."""
    rng = random.Random(seed)
    made, sessions = 0, []
    while made < count:
        rows = hostile.session(rng, f"s{len(sessions)}")
        if rng.random() >= ENDLESS:
            rows[-1] = rows[-1] | {"state": rng.choice("efq")}
        sessions.append(list(_sent(rng, rows)))
        made += len(sessions[-1])
    return hostile.topic(rng, sessions, 1_000)


def _sent(rng: random.Random, rows: Sequence[Row]) -> Iterator[Row]:
    for row in rows:
        chance = rng.random()
        if chance < LOST and len(rows) > 1:
            continue
        delay = rng.randint(1, DISORDER_MS) if chance < LOST + DISORDER else 0
        yield row | {"received_at": row["received_at"] + delay}
        if rng.random() < DUPLICATES:
            yield row | {"received_at": row["received_at"] + delay + rng.randint(0, 60_000)}


class Reference:
    """Spans and sessions by the readable fold, and the sums by pandas."""

    def __init__(self, events: Iterable[Row], policy: Policy) -> None:
        by_session: dict[str, list[Row]] = defaultdict(list)
        for row in events:
            by_session[row["session_id"]].append(row)
        spans: list[Row] = []
        self.sessions: Keyed = {}
        self.live: Keyed = {}
        for rows in by_session.values():
            for revision in REVISIONS:
                folded = fold(rows, policy, revision)
                spans += folded.spans
                for session in folded.sessions:
                    key = (session["session_id"], session["segment"], revision)
                    self.sessions[key] = tuple(session[name] for name in SESSION_COLUMNS)
                    if revision == "live":
                        self.live[key[:2]] = tuple(session[name] for name in LIVE_SESSION)
        self.frame = pd.DataFrame(spans, columns=list(SPAN_COLUMNS))
        self.spans: Keyed = _keyed(self.frame, ("session_id", "segment", "revision", "span"), SPAN_COLUMNS)
        self.sums = {
            revision: _sums(frames.rollup_sums(self.frame[self.frame["revision"] == revision]))
            for revision in REVISIONS
        }


def _keyed(frame: pd.DataFrame, key: Sequence[str], columns: Sequence[str]) -> Keyed:
    plain = frame[list(columns)].astype(object).where(frame[list(columns)].notna(), None)
    places = [list(columns).index(name) for name in key]
    return {tuple(row[i] for i in places): row for row in plain.itertuples(index=False, name=None)}


def _sums(frame: pd.DataFrame) -> Keyed:
    """Rows of a table of sums by key; rows of zeros are no rows. The minute may be a time or milliseconds."""
    frame = frame.rename(columns={"minute_at": "minute_ms"})
    if not pd.api.types.is_integer_dtype(frame["minute_ms"]):
        frame["minute_ms"] = pd.to_datetime(frame["minute_ms"], utc=True).astype("datetime64[ms, UTC]").astype("int64")
    found = _keyed(frame[frame[list(SUMS)].ne(0).any(axis=1)], SUM_KEY, (*SUM_KEY, *SUMS))
    return {key: tuple(map(int, row[len(SUM_KEY) :])) for key, row in found.items()}


def spark_side(
    session: SparkSession, messages: Sequence[jvm.Message], folder: Path
) -> tuple[Keyed, Keyed, dict[str, Keyed]]:
    """Spans, sessions and sums (by revision) as Spark finds them; the kernel is registered in `session`."""
    table = pa.table(
        {
            "kafka_partition": pa.array([m.partition for m in messages], pa.int32()),
            "kafka_offset": pa.array([m.offset for m in messages], pa.int64()),
            "k": [m.key for m in messages],
            "v": [m.value for m in messages],
        }
    )
    pq.write_table(table, folder / "messages.parquet")
    session.read.parquet(str(folder / "messages.parquet")).createOrReplaceTempView("message")
    session.sql("""
        WITH decoded AS (SELECT kafka_partition, kafka_offset, kernel.decode_playback_event(v, k) AS e FROM message)
        SELECT kernel.fold_session(
            collect_list(kernel.pack_event(struct(e.*, kafka_partition, kafka_offset))), 0L, 1L << 62, 0L) AS f
        FROM decoded WHERE e.error_class IS NULL GROUP BY e.session_id""").write.mode("overwrite").parquet(
        str(folder / "folded")
    )
    folded = session.read.parquet(str(folder / "folded"))
    folded.createOrReplaceTempView("folded")
    for table, function in ((SPAN, "spans_of"), (SESSION, "sessions_of")):
        at_rest = f"(SELECT s.* FROM (SELECT explode(kernel.{function}(f)) AS s FROM folded))"
        rows = session.sql(sql.each_revision(table, at_rest, sql.SPARK))
        rows.createOrReplaceTempView(f"exact_{table.name}")

    def rows_of(query: str, name: str) -> pd.DataFrame:
        """By way of files: a million events' spans are more than the driver can hold."""
        session.sql(query).write.mode("overwrite").parquet(str(folder / name))
        return pq.read_table(folder / name).to_pandas()

    sums = rows_of(sql.rollup_sums("exact_span", sql.SPARK), "sums_spark")
    spans = rows_of(f"SELECT {_plain(SPAN_COLUMNS)} FROM exact_span", "spans_spark")
    sessions = rows_of(f"SELECT {_plain(SESSION_COLUMNS)} FROM exact_session", "sessions_spark")
    return (
        _keyed(spans, ("session_id", "segment", "revision", "span"), SPAN_COLUMNS),
        _keyed(sessions, ("session_id", "segment", "revision"), SESSION_COLUMNS),
        {revision: _sums(sums[sums["revision"] == revision]) for revision in REVISIONS},
    )


def _plain(columns: Sequence[str]) -> str:
    """Times as UTC milliseconds, dates as days since 1970, as the reference has them."""
    return ", ".join(
        f"unix_millis({n}) AS {n}" if n.endswith("_at") else f"unix_date({n}) AS {n}" if n.endswith("_date") else n
        for n in columns
    )


def flink_side(messages: Sequence[jvm.Message], policy: Policy, folder: Path) -> tuple[Keyed, Keyed]:
    """Last row of every session and of every sum, revision live, as Flink finds them."""
    with (folder / "in.csv").open("w", newline="") as file:
        for m in messages:
            words = (m.key, m.value)
            line = ["~" if w is None else base64.b64encode(w).decode() for w in words]
            file.write(",".join([*line, str(m.partition), str(m.offset), str(m.arrival)]) + "\n")
    parameters = ",".join(f"matinee.fold.{pair}" for pair in jvm.policy_text(policy).split(","))
    command = [str(python("streaming")), "-m", "bench.flink_exact", str(kernel.jar()), str(folder / "in.csv")]
    done = subprocess.run(
        [*command, str(folder), parameters],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    if done.returncode:
        raise AuditFailed(f"Flink failed: {done.stderr[-3000:]}")
    last: dict[str, str] = {}
    for path in _parts(folder / "sessions"):
        with path.open(newline="") as file:
            last.update((key, value) for key, value in csv.reader(file))
    held = [base64.b64decode(value) for value in last.values() if value != "~"]
    rows = [wire.decode_one(value)[2] for value in held]
    live = {(row["session_id"], row["segment"]): tuple(_ms(row[name]) for name in LIVE_SESSION) for row in rows}
    messages = [line.split(",") for path in _parts(folder / "sums") for line in path.read_text().splitlines()]
    return live, _sums(wire.decode_many([base64.b64decode(value) for _, value in messages], "qoe_minute"))


def _ms(value: Any) -> Any:
    return round(value.timestamp() * 1000) if hasattr(value, "timestamp") else value


def _parts(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size and p.name[0] not in "._")


def duckdb_side(frame: pd.DataFrame) -> dict[str, Keyed]:
    """Sums by revision as DuckDB finds them."""
    at = pd.to_datetime(frame["minute_at"], unit="ms", utc=True)
    day = pd.to_datetime(frame["start_date"], unit="D").dt.date
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    connection.register("exact_span", frame.assign(minute_at=at, start_date=day))
    found = connection.execute(sql.rollup_sums("exact_span", sql.DUCKDB)).df()
    return {revision: _sums(found[found["revision"] == revision]) for revision in REVISIONS}


def compare(name: str, expected: Keyed, found: Keyed) -> tuple[str, int]:
    """A line for the reader, and how many rows stand on one side only or cells differ."""
    alone = len(expected.keys() ^ found.keys())
    cells = sum(len(row) for row in expected.values())
    differing = sum(
        a != b for key in expected.keys() & found.keys() for a, b in zip(expected[key], found[key], strict=True)
    )
    line = f"{name:<34} {len(expected):>10,} rows {cells:>13,} cells {alone:>6,} in one only {differing:>6,} differing"
    return line, alone + differing


def run(
    count: int, seed: int, folder: Path, session: Callable[[], SparkSession], say: Callable[[str], None], policy: Policy
) -> int:
    """Compare all engines on about `count` events; returns the number of differences."""
    began = time.monotonic()

    def tick(what: str) -> None:
        say(f"[{time.monotonic() - began:5.0f} s] {what}")

    events = hostile_events(count, seed)
    messages = jvm.encode(events)
    tick(f"{len(events):,} events of {len({e['session_id'] for e in events}):,} sessions")
    reference = Reference(events, policy)
    late = sum(
        session[SESSION_COLUMNS.index("late")] for key, session in reference.sessions.items() if key[2] == "live"
    )
    tick(f"Python: {len(reference.spans):,} spans, {len(reference.sessions):,} session rows, {late:,} late events")
    contests = [(f"sums, DuckDB, {r}", reference.sums[r], sums) for r, sums in duckdb_side(reference.frame).items()]
    tick("DuckDB")
    live, sums = flink_side(messages, policy, folder)
    contests += [("sessions, Flink, live", reference.live, live), ("sums, Flink, live", reference.sums["live"], sums)]
    tick("Flink")
    spans, sessions, by_revision = spark_side(session(), messages, folder)
    contests += [("spans, Spark", reference.spans, spans), ("sessions, Spark", reference.sessions, sessions)]
    contests += [(f"sums, Spark, {r}", reference.sums[r], sums) for r, sums in by_revision.items()]
    tick("Spark")
    wrong = 0
    for name, expected, found in contests:
        line, bad = compare(name, expected, found)
        wrong += bad
        say(line)
    say(f"{len(NAMES)} measures, {len(SUMS)} sums: {wrong:,} differences")
    return wrong


def _own_session() -> SparkSession:
    from jobs.session import register_kernel, start

    settings = load()
    session = start(settings, "matinee-exact")
    register_kernel(session, settings)
    return session


@click.command()
@click.option("--events", default=1_000_000, show_default=True, help="How many, about.")
@click.option("--seed", default=1, show_default=True)
def main(events: int, seed: int) -> None:
    """Print what was compared and how many integers differ; exit 4 if any does."""
    with tempfile.TemporaryDirectory() as name:
        if run(events, seed, Path(name), _own_session, click.echo, Policy.of(load().fold)):
            sys.exit(DIFFERENT)


if __name__ == "__main__":
    main()
