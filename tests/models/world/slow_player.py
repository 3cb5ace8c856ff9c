"""A player that ticks: one millisecond after the other, written apart from models.world.player, slow and plain.

It shares with the fast player the inputs, the keyed draws (re-implemented here on Python integers) and the order in
which things due in the same millisecond happen; everything else (transfer, buffer, timeline, disk) is its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from math import log
from typing import Any

CHUNK, BEAT, TIMEOUT, CAP = 4_000, 30_000, 20_000, 6 * 3_600_000
(
    PATIENCE,
    STALL,
    TARGET,
    DEPTH,
    ACTION,
    KIND,
    PAUSE,
    SEEK,
    AD,
    AD_MS,
    CRASH,
    BINGE,
    AWAY,
    KILL,
    LEAVE,
    DROP,
    FAIL,
    SETUP,
) = range(18)
PRELOAD, STARTING, PLAYING, REBUFFERING, SEEKING, PAUSED, ENDED, FAILED, QUIT = range(9)
CODES = ("ps", "t", "e", "br", "bc", "c", "as", "ae", "abs", "abe", "sk")
MASK = 2**64 - 1


def mix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


class Disk:
    """Whole-file LRU."""

    def __init__(self, size: int) -> None:
        self.size, self.files = size, OrderedDict[int, int]()

    def touch(self, file: int, size: int) -> bool:
        if file in self.files:
            self.files.move_to_end(file)
            return True
        if size > self.size:
            return False
        while sum(self.files.values()) + size > self.size:
            self.files.popitem(last=False)
        self.files[file] = size
        return False


class SlowPlayer:
    """Plays one session; `x` is its row of input, `world` has ladders, traces, tables and `disks` per cluster."""

    def __init__(self, x: Any, world: Any) -> None:
        self.x, self.w = {n: v.item() for n, v in zip(x.dtype.names, x, strict=True)}, world
        self.seed = int(x["seed"])
        self.trace, self.trace_at = int(x["trace"]), int(x["trace_at"]) - int(x["start"])
        self.now = self.since = int(x["start"])
        self.events: list[tuple[Any, ...]] = []
        self.timeline: list[tuple[int, ...]] = []
        self.fetched: dict[tuple[int, int, int], int] = {}
        self.mode, self.ad, self.background, self.shown = STARTING, 0, 0, -1
        self.part = self.stalls = self.stalled = self.throughput = self.actions = self.ads = 0
        self.download: dict[str, Any] | None = None
        self.alive, self.crashed = True, False
        self.resume = self.ad_end = self.ad_start = self.away_end = self.quirk = self.seek_ready = self.preload_end = (
            self.fail
        ) = None
        self.killed = self.leaving = False
        self.beat = self.now + BEAT
        self.open(int(x["asset"]), 180 + self.exp(SETUP, 0, 220.0))
        self.crash = self.now + 1 + self.exp(CRASH, 0, 3_600_000.0 / x["crash_per_h"]) if x["crash_per_h"] > 0 else None
        if x["preload"] > 0:
            self.mode, self.patience = PRELOAD, None
            self.preload_end = self.now + int(x["preload"])
            self.report("ps")
        else:
            if self.u(FAIL, 0) < x["fail"]:
                self.fail = self.setup
            self.attempt()

    # draws

    def u(self, purpose: int, index: int) -> float:
        return ((mix(self.seed ^ mix(purpose * 0x100000000 + index)) >> 11) + 0.5) * 1.1102230246251565e-16

    def exp(self, purpose: int, index: int, mean: float) -> int:
        return int(-mean * log(self.u(purpose, index)))

    # outputs

    def report(self, code: str) -> None:
        stalled = self.stalled + (self.now - self.stall_from if self.mode == REBUFFERING else 0)
        self.events.append(
            (
                CODES.index(code),
                self.mode,
                self.now,
                self.shown,
                self.end - self.pos,
                self.stalls,
                stalled,
                self.delay,
                self.pos,
                self.background,
                self.ad,
            )
        )

    def change(self, **new: int) -> None:
        before = (self.mode, self.ad, self.background, self.shown)
        after = tuple(new.get(n, v) for n, v in zip(("mode", "ad", "background", "shown"), before, strict=True))
        if after != before or not self.alive:
            if self.now > self.since:
                self.timeline.append((self.part, *before, self.since, self.now))
                self.since = self.now
            self.mode, self.ad, self.background, self.shown = after

    def finish(self, mode: int, code: str | None = "ps") -> None:
        if self.download:
            self.log(
                self.download["bytes"]
                * (self.now - self.download["from"])
                // max(self.whole() - self.download["from"], 1)
            )
        if self.mode == REBUFFERING:
            self.stalled += self.now - self.stall_from
        self.alive = False
        self.change(mode=mode, ad=0)
        if code:
            self.report(code)

    def whole(self) -> int:
        """When the download under way would have ended: run a copy of it to its end."""
        d, t = dict(self.download or {}), self.now
        while not self.drain(d, t):
            t += 1
        return min(t + 1, d["from"] + TIMEOUT)

    def log(self, size: int) -> None:
        d = self.download or {}
        key = (d["file"], int(d["edge"]), d["from"] // 60_000)
        self.fetched[key] = self.fetched.get(key, 0) + size
        self.download = None

    # contents

    def open(self, asset: int, setup: int) -> None:
        x = self.x
        self.asset, self.duration = asset, self.w.duration[asset]
        self.kbps = self.w.ladders[asset]
        self.pos = self.end = self.played = self.apart = self.failures = 0
        self.began, self.shown, self.delay, self.rung = False, -1, -1, -1
        self.rungs: dict[int, int] = {}
        self.source: dict[int, bool] = {}
        self.attempt_at, self.setup = self.now, self.now + setup
        self.patience: int | None = self.now + 2_000 + self.exp(PATIENCE, self.part, 14_000.0 * (0.5 + x["like"]))
        self.target: int | None = None
        if x["wanted"] >= 0:
            self.target = int(x["wanted"])
        elif self.u(TARGET, self.part) > 0.2 + 0.6 * x["like"]:
            self.target = max(15_000, int(float(self.duration) * self.u(DEPTH, self.part) ** (2.6 - 1.8 * x["like"])))
        self.action = self.exp(ACTION, self.actions, 780_000.0)
        self.next_ad = 480_000 + int(600_000.0 * self.u(AD, 1_000 * self.part)) if x["ads"] else None

    def attempt(self) -> None:
        self.change(mode=STARTING, ad=0, shown=-1)
        self.attempt_at = self.now
        self.report("ps")
        if self.x["web"]:
            self.quirk = max(self.now, self.setup)
        if self.x["ads"] and self.u(AD, 500) < 0.5:
            self.ad_start = max(self.now, self.setup) + 300

    # network

    def step(self, t: int) -> tuple[int, float, int]:
        loop = self.w.traces[self.trace]
        offset = (self.trace_at + t) % loop[-1][0]
        return loop[bisect_right(loop, offset, key=lambda step: step[0])]

    def rate(self, d: dict[str, Any], t: int) -> float:
        kbps = self.step(t)[1]
        minute = min(t // 60_000, len(self.w.factor[self.x["cluster"]]) - 1)
        speed = kbps * self.x["access"] * self.w.factor[self.x["cluster"]][minute]
        if not d["edge"]:
            speed = min(speed, self.w.origin_kbps * self.w.origin_factor[self.x["cluster"]][minute])
        return max(speed, 1.0)

    def drain(self, d: dict[str, Any], t: int) -> bool:
        """One millisecond of a download; True when it is over after it."""
        if t >= d["first_byte"]:
            d["left"] -= self.rate(d, t)
        return d["left"] <= 0 or t + 1 >= d["from"] + TIMEOUT

    def choose(self) -> int:
        x, k = self.x, self.kbps
        allowed = [q for q in range(len(k)) if q == 0 or k[q] <= x["cap_kbps"]]
        top = max(allowed)
        if x["greedy"]:
            return top
        if self.failures:
            return 0
        buffer, reservoir = self.end - self.pos, min(10_000, int(x["max_buffer"]) // 3)
        if buffer < reservoir or self.rung < 0:
            speed = 0.7 * self.throughput if self.throughput else 0.5 * x["hint_kbps"]
            q = 0
            while q < top and k[q + 1] <= speed:
                q += 1
            return q
        share = min((buffer - reservoir) / (float(x["max_buffer"]) * 0.85 - reservoir), 1.0)
        wish, q = k[0] + (k[top] - k[0]) * share, min(self.rung, top)
        while q < top and k[q + 1] <= wish:
            q += 1
        if q == min(self.rung, top):
            while q > 0 and k[q - 1] >= wish:
                q -= 1
        return q

    def fetch(self) -> None:
        x, q, k = self.x, self.choose(), self.end // CHUNK
        file = self.w.first_file[self.asset] + q
        if q not in self.source:
            self.source[q] = self.w.disks[x["cluster"]].touch(file, self.w.sizes[file])
        minute = min(self.now // 60_000, len(self.w.edge_up[x["cluster"]]) - 1)
        edge = bool(self.source[q] and self.w.edge_up[x["cluster"]][minute])
        size = int(
            float(self.kbps[q]) * float(min(CHUNK, self.duration - k * CHUNK)) * self.w.vbr[self.asset][k % 64] / 8.0
        )
        latency = self.step(self.now)[2]
        rtt = self.w.edge_rtt[x["cluster"]] + (0 if edge else self.w.origin_rtt[x["cluster"]])
        self.rungs[k] = q
        self.download = {
            "file": file,
            "edge": edge,
            "bytes": size,
            "left": size * 8.0,
            "from": self.now,
            "first_byte": self.now + rtt + latency,
            "rung": q,
            "over": None,
        }

    def arrived(self) -> None:
        d = self.download or {}
        if d["left"] > 0:
            self.log(d["bytes"] // 2)
            self.failures += 1
            if self.failures >= 3:
                self.finish(FAILED, "e")
            else:
                self.report("e")
            return
        self.log(d["bytes"])
        self.failures = 0
        rate = d["bytes"] * 8 // max(self.now - d["from"], 1)
        self.throughput = rate if self.throughput == 0 else (7 * self.throughput + 3 * rate) // 10
        self.rung = d["rung"]
        self.end = min(self.end // CHUNK * CHUNK + CHUNK, self.duration)
        if self.mode == REBUFFERING and self.full(8_000) and not self.ad:
            self.stalled += self.now - self.stall_from
            self.change(mode=PLAYING, shown=self.bitrate())
            self.report("ps")

    def full(self, need: int) -> bool:
        return self.end - self.pos >= need or self.end >= self.duration

    def bitrate(self) -> int:
        return self.kbps[self.rungs[self.pos // CHUNK]]

    def first_frame(self) -> None:
        self.began, self.quirk = True, None
        self.delay = self.now - self.attempt_at - self.apart
        self.change(mode=PLAYING, ad=0, shown=self.bitrate())

    # what happens

    def playing(self) -> bool:
        return self.mode == PLAYING and not self.ad

    def due(self) -> bool:
        """Do the first thing that is due now; False if nothing is."""
        n, x = self.now, self.x
        waiting = self.mode in (STARTING, REBUFFERING, SEEKING) and not self.ad
        over = self.end - self.pos + CHUNK - int(x["max_buffer"])
        boundary = (
            self.pos >= self.duration
            or self.pos >= self.end
            or (self.pos % CHUNK == 0 and self.pos > 0 and self.pos != self.passed)
        )
        if self.download and self.download["over"] == n:
            self.arrived()
        elif not self.download and self.end < self.duration and over <= 0 and n >= self.setup:
            self.fetch()
        elif self.playing() and boundary:
            self.passed = self.pos
            self.boundary()
        elif self.playing() and self.target is not None and self.played >= self.target:
            self.finish(QUIT)
        elif self.playing() and self.played >= self.action:
            self.act()
        elif (self.playing() and self.next_ad is not None and self.pos >= self.next_ad) or self.ad_start == n:
            self.begin_ad()
        elif self.ad_end == n:
            self.end_ad()
        elif self.mode == PAUSED and self.resume == n:
            self.unpause()
        elif self.away_end == n:
            self.away_end = None
            if self.background:
                self.change(background=0)
                self.report("bc")
        elif self.mode == SEEKING and self.full(CHUNK) and n >= (self.seek_ready or 0):
            self.change(mode=PLAYING, shown=self.bitrate())
            self.passed = self.pos
            self.report("ps")
        elif waiting and self.patience is not None and n >= self.patience:
            self.finish(QUIT)
        elif self.fail is not None and n >= self.fail:
            self.finish(FAILED, "e")
        elif self.preload_end == n:
            self.leave_preload()
        elif self.quirk == n:
            self.quirk = None
            if self.mode == STARTING:
                self.report("ps")
        elif self.crash == n:
            self.crashed = True
            self.finish(self.mode, None)
        elif n >= int(x["start"]) + CAP:
            self.finish(QUIT)
        elif self.beat == n:
            self.beat = n + BEAT
            self.report("t")
        else:
            return False
        if (
            self.alive
            and self.mode == STARTING
            and not self.ad
            and self.ad_start is None
            and self.fail is None
            and self.full(int(x["start_buffer"]))
        ):
            self.first_frame()
            self.passed = self.pos
            self.report("ps")
        return True

    passed = 0

    def boundary(self) -> None:
        if self.pos >= self.duration:
            follows = self.w.following[self.asset]
            if follows >= 0 and self.part < 3 and self.u(BINGE, self.part) < self.x["binge"]:
                self.change(mode=-1)
                self.part += 1
                self.open(follows, 120)
                self.mode, self.passed = STARTING, 0
                self.report("c")
                return
            self.finish(ENDED)
        elif self.pos >= self.end:
            self.stalls += 1
            self.stall_from = self.now
            self.patience = self.now + 1_500 + self.exp(STALL, self.stalls, 25_000.0 * (0.5 + self.x["like"]))
            self.change(mode=REBUFFERING)
            self.report("ps")
        elif self.bitrate() != self.shown:
            self.change(shown=self.bitrate())
            self.report("br")

    stall_from = 0

    def act(self) -> None:
        n = self.actions
        self.actions += 1
        self.action = self.played + 1 + self.exp(ACTION, self.actions, 780_000.0)
        kind = self.u(KIND, n)
        if self.x["mobile"] and kind < 0.35:
            self.change(background=1)
            self.report("bc")
            self.pause(n, 0.12)
        elif self.x["web"] and kind < 0.25 and not self.background:
            self.change(background=1)
            self.away_end = self.now + 2_000 + self.exp(AWAY, n, 70_000.0)
            self.report("bc")
        elif kind < 0.65:
            self.pause(n, 0.03)
        else:
            self.seek(n)

    def pause(self, n: int, kill: float) -> None:
        length = int(6_000.0 + 45_000.0 * (1.0 / (1.0 - self.u(PAUSE, n)) ** 0.75 - 1.0))
        self.resume = self.now + min(length, 2_400_000 if self.x["wanted"] < 0 else 1_500_000)
        self.killed, self.leaving = self.u(KILL, n) < kill, self.u(LEAVE, n) < 0.1
        self.change(mode=PAUSED)
        self.report("ps")

    def unpause(self) -> None:
        self.resume = None
        if self.killed:
            self.crash = self.now
        elif self.leaving:
            self.finish(QUIT)
        else:
            if self.background and self.away_end is None:
                self.change(background=0)
                self.report("bc")
            self.change(mode=PLAYING)
            self.report("ps")

    def seek(self, n: int) -> None:
        z = self.u(SEEK, n)
        jump = -30_000 if z < 0.35 else int(60_000.0 + (z - 0.35) / 0.65 * 240_000.0)
        to = min(max((self.pos + jump) // CHUNK * CHUNK, 0), (self.duration - 1) // CHUNK * CHUNK)
        if not self.pos <= to < self.end:
            if self.download:
                self.log(
                    self.download["bytes"]
                    * (self.now - self.download["from"])
                    // max(self.whole() - self.download["from"], 1)
                )
            self.end = to
        self.pos = to
        self.seek_ready = self.now + 120
        self.patience = self.now + 1_500 + self.exp(STALL, 1_000 + n, 25_000.0 * (0.5 + self.x["like"]))
        self.change(mode=SEEKING)
        self.report("sk")

    def begin_ad(self) -> None:
        self.ad_start, self.next_ad = None, None
        self.ad_end = self.now + 15_000 + 5_000 * int(4.0 * self.u(AD_MS, self.ads))
        self.ads += 1
        self.ad_from = self.now
        self.change(mode=PLAYING, ad=1)
        self.report("abs")
        self.report("as")

    ad_from = 0

    def end_ad(self) -> None:
        self.ad_end = None
        if self.began:
            self.next_ad = self.pos + 480_000 + int(600_000.0 * self.u(AD, 1_000 * self.part + self.ads))
            self.change(mode=PLAYING, ad=0)
        else:
            self.apart += self.now - self.ad_from
            self.next_ad = 480_000 + int(600_000.0 * self.u(AD, 1_000 * self.part))
            if self.full(int(self.x["start_buffer"])):
                self.first_frame()
            else:
                self.change(mode=STARTING, ad=0)
                self.patience = self.now + 2_000 + self.exp(PATIENCE, 100, 14_000.0 * (0.5 + self.x["like"]))
        self.report("ae")
        self.report("abe")

    def leave_preload(self) -> None:
        self.preload_end = None
        if self.x["preload_leaves"]:
            self.finish(QUIT)
            return
        self.patience = self.now + 2_000 + self.exp(PATIENCE, 0, 14_000.0 * (0.5 + self.x["like"]))
        if self.u(FAIL, 0) < self.x["fail"]:
            self.fail = self.now
        self.attempt()

    def run(self) -> SlowPlayer:
        while self.alive:
            while self.alive and self.due():
                pass
            if not self.alive:
                break
            if self.download and self.drain(self.download, self.now):
                self.download["over"] = self.now + 1
            if self.playing():
                self.pos += 1
                self.played += 1
            self.now += 1
        return self
