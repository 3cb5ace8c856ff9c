"""The bench reads what a user has; its tables are judged by their own figures, not here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import pages
from bench.recommend import main, the_split, unplayed
from models.recommend.files import titles
from models.recommend.linear import Edlae


def folder(where: Path) -> Path:
    rng = np.random.default_rng(3)
    rows = [
        f"{u},{i},{4 + (u + i) % 2}" for u in range(80) for i in range(60) if rng.random() < 0.35 and u % 3 == i % 3
    ]
    (where / "interactions.csv").write_text("user,item,weight\n" + "\n".join(rows) + "\nbroken\n", encoding="utf-8")
    names = [f"{i},Film {i} ({1980 + i % 30}),{('War', 'Drama', 'Comedy')[i % 3]}" for i in range(60)]
    (where / "movies.csv").write_text("movieId,title,genres\n" + "\n".join(names) + "\n", encoding="utf-8")
    return where


def test_a_folder_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = the_split(folder(tmp_path), seed=1)
    assert "1 rows set aside: {'item is missing': 1}" in capsys.readouterr().out
    unplayed(split, titles({"movies.csv": (tmp_path / "movies.csv").read_bytes()}), seed=1)
    assert "6 titles without a play" in capsys.readouterr().out


def test_no_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path / "none"), "--table", "r1"])
    with pytest.raises(SystemExit, match="holds no ratings"):
        main(["--data", str(tmp_path), "--table", "r3"])


def test_pages_of_a_folder_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = the_split(folder(tmp_path), seed=1)
    catalogue = titles({"movies.csv": (tmp_path / "movies.csv").read_bytes()})
    model = Edlae().fit(split.train)
    pages.r4(split, catalogue, model, model.weights)
    out = capsys.readouterr().out
    assert "ours / reference" in out and "nan" not in out
