"""CMCD records: read, written, mapped to events; what is bad goes and is counted, what is unknown stays."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from bench import qoe_cmcd
from models.playback import cmcd, cmcd_event, cmcd_request
from models.playback.cmcd import Item, Refused, Token
from models.playback.events import AD_BREAK, UNKNOWN, Event
from models.playback.spans import Policy, fold
from tests.models.playback import cmcd_golden, golden

RECORDS = cmcd_golden.records()
KEYS = cmcd_event.EVENT_KEYS
OF_ADS = ("as", "ae", "abs", "abe")
TABLE_1 = """ab bl bg br bs bsa bsd bsda cen cid cmsdd cmsds cs d dfa dl e ec h lab lb ltc msd mtp nor nr ot pb pr pt rc
rtp sf sid smrt sn st sta su tab tb tbl tpb ts ttfb ttfbb ttlb url v"""
"""The keys of CTA-5004-B, table 1."""


def _json(value: Any) -> Any:
    return [[item.value, dict(item.params)] for item in value] if isinstance(value, tuple) else value


def test_every_key_of_the_standard_is_known_and_has_a_case() -> None:
    keys = set(TABLE_1.split())
    assert set(cmcd.KEYS) == keys
    assert {name for case in RECORDS for name in case["values"]} >= keys


@pytest.mark.parametrize("case", RECORDS, ids=lambda case: case["name"])
def test_read_and_written(case: dict[str, Any]) -> None:
    record = cmcd.event_record(case["line"], KEYS)
    assert {name: _json(value) for name, value in record.values.items()} == case["values"]
    assert (record.unknown, list(record.dropped)) == (case["unknown"], case["dropped"])
    text = record.encode(KEYS)
    assert text == case["canonical"]
    assert cmcd.event_record(text, KEYS).encode(KEYS) == text


@pytest.mark.parametrize("case", RECORDS, ids=lambda case: case["name"])
def test_event(case: dict[str, Any]) -> None:
    decoded = cmcd_event.decode(cmcd_golden.message([case["line"]]), b"s1", 2, 7)
    assert decoded.letters == []
    [row] = decoded.rows
    assert {name: row[name] for name in case["event"]} == case["event"]
    assert (row["received_at"], row["post_device_at"]) == (1_790_000_000_500, 1_790_000_000_100)
    assert (row["isp"], row["country"], row["device"]) == ("DE-1", "DE", "tv")
    assert (row["kafka_partition"], row["kafka_offset"]) == (1_000_002, 7 * 1_024 + 1)


@pytest.mark.parametrize("case", cmcd_golden.refused(), ids=lambda case: case["reason"])
def test_refused(case: dict[str, Any]) -> None:
    message = cmcd_golden.message([case["line"]])
    [letter] = cmcd_event.decode(message, b"s1").letters
    assert (letter.error_class, letter.reason) == (case["error_class"], case["reason"])
    assert (letter.line, letter.payload) == (1, message)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ({"w": 2}, "no valid w"),
        ({"at": 4_102_444_800_000}, "no valid at"),
        ({"newest": 10**15 - 1}, "no valid newest"),
    ],
)
def test_a_message_without_a_collector_line_is_one_letter(head: dict[str, Any], reason: str) -> None:
    message = cmcd_golden.message([RECORDS[0]["line"]], head)
    assert cmcd_event.decode(message, b"s1").letters == [
        cmcd_event.Letter(0, message, "frame", f"collector line: {reason}")
    ]


@pytest.mark.parametrize(
    ("by", "good"), [(86_400_000, True), (-86_400_000, True), (86_400_001, False), (-86_400_001, False)]
)
def test_a_clock_more_than_a_day_off_is_refused_line_by_line(by: int, good: bool) -> None:
    newest = cmcd_golden.HEAD["at"] + by
    message = cmcd_golden.message([RECORDS[0]["line"]] * 2, {"newest": newest})
    decoded = cmcd_event.decode(message, b"s1")
    assert len(decoded.rows) == 2 * good
    told = [(letter.line, letter.error_class, letter.reason) for letter in decoded.letters]
    assert told == [] if good else [(n, "clock", f"newest is {newest}: more than 24 h from at") for n in (1, 2)]
    assert {letter.error_class for letter in decoded.letters} <= set(cmcd.ERROR_CLASSES)


def test_a_message_has_1_to_1023_lines() -> None:
    for count in (0, 1_024):
        [letter] = cmcd_event.decode(cmcd_golden.message([b"x"] * count), b"s1").letters
        assert (letter.line, letter.error_class) == (0, "frame") and str(count) in letter.reason


def test_a_bad_line_does_not_hurt_its_neighbours() -> None:
    good = RECORDS[0]["line"]
    decoded = cmcd_event.decode(cmcd_golden.message([good, b"poison", good.replace(b"sn=0", b"sn=1")]), b"s1")
    assert [row["seq"] for row in decoded.rows] == [0, 1]
    assert [letter.line for letter in decoded.letters] == [2]


def test_identity_tells_modes_and_targets_apart() -> None:
    event, request = cmcd.parse('e=t,sid="a",sn=4'), cmcd.parse('sid="a",sn=4')
    assert event.identity("t1") == ("a", "event", "t1", 4)
    assert len({event.identity("t1"), event.identity("t2"), request.identity("t1")}) == 3
    assert cmcd.parse("e=t").identity() is None


def test_encode_refuses_what_it_would_not_read() -> None:
    for name, value in (("br", 5000), ("sta", "x"), ("sid", "x" * 65), ("sn", -1), ("BAD KEY", 1), ("pr", 1e13)):
        with pytest.raises(ValueError, match=name):
            cmcd.encode({name: value})


def test_as_sent() -> None:
    known = {"bl": [4_250], "mtp": [Item(1_049, (("v", True),))], "d": 324.6, "pr": 1, "bs": False, "ts": 5, "e": "t",
             "url": "u", "cen": "c", "com.example-x": Token("y")}  # fmt: skip
    assert cmcd.encode(cmcd.as_sent(known)) == "bl=(4300),com.example-x=y,d=325,e=t,mtp=(1000;v),ts=5"
    assert cmcd.encode(cmcd.as_sent(known, "request")) == "bl=(4300),com.example-x=y,d=325,mtp=(1000;v)"
    assert "url" in cmcd.as_sent(known | {"e": "rr"}) and "cen" in cmcd.as_sent(known | {"e": "ce"})


def test_request_mode_and_version_1() -> None:
    values = {"br": [5000], "nor": ["../a b.m4s"], "sid": "x y", "v": 2, "bs": True, "sta": Token("p"), "c.x-k": "q"}
    text = cmcd_request.to_query(values)
    assert " " not in text and cmcd_request.from_query(text).encode() == cmcd.encode(values)
    headers = cmcd_request.to_headers(values)
    assert headers["CMCD-Status"] == "bs" and headers["CMCD-Object"] == "br=(5000)"
    assert cmcd_request.from_headers({k.lower(): v for k, v in headers.items()}).encode() == cmcd.encode(values)
    old = cmcd_request.to_v1(values)
    assert old == 'br=5000,bs,c.x-k="q",nor="..%2Fa%20b.m4s",sid="x y"'
    assert cmcd_request.from_v1(old).values["nor"] == (Item("../a b.m4s"),)


@pytest.mark.parametrize("case", golden.CASES)
def test_a_session_told_in_cmcd_folds_to_the_same_spans(case: str) -> None:
    rows, policy = golden.events(case), golden.policy(case)
    known = None
    for row in sorted(rows, key=lambda row: row["seq"]):  # a player that says no bitrate leaves it as it was
        row["bitrate_kbps"] = known = known if row["bitrate_kbps"] is None else row["bitrate_kbps"]
    for revision in ("live", "final"):
        sent = _through_cmcd(rows)
        untold = {"title_id": UNKNOWN, "asset_id": UNKNOWN}  # by what begins or ends an ad
        meant = [row | (untold if of["event"] in OF_ADS else {}) for row, of in zip(rows, sent, strict=True)]
        assert fold(sent, policy, revision) == fold(meant, policy, revision)


def _through_cmcd(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row as a record in a message of its own; positions stay those of the case, flags of ads become events."""
    ad_before = {}
    was, breaks = False, any("ad" in row["kept"] for row in rows)
    silent: dict[int, bool] = {}
    for row in sorted(rows, key=lambda row: row["seq"]):
        ad_before.setdefault(row["seq"], was)
        silent |= {row["seq"]: row["kept"] == "ad"}
        was = row["ad"] or AD_BREAK in row.get("kept", "") or (row.get("kept") == "ad" and was)
        was = was and row["state"] not in "efq"
    found = []
    for row in rows:
        values = cmcd_event.values_of(row, ad_before[row["seq"]])
        if breaks:
            before = max((seq for seq in silent if seq < row["seq"]), default=None)
            ends_unseen = before is not None and silent[before] and not row["ad"]
            values["e"] = _event_of_a_break(row, ad_before[row["seq"]] or ends_unseen)
        line = cmcd.encode(values, KEYS).encode()
        head = {"at": row["received_at"], "newest": row["post_device_at"], "isp": row["isp"], "country": row["country"],
                "device": Token(row["device"])}  # fmt: skip
        [event] = cmcd_event.decode(cmcd_golden.message([line], head), row["session_id"].encode()).rows
        place = {name: row[name] for name in ("kafka_partition", "kafka_offset")}
        if not breaks:  # A gap hides whether an ad begins; the row says it, a player could not.
            words = [word for word in event["kept"].split(",") if word not in ("ad", AD_BREAK)]
            event |= {"ad": row["ad"], "kept": ",".join(words)}
        found.append(event | place)
    return found


def _event_of_a_break(row: dict[str, Any], was_ad: bool) -> str:
    if AD_BREAK in row.get("kept", ""):
        return "as" if row["ad"] else "ae"
    return "ps" if row.get("kept") or row["ad"] == was_ad else "abs" if row["ad"] else "abe"


def test_what_says_nothing_of_the_picture_cuts_no_span() -> None:
    """A session with a mute, a response, a resize and a bare heartbeat between its events has the spans it had."""
    base = golden.events("stall")
    with_noise: list[dict[str, Any]] = []
    quiet = {"state": "d", "bitrate_kbps": None, "ad": False, "background": False, "title_id": "unknown",
             "cdn_id": "unknown", "isp": "elsewhere", "playback_rate": 2.0, "kept": "*"}  # fmt: skip
    heartbeat = quiet | {"isp": base[0]["isp"], "playback_rate": 1.0,
                         "kept": "state,ad,bitrate_kbps,title_id,asset_id,cdn_id,app_version,profile_id"}  # fmt: skip
    for row in sorted(base, key=lambda row: row["seq"]):
        with_noise.append(row)
        if row["state"] not in "efq":
            with_noise += [row | said for said in (quiet, heartbeat)]
    numbered = [row | {"seq": n, "kafka_offset": n} for n, row in enumerate(with_noise)]
    expected, found = fold(base, Policy(), "final"), fold(numbered, Policy(), "final")
    assert found.spans == expected.spans
    assert len(numbered) > len(base) and found.sessions[0]["events"] == len(numbered)


def test_a_title_told_late_is_no_other_content() -> None:
    """Lines without `cid` before the first that has one, and after it; then one of another title."""
    said = [("0", "s", ""), ("1000", "p", 'cid="t1",'), ("3000", "p", ""), ("5000", "s", 'cid="t2",')]
    lines = [f'{cid}e=ps,sid="s1",sn={n},sta={sta},ts={1_790_000_000_000 + int(ms)},v=2'.encode()
             for n, (ms, sta, cid) in enumerate(said)]  # fmt: skip
    rows = cmcd_event.decode(cmcd_golden.message(lines), b"s1").rows
    assert [row["title_id"] for row in rows] == ["unknown", "t1", "unknown", "t2"]
    columns = ("title_id", "asset_id", "attempts", "start_delay_ms", "end_reason")
    found = [tuple(row[name] for name in columns) for row in fold(rows, Policy(), "final").sessions]
    assert found == [("t1", "t1", 1, 1_000, "content_change"), ("t2", "t2", 1, 0, "timeout")]


def _told(said: str) -> list[dict[str, Any]]:
    """Events of "milliseconds event state title|...", where - is not said."""
    lines = []
    for n, (ms, e, sta, cid) in enumerate(word.split() for word in said.split("|")):
        keys = [f'cid="{cid}"'] * (cid != "-") + [f"e={e}", 'sid="s1"', f"sn={n}"] + [f"sta={sta}"] * (sta != "-")
        lines.append(",".join([*keys, f"ts={1_790_000_000_000 + int(ms)}", "v=2"]).encode())
    return cmcd_event.decode(cmcd_golden.message(lines), b"s1").rows


@pytest.mark.parametrize(
    ("said", "sums"),
    [
        ("0 ps s t1|500 as p ad1|10000 ae - ad1|10001 ps p t1|60000 ps e t1", (1, 1, 9_500, 50_000)),
        ("0 ps s -|500 as p ad1|10000 ae - ad1|10001 ps p t1|60000 ps e t1", (1, 1, 9_500, 50_000)),
        (
            "0 ps s t1|500 ps p t1|10000 abs - t1|10000 as - ad1|20000 ae - ad1|20000 abe - ad1"
            "|20000 ps p t1|60000 ps e t1",
            (1, 1, 10_000, 49_500),
        ),
        ("0 ps s t1|500 as p ad1|5000 sk - ad1|5001 ps p t1|60000 ps e t1", (1, 1, 4_500, 55_000)),
        ("0 ps s t1|500 ps p t1|10000 as p ad1|12000 sk p t1|60000 ps e t1", (1, 1, 2_000, 57_500)),
        (
            "0 ps s t1|500 ps p t1|10000 abs - t1|10000 as - ad1|15000 sk - ad1|15000 as p ad2|20000 abe p t1"
            "|60000 ps e t1",
            (1, 1, 10_000, 49_500),
        ),
        ("0 ps s t1|500 ps p t1|10000 as p ad1|12000 sk k t1|14000 ae p ad1|60000 ps e t1", (1, 1, 4_000, 55_500)),
    ],
    ids=["before content", "before any title", "break inside", "skipped", "skipped inside", "in a break", "seek"],
)
def test_the_cid_of_an_ad_is_not_content(said: str, sums: tuple[int, ...]) -> None:
    """Of what begins and ends an ad or a break: it may be the ad's own."""
    [session] = fold(_told(said), Policy(), "final").sessions
    assert (session["attempts"], session["plays"], session["ad_ms"], session["play_ms"]) == sums
    assert (session["title_id"], session["end_reason"]) == ("t1", "ended")


@pytest.mark.parametrize("ends", ["20000 ae p ad1|20000 abe p t1", "20000 ae - ad1|20000 abe - t1", "20000 sk p -"])
@pytest.mark.parametrize("then", ["20100 ps e t1", "22000 t p -|25000 ps e t1"])
def test_an_ad_after_the_end_leaves_nothing_playing(ends: str, then: str) -> None:
    """A player that says its state with every record says playing of the ad, also of the moment when it ends."""
    said = f"0 ps s t1|500 ps p t1|10000 ps e t1|10100 abs - t1|10100 as p ad1|{ends}|{then}"
    played, ad = fold(_told(said), Policy(), "final").sessions
    assert (played["attempts"], played["plays"], played["end_reason"]) == (1, 1, "ended")
    assert (ad["attempts"], ad["plays"], ad["exits_before_start"], ad["ad_ms"]) == (0, 0, 0, 9_900)
    later = fold(_told(f"{said}|26000 ps s t2|27000 ps p t2|60000 ps e t2"), Policy(), "final").sessions
    assert [(one["title_id"], one["attempts"], one["start_delay_ms"]) for one in later[2:]] == [("t2", 1, 1_000)]


def test_what_is_kept() -> None:
    base = golden.events("plain_play")[0]
    first = Event.of(base | {"state": "p", "ad": True, "bitrate_kbps": 5, "title_id": "t", "background": True})
    later = Event.of(base | {"state": "d", "ad": False, "title_id": "u", "kept": "state,title_id,x"})
    found = later.after(first)
    assert (found.state, found.title_id, found.ad, found.kept) == ("p", "t", False, "")
    assert found.bitrate_kbps == base["bitrate_kbps"]
    everything = Event.of(base | {"kept": "*", "seq": 9}).after(first)
    told = base | {"seq": 9, "state": "p", "ad": True, "bitrate_kbps": 5, "title_id": "t", "background": True}
    assert everything == replace(Event.of(told), kept="ad")


def test_mutants_never_raise_and_reach_every_refusal() -> None:
    seen: Counter[str] = Counter()
    for line in qoe_cmcd.mutants(5, 1_000):
        try:
            record = cmcd.event_record(line, KEYS)
        except Refused as refused:
            seen[refused.error_class] += 1
        else:
            text = record.encode(KEYS)
            assert cmcd.event_record(text, KEYS) == cmcd.Record(
                dict(sorted(record.values.items())), dict(sorted(record.unknown.items())), ()
            )
            seen["good"] += 1
    assert seen["good"] > 250 and min(seen["frame"], seen["decode"]) > 30


def test_a_real_dash_js() -> None:
    """Responses carry the state of their request (`sta=r` behind `sta=p`): read as events they would be stalls."""
    posts = (cmcd_golden.FOLDER / "dashjs_5_2_1.txt").read_bytes().rstrip(b"\n").split(b"\n\n")
    decoded = [cmcd_event.decode(post, b"dashjs-run-1", 0, n) for n, post in enumerate(posts)]
    rows = [row for one in decoded for row in one.rows]
    assert not any(one.letters for one in decoded) and [row["seq"] for row in rows] == list(range(36))
    after_play = [row for row in rows if row["event"] == "rr" and row["seq"] > 7]
    assert {row["state"] for row in after_play} == {"r", "p"}
    folded = fold(rows, Policy(), "final")
    assert [(span["state"], span["end_at"] - span["start_at"]) for span in folded.spans] == [
        ("preloading", 2), ("starting", 271), ("starting", 691), ("playing", 8_040), ("paused", 2_004),
        ("playing", 8_960), ("paused", 1), ("ended", 0),
    ]  # fmt: skip
    [session] = folded.sessions
    told = {name: session[name] for name in ("start_delay_ms", "stalls", "missing", "end_reason", "app_version")}
    assert told == {"start_delay_ms": 962, "stalls": 0, "missing": 0, "end_reason": "ended", "app_version": "7.1"}
