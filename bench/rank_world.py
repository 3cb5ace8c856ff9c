"""Rankings against what the viewers of the world really like: half of table r2 (`python -m bench.rank_world`).

Each world lives 28 days under the service's own pages; the ranker learns from what the service logged. On the next day
a ranking is worth the NDCG@10 of one new play drawn from the profile's true choice (multinomial logit over what it may
see and has not watched): its exact expectation, not a draw. `oracle` ranks by true utility. Shows begun before the
first day of the log are left out, as a row of their own takes them up and no log tells which they are; the gap with
them is printed too.

    sources       each part of the ranker alone, and ALS of `implicit`
    naive         the ranker that ignores in which place a show was shown
    plays alone   the ranker without pages: what was shown and left says nothing
    ignoring      the ranker that takes a play cut short by playback for what it looks like: a refusal, a short watch

That comparison is made on worlds in which every other ISP fails each evening. To a newcomer, of whom only the context
is known, a ranking is worth the NDCG@10 of the first play: what is begun in the country and on the device (what a new
profile and one that opted out get) beside decayed popularity, and beside the best ranking there is for everybody, for
each country and for each device in it.

Parameters are those of the code; seeds were not used to choose anything. Exit code 1 when a claim of the table does not
hold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.loop import Logs
from models.days import epoch_day
from models.frames import places
from models.recommend.als import ImplicitALS
from models.recommend.blend import Blend
from models.recommend.choices import rows_read
from models.recommend.interactions import from_plays, shows
from models.recommend.parts import NAMES, Parts
from models.recommend.popularity import CONTEXT, Contextual, log_plays
from models.recommend.protocol import single_threaded
from models.recommend.strong import paired_bootstrap
from models.world.config import WorldConfig
from models.world.faults import isp_outage
from models.world.service import World
from models.world.taste import IMPOSSIBLE

FIRST_SEED = 20261401
HISTORY = 28
PROFILES, SHOWS = 2000, 300
EVERYWHERE, THERE = "played everywhere", "begun in the country and on the device"
CONTEXTUAL = 1.3
"""Times global popularity that contextual popularity must be to newcomers."""
FLOOR, ORACLE, RANKER = "decayed popularity", "oracle", "ranker"
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """What a service logged over HISTORY days, and what its viewers would choose on the next.

    Attributes:
        odds: true odds of taking each show, 0 where it must not be seen or was watched before: (profiles, shows).
        begun: shows begun before the log begins, same shape.
        first_odds: true odds of everybody's first play, were it yet to come, same shape.
        people: country and usual device of each profile.
    """

    plays: pd.DataFrame
    outcomes: pd.DataFrame
    catalogue: pd.DataFrame
    today: int
    profiles: list[str]
    odds: Floats
    begun: NDArray[np.bool_]
    first_odds: Floats
    people: pd.DataFrame

    def new(self) -> Log:
        """Of shows not begun before the log."""
        return replace(self, odds=np.where(self.begun, 0.0, self.odds))


def lived(seed: int, profiles: int, shows_: int, failing: bool) -> Log:
    """A world's log; `failing`: every other ISP has hardly any throughput from 16 to 23 h UTC, each day."""
    world = World.create(WorldConfig(seed=seed, profiles=profiles, shows=shows_, days=HISTORY + 1))
    faults = tuple(isp_outage(isp, start=16 * 60, minutes=7 * 60) for isp in world.isps.isp[::2]) if failing else ()
    logs = Logs(world)
    for number in range(HISTORY):
        logs.add(world.live(number, faults=faults), world.config.date(number))
        logs.requests.clear()
    plays, outcomes = pd.concat(logs.plays, ignore_index=True), pd.concat(logs.outcomes, ignore_index=True)
    catalogue = shows(world.catalogue(HISTORY)["title"])
    people = sorted(world.people.profile_id)
    here = np.ix_(places(world.people.profile_id, people), places(world.cat.shows.show_id, catalogue["title_id"]))
    odds, first_odds = (
        np.where(useful > IMPOSSIBLE / 2, np.exp(useful.astype(np.float64)), 0.0)
        for useful in (world.useful(HISTORY)[here], world.to_newcomers(HISTORY)[here])
    )
    watched = plays[plays["quality_play"].astype(bool)]
    odds[places(people, watched["profile_id"]), places(catalogue["title_id"], watched["show_id"])] = 0.0
    today = epoch_day(world.config.date(HISTORY))
    where = world.catalogue(HISTORY)["profile"].set_index("profile_id").loc[people, list(CONTEXT)]
    return Log(plays, outcomes, catalogue, today, people, odds, world.begun(0)[here], first_odds, where)


def worth(log: Log, scores: Floats) -> Floats:
    """Expected NDCG@10 by profile of a ranking of what may be listed: shape (profiles,)."""
    order = np.argsort(-np.where(log.odds > 0, scores, -np.inf), axis=1, kind="stable")[:, :10]
    chance = np.take_along_axis(log.odds, order, axis=1) / log.odds.sum(axis=1, keepdims=True)
    return np.asarray(chance @ (1.0 / np.log2(np.arange(order.shape[1]) + 2.0)))


def to_newcomers(log: Log) -> dict[str, Floats]:
    """What each ranking by context alone is worth, by profile."""
    chance = log.first_odds / log.first_odds.sum(axis=1, keepdims=True)
    known = _known(log, log.plays)
    titles = log.catalogue["title_id"].to_numpy(dtype=object)
    begun = Contextual.of(known, titles, log.today)

    def best(*context: str) -> Floats:
        same = log.people.groupby(list(context)).ngroup() if context else np.zeros(len(chance))
        return pd.DataFrame(chance).groupby(np.asarray(same)).transform("mean").to_numpy()

    rankings = {
        EVERYWHERE: np.tile(log_plays(known, titles, log.today), (len(chance), 1)),
        "begun everywhere": np.tile(begun.everywhere, (len(chance), 1)),
        "begun in the country": begun.scores(log.people[["country"]]),
        THERE: begun.scores(log.people),
        "best for everybody": best(),
        "best by country": best("country"),
        "best by country and device": best("country", "device"),
    }
    first = replace(log, odds=log.first_odds)
    return {name: worth(first, scores) for name, scores in rankings.items()}


def ranker(log: Log, plays: pd.DataFrame, pages: bool = True, by_place: bool = True) -> Floats:
    """Scores of the shipped ranker, learned from these plays and, unless told otherwise, pages."""
    read = rows_read(log.outcomes, plays) if pages else None
    return Blend(log.catalogue, read=read, by_place=by_place).fit(_known(log, plays)).scores(log.profiles)


def sources(log: Log) -> dict[str, Floats]:
    """Scores of each part of the ranker alone, and of the library's ALS."""
    interactions = _known(log, log.plays)
    blend = Blend(log.catalogue)
    read = rows_read(log.outcomes, log.plays)
    parts = Parts.fit(interactions, log.catalogue, blend.ials, blend.edlae, log.today, read=read)
    out = {FLOOR if n == "popularity" else n: _of(log, parts.profiles, parts.left[n] @ parts.right[n].T) for n in NAMES}
    als = ImplicitALS().fit(interactions)
    column = places(als.titles, log.catalogue["title_id"])
    found = als.scores(log.profiles)
    out["implicit ALS"] = np.where(column >= 0, found[:, np.maximum(column, 0)], -1e9)
    return out


def _known(log: Log, plays: pd.DataFrame) -> pd.DataFrame:
    found = from_plays(plays)
    return found[found["title_id"].isin(set(log.catalogue["title_id"]))].reset_index(drop=True)


def _of(log: Log, profiles: NDArray[np.object_], scores: Floats) -> Floats:
    """Rows by `log.profiles`; a profile without a play gets the mean of the others."""
    place = places(profiles, log.profiles)
    return np.where(place[:, None] >= 0, scores[np.maximum(place, 0)], scores.mean(axis=0))


def table(seeds: int, profiles: int, shows_: int, first_seed: int = FIRST_SEED) -> bool:
    """Print the table; whether every claim holds."""
    found: dict[str, list[Floats]] = {}

    def add(name: str, values: Floats) -> Floats:
        found.setdefault(name, []).append(values)
        return values

    heads = f"{'popularity':>11s}{'ranker':>9s}{'oracle':>9s}{'gap closed':>12s}"
    print(f"{'seed':10s}{heads}   plays, cut short (failing)")
    closed, with_begun = [], []
    newcomers: dict[str, list[Floats]] = {}
    for seed in range(first_seed, first_seed + seeds):
        whole = lived(seed, profiles, shows_, failing=False)
        log = whole.new()
        for name, scores in sources(log).items():
            add(name, worth(log, scores))
            if name == FLOOR:
                floors = [worth(one, scores).mean() for one in (log, whole)]
        for name, values_ in to_newcomers(log).items():
            newcomers.setdefault(name, []).append(values_)
        scores = ranker(log, log.plays)
        own = add(RANKER, worth(log, scores)).mean()
        best = add(ORACLE, worth(log, log.odds)).mean()
        with_begun.append((worth(whole, scores).mean() - floors[1]) / (worth(whole, whole.odds).mean() - floors[1]))
        add("naive", worth(log, ranker(log, log.plays, by_place=False)))
        add("plays alone", worth(log, ranker(log, log.plays, pages=False)))
        closed.append((own - floors[0]) / (best - floors[0]))
        bad = lived(seed, profiles, shows_, failing=True).new()
        add("with failures, censored", worth(bad, ranker(bad, bad.plays)))
        add("with failures, ignoring", worth(bad, ranker(bad, bad.plays.assign(censored=False))))
        print(f"{seed:<10d}{floors[0]:11.4f}{own:9.4f}{best:9.4f}{closed[-1]:12.3f}   {len(log.plays):,}, "
              f"{log.plays['censored'].mean():.3f} ({bad.plays['censored'].mean():.3f})", flush=True)  # fmt: skip
    values = {name: np.concatenate(parts) for name, parts in found.items()}
    for name, one in sorted(values.items(), key=lambda item: item[1].mean()):
        print(f"  {name:26s}{one.mean():9.4f}")
    single = max((n for n in values if n in (*NAMES, FLOOR, "implicit ALS")), key=lambda n: float(values[n].mean()))
    pairs = ((RANKER, single), (RANKER, "naive"), (RANKER, "plays alone"),
             ("with failures, censored", "with failures, ignoring"))  # fmt: skip
    good = float(np.mean(closed)) >= 0.5
    print(
        f"gap from {FLOOR} to {ORACLE} closed: mean {np.mean(closed):.3f}, least {min(closed):.3f}"
        f" (among shows begun before the log too: {np.mean(with_begun):.3f})"
    )
    for one, other in pairs:
        gap = paired_bootstrap(values[one], values[other])
        good &= gap.low > 0 and (other != single or gap.p < 0.01)
        print(f"{one} - {other}: {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}], p {gap.p:.4f}")
    first = {name: float(np.concatenate(parts).mean()) for name, parts in newcomers.items()}
    told = (f"{name} {one:.4f} ({one / first[EVERYWHERE]:.2f})" for name, one in first.items())
    print("to newcomers: " + ", ".join(told))
    return good and first[THERE] >= CONTEXTUAL * first[EVERYWHERE]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--profiles", type=int, default=PROFILES)
    parser.add_argument("--shows", type=int, default=SHOWS)
    given = parser.parse_args(arguments)
    with single_threaded():
        return 0 if table(given.seeds, given.profiles, given.shows, given.first_seed) else 1


if __name__ == "__main__":
    sys.exit(main())
