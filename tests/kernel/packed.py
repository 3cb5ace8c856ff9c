"""The kernel's packed measures (Measure.write) in Python: words of a bit a measure, then what is not 0, as varints."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from schemas.measures import NAMES
from schemas.metrics import DIMENSIONS

WORD = 64


def pack(values: Sequence[int]) -> bytes:
    """Measures in their order."""
    numbers = []
    for start in range(0, len(values), WORD):
        word = sum(1 << i for i, value in enumerate(values[start : start + WORD]) if value)
        numbers.append(word - (1 << WORD) if word >> (WORD - 1) else word)
    return b"".join(map(_varint, [*numbers, *filter(None, values)]))


def _varint(value: int) -> bytes:
    rest, found = (value << 1) ^ (value >> 63), bytearray()
    while rest > 0x7F:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*found, rest])


def unpack(data: bytes) -> list[int]:
    """What `pack` was given."""
    numbers, rest, shift = [], 0, 0
    for byte in data:
        rest |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append((rest >> 1) ^ -(rest & 1))
            rest = shift = 0
    words = -(-len(NAMES) // WORD)
    values = iter(numbers[words:])
    found = [next(values) if numbers[i // WORD] >> i % WORD & 1 else 0 for i in range(len(NAMES))]
    assert shift == 0 and next(values, None) is None, "more numbers than bits"
    return found


def columns(data: bytes) -> Mapping[str, int]:
    """By name."""
    return dict(zip(NAMES, unpack(data), strict=True))


def write_deltas(rows: pd.DataFrame, folder: Path) -> None:
    """Rows of `minute_ms`, dimensions and measures as a CSV folder of deltas, as `bench.flink_exact` has it."""
    folder.mkdir()
    texts = [base64.b64encode(pack(values)).decode() for values in rows[list(NAMES)].to_numpy().tolist()]
    frame = rows[["minute_ms", *DIMENSIONS]].assign(deltas=texts)
    frame.to_csv(folder / "deltas.csv", index=False, header=False)


def read_messages(folder: Path) -> dict[bytes, bytes]:
    """Key to value of a CSV folder of messages; no key stands twice."""
    parts = [p for p in folder.rglob("*") if p.is_file() and p.name[0] not in "._"]
    lines = [line.split(",") for part in parts for line in part.read_text().splitlines()]
    found = {base64.b64decode(key): base64.b64decode(value) for key, value in lines}
    assert len(found) == len(lines)
    return found
