"""The records made from the registries: sums of the metrics, and the measures that spans and sessions end in.

`qoe_minute` and `qoe_daily` are generated whole from `schemas.metrics`; of `span`, `session` and `qoe_session` the
columns from the first measure on are generated from `schemas.measures`, the ones before are written by hand.
All are committed (`matinee schemas generate`). Every sum has the default 0, the identity of
addition, so a metric may be added in a new version and both readers still understand each other.

A new metric: add it to `schemas.metrics` and generate. Where the lock of ids holds the newest version, a new one is
written; the older files stay as they are. Another formula is another metric: it needs another name, because `sum_of` is
part of what a version means.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas import ids, metric_check, records
from schemas.errors import SchemaError
from schemas.measures import HISTOGRAMS, MEASURES
from schemas.metrics import DIMENSIONS, METRICS, ROLLUPS
from schemas.records import NAMESPACE

FOLDER = Path(__file__).resolve().parent / "records"
_AT = {"type": "long", "logicalType": "timestamp-millis"}
_DATE = {"type": "int", "logicalType": "date"}
_DIMENSION_DOC = {
    "cdn_id": "CDN cluster",
    "isp": "Internet service provider",
    "device": "Device class",
    "country": "Country",
    "app_version": "Version of the player application",
    "title_id": "Playable title",
}


def _keys(minute: bool) -> list[dict[str, Any]]:
    at = [{"name": "minute_at", "type": _AT, "doc": "Start of the minute."}] if minute else []
    return [
        {
            "name": "rollup",
            "type": "string",
            "doc": "Which dimensions the row is broken down by.",
            "values": [rollup.name for rollup in ROLLUPS],
        },
        *at,
        {"name": "event_date", "type": _DATE, "doc": "UTC date of the spans."},
        *(
            {
                "name": name,
                "type": "string",
                "doc": f"{_DIMENSION_DOC[name]}; '*' where the rollup is not broken down by it.",
            }
            for name in DIMENSIONS
        ),
        {
            "name": "revision",
            "type": "string",
            "doc": "live: without late events; final: with them.",
            "values": ["live", "final"],
        },
    ]


def _sums() -> list[dict[str, Any]]:
    fields = []
    for metric in METRICS:
        for column in metric.columns:
            expression = metric.num if column.endswith("_num") else metric.den
            doc = f"Sum over spans of {expression}."
            fields.append({"name": column, "type": "long", "doc": doc, "default": 0, "sum_of": expression})
    for histogram in HISTOGRAMS:
        for column in histogram.columns:
            doc = f"Sum over spans of {column}: a bin of the histogram {histogram.name}."
            fields.append({"name": column, "type": "long", "doc": doc, "default": 0, "sum_of": column})
    return fields


def avsc(name: str) -> str:
    """Text of the current version of ``qoe_minute`` or ``qoe_daily``."""
    minute = name == "qoe_minute"
    span = "minute" if minute else "day"
    doc = (
        f"Sums over spans of one {span} and one set of dimensions; a metric is its _num over its _den. "
        "Generated from schemas/metrics.py."
    )
    record = {"type": "record", "name": name, "namespace": NAMESPACE, "doc": doc, "fields": _keys(minute) + _sums()}
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def with_measures(text: str) -> str:
    """The text of an .avsc whose columns end in measures, with the measures as `schemas.measures` has them."""
    record = json.loads(text)
    known = {measure.name for measure in MEASURES}
    first = next(i for i, field in enumerate(record["fields"]) if field["name"] in known)
    tail = [{"name": m.name, "type": "long", "doc": m.doc, "default": 0, "unit": m.unit} for m in MEASURES]
    record["fields"] = record["fields"][:first] + tail
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def files() -> dict[str, str]:
    """Generated record files: name below `schemas/records` to text.

    Raises:
        SchemaError: a metric asks for what its rows do not have, or a column of a locked version would mean another.
    """
    metric_check.check()
    texts = {name: avsc(name) for name in ("qoe_minute", "qoe_daily")}
    for name in ("span", "session", "qoe_session"):
        texts[name] = with_measures(_file(name, records.versions(name)[-1]).read_text(encoding="utf-8"))
    return {_file(name, _version(name, text)).name: text for name, text in texts.items()}


def _file(name: str, version: int) -> Path:
    return FOLDER / f"{name}.v{version}.avsc"


def _version(name: str, text: str) -> int:
    """Which version the text is: the newest there is, or the next one if that is locked and holds other columns."""
    newest = records.versions(name)[-1]
    if not any((entry.record, entry.version) == (name, newest) for entry in ids.lock()):
        return newest
    old, new = records.load(name, newest), records.parse(text, f"{name}.v{newest}")
    if ids.canonical(old) == ids.canonical(new):
        return newest
    before = {field["name"]: field for field in old.avro["fields"]}
    for field in new.avro["fields"]:
        was, now = ids.meaning(before.get(field["name"], field)), ids.meaning(field)
        if was != now:
            part = next(k for k in ("sum_of", "type", *was, *now) if was.get(k) != now.get(k))
            called = "" if part in ("sum_of", "type") else f"{part} "
            raise SchemaError(
                f"{field['name']} of {old.label} is locked as {called}{was.get(part)} and would become "
                f"{called}{now.get(part)}: bytes are written that mean the old one; give it another name"
            )
    return newest + 1
