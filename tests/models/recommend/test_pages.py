"""Laws of a page: nothing twice, nothing unfit, every reason true, one shape in both arms."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from models.recommend.pages import COLUMNS, FALLBACK, ROWS, PageInputs, home_pages, learned_view, serving
from models.recommend.train import train

START = date(2026, 2, 2)
PAGE_DATE = START + timedelta(days=6)
GENRES = ("crime", "comedy", "nature", "space")


def service(seed: int = 2, profiles: int = 60, films: int = 80) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Plays, titles, profiles: half of what a profile watches is of its own genre; 8 series of 2 episodes."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "title_id": f"f{i:02d}",
            "show_id": f"f{i:02d}",
            "kind": "film",
            "genres": [GENRES[i % 4]],
            "maturity": 18 if i % 9 == 0 else 0,
            "launch_date": START + timedelta(days=20 if i == 7 else -50 + i % 50),
        }
        for i in range(films)
    ]
    for s in range(8):
        rows.append(
            {
                "title_id": f"s{s}",
                "show_id": f"s{s}",
                "kind": "series",
                "genres": [GENRES[s % 4]],
                "maturity": 0,
                "launch_date": START - timedelta(days=9),
            }
        )
        rows += [
            {
                "title_id": f"s{s}e{e}",
                "show_id": f"s{s}",
                "kind": "episode",
                "genres": [GENRES[s % 4]],
                "maturity": 0,
                "launch_date": START - timedelta(days=9),
            }
            for e in range(2)
        ]
    titles = pd.DataFrame(rows).assign(name=lambda t: "Name of " + t["title_id"])
    people = pd.DataFrame(
        {
            "profile_id": [f"p{i:03d}" for i in range(profiles)],
            "country": ["DE", "FR"] * (profiles // 2),
            "device": [("tv", "web", "mobile")[i % 3] for i in range(profiles)],
            "maturity_limit": [6 if i % 5 == 0 else 21 for i in range(profiles)],
        }
    )
    playable = titles[(titles["kind"] != "series") & (titles["launch_date"] <= START)]
    plays = []
    for i, person in people.iterrows():
        own = playable[[g[0] == GENRES[i % 4] for g in playable["genres"]]]
        for d in range(6):
            for n in range(2):
                title = (
                    (own if rng.random() < 0.6 else playable).sample(1, random_state=int(rng.integers(2**31))).iloc[0]
                )
                share = float(rng.choice([0.3, 1.0]))
                plays.append(
                    {
                        "session_id": f"{i}.{d}.{n}",
                        "segment": 0,
                        "profile_id": person["profile_id"],
                        "title_id": title["title_id"],
                        "show_id": title["show_id"],
                        "play_date": START + timedelta(days=d),
                        "country": person["country"],
                        "device": person["device"],
                        "started_at": pd.Timestamp(START, tz="UTC") + pd.Timedelta(days=d, hours=n),
                        "quality_play": True,
                        "censored": False,
                        "watched_share": share,
                        "completed": share == 1.0,
                        "started": True,
                    }
                )
    return pd.DataFrame(plays), titles, people


def made(holdback: float = 0.2) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    plays, titles, people = service()
    run = train(plays, titles, PAGE_DATE - timedelta(days=1))
    vectors = [
        ("profile", run.model.profiles, run.model.profile_vectors),
        ("title", run.model.titles, run.model.title_vectors),
    ]
    factors = pd.DataFrame(
        [
            {"model_id": run.model_id, "side": side, "entity_id": e, "vector": v.tolist()}
            for side, ids, matrix in vectors
            for e, v in zip(ids, matrix, strict=True)
        ]
    )
    promotion = pd.DataFrame([{"model": "recommender", "version": run.version, "promoted": True}])
    features = pd.DataFrame({"title_id": titles["title_id"], "plays_1d": 3, "plays_7d": 7})
    pages = home_pages(PageInputs(plays, titles, people, factors, promotion, features, PAGE_DATE, "s", holdback))
    return pages, plays, titles, people


@pytest.fixture(scope="module")
def world() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    return made()


def cells(page: pd.Series) -> list[str]:
    return [t for row in page["rows"] for t in row["title_ids"]]


def test_every_profile_has_one_page_and_both_arms_the_same_shape(world: tuple[pd.DataFrame, ...]) -> None:
    pages, _, _, people = world
    assert pages["profile_id"].tolist() == people["profile_id"].tolist()
    assert pages["page_id"].is_unique and set(pages["page_arm"]) == {"policy", "holdback"}
    for _, page in pages.iterrows():
        assert len(page["rows"]) <= ROWS and all(0 < len(r["title_ids"]) <= COLUMNS for r in page["rows"])
    size = pages.assign(n=[len(cells(p)) for _, p in pages.iterrows()]).groupby("page_arm")["n"].mean()
    assert size["policy"] >= 0.8 * size["holdback"]


def test_nothing_twice_nothing_unfit_nothing_finished(world: tuple[pd.DataFrame, ...]) -> None:
    pages, plays, titles, people = world
    limit = people.set_index("profile_id")["maturity_limit"]
    show = titles.drop_duplicates("title_id").set_index("title_id")
    done = plays[plays["completed"]].groupby("profile_id")["title_id"].agg(set)
    for _, page in pages.iterrows():
        on = cells(page)
        assert len(on) == len(set(on))
        assert "f07" not in on  # not out yet
        assert all(show.loc[t, "maturity"] <= limit[page["profile_id"]] for t in on)
        assert all(show.loc[t, "kind"] != "episode" for t in on)
        assert not set(on) & {t for t in done.get(page["profile_id"], set()) if t.startswith("f")}


def test_because_you_watched_names_a_show_the_profile_finished(world: tuple[pd.DataFrame, ...]) -> None:
    pages, plays, titles, _ = world
    named, begun = 0, 0
    for _, page in pages.iterrows():
        mine = plays[plays["profile_id"] == page["profile_id"]]
        for row in page["rows"]:
            if row["row_kind"] == "because_you_watched":
                show = row["reason"].removeprefix("finished ")
                assert row["heading"] == f"Because you watched Name of {show}"
                episodes = set(titles.loc[(titles["show_id"] == show) & (titles["kind"] != "series"), "title_id"])
                assert episodes <= set(mine.loc[mine["completed"], "title_id"])
                named += 1
            if row["row_kind"] == "continue_watching":
                assert set(row["title_ids"]) <= set(mine["show_id"])
                begun += 1
    assert named > 5 and begun > 5


def test_genre_rows_hold_their_genre_and_top_picks_lean_to_taste(world: tuple[pd.DataFrame, ...]) -> None:
    pages, _, titles, _ = world
    genre = {t.title_id: t.genres[0] for t in titles.itertuples()}
    own = []
    for i, page in pages.iterrows():
        for row in page["rows"]:
            if row["row_kind"] == "genre":
                assert {genre[t] for t in row["title_ids"]} == {row["heading"].lower()}
        if page["page_arm"] == "policy":
            own += [genre[t] == GENRES[i % 4] for t in cells(page)[:16]]
    assert np.mean(own) > 0.5


def test_without_a_promoted_model_popularity_serves_and_says_so() -> None:
    plays, titles, people = service(profiles=10)
    empty = pd.DataFrame({"model_id": [], "side": [], "entity_id": [], "vector": []})
    lost = pd.DataFrame([{"model": "recommender", "version": "v", "promoted": False}])
    features = pd.DataFrame({"title_id": titles["title_id"], "plays_1d": 0, "plays_7d": 0})
    pages = home_pages(PageInputs(plays, titles, people, empty, lost, features, PAGE_DATE, "s", 0.2))
    assert set(pages["model_id"]) == {FALLBACK}
    reasons = {row["reason"] for rows in pages["rows"] for row in rows}
    assert "most watched, newer plays count more" in reasons
    assert not [reason for reason in reasons if "ranked by what you watched" in reason or "for you" in reason]


@pytest.mark.parametrize("harm", ["all gone", "no profile", "no title", "cut short", "not finite"])
def test_a_damaged_model_makes_no_pages(harm: str) -> None:
    rows = [("profile", "a", [1.0, 1.0]), ("title", "x", [2.0, 0.5]), ("title", "y", [0.0, 0.5])]
    if harm in ("cut short", "not finite"):
        rows[2] = ("title", "y", [0.0] if harm == "cut short" else [np.nan, 0.5])
    rows = [row for row in rows if harm not in (f"no {row[0]}", "all gone")]
    factors = pd.DataFrame(rows, columns=["side", "entity_id", "vector"]).assign(model_id="recommender-v")
    promotion = pd.DataFrame([{"model": "recommender", "version": "v", "promoted": True}])
    shows = pd.DataFrame({"title_id": ["x", "y"]})
    with pytest.raises(ValueError, match="factors of recommender-v are not whole"):
        serving(factors, promotion, shows)
    assert serving(factors, promotion.assign(promoted=False), shows).model_id == FALLBACK


def test_nothing_is_learned_of_what_was_shown_to_who_opted_out() -> None:
    people = pd.DataFrame({"profile_id": ["a", "b"], "device": "tv", "opted_out": [False, True]})
    shown = pd.DataFrame({"profile_id": ["a"] * 90 + ["b"] * 400, "row": 0, "col": [0, 1, 2] * 30 + [0] * 400})
    both, one = learned_view(shown, people), learned_view(shown[:90], people[:1])
    assert both.openings.tolist() == one.openings.tolist() == [30, 30]
    assert np.array_equal(both.of("tv"), one.of("tv"))


def test_pages_do_not_depend_on_row_order() -> None:
    one, *_ = made()
    two, *_ = made()
    pd.testing.assert_frame_equal(one, two)


def test_the_run_beats_popularity_where_taste_rules() -> None:
    plays, titles, _ = service(profiles=400)
    run = train(plays, titles, PAGE_DATE - timedelta(days=1))
    assert run.promoted and run.judged["als_blend"].mean("ndcg") > run.judged["decayed_popularity"].mean("ndcg")
    again = train(plays.sample(frac=1, random_state=1), titles.iloc[::-1], PAGE_DATE - timedelta(days=1))
    assert again.version == run.version
    assert again.model.title_vectors.tobytes() == run.model.title_vectors.tobytes()
