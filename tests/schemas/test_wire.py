"""The wire: bytes equal fastavro's and hand-written ones, versions read each other, bad bytes are refused by class."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from typing import Any

import fastavro
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import columnar, ids, records, wire
from schemas.errors import SchemaError, WireError
from schemas.records import Record
from tests.schemas.strategies import QUICK, rows, typed

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVERY = [pytest.param(record, id=record.label) for record in records.every()]


def by_fastavro(record: Record, row: dict[str, Any]) -> bytes:
    """The oracle: header by hand, body by fastavro."""
    out = io.BytesIO()
    out.write(b"\x00" + ids.schema_id(record.name, record.version).to_bytes(4, "big"))
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(record.avro))), row)
    return out.getvalue()


def event(**changed: Any) -> dict[str, Any]:
    return {
        "session_id": "s", "seq": 1, "event": "ps", "device_at": AT, "received_at": AT, "post_device_at": AT,
        "state": "p",
        "bitrate_kbps": None, "buffer_ms": 300, "stall_count": 0, "stall_total_ms": None, "start_delay_ms": None,
        "playhead_ms": 64, "background": False, "ad": True, "error_code": None, "profile_id": "p", "title_id": "t",
        "asset_id": "a", "isp": "i", "country": "DE", "device": "tv", "app_version": "1", "cdn_id": "c",
        "impression_id": None, "page_id": "g",
    } | changed  # fmt: skip


@pytest.mark.parametrize("record", EVERY)
def test_frame_equals_fastavro_for_every_record(record: Record) -> None:
    @QUICK
    @given(rows(record))
    def equal(data: list[dict[str, Any]]) -> None:
        expected = [by_fastavro(record, row) for row in data]
        assert wire.encode_frame(record.name, record.version, typed(record, data)) == expected
        assert [wire.encode_one(record.name, row, record.version) for row in data] == expected

    equal()


def test_hand_written_bytes() -> None:
    day_end = {
        "day": date(1970, 1, 3),
        "partition": 300,
        "received_at": datetime(1970, 1, 1, 0, 0, 0, 64_000, tzinfo=UTC),
    }
    number = ids.schema_id("day_end", 1)
    expected = b"\x00" + bytes([0, 0, 0, number]) + b"\x04" + b"\xd8\x04" + b"\x80\x01"
    assert wire.encode_one("day_end", day_end) == expected
    assert wire.encode_frame("day_end", 1, pd.DataFrame([day_end])) == [expected]
    assert wire.decode_one(expected) == ("day_end", 1, day_end)


@QUICK
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_varints_against_the_definition(numbers: list[int]) -> None:
    data, size = columnar.varints(np.array(numbers, dtype=np.int64))
    for row, number in enumerate(numbers):
        zigzag, expected = number * 2 if number >= 0 else -number * 2 - 1, []
        while True:
            zigzag, low = zigzag >> 7, zigzag & 0x7F
            expected.append(low | 0x80 if zigzag else low)
            if not zigzag:
                break
        assert data[row, : size[row]].tolist() == expected


@QUICK
@given(rows(records.load("playback_event", 2), max_size=6), st.integers(1, 4))
def test_chunks_do_not_show(data: list[dict[str, Any]], chunk: int) -> None:
    record = records.load("playback_event", 2)
    frame = typed(record, data)
    with pytest.MonkeyPatch.context() as patch:
        whole = wire.encode_frame("playback_event", 2, frame)
        patch.setattr(columnar, "CHUNK_ROWS", chunk)
        assert wire.encode_frame("playback_event", 2, frame) == whole
        patch.setattr(columnar, "CHUNK_ROWS", 8192)
        patch.setattr(columnar, "CHUNK_BYTES", 64)
        assert wire.encode_frame("playback_event", 2, frame) == whole


def test_one_long_string_among_short_ones() -> None:
    data = [event(session_id="x" * (3_000_000 if i == 500 else 5)) for i in range(1000)]
    out = wire.encode_frame("playback_event", 1, typed(records.load("playback_event", 1), data))
    assert out == [by_fastavro(records.load("playback_event", 1), row) for row in data]


@pytest.mark.parametrize("kind", ["category", "string", "string[pyarrow]", "object"])
def test_column_types_of_strings_do_not_matter(kind: str) -> None:
    data = [event(session_id=f"s{i % 3}", page_id=None if i % 2 else "g") for i in range(10)]
    frame = typed(records.load("playback_event", 1), data)
    for column in ("session_id", "page_id", "country", "error_code"):
        frame[column] = frame[column].astype(kind)
    assert wire.encode_frame("playback_event", 1, frame) == [
        by_fastavro(records.load("playback_event", 1), r) for r in data
    ]


@pytest.mark.parametrize("column", [
    pd.Series([1, None], dtype="Int64"), pd.Series([1.0, np.nan]), pd.Series([1, None], dtype=object),
    pd.Series([1, None], dtype="int32[pyarrow]"), pd.Series([1, pd.NA], dtype="UInt16"),
])  # fmt: skip
def test_column_types_of_nullable_integers_do_not_matter(column: pd.Series) -> None:
    data = [event(bitrate_kbps=1), event(bitrate_kbps=None)]
    frame = typed(records.load("playback_event", 1), data).assign(bitrate_kbps=column)
    assert wire.encode_frame("playback_event", 1, frame) == [
        by_fastavro(records.load("playback_event", 1), r) for r in data
    ]


@pytest.mark.parametrize("column", [
    pd.Series([AT]).dt.as_unit("ns"), pd.Series([AT]).dt.as_unit("us").dt.tz_convert("Asia/Tokyo"),
    pd.Series([AT], dtype=object), pd.Series([int(AT.timestamp() * 1000)]),
])  # fmt: skip
def test_forms_of_a_time_do_not_matter(column: pd.Series) -> None:
    frame = typed(records.load("playback_event", 1), [event()]).assign(device_at=column)
    assert wire.encode_frame("playback_event", 1, frame) == [by_fastavro(records.load("playback_event", 1), event())]


@pytest.mark.parametrize("column", [
    pd.Series([date(2026, 3, 1)]), pd.Series([np.datetime64("2026-03-01", "s")]), pd.Series([20513]),
])  # fmt: skip
def test_forms_of_a_date_do_not_matter(column: pd.Series) -> None:
    row = {"day": date(2026, 3, 1), "partition": 0, "received_at": AT}
    frame = typed(records.load("day_end"), [row]).assign(day=column)
    assert wire.encode_frame("day_end", 1, frame) == [by_fastavro(records.load("day_end"), row)]


WRONG: list[Any] = [
    ("seq", pd.Series([1, 2**31]), "row 1 holds an integer of more than 32 bits"),
    ("seq", pd.Series([1, None], dtype="Int64"), "1 nulls, the first in row 1"),
    ("seq", pd.Series([1.0, 1.5]), "row 1 holds a number that is not a whole one"),
    ("playhead_ms", pd.Series([1.0, 2.0**60]), "row 1 holds a number above 2^53"),
    ("seq", pd.Series([True, False]), "the column is bool"),
    ("seq", pd.Series([1, "2"], dtype=object), "row 1 holds a str"),
    ("seq", pd.Series([1, 2**70], dtype=object), "more than 64 bits"),
    ("session_id", pd.Series(["a", 3], dtype=object), "row 1 holds a int"),
    ("session_id", pd.Series(["a", "\ud800"], dtype=object), "row 1 holds text that is not Unicode"),
    ("session_id", pd.Series(["a", ["b"]], dtype=object), "the field holds single values"),
    ("device_at", pd.Series([AT, AT]).dt.tz_localize(None), "a timestamp is datetime64[ms, UTC]"),
    ("device_at", pd.Series([AT.replace(tzinfo=None)] * 2, dtype=object), "without a time zone"),
    ("device_at", pd.Series([AT, AT.replace(microsecond=1)]), "finer than a millisecond"),
    ("ad", pd.Series([0, 1]), "the field is a boolean"),
    ("ad", pd.Series([True, "no"], dtype=object), "row 1 holds a str"),
    ("playback_rate", pd.Series([1.0, np.nan]), "1 nulls, the first in row 1"),
    ("playback_rate", pd.Series(["1", "2"]), "row 0 holds a str"),
]


@pytest.mark.parametrize(("name", "column", "words"), WRONG)
def test_wrong_columns_name_field_row_and_rule(name: str, column: pd.Series, words: str) -> None:
    said: dict[str, Any] = {"throughput_kbps": None, "playback_rate": 1.0, "kept": "", "dropped_keys": None}
    data = [event(dropped_frames=1, **said) for _ in range(2)]
    frame = typed(records.load("playback_event", 2), data).assign(**{name: column})
    with pytest.raises(SchemaError) as caught:
        wire.encode_frame("playback_event", 2, frame)
    assert f"playback_event.v2.{name}" in str(caught.value)
    assert words in str(caught.value)


def test_missing_and_doubled_columns() -> None:
    frame = typed(records.load("playback_event", 1), [event()])
    without = wire.encode_frame("playback_event", 1, frame.drop(columns="bitrate_kbps"))
    assert without == wire.encode_frame("playback_event", 1, frame.assign(bitrate_kbps=pd.array([None], dtype="Int32")))
    with pytest.raises(SchemaError, match="no column ad; it has: session_id"):
        wire.encode_frame("playback_event", 1, frame.drop(columns="ad"))
    with pytest.raises(SchemaError, match="stands twice"):
        wire.encode_frame("playback_event", 1, pd.concat([frame, frame[["ad"]]], axis=1))


@pytest.mark.parametrize(("changed", "words"), [
    ({"seq": "1"}, "field seq holds a str; it must be int"), ({"seq": True}, "field seq holds a bool"),
    ({"seq": 2**31}, "field seq holds a int"), ({"bitrate_kbps": "x"}, "it must be int or null"),
    ({"session_id": None}, "field session_id holds a NoneType"), ({"nope": 1}, "has no field nope"),
    ({"device_at": AT.replace(tzinfo=None)}, "field device_at holds a time without a zone"),
])  # fmt: skip
def test_encode_one_names_the_field(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError) as caught:
        wire.encode_one("playback_event", event(**changed))
    assert words in str(caught.value)


def test_encode_one_fills_defaults_and_misses_fields() -> None:
    assert wire.decode_one(wire.encode_one("playback_event", event()))[2]["playback_rate"] == 1.0
    with pytest.raises(SchemaError, match="field session_id is missing"):
        wire.encode_one("playback_event", {"seq": 1})


@QUICK
@given(rows(records.load("playback_event", 1)))
def test_versions_read_each_other(data: list[dict[str, Any]]) -> None:
    first, second = records.load("playback_event", 1), records.load("playback_event", 2)
    old = wire.encode_frame("playback_event", 1, typed(first, data))
    new = wire.encode_frame("playback_event", 2, typed(second, [
        row | {"throughput_kbps": 5, "dropped_frames": None, "playback_rate": 2.0, "kept": "", "dropped_keys": None}
        for row in data]))  # fmt: skip
    as_new = wire.decode_many(old, "playback_event")
    assert list(as_new) == [f.name for f in second.fields]
    assert as_new["playback_rate"].tolist() == [1.0] * len(data)
    assert as_new["throughput_kbps"].isna().all()
    pd.testing.assert_frame_equal(as_new[[f.name for f in first.fields]], typed(first, data), check_dtype=True)
    as_old = wire.decode_many(new, "playback_event", 1)
    pd.testing.assert_frame_equal(as_old, typed(first, data))
    mixed = wire.decode_many(old + new, "playback_event")
    assert mixed["playback_rate"].tolist() == [1.0] * len(data) + [2.0] * len(data)


@pytest.mark.parametrize("record", EVERY)
def test_decoding_gives_back_what_was_encoded(record: Record) -> None:
    @QUICK
    @given(rows(record, max_size=4))
    def back(data: list[dict[str, Any]]) -> None:
        messages = wire.encode_frame(record.name, record.version, typed(record, data))
        assert [wire.decode_one(m) for m in messages] == [(record.name, record.version, row) for row in data]
        frame = wire.decode_many(messages, record.name, record.version)
        pd.testing.assert_frame_equal(frame, typed(record, data))
        assert wire.encode_frame(record.name, record.version, frame) == messages

    back()


@pytest.mark.parametrize(("message", "error_class"), [
    (b"", "frame"), (b"\x00\x00\x00", "frame"), (b"\x01\x00\x00\x00\x01abc", "frame"), (b'{"session_id": 1}', "frame"),
    (b"\x00\x00\x00\xff\xffabc", "schema"),
    (wire.header("playback_event", 1), "decode"), (wire.header("playback_event", 1) + b"\x02", "decode"),
    (wire.encode_one("playback_event", event())[:-3], "decode"),
    (wire.encode_one("playback_event", event()) + b"x", "decode"),
    (wire.header("day_end", 1) + b"\x80\x80\x80\x80\x80\x01" + b"\x00\x00", "decode"),
    (wire.header("day_end", 1) + b"\x00\x00" + b"\xff" * 8 + b"\x7f", "range"),
])  # fmt: skip
def test_bad_bytes_are_refused_by_class(message: bytes, error_class: str) -> None:
    with pytest.raises(WireError) as caught:
        wire.decode_one(message)
    assert caught.value.error_class == error_class


@QUICK
@given(st.sampled_from(records.every()), st.binary(max_size=300))
def test_random_bytes_never_raise_anything_else(record: Record, body: bytes) -> None:
    message = wire.header(record.name, record.version) + body
    try:
        wire.decode_one(message)
    except WireError as error:
        assert error.error_class in ("decode", "range")


def test_decode_many_says_which_message_and_refuses_another_record() -> None:
    good = wire.encode_one("playback_event", event())
    with pytest.raises(WireError, match="message 1: 2 bytes without"):
        wire.decode_many([good, b"ab"], "playback_event")
    other = wire.encode_one("day_end", {"day": date(2026, 3, 1), "partition": 0, "received_at": AT})
    with pytest.raises(WireError, match="message 1: a day_end message where playback_event was expected"):
        wire.decode_many([good, other], "playback_event")


def test_an_empty_frame_has_the_columns_and_types() -> None:
    frame = wire.decode_many([], "playback_event")
    assert frame.dtypes.astype(str)[["session_id", "seq", "device_at", "bitrate_kbps", "ad"]].tolist() == [
        "object", "int32", "datetime64[ms, UTC]", "Int32", "bool"]  # fmt: skip
    assert wire.encode_frame("playback_event", 2, frame) == []
