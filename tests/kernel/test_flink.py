"""The Flink wrapper in a local Flink: what the operator gives out adds up to the reference."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from conf import kernel
from conf.environments import python
from conf.settings import ROOT
from models.playback.spans import MEASURES, Policy, fold
from schemas import wire
from schemas.metrics import DIMENSIONS
from tests.kernel import hostile, jvm, packed

pytestmark = [pytest.mark.flink, pytest.mark.jvm]
DAY = hostile.MIDNIGHT // 86_400_000
STEP_MS = 10_000


def _line(message: jvm.Message) -> str:
    words = [None if x is None else base64.b64encode(x).decode() for x in (message.key, message.value)]
    return ",".join("~" if w is None else str(w) for w in (*words, message.partition, message.offset, message.arrival))


def _fold(messages: list[jvm.Message], folder: Path, policy: Policy) -> list[dict[str, Any]]:
    (folder / "in.csv").write_text("\n".join(map(_line, messages)) + "\n")
    parameters = ",".join(f"matinee.fold.{pair}" for pair in jvm.policy_text(policy).split(","))
    command = [
        str(python("streaming")),
        str(ROOT / "tests/kernel/flink_fold.py"),
        str(kernel.jar()),
        str(folder / "in.csv"),
        str(folder / "out"),
        parameters,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "JVM_ARGS": os.environ["JVM_ARGS"]},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    files = [path for path in (folder / "out").rglob("*") if path.is_file()]
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    rng = random.Random(7)
    return hostile.topic(rng, [hostile.sent(rng, hostile.session(rng, f"s{n}")) for n in range(150)], 1_000)


@pytest.fixture(scope="module")
def rows(events: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    last = max(row["kafka_at"] for row in events)
    day_end = wire.encode_one("day_end", {"day": DAY - 1, "partition": 3, "received_at": last})
    extra = [
        jvm.Message(3, 10**6, last, b"__day_end__3", day_end),
        jvm.Message(0, 10**6, last, None, b"poison"),
        jvm.Message(1, 10**6, last, b"k", None),
    ]
    return _fold(jvm.encode(events) + extra, tmp_path_factory.mktemp("flink"), Policy())


def _sessions(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    by_session: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in events:
        by_session[row["session_id"]].append(row)
    return list(by_session.values())


def test_minutes_add_up(rows: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    expected: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(MEASURES))
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(MEASURES))
    spans = [
        (span["minute_at"], span) for session in _sessions(events) for span in fold(session, Policy(), "live").spans
    ]
    minutes = [row for row in rows if row["kind"] == "minute"]
    deltas = [(row["minute_ms"], row | packed.columns(base64.b64decode(row["deltas"]))) for row in minutes]
    for sums, at in ((expected, spans), (found, deltas)):
        for minute, row in at:
            for i, name in enumerate(MEASURES):
                sums[minute, *(row[name] for name in DIMENSIONS)][i] += row[name]
    assert {k: v for k, v in found.items() if any(v)} == {k: v for k, v in expected.items() if any(v)}


def test_last_row_of_every_session(rows: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    found = {row["out_key"]: row["out_value"] for row in rows if row["kind"] == "session"}
    decoded = {key: wire.decode_one(base64.b64decode(value))[2] for key, value in found.items() if value is not None}
    expected = [row for session in _sessions(events) for row in fold(session, Policy(), "live").sessions]
    assert len(decoded) == len(expected)
    for row in expected:
        session = decoded[base64.b64encode(f"{row['session_id']}|{row['segment']}".encode()).decode()]
        assert session["final"]
        assert [session[n] for n in (*MEASURES, "end_reason", "events", "duplicates", "late", "missing")] == [
            row[n] for n in (*MEASURES, "end_reason", "events", "duplicates", "late", "missing")
        ]


def test_poison_and_progress(rows: list[dict[str, Any]]) -> None:
    dead = {(row["out_value"], row["reason"]) for row in rows if row["kind"] == "dlq"}
    assert dead == {(base64.b64encode(b"poison").decode(), "first byte is 112, not 0"), (None, "no value")}
    [progress] = [row for row in rows if row["kind"] == "progress"]
    name, _, record = wire.decode_one(base64.b64decode(progress["out_value"]))
    assert (name, record["partition"], base64.b64decode(progress["out_key"])) == ("qoe_progress", 3, b"3")
    assert record["complete_until_at"].timestamp() * 1000 == DAY * 86_400_000


def test_what_came_out_of_line_is_dated_when_it_came(tmp_path: Path) -> None:
    """It is told later, by what comes first: an event of another step, a timer, the end."""
    row = hostile.session(random.Random(3), "s")[0] | {"state": "p", "kafka_partition": 0}
    start = hostile.MIDNIGHT + 1_000
    arrivals = [(0, 0), (2, 1_000), (3, 8_000), (1, 15_000), (4, 25_000), (6, 26_000), (7, 33_000), (5, 47_000)]
    events = []
    for title, (seq, after) in [(f"t{end}", one) for end in range(4, 9) for one in arrivals[:end]]:
        events.append(row | {"session_id": title, "title_id": title, "seq": seq})
        events[-1] |= dict.fromkeys(("device_at", "post_device_at"), start + 4_000 * seq)
        events[-1] |= dict.fromkeys(("received_at", "kafka_at"), start + after)
    events = [event | {"kafka_offset": n} for n, event in enumerate(sorted(events, key=lambda e: e["kafka_at"]))]
    found: dict[tuple[str, int], int] = defaultdict(int)
    for line in _fold(jvm.encode(events), tmp_path, Policy()):
        if line["kind"] == "minute":
            gaps = packed.columns(base64.b64decode(line["deltas"]))["gaps"]
            found[line["title_id"], (line["step_ms"] - start + 1_000) // STEP_MS] += gaps
    filled = {(f"t{end}", 1): -1 for end in range(4, 9)} | {("t8", 4): -1}
    assert {key: n for key, n in found.items() if n < 0} == filled


def test_what_a_jump_of_the_watermark_makes_known_is_dated_when_it_was_due(tmp_path: Path) -> None:
    policy, at, far = Policy(), hostile.MIDNIGHT + 5_000, hostile.MIDNIGHT + 18_000_000
    row = hostile.session(random.Random(3), "s")[0] | {"state": "p", "kafka_partition": 0}
    events = [
        row
        | {"session_id": session, "title_id": session, "seq": seq, "kafka_offset": offset}
        | dict.fromkeys(("device_at", "post_device_at", "received_at", "kafka_at"), clock)
        for offset, (session, seq, clock) in enumerate(
            [("silent", 0, at), ("silent", 1, at + 30_000), ("next", 0, far), ("next", 1, far + 30_000)]
        )
    ]
    rows = _fold(jvm.encode(events), tmp_path, policy)
    closed = [
        (row["title_id"], row["step_ms"])
        for row in rows
        if row["kind"] == "minute" and packed.columns(base64.b64decode(row["deltas"]))["smoothness_scored"]
    ]
    due = [at + 30_000, far + 30_000]
    steps = [(clock + policy.hold_ms + policy.lateness_ms + 1) // STEP_MS * STEP_MS for clock in due]
    assert sorted(closed) == sorted(zip(("silent", "next"), steps, strict=True))
