"""Schema ids: the lock in git that takes the place of a schema registry.

`ids.lock` holds one line per record version: id, record, version, SHA-256 of the canonical form. The id travels in the
Confluent header of every message, so a line once released never changes: another fingerprint under an old id means
that bytes already written would be read as something else. `check` refuses that; `extended` appends what is missing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from schemas import records
from schemas.errors import SchemaError
from schemas.records import Record

LOCK = "ids.lock"
HEADER = "# id record version sha256 (append-only; written by: matinee schemas generate)\n"
_ATTRIBUTES = ("default", "unit", "min", "max", "values", "pii", "sum_of")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the lock."""

    id: int
    record: str
    version: int
    sha256: str

    @property
    def line(self) -> str:
        """The line as it stands in the file."""
        return f"{self.id} {self.record} {self.version} {self.sha256}\n"


def canonical(record: Record) -> str:
    """What a version means, as one line of JSON: names, types, order, and the attributes a reader acts upon.

    Avro's own parsing canonical form drops defaults, logical types and our attributes; a record with another range or
    unit is another record, so they stay. Doc is left out: words may improve.
    """
    return json.dumps(meaning(record.avro), separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def meaning(node: Any) -> Any:
    """Of a part of a schema what a reader acts upon: what `canonical` keeps of it."""
    if isinstance(node, list):
        return [meaning(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept: dict[str, Any] = {key: node[key] for key in ("name", "namespace", "logicalType", *_ATTRIBUTES) if key in node}
    kept |= {key: meaning(node[key]) for key in ("type", "items", "fields") if key in node}
    return kept


def fingerprint(record: Record) -> str:
    """SHA-256 of the canonical form, hexadecimal."""
    return hashlib.sha256(canonical(record).encode()).hexdigest()


def parse_lock(text: str) -> tuple[Entry, ...]:
    """The entries of a lock file's text.

    Raises:
        SchemaError: a line that is not four words, or an id or version that stands twice.
    """
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        words = line.split()
        if len(words) != 4 or not words[0].isdigit() or not words[2].isdigit():
            raise SchemaError(f"schemas/{LOCK} line {number}: {line!r}; a line is: id record version sha256")
        entries.append(Entry(int(words[0]), words[1], int(words[2]), words[3]))
    if len({e.id for e in entries}) != len(entries) or len({(e.record, e.version) for e in entries}) != len(entries):
        raise SchemaError(f"schemas/{LOCK}: an id or a version stands twice; take the file back from git")
    return tuple(entries)


def extended(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """`entries` with a new id for every record version that has none."""
    known = {(e.record, e.version) for e in entries}
    following = max((e.id for e in entries), default=0) + 1
    new = [record for record in records.every() if (record.name, record.version) not in known]
    return entries + tuple(Entry(following + i, r.name, r.version, fingerprint(r)) for i, r in enumerate(new))


def check(entries: tuple[Entry, ...]) -> list[str]:
    """What is wrong between lock and record files, one sentence each; empty when all is well."""
    wrong = []
    locked = {(e.record, e.version): e for e in entries}
    for record in records.every():
        entry = locked.pop((record.name, record.version), None)
        if entry is None:
            wrong.append(f"{record.label} has no id in schemas/{LOCK}; run: matinee schemas generate")
        elif entry.sha256 != fingerprint(record):
            wrong.append(
                f"{record.label} is not what id {entry.id} stands for (fingerprint {fingerprint(record)[:12]}, locked "
                f"{entry.sha256[:12]}); bytes under this id are already written: take the file back and add "
                f"{record.name}.v{len(records.versions(record.name)) + 1}.avsc"
            )
    wrong += [
        f"id {e.id} stands for {e.record}.v{e.version}, but that file is gone; take it back" for e in locked.values()
    ]
    return wrong


@cache
def lock() -> tuple[Entry, ...]:
    """The committed lock."""
    return parse_lock((resources.files("schemas") / LOCK).read_text(encoding="utf-8"))


@cache
def _by_version() -> dict[tuple[str, int], int]:
    return {(e.record, e.version): e.id for e in lock()}


@cache
def _by_id() -> dict[int, tuple[str, int]]:
    return {e.id: (e.record, e.version) for e in lock()}


def schema_id(name: str, version: int) -> int:
    """Id of one record version.

    Raises:
        SchemaError: not in the lock.
    """
    found = _by_version().get((name, version))
    if found is None:
        records.load(name, version)
        raise SchemaError(f"{name}.v{version} has no id in schemas/{LOCK}; run: matinee schemas generate")
    return found


def by_id(number: int) -> tuple[str, int] | None:
    """Name and version that an id stands for, or None if it stands for nothing."""
    return _by_id().get(number)
