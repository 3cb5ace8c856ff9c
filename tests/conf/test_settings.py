"""Settings: weakest to strongest source, unknown keys, placeholders, what one host alone can use."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conf.errors import ConfigError
from conf.settings import ROOT, Settings, explain, load

REMOTE = {"MATINEE__SPARK__MASTER": "spark://node7:7077"}
POSTGRES = {"MATINEE__LAKE__CATALOG_URI": "postgresql+psycopg2://u:secret@db/lake"}
BUCKET = {"MATINEE__LAKE__WAREHOUSE": "s3a://bucket/lake"}


def _source(key: str, **arguments: object) -> str:
    return next(source for name, _, source in explain(**arguments) if name == key)  # type: ignore[arg-type]


def test_every_field_has_a_default_and_every_default_a_field() -> None:
    assert {key for key, _, _ in explain(environ={})} == {
        f"{section}.{key}" if isinstance(value, dict) and section != "profile" else section
        for section, value in load(environ={}).model_dump().items()
        for key in (value if isinstance(value, dict) else [""])
    }


def test_each_source_wins_over_the_weaker_ones(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        yaml.safe_dump({"kafka": {"partitions": 5, "topic_prefix": "file."}, "spark": {"shuffle_partitions": 6}})
    )
    variables = {"MATINEE_CONFIG": str(file), "MATINEE__KAFKA__TOPIC_PREFIX": "env."}
    found = load(environ=variables)
    assert (found.kafka.partitions, found.kafka.topic_prefix, found.spark.shuffle_partitions) == (5, "env.", 6)
    over = load(environ=variables, overrides={"kafka": {"topic_prefix": "mine."}})
    assert over.kafka.topic_prefix == "mine."
    assert load(profile="cluster", environ={}).spark.shuffle_partitions == 8
    assert load(profile="cluster", environ=variables).spark.shuffle_partitions == 6


def test_provenance_names_the_last_source(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("kafka: {partitions: 5}\n")
    variables = {"MATINEE__KAFKA__TOPIC_PREFIX": "x."}
    assert _source("kafka.partitions", config=file, environ=variables) == str(file)
    assert _source("kafka.topic_prefix", config=file, environ=variables) == "MATINEE__KAFKA__TOPIC_PREFIX"
    assert _source("kafka.bootstrap", config=file, environ=variables) == "conf/base.yaml"
    assert _source("spark.master", profile="cluster", environ=variables) == "conf/profiles/cluster.yaml"


@pytest.mark.parametrize(
    ("variables", "nearest"),
    [
        ({"MATINEE__KAFKA__BOOTSTRAPS": "x"}, "kafka.bootstrap"),
        ({"MATINEE__KAFAK__BOOTSTRAP": "x"}, "kafka"),
        ({"MATINEE__FOLD__LATENES_MS": "1"}, "fold.lateness_ms"),
    ],
)
def test_an_unknown_key_names_the_nearest_one(variables: dict[str, str], nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown setting .*did you mean '{nearest}'") as error:
        load(environ=variables)
    assert next(iter(variables)) in str(error.value)
    assert error.value.exit_code == 2


def test_an_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("stack: {brokerport: 1}\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml.*stack\.broker_port"):
        load(config=file, environ={})


@pytest.mark.parametrize(
    "content", ["- a list\n", "kafka: [\n", "kafka: 7\n", "kafka: {partitions: 5}\nkafka: {topic_prefix: x}\n"]
)
def test_a_broken_file_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError):
        load(config=file, environ={})


def test_an_absent_file_and_an_absent_profile_are_named() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/x\.yaml does not exist"):
        load(config="/nowhere/x.yaml", environ={})
    with pytest.raises(ConfigError, match="no profile 'moon'.*cluster, local"):
        load(profile="moon", environ={})


@pytest.mark.parametrize("name", ["MATINEE_STACK__BROKER_PORT", "MATINEE_STACK_BROKER_PORT"])
def test_a_variable_with_one_underscore_is_not_passed_over(name: str) -> None:
    with pytest.raises(ConfigError, match="sets nothing; write MATINEE__STACK__BROKER_PORT"):
        load(environ={name: "19092"})


def test_mappings_and_lists_come_from_the_environment_too() -> None:
    variables = {"MATINEE__COLLECTOR__HOSTS": "{a.example: cdn-a}", "MATINEE__COLLECTOR__ORIGINS": "[https://a, https://b]"}
    found = load(environ=variables).collector
    assert (found.hosts, found.origins) == ({"a.example": "cdn-a"}, ("https://a", "https://b"))


@pytest.mark.parametrize(("key", "value"), [
    ("token", ""),  # a variable that was never set must not open the door
    ("origins", "[https://tv.example/]"), ("origins", "[tv.example]"), ("hosts", '{edge-1: "a\\nb"}'),
    ("hosts", "{edge-1: ''}"), ("forwarded_header", "X Forwarded"), ("body_bytes", "2000000"),
    ("head_timeout_ms", "0"), ("body_timeout_ms", "0"), ("connections", "0"), ("sessions", "0"),
])  # fmt: skip
def test_a_collector_that_could_not_work_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"collector\.{key}"):
        load(environ={f"MATINEE__COLLECTOR__{key.upper()}": value})


@pytest.mark.parametrize("text", ["paths: {var: 7}\n", "paths: {var: }\n"])
def test_a_folder_that_is_no_path_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"paths\.var = .*mine\.yaml.*a folder's path is needed"):
        load(config=tmp_path / "mine.yaml", environ={})


def test_a_prefix_that_no_topic_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"kafka\.topic_prefix = 'a b/c'"):
        load(environ={"MATINEE__KAFKA__TOPIC_PREFIX": "a b/c"})


def test_two_settings_on_one_port_are_named_with_their_source() -> None:
    with pytest.raises(ConfigError, match=r"broker_port and .* \(MATINEE__STACK__FLINK_REST_PORT\) are both 9"):
        load(environ={"MATINEE__STACK__FLINK_REST_PORT": "9", "MATINEE__STACK__BROKER_PORT": "9"})


def test_a_wrong_value_names_key_value_and_source() -> None:
    with pytest.raises(ConfigError, match=r"stack\.broker_port = '99999' \(MATINEE__STACK__BROKER_PORT\)"):
        load(environ={"MATINEE__STACK__BROKER_PORT": "99999"})


@given(port=st.integers(1, 65535), var=st.sampled_from(["/somewhere/var", "elsewhere"]))
def test_placeholders_follow_what_they_name(port: int, var: str) -> None:
    found = load(environ={"MATINEE__STACK__BROKER_PORT": str(port), "MATINEE__PATHS__VAR": var})
    assert found.kafka.bootstrap == f"127.0.0.1:{port}"
    assert found.paths.var == ROOT / var
    assert found.stack.dir == ROOT / var / "stack"
    assert found.lake.catalog_uri == f"sqlite:///{ROOT / var}/lake/catalog.db"
    assert found.jars.dir == ROOT / "var" / "jars"


def test_a_placeholder_that_names_nothing_or_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="kafka.bootstrap.*names no setting; did you mean 'stack.broker_port'"):
        load(environ={"MATINEE__KAFKA__BOOTSTRAP": "h:{stack.brokr_port}"})
    with pytest.raises(ConfigError, match="circle"):
        load(environ={"MATINEE__KAFKA__BOOTSTRAP": "{flink.rest_url}", "MATINEE__FLINK__REST_URL": "{kafka.bootstrap}"})


def test_spark_properties_are_merged_and_passed_on_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("spark: {extra: {spark.a: '{braces}', spark.b: '1'}}\n")
    found = load(config=file, environ={"MATINEE__SPARK__EXTRA": '{"spark.b": "2"}'})
    assert found.spark.extra == {"spark.a": "{braces}", "spark.b": "2"}


def test_settings_are_frozen() -> None:
    found = load(environ={})
    with pytest.raises(ValueError, match="frozen"):
        found.kafka.bootstrap = "elsewhere:1"


def test_a_remote_master_refuses_stores_of_one_host() -> None:
    with pytest.raises(ConfigError, match=r"(?s)catalog_uri = sqlite.*PostgreSQL.*warehouse = file:.*s3a://"):
        load(profile="cluster", environ=REMOTE)
    with pytest.raises(ConfigError, match="warehouse") as error:
        load(profile="cluster", environ=REMOTE | POSTGRES)
    assert "catalog_uri" not in str(error.value)
    assert load(profile="cluster", environ=REMOTE | POSTGRES | BUCKET).spark.master == "spark://node7:7077"


@pytest.mark.parametrize(
    ("master", "one_host"),
    [
        ("local", True),
        ("local[*]", True),
        ("local[2]", True),
        ("spark://127.0.0.1:7077", True),
        ("spark://localhost:7077", True),
        ("spark://[::1]:7077", True),
        ("spark://10.0.0.5:7077", False),
        ("spark://127.0.0.1.example:7077", False),
        ("yarn", False),
        ("k8s://https://127.0.0.1:6443", False),
    ],
)
def test_which_masters_are_on_this_machine(master: str, one_host: bool) -> None:
    variables = {"MATINEE__SPARK__MASTER": master} | POSTGRES | BUCKET
    found: Settings = load(environ=variables)
    assert found.spark.one_host is one_host


def test_the_standalone_cluster_of_this_machine_may_use_files() -> None:
    assert load(profile="cluster", environ={}).spark.one_host
