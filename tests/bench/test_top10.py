"""Shared tens, by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.top10 import of_netflix, of_world


def test_weeks_with_all_countries_count() -> None:
    lists = (("a", "w1", 0), ("b", "w1", 7), ("a", "w2", 0))
    rows = [(country, week, title) for country, week, first in lists for title in range(first, first + 10)]
    frame = pd.DataFrame(rows, columns=["country_iso2", "week", "show_title"]).assign(category="Films")
    assert of_netflix(frame, ["a", "b"]) == {"Films": 0.3}
    with pytest.raises(ValueError, match="no week has lists of all of a, c"):
        of_netflix(frame, ["a", "c"])


def test_countries_of_the_world_agree_in_part() -> None:
    assert 0.0 < of_world(5) < 0.9
