"""The span fold: one session's events to spans and sessions. The readable reference of `kernel/`.

Every metric is a sum over spans, so this page decides what a stall, an attempt or a minute of watching is.

The law (each engine implements it; tests hold them together row by row)
 1. *Set.* Per session order by `seq`; of equal `seq` the lowest (partition, offset) counts, the others are duplicates.
    An event is late if received more than `lateness_ms` after the earliest received event with a higher `seq`. Revision
    `live` leaves late events out (their numbers are then missing), `final` takes them in, as if received with the
    earliest of those that follow.
 2. *Clock.* One offset per session: `received_at - post_device_at` of the record lowest in the topic. An event's time
    is `device_at + offset`, and never before its predecessor's. Beyond 24 hours no reader lets an event come here
    (`schemas.validate.strays`).
 3. *State.* s starting, p playing, k seeking, r rebuffering, a paused, w unknown, d preloading, e ended, f failed, q
    quit; before the first content frame r and k are starting; after k, r is seeking until the next content frame, which
    ends the seek, also one that began before the first. The first content frame is the first p without ad.
 4. *Hold.* A state holds from its event to the next one, also over missing numbers (the span is then `unobserved`), if
    that is at most `hold_ms` away; else nothing after the event is counted.
 5. *Segments.* Between consecutive events the first of these that applies closes the segment: received more than
    `hold_ms + lateness_ms` apart: timeout (a stream cannot wait longer); the second is e, f or q: ended, failed, quit;
    the title changes: content_change (an ad's own title is no change, nor an untold one, see 12; nor the first one told
    of a segment's content, however one closed before was called; nor that of an e, f or q, which ends the title that
    was on, and whose playhead is then nobody's); paused for longer than `pause_limit_ms`: pause_limit; more than
    `hold_ms` apart: timeout; `session_cap_ms` since the segment began: length_cap. The end of the set is a timeout.
    Timeout, pause_limit and length_cap are `inferred`. A segment ends at its last proven moment: the closing event, if
    within the hold (always for e, f, q; at the limit for pause_limit and length_cap), else the event before.
 6. *A closed segment* takes in (counts, nothing more) further e, f, q, and paused events after pause_limit; any other
    event opens the next segment.
 7. *Moments.* Attempt: the first starting or playing event of a segment. After an end (e) an ad is of what ended: there
    the first without ad counts, and a playing one behind that ad only if it tells its title. Play: its first content
    frame, none of those. The start delay is the time from attempt to play without ads and pauses, measured only if the
    attempt was a starting event and no number is missing in the segment so far; to the first frame of an ad or content,
    without pauses, likewise. Stall: once per run of rebuffering, when first on screen (no ad, foreground); it is
    connection-induced (CIR) if it then is more than `cause_ms` after the last seek's frame, resume, rate change (to or
    from 0, CMCD's word for not playing, is none) or ad end. Switch: bitrate differs from the last known one of playing
    content in foreground; within `startup_ms` of the first frame it is a startup switch. Failure: f after the attempt,
    before or after the play; business by its own error code, or the last event's if it has none
    (`schemas.error_codes`), else technical. Exit before start: any other end of an attempt without play; a long wait if
    it took more than `long_wait_ms`, without ads and pauses. CIR exit: quit or timeout within `exit_ms` of a CIR stall,
    unless paused then. At the end of a play: its smoothness score and its bin of stalled time. A moment is carried by
    the span that begins there, or by one of length 0. A play that recovered has been scored already, where it failed.
 8. *Retry.* A segment opened within `retry_ms` after a technical failure is no new attempt, unless its first event
    tells another title (an ad's own is none, and none is another if no content's was told before the failure); a
    content frame within that time recovers the failure, and is a play if there was none. Later it is like any other:
    its attempt counts then, with its first event after that time, whatever it is; its start delays run from its first
    starting or playing event.
 9. *Loss* (`models.playback.repair`). Stalls that the player's counters show beyond those seen, on the event after a
    gap, count in its moment; their time is taken there from what the gap was believed to be; cause unknown. They prove
    a frame in the gap; so does one that begins with the event, also where that opens a segment. Where the counters
    cannot tell (background, or which of two segments), the gap stays unverified; so does one that a stall ends in,
    while the event stalls and none is counted since: by a seek, or one not counted yet. An ad's begin or end may be
    what was lost: beside an ad nothing is repaired or proved, and the gap is unverified; where one may have lain in it
    (one was shown in the segment; or the event leaves to the one before whether an ad is on, and one was shown or the
    title is another), stalls are taken for the content's, unverified. The end of an ad that never began (an event that
    says that none is on, after one that leaves it open) takes one verified gap of its open segment back (-1, in its
    moment). An ad whose end is lost goes on until an event says that none is on, or an e, f or q: no other state, title
    or playhead does. Nothing tells of the session's first ad if both its ends are lost in a gap: its stalls and playing
    are the content's.
10. *Content.* Playing time times rate is media time; the playheads it covers, ads and background left out, are
    distinct content (`models.playback.cover`). A position that is not told goes on from the last one. In a gap content
    is covered up to the playhead that the event after it tells (same title, no ad): nothing if that is before the last
    position by jitter (`cover.JOIN_MS`), and all that was believed if it is further back: a seek, of unknown place.
11. *Spans* are cut at minute borders and joined while state, background, ad, bitrate, unobserved and dimensions stay,
    unless a moment begins; a span of length 0 exists only to carry a moment or an e, f, q.
12. *Kept*. What an event says nothing of (its column `kept`) is as in the newest event a segment has applied before it.
    Title `unknown` says nothing, nor does asset `unknown`, though that of another title is not taken.
    The end of one ad inside a break leaves the ad on screen until the break ends. While an ad is on, an open segment's
    title and asset stay what they were: an ad never opens a session. No ad and no break outlives an e, f or q, taken in
    or not: it has its own ad still, and what keeps that of the event before it finds none.
Sources: CTA-2066 for names and arithmetic, Conviva's metric dictionary for exits, failures by class and
connection-induced stalls, Milner et al., CIDR 2023, for integrals over a timeline of states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from models.playback import scores
from models.playback.cover import JOIN_MS, Cover
from models.playback.events import DIMENSIONS, Event, clock_offset_ms, deduplicate, in_time, late_events
from models.playback.repair import Player, ads_around
from models.playback.states import STATES, TERMINAL, durations
from schemas import error_codes
from schemas.measures import NAMES as MEASURES
from schemas.measures import STALL_TIME, START_TIME

__all__ = ["MEASURES", "REVISIONS", "Event", "Folded", "Policy", "Stall", "deduplicate", "fold", "late_events"]

Revision = Literal["live", "final"]
REVISIONS: tuple[Revision, ...] = ("live", "final")
MINUTE_MS, DAY_MS = 60_000, 86_400_000

INFERRED = frozenset({"timeout", "pause_limit", "length_cap"})

SPAN_COLUMNS = (
    "session_id",
    "segment",
    "span",
    "revision",
    "start_at",
    "end_at",
    "minute_at",
    "start_date",
    "state",
    "background",
    "ad",
    "bitrate_kbps",
    "unobserved",
    *DIMENSIONS,
    *MEASURES,
)
SESSION_COLUMNS = (
    "session_id",
    "segment",
    "revision",
    "close_date",
    *DIMENSIONS,
    "impression_id",
    "page_id",
    "start_at",
    "end_at",
    "state",
    "end_reason",
    "inferred",
    "clock_offset_ms",
    "events",
    "duplicates",
    "late",
    "missing",
    "max_playhead_ms",
    *MEASURES,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The fold's times in milliseconds (`settings.fold`)."""

    lateness_ms: int = 120_000
    hold_ms: int = 75_000
    pause_limit_ms: int = 1_800_000
    session_cap_ms: int = 86_400_000
    cause_ms: int = 5_000
    retry_ms: int = 5_000
    exit_ms: int = 3_000
    startup_ms: int = 10_000
    long_wait_ms: int = 10_000

    @classmethod
    def of(cls, settings: object) -> Policy:
        """From anything with attributes of these names."""
        return cls(**{name.name: getattr(settings, name.name) for name in fields(cls)})


@dataclass(frozen=True, slots=True)
class Stall:
    """A stall that was counted at `at`, `ago_ms` after the seek, pause, ad or rate change `after`; '' if it is CIR."""

    segment: int
    at: int
    after: str
    ago_ms: int


@dataclass(frozen=True, slots=True)
class Folded:
    """Rows with the columns of records `span` and `session`; times in UTC milliseconds, dates in days since 1970.

    `stalls` are told to readers of a session; the kernel counts them only.
    """

    spans: list[dict[str, Any]]
    sessions: list[dict[str, Any]]
    stalls: list[Stall] = field(default_factory=list)


@dataclass(slots=True)
class _Segment:
    """One segment while it is being folded; `state`, `last` and `at` are those of its newest event."""

    number: int
    start_at: int
    missing: int
    last: Event
    at: int
    state: str = ""
    end_at: int = 0
    end_reason: str = ""
    events: int = 0
    wanted_at: int | None = None
    """The first starting or playing event: the attempt, unless it retries; it counts later then, if at all."""
    wanted_seen: bool = False
    after_end: bool = False
    """Content ended before it, with nothing but ads between: an ad is of that, no attempt."""
    attempted: bool = False
    excluded_ms: int = 0
    paused_ms: int = 0
    any_frame: bool = False
    played: bool = False
    played_at: int = 0
    failed_at: int | None = None
    failed_played: bool = False
    business: bool = False
    stall_counted: bool = False
    connection: bool = False
    connection_until: int | None = None
    seek_open: bool = False
    untitled: bool = True
    """Nothing but ads, and events that do not tell a title, so far, in an open one before it neither."""
    caused_at: int | None = None
    caused_by: str = ""
    stalls: list[Stall] = field(default_factory=list)
    play_kbps: int | None = None
    paused_at: int | None = None
    """Since when it is paused; an end while paused keeps it."""
    position_ms: int = 0
    cover: Cover = field(default_factory=Cover)
    max_playhead_ms: int | None = None
    impression_id: str | None = None
    page_id: str | None = None
    moment: dict[str, int] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEASURES, 0))
    spans: list[dict[str, Any]] = field(default_factory=list)


def fold(events: Iterable[Event | Mapping[str, Any]], policy: Policy, revision: Revision) -> Folded:
    """Fold all events of one session, in any order, by the law above.

    Raises:
        ValueError: events of more than one session.
    """
    every = [event if isinstance(event, Event) else Event.of(event) for event in events]
    if len({event.session_id for event in every}) > 1:
        raise ValueError(
            f"fold takes the events of one session, found {len({e.session_id for e in every})}: group by session_id"
        )
    if not every:
        return Folded([], [])
    counted, duplicates = deduplicate(every)
    late = late_events(counted, policy.lateness_ms)
    if revision == "live":
        counted = [event for event in counted if event.seq not in late]
    else:
        counted = in_time(counted, late)
    offset = clock_offset_ms(every)
    segments = _segments(counted, offset, policy)
    spans = [
        _span_row(span, number, segment, revision) for segment in segments for number, span in enumerate(segment.spans)
    ]
    sessions = [_session_row(segment, revision, offset) for segment in segments]
    sessions[0]["duplicates"], sessions[0]["late"] = duplicates, len(late)
    return Folded(spans, sessions, [stall for segment in segments for stall in segment.stalls])


def _segments(events: list[Event], offset: int, policy: Policy) -> list[_Segment]:
    segments: list[_Segment] = []
    player = Player()
    at, before = -(1 << 62), -1
    for event in events:
        at, missing, before = max(at, event.device_at + offset), event.seq - before - 1, event.seq
        current = segments[-1] if segments else None
        gap = missing > 0
        found: dict[str, int] | None = None
        begins = False
        said = event
        titled = event.tells_title or (current is not None and not current.end_reason and not current.untitled)
        if current is not None:
            event = event.after(current.last)
        shown = current is not None and current.sums["ad_ms"] > 0
        ads = ads_around(said, event, current.last if current is not None else None, shown)
        if current is not None and event.ad and not current.end_reason:
            event = event.with_title_of(current.last)
        elif current is not None and STATES[event.state] in TERMINAL and not (current.end_reason or current.untitled):
            event = event.ending(current.last)
        if current is not None and not current.end_reason:
            reason, end_at = _closing(current, event, at, policy)
            stays = not reason or reason in TERMINAL
            proved = stays and player.lost_stalls(event, gap, ads) > 0
            state = _state_of(event, current.played or proved, current.seek_open and not proved) if stays else ""
            if reason != "timeout":
                begins = not stays and player.begins(event, gap, ads)
                _hold(current, end_at, gap, _content_end(current, event, gap))
                unseen = stays and end_at < at
                was = ("", None, at - current.at) if unseen else (current.state, current.last, end_at - current.at)
                found = player.after_gap(
                    event, gap, ads, was[0], "rebuffering" if begins else state, was[1], was[2], current.connection
                )
                if _ends_unseen(current, said, found):
                    _count(found, "gaps_verified", -1)
            if stays:
                current.missing += missing
                _apply(current, event, titled, at, state, proved, found or {}, policy)
            if reason:
                _close(current, reason, at if reason in TERMINAL else end_at, {} if stays else found or {}, policy)
            if stays:
                continue
        if current is not None and _takes_in(current, event):
            current.events += 1
            current.missing += missing
            current.last = current.last.without_ad() if STATES[event.state] in TERMINAL else current.last
            player.known = player.known and not gap
            continue
        proved = begins or (found is None and event.state == "r" and player.lost_stalls(event, gap, ads) > 0)
        state = _state_of(event, proved, False)
        if found is None:
            limit = policy.hold_ms if current is None else at - current.at
            found = player.after_gap(event, gap, ads, "", state, None, limit)
        else:
            found = {}
        following = _Segment(len(segments), at, missing, event, at)
        if current is not None:
            _retried(following, current, policy)
            following.after_end = current.end_reason == "ended" or (current.after_end and current.wanted_at is None)
        segments.append(following)
        _apply(following, event, titled, at, state, proved, found, policy)
        if following.state in TERMINAL:
            _close(following, following.state, at, {}, policy)
    if segments and not segments[-1].end_reason:
        _close(segments[-1], "timeout", segments[-1].at, {}, policy)
    return segments


def _state_of(event: Event, played: bool, seek_open: bool) -> str:
    """3: the state an event begins."""
    state = STATES[event.state]
    if not played and state in ("rebuffering", "seeking"):
        return "starting"
    return "seeking" if seek_open and state == "rebuffering" else state


def _ends_unseen(segment: _Segment, said: Event, found: dict[str, int]) -> bool:
    """9: an ad ends that never began, so its begin was lost in a gap: was one of them taken for verified?"""
    verified = segment.sums["gaps_verified"] + found.get("gaps_verified", 0)
    ends = segment.last.silent_of_ad and not (said.silent_of_ad or said.ad)
    return ends and not segment.last.ad and verified > 0


def _retried(following: _Segment, before: _Segment, policy: Policy) -> None:
    """8: whether the segment is a retry of one that failed."""
    if (
        before.end_reason == "failed"
        and not before.business
        and (before.untitled or following.last.ad or following.last.title_id == before.last.title_id)
        and following.at - before.end_at <= policy.retry_ms
    ):
        following.failed_at, following.failed_played = before.end_at, before.played or before.failed_played


def _closing(segment: _Segment, event: Event, at: int, policy: Policy) -> tuple[str, int]:
    """Why `event` at time `at` closes the segment ('' if not) and until when the segment's state held."""
    held = at - segment.at <= policy.hold_ms
    until = at if held else segment.at
    if event.received_at - segment.last.received_at > policy.hold_ms + policy.lateness_ms:
        return "timeout", segment.at
    if STATES[event.state] in TERMINAL:
        return STATES[event.state], until
    if event.title_id != segment.last.title_id and not segment.untitled:
        return "content_change", until
    if segment.paused_at is not None and at - segment.paused_at > policy.pause_limit_ms:
        return "pause_limit", min(until, segment.paused_at + policy.pause_limit_ms)
    if not held:
        return "timeout", until
    if at - segment.start_at > policy.session_cap_ms:
        return "length_cap", min(until, segment.start_at + policy.session_cap_ms)
    return "", until


def _takes_in(closed: _Segment, event: Event) -> bool:
    state = STATES[event.state]
    return state in TERMINAL or (closed.end_reason == "pause_limit" and state == "paused")


def _apply(
    segment: _Segment,
    event: Event,
    titled: bool,
    at: int,
    state: str,
    proved: bool,
    found: dict[str, int],
    policy: Policy,
) -> None:
    """Make `event` the segment's newest: `state` begins at `at`, with the moments that fall there.

    `titled`: its title has been told, by it or before; `proved`: the gap before held a frame; `found`: what the
    player's counters say of it.
    """
    before, last = segment.state, segment.last
    segment.last, segment.at, segment.state, segment.moment = event, at, state, dict(found)
    segment.events += 1
    segment.untitled = segment.untitled and (event.ad or not titled)
    segment.impression_id = event.impression_id if segment.impression_id is None else segment.impression_id
    segment.page_id = event.page_id if segment.page_id is None else segment.page_id
    if event.playhead_ms is not None and not event.ad:
        segment.max_playhead_ms = max(event.playhead_ms, segment.max_playhead_ms or 0)
        segment.position_ms = event.playhead_ms
    if state == "paused":
        segment.paused_at = at if segment.paused_at is None else segment.paused_at
    elif state not in TERMINAL:
        segment.paused_at = None
    if state == "failed":
        code = last.error_code if event.error_code is None else event.error_code
        segment.business = code is not None and error_codes.is_business(code)
    _causes(segment, before, last, proved)
    _starts(segment, titled, proved, policy)
    if state != "rebuffering" or before != "rebuffering":
        segment.stall_counted = False
    if not event.ad and not event.background:
        _stalls_and_switches(segment, policy)


def _causes(segment: _Segment, before: str, last: Event, proved: bool) -> None:
    """When something last happened that may make a player wait: the frame after a seek, resume, rate, ad end."""
    event, state = segment.last, segment.state
    first_frame = proved or (state == "playing" and not event.ad)
    causes = {
        "seek": segment.seek_open and first_frame,
        "pause": before == "paused" and state != "paused",
        "ad": last.ad and not event.ad,
        "rate change": last.rate_milli != event.rate_milli and 0 not in (last.rate_milli, event.rate_milli),
    }
    for cause, happened in causes.items():
        if happened:
            segment.caused_at, segment.caused_by = segment.at, cause
            break
    segment.seek_open = STATES[event.state] == "seeking" or (segment.seek_open and not first_frame)


def _stalls_and_switches(segment: _Segment, policy: Policy) -> None:
    event, at, moment = segment.last, segment.at, segment.moment
    if segment.state == "rebuffering" and not segment.stall_counted:
        segment.stall_counted = True
        _count(moment, "stalls", 1)
        ago = None if segment.caused_at is None else at - segment.caused_at
        segment.connection = ago is None or ago > policy.cause_ms
        after = "" if segment.connection else segment.caused_by
        segment.stalls.append(Stall(segment.number, at, after, ago or 0))
        if segment.connection:
            segment.connection_until = at
            _count(moment, "cir_stalls", 1)
    # Without a play nothing of content is on screen: what seems to play is behind an ad after the end (7).
    if segment.state == "playing" and segment.played and event.bitrate_kbps is not None:
        step = 0 if segment.play_kbps is None else event.bitrate_kbps - segment.play_kbps
        segment.play_kbps = event.bitrate_kbps
        if step and at - segment.played_at <= policy.startup_ms:
            _count(moment, "startup_switches", 1)
            _count(moment, "startup_switch_kbps", abs(step))
        elif step:
            _count(moment, "switches_up" if step > 0 else "switches_down", 1)
            _count(moment, "switch_up_kbps" if step > 0 else "switch_down_kbps", abs(step))


def _starts(segment: _Segment, titled: bool, proved: bool, policy: Policy) -> None:
    """Attempt, first frame, play; or the recovery of a failure."""
    event, at, moment = segment.last, segment.at, segment.moment
    over = _over(segment, titled)
    retry = segment.failed_at is not None and at - segment.failed_at <= policy.retry_ms
    if segment.wanted_at is None and (proved or (segment.state in ("starting", "playing") and not over)):
        segment.wanted_at, segment.wanted_seen = at, segment.state == "starting" and not proved
    if segment.wanted_at is not None and not segment.attempted and not segment.played and not retry:
        segment.attempted = True
        _count(moment, "attempts", 1)
    exact = segment.attempted and segment.wanted_seen and segment.missing == 0
    waited = at - (segment.wanted_at or 0)
    if segment.state == "playing" and not segment.any_frame:
        segment.any_frame = True
        if exact:
            _count(moment, "any_starts_measured", 1)
            _count(moment, "any_start_delay_ms", waited - segment.paused_ms)
    if segment.played or not (proved or (segment.state == "playing" and not event.ad and not over)):
        return
    segment.any_frame = segment.played = True
    segment.played_at = at
    if not segment.attempted:
        which = "playback" if segment.failed_played else "start"
        _count(moment, f"{which}_failures_recovered", 1)
        _count(moment, "plays", 0 if segment.failed_played else 1)
        return
    _count(moment, "plays", 1)
    if exact:
        delay = waited - segment.excluded_ms
        _count(moment, "starts_measured", 1)
        _count(moment, "start_delay_ms", delay)
        _count(moment, "startup_score_milli", scores.startup_milli(delay))
        _count(moment, START_TIME.bin_of(delay), 1)


def _over(segment: _Segment, titled: bool) -> bool:
    """7: whether the newest event is of an ad after the end, or of nothing: it ends such a one, or goes on after it."""
    goes_on = segment.sums["ad_ms"] > 0 and segment.state == "playing" and not titled
    return segment.after_end and segment.wanted_at is None and (segment.last.ad or goes_on)


def _count(moment: dict[str, int], measure: str, amount: int) -> None:
    moment[measure] = moment.get(measure, 0) + amount


def _content_end(segment: _Segment, event: Event, gap: bool) -> int | None:
    """10: the playhead that content believed to be shown in a gap cannot have passed; None if nothing tells one."""
    told = event.playhead_ms is not None and not event.ad and event.title_id == segment.last.title_id
    return event.playhead_ms if gap and told and (event.playhead_ms or 0) >= segment.position_ms - JOIN_MS else None


def _hold(segment: _Segment, until: int, unobserved: bool, content_end: int | None) -> None:
    """Let the newest event's state hold until `until`, cut at minute borders."""
    if segment.wanted_at is not None and not segment.played and (segment.last.ad or segment.state == "paused"):
        segment.excluded_ms += until - segment.at
        segment.paused_ms += until - segment.at if segment.state == "paused" else 0
    if segment.state == "rebuffering" and segment.stall_counted and segment.connection:
        segment.connection_until = until
    start = segment.at
    if start == until and segment.moment:
        _piece(segment, start, until, unobserved, content_end)
    while start < until:
        end = min(until, start - start % MINUTE_MS + MINUTE_MS)
        _piece(segment, start, end, unobserved, content_end)
        start = end


def _close(segment: _Segment, reason: str, end_at: int, found: dict[str, int], policy: Policy) -> None:
    """End the segment; `found` is what the player's counters say of a gap at its end."""
    moment = segment.moment
    for name, value in found.items():
        _count(moment, name, value)
    if reason == "failed" and (segment.attempted or segment.played):
        kind = "playback_failures" if segment.played else "start_failures"
        _count(moment, kind, 1)
        _count(moment, f"{kind}_business", int(segment.business))
    elif segment.wanted_at is not None and segment.attempted and not segment.played:
        _count(moment, "exits_before_start", 1)
        waited = end_at - segment.wanted_at - segment.excluded_ms
        _count(moment, "long_wait_exits", int(waited > policy.long_wait_ms))
    stalled_at = segment.connection_until if segment.paused_at is None else None
    if reason in ("quit", "timeout") and stalled_at is not None and end_at - stalled_at <= policy.exit_ms:
        _count(moment, "cir_exits", 1)
    if segment.played and (segment.attempted or not segment.failed_played):
        now = {name: segment.sums[name] + moment.get(name, 0) for name in ("stalls", "stall_ms", "play_ms")}
        _count(moment, "smoothness_scored", 1)
        _count(moment, "smoothness_score_milli", scores.smoothness_milli(**now))
        _count(moment, STALL_TIME.bin_of(now["stall_ms"]), 1)
    segment.end_reason, segment.end_at = reason, end_at
    if moment or reason in TERMINAL:
        _piece(segment, end_at, end_at, False)
    if reason in TERMINAL:
        segment.last = segment.last.without_ad()


def _piece(segment: _Segment, start: int, end: int, unobserved: bool, content_end: int | None = None) -> None:
    """Add [start, end), which lies in one minute, as a span of its own or to the one before; takes the moment away."""
    event, moment = segment.last, segment.moment
    counted = durations(segment.state, event, end - start, segment.connection)
    _count(counted, "content_ms", _covered(segment, end - start, content_end))
    for name, value in moment.items():
        _count(counted, name, value)
    segment.moment = {}
    for name, value in counted.items():
        segment.sums[name] += value
    key: dict[str, Any] = {
        "minute_at": start - start % MINUTE_MS,
        "state": segment.state,
        "background": event.background,
        "ad": event.ad,
        "bitrate_kbps": event.bitrate_kbps,
        "unobserved": unobserved,
    }
    key |= dict(zip(DIMENSIONS, event.dimensions, strict=True))
    last = segment.spans[-1] if segment.spans else None
    if last is not None and not moment and start < end and last["end_at"] == start and key.items() <= last.items():
        last["end_at"] = end
        for name, value in counted.items():
            last[name] += value
    else:
        segment.spans.append(key | {"start_at": start, "end_at": end} | dict.fromkeys(MEASURES, 0) | counted)


def _covered(segment: _Segment, ms: int, content_end: int | None) -> int:
    """10: move the position on by `ms` of the newest event's state; returns the new content that was shown.

    `content_end`: where that ends, if it is known.
    """
    event = segment.last
    media = ms * event.rate_milli // 1000
    if segment.state != "playing" or event.ad or media == 0:
        return 0
    start, segment.position_ms = segment.position_ms, segment.position_ms + media
    end = segment.position_ms if content_end is None else min(segment.position_ms, content_end)
    return 0 if event.background or end <= start else segment.cover.add(start, end)


def _span_row(span: dict[str, Any], number: int, segment: _Segment, revision: Revision) -> dict[str, Any]:
    row = {
        "session_id": segment.last.session_id,
        "segment": segment.number,
        "span": number,
        "revision": revision,
        "start_date": span["start_at"] // DAY_MS,
    } | span
    return {name: row[name] for name in SPAN_COLUMNS}


def _session_row(segment: _Segment, revision: Revision, offset: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "session_id": segment.last.session_id,
        "revision": revision,
        "close_date": segment.end_at // DAY_MS,
        "segment": segment.number,
        "clock_offset_ms": offset,
        "duplicates": 0,
        "late": 0,
        "inferred": segment.end_reason in INFERRED,
    }
    row |= dict(zip(DIMENSIONS, segment.last.dimensions, strict=True)) | segment.sums
    return {name: row[name] if name in row else getattr(segment, name) for name in SESSION_COLUMNS}
