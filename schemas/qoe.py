"""The two records of sums, made from the metric registry: `qoe_minute` and `qoe_daily`.

Their .avsc files are generated (`matinee schemas generate`) and committed. Every sum has the default 0, the identity of
addition, so a metric may be added in a new version and both readers still understand each other.

A new metric: add it to `schemas.metrics`, raise `VERSION`, generate. The older files stay as they are. Another formula
is another metric: it needs another name, because `sum_of` is part of what a version means.
"""

from __future__ import annotations

import json
from typing import Any

from schemas.metrics import DIMENSIONS, METRICS, ROLLUPS
from schemas.records import NAMESPACE

VERSION = 1
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


def files() -> dict[str, str]:
    """Generated record files: name below `schemas/records` to text."""
    return {f"{name}.v{VERSION}.avsc": avsc(name) for name in ("qoe_minute", "qoe_daily")}
