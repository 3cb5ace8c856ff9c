"""A letter replayed into a session that goes on: stream and batch agree, before lateness and after. No broker."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from conf.settings import load
from models.playback import cmcd_event
from models.playback.spans import REVISIONS, SESSION_COLUMNS, SPAN_COLUMNS, Policy, fold
from schemas import records, wire
from streaming import clients, letters, topics
from tests.jobs import stream
from tests.kernel import hostile, jvm
from tests.models.playback import cmcd_golden
from tests.streaming import cmcd_topic, reference

T = hostile.MIDNIGHT
TODAY = T + 40 * 86_400_000
"""What the machine's clock says: the topic lies weeks behind it."""
SLACK_MS = 1_000
STATES = "spprppppe"
AT_S = (0, 1, 2, 20, 30, 60, 90, 100, 130)
LOST = 3
"""The record of session s1 that was no good: the only stall."""


class Broker:
    """Stands for the broker: one partition, whose messages are also those of the client and of its futures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: list[jvm.Message] = []
        monkeypatch.setattr(topics, "create", lambda _: [])
        monkeypatch.setattr(topics, "newest_timestamps", lambda *_: [-1, *(m.arrival for m in self.held)])
        monkeypatch.setattr(clients, "_knock", lambda _: None)
        monkeypatch.setattr(clients, "producer", lambda _: self)

    def put(self, at: int, key: bytes, value: bytes) -> None:
        self.held.append(jvm.Message(0, len(self.held), at, key, value))

    def send(self, _: str, key: bytes, value: bytes, timestamp_ms: int = TODAY, **_rest: Any) -> Broker:
        self.put(timestamp_ms, key, value)
        return self

    def get(self, timeout: float = 0) -> None: ...

    flush = close = get


def cmcd(seq: int, session: str = "s1", at_ms: int | None = None, state: str | None = None) -> bytes:
    at = T + AT_S[seq] * 1_000 if at_ms is None else at_ms
    line = f'cid="t7",e=ps,sid="{session}",sn={seq},sta={state or STATES[seq]},ts={at},v=2'
    return cmcd_golden.message([line.encode()], {"at": at + 50, "newest": at})


def avro(seq: int, session: str = "s1", at_ms: int | None = None, state: str | None = None) -> bytes:
    at = T + AT_S[seq] * 1_000 if at_ms is None else at_ms
    row = hostile.session(random.Random(1), session)[0] | {
        "seq": seq, "state": state or STATES[seq], "device_at": at, "post_device_at": at, "received_at": at + 50,
        "stall_count": None, "stall_total_ms": None, "playhead_ms": None, "ad": False, "background": False,
    }  # fmt: skip
    return stream.message(row)


MAKERS: dict[str, Callable[..., bytes]] = {"cmcd": cmcd, "playback_event": avro}


def letter(topic: str, payload: bytes) -> str:
    return json.dumps({"topic": topic, "payload": letters._text(payload), "kafka_partition": 0, "kafka_offset": 7})


def rows_of(topic: str, messages: Iterable[jvm.Message]) -> dict[str, list[Any]]:
    if topic == "cmcd":
        rows, refused = cmcd_topic.decoded(messages)
        assert not refused
        return rows
    return reference.events(messages, ())  # type: ignore[arg-type]


def assert_stream_is_batch(topic: str, messages: list[jvm.Message]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The kernel's live and batch rows are the page's, in both revisions; the sessions of each by revision."""
    found = jvm.fold(messages, Policy(), SLACK_MS)
    sessions = rows_of(topic, messages)
    folded = {name: {each: fold(rows, Policy(), each) for each in REVISIONS} for name, rows in sessions.items()}
    for kind, columns in (("span", SPAN_COLUMNS), ("session", SESSION_COLUMNS)):
        expected = [
            [jvm.text(row[c]) for c in columns]
            for both in folded.values() for one in both.values() for row in getattr(one, kind + "s")
        ]  # fmt: skip
        assert sorted(found[kind], key=str) == sorted(expected, key=str)
    told = [field.name for field in records.load("qoe_session").fields]
    rows = [row | {"final": True} for both in folded.values() for row in both["live"].sessions]
    live = [[jvm.text(row[c]) for c in told] for row in rows]
    assert sorted(found["live_session"], key=str) == sorted(live, key=str)
    return {name: {each: one.sessions for each, one in both.items()} for name, both in folded.items()}


def lived(broker: Broker, make: Callable[..., bytes], until_s: int) -> None:
    """Session s1 without one of its records, while another one goes on; then, in `until_s`, somebody has a look."""
    told = [(T + s * 1_000 + 50, b"s1", make(n)) for n, s in enumerate(AT_S) if n != LOST]
    told += [(T + s * 1_000 + 50, b"s2", make(s // 20, "s2", T + s * 1_000, "p")) for s in range(0, until_s, 20)]
    for at, key, value in sorted(told, key=lambda one: one[0]):
        if at < T + until_s * 1_000:
            broker.put(at, key, value)


@pytest.mark.jvm
@pytest.mark.parametrize("topic", MAKERS)
@pytest.mark.parametrize("until_s", [75, 200, 3_600])
def test_a_letter_replayed_into_a_session_that_goes_on(
    topic: str, until_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, make = Broker(monkeypatch), MAKERS[topic]
    lived(broker, make, until_s)
    clock = broker.held[-1].arrival
    done = letters.replay([letter(topic, make(LOST))], load())
    assert done.sent == {topic: 1} and not done.wrong
    assert broker.held[-1].arrival == clock, "the topic's clock has not moved"
    for n, s in enumerate(AT_S):
        if s >= until_s:
            broker.put(T + s * 1_000 + 50, b"s1", make(n))
    found = assert_stream_is_batch(topic, broker.held)["s1"]
    late = until_s - 30 > Policy().lateness_ms / 1_000
    assert sum(row["late"] for row in found["live"]) == late
    assert sum(row["events"] for row in found["live"]) == len(AT_S) - late
    assert sum(row["stall_ms"] for row in found["live"]) == (0 if late else 10_000)
    assert sum(row["events"] for row in found["final"]) == len(AT_S)
    if not late:
        assert found["live"] == [row | {"revision": "live"} for row in found["final"]]


@pytest.mark.jvm
@pytest.mark.parametrize("topic", MAKERS)
def test_a_session_of_letters_alone_lies_where_it_happened(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, make = Broker(monkeypatch), MAKERS[topic]
    broker.put(T + 7_200_000, b"s2", make(0, "s2", T + 7_200_000))
    done = letters.replay([letter(topic, make(n)) for n in range(len(AT_S))], load())
    assert done.sent == {topic: len(AT_S)}
    [session] = assert_stream_is_batch(topic, broker.held)["s1"]["live"]
    assert (session["events"], session["late"], session["stall_ms"]) == (len(AT_S), 0, 10_000)
    assert (session["clock_offset_ms"], session["start_at"]) == (50, T + 50)


@pytest.mark.jvm
@pytest.mark.parametrize("topic", MAKERS)
def test_what_follows_in_a_universe_of_the_past_is_not_late(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day, a letter, another day whose gaps are still open when their missing numbers come."""
    broker, make = Broker(monkeypatch), MAKERS[topic]
    lived(broker, make, 3_600)
    letters.replay([letter(topic, make(LOST))], load())
    day = 86_400_000
    for n in (0, 1, 2, 4, 5, LOST, 6, 7, 8):
        at = T + day + AT_S[n] * 1_000
        broker.put(T + day + 50 + max(AT_S[n], 61 if n == LOST else 0) * 1_000, b"s3", make(n, "s3", at))
    found = assert_stream_is_batch(topic, broker.held)["s3"]
    assert [(row["events"], row["late"]) for row in found["live"]] == [(len(AT_S), 0)]
    assert max(message.arrival for message in broker.held) < T + 2 * day


def test_an_empty_topics_clock_begins_with_the_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch)
    done = letters.replay([letter("cmcd", cmcd(n)) for n in (5, 1)], load())
    assert done.sent == {"cmcd": 2} and [m.arrival for m in broker.held] == [T + 60_050] * 2


def test_the_collectors_line_stays_but_for_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch)
    broker.put(T + 500_000, b"s2", cmcd(0, "s2"))
    head, _, line = cmcd(1).partition(b"\n")
    letters.replay([letter("cmcd", head + b',cdn=("c";h="e"),new="x"\n' + line)], load())
    new_head, _, new_line = (broker.held[-1].value or b"").partition(b"\n")
    before, now = cmcd_event.collector_line(head), cmcd_event.collector_line(new_head)
    assert new_line == line and b'new="x"' in new_head and now["cdn"][0].value == "c"
    assert now | {"cdn": before["cdn"]} == before | {"at": T + 500_000, "newest": T + 499_950}


def test_a_time_that_no_reader_takes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device clock ahead cannot go on with the topic's at its end."""
    broker = Broker(monkeypatch)
    broker.put(cmcd_event.MAX_AT - 1, b"s2", cmcd(0, "s2"))
    line = b'cid="t",e=ps,sid="s1",sn=1,sta=p,ts=5,v=2'
    letter_ = letter("cmcd", cmcd_golden.message([line], {"at": T, "newest": T + 3_600_000}))
    done = letters.replay(["", letter_, letter("cmcd", cmcd(1)), "no JSON"], load())
    assert done.sent == {"cmcd": 1} and [number for number, _ in done.wrong] == [2, 4]
    assert "outside 1970 to 2099" in done.wrong[0][1] and len(broker.held) == 2


@pytest.mark.jvm
@pytest.mark.parametrize("topic", MAKERS)
def test_a_letter_of_a_wrong_clock_goes_back_with_a_right_one(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was it is refused still; with the device's times put right it is counted where it happened."""
    broker = Broker(monkeypatch)
    broker.put(T + 7_200_000, b"s2", MAKERS[topic](0, "s2", T + 7_200_000))
    boot = 12_000
    strayed, right = [], []
    for n, (second, state) in enumerate(zip(AT_S, STATES, strict=True)):
        good = MAKERS[topic](n)
        if topic == "cmcd":
            line = f'cid="t7",e=ps,sid="s1",sn={n},sta={state},ts={boot + second * 1_000},v=2'.encode()
            head = {"at": T + second * 1_000 + 50, "newest": boot + second * 1_000}
            strayed.append(cmcd_golden.message([line], head))
        else:
            row = wire.decode_one(good)[2]
            device = {name: letters._moment(boot + second * 1_000) for name in ("device_at", "post_device_at")}
            strayed.append(wire.encode_one("playback_event", row | device))
        right.append(good)
    done = letters.replay([letter(topic, payload) for payload in strayed], load())
    assert not done.sent and len(done.wrong) == len(AT_S) and len(broker.held) == 1
    assert all("still refused (clock)" in why for _, why in done.wrong)
    assert letters.replay([letter(topic, payload) for payload in right], load()).sent == {topic: len(AT_S)}
    [session] = assert_stream_is_batch(topic, broker.held)["s1"]["final"]
    assert (session["events"], session["stall_ms"], session["start_at"]) == (len(AT_S), 10_000, T + 50)


@pytest.mark.jvm
def test_what_the_kernel_refuses_is_not_replayed() -> None:
    """Avro for Python takes any byte for true, and counts a union's branches from behind."""
    good = avro(1)
    taken = []
    for place in range(5, len(good)):
        for byte in range(256):
            changed = good[:place] + bytes([byte]) + good[place + 1 :]
            try:
                found = letters._checked(json.loads(letter("playback_event", changed)))
            except (ValueError, KeyError, TypeError):
                continue
            taken.append(jvm.Message(0, len(taken), 0, found.key, changed))
    assert len(taken) > 1_000
    assert [line for line in jvm.run(["decode", "playback_event"], taken) if line[0] == "bad"] == []
