"""The kernel's CMCD reader equals the Python page: own cases, mutants, whole sessions into the fold."""

from __future__ import annotations

import os
import random

import pytest

from bench import qoe_cmcd
from models.playback import cmcd, cmcd_event
from models.playback.spans import REVISIONS, SESSION_COLUMNS, SPAN_COLUMNS, Policy, fold
from tests.kernel import jvm
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
