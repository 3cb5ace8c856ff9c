"""The shipped blend as it is against a search: `python -m bench.recommend_defaults --data DIR...`.

The defaults of `models/recommend/recipe.py` were frozen on ML-1M. Here each set has its own strong split; the blend
with its defaults stands beside the best of `--trials` settings drawn at random, chosen on validation profiles and
judged, as the default is, on test profiles (NDCG@100). The default is among the candidates. A trial draws for all its
sources of a kind at once: regularization and weight of the unobserved of ALS; regularization, drop-out and powers of
EDLAE; and for the ranker: weights before anything is learned, number of trees at most and for what there is to be
found, their rate, leaves and least rows.

    DIR...   what GroupLens ships (ml-latest-small, ml-100k), or a folder with interactions.csv
    world    a service of 2,000 viewers, its plays thinned to a median of 4 titles a profile

Sources that two trials share are fitted once. One thread; exit code 1 when a default is below 97 % of its search.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.rank_world import lived
from bench.recommend import the_split
from models.recommend.histories import Histories
from models.recommend.ials import Ials
from models.recommend.interactions import from_plays
from models.recommend.linear import Edlae
from models.recommend.protocol import Scorer, single_threaded
from models.recommend.recipe import PRIOR, SOURCES
from models.recommend.stack import Learning, Stack
from models.recommend.strong import Held, StrongSplit, judge, strong_split

NEED = 0.97
WORLD_SEED = 20260701
THIN_MEDIAN = 4


class Remembered:
    """A scorer whose scores of the same histories, fitted with the same settings on the same histories, are made once
    and kept in files; it is fitted when scores are missing, and forgotten with its trial: all of a search's models are
    many times the memory of a machine."""

    _fitted: ClassVar[dict[str, Scorer]] = {}
    _scores: ClassVar[dict[tuple[str, str], Path]] = {}
    _folder: ClassVar[TemporaryDirectory[str] | None] = None

    def __init__(self, key: str, make: Callable[[], Scorer]) -> None:
        self.name, self._key, self._make = key, key, make
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)

    def fit(self, histories: Histories) -> Self:
        """Note on what to fit."""
        self._at, self._histories = f"{self._key} {_digest(histories)}", histories
        self.titles = histories.titles
        return self

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Score, or remember."""
        at = (self._at, _digest(histories))
        if at not in self._scores:
            if self._at not in self._fitted:
                self._fitted[self._at] = self._make().fit(self._histories)
            if Remembered._folder is None:
                Remembered._folder = TemporaryDirectory()
            path = Path(Remembered._folder.name, f"{len(self._scores)}.npy")
            np.save(path, self._fitted[self._at].fold_in(histories).astype(np.float32))
            self._scores[at] = path
        return np.asarray(np.load(self._scores[at]))

    @classmethod
    def trial_done(cls) -> None:
        """Forget the models."""
        cls._fitted.clear()

    @classmethod
    def forget(cls) -> None:
        """Of a set that is done."""
        cls._fitted.clear()
        cls._scores.clear()
        cls._folder = None


def _digest(histories: Histories) -> str:
    matrix, digest = histories.matrix, blake2b(digest_size=12)
    for part in (matrix.indptr, matrix.indices, matrix.data):
        digest.update(np.ascontiguousarray(part).tobytes())
    return f"{matrix.shape} {digest.hexdigest()}"


@dataclass(frozen=True, slots=True)
class Trial:
    """Factors on the defaults of ALS and EDLAE, and how the ranker learns."""

    regularization: float = 1.0
    unobserved: float = 1.0
    linear: float = 1.0
    dropout: float | None = None
    powers: bool = True
    prior: Mapping[str, tuple[float, float]] | None = None
    learning: Learning = field(default_factory=Learning)

    def blend(self) -> Stack:
        """An untrained blend of this kind."""
        made = {name: self._source(name, make) for name, make in SOURCES.items()}
        return Stack(made, self.prior or PRIOR, self.learning, 5, single="co_watched", empty="popularity")

    def _source(self, name: str, make: Callable[[], Scorer]) -> Callable[[], Scorer]:
        key, one = name, make()

        def changed() -> Scorer:
            found: Any = make()
            if isinstance(found, Ials):
                found.regularization *= self.regularization
                found.unobserved *= self.unobserved
            elif isinstance(found, Edlae):
                found.regularization *= self.linear
                found.dropout = self.dropout if self.dropout is not None else found.dropout
                if not self.powers:
                    found.length_power = found.play_power = 0.0
            return found  # type: ignore[no-any-return]

        if isinstance(one, Ials):
            key = f"{name} {self.regularization} {self.unobserved}"
        elif isinstance(one, Edlae):
            key = f"{name} {self.linear} {self.dropout} {self.powers}"
        return lambda: Remembered(key, changed)


def drawn(rng: np.random.Generator) -> Trial:
    """A random setting."""
    prior = {
        name: (max(0.0, a * float(np.exp(rng.normal(0, 0.5))) + float(rng.normal(0, 0.05))),
               b + float(rng.normal(0, 0.15)))
        for name, (a, b) in PRIOR.items()
    }  # fmt: skip
    learning = replace(
        Learning(),
        trees=int(rng.choice([20, 60, 120, 240])),
        found=int(rng.choice([100, 400, 1600])),
        rate=float(rng.choice([0.03, 0.06, 0.1])),
        leaves=int(rng.choice([8, 24, 48])),
        leaf_rows=int(rng.choice([50, 200, 800])),
        candidates=int(rng.choice([150, 300])),
    )
    ials = ((1.0, 1.0), (0.3, 1.0), (3.0, 1.0), (1.0, 0.3), (1.0, 3.0), (3.0, 0.3))
    linear = ((1.0, None, True), (0.25, None, True), (4.0, None, True), (1.0, 0.6, True), (1.0, None, False))
    regularization, unobserved = ials[int(rng.integers(len(ials)))]
    scale, dropout, powers = linear[int(rng.integers(len(linear)))]
    return Trial(regularization, unobserved, scale, dropout, powers, prior, learning)


def thin_world(seed: int = WORLD_SEED) -> pd.DataFrame:
    """Pairs of a world's plays, thinned at random to a median of THIN_MEDIAN titles a profile."""
    log = lived(seed, 2000, 300, failing=False)
    pairs = from_plays(log.plays)[["profile_id", "title_id"]].drop_duplicates(ignore_index=True)
    draw = np.random.default_rng(seed).random(len(pairs))
    low, high = 0.0, 1.0
    for _ in range(30):  # the share that leaves the median
        share = (low + high) / 2
        median = pairs[draw < share].groupby("profile_id").size().median()
        low, high = (share, high) if median < THIN_MEDIAN + 0.5 else (low, share)
    return pairs[draw < low].reset_index(drop=True)


def search(split: StrongSplit, trials: int, seed: int = 1) -> tuple[float, float, Trial, float]:
    """NDCG@100 on test of the default and of the best on validation, that trial, and the best on test of all."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(trials + 1):
        trial = Trial() if number == 0 else drawn(rng)
        begun = time.process_time()
        model = trial.blend().fit(split.train)
        valid, test = (_worth(model, held) for held in (split.valid, split.test))
        Remembered.trial_done()
        found.append((valid, test, trial))
        best = max(found, key=lambda one: one[0])
        print(f"  trial {number:3d}: validation {valid:.4f}, test {test:.4f}; ratio so far "
              f"{found[0][1] / best[1]:.4f} ({time.process_time() - begun:.1f} CPU s)", flush=True)  # fmt: skip
    Remembered.forget()
    return found[0][1], best[1], best[2], max(test for _, test, _ in found)


def _worth(model: Stack, held: Held) -> float:
    return float(judge(model.fold_in(held.fold_in), held)["ndcg@100"].mean())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line a set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders, see above")
    parser.add_argument("--world", action="store_true", help="the thinned world too")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=98765, help="of the splits")
    given = parser.parse_args(arguments)
    good = True
    with single_threaded():
        sets: list[tuple[str, Callable[[], StrongSplit]]] = [
            (folder.name, lambda folder=folder: the_split(folder, given.seed))
            for folder in given.data  # type: ignore[misc]
        ]
        if given.world:
            sets.append(("thin world", lambda: strong_split(thin_world(), given.seed, least=2)))
        for name, make in sets:
            split = make()
            length = np.concatenate([split.train.lengths(), split.test.fold_in.lengths()])
            print(f"{name}: {split.train.matrix.shape[0]} training profiles x {split.train.matrix.shape[1]} titles, "
                  f"median of {np.median(length):.0f} titles; {len(split.valid.fold_in.profiles)} validate, "
                  f"{len(split.test.fold_in.profiles)} test", flush=True)  # fmt: skip
            default, best, trial, most = search(split, given.trials)
            print(f"{name}: default {default:.4f}, best of {given.trials} {best:.4f}, ratio {default / best:.4f} "
                  f"(best on test itself {most:.4f}, {default / most:.4f})\n  {trial}", flush=True)  # fmt: skip
            good &= default / best >= NEED
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
