"""The runner's laws: missing input, failed audit, repeated runs, two writers, a publish cut short."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import lake
from conf.errors import AuditFailed, ConfigError, InputMissing, UsageError
from conf.settings import ROOT
from jobs import registry
from jobs.cli import job
from schemas import tables as t
from tests.fixtures.spark import lake_variables
from tests.jobs.frames import DAY, rows
from tests.lake import facts

if TYPE_CHECKING:
    from jobs.runner import Runner

NEXT = DAY + timedelta(days=1)


def _impressions(day: date, count: int, **given: Any) -> list[dict[str, Any]]:
    return [
        {"impression_id": f"{day}-{n}", "kafka_offset": n, "received_date": day, "profile_id": f"p{n}",
         "shown_at": datetime(day.year, day.month, day.day, 9, tzinfo=UTC), **given}
        for n in range(count)
    ]  # fmt: skip


def _plays(day: date) -> list[dict[str, Any]]:
    return [
        {"session_id": "a", "play_date": day, "impression_id": f"{day}-0", "quality_play": True, "watched_ms": 5},
        {"session_id": "b", "play_date": day, "impression_id": f"{day}-0", "watched_ms": 2},
        {"session_id": "c", "play_date": day, "impression_id": f"{day}-1", "watched_ms": 1},
        {"session_id": "d", "play_date": day, "impression_id": None, "watched_ms": 9},
    ]


def _fill(runner: Runner, *days: date, **given: Any) -> None:
    for day in days:
        facts.given(runner.settings, t.BRONZE_IMPRESSION, *_impressions(day, 3, **given))
        facts.given(runner.settings, t.PLAY, *_plays(day))


@pytest.mark.spark
def test_missing_input_is_named_with_its_maker(new_lake: Callable[..., Runner]) -> None:
    runner = new_lake()
    facts.given(runner.settings, t.BRONZE_IMPRESSION, *_impressions(DAY, 1))
    with pytest.raises(InputMissing) as error:
        runner.run(["outcomes"], [DAY])
    assert error.value.exit_code == 3
    assert f"silver.play has no partition play_date={DAY}" in str(error.value)
    assert f"matinee job sessionize --date {DAY}" in str(error.value)
    assert "bronze.impression" not in str(error.value)


@pytest.mark.spark
def test_rows_from_before_a_column_are_read_with_null(new_lake: Callable[..., Runner]) -> None:
    """An upgrade adds a column to a record; the days at rest were written without it and stay readable."""
    runner = new_lake()
    loaded = runner.catalog.load_table("silver.play")
    with loaded.update_schema() as update:
        update.delete_column("device")
    frame = rows(t.PLAY, *_plays(DAY))
    loaded.append(pa.Table.from_pandas(frame, schema=loaded.schema().as_arrow(), preserve_index=False))
    facts.bootstrap(runner.settings)
    from jobs.context import JobContext

    spec = registry.JobSpec("x", registry.Kind.TABLE, "", reads=(registry.Read(t.PLAY),))
    found = JobContext(runner.session, runner.settings, runner.catalog, spec, DAY).frames()["play"]
    assert {row.device for row in found.collect()} == {None}
    assert found.count() == len(frame)


@pytest.mark.spark
def test_three_runs_one_hash_and_the_oracle(new_lake: Callable[..., Runner]) -> None:
    runner = new_lake()
    _fill(runner, DAY)
    facts.given(runner.settings, t.BRONZE_IMPRESSION, *_impressions(DAY, 1, kafka_partition=1, device="web"))
    results = [runner.run(["outcomes"], [DAY])[0] for _ in range(3)]
    assert len({result.hashes["silver.impression_outcome"] for result in results}) == 1
    home = lake.connect(runner.settings)
    found = home.read(t.IMPRESSION_OUTCOME).set_index("impression_id").sort_index()
    assert found[["taken", "attempted", "watched_ms"]].to_numpy().tolist() == [
        [True, True, 7],
        [False, True, 1],
        [False, False, 0],
    ]
    assert set(found.device) == {"tv"}, "of a repeated impression the one lowest in the topic counts"
    newest = home.snapshots(t.IMPRESSION_OUTCOME)[-1].properties
    assert newest["matinee.content-hash"] == results[0].hashes["silver.impression_outcome"]
    assert runner.content_hash(t.IMPRESSION_OUTCOME, DAY) == (3, newest["matinee.content-hash"])
    published = home.read(t.PUBLICATION)
    assert published.groupby("state").size().to_dict() == {"audited": 3, "published": 3}
    assert set(published.content_hash) == {newest["matinee.content-hash"]}
    assert runner.catalog.load_table("silver.impression_outcome").refs().keys() == {"main"}


@pytest.mark.spark
def test_a_failed_audit_leaves_main_untouched(new_lake: Callable[..., Runner]) -> None:
    runner = new_lake()
    _fill(runner, DAY)
    runner.run(["outcomes"], [DAY])
    home = lake.connect(runner.settings)
    before = home.snapshot_id(t.IMPRESSION_OUTCOME)
    facts.given(
        runner.settings, t.BRONZE_IMPRESSION, *_impressions(DAY, 1, impression_id="bad", kafka_offset=77, row=-4)
    )
    for _ in range(2):
        with pytest.raises(AuditFailed, match="row__min: 1 rows") as error:
            runner.run(["outcomes"], [DAY])
        assert error.value.exit_code == 4
    assert home.snapshot_id(t.IMPRESSION_OUTCOME) == before
    branches = set(home.table(t.IMPRESSION_OUTCOME).refs()) - {"main"}
    assert len(branches) == 1, "the newest failure stays for inspection, its predecessor is dropped"
    assert branches.pop() in str(error.value)


@pytest.mark.spark
def test_an_empty_partition_is_present(new_lake: Callable[..., Runner]) -> None:
    runner = new_lake()
    facts.given(runner.settings, t.SPAN, {"session_id": "s", "start_date": DAY, "revision": "live"})
    runner.run(["qoe_daily"], [DAY])
    assert lake.connect(runner.settings).read(t.QOE_DAILY).empty
    context_reads = registry.JobSpec("x", registry.Kind.TABLE, "", reads=(registry.Read(t.QOE_DAILY),))
    from jobs.context import JobContext

    frames = JobContext(runner.session, runner.settings, runner.catalog, context_reads, DAY).frames()
    assert frames["qoe_daily"].count() == 0
    with pytest.raises(InputMissing, match="qoe_daily"):
        JobContext(runner.session, runner.settings, runner.catalog, context_reads, NEXT).frames()


@pytest.mark.spark
def test_wrong_columns_are_named(new_lake: Callable[..., Runner]) -> None:
    from lake.publish import Publishing

    runner = new_lake()
    frame = runner.session.createDataFrame([("m", 1, "x")], "model string, version long, extra string")
    with Publishing(runner.session, runner.settings, runner.catalog, "test", DAY, [t.PROMOTION]) as publishing:
        with pytest.raises(ConfigError, match="version: found bigint, expected string") as error:
            publishing.stage(t.PROMOTION, frame, DAY)
        assert "extra: not a column" in str(error.value) and "reason: missing" in str(error.value)
        with pytest.raises(ConfigError, match="does not declare"):
            publishing.stage(t.PLAY, frame, DAY)


@pytest.mark.spark
def test_a_publish_cut_short_is_completed(new_lake: Callable[..., Runner]) -> None:
    """Died after the first of two tables was published: the next writer finishes the second, then does its own work."""
    from jobs.session import to_spark
    from lake.publish import Publishing
    from tests.jobs.frames import rows

    runner = new_lake()
    said: list[str] = []

    def publishing(day: date) -> Publishing:
        return Publishing(
            runner.session, runner.settings, runner.catalog, "two", day, [t.PROMOTION, t.PLAY], say=said.append
        )

    def stage(run: Publishing, day: date) -> None:
        for table, part in ((t.PROMOTION, "event_date"), (t.PLAY, "play_date")):
            run.stage(table, to_spark(runner.session, rows(table, {part: day}), table), day)
        run.audit()

    def die(table: str) -> None:
        raise KeyboardInterrupt(table)

    with pytest.raises(KeyboardInterrupt, match="gold.promotion"), publishing(DAY) as first:
        stage(first, DAY)
        first.publish(between=die)
    home = lake.connect(runner.settings)
    assert len(home.read(t.PROMOTION)) == 1 and home.read(t.PLAY).empty
    with publishing(NEXT) as second:
        assert len(lake.connect(runner.settings).read(t.PLAY)) == 1
        stage(second, NEXT)
        second.publish()
    home = lake.connect(runner.settings)
    assert sorted(home.read(t.PLAY).play_date) == sorted(home.read(t.PROMOTION).event_date) == [DAY, NEXT]
    states = home.read(t.PUBLICATION).groupby(["run_id", "table_name"]).state.agg(lambda s: sorted(s))
    assert states.tolist() == [["audited", "published"]] * 4
    assert sum("completed the publish" in text for text in said) == 2
    assert all(set(home.table(table).refs()) == {"main"} for table in (t.PLAY, t.PROMOTION))


@pytest.mark.spark
def test_two_processes_on_two_dates_of_a_table_never_written(new_lake: Callable[..., Runner], tmp_path: Path) -> None:
    from jobs.session import to_spark
    from lake.publish import Publishing
    from tests.jobs.frames import rows

    runner = new_lake()
    _fill(runner, DAY, NEXT)
    command = [sys.executable, str(ROOT / "matinee.py"), "job", "outcomes", "--date", str(NEXT)]
    env = {**os.environ, **lake_variables(tmp_path / "own")}
    mine = rows(t.IMPRESSION_OUTCOME, {"impression_id": "mine", "shown_date": DAY})
    with Publishing(runner.session, runner.settings, runner.catalog, "mine", DAY, [t.IMPRESSION_OUTCOME]) as publishing:
        publishing.stage(t.IMPRESSION_OUTCOME, to_spark(runner.session, mine, t.IMPRESSION_OUTCOME), DAY)
        publishing.audit()
        child = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None
        seen = []
        for line in child.stderr:
            seen.append(line)
            if "waiting for the write lease of silver.impression_outcome" in line:
                break
        assert child.poll() is None, "".join(seen)
        publishing.publish()
    rest = child.stderr.read()
    assert child.wait(timeout=300) == 0, "".join(seen) + rest
    found = lake.connect(runner.settings).read(t.IMPRESSION_OUTCOME)
    assert found.groupby("shown_date").size().to_dict() == {DAY: 1, NEXT: 3}


def test_usage_errors_start_no_engine() -> None:
    for arguments, words in (
        (["nosuch", "--date", "2026-11-01"], "no job 'nosuch'"),
        (["outcomes", "--date", "01.11.2026"], "YYYY-MM-DD"),
        (["outcomes"], "--date DAY or both"),
        (["outcomes", "--from", "2026-11-02", "--to", "2026-11-01"], "is after"),
        ([], "name a job"),
    ):
        result = CliRunner().invoke(job, arguments)
        assert isinstance(result.exception, UsageError), (arguments, result.output)
        assert words in str(result.exception)


def test_list_names_every_job() -> None:
    shown = CliRunner().invoke(job, ["--list"])
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.output.splitlines()[::3]] == [spec.name for spec in registry.JOBS]
