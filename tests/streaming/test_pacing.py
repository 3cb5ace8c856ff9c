"""Sending at N times real time, as a property of due times over a clock that only sleeping moves."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streaming import produce


class Counter:
    """A clock that moves when somebody sleeps, and a little whenever it is read."""

    def __init__(self, step_s: float) -> None:
        self.now, self.step_s = 100.0, step_s

    def monotonic(self) -> float:
        self.now += self.step_s
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


gaps = st.lists(st.integers(0, 90_000), min_size=1, max_size=80)


@given(gaps, st.floats(0.5, 5_000), st.sampled_from([1e-6, 1e-3]))
def test_no_message_goes_before_it_is_due_and_none_much_later(between: list[int], rate: float, step: float) -> None:
    due = np.cumsum(between).astype(np.int64)
    clock = Counter(step)
    began = clock.now
    covered: list[int] = []
    for start, stop in produce.paced(due, rate, clock):
        passed_ms = (clock.now - began) * 1000
        covered += range(start, stop)
        assert (due[stop - 1] - due[0]) / rate <= passed_ms + 1e-6
        assert passed_ms <= (due[start] - due[0]) / rate + produce.STEP_MS + 10_000 * step
    assert covered == list(range(len(due)))


@given(st.integers(0, 3 * produce.SLICE + 7))
def test_full_speed_never_waits(count: int) -> None:
    class Still(Counter):
        def sleep(self, seconds: float) -> None:
            raise AssertionError("full speed sleeps")

    ranges = list(produce.paced(np.arange(count, dtype=np.int64) * 60_000, None, Still(0.0)))
    assert [row for start, stop in ranges for row in (start, stop - 1)] == [
        row for start in range(0, count, produce.SLICE) for row in (start, min(start + produce.SLICE, count) - 1)]
