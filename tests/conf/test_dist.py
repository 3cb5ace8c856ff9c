"""What `make dist` writes, alone and on a real standalone cluster, started from a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conf import dist, spark_cluster
from conf.errors import UsageError
from conf.settings import ROOT, Settings, load
from tests.fixtures.stack import free_ports

PROGRAM = """
import socket
from pyspark.sql import SparkSession

def where(_rows):
    import models, schemas  # from app.zip, on the executor
    yield (models.__file__.split("app.zip")[0] != models.__file__, socket.gethostname())

session = SparkSession.builder.getOrCreate()
total = session.range(0, 1000, 1, 4).selectExpr("sum(id)").collect()[0][0]
found = session.sparkContext.parallelize(range(4), 4).mapPartitions(where).collect()
java = session._jvm.java.lang.Class
loader = session._jvm.java.lang.Thread.currentThread().getContextClassLoader()
for name in ("org.sqlite.JDBC", "org.apache.iceberg.spark.SparkCatalog", "org.postgresql.Driver"):
    java.forName(name, True, loader)
print("TOTAL", total, session.sparkContext.master, all(zipped for zipped, _ in found))
"""


@pytest.fixture(scope="module")
def cluster_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    master, ui = free_ports(2)
    return load(
        profile="cluster",
        environ={
            "MATINEE__PATHS__VAR": str(tmp_path_factory.mktemp("cluster")),
            "MATINEE__STACK__SPARK_MASTER_PORT": str(master),
            "MATINEE__STACK__SPARK_MASTER_UI_PORT": str(ui),
            "MATINEE__STACK__SPARK_WORKERS": "1",
        },
    )


@pytest.fixture
def cluster(cluster_settings: Settings) -> Iterator[str]:
    try:
        yield spark_cluster.up(cluster_settings)
    finally:
        spark_cluster.down(cluster_settings)


@pytest.fixture(scope="module")
def folder(cluster_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("written") / "dist"
    dist.write(cluster_settings, target, None, sys.executable)
    return target


def _properties(folder: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in (folder / "spark.conf").read_text().splitlines())


def test_the_folder_is_whole(folder: Path) -> None:
    named = _properties(folder)["spark.jars"].split(",")
    assert sorted(named) == sorted(str(path) for path in (folder / "jars").iterdir())
    assert len(named) == 8
    with zipfile.ZipFile(folder / "app.zip") as archive:
        names = set(archive.namelist())
    assert {
        "matinee.py",
        "conf/base.yaml",
        "conf/profiles/cluster.yaml",
        "jobs/registry.py",
        "schemas/ids.lock",
    } <= names
    assert not [
        name for name in names if name.startswith(("tests/", "streaming/", "airflow_dags/")) or name.endswith(".pyc")
    ]


def test_the_same_tree_gives_the_same_bytes(folder: Path, cluster_settings: Settings, tmp_path: Path) -> None:
    dist.write(cluster_settings, tmp_path / "again", None, sys.executable)
    assert (tmp_path / "again" / "app.zip").read_bytes() == (folder / "app.zip").read_bytes()


def test_paths_are_those_of_the_place_it_will_lie_at(cluster_settings: Settings, tmp_path: Path) -> None:
    dist.write(cluster_settings, tmp_path / "d", Path("/opt/matinee"), "/opt/python")
    found = _properties(tmp_path / "d")
    assert all(name.startswith("/opt/matinee/jars/") for name in found["spark.jars"].split(","))
    assert found["spark.pyspark.python"] == "/opt/python"


def test_a_folder_with_other_things_is_never_emptied(cluster_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(UsageError, match="holds other things"):
        dist.write(cluster_settings, tmp_path)
    assert (tmp_path / "precious").read_text() == "x"


def test_its_front_door_runs_without_the_repository_on_the_path(folder: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MATINEE")}
    done = subprocess.run(
        [sys.executable, str(folder / "main.py"), "config"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"paths.var = '{ROOT}/var'" in done.stdout
    assert "spark.master = 'spark://127.0.0.1:7077'" in done.stdout


@pytest.mark.spark
def test_spark_submit_on_a_standalone_cluster(cluster: str, folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    submit = Path(sys.executable).parent / "spark-submit"
    command = [str(submit), "--properties-file", str(folder / "spark.conf"), "--master", cluster]
    command += ["--py-files", str(folder / "app.zip"), str(program)]
    # A bare PATH: what finds Spark and Python must be spark.conf and the script, not the shell.
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("MATINEE", "PYSPARK", "SPARK"))
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment | {"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"TOTAL {sum(range(1000))} {cluster} True" in done.stdout.splitlines()
