"""Plans of all clusters in record form, and the commands that carry them."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest

from models.delivery.rfc8007 import command, commands
from models.delivery.tomorrow import cluster_forecast, fill_plans, on_disk

FILES = pd.DataFrame(
    {
        "file_id": ["t1-avc-0", "t1-avc-1", "t2-avc-0", "t2-avc-1"],
        "title_id": ["t1", "t1", "t2", "t2"],
        "codec": "avc",
        "rung": [0, 1, 0, 1],
        "bytes": [10, 40, 10, 40],
        "url": ["/v/t1/0", "/v/t1/1", "/v/t2/0", "/v/t2/1"],
    }
)
CLUSTERS = pd.DataFrame(
    {
        "cdn_id": ["fast", "slow", "far"],
        "isp": ["f", "s", "x"],
        "country": ["DE", "DE", "FR"],
        "disk_bytes": [50, 50, 10],
        "fill_budget_bytes": [50, 20, 10],
    }
)
FORECAST = pd.DataFrame(
    {
        "region": ["DE"] * 4 + ["FR"],
        "file_id": [*FILES["file_id"], "t2-avc-0"],
        "expected_bytes": [100.0, 200.0, 50.0, 100.0, 9.0],
    }
)
REQUESTS = pd.DataFrame(
    {
        "cdn_id": ["fast", "fast", "slow"],
        "file_id": ["t1-avc-0", "t1-avc-1", "t1-avc-0"],
        "session_id": ["s1", "s2", "s3"],
        "bytes": [100, 900, 1000],
    }
)
DAY = date(2026, 3, 1)


def test_the_region_is_split_without_loss_and_bent_to_the_rungs_of_the_isp() -> None:
    found = cluster_forecast(FORECAST, REQUESTS, CLUSTERS, FILES)
    total = found.groupby("cdn_id")["expected_bytes"].sum()
    assert total["fast"] + total["slow"] == pytest.approx(450.0)
    assert total["far"] == pytest.approx(9.0)
    by_rung = found.merge(FILES[["file_id", "rung"]]).pivot_table(
        index="cdn_id", columns="rung", values="expected_bytes", aggfunc="sum"
    )
    assert by_rung.loc["slow", 0] > by_rung.loc["slow", 1]
    assert by_rung.loc["fast", 1] > by_rung.loc["fast", 0]


def test_a_cluster_leans_to_the_titles_its_viewers_watch_and_little_evidence_bends_little() -> None:
    def lean(viewings: int) -> float:
        log = pd.DataFrame(
            [(c, f"s{c}{n}", f"{t}-avc-0", 10) for c, t in (("fast", "t1"), ("slow", "t2")) for n in range(viewings)],
            columns=["cdn_id", "session_id", "file_id", "bytes"],
        )
        found = cluster_forecast(FORECAST, log, CLUSTERS, FILES).set_index(["cdn_id", "file_id"])["expected_bytes"]
        return float(found["fast", "t1-avc-0"] / found["slow", "t1-avc-0"])

    assert 1.0 < lean(2) < 1.6 < lean(40)


def test_no_log_means_equal_parts() -> None:
    total = cluster_forecast(FORECAST, REQUESTS.iloc[:0], CLUSTERS, FILES).groupby("cdn_id")["expected_bytes"].sum()
    assert total.to_dict() == pytest.approx({"far": 9.0, "fast": 225.0, "slow": 225.0})


def test_plans_keep_within_limits_and_the_next_night_goes_on_from_them() -> None:
    expected = cluster_forecast(FORECAST, REQUESTS, CLUSTERS, FILES)
    first = fill_plans(expected, CLUSTERS, on_disk(pd.DataFrame({"cdn_id": [], "files": []})), DAY)
    assert first["cdn_id"].tolist() == ["far", "fast", "slow"]
    assert (first["held_bytes"] <= first["disk_bytes"]).all() and (
        first["fill_bytes"] <= first["fill_budget_bytes"]
    ).all()
    slow = first.set_index("cdn_id").loc["slow"]
    assert slow["fill_bytes"] == 20 and [f["file_id"] for f in slow["files"]] == ["t1-avc-0", "t2-avc-0"]
    again = fill_plans(expected, CLUSTERS, on_disk(first), DAY)
    assert again.set_index("cdn_id").loc["fast", "fill_bytes"] == 0
    assert fill_plans(expected, CLUSTERS, on_disk(first), DAY)["plan_id"].tolist() == again["plan_id"].tolist()
    assert (first["deadline_at"] < pd.Timestamp("2026-03-01", tz="UTC")).all()


def test_command_is_what_rfc_8007_shows() -> None:
    body = json.loads(command(["https://cdn.example/a"], ["AS64496:1"]))
    assert body == {
        "trigger": {"type": "preposition", "content.urls": ["https://cdn.example/a"]},
        "cdn-path": ["AS64496:1"],
    }
    with pytest.raises(ValueError, match="not absolute"):
        command(["/a"], ["AS64496:1"])
    with pytest.raises(ValueError, match="needs URLs"):
        command([], ["AS64496:1"])


def test_every_added_file_is_sent_once_in_order_of_rank() -> None:
    count = 1234
    files = pd.DataFrame({"file_id": [f"f{i}" for i in range(count)], "url": [f"/f{i}" for i in range(count)]})
    rows = [
        {"file_id": f"f{i}", "rank": int(r), "bytes": 1, "expected_bytes": 1.0, "action": "add" if i % 2 else "keep"}
        for i, r in enumerate(np.random.default_rng(1).permutation(count))
    ]
    plan = pd.DataFrame([{"plan_id": "p", "cdn_id": "c7", "plan_date": DAY, "files": rows}])
    sent = commands(plan, files, base_url="https://{cdn_id}.cdn.example", cdn_path=["AS64496:1"], urls_per_command=100)
    urls = [u for body in sent["body"] for u in json.loads(body)["trigger"]["content.urls"]]
    wanted = [
        f"https://c7.cdn.example/{r['file_id']}" for r in sorted(rows, key=lambda r: r["rank"]) if r["action"] == "add"
    ]
    assert urls == wanted and len(sent) == 7 and sent["command_id"].is_unique


def test_an_unknown_file_is_refused() -> None:
    plan = pd.DataFrame(
        [
            {
                "plan_id": "p",
                "cdn_id": "c",
                "plan_date": DAY,
                "files": [{"file_id": "nope", "rank": 0, "bytes": 1, "expected_bytes": 1.0, "action": "add"}],
            }
        ]
    )
    with pytest.raises(ValueError, match="'nope'.*asset_file does not know"):
        commands(plan, FILES, base_url="https://x", cdn_path=["AS64496:1"])
