"""What a metric may ask for: the columns of its own rows, added and subtracted. `matinee schemas check|generate` look.

Which rows, `schemas.metrics.ROWS` says. Of a span only measures count: the stream adds them up first and takes the
metrics of the sums, so a count of rows would be wrong there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from schemas import measures, metrics, records
from schemas.errors import SchemaError
from schemas.metrics import ROWS, Metric
from schemas.records import Scalar

COUNT = "1"
"""The expression that counts rows."""
_TERMS = re.compile(r"[a-z][a-z0-9_]*( [+-] [a-z][a-z0-9_]*)*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TOLD = ("unit", "doc", "source", "edges", "owner")


def check() -> None:
    """Hold every entry of the registries against the columns of its rows.

    Raises:
        SchemaError: what is wrong, a line for each mistake.
    """
    every = metrics.registries()
    wrong = [text for name, entries in every.items() for text in problems(name, entries)]
    counts = Counter(metric.name for entries in every.values() for metric in entries)
    wrong += [f"metric {name} is declared {count} times" for name, count in counts.items() if count > 1]
    if wrong:
        raise SchemaError("\n".join(wrong))


def columns(record: str) -> dict[str, Scalar]:
    """Columns of a record's rows that a metric may add up: numbers (LONG), and yes or no (BOOLEAN) as 1 or 0."""
    ours = dict.fromkeys(measures.NAMES, Scalar.LONG)
    if record == "span":
        return ours
    fields: dict[str, Scalar] = {
        f.name: f.type
        for f in records.load(record).fields
        if isinstance(f.type, Scalar) and f.type in (Scalar.LONG, Scalar.BOOLEAN) and not f.nullable
    }
    return fields | ours if record == "session" else fields


def problems(registry: str, entries: Sequence[Metric]) -> Iterator[str]:
    """What is wrong with the entries of a registry, one line for each mistake."""
    known = columns(ROWS[registry])
    for metric in entries:
        yield from (f"metric {metric.name}: {text}" for text in _entry_problems(metric))
        for expression in (metric.num, metric.den):
            if expression is not None:
                yield from (f"metric {metric.name}: {text}" for text in _problems(expression, ROWS[registry], known))


def _entry_problems(metric: Metric) -> Iterator[str]:
    """A name that Avro refuses would be found by the kernel's build alone, when the lock holds it already."""
    if not _NAME.fullmatch(metric.name):
        yield "a name becomes columns: a small letter, then small letters, digits and `_`"
    if metric.scale < 1:
        yield f"scale is {metric.scale}: the value is divided by it, so it must be 1 or more"
    if empty := [name for name in _TOLD if not getattr(metric, name).strip()]:
        yield f"{', '.join(empty)}: the dictionary shows it, so it must not be empty"


def _problems(expression: str, record: str, known: Mapping[str, Scalar]) -> Iterator[str]:
    if expression == COUNT:
        if record == "span":
            yield "`1` counts rows, but the stream takes a span's metrics of sums; count by a measure"
        return
    if not _TERMS.fullmatch(expression):
        yield f"`{expression}` must be columns added and subtracted, or `1`: anything else would not add up"
        return
    words = re.findall(r"[a-z0-9_]+", expression)
    for word in words:
        if word not in known:
            kind = "measure" if record == "span" else "column to add up"
            yield f"rows of `{record}` have no {kind} `{word}`; {_elsewhere(word, record)}"
        elif known[word] is Scalar.BOOLEAN and len(words) > 1:
            yield f"`{word}` is yes or no and must stand alone, found is `{expression}`"


def _elsewhere(word: str, record: str) -> str:
    there = [(name, other) for name, other in ROWS.items() if other != record and word in columns(other)]
    if there:
        return "; ".join(f"`{other}` has it: make it an entry of {name}" for name, other in there)
    return f"see the numbers of {records.load(record).label}, and schemas/measures.py"
