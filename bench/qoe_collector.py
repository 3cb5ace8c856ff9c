"""Load on the collector: ``.venv/bin/python -m bench.qoe_collector [--rate 1000]``.

Starts `matinee collector` as a process of its own on the running stack (`matinee up`) and posts reports of ten records
at a steady rate from this one. Open loop: a slow answer does not slow the next POST, latency counts from the moment a
POST was due. Then it reads the topic back: every acknowledged record must be there. CPU is that of the collector. It
ends with exit 4 if a record is not there, a POST was refused, fewer than 1,000 POSTs fit a CPU second or the 99th
percentile is above 50 ms.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import psutil

from bench import verdict
from conf.errors import ServiceUnavailable
from conf.settings import ROOT, Settings, load
from models.playback import cmcd
from schemas.topics import CMCD
from streaming import consume, topics

HEADERS = "POST /cmcd?app=7.1 HTTP/1.1\r\nhost: c\r\ncontent-type: application/cmcd\r\nuser-agent: Mozilla (Tizen)\r\n"
PER_POST = 10
POSTS_PER_CPU_S, P99_MS = 1_000, 50.0
QUANTILES = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))


def report(sid: str, first: int) -> bytes:
    """Ten records of a session, some 2.4 KB."""
    now = time.time_ns() // 1_000_000
    lines = [
        'bl=(12000;v),br=(5000;v 128;a),bsa=(0),bsda=(0),cid="title-0017",dfa=0,e=' + ("t" if sn else "ps")
        + f',h="edge3.cdn.example.net",io.matinee-profile="p17",mtp=(48000;v),pt={sn * 3000},sf=d,sid="{sid}",sn={sn}'
        f",st=v,sta={'p' if sn else 's'},ts={now - (first + PER_POST - sn) * 100},v=2"
        for sn in range(first, first + PER_POST)
    ]  # fmt: skip
    return "\n".join(lines).encode()


@dataclass
class Load:
    """What the posting side saw: latencies (s) from due time to answer, answers by status, acknowledged (sid, sn)."""

    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    acknowledged: set[tuple[str, int]] = field(default_factory=set)
    sent: int = 0

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


async def post(port: int, rate: float, seconds: float, connections: int = 64) -> Load:
    """Post at `rate` POSTs a second over kept-open connections; a broken one is opened again."""
    seen = Load()
    rng = random.Random(7)
    sids = [f"{rng.getrandbits(128):032x}" for _ in range(1_000)]
    counters: dict[str, int] = {}
    queue: asyncio.Queue[tuple[float, str, int, bytes] | None] = asyncio.Queue()

    async def worker() -> None:
        reader = writer = None
        while (job := await queue.get()) is not None:
            due, sid, first, body = job
            status = 0
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(f"{HEADERS}content-length: {len(body)}\r\n\r\n".encode() + body)
                assert reader is not None
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(b" ", 2)[1])
            except (OSError, asyncio.IncompleteReadError):
                writer = None
            seen.latencies.append(time.perf_counter() - due)
            seen.statuses[status] = seen.statuses.get(status, 0) + 1
            if status == 204:
                seen.acknowledged.update((sid, sn) for sn in range(first, first + PER_POST))
        if writer is not None:
            writer.close()

    tasks = [asyncio.create_task(worker()) for _ in range(connections)]
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        while seen.sent < passed * rate:
            sid = sids[seen.sent % len(sids)]
            first = counters.get(sid, 0)
            counters[sid] = first + PER_POST
            queue.put_nowait((began + seen.sent / rate, sid, first, report(sid, first)))
            seen.sent += 1
        await asyncio.sleep(0.002)
    for _ in tasks:
        queue.put_nowait(None)
    await asyncio.gather(*tasks)
    return seen


@contextmanager
def running(
    settings: Settings, environment: dict[str, str] | None = None, *words: str
) -> Iterator[tuple[int, psutil.Process]]:
    """A collector of these settings' broker and topics, started as users do; its port and process.

    Args:
        words: further words of the command line.

    Raises:
        ServiceUnavailable: it does not answer within 30 s.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        **os.environ, "MATINEE__KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "MATINEE__KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix, **(environment or {}),
    }  # fmt: skip
    command = [str(Path(sys.executable).with_name("matinee")), "collector", "--port", str(port), *words]
    child = subprocess.Popen(command, env=variables, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    break
            except OSError:
                if child.poll() is not None:
                    raise ServiceUnavailable(f"the collector ended with {child.returncode}") from None
                time.sleep(0.1)
        else:
            raise ServiceUnavailable("the collector does not answer within 30 s")
        yield port, psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(30)


def written(settings: Settings) -> set[tuple[str, int]]:
    """(sid, sn) of every record in the topic."""
    found = set()
    for message in consume.messages(CMCD, settings):
        for line in (message.value or b"").split(b"\n")[1:]:
            values = cmcd.parse(line).values
            found.add((str(values["sid"]), int(values["sn"])))  # type: ignore[arg-type]
    return found


def missed(seen: Load, found: set[tuple[str, int]], used_s: float) -> list[str]:
    """What the collector's word was not kept for; a run without an acknowledgement proves nothing."""
    if not seen.acknowledged:
        return ["no record was acknowledged, so none is proved to be in the topic"]
    lost = sorted(seen.acknowledged - found)
    out = [f"acknowledged, but not in the topic: {len(lost)} records, e.g. {lost[0]} (sid, sn)"] if lost else []
    done = seen.statuses.get(204, 0)
    out += verdict.most("POSTs without 204", seen.sent - done, 0)
    out += verdict.least("POSTs per CPU second", done / used_s, POSTS_PER_CPU_S)
    return out + verdict.most("p99, ms", seen.quantile(0.99), P99_MS)


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


@click.command()
@click.option("--rate", default=1_000.0, show_default=True, type=click.FloatRange(min=1), help="POSTs a second.")
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(min=1))
@click.option("--prefix", default="benchcollector.", show_default=True)
def main(rate: float, seconds: float, prefix: str) -> None:
    """POSTs of ten records at a steady rate: latency, CPU, and what was acknowledged is in the topic, or exit 4."""
    base = load()
    settings = base.model_copy(update={"kafka": base.kafka.model_copy(update={"topic_prefix": prefix})})
    topics.create(settings, [CMCD])
    try:
        with running(settings) as (port, process):
            asyncio.run(post(port, min(rate, 200), 3))
            before, began = cpu_s(process), time.perf_counter()
            seen = asyncio.run(post(port, rate, seconds))
            used, wall = cpu_s(process) - before, time.perf_counter() - began
        found = written(settings)
    finally:
        topics.delete(settings, [CMCD])
    done = seen.statuses.get(204, 0)
    click.echo(f"{seen.sent} POSTs in {wall:.1f} s, answers {json.dumps(seen.statuses)}")
    click.echo("latency " + ", ".join(f"{name} {seen.quantile(q):.1f} ms" for name, q in QUANTILES))
    click.echo(f"collector: {used:.1f} CPU s, {done / used:,.0f} POSTs of {PER_POST} records per CPU second")
    lost = len(seen.acknowledged - found)
    click.echo(f"acknowledged records {len(seen.acknowledged)}, of them not in the topic: {lost}")
    verdict.end(missed(seen, found, used))


if __name__ == "__main__":
    main()
