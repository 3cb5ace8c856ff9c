"""What the alert process does over time, without a broker: long faults, restarts, pauses of the stream, new cells."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError

from bench import qoe_alerts
from conf.errors import InputMissing
from models.incident.learn import DIMENSIONS
from schemas import records, samples, wire
from streaming import consume, pace
from streaming.alerts import LOUD_S, STEP_S, Alerts
from tests.streaming.test_alert_cells import BEGIN_S, CELLS, HOURS, sessions, steps_of, watching

T = BEGIN_S + HOURS * 3_600
"""Where the learned hours end."""
Cell = tuple[str, ...]


def counted(
    seed: int,
    until_s: int,
    *,
    rate: float = 1.2,
    hurt: Collection[int] = (),
    fault: tuple[int, int] = (T, T),
    gone: tuple[int, int] = (T, T),
    move: tuple[Collection[int], int, Callable[[Cell], Cell]] | None = None,
) -> pd.DataFrame:
    """Rows of `qoe_step`: cells `hurt` fail within `fault`; within `gone` no beacon of anybody comes; from a moment
    on, some cells are others."""
    rng = np.random.default_rng(seed)
    at = np.arange(BEGIN_S, until_s, STEP_S)
    parts = []
    for i, cell in enumerate(CELLS):
        attempts = rng.poisson(rate, len(at))
        bad = (i in hurt) & (at >= fault[0]) & (at < fault[1])
        failures = rng.binomial(attempts, np.where(bad, 0.95, 0.02))
        attempts = np.where((at >= gone[0]) & (at < gone[1]), 0, attempts)
        failures = np.minimum(failures, attempts)
        columns = [np.full(len(at), value, dtype=object) for value in cell]
        if move is not None and i in move[0]:
            columns = [np.where(at >= move[1], new, old) for new, old in zip(move[2](cell), columns, strict=True)]
        parts.append(steps_of(at, columns, attempts, failures))
    frame = pd.concat(parts, ignore_index=True)
    return frame[frame["attempts"] > 0].sort_values("step_at", kind="stable").reset_index(drop=True)


def keyed(frame: pd.DataFrame) -> dict[bytes, bytes]:
    keys = [key.encode() for key in wire.message_keys("|".join(DIMENSIONS), frame)]
    ms = frame["step_at"].astype("int64")
    values = wire.encode_frame("qoe_step", None, frame)
    return {b"%d|%s" % (at, key): value for at, key, value in zip(ms, keys, values, strict=True)}


def between(frame: pd.DataFrame, low_s: int, high_s: int) -> pd.DataFrame:
    at = frame["step_at"].astype("int64") // 1_000
    return frame[(at >= low_s) & (at < high_s)]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Alerts]:
    people = sessions([40] * len(CELLS))

    def start(frame: pd.DataFrame, at_s: int = T, known: dict[str, dict[str, Any]] | None = None) -> Alerts:
        alerts = watching([], people, monkeypatch)
        alerts.rows = keyed(frame)
        alerts.books.rows = dict(known or {})
        alerts._gather()
        alerts.learn(at_s)
        alerts.arm(at_s)
        return alerts

    return start


def go(alerts: Alerts, low_s: int, high_s: int, feed: pd.DataFrame | None = None) -> list[dict[str, Any]]:
    """Judge step by step; of `feed` each step comes in time."""
    steps = {} if feed is None else dict(list(feed.groupby(feed["step_at"].astype("int64") // 1_000)))
    for at in range(low_s, high_s, STEP_S):
        if at in steps:
            alerts._add(keyed(steps[at]), at)
        for begin, cells in alerts._steps(at, at + STEP_S):
            alerts.judge(begin, cells)
    return alerts.producer.rows  # type: ignore[attr-defined,no-any-return]


def test_what_explained_a_long_fault_is_still_told_at_its_end(
    started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end, what was before the onset is no longer held: the first explanation stays."""
    monkeypatch.setattr("streaming.alerts.BEFORE_S", 1_200)
    frame = counted(3, T + 4_800, rate=0.8, hurt={0}, fault=(T + 60, T + 3_000))
    rows = go(started(between(frame, 0, T)), T, T + 4_800, frame)
    assert len({row["incident_id"] for row in rows}) == 1
    assert (rows[0]["state"], rows[-1]["state"]) == ("open", "resolved")
    assert all(row["explanation"] for row in rows)


def test_a_restart_counts_no_step_twice(started: Callable[..., Alerts]) -> None:
    """The steps since the fall began are judged again; what is missing is what was missing before."""
    frame = counted(2, T + 900, rate=4, gone=(T + 60, T + 900))
    alerts = started(frame)
    row = [row for row in go(alerts, T, T + 800) if row["signal"] == "attempts"][-1]
    (incident,) = [i for i in alerts.ledger.incidents if alerts.ids[i.number] == row["incident_id"]]
    alerts._publish(incident)
    known, undisturbed = dict(alerts.books.rows), go(alerts, T + 800, T + 900) and incident.excess
    begin = T + 800 - LOUD_S
    again = started(frame, begin, known)
    go(again, begin, T + 900)
    (held,) = [i for i in again.ledger.incidents if again.ids[i.number] == row["incident_id"]]
    assert held.excess == pytest.approx(undisturbed, rel=0.1)
    assert known[row["incident_id"]]["excess"] > 3_000


def test_a_restart_gives_no_fault_another_name(started: Callable[..., Alerts]) -> None:
    """The half hour that is judged again holds another fault from before this one: it neither renames it nor lets it
    be opened a second time, and no row goes back in time."""
    web, alder = ({i for i, cell in enumerate(CELLS) if value in cell} for value in ("web", "alder-de"))
    before = counted(3, T + 1_000, hurt=web, fault=(T + 60, T + 240))
    after = counted(4, T + 1_500, hurt=alder, fault=(T + 1_100, T + 1_500))
    frame = pd.concat([before, between(after, T + 1_000, T + 1_500)], ignore_index=True)
    first = started(between(frame, 0, T))
    go(first, T, T + 1_400, frame)
    known, begin = dict(first.books.rows), T + 1_400 - LOUD_S
    assert {row["cohort"] for row in known.values()} == {"device=web", "isp=alder-de"}
    again = started(frame, begin, known)
    again.caught_up_s = T + 1_400
    rows = go(again, begin, T + 1_500)
    assert set(again.books.rows) == set(known), "one incident a fault"
    for row in rows:
        assert row["cohort"] == known[row["incident_id"]]["cohort"]
        assert row["updated_at"] > known[row["incident_id"]]["updated_at"]


def test_what_is_learned_anew_takes_nothing_from_an_incident(started: Callable[..., Alerts]) -> None:
    """Its row is up to five minutes old, or older where nothing grew: what came since is known to the process alone."""
    frame = counted(2, T + 1_200, rate=4, gone=(T + 60, T + 1_200))
    alerts = started(between(frame, 0, T))
    go(alerts, T, T + 590, frame)
    (before,) = [i for i in alerts.ledger.live if i.signal == "attempts"]
    key = alerts.ids[before.number]
    assert _at(alerts.books.rows[key]["updated_at"]) < before.updated_s
    alerts._again(T + 590)
    (after,) = [i for i in alerts.ledger.live if alerts.ids[i.number] == key]
    assert (after.excess, after.evidence_s, after.updated_s) == (before.excess, before.evidence_s, T + 590)
    assert after.excess > alerts.books.rows[key]["excess"]


def _at(moment: datetime) -> int:
    return int(moment.timestamp())


def test_suspects_outlive_a_restart_and_a_day(started: Callable[..., Alerts]) -> None:
    frame = counted(3, T + 2_400, rate=0.8, hurt={0}, fault=(T + 60, T + 2_000))
    first = started(between(frame, 0, T))
    key = go(first, T, T + 2_100, frame)[0]["incident_id"]
    known = dict(first.books.rows)
    assert len(known[key]["suspects"]) == 5
    begin = T + 2_100 - LOUD_S
    again = started(frame, begin, known)
    again.caught_up_s = T + 2_100
    for alerts, low_s in ((again, begin), (first, T + 2_100)):
        if alerts is first:
            alerts._again(low_s)
        go(alerts, low_s, T + 2_400)
        alerts._publish(alerts.ledger.live[0])
        row = alerts.books.rows[key]
        assert row["revision"] > known[key]["revision"] and row["suspects"] == known[key]["suspects"]


class Live:
    """The process on a clock of its own. Of every step a third is readable `pace.FRESH_S` after its begin, all so long
    after its end, unless `seen` says when instead; `taken_in` says up to where the stream has taken in its input."""

    def __init__(self, alerts: Alerts, feed: pd.DataFrame, patch: pytest.MonkeyPatch) -> None:
        self.alerts, self.feed, self.now, self.until = alerts, feed, float(T), T
        self.seen: Callable[[pd.DataFrame, pd.Series], Any] = lambda rows, when: when
        self.taken_in: Callable[[float], float] = lambda now: now
        self.delays: list[float] = []
        self.judged = 0.0
        patch.setattr("streaming.alerts.clients.consumer", lambda _: self)
        patch.setattr("streaming.alerts.topics.partitions", lambda *_: [])
        patch.setattr("streaming.alerts.topics.taken_in", lambda *a: a[2] <= self.taken_in(self.now))
        patch.setattr(alerts, "wall", lambda: self.now)
        patch.setattr(alerts, "judge", self.judge)

    def judge(self, at_s: int, cells: np.ndarray) -> None:
        self.delays.append(self.now - at_s - STEP_S)
        Alerts.judge(self.alerts, at_s, cells)
        self.judged += cells[:, self.alerts.columns.index("attempts")].sum()

    def assign(self, *_: object) -> None: ...

    seek = seek_to_beginning = assign

    def close(self) -> None: ...

    def poll(self, timeout_ms: int) -> dict[str, list[SimpleNamespace]]:
        self.now += timeout_ms / 1_000
        made = []
        while self.rows and self.rows[-1][0] <= self.now:
            _, key, value = self.rows.pop()
            made.append(SimpleNamespace(key=key, value=value, topic="qoe_step"))
        return {"all": made} if made else {}

    def go(self, until_s: int) -> list[dict[str, Any]]:
        feed = between(self.feed, T, until_s)
        at = feed["step_at"].astype("int64") / 1_000
        counters = ["attempts", "plays", "start_failures", "alive_ms"]
        third = feed.assign(**{name: feed[name] // 3 for name in counters})
        rows = []
        for part, begin in ((third, at), (feed, at + STEP_S)):
            when = self.seen(part, begin + pace.FRESH_S)
            rows += [(moment, *row) for moment, row in zip(when, keyed(part).items(), strict=True)]
        self.rows = sorted(rows, reverse=True)
        self.alerts._follow(lambda: self.now > until_s, T, T - STEP_S)
        return self.alerts.producer.rows  # type: ignore[attr-defined,no-any-return]


def total(frame: pd.DataFrame, low_s: int, high_s: int) -> int:
    return int(between(frame, low_s, high_s)["attempts"].sum())


def test_a_step_is_judged_complete_and_as_soon_as_the_bench_says(
    started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert qoe_alerts.VISIBLE_S is pace.VISIBLE_S
    frame = counted(6, T + 900)
    live = Live(started(between(frame, 0, T)), frame, monkeypatch)
    live.go(T + 600)
    assert max(live.delays) <= qoe_alerts.VISIBLE_S + 1e-6 and len(live.delays) == 59
    assert live.judged == total(frame, T, T + 590)


def test_a_word_is_obeyed_when_the_process_has_caught_up(
    started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words are read at once, half an hour is judged again first: a mute that ended in it is none."""
    frame = counted(3, T + LOUD_S + 600, hurt={0}, fault=(T + 60, T + LOUD_S + 600))
    first = started(between(frame, 0, T))
    (key,) = {row["incident_id"] for row in go(first, T, T + 300, frame)}
    again = started(frame, T, first.books.rows)
    again.caught_up_s = newest = T + LOUD_S
    live = Live(again, frame, monkeypatch)
    live.now = newest + 30.0
    word = {"incident_id": key, "action": "mute", "given_by": "t"}
    word |= {name: datetime.fromtimestamp(T + s, UTC) for name, s in (("given_at", 400), ("until_at", 600))}
    value = wire.encode_one("incident_command", word)
    said = [SimpleNamespace(key=key.encode(), value=value, topic="incident_command", offset=0)]
    live.rows = []
    monkeypatch.setattr("streaming.alerts.topics.real_name", lambda topic, _: topic.name)
    poll = lambda timeout_ms: Live.poll(live, timeout_ms) or ({"said": [said.pop()]} if said else {})  # noqa: E731
    monkeypatch.setattr(live, "poll", poll)
    again._follow(lambda: live.now > newest + 60, T, newest)
    assert not said and not again.commands
    assert [incident.state.value for incident in again.ledger.live] == ["open"]
    assert all(row["state"] == "open" for row in again.producer.rows)  # type: ignore[attr-defined]


def test_what_comes_after_its_step_was_judged_counts_in_the_next(
    started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = counted(6, T + 200)
    live = Live(started(between(frame, 0, T)), frame, monkeypatch)
    live.seen = lambda rows, when: when + np.where(rows["device"] == "tv", 8.0, 0.0)
    live.go(T + 300)
    assert live.judged == total(frame, T, T + 200)


@pytest.mark.parametrize("ahead_s", [40, 600, 3_500])
def test_one_clock_that_is_ahead_is_no_outage(
    ahead_s: int, started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector's clock is ahead for one POST: its counters are of a step to come. Until then nothing is missing."""
    frame = counted(6, T + 900, rate=8)
    live = Live(started(between(frame, 0, T)), frame, monkeypatch)
    one = between(frame, T + 200, T + 210).head(1)
    one = one.assign(step_at=one["step_at"] + pd.Timedelta(seconds=ahead_s), attempts=1)
    ((key, value),) = keyed(one.astype(frame.dtypes)).items()
    stray = [SimpleNamespace(key=key, value=value, topic="qoe_step")]
    poll = lambda timeout_ms: {  # noqa: E731
        **Live.poll(live, timeout_ms), **({"stray": [stray.pop()]} if stray and live.now > T + 212 else {})
    }  # fmt: skip
    monkeypatch.setattr(live, "poll", poll)
    assert live.go(T + 900) == [] and not stray
    assert max(live.delays) <= qoe_alerts.VISIBLE_S + 1e-6 and min(live.delays) >= pace.SETTLE_S
    kept = total(frame, T, T + 890)  # a message of the same key that comes later takes the stray one's place
    assert live.judged == kept


@pytest.mark.parametrize("behind_s", [5, 600])
def test_a_clock_of_this_machine_that_is_behind_delays_nothing_for_long(
    behind_s: int, started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = counted(6, T + 400, rate=8)
    live = Live(started(between(frame, 0, T)), frame, monkeypatch)
    monkeypatch.setattr(live.alerts, "wall", lambda: live.now - behind_s)
    live.alerts.timely_s = T - behind_s
    assert live.go(T + 400) == []
    assert live.judged == total(frame, T, T + 390)
    assert max(live.delays[5:]) <= qoe_alerts.VISIBLE_S + min(behind_s, STEP_S) + 1e-6


def test_a_start_waits_for_what_is_ahead_of_the_clock(
    started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins where the counters are, not where one wrong clock is."""
    frame = counted(6, T, rate=8)
    one = frame.tail(1).assign(step_at=pd.Timestamp(T + 2_400, unit="s", tz="UTC")).astype(frame.dtypes)
    alerts = started(pd.concat([frame, one], ignore_index=True))
    monkeypatch.setattr(alerts, "wall", lambda: T + 5.0)
    assert alerts._gather() == T - STEP_S


@pytest.mark.parametrize("skew_s", [0, 40])
def test_a_pause_of_the_stream_is_no_outage(
    skew_s: int, started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops for two minutes, events go on; afterwards some partitions are caught up sooner than others."""
    frame = counted(6, T + 900, rate=8)
    live = Live(started(between(frame, 0, T)), frame, monkeypatch)
    low, high = T + 300, T + 420
    until = lambda rows: np.where(rows["device"] == "tv", high + skew_s, high) + pace.FRESH_S  # noqa: E731
    live.seen = lambda rows, when: np.where(when < low, when, np.maximum(until(rows), when))
    live.taken_in = lambda now: min(now, low - 1) if now < high + skew_s else now
    assert live.go(T + 900) == []
    assert live.judged == total(frame, T, T + 890)
    silent, again = [text for text in live.alerts.said if "the stream" in text]  # type: ignore[attr-defined]
    assert "silent since 2026-01-05 07:05:00" in silent and "counts again" in again


def test_beacons_that_vanish_while_the_stream_lives_are_an_outage(
    started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = counted(6, T + 900, rate=8, gone=(T + 300, T + 900))
    live = Live(started(between(frame, 0, T)), frame, monkeypatch)
    rows = live.go(T + 500)
    assert [(row["cohort"], row["signal"]) for row in rows] == [("everything", "attempts")]
    assert rows[0]["opened_at"].timestamp() <= T + 330
    assert not any("silent" in text for text in live.alerts.said)  # type: ignore[attr-defined]


def test_incidents_are_told_of_known_sessions_while_the_broker_is_away(
    started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = counted(1, T + 300, hurt={0}, fault=(T, T + 300))
    alerts = started(frame)
    monkeypatch.undo()  # sessions are read again
    away = alerts.settings.kafka.model_copy(update={"bootstrap": "127.0.0.1:1"})
    alerts.settings = alerts.settings.model_copy(update={"kafka": away})
    alerts.following, alerts.sessions_read_s = True, -1e9
    rows = go(alerts, T, T + 300)
    assert rows and rows[0]["example_sessions"]
    (told,) = [text for text in alerts.said if "cannot be read" in text]  # type: ignore[attr-defined]
    assert "no Kafka broker answers at 127.0.0.1:1" in told


def test_an_incident_that_cannot_be_written_is_told_and_kept(started: Callable[..., Alerts]) -> None:
    """A producer that never saw the topic gives up after a while."""

    class Away:
        def send(self, *_: object, **__: object) -> None:
            raise KafkaTimeoutError("no metadata")

    alerts = started(counted(1, T + 300, hurt={0}, fault=(T, T + 300)))
    there, alerts.producer = alerts.producer, Away()  # type: ignore[assignment]
    for begin, cells in alerts._steps(T, T + 300):
        alerts.judge(begin, cells)
    assert alerts.books.live() and any("is not written to incident" in text for text in alerts.said)  # type: ignore[attr-defined]
    alerts.producer = there
    alerts._publish(alerts.ledger.live[0])
    assert there.rows[-1]["state"] == "open"  # type: ignore[attr-defined]


def test_sessions_are_read_once(started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch) -> None:
    alerts = started(counted(1, T))
    monkeypatch.undo()
    row = samples.rows(records.load("qoe_session"), 1)[0]
    log: list[consume.Message] = []

    def write(name: str, failures: int | None) -> None:
        at = datetime.fromtimestamp(T, UTC)
        value = row | {"session_id": name, "segment": 0, "start_failures": failures, "start_at": at, "end_at": at}
        made = None if failures is None else wire.encode_one("qoe_session", value)
        log.append(consume.Message("qoe_session", 0, len(log), 0, f"{name}|0".encode(), made, {}))

    def messages(_: object, __: object, ___: float, begin: dict[TopicPartition, int]) -> list[consume.Message]:
        read.append(len(log) - begin.get(TopicPartition("qoe_session", 0), 0))
        return log[len(log) - read[-1] :]

    read: list[int] = []
    monkeypatch.setattr("streaming.alerts.consume.messages", messages)
    for name in ("a", "b|c", "d"):
        write(name, 0)
    alerts.session_offsets = {}
    alerts._read_sessions()
    write("b|c", 2)
    write("d", None)
    write("e", 1)
    alerts._read_sessions()
    alerts._read_sessions()
    held = dict(zip(alerts.sessions["session_id"], alerts.sessions["start_failures"], strict=True))
    assert (held, read) == ({"a": 0, "b|c": 2, "e": 1}, [3, 3, 0])
    monkeypatch.setattr("streaming.alerts.SESSIONS_AT_ONCE", 1)
    alerts.session_offsets = {}
    alerts._read_sessions()
    assert held == dict(zip(alerts.sessions["session_id"], alerts.sessions["start_failures"], strict=True))


def test_only_sessions_are_held_that_a_row_can_be_about(
    started: Callable[..., Alerts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fortnight of sessions lies on the topic; what is held does not grow with it, but reaches back to the onset of
    an incident that is live."""
    alerts = started(counted(1, T))
    monkeypatch.undo()
    row = samples.rows(records.load("qoe_session"), 1)[0]

    def message(n: int) -> consume.Message:
        at = datetime.fromtimestamp(T - 1_800 * n, UTC)
        value = row | {"session_id": f"s{n}", "profile_id": f"p{n}", "segment": 0, "start_at": at, "end_at": at,
                       "end_reason": "quit"}  # fmt: skip
        return consume.Message("qoe_session", 0, n, 0, f"s{n}|0".encode(), wire.encode_one("qoe_session", value), {})

    monkeypatch.setattr("streaming.alerts.consume.messages", lambda *_: map(message, range(14 * 48)))
    people: list[int] = []
    monkeypatch.setattr("streaming.alerts._profiles", lambda found, *_: people.append(len(found)) or {})
    alerts.learn(T)
    assert people == [7 * 48 + 1] and len(alerts.sessions) == 5, "an hour of window and one before, half an hour each"
    assert set(alerts.sessions) < {field.name for field in records.load("qoe_session").fields}
    assert len(alerts.sessions.columns) < 20
    onset = datetime.fromtimestamp(T - 3 * 86_400, UTC)
    alerts.books.rows = {"x": {"incident_id": "x", "state": "open", "onset_at": onset}}
    alerts.learn(T)
    assert len(alerts.sessions) == 3 * 48 + 5


def steered(cell: Cell) -> Cell:
    return (*cell[:2], "cdn-birch-de", *cell[3:])


def released(cell: Cell) -> Cell:
    return (*cell[:4], "5.3")


@pytest.mark.parametrize(("moved", "to"), [(range(4), steered), (range(1, len(CELLS), 2), released)])
def test_who_moves_to_cells_that_history_did_not_have_is_not_missing(
    moved: Collection[int], to: Callable[[Cell], Cell], started: Callable[..., Alerts]
) -> None:
    """A provider steered to another CDN keeps its viewers at once; a release that another one replaces did not fall,
    neither now nor when all has been learned anew nor after a restart."""
    frame = counted(4, T + 1_500, rate=4, move=(moved, T + 300, to))
    alerts = started(between(frame, 0, T))
    assert go(alerts, T, T + 900, frame) == []
    alerts._again(T + 900)
    assert go(alerts, T + 900, T + 1_500, frame) == []
    assert alerts.new, "after learning they are new ones still"
    begin = T + 1_500 - LOUD_S
    assert go(started(frame, begin), begin, T + 1_500) == []


def test_an_outage_during_a_release_is_still_an_alert(started: Callable[..., Alerts]) -> None:
    """New cells of other providers do not stand for those of the one that is away."""
    frame = counted(4, T + 700, rate=4, move=(range(1, len(CELLS), 2), T + 300, released))
    lost = (frame["isp"] == "alder-de") & (frame["step_at"].astype("int64") // 1_000 >= T + 500)
    rows = go(started(between(frame, 0, T)), T, T + 700, frame[~lost])
    assert [(row["cohort"], row["signal"]) for row in rows] == [("isp=alder-de", "attempts")]


def past(frame: pd.DataFrame, people: pd.DataFrame, patch: pytest.MonkeyPatch) -> Alerts:
    """A process that finds these counters when it goes through an old day."""
    alerts = watching([], people, patch)
    alerts.rows = keyed(frame)
    alerts.producer.flush = lambda: None  # type: ignore[attr-defined]
    patch.setattr(alerts, "_open", nullcontext)
    patch.setattr(alerts, "_take", lambda _: None)
    patch.setattr("streaming.alerts.consume.messages", lambda *_: iter(()))
    return alerts


def test_a_day_that_has_not_come_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a day whose counters end in it, what lies there is gone through; one without counters is refused."""
    monkeypatch.setattr("streaming.alerts.DAY_S", 3_600)
    back = pd.Timedelta(hours=HOURS)
    frame = counted(1, T + 1_200, hurt={0}, fault=(T + 60, T + 600))
    frame["step_at"] = (frame["step_at"] - back).astype("datetime64[ms, UTC]")
    people = sessions([40] * len(CELLS))
    people[["start_at", "end_at"]] -= back
    day = datetime.fromtimestamp(BEGIN_S, UTC).date()
    alerts = past(frame, people, monkeypatch)
    assert {row["signal"] for row in alerts.replay(day)} == {"start_errors_per_attempt"}
    assert any("end at 00:20:00" in text for text in alerts.said)  # type: ignore[attr-defined]
    alerts = past(frame, people, monkeypatch)
    with pytest.raises(InputMissing, match="no counters of 2026-01-06 or later: its newest are of 2026-01-05 00:19:50"):
        alerts.replay(day + timedelta(days=1))
    assert alerts.producer.rows == []  # type: ignore[attr-defined]


def test_a_day_under_way_ends_where_its_counters_do_also_with_one_from_the_future(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row that is left out, as it lies in the future, does not make an outage of the rest of the day."""
    monkeypatch.setattr("streaming.alerts.DAY_S", 3_600)
    back = pd.Timedelta(hours=HOURS)
    frame = counted(1, T + 1_200)
    one = frame.tail(1).assign(step_at=pd.Timestamp(T + 9 * 86_400, unit="s", tz="UTC"))
    frame = pd.concat([frame, one.astype(frame.dtypes)], ignore_index=True)
    frame["step_at"] = (frame["step_at"] - back).astype("datetime64[ms, UTC]")
    people = sessions([40] * len(CELLS))
    people[["start_at", "end_at"]] -= back
    alerts = past(frame, people, monkeypatch)
    monkeypatch.setattr(alerts, "wall", lambda: BEGIN_S + 1_230.0)
    assert alerts.replay(datetime.fromtimestamp(BEGIN_S, UTC).date()) == []
    assert any("end at 00:20:00" in text for text in alerts.said)  # type: ignore[attr-defined]


def test_an_old_day_starts_from_its_own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """What opened later is not there, what was live at midnight is; no row of either is written again."""
    monkeypatch.setattr("streaming.alerts.DAY_S", 1_800)
    back = pd.Timedelta(hours=HOURS)  # the learned hours end at midnight
    frame = counted(1, T + 1_800, hurt={0}, fault=(T + 60, T + 600))
    frame["step_at"] = (frame["step_at"] - back).astype("datetime64[ms, UTC]")
    later = counted(2, T + 3_600, hurt={0}, fault=(T, T + 3_600))
    later["step_at"] = (later["step_at"] + pd.Timedelta(days=9)).astype("datetime64[ms, UTC]")
    people = sessions([40] * len(CELLS))
    people[["start_at", "end_at"]] -= back

    def replayed(known: list[dict[str, Any]], frame: pd.DataFrame) -> tuple[Alerts, list[dict[str, Any]]]:
        alerts = past(frame, people, monkeypatch)
        alerts.books.rows = {row["incident_id"]: row for row in known}
        return alerts, alerts.replay(datetime.fromtimestamp(BEGIN_S, UTC).date())

    alone, first = replayed([], frame)
    assert first and all(row["state"] == "resolved" for row in first)
    times = ("onset_at", "opened_at", "updated_at")
    today = first[0] | {name: first[0][name] + timedelta(days=9) for name in times}
    today |= {"incident_id": "today", "state": "acknowledged", "resolved_at": None}
    lost = today | {"incident_id": "lost", "signal": "gone"}
    alerts, found = replayed([today, lost], pd.concat([frame, later], ignore_index=True))
    assert found == first and alerts.code == alone.code
    assert {row["incident_id"] for row in alerts.producer.rows} == {row["incident_id"] for row in first}  # type: ignore[attr-defined]

    on = {**first[0], "state": "open", "resolved_at": None}
    alerts, found = replayed([on, *first[1:]], frame)
    assert found == [on, *first[1:]] and alerts.producer.rows == [], "the topic knows them better"  # type: ignore[attr-defined]

    eve = {name: first[0][name] - timedelta(seconds=600) for name in times}
    held = first[0] | eve | {"incident_id": "eve"}
    alerts, found = replayed([held], frame)
    assert held["resolved_at"].timestamp() > BEGIN_S > held["opened_at"].timestamp()
    assert found == [] and alerts.producer.rows == [], "one fault, one incident, also over midnight"  # type: ignore[attr-defined]
