"""What is made from the declarations and committed: the records of sums, the lock of ids, the pages of the dictionary.

Generated files are never edited; `stale` finds one that was, and `write` makes them anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from schemas import ids, qoe, records
from schemas.render import dictionary

ROOT = Path(__file__).resolve().parent.parent


def _lock_text() -> str:
    entries = ids.parse_lock((ROOT / "schemas" / ids.LOCK).read_text(encoding="utf-8"))
    return ids.HEADER + "".join(entry.line for entry in ids.extended(entries))


def _records() -> dict[str, str]:
    return {f"schemas/records/{name}": text for name, text in qoe.files().items()}


def _lock() -> dict[str, str]:
    return {f"schemas/{ids.LOCK}": _lock_text()}


STAGES: tuple[Callable[[], dict[str, str]], ...] = (_records, _lock, dictionary.files)
"""Each reads what the ones before it have written."""


def stale() -> list[str]:
    """Generated files that differ from what would be written, as paths below the root of the repository."""
    return [path for stage in STAGES for path, text in stage().items() if _read(path) != text]


def write() -> list[str]:
    """Write every generated file that is stale; returns their paths.

    The caches of records and ids are dropped, so the caller sees the new state.
    """
    written = []
    for stage in STAGES:
        for path, text in stage().items():
            if _read(path) != text:
                (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
                (ROOT / path).write_text(text, encoding="utf-8")
                written.append(path)
        forget()
    return written


def forget() -> None:
    """Drop what was read from the record files and the lock."""
    for cached in (records._catalogue, records.load, ids.lock, ids._by_version, ids._by_id):
        cached.cache_clear()


def _read(path: str) -> str | None:
    file = ROOT / path
    return file.read_text(encoding="utf-8") if file.exists() else None
