"""The named checks: passed by a small service that went through broker, Flink, Spark and lake, and red for each thing
broken by hand; and on a demo that did not come to its end, where nothing to check is not a pass."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from conf.errors import AuditFailed, InputMissing
from conf.settings import Settings, load
from demo import checks
from models.world import World, WorldConfig
from schemas import topics as catalogue
from schemas import wire
from streaming import consume, launch, produce, topics, world_input
from tests.fixtures.spark import lake_variables
from tests.jobs import stream
from tests.lake import facts

engines = [pytest.mark.spark, pytest.mark.flink, pytest.mark.kafka]
MOVIES = "movieId,title,genres\n" + "".join(f'{i},"Film {i} (1999)",Drama|Comedy\n' for i in range(20))
RATINGS = [
    f"{user},{(user * 7 + n * 3) % 20},{1 + n % 5},{1_000_000_000 + 60 * n + user}"
    for user in range(12)
    for n in range(5)
]


@pytest.fixture(scope="module")
def service(stack: Settings, spark: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A world's two days of ratings, sent, streamed, landed and folded; with its truth, as a demo leaves them."""
    from jobs.runner import Runner
    from jobs.session import attach

    var = tmp_path_factory.mktemp("service")
    (var / "ratings").mkdir()
    (var / "ratings" / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(RATINGS) + "\n")
    (var / "ratings" / "movies.csv").write_text(MOVIES)
    settings = load(environ={**os.environ, **lake_variables(var), "MATINEE__PATHS__VAR": str(var),
                             "MATINEE__STACK__FLINK_REST_PORT": str(stack.stack.flink_rest_port),
                             **stream.universe(stack, "checks")})  # fmt: skip
    found = world_input.read_ratings(var / "ratings")
    assert found is not None
    ratings, movies = found
    world = World.create(WorldConfig(seed=5, days=2, ratings_days=2, isps_per_country=1), ratings, movies=movies)
    topics.create(settings)
    days = [world.config.date(number) for number in range(2)]
    try:
        job_id = launch.run(settings, detach=True)
        for number, day in enumerate(days):
            produce.produce_day(world.live(number), settings, on=day, catalogue_frames=world.news(number))
        with Runner(settings, attach(spark, settings)) as runner:  # type: ignore[arg-type]
            runner.run(["ingest"], days[-1:])
            runner.run(["sessionize"], days)
        launch.await_day(settings, days[-1], job_id)
        yield settings
    finally:
        launch.cancel(settings)
        topics.delete(settings)


@pytest.fixture
def copied(service: Settings, tmp_path: Path) -> Settings:
    """The same service with a truth of its own to break."""
    shutil.copytree(service.paths.var / "world", tmp_path / "world")
    return service.model_copy(update={"paths": service.paths.model_copy(update={"var": tmp_path})})


@pytest.mark.usefixtures("service")
class TestOnARealLake:
    """One service, three checks, each red for what it is there to see."""

    pytestmark = engines

    def test_fold(self, service: Settings) -> None:
        told = list(checks.fold_against_reference(service, 50))
        assert len(told) == 5
        assert next(checks.fold_against_reference(service, 5_000)).startswith("5,000 sessions were asked for")
        assert all(line.endswith("0 in one only, 0 differing cells") for line in told[2:])
        assert all(int(line.split(": ")[1].split(" rows")[0]) > 20 for line in told[2:])

    def test_another_fold_is_red(self, service: Settings) -> None:
        other = service.model_copy(update={"fold": service.fold.model_copy(update={"startup_ms": 1})})
        with pytest.raises(AuditFailed, match="differ from the reference fold"):
            list(checks.fold_against_reference(other, 50))

    def test_a_changed_session_on_the_topic_is_red(self, service: Settings) -> None:
        rows = consume.snapshot(catalogue.QOE_SESSION, service)
        one = rows.sort_values("session_id").head(1)
        key = f"{one.session_id.iloc[0]}|{one.segment.iloc[0]}"
        before = wire.encode_frame("qoe_session", None, one)
        broken = wire.encode_frame("qoe_session", None, one.assign(stalls=one.stalls + 1))
        at = int(pd.Timestamp.now("UTC").timestamp() * 1000)
        stream.write(service, catalogue.QOE_SESSION, [(key, broken[0])], at)
        with pytest.raises(AuditFailed, match="^1 rows or cells differ"):
            list(checks.fold_against_reference(service, 50))
        stream.write(service, catalogue.QOE_SESSION, [(key, before[0])], at)
        list(checks.fold_against_reference(service, 50))

    def test_truth(self, copied: Settings) -> None:
        told = list(checks.measured_against_truth(copied, 10))
        assert int(told[1].split(" ")[0]) > 30
        assert told[6].startswith("10 of them folded once more")
        for lines in (told[2:6], told[7:]):
            assert [line.split(":")[0] for line in lines] == list(checks.MEASURED)
            assert all(line.endswith("largest error 0, sessions in error 0") for line in lines)
        file = sorted((copied.paths.var / "world" / "truth").glob("*/sessions.parquet"))[0]
        truth = pd.read_parquet(file)
        at = truth.index[truth["exact"]][0]
        truth.loc[at, "stall_ms"] += 1
        truth.to_parquet(file)
        with pytest.raises(AuditFailed, match="^2 sessions were not measured as they happened"):
            list(checks.measured_against_truth(copied, 5_000))
        truth.loc[at, "stall_ms"] -= 1
        lost = truth.loc[[at]].assign(session_id="lost", **dict.fromkeys(checks.MEASURED, 0))
        pd.concat([truth, lost]).to_parquet(file)
        with pytest.raises(AuditFailed, match="^1 sessions were not measured as they happened"):
            list(checks.measured_against_truth(copied, 1))

    def test_ratings(self, service: Settings, tmp_path: Path) -> None:
        told = list(checks.attempts_against_ratings(service, service.paths.var / "ratings"))
        assert told[0] == f"ratings: {len(RATINGS)}, with {len(RATINGS)} distinct session ids"
        assert [line.rsplit(": ")[1] for line in told[1:]] == [str(len(RATINGS)), "0", "0"]
        for name, lines, words in (
            ("more", [*RATINGS, "3,19,2,1000009999"], "1 ratings and 0 attempts do not meet"),
            ("less", RATINGS[1:], "0 ratings and 1 attempts do not meet"),
        ):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(lines) + "\n")
            (folder / "movies.csv").write_text(MOVIES)
            with pytest.raises(AuditFailed, match=words):
                list(checks.attempts_against_ratings(service, folder))


def test_a_row_written_twice_is_red() -> None:
    row = {"session_id": "s", "segment": 0, "stalls": 1}
    assert checks._of([row], checks.LIVE_KEY, ("stalls",)) == {("s", 0): (1,)}
    with pytest.raises(AuditFailed, match="1 rows have the key"):
        checks._of([row, row], checks.LIVE_KEY, ("stalls",))


@pytest.mark.parametrize(
    "check", [lambda s: checks.measured_against_truth(s, 5), lambda s: checks.fold_against_reference(s, 5)]
)
def test_a_lake_without_sessions_is_input_missing(tmp_path: Path, check: Callable[[Settings], Iterator[str]]) -> None:
    settings = facts.settings_of(tmp_path, MATINEE__PATHS__VAR=str(tmp_path))
    facts.bootstrap(settings)
    truth = tmp_path / "world" / "truth" / "2026-01-05"
    truth.mkdir(parents=True)
    pd.DataFrame({"session_id": ["s"], "exact": [True], "end_ms": [1]}).to_parquet(truth / "sessions.parquet")
    with pytest.raises(InputMissing, match="did not come to its end"):
        list(check(settings))
