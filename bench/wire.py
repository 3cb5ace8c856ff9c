"""What the wire costs: ``.venv/bin/python -m bench.wire [--events 200000]``.

Random playback events of 40-event sessions, encoded column-wise and one by one, and decoded; CPU time of one process,
the best of three.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from schemas import records, wire
from schemas.records import Scalar

PER_SESSION = 40
ONE_BY_ONE = 10_000


def events(count: int, seed: int = 7) -> pd.DataFrame:
    """`count` events of the newest version, text of 2 to 32 characters, a tenth of the nullable values null."""
    rng = np.random.default_rng(seed)
    session = np.arange(count) // PER_SESSION
    at = 1_772_395_200_000 + np.cumsum(rng.integers(0, 20, count))
    columns: dict[str, object] = {}
    for field in records.load("playback_event").fields:
        high = int(min(field.maximum or 0, 30_000)) or 100
        if field.values:
            values = rng.choice(field.values, count).astype(object)
        elif field.type is Scalar.STRING:
            width = {"session_id": 32, "country": 2}.get(field.name, 12)
            owner = session if field.name in ("session_id", "profile_id", "impression_id", "page_id") else session % 500
            distinct = np.array([f"{number:0{width}x}" for number in range(int(owner.max()) + 1)], dtype=object)
            values = distinct[owner]
        elif field.type is Scalar.TIMESTAMP:
            columns[field.name] = pd.Series(at.view("datetime64[ms]")).dt.tz_localize("UTC")
            continue
        elif field.type is Scalar.BOOLEAN:
            values = rng.random(count) < 0.1
        elif field.type is Scalar.DOUBLE:
            values = rng.random(count)
        else:
            values = rng.integers(0, high, count)
        series = pd.Series(values)
        if field.nullable:
            series = (series if field.type is Scalar.STRING else series.astype("Int64")).mask(rng.random(count) < 0.1)
        columns[field.name] = series
    return pd.DataFrame(columns)


def best(work: Callable[[], object]) -> float:
    """CPU seconds of the quickest of three runs."""
    taken = []
    for _ in range(3):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    count = parser.parse_args().events
    frame = events(count)
    categories = frame.astype({name: "category" for name in frame.columns if frame[name].dtype == object})
    messages = wire.encode_frame("playback_event", None, frame)
    few = frame.head(ONE_BY_ONE).astype(object)
    rows = few.where(few.notna(), None).to_dict("records")
    if [wire.encode_one("playback_event", row) for row in rows[:100]] != messages[:100]:
        raise SystemExit("column-wise and single encoding differ")
    print(
        f"{len(messages):,} events, {sum(map(len, messages)) / len(messages):.0f} bytes each, {frame.shape[1]} columns"
    )
    for name, done, work in (
        ("encode_frame, text as objects", count, lambda: wire.encode_frame("playback_event", None, frame)),
        ("encode_frame, text as categories", count, lambda: wire.encode_frame("playback_event", None, categories)),
        ("encode_one", len(rows), lambda: [wire.encode_one("playback_event", row) for row in rows]),
        ("decode_many", ONE_BY_ONE, lambda: wire.decode_many(messages[:ONE_BY_ONE], "playback_event")),
    ):
        print(f"{name:<34}{done / best(work):>12,.0f} events per CPU second")


if __name__ == "__main__":
    main()
