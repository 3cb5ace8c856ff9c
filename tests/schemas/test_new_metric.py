"""A metric over existing columns is one entry: added here, it is in every engine, the dictionary and the report.

One over columns of spans, which is in the records of sums too, and one over columns of sessions. Each look is a process
of its own that adds the entries to `schemas.metrics` before anything reads them, as an edit would.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conf import jars
from conf.environments import python
from conf.settings import ROOT
from schemas import records
from schemas.measures import NAMES
from schemas.metrics import DIMENSIONS, ROLLUPS
from tests.kernel import packed
from tests.schemas.row_engines import flink_rows, in_flink

ADD = """
import schemas.metrics as m
formula = "pause_ms", "alive_ms - background_ms"
m.METRICS += (m.Metric("x_pauses", *formula, "1", m.NEITHER, "Paused share.", "here", "None."),)
formula = "late", "events + missing"
m.SESSION_METRICS += (m.Metric("x_late", *formula, "1", m.LOWER, "Late share.", "here", "None."),)
"""
SPANS = pd.DataFrame(
    [
        {"minute_ms": 0} | dict.fromkeys(DIMENSIONS, "x") | dict.fromkeys(NAMES, 0)
        | {"pause_ms": pause, "alive_ms": 90, "background_ms": 10}
        for pause in (30, 50)
    ]
)  # fmt: skip
"""Paused 80 of 160 ms."""
SESSIONS = pd.DataFrame(
    {"late": [1, 4], "events": [12, 6], "missing": [0, 2], "duplicates": [3, 3], "inferred": [True, False]}
)
"""Late were 5 of 20 events sent."""


def look(code: str, *arguments: str) -> str:
    """What `code` prints in a process whose registry has the new entry."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ADD + code, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


DUCKDB = """
import sys, duckdb, pandas as pd
from schemas.render import sql
spans = pd.read_csv(sys.argv[1])
sums = duckdb.sql(sql.rollup_sums("spans", sql.DUCKDB, {"minute_ms": "minute_ms"})).df()
print(duckdb.sql(f"SELECT {', '.join(sql.values(sql.DUCKDB))} FROM sums WHERE rollup = 'total'").df()["x_pauses"][0])
"""
DUCKDB_SESSIONS = """
import sys, duckdb
from datetime import date
from demo import gather
from schemas import tables
from schemas.metrics import SESSION_METRICS
from schemas.render import sql
home = duckdb.connect()
home.execute(
    "CREATE SCHEMA silver; CREATE TABLE silver.session AS "
    "SELECT *, DATE '2026-01-12' AS close_date, 'final' AS revision FROM read_csv($1)", [sys.argv[1]]
)
class Lake:
    def sql(self, text):
        return home.execute(text).df()
sums = gather.sums_of_the_day(Lake(), tables.SESSION, SESSION_METRICS, date(2026, 1, 12))
print(duckdb.sql(f"SELECT {', '.join(sql.values(sql.DUCKDB, SESSION_METRICS))} FROM sums").df()["x_late"][0])
"""
OF_SESSIONS = """
import json, sys
from schemas.metrics import SESSION_METRICS
from schemas.render import sql
dialect = getattr(sql, sys.argv[1])
sums = ", ".join(sql.sums(dialect, metrics=SESSION_METRICS))
values = ", ".join(sql.values(dialect, SESSION_METRICS))
print(json.dumps(f"SELECT {values} FROM (SELECT {sums} FROM {sys.argv[2]}) AS summed"))
"""
PAPER = """
import json
from types import SimpleNamespace
from schemas import qoe
from schemas.render import dictionary, sql
import pandas as pd
from demo import report
fields = {n: [f["name"] for f in json.loads(t)["fields"]] for n, t in qoe.files().items() if n.startswith("qoe_")}
minutes = pd.DataFrame({"rollup": ["total"], "x_pauses_num": [80], "x_pauses_den": [160]})
names = [name for name, _ in sql.row_expressions(report.SESSION_METRICS)]
sessions = pd.DataFrame([dict.fromkeys(names, 1) | {"x_late_num": 5, "x_late_den": 20}])
plays = pd.DataFrame({"percent_complete_num": [1], "percent_complete_den": [1]})
pages = report.every_metric(SimpleNamespace(qoe=minutes, plays=plays, sessions=sessions))
shown = {row[0]: row for _, rows in pages for row in rows}
text = {d.name: ", ".join(sql.sums(d, metrics=report.SESSION_METRICS)) for d in sql.DIALECTS}
print(json.dumps({
    "records": [n for n, names in fields.items() if "x_pauses_den" in names],
    "dictionary": [name for name in shown if f"### {name}\\n" in dictionary.glossary()],
    "spark": "`alive_ms` - `background_ms` AS BIGINT)) AS `x_pauses_den`" in sql.rollup_sums("spans", sql.SPARK),
    "report": [shown[name] for name in ("x_pauses", "x_late")],
    "every": list(shown),
    "sessions": [name for name, sums in text.items() if "x_late_den" in sums],
}))
"""


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the rows as files."""
    folder = tmp_path_factory.mktemp("rows")
    SPANS.to_csv(folder / "spans.csv", index=False)
    SESSIONS.to_csv(folder / "sessions.csv", index=False)
    return folder


def test_duckdb_has_its_value(csv: Path) -> None:
    assert float(look(DUCKDB, str(csv / "spans.csv"))) == 0.5
    assert float(look(DUCKDB_SESSIONS, str(csv / "sessions.csv"))) == 0.25


def test_records_dictionary_spark_text_and_report_have_it() -> None:
    found: dict[str, Any] = json.loads(look(PAPER))
    newest = {name: records.versions(name)[-1] for name in ("qoe_minute", "qoe_daily")}
    assert set(found["records"]) == {f"{name}.v{version + 1}.avsc" for name, version in newest.items()}
    assert found["spark"] and found["sessions"] == ["spark", "flink", "duckdb"]
    assert found["dictionary"] == found["every"]
    assert found["report"] == [
        ["x_pauses", "0.5", "", "Paused share."],
        ["x_late", "0.25", "", "Late share."],
    ]


@pytest.mark.spark
def test_spark_has_its_value(spark: Any) -> None:
    texts = json.loads(
        look(
            "import json\nfrom schemas.render import sql\nkeys = {'minute_ms': 'minute_ms'}\n"
            "print(json.dumps([sql.rollup_sums('new_span', sql.SPARK, keys), *sql.values(sql.SPARK)]))"
        )
    )
    spark.createDataFrame(SESSIONS).createOrReplaceTempView("new_session")
    assert spark.sql(json.loads(look(OF_SESSIONS, "SPARK", "new_session"))).first().x_late == 0.25
    spark.createDataFrame(SPANS).createOrReplaceTempView("new_span")
    spark.sql(texts[0]).createOrReplaceTempView("new_sums")
    [row] = spark.sql(f"SELECT {', '.join(texts[1:])} FROM new_sums WHERE rollup = 'total'").collect()
    assert row.x_pauses == 0.5


@pytest.mark.flink
def test_flink_has_the_value_of_sessions() -> None:
    query = json.loads(look(OF_SESSIONS, "FLINK", flink_rows(SESSIONS)))
    [values] = in_flink([query])
    assert values[-1] == 0.25


@pytest.mark.flink
def test_flink_has_its_sums(tmp_path: Path) -> None:
    """The whole way of an edit: the entry, `matinee schemas generate`, the build of the kernel; no Java changes."""
    tree = tmp_path / "tree"
    for folder in ("bench", "conf", "kernel", "models", "schemas", "streaming"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".venv", ".venv-streaming"):
        (tree / name).symlink_to(ROOT / name)
    (tree / "var").mkdir()
    (tree / "var" / "jars").symlink_to(jars.jars_dir())
    with (tree / "schemas" / "metrics.py").open("a") as file:
        file.write(ADD.split("\n", 2)[2].replace("m.", ""))  # as an edit: without the import
    jar = tree / "var" / "build" / "matinee-kernel.jar"
    packed.write_deltas(SPANS, tmp_path / "minutes")

    def run(code: str, *arguments: str, interpreter: str = sys.executable) -> str:
        environment = os.environ | {"PYTHONPATH": str(tree)}
        done = subprocess.run(
            [interpreter, "-c", code, *arguments], cwd=tree, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run("from schemas import generate\nassert any('qoe_minute' in path for path in generate.write())")
    run("import sys\nfrom schemas.cli import schemas\nsys.argv[1:] = ['check']\nschemas()")
    run("from kernel import build\nimport sys, pathlib\nbuild.build(pathlib.Path(sys.argv[1]))", str(jar))
    code = "import sys\nfrom bench import flink_exact\nflink_exact.sums(*sys.argv[1:])"
    run(code, str(jar), str(tmp_path), interpreter=str(python("streaming")))
    values = [value.hex() for value in packed.read_messages(tmp_path / "sums").values()]
    assert len(values) == len(ROLLUPS)
    found = run(
        "import sys\nfrom schemas import wire\n"
        "f = wire.decode_many([bytes.fromhex(v) for v in sys.argv[1:]], 'qoe_minute')\n"
        "print(set(zip(f.x_pauses_num.tolist(), f.x_pauses_den.tolist())))",
        *values,
    )
    assert found.strip() == "{(80, 160)}"
