"""`matinee stream snowplow FILE`: what is no text, no JSON or too deep is told by its line, and the rest goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from conf.errors import AuditFailed
from streaming.cli import stream


@pytest.mark.parametrize("line", [b"\xff\xfe", b'"\\ud800"', b"[" * 100_000, b"{", b"5"], ids=range(5))
def test_a_line_that_is_no_event_is_told(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\xef\xbb\xbf5\n" + line + b"\n")
    done = CliRunner().invoke(stream, ["snowplow", str(path)])
    assert isinstance(done.exception, AuditFailed), done.exception
    assert "event 1: no JSON object" in done.output and "event 2: no JSON object" in done.output
