"""A POST's body to messages of topic cmcd: lines by session, untouched, behind a line of what the collector knows.

Nothing is judged here that the kernel judges: the session is looked up to key the message, the newest device time
because only the whole POST has it. That time moves every event of the message (law 2 of `models.playback.spans`), so it
comes from the session's own lines, and of those from one that the reader takes: what becomes a dead letter moves
nothing. A line without a readable `sid` goes without a key, and becomes a dead letter with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from models.playback import cmcd
from models.playback.cmcd_event import LINES, MAX_AT, MAX_SEQ

# Each begins with plain letters, which is what makes a search fast; what stands before is looked at afterwards.
_SID = re.compile(rb'sid="([^"\\\n]{1,64})"')
_TS = re.compile(rb"ts=([0-9]{1,15})(?=[ \t\r\n,]|\Z)")
_HOST = re.compile(rb'h="([^"\\\n]{1,128})"')
_BEFORE = b",\n\r \t"

Message = tuple[bytes | None, bytes]
"""Key and value."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What is known of who posts, the address gone."""

    isp: str
    country: str
    device: str
    app: str | None = None
    profile: str | None = None


class TooMany(Exception):
    """More sessions in a POST than are taken: each is a message of its own, with all that this costs."""


def messages(
    body: bytes, sender: Sender, at_ms: int, hosts: Mapping[str, str], sessions: int
) -> tuple[list[Message], int]:
    """The messages of a body and how many records are in it.

    Args:
        hosts: the CDN cluster of a host.
        sessions: how many a POST may hold; lines without one count as another.

    Raises:
        TooMany: there are more; the rest of the body has not been looked at.
    """
    body = body.strip(b" \t\r\n")
    if not body:
        return [], 0
    post = (sender, at_ms, hosts)
    count = body.count(b"\n") + 1
    found = _values(_SID, body)
    keys = set(found)
    # The common POST: one session, each line names it once. Anything else is looked at line by line.
    if len(keys) == 1 and len(found) == count == body.count(b"sid=") and count < LINES and b"\n\n" not in body:
        key = keys.pop()
        return [(key, b"\n".join((_head(key, body, *post), body)))], count
    by_session: dict[bytes | None, list[bytes]] = {}
    for line in body.split(b"\n"):
        if line.strip(b" \t\r"):
            by_session.setdefault(session(line), []).append(line)
            if len(by_session) > sessions + (None in by_session):
                raise TooMany(f"more than {sessions} sessions in a POST (collector.sessions); send fewer at a time")
    made = []
    for key_, lines in by_session.items():
        head = _head(key_, b"\n".join(lines), *post)
        made += [(key_, b"\n".join([head, *lines[at : at + LINES - 1]])) for at in range(0, len(lines), LINES - 1)]
    return made, sum(map(len, by_session.values()))


def _head(key: bytes | None, lines: bytes, sender: Sender, at_ms: int, hosts: Mapping[str, str]) -> bytes:
    return collector_line(sender, at_ms, newest_ms(key, lines, at_ms), clusters(lines, hosts))


def _members(pattern: re.Pattern[bytes], text: bytes) -> list[re.Match[bytes]]:
    """Where a member begins with the pattern."""
    return [found for found in pattern.finditer(text) if not found.start() or text[found.start() - 1] in _BEFORE]


def _values(pattern: re.Pattern[bytes], text: bytes) -> list[bytes]:
    """What the pattern's group holds there."""
    return [found[1] for found in _members(pattern, text)]


def session(line: bytes) -> bytes | None:
    """The `sid` of a line, None if there is none that a reader would take."""
    found = _values(_SID, line)
    if len(found) == 1 and line.count(b"sid=") == 1:
        return found[0]
    try:
        sid = cmcd.parse(line, _SID_ONLY).values.get("sid")
    except cmcd.Refused:
        return None
    return str(sid).encode() or None if sid is not None else None


_SID_ONLY = {"sid": cmcd.KEYS["sid"]}


def newest_ms(key: bytes | None, lines: bytes, at_ms: int) -> int:
    """The newest device time of a session's lines.

    Only what the reader takes counts. If that is nothing, any time below the reader's limit does (it may help a dead
    letter that somebody corrects), and without one the time of arrival.
    """
    told = [(int(found[1]), found.start()) for found in _members(_TS, lines)]
    if not told:
        return at_ms
    newest, place = max(told)
    # The line of the newest time is read, seldom another one: with what it tells no other can be newer.
    if (end := lines.find(b"\n", place)) < 0:
        end = len(lines)
    if key is not None and device_ms(lines[lines.rfind(b"\n", 0, place) + 1 : end], key) == newest:
        return newest
    taken = [] if key is None else [ts for line in lines.split(b"\n") if (ts := device_ms(line, key)) is not None]
    return max(taken) if taken else max((ts for ts, _ in told if ts < MAX_AT), default=at_ms)


_JUDGED = {name: cmcd.KEYS[name] for name in ("e", "sid", "sn", "ts", "v")}
"""What decides whether the reader takes a line."""


def device_ms(line: bytes, key: bytes) -> int | None:
    """The device time of a line that the reader takes as an event of the session; None of any other."""
    try:
        said = cmcd.event_record(line, _JUDGED).values
    except cmcd.Refused:
        return None
    sn, ts = said.get("sn"), said["ts"]
    good = isinstance(sn, int) and isinstance(ts, int) and sn <= MAX_SEQ and ts < MAX_AT
    return int(ts) if good and str(said["sid"]).encode() == key else None  # type: ignore[arg-type]


def clusters(body: bytes, hosts: Mapping[str, str]) -> dict[str, str]:
    """Cluster by host, for the hosts the body names."""
    if not hosts:
        return {}
    named = {host.decode(errors="replace") for host in _values(_HOST, body)}
    return {host: hosts[host] for host in sorted(named) if host in hosts}


def collector_line(sender: Sender, at_ms: int, newest: int, cdn: Mapping[str, str]) -> bytes:
    """The first line of a message (models.playback.cmcd_event)."""
    before, after = _frame(sender)
    listed = " ".join(f'{_quoted(cluster)};h={_quoted(host)}' for host, cluster in cdn.items())
    named = f"cdn=({listed})," if cdn else ""
    return f"at={at_ms},{named}{before}newest={newest},{after}".encode()


@lru_cache(maxsize=4096)
def _frame(sender: Sender) -> tuple[str, str]:
    app = f"app={_quoted(sender.app)}," if sender.app else ""
    profile = f"profile={_quoted(sender.profile)}," if sender.profile else ""
    place = f"country={_quoted(sender.country)},device={sender.device},isp={_quoted(sender.isp)},"
    return app + place, f"{profile}w=1"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_DEVICES = (
    ("console", re.compile(r"PlayStation|Xbox|Nintendo")),
    ("tv", re.compile(r"SMART-TV|SmartTV|Smart TV|Tizen|Web0S|webOS|HbbTV|BRAVIA|AppleTV|Apple TV|Roku|\bAFT|GoogleTV|"
                      r"Google TV|Android TV|CrKey|NetCast|VIDAA|TV Safari")),
    ("tablet", re.compile(r"iPad|Tablet|PlayBook|Silk(?!.*Mobile)|^Mozilla/.*Android(?!.*Mobile)")),
    ("mobile", re.compile(r"iPhone|iPod|Mobile|Android")),
)  # fmt: skip


@lru_cache(maxsize=4096)
def device(user_agent: str) -> str:
    """Device class of a user agent; ``web`` where none is told.

    Android without "Mobile" is a tablet by the browsers' convention, to which other programs do not hold: of theirs
    (``ExoPlayerLib/2.18 (Linux; Android 13)``) Android alone is known, and most of what runs it are phones.
    """
    return next((name for name, pattern in _DEVICES if pattern.search(user_agent)), "web")
