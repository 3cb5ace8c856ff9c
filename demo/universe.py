"""Where one demo lives: its own folder, topics and lake, so that a rerun starts clean and no user data is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Universe:
    """One demo: `folder` is ``<var>/demo/<id>``; `config` is the settings overlay every command of it uses."""

    id: str
    folder: Path

    @property
    def config(self) -> Path:
        """Settings overlay (`MATINEE_CONFIG`)."""
        return self.folder / "settings.yaml"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"


def create(
    var: Path, stack: Path, now: datetime, overlay: dict[str, Any], given: Mapping[str, Any] | None = None
) -> Universe:
    """A new, empty universe under ``var/demo``, and `latest` pointing at it.

    Ids are times of day, with a counter when two demos start in the same second. `given` is the user's own settings
    file, which wins over `overlay`, what the demo chooses itself; the folder of everything it leaves and the topic
    prefix are the universe's. `stack` is the folder of the broker and Flink that all demos share.
    """
    home = var / "demo"
    home.mkdir(parents=True, exist_ok=True)
    stem = now.strftime("%Y%m%d-%H%M%S")
    number = 0
    while True:
        name = stem if number == 0 else f"{stem}-{number}"
        try:
            (home / name).mkdir()
            break
        except FileExistsError:
            number += 1
    universe = Universe(name, home / name)
    places: dict[str, dict[str, Any]] = {
        "kafka": {"topic_prefix": f"demo-{name}."},
        "paths": {"var": str(universe.folder)},
        "stack": {"dir": str(stack)},
        "lake": {"catalog_uri": "sqlite:///{var}/lake/catalog.db", "warehouse": "file://{var}/lake/warehouse"},
        "mlflow": {"tracking_uri": "sqlite:///{var}/mlflow/mlflow.db"},
    }
    merged: dict[str, Any] = dict(given or {})
    for key in {*overlay, *places}:
        merged[key] = {**overlay.get(key, {}), **(merged.get(key) or {}), **places.get(key, {})}
    universe.config.write_text(yaml.safe_dump(merged, sort_keys=True), encoding="utf-8")
    _point_latest(home, name)
    return universe


def _point_latest(home: Path, name: str) -> None:
    """Swap the link in one step, so that a reader finds the old one or the new one."""
    spare = home / f".latest-{name}"
    spare.symlink_to(name)
    spare.replace(home / "latest")
