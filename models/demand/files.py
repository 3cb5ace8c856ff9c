"""From plays of titles to bytes of files: the core of job `popularity`.

A title's forecast is spread over its files by shares learned from the delivery log, shrunk towards the usual share of
their codec and rung: ranking files beats ranking titles by 14 % (Netflix, "Content Popularity for Open Connect").
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from models.demand.titles import forecast_plays

SHARE_PRIOR_PLAYS = 12.0
"""Plays' worth of bytes a title's file shares are shrunk by towards the usual ones."""
BYTES_PRIOR_PLAYS = 12.0
"""Plays a title's bytes per play are shrunk by towards running time times the usual bytes per running time."""


def demand_forecast(
    plays: pd.DataFrame, requests: pd.DataFrame, titles: pd.DataFrame, files: pd.DataFrame, forecast_date: date
) -> pd.DataFrame:
    """Record demand_forecast: one row per region and file with a title out on the day, sorted by region and file.

    Args:
        plays: record `play`; requests: record `cdn_request`; both of the days before.
        titles, files: newest rows of records `title` and `asset_file`.
    """
    expected = forecast_plays(plays, titles, forecast_date)
    spread = file_bytes_per_play(plays, requests, titles, files)
    rows = expected.merge(spread, on="title_id").sort_values(["region", "file_id"], kind="mergesort", ignore_index=True)
    rows["expected_bytes"] = rows["expected_plays"] * rows["bytes_per_play"]
    rows["forecast_date"] = forecast_date
    return rows[["region", "file_id", "title_id", "forecast_date", "expected_plays", "expected_bytes", "method"]]


def file_bytes_per_play(
    plays: pd.DataFrame, requests: pd.DataFrame, titles: pd.DataFrame, files: pd.DataFrame
) -> pd.DataFrame:
    """Bytes one play of a title takes from each of its files: title_id, file_id, bytes_per_play."""
    table = files[["file_id", "title_id", "codec", "rung", "bytes"]].sort_values("file_id", ignore_index=True)
    log = requests.groupby("file_id")["bytes"].sum()
    table["got"] = table["file_id"].map(log).fillna(0.0).astype(np.float64)
    duration = titles.drop_duplicates("title_id").set_index("title_id")["duration_ms"].astype(np.float64)
    logged = set(requests["session_id"])
    started = plays[plays["started"].astype(bool) & plays["session_id"].isin(logged)]
    count = started.groupby("title_id").size().astype(np.float64)
    by_title = pd.DataFrame({"got": table.groupby("title_id")["got"].sum()})
    by_title["plays"] = count.reindex(by_title.index).fillna(0.0)
    by_title["duration"] = duration.reindex(by_title.index).fillna(0.0)
    by_title["per_play"] = _per_play(by_title)
    table["usual"] = _usual_share(table)
    prior = SHARE_PRIOR_PLAYS * table["title_id"].map(by_title["per_play"]) * table["usual"]
    mass = table["got"] + prior
    share = mass / mass.groupby(table["title_id"]).transform("sum")
    table["bytes_per_play"] = (share.fillna(table["usual"]) * table["title_id"].map(by_title["per_play"])).astype(
        np.float64
    )
    return table[["title_id", "file_id", "bytes_per_play"]]


def _per_play(by_title: pd.DataFrame) -> pd.Series:
    """Bytes a play of each title takes; without any log, the running time stands for it (1 byte a millisecond)."""
    asked = (by_title["plays"] * by_title["duration"]).sum()
    rate = by_title["got"].sum() / asked if asked > 0 and by_title["got"].sum() > 0 else 1.0
    usual = rate * by_title["duration"]
    return (by_title["got"] + BYTES_PRIOR_PLAYS * usual) / (by_title["plays"] + BYTES_PRIOR_PLAYS)


def _usual_share(table: pd.DataFrame) -> pd.Series:
    """Share of a title's bytes a file of this codec and rung usually takes, normalised over the title's own files.

    Titles whose ladder lacks a rung say nothing about it: a kind's level is its bytes over the bytes of the titles
    that have it. Every kind keeps a small mass, so that a rung never asked for is cheap and not impossible.
    """
    kind = table["codec"].astype(str) + "/" + table["rung"].astype(str)
    of_title = table["got"].groupby(table["title_id"]).transform("sum")
    total = max(float(table["got"].sum()), 1.0)
    level = (table["got"].groupby(kind).sum() + 1e-4 * total) / (of_title.groupby(kind).sum() + 1e-2 * total)
    mass = kind.map(level)
    return mass / mass.groupby(table["title_id"]).transform("sum")
