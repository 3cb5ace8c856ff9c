"""The page process: live sessions in (`qoe_session`), corrected pages out (`home_page`), between two batches.

A page of a day is what job `pages` made of everything before that day, then `models.recommend.online` for each quality
play that began on the day itself. Everything lies in topics, so a second start reads them again and writes only what
differs. Pages of the holdback stay as they came: they are what the policy is measured against. Of a series nobody here
knows which episodes were seen: it counts as finished with its last one out, until the next batch knows better.

`publish` may put a new day's page under a key in the moment in which the old day's correction is on its way: who then
reads an older page behind a newer one sends the newer one again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from conf.errors import InputMissing
from conf.settings import Settings
from models.days import DAY_MS, epoch_day, epoch_days
from models.playback import watched
from models.recommend.interactions import shows
from models.recommend.online import Played, after_plays
from models.recommend.page_rules import Rules, usable_plays
from schemas import topics as catalogue
from schemas import wire
from schemas.errors import WireError
from schemas.topics import Topic
from streaming import clients, consume, topics

LOG = logging.getLogger(__name__)
POLL_MS = 200
KNOWN = (catalogue.TITLE, catalogue.PROFILE, catalogue.PROFILE_CHOICE)
FOLLOWED = (*KNOWN, catalogue.HOME_PAGE, catalogue.QOE_SESSION)
Rows = dict[bytes, bytes]
Say = Callable[[str], None]


class Pages:
    """Every profile's page as it stands, and what was played since it was made."""

    def __init__(self, settings: Settings, say: Say = LOG.info) -> None:
        self.settings, self.say = settings, say
        self.known: dict[Topic, Rows] = {topic: {} for topic in KNOWN}
        self.pages: Rows = {}
        self.page_date: dict[bytes, date] = {}
        self.played: dict[bytes, dict[str, Played]] = {}
        self._forget()
        self.stale: set[bytes] = set()
        self.overtaken: set[bytes] = set()
        self.unreadable = 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Follow the topics until `stop()`, asked at least five times a second.

        Raises:
            InputMissing: a topic is not there, or topic `title` is empty.
            ServiceUnavailable: no broker.
        """
        producer, offsets = clients.producer(self.settings), {}
        try:
            for topic in FOLLOWED:
                rows: dict[bytes, bytes | None] = {}
                offsets |= dict.fromkeys(topics.partitions(topic, self.settings), 0)
                for message in consume.messages(topic, self.settings):
                    offsets[TopicPartition(message.topic, message.partition)] = message.offset + 1
                    rows[message.key or b""] = message.value
                self.take(topic, rows)
            if not self.known[catalogue.TITLE]:
                raise InputMissing("topic title is empty: which show an episode belongs to, and what is left of it?")
            self.say(f"{len(self.pages):,} pages, {len(self.known[catalogue.TITLE]):,} titles")
            self._send(producer)
            with clients.reaching(self.settings):
                self._follow(producer, offsets, stop)
        finally:
            producer.close()

    def _follow(self, producer: KafkaProducer, offsets: dict[TopicPartition, int], stop: Callable[[], bool]) -> None:
        consumer: KafkaConsumer = clients.consumer(self.settings)
        by_name = {topics.real_name(topic, self.settings): topic for topic in FOLLOWED}
        try:
            consumer.assign(list(offsets))
            for partition, offset in offsets.items():
                consumer.seek(partition, offset)
            while not stop():
                fresh: dict[Topic, dict[bytes, bytes | None]] = {}
                for partition, records in consumer.poll(timeout_ms=POLL_MS).items():
                    rows = fresh.setdefault(by_name[partition.topic], {})
                    rows.update((record.key or b"", record.value) for record in records)
                for topic in FOLLOWED:  # the catalogue before the pages before the plays
                    if topic in fresh:
                        self.take(topic, fresh[topic])
                self._send(producer)
        finally:
            consumer.close()

    # -- what comes in --------------------------------------------------------------------------------------------

    def take(self, topic: Topic, rows: dict[bytes, bytes | None]) -> None:
        """Take in the newest value of some keys of one topic; None deletes a key."""
        if topic is catalogue.QOE_SESSION:
            self._take_sessions([value for value in rows.values() if value is not None])
        elif topic is catalogue.HOME_PAGE:
            self._take_pages(rows)
        else:
            held = self.known[topic]
            held.update({key: value for key, value in rows.items() if value is not None})
            for key in [key for key, value in rows.items() if value is None]:
                held.pop(key, None)
            self._forget()

    def _forget(self) -> None:
        """What was read off the catalogue; it is read again when next asked for."""
        self._frames: dict[Topic, pd.DataFrame] = {}
        self._rules: dict[date, tuple[Rules, dict[str, int], dict[str, int]]] = {}
        self._running: pd.DataFrame | None = None

    def _take_pages(self, rows: dict[bytes, bytes | None]) -> None:
        for key, value in rows.items():
            if value is None:
                self.pages.pop(key, None)
                self.page_date.pop(key, None)
                continue
            try:
                record, _, page = wire.decode_one(value)
                if record != catalogue.HOME_PAGE.record:
                    raise WireError("schema", f"a {record} message where a home_page was expected")
            except WireError as error:
                self._skip(error)
                continue
            if page["page_date"] < self.page_date.get(key, date.min):
                self.overtaken.add(key)
                continue
            self.pages[key], self.page_date[key] = value, page["page_date"]
            self.stale.add(key)

    def _readable(self, topic: Topic, values: list[bytes]) -> pd.DataFrame:
        return consume.readable(values, topic.record, self._skip)

    def _skip(self, error: WireError) -> None:
        self.unreadable += 1
        self.say(f"a message that cannot be read is left out ({self.unreadable:,} so far): {error}")

    def _take_sessions(self, values: list[bytes]) -> None:
        """Quality plays among live sessions, by profile and show; of a show the newest one counts."""
        live = self._readable(catalogue.QOE_SESSION, values).rename(columns={"start_at": "started_at"})
        titles = self._titles()
        live = live[live["title_id"].isin(titles.index)].reset_index(drop=True)
        found = titles.loc[live["title_id"], ["show_id", "duration_ms", "last"]].reset_index(drop=True)
        live = watched.of(pd.concat([live, found], axis=1))
        live = live[live["quality_play"]]
        if live.empty:
            return
        people = self._frame(catalogue.PROFILE)
        people = people[people["profile_id"].isin(live["profile_id"])]
        live = usable_plays(live, people, self._frame(catalogue.TITLE), self._frame(catalogue.PROFILE_CHOICE))
        begun, finished = live["started_at"].astype("int64"), live["completed"] & live["last"]
        for profile, show, at, done in zip(live["profile_id"], live["show_id"], begun, finished, strict=True):
            key, play = profile.encode(), Played(int(at), bool(done), show)
            mine = self.played.setdefault(key, {})
            if play > mine.get(show, Played(-1, False, show)):
                mine[show] = play
                self.stale.add(key)

    def _titles(self) -> pd.DataFrame:
        """By title_id: show_id, duration_ms, and whether it is a film or the last episode of its series so far."""
        if self._running is None:
            frame = self._frame(catalogue.TITLE)
            order = frame.assign(day=epoch_days(frame["launch_date"])).fillna({"season": 0, "episode": 0})
            order = order[order["kind"] != "series"].sort_values(["day", "season", "episode"], kind="stable")
            last = set(order.drop_duplicates("show_id", keep="last")["title_id"])
            self._running = frame.assign(last=frame["title_id"].isin(last)).set_index("title_id")
        return self._running

    def _frame(self, topic: Topic) -> pd.DataFrame:
        if topic not in self._frames:
            self._frames[topic] = self._readable(topic, list(self.known[topic].values()))
        return self._frames[topic]

    # -- what goes out --------------------------------------------------------------------------------------------

    def _send(self, producer: KafkaProducer) -> None:
        begin, sent = time.monotonic(), 0
        name = topics.real_name(catalogue.HOME_PAGE, self.settings)
        for key, value in self.corrections():
            producer.send(name, key=key, value=value)
            sent += 1
        if sent:
            producer.flush()
            self.say(f"{sent:,} pages corrected in {1e3 * (time.monotonic() - begin):.0f} ms")

    def corrections(self) -> Iterable[tuple[bytes, bytes]]:
        """Pages that are not what they should be, by key, and from now on are."""
        stale, self.stale = self.stale, set()
        overtaken, self.overtaken = self.overtaken, set()
        for key in sorted((stale | overtaken) & self.pages.keys()):
            page = wire.decode_one(self.pages[key])[2]
            after = self._after(key, page)
            if after is not page:
                self.pages[key] = wire.encode_one(catalogue.HOME_PAGE.record, after)
            if after is not page or key in overtaken:
                yield key, self.pages[key]

    def _after(self, key: bytes, page: dict[str, Any]) -> dict[str, Any]:
        midnight = epoch_day(page["page_date"]) * DAY_MS
        mine = self.played.get(key, {})
        if any(play.begun_ms < midnight - DAY_MS for play in mine.values()):
            mine = self.played[key] = {s: p for s, p in mine.items() if p.begun_ms >= midnight - DAY_MS}
        since = [play for play in mine.values() if midnight <= play.begun_ms < midnight + DAY_MS]
        if page["page_arm"] != "policy" or not since:
            return page
        may = self._allowed(page["profile_id"], page["page_date"])
        return after_plays(page, since, may)

    def _allowed(self, profile_id: str, day: date) -> Callable[[str], bool]:
        """Which shows the rules let a profile see on a day; a profile nobody knows may see none."""
        if day not in self._rules:
            titles, people = self._frame(catalogue.TITLE), self._frame(catalogue.PROFILE)
            offer = shows(titles)
            rules = Rules.of(offer, titles, people, self._frame(catalogue.PROFILE_CHOICE), day)
            self._rules[day] = (
                rules,
                {profile: i for i, profile in enumerate(people["profile_id"])},
                {show: i for i, show in enumerate(offer["title_id"])},
            )
        rules, people_at, shows_at = self._rules[day]
        place = people_at.get(profile_id)
        allowed = np.zeros(len(shows_at), bool) if place is None else rules.allowed(place, place + 1)[0]
        return lambda show: show in shows_at and bool(allowed[shows_at[show]])
