"""Ratings and viewings of others: MovieLens layouts and plain tables, from bytes to frames; bad rows set aside.

Reading the files is the caller's. Layouts, by name:

    ratings.csv            userId,movieId,rating,timestamp with a header (ml-latest, ml-20m and later)
    ratings.dat            user::item::rating::timestamp (ml-1m, ml-10m)
    u.data                 tabs, the same four (ml-100k)
    *.inter                tabs, header user_id:token item_id:token rating:float timestamp:float (RecBole)
    interactions.csv|tsv   header with user,item and, if there, time (s since 1970, or ISO 8601) and weight
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

INTERACTIONS = ("ratings.csv", "ratings.dat", "u.data", "interactions.csv", "interactions.tsv")
TITLES = ("movies.csv", "movies.dat")
MOST_REFUSED = 0.01
"""A larger share of bad rows means the file is not what it claims to be."""
LAST_S = 4_102_444_800.0
"""The year 2100: milliseconds taken for seconds lie far beyond."""


class FileError(ValueError):
    """A file that cannot be used; says which, what was found and what is needed."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files held.

    Attributes:
        interactions: profile_id, title_id (strings), weight (rating or weight, 1 without one), at (s since 1970, <NA>
            without a time); of a repeated pair the latest; sorted by every column.
        titles: title_id, name, genres (tuple); empty without a titles file.
        refused: file, line, reason, text: the rows set aside.
        repeated: rows left out because their pair came again, later.
    """

    interactions: pd.DataFrame
    titles: pd.DataFrame
    refused: pd.DataFrame
    repeated: int


def wanted(name: str) -> bool:
    """Whether `load` can use a file of this name."""
    return name in INTERACTIONS + TITLES or name.endswith((".inter", ".item"))


def load(files: Mapping[str, bytes]) -> Loaded:
    """Parse a folder given as name -> content.

    Raises:
        FileError: no interactions file, none of its rows can be read, or more than 1 % of them are refused.
    """
    name = next((n for n in (*INTERACTIONS, *sorted(n for n in files if n.endswith(".inter"))) if n in files), None)
    if name is None:
        raise FileError(f"found {', '.join(sorted(files)) or 'no files'}; one of {', '.join(INTERACTIONS)} is needed")
    text, first = _table(name, files[name])
    good, refused = _checked(name, text, first)
    if not len(good):
        raise FileError(f"{name}: none of {len(text)} rows is user, item and numbers; e.g. {_example(refused)}")
    if len(refused) > MOST_REFUSED * len(text):
        raise FileError(
            f"{name}: {len(refused)} of {len(text)} rows cannot be read (at most {MOST_REFUSED:.0%} may be), "
            f"e.g. {_example(refused)}; the file is truncated or of another layout"
        )
    good = good.sort_values(["profile_id", "title_id", "at", "weight"], kind="mergesort", ignore_index=True)
    last = good.drop_duplicates(["profile_id", "title_id"], keep="last")
    return Loaded(last.reset_index(drop=True), titles(files), refused, len(good) - len(last))


def positives(interactions: pd.DataFrame, least: float = 4.0) -> pd.DataFrame:
    """Rows rated at least `least`, as pairs of weight 1: what the published figures on MovieLens count as liked.

    Where no weight is that large they are no ratings (shares watched, or ones for want of a weight): all rows count.
    """
    liked = interactions["weight"] >= least
    return interactions[liked if liked.any() else ~liked].assign(weight=1.0).reset_index(drop=True)


def _table(name: str, content: bytes) -> tuple[pd.DataFrame, int]:
    """Rows as strings under user, item, weight, time, whole row in `text`; and the line number of the first."""
    lines = content.decode("utf-8-sig" if name.endswith((".csv", ".tsv", ".inter")) else "latin-1", errors="replace")
    rows = pd.Series(lines.splitlines(), dtype=object)
    separator = "::" if name.endswith(".dat") else "," if name.endswith(".csv") else "\t"
    order, first = ["user", "item", "weight", "time"], 1
    if name.endswith((".csv", ".tsv", ".inter")):
        if not len(rows):
            raise FileError(f"{name} is empty; a header naming user and item is needed")
        order, first = [_column(c) for c in rows.iloc[0].split(separator)], 2
        rows = rows.iloc[1:].reset_index(drop=True)
        if "user" not in order or "item" not in order:
            raise FileError(f"{name} has columns {', '.join(order)}; user and item are needed (and time, weight)")
        twice = [c for c in ("user", "item", "time", "weight") if order.count(c) > 1]
        if twice:
            raise FileError(f"{name} has more than one column of {', '.join(twice)}; leave one of them")
    rows = rows[rows != ""]
    if separator == "," and '"' in lines:  # a spreadsheet's quotes, around a comma or around everything
        cells = pd.DataFrame([next(csv.reader([row])) for row in rows], index=rows.index)
    elif len(rows):
        cells = rows.str.split(separator, expand=True, regex=False)
    else:
        cells = pd.DataFrame(columns=range(len(order)))
    cells = cells.reindex(columns=range(max(len(order), cells.shape[1])))
    extra = cells.iloc[:, len(order) :].notna().any(axis=1) if cells.shape[1] > len(order) else False
    frame = cells.iloc[:, : len(order)].set_axis(order, axis=1)
    return frame.assign(text=rows, line=rows.index + first, extra=extra), first


def _column(name: str) -> str:
    plain = name.strip().strip('"').split(":")[0].lower().replace("_", "")
    names = {
        "user": ("user", "userid", "profileid"),
        "item": ("item", "itemid", "movieid", "titleid"),
        "weight": ("weight", "rating", "watchedshare"),
        "time": ("time", "timestamp", "at", "ratedat"),
    }
    return next((to for to, known in names.items() if plain in known), plain)


def _checked(name: str, frame: pd.DataFrame, first: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(typed rows, refused rows with their reason)."""
    reason = pd.Series(None, index=frame.index, dtype=object)
    for column in ("user", "item"):
        value = frame[column].fillna("").str.strip()
        reason[reason.isna() & (value == "")] = f"{column} is missing"
        frame[column] = value
    weight = pd.Series(1.0, index=frame.index)
    if "weight" in frame:
        weight = pd.to_numeric(frame["weight"], errors="coerce").astype(np.float64)
        reason[reason.isna() & ~np.isfinite(weight)] = "weight or rating is no number"
        reason[reason.isna() & ~(weight > 0)] = "weight or rating is not above 0"
    at = pd.Series(pd.NA, index=frame.index, dtype="Int64")
    if "time" in frame:
        number = pd.to_numeric(frame["time"], errors="coerce")
        missing = number.isna()
        if missing.any():
            stamp = pd.to_datetime(frame["time"].where(missing), errors="coerce", utc=True, format="ISO8601")
            number = number.where(~missing, (stamp - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1))
        number = number.astype(np.float64).where(number.abs() <= LAST_S)
        reason[reason.isna() & number.isna()] = "time is neither seconds nor ISO 8601"
        at = number.round().astype("Int64")
    reason[reason.isna() & frame["extra"]] = "too many columns"
    bad = reason.notna()
    refused = pd.DataFrame(
        {"file": name, "line": frame["line"][bad], "reason": reason[bad], "text": frame["text"][bad].str.slice(0, 200)}
    ).reset_index(drop=True)
    good = pd.DataFrame({"profile_id": frame["user"], "title_id": frame["item"], "weight": weight, "at": at})[~bad]
    return good, refused


def _example(refused: pd.DataFrame) -> str:
    if not len(refused):
        return "nothing"
    row = refused.iloc[0]
    return f"line {row['line']}: {row['reason']} in {row['text']!r}"


def titles(files: Mapping[str, bytes]) -> pd.DataFrame:
    """title_id, name, genres; of names in the last brackets the year stays in the name."""
    columns = ["title_id", "name", "genres"]
    if "movies.csv" in files:
        frame = pd.read_csv(io.BytesIO(files["movies.csv"]), dtype=str, keep_default_na=False)
        if list(frame.columns[:3]) != ["movieId", "title", "genres"]:
            raise FileError(f"movies.csv has columns {', '.join(frame.columns)}; movieId, title, genres are needed")
        frame, bar = frame.iloc[:, :3].set_axis(columns, axis=1), "|"
    elif "movies.dat" in files:
        lines = files["movies.dat"].decode("latin-1").splitlines()
        cells = [line.split("::") for line in lines if line]
        if any(len(c) != 3 for c in cells):
            raise FileError("movies.dat has a line that is not id::title::genres")
        frame, bar = pd.DataFrame(cells, columns=columns), "|"
    else:
        name = next((n for n in sorted(files) if n.endswith(".item")), None)
        if name is None:
            return pd.DataFrame({c: pd.Series(dtype=object) for c in columns})
        table = pd.read_csv(io.BytesIO(files[name]), sep="\t", dtype=str, keep_default_na=False, quoting=3)
        table.columns = [str(c).split(":")[0] for c in table.columns]
        need = {"item_id", "movie_title", "release_year", "class"}
        if not need <= set(table.columns):
            raise FileError(f"{name} has columns {', '.join(table.columns)}; {', '.join(sorted(need))} are needed")
        named = table["movie_title"] + " (" + table["release_year"] + ")"
        frame, bar = pd.DataFrame({"title_id": table["item_id"], "name": named, "genres": table["class"]}), " "
    frame["genres"] = [
        tuple(g.lower() for g in cell.split(bar) if g and not g.startswith("(")) for cell in frame["genres"]
    ]
    return frame.drop_duplicates("title_id").sort_values("title_id", ignore_index=True)
