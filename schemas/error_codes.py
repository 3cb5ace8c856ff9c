"""Which error codes are the service's own decision (business) and which are faults (technical).

The map is `schemas/error_codes.csv`: exact codes, or a beginning with `*`. A service puts its players' codes there; the
kernel carries the same table. What is not in it is technical: an unknown code must not hide a fault.
"""

from __future__ import annotations

import csv
from functools import cache, lru_cache
from pathlib import Path

from schemas.errors import SchemaError

FILE = Path(__file__).resolve().parent / "error_codes.csv"
CLASSES = ("technical", "business")


@cache
def table() -> dict[str, str]:
    """Code, or beginning with `*`, to its class, in the order of the file.

    Raises:
        SchemaError: no columns `code` and `class`, a class that is none, a code given twice, a `*` not at the end.
    """
    found: dict[str, str] = {}
    with FILE.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"code", "class"} <= set(rows.fieldnames or ()):
            raise SchemaError(f"{FILE.name}: its first line is {rows.fieldnames}; it must name code and class")
        for row in rows:
            code = row["code"]
            if row["class"] not in CLASSES or code in found or not code.isprintable() or not code or "*" in code[:-1]:
                raise SchemaError(
                    f"{FILE.name}: code {code!r} has class {row['class']!r}: each code stands once, with a class of "
                    f"{'/'.join(CLASSES)}, and a * only at its end"
                )
            found[code] = row["class"]
    return found


@lru_cache(maxsize=4096)
def is_business(code: str) -> bool:
    """Whether a code is of class business: by itself, else by its longest listed beginning."""
    known = table()
    if code in known:
        return known[code] == "business"
    starts = [pattern for pattern in known if pattern.endswith("*") and code.startswith(pattern[:-1])]
    return bool(starts) and known[max(starts, key=len)] == "business"
