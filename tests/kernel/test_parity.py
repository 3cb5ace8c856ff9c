"""The kernel against the reference, row by row: batch form, live form in arrival order, both revisions."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import pytest

from models.playback.spans import MEASURES, REVISIONS, SESSION_COLUMNS, SPAN_COLUMNS, Folded, Policy, fold
from schemas import records
from schemas.metrics import DIMENSIONS
from tests.kernel import hostile, jvm

pytestmark = pytest.mark.jvm

SMALL = hostile.SMALL
CASES = {"settings": (Policy(), 1.0, 1_500), "small": (SMALL, 0.2, 2_000)}
JITTER_MS = 3_000
DAY_MS = 86_400_000


class Case:
    """One topic of hostile sessions through both implementations."""

    def __init__(self, policy: Policy, scale: float, sessions: int) -> None:
        rng = random.Random(f"{policy}")
        made = (hostile.session(rng, f"s{n}", scale) for n in range(sessions))
        self.rows = hostile.topic(rng, [hostile.sent(rng, rows, scale) for rows in made], JITTER_MS)
        self.by_session: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows:
            self.by_session[row["session_id"]].append(row)
        self.policy = policy
        self.found = jvm.fold(jvm.encode(self.rows), policy, JITTER_MS)
        self.reference: dict[str, list[Folded]] = {
            revision: [fold(rows, policy, revision) for rows in self.by_session.values()] for revision in REVISIONS
        }


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*CASES[request.param])


def _lines(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> list[list[str | None]]:
    return [[jvm.text(row[name]) for name in columns] for row in rows]


def test_every_rule_is_reached(case: Case) -> None:
    sessions = [row for folded in case.reference["final"] for row in folded.sessions]
    reasons = {row["end_reason"] for row in sessions}
    assert reasons >= {"ended", "failed", "quit", "content_change", "timeout"}
    if case.policy == SMALL:
        assert reasons >= {"pause_limit", "length_cap"}
    names = {*MEASURES, "duplicates", "late", "missing"}
    # Each misses bins that the other reaches: too short for the last, too long to be often in a narrow one.
    names -= {"stall_over_60000_ms", "stall_le_60000_ms"} if case.policy == SMALL else {"stall_le_2000_ms"}
    assert [name for name in names if not any(row[name] for row in sessions)] == []


def test_batch_rows(case: Case) -> None:
    for kind, columns in (("span", SPAN_COLUMNS), ("session", SESSION_COLUMNS)):
        expected = [
            row
            for revision in REVISIONS
            for folded in case.reference[revision]
            for row in (folded.spans if kind == "span" else folded.sessions)
        ]
        assert sorted(case.found[kind], key=str) == sorted(_lines(columns, expected), key=str)
    assert "dead" not in case.found


def test_events_of_no_known_time_are_left_out_alike() -> None:
    """A fifth of the POSTs with a clock beyond the bound, first ones among them, which would have given the offset."""
    rng = random.Random(24)
    made = [hostile.sent(rng, hostile.session(rng, f"s{n}", 0.2), 0.2) for n in range(80)]
    rows = hostile.topic(rng, made, JITTER_MS)
    for row in rows:
        if rng.random() < 0.2:
            by = rng.choice((-1, 1)) * rng.choice((DAY_MS + 1, 2 * DAY_MS, 10**12))
            row["post_device_at"] = row["received_at"] + by
    good = [row for row in rows if abs(row["received_at"] - row["post_device_at"]) <= DAY_MS]
    assert {row["session_id"] for row in rows if row["kafka_offset"] < 20 and row not in good}
    by_session: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in good:
        by_session[row["session_id"]].append(row)
    found = jvm.fold(jvm.encode(rows), SMALL, JITTER_MS)
    refused = sorted((str(row["kafka_partition"]), str(row["kafka_offset"])) for row in rows if row not in good)
    assert sorted((str(line[0]), str(line[1])) for line in found["dead"]) == refused
    assert {line[2] for line in found["dead"]} == {"clock"} and len(refused) > 100
    for kind, columns in (("span", SPAN_COLUMNS), ("session", SESSION_COLUMNS)):
        folded = [fold(held, SMALL, revision) for held in by_session.values() for revision in REVISIONS]
        expected = [row for one in folded for row in getattr(one, kind + "s")]
        assert sorted(found[kind], key=str) == sorted(_lines(columns, expected), key=str)


def test_live_deltas_add_up_to_the_batch_sums(case: Case) -> None:
    expected: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(MEASURES))
    for folded in case.reference["live"]:
        for span in folded.spans:
            sums = expected[(span["session_id"], str(span["minute_at"]), *(span[name] for name in DIMENSIONS))]
            for i, name in enumerate(MEASURES):
                sums[i] += span[name]
    found = {tuple(map(str, line[:8])): [int(str(value)) for value in line[8:]] for line in case.found["live_minute"]}
    assert found == {key: sums for key, sums in expected.items() if any(sums)}


def test_live_sessions_end_as_the_batch_ones(case: Case) -> None:
    columns = tuple(field.name for field in records.load("qoe_session").fields)
    rows = [row | {"final": True} for folded in case.reference["live"] for row in folded.sessions]
    assert sorted(case.found["live_session"], key=str) == sorted(_lines(columns, rows), key=str)


def test_state_goes_and_corrections_were_needed(case: Case) -> None:
    [[left, deltas, retractions, _]] = case.found["live_state"]
    assert left == "0"
    assert int(str(deltas)) > int(str(retractions)) > 0


def test_when_it_is_told_changes_no_sum() -> None:
    """At each event, now and then, or when the watermark comes by: what came out of line adds up to the same."""
    rng = random.Random(23)
    made = [hostile.sent(rng, hostile.session(rng, f"s{n}", 0.2), 0.2) for n in range(400)]
    messages = jvm.encode(hostile.topic(rng, made, JITTER_MS))
    at_once, *later = (jvm.fold(messages, SMALL, JITTER_MS, every) for every in (1, 5, 10**9))
    for found in later:
        assert int(str(found["live_state"][0][3])) < int(str(at_once["live_state"][0][3]))
        for kind in ("live_minute", "live_session"):
            assert sorted(found[kind], key=str) == sorted(at_once[kind], key=str)


LONG, TOLD_EVERY = 4_000, 500
ORDERS: dict[str, list[int]] = {
    "falling": [0, *range(LONG - 1, 0, -1)],
    "falling, each twice": [0, *(seq for seq in range(LONG // 2, 0, -1) for _ in range(2))],
    "falling, never whole": [0, *range(2 * LONG, 2, -2)],
    "falling below rising ones": [0, *(seq for n in range(LONG // 2) for seq in (LONG // 2 - n, LONG // 2 + 1 + n))],
    "each fills a gap": [*range(0, LONG, 2), *range(1, LONG, 2)],
    "any": [0, *random.Random(1).sample(range(2, LONG), LONG - 2), 1],
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_player_that_numbers_as_it_likes_stalls_nobody(order: str) -> None:
    """What waits behind a gap is folded again when told, not at each event: 4,000 events were 16 million folds."""
    rng = random.Random(29)
    row = hostile.session(rng, "s")[0]
    rows = []
    for offset, seq in enumerate(ORDERS[order]):
        clocks = dict.fromkeys(("received_at", "kafka_at"), hostile.MIDNIGHT + 2_500 * (offset > 1) + 10 * offset)
        device = dict.fromkeys(("device_at", "post_device_at"), hostile.MIDNIGHT + 10 * seq)
        place = {"seq": seq, "state": rng.choice("ppra"), "kafka_partition": 0, "kafka_offset": offset}
        rows.append(row | place | device | clocks)
    found = jvm.fold(jvm.encode(rows), Policy(), 0, TOLD_EVERY)
    live = fold(rows, Policy(), "live")
    sums = [sum(int(str(line[8 + i])) for line in found["live_minute"]) for i in range(len(MEASURES))]
    assert sums == [sum(span[name] for span in live.spans) for name in MEASURES]
    columns = tuple(field.name for field in records.load("qoe_session").fields)
    assert found["live_session"] == _lines(columns, [row | {"final": True} for row in live.sessions])
    assert 0 < int(str(found["live_state"][0][3])) < 3 * len(rows) * (len(rows) / TOLD_EVERY + 1)


def test_behind_the_watermark_nothing_vanishes() -> None:
    """With a watermark that runs up to a minute ahead of the order of arrival, every event is still counted once."""
    rng = random.Random(17)
    made = [hostile.sent(rng, hostile.session(rng, f"s{n}")) for n in range(300)]
    rows = hostile.topic(rng, made, 60_000)
    for row in rows:
        row["kafka_at"] = row["received_at"]
    columns = tuple(field.name for field in records.load("qoe_session").fields)
    found: Counter[str] = Counter()
    for line in jvm.fold(jvm.encode(rows), Policy(), 0)["live_session"]:
        session = dict(zip(columns, line, strict=True))
        found[str(session["session_id"])] += sum(int(str(session[name])) for name in ("events", "duplicates", "late"))
    assert found == Counter(row["session_id"] for row in rows)
