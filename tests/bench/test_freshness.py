"""What `bench.qoe_freshness` says of corrections: of a day read at its own pace, not of a backlog."""

from __future__ import annotations

import pytest

from bench.qoe_freshness import paced
from conf.settings import load
from tests.jobs import stream
from tests.kernel import jvm

pytestmark = pytest.mark.jvm
NEVER = 1 << 40
"""A slack under which the watermark goes on at the end alone."""


def test_a_gap_that_was_shown_is_a_correction() -> None:
    """The kernel's own harness finds as many; read in one go, as a backlog is, there would be next to none."""
    settings = load()
    messages = [
        jvm.Message(r["kafka_partition"], r["kafka_offset"], r["kafka_at"], r["session_id"].encode(), stream.message(r))
        for r in stream.events(5, 150)
    ]
    found = paced(messages, settings)
    policy, slack = settings.fold.text(), settings.flink.watermark_slack_ms
    [[_, _, *expected]] = [line for line in jvm.run(["fold", policy, str(slack)], messages) if line[0] == "live_state"]
    assert found["deltas"] == tuple(map(int, map(str, expected)))
    total, taken = found["play_ms"]
    assert found["deltas"][1] > 20 and total > taken > 0
    [[_, _, _, backlog]] = [line for line in jvm.run(["fold", policy, str(NEVER)], messages) if line[0] == "live_state"]
    assert int(str(backlog)) * 4 < found["deltas"][1]
