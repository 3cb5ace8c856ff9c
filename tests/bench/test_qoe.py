"""The claims about quality of experience, at a size a change can afford: four engines, known truth, pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bench import metric_pictures, qoe_exact, qoe_truth
from models.playback.spans import Policy
from schemas.metrics import METRICS

EVENTS = 1_000_000 if os.environ.get("MATINEE_TEST_ALL") else 100_000


@pytest.mark.spark
@pytest.mark.flink
@pytest.mark.jvm
def test_four_engines_agree_to_the_last_integer(spark: Any, lake_settings: Any, tmp_path: Path) -> None:
    from jobs.session import register_kernel

    register_kernel(spark, lake_settings)
    lines: list[str] = []
    assert qoe_exact.run(EVENTS, 1, tmp_path, lambda: spark, lines.append, Policy()) == 0, "\n".join(lines)


def test_a_difference_is_counted() -> None:
    one = {("a",): (1, 2, None), ("b",): (3, 4, 5)}
    assert qoe_exact.compare("x", one, one)[1] == 0
    assert qoe_exact.compare("x", one, {("a",): (1, 7, None), ("c",): (3, 4, 5)})[1] == 3


def test_without_loss_measured_is_true() -> None:
    verdict = qoe_truth.judge(*qoe_truth.lived(1_500, 0.0), lossy=False)
    assert verdict.stalled > 80 and verdict.starts > 500
    assert (verdict.share, verdict.largest_error_ms, verdict.wrong_starts) == (1.0, 0, 0)


def test_with_posts_lost_stalls_are_exact_or_flagged_and_starts_exact_or_null() -> None:
    verdict = qoe_truth.judge(*qoe_truth.lived(1_500, 0.1), lossy=True)
    assert verdict.stalled > 80
    assert (verdict.unflagged_wrong, verdict.wrong_starts) == (0, 0)
    assert verdict.reachable >= 0.99 > 0.9 > verdict.naive_share


def test_pictures_are_up_to_date_and_show_something() -> None:
    made = metric_pictures.pictures()
    assert made == {path.name: path.read_text(encoding="utf-8") for path in metric_pictures.FOLDER.glob("*.svg")}
    for metric in METRICS:
        assert "numerator" in made[f"{metric.name}.svg"]
        assert ">0 / " not in made[f"{metric.name}.svg"], metric.name
