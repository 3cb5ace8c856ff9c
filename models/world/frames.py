"""Arrays to frames in record form: playback_event, impression, cdn_request; and what changed between two frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.world.beacons import ERROR_TEXT, EVENT_TEXT, STATE_TEXT, Beacons
from models.world.cast import Wanted
from models.world.catalogue import Catalogue
from models.world.config import MINUTE_MS, WorldConfig
from models.world.home import ChosenArtwork, Pages, Seen
from models.world.population import DEVICES, I8, Clusters, Obj, Population

Rows = NDArray[Any]


def stamps(ms: I8) -> pd.DatetimeIndex:
    """Epoch milliseconds as UTC timestamps of millisecond unit."""
    return pd.DatetimeIndex(ms.astype("datetime64[ms]")).tz_localize("UTC")


def changed(now: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Rows of `now` that `before` does not hold with the same values, lists compared item by item."""
    known = set(_exact(before[now.columns]))
    return now[[row not in known for row in _exact(now)]]


def _exact(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Rows as tuples that are equal exactly where their values are; missing values are equal."""
    columns = ([_hashable(value) for value in frame[name]] for name in frame.columns)
    return list(zip(*columns, strict=True))


def _hashable(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(_hashable(item) for item in value)
    return None if pd.isna(value) else value


def _int(values: I8, missing: NDArray[np.bool_], dtype: str) -> Any:
    """Nullable integers."""
    kind = np.int32 if dtype == "Int32" else np.int64
    return pd.arrays.IntegerArray(values.astype(kind), missing.copy())


def events(
    config: WorldConfig,
    sent: Beacons,
    played: Rows,
    seq: I8,
    last_in_post: I8,
    skew: I8,
    want: Wanted,
    version: Obj,
    ids: Obj,
    impression: Obj,
    page: Obj,
    people: Population,
    cat: Catalogue,
    isps: Clusters,
    day_ms: int,
) -> pd.DataFrame:
    """playback_event rows in topic order, with `schema_version`; v1 rows have no throughput and no dropped frames.

    `last_in_post` is, per player event, the device time (without error) of the newest event of its POST.
    """
    e = played[sent.event]
    s = e["session"]
    profile = want.profile[s]
    old = np.isin(version, config.v1_versions)[s]
    state = STATE_TEXT[e["mode"]]
    state[e["cold"] == 1] = "r"
    no, yes = np.zeros(len(e), dtype=bool), np.ones(len(e), dtype=bool)
    return pd.DataFrame(
        {
            "session_id": ids[s],
            "seq": seq[sent.event].astype(np.int32),
            "event": EVENT_TEXT[e["code"]],
            "device_at": stamps(e["at"] + skew[s] + day_ms),
            "received_at": stamps(sent.received_at + day_ms),
            "post_device_at": stamps(last_in_post[sent.event] + skew[s] + day_ms),
            "state": state,
            "bitrate_kbps": _int(np.maximum(e["kbps"], 0), e["kbps"] < 0, "Int32"),
            "buffer_ms": _int(e["buffer"], no, "Int32"),
            "stall_count": _int(e["stalls"], no, "Int32"),
            "stall_total_ms": _int(e["stall_ms"], no, "Int64"),
            "start_delay_ms": _int(np.maximum(e["delay"], 0), e["delay"] < 0, "Int32"),
            "playhead_ms": _int(e["playhead"], no, "Int64"),
            "background": e["background"] == 1,
            "ad": e["ad"] == 1,
            "error_code": ERROR_TEXT[e["error"]],
            "profile_id": people.profile_id[profile],
            "title_id": cat.title_id[cat.asset_title[e["asset"]]],
            "asset_id": cat.asset_id[e["asset"]],
            "isp": isps.isp[want.cluster[s]],
            "country": np.array(config.countries, dtype=object)[isps.country[want.cluster[s]]],
            "device": np.array(DEVICES, dtype=object)[want.device[s]],
            "app_version": version[s],
            "cdn_id": isps.cdn_id[want.cluster[s]],
            "impression_id": impression[s],
            "page_id": page[s],
            "throughput_kbps": _int(e["throughput"], old | (e["throughput"] == 0), "Int32"),
            "dropped_frames": _int(e["dropped"], old & yes, "Int32"),
            "playback_rate": np.ones(len(e)),
            "schema_version": np.where(old, 1, 2).astype(np.int8),
        }
    )


def impressions(
    config: WorldConfig,
    seen: Seen,
    pages: Pages,
    who: I8,
    shown_at: I8,
    device: I8,
    chosen: ChosenArtwork | None,
    arm: Obj,
    people: Population,
    cat: Catalogue,
    rng: np.random.Generator,
    day: int,
) -> pd.DataFrame:
    """impression rows by time of the visit; `who`, `shown_at` and `device` are per visit, `arm` per profile."""
    visit = seen.visit
    profile = who[visit]
    decided = seen.images.row
    decision, artwork_arm = np.full(len(visit), None, dtype=object), arm[profile]
    if chosen is not None and len(chosen.image):
        has = decided >= 0
        decision[has], artwork_arm[has] = chosen.decision_id[decided[has]], chosen.arm[decided[has]]
    at = shown_at[visit] + seen.row * 2_500 + config.day_ms(day)
    kinds = np.array([pages.row_kind[pages.of[p]][r] for p, r in zip(profile, seen.row, strict=True)], dtype=object)
    return pd.DataFrame(
        {
            "impression_id": impression_ids(visit, seen, day),
            "page_id": pages.page_id[profile],
            "profile_id": people.profile_id[profile],
            "title_id": cat.shows.show_id[seen.show],
            "artwork_id": cat.artwork_id[seen.images.image],
            "artwork_probability": seen.images.probability,
            "artwork_decision_id": decision,
            "row_kind": kinds,
            "row": seen.row.astype(np.int32),
            "col": seen.col.astype(np.int32),
            "page_arm": pages.arm[profile],
            "artwork_arm": artwork_arm,
            "country": np.array(config.countries, dtype=object)[people.country[profile]],
            "device": np.array(DEVICES, dtype=object)[device[visit]],
            "shown_at": stamps(at),
            "received_at": stamps(at + rng.integers(200, 3_000, len(at))),
        }
    )


def impression_ids(visit: I8, seen: Seen, day: int) -> Obj:
    """Day, visit, row and column."""
    return np.array([f"i{day}-{v}-{r}-{c}" for v, r, c in zip(visit, seen.row, seen.col, strict=True)], dtype=object)


def cdn_requests(
    requests: Rows,
    ids: Obj,
    want: Wanted,
    plan: Obj,
    cat: Catalogue,
    isps: Clusters,
    rng: np.random.Generator,
    day_ms: int,
) -> pd.DataFrame:
    """cdn_request rows by arrival; `plan` is the plan in force per cluster."""
    minute = requests["minute"] * MINUTE_MS + day_ms
    received = minute + MINUTE_MS + rng.integers(2_000, 60_000, len(requests))
    order = np.argsort(received, kind="stable")
    r, minute, received = requests[order], minute[order], received[order]
    tier = np.where(r["edge"] == 1, np.array("edge", dtype=object), np.array("origin", dtype=object))
    cluster = want.cluster[r["session"]]
    number = r["minute"]
    name = [
        f"{s}-{f}-{'e' if e else 'o'}-{m}"
        for s, f, e, m in zip(ids[r["session"]], r["file"], r["edge"], number, strict=True)
    ]
    return pd.DataFrame(
        {
            "request_id": np.array(name, dtype=object),
            "session_id": ids[r["session"]],
            "file_id": cat.file_id[r["file"]],
            "cdn_id": isps.cdn_id[cluster],
            "tier": tier,
            "bytes": r["bytes"].astype(np.int64),
            "requests": r["requests"].astype(np.int32),
            "plan_id": plan[cluster],
            "minute_at": stamps(minute),
            "received_at": stamps(received),
        }
    )
