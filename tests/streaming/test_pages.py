"""The page process: what it makes of plays in any order, and the whole of it on a real broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.page_rules import service
from conf.settings import Settings, load
from models.playback import watched
from models.recommend.online import CONTINUE
from models.recommend.pages import home_pages
from schemas import records, samples, wire
from schemas import topics as catalogue
from streaming import clients, consume, topics
from streaming.pages import KNOWN, Pages

Rows = dict[bytes, bytes | None]


class Service:
    """A small service on which every rule bites, with the pages its batch made."""

    def __init__(self) -> None:
        given = service(5, 60, 60).inputs
        self.titles, self.profiles = given.titles.assign(duration_ms=5_400_000), given.profiles
        made = home_pages(given)
        self.day = made["page_date"].iloc[0]
        self.pages = made[made["page_arm"] == "policy"]
        self.holdback = made[made["page_arm"] != "policy"]
        self.topics: dict[str, Rows] = {}
        for topic, frame in (
            (catalogue.TITLE, self.titles), (catalogue.PROFILE, self.profiles),
            (catalogue.PROFILE_CHOICE, given.choices), (catalogue.HOME_PAGE, made),
        ):  # fmt: skip
            rows = [_whole(topic.record, row) for row in frame.to_dict("records")]
            keys = wire.message_keys(topic.key, frame)
            self.topics[topic.name] = {
                key.encode(): wire.encode_one(topic.record, row) for key, row in zip(keys, rows, strict=True)
            }

    def films(self, page: dict[str, Any]) -> list[str]:
        """Films on a page that were not played yet, in reading order."""
        kind = self.titles.set_index("title_id")["kind"]
        rows = [row for row in page["rows"] if row["row_kind"] not in ("continue_watching", "watch_again")]
        return [t for row in rows for t in row["title_ids"] if kind[t] == "film"]

    def play(self, profile: str, title: str, hour: float, share: float, days: int = 0) -> Rows:
        """A live session as the stream writes it."""
        at = datetime.combine(self.day, datetime.min.time(), UTC) + timedelta(days=days, hours=hour)
        length = int(self.titles.set_index("title_id")["duration_ms"][title])
        row = samples.rows(records.load("qoe_session"), 1)[0] | {
            "session_id": f"{profile}-{title}-{hour}", "segment": 0, "profile_id": profile, "title_id": title,
            "start_at": at, "end_at": at + timedelta(milliseconds=length * share), "final": False,
            "content_ms": int(length * share), "play_ms": int(length * share),
        }  # fmt: skip
        return {f"{row['session_id']}|0".encode(): wire.encode_one("qoe_session", row)}


def _whole(record: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row with all fields of a record, whose missing values are None and whose lists are lists."""
    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray | tuple):
            return list(value)
        return None if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)) else value

    fields = records.load(record).fields
    other = samples.rows(records.load(record), 1)[0]
    return {f.name: plain(row[f.name]) if f.name in row else other[f.name] for f in fields}


@pytest.fixture(scope="module")
def given() -> Service:
    return Service()


@pytest.fixture
def pages(given: Service) -> Pages:
    made = Pages(load(), say=lambda text: None)
    for topic in (*KNOWN, catalogue.HOME_PAGE):
        made.take(topic, given.topics[topic.name])
    assert not list(made.corrections())
    return made


def corrected(pages: Pages) -> dict[str, dict[str, Any]]:
    """Profile to corrected page."""
    return {key.decode(): wire.decode_one(value)[2] for key, value in pages.corrections()}


def shown(page: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(row["row_kind"], row["title_ids"]) for row in page["rows"]]


def some(given: Service, films: int = 2) -> tuple[str, list[str]]:
    """A policy page with so many films, and those films."""
    for page in given.pages.to_dict("records"):
        found = given.films(page)
        if len(found) >= films:
            return page["profile_id"], found[:films]
    raise AssertionError("no page with films")


def test_begun_comes_to_the_front_and_finished_leaves(given: Service, pages: Pages) -> None:
    profile, (one, other) = some(given)
    pages.take(catalogue.QOE_SESSION, given.play(profile, one, 10, 0.05))
    assert corrected(pages) == {}, "a tenth of it is not watched yet"
    pages.take(catalogue.QOE_SESSION, given.play(profile, one, 10, 0.5))
    found = corrected(pages)
    assert list(found) == [profile]
    assert shown(found[profile])[0][0] == CONTINUE and shown(found[profile])[0][1][0] == one
    pages.take(catalogue.QOE_SESSION, given.play(profile, other, 11, 0.5))
    assert shown(corrected(pages)[profile])[0][1][:2] == [other, one]
    pages.take(catalogue.QOE_SESSION, given.play(profile, one, 10, 0.95))
    assert one not in [t for _, titles in shown(corrected(pages)[profile]) for t in titles]


def test_plays_in_any_order_and_twice_make_one_page(given: Service, pages: Pages) -> None:
    profile, (one, other) = some(given)
    plays = [given.play(profile, one, 10, 0.5), given.play(profile, other, 11, 0.4)]
    for play in reversed(plays):
        pages.take(catalogue.QOE_SESSION, play)
    page = corrected(pages)[profile]
    assert shown(page)[0][1][:2] == [other, one]
    again = Pages(load(), say=lambda text: None)  # a second start, on what the first one wrote
    for topic in KNOWN:
        again.take(topic, given.topics[topic.name])
    again.take(catalogue.HOME_PAGE, {profile.encode(): wire.encode_one("home_page", page)})
    again.take(catalogue.QOE_SESSION, plays[0] | plays[1])
    assert corrected(again) == {}


def test_a_play_before_the_page_day_is_the_batchs(given: Service, pages: Pages) -> None:
    profile, (one, _) = some(given)
    pages.take(catalogue.QOE_SESSION, given.play(profile, one, 22, 0.5, days=-1))
    assert corrected(pages) == {}


def test_a_page_that_comes_after_its_plays_is_corrected(given: Service, pages: Pages) -> None:
    profile, (one, _) = some(given)
    tomorrow = given.day + timedelta(days=1)
    pages.take(catalogue.QOE_SESSION, given.play(profile, one, 1, 0.5, days=1))
    assert corrected(pages) == {}
    page = wire.decode_one(given.topics["home_page"][profile.encode()] or b"")[2]
    new = wire.encode_one("home_page", page | {"page_date": tomorrow, "page_id": "new"})
    pages.take(catalogue.HOME_PAGE, {profile.encode(): new})
    assert shown(corrected(pages)[profile])[0][1][0] == one


def test_a_correction_that_overtook_a_new_page_gives_way(given: Service, pages: Pages) -> None:
    profile, _ = some(given)
    old = given.topics["home_page"][profile.encode()] or b""
    page = wire.decode_one(old)[2] | {"page_date": given.day + timedelta(days=1), "page_id": "new"}
    pages.take(catalogue.HOME_PAGE, {profile.encode(): wire.encode_one("home_page", page)})
    assert corrected(pages) == {}
    pages.take(catalogue.HOME_PAGE, {profile.encode(): old})
    assert corrected(pages)[profile]["page_id"] == "new"


def test_the_holdback_the_silent_and_the_unknown_stay(given: Service, pages: Pages) -> None:
    held = given.holdback.to_dict("records")[0]
    title = held["rows"][0]["title_ids"][-1]
    film = given.films(held)[0] if given.films(held) else title
    pages.take(catalogue.QOE_SESSION, given.play(held["profile_id"], film, 9, 0.5))
    profile, (one, _) = some(given)
    pages.take(catalogue.QOE_SESSION, given.play("p-nobody", one, 9, 0.5))
    person = given.profiles[given.profiles["profile_id"] == profile].to_dict("records")[0] | {"opted_out": True}
    silent = wire.encode_one("profile", _whole("profile", person))
    pages.take(catalogue.PROFILE, {profile.encode(): silent})
    pages.take(catalogue.QOE_SESSION, given.play(profile, one, 9, 0.5))
    assert corrected(pages) == {}


def test_what_may_not_be_seen_leaves_and_does_not_come_back(given: Service, pages: Pages) -> None:
    profile, (one, _) = some(given)
    row = given.titles[given.titles["title_id"] == one].to_dict("records")[0] | {"hidden": True}
    pages.take(catalogue.TITLE, {one.encode(): wire.encode_one("title", _whole("title", row))})
    pages.take(catalogue.QOE_SESSION, given.play(profile, one, 9, 0.5))
    assert one not in [t for _, titles in shown(corrected(pages)[profile]) for t in titles]


def test_a_message_that_is_no_page_or_session_is_counted_and_left(given: Service, pages: Pages) -> None:
    profile, (one, _) = some(given)
    good = given.play(profile, one, 9, 0.5)
    pages.take(catalogue.QOE_SESSION, {b"x": b"poison", **good})
    pages.take(catalogue.HOME_PAGE, {profile.encode(): b"\0\0"})
    assert pages.unreadable == 2
    assert list(corrected(pages)) == [profile]


def test_watched_is_the_rule_of_table_play() -> None:
    import duckdb

    rng = np.random.default_rng(3)
    n = 4_000
    live = pd.DataFrame({
        "duration_ms": rng.choice([0, 60_000, 1_200_000, 5_400_000], n), "content_ms": rng.integers(0, 6_000_000, n),
        "play_ms": rng.choice([0, 119_999, 120_000, 3_000_000], n),
    })  # fmt: skip
    live.loc[:99, "content_ms"] = live["duration_ms"][:100] // 10 * 9
    live.loc[100:199, "content_ms"] = live["duration_ms"][100:200] // 10
    sql = ", ".join(f"{text} AS {name}_" for name, text in watched.columns().items())
    wanted = duckdb.sql(f"SELECT {sql} FROM live").df()
    found = watched.of(live)
    for name in watched.columns():
        assert (found[name].to_numpy() == wanted[f"{name}_"].to_numpy()).all(), name
    assert found["quality_play"].any() and not found["quality_play"].all()


@pytest.mark.kafka
def test_on_a_broker(given: Service, universe: Callable[[str], Settings]) -> None:
    settings = universe("pages")
    topics.create(settings)
    profile, (one, _) = some(given)

    def send(topic: Any, rows: Rows) -> None:
        with clients.reaching(settings):
            producer = clients.producer(settings)
            for key, value in rows.items():
                producer.send(topics.real_name(topic, settings), key=key, value=value)
            producer.close()

    def heard(lines: int) -> None:
        patience = time.monotonic() + 120  # no test of speed: what never comes must not be waited for
        while len(said) < lines:
            assert process.is_alive() and time.monotonic() < patience, said
            time.sleep(0.05)

    for topic in (*KNOWN, catalogue.HOME_PAGE):
        send(topic, given.topics[topic.name])
    ended, said = threading.Event(), list[str]()
    process = threading.Thread(target=Pages(settings, said.append).run, args=(ended.is_set,))
    process.start()
    try:
        heard(1)
        send(catalogue.QOE_SESSION, given.play(profile, one, 9, 0.5))
        heard(2)
    finally:
        ended.set()
        process.join()
    frame = consume.snapshot(catalogue.HOME_PAGE, settings)
    page = frame[frame["profile_id"] == profile].to_dict("records")[0]
    assert page["rows"][0]["row_kind"] == CONTINUE and page["rows"][0]["title_ids"][0] == one
    assert len(frame) == len(given.topics["home_page"])
    before = {wire.decode_one(value or b"")[2]["page_id"] for value in given.topics["home_page"].values()}
    assert len(before - set(frame["page_id"])) == 1 and page["page_id"] not in before
