"""Real ratings as viewings: MovieLens files to frames, and frames to a world's people, shows and sessions.

Each rating is one session of that title by that user. Order and time are kept: days and hours are a monotone map of
`rated_at` by rank, so that the days are equally full; the original stays in the session id, a hash of
(user, title, rated_at).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import IO, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from models.days import DAY_MS
from models.world.catalogue import Shows, synthetic_shows
from models.world.config import WorldConfig
from models.world.errors import WorldError
from models.world.population import LATENT, Population
from models.world.rng import stream
from models.world.taste import F4

Source = bytes | IO[bytes]
SESSION_PREFIX = "rating-"
"""How the id of a rating's session begins; sessions that the world draws itself never begin so."""
RATINGS_HEAD = ("userId", "movieId", "rating", "timestamp")
_MOVIE_COLUMNS = ("item_id", "name", "genres")
_LAST_S = 4_102_444_800.0  # the year 2100: milliseconds taken for seconds lie far beyond


def session_id(user_id: str, item_id: str, rated_at: int) -> str:
    """The playback session of one rating: a hash of user, title and time (ms since 1970)."""
    return SESSION_PREFIX + blake2b(f"{user_id}\x1f{item_id}\x1f{rated_at}".encode(), digest_size=12).hexdigest()


def parse(files: Mapping[str, Source]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(ratings, movies) of a MovieLens folder given as name -> content; movies may be empty.

    Ratings: `user_id, item_id` (strings), `rating`, `rated_at` (ms since 1970), in file order. Movies: `item_id, name,
    genres` (tuple). Layouts: ratings.csv with a header, ratings.dat (``::``), u.data (tabs).

    Raises:
        WorldError: no ratings file, a row that is not user, item, rating, seconds, or movies that cannot be read.
    """
    layouts = (("ratings.csv", ",", RATINGS_HEAD), ("ratings.dat", "::", None), ("u.data", "\t", None))
    for name, separator, head in layouts:
        if name in files:
            return _ratings(name, _rows(name, files[name], separator, 4, head)), _movies(files)
    raise WorldError(
        f"ratings: found {', '.join(sorted(files)) or 'no files'}; one of {', '.join(n for n, _, _ in layouts)} "
        "(MovieLens csv or dat layout) is needed"
    )


def _rows(
    name: str, source: Source, separator: str, columns: int, head: tuple[str, ...] | None = None
) -> dict[int, list[str]]:
    """Split lines by their number, each with as many columns as the layout has; the first must be `head`, if given."""
    raw = source if isinstance(source, bytes) else source.read()
    try:
        text = raw.decode("utf-8-sig" if name.endswith(".csv") else "latin-1")
    except UnicodeDecodeError as error:
        where = raw.count(b"\n", 0, error.start) + 1
        raise WorldError(f"{name} line {where} is no UTF-8; save the file in UTF-8") from error
    rows: dict[int, list[str]] = {}
    for number, line in enumerate(io.StringIO(text), 1):
        line = line.rstrip("\r\n")
        cells = line.split(separator)
        if number == 1 and head is not None:
            if tuple(cells) != head:
                raise WorldError(f"{name} line 1 is {line[:40]!r}, must be the header {separator.join(head)}")
        elif line:
            if len(cells) != columns:
                raise WorldError(
                    f"{name} line {number}: {len(cells)} columns, must be {columns} separated by {separator!r}"
                )
            rows[number] = cells
    if not rows:
        raise WorldError(f"{name} holds no rows")
    return rows


def _ratings(name: str, rows: Mapping[int, list[str]]) -> pd.DataFrame:
    """Typed ratings; one (user, item, time) counts once only if the file says it once.

    Raises:
        WorldError: no user or title, a rating or time out of range, or a repeated row; names the line.
    """
    line = list(rows)
    frame = pd.DataFrame(list(rows.values()), columns=["user_id", "item_id", "rating", "rated_at"])
    for column in ("user_id", "item_id"):
        if (frame[column].str.strip() == "").any():
            raise WorldError(f"{name} line {line[_first(frame[column].str.strip() == '')]}: {column} is empty")
    for column, most, rule in (("rating", 10.0, "between 0 and 10"), ("rated_at", _LAST_S, "seconds since 1970")):
        values = pd.to_numeric(frame[column], errors="coerce")
        wrong = ~values.between(0, most)
        if wrong.any():
            at = _first(wrong)
            rule = "a number" if pd.isna(values[at]) else rule
            raise WorldError(f"{name} line {line[at]}: {column} is {frame[column][at]!r}, must be {rule}")
        frame[column] = values
    frame["rated_at"] = (frame["rated_at"] * 1000).astype(np.int64)
    twice = frame.duplicated(["user_id", "item_id", "rated_at"])
    if twice.any():
        at = _first(twice)
        raise WorldError(
            f"{name} line {line[at]}: user {frame['user_id'][at]} rated {frame['item_id'][at]} twice at the "
            "same second; remove one"
        )
    return frame


def _first(wrong: pd.Series[bool]) -> int:
    return int(wrong.to_numpy().argmax())


def _movies(files: Mapping[str, Source]) -> pd.DataFrame:
    """Names and genres, empty without a movies file.

    Raises:
        WorldError: a file that cannot be read, or a film listed twice.
    """
    name = next((name for name in ("movies.csv", "movies.dat") if name in files), None)
    if name is None:
        return pd.DataFrame({column: [] for column in _MOVIE_COLUMNS})
    if name == "movies.csv":
        frame = _movies_csv(name, files[name])
    else:
        frame = pd.DataFrame(list(_rows(name, files[name], "::", 3).values()), columns=list(_MOVIE_COLUMNS))
    twice = frame["item_id"].duplicated()
    if twice.any():
        raise WorldError(f"{name} lists film {frame['item_id'][_first(twice)]!r} more than once; remove one")
    frame["genres"] = [
        tuple(g.lower() for g in cell.split("|") if g and not g.startswith("(")) for cell in frame["genres"]
    ]
    return frame


def _movies_csv(name: str, source: Source) -> pd.DataFrame:
    """Quoted cells, so that a title may hold a comma; columns after the first three are left out."""
    raw = source if isinstance(source, bytes) else source.read()
    try:
        reader = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        head = next(reader, [])
        if head[:3] != ["movieId", "title", "genres"]:
            raise WorldError(f"{name} has columns {', '.join(head)}; must begin with movieId, title, genres")
        rows = []
        for row in reader:
            if len(row) not in (0, len(head)):
                raise WorldError(
                    f"{name} line {reader.line_num}: {len(row)} cells, must be {len(head)}; quote a title with a comma"
                )
            rows += [row[:3]] if row else []
    except (UnicodeDecodeError, csv.Error) as error:
        raise WorldError(f"{name} cannot be read: {error}; mend it or remove it") from error
    return pd.DataFrame(rows, columns=list(_MOVIE_COLUMNS), dtype=str)


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
        quality_on=base.quality_on * 0.3,
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
    if rank >= 1 and np.abs(centred).max(initial=0.0) > 0:  # who rates all alike tells no more than what they chose
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
