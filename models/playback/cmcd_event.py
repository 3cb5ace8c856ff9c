"""From what a player sent to `playback_event`: a message of topic ``cmcd`` to rows, and to what is refused.

A message is what one POST brought for one session: the collector's own line first, then the player's lines untouched.

    at=1790000000123,country="DE",device=tv,isp="DE-1",newest=1790000000100,w=1
    br=(5000;v 320;a),cid="t7",e=ps,h="edge-1",sid="a1",sn=4,sta=p,ts=1790000000100,v=2

`at` is the time of arrival, `newest` the newest device time among the session's events in the POST (a line that is
refused moves no clock); `app`, `profile` stand in for the custom keys (`CUSTOM`) where a player cannot send such;
``cdn=("cluster";h="edge-1")`` names the cluster of a host. The kernel reads the same on the JVM (CmcdMessage.java) and
is held against this page.

What a record does not say stays as the session's record before it had it (`kept`, a list of columns); the column holds
what is true if nothing came before. `SILENT` events say nothing about the picture: a response's bitrate is of what was
fetched, a mute changes nothing to see. Everything is kept, so they never cut a span, but they take part in numbering.
What begins or ends an ad or a break may bear the ad's own `cid` and asset: neither is taken for the content's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.playback.cmcd import INTEGER, KEYS, STRING, STRINGS, TEXT, TOKEN, Item, Key, Record, Refused, Token, parse
from models.playback.cmcd import event_record as read_record
from models.playback.events import AD_BREAK, EVERYTHING, UNKNOWN
from schemas.validate import strays

CUSTOM = {
    "io.matinee-app": "app_version",
    "io.matinee-asset": "asset_id",
    "io.matinee-impression": "impression_id",
    "io.matinee-page": "page_id",
    "io.matinee-profile": "profile_id",
}
"""Custom keys and the column each fills."""
EVENT_KEYS: Mapping[str, Key] = {**KEYS, **{name: Key(TEXT, longest=64) for name in CUSTOM}}

DEVICES = ("tv", "mobile", "tablet", "web", "console")
COLLECTOR_KEYS: Mapping[str, Key] = {
    "app": Key(STRING, longest=64),
    "at": Key(INTEGER),
    "cdn": Key(STRINGS),
    "country": Key(STRING, longest=2),
    "device": Key(TOKEN, DEVICES),
    "isp": Key(STRING, longest=64),
    "newest": Key(INTEGER),
    "profile": Key(STRING, longest=64),
    "w": Key(INTEGER),
}
COLLECTOR_VERSION = 1
NO_COUNTRY, ANY_DEVICE = "ZZ", "web"

SILENT = frozenset({"ce", "m", "pc", "pe", "rr", "um"})
AD = {"abs": True, "as": True, "abe": False, "ae": False, "sk": False}
"""Whether an ad is on after the events that begin and end an ad or a break of them."""
ONE_AD = frozenset({"as", "ae", "sk"})
"""Events that begin and end one ad and say nothing of the break around it, which may hold more of them; `sk`, a skip,
is sent instead of `ae`, and is a seek where that is its state."""

PARTITIONS_FROM, LINES = 1_000_000, 1_024
"""Positions of this topic beside those of `playback_event`: partition + 1,000,000; offset x 1,024 + line (from 1)."""

MAX_AT = 4_102_444_800_000
MAX_SEQ = 10_000_000
_BEST_TYPE = ("av", "v", None, "a", "o")

_NUMBERS: tuple[tuple[str, str, int], ...] = (
    ("buffer_ms", "bl", 3_600_000),
    ("stall_count", "bsa", 1_000_000),
    ("stall_total_ms", "bsda", 86_400_000),
    ("start_delay_ms", "msd", 86_400_000),
    ("playhead_ms", "pt", 86_400_000),
    ("throughput_kbps", "mtp", 100_000_000),
    ("dropped_frames", "dfa", 100_000_000),
)
"""Column, key, and the highest value the column takes; a higher one drops the key."""
_MAX_KBPS, _MAX_RATE, _DROPPED = 1_000_000, 16.0, 64


@dataclass(frozen=True, slots=True)
class Letter:
    """A refused line (from 1; 0 is the whole message) as a message of its own, and why."""

    line: int
    payload: bytes
    error_class: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows of `playback_event` (times in UTC ms) with `kafka_partition` and `kafka_offset`, and what was refused."""

    rows: list[dict[str, Any]]
    letters: list[Letter]


def decode(message: bytes, key: bytes | None, partition: int = 0, offset: int = 0) -> Decoded:
    """Everything a message holds; `key` is the message's, which must be the session of each of its records."""
    head, *lines = message.split(b"\n")
    try:
        post = collector_line(head)
        if not 0 < len(lines) < LINES:
            raise Refused("frame", f"{len(lines)} records in a message: 1 to {LINES - 1} are allowed")
    except Refused as refused:
        return Decoded([], [Letter(0, message, refused.error_class, str(refused))])
    rows, letters = [], []
    for number, line in enumerate(lines, start=1):
        try:
            row = event(read_record(line, EVENT_KEYS), post)
            if key is None or row["session_id"].encode() != key:
                raise Refused("key", "message key is not the record's sid")
            if strays(post["at"], post["newest"]):
                raise Refused("clock", f"newest is {post['newest']}: more than 24 h from at")
        except Refused as refused:
            letters.append(Letter(number, b"\n".join([head, line]), refused.error_class, str(refused)))
        else:
            place = {"kafka_partition": PARTITIONS_FROM + partition, "kafka_offset": offset * LINES + number}
            rows.append(row | place)
    return Decoded(rows, letters)


def collector_line(line: bytes) -> dict[str, Any]:
    """What the collector added.

    Raises:
        Refused: ``frame``, if it is not such a line.
    """
    try:
        record = parse(line, COLLECTOR_KEYS)
    except Refused as refused:
        raise Refused("frame", f"collector line: {refused}") from None
    found = record.values
    if found.get("w") != COLLECTOR_VERSION:
        raise Refused("frame", "collector line: no valid w")
    for name in ("at", "newest"):
        value = found.get(name)
        if not isinstance(value, int) or value >= MAX_AT:
            raise Refused("frame", f"collector line: no valid {name}")
    return dict(found)


def event(record: Record, post: Mapping[str, Any]) -> dict[str, Any]:
    """A record of event mode, with its POST, as a row of `playback_event`.

    Raises:
        Refused: ``decode``: no sn; ``range``: a time or number no event can have.
    """
    said = record.values
    if "sn" not in said:
        raise Refused("decode", "no valid sn")
    for name, limit in (("sn", MAX_SEQ), ("ts", MAX_AT - 1)):
        if int(said[name]) > limit:  # type: ignore[arg-type]
            raise Refused("range", f"{name} is {said[name]}: allowed is 0 to {limit}")
    silent = said["e"] in SILENT
    kept: list[str] = []
    dropped = list(record.dropped)
    kind = "" if said["e"] == "sk" and said.get("sta") == "k" else str(said["e"])
    row: dict[str, Any] = {
        "session_id": said["sid"],
        "seq": said["sn"],
        "event": str(said["e"]),
        "device_at": said["ts"],
        "received_at": post["at"],
        "post_device_at": post["newest"],
        "state": str(_or_kept(said.get("sta"), "d", "state", kept)),
        "background": not silent and (said.get("bg") is True or said.get("nr") is True),
        "ad": _or_kept(AD.get(kind), False, "ad", kept),
        "bitrate_kbps": _bitrate(said, silent, kept, dropped),
        "isp": post.get("isp") or UNKNOWN,
        "country": post.get("country") or NO_COUNTRY,
        "device": str(post.get("device", ANY_DEVICE)),
    }
    row |= _names(said, post, kept, kind in AD)
    if kind in ONE_AD:
        kept.append(AD_BREAK)
    for column, name, highest in _NUMBERS:
        row[column] = _number(said, name, highest, dropped)
    rate = said.get("pr", 1.0)
    if rate > _MAX_RATE:  # type: ignore[operator]
        dropped.append("pr")
        rate = 1.0
    codes: Any = said.get("ec", ())
    row |= {
        "playback_rate": rate,
        "error_code": codes[-1].value if codes else None,
        "kept": EVERYTHING if silent else ",".join(kept),
        "dropped_keys": ",".join(dropped[:_DROPPED]) or None,
    }
    return row


def _or_kept(value: Any, otherwise: Any, column: str, kept: list[str]) -> Any:
    if value is None:
        kept.append(column)
        return otherwise
    return value


def _bitrate(said: Mapping[str, Any], silent: bool, kept: list[str], dropped: list[str]) -> int | None:
    """What is shown (pb), else what is fetched (br), else both together (ab); of video if its type is told."""
    for name in ("pb", "br", "ab"):
        found = best(said.get(name, ()))
        if found is not None and found > _MAX_KBPS:
            dropped.append(name)
        elif found is not None and not silent:
            return found
    kept.append("bitrate_kbps")
    return None


def best(items: tuple[Item, ...]) -> int | None:
    """Of a list by object type the one that stands for the picture: av, v, untyped, else a, else o."""
    for wanted in _BEST_TYPE:
        for item in items:
            if item.object_type == wanted:
                return int(item.value)
    return None


def _names(said: Mapping[str, Any], post: Mapping[str, Any], kept: list[str], of_ad: bool) -> dict[str, Any]:
    """`of_ad`: it begins or ends an ad or a break, and may bear the ad's own title and asset."""
    title = None if of_ad else said.get("cid") or None
    asset = None if of_ad else said.get("io.matinee-asset") or title
    host = said.get("h") or None
    found = {
        "title_id": _or_kept(title, UNKNOWN, "title_id", kept),
        "asset_id": _or_kept(asset, UNKNOWN, "asset_id", kept),
        "cdn_id": _or_kept(host and _cluster(host, post), UNKNOWN, "cdn_id", kept),
        "impression_id": said.get("io.matinee-impression") or None,
        "page_id": said.get("io.matinee-page") or None,
    }
    for column, name in (("app_version", "app"), ("profile_id", "profile")):
        found[column] = _or_kept(said.get(f"io.matinee-{name}") or post.get(name) or None, UNKNOWN, column, kept)
    return {column: None if value is None else str(value) for column, value in found.items()}


def _cluster(host: str, post: Mapping[str, Any]) -> str:
    for item in post.get("cdn", ()):
        if ("h", host) in item.params:
            return str(item.value)
    return host


def _number(said: Mapping[str, Any], name: str, highest: int, dropped: list[str]) -> int | None:
    """Counters add up over object types; of other lists the best one stands."""
    value = said.get(name)
    if isinstance(value, tuple):
        if not value:
            return None
        value = sum(item.value for item in value) if name in ("bsa", "bsda") else best(value)
    if value is None:
        return None
    if value > highest:
        dropped.append(name)
        return None
    return int(value)


# -- the other way ---------------------------------------------------------------------------------------------------


def values_of(row: Mapping[str, Any], was_ad: bool = False) -> dict[str, Any]:
    """What a player sends of a `playback_event` row; `was_ad`: an ad was on screen before it."""
    ad_event = None if bool(row["ad"]) == was_ad else "as" if row["ad"] else "ae"
    found: dict[str, Any] = {
        "v": 2,
        "sid": row["session_id"],
        "sn": row["seq"],
        "e": ad_event or row["event"],
        "ts": row["device_at"],
        "sta": row["state"],
        "bg": bool(row["background"]),
        "cid": row["title_id"],
        "h": row["cdn_id"],
        "pr": row["playback_rate"],
        "br": _one(row["bitrate_kbps"], "v"),
        "ec": None if row["error_code"] is None else [row["error_code"]],
    }
    for column, name, _ in _NUMBERS:
        listed = KEYS[name].kind == "integers"
        found[name] = _one(row[column], None) if listed else row[column]
    found |= {name: row[column] for name, column in CUSTOM.items()}
    return {name: value for name, value in found.items() if value is not None and value is not False}


def _one(value: int | None, kind: str | None) -> list[Item] | None:
    return None if value is None else [Item(value, () if kind is None else ((kind, True),))]


def messages(lines: Mapping[str, list[bytes]], head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of the messages of one POST: its lines by session, each behind the collector's line."""
    for session, found in lines.items():
        for start in range(0, len(found), LINES - 1):
            yield session.encode(), b"\n".join([head, *found[start : start + LINES - 1]])


__all__ = ["CUSTOM", "Decoded", "Letter", "Token", "collector_line", "decode", "event", "messages", "values_of"]
