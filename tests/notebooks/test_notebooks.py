"""Both notebooks run from top to bottom on a real lake, without a JVM, and show what an independent reckoning finds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from conf.settings import Settings, load
from lake.catalog import identifier, open_catalog
from schemas import tables as t
from schemas.tables import Table
from tests.notebooks import small_lake

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def universe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Settings]]:
    """A settings file and the small lake it names."""
    folder = tmp_path_factory.mktemp("lake")
    config = folder / "settings.yaml"
    config.write_text(f"paths: {{var: {folder}}}\n")
    settings = load(config=config)
    small_lake.make(settings)
    yield config, settings


def executed(name: str, config: Path, probe: str, tmp_path: Path) -> Any:
    """Run a notebook with a last cell that prints JSON; gives what it printed."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({probe}))"))
    java_free = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "java").exists())
    environment = dict(
        os.environ, MATINEE_CONFIG=str(config), PATH=java_free, MPLCONFIGDIR=str(tmp_path), HOME=str(tmp_path)
    )
    environment.pop("JAVA_HOME", None)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(env=environment, cwd=str(ROOT / "notebooks"))
    return json.loads(notebook.cells[-1].outputs[-1]["text"])


def scanned(settings: Settings, table: Table) -> pd.DataFrame:
    """A table read by pyiceberg alone: neither DuckDB nor `lake.reader` has a hand in it."""
    frame: pd.DataFrame = open_catalog(settings).load_table(identifier(settings, table)).scan().to_pandas()
    return frame


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_committed(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


def test_the_first_feature_takes_five_lines() -> None:
    cells = nbformat.read(ROOT / "notebooks" / "features.ipynb", as_version=4).cells
    first = next(cell.source for cell in cells if cell.cell_type == "code")
    assert "home.features(" in first and len(first.splitlines()) <= 5


def test_quality_of_experience(universe: tuple[Path, Settings], tmp_path: Path) -> None:
    config, settings = universe
    probe = """{
        "starts": {str(day): [int(row.attempts_num), int(row.plays_num)] for day, row in days.iterrows()},
        "ratio": {str(day): value for day, value in values(days)["rebuffer_ratio"].items()},
        "day": str(day), "live": both.set_index("revision")["attempts"].to_dict(),
    }"""
    seen = executed("quality_of_experience", config, probe, tmp_path)
    sessions, spans = scanned(settings, t.SESSION), scanned(settings, t.SPAN)
    spans = spans[spans["revision"] == "final"]
    for day, part in spans.groupby("start_date"):
        assert seen["starts"][str(day)] == [part["attempts"].sum(), part["plays"].sum()]
        stall, play = int(part["stall_ms"].sum()), int(part["play_ms"].sum())
        if play:
            assert seen["ratio"][str(day)] == pytest.approx(stall / (stall + play), abs=1e-15)
    final = sessions[sessions["revision"] == "final"]
    assert sum(attempts for attempts, _ in seen["starts"].values()) == final["attempts"].sum()
    live = scanned(settings, t.SPAN).query("revision == 'live'")
    assert seen["live"]["live"] == live[live["start_date"].astype(str) == seen["day"]]["attempts"].sum()


def test_features(universe: tuple[Path, Settings], tmp_path: Path) -> None:
    config, settings = universe
    probe = """{
        "rows": training.assign(at=training["at"].astype(str)).astype(object).where(training.notna(), None)
            [["profile_id", "title_id", "at", "feature_profile.plays_7d", "feature_title.takes_7d"]]
            .iloc[::7].values.tolist(),
        "differ": float(differ), "spine": len(spine), "known": int(training["feature_title.plays_7d"].notna().sum()),
    }"""
    seen = executed("features", config, probe, tmp_path)
    outcomes = scanned(settings, t.IMPRESSION_OUTCOME)
    assert seen["spine"] == len(outcomes) and seen["known"] > 0 and 0 < seen["differ"] <= 1
    people, titles = facts(settings, t.FEATURE_PROFILE, "plays_7d"), facts(settings, t.FEATURE_TITLE, "takes_7d")
    for profile, title, at, plays, takes in seen["rows"]:
        assert plays == newest_known(people.get(profile, []), pd.Timestamp(at))
        assert takes == newest_known(titles.get(title, []), pd.Timestamp(at))


Fact = tuple[pd.Timestamp, pd.Timestamp, int]


def facts(settings: Settings, table: Table, column: str) -> dict[str, list[Fact]]:
    """(event_at, available_at, value) of every entity."""
    found: dict[str, list[Fact]] = {}
    for row in scanned(settings, table).to_dict("records"):
        found.setdefault(row[table.key[0]], []).append((row["event_at"], row["available_at"], row[column]))
    return found


def newest_known(of: list[Fact], at: pd.Timestamp) -> int | None:
    """Of what was available the fact about the latest moment: the rule, by brute force."""
    known = [fact for fact in of if fact[1] <= at]
    return max(known)[2] if known else None
