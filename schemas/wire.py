"""Bytes on the wire: Confluent framing (0x00, 4-byte big-endian schema id) around Avro, without a registry server.

`encode_frame` writes a whole data frame at once (numpy; see `schemas.columnar`); `encode_one` one message. Reading
resolves the writer's schema, known by its id from `ids.lock`, to the version asked for: old messages read as new ones
and new ones as old.
Runs in every environment: numpy, pandas and fastavro only.

In memory: timestamps are ``datetime64[ms, UTC]`` (in a dict: aware datetimes), dates are `datetime.date`, nullable
integers are pandas ``Int32``/``Int64``, other nullable columns hold None (doubles NaN).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import fastavro
import numpy as np
import pandas as pd
from fastavro import validation

from schemas import columnar, ids, records
from schemas.errors import SchemaError, WireError
from schemas.records import Array, Field, Nested, Record, Scalar

HEADER_BYTES = 5
_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
_MARKED = re.compile(r"[|\\]")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_READ_ERRORS = (EOFError, ValueError, IndexError, OverflowError, UnicodeDecodeError, TypeError, KeyError)


def header(name: str, version: int) -> bytes:
    """The five bytes before the Avro bytes of one record version."""
    return b"\x00" + ids.schema_id(name, version).to_bytes(4, "big")


def encode_frame(name: str, version: int | None, frame: pd.DataFrame) -> list[bytes]:
    """Messages of a frame's rows, in their order; columns the record does not have are ignored.

    Only types are checked here, not ranges: a producer may send what a consumer must refuse.

    Raises:
        SchemaError: a missing column, a null in a column that has none, or a value of another type; the message names
            column, first row and type.
    """
    record = records.load(name, version)
    return columnar.encode(record, header(record.name, record.version), frame)


def message_keys(key: str, frame: pd.DataFrame) -> list[str]:
    """The message key of every row: the fields that `key` names, joined by ``|``.

    In a key of several fields a ``|`` or a backslash inside one has a backslash before it, so no two keys are one.

    Raises:
        SchemaError: the frame has no such column.
    """
    names = key.split("|")
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise SchemaError(f"messages are keyed by {key}; the frame has no column {', '.join(missing)}")
    columns = [frame[name].astype(str).tolist() for name in names]
    if len(columns) == 1:
        return columns[0]
    return ["|".join(_MARKED.sub(r"\\\g<0>", word) for word in words) for words in zip(*columns, strict=True)]


def encode_one(name: str, row: dict[str, Any], version: int | None = None) -> bytes:
    """The message of one row (a dict; fields with a default may be left out).

    Raises:
        SchemaError: a missing field or a value of another type.
    """
    record = records.load(name, version)
    unknown = sorted(set(row) - {field.name for field in record.fields})
    if unknown:
        has = ", ".join(field.name for field in record.fields)
        raise SchemaError(f"{record.label} has no field {', '.join(unknown)}; its fields are: {has}")
    for field in record.fields:
        _check(record.label, field, row)
    out = io.BytesIO()
    out.write(header(record.name, record.version))
    fastavro.schemaless_writer(out, logical_schema(record.name, record.version), row)
    return out.getvalue()


def _check(label: str, field: Field, row: dict[str, Any]) -> None:
    if field.name not in row:
        if not field.has_default:
            raise SchemaError(f"{label}: field {field.name} is missing")
        return
    value = row[field.name]
    fits = validation.validate(value, _field_schema(label, field.name), raise_errors=False)
    if not fits:
        raise SchemaError(f"{label}: field {field.name} holds a {type(value).__name__}; it must be {describe(field)}")
    if isinstance(value, datetime) and (value.tzinfo is None or value.microsecond % 1000):
        raise SchemaError(
            f"{label}: field {field.name} holds a time without a zone or finer than a millisecond; use UTC"
        )


@cache
def _field_schema(label: str, field: str) -> Any:
    name, _, version = label.rpartition(".v")
    raw = next(item for item in records.load(name, int(version)).avro["fields"] if item["name"] == field)
    return fastavro.parse_schema(json.loads(json.dumps(raw["type"])))


def describe(field: Field) -> str:
    """A field's type in words, for messages."""
    kind = field.type
    if isinstance(kind, Array):
        items = kind.items
        text = f"array of {items.name if isinstance(items, Nested) else items.value}"
    else:
        text = kind.value
    return f"{text} or null" if field.nullable else text


@cache
def logical_schema(name: str, version: int) -> Any:
    """fastavro's parsed schema of one version, with logical types."""
    return fastavro.parse_schema(json.loads(json.dumps(records.load(name, version).avro)))


@cache
def physical_schema(name: str, version: int) -> Any:
    """fastavro's parsed schema of one version with times and dates as the integers they travel as."""
    return fastavro.parse_schema(_without_logical(records.load(name, version).avro))


def _without_logical(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_logical(value) for key, value in node.items() if key != "logicalType"}
    return [_without_logical(item) for item in node] if isinstance(node, list) else node


def split(message: bytes) -> tuple[str, int, bytes]:
    """Record name, version and Avro bytes of a message.

    Raises:
        WireError: no Confluent header (``frame``), or an id the lock does not know (``schema``).
    """
    if len(message) < HEADER_BYTES or message[0] != 0:
        raise WireError("frame", f"{len(message)} bytes without a Confluent header (0x00 and a 4-byte schema id)")
    number = int.from_bytes(message[1:HEADER_BYTES], "big")
    version = ids.by_id(number)
    if version is None:
        raise WireError("schema", f"schema id {number} is not in schemas/{ids.LOCK}")
    return (*version, message[HEADER_BYTES:])


def decode_one(message: bytes) -> tuple[str, int, dict[str, Any]]:
    """Record name, version and row of a message, as it was written (no resolution).

    Raises:
        WireError: see `split`; ``decode`` if the bytes do not follow the schema or go on behind it.
    """
    name, version, body = split(message)
    row = _read(body, name, version, version)
    return name, version, _with_times(records.load(name, version).fields, row)


def decode_many(messages: Iterable[bytes], name: str, version: int | None = None) -> pd.DataFrame:
    """Rows of many messages of one record as a frame in the form of `version` (without it, the newest).

    Raises:
        WireError: see `split`; ``schema`` if a message is of another record; the text says which message.
    """
    record = records.load(name, version)
    rows = []
    for index, message in enumerate(messages):
        try:
            found, writer, body = split(message)
            if found != name:
                raise WireError("schema", f"a {found} message where {name} was expected")
            rows.append(_read(body, name, writer, record.version))
        except WireError as error:
            raise WireError(error.error_class, f"message {index}: {error}") from error
    return frame(record, rows)


def _read(body: bytes, name: str, writer: int, reader: int) -> dict[str, Any]:
    source = io.BytesIO(body)
    target = None if reader == writer else physical_schema(name, reader)
    try:
        row: dict[str, Any] = fastavro.schemaless_reader(source, physical_schema(name, writer), target)
    except _READ_ERRORS as error:
        raise WireError(
            "decode", f"{len(body)} bytes do not follow {name}.v{writer} ({type(error).__name__})"
        ) from error
    if source.tell() != len(body):
        raise WireError("decode", f"{len(body) - source.tell()} bytes are left over behind a {name}.v{writer}")
    for field in _small(name, reader):
        if row[field] is not None and not _INT_MIN <= row[field] <= _INT_MAX:
            raise WireError("decode", f"field {field}: more than 32 bits in an int")
    return row


@cache
def _small(name: str, version: int) -> tuple[str, ...]:
    return tuple(f.name for f in records.load(name, version).fields if f.type in (Scalar.INT, Scalar.DATE))


def _with_times(fields: Sequence[Field], row: dict[str, Any]) -> dict[str, Any]:
    for field in fields:
        value = row[field.name]
        if value is None:
            continue
        if isinstance(field.type, Array):
            items = field.type.items
            if isinstance(items, Nested):
                row[field.name] = [_with_times(items.fields, item) for item in value]
            elif items in (Scalar.TIMESTAMP, Scalar.DATE):
                row[field.name] = [_time(items, item, field.name) for item in value]
        elif field.type in (Scalar.TIMESTAMP, Scalar.DATE):
            row[field.name] = _time(field.type, value, field.name)
    return row


def _time(kind: Scalar, value: int, name: str) -> datetime | date:
    try:
        return (
            EPOCH + timedelta(milliseconds=value) if kind is Scalar.TIMESTAMP else EPOCH.date() + timedelta(days=value)
        )
    except OverflowError as error:
        raise WireError("range", f"field {name}: no calendar holds this {kind.value}") from error


def frame(record: Record, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A frame with a record's columns and types, also when empty; in `rows` times and dates are integers."""
    return pd.DataFrame({field.name: _series(field, [row[field.name] for row in rows]) for field in record.fields})


_NUMPY = {Scalar.INT: "int32", Scalar.LONG: "int64", Scalar.BOOLEAN: "bool", Scalar.DOUBLE: "float64"}
_PANDAS = {Scalar.INT: "Int32", Scalar.LONG: "Int64", Scalar.BOOLEAN: "boolean", Scalar.DOUBLE: "float64"}


def _series(field: Field, values: list[Any]) -> pd.Series[Any]:
    kind = field.type
    if isinstance(kind, Array):
        held = (
            values
            if not isinstance(kind.items, Nested) and kind.items not in (Scalar.TIMESTAMP, Scalar.DATE)
            else [_with_times((field,), {field.name: value})[field.name] for value in values]
        )
        return pd.Series(held, dtype=object)
    if kind is Scalar.TIMESTAMP:
        millis = np.array([np.iinfo(np.int64).min if v is None else v for v in values], dtype=np.int64)
        return pd.Series(millis.view("datetime64[ms]")).dt.tz_localize(UTC)
    if kind is Scalar.DATE:
        return pd.Series([None if v is None else _time(kind, v, field.name) for v in values], dtype=object)
    if kind in _NUMPY:
        return pd.Series(values, dtype=(_PANDAS if field.nullable else _NUMPY)[kind])
    return pd.Series(values, dtype=object)
