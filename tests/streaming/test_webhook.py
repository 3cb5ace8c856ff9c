"""The webhook: waits that double, refusals that are final, an address that nobody answers, and an end that is told."""

from __future__ import annotations

import json
import logging
import math
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NoReturn
from urllib.parse import unquote

import numpy as np
import pytest

from conf.alerts import WebhookRule
from streaming.webhook import LONGEST_WAIT_S, QUEUE, Webhook


def change(number: int) -> dict[str, object]:
    return {"incident_id": f"i{number}", "revision": number}


@pytest.fixture
def bodies() -> list[bytes]:
    """What `server` was sent."""
    return []


@pytest.fixture
def server(bodies: list[bytes]) -> Iterator[tuple[str, list[int], list[str]]]:
    """(address, the answers to give in turn, the keys seen); without answers left it takes everything."""
    answers: list[int] = []
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            keys.append(self.headers["Idempotency-Key"])
            answer = answers.pop(0) if answers else 204
            self.send_response(answer)
            if 300 <= answer < 400:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", answers, keys
    server.shutdown()
    server.server_close()


def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}/hook"


def test_an_address_nobody_answers_is_tried_with_doubling_waits_and_given_up(caplog: pytest.LogCaptureFixture) -> None:
    waits: list[float] = []
    hook = Webhook(WebhookRule(url=nobody(), attempts=5, retry_s=1, timeout_s=1), sleep=waits.append)
    with caplog.at_level(logging.WARNING):
        hook.send(change(1))
        hook.send(change(2))
        hook.close()
    assert waits == [1, 2, 4, 8] * 2 and (hook.delivered, hook.dropped) == (0, 2)
    assert "attempt 5 of 5" in caplog.text and "incident i1 revision 1 was not delivered" in caplog.text


@pytest.mark.parametrize(("answer", "tries"), [(400, 1), (410, 1), (408, 2), (429, 2), (500, 2), (503, 2)])
def test_only_what_may_pass_is_tried_again(server: tuple[str, list[int], list[str]], answer: int, tries: int) -> None:
    url, answers, keys = server
    answers.append(answer)
    hook = Webhook(WebhookRule(url=url), sleep=lambda _: None)
    hook.send(change(7))
    hook.close()
    assert keys == ["i7/7"] * tries
    assert (hook.delivered, hook.dropped) == ((1, 0) if tries > 1 else (0, 1))


def test_a_receiver_that_speaks_no_http_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        def answer() -> None:
            for _ in range(4):
                one = held.accept()[0]
                one.recv(65_536)
                one.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
                one.close()

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{held.getsockname()[1]}/hook"
        hook = Webhook(WebhookRule(url=url, attempts=2, timeout_s=5), sleep=lambda _: None)
        for number in range(2):
            hook.send(change(number))
        hook.close()
    assert (hook.delivered, hook.dropped) == (0, 2) and "BadStatusLine" in caplog.text


def test_a_host_that_no_resolver_takes_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The rules refuse it, but a proxy of the environment may be called so."""
    hook = Webhook(WebhookRule.model_construct(url="http://a..b/hook", attempts=2), sleep=lambda _: None)
    for number in range(2):
        hook.send(change(number))
    hook.close()
    assert (hook.delivered, hook.dropped) == (0, 2) and "label empty or too long" in caplog.text


@pytest.mark.parametrize("answer", [301, 302, 303, 307])
def test_an_address_that_has_moved_is_told_not_followed_without_the_change(
    server: tuple[str, list[int], list[str]], answer: int, caplog: pytest.LogCaptureFixture
) -> None:
    url, answers, keys = server
    answers.append(answer)
    hook = Webhook(WebhookRule(url=url), sleep=lambda _: None)
    hook.send(change(7))
    hook.close()
    assert (hook.delivered, hook.dropped) == (0, 1) and keys == ["i7/7"]
    assert f"answer {answer}, to /elsewhere: name that address" in caplog.text


@pytest.mark.parametrize("key", ["20260107T100000Z-电信", "a b\r\nX-Header: c"])
def test_any_name_of_a_cohort_can_be_told(server: tuple[str, list[int], list[str]], key: str) -> None:
    url, _, keys = server
    hook = Webhook(WebhookRule(url=url), sleep=lambda _: None)
    hook.send({"incident_id": key, "revision": 3})
    hook.close()
    assert hook.delivered == 1 and unquote(keys[0]) == f"{key}/3"


def test_a_row_that_has_grown_bears_the_key_of_its_change(server: tuple[str, list[int], list[str]]) -> None:
    url, _, keys = server
    hook = Webhook(WebhookRule(url=url), sleep=lambda _: None)
    hook.send(change(7), 5)
    hook.close()
    assert keys == ["i7/5"]


def test_waits_do_not_double_for_ever() -> None:
    waits: list[float] = []
    hook = Webhook(WebhookRule(url=nobody(), attempts=60, retry_s=1, timeout_s=1), sleep=waits.append)
    hook.send(change(1))
    hook.close()
    assert len(waits) == 59 and max(waits) == LONGEST_WAIT_S


def test_order_is_kept_over_refusals(server: tuple[str, list[int], list[str]]) -> None:
    url, answers, keys = server
    answers += [503, 204, 500]
    hook = Webhook(WebhookRule(url=url), sleep=lambda _: None)
    for number in range(3):
        hook.send(change(number))
    hook.close()
    assert list(dict.fromkeys(keys)) == ["i0/0", "i1/1", "i2/2"] and hook.delivered == 3


def test_a_full_queue_loses_the_oldest_and_the_end_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    waiting, go = threading.Event(), threading.Event()

    def hang(_: float) -> None:
        waiting.set()
        go.wait(60)

    hook = Webhook(WebhookRule(url=nobody(), timeout_s=1), sleep=hang)
    hook.send(change(0))
    assert waiting.wait(60), "the first one is being tried"
    with caplog.at_level(logging.ERROR):
        for number in range(1, QUEUE + 2):
            hook.send(change(number))
        hook.close(patience_s=0.01)
    assert hook.dropped == 2, "one for the last change, one for the mark of the end"
    assert f"{QUEUE} changes were not delivered by the end" in caplog.text
    go.set()


def test_a_log_does_not_hold_the_path_of_the_address(caplog: pytest.LogCaptureFixture) -> None:
    address = nobody().replace("/hook", "")
    hook = Webhook(WebhookRule(url=f"{address}/services/token?key=token", attempts=1, timeout_s=1))
    with caplog.at_level(logging.WARNING):
        hook.send(change(1))
        hook.close()
    assert f"webhook {address}, incident i1" in caplog.text and "token" not in caplog.text


def refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, np.float64("inf")])
def test_a_strict_parser_reads_every_payload(
    value: float, server: tuple[str, list[int], list[str]], bodies: list[bytes]
) -> None:
    hook = Webhook(WebhookRule(url=server[0]), sleep=lambda _: None)
    hook.send(change(1) | {"score": value, "observed": 2.5, "more": [value, {"deep": value}]})
    hook.close()
    told = json.loads(bodies[0], parse_constant=refused)
    assert hook.delivered == 1
    assert told == change(1) | {"score": None, "observed": 2.5, "more": [None, {"deep": None}]}
