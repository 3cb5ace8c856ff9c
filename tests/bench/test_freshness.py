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
    policy = settings.fold.text()

    def harness(slack: int) -> tuple[int, int]:
        """Deltas and corrections, told at every event."""
        lines = jvm.run(["fold", policy, str(slack), "1"], messages)
        [[_, _, deltas, corrections, _]] = [line for line in lines if line[0] == "live_state"]
        return int(str(deltas)), int(str(corrections))

    assert found["deltas"] == harness(settings.flink.watermark_slack_ms)
    total, taken = found["play_ms"]
    assert found["deltas"][1] > 20 and total > taken > 0
    assert harness(NEVER)[1] * 4 < found["deltas"][1]
