"""From evidence to incidents: one fault, one incident, named after the cohort that explains it.

A fault of one cohort shows in its ancestors (diluted), in its descendants (in part) and in whatever overlaps it. The
greatest likelihood ratio is the cohort's own, because an ancestor has the same excess among more noise and a
descendant a part of it; so that one is named, what its excess explains is put under it, and only an alarm that
stands after the excess is taken away opens another incident.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy import special

from models.incident.cohorts import Name, label
from models.incident.detect import Detector, Evidence, log_tail

F8 = NDArray[np.float64]


SHARE_ERROR = 0.1
"""What share of a cohort lies in another that cuts it is known to so much: it is an average over the history."""


class State(Enum):
    """The life of an incident."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    MUTED = "muted"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A planned window: incidents whose cohort lies in `cohort` are born muted. Times are Unix seconds.

    `cells` marks the cells of `cohort`, (cells,): one cohort has several names. None: its name alone is looked at.
    """

    cohort: Name
    from_s: int
    until_s: int
    cells: NDArray[np.bool_] | None = field(default=None, compare=False)

    def covers(self, cohort: Name, at_s: int, cells: NDArray[np.int32] | None = None) -> bool:
        """Whether the cohort (its name, its cells) is this one or part of it, and the moment inside."""
        named = set(self.cohort) <= set(cohort)
        held = self.cells is not None and cells is not None and len(cells) > 0 and bool(self.cells[cells].all())
        return self.from_s <= at_s < self.until_s and (named or held)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A cohort that may be the cause, with its strength in normal deviations."""

    cohort: int
    score: float


@dataclass(slots=True)
class Incident:
    """One fault. Times are Unix seconds; `cohort` is an index of the detector's cohorts.

    `count` and `mean` are of the named cohort over the strongest window; `excess` adds up what came beyond (volumes:
    what is missing) since the onset.
    """

    number: int
    cohort: int
    name: Name
    signal: str
    onset_s: int
    opened_s: int
    state: State
    score: float
    log_p: float
    window_s: int
    count: float
    mean: float
    suspects: tuple[Suspect, ...]
    evidence_s: int
    updated_s: int
    signals: set[str] = field(default_factory=set)
    resolved_s: int | None = None
    muted_until_s: int | None = None
    excess: float = 0.0

    @property
    def live(self) -> bool:
        """Whether the fault is still there as far as anybody knows."""
        return self.state is not State.RESOLVED

    @property
    def title(self) -> str:
        """The incident in one line."""
        return f"{self.signal} of {label(self.name)}"


@dataclass(frozen=True, slots=True)
class Rules:
    """How incidents are kept. `keep_score`: evidence this strong keeps one open; it resolves `resolve_after_s` after
    the last. `settle_s`: within this time of its opening an incident may be renamed after a stronger cohort.
    `explained_p`: an alarm that is no rarer than this once the excess is taken away belongs to the incident. `sure`:
    how probable its cause must be for an incident to open at once; one in doubt waits so long as `wait_s` says, the
    first where its window is up to `hurry_s` long, else the second."""

    keep_score: float = 4.5
    resolve_after_s: int = 600
    settle_s: int = 120
    explained_p: float = 1e-7
    sure: float = 0.99
    hurry_s: int = 90
    wait_s: tuple[int, int] = (10, 120)
    suspects: int = 5
    maintenance: tuple[Maintenance, ...] = ()


class Ledger:
    """The incidents of one detector, in the order of their opening."""

    def __init__(self, detector: Detector, rules: Rules | None = None) -> None:
        self.detector, self.rules = detector, rules or Rules()
        self.incidents: list[Incident] = []
        self.next_number = 0
        self._shares: dict[int, F8] = {}
        self._traffic = detector.cohorts.traffic()
        self._doubts: dict[int, tuple[int, int]] = {}
        self.closed: list[tuple[int, int]] = []
        """Cohorts that somebody has called over, and when."""

    @property
    def live(self) -> list[Incident]:
        """Incidents that are not resolved."""
        return [incident for incident in self.incidents if incident.live]

    def update(self, at_s: int, evidence: Evidence) -> list[Incident]:
        """Take in the evidence of the step that ended at `at_s`; the incidents that were opened, changed or
        resolved."""
        live = self.live
        if not live and not evidence.alarm.any():
            return []
        changed: dict[int, Incident] = {}
        for incident in live:
            if self._grow(incident, at_s, evidence):
                changed[incident.number] = incident
        evidence = self._since_closed(at_s, evidence)
        left = _strongest(evidence.take(evidence.alarm))
        for incident in self.live:
            left = self._unexplained(incident.cohort, left)
        while len(left):
            first = left.take(np.array([int(np.argmax(left.score))]))
            alarms, best = self._likeliest(first, evidence)
            row = alarms.take(np.array([best]))
            inner = self._inside(row)
            left = left.take(left.cohort != first.cohort[0])
            if inner is not None and not self._widen(inner, row, at_s):
                continue
            if inner is None and self._in_doubt(at_s, alarms, best):
                left = self._unexplained(int(row.cohort[0]), left)
                continue
            incident = inner or self._open(at_s, alarms, best, evidence)
            changed[incident.number] = incident
            left = self._unexplained(incident.cohort, left)
        return list(changed.values())

    def _since_closed(self, at_s: int, evidence: Evidence) -> Evidence:
        """Evidence without that which reaches back before somebody called a cohort over and is explained by it: nothing
        opens on that. A fault that goes on is told by the windows that have begun since."""
        longest_s = int(self.detector.windows[-1]) * self.detector.step_s
        self.closed = [(cohort, since_s) for cohort, since_s in self.closed if at_s - since_s < longest_s]
        for cohort, since_s in self.closed:
            old = at_s - evidence.window_s < since_s
            kept = [evidence.take(~old), self._unexplained(cohort, evidence.take(old))]
            evidence = Evidence(*(np.concatenate([getattr(p, n) for p in kept]) for n in Evidence.__slots__))
        return evidence

    def _inside(self, row: Evidence) -> Incident | None:
        """The strongest live incident of the same signal whose cohort lies in that of a row; a muted one hides
        nothing."""
        cohort, name = int(row.cohort[0]), self.detector.models[int(row.signal[0])].signal.name
        inner = [
            incident for incident in self.live
            if name in incident.signals and incident.state is not State.MUTED
            and self._share(incident.cohort)[cohort] > 0.999
        ]  # fmt: skip
        return max(inner, key=lambda incident: incident.score, default=None)

    def _widen(self, incident: Incident, row: Evidence, at_s: int) -> bool:
        """An alarm around an incident that the incident does not explain: it was named too narrowly if the wider cohort
        is the likelier cause, and is one incident with it either way. Not by a step from before what is known of it."""
        if at_s < incident.updated_s:
            return False
        own = self.detector.window(int(row.signal[0]), int(row.window_s[0]), incident.cohort)
        if _likelihood(row.count, row.mean)[0] <= _likelihood(*map(np.asarray, own)):
            return False
        self._call(incident, int(row.cohort[0]))
        incident.evidence_s = at_s
        self._describe(incident, row, 0)
        return True

    def _grow(self, incident: Incident, at_s: int, evidence: Evidence) -> bool:
        """Bring one incident up to date; whether anything worth telling changed. A step that it knows (after a restart
        steps are judged again, also from before its opening) tells nothing of it."""
        if at_s <= incident.updated_s:
            return False
        own = evidence.take(evidence.cohort == incident.cohort)
        own = own.take(own.score >= self.rules.keep_score)
        before = (incident.signals.copy(), incident.state, incident.cohort, incident.muted_until_s)
        if len(own):
            incident.evidence_s = at_s
            best = int(np.argmax(own.score))
            names = {self.detector.models[i].signal.name for i in own.signal}
            incident.signals |= names
            if own.score[best] > incident.score:
                self._describe(incident, own, best)
        if at_s - incident.opened_s <= self.rules.settle_s:
            self._rename(incident, at_s, evidence)
        self._add_excess(incident)
        if incident.muted_until_s is not None and incident.state is State.MUTED and at_s >= incident.muted_until_s:
            self._unmute(incident, incident.muted_until_s, at_s)
        if at_s - incident.evidence_s > self.rules.resolve_after_s:
            incident.state, incident.resolved_s = State.RESOLVED, at_s
        incident.updated_s = at_s
        return before != (incident.signals, incident.state, incident.cohort, incident.muted_until_s)

    def _unmute(self, incident: Incident, until_s: int, at_s: int) -> None:
        """A mute is over; where a window was and the next one has begun, until the end of that."""
        planned = self._planned(incident.cohort, until_s - 1) == until_s
        incident.muted_until_s = self._planned(incident.cohort, at_s) if planned else None
        if incident.muted_until_s is None:
            incident.state = State.OPEN

    def _describe(self, incident: Incident, rows: Evidence, best: int) -> None:
        incident.signal = self.detector.models[int(rows.signal[best])].signal.name
        incident.score, incident.log_p = float(rows.score[best]), float(rows.log_p[best])
        incident.window_s, incident.count, incident.mean = (
            int(rows.window_s[best]), float(rows.count[best]), float(rows.mean[best])
        )  # fmt: skip

    def _rename(self, incident: Incident, at_s: int, evidence: Evidence) -> None:
        """While it is young: the strongest cohort that explains the one named so far gives the name."""
        related = evidence.take(self._related(incident.cohort)[evidence.cohort])
        incident.suspects = self._ranked(related) or incident.suspects
        taken = {other.cohort for other in self.live if other is not incident}
        for i in _guilty(related):
            cohort = int(related.cohort[i])
            if cohort == incident.cohort:
                return
            own = _strongest(related.take(related.cohort == incident.cohort))
            if cohort not in taken and not len(self._unexplained(cohort, own)):
                self._call(incident, cohort)
                incident.evidence_s = at_s
                self._describe(incident, related, int(i))
                return

    def _call(self, incident: Incident, cohort: int) -> None:
        """Another cohort gives the name; whether it is born muted is then asked of that one. The word of a person
        stays."""
        before = self._planned(incident.cohort, incident.opened_s)
        incident.cohort, incident.name = cohort, self.detector.cohorts.names[cohort]
        after = self._planned(cohort, incident.opened_s)
        if incident.state is State.OPEN and before is None and after is not None:
            incident.state, incident.muted_until_s = State.MUTED, after
        elif incident.state is State.MUTED and incident.muted_until_s == before:
            incident.state = State.OPEN if after is None else State.MUTED
            incident.muted_until_s = after

    def _planned(self, cohort: int, at_s: int) -> int | None:
        """Until when an incident of a cohort that opens now is born muted; None: it is not."""
        cohorts = self.detector.cohorts
        name, cells = cohorts.names[cohort], cohorts.cells(cohort)
        return max((m.until_s for m in self.rules.maintenance if m.covers(name, at_s, cells)), default=None)

    def _related(self, cohort: int) -> NDArray[np.bool_]:
        """Cohorts that share traffic with this one."""
        return np.asarray(self._share(cohort) > 0)

    def _share(self, cohort: int) -> F8:
        if cohort not in self._shares:
            if len(self._shares) > 256:
                self._shares.clear()
            self._shares[cohort] = self.detector.cohorts.share_inside(cohort)
        return self._shares[cohort]

    def _ranked(self, rows: Evidence) -> tuple[Suspect, ...]:
        """Cohorts by their best score, strongest first."""
        seen: dict[int, float] = {}
        for i in _guilty(rows):
            seen.setdefault(int(rows.cohort[i]), float(rows.score[i]))
            if len(seen) == self.rules.suspects:
                break
        return tuple(Suspect(cohort, score) for cohort, score in seen.items())

    def _likeliest(self, first: Evidence, evidence: Evidence) -> tuple[Evidence, int]:
        """The evidence around an alarm, and which of its rows is the likeliest cause that explains it."""
        related = evidence.take(self._related(int(first.cohort[0]))[evidence.cohort])
        taken = {other.cohort for other in self.live}
        best = next((int(i) for i in _guilty(related) if int(related.cohort[i]) == int(first.cohort[0])
                     or (int(related.cohort[i]) not in taken
                         and not len(self._unexplained(int(related.cohort[i]), first)))), 0)  # fmt: skip
        return related, best

    def _in_doubt(self, at_s: int, alarms: Evidence, best: int) -> bool:
        """Whether an incident had better wait for its name: its cohort is not yet the sure cause, and time is left."""
        cohort, window_s = int(alarms.cohort[best]), int(alarms.window_s[best])
        around = self._related(cohort)
        doubts = [(c, *times) for c, times in self._doubts.items() if around[c]]
        since = min((began for _, began, last in doubts if at_s - last <= self.rules.wait_s[1]), default=at_s)
        for c, _, _ in doubts:
            del self._doubts[c]
        wait_s = self.rules.wait_s[window_s > self.rules.hurry_s]
        if at_s - since >= wait_s or self._probable(alarms, best) >= self.rules.sure:
            return False
        self._doubts[cohort] = (since, at_s)
        return True

    def _probable(self, rows: Evidence, best: int) -> float:
        """How probable a row's cohort is as the cause among all of its signal and window, all equally so before.

        Source: quasi-likelihood (Wedderburn 1974, Biometrika 61(3)): the Poisson likelihood ratio over the variance in
        means, as wide counts say less than they seem to.
        """
        model = self.detector.models[int(rows.signal[best])]
        same = rows.take((rows.signal == rows.signal[best]) & (rows.window_s == rows.window_s[best]))
        own, mean = rows.cohort[[best]], np.maximum(rows.mean[[best]], 1e-300)
        wide = model.spread.of(own).variance(mean, rows.window_s[[best]].astype(float)) / mean
        beyond = _likelihood(same.count, same.mean) - _likelihood(rows.count[[best]], rows.mean[[best]])
        return float(1.0 / np.exp(np.minimum(beyond / wide, 700.0)).sum())

    def _open(self, at_s: int, alarms: Evidence, best: int, evidence: Evidence) -> Incident:
        cohort = int(alarms.cohort[best])
        related = evidence.take(self._related(cohort)[evidence.cohort])
        name = self.detector.cohorts.names[cohort]
        muted_until_s = self._planned(cohort, at_s)
        own = alarms.cohort == cohort
        incident = Incident(
            number=self.next_number, cohort=cohort, name=name, signal="",
            onset_s=at_s - self.detector.began_s(int(alarms.signal[best]), int(alarms.window_s[best]), cohort),
            opened_s=at_s, state=State.OPEN if muted_until_s is None else State.MUTED, score=0.0, log_p=0.0,
            window_s=0, count=0.0, mean=0.0, suspects=self._ranked(related), evidence_s=at_s, updated_s=at_s,
            signals={self.detector.models[int(i)].signal.name for i in alarms.signal[own]},
            muted_until_s=muted_until_s,
        )  # fmt: skip
        self._describe(incident, alarms, best)
        incident.excess = abs(incident.count - incident.mean)
        self.next_number += 1
        self.incidents.append(incident)
        return incident

    def _add_excess(self, incident: Incident) -> None:
        signal = next(i for i, m in enumerate(self.detector.models) if m.signal.name == incident.signal)
        count, mean = self.detector.window(signal, self.detector.step_s, incident.cohort)
        beyond = count - mean
        incident.excess += -beyond if self.detector.models[signal].signal.volume else beyond

    def _unexplained(self, by: int, rows: Evidence) -> Evidence:
        """Rows that are still rare once the excess of cohort `by` is taken out of them."""
        share = self._share(by)[rows.cohort]
        of_row = share * self._traffic[by] / np.maximum(self._traffic[rows.cohort], 1e-300)
        stands = share <= 0
        partly = np.flatnonzero((of_row < 0.95) & ~stands)
        for window_s in np.unique(rows.window_s[partly]):
            everything, rest = self.detector.without(by, int(window_s))
            for signal in np.unique(rows.signal[partly]):
                i = partly[(rows.signal[partly] == signal) & (rows.window_s[partly] == window_s)]
                model, c = self.detector.models[int(signal)], rows.cohort[i]
                if model.signal.den is None:
                    gone = share[i] * self.detector.usual(int(signal), int(window_s), by)
                    gone = np.where(share[i] < 0.999, (1.0 + SHARE_ERROR) * gone, gone)
                    mean = np.maximum(rows.mean[i] - gone, 0.01 * rows.mean[i])
                else:
                    den = self.detector.column[model.signal.den]
                    mean = rows.mean[i] * rest[c, den] / np.maximum(everything[c, den], 1e-300)
                count = np.maximum(rest[c, self.detector.column[model.signal.num]], 0.0)
                log_p = log_tail(model, c, count, mean, rows.window_s[i].astype(float))
                stands[i] = log_p < np.log(self.rules.explained_p)
        return rows.take(stands)


def _guilty(rows: Evidence) -> NDArray[np.int64]:
    """Rows of the strongest row's signal and window, the likeliest cause first.

    Ranked by the Poisson likelihood ratio, not by the tail: what makes counts spread more than by chance is mostly
    common to a cohort and its parts, so it must not speak for the part.
    """
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    best = int(np.argmax(rows.score))
    same = np.flatnonzero((rows.signal == rows.signal[best]) & (rows.window_s == rows.window_s[best]))
    ratio = _likelihood(rows.count[same], rows.mean[same])
    return np.asarray(same[np.argsort(-ratio, kind="stable")])


def _likelihood(count: F8, mean: F8) -> F8:
    """Poisson log likelihood ratio of a count at its own rate over its mean."""
    k, m = np.maximum(count, 0.0), np.maximum(mean, 1e-300)
    return np.asarray(special.xlogy(k, k / m) - (k - m))


def _strongest(rows: Evidence) -> Evidence:
    """Of every cohort its strongest row."""
    order = np.argsort(-rows.score, kind="stable")
    _, first = np.unique(rows.cohort[order], return_index=True)
    return rows.take(order[np.sort(first)])


def commanded(incident: Incident, action: str, at_s: int, until_s: int | None = None) -> Incident:
    """The incident after a person's word: ``ack``, ``mute`` (until a moment), ``resolve``. Idempotent.

    The last word holds: a mute ends where the newest one says, one that is over already is none.

    Raises:
        ValueError: no such action, or a mute without an end.
    """
    if incident.state is State.RESOLVED:
        return incident
    if action == "ack":
        return replace(incident, state=State.ACKNOWLEDGED, muted_until_s=None, updated_s=at_s)
    if action == "mute":
        if until_s is None:
            raise ValueError("mute needs the moment until which")
        if until_s <= at_s:
            muted = incident.state is State.MUTED
            return replace(incident, state=State.OPEN, muted_until_s=None, updated_s=at_s) if muted else incident
        return replace(incident, state=State.MUTED, muted_until_s=until_s, updated_s=at_s)
    if action == "resolve":
        return replace(incident, state=State.RESOLVED, resolved_s=at_s, updated_s=at_s)
    raise ValueError(f"action is {action!r}; it must be ack, mute or resolve")
