"""A placement is explained from its record alone."""

from __future__ import annotations

import pytest

from conf.errors import InputMissing
from lake.cli import placement_told, rows_told

PAGE = {
    "page_id": "x1",
    "rows": [
        {"row_kind": "top_picks", "heading": "Top picks", "reason": "ranked", "title_ids": ["a"]},
        {"row_kind": "because_you_watched", "heading": "Because you watched C", "reason": "finished c",
         "title_ids": ["d", "b"]},
    ],
    "evidence": [
        {"title_id": "a", "worth": 1.0, "because_ids": [], "because_shares": []},
        {"title_id": "d", "worth": 0.5, "because_ids": ["c"], "because_shares": [0.75]},
        {"title_id": "b", "worth": 0.25, "because_ids": ["e", "c"], "because_shares": [0.5, 0.25]},
    ],
}  # fmt: skip
NAMES = {"a": "Alpha", "b": "Beta", "c": "Gamma", "e": "Epsilon"}


def test_a_placement_by_name_or_id() -> None:
    told = placement_told(PAGE, NAMES, "beta")
    assert told == placement_told(PAGE, NAMES, "b")
    assert told[0] == "Beta (b): row 2 of 2, cell 2 of 2"
    assert told[1] == "row: Because you watched C (because_you_watched): finished c"
    assert told[-2:] == ["  Epsilon (e): 50%", "  Gamma (c): 25%"]
    assert placement_told(PAGE, NAMES, "a")[-1] == "nothing in the history speaks for it in particular"


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(InputMissing, match="'zeta' is none of the 3 shows on page x1"):
        placement_told(PAGE, NAMES, "zeta")
    old = {**PAGE, "evidence": None}
    assert "made before evidence was kept" in placement_told(old, NAMES, "a")[-1]
    assert rows_told(PAGE, NAMES)[0] == " 0 Top picks (top_picks): ranked"
