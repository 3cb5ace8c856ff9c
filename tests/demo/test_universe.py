"""A demo run keeps to its own folder, topics and lake."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
import yaml

from conf.settings import given_settings, load
from demo import universe

NOON = datetime(2026, 1, 5, 12, 0, 0)


def test_two_demos_of_one_second_stay_apart(tmp_path: Path) -> None:
    first = universe.create(tmp_path, tmp_path / "stack", NOON, {})
    (first.folder / "kept").write_text("yes")
    second = universe.create(tmp_path, tmp_path / "stack", NOON, {})
    assert first.folder != second.folder
    assert (first.folder / "kept").read_text() == "yes"
    assert (tmp_path / "demo" / "latest").resolve() == second.folder


def test_settings_of_a_demo_lead_to_its_own_lake_and_topics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = universe.create(tmp_path, tmp_path / "stack", NOON, {"experiment": {"page_holdback": 0.25}})
    monkeypatch.setenv("MATINEE_CONFIG", str(made.config))
    settings = load()
    assert settings.kafka.topic_prefix == f"demo-{made.id}."
    assert settings.paths.var == made.folder
    assert str(made.folder) in settings.lake.catalog_uri
    assert str(made.folder) in settings.mlflow.tracking_uri
    assert settings.stack.dir == tmp_path / "stack"
    assert settings.experiment.page_holdback == 0.25


def test_the_users_own_settings_hold_in_a_demo_but_not_for_its_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"kafka": {"partitions": 3, "topic_prefix": "mine."}, "stack": {"broker_port": 19092},
           "flink": {"checkpoint_interval_ms": 7}, "lake": {"warehouse": "file:///mine"}}  # fmt: skip
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(own))
    monkeypatch.setenv("MATINEE_CONFIG", str(file))
    overlay = {"flink": {"checkpoint_interval_ms": 5_000, "parallelism": 1}}
    made = universe.create(tmp_path, tmp_path / "stack", NOON, overlay, given_settings())
    monkeypatch.setenv("MATINEE_CONFIG", str(made.config))
    settings = load()
    assert (settings.kafka.partitions, settings.kafka.bootstrap) == (3, "127.0.0.1:19092")
    assert (settings.flink.checkpoint_interval_ms, settings.flink.parallelism) == (7, 1)
    assert settings.kafka.topic_prefix == f"demo-{made.id}."
    assert settings.lake.warehouse == f"file://{made.folder}/lake/warehouse"
