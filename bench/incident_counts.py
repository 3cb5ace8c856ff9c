"""A video service drawn as counters: attempts, start failures and live sessions by cell and step, with known faults.

The laws are the world's (`models.world`): when people watch (local hour, weekend), congestion of an ISP towards the
evening, device and version shares. Around them, as real services have it: countries and ISPs drift (AR(1), an hour or
two), ISPs are restless from step to step (gamma), failures of a cell are Poisson thinned from its attempts, sessions
live for half an hour and report every 30 s. Nothing here knows the detectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.incident import cohorts as hierarchy
from models.incident.cohorts import Cohorts
from models.world.population import DEVICES

F8 = NDArray[np.float64]
COUNTERS = ("attempts", "start_failures", "alive")
ATTEMPTS, FAILURES, ALIVE = range(3)
BLOCK_S = 1_800
SESSION_S = 1_800.0
REPORT_S = 30.0
FAST_ATTEMPTS, FAST_SHARE = 0.0025, 0.02
"""Relative variance of an ISP's attempts and failure share in one step of 10 s."""
COUNTRY_DRIFT, ISP_DRIFT, SHARE_DRIFT = 0.04, 0.03, 0.10
COUNTRY_HOLD_S, ISP_HOLD_S = 7_200.0, 3_600.0
SETS = (
    ("country",), ("isp",), ("cdn_id",), ("device",), ("app_version",), ("country", "device"),
    ("country", "app_version"),
    ("isp", "device"), ("isp", "cdn_id"), ("isp", "app_version"), ("cdn_id", "device"), ("cdn_id", "app_version"),
    ("isp", "cdn_id", "device"), ("isp", "cdn_id", "app_version"),
)  # fmt: skip
DIMENSIONS = ("country", "isp", "cdn_id", "device", "app_version")


@dataclass(frozen=True)
class Size:
    """How large a service is; `attempts_s` is the mean number of attempts a second, all cells together."""

    cohorts: int
    countries: int
    isps: int
    attempts_s: float


SIZES = {1_000: Size(1_000, 5, 5, 400.0), 5_000: Size(5_000, 10, 8, 1_600.0)}


@dataclass
class Fault:
    """What is wrong, with whom and when (seconds from the run's start).

    kind ``ratio``: `share(t)` of the attempts that would start fail. kind ``outage``: beacons of `share` of the traffic
    are withheld and arrive between `release_s` and `release_s` + `spread_s`, with `share` of them failures.
    `excess` collects what it did to the guilty cohort: (seconds since onset, counts) a step.
    """

    kind: str
    cohort: int
    cells: NDArray[np.int32]
    start_s: float
    end_s: float
    share: float
    ramp: bool = False
    release_s: float = 0.0
    spread_s: float = 0.0
    margin: float = 0.0
    own_mean: float = 0.0
    own_sd: float = 0.0
    excess: list[tuple[float, float]] = field(default_factory=list)
    kept: F8 | None = None

    def at(self, low: F8, high: F8) -> F8:
        """Mean share over [low, high) of each step (seconds)."""
        inside = np.clip(np.minimum(high, self.end_s) - np.maximum(low, self.start_s), 0.0, None) / (high - low)
        if not self.ramp:
            return np.asarray(self.share * inside)
        return np.asarray(self.share * inside * np.maximum((low + high) / 2 - self.start_s, 0.0) / 600.0)


class Service:
    """One drawn service: its cells, cohorts and laws; equal seeds make equal services."""

    def __init__(self, size: Size, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self.size, self.seed = size, seed
        country_of_isp = np.repeat(np.arange(size.countries), size.isps)
        n_isp = len(country_of_isp)
        versions = [(d, v) for d in range(len(DEVICES)) for v in range(3)]
        rows = [
            (country_of_isp[i], i, int(country_of_isp[i]) * 3 + c, d, v)
            for i in range(n_isp) for c in rng.choice(3, 2, replace=False) for d, v in versions
        ]  # fmt: skip
        self.country, self.isp, self.cdn, self.device, self.version = (np.array(x) for x in zip(*rows, strict=True))
        country_share = rng.dirichlet(np.full(size.countries, 3.0))
        isp_share = np.concatenate([rng.dirichlet(np.full(size.isps, 1.5)) for _ in range(size.countries)])
        cdn_share = rng.dirichlet(np.full(3 * size.countries, 4.0))
        version_share = np.array([0.1, 0.3, 0.6])
        device_share = np.array([0.42, 0.24, 0.10, 0.16, 0.08])
        weight = (
            country_share[self.country] * isp_share[self.isp] * cdn_share[self.cdn] * device_share[self.device]
            * version_share[self.version] * rng.gamma(6.0, 1 / 6.0, len(rows))
        )  # fmt: skip
        self.weight = weight / weight.sum()
        self.offset_s = rng.integers(-8, 10, size.countries)[self.country] * 3_600
        self.evening = np.clip(
            np.array([0.78, 0.5, 0.6, 0.5, 0.72])[self.device] + rng.normal(0, 0.04, len(rows)), 0.2, 0.95
        )
        self.weekend = 1.2 * np.exp(rng.normal(0, 0.05, n_isp))[self.isp]
        self.base_share = 0.015 * np.exp(rng.normal(0, 0.3, n_isp))[self.isp] * np.array([1.6, 1.1, 0.9])[self.version]
        self.congestion = rng.uniform(0.2, 0.75, n_isp)[self.isp]
        text = lambda kind, x: np.array([f"{kind}{i:02d}" for i in x], dtype=object)  # noqa: E731
        values = [
            text("c", self.country),
            text("isp", self.isp),
            text("cdn", self.cdn),
            np.array(DEVICES, dtype=object)[self.device],
            np.array([f"{DEVICES[d]}-5.{v}" for d, v in zip(self.device, self.version, strict=True)], dtype=object),
        ]
        self.cohorts: Cohorts = hierarchy.build(DIMENSIONS, values, SETS, self.weight, most=size.cohorts)

    def attempts(self, at_s: F8) -> F8:
        """Mean attempts a second by cell; (times, cells)."""
        local = (at_s[:, None] + self.offset_s[None, :]) / 3_600.0
        hour, day = local % 24.0, local // 24.0
        rest = 1 - self.evening
        other = 0.5 * _bump(hour, 13.5, 2.8) + 0.3 * _bump(hour, 23.4, 1.8) + 0.2
        shape = self.evening * _bump(hour, 20.6, 1.9) + rest * other
        weekend = np.where(day % 7 >= 5, self.weekend, 1.0)
        return np.asarray(self.size.attempts_s * self.weight * np.maximum(shape, 0.03) * weekend)

    def failing(self, at_s: F8) -> F8:
        """Mean share of attempts that fail to start, by cell; (times, cells)."""
        hour = (at_s[:, None] + self.offset_s[None, :]) / 3_600.0 % 24.0
        peak = np.exp(-0.5 * (((hour - 21.0 + 12.0) % 24.0 - 12.0) / 2.2) ** 2)
        return np.asarray(self.base_share * (1.0 + 1.2 * self.congestion * peak))

    def own_sd(self, counter: int, cohort: int, at_s: float, window_s: float) -> tuple[float, float]:
        """Mean and standard deviation of a cohort's own count over a window at this time of the week, by the laws."""
        cells = self.cohorts.cells(cohort)
        moment = np.array([at_s + window_s / 2])
        mean = window_s * self.attempts(moment)[0, cells]
        fast = FAST_ATTEMPTS
        drift = ISP_DRIFT**2
        if counter == FAILURES:
            mean = mean * self.failing(moment)[0, cells]
            fast, drift = fast + FAST_SHARE, drift + SHARE_DRIFT**2
        by_isp = np.bincount(self.isp[cells], mean)
        by_country = np.bincount(self.country[cells], mean)
        variance = mean.sum() + (fast * 10.0 / window_s + drift) * (by_isp**2).sum()
        variance += COUNTRY_DRIFT**2 * (by_country**2).sum()
        return float(mean.sum()), float(np.sqrt(variance))


def _bump(hour: F8, mean: float, sd: float) -> F8:
    """A normal density around the clock, scaled to a mean of 1 over the day."""
    return np.exp(-0.5 * (((hour - mean + 12) % 24 - 12) / sd) ** 2) / (sd * 2.5066) * 24


class Feed:
    """Counters of a service from a moment on, step by step; `rng` draws everything that is not the service itself."""

    def __init__(
        self, service: Service, start_s: int, step_s: int, seed: Sequence[int], faults: Sequence[Fault] = ()
    ) -> None:
        self.service, self.step_s, self.rng = service, step_s, np.random.default_rng([service.seed, *seed])
        self.at_s, self.faults = start_s, list(faults)
        n_isp, n_country = service.isp.max() + 1, service.country.max() + 1
        self.drift = [self.rng.normal(0, 1, n) for n in (n_country, n_isp, n_isp)]
        past = start_s - 300.0 * np.arange(60)
        weight = np.exp((past - start_s) / SESSION_S)[:, None]
        begun = (service.attempts(past) * (1 - service.failing(past)) * weight).sum(0) / weight.sum()
        self.live = self.rng.poisson(begun * SESSION_S).astype(np.float64)

    def blocks(self, seconds: int) -> Iterator[tuple[int, F8]]:
        """(start of the block, counters (steps, cells, 3)) of half hours."""
        until = self.at_s + seconds
        while self.at_s < until:
            begin = self.at_s
            yield begin, self._block(min(BLOCK_S, until - begin) // self.step_s)
            self.at_s = begin + min(BLOCK_S, until - begin)

    def _block(self, n: int) -> F8:
        s, rng, step = self.service, self.rng, self.step_s
        low = self.at_s + step * np.arange(n, dtype=np.float64)
        ends = np.array([low[0], low[-1] + step])
        part = np.linspace(0, 1, n)[:, None]
        attempts, share = ((1 - part) * x[:1] + part * x[1:] for x in (s.attempts(ends), s.failing(ends)))
        country, isp, failing = (
            self._drift(i, n, hold) for i, hold in enumerate((COUNTRY_HOLD_S, ISP_HOLD_S, ISP_HOLD_S))
        )
        scale = 10.0 / step
        size = (n, isp.shape[1])
        restless = rng.gamma(1 / (FAST_ATTEMPTS * scale), FAST_ATTEMPTS * scale, size)
        worse = rng.gamma(1 / (FAST_SHARE * scale), FAST_SHARE * scale, size)
        level = np.exp(COUNTRY_DRIFT * country)[:, s.country] * (np.exp(ISP_DRIFT * isp) * restless)[:, s.isp]
        mean = step * attempts * level
        bad = np.minimum(share * (np.exp(SHARE_DRIFT * failing) * worse)[:, s.isp], 0.9)
        out = np.empty((n, len(s.weight), 3))
        out[..., FAILURES] = rng.poisson(mean * bad)
        out[..., ATTEMPTS] = rng.poisson(mean * (1 - bad)) + out[..., FAILURES]
        for fault in self.faults:
            if fault.kind == "ratio" and fault.start_s < low[-1] + step and fault.end_s > low[0]:
                self._fail(fault, low, out)
        for i in range(n):
            gone = rng.poisson(self.live * (step / SESSION_S))
            self.live = np.maximum(self.live - gone + out[i, :, ATTEMPTS] - out[i, :, FAILURES], 0.0)
            out[i, :, ALIVE] = rng.poisson(self.live * (step / REPORT_S))
        for fault in self.faults:
            if fault.kind == "outage":
                self._withhold(fault, low, out)
        return out

    def _drift(self, i: int, n: int, hold_s: float) -> F8:
        """AR(1) over the block, stationary with variance 1, interpolated between its ends."""
        a = np.exp(-n * self.step_s / hold_s)
        after = a * self.drift[i] + np.sqrt(1 - a * a) * self.rng.normal(0, 1, len(self.drift[i]))
        part = (np.arange(1, n + 1) / n)[:, None]
        path = (1 - part) * self.drift[i] + part * after
        self.drift[i] = after
        return np.asarray(path)

    def _fail(self, fault: Fault, low: F8, out: F8) -> None:
        share = np.minimum(fault.at(low, low + self.step_s), 0.98)
        touched = np.flatnonzero(share > 0)
        if not len(touched):
            return
        where = np.ix_(touched, fault.cells)
        started = (out[..., ATTEMPTS][where] - out[..., FAILURES][where]).astype(np.int64)
        extra = self.rng.binomial(started, share[touched][:, None])
        out[..., FAILURES][where] += extra
        fault.excess += [
            (low[i] + self.step_s - fault.start_s, float(x)) for i, x in zip(touched, extra.sum(1), strict=True)
        ]

    def _withhold(self, fault: Fault, low: F8, out: F8) -> None:
        """Beacons of the outage are kept back, and come in one burst later."""
        if fault.kept is None:
            fault.kept = np.zeros((len(fault.cells), 3))
        inside = (
            np.clip(np.minimum(low + self.step_s, fault.end_s) - np.maximum(low, fault.start_s), 0, None) / self.step_s
        )
        for i in np.flatnonzero(inside > 0):
            seen = out[i, fault.cells].astype(np.int64)
            held = self.rng.binomial(seen, fault.share * inside[i])
            held[:, FAILURES] = np.minimum(held[:, FAILURES], held[:, ATTEMPTS])
            out[i, fault.cells] -= held
            worse = held.copy()
            worse[:, FAILURES] = self.rng.binomial(held[:, ATTEMPTS], 0.3)
            fault.kept += worse
            fault.excess.append((low[i] + self.step_s - fault.start_s, float(held[:, ATTEMPTS].sum())))
        release = (low + self.step_s > fault.release_s) & (low < fault.release_s + fault.spread_s)
        for i in np.flatnonzero(release):
            left = fault.release_s + fault.spread_s - low[i]
            share = min(1.0, self.step_s / max(left, self.step_s))
            come = self.rng.binomial(fault.kept.astype(np.int64), share)
            come[:, FAILURES] = np.minimum(come[:, FAILURES], come[:, ATTEMPTS])
            out[i, fault.cells] += come
            fault.kept -= come
