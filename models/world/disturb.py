"""What happens to beacons on the way: loss, repetition, disorder, bursts; and bytes that no reader can take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.world.beacons import Beacons
from models.world.config import Disturb
from models.world.faults import Fault, inside, of
from models.world.population import I8
from schemas import wire

KINDS = np.array(["lost", "duplicated", "delayed", "displaced", "withheld", "unsent"], dtype=object)
LOST, DUPLICATED, DELAYED, DISPLACED, WITHHELD, UNSENT = range(6)


def disturb(
    sent: Beacons,
    sessions: I8,
    cohort: dict[str, NDArray[Any]],
    rates: Disturb,
    faults: tuple[Fault, ...],
    rng: np.random.Generator,
) -> tuple[Beacons, list[tuple[int, I8]]]:
    """Disturb whole POSTs. Returns the records in topic order and, per kind of disturbance, the events it met.

    `sessions` is the session of every entry; `cohort` holds columns per session (`isp`) that faults may name.
    """
    posts, entry, post = np.unique(sent.post, return_index=True, return_inverse=True)
    when, session = sent.sent_at[entry], sessions[entry]
    notes: list[tuple[int, I8]] = []

    def hit(faults_: tuple[Fault, ...], base: float) -> NDArray[np.bool_]:
        share = np.full(len(posts), base)
        for f in faults_:
            cover = inside(f, when)
            if f.isp is not None:
                cover &= cohort["isp"][session] == f.isp
            share = np.where(cover, np.maximum(share, f.share), share)
        return np.asarray(rng.random(len(posts)) < share)

    lost = hit(of(faults, "beacon_loss"), rates.lost)
    moved = hit((), rates.out_of_order) & ~lost
    retried = rng.random(len(posts)) < 0.5
    delay = np.where(moved & retried, rng.integers(5_000, int(rates.lateness_ms * 0.75), len(posts)), 0)
    shift = np.where(moved & ~retried, rng.integers(1_000, rates.lateness_ms // 4, len(posts)), 0)
    held = _withhold(of(faults, "late_burst"), when, session, cohort, rng)
    sent.received_at = np.where(held[post] >= 0, held[post], sent.received_at + delay[post])
    sent.order = sent.received_at + shift[post]
    doubled = hit((), rates.duplicates) & ~lost
    copies = _copies(sent, post, doubled, np.ones(len(posts), dtype=np.int64), rng)
    for f in of(faults, "duplicate_storm"):
        storm = inside(f, when) & (rng.random(len(posts)) < f.share) & ~lost
        copies = copies.append(_copies(sent, post, storm, np.full(len(posts), int(f.amount)), rng))
    notes.append((LOST, sent.event[lost[post]]))
    notes.append((DUPLICATED, copies.event))
    notes.append((DELAYED, sent.event[(delay > 0)[post] & ~lost[post]]))
    notes.append((DISPLACED, sent.event[(shift > 0)[post] & ~lost[post]]))
    notes.append((WITHHELD, sent.event[(held >= 0)[post] & ~lost[post]]))
    out = sent.take(~lost[post]).append(copies)
    return out.take(np.lexsort((out.copy, out.event, out.order))), notes


def _withhold(
    bursts: tuple[Fault, ...], when: I8, session: I8, cohort: dict[str, NDArray[Any]], rng: np.random.Generator
) -> I8:
    """Arrival of withheld POSTs, -1 for the others."""
    out = np.full(len(when), -1, dtype=np.int64)
    for f in bursts:
        chosen = rng.random(len(cohort["isp"])) < f.share
        if f.isp is not None:
            chosen &= cohort["isp"] == f.isp
        rows = inside(f, when) & chosen[session]
        release = f.window_ms[1] + int(f.amount * 60_000)
        out[rows] = release + rng.integers(0, 2_000, int(rows.sum()))
    return out


def _copies(sent: Beacons, post: I8, doubled: NDArray[np.bool_], times: I8, rng: np.random.Generator) -> Beacons:
    """The same records again: half of the POSTs byte for byte, half by a retry that arrives up to 20 s later."""
    late_by = np.where(rng.random(len(doubled)) < 0.5, 0, rng.integers(200, 20_000, len(doubled)))
    rows = np.repeat(np.arange(len(post)), np.where(doubled[post], times[post], 0))
    out = sent.take(rows)
    extra = late_by[post[rows]] * (out.copy >= 0)
    out.received_at, out.order = out.received_at + extra, out.order + extra
    out.copy = np.ones(len(rows), dtype=np.int8)
    return out


POISON = ("random_bytes", "wrong_magic", "unknown_schema", "truncated", "out_of_range", "wrong_key")


def poison(events: pd.DataFrame, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """`count` messages that must be refused: `position` (row of `events` it follows), `kind`, `key`, `payload`.

    All but the random ones are real events, spoilt in one way.
    """
    at = np.sort(rng.integers(0, len(events), count)) if len(events) else np.zeros(0, dtype=np.int64)
    rows = events.iloc[at].reset_index(drop=True)
    kinds = np.array(POISON, dtype=object)[rng.integers(0, len(POISON), len(at))]
    for i in np.flatnonzero(kinds == "out_of_range"):
        field, value = _OUT_OF_RANGE[int(rng.integers(0, len(_OUT_OF_RANGE)))]
        rows.loc[i, field] = value
    payload = np.empty(len(at), dtype=object)
    for version in (1, 2):
        chosen = (rows["schema_version"] == version).to_numpy()
        payload[chosen] = wire.encode_frame("playback_event", version, rows[chosen])
    keys = [s.encode() for s in rows["session_id"]]
    spoilt = [_spoil(kind, key, whole, rng) for kind, key, whole in zip(kinds, keys, payload, strict=True)]
    return pd.DataFrame(
        {"position": at, "kind": kinds, "key": [k for k, _ in spoilt], "payload": [p for _, p in spoilt]}
    )


_OUT_OF_RANGE: tuple[tuple[str, Any], ...] = (
    ("seq", -1),
    ("buffer_ms", -5),
    ("bitrate_kbps", 2_000_000),
    ("state", "z"),
    ("playhead_ms", -1),
    ("device", "toaster"),
)


def _spoil(kind: str, key: bytes, whole: bytes, rng: np.random.Generator) -> tuple[bytes, bytes]:
    """(key, payload) of one poison message."""
    if kind == "random_bytes":
        return key, b"\xff" + rng.bytes(int(rng.integers(1, 200)))
    if kind == "wrong_magic":
        return key, b"\x07" + whole[1:]
    if kind == "unknown_schema":
        return key, whole[:1] + (900_000 + int(rng.integers(0, 99_999))).to_bytes(4, "big") + whole[5:]
    if kind == "truncated":
        return key, whole[: int(rng.integers(6, len(whole) - 1))]
    if kind == "wrong_key":
        return b"other-" + key, whole
    return key, whole
