"""Snowplow media events: states, ads, order without numbers, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from models.playback import snowplow
from models.playback.spans import Policy, fold
from schemas import records
from schemas.validate import Validator

PLAYER = "contexts_com_snowplowanalytics_snowplow_media_player_2"
SESSION = "contexts_com_snowplowanalytics_snowplow_media_session_1"


def event(name: str, second: float, number: int, said: dict[str, Any] | None = None, **player: Any) -> dict[str, Any]:
    at = f"2026-03-01T20:{int(second) // 60:02d}:{second % 60:06.3f}Z"
    return {
        "event_vendor": snowplow.VENDOR, "event_name": f"{name}_event", "event_id": f"e{number}", "platform": "tv",
        "dvce_created_tstamp": at, "dvce_sent_tstamp": at, "collector_tstamp": at, "geo_country": "SE", "user_id": "p1",
        SESSION: [{"mediaSessionId": "m1"}],
        PLAYER: [{"currentTime": second, "ended": False, "paused": False, "label": "t1", **player}],
        f"unstruct_event_com_snowplowanalytics_snowplow_media_{name}_event_1": said or {},
    }  # fmt: skip


STORY = [
    event("ready", 0, 0, paused=True), event("play", 1, 1), event("quality_change", 1.2, 2, {"bitrate": 2_400_000}),
    event("ping", 11, 3), event("buffer_start", 12, 4), event("buffer_end", 14, 5), event("seek_start", 20, 6),
    event("seek_end", 21, 7), event("ad_break_start", 25, 8), event("ad_start", 25, 9), event("ad_complete", 35, 10),
    event("ad_break_end", 35, 11), event("volume_change", 36, 12), event("pause", 40, 13, paused=True),
    event("seek_start", 42, 14, paused=True), event("seek_end", 43, 15, paused=True), event("play", 45, 16),
    event("end", 50, 17, ended=True),
]  # fmt: skip


def test_a_session() -> None:
    done = snowplow.adapt([*reversed(STORY), STORY[3]])
    assert done.refused == [] and [row["seq"] for row in done.rows] == list(range(len(STORY)))
    validator = Validator(records.load("playback_event"))
    assert [list(validator.wrong(row)) for row in done.rows] == [[]] * len(STORY)
    rows = [row | {"kafka_partition": 0, "kafka_offset": n} for n, row in enumerate(done.rows)]
    [session] = fold(rows, Policy(), "final").sessions
    sums = {"attempts": 1, "plays": 1, "stalls": 1, "stall_ms": 2_000, "seek_ms": 2_000, "ad_ms": 10_000,
            "pause_ms": 4_000, "starts_measured": 0}  # fmt: skip
    assert {name: session[name] for name in sums} == sums
    # Playing from 1 to 50 s but for the stall, the seeks, the ads and the pause.
    assert session["play_ms"] == 49_000 - 2_000 - 2_000 - 10_000 - 4_000
    assert session["bitrate_kbps_ms"] == 2_400 * (session["play_ms"] - 200)
    assert (session["title_id"], session["country"], session["device"]) == ("t1", "SE", "tv")
    assert session["end_reason"] == "ended"


def test_a_break_of_two_ads_is_one_ad_to_the_content_around_it() -> None:
    """Two ads under labels of their own, a second of nothing between them: no other content, no frame of it."""
    own = {"label": "ad"}
    break_ = [
        event("ad_break_start", 25, 8, **own), event("ad_start", 25, 9, **own), event("ad_complete", 29, 10, **own),
        event("ad_start", 30, 18, **own), event("ad_complete", 35, 19, **own), event("ad_break_end", 35, 11),
    ]  # fmt: skip
    story = [one for one in STORY if not one["event_name"].startswith("ad_")]
    rows = snowplow.adapt([*story, *break_]).rows
    placed = [row | {"kafka_partition": 0, "kafka_offset": n} for n, row in enumerate(rows)]
    [session] = fold(placed, Policy(), "final").sessions
    assert (session["attempts"], session["plays"], session["ad_ms"], session["title_id"]) == (1, 1, 10_000, "t1")
    assert session["play_ms"] == 49_000 - 2_000 - 2_000 - 10_000 - 4_000


def _folded(*story: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [row | {"kafka_partition": 0, "kafka_offset": n} for n, row in enumerate(snowplow.adapt(story).rows)]
    return fold(rows, Policy(), "final").sessions


def test_what_begins_and_ends_an_ad_tells_no_title() -> None:
    """An ad without a break, before the content and in it, under a label of its own."""
    first = [event("ad_start", 0.5, 20, label="ad"), event("ad_complete", 0.9, 21, label="ad")]
    inside = [event("ad_start", 25, 8, label="ad"), event("ad_skip", 35, 10, label="ad")]
    story = [one for one in STORY if not one["event_name"].startswith("ad_")]
    [session] = _folded(*story, *first, *inside)
    assert (session["attempts"], session["plays"], session["ad_ms"], session["title_id"]) == (1, 1, 10_000, "t1")


def test_buffering_before_the_playhead_moves_is_start_up() -> None:
    """`play` is told when somebody presses it, before there is a frame; later the same is a stall."""
    begun = [event("ready", 0, 0, paused=True, currentTime=0), event("play", 1, 1, currentTime=0)]
    waits = [event("buffer_start", 1.01, 2, currentTime=0), event("buffer_end", 5, 3, currentTime=0.02)]
    rest = [event("ping", 15, 4, currentTime=10), event("buffer_start", 16, 5, currentTime=11)]
    [left] = _folded(*begun, waits[0], event("ping", 31, 6, currentTime=0))
    assert (left["stalls"], left["cir_exits"], left["starting_ms"]) == (0, 0, 29_990)
    [played] = _folded(*begun, *waits, *rest, event("buffer_end", 18, 6, currentTime=11), event("end", 20, 7))
    assert (played["stalls"], played["stall_ms"], played["starting_ms"]) == (1, 2_000, 3_990)
    assert (played["attempts"], played["plays"], played["starts_measured"]) == (1, 1, 0)
    again = [event("play", 22, 8, currentTime=0, label="t2"), event("buffer_start", 23, 9, currentTime=0, label="t2")]
    assert [one["stalls"] for one in _folded(*begun, *waits, *rest, event("end", 20, 7), *again)] == [1, 0]


def test_a_label_that_comes_late_is_no_other_content() -> None:
    """The player knows no label before it has loaded, and loses it in between."""
    story = [event("play", 0.5, 20, label=None), event("ping", 16, 21, label=None), *STORY[1:]]
    rows = snowplow.adapt(story).rows
    assert [row["title_id"] for row in rows[:2]] == ["unknown", "t1"]
    placed = [row | {"kafka_partition": 0, "kafka_offset": n} for n, row in enumerate(rows)]
    [session] = fold(placed, Policy(), "final").sessions
    assert (session["attempts"], session["plays"], session["title_id"], session["asset_id"]) == (1, 1, "t1", "t1")


def test_an_error_fails_the_session() -> None:
    done = snowplow.adapt([*STORY[:4], event("error", 15, 9, {"errorCode": "MEDIA_ERR_NETWORK"})])
    assert (done.rows[-1]["state"], done.rows[-1]["error_code"]) == ("f", "MEDIA_ERR_NETWORK")


def test_a_playhead_that_moves_plays_though_nothing_said_so() -> None:
    """`play` came before the tracker was there (autoplay); or the player went on by itself after an error."""
    [seen] = _folded(event("ping", 1, 0), event("ping", 31, 1), event("volume_change", 40, 2), event("end", 60, 3))
    assert (seen["attempts"], seen["plays"], seen["starts_measured"], seen["play_ms"]) == (1, 1, 0, 29_000)
    [waits] = _folded(*(event("ping", at, at, currentTime=0, paused=True) for at in (1, 31, 61)))
    assert (waits["attempts"], waits["play_ms"]) == (0, 0)
    begun = [event("play", 1, 0), event("ping", 11, 1), event("error", 20, 2, {"errorCode": "x"})]
    failed, on = _folded(*begun, event("ping", 30, 3), event("ping", 60, 4), event("pause", 80, 5, paused=True))
    assert (failed["playback_failures"], failed["play_ms"], on["plays"], on["play_ms"]) == (1, 19_000, 1, 50_000)
    [gone] = _folded(*begun, *(event("ping", at, at, currentTime=20) for at in (30, 60)))
    assert (gone["end_reason"], gone["plays"], gone["play_ms"]) == ("failed", 1, 19_000)


def test_what_is_refused_says_why() -> None:
    bad = [
        STORY[0] | {"event_name": "page_view"}, STORY[1] | {"event_vendor": "com.example"}, STORY[2] | {SESSION: []},
        STORY[3] | {"dvce_created_tstamp": "yesterday"}, STORY[4] | {"collector_tstamp": "2199-01-01T00:00:00Z"}, {},
        STORY[5] | {"dvce_sent_tstamp": "1970-01-01T00:00:09Z"}, "no JSON", [1],
    ]  # fmt: skip
    reasons = [why for _, why in snowplow.adapt(bad).refused]
    expected = ("no media event", "com.example", "mediaSessionId", "no time", "1970", "no media event",
                "24 h from collector_tstamp", "no JSON object", "no JSON object")  # fmt: skip
    assert len(reasons) == len(expected)
    assert all(words in why for words, why in zip(expected, reasons, strict=True))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"event_id": [1]}, "event_id is no text"),
        ({"event_id": {}}, "event_id is no text"),
        ({"event_id": 7}, "event_id is no text"),
        ({"event_id": ""}, "event_id is no text"),
        ({PLAYER: [{"label": "\ud83d"}]}, "title_id is no Unicode text"),
        ({SESSION: [{"mediaSessionId": "m\ud800"}]}, "session_id is no Unicode text"),
        ({"user_id": "\udfff"}, "profile_id is no Unicode text"),
        ({"event_name": "\ud83d"}, r"snowplow.media/\ud83d is no media event"),
    ],
)
def test_one_bad_event_does_not_lose_the_others(wrong: dict[str, Any], why: str) -> None:
    done = snowplow.adapt([*STORY[:3], STORY[3] | wrong, *STORY[4:]])
    [(place, reason)] = done.refused
    assert place == 3 and why in reason and reason.encode()
    assert [row["seq"] for row in done.rows] == list(range(len(STORY) - 1))


def test_absurd_numbers_are_left_out() -> None:
    [row] = snowplow.adapt([event("ping", 1, 0, currentTime=float("nan"), playbackRate=99)]).rows
    assert (row["playhead_ms"], row["playback_rate"]) == (None, 1.0)
    [row] = snowplow.adapt([event("quality_change", 1, 0, {"bitrate": 10**15})]).rows
    assert row["bitrate_kbps"] is None and "bitrate_kbps" in row["kept"]
