"""A part of the alerts' bench that went wrong says so, and one that saw nothing does not pass."""

from __future__ import annotations

from typing import Any

import pytest

from bench import qoe_alerts
from bench.qoe_alerts import a_day, share

GOOD: dict[str, Any] = {
    "volume_alert": share(20, 20), "false_ratio": share(0, 20), "named": share(19, 20), "in_90_s": 0.95,
    "incidents_a_fault": 1.1, "others": a_day(0, 2),
}  # fmt: skip


def test_good_outages_miss_nothing() -> None:
    assert qoe_alerts._missed("falls", GOOD) == []


@pytest.mark.parametrize(("bad", "told"), [
    ({"volume_alert": share(19, 20)}, "volume alert"),
    ({"false_ratio": share(1, 20)}, "1 false ratio alerts"),
    ({"named": share(17, 20)}, "named"),
    ({"in_90_s": 0.8}, "in 90 s"),
    ({"incidents_a_fault": 2.0}, "2.00 incidents"),
    ({"others": a_day(3, 2)}, "1.50 other incidents a day"),
    ({"volume_alert": share(0, 0), "false_ratio": share(0, 0), "named": share(0, 0), "in_90_s": 0.0}, "0 outages"),
])  # fmt: skip
def test_a_bound_of_the_outages_that_is_missed_is_told(bad: dict[str, Any], told: str) -> None:
    (missed,) = qoe_alerts._missed("falls", GOOD | bad)
    assert told in missed
