"""The kernel's CMCD reader equals the Python page: own cases, mutants, whole sessions into the fold."""

from __future__ import annotations

import os
import random

import pytest

from bench import qoe_cmcd
from models.playback import cmcd, cmcd_event
from models.playback.spans import REVISIONS, SESSION_COLUMNS, SPAN_COLUMNS, Policy, fold
from tests.kernel import hostile, jvm
from tests.models.playback import cmcd_golden
from tests.streaming import cmcd_topic

pytestmark = pytest.mark.jvm
MUTANTS = 1_000_000 if os.environ.get("MATINEE_TEST_ALL") else 8_000


def test_own_cases() -> None:
    lines = [case["line"] for case in (*cmcd_golden.records(), *cmcd_golden.refused())]
    messages = [jvm.Message(1, n, 0, b"s1", cmcd_golden.message([line])) for n, line in enumerate(lines)]
    outcome, wrong = qoe_cmcd.differences(messages)
    assert wrong == [] and outcome["event"] == len(cmcd_golden.records())
    assert qoe_cmcd.canonical_differences(lines) == []


DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@pytest.mark.parametrize("by", [0, DAY_MS, -DAY_MS, DAY_MS + 1, -DAY_MS - 1, 5 - cmcd_golden.HEAD["at"]])
def test_the_clock_of_a_post(by: int) -> None:
    """Each line of it is a letter of its own; the two readers agree to the millisecond."""
    lines = [case["line"] for case in cmcd_golden.records()[:3]]
    value = cmcd_golden.message([*lines, b"poison"], {"newest": cmcd_golden.HEAD["at"] + by})
    outcome, wrong = qoe_cmcd.differences([jvm.Message(1, 0, 0, b"s1", value)])
    strays = sum(count for told, count in outcome.items() if told.startswith("clock: newest is N: more than N h"))
    assert wrong == [] and (outcome["event"], strays) == ((0, 3) if abs(by) > DAY_MS else (3, 0))


def test_a_television_that_finds_its_clock_before_the_first_frame() -> None:
    """It boots in 1970 and knows the time 8 s later: half an hour of play is counted as what it was, from there on."""
    start, boot = hostile.MIDNIGHT + 9 * HOUR_MS, 12_000
    told = [(0, "s"), (4, "s"), (8, "s"), *((second, "p") for second in range(10, 1_811, 30)), (1_811, "e")]
    messages = []
    for n, (second, state) in enumerate(told):
        at = start + second * 1_000
        device = at if second >= 8 else boot + second * 1_000
        line = f'cid="t7",e=ps,sid="s1",sn={n},sta={state},ts={device},v=2'.encode()
        head = {"at": at + 50, "newest": device}
        messages.append(jvm.Message(0, n, at + 50, b"s1", cmcd_golden.message([line], head)))
    found = jvm.fold(messages, Policy(), 3_000)
    held, letters = cmcd_topic.decoded(messages)
    assert [letter.error_class for letter in letters.values()] == ["clock", "clock"]
    assert [line[-1] for line in found["dead"]] == [letter.reason for letter in letters.values()]
    sessions = [dict(zip(SESSION_COLUMNS, line, strict=True)) for line in found["session"]]
    [expected] = fold(held["s1"], Policy(), "final").sessions
    assert sessions[-1] == {name: jvm.text(expected[name]) for name in SESSION_COLUMNS}
    assert len(sessions) == len(REVISIONS)
    for row in sessions:
        names = ("plays", "exits_before_start", "play_ms", "clock_offset_ms", "start_at")
        counted = {name: row[name] for name in names}
        assert counted == {"plays": "1", "exits_before_start": "0", "play_ms": "1801000", "clock_offset_ms": "50",
                           "start_at": str(start + 8_050)}  # fmt: skip


def test_mutants() -> None:
    for start in range(0, MUTANTS, qoe_cmcd.CHUNK):
        lines = list(qoe_cmcd.mutants(start, min(qoe_cmcd.CHUNK, MUTANTS)))
        outcome, wrong = qoe_cmcd.differences(qoe_cmcd.packed(lines))
        assert wrong == []
        assert qoe_cmcd.canonical_differences(lines) == []
        dropped = {name.removeprefix("dropped ") for name in outcome if name.startswith("dropped ")}
        assert dropped >= set(cmcd.KEYS) and outcome["event"] > MUTANTS // 4


def test_mutated_messages() -> None:
    """The collector's line too may be anything."""
    rng = random.Random(11)
    head = cmcd.encode(qoe_cmcd.HEAD | {"cdn": [cmcd.Item("c", (("h", "e"),))]}, cmcd_event.COLLECTOR_KEYS).encode()
    line = cmcd_golden.records()[1]["line"].replace(b"edge-1", b"e")
    messages = [
        jvm.Message(0, n, 0, rng.choice((b"s1", b"s1", b"", None)), b"\n".join([qoe_cmcd.mutated(rng, head), line]))
        for n in range(1_000)
    ]
    messages += [jvm.Message(0, 0, 0, b"s1", value) for value in (None, b"", b"\n", b"\n\n", head, b"\0\0\0\0\1")]
    outcome, wrong = qoe_cmcd.differences(messages)
    assert wrong == [] and outcome["event"] > 60 and outcome["key: message key is not the record's sid"] > 15


def test_sessions_in_cmcd_fold_alike() -> None:
    posts = cmcd_topic.sessions(4, 120)
    offsets = [0] * 4
    messages = []
    for post in posts:
        messages.append(jvm.Message(post.partition, offsets[post.partition], post.at_ms, post.key, post.value))
        offsets[post.partition] += 1
    held, letters = cmcd_topic.decoded(messages)
    policy = Policy()
    found = jvm.fold(messages, policy, 3_000)
    assert not letters and "dead" not in found
    for kind, columns in (("span", SPAN_COLUMNS), ("session", SESSION_COLUMNS)):
        expected = []
        for rows in held.values():
            for revision in REVISIONS:
                folded = fold(rows, policy, revision)
                expected += [[jvm.text(row[name]) for name in columns] for row in getattr(folded, kind + "s")]
        assert sorted(found[kind], key=str) == sorted(expected, key=str)
    assert sum(len(rows) for rows in held.values()) > 700
