"""The collector on a real broker: answers, what is written, and a broker that goes and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from bench import qoe_collector
from conf import supervisor
from conf.errors import ConfigError, InputMissing, MatineeError, ServiceUnavailable
from conf.settings import Settings, load
from models.playback import cmcd_event
from schemas.topics import CMCD
from streaming import consume, topics
from web import sink

pytestmark = pytest.mark.kafka
LINE = f'e=ps,sid="{{sid}}",sn={{sn}},sta=s,ts={time.time_ns() // 1_000_000},v=2'
CMCD_TYPE = {"content-type": "application/cmcd"}


@pytest.fixture
def universe(stack: Settings) -> Iterator[Settings]:
    kafka = stack.kafka.model_copy(update={"topic_prefix": f"web{time.time_ns()}."})
    settings = stack.model_copy(update={"kafka": kafka})
    topics.create(settings, [CMCD])
    yield settings
    topics.delete(settings, [CMCD])


def test_answers(universe: Settings, tmp_path: Path) -> None:
    table = tmp_path / "addresses.csv"
    table.write_text("network,isp,country\n203.0.113.0/24,Example Net,SE\n")
    variables = {
        "MATINEE__COLLECTOR__TOKEN": "secret", "MATINEE__COLLECTOR__ADDRESSES": str(table),
        "MATINEE__COLLECTOR__FORWARDED_HEADER": "x-forwarded-for", "MATINEE__COLLECTOR__BODY_BYTES": "9000",
        "MATINEE__COLLECTOR__BUFFER_BYTES": "6000",
    }  # fmt: skip
    with ExitStack() as stack:
        port, _ = stack.enter_context(qoe_collector.running(universe, variables))
        web = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}"))
        asked = {"origin": "https://tv.example", "access-control-request-method": "POST"}
        preflight = web.options("/cmcd", headers=asked)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
        assert "content-type" in preflight.headers["access-control-allow-headers"]
        headers = CMCD_TYPE | {"authorization": "Bearer secret", "x-forwarded-for": "198.51.100.1, 203.0.113.9",
                               "user-agent": "Mozilla/5.0 (Web0S; SmartTV)"}  # fmt: skip
        body = "\n".join([LINE.format(sid="a", sn=0), "poison", LINE.format(sid="b", sn=0)])
        good = web.post("/cmcd?app=9.9", content=body, headers=headers)
        assert (good.status_code, good.content, good.headers["access-control-allow-origin"]) == (204, b"", "*")
        assert web.post("/cmcd?token=secret", content=LINE.format(sid="a", sn=1), headers=CMCD_TYPE).status_code == 204
        for status, changed, content in (
            (401, {"authorization": "Bearer wrong"}, body), (415, {"content-type": "text/plain"}, body),
            (415, {"content-encoding": "gzip"}, body),
            (413, {}, "x" * 9_001), (400, {}, " \n"), (429, {}, "x" * 7_000),
        ):  # fmt: skip
            answer = web.post("/cmcd", content=content, headers=headers | changed)
            assert answer.status_code == status, (status, answer.status_code)
        assert web.post("/cmcd", content="x" * 7_000, headers=headers).headers["retry-after"]
        assert web.get("/health").json()["records"] == 4
    held = list(consume.messages(CMCD, universe))
    assert not any(b"203.0.113" in (m.value or b"") for m in held), "the address is dropped"
    rows = {(r["session_id"], r["seq"]): r for m in held for r in cmcd_event.decode(m.value or b"", m.key).rows}
    assert rows.keys() == {("a", 0), ("a", 1), ("b", 0)}
    first = rows["a", 0]
    seen = (first["isp"], first["country"], first["device"], first["app_version"])
    assert seen == ("Example Net", "SE", "tv", "9.9")
    letters = [x for m in held for x in cmcd_event.decode(m.value or b"", m.key).letters]
    assert [(x.reason, x.payload.split(b"\n")[1]) for x in letters] == [("no valid v", b"poison")]


def test_an_address_is_believed_only_of_the_header_that_is_set(universe: Settings, tmp_path: Path) -> None:
    """Also of a program on this machine, where a proxy would be."""
    table = tmp_path / "addresses.csv"
    table.write_text("network,isp,country\n203.0.113.0/24,Example Net,SE\n127.0.0.0/8,Here,DE\n")
    with qoe_collector.running(universe, {"MATINEE__COLLECTOR__ADDRESSES": str(table)}) as (port, _):
        headers = CMCD_TYPE | {"x-forwarded-for": "203.0.113.9"}
        sent = httpx.post(f"http://127.0.0.1:{port}/cmcd", content=LINE.format(sid="a", sn=0), headers=headers)
        assert sent.status_code == 204
    rows = [row for m in consume.messages(CMCD, universe) for row in cmcd_event.decode(m.value or b"", m.key).rows]
    assert [(row["isp"], row["country"]) for row in rows] == [("Here", "DE")]


def test_gone_tells_players_to_stop(universe: Settings) -> None:
    with qoe_collector.running(universe, {"MATINEE__COLLECTOR__GONE": "true"}) as (port, _):
        assert httpx.post(f"http://127.0.0.1:{port}/cmcd", content="x", headers=CMCD_TYPE).status_code == 410


def test_two_workers_take_what_comes(universe: Settings) -> None:
    with qoe_collector.running(universe, None, "--workers", "2") as (port, process):
        for sn in range(8):  # each over a connection of its own
            answer = httpx.post(f"http://127.0.0.1:{port}/cmcd", content=LINE.format(sid="w", sn=sn), headers=CMCD_TYPE)
            assert answer.status_code == 204
        assert len([child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]) == 2
    assert qoe_collector.written(universe) == {("w", sn) for sn in range(8)}


def test_a_player_that_goes_in_the_middle_of_its_post_is_no_error(
    universe: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    with qoe_collector.running(universe) as (port, _):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as player:
                head = "POST /cmcd HTTP/1.1\r\nHost: x\r\nContent-Type: application/cmcd\r\nContent-Length: 99\r\n"
                player.sendall(f"{head}\r\ne=ps".encode())
        answer = httpx.post(f"http://127.0.0.1:{port}/cmcd", content=LINE.format(sid="a", sn=0), headers=CMCD_TYPE)
        assert answer.status_code == 204
    assert "Traceback" not in capfd.readouterr().err


def _slow(port: int) -> socket.socket:
    """A player that does not go on in the middle of its POST."""
    player = socket.create_connection(("127.0.0.1", port), timeout=30)
    head = "POST /cmcd HTTP/1.1\r\nHost: x\r\nContent-Type: application/cmcd\r\nContent-Length: 99\r\n"
    player.sendall(f"{head}\r\ne=ps".encode())
    return player


def _post(port: int, sn: int) -> int:
    content = LINE.format(sid="a", sn=sn)
    return httpx.post(f"http://127.0.0.1:{port}/cmcd", content=content, headers=CMCD_TYPE, timeout=30).status_code


def test_more_connections_than_allowed_get_503(universe: Settings) -> None:
    variables = {"MATINEE__COLLECTOR__CONNECTIONS": "2", "MATINEE__COLLECTOR__BODY_TIMEOUT_MS": "600000"}
    with qoe_collector.running(universe, variables) as (port, _), ExitStack() as players:
        players.enter_context(_slow(port))
        assert _post(port, 0) == 204, "the second of two"
        players.enter_context(_slow(port))
        assert _post(port, 1) == 503


def test_a_slow_player_gets_408_and_its_connection_ends(universe: Settings) -> None:
    variables = {"MATINEE__COLLECTOR__CONNECTIONS": "1", "MATINEE__COLLECTOR__BODY_TIMEOUT_MS": "300"}
    with qoe_collector.running(universe, variables) as (port, _):
        with _slow(port) as player, player.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 408 ")  # up to the end, which the collector makes
        assert _post(port, 0) == 204


HEAD = b"POST /cmcd HTTP/1.1\r\nHost: x\r\nContent-Type: "
WHOLE = HEAD + b"text/html\r\nContent-Length: 9999\r\n\r\n"
"""A POST that gets 415 before its body comes."""


@pytest.mark.parametrize(("words", "answer"), [
    (b"", b""), (HEAD, b""), (WHOLE, b"HTTP/1.1 415 "),
    (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD, b"HTTP/1.1 200 "),
], ids=["nothing", "half a head", "an answered body", "half a second head"])  # fmt: skip
def test_a_connection_that_trickles_ends(quick: int, words: bytes, answer: bytes) -> None:
    """Every tenth of a second a byte comes: of a head without end, or of a body that nobody reads."""
    with socket.create_connection(("127.0.0.1", quick), timeout=0.1) as player:
        player.sendall(words)
        began, got = time.monotonic(), b""
        while time.monotonic() < began + 20:
            try:
                part = player.recv(4096)
                got += part
                if not part:
                    break
            except TimeoutError:
                if words:
                    with suppress(OSError):
                        player.sendall(b"x")
            except ConnectionError:
                break
        else:
            raise AssertionError("the collector keeps a connection that trickles")
        assert got[: len(answer)] == answer and bool(got) == bool(answer)


@pytest.mark.parametrize(("words", "more"), [
    (HEAD, b"x" * 4_096), (HEAD + b"a/b\r\n", b"X-A: " + b"y" * 4_089 + b"\r\n"),
    (HEAD + b"application/cmcd\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: " + b"y" * 4_089 + b"\r\n"),
], ids=["one header without end", "headers without end", "trailers without end"])  # fmt: skip
def test_what_is_no_body_is_bounded(universe: Settings, words: bytes, more: bytes) -> None:
    """No time-out helps against a fast connection: what frames a body is kept in memory, and counted."""
    with (
        qoe_collector.running(universe) as (port, _),
        socket.create_connection(("127.0.0.1", port), timeout=5) as player,
    ):
        player.sendall(words)
        sent = 0
        with suppress(ConnectionError):
            while sent < 4 << 20:
                player.sendall(more)
                sent += len(more)
        # The socket's own buffers take some more than the collector has read.
        assert sent < 4 << 20, "the collector takes what has no end"
        assert _post(port, 0) == 204


@pytest.fixture(scope="module")
def quick(stack: Settings) -> Iterator[int]:
    """The port of a collector that waits half a second for a head."""
    settings = stack.model_copy(update={"kafka": stack.kafka.model_copy(update={"topic_prefix": "quick."})})
    topics.create(settings, [CMCD])
    with qoe_collector.running(settings, {"MATINEE__COLLECTOR__HEAD_TIMEOUT_MS": "500"}) as (port, _):
        yield port
    topics.delete(settings, [CMCD])


def test_slow_answers_and_idle_connections_are_not_cut(quick: int) -> None:
    """Only a head is bounded so: between requests a connection may be idle for longer, as players are."""
    with httpx.Client(base_url=f"http://127.0.0.1:{quick}", timeout=30) as web:
        asked = []
        for _ in range(2):
            answer = web.post("/cmcd", content=LINE.format(sid="a", sn=0), headers=CMCD_TYPE)
            asked.append((answer.status_code, id(answer.extensions["network_stream"])))
            time.sleep(1.2)
    assert asked == [(204, asked[0][1])] * 2, "both over one connection"


@pytest.mark.parametrize(("variable", "value", "error", "words"), [
    ("MATINEE__KAFKA__BOOTSTRAP", "127.0.0.1:1", ServiceUnavailable, "no Kafka broker answers"),
    ("MATINEE__KAFKA__TOPIC_PREFIX", "nowhere.", InputMissing, "topic nowhere.cmcd is not there"),
    ("MATINEE__KAFKA__PARTITIONS", "9", ConfigError, "kafka.partitions is 9"),
])  # fmt: skip
def test_what_could_not_write_does_not_begin(
    universe: Settings, variable: str, value: str, error: type[MatineeError], words: str
) -> None:
    """Before anything is served, so that workers do not die one after the other."""
    variables = {
        "MATINEE__KAFKA__BOOTSTRAP": universe.kafka.bootstrap,
        "MATINEE__KAFKA__TOPIC_PREFIX": universe.kafka.topic_prefix, variable: value,
    }  # fmt: skip
    with pytest.raises(error, match=words):
        sink.check(load(environ=variables))


def test_nothing_acknowledged_is_lost_while_the_broker_is_away(stack: Settings, universe: Settings) -> None:
    """The broker is killed under load and comes back; the supervisor starts it again."""
    state = supervisor.read_state(stack.stack.dir)
    assert state is not None
    broker = next(child.pid for child in state.children if child.name == "broker")
    killer = threading.Timer(4.0, os.kill, (broker, signal.SIGKILL))
    with qoe_collector.running(universe, {"MATINEE__COLLECTOR__ACK_TIMEOUT_MS": "2000"}) as (port, _):
        killer.start()
        seen = asyncio.run(qoe_collector.post(port, 60, 25, connections=32))
        killer.join()
    assert sum(count for status, count in seen.statuses.items() if status in (503, 429)) > 0, seen.statuses
    assert set(seen.statuses) <= {204, 503, 429}, seen.statuses
    assert seen.statuses[204] > 300
    assert not seen.acknowledged - qoe_collector.written(universe)
