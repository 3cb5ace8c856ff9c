"""What people say of an incident, and what its row says later, without a broker: a mute that is made longer, a word
after a restart, a fault that is over before the word, a row that keeps up."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from conf import alerts as rules_of
from conf.errors import UsageError
from models.incident.detect import NONE
from models.incident.learn import DIMENSIONS
from schemas import wire
from streaming import alert_cli, consume
from streaming.alerts import STEP_S, Alerts
from streaming.webhook import strict_json
from tests.streaming.test_alert_cells import BEGIN_S, CELLS, HOURS, RULES, sessions, steps_of, watching

T = BEGIN_S + HOURS * 3_600
PEOPLE = sessions([40] * len(CELLS))


def counters(until_s: int, low_s: int, high_s: int, hurt: set[int], gone: frozenset[int] = frozenset()) -> list[bytes]:
    """Steps of every cell, about one attempt each; between `low_s` and `high_s` nearly all of the cells `hurt` fail,
    and the cells `gone` attempt nothing."""
    rng = np.random.default_rng(1)
    at = np.arange(BEGIN_S, until_s, STEP_S)
    parts = []
    for i, cell in enumerate(CELLS):
        within = (at >= low_s) & (at < high_s)
        attempts = np.where((i in gone) & within, 0, rng.poisson(1.2, len(at)))
        failures = rng.binomial(attempts, np.where((i in hurt) & within, 0.95, 0.02))
        parts.append(steps_of(at, cell, attempts, failures))
    frame = pd.concat(parts, ignore_index=True)
    return wire.encode_frame("qoe_step", None, frame[frame["attempts"] > 0])


def start(
    values: list[bytes], monkeypatch: pytest.MonkeyPatch, rules: rules_of.Rules = RULES, at_s: int = T,
    held: dict[str, dict[str, Any]] | None = None,
) -> Alerts:  # fmt: skip
    """The process at `at_s`; `held` is what topic `incident` holds."""
    alerts = watching(values, PEOPLE, monkeypatch, rules)
    alerts.books.rows = dict(held or {})
    alerts.following = True
    alerts._gather()
    alerts.learn(at_s)
    alerts.arm(at_s)
    return alerts


def go(alerts: Alerts, low_s: int, high_s: int) -> list[dict[str, Any]]:
    """Judge the steps; all rows told so far."""
    for at, cells in alerts._steps(low_s, high_s):
        alerts.judge(at, cells)
    return told(alerts)


def told(alerts: Alerts) -> list[dict[str, Any]]:
    return alerts.producer.rows  # type: ignore[attr-defined,no-any-return]


def word(incident_id: str, action: str, until_s: int | None = None, given_s: int = BEGIN_S) -> bytes:
    return wire.encode_one("incident_command", {
        "incident_id": incident_id, "action": action, "given_by": "t", "given_at": datetime.fromtimestamp(given_s, UTC),
        "until_at": None if until_s is None else datetime.fromtimestamp(until_s, UTC),
    })  # fmt: skip


def say(alerts: Alerts, at_s: int, *words: bytes, first: int | None = None) -> None:
    """Words whose places on the topic go on after the last one, or begin with `first`."""
    place = max(alerts.books.words.values(), default=-1) + 1 if first is None else first
    alerts._listen(list(words), list(range(place, place + len(words))))
    alerts._say_words(at_s)


def test_a_mute_can_be_made_longer_and_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    now = T + 300
    alerts = start(counters(T + 900, T, T + 900, {0}), monkeypatch)
    key = go(alerts, T, now)[0]["incident_id"]
    for until_s in (now + 600, now + 7_200, now + 7_200, now + 60):
        say(alerts, now, word(key, "mute", until_s))
    mutes = [row["muted_until_at"].timestamp() for row in told(alerts) if row["state"] == "muted"]
    assert mutes == [now + 600, now + 7_200, now + 60], "the same word again changes nothing"

    say(alerts, now, word(key, "mute", now - 60))
    assert (told(alerts)[-1]["state"], told(alerts)[-1]["muted_until_at"]) == ("open", None), "one that is over is none"
    say(alerts, now, word(key, "mute", now + 600), word(key, "ack"))
    assert (told(alerts)[-1]["state"], told(alerts)[-1]["muted_until_at"]) == ("acknowledged", None)
    n = len(told(alerts))
    say(alerts, now, word(key, "mute", now - 60))
    assert len(told(alerts)) == n, "a mute that was over before it came takes nobody's word back"


def planned(cohort: dict[str, str]) -> rules_of.Rules:
    """Rules with a window from T to +400 s."""
    window = rules_of.MaintenanceRule.model_validate({
        "cohort": cohort, "from_at": datetime.fromtimestamp(T, UTC), "until_at": datetime.fromtimestamp(T + 400, UTC),
    })  # fmt: skip
    return RULES.model_copy(update={"maintenance": (window,)})


@pytest.mark.parametrize(("cohort", "state", "said"), [
    ({"isp": "alder-de"}, "muted", None), ({"country": "DE"}, "muted", None), ({}, "muted", None),
    ({"country": "DE", "isp": "alder-de"}, "muted", None), ({"cdn_id": "cdn-alder-de"}, "muted", None),
    ({"isp": "alder-de", "device": "tv"}, "open", None), ({"cdn_id": "cdn-birch-de"}, "open", None),
    ({"isp": "alder-d"}, "open", "isp=alder-d mutes nothing: the counters know no such viewers; did you mean alder-de"),
    ({"isp": "alder-de", "cdn_id": "cdn-birch-de"}, "open", "cdn_id=cdn-birch-de mutes nothing: "),
])  # fmt: skip
def test_a_window_is_of_viewers_however_they_are_named(
    cohort: dict[str, str], state: str, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is wrong with isp=alder-de, which is all of cdn-alder-de and a part of the country."""
    alerts = start(counters(T + 900, T + 60, T + 900, {0, 1, 2, 3}), monkeypatch, planned(cohort))
    first = go(alerts, T, T + 300)[0]
    assert (first["cohort"], first["state"]) == ("isp=alder-de", state)
    told = [text for text in alerts.said if "mutes nothing" in text]  # type: ignore[attr-defined]
    assert (said in told[0]) if said else not told


def test_a_window_holds_for_cells_that_history_did_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    alerts = start(counters(T + 900, T + 60, T + 900, {0, 1, 2, 3}), monkeypatch, planned({"country": "DE"}))
    known = next(key for key in alerts.code if "alder-de" in key)
    alerts._widen([tuple("9.9" if d == "app_version" else v for d, v in zip(DIMENSIONS, known, strict=True))])
    assert alerts.unknown_cells == 1
    first = go(alerts, T, T + 300)[0]
    assert (first["cohort"], first["state"]) == ("isp=alder-de", "muted")


def test_a_window_that_follows_another_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """An incident of the first window stays muted in the second, which begins at its end, and is open after that; a
    person's mute ends when it was said."""
    rules = planned({"isp": "alder-de"})
    (first,) = rules.maintenance
    hours = {"from_at": first.until_at, "until_at": first.until_at + timedelta(seconds=200)}
    rules = rules.model_copy(update={"maintenance": (first, first.model_copy(update=hours))})
    alerts = start(counters(T + 900, T, T + 900, {0, 1, 2, 3}), monkeypatch, rules)
    rows = go(alerts, T, T + 640)
    ends = [row["muted_until_at"] and row["muted_until_at"].timestamp() - T for row in rows]
    assert list(dict.fromkeys(ends)) == [400, 600, None] and rows[-1]["state"] == "open"
    assert rows[-1]["updated_at"].timestamp() == T + 600

    alerts = start(counters(T + 900, T, T + 900, {0, 1, 2, 3}), monkeypatch, rules)
    key = go(alerts, T, T + 300)[0]["incident_id"]
    say(alerts, T + 300, word(key, "mute", T + 450))
    assert go(alerts, T + 300, T + 450)[-1]["state"] == "open"


def test_a_mute_of_one_born_muted_can_be_made_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = planned({"isp": "alder-de"})
    alerts = start(counters(T + 900, T, T + 900, {0, 1, 2, 3}), monkeypatch, rules)
    born = go(alerts, T, T + 300)[0]
    assert (born["cohort"], born["state"], born["muted_until_at"].timestamp()) == ("isp=alder-de", "muted", T + 400)
    say(alerts, T + 300, word(born["incident_id"], "mute", T + 600))
    states = [row["state"] for row in go(alerts, T + 300, T + 590)]
    assert set(states) == {"muted"}
    assert go(alerts, T + 590, T + 600)[-1]["state"] == "open", "a mute is over at its end"


def test_a_restart_obeys_no_word_twice_and_those_it_missed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An acknowledged incident was muted until +560 s and is open again: nothing is new after a restart but what was
    said while the process was down, and that is of the moment it is heard."""
    values = counters(T + 900, T, T + 900, {0})
    alerts = start(values, monkeypatch)
    key = go(alerts, T, T + 500)[0]["incident_id"]
    words = [word(key, "ack"), word(key, "mute", T + 560)]
    say(alerts, T + 500, *words)
    before = [row for row in go(alerts, T + 500, T + 700) if row["incident_id"] == key]
    assert [row["state"] for row in before][-3:] == ["acknowledged", "muted", "open"]
    assert dict(alerts.producer.headers[-1])["word"] == b"1"  # type: ignore[attr-defined]

    words.append(word(key, "ack"))
    again = start(values, monkeypatch, held=alerts.books.rows)
    again.books.words, again.caught_up_s = {key: 1}, T + 700
    again._listen(words, [0, 1, 2])
    own = [row for row in go(again, T, T + 800) if row["incident_id"] == key]
    assert [row["state"] for row in own if row["revision"] > before[-1]["revision"]][:1] == ["acknowledged"]
    assert {row["state"] for row in own} == {"acknowledged"} and own[0]["updated_at"].timestamp() == T + 700


@pytest.mark.parametrize("restarted", [False, True])
def test_what_is_resolved_after_its_end_stays_so(restarted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault ended at +240 s and is called over at +400 s: its windows are full of it for a while yet."""
    values = counters(T + 1_800, T + 60, T + 240, {0})
    alerts = start(values, monkeypatch)
    raised = {row["incident_id"] for row in go(alerts, T, T + 400)}
    assert raised
    say(alerts, T + 400, *(word(key, "resolve") for key in raised))
    if restarted:
        alerts = start(values, monkeypatch, at_s=T + 400, held=alerts.books.rows)
    assert {row["incident_id"] for row in go(alerts, T + 400, T + 1_800)} <= raised
    assert all(row["state"] == "resolved" for row in alerts.books.rows.values())


def test_the_time_of_a_word_is_that_of_its_speaker_unless_the_counters_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    for given_s, resolved_s in ((T + 340, T + 340), (T + 86_400, T + 300), (T, T + 300)):
        alerts = start(counters(T + 900, T + 60, T + 240, {0}), monkeypatch)
        key = go(alerts, T, T + 300)[0]["incident_id"]
        say(alerts, T + 300, word(key, "resolve", given_s=given_s))
        assert told(alerts)[-1]["resolved_at"].timestamp() == resolved_s


def test_a_mute_lasts_as_long_as_was_said_also_where_the_counters_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speaker's clock is 90 days ahead of a universe that lies in the past: an hour is an hour of it."""
    alerts = start(counters(T + 900, T + 60, T + 900, {0}), monkeypatch)
    key = go(alerts, T, T + 300)[0]["incident_id"]
    for given_s, until_s in ((T + 90 * 86_400, T + 3_900), (T + 200, T + 3_800), (T + 310, T + 3_910)):
        say(alerts, T + 300, word(key, "mute", given_s + 3_600, given_s))
        assert told(alerts)[-1]["muted_until_at"].timestamp() == until_s
    say(alerts, T + 300, word(key, "mute", T + 700, T + 90 * 86_400))
    assert told(alerts)[-1]["muted_until_at"].timestamp() == T + 700, "told by the counters' clock"


def test_a_fault_that_goes_on_after_the_word_is_another_incident(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one elsewhere that had begun before it."""
    alerts = start(counters(T + 1_800, T + 60, T + 1_000, {0}), monkeypatch)
    raised = {row["incident_id"] for row in go(alerts, T, T + 400)}
    say(alerts, T + 400, *(word(key, "resolve") for key in raised))
    later = [row for row in go(alerts, T + 400, T + 1_000) if row["incident_id"] not in raised]
    assert later and min(row["onset_at"].timestamp() for row in later) >= T + 400
    assert min(row["opened_at"].timestamp() for row in later) <= T + 700

    values = counters(T + 1_800, T + 60, T + 240, {0})
    alerts = start(values, monkeypatch)
    raised = {row["incident_id"] for row in go(alerts, T, T + 400)}
    say(alerts, T + 400, *(word(key, "resolve") for key in raised))
    elsewhere = counters(T + 1_800, T + 240, T + 1_000, {11})
    alerts.rows = {b"%d|%d" % (BEGIN_S * 1_000, n): value for n, value in enumerate(elsewhere)}
    alerts._gather()
    later = [row for row in go(alerts, T + 400, T + 1_000) if row["incident_id"] not in raised]
    assert later and "cedar-de" in later[0]["cohort"] + later[0]["explanation"]


def test_the_row_of_an_incident_that_grows_keeps_up_and_notifies_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session is hurt every five seconds for 40 minutes, and nothing else changes for as long."""
    people, posts = sessions([300] + [40] * (len(CELLS) - 1)), []
    own = np.flatnonzero((people["isp"] == "alder-de") & (people["device"] == "tv") & (people["app_version"] == "5.1"))
    people.loc[own, "start_at"] = pd.to_datetime(T + 60 + 5 * np.arange(len(own)), unit="s", utc=True)
    people.loc[own, "end_at"] = people.loc[own, "start_at"]
    people.loc[people.index.difference(own), "start_failures"] = 0
    alerts = start(counters(T + 2_700, T + 60, T + 2_400, {0}), monkeypatch)
    alerts.sessions, alerts.following = people, False
    alerts.webhook = type("Hook", (), {"send": lambda _, row: posts.append(row)})()  # type: ignore[assignment]
    cohort = go(alerts, T, T + 600)[-1]["cohort"]
    assert dict(part.split("=") for part in cohort.split(" "))["isp"] == "alder-de"

    before, key = len(posts), told(alerts)[-1]["incident_id"]
    for now in range(T + 600, T + 2_400, 300):
        go(alerts, now, now + 300)
        row, truth = alerts.books.rows[key], (now + 300 - T - 60) // 5
        assert (row["state"], row["cohort"]) == ("open", cohort)
        assert truth - 65 <= row["impacted_sessions"] <= truth + 1
    rows = [row for row in told(alerts) if row["incident_id"] == key]
    assert len(posts) == before and len(rows) <= before + 7, "told to the topic, once in five minutes"
    assert [row["revision"] for row in rows] == list(range(len(rows)))

    n = len(told(alerts))
    alerts.sessions = people.iloc[:0]
    alerts.detector.step = lambda *_: NONE  # type: ignore[method-assign]
    go(alerts, T + 2_400, T + 2_700)
    assert len(told(alerts)) == n, "nothing more is known"


def test_sessions_that_a_fall_costs_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of isp=alder-de is away: what is missing grows by 4 x 1.2 attempts a step."""
    alerts = start(counters(T + 1_500, T + 60, T + 1_500, set(), frozenset({0, 1, 2, 3})), monkeypatch)
    go(alerts, T, T + 300)
    key = next(row["incident_id"] for row in told(alerts) if row["cohort"] == "isp=alder-de")
    for now in range(T + 300, T + 1_500, 300):
        go(alerts, now, now + 300)
        row = alerts.books.rows[key]
        missing = 4 * 1.2 * (row["updated_at"] - row["onset_at"]).total_seconds() / STEP_S
        assert row["updated_at"].timestamp() > now and row["signal"] == "attempts"
        assert row["impacted_sessions"] == round(row["excess"]) == pytest.approx(missing, rel=0.15)


def test_time_alive_that_is_missing_is_told_in_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """isp=alder-de has 4 cells of 1.2 attempts a step, a minute of time alive each: 28.8 sessions at once, all away.
    The row is kept up while nothing but the time grows."""
    fall = {"num": "alive_ms", "whole": False, "lag_s": 120, "memory_s": 180, "longest_s": 120}
    signals = {"concurrency": rules_of.SignalRule.model_validate(fall | {"runbook": "traffic-fall.md"})}
    rules = RULES.model_copy(update={"signals": signals})
    values = counters(T + 900, T + 60, T + 900, set(), frozenset({0, 1, 2, 3}))
    alerts = start(values, monkeypatch, rules)
    rows = [row for row in go(alerts, T, T + 900) if row["cohort"] == "isp=alder-de"]
    assert rows and all(row["impacted_sessions"] == pytest.approx(28.8, rel=0.25) for row in rows)
    assert rows[-1]["excess"] > rows[0]["excess"] and rows[-1]["updated_at"].timestamp() > T + 500


def test_nothing_is_said_of_an_incident_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    over = {"state": "resolved", "resolved_at": datetime.fromtimestamp(T, UTC)}
    monkeypatch.setattr("streaming.alerts.incident", lambda *_: over)
    monkeypatch.setattr("streaming.alerts.clients.producer", pytest.fail)
    for verb in ("ack", "mute"):
        done = CliRunner().invoke(alert_cli.alerts, [verb, "x"])
        assert isinstance(done.exception, UsageError) and "is over since 2026-01-05 07:00:00 UTC" in str(done.exception)
        assert "said" not in done.output


def test_two_faults_of_one_step_are_two_incidents_whatever_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider and a CDN may bear one name; the row of the one stood in the place of the other's."""
    alerts = start(counters(T + 300, T, T + 300, {0}), monkeypatch)
    go(alerts, T, T + 300)
    (one,) = alerts.ledger.live
    names = ((7, "isp"), (8, "cdn_id"))
    same = [replace(one, number=number, name=((dimension, "net"),)) for number, dimension in names]
    monkeypatch.setattr(alerts, "_may_be_told", lambda _: lambda _: True)
    for incident in [*same, *same]:
        alerts._publish(incident)
    rows = {row["cohort"]: row["incident_id"] for row in told(alerts)[-4:]}
    assert len(set(rows.values())) == 2 and set(rows) == {"isp=net", "cdn_id=net"}
    assert [row["revision"] for row in told(alerts)[-4:]] == [0, 0, 1, 1]


@pytest.mark.parametrize("name", ["Net [de]", "Net [/de]", "[red]Net", "Net :cat:", "[b]"])
def test_a_list_shows_any_name_as_it_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Square brackets are no markup: an app's version `7.1 [beta]` lost its end, `[/x]` ended the command."""
    at = datetime(2026, 1, 5, 6, tzinfo=UTC)
    row = {"incident_id": "x", "state": "open", "signal": "attempts", "cohort": f"isp={name}", "onset_at": at,
           "impacted_sessions": 1, "explanation": f"isp={name} (99% of the excess)", "runbook": "x.md"}  # fmt: skip
    monkeypatch.setattr("streaming.alerts.incidents", lambda _: [row])
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(alert_cli.alerts, ["list"])
    assert done.exit_code == 0, done.exception
    assert f"isp={name} " in done.output and f"isp={name} (99% of the excess)" in done.output


def test_a_word_is_taken_from_a_user_whom_the_machine_has_no_name_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a bare number."""
    said: list[tuple[Any, ...]] = []
    monkeypatch.setattr("streaming.alerts.command", lambda _, *words: said.append(words))
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 1_234_567_890)
    done = CliRunner().invoke(alert_cli.alerts, ["ack", "x"])
    assert done.exit_code == 0, done.exception
    assert said == [("x", "ack", "1234567890", None)]


def test_a_mute_is_for_a_year_at_most() -> None:
    for minutes in ("0", "527041", "99999999999", "9999999999999999999"):
        told = CliRunner().invoke(alert_cli.alerts, ["mute", "x", "--minutes", minutes])
        assert told.exit_code == 2 and "1<=x<=527040" in told.output


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_figure_that_is_not_finite_is_told_as_one_that_is(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the topic and in the lake too; rows that an older process wrote are mended as they are read."""
    alerts = start(counters(T + 900, T, T + 900, {0}), monkeypatch)
    key = go(alerts, T, T + 300)[0]["incident_id"]
    (incident,) = [i for i in alerts.ledger.live if alerts.ids[i.number] == key]
    incident.score = incident.count = incident.mean = incident.excess = value
    alerts._publish(incident)
    row = told(alerts)[-1]
    assert all(np.isfinite(v) for v in row.values() if isinstance(v, float)) and row["impacted_sessions"] >= 0
    json.loads(strict_json(row), parse_constant=pytest.fail)

    old = wire.encode_one("incident", row | {"score": value, "excess": value})
    monkeypatch.setattr("streaming.alerts.consume.messages", lambda *_: [
        consume.Message("incident", 0, 0, 0, key.encode(), old, {})])  # fmt: skip
    alerts._open()
    held = alerts.books.rows[key]
    assert np.isfinite(held["score"]) and np.isfinite(held["excess"])


def test_what_a_process_has_not_delivered_the_next_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one is killed before a POST goes out; rows that have only grown since have the key of their change.
    What was over a day before the last word of any incident is not told again."""

    class Hook:
        def __init__(self) -> None:
            self.posts: list[tuple[dict[str, Any], int | None]] = []

        def send(self, row: dict[str, Any], revision: int | None = None) -> None:
            self.posts.append((row, revision))

    values = counters(T + 900, T, T + 900, {0})
    first = start(values, monkeypatch)
    first.webhook = Hook()  # type: ignore[assignment]
    opened = go(first, T, T + 300)[0]
    key, change = opened["incident_id"], first.books.changes[opened["incident_id"]]
    (incident,) = [i for i in first.ledger.live if first.ids[i.number] == key]
    for _ in range(2):
        incident.score += 1
        first._publish(incident, grown=True)
    assert first.books.rows[key]["revision"] == change + 2, "grown twice, and nobody was told"
    over = {"state": "resolved", "resolved_at": opened["updated_at"]}
    day = timedelta(days=1, seconds=1)
    first._write(opened | over | {"incident_id": "closed", "revision": 7})
    first._write(opened | {"incident_id": "old", "state": "resolved", "updated_at": opened["updated_at"] - day,
                           "resolved_at": opened["resolved_at"] or opened["updated_at"] - day})  # fmt: skip
    topic = [
        consume.Message("incident", 0, n, 0, row["incident_id"].encode(), wire.encode_one("incident", row),
                        dict(headers or []))
        for n, (row, headers) in enumerate(zip(told(first), first.producer.headers, strict=True))  # type: ignore[attr-defined]
    ]  # fmt: skip

    def again(people: pd.DataFrame) -> dict[str, tuple[dict[str, Any], int | None]]:
        alerts = watching(values, people, monkeypatch)
        alerts.webhook, alerts.following = Hook(), True  # type: ignore[assignment]
        with monkeypatch.context() as patch:
            patch.setattr("streaming.alerts.consume.messages", lambda *_: topic)
            alerts._open()
        alerts._gather()
        alerts.learn(T + 300)
        alerts.arm(T + 300)
        alerts._tell_again()
        posts = alerts.webhook.posts  # type: ignore[union-attr]
        assert not told(alerts) or people is not PEOPLE, "nothing new on the topic"
        assert len(posts) == len({row["incident_id"] for row, _ in posts})
        alerts._tell_again()
        assert posts == alerts.webhook.posts, "once a start"  # type: ignore[union-attr]
        return {row["incident_id"]: (row, revision) for row, revision in posts}

    posts = again(PEOPLE)
    assert posts[key] == (first.books.rows[key], change) and posts["closed"][1] == 7 and "old" not in posts
    assert again(PEOPLE) == posts, "a repeat bears the same keys"
    few = again(sessions([12, 12] + [0] * 2 + [40] * (len(CELLS) - 4)))
    assert {few[name][0]["cohort"] for name in (key, "closed")} == {"withheld"}, "too few to be named"
