"""A service on which every hard rule bites, and a count of what its pages break, written without the rules' own code.

`python -m bench.page_rules --pages 1000000` exits 1 at the first kind of violation found.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.recommend.page_themes import KIND
from models.recommend.pages import Block, PageInputs, PageMaker
from models.recommend.protocol import single_threaded

PAGE_DATE = date(2026, 3, 2)
COUNTRIES = ("DE", "BR", "IN", "US")
GENRES = ("action", "comedy", "crime", "drama", "family", "horror")
DEVICES = ("tv", "mobile", "tablet")
RULES = ("twice", "unknown", "not_out", "licence", "withdrawn", "country", "maturity", "kids", "not_interested",
         "finished", "again", "removed", "because", "opted_out", "erased", "missing")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Service:
    """Records of a day, and the arrays they were made from: the truth a page is held against.

    Attributes:
        inputs: what its pages are made from. may_see: shape (profiles, shows). seen: plays of each profile and show
            that count, shape (profiles, shows); finished: those of finished shows. silent: opted out; gone: erased.
    """

    inputs: PageInputs
    may_see: dict[str, NDArray[np.bool_]]
    seen: NDArray[np.bool_]
    finished: NDArray[np.bool_]
    silent: NDArray[np.bool_]
    gone: NDArray[np.bool_]


def service(seed: int, profiles: int, shows: int) -> Service:
    """Draw one."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"t{i:04d}" for i in range(shows)], dtype=object)
    people = np.array([f"p{i:06d}" for i in range(profiles)], dtype=object)
    launch = rng.integers(-200, 3, shows)
    opens, closes = rng.integers(-90, 6, shows), rng.integers(-5, 90, shows)
    has_open, has_close = rng.random(shows) < 0.3, rng.random(shows) < 0.3
    kids, hidden, maturity = rng.random(shows) < 0.3, rng.random(shows) < 0.05, rng.choice([0, 12, 16, 18], shows)
    somewhere = rng.random(shows) < 0.3
    where = rng.random((shows, len(COUNTRIES))) < 0.5
    genre = rng.integers(0, len(GENRES), (shows, 2))
    title = pd.DataFrame(
        {
            "title_id": ids,
            "show_id": ids,
            "kind": "film",
            "name": ids,
            "genres": [[GENRES[g] for g in dict.fromkeys(row)] for row in genre.tolist()],
            "country_origin": rng.choice(COUNTRIES, shows),
            "launch_date": [PAGE_DATE + timedelta(days=int(d)) for d in launch],
            "maturity": maturity,
            "licensed_from_date": [
                PAGE_DATE + timedelta(days=int(d)) if has else None for d, has in zip(opens, has_open, strict=True)
            ],
            "licensed_until_date": [
                PAGE_DATE + timedelta(days=int(d)) if has else None for d, has in zip(closes, has_close, strict=True)
            ],
            "countries": [
                [COUNTRIES[c] for c in np.flatnonzero(row)] if some else []
                for row, some in zip(where, somewhere, strict=True)
            ],
            "kids": kids,
            "hidden": hidden,
        }
    )
    limited = somewhere & where.any(axis=1)
    country, limit = rng.integers(0, len(COUNTRIES), profiles), rng.choice([6, 12, 16, 18], profiles)
    child, silent, gone = (rng.random(profiles) < share for share in (0.15, 0.1, 0.02))
    profile = pd.DataFrame(
        {
            "profile_id": people,
            "country": np.array(COUNTRIES, dtype=object)[country],
            "device": rng.choice(DEVICES, profiles),
            "maturity_limit": limit,
            "kids": child,
            "opted_out": silent,
            "erased": gone,
        }
    )
    many = profiles * 5
    who, what = rng.integers(0, profiles, many), (shows * rng.random(many) ** 2).astype(np.int64)
    day, whole = -rng.integers(1, 14, many), rng.random(many) < 0.5
    twice = many // 5
    who[-twice:], what[-twice:] = who[:twice], what[:twice]  # some are watched again
    start = pd.Timestamp(PAGE_DATE, tz="UTC") + pd.to_timedelta(day * 24 + rng.integers(0, 24, many), unit="h")
    play = pd.DataFrame(
        {
            "session_id": np.arange(many).astype(str),
            "segment": 0,
            "profile_id": people[who],
            "title_id": ids[what],
            "show_id": ids[what],
            "started_at": start,
            "play_date": [PAGE_DATE + timedelta(days=int(d)) for d in day],
            "country": np.array(COUNTRIES, dtype=object)[country[who]],
            "device": np.array(DEVICES, dtype=object)[rng.integers(0, len(DEVICES), many)],
            "quality_play": True,
            "censored": False,
            "completed": whole,
            "watched_share": np.where(whole, 1.0, 0.4),
        }
    )
    refuse = rng.integers(0, profiles, profiles), (shows * rng.random(profiles) ** 2).astype(np.int64)
    take_back = rng.random(profiles) < 0.2
    remove = rng.choice(many, many // 10, replace=False)
    said = pd.concat(
        [
            _choice(people[refuse[0]], ids[refuse[1]], "not_interested", np.ones(profiles, bool), -2),
            _choice(people[refuse[0]][take_back], ids[refuse[1]][take_back], "not_interested",
                    np.zeros(int(take_back.sum()), bool), -1),
            _choice(people[who[remove]], ids[what[remove]], "removed_from_history", np.ones(len(remove), bool), -3),
        ],
        ignore_index=True,
    )  # fmt: skip
    refused = np.zeros((profiles, shows), dtype=bool)
    refused[refuse] = True
    refused[refuse[0][take_back], refuse[1][take_back]] = False
    removed_at = np.zeros((profiles, shows), dtype=bool)
    removed_at[who[remove], what[remove]] = True
    cut = start <= pd.Timestamp(PAGE_DATE, tz="UTC") - pd.Timedelta(days=3)
    counts = ~(removed_at[who, what] & cut) & ~silent[who] & ~gone[who]
    seen, finished = np.zeros((2, profiles, shows), dtype=bool)
    seen[who[counts], what[counts]] = True
    finished[who[counts & whole], what[counts & whole]] = True
    may_see = {
        "not_out": np.broadcast_to(launch <= 0, (profiles, shows)),
        "licence": np.broadcast_to(~(has_open & (opens > 0)) & ~(has_close & (closes < 0)), (profiles, shows)),
        "withdrawn": np.broadcast_to(~hidden, (profiles, shows)),
        "country": ~limited[None, :] | where.T[country],
        "maturity": maturity[None, :] <= limit[:, None],
        "kids": kids[None, :] | ~child[:, None],
        "not_interested": ~refused,
        "finished": ~finished,
    }
    vectors = rng.normal(size=(shows, 9))
    mine = rng.normal(size=(profiles, 9))
    mine[:, -1] = 1.0
    factors = pd.DataFrame(
        {
            "model_id": "recommender-v",
            "side": ["profile"] * profiles + ["title"] * shows,
            "entity_id": np.concatenate([people, ids]),
            "vector": list(np.concatenate([mine, vectors])),
        }
    )
    inputs = PageInputs(
        plays=play,
        titles=title,
        profiles=profile,
        factors=factors,
        promotion=pd.DataFrame([{"model": "recommender", "version": "v", "promoted": bool(seed % 4)}]),
        features=pd.DataFrame({"title_id": ids, "plays_1d": 1, "plays_7d": 5}),
        page_date=PAGE_DATE,
        salt=f"s{seed}",
        holdback=0.2,
        choices=said,
    )
    return Service(inputs, may_see, seen, finished, silent, gone)


def _choice(
    who: NDArray[np.object_], what: NDArray[np.object_], choice: str, active: NDArray[np.bool_], day: int
) -> pd.DataFrame:
    at = pd.Timestamp(PAGE_DATE, tz="UTC") + pd.Timedelta(days=day)
    return pd.DataFrame({"profile_id": who, "title_id": what, "choice": choice, "active": active, "chosen_at": at})


def _watch_again(block: Block) -> NDArray[np.bool_]:
    """Which rows of each page are for what was finished: shape (pages, R)."""
    themes = int(block.built.row.max(initial=-1)) + 1 if block.candidates is None else block.candidates.offered.shape[1]
    own = block.built.row - themes
    at = np.searchsorted(block.own.page, np.arange(len(own)))[:, None] + np.maximum(own, 0)
    kind = np.append(block.own.kind, -1)[np.minimum(at, len(block.own.kind))]
    return np.asarray((own >= 0) & (kind == KIND["watch_again"]))


def violations(given: Service, maker: PageMaker, block: Block) -> Counter[str]:
    """What the pages of a block break, by rule."""
    found: Counter[str] = Counter()
    number = np.array([int(p[1:]) for p in maker.ids[block.first : block.last]], dtype=np.int64)
    show = block.built.show.reshape(len(number), -1)
    there = show >= 0
    place = np.searchsorted(np.array(maker.title_ids, dtype=str), np.array(maker.title_ids, dtype=str))
    assert (place == np.arange(len(place))).all()  # shows stand in the order of their ids, as in the truth
    ordered = np.sort(np.where(there, show, -np.arange(1, show.shape[1] + 1)), axis=1)
    found["twice"] = int((ordered[:, 1:] == ordered[:, :-1]).sum())
    found["unknown"] = int((show >= len(maker.title_ids)).sum())
    safe = np.maximum(show, 0)
    repeated = np.repeat(_watch_again(block), block.built.show.shape[2], axis=1) & there
    for rule, allowed in given.may_see.items():
        broken = ~allowed[number[:, None], safe] & there
        found[rule] = int((broken & ~repeated if rule == "finished" else broken).sum())
    found["again"] = int((repeated & ~given.finished[number[:, None], safe]).sum())
    found["erased"] = int(given.gone[number].sum())
    found["missing"] = int((~there.any(axis=1)).sum())
    silent = given.silent[number]
    personal = (block.own.page >= 0) & silent[block.own.page]
    found["opted_out"] = int(personal.sum())
    for k, page in enumerate(block.own.page):
        own = block.own.show[block.own.first[k] : block.own.first[k + 1]]
        if block.own.kind[k] == KIND["continue_watching"]:
            found["removed"] += int((~given.seen[number[page], own]).sum())
        elif block.own.kind[k] == KIND["because_you_watched"] and block.candidates is not None:
            found["because"] += int(not given.finished[number[page], block.candidates.anchor[k]])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=1_000_000)
    parser.add_argument("--profiles", type=int, default=10_000, help="of each service")
    parser.add_argument("--shows", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1, help="of the first service")
    given = parser.parse_args(arguments)
    total: Counter[str] = Counter(dict.fromkeys(RULES, 0))
    pages, cells, seed, begun = 0, 0, given.seed, time.process_time()
    with single_threaded():
        while pages < given.pages:
            made = service(seed, given.profiles, given.shows)
            maker = PageMaker(made.inputs)
            for block in maker.blocks():
                total += violations(made, maker, block)
                pages += block.last - block.first
                cells += int((block.built.show >= 0).sum())
            seed += 1
            if seed % 10 == 1 or pages >= given.pages:
                print(f"{pages:,} pages, {cells:,} cells, {sum(total.values())} violations", flush=True)
    print(", ".join(f"{rule} {total[rule]}" for rule in RULES))
    print(f"{pages:,} pages of {seed - given.seed} services in {time.process_time() - begun:.0f} CPU s")
    return 1 if sum(total.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
