"""The notebook's door: rows in every form, time travel, SQL, clear refusals; no JVM, no network, any time zone."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

import lake
from conf.errors import ConfigError, InputMissing, UsageError
from conf.settings import ROOT, Settings
from lake.cli import sql
from schemas import tables as t
from tests.fixtures.spark import lake_variables
from tests.jobs.frames import rows
from tests.lake import facts

DAY = date(2026, 11, 1)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = facts.settings_of(tmp_path_factory.mktemp("reader"))
    plays = [
        {"session_id": f"s{n}", "play_date": DAY + timedelta(days=n % 3), "watched_ms": 1000 * n,
         "event_at": datetime(2026, 11, 1, 2, tzinfo=UTC) + timedelta(days=n % 3)}
        for n in range(30)
    ]  # fmt: skip
    facts.given(made, t.PLAY, *plays)
    facts.given(made, t.PLAY, {"session_id": "later", "play_date": DAY, "watched_ms": 7})
    facts.given(
        made,
        t.HOME_PAGE,
        {"profile_id": "p", "rows": [{"row_kind": "k", "heading": "h", "reason": "r", "title_ids": ["a", "b"]}]},
    )
    facts.bootstrap(made)
    return made


def test_a_day_in_every_form(settings: Settings) -> None:
    home = lake.connect(settings)
    assert home.days(t.PLAY) == [DAY, DAY + timedelta(days=1), DAY + timedelta(days=2)]
    as_pandas = home.read("silver.play", day="2026-11-02", columns=["session_id", "watched_ms"])
    assert as_pandas.watched_ms.sum() == sum(1000 * n for n in range(30) if n % 3 == 1)
    for form in ("arrow", "polars", "duckdb"):
        found = home.read(t.PLAY, day="2026-11-02", to=form)  # type: ignore[arg-type]
        assert (found.shape[0] if form != "arrow" else found.num_rows) == 10
    assert len(home.read(t.PLAY, days=("2026-11-02", "2026-11-03"))) == 20
    times = home.read(t.PLAY, day=DAY, to="arrow").schema.field("event_at").type
    assert str(times) == "timestamp[ms, tz=UTC]"
    assert home.read(t.HOME_PAGE).loc[0, "rows"][0]["title_ids"].tolist() == ["a", "b"]


def test_a_row_that_is_both_revisions_is_read_in_each(tmp_path: Path) -> None:
    made = facts.settings_of(tmp_path)
    lie = (("s", 0, "both"), ("s", 1, "both"), ("late", 0, "live"), ("late", 0, "final"), ("late", 1, "final"))
    given = [{"session_id": sid, "span": n, "revision": r, "start_date": DAY, "play_ms": 7} for sid, n, r in lie]
    facts.given(made, t.SPAN, *given)
    home = lake.connect(made)
    seen = home.read(t.SPAN, day=DAY, columns=["session_id", "span", "revision", "play_ms"])
    live = {("s", 0, "live"), ("s", 1, "live"), ("late", 0, "live")}
    final = {(sid, n, "final") for sid, n, _ in lie}
    assert sorted(map(tuple, seen.to_numpy().tolist())) == sorted((*row, 7) for row in live | final)
    assert list(home.read(t.SPAN).columns) == [f.name for f in t.columns(t.SPAN)]
    counted = home.sql("SELECT revision, count(*) AS n FROM silver.span WHERE revision <> 'live' GROUP BY 1")
    assert counted.to_numpy().tolist() == [["final", 4]]
    assert home.days(t.SPAN) == [DAY]


def test_time_travel(settings: Settings) -> None:
    home = lake.connect(settings)
    first, second = home.snapshots(t.PLAY)
    assert len(home.read(t.PLAY)) == 31
    assert len(home.read(t.PLAY, as_of=first.snapshot_id)) == 30
    assert len(home.read(t.PLAY, as_of=second.committed_at)) == 31
    assert home.read(t.PLAY, as_of=first.committed_at - timedelta(seconds=1)).empty
    with pytest.raises(UsageError, match="time zone"):
        home.read(t.PLAY, as_of=datetime(2026, 1, 1))
    with pytest.raises(UsageError, match="has no snapshot 5"):
        home.read(t.PLAY, as_of=5)


def test_a_column_that_came_later_is_null_before(tmp_path: Path) -> None:
    """A newer record's column is added before anything is written with it: the rows there are stay readable."""
    made = facts.settings_of(tmp_path)
    loaded = facts.bootstrap(made).load_table("silver.play")
    with loaded.update_schema() as update:
        update.delete_column("watched_ms").delete_column("device")
    frame = rows(t.PLAY, {"session_id": "s", "play_date": DAY})
    loaded.append(pa.Table.from_pandas(frame, schema=loaded.schema().as_arrow(), preserve_index=False))
    home = lake.connect(made)
    assert "device" not in home.read(t.PLAY)
    facts.bootstrap(made)
    found = home.read(t.PLAY, columns=["session_id", "watched_ms", "device"])
    assert found.session_id.tolist() == ["s"] and found[["watched_ms", "device"]].isna().all(axis=None)
    assert home.sql("SELECT count(*) AS n FROM silver.play WHERE device IS NULL")["n"].tolist() == [1]


def test_a_table_that_lacks_nothing_is_not_written(tmp_path: Path) -> None:
    made = facts.settings_of(tmp_path)
    first = facts.bootstrap(made).load_table("silver.play")
    assert facts.bootstrap(made).load_table("silver.play").metadata_location == first.metadata_location
    with first.transaction() as change:
        change.remove_properties("read.split.target-size").set_properties({"write.parquet.compression-codec": "snappy"})
    found = facts.bootstrap(made).load_table("silver.play").properties
    assert found["read.split.target-size"] == str(32 << 20) and found["write.parquet.compression-codec"] == "snappy"


def test_sql_joins_tables_and_knows_empty_ones(settings: Settings) -> None:
    home = lake.connect(settings)
    found = home.sql(
        "SELECT play_date, sum(watched_ms) AS ms FROM silver.play p ANTI JOIN silver.session s USING (session_id) "
        "GROUP BY 1 ORDER BY 1"
    )
    assert found.ms.tolist()[0] == 7 + sum(1000 * n for n in range(30) if n % 3 == 0)
    with pytest.raises(UsageError, match="silver.play"):
        home.sql("SELECT * FROM silver.plays")


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "none"), (";", "none"), ("SELECT 1; SELECT 2", "SELECT, SELECT"), ("CREATE TABLE x(a INT)", "CREATE")],
)
def test_sql_is_one_query_and_nothing_else(settings: Settings, text: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"one query is expected, found is {found}"):
        lake.connect(settings).sql(text)
    file = tmp_path / "written.csv"
    with pytest.raises(UsageError, match="found is COPY"):
        lake.connect(settings).sql(f"COPY (SELECT 1) TO '{file}'")
    assert not file.exists()


@pytest.mark.parametrize("text", ["SHOW TABLES", "show all tables;"])
def test_the_tables_that_are_there(settings: Settings, text: str) -> None:
    found = lake.connect(settings).sql(text).set_index("name")
    assert found.loc[t.PLAY.fqn].tolist() == ["play_date", "session_id, segment"]
    assert found.index.tolist() == lake.connect(settings).tables(), "facts.settings_of makes them all"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT CAST('x' AS INT)", "SELECT * FROM read_csv('/nope.csv')", "SELECT (SELECT unnest([1, 2]))",
        "SELECT strptime('x', '%Y')", "SELECT regexp_matches('a', '(')", "SELECT json('{')", "SELECT error('x')",
        "SELECT * FROM iceberg_scan('/nosuch')",
    ],
)
def test_a_query_that_cannot_be_answered_is_the_askers_mistake(settings: Settings, text: str) -> None:
    with pytest.raises(UsageError, match="the query cannot be answered: .+"):
        lake.connect(settings).sql(text)


@pytest.mark.parametrize(
    ("table", "day", "error"), [("silver.nothing", None, ConfigError), ("silver.play", "1st", UsageError)]
)
def test_refusals(settings: Settings, table: str, day: str | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        lake.connect(settings).read(table, day=day)
    with pytest.raises(UsageError, match="watched_ms"):
        lake.connect(settings).read(t.PLAY, columns=["watched"])
    with pytest.raises(UsageError, match="no partitions"):
        lake.connect(settings).read(t.PUBLICATION, day=DAY)


def test_no_lake_yet(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="ingest"):
        lake.connect(facts.settings_of(tmp_path))


def test_first_rows_without_java_in_another_time_zone(settings: Settings, tmp_path: Path) -> None:
    """A process with an empty PATH and a zone behind UTC: the same dates, and no pyspark."""
    code = (
        "import sys, lake; home = lake.connect()\n"
        "days = home.sql('SELECT event_at::DATE AS day, count(*) AS n FROM silver.play GROUP BY 1 ORDER BY 1')\n"
        "print(days.to_dict('list'))\n"
        "print('pyspark' in sys.modules)"
    )
    folder = Path(settings.lake.catalog_uri.removeprefix("sqlite:///")).parent.parent
    env = {
        **lake_variables(folder),
        "PATH": str(tmp_path),
        "TZ": "America/New_York",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "2026, 11, 1" in lines[0] and "2026, 10, 31" not in lines[0]
    assert lines[1] == "False"


def test_command_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(settings.lake.catalog_uri.removeprefix("sqlite:///")).parent.parent
    for name, value in lake_variables(folder).items():
        monkeypatch.setenv(name, value)
    text = "SELECT session_id, watched_ms FROM silver.play WHERE watched_ms < 2000 ORDER BY ALL"
    shown = CliRunner().invoke(sql, [text])
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines() == [
        "session_id  watched_ms",
        "----------  ----------",
        "later                7",
        "s0                   0",
        "s1                1000",
    ]
    twice = "SELECT a.session_id, b.session_id, a.watched_ms AS session_id_1 FROM silver.play a JOIN silver.play b " \
            "ON a.session_id = b.session_id WHERE a.watched_ms = 7"  # fmt: skip
    for form, line in (("table", "later       later                      7"), ("csv", "later,later,7"),
                       ("json", '{"session_id": "later", "session_id_1": "later", "session_id_1_1": 7}')):  # fmt: skip
        assert line in CliRunner().invoke(sql, [twice, "--format", form]).output.splitlines()
    for form in ("table", "json"):
        error = CliRunner().invoke(sql, ["SELECT DATE 'infinity' AS d", "--format", form]).exception
        assert isinstance(error, UsageError) and "cannot be shown" in str(error)
    as_json = CliRunner().invoke(sql, [text, "--format", "json"])
    assert as_json.output.splitlines()[0] == '{"session_id": "later", "watched_ms": 7}'
    as_csv = CliRunner().invoke(sql, [text, "--format", "csv"])
    assert as_csv.output.splitlines() == ["session_id,watched_ms", "later,7", "s0,0", "s1,1000"]
    assert CliRunner().invoke(sql, [text, "--format", "xml"]).exception.exit_code == 2  # type: ignore[union-attr]
    assert os.environ["MATINEE__LAKE__WAREHOUSE"].startswith("file://")
