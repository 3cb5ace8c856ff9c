"""Snowplow media events as `playback_event`: for sites that track with Snowplow's media plug-ins.

Input are enriched events in Snowplow's JSON form (one object an event: `event_name`, `unstruct_event_...`,
`contexts_...`), of the schemas com.snowplowanalytics.snowplow.media/* with entity media_player (version 1 or 2) and
entity session. What Snowplow does not say stays unsaid: it has no sequence number, so a session's events are numbered
here by device time, and a lost one leaves no gap; it has no first frame, so a start is never measured, and buffering is
no stall before the playhead has moved; it has no CDN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from models.playback.cmcd_event import AD, ANY_DEVICE, NO_COUNTRY, ONE_AD
from models.playback.events import AD_BREAK, EVERYTHING, UNKNOWN, keeps
from schemas.validate import strays

VENDOR = "com.snowplowanalytics.snowplow.media"
_PATH = "com_snowplowanalytics_snowplow_media"

EVENTS: Mapping[str, tuple[str, str | None]] = {
    "ready_event": ("ps", "d"),
    "play_event": ("ps", "p"),
    "pause_event": ("ps", "a"),
    "end_event": ("ps", "e"),
    "error_event": ("e", "f"),
    "buffer_start_event": ("ps", "r"),
    "buffer_end_event": ("ps", None),
    "seek_start_event": ("ps", "k"),
    "seek_end_event": ("ps", None),
    "quality_change_event": ("bc", ""),
    "playback_rate_change_event": ("pr", ""),
    "ping_event": ("t", ""),
    "percent_progress_event": ("t", ""),
    "ad_break_start_event": ("abs", ""),
    "ad_break_end_event": ("abe", ""),
    "ad_start_event": ("as", ""),
    "ad_complete_event": ("ae", ""),
    "ad_skip_event": ("sk", ""),
    "ad_pause_event": ("ps", "a"),
    "ad_resume_event": ("ps", "p"),
    "ad_quartile_event": ("ce", ""),
    "ad_click_event": ("ce", ""),
    "volume_change_event": ("ce", ""),
    "fullscreen_change_event": ("ce", ""),
    "picture_in_picture_change_event": ("ce", ""),
}
"""CMCD event and state of each; None: as the player entity says (paused or playing), '': as before."""

_DEVICES = {"mob": "mobile", "tv": "tv", "cnsl": "console"}
_MAX_PLAYHEAD_MS, _MAX_KBPS, _MAX_RATE = 86_400_000, 1_000_000, 16.0
_STILL_MS = 100
"""So little a playhead may move while nothing is shown."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """Rows of `playback_event` (times in UTC ms), and (place in the input, reason) of what could not be one."""

    rows: list[dict[str, Any]]
    refused: list[tuple[int, str]]


class _Refused(ValueError):
    pass


def adapt(events: Iterable[Mapping[str, Any]]) -> Adapted:
    """Whole sessions in, in any order; repeats of an `event_id` (text, if there is one) count once."""
    by_session: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
    refused: list[tuple[int, str]] = []
    seen: set[str | None] = set()
    for place, event in enumerate(events):
        if not isinstance(event, Mapping):
            refused.append((place, "no JSON object"))
            continue
        identity = event.get("event_id")
        if isinstance(identity, str) and identity in seen:
            continue
        try:
            if identity is not None and (not isinstance(identity, str) or not identity):
                raise _Refused("event_id is no text")
            seen.add(identity)
            row = _row(event)
            _check_texts(row)
        except _Refused as why:
            refused.append((place, str(why)))
        else:
            by_session.setdefault(row["session_id"], []).append((row["device_at"], place, row))
    sessions = ([row for _, _, row in sorted(held, key=lambda one: one[:2])] for held in by_session.values())
    rows = [row | {"seq": seq} for held in sessions for seq, row in enumerate(_started(held))]
    return Adapted(rows, refused)


def _started(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A session's rows in order; buffering is starting until the playhead has moved from where `play` found it. Where
    it moves before anything was said to play, or after an error, content plays: `play` was sent before the tracker was
    there, or what erred goes on by itself."""
    begun, moved, title, ad = None, False, None, False
    state, before = "d", None
    for said in rows:
        row = said
        told = row["title_id"] != UNKNOWN
        if row["state"] in "ef" or (told and title not in (None, row["title_id"])):
            begun, moved = None, False
        title = row["title_id"] if told else title
        ad = AD.get(row["event"], ad)
        at = None if ad else row["playhead_ms"]
        silent = keeps(row["kept"], "state")
        on = row["event"] == "t" and at is not None and before is not None and at - before > _STILL_MS
        if silent and on and state in "df":
            kept = ",".join(name for name in row["kept"].split(",") if name != "state")
            row, silent = row | {"state": "p", "kept": kept}, False
        state, before = state if silent else row["state"], at
        begun = at if begun is None and row["state"] == "p" else begun
        moved = moved or (begun is not None and at is not None and abs(at - begun) > _STILL_MS)
        waits = row["state"] == "r" and begun is not None and at is not None and not moved
        yield row | {"state": "s"} if waits else row


def _row(event: Mapping[str, Any]) -> dict[str, Any]:
    name = str(event.get("event_name", ""))
    if name not in EVENTS or event.get("event_vendor", VENDOR) != VENDOR:
        told = f"{event.get('event_vendor', VENDOR)}/{name}".encode(errors="backslashreplace").decode()
        raise _Refused(f"event {told} is no media event")
    said, session, player = _said(event, name), _entity(event, f"{_PATH}_session"), _player(event)
    sid = session.get("mediaSessionId")
    if not isinstance(sid, str) or not sid:
        raise _Refused("entity session has no mediaSessionId")
    kind, state = EVENTS[name]
    kept = ["cdn_id"]
    if state is None:
        paused = player.get("paused")
        state = "" if not isinstance(paused, bool) else "a" if paused else "p"
    ad = AD.get(kind)
    kbps = _kbps(said.get("bitrate")) if kind == "bc" else None
    title = None if kind in AD else _text(player.get("label"))  # of what begins or ends an ad it may be the ad's
    for column, value in (("state", state or None), ("ad", ad), ("bitrate_kbps", kbps), ("title_id", title)):
        if value is None:
            kept.append(column)
    if title is None:
        kept.append("asset_id")
    if kind in ONE_AD:
        kept.append(AD_BREAK)
    device_at = _moment(event, "dvce_created_tstamp")
    sent_at = _moment(event, "dvce_sent_tstamp") if event.get("dvce_sent_tstamp") else device_at
    received_at = _moment(event, "collector_tstamp")
    if strays(received_at, sent_at):
        raise _Refused("the device's clock is more than 24 h from collector_tstamp")
    return {
        "session_id": sid,
        "event": kind,
        "device_at": device_at,
        "received_at": received_at,
        "post_device_at": sent_at,
        "state": state or "d",
        "bitrate_kbps": kbps,
        "buffer_ms": None,
        "stall_count": None,
        "stall_total_ms": None,
        "start_delay_ms": None,
        "playhead_ms": _playhead(player.get("currentTime")),
        "background": False,
        "ad": bool(ad),
        "error_code": _text(said.get("errorCode")) if kind == "e" else None,
        "profile_id": _text(event.get("user_id")) or _text(event.get("domain_userid")) or UNKNOWN,
        "title_id": title or UNKNOWN,
        "asset_id": title or UNKNOWN,
        "isp": _text(event.get("ip_isp")) or UNKNOWN,
        "country": _text(event.get("geo_country")) or NO_COUNTRY,
        "device": _DEVICES.get(str(event.get("platform")), ANY_DEVICE),
        "app_version": _text(event.get("app_id")) or UNKNOWN,
        "cdn_id": UNKNOWN,
        "impression_id": None,
        "page_id": None,
        "throughput_kbps": None,
        "dropped_frames": None,
        "playback_rate": _rate(said.get("newRate") if kind == "pr" else player.get("playbackRate")),
        "kept": EVERYTHING if kind == "ce" else ",".join(sorted(kept)),
        "dropped_keys": None,
    }


def _check_texts(row: Mapping[str, Any]) -> None:
    """JSON may hold half of a surrogate pair, which no UTF-8 and so no message can."""
    for column, value in row.items():
        try:
            str(value).encode()
        except UnicodeEncodeError:
            raise _Refused(f"{column} is no Unicode text") from None


def _said(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The self-describing event's own data."""
    found = event.get(f"unstruct_event_{_PATH}_{name}_1")
    return found if isinstance(found, Mapping) else {}


def _entity(event: Mapping[str, Any], name: str, version: int = 1) -> Mapping[str, Any]:
    found = event.get(f"contexts_{name}_{version}")
    one = found[0] if isinstance(found, list) and found else None
    return one if isinstance(one, Mapping) else {}


def _player(event: Mapping[str, Any]) -> Mapping[str, Any]:
    name = "com_snowplowanalytics_snowplow_media_player"
    return _entity(event, name, 2) or _entity(event, name, 1)


def _moment(event: Mapping[str, Any], name: str) -> int:
    """A time of Snowplow (ISO 8601, UTC where no zone stands) as milliseconds."""
    try:
        at = datetime.fromisoformat(str(event.get(name)))
    except ValueError:
        raise _Refused(f"{name} is no time") from None
    found = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000
    if not 0 <= found < 4_102_444_800_000:
        raise _Refused(f"{name} is not between 1970 and 2099")
    return round(found)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any, highest: float) -> float | None:
    """Players report NaN and absurd jumps; such numbers are left out."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
        return None
    return float(value)


def _rate(value: Any) -> float:
    found = _number(value, _MAX_RATE)
    return 1.0 if found is None else found


def _kbps(bits_per_second: Any) -> int | None:
    found = _number(bits_per_second, _MAX_KBPS * 1000)
    return None if found is None else round(found / 1000)


def _playhead(seconds: Any) -> int | None:
    found = _number(seconds, _MAX_PLAYHEAD_MS / 1000)
    return None if found is None else round(found * 1000)
