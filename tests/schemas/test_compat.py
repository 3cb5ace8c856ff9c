"""Versions understand each other, and a change that would break that is found: by Avro's rules, by bytes, by ours."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas import compat, records, samples
from schemas.records import Record
from schemas.validate import Validator

Change = Callable[[list[dict[str, Any]]], None]


def mutant(change: Change, name: str = "playback_event", version: int = 2) -> Record:
    """The next version of a record with its fields changed."""
    avro = copy.deepcopy(dict(records.load(name, version).avro))
    change(avro["fields"])
    return records.parse(json.dumps(avro), f"{name}.v{version + 1}")


def field(fields: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(f for f in fields if f["name"] == name)


def test_every_committed_pair_is_compatible() -> None:
    assert compat.every_problem() == []
    assert compat.mode("playback_event") == compat.FULL
    assert compat.mode("day_end") == compat.FULL
    assert compat.mode("span") == compat.BACKWARD
    assert compat.mode("dead_letter") == compat.BACKWARD, "its fields are headers, never Avro"


NEW = {"name": "new", "type": "int", "doc": "New."}
BREAKS: list[Any] = [
    ("field without default", lambda fs: fs.append(dict(NEW)), (True, False)),
    ("field removed", lambda fs: fs.remove(field(fs, "seq")), (False, True)),
    ("field renamed", lambda fs: field(fs, "seq").update(name="sn"), (True, True)),
    ("int to string", lambda fs: field(fs, "seq").update(type="string", min=None, max=None), (True, True)),
    ("int to long", lambda fs: field(fs, "stall_count").update(type=["null", "long"]), (False, True)),
    ("null allowed", lambda fs: field(fs, "session_id").update(type=["null", "string"], default=None), (False, True)),
    ("null forbidden", lambda fs: field(fs, "buffer_ms").update(type="int", default=0), (True, False)),
    ("range narrowed", lambda fs: field(fs, "seq").update(max=100), (True, False)),
    ("range widened", lambda fs: field(fs, "seq").update(max=10**9), (False, True)),
    ("range new", lambda fs: field(fs, "dropped_frames").update(min=1), (True, False)),
    ("value added", lambda fs: field(fs, "state")["values"].append("x"), (False, True)),
    ("value removed", lambda fs: field(fs, "state")["values"].remove("w"), (True, False)),
    ("set closed", lambda fs: field(fs, "country").update(values=["DE"]), (True, False)),
    ("unit changed", lambda fs: field(fs, "buffer_ms").update(unit="s"), (True, True)),
    ("more personal", lambda fs: field(fs, "isp").update(pii="direct"), (True, True)),
]
FINE: list[Any] = [
    ("field with default", lambda fs: fs.append(NEW | {"default": 0})),
    ("nullable field", lambda fs: fs.append({"name": "new", "type": ["null", "string"], "doc": "N.", "default": None})),
    ("field with default removed", lambda fs: fs.remove(field(fs, "playback_rate"))),
    ("better words", lambda fs: field(fs, "seq").update(doc="Better.")),
    ("other order", lambda fs: fs.reverse()),
]


@pytest.mark.parametrize(("change", "broken"), [pytest.param(c, b, id=i) for i, c, b in BREAKS])
def test_a_breaking_change_is_found_in_its_direction(change: Change, broken: tuple[bool, bool]) -> None:
    old, new = records.load("playback_event"), mutant(change)
    assert (bool(compat.pair(new, old)), bool(compat.pair(old, new))) == broken


@pytest.mark.parametrize("change", [pytest.param(c, id=i) for i, c in FINE])
def test_a_compatible_change_passes(change: Change) -> None:
    new = mutant(change)
    for version in (1, 2):
        old = records.load("playback_event", version)
        assert compat.pair(new, old) == compat.pair(old, new) == []


def test_a_default_that_avro_accepts_but_bytes_do_not_show_is_compared() -> None:
    new = mutant(lambda fs: fs.append(NEW | {"default": 7}))
    assert new.field("new").default == 7
    assert compat.pair(new, records.load("playback_event", 1)) == []


def test_inside_arrays() -> None:
    def burn(fields: list[dict[str, Any]]) -> None:
        field(field(fields, "files")["type"]["items"]["fields"], "action")["values"] = ["add", "burn"]

    reasons = compat.pair(mutant(burn, "fill_plan", 1), records.load("fill_plan"))
    assert len(reasons) == 1
    assert "files.action refuses values that were valid: drop, keep" in reasons[0]


def test_another_formula_is_another_metric() -> None:
    changed = mutant(lambda fs: field(fs, "rebuffer_ratio_den").update(sum_of="play_ms"), "qoe_minute", 1)
    assert "sum of play_ms" in compat.pair(changed, records.load("qoe_minute"))[0]


def test_the_sentence_names_versions_reason_and_rule() -> None:
    text = compat.pair(mutant(lambda fs: fs.append(dict(NEW))), records.load("playback_event", 1))[0]
    assert text.startswith("playback_event.v3 cannot read playback_event.v1: ")
    assert "new" in text
    assert text.endswith("FULL_TRANSITIVE holds for playback_event")


@pytest.mark.parametrize("record", [pytest.param(r, id=r.label) for r in records.every()])
def test_samples_are_valid_and_touch_every_branch(record: Record) -> None:
    rows = samples.rows(record, 6)
    for f in record.fields:
        found = [row[f.name] for row in rows]
        assert f.nullable == (None in found)
        assert any(value is not None for value in found)
        if f.minimum is not None and f.maximum is not None:
            assert {value for value in found if value is not None} <= {f.minimum, f.maximum}
    if all(isinstance(f.type, records.Scalar) and f.type is not records.Scalar.BYTES for f in record.fields):
        validator = Validator(record)
        plain = [{k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in row.items()} for row in rows]
        assert [wrong for row in plain for wrong in validator.wrong(row)] == []
