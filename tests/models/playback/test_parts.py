"""The fold's helpers against something slower or published: cover, scores, error codes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.playback import scores
from models.playback.cover import JOIN_MS, Cover
from schemas import error_codes
from schemas.errors import SchemaError
from schemas.measures import START_TIME

intervals = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=12)


@given(intervals)
def test_cover_is_the_union_with_small_holes_closed(drawn: list[tuple[int, int]]) -> None:
    step = JOIN_MS // 2
    cover, grown, seconds = Cover(), 0, set()
    for start, length in drawn:
        grown += cover.add(start * step, (start + length) * step)
        seconds |= set(range(start, start + length))
    # A hole of one or two steps is closed, a longer one stays.
    for hole in (1, 2):
        seconds |= {s + i for s in set(seconds) for i in range(1, hole + 1) if s + hole + 1 in seconds}
    assert cover.length_ms == grown == len(seconds) * step
    assert all(a[1] + JOIN_MS < b[0] for a, b in zip(cover.parts, cover.parts[1:], strict=False))


@given(st.integers(0, 50), st.integers(0, 10**7), st.integers(0, 10**7))
def test_smoothness_is_the_published_formula(stalls: int, stall_ms: int, play_ms: int) -> None:
    ratio = stall_ms / (stall_ms + play_ms) if stall_ms + play_ms else 0.0
    score = (100 / math.sqrt(1 + (stalls / 2) ** 2) + 100 * math.exp(-10 * ratio)) / 2
    assert abs(scores.smoothness_milli(stalls, stall_ms, play_ms) - 1000 * score) < 0.502


def test_startup_score_at_published_points() -> None:
    assert [scores.startup_milli(ms) for ms in (0, 2_000, 8_000)] == [100_000, 80_000, 50_000]


def test_bins_hold_their_edge() -> None:
    assert START_TIME.bin_of(500) == "start_le_500_ms" and START_TIME.bin_of(501) == "start_le_1000_ms"
    assert START_TIME.bin_of(20_001) == "start_over_20000_ms"


def test_error_codes_by_name_by_beginning_and_unknown() -> None:
    assert error_codes.is_business("geo_blocked")
    assert not any(error_codes.is_business(code) for code in ("drm_expired", "network", "never heard of"))


@pytest.mark.parametrize(("text", "words"), [
    ("", "must name code and class"), ("name,class\nx,business\n", "must name code and class"),
    ("code,class\nx,busines\n", "class 'busines'"), ("code,class\nx*y,business\n", "only at its end"),
    ("code,class\nx,business\nx,technical\n", "stands once"), ('code,class\n"x\ty",business\n', "code 'x"),
])  # fmt: skip
def test_a_wrong_table_of_codes_is_told(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "codes.csv"
    path.write_text(text)
    monkeypatch.setattr(error_codes, "FILE", path)
    with pytest.raises(SchemaError, match=words):
        error_codes.table.__wrapped__()
    path.write_text("\ufeffcode,class\nx*,business\n")  # as spreadsheets write it
    assert error_codes.table.__wrapped__() == {"x*": "business"}
