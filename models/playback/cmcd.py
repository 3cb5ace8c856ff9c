"""CMCD version 2 (CTA-5004-B) as text: one record of a player's report, read and written.

A record is a line of ``key=value`` members: ``br=(5000;v 320;a),e=ps,sid="a1",sn=4,sta=p,ts=1790000000000,v=2``. Values
are Structured Fields (RFC 8941), each key has one type (`KEYS`). The kernel reads the same lines on the JVM
(kernel/src/io/matinee/kernel/Cmcd.java) and is held against this page.

What may be wrong, and what follows (CTA-5004-B section 6):
 - a value that is not of its key's type drops that key and is counted under it (`Record.dropped`); a member without a
   readable key is counted under ``?``;
 - an unknown key is ignored, and survives a round trip as it was written;
 - bytes that are not UTF-8, a string that is never closed, an empty line: there is no record (`Refused`);
 - an event record needs version 2, an `e`, a `sid` and a `ts` (`event_record`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

VERSION = 2


class Token(str):
    """A word without quotes; a plain `str` is a string."""

    __slots__ = ()


class Raw(str):
    """The value of an unknown key, as it was written; empty for a key without a value."""

    __slots__ = ()


Bare = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an inner list; `params` in their order."""

    value: int | str
    params: tuple[tuple[str, Bare], ...] = ()

    @property
    def object_type(self) -> str | None:
        """The first parameter that is an object type: ``v`` of ``5000;v``."""
        return next((name for name, value in self.params if value is True and name in OBJECT_TYPES), None)


Value = Bare | tuple[Item, ...]

OBJECT_TYPES = ("m", "a", "v", "av", "i", "c", "tt", "k", "o")
EVENTS = ("abs", "abe", "ae", "as", "b", "bc", "c", "ce", "e", "h", "m", "pc", "pe", "pr", "ps", "rr", "sk", "t", "um")
STATES = tuple("spkrawefqd")

INTEGER, SIGNED, DECIMAL, TOKEN, STRING, BOOLEAN = "integer", "signed", "decimal", "token", "string", "boolean"
INTEGERS, STRINGS, TEXT = "integers", "strings", "text"
"""`TEXT`: string or token, as custom keys may be."""


@dataclass(frozen=True, slots=True)
class Key:
    """One reserved key: its type, the tokens it may hold, the longest string (characters), the modes it belongs to.

    `modes` is ``both``, ``event``, ``response`` (only with ``e=rr``) or ``custom`` (only with ``e=ce``); numbers are
    not negative, except `SIGNED`.
    """

    kind: str
    tokens: tuple[str, ...] = ()
    longest: int | None = None
    modes: str = "both"


def _keys() -> Iterator[tuple[str, Key]]:
    for name in ("ab", "bl", "br", "bsa", "bsd", "bsda", "lab", "lb", "mtp", "pb", "tab", "tb", "tbl", "tpb"):
        yield name, Key(INTEGERS)
    for name in ("d", "dfa", "dl", "msd", "pt", "rtp", "sn", "v"):
        yield name, Key(INTEGER)
    for name in ("bg", "bs", "nr", "su"):
        yield name, Key(BOOLEAN)
    for name in ("rc", "ttfb", "ttfbb", "ttlb"):
        yield name, Key(INTEGER, modes="response")
    for name in ("cmsdd", "cmsds", "smrt", "url"):
        yield name, Key(STRING, modes="response")
    yield from {
        "cen": Key(STRING, longest=64, modes="custom"),
        "cid": Key(STRING, longest=128),
        "cs": Key(STRING),
        "e": Key(TOKEN, EVENTS, modes="event"),
        "ec": Key(STRINGS),
        "h": Key(STRING, longest=128, modes="event"),
        "ltc": Key(SIGNED),
        "nor": Key(STRINGS),
        "ot": Key(TOKEN, OBJECT_TYPES),
        "pr": Key(DECIMAL),
        "sf": Key(TOKEN, ("d", "h", "e", "s", "o")),
        "sid": Key(STRING, longest=64),
        "st": Key(TOKEN, ("v", "l", "ll")),
        "sta": Key(TOKEN, STATES),
        "ts": Key(INTEGER, modes="event"),
    }.items()


KEYS: Mapping[str, Key] = dict(sorted(_keys()))
"""The reserved keys of CTA-5004-B, table 1."""

UNREADABLE = "?"
"""Members without a readable key are counted under this."""

ERROR_CLASSES = ("frame", "schema", "decode", "range", "key", "clock")


class Refused(ValueError):
    """There is no record here: `error_class` is one of the dead letters' classes."""

    def __init__(self, error_class: str, reason: str) -> None:
        super().__init__(reason)
        self.error_class = error_class


@dataclass(frozen=True, slots=True)
class Record:
    """`values` of reserved keys, `unknown` ones as written, and the keys whose value was bad, in their order."""

    values: dict[str, Value]
    unknown: dict[str, Raw]
    dropped: tuple[str, ...] = ()

    def encode(self, keys: Mapping[str, Key] | None = None) -> str:
        """The record in canonical form: keys sorted, bad ones gone; `keys` are those it was read by."""
        return encode(self.values | self.unknown, KEYS if keys is None else keys)

    def identity(self, target: str = "") -> tuple[str, str, str, int] | None:
        """(sid, mode, target, sn): equal for a record and its repetition; None if it has no sid or sn."""
        sid, sn = self.values.get("sid"), self.values.get("sn")
        if not isinstance(sid, str) or not isinstance(sn, int):
            return None
        return sid, "event" if "e" in self.values else "request", target, sn


# -- reading ---------------------------------------------------------------------------------------------------------

_STRING = r'"(?:[^"\\\x00-\x1f\x7f]|\\["\\])*"'
_NAME = r"[a-z*][a-z0-9_.*-]*"
_TOKEN = r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*"
_BARE = rf"{_STRING}|\?[01]|-?[0-9]{{1,12}}\.[0-9]{{1,3}}|-?[0-9]{{1,15}}|{_TOKEN}"
_PARAM = re.compile(rf"; *({_NAME})(?:=({_BARE}))?")
_PARAMS = rf"(?:; *{_NAME}(?:=(?:{_BARE}))?)*"
_MEMBER = re.compile(r"([A-Za-z*][A-Za-z0-9_.*-]*)(?:=(.*))?", re.DOTALL)
_PIECES = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")*', re.DOTALL)
_FORMS = {
    INTEGER: re.compile(r"[0-9]{1,15}"),
    SIGNED: re.compile(r"-?[0-9]{1,15}"),
    DECIMAL: re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,3})?"),
    STRING: re.compile(_STRING),
    TEXT: re.compile(rf"{_STRING}|{_TOKEN}"),
}
_ITEM = {INTEGERS: rf"([0-9]{{1,15}})({_PARAMS})", STRINGS: rf"({_STRING})({_PARAMS})"}
_LISTS = {kind: re.compile(rf"\( *(?:{item}(?: +{item})*)? *\)") for kind, item in _ITEM.items()}
_ITEMS = {kind: re.compile(item) for kind, item in _ITEM.items()}


def members(line: str) -> Iterator[tuple[str, str | None]]:
    """(key, text behind ``=`` or None) of each member, (`UNREADABLE`, its text) where there is no key.

    Raises:
        Refused: ``frame``, if the line is empty or a string is not closed.
    """
    if not line:
        raise Refused("frame", "the line is empty")
    at = 0
    while True:
        piece = _PIECES.match(line, at)
        end = piece.end() if piece else at
        if end < len(line) and line[end] != ",":
            raise Refused("frame", "a string is not closed")
        text = line[at:end].strip(" \t")
        member = _MEMBER.fullmatch(text)
        yield (member[1], member[2]) if member else (UNREADABLE, text)
        if end >= len(line):
            return
        at = end + 1


def read_value(key: Key, text: str | None) -> Value | None:
    """The value of a member's text, None if it is not of the key's type."""
    if key.kind == BOOLEAN:
        return {None: True, "?1": True, "?0": False}.get(text)
    if text is None:
        return None
    if key.kind == TOKEN:
        return Token(text) if text in key.tokens else None
    if key.kind in _LISTS:
        return _items(key.kind, text)
    if not _FORMS[key.kind].fullmatch(text):
        return None
    if key.kind in (STRING, TEXT):
        value = _unquoted(text) if text[0] == '"' else Token(text)
        return value if key.longest is None or len(value) <= key.longest else None
    return float(text) if key.kind == DECIMAL else int(text)


def _items(kind: str, text: str) -> tuple[Item, ...] | None:
    if not _LISTS[kind].fullmatch(text):
        return None
    return tuple(
        Item(int(found[1]) if kind == INTEGERS else _unquoted(found[1]), _params(found[2]))
        for found in _ITEMS[kind].finditer(text)
    )


def _params(text: str) -> tuple[tuple[str, Bare], ...]:
    return tuple((found[1], True if found[2] is None else _bare(found[2])) for found in _PARAM.finditer(text))


def _bare(text: str) -> Bare:
    if text[0] == '"':
        return _unquoted(text)
    if text[0] == "?":
        return text == "?1"
    if text[0] == "-" or text[0].isdigit():
        return float(text) if "." in text else int(text)
    return Token(text)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def parse(line: bytes | str, keys: Mapping[str, Key] = KEYS) -> Record:
    """Read one record of any mode and version; spaces around it are ignored.

    Raises:
        Refused: ``frame``, if there is no record.
    """
    if isinstance(line, bytes):
        try:
            line = line.decode()
        except UnicodeDecodeError:
            raise Refused("frame", "not UTF-8") from None
    values: dict[str, Value] = {}
    unknown: dict[str, Raw] = {}
    dropped = []
    for name, text in members(line.strip(" \t\r")):
        if name == UNREADABLE:
            dropped.append(name)
        elif name not in keys:
            unknown[name] = Raw("" if text is None else f"={text}")
        else:
            value = read_value(keys[name], text)
            if value is None:
                dropped.append(name)
            else:
                values[name] = value
    return Record(values, unknown, tuple(dropped))


REQUIRED = ("e", "sid", "ts")


def event_record(line: bytes | str, keys: Mapping[str, Key] = KEYS) -> Record:
    """Read one record of event mode.

    Raises:
        Refused: ``frame``: no record; ``schema``: another version than 2; ``decode``: no valid `v`, `e`, `sid`, `ts`.
    """
    record = parse(line, keys)
    version = record.values.get("v")
    if version is None:
        raise Refused("decode", "no valid v")
    if version != VERSION:
        raise Refused("schema", f"version {version}, known is {VERSION}")
    for name in REQUIRED:
        if name not in record.values or record.values[name] == "":
            raise Refused("decode", f"no valid {name}" + (": not of event mode" if name == "e" else ""))
    return record


# -- writing ---------------------------------------------------------------------------------------------------------


def encode(values: Mapping[str, Any], keys: Mapping[str, Key] = KEYS) -> str:
    """The record of these values, keys sorted.

    A value of a key that may hold a list can be any iterable of values or `Item`; a `str` for an unknown key is a
    string, a `Token` a token, a `Raw` is written as it is.

    Raises:
        ValueError: a value is not of its key's type.
    """
    out = []
    for name in sorted(values):
        if not _MEMBER.fullmatch(name):
            raise ValueError(f"CMCD key {name!r}: a key is a letter, then letters, digits, '_', '.', '*' or '-'")
        key, value = keys.get(name), values[name]
        written = "" if value is True else value if isinstance(value, Raw) else "=" + _text(key, value)
        if key is not None and read_value(key, written[1:] if written else None) is None:
            raise ValueError(f"CMCD key {name} holds {value!r}, which is no {key.kind} it allows")
        out.append(name + written)
    return ",".join(out)


def _text(key: Key | None, value: Any) -> str:
    if key is not None and key.kind == TOKEN:
        return str(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return f"({' '.join(_item(item) for item in value)})"
    return _bare_text(value)


def _item(item: Any) -> str:
    if not isinstance(item, Item):
        return _bare_text(item)
    params = (f";{name}" + ("" if value is True else f"={_bare_text(value)}") for name, value in item.params)
    return _bare_text(item.value) + "".join(params)


def _bare_text(value: Any) -> str:
    if isinstance(value, bool):
        return "?1" if value else "?0"
    if isinstance(value, Token):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = f"{value:.3f}".rstrip("0")
        return text + "0" if text.endswith(".") else text
    quoted = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


_HUNDREDS = frozenset({"bl", "dl", "mtp", "rtp", "tbl"})
"""Keys the standard rounds to the nearest hundred."""


def as_sent(values: Mapping[str, Any], mode: str = "event") -> dict[str, Any]:
    """What a player sends of what it knows: only keys of the mode (``event`` or ``request``), rounded, no defaults.

    False flags and a playback rate of 1 are left out; `url` and the response times go with ``e=rr`` alone, `cen` with
    ``e=ce``.
    """
    kind = values.get("e") if mode == "event" else None
    allowed = {"both"} | ({"event"} if mode == "event" else set())
    allowed |= {"response"} if kind == "rr" else {"custom"} if kind == "ce" else set()
    found = {}
    for name, value in values.items():
        key = KEYS.get(name)
        if value is False or (name == "pr" and value == 1) or (key is not None and key.modes not in allowed):
            continue
        found[name] = value if key is None else _rounded(name, key, value)
    return found


def _rounded(name: str, key: Key, value: Any) -> Any:
    if key.kind not in (INTEGER, SIGNED, INTEGERS):
        return value
    step = 100 if name in _HUNDREDS else 1
    if key.kind != INTEGERS:
        return _nearest(value, step)
    return [
        Item(_nearest(item.value, step), item.params) if isinstance(item, Item) else _nearest(item, step)
        for item in value
    ]


def _nearest(value: float | str, step: int) -> int:
    """Half goes up, as players round."""
    return int(float(value) / step + 0.5) * step
