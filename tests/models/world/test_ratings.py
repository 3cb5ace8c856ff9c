"""Real input: every rating becomes one session, in its order; corrupt files are named."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from models.world import CLEAN, World, WorldConfig, WorldError, ratings, traces

MOVIES = b"movieId,title,genres\n" + b"".join(
    f'{i},"Film, the {i}th (1999)",{g}\n'.encode()
    for i, g in enumerate(["Drama", "Comedy|Drama", "Action", "(no genres listed)", "Action|Comedy"] * 4)
)


def made(n: int = 240, users: int = 15, items: int = 20) -> tuple[bytes, list[tuple[int, int, float, int]]]:
    """A ratings.csv of distinct (user, item) pairs with repeated times."""
    rng = np.random.default_rng(3)
    pairs = rng.permutation(users * items)[:n]
    rows = [
        (int(p // items), int(p % items), float(rng.integers(1, 11)) / 2, int(1_000_000_000 + rng.integers(0, 500)))
        for p in pairs
    ]
    text = "userId,movieId,rating,timestamp\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in rows)
    return text.encode(), rows


@pytest.fixture(scope="module")
def world() -> World:
    frame, movies = ratings.parse({"ratings.csv": made()[0], "movies.csv": MOVIES})
    config = WorldConfig(seed=3, days=4, ratings_days=2, isps_per_country=1, ratings_impressions=0.5, disturb=CLEAN)
    return World.create(config, ratings_frame=frame, movies=movies)


def test_layouts_say_the_same() -> None:
    text, rows = made()
    dat = "".join(f"{u}::{i}::{r}::{t}\n" for u, i, r, t in rows).encode()
    tabs = "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in rows).encode()
    csv, movies = ratings.parse({"ratings.csv": io.BytesIO(text), "movies.csv": MOVIES})
    pd.testing.assert_frame_equal(csv, ratings.parse({"ratings.dat": dat})[0])
    pd.testing.assert_frame_equal(csv, ratings.parse({"u.data": tabs})[0])
    assert csv["rated_at"].tolist() == [t * 1000 for *_, t in rows]
    assert movies["name"][0] == "Film, the 0th (1999)"
    assert movies["genres"][1] == ("comedy", "drama") and movies["genres"][3] == ()


ONE = {"ratings.dat": b"1::2::3::5\n"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"links.csv": b"x"}, "found links.csv; one of ratings.csv"),
        ({"ratings.csv": b"userId,movieId,rating,timestamp\n"}, "holds no rows"),
        ({"ratings.csv": b"userId,movieId,rating,timestamp\n1,2,3\n"}, "line 2: 3 columns, must be 4"),
        ({"ratings.csv": b"userId,movieId,rating,timestamp\n1,2,good,5\n"}, "line 2: rating is 'good'"),
        ({"ratings.csv": b"userId,movieId,rating,timestamp\n1,2,77,5\n"}, "line 2: rating is '77'"),
        ({"ratings.dat": b"1::2::3::5\n1::2::3::5\n"}, "line 2: user 1 rated 2 twice"),
        ({"ratings.csv": b"1,2,3,5\n1,3,3,6\n"}, "line 1 is '1,2,3,5', must be the header userId,movieId,rating"),
        ({"ratings.csv": b"userId,movieId,rating,timestamp\n\n,2,3,5\n"}, "line 3: user_id is empty"),
        ({"ratings.dat": b"1::2::3::5\n\n1::2::3::inf\n"}, "line 3: rated_at is 'inf', must be seconds since 1970"),
        ({"ratings.dat": b"1::2::3::1700000000000\n"}, "line 1: rated_at is '1700000000000', must be seconds"),
        ({"ratings.csv": b"userId,movieId,rating,timestamp\n\xe9,2,3,5\n"}, "line 2 is no UTF-8"),
        ({"ratings.dat": b"1::2::3::5\n", "movies.csv": b"id,name\n"}, "must begin with movieId, title, genres"),
        ({**ONE, "movies.csv": b""}, "movies.csv has columns ; must begin with movieId"),
        ({**ONE, "movies.csv": MOVIES + b"9,caf\xe9,Drama\n"}, "movies.csv cannot be read: 'utf-8'"),
        ({**ONE, "movies.csv": MOVIES + b"9,a,b,c,d,e,f\n"}, r"movies.csv line 22: 7 cells, must be 3"),
        ({**ONE, "movies.csv": b"movieId,title,genres\n1,A, B,Drama\n"}, "line 2: 4 cells, must be 3; quote a title"),
        ({**ONE, "movies.csv": b"movieId,title,genres\n1,A\n"}, "line 2: 2 cells"),
        ({**ONE, "movies.dat": b"2::A::Drama\n2::B::Drama\n"}, "lists film '2' more than once"),
    ],
)
def test_corrupt_ratings_are_named(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(WorldError, match=message):
        ratings.parse(files)


def test_ratings_that_are_all_equal_say_what_was_chosen_and_no_more() -> None:
    lines = b"".join(f"{u},{(u * 7 + n) % 20},1,{1_000_000_000 + n}\n".encode() for u in range(8) for n in range(5))
    frame, movies = ratings.parse({"ratings.csv": b"userId,movieId,rating,timestamp\n" + lines, "movies.csv": MOVIES})
    config = WorldConfig(seed=3, days=2, ratings_days=2, isps_per_country=1, disturb=CLEAN)
    made_of_them = World.create(config, ratings_frame=frame, movies=movies)
    assert np.isfinite(made_of_them.liking).all() and made_of_them.liking.std() > 0


def test_every_rating_is_one_attempt_of_its_title_in_its_order(world: World) -> None:
    days = [world.live(d) for d in range(2)]
    truth = pd.concat([d.truth["ratings"] for d in days], ignore_index=True)
    assert len(truth) == 240
    assert truth["rated_at"].is_monotonic_increasing
    assert (truth["day"] * 86_400_000 + truth["at"]).is_monotonic_increasing
    asked = {(u, i, t * 1000) for u, i, _, t in made()[1]}
    assert {
        (int(u), int(i), t) for u, i, t in zip(truth["user_id"], truth["item_id"], truth["rated_at"], strict=True)
    } == asked
    events = pd.concat([d.events for d in days])
    first = events[events["seq"] == 0].set_index("session_id").loc[truth["session_id"]]
    assert (first["profile_id"].to_numpy() == "u" + truth["user_id"].to_numpy()).all()
    assert (first["title_id"].to_numpy() == "m" + truth["item_id"].to_numpy()).all()
    assert (first["state"] == "s").all()
    assert set(events["session_id"]) == set(truth["session_id"])
    assert (events.groupby("session_id")["title_id"].nunique() == 1).all()
    sessions = pd.concat([d.truth["sessions"] for d in days]).set_index("session_id")
    liked = truth.set_index("session_id")["rating"]
    played = sessions["play_ms"][sessions["plays"] > 0]
    assert played[liked[played.index] >= 4].mean() > 1.5 * played[liked[played.index] <= 2].mean()


def test_after_the_ratings_the_world_lives_on(world: World) -> None:
    for day in range(3):
        lived = world.live(day)
    assert len(lived.truth["takes"]) and lived.truth["takes"]["taken"].any()
    assert set(lived.events["profile_id"]) <= set(world.people.profile_id)
    assert len(lived.truth["rates"]) and not len(world.live(1).truth["rates"])


def trace(*steps: tuple[float, float, float]) -> bytes:
    return json.dumps([{"duration_ms": d, "bandwidth_kbps": b, "latency_ms": ms} for d, b, ms in steps]).encode()


def test_traces_are_kept_as_measured() -> None:
    packed = traces.parse({"b.json": trace((1000, 8000, 20), (3000, 4000, 30)), "a.json": trace((500, 100.5, 80))})
    assert packed.real
    assert packed.first.tolist() == [0, 1, 3]
    assert packed.until.tolist() == [500, 1000, 4000]
    assert packed.kbps.tolist() == [100.5, 8000.0, 4000.0]
    assert packed.mean_kbps.tolist() == [100.5, 5000.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "trace x.json is no JSON"),
        (b"[" * 200_000, "trace x.json is no JSON"),
        (b'{"a": 1}', "is a JSON dict of 1 entries; must be a list"),
        (b"[]", "JSON list of 0 entries"),
        (b'[{"duration_ms": 5, "latency_ms": 1}]', "step 0: bandwidth_kbps is None"),
        (b'[{"duration_ms": "5", "bandwidth_kbps": 1, "latency_ms": 1}]', "step 0: duration_ms is '5'"),
        (b'[{"duration_ms": 5, "bandwidth_kbps": -1, "latency_ms": 1}]', "step 0: bandwidth_kbps is -1"),
        (b'[{"duration_ms": 5, "bandwidth_kbps": 0, "latency_ms": 1}]', "no step has time and bandwidth"),
    ],
)
def test_corrupt_traces_are_named(content: bytes, message: str) -> None:
    with pytest.raises(WorldError, match=message):
        traces.parse({"x.json": content})
    with pytest.raises(WorldError, match="no files given"):
        traces.parse({})


def test_sessions_play_over_real_traces() -> None:
    slow = traces.parse({"slow.json": trace((5_000, 150, 80))})
    fast = traces.parse({"fast.json": trace((5_000, 60_000, 5))})
    config = WorldConfig(seed=3, profiles=80, shows=20, days=1, isps_per_country=1, disturb=replace(CLEAN))
    starts = []
    for packed in (slow, fast):
        sessions = World.create(config, traces=packed).live(0).truth["sessions"]
        starts.append(sessions["start_delay_ms"].sum() / sessions["plays"].sum())
    assert starts[0] > 3 * starts[1]
