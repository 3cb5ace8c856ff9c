"""`matinee stream snowplow FILE`: what is no text, no JSON or too deep is told by its line, and the rest goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from conf.errors import AuditFailed
from streaming.cli import stream
from tests.models.playback.test_snowplow import PLAYER, STORY


@pytest.mark.parametrize("line", [b"\xff\xfe", b'"\\ud800"', b"[" * 100_000, b"{", b"5"], ids=range(5))
def test_a_line_that_is_no_event_is_told(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\xef\xbb\xbf5\n" + line + b"\n")
    done = CliRunner().invoke(stream, ["snowplow", str(path)])
    assert isinstance(done.exception, AuditFailed), done.exception
    assert "event 1: no JSON object" in done.output and "event 2: no JSON object" in done.output


def test_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    lines = [{"event_id": [1]}, STORY[0], STORY[1] | {PLAYER: [{"label": "\ud83d"}]}, {"event_id": {}}, STORY[2]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = CliRunner().invoke(stream, ["snowplow", str(path)])
    assert isinstance(done.exception, AuditFailed) and str(done.exception).startswith("3 events")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [0, 1]
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["event 1", "event 3", "event 4"]
