"""From a play in Kafka to the corrected page that can be read: ``.venv/bin/python -m bench.page_follow``.

On the running stack (`matinee up`), in a universe of its own and in real time: the live QoE job, `matinee pages run` as
a process, `--rate` sessions a second. Each session begins a one-minute film in one POST and reports its end a little
later. The clock runs from the broker's acknowledgement of that report to the moment in which a reader of committed
messages has the profile's page without the film.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click
import numpy as np

from conf.errors import MatineeError
from conf.settings import ROOT, Settings, load
from schemas import records, samples, wire
from schemas import topics as catalogue
from schemas.topics import Topic
from streaming import clients, consume, launch, topics

FILMS = 40
FILM_MS = 60_000
WATCHED_MS = 58_000
LINGER_S = 2.0
PATIENCE_S = 60.0
Send = Callable[[Topic, str, dict[str, Any]], Any]


def sample(record: str, **changed: Any) -> dict[str, Any]:
    """A good row of a record with some fields set."""
    return samples.rows(records.load(record), 1)[0] | changed


def service(send: Send, today: date, profiles: int) -> None:
    """Films, profiles, and a page of all films for each profile."""
    films = [f"film-{n:03d}" for n in range(FILMS)]
    for film in films:
        send(catalogue.TITLE, film, sample(
            "title", title_id=film, show_id=film, kind="film", duration_ms=FILM_MS, launch_date=date(2020, 1, 1),
            licensed_from_date=None, licensed_until_date=None, countries=[], hidden=False, maturity=0,
        ))  # fmt: skip
    rows = [{"row_kind": "top_picks", "heading": "Top picks", "reason": "ranked", "title_ids": films}]
    for n in range(profiles):
        name = f"profile-{n:06d}"
        send(catalogue.PROFILE, name, sample("profile", profile_id=name, opted_out=False, erased=False, kids=False))
        send(catalogue.HOME_PAGE, name, sample(
            "home_page", page_id=f"batch-{n}", profile_id=name, page_date=today, page_arm="policy",
            rows=rows, evidence=[],
        ))  # fmt: skip


def event(session: str, profile: str, film: str, seq: int, state: str, at: datetime, sent: datetime) -> dict[str, Any]:
    """What the player says at `at` in a POST of `sent`."""
    return sample(
        "playback_event", session_id=session, seq=seq, event="ps", state=state, device_at=at, post_device_at=sent,
        received_at=sent, profile_id=profile, title_id=film, asset_id=f"{film}-av1", background=False, ad=False,
        playhead_ms=None, error_code=None, playback_rate=1.0, stall_count=None, stall_total_ms=None,
        start_delay_ms=None,
    )  # fmt: skip


class Reader:
    """Notes when each profile's corrected page can be read."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.seen: dict[str, float] = {}
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for message in consume.tail(catalogue.HOME_PAGE, self.settings, self.done.is_set):
            if message.value is not None and message.key is not None:
                self.seen.setdefault(message.key.decode(), time.monotonic())


def play(settings: Settings, count: int, rate: float) -> dict[str, float]:
    """Live `count` sessions in real time; profile to the moment its last report was acknowledged."""
    acknowledged: dict[str, float] = {}
    waiting: list[tuple[float, str, str, str]] = []
    producer = clients.producer(settings)
    name = topics.real_name(catalogue.PLAYBACK_EVENT, settings)
    zero = int(time.time())

    def send(session: str, row: dict[str, Any]) -> Any:
        value = wire.encode_one("playback_event", row)
        at_ms = int(row["received_at"].timestamp() * 1_000)
        return producer.send(name, key=session.encode(), value=value, timestamp_ms=at_ms)

    def acknowledge(profile: str) -> Callable[[Any], Any]:
        return lambda _: acknowledged.setdefault(profile, time.monotonic())

    begun, n = time.monotonic(), 0
    while n < count or waiting:
        clock = time.monotonic()
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1_000 * 1_000)
        while n < count and begun + n / rate <= clock:
            session, profile, film = f"s-{zero}-{n}", f"profile-{n:06d}", f"film-{n % FILMS:03d}"
            first = now - timedelta(milliseconds=WATCHED_MS)
            send(session, event(session, profile, film, 0, "s", first - timedelta(seconds=1), now))
            send(session, event(session, profile, film, 1, "p", first, now))
            waiting.append((clock + LINGER_S, session, profile, film))
            n += 1
        while waiting and waiting[0][0] <= clock:
            _, session, profile, film = waiting.pop(0)
            send(session, event(session, profile, film, 2, "e", now, now)).add_callback(acknowledge(profile))
        time.sleep(0.005)
    producer.flush()
    producer.close()
    return acknowledged


def measured(settings: Settings, count: int, rate: float) -> tuple[np.ndarray, int]:
    """Seconds from report to page for every session, and how many pages never came."""
    topics.create(settings)
    producer = clients.producer(settings)

    def send(topic: Topic, key: str, row: dict[str, Any]) -> None:
        value = wire.encode_one(topic.record, row)
        producer.send(topics.real_name(topic, settings), key=key.encode(), value=value)

    service(send, datetime.now(UTC).date(), count)
    producer.close()
    job = launch.start(settings, fresh=True).job_id
    environment = {**os.environ, "MATINEE__KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix}
    command = [sys.executable, "-u", "matinee.py", "pages", "run"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise MatineeError("`matinee pages run` did not start")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        reader = Reader(settings)
        time.sleep(1)
        sent = play(settings, count, rate)
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit and len(reader.seen) < count:
            time.sleep(0.1)
        reader.done.set()
        found = np.array([reader.seen[profile] - at for profile, at in sent.items() if profile in reader.seen])
        return found, count - len(found)
    finally:
        process.terminate()
        process.wait()
        launch.cancel(settings, job)
        topics.delete(settings)


@click.command()
@click.option("--sessions", default=2_000, show_default=True, type=click.IntRange(min=10), help="How many.")
@click.option("--rate", default=50.0, show_default=True, help="Sessions a second.")
def main(sessions: int, rate: float) -> None:
    """Measure the time from a play in Kafka to the corrected page."""
    settings = load()
    prefix = f"bench-pages-{int(time.time())}."
    settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"topic_prefix": prefix})})
    found, absent = measured(settings, sessions, rate)
    if absent:
        click.echo(f"{absent:,} of {sessions:,} pages did not come within {PATIENCE_S:.0f} s")
    p50, p95, p99 = np.percentile(found, [50, 95, 99]) if len(found) else [np.nan] * 3
    click.echo(f"{len(found):,} pages: p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s, most {found.max():.2f} s")
    sys.exit(4 if absent else 0)


if __name__ == "__main__":
    main()
