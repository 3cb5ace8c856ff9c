"""The records: `records/<name>.v<n>.avsc`, read into frozen dataclasses.

An .avsc file is the single source of a shape; everything else (Spark, Flink, Iceberg, audits, the data dictionary) is
rendered from what `load` returns. The types are a closed set that every engine has: what does not map to all of them
does not exist here. Read through `importlib.resources`, so that it works from the zip that goes to a cluster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from schemas.errors import SchemaError

NAMESPACE = "matinee"
FILE_NAME = re.compile(r"^(?P<name>[a-z][a-z0-9_]*)\.v(?P<version>[1-9][0-9]*)\.avsc$")
PII_CLASSES = ("none", "pseudonymous", "direct")
_FIELD_KEYS = {"name", "type", "doc", "default", "unit", "min", "max", "values", "pii", "sum_of"}


class Scalar(Enum):
    """The scalar types. TIMESTAMP is UTC in milliseconds, DATE is days since 1970-01-01."""

    BOOLEAN = "boolean"
    INT = "int"
    LONG = "long"
    DOUBLE = "double"
    STRING = "string"
    BYTES = "bytes"
    TIMESTAMP = "timestamp"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Nested:
    """A record inside an array; its fields are scalars or arrays of scalars."""

    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Array:
    """An array; its items are never null."""

    items: Scalar | Nested


Type = Scalar | Array


@dataclass(frozen=True, slots=True)
class Field:
    """One column. `minimum`, `maximum` and `values` bound what is valid; `pii` says how personal it is; `sum_of` is
    the expression over span measures that a sum adds up."""

    name: str
    type: Type
    doc: str
    nullable: bool = False
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] = ()
    pii: str = "none"
    has_default: bool = False
    default: Any = None
    sum_of: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One version of a record. `avro` is the parsed file, our attributes included."""

    name: str
    version: int
    doc: str
    fields: tuple[Field, ...]
    avro: Mapping[str, Any]

    @property
    def label(self) -> str:
        """``name.v<n>``: the file's name without its ending."""
        return f"{self.name}.v{self.version}"

    def field(self, name: str) -> Field:
        """The field called `name`.

        Raises:
            SchemaError: there is none.
        """
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise SchemaError(
            f"{self.label} has no field {name!r}; its fields are: {', '.join(f.name for f in self.fields)}"
        )


def parse(text: str, label: str) -> Record:
    """Read the text of one .avsc file called `label` (``name.v<n>``).

    Raises:
        SchemaError: not JSON, a name that differs from the file's, a type outside the closed set, an unknown attribute,
            a missing doc.
    """
    name, _, version = label.rpartition(".v")
    try:
        avro = json.loads(text)
    except json.JSONDecodeError as error:
        raise SchemaError(f"{label}.avsc is not JSON: {error}") from error
    for key, expected in (("type", "record"), ("name", name), ("namespace", NAMESPACE)):
        if avro.get(key) != expected:
            raise SchemaError(f"{label}.avsc: {key} is {avro.get(key)!r}; it must be {expected!r}")
    return Record(name, int(version), _doc(avro, label), _fields(avro["fields"], label), avro)


def _fields(raw: list[dict[str, Any]], label: str) -> tuple[Field, ...]:
    fields = tuple(_field(item, label) for item in raw)
    if len({field.name for field in fields}) != len(fields):
        raise SchemaError(f"{label}: a field name appears twice")
    return fields


def _field(raw: dict[str, Any], label: str) -> Field:
    where = f"{label}.{raw.get('name')}"
    unknown = sorted(set(raw) - _FIELD_KEYS)
    if unknown:
        raise SchemaError(
            f"{where}: unknown attribute {', '.join(unknown)}; known are {', '.join(sorted(_FIELD_KEYS))}"
        )
    pii = raw.get("pii", "none")
    if pii not in PII_CLASSES:
        raise SchemaError(f"{where}: pii is {pii!r}; it must be one of {', '.join(PII_CLASSES)}")
    type_ = raw["type"]
    nullable = isinstance(type_, list)
    if nullable:
        if len(type_) != 2 or type_[0] != "null":
            raise SchemaError(f"{where}: union {type_}; the only union allowed is ['null', type]")
        type_ = type_[1]
        if raw.get("default", ...) is not None:
            raise SchemaError(f"{where}: a nullable field must have the default null")
    return Field(
        name=raw["name"],
        type=_type(type_, where),
        doc=_doc(raw, where),
        nullable=nullable,
        unit=raw.get("unit"),
        minimum=raw.get("min"),
        maximum=raw.get("max"),
        values=tuple(raw.get("values", ())),
        pii=pii,
        has_default="default" in raw,
        default=raw.get("default"),
        sum_of=raw.get("sum_of"),
    )


_LOGICAL = {("long", "timestamp-millis"): Scalar.TIMESTAMP, ("int", "date"): Scalar.DATE}
_PLAIN = {s.value: s for s in Scalar if s not in (Scalar.TIMESTAMP, Scalar.DATE)}


def _type(raw: Any, where: str) -> Type:
    if isinstance(raw, dict) and raw.get("type") == "array":
        items = raw["items"]
        if isinstance(items, dict) and items.get("type") == "record":
            return Array(Nested(items["name"], _fields(items["fields"], where)))
        item = _type(items, where)
        if isinstance(item, Array):
            raise SchemaError(f"{where}: an array of arrays; put a record between them")
        return Array(item)
    if isinstance(raw, str) and raw in _PLAIN:
        return _PLAIN[raw]
    if isinstance(raw, dict) and (raw.get("type"), raw.get("logicalType")) in _LOGICAL:
        return _LOGICAL[raw["type"], raw["logicalType"]]
    raise SchemaError(
        f"{where}: type {raw!r}; allowed are {', '.join(s.value for s in Scalar)}, arrays of these or of one record"
    )


def _doc(raw: dict[str, Any], where: str) -> str:
    doc = raw.get("doc")
    if not doc:
        raise SchemaError(f"{where}: no doc; every record and field says what it is")
    return str(doc)


def folder() -> Traversable:
    """Where the .avsc files lie (a folder, or a folder inside a zip)."""
    return resources.files("schemas") / "records"


@cache
def _catalogue() -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = {}
    for entry in folder().iterdir():
        match = FILE_NAME.match(entry.name)
        if not match:
            raise SchemaError(f"schemas/records/{entry.name}: a record file is called <name>.v<n>.avsc")
        found.setdefault(match["name"], []).append(int(match["version"]))
    for name, numbers in found.items():
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            raise SchemaError(f"record {name}: versions {sorted(numbers)}; they must run from 1 without a gap")
    return {name: tuple(sorted(numbers)) for name, numbers in sorted(found.items())}


def names() -> tuple[str, ...]:
    """Names of all records, sorted."""
    return tuple(_catalogue())


def versions(name: str) -> tuple[int, ...]:
    """Versions of a record, oldest first.

    Raises:
        SchemaError: no such record.
    """
    if name not in _catalogue():
        raise SchemaError(f"no record {name!r}; records are: {', '.join(names())}")
    return _catalogue()[name]


@cache
def load(name: str, version: int | None = None) -> Record:
    """One record; without `version` its newest.

    Raises:
        SchemaError: no such record or version, or a file that breaks a rule.
    """
    known = versions(name)
    number = known[-1] if version is None else version
    if number not in known:
        raise SchemaError(f"record {name!r} has no version {number}; it has: {', '.join(map(str, known))}")
    label = f"{name}.v{number}"
    return parse((folder() / f"{label}.avsc").read_text(encoding="utf-8"), label)


def every() -> tuple[Record, ...]:
    """Every version of every record, by name and version."""
    return tuple(load(name, version) for name in names() for version in versions(name))
