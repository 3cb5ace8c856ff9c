"""The search for better settings: what it keeps of earlier trials changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench import recommend_defaults as bench
from bench.recommend import the_split
from models.recommend import recipe
from models.recommend.strong import judge
from tests.bench.test_recommend import folder


def test_the_default_of_a_search_is_the_shipped_blend(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    split = the_split(folder(tmp_path), seed=1)
    shipped = recipe.blend().fit(split.train)
    worth = float(judge(shipped.fold_in(split.test.fold_in), split.test)["ndcg@100"].mean())
    seen: list[float] = []
    plain = bench._worth
    monkeypatch.setattr(bench, "_worth", lambda model, held: seen.append(plain(model, held)) or seen[-1])
    monkeypatch.setattr(bench, "drawn", lambda _: bench.Trial())  # the second trial finds all that the first one made
    default, best, trial, most = bench.search(split, trials=1)
    assert default == worth and best == most == default and trial == bench.Trial()
    assert len(seen) == 4 and seen[:2] == seen[2:] and np.isfinite(seen).all()
    assert not bench.Remembered._fitted and bench.Remembered._folder is None
