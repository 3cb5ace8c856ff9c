"""From a drawn history to the detectors' models, the way the alert process does it: season from weeks, spread from the
days that follow them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.incident_counts import ALIVE, ATTEMPTS, COUNTERS, FAILURES, Feed, Service
from models.incident import season
from models.incident.detect import Detector, Model, Tuning
from models.incident.signals import Signal, Spread, fit_spread

F8 = NDArray[np.float64]
SIGNALS = (
    Signal("start_errors_per_attempt", "start_failures", "attempts", memory_s=5_400.0),
    Signal("attempts", "attempts"),
    Signal("concurrency", "alive", whole=False, lag_s=120, memory_s=180.0, longest_s=120),
)
DAY_S = 86_400
HISTORY_DAYS, SPREAD_DAYS = 28, 2
MINUTE_S = 60


class History:
    """Sums of the counters by cohort and half hour of the week."""

    def __init__(self, service: Service) -> None:
        n = len(service.cohorts)
        self.service = service
        self.sums = np.zeros((len(COUNTERS), n, season.BINS))
        self.seconds = np.zeros(season.BINS)

    def add(self, begin_s: int, step_s: int, block: F8) -> None:
        """A block of steps; (steps, cells, counters), inside one half hour."""
        place = begin_s // season.BIN_S % season.BINS
        self.sums[:, :, place] += self.service.cohorts.sums(block.sum(0)).T
        self.seconds[place] += step_s * len(block)

    def seasons(self) -> list[tuple[season.Season, season.Season | None]]:
        """One for each of `SIGNALS`, and that of a ratio's denominator."""
        exposure = np.broadcast_to(self.seconds, self.sums[0].shape)
        attempts = season.fit(self.sums[ATTEMPTS], exposure, self.service.cohorts, volume=True)
        return [
            (season.fit(self.sums[FAILURES], self.sums[ATTEMPTS], self.service.cohorts, volume=False), attempts),
            (attempts, None),
            (season.fit(self.sums[ALIVE], exposure, self.service.cohorts, volume=True), None),
        ]


def learn(service: Service, seed: Sequence[int], tuning: Tuning, days: int = HISTORY_DAYS) -> list[Model]:
    """Models from `days` of history that end at second 0: seasons from all but the last days, spreads from those, and
    then seasons from everything."""
    history = History(service)
    feed = Feed(service, -days * DAY_S, MINUTE_S, [*seed, 11])
    for begin, block in feed.blocks((days - SPREAD_DAYS) * DAY_S):
        history.add(begin, MINUTE_S, block)
    models = [Model(signal, s, Spread(), den) for signal, (s, den) in zip(SIGNALS, history.seasons(), strict=True)]
    tracker = Detector(service.cohorts, COUNTERS, models, MINUTE_S, tuning)
    seen: list[list[F8]] = [[] for _ in SIGNALS]
    mean: list[list[F8]] = [[] for _ in SIGNALS]
    for begin, block in feed.blocks(SPREAD_DAYS * DAY_S):
        history.add(begin, MINUTE_S, block)
        for i, cells in enumerate(block):
            at = begin + i * MINUTE_S
            found, expected = tracker.predict(at + MINUTE_S / 2, cells)
            for j, level in enumerate(tracker.levels):
                seen[j].append(found[j].astype(np.float32))
                mean[j].append((expected[j] * level.value).astype(np.float32))
                level.add(found[j], expected[j], None)
    warm = 180
    spreads = [
        fit_spread(
            np.array(k[warm:]),
            np.array(m[warm:]),
            MINUTE_S,
            tuple(w for w in (1, 2, 3, 4, 6, 8, 12) if w * MINUTE_S <= s.longest_s),
            whole=s.whole,
            kind=service.cohorts.kinds(),
        )
        for k, m, s in zip(seen, mean, SIGNALS, strict=True)
    ]
    seasons = history.seasons()
    return [Model(s, rate, spread, den) for s, (rate, den), spread in zip(SIGNALS, seasons, spreads, strict=True)]
