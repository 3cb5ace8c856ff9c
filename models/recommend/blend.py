"""The recommender that serves: ALS, EDLAE, genre taste, context, decayed popularity and newness in one dot product.

The weights of the parts are learned by a conditional logit (McFadden 1974) from the choices of the last days
(choices.py), with parts fitted on the days before. Written as two towers, the whole ranking is one vector per profile
and one per show, so it is stored, audited and served as data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.frames import places
from models.recommend.choices import CONTROLS, Choices, among_everything, in_rows
from models.recommend.ials import Ials
from models.recommend.linear import Edlae
from models.recommend.parts import NAMES, PERSONAL, Kept, Parts
from models.recommend.protocol import blocks, excluded_matrix, single_threaded, top_k

PRIOR_WEIGHTS = {
    "popularity": 0.8,
    "factors": 0.2,
    "linear": 0.1,
    "genre": 0.5,
    "country": 0.1,
    "device": 0.1,
    "new": 0.2,
    "unplayed": -0.3,
    "appeal": 0.6,
    "appeal_country": 0.8,
    "appeal_device": 0.8,
}
PRIOR_STRENGTH = 4.0
"""Pull of the prior weights, in plays; thin data stay near them."""
HELD = 2
"""Last days whose choices teach the weights, each with parts fitted on the days before it."""
RECIPE = tuple(
    (f"{part}.{key}", part, key)
    for part, keys in {
        "ials": ("factors", "regularization", "unobserved", "epochs", "seed"),
        "edlae": ("regularization", "dropout", "length_power", "play_power"),
    }.items()
    for key in keys
)
"""(name in a recipe, part, attribute and argument of the part)."""


class Blend:
    """See the module. `catalogue` comes from interactions.shows; titles without a play can be ranked."""

    name = "als_blend"

    def __init__(
        self,
        catalogue: pd.DataFrame,
        ials: Ials | None = None,
        edlae: Edlae | None = None,
        seed: int = 29,
        read: pd.DataFrame | None = None,
        by_place: bool = True,
        kept: Kept | None = None,
    ) -> None:
        """`read`: rows of pages (choices.rows_read) to learn from as well; `by_place`: see choices.in_rows; `kept`:
        parts shared with blends of the same recipe, catalogue and log."""
        self.catalogue = catalogue.sort_values("title_id", ignore_index=True)
        self.ials = ials if ials is not None else Ials(64, 0.02, 0.2)
        self.edlae = edlae if edlae is not None else Edlae()
        self.seed = seed
        self.read = read
        self.by_place = by_place
        self.kept = kept if kept is not None else Kept(0)
        self.weights: dict[str, float] = dict(PRIOR_WEIGHTS)
        self.profiles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.titles: NDArray[np.object_] = self.catalogue["title_id"].to_numpy(dtype=object)
        self.launch_day: NDArray[np.int64] = self.catalogue["launch_day"].to_numpy(dtype=np.int64)
        self.profile_vectors: NDArray[np.float64] = np.zeros((0, 1))
        self.title_vectors: NDArray[np.float64] = np.zeros((len(self.titles), 1))
        self.today = 0

    @property
    def recipe(self) -> dict[str, float | int]:
        """All that a blend of the same kind needs besides data: what its parts are trained with."""
        parts = {"ials": self.ials, "edlae": self.edlae}
        return {name: getattr(parts[part], key) for name, part, key in RECIPE} | {"seed": self.seed}

    @classmethod
    def of(cls, recipe: Mapping[str, float | int], catalogue: pd.DataFrame, read: pd.DataFrame | None = None) -> Self:
        """An untrained blend by a recipe.

        Raises:
            ValueError: the recipe is of another kind of blend: a value is missing or unknown.
        """
        wanted = {name for name, _, _ in RECIPE} | {"seed"}
        if set(recipe) != wanted:
            raise ValueError(f"recipe has {sorted(recipe)}, this blend needs {sorted(wanted)}")
        chosen = {part: {key: recipe[name] for name, of, key in RECIPE if of == part} for part in ("ials", "edlae")}
        return cls(catalogue, Ials(**chosen["ials"]), Edlae(**chosen["edlae"]), int(recipe["seed"]), read)  # type: ignore[arg-type]

    def fit(self, interactions: pd.DataFrame) -> Self:
        """Learn the weights on the last days, then the parts on all days. Rows of pages before `today` are used."""
        self.today = int(interactions["day"].max()) + 1 if len(interactions) else 0
        self.weights = dict(PRIOR_WEIGHTS)
        if len(interactions) and int(interactions["day"].min()) < self.today - 1:
            self.weights = self._learn(interactions)
        parts = self._parts(interactions, self.today)
        self.profiles = parts.profiles
        general = [name for name in NAMES if name not in PERSONAL]
        bias = sum(self.weights[name] * parts.right[name][:, 0] for name in general)
        self.profile_vectors = np.hstack([*(parts.left[n] for n in PERSONAL), np.ones((len(self.profiles), 1))])
        self.title_vectors = np.hstack(
            [*(self.weights[n] * parts.right[n] for n in PERSONAL), np.asarray(bias).reshape(-1, 1)]
        )
        return self

    def scores(self, profiles: Sequence[str]) -> NDArray[np.float64]:
        """Log odds up to a constant, shape (profiles, titles); a new profile has only the last coordinate."""
        return dot_scores(profiles, self.profiles, self.profile_vectors, self.title_vectors)

    def recommend(self, profiles: Sequence[str], k: int, exclude: pd.DataFrame | None = None) -> pd.DataFrame:
        """See `Recommender.recommend`; shows that are not out on the day after the training data are left out."""
        pieces = []
        for block in blocks(profiles):
            scores = np.where(self.launch_day <= self.today, self.scores(block), -np.inf)
            pieces.append(top_k(scores, block, self.titles, k, excluded_matrix(exclude, block, self.titles)))
        return pd.concat(pieces, ignore_index=True) if pieces else top_k(np.zeros((0, 0)), [], self.titles, k)

    def _parts(self, interactions: pd.DataFrame, today: int) -> Parts:
        def fit() -> Parts:
            return Parts.fit(
                interactions, self.catalogue, self.ials, self.edlae, today, read=self.read, by_place=self.by_place
            )

        return self.kept.of(today, fit)

    def _learn(self, interactions: pd.DataFrame) -> dict[str, float]:
        days = np.unique(interactions["day"].to_numpy())
        held = days[-HELD:] if len(days) >= 5 else days[-1:]
        found: list[Choices] = []
        for day in held.tolist():
            rng = np.random.default_rng([self.seed, day])
            past = interactions[interactions["day"] < day]
            parts = self._parts(past, day)
            targets = interactions[interactions["day"] == day]
            read = self.read[self.read["day"] == day] if self.read is not None else None
            if read is not None and len(read):
                targets = targets[targets["searched"]]
                found.append(in_rows(parts, past, read, rng, by_place=self.by_place))
            found.append(among_everything(parts, past, targets, rng))
        prior = np.array([PRIOR_WEIGHTS[name] for name in NAMES] + [0.0] * len(CONTROLS))
        with single_threaded():
            learned = conditional_logit(found, prior, PRIOR_STRENGTH)
        return {name: float(learned[i]) for i, name in enumerate(NAMES)}


def dot_scores(
    profiles: Sequence[str],
    known: NDArray[np.object_],
    profile_vectors: NDArray[np.float64],
    title_vectors: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Scores of two towers, shape (profiles, titles); profiles not in `known` score by the last coordinate alone."""
    place = places(known, profiles)
    cold = np.zeros(title_vectors.shape[1])
    cold[-1] = 1.0
    left = np.tile(cold, (len(place), 1))
    left[place >= 0] = profile_vectors[place[place >= 0]]
    with single_threaded():
        return np.asarray(left @ title_vectors.T)


def conditional_logit(choices: Sequence[Choices], prior: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Weights w maximising sum log softmax(values . w)[0] - strength / 2 |w - prior|^2 over all `choices`."""
    some = [one for one in choices if len(one.values)]
    if not some:
        return prior
    blocked = [np.where(one.valid, 0.0, -np.inf) for one in some]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        gap = weights - prior
        nll, gradient = strength / 2 * float(gap @ gap), strength * gap
        for one, shut in zip(some, blocked, strict=True):
            logits = one.values @ weights + shut
            top = logits.max(axis=1, keepdims=True)
            share = np.exp(logits - top)
            total = share.sum(axis=1, keepdims=True)
            share /= total
            nll += float((np.log(total[:, 0]) + top[:, 0] - logits[:, 0]).sum())
            gradient = gradient + np.einsum("nc,ncf->f", share, one.values) - one.values[:, 0].sum(axis=0)
        return nll, gradient

    return np.asarray(minimize(loss, prior, jac=True, method="L-BFGS-B", options={"maxiter": 60}).x)
