"""The yardstick of rankings on the world: by hand, and once through on a small one."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from bench import rank_world
from bench.rank_world import Log, table, worth


def test_a_ranking_is_worth_the_chance_of_the_next_play_by_hand() -> None:
    odds = np.array([[1.0, 0.0, 3.0, 4.0], [2.0, 2.0, 0.0, 0.0]])
    homes = pd.DataFrame({"country": ["DE", "US"], "device": "tv"})
    log = Log(pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), 0, ["a", "b"], odds, odds == 3.0, odds, homes)
    scores = np.array([[3.0, 9.0, 2.0, 1.0], [1.0, 2.0, 9.0, 9.0]])  # what must not be listed stands nowhere
    second, third = 1 / np.log2(3), 0.5
    assert worth(log, scores) == pytest.approx([(1 + 3 * second + 4 * third) / 8, (2 + 2 * second) / 4])
    assert worth(log.new(), scores)[0] == pytest.approx((1 + 4 * second) / 5)
    best = worth(log, odds)
    assert (best >= worth(log, scores)).all() and best[0] == pytest.approx((4 + 3 * second + third) / 8)


def test_once_through(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(rank_world, "HISTORY", 4)
    table(seeds=1, profiles=150, shows_=60, first_seed=3)
    out = capsys.readouterr().out
    assert "gap from decayed popularity to oracle closed" in out and "nan" not in out
    assert out.count(", p ") == 4
    told = [float(one) for one in re.findall(r"\(([\d.]+)\)", out.splitlines()[-1])]
    assert told[0] == 1.0 and len(told) == 7
    assert told[6] >= told[5] >= told[4] > 1.0, "the more of the context is known, the better the best there is"
    assert told[6] >= told[3], "nothing beats the best there is"
