"""Prints a SHA-256 over the messages and decoded frames of every record: equal in every environment.

Usage: python -m tests.schemas.wire_digest
"""

from __future__ import annotations

import hashlib

import pandas as pd

from schemas import records, samples, wire


def digest() -> str:
    """Hash of all sample rows of every record version, encoded column-wise, and of what reading them gives."""
    found = hashlib.sha256()
    for record in records.every():
        messages = wire.encode_frame(record.name, record.version, pd.DataFrame(samples.rows(record, 6), dtype=object))
        frame = wire.decode_many(messages, record.name)
        for message in [*messages, *wire.encode_frame(record.name, None, frame)]:
            found.update(message)
        found.update(repr([str(kind) for kind in frame.dtypes]).encode())
    return found.hexdigest()


if __name__ == "__main__":
    print(digest())
