"""Reads the CMCD cases (tests/golden/cmcd)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.playback import cmcd, cmcd_event
from models.playback.cmcd import Item, Token

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "cmcd"
HEAD = {"w": 1, "at": 1_790_000_000_500, "newest": 1_790_000_000_100, "isp": "DE-1", "country": "DE",
        "device": Token("tv"), "cdn": [Item("cluster-1", (("h", "edge-1"),))]}  # fmt: skip


def records() -> list[dict[str, Any]]:
    """Good records; `line` as bytes, `canonical`, `dropped` and `unknown` always there."""
    found = []
    for text in (FOLDER / "records.ndjson").read_text().splitlines():
        case = json.loads(text)
        case = {"canonical": case["line"], "dropped": [], "unknown": {}, "event": {}} | case
        found.append(case | {"line": case["line"].encode()})
    return found


def refused() -> list[dict[str, Any]]:
    """Lines that are no events; `line` as bytes."""
    cases = [json.loads(text) for text in (FOLDER / "refused.ndjson").read_text().splitlines()]
    return [case | {"line": bytes.fromhex(case["hex"]) if "hex" in case else case["line"].encode()} for case in cases]


def message(lines: list[bytes], head: dict[str, Any] | None = None) -> bytes:
    """A message of topic cmcd."""
    return b"\n".join([cmcd.encode(HEAD | (head or {}), cmcd_event.COLLECTOR_KEYS).encode(), *lines])
