"""The loop without engines, over many seeds: does it pay to decide by model? (`python -m bench.loop --seeds 20`)

For each seed a world lives its history, the models decide from its logs exactly as the jobs do (same functions, same
record frames), and the world lives the next day under their pages, artwork and fill plan with a 2 x 2 holdback. Printed
per seed: offload of the plan beside LRU, yesterday's counts, no plan and the rate oracle, all replayed over the log of
that same day, and the take rates of both experiments against their holdback with intervals over profiles.

Plays are read off the world's timeline instead of being folded from its events (the fold has its own proof). Holdback
shares are larger than the demo's: 20 days of one small service must tell the arms apart.

Exit code 1 when a contest is won in fewer than `--need` of the seeds, unless `--report-only`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from bench.plays import impression_outcomes, plays_of
from models.artwork.choose import COLUMNS as CHOICE_COLUMNS
from models.artwork.choose import choose
from models.artwork.statistics import artwork_statistics, policy_id
from models.delivery import yardsticks
from models.delivery.tomorrow import cluster_forecast, fill_plans, held_now
from models.demand.files import demand_forecast
from models.experiment.intervals import Comparison, compare, per_profile
from models.recommend.features import profile_features, title_features
from models.recommend.pages import PageInputs, home_pages
from models.recommend.train import FALLBACK, MODEL, Training, train
from models.world.config import WorldConfig
from models.world.service import Day, World

FIRST_SEED = 20260101
"""Seeds 20260101, 20260102, ...: fixed, and never used to tune anything."""
CONTESTS = ("offload > LRU", "offload > yesterday", "pages > holdback", "artwork > holdback")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of each world: profiles, shows, history days before the decisions; holdback share of both experiments."""

    profiles: int
    shows: int
    history: int
    holdback: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seed. Offloads are shares of bytes served from the edge; `promoted`: the model served, not the fallback."""

    seed: int
    plan: float
    lru: float
    lru_bytes: float
    yesterday: float
    no_plan: float
    oracle: float
    logged: float
    pages: Comparison
    artwork: Comparison
    promoted: bool
    seconds: float

    def wins(self) -> tuple[bool, ...]:
        """In the order of CONTESTS."""
        return (
            self.plan > self.lru,
            self.plan > self.yesterday,
            self.pages.difference.value > 0,
            self.artwork.difference.value > 0,
        )


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the service decides for a day, in record form, and the training run behind the pages."""

    pages: pd.DataFrame
    artwork: pd.DataFrame
    plan: pd.DataFrame
    training: Training


class Logs:
    """What the service has seen so far, day by day, in record form."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.plays: list[pd.DataFrame] = []
        self.outcomes: list[pd.DataFrame] = []
        self.requests: list[pd.DataFrame] = []

    def add(self, lived: Day, day: date) -> None:
        """Take in one lived day."""
        catalogue = self.world.catalogue(lived.day)
        self.plays.append(plays_of(lived, catalogue["title"], day))
        self.outcomes.append(impression_outcomes(lived, self.plays[-1], day))
        self.requests.append(lived.cdn_requests)

    def decide(self, day: date, number: int, sizes: Sizes) -> Decisions:
        """Everything the daily jobs of `day` decide for the next, by the same functions."""
        catalogue = self.world.catalogue(number)
        plays, outcomes = pd.concat(self.plays, ignore_index=True), pd.concat(self.outcomes, ignore_index=True)
        requests, tomorrow = pd.concat(self.requests[-7:], ignore_index=True), day + timedelta(days=1)
        titles, artworks = catalogue["title"], catalogue["artwork"]
        run = train(plays, titles, day, outcomes=outcomes)
        pages = home_pages(
            PageInputs(
                plays,
                titles,
                catalogue["profile"],
                factors(run),
                promotion(run),
                title_features(plays, outcomes, titles, day, 2),
                tomorrow,
                salt="page-bench",
                holdback=sizes.holdback,
                impressions=outcomes,
            )
        )
        sessions = pd.DataFrame(
            {
                "session_id": [],
                "segment": [],
                "revision": [],
                "profile_id": [],
                "close_date": [],
                "stall_ms": [],
                "play_ms": [],
            }
        )
        cells = profile_features(plays, sessions, titles, catalogue["profile"], day, 2).set_index("profile_id")[
            "top_genre"
        ]
        artwork = choose(
            pages,
            artwork_statistics(outcomes, plays, titles, artworks, day),
            artworks,
            cells,
            pd.DataFrame(columns=list(CHOICE_COLUMNS)),
            tomorrow,
            salt="artwork-bench",
            holdback=sizes.holdback,
            floor=0.02,
            policy=policy_id(day),
        )
        clusters, files = catalogue["cdn_cluster"], catalogue["asset_file"]
        expected = cluster_forecast(
            demand_forecast(plays, requests, titles, files, tomorrow), requests, clusters, files
        )
        held = held_now(pd.DataFrame({"cdn_id": [], "files": []}), requests, clusters, files)
        return Decisions(pages, artwork, fill_plans(expected, clusters, held, tomorrow), run)


def factors(run: Training) -> pd.DataFrame:
    """Record `factors` of a run, as job train_recommender writes it."""
    sides = (
        ("profile", run.model.profiles, run.model.profile_vectors),
        ("title", run.model.titles, run.model.title_vectors),
    )
    return pd.DataFrame(
        [
            (run.model_id, side, entity, vector)
            for side, ids, matrix in sides
            for entity, vector in zip(ids, matrix, strict=True)
        ],
        columns=["model_id", "side", "entity_id", "vector"],
    )


def promotion(run: Training) -> pd.DataFrame:
    """Record `promotion` of a run, as far as pages read it."""
    return pd.DataFrame([{"model": MODEL, "version": run.version, "promoted": run.promoted}])


def play_seed(seed: int, sizes: Sizes) -> Outcome:
    """History, decisions, the day after, and its score."""
    began = time.perf_counter()
    config = WorldConfig(seed=seed, profiles=sizes.profiles, shows=sizes.shows, days=sizes.history + 1)
    world = World.create(config)
    logs = Logs(world)
    for number in range(sizes.history):
        logs.add(world.live(number), config.date(number))
    last = sizes.history - 1
    decided = logs.decide(config.date(last), last, sizes)
    after = world.live(sizes.history, pages=decided.pages, artwork=decided.artwork, plan=decided.plan)
    history = pd.concat(logs.requests, ignore_index=True)
    logs.add(after, config.date(sizes.history))
    scores = offloads(world, after, history, logs.requests[last], decided.plan)
    shown = logs.outcomes[-1]
    chosen = shown[shown["artwork_decision_id"].notna()]
    return Outcome(
        seed=seed,
        **scores,
        pages=compare(per_profile(shown, "page_arm"), seed),
        promoted=decided.training.promoted,
        artwork=compare(per_profile(chosen, "artwork_arm"), seed),
        seconds=time.perf_counter() - began,
    )


def offloads(
    world: World, after: Day, history: pd.DataFrame, yesterday: pd.DataFrame, plan: pd.DataFrame
) -> dict[str, float]:
    """Offload of every line, replayed over the log of the day after."""
    catalogue, log = world.catalogue(after.day), after.cdn_requests
    lines = yardsticks.offload_lines(
        log, history, yesterday, plan, after.truth["rates"], catalogue["asset_file"], catalogue["cdn_cluster"]
    )
    return {
        "plan": lines[yardsticks.OURS],
        "lru": lines[yardsticks.LRU],
        "lru_bytes": lines[yardsticks.LRU_PARTS],
        "yesterday": lines[yardsticks.YESTERDAY],
        "no_plan": lines[yardsticks.NOTHING],
        "oracle": lines[yardsticks.ORACLE],
        "logged": float(log.loc[log["tier"] == "edge", "bytes"].sum() / log["bytes"].sum()),
    }


def line(o: Outcome) -> str:
    """One seed as a line of the table."""
    marks = "".join("+" if won else "-" for won in o.wins())
    return (
        f"{o.seed}  plan {o.plan:.3f}  lru {o.lru:.3f} ({o.lru_bytes:.3f})  yesterday {o.yesterday:.3f}  "
        f"oracle {o.oracle:.3f}  logged {o.logged:.3f} | pages {_arms(o.pages)} | artwork {_arms(o.artwork)} | "
        f"{'model' if o.promoted else FALLBACK} {marks} {o.seconds:.1f} s"
    )


def _arms(c: Comparison) -> str:
    rates = f"{c.policy.value:.4f} / {c.holdback.value:.4f}"
    return f"{rates} lift {c.lift.value:+.1%} [{c.lift.low:+.1%}, {c.lift.high:+.1%}]"


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.loop", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=20, help="how many worlds")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="tune on others than the default ones")
    parser.add_argument("--profiles", type=int, default=2000)
    parser.add_argument("--shows", type=int, default=300)
    parser.add_argument("--history", type=int, default=8, help="days lived before the decisions")
    parser.add_argument("--holdback", type=float, default=0.5, help="share of profiles held back, in each experiment")
    parser.add_argument("--need", type=int, help="wins each contest needs; default nine in ten")
    parser.add_argument("--json", type=Path, help="also write every seed's figures to this file")
    parser.add_argument("--report-only", action="store_true", help="end with 0 whoever wins")
    given = parser.parse_args(arguments)
    sizes = Sizes(given.profiles, given.shows, given.history, given.holdback)
    outcomes = []
    for number in range(given.seeds):
        outcomes.append(play_seed(given.first_seed + number, sizes))
        print(f"[{number + 1}/{given.seeds}] {line(outcomes[-1])}", flush=True)
    need = given.need if given.need is not None else -(-9 * given.seeds // 10)
    table = pd.DataFrame([o.wins() for o in outcomes], columns=list(CONTESTS))
    for contest in CONTESTS:
        print(f"{contest:<22} won {int(table[contest].sum())} of {given.seeds}, needed {need}")
    share = pd.Series([o.plan / o.oracle for o in outcomes]).mean()
    print(f"plan over rate oracle  {share:.1%} on average")
    if given.json:
        given.json.write_text(json.dumps([asdict(o) for o in outcomes], indent=1))
    return 0 if given.report_only or bool((table.sum() >= need).all()) else 1


if __name__ == "__main__":
    sys.exit(main())
