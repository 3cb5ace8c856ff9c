"""Each engine's form of records and tables: complete, in order, and without importing an engine."""

from __future__ import annotations

import re
import subprocess
import sys

import duckdb
import pandas as pd
import pytest

from schemas import records, tables
from schemas.errors import SchemaError
from schemas.records import Scalar
from schemas.render import expectations, flink, iceberg, spark
from schemas.render.sql import DUCKDB
from schemas.tables import Table
from tests.schemas.frames import good_frame

FILE = {"file_id": "f", "rank": 0, "bytes": 1, "expected_bytes": 1.0, "action": "add"}
TABLES = [pytest.param(t, id=t.fqn) for t in tables.every()]


def test_names_of_tables() -> None:
    assert tables.table("silver.session") is tables.SESSION
    assert tables.table("fill_plan") is tables.FILL_PLAN
    with pytest.raises(SchemaError, match=r"no table 'nope'; tables are: bronze\.playback_event,"):
        tables.table("nope")
    assert len({t.fqn for t in tables.every()}) == len(tables.every())


@pytest.mark.parametrize("table", TABLES)
def test_keys_and_partitions_are_columns(table: Table) -> None:
    names = [f.name for f in tables.columns(table)]
    assert len(set(names)) == len(names)
    assert set(table.key) <= set(names)
    assert (
        table.partition is None
        or next(f for f in tables.columns(table) if f.name == table.partition).type is Scalar.DATE
    )


@pytest.mark.parametrize("table", TABLES)
def test_spark_and_pyiceberg_agree(table: Table) -> None:
    from pyiceberg.types import ListType, StructType
    from pyspark.sql import types as s

    def spark_name(kind: object) -> str:
        if isinstance(kind, s.ArrayType):
            return f"list<{spark_name(kind.elementType)}>"
        if isinstance(kind, s.StructType):
            return f"struct<{', '.join(f'{f.name}: {spark_name(f.dataType)}' for f in kind.fields)}>"
        known = {"integer": "int", "timestamp": "timestamptz"}
        return known.get(kind.typeName(), kind.typeName())  # type: ignore[attr-defined]

    def iceberg_name(kind: object) -> str:
        if isinstance(kind, ListType):
            return f"list<{iceberg_name(kind.element_type)}>"
        if isinstance(kind, StructType):
            return f"struct<{', '.join(f'{f.name}: {iceberg_name(f.field_type)}' for f in kind.fields)}>"
        return str(kind)

    struct, schema = spark.table_struct(table), iceberg.schema(table)
    assert [(f.name, spark_name(f.dataType)) for f in struct.fields] == [
        (f.name, iceberg_name(f.field_type)) for f in schema.fields
    ]
    assert all(f.nullable for f in struct.fields)
    assert not any(f.required for f in schema.fields)
    numbers = [f.field_id for f in schema._lazy_id_to_field.values()] if schema._lazy_id_to_field else []
    assert len(set(numbers)) == len(numbers)
    assert [f.field_id for f in schema.fields] == list(range(1, len(schema.fields) + 1))
    spec = iceberg.partition_spec(table)
    assert [(schema.find_column_name(f.source_id), str(f.transform)) for f in spec.fields] == (
        [(table.partition, "identity")] if table.partition else []
    )


@pytest.mark.parametrize("table", TABLES)
def test_create_table_names_every_column_and_property(table: Table) -> None:
    text = iceberg.create_table(table, namespace_prefix="demo_")
    assert text.startswith(f"CREATE TABLE IF NOT EXISTS `lake`.`demo_{table.namespace}`.`{table.name}` (")
    assert re.findall(r"^  `(\w+)` ", text, re.M) == [f.name for f in tables.columns(table)]
    assert ("PARTITIONED BY" in text) == (table.partition is not None)
    for field in tables.columns(table):
        hidden = f"'write.metadata.metrics.column.{field.name}' = 'none'" in text
        if field.pii != "none":
            assert hidden
        if field.type in (Scalar.DATE, Scalar.TIMESTAMP, Scalar.LONG):
            assert not hidden
    for name, value in iceberg.PROPERTIES.items():
        assert f"'{name}' = '{value}'" in text
    assert "PRIMARY" not in text


def test_text_in_ddl_is_escaped() -> None:
    assert iceberg._text("a ladder's \\ rung") == "'a ladder\\'s \\\\ rung'"


def test_flink_columns() -> None:
    text = flink.columns(records.load("day_end"), watermark=("received_at", 1500), primary_key=("day", "partition"))
    assert text.splitlines() == [
        "  `day` DATE NOT NULL,", "  `partition` INT NOT NULL,", "  `received_at` TIMESTAMP_LTZ(3) NOT NULL,",
        "  WATERMARK FOR `received_at` AS `received_at` - INTERVAL '1.500' SECOND(3),",
        "  PRIMARY KEY (`day`, `partition`) NOT ENFORCED",
    ]  # fmt: skip
    page = flink.columns(records.load("home_page"))
    assert "`rows` ARRAY<ROW<`row_kind` STRING NOT NULL, `heading` STRING NOT NULL" in page
    assert "`title_ids` ARRAY<STRING NOT NULL> NOT NULL> NOT NULL> NOT NULL" in page
    assert "`bitrate_kbps` INT," in flink.columns(records.load("playback_event"))
    with pytest.raises(SchemaError, match="no field 'nope'"):
        flink.columns(records.load("day_end"), watermark=("nope", 0))


def test_renderers_import_no_engine() -> None:
    code = (
        "import sys\n"
        "for name in ('pyspark', 'pyflink', 'pyiceberg', 'great_expectations', 'mlflow', 'avro', 'pyarrow.dataset'):\n"
        "    sys.modules[name] = None\n"
        "from schemas import tables, records, wire, topics, metrics, generate, ids\n"
        "from schemas.render import spark, flink, iceberg, sql, expectations, frames\n"
        "assert spark.struct_json(tables.columns(tables.SPAN))['fields']\n"
        "assert iceberg.create_table(tables.SPAN) and flink.columns(records.load('span'))\n"
        "assert expectations.query(tables.SPAN, 'spans') and sql.rollup_sums('spans')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def counts(table: Table, frame: pd.DataFrame) -> dict[str, int]:
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    connection.register("rows_in", frame)
    row = connection.execute(expectations.query(table, "rows_in", DUCKDB)).df().iloc[0].to_dict()
    assert row.pop("row_count") == len(frame)
    return {name: int(value) for name, value in row.items() if value}


@pytest.mark.parametrize("table", TABLES)
def test_good_rows_break_no_rule(table: Table) -> None:
    assert counts(table, good_frame(table, 2)) == {}
    assert counts(table, good_frame(table, 2).iloc[:0]) == {}


@pytest.mark.parametrize(("table", "column", "bad", "rule"), [
    (tables.BRONZE_PLAYBACK_EVENT, "session_id", None, "session_id__not_null"),
    (tables.BRONZE_PLAYBACK_EVENT, "seq", -1, "seq__min"),
    (tables.BRONZE_PLAYBACK_EVENT, "bitrate_kbps", 1_000_001, "bitrate_kbps__max"),
    (tables.BRONZE_PLAYBACK_EVENT, "state", "x", "state__values"),
    (tables.BRONZE_PLAYBACK_EVENT, "playback_rate", float("inf"), "playback_rate__finite"),
    (tables.PLAY, "watched_share", 1.5, "watched_share__max"),
    (tables.DEMAND_FORECAST, "expected_bytes", float("-inf"), "expected_bytes__finite"),
    (tables.SESSION, "revision", "neither", "revision__values"),
    (tables.FILL_PLAN, "files", [FILE | {"action": "burn"}], "files__action__values"),
    (tables.FILL_PLAN, "files", [FILE, FILE | {"expected_bytes": float("nan")}], "files__expected_bytes__finite"),
    (tables.HOME_PAGE, "rows", None, "rows__not_null"),
])  # fmt: skip
def test_a_bad_value_is_counted_under_its_rule(table: Table, column: str, bad: object, rule: str) -> None:
    frame = good_frame(table)
    frame[column] = frame[column].astype(object)
    frame.at[1, column] = bad
    found = counts(table, frame)
    assert found.pop(rule) == 1
    assert set(found) <= {f"{column}__{other}" for other in ("max", "min", "finite", "values", "not_null")}


def test_nulls_are_allowed_where_declared_and_keys_must_differ() -> None:
    frame = good_frame(tables.BRONZE_PLAYBACK_EVENT)
    frame["bitrate_kbps"] = None
    frame["kafka_partition"] = 0
    assert counts(tables.BRONZE_PLAYBACK_EVENT, frame) == {"key__unique": 2}


def test_a_key_may_repeat_in_another_partition() -> None:
    frame = good_frame(tables.FEATURE_TITLE, 2)
    frame["title_id"] = "t"
    assert counts(tables.FEATURE_TITLE, frame) == {"key__unique": 1}
    frame["event_date"] = [pd.Timestamp("2026-03-01").date(), pd.Timestamp("2026-03-02").date()]
    assert counts(tables.FEATURE_TITLE, frame) == {}


@pytest.mark.parametrize("table", TABLES)
def test_every_attribute_is_a_rule(table: Table) -> None:
    names = [rule.name for rule in expectations.audit_rules(table)]
    assert len(set(names)) == len(names)
    expected = {"key__unique"}
    for field in tables.columns(table):
        expected |= set() if field.nullable else {f"{field.name}__not_null"}
        expected |= {f"{field.name}__min"} if field.minimum is not None else set()
        expected |= {f"{field.name}__max"} if field.maximum is not None else set()
        expected |= {f"{field.name}__values"} if field.values else set()
        expected |= {f"{field.name}__finite"} if field.type is Scalar.DOUBLE else set()
    assert expected == {name for name in names if name.count("__") == 1 or name.endswith("__not_null")}
    assert [kwargs["column"] for _, kwargs in expectations.expectations(table)] == names


def test_great_expectations_judges_the_one_row() -> None:
    import great_expectations as gx

    rules = expectations.audit_rules(tables.PLAY)
    suite = expectations.suite(tables.PLAY, rules)
    assert len(suite.expectations) == len(rules)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batches = (
        context.data_sources.add_pandas("one").add_dataframe_asset("row").add_batch_definition_whole_dataframe("all")
    )
    frame = good_frame(tables.PLAY, 2)
    frame.loc[1, "watched_share"] = 2.0
    for data, broken in ((good_frame(tables.PLAY, 2), []), (frame, ["watched_share__max"])):
        one = pd.DataFrame([{rule.name: 0 for rule in rules} | counts(tables.PLAY, data)])
        result = batches.get_batch({"dataframe": one}).validate(suite)
        assert [r.expectation_config.kwargs["column"] for r in result.results if not r.success] == broken
