"""How much countries agree on what is watched, on Netflix and in the world: `python -m bench.top10 --data FILE`.

FILE is Netflix's own weekly list by country (all-weeks-countries.tsv of netflix.com/tudum/top10, with columns
country_iso2, week, category, show_title). Of every week and pair of the world's countries it prints the share of the
ten titles that both lists have; of the world the same, its ten shows with the greatest mean chance of being the next
play. The world's setting `country_spread` was set by this.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from models.world.config import WorldConfig
from models.world.service import World
from models.world.taste import NEVER, softmax, utility


def shared(lists: Sequence[set[object]]) -> float:
    """Mean share of ten that two of the lists have in common."""
    return float(np.mean([len(one & other) / 10 for one, other in combinations(lists, 2)]))


def of_netflix(frame: pd.DataFrame, countries: Sequence[str]) -> dict[str, float]:
    """By category, over the weeks in which all countries have a list.

    Raises:
        ValueError: there is no such week.
    """
    out = {}
    for category, rows in frame[frame["country_iso2"].isin(countries)].groupby("category"):
        weeks = [week.groupby("country_iso2")["show_title"].agg(set) for _, week in rows.groupby("week")]
        whole = [shared(lists.tolist()) for lists in weeks if len(lists) == len(countries)]
        if whole:
            out[str(category)] = float(np.mean(whole))
    if not out:
        raise ValueError(f"no week has lists of all of {', '.join(countries)}")
    return out


def of_world(seed: int) -> float:
    """Among the countries of a world, if nobody had watched anything yet, in the middle of four weeks of launches."""
    world = World.create(WorldConfig(seed=seed, days=28))
    never = np.full(world.liking.shape, NEVER, dtype=np.int16)
    chance = softmax(utility(world.config, world.people, world.cat.shows, world.liking, never, 14))
    country = world.people.country
    return shared([set(np.argsort(-chance[country == c].mean(axis=0))[:10]) for c in np.unique(country)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both; exit code 1 when they are more than .1 apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args(arguments)
    netflix = of_netflix(pd.read_csv(given.data, sep="\t"), WorldConfig().countries)
    worlds = [of_world(9001 + i) for i in range(given.seeds)]
    print(", ".join(f"{name} {value:.3f}" for name, value in netflix.items()))
    print(f"{given.seeds} worlds {np.mean(worlds):.3f} ({min(worlds):.2f} to {max(worlds):.2f})")
    return 0 if abs(float(np.mean(worlds)) - float(np.mean(list(netflix.values())))) <= 0.1 else 1


if __name__ == "__main__":
    sys.exit(main())
