"""kill -9 of the TaskManager in mid-stream, then a savepoint that the other state backend reads: no integer changes, no
dead letter comes twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from conf import flink, supervisor
from conf.settings import Settings
from schemas import topics as catalogue
from streaming import clients, consume, follow, lanes, launch, produce, rest, topics
from streaming.lanes import Lane
from tests.streaming import days, reference

pytestmark = [pytest.mark.flink, pytest.mark.kafka]
PATIENCE_S = 240.0


def cut(lane: Lane, start: int, stop: int) -> Lane:
    """Rows of a lane."""
    marked = frozenset(row - start for row in lane.marked if start <= row < stop)
    return replace(lane, keys=lane.keys[start:stop], values=lane.values[start:stop], marked=marked,
                   partitions=lane.partitions[start:stop], at_ms=lane.at_ms[start:stop], due_ms=lane.due_ms[start:stop])


@pytest.mark.parametrize("backend", ["rocksdb", "hashmap"])
def test_a_killed_taskmanager_changes_no_integer(universe: Callable[[str], Settings], backend: str) -> None:
    """kill -9 after a completed checkpoint, with the day half read and transactions open; results stay equal."""
    settings = universe(f"kill-{backend}")
    settings = settings.model_copy(update={"flink": settings.flink.model_copy(update={"state_backend": backend})})
    topics.create(settings)
    day = days.hostile(31, 300)
    lane = lanes.lane(catalogue.PLAYBACK_EVENT, day.events, settings, day.order_ms, [0] * 4)
    lane = lanes.with_poison(lane, day.poison, day.poison_at, 4, [0] * 4)
    job_id = launch.run(settings, detach=True)
    half, offsets = len(lane) // 2, {}

    def second_half() -> None:
        seconds = float(lane.due_ms[-1] - lane.due_ms[half]) / 1000
        with clients.reaching(settings):
            producer = clients.producer(settings)
            offsets.update(produce.send(producer, [cut(lane, half, len(lane))], rate=seconds / 12))
            newest = topics.newest_timestamps(catalogue.PLAYBACK_EVENT, settings)
            produce.send(producer, [lanes.control(day.day, settings, newest)])
            producer.close()

    with clients.reaching(settings):
        producer = clients.producer(settings)
        offsets_before = produce.send(producer, [cut(lane, 0, half)])
        producer.close()
    committed = wait_for(lambda: sum(topics.sizes(catalogue.QOE_SESSION, settings)), lambda size: size > 50)
    sender = threading.Thread(target=second_half)
    sender.start()
    wait_for(lambda: sum(topics.sizes(catalogue.QOE_SESSION, settings)), lambda size: size > committed)
    before = rest.look(settings, job_id)
    assert before is not None and before.checkpoints and follow.open_partitions(settings, day.day)
    os.kill(taskmanager(settings), signal.SIGKILL)
    sender.join()
    launch.await_day(settings, day.day, job_id, timeout_s=PATIENCE_S)
    counts = flink.get(settings, f"/jobs/{job_id}/checkpoints")["counts"]
    assert counts["restored"] >= 1, "the job must have gone on from a checkpoint"
    poison = set(offsets_before.values()) | set(offsets.values())
    assert len(poison) == len(day.poison)
    found = consume.messages(catalogue.PLAYBACK_EVENT, settings)
    reference.assert_equal_sums(settings, reference.folded(reference.events(found, poison), settings))
    letters = [(int(m.headers["kafka_partition"]), int(m.headers["kafka_offset"]))
               for m in consume.messages(catalogue.DLQ_PLAYBACK_EVENT, settings)]
    assert sorted(letters) == sorted(poison), "each dead letter once, in spite of the kill"
    goes_on_from_a_savepoint(settings)


OTHER = {"rocksdb": "hashmap", "hashmap": "rocksdb"}


def goes_on_from_a_savepoint(settings: Settings) -> None:
    """Stop with a savepoint, start again under the other backend: state is resumed, nothing is written twice."""
    address = launch.savepoint(settings)
    letters = sum(1 for _ in consume.messages(catalogue.DLQ_PLAYBACK_EVENT, settings))
    assert launch.resumable(settings) == address
    of_flink = settings.flink.model_copy(update={"state_backend": OTHER[settings.flink.state_backend]})
    settings = settings.model_copy(update={"flink": of_flink})
    again = launch.start(settings)
    assert (again.found, again.resumed) == (False, address)
    follow.follow(settings, again.job_id, detach=True)
    checkpoints = f"/jobs/{again.job_id}/checkpoints"
    wait_for(lambda: flink.get(settings, checkpoints)["counts"]["completed"], lambda completed: completed > 0)
    assert flink.get(settings, checkpoints)["counts"]["restored"] == 1, "the savepoint was read"
    topics.settle(catalogue.QOE, settings)
    assert sum(1 for _ in consume.messages(catalogue.DLQ_PLAYBACK_EVENT, settings)) == letters


def taskmanager(settings: Settings) -> int:
    """The pid of the stack's TaskManager."""
    state = supervisor.read_state(settings.stack.dir)
    assert state is not None
    return next(child.pid for child in state.children if child.name == "taskmanager")


def wait_for(measure: Callable[[], int], enough: Callable[[int], bool]) -> int:
    """Poll until `enough`; the last measure."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = measure()
        if enough(found):
            return found
        time.sleep(0.2)
    raise AssertionError(f"not enough after {PATIENCE_S:.0f} s: {found}")
