"""What the alerts tell the outside names no cohort of fewer than 25 profiles, whoever is hurt: a property over drawn
services without a broker. And what they cannot read they leave out, count and tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from conf import alerts as rules_of
from conf.errors import InputMissing
from conf.settings import load
from models.incident.learn import DIMENSIONS
from schemas import records, samples, wire
from streaming import alert_cli
from streaming.alerts import STEP_S, Alerts

BEGIN_S = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())
HOURS, LEAST = 7, 25
RULES = rules_of.Rules.model_validate({
    "cohorts": [["isp"], ["device"], ["app_version"], ["isp", "device"], ["device", "app_version"]],
    "signals": {
        "start_errors_per_attempt": {"num": "start_failures", "den": ["attempts"], "runbook": "start-failures.md"},
        "attempts": {"num": "attempts", "runbook": "traffic-fall.md"},
    },
})  # fmt: skip
CELLS = [
    ("DE", isp, f"cdn-{isp}", device, version)
    for isp in ("alder-de", "birch-de", "cedar-de") for device in ("tv", "web") for version in ("5.1", "5.2")
]  # fmt: skip


class Broker:
    """Takes what is produced."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.headers: list[list[tuple[str, bytes]] | None] = []

    def send(self, _: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]] | None = None) -> None:
        self.rows.append(wire.decode_one(value)[2])
        self.headers.append(headers)


def sessions(profiles: list[int], gone: Collection[int] = ()) -> pd.DataFrame:
    """Two sessions of every profile of every cell, from an hour before the learned hours end to two after; of the cells
    `gone` such that were over before."""
    row = samples.rows(records.load("qoe_session"), 1)[0]
    at = datetime.fromtimestamp(BEGIN_S + HOURS * 3_600, UTC)
    hour = timedelta(hours=1)
    made = [
        row | dict(zip(DIMENSIONS, cell, strict=True))
        | {"session_id": f"{i}-{n}-{again}", "profile_id": f"p{i}-{n}", "end_reason": "quit", "start_failures": 1,
           "start_at": at - (4 if i in gone else 1) * hour, "end_at": at - (3 if i in gone else -2) * hour}
        for i, cell in enumerate(CELLS) for n in range(profiles[i]) for again in range(2)
    ]  # fmt: skip
    return wire.decode_many([wire.encode_one("qoe_session", one) for one in made], "qoe_session")


def steps_of(at: np.ndarray, cell: Sequence[Any], attempts: np.ndarray, failures: np.ndarray) -> pd.DataFrame:
    """Rows of `qoe_step` of a cell (its values, or a column of each), a row a step; counters not given are 0."""
    zeros = dict.fromkeys(("exits_before_start", "playback_failures", "stalls", "stall_ms", "play_ms"), 0)
    return pd.DataFrame({
        "step_at": pd.to_datetime(at, unit="s", utc=True).as_unit("ms"), **dict(zip(DIMENSIONS, cell, strict=True)),
        "attempts": attempts, "plays": attempts - failures, "start_failures": failures,
        "alive_ms": 60_000 * attempts, **zeros,
    })  # fmt: skip


def counters(seed: int, hurt: int, hours: int = HOURS) -> list[bytes]:
    """Steps of every cell, about one attempt each; in the last quarter of an hour nearly all of cell `hurt` fail."""
    rng = np.random.default_rng(seed)
    at = np.arange(BEGIN_S, BEGIN_S + hours * 3_600 + 900, STEP_S)
    parts = []
    for i, cell in enumerate(CELLS):
        attempts = rng.poisson(1.2, len(at))
        bad = (i == hurt) & (at >= BEGIN_S + hours * 3_600)
        failures = rng.binomial(attempts, np.where(bad, 0.95, 0.02))
        parts.append(steps_of(at, cell, attempts, failures))
    frame = pd.concat(parts, ignore_index=True)
    return wire.encode_frame("qoe_step", None, frame[frame["attempts"] > 0])


def watching(
    values: list[bytes], people: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, rules: rules_of.Rules = RULES
) -> Alerts:
    """The alert process with the counters in hand, its sessions given, and no broker."""
    alerts = Alerts(load(), rules, say=lambda text: said.append(text))
    said: list[str] = []
    alerts.said = said  # type: ignore[attr-defined]
    alerts.producer = Broker()  # type: ignore[attr-defined]
    alerts.rows = {b"%d|%d" % (BEGIN_S * 1_000, n): value for n, value in enumerate(values)}

    def read() -> None:
        alerts.sessions = people

    monkeypatch.setattr(alerts, "_read_sessions", read)
    return alerts


def live(alerts: Alerts, hours: int = HOURS) -> list[dict[str, Any]]:
    """Everything that was told during the last quarter of an hour."""
    begin = BEGIN_S + hours * 3_600
    alerts._gather()
    alerts.learn(begin)
    alerts.arm(begin)
    for at, cells in alerts._steps(begin, begin + 900):
        alerts.judge(at, cells)
    return alerts.producer.rows  # type: ignore[attr-defined,no-any-return]


def named(row: dict[str, Any]) -> list[dict[str, str]]:
    """Every cohort that a row names: as who, as suspect, as cause."""
    labels = [row["cohort"], *row["suspects"]]
    found = [dict(part.split("=") for part in text.split(" ")) if text != "everything" else {} for text in labels]
    for text in row["explanation"].split("; ") if row["explanation"] else []:
        found.append(dict(part.split(" ") for part in re.sub(r" \(.*", "", text).split(", ")))
    return found


@given(st.lists(st.sampled_from([1, 5, 11, 24, 25, 40]), min_size=len(CELLS), max_size=len(CELLS)),
       st.integers(0, len(CELLS) - 1), st.integers(0, 99))  # fmt: skip
@settings(max_examples=6, deadline=None, phases=[Phase.generate])
def test_no_cohort_under_25_profiles_is_ever_named(profiles: list[int], hurt: int, seed: int) -> None:
    assume(sum(profiles) >= LEAST)
    people = sessions(profiles)
    with pytest.MonkeyPatch.context() as patch:
        rows = live(watching(counters(seed, hurt), people, patch))
    assert rows, "the fault of one cell is seen in some cohort"
    for row in rows:
        for where in named(row):
            inside = people
            for dimension, value in where.items():
                inside = inside[inside[dimension] == value]
            assert len(set(inside["profile_id"])) >= LEAST, (where, profiles)
        seen = " ".join(text for _, text in alert_cli.told(row))
        assert row["cohort"] in seen and all(suspect in seen for suspect in row["suspects"])


def test_the_cause_of_a_small_cell_is_told_as_the_larger_one_that_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell 0 is all of the fault; with 40 profiles it is named to the last value, with 24 it is not."""
    many = live(watching(counters(1, 0), sessions([40] * len(CELLS)), monkeypatch))
    few = live(watching(counters(1, 0), sessions([24] + [40] * (len(CELLS) - 1)), monkeypatch))
    cell = "app_version 5.1, cdn_id cdn-alder-de, country DE, device tv, isp alder-de"
    assert any(cell in row["explanation"] for row in many)
    assert not any(cell in row["explanation"] for row in few) and all(row["explanation"] for row in few)


@pytest.mark.parametrize(("gone", "cohort"), [((), "isp=alder-de device=tv"), ((0,), "isp=alder-de")])
def test_people_are_counted_over_the_time_that_a_row_is_of(
    gone: tuple[int, ...], cohort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the television sets of one provider there were 60 profiles this week; who has watched since the onset
    decides: 60, or 20 of one release."""
    people = sessions([40, 20] + [40] * (len(CELLS) - 2), gone)
    values = counters(1, 0)
    rows = live(watching(values, people, monkeypatch))
    names = {row["cohort"] for row in rows} | {name for row in rows for name in row["suspects"]}
    causes = " ".join(row["explanation"] for row in rows)
    assert rows and ("isp=alder-de device=tv" in names) == (not gone)
    assert ("device tv" in causes and "isp alder-de" in causes) == (not gone), causes
    assert cohort in names


def test_who_is_missing_was_there_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider's viewers go away with their beacons: the fall is theirs, though nobody of them watches any more."""
    at_s = BEGIN_S + HOURS * 3_600
    people = sessions([40] * len(CELLS))
    own = people["isp"] == "alder-de"
    people.loc[own, "end_at"] = pd.Timestamp(at_s, unit="s", tz="UTC")
    frame = wire.decode_many(counters(1, 99), "qoe_step")
    lost = (frame["isp"] == "alder-de") & (frame["step_at"].astype("int64") // 1_000 >= at_s)
    rows = live(watching(wire.encode_frame("qoe_step", None, frame[~lost]), people, monkeypatch))
    assert {(row["cohort"], row["signal"]) for row in rows} == {("isp=alder-de", "attempts")}


def test_an_incident_of_too_few_people_is_closed_without_a_word_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older process told it, or the rules ask for more people since: after a restart only its id is told."""
    values, many = counters(1, 0), sessions([40] * len(CELLS))
    told = live(watching(values, many, monkeypatch))
    known = {row["incident_id"]: row for row in told if "isp=alder-de device=tv" in row["cohort"]}
    key, row = known.popitem()
    few = sessions([12, 12] + [40] * (len(CELLS) - 2))
    for signal in (row["signal"], "gone"):
        again = watching(values, few, monkeypatch)
        posts: list[dict[str, Any]] = []
        again.webhook = type("Hook", (), {"send": lambda _, change, to=posts: to.append(change)})()  # type: ignore[assignment]
        again.books.rows = {key: row | {"signal": signal, "state": "open", "resolved_at": None}}
        rows = [new for new in live(again) if new["incident_id"] == key]
        (last,) = rows
        assert posts[0] == again.books.rows[key]
        assert (last["state"], last["revision"]) == ("resolved", row["revision"] + 1)
        seen = " ".join(text for _, text in alert_cli.told({**last, "incident_id": "x"})) + str(last["suspects"])
        assert "alder" not in seen and last["impacted_sessions"] == last["observed"] == 0
        assert not any("alder" in text.replace(key, "") for text in again.said[:2])  # type: ignore[attr-defined]


def test_suspects_of_an_older_row_are_asked_of_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row names a cohort that is watched, but that nobody was of in the time of its figures."""
    values, small = counters(1, 0), "isp=birch-de device=tv"
    people = sessions([40] * len(CELLS), gone=(4, 5))
    (row,) = live(watching(values, people, monkeypatch))[-1:]
    again = watching(values, people, monkeypatch)
    again.books.rows = {row["incident_id"]: row | {"suspects": ["isp=alder-de", small], "state": "open"}}
    live(again)
    assert small in {" ".join("=".join(pair) for pair in name) for name in again.cohorts.names}
    again._publish(again.ledger.live[0])
    assert again.producer.rows[-1]["suspects"] == ["isp=alder-de"]  # type: ignore[attr-defined]


def test_a_service_of_few_people_is_told_of_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputMissing, match="sessions of 24 profiles"):
        live(watching(counters(1, 0), sessions([2] * len(CELLS)), monkeypatch))


def test_what_cannot_be_read_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    good = counters(1, 0)
    people = sessions([40] * len(CELLS))
    ahead = wire.decode_one(good[0])[2] | {"step_at": datetime(2096, 1, 1, tzinfo=UTC)}
    bad = [b"", b"garbage", good[3][:-4], wire.encode_one("incident_command", {
        "incident_id": "x", "action": "ack", "until_at": None, "given_at": datetime(2026, 1, 1, tzinfo=UTC),
        "given_by": "t"}), wire.encode_one("qoe_step", ahead)]  # fmt: skip
    clean, dirty = watching(good, people, monkeypatch), None
    rows = live(clean)
    mixed = list(good)
    for place, value in zip((0, 7, 500, 501, len(good)), bad, strict=True):
        mixed.insert(place, value)
    dirty = watching(mixed, people, monkeypatch)
    assert live(dirty) == rows, "the same incidents as without them"
    assert (clean.unreadable, dirty.unreadable) == (0, len(bad))
    (told,) = [text for text in dirty.said if "left out" in text]  # type: ignore[attr-defined]
    assert "5 messages of qoe_step are left out (5 so far)" in told


@pytest.mark.parametrize("word", [{"action": "shout"}, {"action": "mute", "until_at": None}])
def test_a_word_that_makes_no_sense_is_told_and_changes_nothing(
    word: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = watching(counters(1, 0), sessions([40] * len(CELLS)), monkeypatch)
    rows = list(live(alerts))
    key = rows[-1]["incident_id"]
    alerts._listen([b"garbage", wire.encode_one("incident_command", {
        "incident_id": key, "until_at": None, "given_at": datetime(2026, 1, 1, tzinfo=UTC), "given_by": "t", **word,
    })], [0, 1])  # fmt: skip
    alerts._say_words(BEGIN_S + HOURS * 3_600 + 900)
    assert alerts.unreadable == 2 and alerts.producer.rows == rows  # type: ignore[attr-defined]
    alerts._listen([wire.encode_one("incident_command", {
        "incident_id": key, "until_at": None, "given_at": datetime(2026, 1, 1, tzinfo=UTC), "given_by": "t",
        "action": "ack"})], [2])  # fmt: skip
    alerts._say_words(BEGIN_S + HOURS * 3_600 + 900)
    assert alerts.producer.rows[-1]["state"] == "acknowledged"  # type: ignore[attr-defined]


def test_a_ratio_may_be_of_any_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plays fall away in the fault, so attempts over plays rise."""
    signal = {"num": "attempts", "den": ["plays"], "whole": False, "runbook": "start-failures.md"}
    rules = rules_of.Rules.model_validate({"cohorts": [["isp"]], "signals": {"mine": signal}})
    rows = live(watching(counters(1, 0), sessions([40] * len(CELLS)), monkeypatch, rules))
    assert any(row["signal"] == "mine" and row["cohort"] == "isp=alder-de" for row in rows)


def test_an_open_incident_of_a_signal_that_the_rules_have_lost_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    values, people = counters(1, 0), sessions([40] * len(CELLS))
    told = live(watching(values, people, monkeypatch))
    newest = {row["incident_id"]: row for row in told}
    rules = RULES.model_copy(update={"signals": {"attempts": RULES.signals["attempts"]}})
    again = watching(values, people, monkeypatch, rules)
    again.books.rows = dict(newest)
    lost = {key for key, row in newest.items() if row["signal"] not in rules.signals and row["state"] != "resolved"}
    rows = live(again)
    assert lost and lost == {row["incident_id"] for row in rows if row["incident_id"] in lost}
    assert all(row["state"] == "resolved" for row in rows if row["incident_id"] in lost)
    assert any("is not watched any more" in text for text in again.said)  # type: ignore[attr-defined]
