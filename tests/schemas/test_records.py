"""Records and ids: what the loader refuses, and that a locked version cannot change unseen."""

from __future__ import annotations

import json

import fastavro
import pytest

from schemas import ids, qoe, records
from schemas.errors import SchemaError
from schemas.ids import Entry
from schemas.measures import HISTOGRAMS
from schemas.metrics import METRICS
from schemas.records import Array, Nested, Scalar


def avsc(**field: object) -> str:
    base = {"name": "a", "type": "int", "doc": "A."} | field
    return json.dumps({"type": "record", "name": "thing", "namespace": "matinee", "doc": "T.", "fields": [base]})


def test_every_file_is_avro_and_reads_as_a_record() -> None:
    for record in records.every():
        parsed = fastavro.parse_schema(json.loads(json.dumps(record.avro)))
        assert [f["name"] for f in parsed["fields"]] == [f.name for f in record.fields]


def test_playback_event_fields() -> None:
    record = records.load("playback_event", 1)
    assert record.field("device_at").type is Scalar.TIMESTAMP
    bitrate = record.field("bitrate_kbps")
    assert (bitrate.type, bitrate.nullable, bitrate.unit, bitrate.minimum, bitrate.maximum) == (
        Scalar.INT,
        True,
        "kbps",
        0,
        1_000_000,
    )
    assert record.field("session_id").pii == "pseudonymous"
    assert record.field("state").values[:3] == ("s", "p", "k")
    assert records.load("playback_event").version == 2
    assert records.versions("playback_event") == (1, 2)


def test_arrays_and_a_nested_record() -> None:
    rows = records.load("home_page").field("rows").type
    assert isinstance(rows, Array) and isinstance(rows.items, Nested)
    assert [f.name for f in rows.items.fields] == ["row_kind", "heading", "reason", "title_ids"]
    assert records.load("factors").field("vector").type == Array(Scalar.DOUBLE)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"type": "float"}, "type 'float'"),
        ({"type": {"type": "long", "logicalType": "timestamp-micros"}}, "timestamp-micros"),
        ({"type": {"type": "map", "values": "int"}}, "map"),
        ({"type": ["int", "null"], "default": 1}, "only union allowed"),
        ({"type": ["null", "int"]}, "default null"),
        ({"type": {"type": "array", "items": {"type": "array", "items": "int"}}}, "array of arrays"),
        ({"minimum": 0}, "unknown attribute minimum"),
        ({"pii": "secret"}, "pii is 'secret'"),
        ({"doc": ""}, "no doc"),
    ],
)
def test_what_does_not_map_to_all_engines_is_refused(field: dict[str, object], words: str) -> None:
    with pytest.raises(SchemaError, match=r"thing\.v1") as caught:
        records.parse(avsc(**field), "thing.v1")
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(SchemaError, match="no record 'nope'; records are: artwork,"):
        records.load("nope")
    with pytest.raises(SchemaError, match="has no version 3; it has: 1, 2"):
        records.load("playback_event", 3)
    with pytest.raises(SchemaError, match="other"):
        records.parse(avsc(), "other.v1")


def test_the_lock_matches_and_every_version_has_its_own_id() -> None:
    assert ids.check(ids.lock()) == []
    found = {ids.schema_id(r.name, r.version): (r.name, r.version) for r in records.every()}
    assert len(found) == len(records.every())
    assert all(ids.by_id(number) == version for number, version in found.items())
    assert ids.by_id(0) is None


@pytest.mark.parametrize(
    "change",
    [
        {"type": "long"},
        {"unit": "s"},
        {"min": 1},
        {"max": 3},
        {"default": 4},
        {"pii": "direct"},
        {"name": "b"},
    ],
)
def test_a_change_of_meaning_changes_the_fingerprint(change: dict[str, object]) -> None:
    before = records.parse(avsc(unit="ms", min=0, max=9), "thing.v1")
    after = records.parse(avsc(**{"unit": "ms", "min": 0, "max": 9} | change), "thing.v1")
    assert ids.fingerprint(before) != ids.fingerprint(after)


def test_better_words_do_not_change_the_fingerprint() -> None:
    assert ids.fingerprint(records.parse(avsc(), "thing.v1")) == ids.fingerprint(
        records.parse(avsc(doc="Better."), "thing.v1")
    )


def test_another_fingerprint_under_an_old_id_is_refused() -> None:
    first, *rest = ids.lock()
    wrong = ids.check((Entry(first.id, first.record, first.version, "0" * 64), *rest))
    assert len(wrong) == 1 and f"not what id {first.id} stands for" in wrong[0]
    assert "is gone" in ids.check((*ids.lock(), Entry(999, "ghost", 1, "0" * 64)))[0]
    missing = ids.check(tuple(rest))
    assert len(missing) == 1 and "has no id" in missing[0]


def test_the_lock_only_grows() -> None:
    shortened = ids.lock()[:-2]
    grown = ids.extended(shortened)
    assert grown[: len(shortened)] == shortened
    assert [e.id for e in grown[-2:]] == [shortened[-1].id + 1, shortened[-1].id + 2]
    with pytest.raises(SchemaError, match="stands twice"):
        ids.parse_lock(ids.lock()[0].line * 2)
    with pytest.raises(SchemaError, match="line 1"):
        ids.parse_lock("1 span x\n")


def test_the_records_of_sums_follow_the_metrics() -> None:
    minute, day = records.load("qoe_minute"), records.load("qoe_daily")
    sums = [column for metric in METRICS for column in metric.columns]
    sums += [column for histogram in HISTOGRAMS for column in histogram.columns]
    assert [f.name for f in minute.fields][-len(sums) :] == sums
    assert [f.name for f in day.fields] == [f.name for f in minute.fields if f.name != "minute_at"]
    assert all(minute.field(column).default == 0 and minute.field(column).has_default for column in sums)
    generated = ("qoe_minute", "qoe_daily", "qoe_session", "session", "span")
    assert set(qoe.files()) == {f"{records.load(name).label}.avsc" for name in generated}
