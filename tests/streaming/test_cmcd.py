"""CMCD lines through the running job: sums as the Python fold has them, malformed lines dead letters, replayed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from conf import flink
from conf.settings import Settings
from models.playback.events import Event
from schemas import topics as catalogue
from streaming import clients, consume, launch, letters, produce, topics
from tests.kernel import hostile
from tests.streaming import cmcd_topic, reference

pytestmark = [pytest.mark.flink, pytest.mark.kafka]
PATIENCE_S = 240.0
MALFORMED = 10_000
DAY = (datetime.fromtimestamp(hostile.MIDNIGHT / 1000, UTC) + timedelta(days=2)).date()


@dataclass
class Told:
    """A universe whose players spoke CMCD."""

    settings: Settings
    job_id: str

    def messages(self) -> list[consume.Message]:
        return list(consume.messages(catalogue.CMCD, self.settings))

    def expected(self) -> dict[str, reference.Folded]:
        rows, _ = cmcd_topic.decoded(self.messages())
        return reference.folded({sid: [Event.of(row) for row in held] for sid, held in rows.items()}, self.settings)


def send(settings: Settings, posts: list[cmcd_topic.Post]) -> None:
    with clients.reaching(settings):
        producer = clients.producer(settings)
        name = topics.real_name(catalogue.CMCD, settings)
        futures = [producer.send(name, key=p.key, value=p.value, timestamp_ms=p.at_ms) for p in posts]
        producer.flush(timeout=60)
        for future in futures:
            future.get(timeout=60)
        producer.close()


@pytest.fixture(scope="module")
def told(universe: Callable[[str], Settings]) -> Iterator[Told]:
    settings = universe("cmcd")
    topics.create(settings)
    posts = cmcd_topic.sessions(8, 150)
    lines = cmcd_topic.refused_lines(9, MALFORMED)
    head = posts[0].value.partition(b"\n")[0]
    poison = [head + b"\n" + line for line in lines[:9_000]]
    poison += [b"\n".join([head, *lines[n : n + 10]]) for n in range(9_000, MALFORMED, 10)]
    poison += [b"", b"\x00\x00\x00\x00\x01", b"no collector line", head]
    send(settings, posts[: len(posts) // 2])
    send(settings, [cmcd_topic.Post(b"s1", value, posts[len(posts) // 2].at_ms, 0) for value in poison])
    send(settings, posts[len(posts) // 2 :])
    produce.end_day(DAY, settings)
    job_id = launch.run(settings, until_day=DAY, timeout_s=PATIENCE_S)
    yield Told(settings, job_id)
    launch.cancel(settings, job_id)


def test_live_sums_are_the_reference(told: Told) -> None:
    expected = told.expected()
    assert len(expected) == 150
    reference.assert_equal_sums(told.settings, expected)


def test_every_malformed_line_is_a_dead_letter(told: Told) -> None:
    _, expected = cmcd_topic.decoded(told.messages())
    found = {}
    origin = topics.real_name(catalogue.CMCD, told.settings).encode()
    for message in consume.messages(catalogue.DLQ_CMCD, told.settings):
        place = tuple(int(message.headers.get(name, b"0")) for name in letters.PLACE)
        assert place not in found and message.headers["topic"] == origin and message.key == b"s1"
        found[place] = (message.value, message.headers["error_class"].decode(), message.headers["reason"].decode())
    assert found == {place: (x.payload, x.error_class, x.reason) for place, x in expected.items()}
    assert len(found) >= MALFORMED
    assert {x.error_class for x in expected.values()} >= {"frame", "schema", "decode", "key"}
    assert not list(consume.messages(catalogue.DLQ_PLAYBACK_EVENT, told.settings))
    [job] = [job for job in flink.list_jobs(told.settings) if job.id == told.job_id]
    # Not `restarts` alone: that is a metric, which Flink has not always at hand on a busy machine; failures are kept.
    assert (job.state, job.last_failure) == ("RUNNING", None) and not job.restarts


def test_corrected_letters_go_back_and_count(told: Told) -> None:
    """A hundred letters become a session of their own; the others stay wrong and are told."""
    exported = [json.loads(line) for line in letters.export("cmcd", told.settings)]
    assert len(exported) >= MALFORMED
    corrected = 0
    for row in exported:
        if row["line"] == 1 and corrected < 100:
            if isinstance(row["payload"], dict):
                continue
            head = row["payload"].partition("\n")[0]
            state = "s" if corrected == 0 else "p"
            line = f'e=ps,sid="mended",sn={corrected},sta={state},ts={hostile.MIDNIGHT + corrected},v=2'
            row["payload"] = f"{head}\n{line}"
            corrected += 1
    # Letters of class key are good under their own sid: they would go back too, to sessions long closed.
    exported = [row for row in exported if row["error_class"] != "key" or '"mended"' in row["payload"]]
    before = len(told.messages())
    spoiled = [b'{"topic": "\xff"}', b"[" * 100_000]  # an editor's file: other encodings, anything
    done = letters.replay([*(json.dumps(row) for row in exported), *spoiled], told.settings)
    assert done.sent == {"cmcd": 100} and len(done.wrong) == len(exported) - 100 + len(spoiled)
    assert all(why for _, why in done.wrong)
    new = [m for m in told.messages() if m.key == b"mended"]
    assert len(new) == 100 and len(told.messages()) == before + 100
    later = DAY + timedelta(days=400)
    produce.end_day(later, told.settings)
    launch.await_day(told.settings, later, told.job_id, timeout_s=PATIENCE_S)
    expected = told.expected()
    assert expected["mended"].sessions[0]["plays"] == 1
    reference.assert_equal_sums(told.settings, expected)
