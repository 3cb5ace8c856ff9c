"""Loss repair: what the player's own counters tell of the stalls in a gap.

A player that reports CMCD's `bsa` and `bsda` counts its stalls and their time since the session began, so the first
event after a gap says how many there were, and how long, though not where. `Player` holds what these counters should
say by the timeline as far as it is known; what they say beyond that happened unseen.

The counters take in all rebuffering after the first frame, also in background and under an ad, so stalled time in a gap
that touches background cannot be told apart. A player may count a stall when it begins or when it is over: while one
lasts, the timeline is believed if it says more, unless the counters have just put it right.

An ad is told by its begin and its end alone, and either may be what was lost. So a gap beside an ad is neither repaired
nor verified, and where an ad may have lain in it (`Ads`) what the counters say is taken for content's, unverified. An
ad of which nothing else tells, both ends lost in the first gap that hides one, cannot be told from content.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from models.playback.events import Event
from models.playback.states import durations


class Ads(IntEnum):
    """What is known of ads in a gap."""

    NONE = 0
    """Nothing tells of one."""
    SHOWN = 1
    """The segment has shown one and none is on after the gap: a stall in it may have been under another."""
    PERHAPS = 2
    """The event after it does not say whether an ad is on, and one was shown, or the title is another: an ad's own?"""
    BESIDE = 3
    """One is on before or after it."""


def ads_around(said: Event, event: Event, newest: Event | None, shown: bool) -> Ads:
    """What is known of ads in a gap right before an event.

    Args:
        said: the event as it arrived.
        event: the same with what it keeps.
        newest: the newest event before; None if there is none.
        shown: the segment of `newest` has shown an ad.
    """
    if event.ad or (newest is not None and newest.ad):
        return Ads.BESIDE
    renamed = newest is not None and event.title_id != newest.title_id
    if said.silent_of_ad and (shown or renamed):
        return Ads.PERHAPS
    return Ads.SHOWN if shown else Ads.NONE


@dataclass(slots=True)
class Player:
    """What the player's counters should say now. `known` is false after a gap that they said nothing about."""

    stalls: int = 0
    stall_ms: int = 0
    known: bool = True

    def lost_stalls(self, event: Event, gap: bool, ads: Ads) -> int:
        """How many stalls of content began unseen before `event`, or with it; 0 if there is no gap or no telling."""
        told = _told(event)
        return told[0] - self.stalls if gap and self.known and told is not None and ads < Ads.BESIDE else 0

    def begins(self, event: Event, gap: bool, ads: Ads) -> bool:
        """Whether one stall more, of no length yet, is all that a gap hid: then it begins with `event`."""
        stalled = event.state == "r" and gap and self.known and ads < Ads.BESIDE
        return stalled and _told(event) == (self.stalls + 1, self.stall_ms)

    def after_gap(
        self,
        event: Event,
        gap: bool,
        ads: Ads,
        before: str,
        state: str,
        last: Event | None,
        held_ms: int,
        connection: bool = False,
    ) -> dict[str, int]:
        """Take `event` in; returns the measures that a gap right before it adds to its moment, nothing without one.

        Args:
            event: the next event.
            gap: numbers are missing before it.
            ads: what is known of ads in the gap.
            before: state that was held until it, '' without `last`.
            state: state it begins in that segment, '' if another segment takes it.
            last: the event that began `before`; None if nothing was held: the segment begins with `event`, or ends
                with it after more than the hold.
            held_ms: how long `before` was held; without `last`, how much time may have gone unseen.
            connection: `before` is a connection-induced stall.
        """
        began = int(state == "rebuffering" and before != "rebuffering")
        stalls, stall_ms = self.stalls + began, self.stall_ms + (held_ms if before == "rebuffering" else 0)
        found = {"gaps": 1} if gap else {}
        told = _told(event)
        if told is None:
            self.stalls, self.stall_ms, self.known = stalls, stall_ms, self.known and not gap
            return found
        if gap and self.known:
            more, more_ms = told[0] - stalls, told[1] - stall_ms
            # Where another segment takes a stalled event, nobody knows which of the two a hidden stall belongs to.
            if not (more > 0 and state == "" and event.state == "r"):
                found |= _repair(event, ads, began > 0, state, before, last, held_ms, connection, more, more_ms)
        lasting = state == "rebuffering" and "repaired_stalls" not in found
        self.stalls, self.stall_ms = (max(stalls, told[0]), max(stall_ms, told[1])) if lasting else told
        self.known = True
        return found


def _told(event: Event) -> tuple[int, int] | None:
    """The player's counters, count and ms; None unless both are there."""
    if event.stall_count is None or event.stall_total_ms is None:
        return None
    return event.stall_count, event.stall_total_ms


def _repair(
    event: Event,
    ads: Ads,
    began: bool,
    state: str,
    before: str,
    last: Event | None,
    held_ms: int,
    connection: bool,
    stalls: int,
    ms: int,
) -> dict[str, int]:
    """Measures of a gap with `stalls` more stalls and `ms` more stalled time than seen; none if nobody can tell."""
    stalled = before == "rebuffering"
    hidden = event.background or ads == Ads.BESIDE or (last is not None and last.background)
    if stalls == 0 and ms == 0:
        return {} if (hidden and stalled) or ads > Ads.SHOWN else {"gaps_verified": 1}
    least, most = (-held_ms, 0) if stalled else (0, held_ms)
    plausible = stalls >= 0 and least <= ms <= most and (stalls > 0 or began or stalled or last is None)
    if not plausible or hidden:
        return {}
    # It was over before, so what stalls now is not it, nor one that they have counted.
    another = stalled and state == "rebuffering" and stalls == 0
    found = {"gaps_verified": int(ads == Ads.NONE and not another), "repaired_stalls": stalls, "repaired_stall_ms": ms}
    found |= {"stalls": stalls, "stall_ms": ms, "watched_ms": ms, "alive_ms": ms}
    if connection and stalled:
        found["cir_stall_ms"] = ms
    if last is not None:
        # Time that was believed to be in `before` was stalled; or, where a stall was held too long, it was playing.
        taken = durations("playing" if ms < 0 else before, last, abs(ms), connection=False)
        for name, value in taken.items():
            found[name] = found.get(name, 0) + (value if ms < 0 else -value)
    return found
