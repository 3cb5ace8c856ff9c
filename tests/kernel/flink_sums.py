"""Child of test_sums.py, run by the streaming environment: `sum_measures` alone, then in jobs; answers as JSON lines.

python flink_sums.py JAR INPUT, where INPUT is a CSV file of key and deltas
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings, TableEnvironment
from pyflink.util.java_utils import add_jars_to_context_class_loader

from schemas.measures import NAMES
from tests.kernel import packed

ODD_SUMS = packed.pack([2 * (n == "attempts") - (n == "plays") for n in NAMES]).hex()
"""2 attempts and -1 play."""
PACKAGE = "io.matinee.kernel.flink."
FORMS = {
    "two phases, RocksDB": ("rocksdb", "TWO_PHASE"),
    "one phase, heap": ("hashmap", "ONE_PHASE"),
}


def made(name: str) -> Any:
    loader = get_gateway().jvm.Thread.currentThread().getContextClassLoader()
    return loader.loadClass(PACKAGE + name).newInstance()


def alone(parts: list[bytes]) -> dict[str, Any]:
    """Half of the parts in one sum, half in another; that one through the serializer, then merged; and what is left."""
    jvm = get_gateway().jvm
    add, serializer, memory = made("SumMeasures"), made("SumsSerializer"), jvm.org.apache.flink.core.memory
    sums, other = add.createAccumulator(), add.createAccumulator()
    empty = add.getValue(add.createAccumulator())
    for number, part in enumerate(parts):
        add.accumulate(sums if number % 2 else other, part)
    kept = serializer.copy(other)
    stored = memory.DataOutputSerializer(64)
    serializer.serialize(other, stored)
    again = memory.DataOutputSerializer(64)
    serializer.copy(memory.DataInputDeserializer(stored.getCopyOfBuffer()), again)
    restored = serializer.deserialize(memory.DataInputDeserializer(again.getCopyOfBuffer()))
    merged = jvm.java.util.ArrayList()
    merged.add(restored)
    add.merge(sums, merged)
    add.accumulate(restored, parts[0])  # what was merged before must not change with it
    return {
        "empty": empty.hex(),
        "sums": add.getValue(sums).hex(),
        "copy": add.getValue(kept).hex(),
        "restored and one more": add.getValue(restored).hex(),
        "refused": _refused(serializer),
    }


def _refused(serializer: Any) -> list[bool]:
    """Whether Flink refuses state written for measures of another list, and for these."""
    jvm = get_gateway().jvm
    memory = jvm.org.apache.flink.core.memory
    mine, other, same = (serializer.snapshotConfiguration() for _ in range(3))
    text = memory.DataOutputSerializer(64)
    text.writeUTF("[ALIVE_MS]")
    other.readSnapshot(1, memory.DataInputDeserializer(text.getCopyOfBuffer()), None)
    text.clear()
    same.writeSnapshot(text)
    same.readSnapshot(1, memory.DataInputDeserializer(text.getCopyOfBuffer()), None)
    return [bool(mine.resolveSchemaCompatibility(old).isIncompatible()) for old in (other, same)]


def job(jar: str, source: str, backend: str, phases: str) -> list[tuple[str, str, str]]:
    """The changelog of the sums: kind of row, key, sums."""
    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for key, value in {
        "pipeline.jars": f"file://{jar}",
        "pipeline.object-reuse": "true",
        "parallelism.default": "2",
        "state.backend.type": backend,
        "table.exec.mini-batch.enabled": "true",
        "table.exec.mini-batch.allow-latency": "100 ms",
        "table.exec.mini-batch.size": "50",
        "table.optimizer.agg-phase-strategy": phases,
    }.items():
        env.get_config().set(key, value)
    env.execute_sql(f"CREATE TEMPORARY SYSTEM FUNCTION sum_measures AS '{PACKAGE}SumMeasures' LANGUAGE JAVA")
    env.execute_sql(
        "CREATE TABLE delta (k STRING, deltas BYTES)"
        f" WITH ('connector' = 'filesystem', 'path' = 'file://{source}', 'format' = 'csv')"
    )
    query = "SELECT k, sum_measures(deltas) AS sums FROM delta GROUP BY k"
    wanted = "LocalGroupAggregate" if phases == "TWO_PHASE" else "GroupAggregate"
    assert wanted in env.explain_sql(query), "the planner did not take the phases"
    with env.execute_sql(query).collect() as rows:
        return [(str(row.get_row_kind()), row[0], bytes(row[1]).hex()) for row in rows]


def keys_and_rows(jar: str) -> list[list[str]]:
    """Message keys of odd dimensions, and messages made from them."""
    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    env.get_config().set("pipeline.jars", f"file://{jar}")
    for name, java in {"sum_keys": "SumKeys", "encode_sums": "EncodeSums"}.items():
        env.execute_sql(f"CREATE TEMPORARY SYSTEM FUNCTION {name} AS '{PACKAGE}{java}' LANGUAGE JAVA")
    fields = "$0;$1;$2;$3;$4;$5;attempts;plays - attempts;attempts + plays;stalls;stalls;stalls;stalls;stalls;stalls"
    query = f"""
        SELECT message_key, encode_sums('qoe_step', '{fields}', message_key, X'{ODD_SUMS}')
        FROM (VALUES ('a|b', 'c'), ('a', 'b|c'), ('', 'ä\\'), ('*', '|')) AS v(cdn, isp),
            LATERAL TABLE(sum_keys('$0|$1|$2|d|e|f;$0|$2|*|*|*|*', CAST(-60000 AS BIGINT), cdn, isp))"""
    with env.execute_sql(query).collect() as rows:
        return [[bytes(row[0]).hex(), bytes(row[1]).hex()] for row in rows]


def main(jar: str, source: str) -> None:
    add_jars_to_context_class_loader([f"file://{jar}"])
    parts = [base64.b64decode(line.split(",")[1]) for line in Path(source).read_text().splitlines()]
    print(json.dumps({"alone": alone(parts), "keys": keys_and_rows(jar)}))
    for name, (backend, phases) in FORMS.items():
        print(json.dumps({name: job(jar, source, backend, phases)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
