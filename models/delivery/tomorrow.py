"""From a regional forecast to the plan of every cluster: the core of job `fill_plan`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd

from models.delivery.planner import ADD, DROP, KEEP, Planner
from models.delivery.replay import lru_contents, viewings

MIX_PRIOR = 0.2
"""Share of a cluster's bytes its codec and rung mix is shrunk by towards the region's."""
WINDOW_START_H, WINDOW_HOURS = 2, 12
"""Fill window on the day of the plan, UTC hours (Open Connect partners: 02:00 to 14:00 local)."""


def cluster_forecast(
    forecast: pd.DataFrame, requests: pd.DataFrame, clusters: pd.DataFrame, files: pd.DataFrame
) -> pd.DataFrame:
    """Bytes expected of every file at every cluster: cdn_id, file_id, bytes, expected_bytes.

    The region's forecast is split by each cluster's part of the region's bytes, and bent by its own mix of codecs and
    rungs (a slow ISP's viewers watch lower rungs). Clusters without a log take equal parts.

    Args:
        forecast: record demand_forecast of one day. requests: record cdn_request of the days before. clusters, files:
            newest rows of records cdn_cluster and asset_file.
    """
    rows = files[["file_id", "bytes", "codec", "rung"]].merge(
        forecast[["region", "file_id", "expected_bytes"]], on="file_id"
    )
    rows["kind"] = rows["codec"].astype(str) + "/" + rows["rung"].astype(str)
    rows = rows.sort_values(["region", "file_id"], kind="mergesort", ignore_index=True)
    log = _log_by_kind(requests, clusters, files)
    pieces = []
    for cluster in clusters.sort_values("cdn_id").itertuples():
        mine = rows[rows["region"] == cluster.country]
        share, bend = _share_and_bend(log, cluster.cdn_id, cluster.country, clusters)
        expected = mine["expected_bytes"].to_numpy() * mine["kind"].map(bend).fillna(1.0).to_numpy()
        total, before = expected.sum(), mine["expected_bytes"].sum()
        scale = share * (before / total if total > 0 else 1.0)
        pieces.append(
            pd.DataFrame(
                {
                    "cdn_id": cluster.cdn_id,
                    "file_id": mine["file_id"].to_numpy(),
                    "bytes": mine["bytes"].to_numpy(),
                    "expected_bytes": expected * scale,
                }
            )
        )
    return pd.concat(pieces, ignore_index=True)


def _log_by_kind(requests: pd.DataFrame, clusters: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    merged = (
        requests[["cdn_id", "file_id", "bytes"]]
        .merge(files[["file_id", "codec", "rung"]], on="file_id")
        .merge(clusters[["cdn_id", "country"]], on="cdn_id")
    )
    merged["kind"] = merged["codec"].astype(str) + "/" + merged["rung"].astype(str)
    return merged.groupby(["country", "cdn_id", "kind"], as_index=False)["bytes"].sum()


def _share_and_bend(log: pd.DataFrame, cdn_id: str, country: str, clusters: pd.DataFrame) -> tuple[float, pd.Series]:
    region = log[log["country"] == country]
    peers = int((clusters["country"] == country).sum())
    by_kind = region.groupby("kind")["bytes"].sum().astype(np.float64)
    if not len(by_kind) or by_kind.sum() == 0:
        return 1.0 / peers, pd.Series(dtype=np.float64)
    usual = by_kind / by_kind.sum()
    own = region[region["cdn_id"] == cdn_id].groupby("kind")["bytes"].sum().reindex(usual.index).fillna(0.0)
    weight = MIX_PRIOR * by_kind.sum() / peers
    mixed = (own + weight * usual) / (own.sum() + weight)
    return float((own.sum() + weight) / (by_kind.sum() + peers * weight)), mixed / usual


def fill_plans(expected: pd.DataFrame, clusters: pd.DataFrame, held: pd.DataFrame, plan_date: date) -> pd.DataFrame:
    """Plan every cluster: rows of record fill_plan, sorted by cdn_id.

    Args:
        expected: see `cluster_forecast`.
        held: cdn_id, file_id, bytes of what is on the disks now (see `on_disk`).
        plan_date: day the plans serve.
    """
    rows = []
    start = datetime(plan_date.year, plan_date.month, plan_date.day, tzinfo=UTC) - timedelta(hours=24 - WINDOW_START_H)
    for cluster in clusters.sort_values("cdn_id").itertuples():
        planner = Planner(int(cluster.disk_bytes), int(cluster.fill_budget_bytes))
        plan = planner.plan(expected[expected["cdn_id"] == cluster.cdn_id], held[held["cdn_id"] == cluster.cdn_id])
        kept = plan[plan["action"] != DROP]
        rows.append(
            {
                "plan_id": _plan_id(str(cluster.cdn_id), plan_date, plan),
                "cdn_id": cluster.cdn_id,
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
    return pd.DataFrame(rows)


def on_disk(plans: pd.DataFrame) -> pd.DataFrame:
    """What clusters hold under record fill_plan: cdn_id, file_id, bytes; nothing without a plan."""
    rows = [
        (plan.cdn_id, f["file_id"], int(f["bytes"]))
        for plan in plans.itertuples()
        for f in plan.files
        if f["action"] in (ADD, KEEP)
    ]
    return pd.DataFrame(rows, columns=["cdn_id", "file_id", "bytes"])


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
