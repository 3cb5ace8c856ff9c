"""Check a file of playback events that somebody else wrote, before it is sent: NDJSON or CSV, plain or gzip.

Every wrong field is found and told with its line, the rule and the type of the value found (not the value, which may be
personal); equal mistakes are told once, with their number. Nothing is changed or sent.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from schemas import records
from schemas.errors import SchemaError
from schemas.records import Field, Record, Scalar
from schemas.validate import Validator, Wrong, milliseconds

if TYPE_CHECKING:
    import pandas as pd

RECORD = "playback_event"
_FORMS = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv"}
_DAY_MS = 86_400_000
_STEP = 1 << 20


def form_of(file: Path) -> str:
    """``ndjson`` or ``csv``, by the file's name.

    Raises:
        SchemaError: neither.
    """
    name = file.with_suffix("") if file.suffix == ".gz" else file
    if name.suffix not in _FORMS:
        raise SchemaError(f"{file.name}: is it NDJSON or CSV? Name it .ndjson or .csv, or say --format")
    return _FORMS[name.suffix]


@dataclass(slots=True)
class Report:
    """What a check found; `mistakes` holds the lines of each kind of mistake, `odd_clocks` those of events whose device
    clock is more than a day from the collector's: allowed, yet often seconds where milliseconds belong."""

    events: int = 0
    wrong_events: int = 0
    repeated: int = 0
    mistakes: dict[Wrong, list[int]] = field(default_factory=dict)
    odd_clocks: list[int] = field(default_factory=list)
    seen: set[tuple[str, int]] = field(default_factory=set)

    @property
    def wrong(self) -> int:
        """How many fields are wrong."""
        return sum(map(len, self.mistakes.values()))

    @property
    def sessions(self) -> int:
        """How many sessions the good events belong to."""
        return len({session for session, _ in self.seen})

    def lines(self, limit: int = 3) -> Iterator[str]:
        """One line for each kind of mistake, the earliest first, naming up to `limit` of its lines."""
        for mistake, at in sorted(self.mistakes.items(), key=lambda item: (item[1][0], item[0].field)):
            yield f"{_where(at, limit)}: {mistake.field} {mistake.rule} (found: {mistake.kind}) x {len(at):,}"

    def doubts(self, limit: int = 3) -> Iterator[str]:
        """One line for each thing that is allowed and yet looks wrong."""
        if self.odd_clocks:
            yield (
                f"note: {_where(self.odd_clocks, limit)}: device_at is more than a day from received_at x "
                f"{len(self.odd_clocks):,}; a clock in seconds? Durations are differences of device_at, in milliseconds"
            )

    def verdict(self) -> str:
        """The last line: how many events, and how many are wrong."""
        text = f"{self.events:,} events: {self.wrong_events:,} wrong"
        if self.wrong:
            return f"{text}, {self.wrong:,} wrong fields; correct them in the file, nothing was changed or sent"
        repeats = f", {self.repeated:,} repeats of a (session_id, seq), which are counted once" if self.repeated else ""
        return f"{text}, {self.sessions:,} sessions{repeats}"


def _where(at: list[int], limit: int) -> str:
    more = f" and {len(at) - limit:,} more" if len(at) > limit else ""
    return f"line{'s' if len(at) > 1 else ''} {', '.join(map(str, at[:limit]))}{more}"


def check_file(file: Path, form: str, progress: Callable[[int], None] | None = None) -> Report:
    """Check a whole file.

    Args:
        file: NDJSON or CSV with the fields of `playback_event`; gzip if its name ends in .gz.
        form: ``ndjson`` or ``csv``.
        progress: told the bytes read since it was last told.

    Raises:
        SchemaError: no event in it, a CSV without a header, or a file that is not gzip although its name says so.
    """
    report = Report()
    validator = Validator(records.load(RECORD))
    read = _ndjson if form == "ndjson" else _csv
    told = 0
    with file.open("rb") as raw:
        try:
            for line, row in read(gzip.GzipFile(fileobj=raw) if file.suffix == ".gz" else raw):
                _count(report, line, row, validator)
                if progress is not None and raw.tell() - told >= _STEP:
                    progress(raw.tell() - told)
                    told = raw.tell()
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SchemaError(f"{file.name}: not a whole gzip file ({error})") from error
        if progress is not None:
            progress(raw.tell() - told)
    if not report.events:
        raise SchemaError(f"{file.name} holds no event: one a line is expected")
    return report


def read(file: Path, form: str | None = None) -> pd.DataFrame:
    """The events of a checked file as a frame of the newest `playback_event`, in the file's order.

    Raises:
        SchemaError: the file does not pass the check; the message holds the first mistakes.
    """
    from schemas import wire

    form = form or form_of(file)
    report = check_file(file, form)
    if report.wrong:
        raise SchemaError("\n".join([f"{file.name}: {report.verdict()}", *list(report.lines())[:5]]))
    record = records.load(RECORD)
    with file.open("rb") as raw:
        source = gzip.GzipFile(fileobj=raw) if file.suffix == ".gz" else raw
        found = [
            _physical(record, row)
            for _, row in (_ndjson if form == "ndjson" else _csv)(source)
            if isinstance(row, dict)
        ]
    return wire.frame(record, found)


def _physical(record: Record, row: dict[str, Any]) -> dict[str, Any]:
    """A valid row with every field, times as milliseconds since 1970."""
    whole = {f.name: row.get(f.name, f.default) for f in record.fields}
    for f in record.fields:
        if f.type is Scalar.TIMESTAMP and isinstance(whole[f.name], str):
            whole[f.name] = milliseconds(whole[f.name])
    return whole


def _count(report: Report, line: int, row: dict[str, Any] | Wrong, validator: Validator) -> None:
    found = [row] if isinstance(row, Wrong) else list(validator.wrong(row))
    report.events += 1
    report.wrong_events += bool(found)
    for mistake in found:
        report.mistakes.setdefault(mistake, []).append(line)
    if not found and isinstance(row, dict):
        key = (row["session_id"], row["seq"])
        report.repeated += key in report.seen
        report.seen.add(key)
        if abs(milliseconds(row["device_at"]) - milliseconds(row["received_at"])) > _DAY_MS:
            report.odd_clocks.append(line)


Rows = Iterator[tuple[int, dict[str, Any] | Wrong]]


def _ndjson(raw: IO[bytes] | gzip.GzipFile) -> Rows:
    for line, text in enumerate(raw, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text.decode("utf-8-sig" if line == 1 else "utf-8"), object_pairs_hook=_once)
        except UnicodeDecodeError:
            yield line, Wrong("the line", "must be UTF-8", "bytes")
        except SchemaError as error:
            yield line, Wrong("the line", str(error), "text")
        except (ValueError, RecursionError):
            yield line, Wrong("the line", "must be one JSON object", "text")
        else:
            yield (
                line,
                row if isinstance(row, dict) else Wrong("the line", "must be one JSON object", type(row).__name__),
            )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose fields have one value each; which of two was meant, nobody knows."""
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        raise SchemaError(f"names {next(name for name in names if names.count(name) > 1)} twice")
    return row


def _csv(raw: IO[bytes] | gzip.GzipFile) -> Rows:
    text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _csv_rows(csv.reader(text))
    finally:
        text.detach()  # or it would close `raw`, which is the caller's


def _csv_rows(reader: Any) -> Rows:
    lines = _cells(reader)
    head = next(lines, None)
    if not head:
        raise SchemaError("the CSV is empty; its first line must name the fields")
    if len(set(head)) != len(head):
        raise SchemaError("the first line of the CSV names a field twice")
    fields = {f.name: f for f in records.load(RECORD).fields}
    for cells in lines:
        if not cells:
            continue
        if not _is_unicode(cells):
            yield reader.line_num, Wrong("the line", "must be UTF-8", "bytes")
        elif len(cells) != len(head):
            rule = f"must have {len(head)} cells as the first line"
            yield reader.line_num, Wrong("the line", rule, f"{len(cells)} cells")
        else:
            yield reader.line_num, {name: _cell(fields.get(name), cell) for name, cell in zip(head, cells, strict=True)}


def _cells(reader: Any) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise SchemaError(f"line {reader.line_num} of the CSV cannot be read: {error}") from error


def _is_unicode(cells: list[str]) -> bool:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True


_WHOLE = re.compile(r"-?[0-9]{1,20}")
_TRUTH = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}


def _cell(field: Field | None, cell: str) -> Any:
    """The value a CSV cell stands for; an empty one is null where null is allowed or no text could stand there."""
    if field is None:
        return cell
    if cell == "" and (field.nullable or field.type is not Scalar.STRING):
        return None
    if field.type is Scalar.BOOLEAN:
        return _TRUTH.get(cell, cell)
    if field.type in (Scalar.INT, Scalar.LONG, Scalar.TIMESTAMP) and _WHOLE.fullmatch(cell):
        return int(cell)
    if field.type is Scalar.DOUBLE:
        try:
            return float(cell)
        except ValueError:
            return cell
    return cell
