"""The kernel against the golden cases: batch rows, and live sums from the same file of events."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from models.playback.spans import MEASURES, REVISIONS, SESSION_COLUMNS, SPAN_COLUMNS, Policy
from tests.kernel import jvm
from tests.models.playback import golden

pytestmark = pytest.mark.jvm
COLUMNS = {"spans": ("span", SPAN_COLUMNS), "sessions": ("session", SESSION_COLUMNS)}


def _events(case: str) -> list[dict[str, Any]]:
    rows, clock = golden.events(case), 0
    for row in rows:
        clock = max(clock, row["received_at"])
        row |= {"session_id": case, "kafka_at": clock}
    return rows


@pytest.fixture(scope="module")
def found() -> dict[str, list[list[str | None]]]:
    """Rows of all cases: one run for each policy."""
    rows: dict[str, list[list[str | None]]] = {}
    for policy in {golden.policy(case) for case in golden.CASES}:
        events = [row for case in golden.CASES if golden.policy(case) == policy for row in _events(case)]
        for kind, lines in jvm.fold(jvm.encode(events), policy, 10**9).items():
            rows.setdefault(kind, []).extend(lines)
    return rows


@pytest.mark.parametrize("case", golden.CASES)
def test_golden(case: str, found: dict[str, list[list[str | None]]]) -> None:
    for kind, (name, columns) in COLUMNS.items():
        rows = [dict(zip(columns, line, strict=True)) for line in found[name] if line[0] == case]
        for revision in REVISIONS:
            expected = golden.expected(case, kind, revision)
            mine = [row for row in rows if row["revision"] == revision]
            assert golden.comparable(mine, expected) == expected


@pytest.mark.parametrize("case", golden.CASES)
def test_golden_live(case: str, found: dict[str, list[list[str | None]]]) -> None:
    sums: Counter[tuple[int, str]] = Counter()
    for row in golden.expected(case, "spans", "live"):
        sums.update({(int(row["start_at"]) // 60_000 * 60_000, name): int(row[name]) for name in MEASURES})
    live: Counter[tuple[int, str]] = Counter()
    for line in found["live_minute"]:
        if line[0] == case:
            live.update({(int(str(line[1])), name): int(str(n)) for name, n in zip(MEASURES, line[8:], strict=True)})
    assert {k: n for k, n in live.items() if n} == {k: n for k, n in sums.items() if n}


def test_a_policy_of_each_kind() -> None:
    assert {golden.policy(case) for case in golden.CASES} == {Policy(), Policy(session_cap_ms=60_000)}
