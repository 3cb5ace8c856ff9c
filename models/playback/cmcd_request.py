"""CMCD's request mode and version 1: the same record in four headers, in a query argument, or with bare values.

Request-mode records describe single media requests and stand in a CDN's log; matinee's collector takes event mode
alone (`models.playback.cmcd`). This page is for reading such logs and for conformance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from models.playback.cmcd import (
    BOOLEAN,
    DECIMAL,
    INTEGER,
    INTEGERS,
    KEYS,
    STRING,
    STRINGS,
    Item,
    Key,
    Record,
    Value,
    encode,
    parse,
)

HEADERS: Mapping[str, tuple[str, ...]] = {
    "CMCD-Object": ("ab", "br", "d", "lab", "lb", "ot", "tab", "tb", "tpb"),
    "CMCD-Request": ("bl", "cs", "dfa", "dl", "ltc", "mtp", "nor", "pb", "sn", "sta", "su", "tbl"),
    "CMCD-Session": ("cid", "msd", "sf", "sid", "st", "v"),
    "CMCD-Status": ("bg", "bs", "bsa", "bsd", "bsda", "ec", "nr", "pr", "pt", "rtp"),
}
"""Which header carries which reserved key (CTA-5004-B, table 1)."""
_OTHER = "CMCD-Request"
"""The header of keys that no header lists."""

_V1 = {
    **{name: Key(INTEGER) for name in ("bl", "br", "d", "dl", "mtp", "rtp", "tb", "v")},
    **{name: Key(BOOLEAN) for name in ("bs", "su")},
    **{name: Key(STRING) for name in ("nor", "nrr")},
    **{name: KEYS[name] for name in ("cid", "ot", "sf", "sid", "st")},
    "pr": Key(DECIMAL),
}


def to_query(values: Mapping[str, Any]) -> str:
    """``CMCD=...`` as it stands in a URL."""
    return "CMCD=" + quote(encode(values), safe="!'()*")


def from_query(text: str) -> Record:
    """The record of ``CMCD=...``."""
    return parse(unquote(text.partition("=")[2]))


def to_headers(values: Mapping[str, Any], custom: Mapping[str, str] | None = None) -> dict[str, str]:
    """The four headers (absent where empty); `custom` names the header of each custom key."""
    place = {name: header for header, names in HEADERS.items() for name in names} | dict(custom or {})
    shards: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        shards.setdefault(place.get(name, _OTHER), {})[name] = value
    return {header: encode(shard) for header, shard in sorted(shards.items())}


def from_headers(headers: Mapping[str, str]) -> Record:
    """The record of the headers whose name begins with CMCD-, whatever the case."""
    found = [text for name, text in sorted(headers.items()) if name.lower().startswith("cmcd-")]
    return parse(",".join(found))


def to_v1(values: Mapping[str, Any]) -> str:
    """The record as version 1 writes it: the first of a list alone, `nor` URL-encoded, custom keys, no key it lacks."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name == "v" or (name not in _V1 and (name in KEYS or "-" not in name)):
            continue
        if name in KEYS and KEYS[name].kind in (INTEGERS, STRINGS):
            items = [item.value if isinstance(item, Item) else item for item in value]
            if not items:
                continue
            value = quote(str(items[0]), safe="") if name == "nor" else items[0]
        found[name] = value
    return encode(found, _V1)


def from_v1(text: str) -> Record:
    """A version 1 record in version 2's types: lists of one, `nor` as a path.

    Raises:
        Refused: see `parse`.
    """
    record = parse(text, _V1)
    values: dict[str, Value] = {}
    for name, value in record.values.items():
        if name in KEYS and KEYS[name].kind in (INTEGERS, STRINGS):
            value = (Item(unquote(value) if isinstance(value, str) else int(value)),)  # type: ignore[arg-type]
        values[name] = value
    return Record(values, record.unknown, record.dropped)
