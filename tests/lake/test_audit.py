"""The audit counts what breaks a rule and hashes what it saw, whatever the order of the rows."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pytest

from lake import audit
from schemas import tables as t
from schemas.render import iceberg
from schemas.tables import Table
from tests.jobs.frames import DAY, rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def _arrow(table: Table, frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, schema=iceberg.schema(table).as_arrow(), preserve_index=False)


def _judge(table: Table, *given: dict[str, Any]) -> audit.Verdict:
    return audit.judge_rows(_arrow(table, rows(table, *given)), table, DAY.isoformat())


def test_good_rows_pass() -> None:
    verdict = _judge(t.PLAY, *[{"session_id": f"s{n}"} for n in range(5)])
    assert verdict.passed and verdict.rows == 5


def test_an_empty_partition_passes() -> None:
    verdict = _judge(t.PLAY)
    assert verdict.passed and verdict.rows == 0


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ({"title_id": None}, "title_id__not_null: 1 rows"),
        ({"watched_ms": -1}, "watched_ms__min: 1 rows"),
        ({"watched_share": 1.5}, "watched_share__max: 1 rows"),
        ({"play_date": date(2026, 11, 2)}, f"{audit.OUTSIDE}: 1 rows"),
        ({"play_date": None}, f"{audit.OUTSIDE}: 1 rows"),
        ({"session_id": "s0"}, "key__unique: 1 rows"),
    ],
)
def test_a_broken_rule_is_named_with_its_count(broken: dict[str, Any], rule: str) -> None:
    verdict = _judge(t.PLAY, {"session_id": "s0"}, {"session_id": "s1"}, {"session_id": "s2"} | broken)
    assert rule in verdict.broken and not verdict.passed


@pytest.mark.spark
def test_spark_counts_what_duckdb_counts(spark: SparkSession) -> None:
    from jobs.session import to_spark

    given = [
        {"session_id": "s0"},
        {"session_id": "s0", "watched_share": 1.5},
        {"session_id": "s2", "watched_ms": -1, "play_date": date(2026, 11, 2)},
    ]
    found = audit.judge_frame(to_spark(spark, rows(t.PLAY, *given), t.PLAY), t.PLAY, DAY.isoformat())
    expected = _judge(t.PLAY, *given)
    assert (found.rows, found.broken, found.suite_hash) == (expected.rows, expected.broken, expected.suite_hash)
    assert len(found.broken) == 4 and "key__unique: 1 rows" in found.broken


@pytest.mark.spark
def test_keys_are_told_apart_by_their_last_number_too(spark: SparkSession) -> None:
    """63 and 64 lie in different places, 0 and 64 share their low bits; one row twice is found wherever it is."""
    from jobs.session import to_spark

    apart = [{"session_id": f"s{n}", "segment": m} for n in range(3) for m in (0, 1, 63, 64, 65, 127, 128, 100_000)]
    assert audit._differ(to_spark(spark, rows(t.PLAY, *apart), t.PLAY), t.PLAY)
    for twice in apart[::5]:
        assert not audit._differ(to_spark(spark, rows(t.PLAY, *apart, twice), t.PLAY), t.PLAY)
    shown = [{"impression_id": f"i{n}"} for n in range(70)]  # no number in the key
    table = t.IMPRESSION_OUTCOME
    assert audit._differ(to_spark(spark, rows(table, *shown), table), table)
    assert not audit._differ(to_spark(spark, rows(table, *shown, shown[3]), table), table)


def _random_rows(rng: random.Random, count: int) -> list[dict[str, Any]]:
    return [
        {
            "session_id": f"s{n}", "watched_ms": rng.randint(0, 10**9), "watched_share": rng.random(),
            "impression_id": rng.choice((None, "", "i")), "event_at": datetime(2026, 11, 1, n % 24, tzinfo=UTC),
        }
        for n in range(count)
    ]  # fmt: skip


def test_hash_ignores_order_and_nothing_else() -> None:
    made = _random_rows(random.Random(1), 40)
    whole = _judge(t.PLAY, *made).content_hash
    shuffled = made[:]
    random.Random(2).shuffle(shuffled)
    assert _judge(t.PLAY, *shuffled).content_hash == whole
    seen = {whole}
    changes: dict[str, Any] = {
        "watched_ms": 1, "watched_share": 0.123456789012345, "impression_id": "j", "started": True, "country": "zz",
        "event_at": datetime(2026, 11, 1, 5, 0, 0, 1000, tzinfo=UTC), "available_at": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    for column, value in changes.items():
        seen.add(_judge(t.PLAY, made[0] | {column: value}, *made[1:]).content_hash)
    assert len(seen) == 1 + len(changes)
    assert _judge(t.PLAY, *made[1:]).content_hash not in seen


def test_hash_keeps_neighbours_and_nulls_apart() -> None:
    def row(title: str, show: str | None) -> str:
        return _judge(t.PLAY, {"session_id": "s", "title_id": title, "impression_id": show}).content_hash

    assert len({row("ab", "c"), row("a", "bc"), row("ab", None), row("ab", ""), row("ab", "-")}) == 5

    def page(*lists: list[str]) -> str:
        made = [{"row_kind": "k", "heading": "h", "reason": "r", "title_ids": ids} for ids in lists]
        return _judge(t.HOME_PAGE, {"profile_id": "p", "rows": made}).content_hash

    assert (
        len({page(["a"], ["b", "c"]), page(["a", "b"], ["c"]), page(["a", "b", "c"]), page([], ["a", "b", "c"])}) == 4
    )


def test_at_a_prompt_the_same_is_found_without_great_expectations() -> None:
    good = rows(t.PLAY, {"session_id": "a"}, {"session_id": "b"})
    for frame in (good, good.assign(watched_ms=-4), pd.concat([good, good])):
        given = _arrow(t.PLAY, frame)
        by_both = [audit.judge_rows(given, t.PLAY, DAY.isoformat(), at_a_prompt=quick) for quick in (False, True)]
        assert by_both[0] == by_both[1] and by_both[0].passed == (frame is good)
