"""Choose the image of every show on every page: the core of job `choose_artwork`.

Thompson sampling (Thompson 1933) whose probabilities are exact: an image's share of wins over a fixed set of 64
posterior draws *is* the distribution the image is then drawn from, by a hash of profile, show and epoch. A choice
holds for a 7-day epoch, so an image does not flicker and a decision is one trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from hashlib import blake2b

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.artwork.statistics import EPOCH_DAYS
from models.days import epoch_day, epoch_days
from models.experiment.assign import HOLDBACK, arms, join_parts, uniforms
from models.frames import rows
from models.recommend.taste import EVERYBODY

DRAWS = 64
COLUMNS = (
    "decision_id",
    "profile_id",
    "title_id",
    "epoch",
    "valid_date",
    "artwork_id",
    "probability",
    "artwork_arm",
    "policy_id",
    "artwork_ids",
    "probabilities",
)


def posterior_draws(
    artwork_ids: Sequence[str], alpha: NDArray[np.float64], beta: NDArray[np.float64], salt: str
) -> NDArray[np.float64]:
    """64 draws from each image's Beta, shape (images, DRAWS); a function of name, salt and posterior alone."""
    out = np.empty((len(artwork_ids), DRAWS))
    for i, (name, a, b) in enumerate(zip(artwork_ids, alpha, beta, strict=True)):
        key = blake2b(f"{salt}\x1f{name}".encode(), digest_size=16).digest()
        out[i] = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).beta(a, b, DRAWS)
    return out


def probabilities(draws: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Share of draws each image wins, with at least `floor` each: shape (images,), sums to 1.

    Raises:
        ValueError: the floor is negative.
    """
    if floor < 0:
        raise ValueError(f"artwork floor is {floor}, must not be negative; set experiment.artwork_floor")
    count = len(draws)
    wins = np.bincount(draws.argmax(axis=0), minlength=count) / draws.shape[1]
    least = min(floor, 1.0 / count)
    return np.asarray(least + (1.0 - count * least) * wins)


def choose(
    pages: pd.DataFrame,
    statistics: pd.DataFrame,
    artworks: pd.DataFrame,
    cells: pd.Series,
    earlier: pd.DataFrame,
    valid_date: date,
    *,
    salt: str,
    holdback: float,
    floor: float,
    policy: str,
) -> pd.DataFrame:
    """Record artwork_choice: one row per profile and show on its page, sorted by them.

    Args:
        pages: record home_page of `valid_date`. statistics: record artwork_statistics; shows without it are uniform.
        artworks: newest rows of record artwork; only images added by `valid_date` are candidates, a show without
            candidates gets no row (the page falls back to its default image).
        cells: top genre by profile_id (record feature_profile); others take the cell '*'.
        earlier: record artwork_choice of the days before; a choice of the same epoch is carried on unchanged.
        salt, holdback, floor: of the artwork experiment. policy: name logged with new decisions.
    """
    epoch = epoch_day(valid_date) // EPOCH_DAYS
    wanted = _wanted(pages)
    wanted["cell"] = wanted["profile_id"].map(cells).fillna(EVERYBODY)
    wanted["arm"] = arms(salt, wanted["profile_id"], holdback)
    kept = _carried(earlier, wanted, epoch, valid_date)
    keys = ["profile_id", "title_id"]
    fresh = wanted[~pd.MultiIndex.from_frame(wanted[keys]).isin(pd.MultiIndex.from_frame(kept[keys]))]
    offers = _Offers(statistics, artworks, valid_date, salt, floor)
    fresh = fresh[fresh["title_id"].isin(offers.images)].reset_index(drop=True)
    luck = uniforms(salt, join_parts([fresh["profile_id"], fresh["title_id"], [epoch] * len(fresh)]))
    fresh_rows = []
    for (profile, title, cell, arm), u in zip(fresh[[*keys, "cell", "arm"]].itertuples(index=False), luck, strict=True):
        images, odds, steps = offers.get(title, cell, arm)
        pick = min(int(np.searchsorted(steps, u, side="right")), len(images) - 1)
        fresh_rows.append(
            (
                decision_id(profile, title, epoch, policy),
                profile,
                title,
                epoch,
                valid_date,
                images[pick],
                odds[pick],
                arm,
                policy,
                images,
                odds,
            )
        )
    made = pd.DataFrame(fresh_rows, columns=list(COLUMNS))
    parts = [part for part in (kept[list(COLUMNS)], made) if len(part)]
    out = pd.concat(parts, ignore_index=True) if parts else made
    return out.sort_values(keys, kind="mergesort", ignore_index=True)


def decision_id(profile_id: str, title_id: str, epoch: int, policy: str) -> str:
    """Name of a decision."""
    return blake2b("\x1f".join((profile_id, title_id, str(epoch), policy)).encode(), digest_size=10).hexdigest()


def _wanted(pages: pd.DataFrame) -> pd.DataFrame:
    pairs = [(page["profile_id"], title) for page in rows(pages) for row in page["rows"] for title in row["title_ids"]]
    frame = pd.DataFrame(pairs, columns=["profile_id", "title_id"])
    return frame.drop_duplicates().sort_values(["profile_id", "title_id"], ignore_index=True)


def _carried(earlier: pd.DataFrame, wanted: pd.DataFrame, epoch: int, valid_date: date) -> pd.DataFrame:
    """Choices of this epoch for pairs still on a page, one each (the first made), dated anew."""
    if not len(earlier):
        return pd.DataFrame(columns=list(COLUMNS))
    own = earlier[earlier["epoch"] == epoch]
    own = own.assign(_day=epoch_days(own["valid_date"])).sort_values("_day", kind="mergesort")
    own = own.drop_duplicates(["profile_id", "title_id"]).merge(wanted[["profile_id", "title_id"]])
    return own.assign(valid_date=valid_date)


class _Offers:
    """Images and probabilities of a show for a cell and arm; each worked out once."""

    def __init__(
        self, statistics: pd.DataFrame, artworks: pd.DataFrame, valid_date: date, salt: str, floor: float
    ) -> None:
        out = artworks[epoch_days(artworks["added_date"]) <= epoch_day(valid_date)].sort_values(
            ["title_id", "artwork_id"]
        )
        self.images: dict[str, list[str]] = {
            str(title): own.drop_duplicates().tolist() for title, own in out.groupby("title_id")["artwork_id"]
        }
        names = zip(statistics["artwork_id"], statistics["cell"], strict=True)
        self._posterior = dict(zip(names, zip(statistics["alpha"], statistics["beta"], strict=True), strict=True))
        self._salt, self._floor = salt, floor
        self._made: dict[tuple[str, str, str], tuple[list[str], list[float], NDArray[np.float64]]] = {}

    def get(self, title: str, cell: str, arm: str) -> tuple[list[str], list[float], NDArray[np.float64]]:
        """(images, probabilities, cumulated probabilities)."""
        key = (title, cell, arm)
        if key not in self._made:
            odds = self._odds(self.images[title], cell, arm)
            self._made[key] = (self.images[title], [float(p) for p in odds], np.cumsum(odds))
        return self._made[key]

    def _odds(self, images: list[str], cell: str, arm: str) -> NDArray[np.float64]:
        known = [self._posterior.get((name, cell), self._posterior.get((name, EVERYBODY))) for name in images]
        if arm == HOLDBACK or any(entry is None for entry in known):
            return np.full(len(images), 1.0 / len(images))
        alpha, beta = np.array(known, dtype=np.float64).T
        return probabilities(posterior_draws(images, alpha, beta, self._salt), self._floor)
