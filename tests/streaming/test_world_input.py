"""Folders the user names: read as they are, or refused with the file and the rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from conf.errors import UsageError
from models.world.errors import WorldError
from streaming import world_input
from streaming.cli import world

STEP = {"duration_ms": 1000, "bandwidth_kbps": 4000, "latency_ms": 20}


def test_traces_are_read_and_ladders_passed_over(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.json").write_text(json.dumps([STEP] * 3))
    (tmp_path / "movie.json").write_text(json.dumps({"segment_sizes_bits": [[1]]}))
    found = world_input.read_traces(tmp_path)
    assert found is not None
    assert len(found.mean_kbps) == 1
    assert found.mean_kbps[0] == pytest.approx(4000)


def test_a_corrupt_trace_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("[{")
    with pytest.raises(WorldError, match=r"bad\.json"):
        world_input.read_traces(tmp_path)


def test_a_trace_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "a.json").write_text(json.dumps([STEP]))
    found = world_input.read_traces(tmp_path)
    assert found is not None and len(found.mean_kbps) == 1
    (tmp_path / "lost.json").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"lost\.json cannot be read \(No such file"):
        world_input.read_traces(tmp_path)


def test_an_object_that_is_no_ladder_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text(json.dumps({"steps": [STEP]}))
    with pytest.raises(WorldError, match=r"odd\.json"):
        world_input.read_traces(tmp_path)


@pytest.mark.parametrize("read", [world_input.read_ratings, world_input.read_traces])
def test_a_folder_that_is_not_there(read: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        read(tmp_path / "nowhere")  # type: ignore[operator]


def test_a_folder_without_ratings_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"holds none of ratings\.csv.*it holds notes\.txt"):
        world_input.read_ratings(tmp_path)


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_days_that_no_engine_holds_are_refused(day: str) -> None:
    done = CliRunner().invoke(world, ["produce", "--from", day])
    assert done.exit_code == 2 and "not of the years 1971 to 2200" in done.output


def test_ratings_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n1,1029,3.0,1260759179\n"
    )
    found = world_input.read_ratings(tmp_path)
    assert found is not None
    assert found[0][["user_id", "item_id"]].values.tolist() == [["1", "31"], ["1", "1029"]]
