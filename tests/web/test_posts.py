"""Bodies to messages, user agents to device classes, addresses to places: no broker, no HTTP."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from starlette.requests import Request

from conf.errors import ConfigError
from conf.settings import load
from models.playback import cmcd, cmcd_event
from web import posts
from web.addresses import UNKNOWN, Addresses
from web.collector import Collector

SENDER = posts.Sender("DE-1", "DE", "tv", app="7.1", profile='p"\\7')
AT = 1_790_000_000_000


def line(sid: str, sn: int, ts: int = AT, more: str = "") -> bytes:
    return f'e=t,{more}sid="{sid}",sn={sn},sta=p,ts={ts},v=2'.encode()


def read(body: bytes, hosts: dict[str, str] | None = None) -> tuple[list[dict[str, object]], list[cmcd_event.Letter]]:
    """What a reader finds in the messages of a body."""
    made, _ = posts.messages(body, SENDER, AT + 50, hosts or {}, 32)
    decoded = [cmcd_event.decode(value, key) for key, value in made]
    return [row for one in decoded for row in one.rows], [letter for one in decoded for letter in one.letters]


def test_one_session_is_one_message_with_what_the_collector_knows() -> None:
    body = b"\n".join([line("a", 0), line("a", 1, AT + 7), line("a", 2, AT - 7)])
    made, count = posts.messages(body + b"\n", SENDER, AT + 50, {}, 32)
    assert count == 3 and [key for key, _ in made] == [b"a"] and made[0][1].endswith(body)
    rows, letters = read(body)
    assert not letters and [row["seq"] for row in rows] == [0, 1, 2]
    assert {row["received_at"] for row in rows} == {AT + 50} and {row["post_device_at"] for row in rows} == {AT + 7}
    seen = {name: rows[0][name] for name in ("isp", "country", "device", "app_version", "profile_id")}
    assert seen == {"isp": "DE-1", "country": "DE", "device": "tv", "app_version": "7.1", "profile_id": 'p"\\7'}


def test_sessions_are_parted_and_each_has_a_newest_time_of_its_own() -> None:
    body = b"\r\n".join([line("a", 0), line("b", 0, AT + 9), b"", line("a", 1, AT - 3)])
    rows, letters = read(body)
    assert not letters and sorted((row["session_id"], row["seq"]) for row in rows) == [("a", 0), ("a", 1), ("b", 0)]
    assert {(row["session_id"], row["post_device_at"]) for row in rows} == {("a", AT), ("b", AT + 9)}


FAR = 4_102_444_799_999


@pytest.mark.parametrize("bad", [
    f'e=t,sid="other",sn=0,ts={FAR},v=3', f'e=t,sid="a",sn=0,ts={FAR},v=3', f'e=t,sid="a",ts={FAR},v=2',
    f'sid="a",sn=0,ts={FAR},v=2', f'e=t,sid="a",sn=10000001,ts={FAR},v=2', f"ts={FAR}", f'sid="a",ts={FAR},x="',
    f'e=t,sid="a",sn=0,ts={FAR + 1},v=2', f'cid=" ts={FAR},",sid="a"', f'e=t,sid="a",sn=0,ts={FAR},v=2,x=\udcff',
])  # fmt: skip
def test_what_becomes_a_dead_letter_moves_no_session(bad: str) -> None:
    """Clocks come from lines that are taken as events, wherever the others stand and whatever they claim."""
    other = bad.encode(errors="surrogateescape")
    for body in ([line("a", 0), other, line("a", 1, AT + 7)], [other, line("a", 0, AT + 7)]):
        rows, letters = read(b"\n".join(body))
        assert len(letters) == 1 and {(row["session_id"], row["post_device_at"]) for row in rows} == {("a", AT + 7)}


def test_a_session_moves_no_other() -> None:
    rows, letters = read(b"\n".join([line("a", 0), line("b", 0, FAR), line("a", 1, AT + 7)]))
    assert [letter.error_class for letter in letters] == ["clock"]
    assert {(row["session_id"], row["post_device_at"]) for row in rows} == {("a", AT + 7)}


def test_the_newest_time_is_that_of_the_events_which_the_reader_finds() -> None:
    """Mutated lines, several a POST: what the reader takes decides, and nothing else does."""
    from bench import qoe_cmcd

    lines = [mutant for mutant in qoe_cmcd.mutants(5, 3_000) if b"\n" not in mutant]
    checked = 0
    for start in range(0, len(lines), 4):
        made, _ = posts.messages(b"\n".join(lines[start : start + 4]), SENDER, AT + 50, {}, 32)
        for key, value in made:
            rows = cmcd_event.decode(value, key).rows
            checked += bool(rows)
            if rows:
                assert {row["post_device_at"] for row in rows} == {max(row["device_at"] for row in rows)}, value
    assert checked > 400


def test_where_nothing_is_taken_the_newest_time_told_stays_for_the_letter() -> None:
    """A corrected letter goes back with it (`streaming.letters`)."""
    for body, newest in ((f'e=t,sid="a",sn=0,ts={AT - 5},v=3', AT - 5), (f'sid="a",ts={FAR + 1}', AT + 50)):
        (_, value), = posts.messages(body.encode(), SENDER, AT + 50, {}, 32)[0]
        assert cmcd_event.collector_line(value.split(b"\n")[0])["newest"] == newest


@pytest.mark.parametrize("more", [
    'cid="x,sid=1",', 'com.example-sid="b",', 'cid="q\\",sid=\\"b",', 'x-y="sid=",', 'cid="a,ts=9",',
])  # fmt: skip
def test_a_session_is_found_whatever_stands_in_strings(more: str) -> None:
    rows, letters = read(line("a", 0, more=more))
    assert not letters and rows[0]["session_id"] == "a" and rows[0]["post_device_at"] == AT


def test_keys_are_what_the_reader_takes() -> None:
    """No mutated line is keyed by another session than the reader finds in it."""
    from bench import qoe_cmcd

    keyed = 0
    for mutant in qoe_cmcd.mutants(3, 1_500):
        try:
            sid = cmcd.parse(mutant).values.get("sid")
        except cmcd.Refused:
            continue
        if isinstance(sid, str) and sid and b"\n" not in mutant:
            keyed += 1
            assert posts.session(mutant.strip(b" \t\r")) == sid.encode(), mutant
    assert keyed > 800


def test_what_has_no_session_goes_without_a_key_and_is_refused_by_the_reader() -> None:
    body = b"\n".join([b"poison", line("a", 0), b"e=t,ts=1790000000000,v=2"])
    made, count = posts.messages(body, SENDER, AT, {}, 32)
    assert count == 3 and {key for key, _ in made} == {None, b"a"}
    rows, letters = read(body)
    assert len(rows) == 1 and {letter.reason for letter in letters} == {"no valid v", "no valid sid"}


def test_long_posts_are_split() -> None:
    body = b"\n".join(line("a", n) for n in range(2_500))
    made, count = posts.messages(body, SENDER, AT, {}, 32)
    assert (count, len(made)) == (2_500, 3)
    rows, letters = read(body)
    assert not letters and [row["seq"] for row in rows] == list(range(2_500))


def test_clusters_of_hosts() -> None:
    hosts = {"edge1.example": 'C"1', "edge2.example": "c2"}
    body = b"\n".join(line("a", n, more=f'h="edge{n}.example",') for n in range(4))
    rows, _ = read(body, hosts)
    assert [row["cdn_id"] for row in rows] == ["edge0.example", 'C"1', "c2", "edge3.example"]


def test_an_empty_body_is_nothing() -> None:
    assert posts.messages(b" \r\n\n", SENDER, AT, {}, 32) == ([], 0)


@pytest.mark.parametrize(("agent", "device"), [
    ("Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit", "tv"),
    ("Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36", "tv"),
    ("Mozilla/5.0 (PlayStation; PlayStation 5/4.03) AppleWebKit", "console"),
    ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X)", "tablet"),
    ("Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 Safari", "tablet"),
    ("Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 Mobile Safari", "mobile"),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile", "mobile"),
    ("Mozilla/5.0 (X11; Linux x86_64) Chrome/120", "web"), ("", "web"),
    ("Mozilla/5.0 (Android 13; Tablet; rv:120.0) Gecko/120.0 Firefox/120.0", "tablet"),
    ("Mozilla/5.0 (Linux; U; Android 7.1.2; KFMUWI) AppleWebKit/537.36 Silk/80.5 like Chrome Safari", "tablet"),
    # Only browsers leave "Mobile" out to say that they run on a tablet; other programs never write it.
    ("ExoPlayerLib/2.18 (Linux; Android 13)", "mobile"),
    ("Example/7.1 (Linux;Android 14) AndroidXMedia3/1.3.1", "mobile"),
    ("Dalvik/2.1.0 (Linux; U; Android 13; Pixel 7 Build/TQ3A)", "mobile"),
    ("Dalvik/2.1.0 (Linux; U; Android 9; AFTMM Build/PS7233)", "tv"),
    ("Example/7.1 (Linux;Android 12; BRAVIA 4K VH2) ExoPlayerLib/2.19.1", "tv"),
    ("Example/7.1 (Android 14; Tablet) ExoPlayerLib/2.19.1", "tablet"),
    ("AppleCoreMedia/1.0.0.20G75 (iPad; U; CPU OS 16_6 like Mac OS X; en_us)", "tablet"),
    ("AppleCoreMedia/1.0.0.20G75 (iPhone; U; CPU OS 16_6 like Mac OS X; en_us)", "mobile"),
    ("AppleCoreMedia/1.0.0.20L563 (Apple TV; U; CPU OS 16_6 like Mac OS X; en_us)", "tv"),
    ("okhttp/4.12.0", "web"),
])  # fmt: skip
def test_devices(agent: str, device: str) -> None:
    assert posts.device(agent) == device


def test_addresses_nested_and_apart(tmp_path: Path) -> None:
    """Against a linear search for the smallest network."""
    rng = random.Random(6)
    networks = []
    for n in range(200):
        bits = rng.choice((8, 12, 16, 20, 24, 32))
        networks.append((ip_network((rng.randrange(2**32) >> (32 - bits) << (32 - bits), bits)), f"isp{n}", "DE"))
    networks += [(ip_network(f"10.{n}.0.0/16"), f"in{n}", "FR") for n in range(3)]
    networks += [(ip_network("10.0.0.0/8"), "out", "FR"), (ip_network("2001:db8::/32"), "six", "SE")]
    networks += [(ip_network("2001:db8:1::/48"), "six-in", "SE")]
    distinct = {network: (isp, country) for network, isp, country in networks}
    table = tmp_path / "addresses.csv"
    table.write_text("network,isp,country\n" + "".join(f"{n},{i},{c}\n" for n, (i, c) in distinct.items()))
    found = Addresses.read(table)
    tried = [ip_address(rng.randrange(2**32)) for _ in range(500)] + [ip_address(f"10.{n}.2.3") for n in range(5)]
    tried += [ip_address("2001:db8::1"), ip_address("2001:db8:1::1"), ip_address("2001:db9::1")]
    tried += [end for network in distinct for end in (network[0], network[-1])]
    for address in tried:
        inside = [n for n in distinct if n.version == address.version and address in n]
        expected = distinct[max(inside, key=lambda n: n.prefixlen)] if inside else UNKNOWN
        assert found.place(str(address)) == expected, address
    assert found.place("::ffff:10.1.2.3") == ("in1", "FR")
    assert found.place("not an address") == UNKNOWN == Addresses.read(None).place("10.0.0.1")


def test_a_table_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    table = tmp_path / "addresses.csv"
    table.write_bytes("\ufeffnetwork,isp,country\r\n10.0.0.0/8,Télé 2,SE\r\n".encode())
    assert Addresses.read(table).place("10.1.2.3") == ("Télé 2", "SE")


@pytest.mark.parametrize(("headers", "address"), [
    ([], ""), (["203.0.113.9"], "203.0.113.9"), (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
    (["198.51.100.1", "203.0.113.9"], "203.0.113.9"),  # HAProxy adds a header of its own: the viewer wrote the first
    (["198.51.100.1:443, 203.0.113.9:51234"], "203.0.113.9"), (["2001:db8::1"], "2001:db8::1"),
    (["[2001:db8::1]:4711"], "2001:db8::1"), (["[2001:db8::1]"], "2001:db8::1"),
    (["for=198.51.100.1, For=203.0.113.9:80;proto=https"], "203.0.113.9"),
    (['by=10.0.0.1; for="[2001:db8::1]:4711";host=x'], "2001:db8::1"), (["for=unknown"], "unknown"),
])  # fmt: skip
def test_the_nearest_proxy_is_believed(headers: list[str], address: str) -> None:
    settings = load()
    held = settings.collector.model_copy(update={"forwarded_header": "x-forwarded-for"})
    collector = Collector(settings.model_copy(update={"collector": held}))
    raw = [(b"x-forwarded-for", text.encode()) for text in headers]
    assert collector._address(Request({"type": "http", "headers": raw, "client": ("127.0.0.1", 1)})) == address


def test_an_origin_is_what_browsers_call_it() -> None:
    settings = load()
    held = settings.collector.model_copy(update={"origins": ("https://Player.Example", "http://localhost:8080")})
    collector = Collector(settings.model_copy(update={"collector": held}))

    def allowed(origin: str) -> str | None:
        request = Request({"type": "http", "headers": [(b"origin", origin.encode())]})
        return collector._allowed(request).get("access-control-allow-origin")

    assert allowed("https://player.example") == "https://player.example"
    assert (allowed("http://localhost:8080"), allowed("https://other.example")) == ("http://localhost:8080", None)


@pytest.mark.parametrize(("text", "words"), [
    ("net,isp,country\n", "first line"), ("network,isp,country\n10.0.0.1/8,a,DE\n", "line 2"),
    ("network,isp,country\n10.0.0.0/8,a,Germany\n", "line 2"), ("network,isp,country\n10.0.0.0/8,a\n", "line 2"),
    ('network,isp,country\n10.0.0.0/8,"a\nb",DE\n', "line 2"), ("network,isp,country\n10.0.0.0/8,a\t,DE\n", "line 2"),
    ("network,isp,country\n10.0.0.0/8,a,de\n", "two capitals"),
    ("network,isp,country\n10.0.0.0/8,Tél,DE\n", "cannot be read"),
    ("network,isp,country\n10.0.0.0/8,a,DE\n10.0.0.0/8,b,FR\n", "line 3: 10.0.0.0/8 stands in the table twice"),
])  # fmt: skip
def test_a_wrong_table_is_told(tmp_path: Path, text: str, words: str) -> None:
    table = tmp_path / "addresses.csv"
    table.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=words):
        Addresses.read(table)
    with pytest.raises(ConfigError, match="cannot be read"):
        Addresses.read(tmp_path / "absent.csv")
