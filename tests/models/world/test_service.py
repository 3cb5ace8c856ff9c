"""Days are repeatable, ordered and in record form."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from models.world import Day, World, WorldConfig, WorldError
from schemas import wire
from tests.models.world.conftest import SMALL


def fingerprint(day: Day) -> str:
    """Hash over every column of every frame and the poison."""
    state = sha256()
    for name, frame in [
        ("events", day.events),
        ("impressions", day.impressions),
        ("cdn", day.cdn_requests),
        *day.truth.items(),
    ]:
        state.update(name.encode())
        for column in frame:
            state.update(repr((column, frame[column].tolist())).encode())
    state.update(b"".join(k + v for k, v in day.poison))
    return state.hexdigest()


def test_equal_seeds_make_equal_days_and_others_do_not(dirty: tuple[World, Day]) -> None:
    again = World.create(SMALL)
    assert fingerprint(again.live(0)) == fingerprint(dirty[1])
    other = World.create(replace(SMALL, seed=12))
    assert fingerprint(other.live(0)) != fingerprint(dirty[1])


def test_a_day_can_be_lived_again_after_later_days() -> None:
    world = World.create(SMALL)
    world.live(0)
    first = fingerprint(world.live(1))
    world.live(2)
    assert fingerprint(world.live(1)) == first


def test_days_out_of_order_are_refused() -> None:
    world = World.create(SMALL)
    with pytest.raises(WorldError, match="live days in order"):
        world.live(1)
    with pytest.raises(WorldError, match="beyond the world's 4 days"):
        world.live(4)


@pytest.mark.parametrize("record", ["title", "artwork", "asset_file", "profile", "cdn_cluster"])
def test_the_catalogue_is_in_record_form(dirty: tuple[World, Day], record: str) -> None:
    frame = dirty[0].catalogue(0)[record]
    assert len(wire.encode_frame(record, None, frame)) == len(frame) > 0


def test_news_are_the_rows_that_differ_from_the_day_before() -> None:
    days = 20
    world = World.create(WorldConfig(seed=11, profiles=50, shows=60, days=days))
    sent = [world.news(day) for day in range(days)]
    for record in world.catalogue(0):
        told: set[bytes] = set()
        for day in range(days):
            encoded = wire.encode_frame(record, None, sent[day][record])
            assert told.isdisjoint(encoded)
            told |= set(encoded)
            assert set(wire.encode_frame(record, None, world.catalogue(day)[record])) <= told
    assert [len(news["profile"]) for news in sent] == [world.config.profiles] + [0] * (days - 1)
    assert sum(len(news["title"]) for news in sent[1:]) > 0


def test_a_days_rows_are_in_record_form(dirty: tuple[World, Day]) -> None:
    day = dirty[1]
    for version in (1, 2):
        rows = day.events[day.events["schema_version"] == version]
        assert len(wire.encode_frame("playback_event", version, rows)) == len(rows) > 0
    assert len(wire.encode_frame("impression", None, day.impressions)) == len(day.impressions) > 0
    assert len(wire.encode_frame("cdn_request", None, day.cdn_requests)) == len(day.cdn_requests) > 0
