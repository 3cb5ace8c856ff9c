"""The QoE job on a real cluster against the Python fold: a hostile day, and a row behind the watermark.

No number here is the job's own word: expectations are folded in Python from the messages that lie in the topic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest

from conf.errors import MatineeError
from conf.settings import Settings
from models.playback.spans import MEASURES
from schemas import topics as catalogue
from streaming import clients, consume, follow, lanes, launch, produce, topics
from streaming.jobs import plan
from tests.streaming import days, reference

pytestmark = [pytest.mark.flink, pytest.mark.kafka]
PATIENCE_S = 240.0


@dataclass
class Lived:
    """A universe whose hostile day has gone through the job."""

    settings: Settings
    day: days.HandMade
    produced: produce.Produced
    job_id: str

    @property
    def poison(self) -> set[tuple[int, int]]:
        frame = self.produced.poison
        return set(zip(frame["kafka_partition"].tolist(), frame["kafka_offset"].tolist(), strict=True))

    def expected(self) -> dict[str, reference.Folded]:
        found = consume.messages(catalogue.PLAYBACK_EVENT, self.settings)
        return reference.folded(reference.events(found, self.poison), self.settings)


@pytest.fixture(scope="module")
def lived(universe: Callable[[str], Settings]) -> Iterator[Lived]:
    settings = universe("qoe")
    day = days.hostile(21, 400)
    done = produce.produce_day(day, settings)
    job_id = launch.run(settings, until_day=day.day, timeout_s=PATIENCE_S)
    yield Lived(settings, day, done, job_id)
    launch.cancel(settings, job_id)


def test_live_sums_are_the_reference_of_a_hostile_day(lived: Lived) -> None:
    expected = lived.expected()
    firsts = [result.sessions[0] for result in expected.values() if result.sessions]
    assert sum(s["late"] for s in firsts) > 5 and sum(s["duplicates"] for s in firsts) > 50, "the day must be hostile"
    reference.assert_equal_sums(lived.settings, expected)


def test_steps_add_up_to_the_minutes(lived: Lived) -> None:
    """Counters for alerts are the same deltas by arrival: every counter's sum over steps is its sum over minutes."""
    steps = consume.snapshot(catalogue.QOE_STEP, lived.settings)
    minutes = consume.snapshot(catalogue.QOE_MINUTE, lived.settings).query("rollup == 'place'")
    assert len(steps) > 100 and (steps["step_at"].astype("int64") % 10_000 == 0).all()
    columns = {"attempts": "attempts_num", "stall_ms": "stall_time_num", "alive_ms": "concurrency_num"}
    for counter, column in columns.items():
        by = ["country", "isp"]
        found, expected = steps.groupby(by)[counter].sum(), minutes.groupby(by)[column].sum()
        assert found[found != 0].to_dict() == expected[expected != 0].to_dict(), counter
        assert found.sum() > 0


def test_session_rows_are_final_and_equal(lived: Lived) -> None:
    expected = {(s["session_id"], s["segment"]): s for r in lived.expected().values() for s in r.sessions}
    rows = consume.snapshot(catalogue.QOE_SESSION, lived.settings).to_dict("records")
    live = {(row["session_id"], row["segment"]): row for row in rows}
    assert live.keys() == expected.keys()
    names = (*MEASURES, "events", "duplicates", "late", "missing", "inferred", "end_reason", "state", "clock_offset_ms")
    wrong = [(key, name, expected[key][name], live[key][name]) for key in expected for name in names
             if expected[key][name] != live[key][name]]
    assert not wrong, wrong[:10]
    assert all(row["final"] for row in rows)


def test_dead_letters_are_exactly_the_poison(lived: Lived) -> None:
    sent = {(r.kafka_partition, r.kafka_offset): (r.message_key, r.payload) for r in lived.produced.poison.itertuples()}
    letters = list(consume.messages(catalogue.DLQ_PLAYBACK_EVENT, lived.settings))
    found = {(int(m.headers["kafka_partition"]), int(m.headers["kafka_offset"])): m for m in letters}
    assert len(letters) == len(found), "each once"
    assert {where: (m.key, m.value) for where, m in found.items()} == sent
    classes = {m.headers["error_class"].decode() for m in letters}
    assert classes >= {"frame", "schema", "decode", "range", "key"}
    topic = topics.real_name(catalogue.PLAYBACK_EVENT, lived.settings).encode()
    for message in letters:
        assert message.headers["topic"] == topic and message.headers["reason"]
        assert int(message.headers["kafka_at"]) > 0


def test_progress_says_every_partition_is_complete(lived: Lived) -> None:
    rows = follow.progress(lived.settings)
    assert rows["partition"].tolist() == list(range(lived.settings.kafka.partitions))
    assert set(rows["day"]) == {lived.day.day}
    assert follow.open_partitions(lived.settings, lived.day.day) == []


def test_the_job_commits_how_far_it_has_read(lived: Lived) -> None:
    """By that the alerts tell a stream that stands still from a service that does."""
    wanted, deadline = (catalogue.PLAYBACK_EVENT, catalogue.CMCD), time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(MatineeError):  # a broker that was just started has no groups yet
            if topics.taken_in(wanted, plan.group(lived.settings), int(time.time()), lived.settings):
                return
        time.sleep(0.2)
    pytest.fail("the job commits nothing")


def test_a_second_submission_finds_the_running_job(lived: Lived) -> None:
    again = launch.start(lived.settings)
    assert (again.job_id, again.found) == (lived.job_id, True)


def test_a_row_behind_the_watermark_is_counted(lived: Lived) -> None:
    """Decision 3: with `on_time` such rows would vanish. A whole session arrives hours behind the watermark."""
    settings = lived.settings
    session = days.session(np.random.default_rng(5), 90_001, days.start_ms() + 300_000)
    behind = lanes.lane(catalogue.PLAYBACK_EVENT, days.frame(session), settings,
                        np.array([int(str(row["received_at"])) for row in session], dtype=np.int64))
    assert behind.at_ms.max() < min(topics.newest_timestamps(catalogue.PLAYBACK_EVENT, settings)) - 3_600_000
    with clients.reaching(settings):
        producer = clients.producer(settings)
        produce.send(producer, [behind])
        # the arrival clock must move on for the session to be closed: another day ends
        later = [at + 86_400_000 for at in topics.newest_timestamps(catalogue.PLAYBACK_EVENT, settings)]
        following = lanes.control(days.DAY.replace(day=days.DAY.day + 1), settings, later)
        produce.send(producer, [following])
        producer.close()
    launch.await_day(settings, days.DAY.replace(day=days.DAY.day + 1), lived.job_id, timeout_s=PATIENCE_S)
    expected = lived.expected()
    assert "s90001" in expected and sum(s["attempts"] for s in expected["s90001"].sessions) >= 1
    reference.assert_equal_sums(settings, expected)
