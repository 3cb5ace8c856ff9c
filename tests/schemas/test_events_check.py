"""`matinee events check`: every wrong field found and told, nothing changed, the guide's examples true."""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas import events_check, records, wire
from schemas.cli import events
from schemas.errors import SchemaError

STRAYS = "post_device_at must be within 24 hours of received_at"
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "your-own-events.md"


def blocks(kind: str) -> list[str]:
    """The fenced blocks of the guide in one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)
    return [text for language, text in found if language == kind]


EXAMPLE = blocks("json")[0]


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in EXAMPLE.splitlines()]


def check(tmp_path: Path, text: str | bytes, name: str = "mine.ndjson", *options: str) -> tuple[int, list[str], str]:
    file = tmp_path / name
    raw = text.encode() if isinstance(text, str) else text
    file.write_bytes(raw)
    done = CliRunner().invoke(events, ["check", str(file), *options])
    assert file.read_bytes() == raw
    error = str(done.exception) if isinstance(done.exception, SchemaError) else ""
    code = done.exception.exit_code if isinstance(done.exception, SchemaError) else done.exit_code
    return code, done.stdout.splitlines(), error


def with_row(number: int, **changed: Any) -> str:
    data = rows()
    data[number] |= changed
    return "\n".join(map(json.dumps, data)) + "\n"


def test_the_guide_passes_and_says_so(tmp_path: Path) -> None:
    code, out, _ = check(tmp_path, EXAMPLE)
    assert (code, out) == (0, ["3 events: 0 wrong, 1 sessions"])
    assert out[0] in GUIDE.read_text()


def test_a_field_named_twice_is_wrong(tmp_path: Path) -> None:
    first, *others = EXAMPLE.splitlines()
    doubled = first.rstrip().removesuffix("}") + ', "seq": 9}'
    code, out, _ = check(tmp_path, "\n".join([doubled, *others]))
    assert code == 2 and out[0] == "line 1: the line names seq twice (found: text) x 1"


def test_the_guide_shows_what_a_wrong_file_gives(tmp_path: Path) -> None:
    data = rows()
    data[1]["bitrate_kbps"], data[2]["state"] = "2400", "x"
    code, out, error = check(tmp_path, "\n".join(map(json.dumps, data)))
    shown = next(block for block in blocks("") if block.startswith("line 2"))
    assert code == 2
    assert [*out, f"error: {error}"] == shown.splitlines()


@pytest.mark.parametrize(("changed", "said"), [
    ({"seq": -1}, "seq must be at least 0 (found: integer)"),
    ({"seq": True}, "seq must be an integer (found: boolean)"),
    ({"seq": 1.0}, "seq must be an integer (found: number)"),
    ({"seq": 10**30}, "seq must fit 32 bits (found: integer)"),
    ({"buffer_ms": 3_600_001}, "buffer_ms must be at most 3,600,000 (found: integer)"),
    ({"session_id": None}, "session_id must not be null (found: null)"),
    ({"session_id": 5}, "session_id must be text (found: integer)"),
    ({"session_id": ""}, "session_id must not be empty (found: text)"),
    ({"session_id": "\ud800"}, "session_id must be Unicode text (found: text)"),
    ({"background": "no"}, "background must be true or false (found: text)"),
    ({"playback_rate": float("nan")}, "playback_rate must be a finite number (found: number)"),
    ({"playback_rate": 17}, "playback_rate must be at most 16.0 (found: integer)"),
    ({"device_at": "2026-03-01T20:00:00"}, "device_at must have a time zone (Z) (found: text)"),
    ({"device_at": "yesterday"}, "device_at must be ISO 8601 with a zone, or milliseconds since 1970 (found: text)"),
    ({"device_at": "2026-03-01T20:00:00.0001Z"}, "device_at must not be finer than a millisecond (found: text)"),
    ({"device_at": 10**17}, "device_at must be in the years 1970 to 2099 (found: integer)"),
    ({"device_at": -1}, "device_at must be in the years 1970 to 2099 (found: integer)"),
    ({"device_at": 4_102_444_800_000}, "device_at must be in the years 1970 to 2099 (found: integer)"),
    ({"device_at": "2100-01-01T00:00:00Z"}, "device_at must be in the years 1970 to 2099 (found: text)"),
    ({"device_at": "0001-01-01T00:00:00Z"}, "device_at must be in the years 1970 to 2099 (found: text)"),
    ({"received_at": 1_772_395_200}, "received_at must be after 2000: milliseconds, not seconds (found: integer)"),
    ({"sesion_id": "s"}, "sesion_id is not a field of playback_event; did you mean session_id? (found: text)"),
    ({"ad": {"is": 1}}, "ad must be true or false (found: object)"),
    ({"post_device_at": "2026-02-28T20:00:01.599Z"}, f"{STRAYS} (found: text)"),
    ({"post_device_at": "2026-03-02T20:00:01.601Z"}, f"{STRAYS} (found: text)"),
    ({"post_device_at": 1_772_395_201}, f"{STRAYS} (found: integer)"),
])  # fmt: skip
def test_each_kind_of_mistake_is_named(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    code, out, error = check(tmp_path, with_row(1, **changed))
    assert (code, out) == (2, [f"line 2: {said} x 1"])
    assert error == "3 events: 1 wrong, 1 wrong fields; correct them in the file, nothing was changed or sent"


@pytest.mark.parametrize("posted", ["2026-02-28T20:00:01.600Z", "2026-03-02T21:00:01.600+01:00", 1_772_481_601_600])
def test_a_posts_clock_off_by_a_day_is_corrected(tmp_path: Path, posted: str | int) -> None:
    assert check(tmp_path, with_row(1, post_device_at=posted))[:2] == (0, ["3 events: 0 wrong, 1 sessions"])


def test_a_device_clock_far_off_is_noted_and_no_mistake(tmp_path: Path) -> None:
    code, out, _ = check(tmp_path, with_row(1, device_at=1_772_395_201))
    assert code == 0
    assert out[0].startswith("note: line 2: device_at is more than a day from received_at x 1; a clock in seconds?")
    assert out[1] == "3 events: 0 wrong, 1 sessions"


@pytest.mark.parametrize(("name", "text"), [("mine.ndjson", "\n\n"), ("mine.csv", "seq,state\n")])
def test_a_file_without_events_is_told(tmp_path: Path, name: str, text: str) -> None:
    assert check(tmp_path, text, name) == (2, [], f"{name} holds no event: one a line is expected")


def test_values_are_never_shown(tmp_path: Path) -> None:
    _, out, error = check(tmp_path, with_row(0, profile_id={"name": "Jane Roe"}, isp=["secret"]))
    assert not re.search("Jane|secret", " ".join([*out, error]))


def test_missing_fields_and_broken_lines(tmp_path: Path) -> None:
    data = rows()
    del data[0]["cdn_id"]
    text = json.dumps(data[0]).encode() + b"\n\n[1]\n{\n\xff\xfe\n" + json.dumps(data[1]).encode()
    code, out, error = check(tmp_path, text)
    assert code == 2
    assert out == [
        "line 1: cdn_id is missing (found: nothing) x 1",
        "line 3: the line must be one JSON object (found: list) x 1",
        "line 4: the line must be one JSON object (found: text) x 1",
        "line 5: the line must be UTF-8 (found: bytes) x 1",
    ]
    assert error.startswith("5 events: 4 wrong, 4 wrong fields")


def test_equal_mistakes_are_told_once_with_their_number(tmp_path: Path) -> None:
    text = with_row(0, seq="x") * 40
    _, out, error = check(tmp_path, text)
    assert out == ["lines 1, 4, 7 and 37 more: seq must be an integer (found: text) x 40"]
    assert error.startswith("120 events: 40 wrong, 40 wrong fields")
    _, out, _ = check(tmp_path, text, "mine.ndjson", "--lines", "1")
    assert out[0].startswith("line 1 and 39 more") or out[0].startswith("lines 1 and 39 more")


def as_csv(path: Path, data: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in data for name in row))
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows(data)
    return path.read_text()


def test_csv_says_the_same_as_ndjson(tmp_path: Path) -> None:
    text = as_csv(tmp_path / "x", rows())
    assert check(tmp_path, text, "mine.csv") == (0, ["3 events: 0 wrong, 1 sessions"], "")
    data = rows()
    data[1]["bitrate_kbps"], data[2]["background"], data[0]["seq"] = "many", "perhaps", ""
    code, out, _ = check(tmp_path, as_csv(tmp_path / "x", data), "mine.csv")
    assert (code, out) == (2, [
        "line 2: seq must not be null (found: null) x 1", "line 3: bitrate_kbps must be an integer (found: text) x 1",
        "line 4: background must be true or false (found: text) x 1"])  # fmt: skip


@pytest.mark.parametrize(("text", "words"), [
    (b"", "the CSV is empty"), (b"seq,seq\n1,2\n", "names a field twice"),
])  # fmt: skip
def test_csv_without_a_usable_header(tmp_path: Path, text: bytes, words: str) -> None:
    code, _, error = check(tmp_path, text, "mine.csv")
    assert code == 2
    assert words in error


def test_csv_lines_that_do_not_fit(tmp_path: Path) -> None:
    head, *lines = as_csv(tmp_path / "x", rows()).encode().split(b"\n")
    text = b"\n".join([head, lines[0] + b",1", lines[1].replace(b"northnet", b"n\xffrd"), lines[2]])
    code, out, _ = check(tmp_path, text, "mine.csv")
    assert code == 2
    assert out[0].startswith(f"line 2: the line must have {head.count(b',') + 1} cells as the first line")
    assert out[1] == "line 3: the line must be UTF-8 (found: bytes) x 1"


def test_gzip_and_names(tmp_path: Path) -> None:
    assert check(tmp_path, gzip.compress(EXAMPLE.encode()), "mine.ndjson.gz")[0] == 0
    code, _, error = check(tmp_path, gzip.compress(EXAMPLE.encode())[:-9], "mine.ndjson.gz")
    assert (code, "not a whole gzip file" in error) == (2, True)
    assert "not a whole gzip file" in check(tmp_path, EXAMPLE, "mine.ndjson.gz")[2]
    damaged = bytearray(gzip.compress(EXAMPLE.encode()))
    damaged[40:80] = b"\xff" * 40
    code, _, error = check(tmp_path, bytes(damaged), "mine.ndjson.gz")
    assert (code, "not a whole gzip file" in error) == (2, True)
    assert "NDJSON or CSV" in check(tmp_path, EXAMPLE, "mine.txt")[2]
    assert check(tmp_path, EXAMPLE, "mine.txt", "--format", "ndjson")[0] == 0
    assert CliRunner().invoke(events, ["check", str(tmp_path / "absent.csv")]).exit_code == 2


def test_repeats_are_counted_not_wrong(tmp_path: Path) -> None:
    assert check(tmp_path, EXAMPLE * 2)[1] == [
        "6 events: 0 wrong, 1 sessions, 3 repeats of a (session_id, seq), which are counted once"
    ]


def test_read_gives_a_frame_the_wire_takes(tmp_path: Path) -> None:
    file = tmp_path / "mine.ndjson"
    file.write_text(EXAMPLE)
    frame = events_check.read(file)
    assert list(frame) == [f.name for f in records.load("playback_event").fields]
    messages = wire.encode_frame("playback_event", None, frame)
    back = [wire.decode_one(m)[2] for m in messages]
    for given, found in zip(rows(), back, strict=True):
        for name, value in given.items():
            shown = (
                found[name].isoformat(timespec="milliseconds").replace("+00:00", "Z")
                if name.endswith("_at")
                else found[name]
            )
            assert shown == value
        assert found["playback_rate"] == 1.0
        assert found["impression_id"] is None
    (tmp_path / "mine.csv").write_text(as_csv(tmp_path / "x", rows()))
    assert wire.encode_frame("playback_event", None, events_check.read(tmp_path / "mine.csv")) == messages
    file.write_text(with_row(0, seq="x"))
    with pytest.raises(SchemaError, match="1 wrong"):
        events_check.read(file)


def test_the_guide_names_real_things() -> None:
    import ast

    tree = ast.parse(blocks("python")[0])
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = __import__(node.module or "", fromlist=["x"])
            assert all(hasattr(module, alias.name) for alias in node.names), node.module
    states = set(re.findall(r"`([a-z])` [a-z]+", GUIDE.read_text().split("**`state`**")[1].split("- **")[0]))
    assert states == set(records.load("playback_event").field("state").values) - {"w"}
