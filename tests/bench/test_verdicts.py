"""A bench that claims something ends with 4 and says so when its claim does not hold."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from kafka.record.memory_records import MemoryRecordsBuilder

from bench import (
    qoe_alerts,
    qoe_batch,
    qoe_cause,
    qoe_cmcd,
    qoe_collector,
    qoe_freshness,
    qoe_kills,
    qoe_truth,
    stream,
    stream_state,
)
from conf.errors import InputMissing

GOOD = qoe_truth.Verdict(
    events=9_000, sessions=900, stalled=100, stalled_exact=100, end_lost=0, ended_exact=100, stalled_naive_exact=70,
    unflagged_wrong=0, wrong_starts=0, starts=700, largest_error_ms=0,
)  # fmt: skip
LOSSY = replace(GOOD, stalled_exact=94, end_lost=8, ended_exact=92, largest_error_ms=60_000)
"""As good as decision 11 says it can be: of eight lost ends two hid no stall."""


def truth(monkeypatch: pytest.MonkeyPatch, whole: qoe_truth.Verdict, lossy: qoe_truth.Verdict) -> Result:
    monkeypatch.setattr(qoe_truth, "lived", lambda profiles, share, seed: (None, None))
    monkeypatch.setattr(qoe_truth, "judge", lambda *_, lossy: pair[lossy])
    pair = (whole, lossy)
    return CliRunner().invoke(qoe_truth.main, [])


def test_truth_is_content_with_what_can_be_reached_and_says_what_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    done = truth(monkeypatch, GOOD, LOSSY)
    assert (done.exit_code, "missed" in done.output) == (0, False), done.output
    assert "99% of all that stalled: not met (94.00%), and not judged: the end of 8 was lost" in done.output


@pytest.mark.parametrize(
    ("whole", "lossy", "words"),
    [
        (replace(GOOD, stalled_exact=99), LOSSY, "without loss: stalls exact in 99 of 100 sessions"),
        (replace(GOOD, largest_error_ms=1), LOSSY, "without loss: an error of 1 ms"),
        (replace(GOOD, wrong_starts=1), LOSSY, "without loss: 1 of 700 start times wrong"),
        (replace(GOOD, unflagged_wrong=2), LOSSY, "without loss: 2 sessions neither exact nor flagged"),
        (GOOD, replace(LOSSY, unflagged_wrong=3), "with POSTs lost: 3 sessions neither exact nor flagged"),
        (GOOD, replace(LOSSY, wrong_starts=4), "with POSTs lost: 4 of 700 start times wrong"),
        (
            GOOD,
            replace(LOSSY, ended_exact=91),
            "with POSTs lost: stalls exact in 91 of 92 sessions whose end arrived, needed 99%",
        ),
        (GOOD, replace(LOSSY, stalled=0), "nothing is proved"),
    ],
)
def test_truth_ends_with_4(
    monkeypatch: pytest.MonkeyPatch, whole: qoe_truth.Verdict, lossy: qoe_truth.Verdict, words: str
) -> None:
    done = truth(monkeypatch, whole, lossy)
    assert done.exit_code == 4
    assert f"missed: {words}" in done.output or (words == "nothing is proved" and words in done.output)


@pytest.mark.parametrize(
    ("top1", "top5", "cpu", "words"),
    [
        (54, 62, 0.2, []),
        (53, 62, 0.1, ["top-1: 53 of 63, needed 54 of 63"]),
        (54, 61, 0.1, ["top-5: 61 of 63, needed 62 of 63"]),
        (63, 63, 0.21, ["time: 0.210 s of CPU a case, needed 0.2"]),
    ],
)
def test_cause_is_held_to_what_is_needed(top1: int, top5: int, cpu: float, words: list[str]) -> None:
    hits = np.zeros((63, 3), dtype=bool)
    hits[:top1, 0] = hits[:top5, 1] = True
    assert qoe_cause.missed(hits, cpu) == words


@pytest.mark.parametrize(
    ("acknowledged", "found", "code", "words"),
    [
        ({("s", 0), ("s", 1)}, {("s", 0), ("s", 1), ("t", 0)}, 0, "of them not in the topic: 0"),
        ({("s", 0), ("s", 1)}, {("s", 1)}, 4, "missed: acknowledged, but not in the topic: 1 records, e.g. ('s', 0)"),
        (set(), {("s", 1)}, 4, "missed: no record was acknowledged"),
    ],
)
def test_the_collectors_word_is_held(
    monkeypatch: pytest.MonkeyPatch, acknowledged: set[Any], found: set[Any], code: int, words: str
) -> None:
    async def post(*_: object) -> qoe_collector.Load:
        return qoe_collector.Load([0.001], {204: 2_000}, acknowledged, 2_000)

    @contextmanager
    def running(*_: object) -> Iterator[tuple[int, Any]]:
        yield 1, None

    clock = iter(range(9))
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    monkeypatch.setattr(qoe_collector, "post", post)
    monkeypatch.setattr(qoe_collector, "running", running)
    monkeypatch.setattr(qoe_collector, "written", lambda settings: found)
    monkeypatch.setattr(qoe_collector, "cpu_s", lambda process: next(clock))
    monkeypatch.setattr(qoe_collector, "topics", SimpleNamespace(create=nothing, delete=nothing))
    done = CliRunner().invoke(qoe_collector.main, [])
    assert done.exit_code == code, done.output
    assert words in done.output


@pytest.mark.parametrize(
    ("changed", "used_s", "words"),
    [
        ({}, 1.0, []),
        ({"latencies": [0.051]}, 1.0, ["p99, ms: 51.00, needed at most 50"]),
        ({}, 2.5, ["POSTs per CPU second: 800.00, needed at least 1,000"]),
        ({"statuses": {204: 1_999, 429: 1}}, 1.0, ["POSTs without 204: 1.00, needed at most 0"]),
    ],
)
def test_the_collectors_speed_is_held(changed: dict[str, Any], used_s: float, words: list[str]) -> None:
    given = {"latencies": [0.049], "statuses": {204: 2_000}, "acknowledged": {("s", 0)}, "sent": 2_000}
    assert qoe_collector.missed(qoe_collector.Load(**{**given, **changed}), {("s", 0)}, used_s) == words


@pytest.mark.parametrize(
    ("slopes", "words"),
    [
        ({"qoe": 60_000.0, "notes": 85_000.0, "python": 7_500.0}, []),
        ({"notes": 85_000.0}, []),
        ({"qoe": 59_000.0}, ["events per CPU second: 59,000.00, needed at least 60,000"]),
        ({"qoe": 60_000.0, "notes": 90_000.0}, ["the live job beside notes: 0.67, needed at least 0.7"]),
        ({"qoe": 60_000.0, "python": 8_000.0}, ["the live job beside python: 7.50, needed at least 8"]),
    ],
)
def test_the_hot_path_is_held(slopes: dict[str, float], words: list[str]) -> None:
    assert stream.missed(slopes) == words


def test_batch_rates_are_held_read_whole() -> None:
    assert qoe_batch.Spent(20_000_000, 80.0, 150.0).missed("sessionize") == []
    assert qoe_batch.Spent(20_000_000, 81.0, 160.0).missed("sessionize") == [
        "sessionize, events/s: 246,913.58, needed at least 250,000",
        "sessionize, events per CPU second: 125,000.00, needed at least 130,000",
    ]
    assert qoe_batch.Spent(1_000, 0.005, 0.02).missed("ingest") == [
        "ingest, events per CPU second: 50,000.00, needed at least 70,000"
    ]


def test_kills_are_held_to_their_number_and_recovery() -> None:
    kill, per_target = qoe_kills.Kill, {"taskmanager": 12.0, "jobmanager": 20.0, "broker": 16.0}
    done = [kill(target, ("checkpoint", "commit")[i % 2], True, took) for target, took in per_target.items()
            for i in range(20)]  # fmt: skip
    assert qoe_kills.missed(done, 0) == []
    assert qoe_kills.missed(done[:3], 1) == ["rows that differ: 1.00, needed at most 0"]
    slow = [replace(k, inside=k.moment == "commit", recovery_s=k.recovery_s * 1.6) for k in done]
    assert qoe_kills.missed(slow, 0) == [
        "kills inside a checkpoint: 0.00, needed at least 10",
        "recovery of the taskmanager, p95, s: 19.20, needed at most 15",
        "recovery of the jobmanager, p95, s: 32.00, needed at most 30",
        "recovery of the broker, p95, s: 25.60, needed at most 20",
    ]


def batch(at_s: float, kind: int, *, control: bool) -> bytes:
    """One record of a topic's log as the broker writes it; as a control record its key says abort (0) or commit (1)."""
    builder = MemoryRecordsBuilder(2, 0, 1_000, transactional=True, producer_id=1, producer_epoch=0, base_sequence=0)
    builder.append(timestamp=int(at_s * 1000), key=struct.pack(">hh", 0, kind), value=b"\0" * 6, headers=[])
    builder.close()
    out = bytearray(builder.buffer())
    out[22] |= 0x20 if control else 0  # the attributes' low byte
    return bytes(out)


def test_a_kill_was_inside_a_commit_if_the_log_commits_after_it(tmp_path: Path) -> None:
    mine, others = (tmp_path / "broker" / "kafka" / f"{name}.qoe_minute-0" for name in ("storm", "calm"))
    for folder in (mine, others):
        folder.mkdir(parents=True)
    written = [batch(20, 1, control=True), batch(13, 0, control=True), batch(13.5, 1, control=False)]
    (mine / "0.log").write_bytes(b"".join(written))
    (mine / "9.log").write_bytes(batch(10, 1, control=True) + batch(99, 1, control=True)[:-1])
    (others / "0.log").write_bytes(batch(13, 1, control=True))
    settings: Any = SimpleNamespace(
        stack=SimpleNamespace(dir=tmp_path), kafka=SimpleNamespace(topic_prefix="storm.")
    )  # fmt: skip
    committed = qoe_kills.commits(settings)
    assert committed.tolist() == [10, 20]
    kill = qoe_kills.Kill
    done = [
        kill("broker", "commit", False, 5.0, 8.0),
        kill("broker", "commit", True, 5.0, 10.0),  # a marker of that very moment is of before
        kill("broker", "commit", True, 7.0, 12.0),  # what was aborted in between, and data
        kill("broker", "commit", False, 7.0, 14.0),
        kill("broker", "checkpoint", True, 5.0, 12.0),
        kill("broker", "any", False, 5.0, 8.0),
    ]
    assert [k.inside for k in qoe_kills.judged(done, committed)] == [True, False, False, True, True, False]


def test_a_stream_has_not_recovered_while_no_broker_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A checkpoint whose sinks had flushed is completed without one, soon after the kill."""
    moments = iter((0.4, 9.0))
    folder, answers = tmp_path / "flink" / "checkpoints" / "job", iter((False, True))

    def answer(_: object) -> bool:
        complete("chk-2")
        return next(answers)

    def complete(name: str) -> None:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "_metadata").touch()
        at = killed + next(moments, 9.0)
        os.utime(folder / name / "_metadata", (at, at))

    killed = time.time()
    monkeypatch.setattr(qoe_kills, "_broker_answers", answer)
    monkeypatch.setattr(qoe_kills, "checkpoints", lambda _: dict.fromkeys(sorted(folder.iterdir()), True))
    complete("chk-1")
    settings: Any = SimpleNamespace(stack=SimpleNamespace(dir=tmp_path))
    assert qoe_kills.await_checkpoint(settings, killed) - killed == pytest.approx(9, abs=0.01)


def test_freshness_is_held() -> None:
    """Also to the load that it is claimed beside, and to every event that was marked."""
    rows: Any = SimpleNamespace(found={"a": 11.0, "b": 22.5}, read=2)
    assert qoe_freshness.told({"a": 10.0, "b": 20.0}, rows, 100, 96.0, 2) == []
    assert qoe_freshness.told({"a": 10.0, "b": 20.0}, rows, 0, 0.0, 2) == []
    assert qoe_freshness.told({"a": 7.0, "b": 20.0, "c": 1.0}, rows, 100, 100.0, 3) == [
        "p99, s: 3.98, needed at most 3",
        "marked events in no row: 1.00, needed at most 0",
    ]
    assert "no marked event" in qoe_freshness.told({"c": 1.0}, rows, 100, 100.0, 1)[0]
    assert qoe_freshness.told({"a": 10.0, "b": 20.0}, rows, 100, 0.0, 4) == [
        "marked events in no row: 2.00, needed at most 0",
        "load, events a second: 0.00, needed at least 95",
    ]


def test_what_proves_nothing_is_refused(tmp_path: Path) -> None:
    assert CliRunner().invoke(qoe_cmcd.main, ["fuzz", "--records", "0"]).exit_code == 2
    done = CliRunner().invoke(qoe_cmcd.main, ["vectors", str(tmp_path)])
    assert isinstance(done.exception, InputMissing) and "holds no CMCD_" in str(done.exception)
    place = {"signal": "a", "window_s": 60, "own_count": "1 to 10", "below_1e-3": 2.4}
    good, far, few = (place | {"ks": ks, "n": n} for ks, n in ((0.04, 10_000), (0.06, 10_000), (0.06, 3_000)))
    assert qoe_alerts._missed("uniform", [good, few]) == []
    heavy = [good | {"below_1e-3": 2.5}, good | {"n": 100_000, "below_1e-3": 2.1}]
    for group in ([], [good, far], [few], [good, {**few, "signal": "b"}], *([one] for one in heavy)):
        assert qoe_alerts._missed("uniform", group)
    (tmp_path / "anomaly.yaml").write_text("[]")
    with pytest.raises(SystemExit, match="names 0 incidents"):
        qoe_cause.main(["--incidents", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        qoe_alerts.main(["--quiet-days", "0"])
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        qoe_alerts.main(["--cohorts"])
    assert ended.value.code == 2


@pytest.mark.parametrize(("bench", "words"), [
    (stream, "--turns 0"), (stream, "--small 0"), (stream, "--python-share 0"), (stream, "--forms qoe,noets"),
    (stream, "--forms "), (stream, "--small 5 --large 5"), (stream, "--small 5000000"),
    (qoe_batch, "--small 5 --large 5"), (qoe_batch, "--small 5000000"), (qoe_batch, "--small -1"),
    (stream_state, "--copies 0"), (qoe_collector, "--rate 0"), (qoe_collector, "--seconds 0"),
    (qoe_freshness, "--seconds 0"), (qoe_freshness, "--faster 0"),
])  # fmt: skip
def test_arguments_that_measure_nothing_are_refused_at_once(
    bench: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ended as an internal error, most of them after minutes of work."""
    begun: Callable[..., None] = lambda: pytest.fail("the bench has begun")  # noqa: E731
    monkeypatch.setattr(bench, "load", begun)
    done = CliRunner().invoke(bench.main, words.split(" "))
    assert done.exit_code == 2, done.exception
