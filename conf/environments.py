"""The three locked environments and their interpreters; the streaming one's PyFlink is found without importing it."""

from __future__ import annotations

from pathlib import Path

from conf.bootstrap import FOLDERS, ready
from conf.errors import ConfigError
from conf.settings import ROOT


def python(environment: str) -> Path:
    """The interpreter of ``main``, ``streaming`` or ``airflow``; ``ConfigError`` if that environment is not set up."""
    if environment not in FOLDERS:
        raise ConfigError(f"environment {environment!r} is not one of {', '.join(FOLDERS)}")
    path = ROOT / FOLDERS[environment] / "bin" / "python"
    if not path.exists():
        command = "make airflow" if environment == "airflow" else "make setup"
        raise ConfigError(f"the {environment} environment {path.parent.parent} does not exist: run `{command}`")
    return path


def fresh(environment: str) -> bool:
    """Whether an environment was filled from its lock as it stands."""
    return ready(environment)


def site_packages(environment: str) -> Path:
    """Where an environment's libraries lie."""
    found = sorted((python(environment).parent.parent / "lib").glob("python3.*/site-packages"))
    if not found:
        raise ConfigError(f"the {environment} environment has no site-packages: run `make setup`")
    return found[0]


def flink_home() -> Path:
    """The Flink distribution inside the streaming environment's wheel."""
    home = site_packages("streaming") / "pyflink"
    if not (home / "bin" / "jobmanager.sh").is_file():
        raise ConfigError(f"{home} holds no Flink distribution: run `make setup`")
    return home


def spark_home() -> Path:
    """The Spark distribution inside the main environment's PySpark."""
    home = site_packages("main") / "pyspark"
    if not (home / "bin" / "spark-class").is_file():
        raise ConfigError(f"{home} holds no Spark distribution: run `make setup`")
    return home
