"""The decoder: equal to fastavro on good bytes, and on any other bytes a reason, never an exception."""

from __future__ import annotations

import io
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import fastavro
import pandas as pd
import pytest

from schemas import ids, records, wire
from schemas.errors import SchemaError
from schemas.records import Array, Field, Scalar
from schemas.validate import Validator
from tests.kernel import hostile, jvm

pytestmark = pytest.mark.jvm
FUZZED = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _event(version: int = 2, **changes: Any) -> bytes:
    row = hostile.session(random.Random(1), "s1")[0] | {"state": "p", "bitrate_kbps": 3000} | changes
    for name in ("device_at", "received_at", "post_device_at"):
        if isinstance(row[name], int):
            row[name] = EPOCH + timedelta(milliseconds=row[name])
    names = {field.name for field in records.load("playback_event", version).fields}
    return wire.encode_one("playback_event", {name: value for name, value in row.items() if name in names}, version)


def _decode(record: str, cases: list[tuple[bytes | None, bytes | None]]) -> list[list[str | None]]:
    return jvm.run(["decode", record], [jvm.Message(0, n, 0, key, value) for n, (key, value) in enumerate(cases)])


def _text(value: Any) -> str | None:
    if isinstance(value, datetime):
        return str((value - EPOCH) // timedelta(milliseconds=1))
    if isinstance(value, date):
        return str((value - EPOCH.date()).days)
    if isinstance(value, list):
        return "[" + ", ".join(str(_text(item)) for item in value) + "]"
    return jvm.text(value)


def _sample(field: Field, rng: random.Random) -> Any:
    if field.nullable and rng.random() < 0.5:
        return None
    if isinstance(field.type, Array):
        return [_scalar(field.type.items, field, rng) for _ in range(rng.randint(0, 3))]
    return _scalar(field.type, field, rng)


def _scalar(kind: Any, field: Field, rng: random.Random) -> Any:
    if field.values:
        return rng.choice(field.values)
    low, high = field.minimum, field.maximum
    whole = rng.choice(
        (int(low or 0), int(high if high is not None else 2**31 - 1), 1 if low is None else int(low) + 1)
    )
    made: dict[Scalar, Any] = {
        Scalar.BOOLEAN: rng.random() < 0.5,
        Scalar.INT: whole,
        Scalar.LONG: whole,
        Scalar.DOUBLE: (low or 0.0) + 0.5,
        Scalar.STRING: rng.choice(("", "x", "é\u4e2d\U0001f3ac", "\ufffd")),
        Scalar.TIMESTAMP: EPOCH + timedelta(milliseconds=rng.choice((0, 1_790_000_000_123))),
        Scalar.DATE: date(rng.choice((1, 1962, 2026)), 1, 2),
    }
    return made[kind]


@pytest.mark.parametrize(
    "name", ["title", "artwork", "asset_file", "profile", "cdn_cluster", "impression", "cdn_request"]
)
def test_equal_to_fastavro(name: str) -> None:
    rng = random.Random(name)
    fields = records.load(name).fields
    rows = [{field.name: _sample(field, rng) for field in fields} for _ in range(50)]
    found = _decode(name, [(b"k", wire.encode_one(name, row)) for row in rows])
    assert found == [["good", *(_text(row[field.name]) for field in fields)] for row in rows]


def test_the_older_version_gets_defaults() -> None:
    [old, new] = _decode(
        "playback_event", [(b"s1", _event(1)), (b"s1", _event(2, throughput_kbps=5, playback_rate=2.0))]
    )
    assert old[-5:] == [None, None, "1.0", "", None] and new[-5:] == ["5", None, "2.0", "", None]
    assert old[:-5] == new[:-5]


def _unchecked(name: str, value: Any, **changes: Any) -> bytes:
    """A v2 event whose field holds what `wire` itself would refuse."""
    row = wire.decode_one(_event(**changes))[2] | {name: value}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, wire.logical_schema("playback_event", 2), row)
    return wire.header("playback_event", 2) + out.getvalue()


CASES: dict[str, tuple[bytes | None, bytes | None, str, str]] = {
    "no value": (b"s1", None, "frame", "no value"),
    "empty": (b"s1", b"", "frame", "the message has 0"),
    "not framed": (b"s1", b'{"json": 1}', "frame", "first byte is 123"),
    "unknown id": (b"s1", b"\0\0\0\x27\x10", "schema", "schema id 10000"),
    "another record": (
        b"s1",
        b"\0" + ids.schema_id("title", 1).to_bytes(4),
        "schema",
        "is record title, not playback_event",
    ),
    "cut": (b"s1", _event()[:40], "decode", "the message ends here"),
    "longer": (b"s1", _event() + b"\0", "decode", "1 bytes left"),
    "a claim of 2 GB": (
        b"s1",
        _event()[:5] + b"\xfe\xff\xff\xff\x0f" + _event()[8:],
        "decode",
        "a length beyond the end",
    ),
    "not UTF-8": (b"s1", _event()[:5] + b"\x04\xff\xfe" + _event()[8:], "decode", "session_id: not UTF-8"),
    "value not in set": (b"s1", _unchecked("state", "x"), "range", "state is x"),
    "too high": (
        b"s1",
        _unchecked("bitrate_kbps", 1_000_001),
        "range",
        "bitrate_kbps is 1000001: allowed is 0 to 1000000",
    ),
    "below": (b"s1", _unchecked("seq", -1), "range", "seq is -1"),
    "not finite": (
        b"s1",
        _unchecked("playback_rate", float("nan")),
        "range",
        "playback_rate is NaN: it must be finite",
    ),
    "before 1970": (b"s1", _unchecked("device_at", EPOCH - timedelta(milliseconds=1)), "range", "device_at is -1"),
    "after 2099": (b"s1", _unchecked("received_at", EPOCH.replace(year=2100)), "range", "received_at is 4102444800000"),
    "wrong key": (b"s2", _event(), "key", "message key is not the record's session_id"),
    "no session": (b"", _event(session_id=""), "range", "session_id is empty"),
    "no key": (None, _event(), "key", "session_id"),
}


@pytest.fixture(scope="module")
def refused() -> dict[str, list[str | None]]:
    return dict(zip(CASES, _decode("playback_event", [case[:2] for case in CASES.values()]), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, refused: dict[str, list[str | None]]) -> None:
    _, value, error_class, reason = CASES[case]
    [kind, schema_id, found_class, found_reason] = refused[case]
    assert (kind, found_class) == ("bad", error_class)
    assert reason in str(found_reason)
    assert schema_id == ("-1" if error_class == "frame" else str(int.from_bytes((value or b"")[1:5])))


RECEIVED = hostile.MIDNIGHT
DAY_MS = 86_400_000


@pytest.mark.parametrize("version", [1, 2])
def test_a_clock_more_than_a_day_from_its_receipt_is_refused_as_by_the_file_check(version: int) -> None:
    """A day to the millisecond is still corrected; only the POST's clock matters, not the event's own time."""
    off = (0, DAY_MS, -DAY_MS, DAY_MS + 1, -DAY_MS - 1, 2 * DAY_MS, 5_000 - RECEIVED, 4_102_444_799_999 - RECEIVED)
    same = {"received_at": RECEIVED, "device_at": RECEIVED - 3 * DAY_MS}
    rows = [same | {"post_device_at": RECEIVED + by} for by in off]
    found = _decode("playback_event", [(b"s1", _event(version, **row)) for row in rows])
    strayed = [abs(by) > DAY_MS for by in off]
    assert [line[0] == "bad" for line in found] == strayed and any(strayed) and not all(strayed)
    assert {line[2] for line in found if line[0] == "bad"} == {"clock"}
    assert found[6][3] == "post_device_at is 5000: more than 24 h from received_at"
    check = Validator(records.load("playback_event"))
    whole = hostile.session(random.Random(1), "s1")[0]
    assert [[wrong.field for wrong in check.wrong(whole | row)] for row in rows] == [
        ["post_device_at"] if bad else [] for bad in strayed
    ]


def test_what_else_is_wrong_is_told_before_the_clock() -> None:
    row = {"received_at": RECEIVED, "post_device_at": 5_000}
    [keyed, ranged] = _decode("playback_event", [(b"s2", _event(**row)), (b"s1", _unchecked("seq", -1, **row))])
    assert (keyed[2], ranged[2]) == ("key", "range")


def test_a_personal_value_is_never_told() -> None:
    [[_, _, error_class, reason]] = _decode("profile", [(b"k", wire.header("profile", 1) + b"\x06eve")])
    assert error_class == "decode" and "eve" not in str(reason)


def test_control_record() -> None:
    message = wire.encode_one(
        "day_end", {"day": date(2026, 11, 1), "partition": 2, "received_at": datetime(2026, 11, 2, tzinfo=UTC)}
    )
    good, bad, elsewhere = (
        *_decode("playback_event", [(b"__day_end__2", message), (b"__day_end__1", message)]),
        *_decode("title", [(b"__day_end__2", message)]),
    )
    assert good[0] == "good"
    assert bad[2] == "key" and elsewhere[2] == "schema"


def _mutated(rng: random.Random, message: bytes) -> bytes:
    data = bytearray(message)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place, kind = rng.randrange(len(data) or 1), rng.randrange(5)
        if kind == 0 and data:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place:place] = rng.randbytes(rng.randint(1, 6))
        elif kind == 2:
            del data[place : place + rng.randint(1, 6)]
        elif kind == 3 and data:
            data[place] = rng.choice((0, 0x7F, 0x80, 0xFF))
        elif kind == 4:
            data = bytearray(rng.randbytes(rng.randint(0, 60)))
    return bytes(data)


def test_fuzz() -> None:
    rng = random.Random(2026)
    seeds = [
        _event(version, seq=seq, bitrate_kbps=rate) for version in (1, 2) for seq in (0, 200) for rate in (None, 3000)
    ]
    messages = [_mutated(rng, rng.choice(seeds)) for _ in range(FUZZED)]
    found = _decode("playback_event", [(b"s1", message) for message in messages])
    assert len(found) == FUZZED
    good = [(message, line[1:]) for message, line in zip(messages, found, strict=True) if line[0] == "good"]
    expected = wire.decode_many([message for message, _ in good], "playback_event")
    for name, values in zip(expected, zip(*(line for _, line in good), strict=True), strict=True):
        if expected[name].dtype.kind == "M":
            assert list(values) == [str(at.value // 1_000_000) for at in expected[name]]
        elif expected[name].dtype.kind != "f":
            assert list(values) == [None if pd.isna(value) else _shown(value) for value in expected[name]]
    bad = Counter(line[2] for line in found if line[0] == "bad")
    assert sum(bad.values()) + len(good) == FUZZED
    assert set(bad) == {"frame", "schema", "decode", "range", "key", "clock"}
    assert all(line[3] for line in found if line[0] == "bad")
    assert min(bad.values()) > 20 and len(good) > 500
    _python_agrees(messages, found)


def _shown(value: Any) -> str | None:
    return str(value).translate({9: "?", 10: "?"}) if isinstance(value, str) else _text(value)


def _python_agrees(messages: list[bytes], found: list[list[str | None]]) -> None:
    """What Python's strict reader refuses for its frame or schema, the kernel refuses for the same reason."""
    for message, line in zip(messages, found, strict=True):
        try:
            wire.split(message)
        except SchemaError as error:
            assert line[0] == "bad" and line[2] == getattr(error, "error_class", None)
