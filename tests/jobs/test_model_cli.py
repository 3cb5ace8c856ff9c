"""`matinee model` on a lake and an MLflow of its own, both on sqlite: what is told, and the way back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

import lake
from conf.errors import InputMissing, ServiceUnavailable, UsageError
from conf.settings import Settings
from jobs import model_cli, tracking
from schemas import tables as t
from tests.fixtures.spark import lake_variables
from tests.lake import facts

DAYS = [date(2026, 2, day) for day in (1, 2, 3)]
VERSIONS = ["aaa", "bbb", "ccc"]


def decision(day: date, version: str, **values: Any) -> dict[str, Any]:
    common = {
        "model": "recommender", "version": version, "run_id": f"train_recommender@{day}@{version}",
        "valid_from_date": day + timedelta(days=1), "event_date": day, "promoted": True, "metric": "ndcg_at_10",
        "value": 0.2, "baseline": 0.1, "reason": "promoted: it is better", "serves": version,
        "recipe": json.dumps({"ials.factors": 32}), "decided_by": "train_recommender",
    }  # fmt: skip
    return {**common, **values}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Three days, each with a promoted version, its vectors and its run."""
    settings = facts.settings_of(tmp_path)
    for name, value in lake_variables(tmp_path).items():
        monkeypatch.setenv(name, value)
    facts.given(settings, t.PROMOTION, *(decision(d, v) for d, v in zip(DAYS, VERSIONS, strict=True)))
    facts.given(settings, t.FACTORS, *(
        {"model_id": f"recommender-{v}", "side": "title", "entity_id": "x", "vector": [1.0], "event_date": d}
        for d, v in zip(DAYS, VERSIONS, strict=True)))  # fmt: skip
    for day, version in zip(DAYS, VERSIONS, strict=True):
        run = tracking.Run(
            experiment="recommender", key=f"train_recommender@{day}@{version}",
            params={"origins": "2026-01-30 2026-01-31", "train_from": "2026-01-05", "train_until": day.isoformat()},
            metrics={"als_blend.coverage": 0.5, "als_blend.ndcg": 0.2, "als_blend.ndcg.low": 0.15,
                     "als_blend.ndcg.high": 0.25, "gain_over_implicit_als.ndcg": 0.03},
            tags={"reason": "promoted: it is better"}, snapshots={"silver.play": 77},
            artifacts={"model/model.json": b"{}"},
        )  # fmt: skip
        tracking.record(settings, run, register_as="recommender", version=version)
        tracking.serve(settings, "recommender", version, day)
    return settings


def call(*words: str) -> Result:
    return CliRunner().invoke(model_cli.model, words)


def alias(settings: Settings) -> str | None:
    client = tracking.connect(settings)
    number = client.get_registered_model("recommender").aliases.get(tracking.SERVING)
    if number is None:
        return None
    return client.get_model_version("recommender", number).tags[tracking.VERSION_TAG]


def serves(settings: Settings) -> str | None:
    return model_cli.decisions(lake.connect(settings))[0]["serves"]


def test_versions_are_listed_newest_first(home: Settings) -> None:
    lines = call("list").output.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        [str(d), v, v] for d, v in zip(reversed(DAYS), reversed(VERSIONS), strict=True)
    ]


def test_why_is_told_with_the_figures_of_the_run(home: Settings) -> None:
    told = call("show", "bbb").output
    assert told == call("show", "2026-02-02").output
    assert "trained up to 2026-02-02: promoted: it is better" in told and "from 2026-02-03 on bbb serves" in told
    assert "origins 2026-01-30 2026-01-31" in told and "silver.play at snapshot 77" in told
    assert "als_blend: ndcg 0.2000 [0.1500, 0.2500], coverage 0.5000" in told
    assert "gain over implicit_als 0.0300" in told
    missing = call("show", "zzz")
    assert isinstance(missing.exception, InputMissing) and "the 3 there are" in str(missing.exception)


def test_rollback_changes_what_serves_and_nothing_else(home: Settings) -> None:
    before = lake.connect(home).read(t.PROMOTION)
    assert alias(home) == "ccc"
    said = call("rollback", "--reason", "empty rows in BR")
    assert said.exit_code == 0, said.exception
    assert "from 2026-02-04 on bbb serves: rolled back from ccc to bbb: empty rows in BR" in said.output
    assert "matinee job pages choose_artwork publish --date 2026-02-03" in said.output
    assert serves(home) == "bbb" == alias(home)
    after = lake.connect(home).read(t.PROMOTION)
    key = ["event_date"]
    old, new = (f[f["event_date"] != DAYS[-1]].sort_values(key, ignore_index=True) for f in (before, after))
    assert old.equals(new) and len(after) == 3
    row = after[after["event_date"] == DAYS[-1]].iloc[0]
    assert row["promoted"] and row["version"] == "ccc" and row["decided_by"] == "rollback"
    published = lake.connect(home).read(t.PUBLICATION)
    assert published["job"].tolist() == ["rollback"] and published["state"].tolist() == ["published"]


def test_rollbacks_go_further_back_and_end_at_popularity(home: Settings) -> None:
    call("rollback")
    call("rollback")
    assert serves(home) == "aaa" == alias(home)
    end = call("rollback")
    assert isinstance(end.exception, UsageError) and "--to decayed_popularity" in str(end.exception)
    call("rollback", "--to", "decayed_popularity")
    assert serves(home) is None and alias(home) is None
    told = call("show", "ccc").output
    assert "rolled back from aaa to decayed_popularity\n" in told and "its run said: promoted: it is better" in told
    call("rollback", "--to", "ccc")
    assert serves(home) == "ccc" == alias(home), "a rollback by mistake is undone by name"


def test_what_was_rolled_back_is_not_gone_back_to(home: Settings) -> None:
    call("rollback")  # ccc -> bbb
    facts.given(home, t.PROMOTION, decision(date(2026, 2, 4), "ddd"))
    facts.given(home, t.FACTORS, {"model_id": "recommender-ddd", "side": "title", "entity_id": "x", "vector": [1.0],
                                  "event_date": date(2026, 2, 4)})  # fmt: skip
    call("rollback")
    assert serves(home) == "bbb"


def test_what_was_let_serve_again_is_gone_back_to() -> None:
    rows = [decision(day, version) for day, version in zip(reversed(DAYS), reversed(VERSIONS), strict=True)]
    undone = {**rows[0], "decided_by": "rollback"}  # to bbb, and by name back to ccc
    assert model_cli.version_before([decision(date(2026, 2, 4), "ddd"), undone, *rows[1:]]) == "ccc"
    back = {**undone, "serves": "bbb"}
    by_name = decision(date(2026, 2, 4), "ddd", promoted=False, serves="ccc", decided_by="rollback")
    assert model_cli.version_before([decision(date(2026, 2, 5), "eee"), by_name, back, *rows[1:]]) == "ccc"
    assert model_cli.version_before([decision(date(2026, 2, 4), "ddd"), back, *rows[1:]]) == "bbb"
    to_aaa = decision(date(2026, 2, 4), "ddd", promoted=False, serves="aaa", decided_by="rollback")
    assert model_cli.version_before([decision(date(2026, 2, 5), "eee"), to_aaa, back, *rows[1:]]) == "aaa"


def test_a_version_that_cannot_serve_is_refused_and_nothing_changes(home: Settings) -> None:
    unknown = call("rollback", "--to", "zzz")
    assert isinstance(unknown.exception, UsageError) and "there are ccc, bbb, aaa, decayed" in str(unknown.exception)
    facts.given(home, t.PROMOTION, decision(date(2026, 5, 20), "eee"))
    old = call("rollback", "--to", "ccc")
    assert isinstance(old.exception, InputMissing) and "reads vectors from 2026-02-20 on" in str(old.exception)
    facts.given(home, t.PROMOTION, decision(date(2026, 5, 21), "fff"))
    bare = call("rollback", "--to", "eee")
    assert isinstance(bare.exception, InputMissing) and "train_recommender --date 2026-05-20" in str(bare.exception)
    assert serves(home) == "fff" and set(lake.connect(home).read(t.PROMOTION)["decided_by"]) == {"train_recommender"}


def test_without_mlflow_the_rollback_stands_and_says_what_is_missing(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATINEE__MLFLOW__TRACKING_URI", "sqlite:////proc/no/such/mlflow.db")
    said = call("rollback", "--reason", "empty rows in BR")
    assert isinstance(said.exception, ServiceUnavailable) and "rollback --to bbb" in str(said.exception)
    assert serves(home) == "bbb" and alias(home) == "ccc"
    monkeypatch.undo()
    for name, value in lake_variables(Path(home.mlflow.tracking_uri.removeprefix("sqlite:///")).parent).items():
        monkeypatch.setenv(name, value)
    assert call("rollback", "--to", "bbb").exit_code == 0
    assert serves(home) == "bbb" == alias(home)
    reason = model_cli.decisions(lake.connect(home))[0]["reason"]
    assert reason == "rolled back from ccc to bbb: empty rows in BR", "the second call is for the alias alone"


def test_an_mlflow_server_that_is_down_is_not_waited_for(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Down(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

    with HTTPServer(("127.0.0.1", 0), Down) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MATINEE__MLFLOW__TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        said = call("rollback")
        server.shutdown()
    assert isinstance(said.exception, ServiceUnavailable) and serves(home) == "bbb"
    assert 1 <= len(asked) <= 2, "MLflow's own eight times take minutes"


def test_a_backfill_of_an_older_day_moves_no_alias(home: Settings) -> None:
    tracking.serve(home, "recommender", "aaa", DAYS[0])
    assert alias(home) == "ccc"


def test_ctrl_c_after_the_decision_ends_the_command(home: Settings) -> None:
    """Both processes get it, as from a terminal; neither waits for the other."""
    code = "import sys, matinee; sys.exit(matinee.main(['model', 'rollback']))"
    with subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, start_new_session=True) as run:
        assert run.stdout is not None and b"on bbb serves" in run.stdout.readline()
        os.killpg(run.pid, signal.SIGINT)
        try:
            assert run.wait(60) in (0, 130)  # 0: it was done already
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    assert serves(home) == "bbb"


def test_a_rollback_starts_no_jvm(home: Settings) -> None:
    """What keeps it within seconds: no JVM, no model library, no Great Expectations."""
    code = (
        "import sys, matinee; code = matinee.main(['model', 'rollback']); from pyspark import SparkContext;"
        "heavy = {'lightgbm', 'implicit', 'great_expectations'} & set(sys.modules);"  # MLflow itself imports pyspark
        "sys.exit(code or len(heavy) or SparkContext._gateway is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert serves(home) == "bbb"
