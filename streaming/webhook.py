"""Incidents to a web address: one POST of JSON a change, in order, again and again until it is taken or given up."""

from __future__ import annotations

import http.client
import json
import logging
import math
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from conf.alerts import WebhookRule

LOG = logging.getLogger(__name__)
QUEUE = 1_000
LONGEST_WAIT_S = 300.0


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nothing: urllib would turn the POST into a GET without its body, and call that delivered."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stay)


def strict_json(row: Any) -> str:
    """A row as JSON that any parser reads: JSON knows no Infinity and no NaN, so such a number is null."""
    return json.dumps(_plain(row), default=str, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Webhook:
    """Delivers in a thread of its own, so that a receiver that hangs never delays a detection.

    What is refused with 4xx (but 408 and 429) or sent elsewhere (3xx) is not tried again. `delivered` and `dropped`
    count changes; a receiver tells repeats by the header ``Idempotency-Key`` (incident and revision of the change).
    """

    def __init__(self, rule: WebhookRule, sleep: Callable[[float], None] = time.sleep) -> None:
        self.rule, self.sleep = rule, sleep
        self.delivered = self.dropped = 0
        self._waiting: queue.Queue[tuple[dict[str, Any], int] | None] = queue.Queue(QUEUE)
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def send(self, change: dict[str, Any], revision: int | None = None) -> None:
        """Queue one change; the oldest waiting one goes when a thousand wait. `revision`: that of the change, where the
        row has grown since."""
        if self._waiting.full():
            self._waiting.get_nowait()
            self.dropped += 1
            LOG.error("webhook %s: more than %d changes wait, the oldest is dropped", self.rule.shown, QUEUE)
        self._waiting.put((change, change["revision"] if revision is None else revision))

    def close(self, patience_s: float = 30.0) -> None:
        """Wait for what is queued, at most `patience_s`; what is still waiting then is told and lost."""
        if self._waiting.full():
            self._waiting.get_nowait()
            self.dropped += 1
        self._waiting.put(None)
        self._thread.join(patience_s)
        if self._thread.is_alive():
            left = self._waiting.qsize()  # one is being delivered, the last one is the end
            LOG.error("webhook %s: %d changes were not delivered by the end", self.rule.shown, left)

    def _work(self) -> None:
        while (change := self._waiting.get()) is not None:
            if self._deliver(*change):
                self.delivered += 1
            else:
                self.dropped += 1

    def _deliver(self, change: dict[str, Any], revision: int) -> bool:
        wait = self.rule.retry_s
        for attempt in range(1, self.rule.attempts + 1):
            problem, again = self._post(change, revision)
            if problem is None:
                return True
            LOG.warning(
                "webhook %s, incident %s, attempt %d of %d: %s",
                self.rule.shown,
                change["incident_id"],
                attempt,
                self.rule.attempts,
                problem,
            )
            if not again or attempt == self.rule.attempts:
                break
            self.sleep(wait)
            wait = min(2 * wait, max(LONGEST_WAIT_S, self.rule.retry_s))
        LOG.error(
            "webhook %s: incident %s revision %s was not delivered",
            self.rule.shown,
            change["incident_id"],
            revision,
        )
        return False

    def _post(self, change: dict[str, Any], revision: int) -> tuple[str | None, bool]:
        """(what went wrong or None, whether trying again may help)."""
        request = urllib.request.Request(
            str(self.rule.url), strict_json(change).encode(), method="POST",
            headers={"Content-Type": "application/json",
                     "Idempotency-Key": f"{quote(change['incident_id'], '+%')}/{revision}"},
        )  # fmt: skip
        try:
            with _OPENER.open(request, timeout=self.rule.timeout_s):
                return None, False
        except urllib.error.HTTPError as error:
            elsewhere = f", to {error.headers['Location']}: name that address" if 300 <= error.code < 400 else ""
            return f"answer {error.code}{elsewhere}", error.code >= 500 or error.code in (408, 429)
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # it speaks no HTTP; it is no host's name
            return f"{type(error).__name__}: {error}", True
