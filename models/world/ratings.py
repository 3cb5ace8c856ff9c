"""Real ratings as viewings: MovieLens files to frames, and frames to a world's people, shows and sessions.

Each rating is one session of that title by that user. Order and time are kept: days and hours are a monotone map of
`rated_at` by rank, so that the days are equally full; the original stays in the session id, a hash of
(user, title, rated_at).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import IO, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from models.world.catalogue import Shows, synthetic_shows
from models.world.config import DAY_MS, WorldConfig
from models.world.errors import WorldError
from models.world.population import LATENT, Population
from models.world.rng import stream
from models.world.taste import F4

Source = bytes | IO[bytes]
SESSION_PREFIX = "rating-"
"""How the id of a rating's session begins; sessions that the world draws itself never begin so."""


def session_id(user_id: str, item_id: str, rated_at: int) -> str:
    """The playback session of one rating: a hash of user, title and time (ms since 1970)."""
    return SESSION_PREFIX + blake2b(f"{user_id}\x1f{item_id}\x1f{rated_at}".encode(), digest_size=12).hexdigest()


def parse(files: Mapping[str, Source]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(ratings, movies) of a MovieLens folder given as name -> content; movies may be empty.

    Ratings: `user_id, item_id` (strings), `rating`, `rated_at` (ms since 1970), in file order. Movies: `item_id, name,
    genres` (tuple). Layouts: ratings.csv with a header, ratings.dat (``::``), u.data (tabs).

    Raises:
        WorldError: no ratings file, or a row that is not user, item, rating, seconds.
    """
    layouts = (("ratings.csv", ",", 1), ("ratings.dat", "::", 0), ("u.data", "\t", 0))
    for name, separator, skip in layouts:
        if name in files:
            rows = _rows(name, files[name], separator, 4, skip)
            return _ratings(name, rows, skip), _movies(files)
    raise WorldError(
        f"ratings: found {', '.join(sorted(files)) or 'no files'}; one of {', '.join(n for n, _, _ in layouts)} "
        "(MovieLens csv or dat layout) is needed"
    )


def _rows(name: str, source: Source, separator: str, columns: int, skip: int) -> list[list[str]]:
    """Split lines, each with as many columns as the layout has."""
    raw = source if isinstance(source, bytes) else source.read()
    text = raw.decode("utf-8", errors="replace") if name.endswith(".csv") else raw.decode("latin-1")
    rows = []
    for number, line in enumerate(io.StringIO(text), 1):
        line = line.rstrip("\r\n")
        if number <= skip or not line:
            continue
        cells = line.split(separator)
        if len(cells) != columns:
            raise WorldError(
                f"{name} line {number}: {len(cells)} columns, must be {columns} separated by {separator!r}"
            )
        rows.append(cells)
    if not rows:
        raise WorldError(f"{name} holds no rows")
    return rows


def _ratings(name: str, rows: list[list[str]], skip: int) -> pd.DataFrame:
    """Typed ratings; one (user, item, time) counts once only if the file says it once.

    Raises:
        WorldError: a rating or time that is no number, or a repeated row.
    """
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "rated_at"])
    for column in ("rating", "rated_at"):
        values = pd.to_numeric(frame[column], errors="coerce")
        if values.isna().any():
            at = int(values.isna().to_numpy().argmax())
            raise WorldError(f"{name} line {at + 1 + skip}: {column} is {frame[column][at]!r}, must be a number")
        frame[column] = values
    if not frame["rating"].between(0.0, 10.0).all():
        at = int((~frame["rating"].between(0.0, 10.0)).to_numpy().argmax())
        raise WorldError(f"{name} line {at + 1 + skip}: rating is {frame['rating'][at]}, must be between 0 and 10")
    frame["rated_at"] = (frame["rated_at"] * 1000).astype(np.int64)
    twice = frame.duplicated(["user_id", "item_id", "rated_at"])
    if twice.any():
        at = int(twice.to_numpy().argmax())
        raise WorldError(
            f"{name} line {at + 1 + skip}: user {frame['user_id'][at]} rated {frame['item_id'][at]} twice at the "
            "same second; remove one"
        )
    return frame


def _movies(files: Mapping[str, Source]) -> pd.DataFrame:
    """Names and genres, empty without a movies file."""
    empty = pd.DataFrame({"item_id": [], "name": [], "genres": []})
    if "movies.csv" in files:
        source = files["movies.csv"]
        frame = pd.read_csv(
            io.BytesIO(source) if isinstance(source, bytes) else source, dtype=str, keep_default_na=False
        )
        wanted = ["movieId", "title", "genres"]
        if list(frame.columns[:3]) != wanted:
            raise WorldError(f"movies.csv has columns {', '.join(frame.columns)}; must begin with {', '.join(wanted)}")
        frame = frame[wanted].set_axis(empty.columns, axis=1)
    elif "movies.dat" in files:
        frame = pd.DataFrame(_rows("movies.dat", files["movies.dat"], "::", 3, 0), columns=list(empty.columns))
    else:
        return empty
    frame["genres"] = [
        tuple(g.lower() for g in cell.split("|") if g and not g.startswith("(")) for cell in frame["genres"]
    ]
    return frame


def shows(config: WorldConfig, ratings: pd.DataFrame, movies: pd.DataFrame) -> tuple[WorldConfig, Shows]:
    """The rated items as films, and the configuration with their genres and number.

    Quality is the standardised log of the number of ratings: what was rated often is wanted often.
    """
    items = ratings["item_id"].drop_duplicates().to_numpy(object)
    known = movies.set_index("item_id") if len(movies) else None
    labels = [tuple(known.at[i, "genres"]) if known is not None and i in known.index else () for i in items]
    genres = tuple(sorted({g for row in labels for g in row})) or config.genres
    config = replace(
        config,
        shows=len(items),
        genres=genres,
        film_minutes=config.ratings_film_minutes,
        film_share=1.0,
        launches_in_run=0.0,
    )
    base = synthetic_shows(config)
    place = {g: k for k, g in enumerate(genres)}
    mixture = np.full((len(items), len(genres)), 1e-3)
    for i, row in enumerate(labels):
        for rank, g in enumerate(row):
            mixture[i, place[g]] += 1.0 / (1.0 + 0.5 * rank)
    mixture = np.where(
        np.array([bool(r) for r in labels])[:, None], mixture / mixture.sum(axis=1, keepdims=True), base.genres
    )
    count = ratings.groupby("item_id").size().reindex(items).to_numpy()
    quality = np.log1p(count)
    quality = (quality - quality.mean()) / (quality.std() or 1.0)
    names = np.array(
        [str(known.at[i, "name"]) if known is not None and i in known.index else f"Title {i}" for i in items],
        dtype=object,
    )
    return config, replace(
        base,
        show_id=np.array([f"m{i}" for i in items], dtype=object),
        name=names,
        genres=mixture,
        quality=quality,
        quality_in=base.quality_in * 0.3,
        launch=np.minimum(base.launch, -30),
        maturity=np.zeros(len(items), dtype=np.int64),
    )


def taste(config: WorldConfig, people: Population, what: Shows, ratings: pd.DataFrame) -> tuple[Population, F4]:
    """People with the genre taste their ratings show, and the affinity (users, items) a truncated SVD of them gives."""
    user, item = codes(people, what, ratings)
    centred = ratings["rating"].to_numpy(np.float64) - ratings.groupby("user_id")["rating"].transform("mean").to_numpy()
    matrix = csr_matrix((centred, (user, item)), shape=(len(people), len(what.show_id)))
    liked = csr_matrix((np.maximum(centred, 0.0) + 0.1, (user, item)), shape=matrix.shape) @ what.genres
    genre_taste = (liked + 0.2) / (liked + 0.2).sum(axis=1, keepdims=True)
    people = replace(people, taste=genre_taste, maturity_limit=np.full(len(people), 18))
    genre = genre_taste @ what.genres.T
    out = config.taste * (genre - genre.mean()) / (genre.std() or 1.0)
    rank = min(LATENT, min(matrix.shape) - 1)
    if rank >= 1:
        start = stream(config.seed, "svd").normal(size=min(matrix.shape))
        u, s, v = svds(matrix.astype(np.float64), k=rank, v0=start)
        hidden = (u * s) @ v
        out += config.latent * hidden / (hidden.std() or 1.0)
    return people, np.clip(out, -4.0, 4.0).astype(np.float32)


def codes(people: Population, what: Shows, ratings: pd.DataFrame) -> tuple[Any, Any]:
    """Numbers of users and items."""
    return (
        pd.Index(people.profile_id).get_indexer(pd.Index("u" + ratings["user_id"])),
        pd.Index(what.show_id).get_indexer(pd.Index("m" + ratings["item_id"])),
    )


def viewings(config: WorldConfig, people: Population, what: Shows, ratings: pd.DataFrame) -> pd.DataFrame:
    """One row per rating, by time: `profile, show` (numbers), `day, at` (ms of the day), `share` (of the film, by
    rating), `session_id`, and the original `user_id, item_id, rating, rated_at`.

    Rank r of n begins at (r + 1/2) / n of the history days; ratings of one second keep their file order.
    """
    order = np.lexsort((np.arange(len(ratings)), ratings["rated_at"].to_numpy()))
    ordered = ratings.iloc[order].reset_index(drop=True)
    user, item = codes(people, what, ordered)
    moment = ((np.arange(len(ordered)) + 0.5) / len(ordered) * config.ratings_days * DAY_MS).astype(np.int64)
    top = float(ordered["rating"].max()) or 1.0
    share = 0.08 + 0.92 * (ordered["rating"].to_numpy(np.float64) / top) ** 1.6
    ids = [
        session_id(u, i, t) for u, i, t in zip(ordered["user_id"], ordered["item_id"], ordered["rated_at"], strict=True)
    ]
    return pd.DataFrame(
        {
            "profile": user,
            "show": item,
            "day": moment // DAY_MS,
            "at": moment % DAY_MS,
            "share": share,
            "session_id": ids,
            "user_id": ordered["user_id"],
            "item_id": ordered["item_id"],
            "rating": ordered["rating"],
            "rated_at": ordered["rated_at"],
        }
    )
