"""Reads the golden cases (tests/golden/playback): events, and expected rows made comparable."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from models.playback.spans import MEASURES, REVISIONS, Policy

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "playback"
CASES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
DEFAULTS = {
    "session_id": "golden",
    "event": "ps",
    "bitrate_kbps": None,
    "playhead_ms": None,
    "background": False,
    "ad": False,
    "profile_id": "p1",
    "title_id": "t1",
    "asset_id": "a1",
    "isp": "isp1",
    "country": "FR",
    "device": "tv",
    "app_version": "1.0",
    "cdn_id": "c1",
    "impression_id": None,
    "page_id": None,
    "buffer_ms": None,
    "stall_count": None,
    "stall_total_ms": None,
    "start_delay_ms": None,
    "error_code": None,
    "throughput_kbps": None,
    "dropped_frames": None,
    "playback_rate": 1.0,
    "kept": "",
    "kafka_partition": 0,
}


def events(case: str) -> list[dict[str, Any]]:
    """Complete events in the order of the topic."""
    rows = [json.loads(line) for line in (FOLDER / case / "events.ndjson").read_text().splitlines()]
    return [
        DEFAULTS | {"received_at": row["device_at"], "post_device_at": row["device_at"], "kafka_offset": n} | row
        for n, row in enumerate(rows)
    ]


def policy(case: str) -> Policy:
    """The default policy, or the case's own."""
    path = FOLDER / case / "policy.json"
    return Policy(**json.loads(path.read_text())) if path.is_file() else Policy()


def expected(case: str, kind: str, revision: str) -> list[dict[str, str]]:
    """Rows of spans.csv or sessions.csv for one revision; a measure without a column is added as 0."""
    assert revision in REVISIONS
    with (FOLDER / case / f"{kind}.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["revision"] in ("both", revision)]
    return [dict.fromkeys(MEASURES, "0") | row | {"revision": revision} for row in rows]


def comparable(rows: list[dict[str, Any]], like: list[dict[str, str]]) -> list[dict[str, str]]:
    """`rows` as text, with the columns of `like`."""
    names = like[0] if like else {}
    return [{name: _text(row[name]) for name in names} for row in rows]


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
