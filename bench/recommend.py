"""Recommendation tables, peers in the same run: `python -m bench.recommend --data DIR --table r1`.

    r1  strong generalization on one split, and with --seeds N on N more: the blend, its parts, EASE, implicit's ALS
    r2  rolling origins on a global clock: the ranker against decayed popularity; then the world (bench/rank_world.py)
    r3  CPU of ALS to the same NDCG@100: ours, implicit's, Spark MLlib's; the Spark path (bench/recommend_als.py)
    r4  home pages of 10 x 10 cells (bench/pages.py)
    r6  cold start: n events of a masked history; titles without a play against content neighbours

DIR is what GroupLens ships (unpack ml-1m.zip, ml-100k.zip or ml-latest-small.zip from grouplens.org) or any folder with
interactions.csv (user, item and, if there, time and weight). A strong_split.parquet in it (u, m, role) is used as the
split of r1, r3 and r6; without one the split is drawn from --seed. Ratings of 4 and more count as liked.
One BLAS thread; CPU is this process's, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bench import pages, rank_world, recommend_als
from models.frames import places
from models.recommend.cold import ColdTitles
from models.recommend.files import Loaded, load, positives, titles, wanted
from models.recommend.histories import Histories
from models.recommend.ials import Ials
from models.recommend.linear import Edlae
from models.recommend.neighbours import Bm25Neighbours, ContentNeighbours, CoWatched
from models.recommend.protocol import Scorer, single_threaded
from models.recommend.recipe import blend
from models.recommend.rolling import ClockRanker, ndcg_at_10, popular_scores, windows
from models.recommend.scorers import LibraryALS, Popularity
from models.recommend.stack import Stack, some_of
from models.recommend.strong import (
    METRICS,
    Held,
    Paired,
    StrongSplit,
    by_length,
    from_roles,
    judge,
    judge_lists,
    paired_bootstrap,
    ranked,
    strong_split,
)

FURTHER_SEEDS = 100
"""Splits 100, 101, ...: never used to choose anything."""
LIBRARY_GRID = (
    {"factors": 128, "regularization": 50.0, "alpha": 6.0},
    {"factors": 128, "regularization": 30.0, "alpha": 6.0},
    {"factors": 128, "regularization": 80.0, "alpha": 8.0},
    {"factors": 256, "regularization": 50.0, "alpha": 6.0},
)


def read_folder(folder: Path) -> Loaded | None:
    """What the folder holds in a layout of models.recommend.files; None when it has only parquet."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if wanted(path.name)}
    has_rows = any(not name.startswith("movies") and not name.endswith(".item") for name in files)
    return load(files) if has_rows else None


def liked(folder: Path) -> pd.DataFrame:
    """Pairs profile_id, title_id that count as liked."""
    table = folder / "interactions_ge4.parquet"
    if table.exists():
        frame = pd.read_parquet(table)
        frame = frame[frame["ge4"] == 1]
        return pd.DataFrame({"profile_id": frame["u"].astype(str), "title_id": frame["m"].astype(str)})
    loaded = read_folder(folder)
    if loaded is None:
        raise SystemExit(f"{folder} holds no ratings; see `python -m bench.recommend --help` for the layouts")
    if len(loaded.refused):
        print(f"{len(loaded.refused)} rows set aside: {loaded.refused['reason'].value_counts().to_dict()}")
    return positives(loaded.interactions)[["profile_id", "title_id"]]


def the_split(folder: Path, seed: int) -> StrongSplit:
    """strong_split.parquet if the folder has one, else drawn."""
    table = folder / "strong_split.parquet"
    if not table.exists():
        try:
            return strong_split(liked(folder), seed)
        except ValueError as error:
            raise SystemExit(f"{folder}: {error}") from error
    frame = pd.read_parquet(table)
    names = (("profile_id", "u"), ("title_id", "m"), ("role", "role"))
    named = {new: frame[old].astype(str) for new, old in names}
    return from_roles(pd.DataFrame(named))


@dataclass(frozen=True, slots=True)
class Line:
    """One model on one group of profiles: metrics per profile, share of titles in anybody's ten, CPU seconds to fit."""

    name: str
    values: dict[str, NDArray[np.float64]]
    coverage: float
    cpu_s: float

    def __str__(self) -> str:
        means = "".join(f"{self.values[name].mean():11.4f}" for name in METRICS)
        return f"{self.name:34s}{means}{self.coverage:11.3f}{self.cpu_s:9.1f}"


HEADER = f"{'model':34s}{'recall@20':>11s}{'recall@50':>11s}{'ndcg@100':>11s}{'coverage':>11s}{'CPU s':>9s}"


def line(name: str, scores: NDArray[np.floating], held: Held, cpu_s: float) -> Line:
    """Judge scores that are already made."""
    top = ranked(scores, held.fold_in.matrix, 10)
    return Line(name, judge(scores, held), len(np.unique(top)) / scores.shape[1], cpu_s)


def measured(name: str, model: Scorer, train: Histories, held: Held) -> Line:
    """Fit on `train`, fold `held` in."""
    begun = time.process_time()
    model.fit(train)
    return line(name, model.fold_in(held.fold_in), held, time.process_time() - begun)


def tuned_library(split: StrongSplit) -> LibraryALS:
    """The setting of LIBRARY_GRID best on validation, fitted."""
    tried = [LibraryALS(**setting).fit(split.train) for setting in LIBRARY_GRID]  # type: ignore[arg-type]
    worth = [judge(model.fold_in(split.valid.fold_in), split.valid)["ndcg@100"].mean() for model in tried]
    return tried[int(np.argmax(worth))]


class Lazy:
    """The blend of a split, trained once for all tables that ask for it."""

    def __init__(self, split: StrongSplit) -> None:
        self.split = split
        self.model: Stack | None = None
        self.cpu_s = 0.0

    def get(self) -> Stack:
        """Trained on the split's training profiles."""
        if self.model is None:
            begun = time.process_time()
            self.model = blend().fit(self.split.train)
            self.cpu_s = time.process_time() - begun
        return self.model


def r1(folder: Path, split: StrongSplit, lazy: Lazy, seeds: int) -> None:
    """Every model on the split, then the blend against implicit's ALS on further ones."""
    print(
        f"train {split.train.matrix.shape[0]} profiles x {split.train.matrix.shape[1]} titles, "
        f"{split.train.matrix.nnz} pairs; "
        f"{len(split.valid.fold_in.profiles)} validate, {len(split.test.fold_in.profiles)} test; "
        f"{split.coverage:.4f} of held-out pairs have a trained title"
    )
    library = tuned_library(split)
    makers: dict[str, Callable[[], Scorer]] = {
        "popularity": Popularity,
        "BM25 neighbours": Bm25Neighbours,
        "EASE": lambda: Edlae(8.0, 0.0, 0.0, 0.0),
        "EDLAE": lambda: Edlae(length_power=0.0, play_power=0.0),
        "EDLAE of shares": Edlae,
        "implicit ALS, tuned": lambda: LibraryALS(library.factors, library.regularization, library.alpha),
        "iALS 128": lambda: Ials(128, epochs=12),
        "iALS 256": lambda: Ials(256, unobserved=0.14, epochs=12),
    }
    print(HEADER)
    lines: dict[str, Line] = {}
    for name, make in makers.items():
        lines[name] = measured(name, make(), split.train, split.test)
        print(lines[name], flush=True)
    model = lazy.get()
    lines["blend"] = line("blend", model.fold_in(split.test.fold_in), split.test, lazy.cpu_s)
    for name, weights in (("its weighted sum, learned", model.weights), ("its weighted sum, as shipped", model.prior)):
        kept, model.booster, learned, model.weights = model.booster, None, model.weights, weights
        print(line(name, model.fold_in(split.test.fold_in), split.test, lazy.cpu_s))
        model.booster, model.weights = kept, learned
    print(lines["blend"])
    print(line("blend, on validation", model.fold_in(split.valid.fold_in), split.valid, lazy.cpu_s))
    print({name: [round(float(w), 2) for w in model.weights[:, i]] for i, name in enumerate(model.make)})
    for other in ("implicit ALS, tuned", "EASE", "iALS 256"):
        print(_difference(lines["blend"], lines[other]))
    print("NDCG@100 by length of history:", by_length(lines["blend"].values["ndcg@100"], split.test))
    pairs = liked(folder) if seeds else pd.DataFrame()
    gaps: dict[str, list[NDArray[np.float64]]] = {}
    for number in range(FURTHER_SEEDS, FURTHER_SEEDS + seeds):
        again = strong_split(pairs, number)
        library = tuned_library(again)
        peer = line("implicit ALS, tuned", library.fold_in(again.test.fold_in), again.test, 0.0)
        begun = time.process_time()
        fresh = blend().fit(again.train)
        cpu_s = time.process_time() - begun
        own = [line("blend", fresh.fold_in(again.test.fold_in), again.test, cpu_s)]
        fresh.booster, fresh.weights, fresh.short_weights = None, fresh.prior, fresh.prior
        own.append(line("weights as shipped alone", fresh.fold_in(again.test.fold_in), again.test, 0.0))
        for one in own:
            gaps.setdefault(one.name, []).append(one.values["ndcg@100"] - peer.values["ndcg@100"])
            print(f"split {number}: {one}; {_difference(one, peer)}", flush=True)
    for name, parts in gaps.items():
        over = np.concatenate(parts)
        print(f"{name}, all {seeds} splits: {_words(paired_bootstrap(over, np.zeros(len(over))))}")


def _difference(one: Line, other: Line) -> str:
    found = paired_bootstrap(one.values["ndcg@100"], other.values["ndcg@100"])
    return f"{one.name} - {other.name}: {_words(found)}"


def _words(found: Paired) -> str:
    return f"NDCG@100 {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}], p {found.p:.4f}"


def r2(folder: Path, origins: int) -> None:
    """The ranker against 7-day decayed popularity and its sources over rolling origins, warm profiles and all."""
    loaded = read_folder(folder)
    if loaded is None or loaded.interactions["at"].isna().any():
        raise SystemExit(f"{folder} has no times; r2 needs a clock (ml-100k and ml-latest-small have one)")
    rated = positives(loaded.interactions)
    gaps: dict[str, list[NDArray[np.float64]]] = {"all": [], "warm": []}
    who: dict[str, list[NDArray[np.object_]]] = {"all": [], "warm": []}
    print("origin       profiles  warm  coverage  decayed pop   ranker    EDLAE     iALS    left")
    for window in windows(rated, origins):
        profiles = sorted(set(window.test["profile_id"]))
        model = ClockRanker().fit(window.before, window.origin)
        own = ndcg_at_10(model.scores(profiles), profiles, model.titles, window)
        history = window.before.groupby("profile_id").size().reindex(profiles).fillna(0).to_numpy()
        seen = Histories.from_pairs(window.before, profiles, model.titles).matrix
        floor = ndcg_at_10(popular_scores(window, model.titles, seen), profiles, model.titles, window)
        shown = Histories(np.asarray(profiles, dtype=object), model.titles, seen)
        singles = []
        for name in ("edlae", "ials"):
            score = np.where(seen.toarray() > 0, -np.inf, model.fitted[name].fold_in(shown).astype(np.float64))
            singles.append(ndcg_at_10(score, profiles, model.titles, window).mean())
        warm = history >= 5
        gaps["all"].append((own - floor).to_numpy())
        gaps["warm"].append((own - floor).to_numpy()[warm])
        who["all"].append(np.array(profiles, dtype=object))
        who["warm"].append(np.array(profiles, dtype=object)[warm])
        day = pd.Timestamp(window.origin, unit="s").date().isoformat()
        print(
            f"{day:12s}{len(profiles):9d}{int(warm.sum()):6d}{window.coverage:10.3f}{floor.mean():13.4f}"
            f"{own.mean():9.4f}{singles[0]:9.4f}{singles[1]:9.4f}{model.leave:8.2f}   "
            f"warm {floor[warm].mean():.4f} {own[warm].mean():.4f}",
            flush=True,
        )
    for name, parts in gaps.items():
        gap = np.concatenate(parts)
        found = paired_bootstrap(gap, 0.0, groups=np.concatenate(who[name]))
        print(
            f"{name}: ranker - decayed popularity, NDCG@10 of {len(gap)} profile windows: "
            f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        )


def r6(folder: Path, split: StrongSplit, lazy: Lazy, seed: int, links: Path | None = None) -> None:
    """A masked history of which n events are folded in, means over 3 draws; then titles without a play."""
    model, held = lazy.get(), split.test
    seen = held.fold_in.matrix
    peers = {"popularity": Popularity(), "co-watched": CoWatched(), "EDLAE": Edlae(), "iALS": Ials()}
    for peer in peers.values():
        peer.fit(split.train)
    whole = judge(model.fold_in(held.fold_in), held)["ndcg@100"].mean()
    print(f"whole history: blend {whole:.4f}")
    for n in (0, 1, 3, 5, 10):
        worth: dict[str, list[float]] = {}
        for draw in range(3):
            few = some_of(seen, n, np.random.default_rng([seed, draw]))
            shown = Histories(held.fold_in.profiles, held.fold_in.titles, few)
            scores = {name: peer.fold_in(shown) for name, peer in peers.items()}
            scores["blend"] = model.fold_in_masked(shown, seen)
            for name, score in scores.items():
                worth.setdefault(name, []).append(float(judge(score, held)["ndcg@100"].mean()))
        means = {name: float(np.mean(values)) for name, values in worth.items()}
        words = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        print(f"n {n:2d}: {means['blend'] / whole:.3f} of the whole; {words}", flush=True)
    catalogue = titles_of(folder)
    if catalogue is None:
        print("titles without a play: the folder has no titles file")
        return
    numbers = numbers_of(folder if links is None else links)
    own, peer = np.mean([unplayed(split, catalogue, seed + draw, numbers) for draw in range(3)], axis=0)
    print(f"titles without a play, mean of three draws: NDCG@20 {own:.4f}, {own / peer:.2f} times content neighbours")


def titles_of(folder: Path) -> pd.DataFrame | None:
    """Names and genres, if the folder has them."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if wanted(path.name)}
    found = titles(files)
    return found if len(found) else None


def numbers_of(path: Path) -> pd.DataFrame | None:
    """links.csv of MovieLens (the folder's, or the file itself): a title's places in two public catalogues.

    The smaller, the earlier somebody cared to write the title into them. No rating and no play goes into these.
    """
    table = path / "links.csv" if path.is_dir() else path
    if not table.exists():
        return None
    frame = pd.read_csv(table)
    return pd.DataFrame({"title_id": frame["movieId"].astype(str), "tmdb": frame["tmdbId"], "imdb": frame["imdbId"]})


def unplayed(
    split: StrongSplit, catalogue: pd.DataFrame, seed: int, numbers: pd.DataFrame | None = None
) -> tuple[float, float]:
    """A tenth of the titles hidden from training and histories; every liked one of them is to be found among them.

    Returns:
        NDCG@20 of ours, with `numbers` where given, and of content neighbours.
    """
    known = split.train.titles
    rng = np.random.default_rng(seed)
    cold = np.sort(rng.permutation(len(known))[: len(known) // 10])
    warm = np.setdiff1d(np.arange(len(known)), cold)
    train = Histories(split.train.profiles, known[warm], split.train.matrix[:, warm].tocsr())

    def group(held: Held) -> tuple[Histories, csr_matrix]:
        every = (held.fold_in.matrix + held.target.astype(np.float32)).tocsr()[:, cold].tocsr()
        some = np.flatnonzero(np.diff(every.indptr))
        shown = held.fold_in.matrix[some][:, warm].tocsr()
        return Histories(held.fold_in.profiles[some], known[warm], shown), every[some]

    (v_shown, v_goal), (t_shown, t_goal) = group(split.valid), group(split.test)

    def worth(scores: NDArray[np.floating], goal: csr_matrix) -> float:
        return float(judge_lists(ranked(scores, None, 100), goal)["ndcg@20"].mean())

    peers = [ContentNeighbours(catalogue, k).fit(train) for k in (3, 10, 30, 100, 300, 1000)]
    columns = places(peers[0].titles, known[cold])
    peer = max(peers, key=lambda model: worth(model.fold_in(v_shown)[:, columns], v_goal))
    by_peer = worth(peer.fold_in(t_shown)[:, columns], t_goal)
    own = worth(ColdTitles(catalogue).fit(train).fold_in(t_shown, columns), t_goal)
    told = own
    if numbers is not None:
        told = worth(ColdTitles(catalogue, numbers=numbers).fit(train).fold_in(t_shown, columns), t_goal)
        print(
            f"  with the titles' places in other catalogues ({numbers['title_id'].isin(known[cold]).sum()} of "
            f"{len(cold)} have one): NDCG@20 {told:.4f}, ratio {told / by_peer:.2f}"
        )
    plays = np.asarray(split.train.matrix.sum(axis=0)).ravel()[cold]
    known_plays = worth(np.tile(plays, (len(t_goal.indptr) - 1, 1)), t_goal)
    print(
        f"{len(cold)} titles without a play, {t_goal.nnz / t_goal.shape[0]:.1f} to be found a profile: "
        f"NDCG@20 {own:.4f}, content neighbours (K {peer.neighbours}) {by_peer:.4f}, ratio {own / by_peer:.2f}; "
        f"for comparison, ranked by the plays they really had {known_plays:.4f}"
    )
    return told, by_peer


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder, see above")
    parser.add_argument("--table", choices=("r1", "r2", "r3", "r4", "r6"), required=True, nargs="+")
    parser.add_argument("--seed", type=int, default=98765, help="of the split, when the folder brings none")
    parser.add_argument("--seeds", type=int, default=0, help="r1: further splits")
    parser.add_argument("--factors", type=int, nargs="+", default=[64, 128, 256], help="r3: numbers of factors")
    parser.add_argument("--mllib-factors", type=int, nargs="+", default=[64], help="r3: those of Spark MLlib's ALS")
    parser.add_argument("--events", type=int, default=recommend_als.EVENTS, help="r3: plays in the world")
    parser.add_argument("--budget", type=float, default=400.0, help="r3: CPU seconds of a solver for a line")
    parser.add_argument("--parts", choices=recommend_als.PARTS, nargs="+", default=recommend_als.PARTS, help="r3")
    parser.add_argument("--links", type=Path, help="r6: a links.csv, when the folder brings none")
    parser.add_argument("--origins", type=int, default=5, help="r2: windows of 8 %% of the ratings each")
    parser.add_argument("--worlds", type=int, default=5, help="r2: worlds of known truth; 0 leaves them out")
    given = parser.parse_args(arguments)
    if not given.data.is_dir():
        parser.error(f"{given.data} is no folder")
    with single_threaded():
        if "r2" in given.table:
            r2(given.data, given.origins)
            if given.worlds:
                rank_world.table(given.worlds, rank_world.PROFILES, rank_world.SHOWS)
        tables = [table for table in given.table if table != "r2"]
        if not tables:
            return 0
        split = the_split(given.data, given.seed)
        model, good = Lazy(split), True
        for table in tables:
            if table == "r1":
                r1(given.data, split, model, given.seeds)
            elif table == "r4":
                catalogue = titles_of(given.data)
                if catalogue is None:
                    raise SystemExit(f"{given.data} has no titles file; rows of a page need names and genres")
                whole = model.get()
                pages.r4(split, catalogue, whole, whole.sources["edlae"].weights)  # type: ignore[attr-defined]
            elif table == "r3":
                good &= recommend_als.table(
                    split, given.factors, given.events, given.budget, given.parts, given.mllib_factors
                )
            else:
                r6(given.data, split, model, given.seed, given.links)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
