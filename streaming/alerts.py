"""The alert process: counters in (`qoe_step`), incidents out (`incident`, webhook), a person's word in between.

Everything it knows comes from topics, so a restart finds it again: seasons and spreads from the counters' history, the
detectors' windows from the last hours of it, incidents and what was said of them from their own topics. When a step is
judged: `streaming.pace`.
"""

from __future__ import annotations

import difflib
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from conf.alerts import LONGEST_S, STEP_S, MaintenanceRule, Rules, SignalRule
from conf.errors import InputMissing, MatineeError, UsageError
from conf.settings import Settings
from models.incident import cause
from models.incident import cohorts as hierarchy
from models.incident.cohorts import Name, label
from models.incident.detect import Detector, Evidence, Tuning
from models.incident.learn import DIMENSIONS, Grid, learned, watched
from models.incident.ledger import Incident, Ledger, Maintenance, State, Suspect, commanded
from models.incident.ledger import Rules as LedgerRules
from models.incident.season import BIN_S
from models.incident.signals import Signal
from schemas import records, wire
from schemas import topics as catalogue
from streaming import clients, consume, topics
from streaming.jobs import plan
from streaming.pace import GRACE_S, LATE_S, POLL_S, Pace
from streaming.webhook import Webhook

LOG = logging.getLogger(__name__)
DAY_S = 86_400
WARM_S = 7_200
LOUD_S = 1_800
AHEAD_S = 3_600
WORD = "word"
"""Header of an incident's row: the last word that it knows. It goes with the row, so that both hold or neither."""
CHANGE = "change"
"""Header of the same: revision of the last change, which the webhook was to be told; later rows have only grown."""
AGAIN_S = DAY_S
"""A start tells the webhook again of incidents that are live, or changed within this time before the last change of
any."""
RELEARN_S = DAY_S
NEW_CELLS_S = 3_600
"""Cells that history did not have (a new release, a new cluster) count at once in the cohorts whose values they carry,
and make cohorts of their own after at most so long."""
NEW_DAY_S, NEW_AFTER_S = DAY_S, 6 * 3_600
"""Cells first seen within this time are new ones, unless the counters themselves are younger than that."""
MOST_NEW = 5_000
MOST = 1e15
"""Figures of an incident are told up to this: JSON has no infinity, and one makes every mean of a table infinite."""
EXAMPLES = 5
SESSIONS_OLD_S = 30.0
SESSIONS_AT_ONCE = 50_000
"""So many messages are decoded together; of what they hold only `SESSION_COLUMNS` stay."""
SESSIONS_PATIENCE_S = 5.0
"""An incident waits no longer than this for its sessions: what is known is told."""
BEFORE_S = 7_200
WATCHED_S = 7 * DAY_S
"""Cohorts are watched that enough people were of within so long; whether a row may be told its own time decides."""
MISSED_S = LONGEST_S
"""Who is missing was there before: people of a volume are counted from so long before its fall."""
WITHHELD = "withheld"
"""Stands for a cohort that may not be named any more."""
GROWN_S = 300
"""An incident that grows without a change of its state, signals or cohort has a new row after so long."""
_NOTHING_TOLD: Mapping[str, Any] = {
    "state": State.RESOLVED.value, "cohort": WITHHELD, "score": 0.0, "observed": 0.0, "expected": 0.0, "excess": 0.0,
    "impacted_sessions": 0, "example_sessions": [], "suspects": [], "explanation": "",
}  # fmt: skip
Say = Callable[[str], None]
SESSION_COLUMNS = ("session_id", "segment", "profile_id", *DIMENSIONS, "start_at", "end_at", "end_reason")
COUNTERS = tuple(f.name for f in records.load("qoe_step").fields if f.name not in ("step_at", *DIMENSIONS))


def signals(rules: Rules) -> tuple[list[Signal], list[str], dict[str, tuple[str, ...]]]:
    """The signals of the rules, the columns they need, and which of those are sums of several counters."""
    joined = {"+".join(rule.den): rule.den for rule in rules.signals.values() if len(rule.den) > 1}
    made = [
        Signal(name, rule.num, "+".join(rule.den) or None, rule.whole, rule.lag_s, rule.memory_s, rule.longest_s)
        for name, rule in rules.signals.items()
    ]
    return made, [*COUNTERS, *joined], joined


@dataclass
class Books:
    """What has been said of every incident on the topic: newest row by id, and which word of people it knows last
    (its place on topic `incident_command`), and the revision of its last change."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    words: dict[str, int] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    """Incidents whose last change a process before this one may not have delivered."""

    def live(self) -> list[dict[str, Any]]:
        """Rows of incidents that are not resolved."""
        return [row for row in self.rows.values() if row["state"] != State.RESOLVED.value]

    def live_at(self, at_s: int) -> list[dict[str, Any]]:
        """Rows of incidents that were live at a moment of the past, as they may have been then: the topic holds the
        newest row alone."""
        over = {key: row["resolved_at"] for key, row in self.rows.items()}
        return [
            {**row, "state": State.OPEN.value, "muted_until_at": None, "updated_at": _at(at_s)}
            for key, row in self.rows.items()
            if _s(row["opened_at"]) < at_s and (over[key] is None or _s(over[key]) > at_s)
        ]


class Alerts:
    """One universe under watch. `run` follows the topic; `replay` goes through a day that lies in it."""

    def __init__(
        self, settings: Settings, rules: Rules, say: Say = LOG.info, wall: Callable[[], float] = time.time
    ) -> None:
        self.settings, self.rules, self.say, self.wall = settings, rules, say, wall
        self.signals, self.columns, self.joined = signals(rules)
        self.tuning = Tuning(false_alarms_a_day=rules.false_alarms_a_day)
        self.rows: dict[bytes, bytes] = {}
        self.books = Books()
        self.commands: list[dict[str, Any]] = []
        self.webhook = Webhook(rules.webhook) if rules.webhook.url else None
        self.unknown_cells = self.unreadable = 0
        self.ids: dict[int, str] = {}
        self.looked_s: dict[int, int] = {}
        self.silent: set[int] = set()
        self.late: dict[int, np.ndarray] = {}
        self.ahead: set[int] = set()
        """Steps with counters that this machine's clock has not come to."""
        self.timely_s = 0.0
        """When, by that clock, counters of a step last came that it had come to."""
        self.following = False
        self.past = False
        """Whether a day of the past is gone through: what the topic knows of later days is not to be known."""
        self.sessions = wire.decode_many([], catalogue.QOE_SESSION.record)
        self.caught_up_s = 0
        self.sessions_read_s = 0.0
        self.sessions_from_s, self.sessions_until_s = 0, 2**40
        """Sessions that end before or begin after are of no interest."""
        self.judged_s = 0
        self.session_offsets: dict[TopicPartition, int] = {}

    # -- learning -------------------------------------------------------------------------------------------------

    def learn(self, until_s: int) -> None:
        """Cohorts, seasons and spreads from the gathered counters before `until_s` (Unix seconds).

        Raises:
            InputMissing: fewer than six hours of counters, or fewer people than may be told of.
        """
        steps = self.grid.steps["at_s"]
        low = max(int(steps.min()) if len(steps) else until_s, until_s - self.rules.history_days * DAY_S)
        low, high = -(-low // BIN_S) * BIN_S, until_s // BIN_S * BIN_S
        if high - low < 6 * 3_600:
            raise InputMissing(
                f"topic {topics.real_name(catalogue.QOE_STEP, self.settings)} holds "
                f"{max(high - low, 0) / 3_600:.1f} hours "
                "of counters before this moment: alerts learn from at least six; let the stream job run on"
            )
        self.session_offsets = {}  # all of them anew: what retention dropped goes
        self.judged_s = until_s
        self.sessions_from_s = min(until_s - WATCHED_S, self._horizon())
        self._refresh_sessions()
        seen = self._there(until_s - WATCHED_S, until_s if self.past else self.sessions_until_s)
        people, least = seen["profile_id"].nunique(), self.rules.least_profiles
        if people < least:
            raise InputMissing(
                f"topic {topics.real_name(catalogue.QOE_SESSION, self.settings)} holds sessions of {people} profiles "
                f"of the last {WATCHED_S // DAY_S} days: "
                f"nothing is told of fewer than {least} (least_profiles)"
            )
        self.cohorts = watched(self.grid, self.rules.cohorts, _profiles(seen, self.rules.cohorts), least)
        self._forget()
        self.models = learned(self.grid, self.cohorts, self.signals, self.columns, low, high, self.tuning)
        self.code = {key: i for i, key in enumerate(self.grid.cells.itertuples(index=False, name=None))}
        self.learned_s = until_s
        self.say(
            f"learned {len(self.cohorts)} cohorts of {len(self.grid.cells)} cells from {(high - low) / DAY_S:.1f} days"
        )

    def _gather(self) -> int:
        """`grid` from what was taken from the topic; the start of its newest step. Older rows than are learned from
        are forgotten."""
        self.grid = Grid.of(self._counters(self.rows.values()))
        newest = self._begun(set(self.grid.steps["at_s"].unique().tolist()))
        oldest = newest - self.rules.history_days * DAY_S - RELEARN_S
        self.rows = {key: value for key, value in self.rows.items() if _step_of(key) >= oldest}
        return newest

    def _begun(self, fresh: Collection[int] = ()) -> int:
        """The newest of these steps, and of those that were ahead, that has begun; 0 if none has. The others wait: one
        clock that is wrong would make an outage of the time until then. Where nothing but such has come for a while,
        the wrong clock is this machine's, and they are taken as they come."""
        now, steps = self.wall(), self.ahead.union(fresh)
        self.ahead = {at for at in steps if at > now}
        if not self.ahead.issuperset(fresh):
            self.timely_s = now
        elif fresh and not 0 <= now - self.timely_s < GRACE_S:
            self.ahead.difference_update(fresh)
        return int(max(steps - self.ahead, default=0))

    def _counters(self, values: Iterable[bytes]) -> pd.DataFrame:
        """Rows of `qoe_step` with the sums that signals need; what cannot be read, or lies in a future that has not
        come, is left out and counted."""
        wrong: list[Exception] = []
        frame = consume.readable(values, "qoe_step", wrong.append)
        ahead = frame["step_at"] > _at(int(self.wall()) + AHEAD_S)
        wrong += [ValueError("step_at lies in the future")] * int(ahead.sum())
        self._leave_out(catalogue.QOE_STEP, wrong)
        frame = frame[~ahead].reset_index(drop=True)
        for name, parts in self.joined.items():
            frame[name] = frame[list(parts)].sum(axis=1)
        return frame

    def _leave_out(self, topic: catalogue.Topic, wrong: Sequence[Exception]) -> None:
        """Say how many messages of a topic are left out, and why the first one is."""
        if wrong:
            self.unreadable += len(wrong)
            name = topics.real_name(topic, self.settings)
            self.say(f"{len(wrong):,} messages of {name} are left out ({self.unreadable:,} so far): {wrong[0]}")

    def _read_sessions(self) -> None:
        """Sessions told of since the last read, the newest row of each; all of them where none was read. Those that no
        row to come can be about are not held."""
        offsets, told = dict(self.session_offsets), dict[str, bytes | None]()
        parts = [self.sessions] if offsets else []
        patience_s = SESSIONS_PATIENCE_S if offsets else consume.PATIENCE_S
        for message in consume.messages(catalogue.QOE_SESSION, self.settings, patience_s, offsets):
            offsets[TopicPartition(message.topic, message.partition)] = message.offset + 1
            told[(message.key or b"").decode(errors="replace")] = message.value
            if len(told) >= SESSIONS_AT_ONCE:
                parts = self._decoded(parts, told)
                told = {}
        found = pd.concat(self._decoded(parts, told))
        self.sessions, self.session_offsets = found[~found.index.duplicated(keep="last")], offsets
        self.sessions_read_s = time.monotonic()

    def _decoded(self, parts: list[pd.DataFrame], told: dict[str, bytes | None]) -> list[pd.DataFrame]:
        """Parts of the sessions with one more; what was deleted is gone from the others."""
        wrong: list[Exception] = []
        held = (value for value in told.values() if value is not None)
        found = consume.readable(held, catalogue.QOE_SESSION.record, wrong.append)
        self._leave_out(catalogue.QOE_SESSION, wrong)
        found = found[[*SESSION_COLUMNS, *dict.fromkeys(rule.num for rule in self.rules.signals.values())]]
        found.index = pd.Index(found["session_id"] + "|" + found["segment"].astype(str), dtype=object)
        found = self._within(found, self.sessions_from_s, self.sessions_until_s)
        if gone := [key for key, value in told.items() if value is None]:
            parts = [part.drop(index=gone, errors="ignore") for part in parts]
        return [*parts, found]

    def _horizon(self) -> int:
        """The earliest moment that a row from now on can be about."""
        rows = self.books.live_at(self.judged_s) if self.past else self.books.live()
        rows += [self.books.rows[key] for key in self.books.unsure]
        onset = min((_s(row["onset_at"]) for row in rows), default=self.judged_s)
        return min(onset, self.judged_s) - LONGEST_S - MISSED_S

    def _forget(self) -> None:
        """Let go of sessions that no row from now on can be about."""
        self.sessions_from_s = self._horizon()
        self.sessions = self._there(self.sessions_from_s, self.sessions_until_s)

    def _spans(self, sessions: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
        """Begin and end of sessions in milliseconds. One that no end is known of was heard of a while ago, so it counts
        for as long as the fold holds it."""
        begun, until = (sessions[name].dt.as_unit("ms").astype("int64") for name in ("start_at", "end_at"))
        return begun, until + np.where(sessions["end_reason"] == "open", self.settings.fold.hold_ms, 0)

    def _within(self, sessions: pd.DataFrame, low_s: int, high_s: int) -> pd.DataFrame:
        """Those that there were at some time of [low, high]."""
        begun, until = self._spans(sessions)
        return sessions[(begun <= high_s * 1_000) & (until >= low_s * 1_000)]

    def _look_again(self) -> None:
        if self.following and time.monotonic() - self.sessions_read_s > SESSIONS_OLD_S:
            self._refresh_sessions()
            self._forget()

    def _there(self, low_s: int, high_s: int) -> pd.DataFrame:
        return self._within(self.sessions, low_s, high_s)

    def _refresh_sessions(self) -> None:
        """The same; where they cannot be read now, those that are known do."""
        try:
            self._read_sessions()
        except MatineeError as error:
            if not len(self.sessions):
                raise
            self.say(f"{len(self.sessions):,} sessions known so far are told of, newer ones cannot be read: {error}")
            self.sessions_read_s = time.monotonic()

    def _may_be_told(self, row: Mapping[str, Any]) -> Callable[[Name], bool]:
        """Whether a cohort is of so many people that it may be shown outside in a row: those who watched in the time
        that its figures are of. Given its onset, opening, last change, window and signals.

        This time only grows with an incident, so what has been told may be told again."""
        low_s = min(_s(row["onset_at"]), _s(row["opened_at"]) - row["window_s"])
        rules = [self.rules.signals[name] for name in row["signals"].split(",") if name in self.rules.signals]
        there = self._there(low_s - (MISSED_S if any(not rule.den for rule in rules) else 0), _s(row["updated_at"]))

        @cache
        def enough(name: Name) -> bool:
            return int(there["profile_id"][_inside(there, name)].nunique()) >= self.rules.least_profiles

        return enough

    def _of_enough(self, at_s: int, evidence: Evidence) -> Evidence:
        """Evidence of the step that ends at `at_s`, without cohorts that too few people were of in its window: their
        fault is told as that of a larger one. Those that an incident bears the name of stay."""
        named = [incident.cohort for incident in self.ledger.live]
        kept = np.isin(evidence.cohort, named)
        if kept.all() or not (named or evidence.alarm.any()):
            return evidence
        self._look_again()
        volume = np.array([signal.volume for signal in self.signals])[evidence.signal]
        low_s = at_s - evidence.window_s - np.where(volume, MISSED_S, 0)
        there = self._there(int(low_s.min(initial=at_s)), at_s)
        cells = pd.MultiIndex.from_tuples(list(self.code), names=DIMENSIONS)
        people = pd.DataFrame({
            "cell": cells.get_indexer(pd.MultiIndex.from_frame(there[list(DIMENSIONS)])),
            "profile": pd.factorize(there["profile_id"])[0], "last_s": self._spans(there)[1].to_numpy() / 1_000,
        })  # fmt: skip
        for cohort in np.unique(evidence.cohort[~kept]):
            own = people[np.isin(people["cell"], self.cohorts.cells(int(cohort)))]
            last_s = np.sort(own.groupby("profile")["last_s"].max().to_numpy())
            rows = np.flatnonzero(evidence.cohort == cohort)
            kept[rows] = len(last_s) - np.searchsorted(last_s, low_s[rows]) >= self.rules.least_profiles
        return evidence.take(kept)

    def arm(self, from_s: int) -> None:
        """Detectors warmed by the two hours before `from_s`, and the ledger with what the topic says is not
        resolved."""
        self.detector = Detector(self.cohorts, self.columns, self.models, STEP_S, self.tuning)
        self.new: set[int] = set()
        self._newcomers(self._first_seen_since(from_s - NEW_DAY_S))
        begin = from_s - WARM_S
        for i, cells in enumerate(self.grid.sums(begin, from_s, STEP_S, self.columns)):
            self.detector.step(begin + (i + 1) * STEP_S, cells)
        maintenance = tuple(self._planned(m, from_s) for m in self.rules.maintenance)
        self.ledger = Ledger(
            self.detector, LedgerRules(resolve_after_s=self.rules.resolve_after_s, maintenance=maintenance)
        )
        self.ids, self.looked_s, self.silent = {}, {}, set()
        self.late.clear()
        for row in self.books.live_at(from_s) if self.past else self.books.live():
            self._restore(row)
        if self.past:  # they explain what is seen of them, but how they went on the topic knows better
            self.silent |= set(self.ids)
        if self.following:
            self._recall(from_s)

    def _first_seen_since(self, at_s: int) -> list[int]:
        first = self.grid.steps.groupby("cell")["at_s"].min()
        return [int(cell) for cell in first.index[first > max(at_s, int(first.min()) + NEW_AFTER_S)]]

    def _newcomers(self, new: list[int]) -> None:
        """Tell the detector of new cells, given their places: a cohort whose traffic went over to them did not
        fall."""
        self.new |= set(new)
        if new:
            keys = list(self.code)
            known = {i: key for i, key in enumerate(keys) if i not in self.new}
            replaced = hierarchy.replaced(self.cohorts, DIMENSIONS, known, [keys[i] for i in new])
            self.detector.newcomers(np.array(new, dtype=np.int64), replaced)

    def _widen(self, keys: Iterable[tuple[str, ...]]) -> None:
        """Take cells that history did not have into grid, cohorts and detector."""
        fresh = [key for key in dict.fromkeys(keys) if key not in self.code][: MOST_NEW - self.unknown_cells]
        if not fresh:
            return
        self.unknown_cells += len(fresh)
        new = list(range(len(self.code), len(self.code) + len(fresh)))
        self.code |= dict(zip(fresh, new, strict=True))
        more = pd.DataFrame(fresh, columns=list(DIMENSIONS))
        self.grid = Grid(pd.concat([self.grid.cells, more], ignore_index=True), self.grid.steps)
        self.cohorts = hierarchy.wider(self.cohorts, more.to_dict("records"))
        self.detector.grow(self.cohorts)
        planned = (replace(m, cells=_inside(self.grid.cells, m.cohort)) for m in self.ledger.rules.maintenance)
        self.ledger.rules = replace(self.ledger.rules, maintenance=tuple(planned))
        self._newcomers(new)

    def _restore(self, row: dict[str, Any]) -> None:
        place = {label(known): i for i, known in enumerate(self.cohorts.names)}
        name = self.cohorts.names[place[row["cohort"]]] if row["cohort"] in place else None
        if not self._may_be_told(row)(_named(row["cohort"]) if name is None else name):
            if not self.past:
                self.say(f"{row['incident_id']} is of too few people to be told of any more")
                self._write({**row, **_NOTHING_TOLD, "resolved_at": row["updated_at"], "revision": row["revision"] + 1})
            return
        if name is None or row["signal"] not in self.rules.signals:
            if self.past:
                return
            self.say(f"{row['incident_id']}: {row['signal']} of {row['cohort']} is not watched any more")
            self._write({**row, "state": "resolved", "resolved_at": row["updated_at"], "revision": row["revision"] + 1})
            return
        ledger = self.ledger
        incident = Incident(
            ledger.next_number, place[row["cohort"]], name, row["signal"], _s(row["onset_at"]),
            _s(row["opened_at"]),
            State(row["state"]), row["score"], -np.inf, row["window_s"], row["observed"], row["expected"],
            tuple(Suspect(place[text], row["score"]) for text in row["suspects"] if text in place),
            _s(row["updated_at"]), _s(row["updated_at"]), set(row["signals"].split(",")), None,
            None if row["muted_until_at"] is None else _s(row["muted_until_at"]), row["excess"],
        )  # fmt: skip
        self.ids[incident.number] = row["incident_id"]
        ledger.incidents.append(incident)
        ledger.next_number += 1

    def _planned(self, rule: MaintenanceRule, at_s: int) -> Maintenance:
        """A window with its cells; one that is not over and of which there are none is told."""
        name, (from_s, until_s) = _name(rule.cohort), rule.seconds()
        cells = _inside(self.grid.cells, name)
        if not cells.any() and until_s > at_s:
            near = (difflib.get_close_matches(v, set(self.grid.cells[d]), n=1, cutoff=0.8) for d, v in name
                    if not (self.grid.cells[d] == v).any())  # fmt: skip
            hint = ", ".join(value for found in near for value in found)
            self.say(
                f"maintenance of {label(name)} mutes nothing: the counters know no such viewers"
                + (f"; did you mean {hint}?" if hint else "")
            )
        return Maintenance(name, from_s, until_s, cells)

    def _recall(self, from_s: int) -> None:
        """What was resolved in the last hour is not opened again on evidence from before."""
        known = {label(name): i for i, name in enumerate(self.cohorts.names)}
        over = [row for row in self.books.rows.values() if row["state"] == State.RESOLVED.value and row["resolved_at"]]
        self.ledger.closed = [
            (known[row["cohort"]], _s(row["resolved_at"])) for row in over
            if row["cohort"] in known and _s(row["resolved_at"]) > from_s - LONGEST_S
        ]  # fmt: skip

    # -- judging --------------------------------------------------------------------------------------------------

    def judge(self, at_s: int, cells: np.ndarray) -> None:
        """One step that began at `at_s`, counters by cell: evidence, incidents, and the word of people."""
        end = at_s + STEP_S
        for cell, more in self.late.items():
            cells[cell] += more
        self.late.clear()
        self.judged_s = end
        changed = self.ledger.update(end, self._of_enough(end, self.detector.step(end, cells)))
        for incident in changed:
            self._publish(incident)
        if end < self.caught_up_s:
            return  # after a restart: words and sessions are of now, not of the half hour that is judged again
        for incident in self.ledger.live:
            if end - self.looked_s.setdefault(incident.number, end) >= GROWN_S:
                self._publish(incident, grown=True)
        self._say_words(end)

    def _obey(self, command: dict[str, Any], at_s: int) -> None:
        key, offset = command["incident_id"], command["offset"]
        number = next((n for n, known in self.ids.items() if known == key), None)
        if number is None or offset <= self.books.words.get(key, -1):
            return
        place = next(i for i, incident in enumerate(self.ledger.incidents) if incident.number == number)
        before = self.ledger.incidents[place]
        until, given = None if command["until_at"] is None else _s(command["until_at"]), _s(command["given_at"])
        if until is not None and until > given >= at_s + AHEAD_S:  # old counters: as long as was said, by their clock
            until += at_s - given
        try:
            after = commanded(before, command["action"], at_s, until)
        except ValueError as error:
            self._leave_out(catalogue.INCIDENT_COMMAND, [error])
            return
        if after.state is State.RESOLVED and before.live:
            after.resolved_s = given if at_s <= given < at_s + AHEAD_S else at_s
            self.ledger.closed.append((after.cohort, after.resolved_s))
        if (after.state, after.muted_until_s) != (before.state, before.muted_until_s):
            self.books.words[key] = offset
            self.ledger.incidents[place] = after
            self._publish(after)

    def _publish(self, incident: Incident, grown: bool = False) -> None:
        """The incident's row, to topic and webhook; one that the topic already calls resolved stays so, and in a day of
        the past one that it knows. `grown`: if it
        tells more than the one before, and to the topic alone."""
        self.looked_s[incident.number] = incident.updated_s
        new = incident.number not in self.ids
        name = f"{datetime.fromtimestamp(incident.opened_s, UTC):%Y%m%dT%H%M%SZ}-{_slug(incident.name)}"
        if new and name in self.ids.values():  # a provider and a CDN of one name, hurt at once
            name += "".join(f"+{dimension}" for dimension, _ in incident.name)
        key = self.ids.setdefault(incident.number, name)
        old = self.books.rows.get(key)
        if new and old is not None and (self.past or old["state"] == State.RESOLVED.value):
            self.silent.add(incident.number)  # it stays in the ledger: else the next step would open it once more
        if incident.number in self.silent:
            return
        told = self._may_be_told({
            "onset_at": _at(incident.onset_s), "opened_at": _at(incident.opened_s), "window_s": incident.window_s,
            "updated_at": _at(incident.updated_s), "signals": ",".join(incident.signals),
        })  # fmt: skip
        if not told(incident.name):
            return  # its next change asks again, and so does the look every five minutes
        rule, (hurt, examples) = self._rule(incident), self._hurt(incident)
        suspects = [self.cohorts.names[suspect.cohort] for suspect in incident.suspects]
        why = self._explained(incident, told) or ("" if old is None else old["explanation"])
        row = {
            "incident_id": key, "revision": 0 if old is None else old["revision"] + 1, "state": incident.state.value,
            "signal": incident.signal, "signals": ",".join(sorted(incident.signals)), "cohort": label(incident.name),
            "onset_at": _at(incident.onset_s), "opened_at": _at(incident.opened_s),
            "updated_at": _at(incident.updated_s),
            "resolved_at": _at(incident.resolved_s), "muted_until_at": _at(incident.muted_until_s),
            "score": _finite(incident.score), "window_s": incident.window_s, "observed": _finite(incident.count),
            "expected": _finite(incident.mean), "excess": _finite(incident.excess), "impacted_sessions": hurt,
            "example_sessions": examples, "suspects": [label(name) for name in suspects if told(name)],
            "explanation": why, "runbook": rule.runbook,
        }  # fmt: skip
        if old is None or not grown:
            self._write(row)
        elif any(row[name] > old[name] for name in ("impacted_sessions", "score", *([] if rule.den else ["excess"]))):
            self._write(row, notify=False)

    def _rule(self, incident: Incident) -> SignalRule:
        return self.rules.signals[incident.signal]

    def _hurt(self, incident: Incident) -> tuple[int, list[str]]:
        """Sessions of the cohort with the symptom since the onset, and the five worst; of a volume what is missing."""
        rule = self._rule(incident)
        self._look_again()
        sessions = self.sessions
        if len(sessions) == 0:
            return 0 if rule.den else self._missing(incident), []
        inside = _inside(sessions, incident.name)
        onset, until = (
            pd.Timestamp(incident.onset_s, unit="s", tz="UTC"),
            pd.Timestamp(incident.updated_s, unit="s", tz="UTC"),
        )
        inside &= ((sessions["end_at"] >= onset) & (sessions["start_at"] <= until)).to_numpy()
        if not rule.den:
            found = sessions[inside].sort_values("end_at", kind="stable")
            return self._missing(incident), found["session_id"].head(EXAMPLES).tolist()
        symptom = rule.num  # a counter is a column of sessions too
        found = sessions[inside & (sessions[symptom] > 0).to_numpy()]
        worst = found.sort_values([symptom, "session_id"], ascending=[False, True])["session_id"].drop_duplicates()
        return int(found["session_id"].nunique()), worst.head(EXAMPLES).tolist()

    def _missing(self, incident: Incident) -> int:
        """What a fall costs: attempts that have not come since the onset; where time is counted, sessions that are
        missing at once in the strongest window."""
        lost = incident.excess
        if self._rule(incident).num.endswith("_ms"):
            lost = (incident.mean - incident.count) / (1_000 * incident.window_s)
        return max(round(_finite(lost)), 0)

    def _explained(self, incident: Incident, told: Callable[[Name], bool]) -> str:
        """Root cause over cells since the onset against the two hours before; '' for a volume."""
        signal = next(s for s in self.signals if s.name == incident.signal)
        if signal.den is None:
            return ""
        before = self._cells(incident.onset_s - BEFORE_S, incident.onset_s, signal)
        during = self._cells(incident.onset_s, incident.updated_s, signal)
        if during["den"].sum() <= 0 or before["den"].sum() <= 0:
            return ""
        found = cause.explain(before, during, DIMENSIONS, shown=lambda where: told(_name(where)))
        return "; ".join(f"{c} ({c.share:.0%} of the excess)" for c in found.causes)

    def _cells(self, low_s: int, high_s: int, signal: Signal) -> pd.DataFrame:
        low = low_s // STEP_S * STEP_S
        steps = self.grid.steps[(self.grid.steps["at_s"] >= low) & (self.grid.steps["at_s"] < high_s)]
        sums = steps.groupby("cell")[[signal.num, signal.den]].sum().clip(lower=0)
        out = self.grid.cells.loc[sums.index].reset_index(drop=True)
        return out.assign(num=sums[signal.num].to_numpy(float), den=sums[signal.den].to_numpy(float))

    def _write(self, row: dict[str, Any], notify: bool = True) -> None:
        key = row["incident_id"]
        self.books.rows[key] = row
        if notify:
            self.books.changes[key] = row["revision"]
            self.books.unsure.discard(key)
        name = topics.real_name(catalogue.INCIDENT, self.settings)
        value = wire.encode_one("incident", row)
        known = ((WORD, self.books.words.get(key)), (CHANGE, self.books.changes.get(key)))
        headers = [(header, b"%d" % number) for header, number in known if number is not None]
        try:
            self.producer.send(name, key=key.encode(), value=value, headers=headers)
        except KafkaError as error:  # the next change of the incident is written with all that is known of it
            self.say(f"{row['incident_id']} is not written to {name}: {type(error).__name__}: {error}")
        if self.webhook is not None and notify:
            self.webhook.send(row)
        self.say(
            f"{row['incident_id']} {row['state']}: {row['signal']} of {row['cohort']}, {row['observed']:.0f} where "
            f"{row['expected']:.0f} were expected, {row['impacted_sessions']} sessions"
        )

    def _tell_again(self) -> None:
        """What was to be told when the last process ended: nobody knows whether it was. Each incident's newest row, by
        the key of its last change, so that a receiver tells a repeat."""
        for row in sorted((self.books.rows[key] for key in self.books.unsure), key=lambda row: row["updated_at"]):
            key = row["incident_id"]
            told = self._may_be_told(row)(_named(row["cohort"]))
            if self.webhook is not None:
                row = row if told else {**row, **_NOTHING_TOLD}
                self.webhook.send(row, self.books.changes.get(key, row["revision"]))
        self.books.unsure.clear()
        self._forget()

    # -- the two ways of running ----------------------------------------------------------------------------------

    def replay(self, day: date) -> list[dict[str, Any]]:
        """Go through a UTC day that lies in the topic, having learned from the days before it; the rows of the
        incidents that opened in it. What the topic knows of one already stays as it is.

        Raises:
            InputMissing: no counters of the day, or as `learn`.
        """
        self.past = True
        begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        self.sessions_until_s = begin + DAY_S
        with self._open():
            self._take(consume.messages(catalogue.QOE_STEP, self.settings))
            end = self._counted_until(day, begin)
            self.rows = {key: value for key, value in self.rows.items() if _step_of(key) < end}
            self._gather()
            self.learn(begin)
            self.arm(begin)
            for at, cells in self._steps(begin, end):
                self.judge(at, cells)
            self.producer.flush()
        opened = (self.books.rows[key] for key in self.ids.values() if key in self.books.rows)
        return sorted((row for row in opened if _s(row["opened_at"]) >= begin), key=lambda row: row["opened_at"])

    def _counted_until(self, day: date, begin: int) -> int:
        """The end of a day that lies in the topic, or of its last step there: what has not come is no outage."""
        newest = max((at for at in map(_step_of, self.rows) if at <= self.wall()), default=-1)
        if newest < begin:
            there = f"its newest are of {_at(newest):%Y-%m-%d %H:%M:%S}" if newest >= 0 else "it is empty"
            name = topics.real_name(catalogue.QOE_STEP, self.settings)
            raise InputMissing(f"topic {name} holds no counters of {day} or later: {there}")
        if newest + STEP_S < begin + DAY_S:
            self.say(f"the counters of {day} end at {_at(newest + STEP_S):%H:%M:%S}: nothing is judged after that")
        return min(newest + STEP_S, begin + DAY_S)

    def _steps(self, low_s: int, high_s: int) -> Iterator[tuple[int, np.ndarray]]:
        """(start, counters by cell) of every step; by half hours, so that a day never stands dense in memory."""
        for begin in range(low_s, high_s, BIN_S):
            block = self.grid.sums(begin, min(begin + BIN_S, high_s), STEP_S, self.columns)
            for i, cells in enumerate(block):
                yield begin + i * STEP_S, cells

    def run(self, stop: Callable[[], bool]) -> None:
        """Follow the counters until `stop()`.

        Raises:
            InputMissing: no topic, or fewer than six hours of counters.
            ServiceUnavailable: no broker.
        """
        self.following = True
        with self._open():
            self._take(consume.messages(catalogue.QOE_STEP, self.settings))
            newest = self._gather()
            begin, self.caught_up_s = newest - LOUD_S, newest
            self.learn(begin)
            self.arm(begin)
            self._tell_again()
            with clients.reaching(self.settings):
                self._follow(stop, begin, newest)

    def _follow(self, stop: Callable[[], bool], done: int, newest: int) -> None:
        """Poll counters and commands, judge what is complete."""
        consumer = clients.consumer(self.settings)
        try:
            parts = {
                t.name: topics.partitions(t, self.settings) for t in (catalogue.QOE_STEP, catalogue.INCIDENT_COMMAND)
            }
            consumer.assign([p for found in parts.values() for p in found])
            for partition in parts[catalogue.QOE_STEP.name]:
                consumer.seek(partition, self.offsets[partition])
            consumer.seek_to_beginning(*parts[catalogue.INCIDENT_COMMAND.name])
            commands = topics.real_name(catalogue.INCIDENT_COMMAND, self.settings)
            pace = Pace(self._taken_in, self.say, self.wall)
            while not stop():
                fresh: dict[bytes, bytes] = {}
                for found in consumer.poll(timeout_ms=int(POLL_S * 1_000)).values():
                    told = [record for record in found if record.value is not None]
                    if told and told[0].topic == commands:
                        self._listen([record.value for record in told], [record.offset for record in told])
                    else:
                        fresh.update((record.key or b"", record.value) for record in told)
                if fresh:
                    newest = max(newest, self._add(fresh, done))
                if self.ahead:
                    newest = max(newest, self._begun())
                complete = pace.complete(newest, done)
                for at, cells in self._steps(done, complete):
                    self.judge(at, cells)
                if self.commands and complete <= done and done >= self.caught_up_s:
                    self._say_words(done)
                done = max(done, complete)
                age_s = done - self.learned_s
                if age_s > RELEARN_S or (self.unknown_cells and age_s > NEW_CELLS_S):
                    self._again(done)
        finally:
            consumer.close()

    def _taken_in(self, before_s: int) -> bool:
        group = plan.group(self.settings)
        return topics.taken_in((catalogue.PLAYBACK_EVENT, catalogue.CMCD), group, before_s, self.settings)

    def _listen(self, words: list[bytes], offsets: list[int]) -> None:
        wrong: list[Exception] = []
        for word, offset in zip(words, offsets, strict=True):
            found = _plain(consume.readable([word], "incident_command", wrong.append))
            self.commands += [row | {"offset": offset} for row in found]
        self._leave_out(catalogue.INCIDENT_COMMAND, wrong)

    def _say_words(self, at_s: int) -> None:
        for command in self.commands:
            self._obey(command, at_s)
        self.commands.clear()

    def _again(self, done: int) -> None:
        """Learn anew: a day has passed, or cells were seen that history did not have. What came of live incidents since
        their newest rows nobody judges again, so it goes along."""
        held = {self.ids[incident.number]: incident for incident in self.ledger.live}
        self.unknown_cells = 0
        self._gather()
        self.learn(done)
        self.arm(done)
        for incident in self.ledger.live:
            if before := held.get(self.ids[incident.number]):
                incident.excess, incident.evidence_s, incident.updated_s = before.excess, before.evidence_s, done

    def _add(self, fresh: dict[bytes, bytes], done: int) -> int:
        """Fresh counters into the grid; the newest step among them. What a judged step still gets counts in the next
        one."""
        self.rows.update(fresh)
        frame = self._counters(fresh.values())
        at_s = (frame["step_at"].astype("int64") // 1_000).to_numpy()
        keys = list(frame[list(DIMENSIONS)].itertuples(index=False, name=None))
        self._widen(keys)
        cell = np.array([self.code.get(key, -1) for key in keys], dtype=np.int64)
        new = frame[self.columns].assign(at_s=at_s, cell=cell)
        kept = self.grid.steps[self.grid.steps["at_s"] >= done - 2 * BEFORE_S]
        new = new[(new["cell"] >= 0) & (new["at_s"] >= done - LATE_S)]
        self._count_late(kept, new[new["at_s"] < done])
        steps = pd.concat([kept, new], ignore_index=True).drop_duplicates(["at_s", "cell"], keep="last")
        self.grid = Grid(self.grid.cells, steps)
        return self._begun(set(at_s.tolist()))

    def _count_late(self, kept: pd.DataFrame, new: pd.DataFrame) -> None:
        """What came for judged steps, less what was there when they were judged."""
        if not len(new):
            return
        by = ["at_s", "cell"]
        there = kept[kept["at_s"] >= new["at_s"].min()]
        rows, held = (x.drop_duplicates(by, keep="last").set_index(by)[self.columns] for x in (new, there))
        before = held.reindex(rows.index, fill_value=0)
        for cell, more in (rows - before).groupby(level="cell").sum().iterrows():
            self.late[cell] = self.late.get(cell, 0.0) + more.to_numpy(dtype=np.float64)

    def _take(self, found: Iterator[consume.Message]) -> None:
        self.offsets = dict.fromkeys(topics.partitions(catalogue.QOE_STEP, self.settings), 0)
        for message in found:
            self.offsets[TopicPartition(message.topic, message.partition)] = message.offset + 1
            if message.key is not None and message.value is not None:
                self.rows[message.key] = message.value

    def _open(self) -> _Producing:
        wrong: list[Exception] = []
        held: dict[bytes, bytes] = {}
        for message in consume.messages(catalogue.INCIDENT, self.settings):
            if message.key is not None and message.value is not None:
                held[message.key] = message.value
                if WORD in message.headers:
                    self.books.words[message.key.decode()] = int(message.headers[WORD])
                if CHANGE in message.headers:
                    self.books.changes[message.key.decode()] = int(message.headers[CHANGE])
        rows = _plain(consume.readable(held.values(), "incident", wrong.append))
        for row in rows:  # an older process told what is not finite
            row.update({name: _finite(value) for name, value in row.items() if isinstance(value, float)})
        self.books.rows = {row["incident_id"]: row for row in rows}
        if self.webhook is not None and not self.past:
            since_s = max((_s(row["updated_at"]) for row in rows), default=0) - AGAIN_S
            live = {row["incident_id"] for row in self.books.live()}
            self.books.unsure = live | {row["incident_id"] for row in rows if _s(row["updated_at"]) >= since_s}
        self._leave_out(catalogue.INCIDENT, wrong)
        return _Producing(self)


class _Producing:
    """A producer for the life of a run; what is queued for the webhook is delivered at the end."""

    def __init__(self, alerts: Alerts) -> None:
        self.alerts = alerts

    def __enter__(self) -> KafkaProducer:
        self.alerts.producer = clients.producer(self.alerts.settings)
        return self.alerts.producer

    def __exit__(self, *_: object) -> None:
        self.alerts.producer.close()
        if self.alerts.webhook is not None:
            self.alerts.webhook.close()


def incidents(settings: Settings) -> list[dict[str, Any]]:
    """Every incident on the topic, newest first."""
    held = consume.newest(consume.messages(catalogue.INCIDENT, settings)).values()
    rows = _plain(consume.readable(held, "incident", lambda error: LOG.warning("an incident is left out: %s", error)))
    return sorted(rows, key=lambda row: (row["opened_at"], row["incident_id"]), reverse=True)


def incident(settings: Settings, incident_id: str) -> dict[str, Any]:
    """The newest row of one incident.

    Raises:
        InputMissing: there is no such incident.
    """
    known = {row["incident_id"]: row for row in incidents(settings)}
    if incident_id not in known:
        near = difflib.get_close_matches(incident_id, known, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]}?" if near else "`matinee alerts list --all` shows those there are"
        raise InputMissing(f"no incident {incident_id!r} among {len(known)}; {hint}")
    return known[incident_id]


def command(settings: Settings, incident_id: str, action: str, by: str, until: datetime | None = None) -> None:
    """Say something of an incident; the alert process takes it in.

    Raises:
        InputMissing: there is no such incident.
        UsageError: it is over; a word to come would be of no effect.
    """
    known = incident(settings, incident_id)
    if known["state"] == State.RESOLVED.value and action != "resolve":
        over = known["resolved_at"] or known["updated_at"]
        raise UsageError(
            f"incident {incident_id} is over since {over:%Y-%m-%d %H:%M:%S} UTC, no word changes it: "
            "`matinee alerts list` shows those that are not"
        )
    row = {
        "incident_id": incident_id,
        "action": action,
        "until_at": until,
        "given_at": _at(int(time.time())),
        "given_by": by,
    }
    with clients.reaching(settings):
        producer = clients.producer(settings)
        try:
            name = topics.real_name(catalogue.INCIDENT_COMMAND, settings)
            producer.send(name, key=incident_id.encode(), value=wire.encode_one("incident_command", row)).get(30)
        finally:
            producer.close()


def _inside(sessions: pd.DataFrame, name: Name) -> np.ndarray:
    """Which sessions are of a cohort."""
    inside = np.ones(len(sessions), dtype=bool)
    for dimension, value in name:
        inside &= (sessions[dimension] == value).to_numpy()
    return inside


def _name(cohort: Mapping[Any, str]) -> Name:
    return tuple((d, cohort[d]) for d in DIMENSIONS if d in cohort)


def _named(text: str) -> Name:
    """The name of a cohort's label; values may hold spaces."""
    parts = re.split(rf"(?:^| )({'|'.join(DIMENSIONS)})=", text)
    return _name(dict(zip(parts[1::2], parts[2::2], strict=True)))


def _slug(name: Name) -> str:
    """Part of an incident's id: ASCII without spaces, whatever a provider is called."""
    return "+".join(quote(value, safe="") for _, value in name) or "everything"


def _profiles(sessions: pd.DataFrame, sets: tuple[tuple[str, ...], ...]) -> dict[Name, int]:
    """Distinct profiles of every cohort among the sessions."""
    out: dict[Name, int] = {}
    for chosen in sets:
        by = [d for d in DIMENSIONS if d in chosen]
        for key, count in sessions.groupby(by)["profile_id"].nunique().items():
            values = key if isinstance(key, tuple) else (key,)
            out[tuple(zip(by, map(str, values), strict=True))] = int(count)
    return out


def _step_of(key: bytes) -> int:
    """Start of the step that a counter's key begins with; -1 where it begins with none."""
    word = key.split(b"|", 1)[0]
    return int(word) // 1_000 if word.isdigit() else -1


def _at(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _finite(value: float) -> float:
    """The number, at most `MOST` either way; 0 where it is none."""
    return 0.0 if value != value else float(min(max(value, -MOST), MOST))


def _s(at: Any) -> int:
    return int(at.timestamp())


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame as `wire.encode_one` takes them."""
    rows = frame.to_dict("records")
    for row in rows:
        for key, value in row.items():
            if value is pd.NaT:
                row[key] = None
            elif isinstance(value, pd.Timestamp):
                row[key] = value.to_pydatetime()
            elif isinstance(value, np.ndarray):
                row[key] = value.tolist()
    return rows
