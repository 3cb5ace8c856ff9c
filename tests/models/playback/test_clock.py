"""A clock that is set while a session runs: docs/metrics.md says what the states it falls into become."""

from __future__ import annotations

from typing import Any

import pytest

from models.playback.spans import Policy, fold
from tests.models.playback import golden

TOLD = ((0, "s"), (2, "p"), (30, "p"), (60, "p"), (90, "q"))


def told(step_ms: int, from_seq: int) -> list[dict[str, Any]]:
    """A session of 90 s whose device clock jumps by `step_ms` before event `from_seq`; each event in its own POST."""
    base = golden.events("plain_play")[0]
    rows = []
    for seq, (second, state) in enumerate(TOLD):
        at = base["received_at"] + second * 1_000
        device = at + step_ms * (seq >= from_seq)
        rows.append(base | {"seq": seq, "state": state, "device_at": device, "post_device_at": device,
                            "received_at": at, "kafka_offset": seq})  # fmt: skip
    return rows


@pytest.mark.parametrize(("step_ms", "from_seq", "delay_ms", "play_ms"), [
    (0, 1, 2_000, 88_000),
    (20_000, 1, 22_000, 88_000),
    (20_000, 2, 2_000, 108_000),
    (-20_000, 1, 0, 70_000),
    (-20_000, 3, 2_000, 68_000),
])  # fmt: skip
def test_a_step_goes_into_the_state_it_falls_into(step_ms: int, from_seq: int, delay_ms: int, play_ms: int) -> None:
    [session] = fold(told(step_ms, from_seq), Policy(), "final").sessions
    assert (session["start_delay_ms"], session["play_ms"]) == (delay_ms, play_ms)
    assert (session["plays"], session["exits_before_start"], session["clock_offset_ms"]) == (1, 0, 0)


def test_a_step_beyond_the_hold_is_another_segment_and_an_exit_before_the_first_frame() -> None:
    step = Policy().hold_ms + 1
    first, second = fold(told(step, 1), Policy(), "final").sessions
    assert (first["exits_before_start"], first["end_reason"], first["plays"]) == (1, "timeout", 0)
    assert (second["plays"], second["play_ms"]) == (1, 88_000)
    assert second["start_at"] - first["start_at"] == step + 2_000
    first, second = fold(told(step, 3), Policy(), "final").sessions
    assert (first["play_ms"], second["play_ms"], first["exits_before_start"]) == (28_000, 30_000, 0)
