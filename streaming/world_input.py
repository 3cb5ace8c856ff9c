"""Real input for a world: the folders of ratings and network traces a user names, as they are or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from conf.errors import UsageError
from models.world import ratings as rated
from models.world import traces as traced
from models.world.network import Traces

RATINGS_FILES = ("ratings.csv", "ratings.dat", "u.data", "movies.csv", "movies.dat")


def read_ratings(folder: Path | None) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """(ratings, movies) of a folder in MovieLens layout; None stays None.

    Raises:
        UsageError: no such folder.
        WorldError: a file is not in the layout; names file, line and rule.
    """
    if folder is None:
        return None
    _folder(folder, "--ratings")
    files = {name: (folder / name).read_bytes() for name in RATINGS_FILES if (folder / name).is_file()}
    if not files:
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise UsageError(f"--ratings {folder} holds none of {', '.join(RATINGS_FILES)}; it holds {held}")
    return rated.parse(files)


def read_traces(folder: Path | None) -> Traces | None:
    """Every JSON trace below a folder; None stays None. Descriptions of videos (JSON objects) among them are skipped.

    Raises:
        UsageError: no such folder, or no trace in it.
        WorldError: a trace is corrupt; names file, step and rule.
    """
    if folder is None:
        return None
    paths = sorted(_folder(folder, "--traces").rglob("*.json"))
    try:
        raw = {str(path.relative_to(folder)): path.read_bytes() for path in paths if not path.is_dir()}
    except OSError as error:
        raise UsageError(f"trace {error.filename} cannot be read ({error.strerror}); mend it or remove it") from error
    files = {name: text for name, text in raw.items() if not _describes_a_video(text)}
    if not files:
        raise UsageError(
            f"--traces {folder} holds no *.json trace; unpack the archive there, or name the folder it was unpacked to"
        )
    return traced.parse(files)


def _folder(folder: Path, option: str) -> Path:
    if not folder.is_dir():
        raise UsageError(f"{option} {folder} is no folder; give the folder that holds the files")
    return folder


def _describes_a_video(raw: bytes) -> bool:
    """A ladder with segment sizes, as collections hold beside the traces: a JSON object, where a trace is a list."""
    if not raw.lstrip().startswith(b"{"):
        return False
    try:
        return "segment_sizes_bits" in json.loads(raw)
    except (ValueError, RecursionError):
        return False  # corrupt: let the reader of traces say so
