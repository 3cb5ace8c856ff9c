"""From a regional forecast to the plan of every cluster: the core of job `fill_plan`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd

from models.delivery.planner import ADD, DROP, KEEP, Planner
from models.delivery.replay import lru_contents, viewings
from models.frames import rows

SHARE_PRIOR = 0.2
"""Share of the region's mean cluster a cluster's part is shrunk by towards equal parts."""
MIX_PRIOR = 0.2
"""Share of a cluster's bytes its codec and rung mix is shrunk by towards the region's."""
TITLE_PRIOR_VIEWINGS = 8.0
"""Mean viewings a cluster's fancy for a title is shrunk by towards the region's."""
WINDOW_START_H, WINDOW_HOURS = 2, 12
"""Fill window on the day of the plan, UTC hours (Open Connect partners: 02:00 to 14:00 local)."""


def cluster_forecast(
    forecast: pd.DataFrame, requests: pd.DataFrame, clusters: pd.DataFrame, files: pd.DataFrame
) -> pd.DataFrame:
    """Bytes expected of every file at every cluster: cdn_id, file_id, bytes, expected_bytes.

    The region's forecast is split by each cluster's part of the region's bytes, and bent two ways by its own log: to
    its mix of codecs and rungs (a slow ISP's viewers watch lower rungs) and to the titles its own viewers watch. Both
    bends keep the cluster's total. Clusters without a log take equal parts.

    Args:
        forecast: record demand_forecast of one day. requests: record cdn_request of the days before. clusters, files:
            newest rows of records cdn_cluster and asset_file.
    """
    known = files[["file_id", "bytes", "codec", "rung", "title_id"]].drop_duplicates("file_id")
    known = known.assign(kind=known["codec"].astype(str) + "/" + known["rung"].astype(str))
    table = known.merge(forecast[["region", "file_id", "expected_bytes"]], on="file_id")
    table = table.sort_values(["region", "file_id"], kind="mergesort", ignore_index=True)
    log = requests[["cdn_id", "session_id", "file_id", "bytes"]].merge(
        known[["file_id", "kind", "title_id"]], on="file_id"
    )
    log = log.merge(clusters[["cdn_id", "country"]], on="cdn_id")
    pieces = []
    for cluster in rows(clusters.sort_values("cdn_id")):
        mine = table[table["region"] == cluster["country"]]
        region = log[log["country"] == cluster["country"]]
        peers = int((clusters["country"] == cluster["country"]).sum())
        share = _share(region, cluster["cdn_id"], peers)
        bent = mine["expected_bytes"].to_numpy(dtype=np.float64).copy()
        for column, prior in (("kind", MIX_PRIOR), ("title_id", None)):
            bend = _bend(region, cluster["cdn_id"], column, share, prior)
            bent *= mine[column].map(bend).fillna(1.0).to_numpy(dtype=np.float64)
        scale = share * mine["expected_bytes"].sum() / bent.sum() if bent.sum() > 0 else 0.0
        pieces.append(mine[["file_id", "bytes"]].assign(cdn_id=cluster["cdn_id"], expected_bytes=bent * scale))
    return pd.concat(pieces, ignore_index=True)[["cdn_id", "file_id", "bytes", "expected_bytes"]]


def _share(region: pd.DataFrame, cdn_id: str, peers: int) -> float:
    """The cluster's part of its region's bytes, shrunk a little towards equal parts."""
    total = float(region["bytes"].sum())
    own = float(region.loc[region["cdn_id"] == cdn_id, "bytes"].sum())
    weight = SHARE_PRIOR * total / peers
    return (own + weight) / (total + peers * weight) if total > 0 else 1.0 / peers


def _bend(region: pd.DataFrame, cdn_id: str, column: str, share: float, prior: float | None) -> pd.Series[float]:
    """Bytes a cluster served over those its share of the region would give, by `column`, shrunk towards 1.

    `prior` is in shares of the cluster's bytes spread as the region's; None means TITLE_PRIOR_VIEWINGS mean viewings
    for every title.
    """
    usual = region.groupby(column)["bytes"].sum().astype(np.float64) * share
    own = region[region["cdn_id"] == cdn_id].groupby(column)["bytes"].sum().reindex(usual.index).fillna(0.0)
    if prior is not None:
        weight = prior * usual
    else:
        viewings_of = max(int((~region.duplicated(["session_id", column])).sum()), 1)
        weight = pd.Series(TITLE_PRIOR_VIEWINGS * region["bytes"].sum() / viewings_of, index=usual.index)
    return (own + weight) / (usual + weight).clip(lower=1e-9)


def fill_plans(expected: pd.DataFrame, clusters: pd.DataFrame, held: pd.DataFrame, plan_date: date) -> pd.DataFrame:
    """Plan every cluster: rows of record fill_plan, sorted by cdn_id.

    Args:
        expected: see `cluster_forecast`.
        held: cdn_id, file_id, bytes of what is on the disks now (see `on_disk`).
        plan_date: day the plans serve.
    """
    made = []
    start = datetime(plan_date.year, plan_date.month, plan_date.day, tzinfo=UTC) - timedelta(hours=24 - WINDOW_START_H)
    for cluster in rows(clusters.sort_values("cdn_id")):
        planner = Planner(int(cluster["disk_bytes"]), int(cluster["fill_budget_bytes"]))
        plan = planner.plan(
            expected[expected["cdn_id"] == cluster["cdn_id"]], held[held["cdn_id"] == cluster["cdn_id"]]
        )
        kept = plan[plan["action"] != DROP]
        made.append(
            {
                "plan_id": _plan_id(str(cluster["cdn_id"]), plan_date, plan),
                "cdn_id": cluster["cdn_id"],
                "plan_date": plan_date,
                "disk_bytes": planner.disk_bytes,
                "fill_budget_bytes": planner.fill_budget_bytes,
                "fill_bytes": int(plan.loc[plan["action"] == ADD, "bytes"].sum()),
                "held_bytes": int(kept["bytes"].sum()),
                "expected_bytes": float(kept["expected_bytes"].sum()),
                "not_before_at": pd.Timestamp(start),
                "deadline_at": pd.Timestamp(start + timedelta(hours=WINDOW_HOURS)),
                "files": plan.to_dict("records"),
            }
        )
    return pd.DataFrame(made)


def planned_files(plans: pd.DataFrame) -> pd.DataFrame:
    """Record fill_plan, one row a cluster and file: cdn_id, file_id, rank, bytes, expected_bytes, action."""
    listed = [{"cdn_id": plan["cdn_id"], **dict(file)} for plan in rows(plans) for file in plan["files"]]
    return pd.DataFrame(listed, columns=["cdn_id", "file_id", "rank", "bytes", "expected_bytes", "action"])


def on_disk(plans: pd.DataFrame) -> pd.DataFrame:
    """What clusters hold under record fill_plan: cdn_id, file_id, bytes; nothing without a plan."""
    files = planned_files(plans)
    held = files[files["action"].isin([ADD, KEEP])]
    return held[["cdn_id", "file_id", "bytes"]].reset_index(drop=True)


def disk_from_log(requests: pd.DataFrame, clusters: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    """What clusters without a plan hold: their LRU replayed over the delivery log: cdn_id, file_id, bytes.

    The first plan starts from it, because throwing a warm disk away and refilling it within one night's budget would
    serve less than leaving it alone.
    """
    disk = {str(c): int(b) for c, b in zip(clusters["cdn_id"], clusters["disk_bytes"], strict=True)}
    return lru_contents(viewings(requests), files, disk)


def held_now(plans: pd.DataFrame, requests: pd.DataFrame, clusters: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    """What is on every disk before the night: today's plan where there is one, else the log's LRU (`disk_from_log`)."""
    unplanned = clusters[~clusters["cdn_id"].isin(set(plans["cdn_id"]))]
    parts = [
        on_disk(plans),
        disk_from_log(requests[requests["cdn_id"].isin(set(unplanned["cdn_id"]))], unplanned, files),
    ]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _plan_id(cdn_id: str, plan_date: date, plan: pd.DataFrame) -> str:
    lines: Iterable[str] = (f"{r.file_id}|{r.rank}|{r.action}" for r in plan.itertuples())
    return f"{cdn_id}@{plan_date.isoformat()}@{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:12]}"
