"""Pages are read as said: probabilities against frequencies, and the truth found again by a fit of the logs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from models.experiment.assign import arms
from models.world import Day, World, WorldConfig, WorldError, home
from models.world.home import Images
from tests.models.world.conftest import SMALL


def test_frequencies_are_the_stated_probabilities() -> None:
    config = WorldConfig(next_row=0.7)
    show = np.array([[[0, 1, 2], [3, 4, -1]]], dtype=np.int32)
    logit = np.where(show >= 0, np.array([[[-1.0, -2.0, 0.3], [0.5, -0.4, 0.0]]]), -np.inf)
    n = 200_000
    images = Images(np.zeros((n, 2, 3), np.int64), np.ones((n, 2, 3)), np.full((n, 2, 3), -1), np.zeros((n, 2, 3)))
    seen = home.read(config, np.repeat(show, n, axis=0), np.repeat(logit, n, axis=0), images, np.random.default_rng(1))
    expected = home.take_rates(config, show, logit, 5)[0]
    found = np.bincount(seen.taken_show[seen.taken_show >= 0], minlength=5) / n
    assert np.allclose(found, expected, atol=4 * np.sqrt(0.25 / n))
    weights = np.exp(logit[0, 0])
    assert np.allclose(expected[:3], weights / (1 + weights.sum()))
    reach = (1 / (1 + weights.sum())) * 0.7
    below = np.exp(logit[0, 1, :2])
    assert np.allclose(expected[3:], reach * below / (1 + below.sum()))
    for row in (0, 1):
        mine = seen.row == row
        assert np.allclose(seen.taken[mine].mean(), seen.probability[mine].mean(), atol=0.005)


@pytest.fixture(scope="module")
def busy() -> tuple[World, Day]:
    world = World.create(
        replace(
            SMALL,
            profiles=1_500,
            shows=120,
            visits_per_profile_day=2.5,
            ad_share=0.0,
            disturb=replace(SMALL.disturb, poison=0.0),
        )
    )
    return world, world.live(0)


def rows_of(day: Day) -> tuple[pd.DataFrame, np.ndarray]:
    """Impressions with the parts of their logit, and the number of the (visit, row) each belongs to."""
    frame = day.impressions.merge(day.truth["takes"], on="impression_id")
    visit = frame["impression_id"].str.rsplit("-", n=1).str[0]
    return frame, pd.factorize(visit)[0]


def test_place_image_and_utility_are_found_again_by_a_fit(busy: tuple[World, Day]) -> None:
    """A conditional logit over rows with an outside option, on the logs alone plus the two latent parts."""
    world, day = busy
    frame, group = rows_of(day)
    x = np.column_stack(
        [np.ones(len(frame)), frame["row"], frame["col"], frame["artwork_effect"], frame["utility"]]
    ).astype(float)
    taken = frame["taken"].to_numpy()

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        logit = x @ beta
        weight = np.exp(logit)
        total = 1.0 + np.bincount(group, weight)
        share = weight / total[group]
        return float(np.log(total).sum() - logit[taken].sum()), x.T @ share - x[taken].sum(axis=0)

    beta = minimize(loss, np.array([-5.0, 0.0, 0.0, 0.5, 0.5]), jac=True, method="L-BFGS-B").x
    c = world.config
    assert taken.sum() > 900
    for found, true, tolerance in zip(
        beta, (c.take_base, -c.row_bias, -c.col_bias, 1.0, 1.0), (0.25, 0.08, 0.05, 0.12, 0.1), strict=True
    ):
        assert abs(found - true) < tolerance, (beta, true)


def test_the_artwork_shown_pulls_by_taste(busy: tuple[World, Day]) -> None:
    world, day = busy
    frame, _ = rows_of(day)
    number = {a: i for i, a in enumerate(world.cat.artwork_id)}
    who = pd.Index(world.people.profile_id).get_indexer(frame["profile_id"])
    image = frame["artwork_id"].map(number).to_numpy()
    match = (world.people.taste[who] * world.cat.artwork_themes[image]).sum(axis=1)
    again = world.cat.artwork_effect[image] + world.config.artwork_taste * (match - 0.1)
    assert np.allclose(again, frame["artwork_effect"])
    strong = frame["artwork_effect"] > frame["artwork_effect"].quantile(0.8)
    weak = frame["artwork_effect"] < frame["artwork_effect"].quantile(0.2)
    assert frame.loc[strong, "taken"].mean() > 1.5 * frame.loc[weak, "taken"].mean()


def test_images_without_decisions_are_uniform(busy: tuple[World, Day]) -> None:
    world, day = busy
    frame = day.impressions
    count = np.diff(world.cat.artwork_first)[pd.Index(world.cat.shows.show_id).get_indexer(frame["title_id"])]
    assert np.allclose(frame["artwork_probability"], 1 / count)
    assert frame["artwork_decision_id"].isna().all()
    once = frame.drop_duplicates(["profile_id", "title_id"])
    place = once["artwork_id"].str.rsplit("-a", n=1).str[1].astype(int)
    four = pd.Index(world.cat.shows.show_id[np.diff(world.cat.artwork_first) == 4])
    share = place[once["title_id"].isin(four)].value_counts(normalize=True)
    assert share.between(0.2, 0.3).all()
    assert frame.groupby(["profile_id", "title_id"])["artwork_id"].nunique().max() == 1


def test_the_arms_are_the_salted_hash(busy: tuple[World, Day]) -> None:
    world, day = busy
    c, frame = world.config, day.impressions.drop_duplicates("profile_id")
    assert (frame["page_arm"] == arms(c.page_salt, frame["profile_id"], c.page_holdback)).all()
    assert (frame["artwork_arm"] == arms(c.artwork_salt, frame["profile_id"], c.artwork_holdback)).all()
    assert 0 < (frame["page_arm"] == "holdback").mean() < 0.2


def test_given_pages_and_artwork_are_what_is_shown_and_logged(dirty: tuple[World, Day]) -> None:
    world, _ = dirty
    pages = world.oracle_page(0).iloc[::2].reset_index(drop=True)
    shown = {
        (p, s) for p, rows in zip(pages["profile_id"], pages["rows"], strict=True) for r in rows for s in r["title_ids"]
    }
    shown_pairs = sorted(shown)
    images = [f"{s}-a0" for _, s in shown_pairs]
    artwork = pd.DataFrame(
        {
            "decision_id": [f"d{i}" for i in range(len(shown_pairs))],
            "profile_id": [p for p, _ in shown_pairs],
            "title_id": [s for _, s in shown_pairs],
            "epoch": 2923,
            "valid_date": world.config.date(0),
            "artwork_id": images,
            "probability": 0.4,
            "artwork_arm": "policy",
        }
    )
    day = world.live(0, pages=pages, artwork=artwork)
    mine = day.impressions[day.impressions["profile_id"].isin(pages["profile_id"])]
    assert set(mine["page_id"]) <= set(pages["page_id"])
    assert set(mine["row_kind"]) == {"oracle"}
    assert set(zip(mine["profile_id"], mine["title_id"], strict=True)) <= shown
    assert (mine["artwork_probability"] == 0.4).all() and mine["artwork_decision_id"].notna().all()
    assert (mine["artwork_id"] == mine["title_id"] + "-a0").all()
    others = day.impressions[~day.impressions["profile_id"].isin(pages["profile_id"])]
    assert others["page_id"].str.endswith("-fallback").all()
    linked = day.events.dropna(subset=["impression_id"])
    assert set(linked["impression_id"]) <= set(day.impressions["impression_id"])
    taken = set(day.truth["takes"].query("taken")["impression_id"])
    assert set(linked["impression_id"]) <= taken


def test_the_oracle_page_beats_the_fallback(busy: tuple[World, Day]) -> None:
    world, plain = busy
    better = world.live(0, pages=world.oracle_page(0))
    assert better.truth["takes"]["taken"].sum() > 1.2 * plain.truth["takes"]["taken"].sum()


def test_pages_that_do_not_fit_are_refused(dirty: tuple[World, Day]) -> None:
    world, _ = dirty
    page = world.oracle_page(0).iloc[:1].copy()
    with pytest.raises(WorldError, match="does not live in this world"):
        world.live(0, pages=page.assign(profile_id="ghost"))
    page["rows"].iloc[0][0]["title_ids"][0] = "nothing"
    with pytest.raises(WorldError, match="shows 'nothing'"):
        world.live(0, pages=page)
    future = np.flatnonzero(world.cat.shows.launch > 0)
    assert len(future)
    page["rows"].iloc[0][0]["title_ids"][0] = world.cat.shows.show_id[future[0]]
    with pytest.raises(WorldError, match="launches on day"):
        world.live(0, pages=page)
