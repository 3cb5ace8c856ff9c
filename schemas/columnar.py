"""Avro of a whole data frame at once, in numpy: the fast half of `schemas.wire`.

Each column of a chunk of rows becomes a *block*: a matrix of bytes, one row a value, padded to the widest, and the
number of bytes that count. Integers are zigzag varints, computed a byte position at a time; strings are factorised, so
that each distinct one is encoded once; a null is one more entry. Blocks stand side by side, a mask says which bytes
count, and one masked copy gives the flat buffer that is cut into messages. Chunks keep the matrices in the processor's
cache.

Arrays and nested records have no such form: their columns go through fastavro value by value.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.errors import SchemaError
from schemas.records import Array, Field, Record, Scalar

CHUNK_ROWS = 8192
CHUNK_BYTES = 1 << 25
"""A chunk whose matrix would be larger is halved (one long string among short ones)."""

Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_EPOCH = date(1970, 1, 1)
_NULL = b"\x00"
_SET = b"\x02"
_INT = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class Block:
    """One column's bytes: `data` (entries, width), `size` (entries,), and `codes` (rows,) if entries are shared."""

    data: Bytes
    size: Longs
    codes: Longs | None = None


def encode(record: Record, header: bytes, frame: pd.DataFrame) -> list[bytes]:
    """Messages of a frame's rows: `header` and the Avro bytes of each; an absent column holds its field's default.

    Raises:
        SchemaError: see `schemas.wire.encode_frame`.
    """
    if not frame.columns.is_unique:
        raise SchemaError(f"{record.label}: a column stands twice in the frame: {', '.join(map(str, frame.columns))}")
    columns: list[_Column] = []
    for field, raw in zip(record.fields, record.avro["fields"], strict=True):
        if field.name not in frame.columns and field.has_default:
            columns.append(_Column(record.label, field, raw, _default(field, len(frame))))
            continue
        if field.name not in frame.columns:
            has = ", ".join(map(str, frame.columns))
            raise SchemaError(f"{record.label}: the frame has no column {field.name}; it has: {has}")
        columns.append(_Column(record.label, field, raw, frame[field.name]))
    messages: list[bytes] = []
    for start in range(0, len(frame), CHUNK_ROWS):
        messages += _chunk(columns, header, start, min(start + CHUNK_ROWS, len(frame)))
    return messages


_DTYPES = {Scalar.INT: "Int32", Scalar.LONG: "Int64", Scalar.BOOLEAN: "boolean", Scalar.DOUBLE: "float64",
           Scalar.TIMESTAMP: "datetime64[ms, UTC]"}  # fmt: skip


def _default(field: Field, count: int) -> pd.Series[Any]:
    kind = field.type
    dtype = _DTYPES.get(kind, "object") if isinstance(kind, Scalar) else "object"
    return pd.Series([field.default] * count, dtype=dtype)


def _chunk(columns: list[_Column], header: bytes, start: int, stop: int) -> list[bytes]:
    head = np.frombuffer(header, dtype=np.uint8)
    blocks = [Block(head[None, :], np.array([len(header)]), np.zeros(stop - start, dtype=np.int64))]
    width = len(header)
    for column in columns:
        block = column.block(start, stop)
        width += block.data.shape[1]
        if width * (stop - start) > CHUNK_BYTES and stop - start > 1:
            middle = (start + stop) // 2
            return _chunk(columns, header, start, middle) + _chunk(columns, header, middle, stop)
        blocks.append(block)
    return _cut(blocks, stop - start, width)


def _cut(blocks: list[Block], rows: int, width: int) -> list[bytes]:
    data = np.empty((rows, width), dtype=np.uint8)
    counts = np.empty((rows, width), dtype=np.bool_)
    length = np.zeros(rows, dtype=np.int64)
    at = 0
    for block in blocks:
        wide = block.data.shape[1]
        mask = np.arange(wide) < block.size[:, None]
        if block.codes is None:
            data[:, at : at + wide] = block.data
            counts[:, at : at + wide] = mask
            length += block.size
        else:
            data[:, at : at + wide] = block.data.take(block.codes, axis=0)
            counts[:, at : at + wide] = mask.take(block.codes, axis=0)
            length += block.size[block.codes]
        at += wide
    flat = data[counts].tobytes()
    ends = np.cumsum(length)
    return [flat[a:b] for a, b in zip((ends - length).tolist(), ends.tolist(), strict=True)]


class _Column:
    """One column of the frame with the way to encode it."""

    def __init__(self, label: str, field: Field, raw: dict[str, Any], series: pd.Series[Any]) -> None:
        self.field = field
        self.where = f"{label}.{field.name}"
        self.series = series
        if isinstance(field.type, Array):
            self.null = np.array([value is None for value in series], dtype=np.bool_)
        else:
            self.null = series.isna().to_numpy(dtype=np.bool_)
        if not field.nullable and self.null.any():
            count, first = int(self.null.sum()), int(self.null.argmax())
            raise SchemaError(f"{self.where}: {count} nulls, the first in row {first}; the field has no null")
        self.some_null = bool(self.null.any())
        self.schema: Any = None
        if isinstance(field.type, Array):
            self.schema = fastavro.parse_schema(json.loads(json.dumps(raw["type"])))
        elif field.type not in (Scalar.STRING, Scalar.BYTES):
            self.numbers = self._numbers(field.type)

    def block(self, start: int, stop: int) -> Block:
        """The column's bytes of rows `start` to `stop`."""
        kind = self.field.type
        if isinstance(kind, Array):
            return self._through_fastavro(start, stop)
        if kind in (Scalar.STRING, Scalar.BYTES):
            return self._texts(start, stop)
        null = self.null[start:stop] if self.field.nullable else None
        if null is not None and null.all():
            return _shared([_NULL], np.zeros(stop - start, dtype=np.int64))
        numbers = self.numbers[start:stop]
        if kind is Scalar.DOUBLE:
            raw = np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, 8)
            return _prefixed(raw, np.full(stop - start, 8), null)
        if kind is Scalar.BOOLEAN:
            return _prefixed(numbers.astype(np.uint8)[:, None], np.ones(stop - start, dtype=np.int64), null)
        return _prefixed(*varints(numbers), null)

    def _wrong(self, found: str, row: int, rule: str) -> SchemaError:
        return SchemaError(f"{self.where}: row {row} holds {found}; {rule}")

    def _numbers(self, kind: Scalar) -> npt.NDArray[Any]:
        if kind is Scalar.TIMESTAMP:
            return self._millis()
        if kind is Scalar.DATE:
            return self._days()
        if kind is Scalar.BOOLEAN:
            return self._booleans()
        if kind is Scalar.DOUBLE:
            return self._doubles()
        whole = self._whole()
        if kind is Scalar.INT and len(whole) and (whole.min() < _INT.min or whole.max() > _INT.max):
            row = int(((whole < _INT.min) | (whole > _INT.max)).argmax())
            raise self._wrong("an integer of more than 32 bits", row, "the field is an int")
        return whole

    def _each(self, allowed: tuple[type, ...], refused: tuple[type, ...], rule: str) -> None:
        for row, value in enumerate(self.series):
            if not self.null[row] and (not isinstance(value, allowed) or isinstance(value, refused)):
                raise self._wrong(f"a {type(value).__name__}", row, rule)

    def _whole(self) -> Longs:
        """Integers as int64, nulls as 0."""
        dtype = self.series.dtype
        if pd.api.types.is_object_dtype(dtype):
            self._each((int, np.integer, float), (bool, np.bool_), "the field is an integer")
            filled = [0 if null else value for value, null in zip(self.series, self.null, strict=True)]
            floats = any(isinstance(value, float) for value in filled)
            try:
                values = np.array(filled, dtype=np.float64 if floats else np.int64)
            except OverflowError as error:
                raise SchemaError(f"{self.where}: an integer of more than 64 bits") from error
        elif pd.api.types.is_bool_dtype(dtype) or not pd.api.types.is_numeric_dtype(dtype):
            raise SchemaError(f"{self.where}: the column is {dtype}; the field is an integer")
        elif isinstance(dtype, np.dtype):
            values = np.where(self.null, 0, self.series.to_numpy()) if self.some_null else self.series.to_numpy()
        else:
            values = self.series.fillna(0).to_numpy(dtype=np.dtype(dtype.kind + str(getattr(dtype, "itemsize", 8))))
        if values.dtype.kind == "f":
            odd = values != np.floor(values)
            if odd.any():
                raise self._wrong("a number that is not a whole one", int(odd.argmax()), "the field is an integer")
            large = np.abs(values) > 2.0**53
            if large.any():
                rule = "a double has lost its last digits: use Int64 for integers with nulls"
                raise self._wrong("a number above 2^53", int(large.argmax()), rule)
        elif values.dtype.kind == "u" and len(values) and values.max() > np.iinfo(np.int64).max:
            raise SchemaError(f"{self.where}: an integer of more than 64 bits")
        return values.astype(np.int64, copy=False)

    def _doubles(self) -> npt.NDArray[np.float64]:
        if pd.api.types.is_object_dtype(self.series.dtype):
            self._each((int, float, np.integer, np.floating), (bool, np.bool_), "the field is a double")
        elif pd.api.types.is_bool_dtype(self.series.dtype) or not pd.api.types.is_numeric_dtype(self.series.dtype):
            raise SchemaError(f"{self.where}: the column is {self.series.dtype}; the field is a double")
        doubles: npt.NDArray[np.float64] = self.series.to_numpy(dtype="<f8", na_value=np.nan)
        return doubles

    def _booleans(self) -> Flags:
        if pd.api.types.is_object_dtype(self.series.dtype):
            self._each((bool, np.bool_), (), "the field is a boolean")
        elif not pd.api.types.is_bool_dtype(self.series.dtype):
            raise SchemaError(f"{self.where}: the column is {self.series.dtype}; the field is a boolean")
        flags: Flags = self.series.to_numpy(dtype=bool, na_value=False)
        return flags

    def _millis(self) -> Longs:
        """UTC milliseconds since 1970; from aware datetimes of any unit or from integers."""
        series = self.series
        if pd.api.types.is_object_dtype(series.dtype):
            self._each((datetime,), (), "the field is a timestamp")
            if any(value.tzinfo is None for value, null in zip(series, self.null, strict=True) if not null):
                raise SchemaError(f"{self.where}: a time without a time zone; use UTC")
            series = pd.to_datetime(series, utc=True)
        if pd.api.types.is_integer_dtype(series.dtype):
            return self._whole()
        if not isinstance(series.dtype, pd.DatetimeTZDtype):
            raise SchemaError(f"{self.where}: the column is {series.dtype}; a timestamp is datetime64[ms, UTC]")
        values = series.to_numpy(dtype=f"datetime64[{series.dtype.unit}]")
        millis = values.astype("datetime64[ms]")
        if (millis.astype(values.dtype) != values)[~self.null].any():
            raise SchemaError(f"{self.where}: a time finer than a millisecond; round it first (.dt.floor('ms'))")
        whole = millis.astype(np.int64)
        return np.where(self.null, 0, whole) if self.some_null else whole

    def _days(self) -> Longs:
        """Days since 1970-01-01; from dates, from naive datetimes at midnight, or from integers."""
        series = self.series
        if pd.api.types.is_integer_dtype(series.dtype):
            return self._whole()
        if pd.api.types.is_datetime64_dtype(series.dtype):
            values = series.to_numpy()
            days = values.astype("datetime64[D]")
            if (days.astype(values.dtype) != values)[~self.null].any():
                raise SchemaError(f"{self.where}: a date with a time of day")
            whole = days.astype(np.int64)
            return np.where(self.null, 0, whole) if self.some_null else whole
        codes, distinct = _factorised(series, self.where)
        for code, value in enumerate(distinct):
            if not isinstance(value, date) or isinstance(value, datetime):
                raise self._wrong(f"a {type(value).__name__}", int((codes == code).argmax()), "the field is a date")
        table = np.array([(value - _EPOCH).days for value in distinct] + [0], dtype=np.int64)
        return table[codes]

    def _texts(self, start: int, stop: int) -> Block:
        codes, distinct = _factorised(self.series.iloc[start:stop], self.where)
        allowed, rule = (
            (str, "the field is a string") if self.field.type is Scalar.STRING else (bytes, "the field is bytes")
        )
        prefix = _SET if self.field.nullable else b""
        entries = []
        for code, value in enumerate(distinct):
            if not isinstance(value, allowed):
                raise self._wrong(f"a {type(value).__name__}", start + int((codes == code).argmax()), rule)
            try:
                raw = value.encode() if isinstance(value, str) else bytes(value)
            except UnicodeEncodeError as error:
                raise self._wrong("text that is not Unicode", start + int((codes == code).argmax()), rule) from error
            entries.append(prefix + _length(len(raw)) + raw)
        return _shared([*entries, _NULL], codes)

    def _through_fastavro(self, start: int, stop: int) -> Block:
        out = io.BytesIO()
        ends = [0]
        for row in range(start, stop):
            value = self.series.iloc[row]
            if self.null[row]:
                out.write(_NULL)
            else:
                if self.field.nullable:
                    out.write(_SET)
                plain = value.tolist() if isinstance(value, np.ndarray) else value
                try:
                    fastavro.schemaless_writer(out, self.schema, plain)
                except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
                    raise self._wrong(f"a {type(value).__name__} that does not fit", row, f"{error}"[:200]) from error
            ends.append(out.tell())
        flat = out.getvalue()
        return _shared([flat[a:b] for a, b in pairwise(ends)], None)


def _factorised(series: pd.Series[Any], where: str) -> tuple[Longs, list[Any]]:
    """Codes of a series and its distinct values; nulls have the code -1: the last entry of a table with one more.

    A dict, not `pandas.factorize`: that one compares strings as C does and takes "" and NUL for the same.
    """
    if isinstance(series.dtype, pd.CategoricalDtype):
        used, codes = np.unique(series.cat.codes.to_numpy(), return_inverse=True)
        some = int(len(used) > 0 and used[0] == -1)
        return codes - some, list(series.cat.categories[used[some:]])
    values = series.tolist()
    try:
        distinct = list(dict.fromkeys(values))
    except TypeError as error:
        raise SchemaError(f"{where}: {error}; the field holds single values") from error
    number = {value: code for code, value in enumerate(distinct)}
    codes = np.fromiter(map(number.__getitem__, values), dtype=np.int64, count=len(values))
    nulls = [code for code, value in enumerate(distinct) if pd.isna(value)]
    if nulls:
        kept = np.ones(len(distinct), dtype=np.bool_)
        kept[nulls] = False
        codes = np.where(kept, np.cumsum(kept) - 1, -1)[codes]
        distinct = [value for value, keep in zip(distinct, kept.tolist(), strict=True) if keep]
    return codes, distinct


def _shared(entries: list[bytes], codes: Longs | None) -> Block:
    size = np.fromiter(map(len, entries), dtype=np.int64, count=len(entries))
    width = int(size.max())
    data = np.frombuffer(b"".join(entry.ljust(width, b"\x00") for entry in entries), dtype=np.uint8)
    return Block(data.reshape(len(entries), width), size, codes)


def _length(count: int) -> bytes:
    """Avro's length prefix: the zigzag varint of a number that is not negative."""
    number = count << 1
    out = bytearray()
    while number > 0x7F:
        out.append((number & 0x7F) | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def varints(numbers: Longs) -> tuple[Bytes, Longs]:
    """Zigzag varints of int64 numbers: a padded matrix (rows, widest) and the bytes that count in each row."""
    zigzag = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    size = np.ones(len(numbers), dtype=np.int64)
    top = int(zigzag.max()) if len(numbers) else 0
    width = max(1, -(-top.bit_length() // 7))
    for place in range(1, width):
        size += zigzag >= np.uint64(1 << (7 * place))
    out = np.empty((len(numbers), width), dtype=np.uint8)
    for place in range(width):
        out[:, place] = zigzag & np.uint64(0x7F)
        if place + 1 < width:
            out[:, place] |= (size > place + 1).view(np.uint8) << np.uint8(7)
            zigzag = zigzag >> np.uint64(7)
    return out, size


def _prefixed(data: Bytes, size: Longs, null: Flags | None) -> Block:
    """The block of a nullable column: 0x02 before a value, 0x00 alone for a null; unchanged if `null` is None."""
    if null is None:
        return Block(data, size)
    wide = np.empty((len(data), data.shape[1] + 1), dtype=np.uint8)
    wide[:, 0] = np.where(null, 0, 2)
    wide[:, 1:] = data
    return Block(wide, np.where(null, 1, size + 1))
