"""A POST's body to messages of topic cmcd: lines by session, untouched, behind a line of what the collector knows.

Nothing is parsed here that the kernel parses: the session is looked up to key the message, the newest `ts` because only
the whole POST has it. A line without a readable `sid` goes without a key, and becomes a dead letter with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from models.playback import cmcd
from models.playback.cmcd_event import LINES

# Each begins with plain letters, which is what makes a search fast; what stands before is looked at afterwards.
_SID = re.compile(rb'sid="([^"\\\n]{1,64})"')
_TS = re.compile(rb"ts=([0-9]{1,15})(?=[ \t\r\n,]|\Z)")
_HOST = re.compile(rb'h="([^"\\\n]{1,128})"')
_BEFORE = b",\n \t"
_MAX_AT = 4_102_444_800_000

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


def messages(body: bytes, sender: Sender, at_ms: int, hosts: Mapping[str, str]) -> tuple[list[Message], int]:
    """The messages of a body and how many records are in it; `hosts` names the CDN cluster of a host."""
    body = body.strip(b" \t\r\n")
    if not body:
        return [], 0
    head = collector_line(sender, at_ms, newest_ms(body, at_ms), clusters(body, hosts))
    count = body.count(b"\n") + 1
    found = _values(_SID, body)
    keys = set(found)
    # The common POST: one session, each line names it once. Anything else is looked at line by line.
    if len(keys) == 1 and len(found) == count == body.count(b"sid=") and count < LINES and b"\n\n" not in body:
        return [(keys.pop(), b"\n".join((head, body)))], count
    return _by_line(head, [line for line in body.split(b"\n") if line.strip(b" \t\r")])


def _values(pattern: re.Pattern[bytes], text: bytes) -> list[bytes]:
    """What the pattern's group holds wherever a member begins with it."""
    return [found[1] for found in pattern.finditer(text) if not found.start() or text[found.start() - 1] in _BEFORE]


def _by_line(head: bytes, lines: list[bytes]) -> tuple[list[Message], int]:
    by_session: dict[bytes | None, list[bytes]] = {}
    for line in lines:
        by_session.setdefault(session(line), []).append(line)
    step = LINES - 1
    made = [
        (key, b"\n".join([head, *held[start : start + step]]))
        for key, held in by_session.items()
        for start in range(0, len(held), step)
    ]
    return made, len(lines)


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


def newest_ms(body: bytes, at_ms: int) -> int:
    """The newest device time of the body; the time of arrival if it has none."""
    return max((ts for ts in map(int, _values(_TS, body)) if ts < _MAX_AT), default=at_ms)


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
    ("tablet", re.compile(r"iPad|Tablet|PlayBook|Silk(?!.*Mobile)|Android(?!.*Mobile)")),
    ("mobile", re.compile(r"iPhone|iPod|Mobile|Android")),
)  # fmt: skip


@lru_cache(maxsize=4096)
def device(user_agent: str) -> str:
    """Device class of a user agent; ``web`` where none is told."""
    return next((name for name, pattern in _DEVICES if pattern.search(user_agent)), "web")
