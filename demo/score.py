"""The demo's figures: pure functions from lake and topic frames to what the report shows."""

from __future__ import annotations

from typing import Any

import pandas as pd

from demo.story import WINDOW
from models.delivery.tomorrow import planned_files
from models.experiment.assign import HOLDBACK, POLICY
from models.experiment.intervals import Estimate, compare, per_profile

ARMS = {"page": "page_arm", "artwork": "artwork_arm"}


def take_rates(outcomes: pd.DataFrame, seed: int = 20) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Rate of impressions taken in every arm of both holdbacks, and policy minus holdback.

    Args:
        outcomes: `impression_outcome` rows of one day.
        seed: of the bootstrap over profiles.

    Returns:
        Rates by ``"<experiment> <arm>"`` and lifts by experiment; units are profiles.
    """
    rates: dict[str, Estimate] = {}
    lifts: dict[str, Estimate] = {}
    for experiment, column in ARMS.items():
        found = compare(per_profile(outcomes, column), seed=seed)
        rates[f"{experiment} {POLICY}"], rates[f"{experiment} {HOLDBACK}"] = found.policy, found.holdback
        lifts[experiment] = found.difference
    return rates, lifts


def asked_bytes(requests: pd.DataFrame, clusters: pd.DataFrame) -> pd.DataFrame:
    """Bytes asked for by region and file, whoever served them: columns region, file_id, asked_bytes."""
    region = clusters.set_index("cdn_id")["country"]
    frame = requests.assign(region=requests["cdn_id"].map(region))
    return frame.groupby(["region", "file_id"], as_index=False)["bytes"].sum().rename(columns={"bytes": "asked_bytes"})


def forecast_against_asked(forecast: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """Forecast joined to what was asked: every file of either side, 0 where a side has nothing."""
    both = forecast[["region", "file_id", "method", "expected_bytes"]].merge(
        asked, on=["region", "file_id"], how="outer"
    )
    both["method"] = both["method"].fillna("not forecast")
    return both.fillna({"expected_bytes": 0.0, "asked_bytes": 0})


def edge_share(requests: pd.DataFrame) -> float:
    """Share of bytes that the edge served, of a delivery log."""
    total = int(requests["bytes"].sum())
    return float(requests.loc[requests["tier"] == "edge", "bytes"].sum()) / total if total else float("nan")


def disk_by_title(plan: pd.DataFrame, files: pd.DataFrame, titles: pd.DataFrame) -> pd.DataFrame:
    """What every cluster held before the fill (kept and dropped) and holds after it (kept and added), by title."""
    rows = planned_files(plan).merge(files[["file_id", "title_id"]], on="file_id")
    rows["before_bytes"] = rows["bytes"].where(rows["action"].isin(["keep", "drop"]), 0)
    rows["after_bytes"] = rows["bytes"].where(rows["action"].isin(["keep", "add"]), 0)
    sums = rows.groupby(["cdn_id", "title_id"], as_index=False)[["before_bytes", "after_bytes"]].sum()
    return sums.merge(titles[["title_id", "name"]], on="title_id", how="left")


def drawn_page(
    page: dict[str, Any], choices: pd.DataFrame, titles: pd.DataFrame, artwork: pd.DataFrame, profile: dict[str, Any]
) -> dict[str, Any]:
    """A `home_page` record with what a viewer would see: names, themes of the chosen images, their probabilities."""
    names = titles.set_index("title_id")["name"]
    genres = titles.set_index("title_id")["genres"]
    themes = artwork.set_index("artwork_id")["theme"]
    chosen = choices[choices["profile_id"] == page["profile_id"]].set_index("title_id")
    rows = []
    for row in page["rows"]:
        cells = []
        for title_id in row["title_ids"]:
            picked = chosen.loc[title_id] if title_id in chosen.index else None
            theme = str(themes[picked["artwork_id"]]) if picked is not None else str(next(iter(genres[title_id])))
            cells.append(
                {
                    "name": str(names[title_id]),
                    "theme": theme,
                    "probability": None if picked is None else float(picked["probability"]),
                }
            )
        rows.append({"heading": row["heading"], "reason": row["reason"], "cells": cells})
    return {
        **{key: page[key] for key in ("profile_id", "model_id")},
        "country": profile["country"],
        "device": profile["device"],
        "rows": rows,
    }


def viewers(sessions: pd.DataFrame) -> pd.DataFrame:
    """isp, window, profiles: distinct profiles with a session in each `WINDOW`, from isp, profile_id, start_at and
    end_at of sessions."""
    first, last = (pd.to_datetime(sessions[name], utc=True).dt.floor(WINDOW) for name in ("start_at", "end_at"))
    step = pd.Timedelta(WINDOW)
    many = ((last - first) // step + 1).to_numpy(dtype="int64")
    found = sessions.loc[sessions.index.repeat(many), ["isp", "profile_id"]]
    nth = pd.Series(1, found.index).groupby(level=0).cumsum() - 1
    found["window"] = first.loc[found.index] + nth * step
    return found.groupby(["isp", "window"])["profile_id"].nunique().rename("profiles").reset_index()
