"""What is known of every image: the core of job `train_artwork`.

Counts *decisions*, not impressions: one image is shown to a profile for a whole epoch, so its repeated impressions are
one trial. Two effects are learned. How much a theme that fits the viewer's taste raises takes is pooled over all shows
by a conditional logit over the images of a show (given that somebody of a taste took the show, which image was it?),
so that neither a show's popularity nor its fit to the taste can pass for the image's merit. Each image then has an
effect of its own, a gamma posterior around 1. Both land in one Beta per image and taste cell.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.days import epoch_days, no_future
from models.frames import places
from models.recommend.taste import EVERYBODY, TasteByDay

EPOCH_DAYS = 7
IMAGE_SHAPE = 5.0
"""Prior takes an image's own effect is shrunk by: relative spread 1 / sqrt(5) between images of a show."""
TITLE_PRIOR_TAKES = 2.0
MATCH_PRIOR_SD = 3.0


def artwork_statistics(
    outcomes: pd.DataFrame, plays: pd.DataFrame, titles: pd.DataFrame, artworks: pd.DataFrame, day: date
) -> pd.DataFrame:
    """Record artwork_statistics: a row per show, image and cell (every genre, and '*'), sorted by them.

    Args:
        outcomes: record impression_outcome up to `day`. plays: record `play` up to `day`, for the tastes.
        titles, artworks: newest rows of their records.

    Raises:
        ValueError: outcomes or plays of a later day.
    """
    no_future(outcomes["shown_date"], "outcomes", day)
    no_future(plays["play_date"], "plays", day)
    images = artworks.sort_values(["title_id", "artwork_id"]).drop_duplicates("artwork_id", ignore_index=True)
    taste = TasteByDay(plays, titles)
    trials = decisions(outcomes)
    trials["cell"] = taste.cells(trials["profile_id"], trials["first_day"].to_numpy(dtype=np.int64))
    cells = [*taste.genres, EVERYBODY]
    shown, taken = _tables(trials, images, cells)
    fit = theme_fit(images, taste.genres)
    match = match_effect(images, fit, shown[:, :-1], taken[:, :-1])
    lift = np.exp(match * fit)
    usual = shown[:, :-1].sum(axis=0) + 1.0
    lift = np.hstack([lift, (lift * usual).sum(axis=1, keepdims=True) / usual.sum()])
    alpha, beta = _posterior(images, shown, taken, lift)
    shown[:, -1], taken[:, -1] = shown.sum(axis=1), taken.sum(axis=1)
    n, c = shown.shape
    return pd.DataFrame(
        {
            "title_id": np.repeat(images["title_id"].to_numpy(dtype=object), c),
            "artwork_id": np.repeat(images["artwork_id"].to_numpy(dtype=object), c),
            "cell": np.tile(np.array(cells, dtype=object), n),
            "event_date": day,
            "decisions": shown.ravel().astype(np.int64),
            "takes": taken.ravel().astype(np.int64),
            "alpha": alpha.ravel(),
            "beta": beta.ravel(),
        }
    ).sort_values(["title_id", "artwork_id", "cell"], kind="mergesort", ignore_index=True)


def decisions(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Impressions as decisions: profile_id, title_id, artwork_id, epoch, first_day (epoch day first shown), taken.

    One decision is one profile, show and image in one 7-day epoch, taken if any of its impressions was.
    """
    day = epoch_days(outcomes["shown_date"])
    frame = pd.DataFrame(
        {
            "profile_id": outcomes["profile_id"].to_numpy(dtype=object),
            "title_id": outcomes["title_id"].to_numpy(dtype=object),
            "artwork_id": outcomes["artwork_id"].to_numpy(dtype=object),
            "epoch": day // EPOCH_DAYS,
            "first_day": day,
            "taken": outcomes["taken"].to_numpy(dtype=bool),
        }
    )
    keys = ["profile_id", "title_id", "artwork_id", "epoch"]
    return frame.groupby(keys, as_index=False, sort=True).agg(first_day=("first_day", "min"), taken=("taken", "max"))


def theme_fit(images: pd.DataFrame, genres: list[str]) -> NDArray[np.float64]:
    """Weight of each genre in each image, centred within the show: shape (images, genres).

    Record `artwork` gives the weights in the service's own order of genres and names the heaviest one; the order is
    read off these pairs. A genre that leads no image keeps weight 0: nothing says which entry it is.
    """
    weights = np.array([np.asarray(row, dtype=np.float64) for row in images["themes"]])
    weights = weights.reshape(len(images), -1)
    column = {genre: i for i, genre in enumerate(genres)}
    out = np.zeros((len(images), len(genres)))
    leading = weights.argmax(axis=1)
    for entry in np.unique(leading).tolist():
        names = images["theme"].to_numpy(dtype=object)[leading == entry]
        if len(set(names)) > 1:
            raise ValueError(
                f"themes[{entry}] is the heaviest weight of images with themes {sorted(set(names))[:2]}; "
                "record artwork must give all weights in one order"
            )
        if names[0] in column:
            out[:, column[names[0]]] = weights[:, entry]
    show = pd.factorize(images["title_id"])[0]
    count = np.bincount(show)[:, None]
    mean = np.zeros((len(count), out.shape[1]))
    np.add.at(mean, show, out)
    return out - (mean / count)[show]


def match_effect(
    images: pd.DataFrame, fit: NDArray[np.float64], shown: NDArray[np.float64], taken: NDArray[np.float64]
) -> float:
    """Log odds a full theme match adds, by Newton's method on the conditional likelihood; prior N(0, 3).

    For each show and cell the takes are spread over its images as shown * exp(effect * fit).
    """
    show = pd.factorize(images["title_id"])[0]
    total = _by_show(show, taken)
    effect = 0.0
    for _ in range(30):
        mass = shown * np.exp(effect * fit)
        norm = np.maximum(_by_show(show, mass), 1e-12)
        first = _by_show(show, mass * fit) / norm
        second = _by_show(show, mass * fit * fit) / norm
        slope = float((taken * fit).sum() - (total * first).sum()) - effect / MATCH_PRIOR_SD**2
        curve = float((total * (second - first * first)).sum()) + 1.0 / MATCH_PRIOR_SD**2
        step = float(np.clip(slope / curve, -1.0, 1.0))
        effect += step
        if abs(step) < 1e-10:
            break
    return effect


def _by_show(show: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.zeros((int(show.max()) + 1 if len(show) else 0, values.shape[1]))
    np.add.at(out, show, values)
    return out


def _tables(
    trials: pd.DataFrame, images: pd.DataFrame, cells: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Decisions and takes by image and cell; the last column holds the viewers without a taste (yet)."""
    image = places(images["artwork_id"], trials["artwork_id"])
    cell = places(cells, trials["cell"])
    known = (image >= 0) & (cell >= 0)
    shown = np.zeros((len(images), len(cells)))
    taken = np.zeros_like(shown)
    np.add.at(shown, (image[known], cell[known]), 1.0)
    np.add.at(taken, (image[known], cell[known]), trials["taken"].to_numpy(dtype=np.float64)[known])
    return shown, taken


def _posterior(
    images: pd.DataFrame, shown: NDArray[np.float64], taken: NDArray[np.float64], lift: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Beta of every image and cell, shape (images, cells): the image's effect times the show's rate times the match."""
    show = pd.factorize(images["title_id"])[0]
    overall = (taken.sum() + 1.0) / (shown.sum() + 50.0)
    expected_show = _by_show(show, shown * lift)
    taken_show = _by_show(show, taken)
    rate = (
        overall
        * (taken_show.sum(axis=1) + TITLE_PRIOR_TAKES)
        / (overall * expected_show.sum(axis=1) + TITLE_PRIOR_TAKES)
    )
    in_cell = (taken_show + IMAGE_SHAPE) / (rate[:, None] * expected_show + IMAGE_SHAPE)
    expected = rate[show][:, None] * in_cell[show] * shown * lift
    alpha = IMAGE_SHAPE + taken.sum(axis=1)
    effect = alpha / (IMAGE_SHAPE + expected.sum(axis=1))
    mean = np.clip(rate[show][:, None] * lift * effect[:, None], 1e-6, 0.95)
    spread = np.repeat(alpha[:, None], lift.shape[1], axis=1)
    return spread, spread * (1.0 - mean) / mean


def policy_id(day: date) -> str:
    """Name of the policy trained on decisions up to a day."""
    return f"theme_thompson-{day.isoformat()}"
