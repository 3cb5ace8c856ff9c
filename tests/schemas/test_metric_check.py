"""A metric asks for columns of its own rows, added and subtracted; everything else is refused in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas import metric_check, metrics
from schemas.errors import SchemaError
from schemas.metrics import Direction, Metric

REFUSED = [
    ("METRICS", "nonsense", "rows of `span` have no measure `nonsense`; see the numbers of span.v"),
    ("METRICS", "missing", "rows of `span` have no measure `missing`; `session` has it"),
    ("METRICS", "stalls + duration_ms", "no measure `duration_ms`; `play` has it: make it an entry of PLAY_METRICS"),
    ("METRICS", "start_at", "rows of `span` have no measure `start_at`"),
    ("METRICS", "1", "`1` counts rows, but the stream"),
    ("METRICS", "stall_ms * 2", "`stall_ms * 2` must be columns added and subtracted"),
    ("METRICS", "stall_ms - -play_ms", "must be columns added and subtracted"),
    ("PLAY_METRICS", "events", "rows of `play` have no column to add up `events`; `session` has it"),
    ("PLAY_METRICS", "content_ms + completed", "`completed` is yes or no and must stand alone"),
    ("PLAY_METRICS", "watched_share", "rows of `play` have no column to add up `watched_share`"),
    (
        "SESSION_METRICS",
        "nonsense",
        "rows of `session` have no column to add up `nonsense`; see the numbers of session",
    ),
    ("SESSION_METRICS", "max_playhead_ms", "no column to add up `max_playhead_ms`"),
    ("SESSION_METRICS", "end_reason", "no column to add up `end_reason`"),
    ("SESSION_METRICS", "events + 1", "must be columns added and subtracted"),
]


def metric(num: str, den: str | None = None, name: str = "x") -> Metric:
    return Metric(name, num, den, "1", Direction.NEITHER, "X.", "here", "None.")


@pytest.mark.parametrize(("registry", "expression", "words"), REFUSED)
@pytest.mark.parametrize("place", ["num", "den"])
def test_is_refused(monkeypatch: pytest.MonkeyPatch, registry: str, expression: str, words: str, place: str) -> None:
    known = {"METRICS": "attempts", "PLAY_METRICS": "started", "SESSION_METRICS": "events"}[registry]
    entry = metric(expression) if place == "num" else metric(known, expression)
    monkeypatch.setattr(metrics, registry, (*getattr(metrics, registry), entry))
    with pytest.raises(SchemaError) as refused:
        metric_check.check()
    assert str(refused.value).startswith("metric x: ") and words in str(refused.value)


@pytest.mark.parametrize(("change", "words"), [
    ({"name": "pause-share"}, "metric pause-share: a name becomes columns"),
    ({"name": "Pause share"}, "metric Pause share: a name becomes columns"),
    ({"scale": 0}, "metric x: scale is 0: the value is divided by it"),
    ({"unit": "", "edges": " "}, "metric x: unit, edges: the dictionary shows it"),
    ({"owner": ""}, "metric x: owner: the dictionary shows it"),
])  # fmt: skip
def test_an_entry_without_a_good_name_scale_or_words_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    """Before the lock of ids holds a record that Avro does not take, or a report divides by 0."""
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, replace(metric("pause_ms"), **change)))
    with pytest.raises(SchemaError) as refused:
        metric_check.check()
    assert str(refused.value).startswith(words)


def test_what_the_rows_have_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "METRICS", (metric("pause_ms - ad_ms", "alive_ms", "a"),))
    monkeypatch.setattr(metrics, "PLAY_METRICS", (metric("completed", "1", "b"), metric("watched_ms", None, "c")))
    sessions = (
        metric("late", "events + missing", "d"),
        metric("clock_offset_ms", "1", "e"),
        metric("stalls", "1", "f"),
    )
    monkeypatch.setattr(metrics, "SESSION_METRICS", sessions)
    metric_check.check()


def test_a_name_is_one_metrics_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SESSION_METRICS", (metric("late", "events", "stall_count"),))
    with pytest.raises(SchemaError, match="metric stall_count is declared 2 times"):
        metric_check.check()
