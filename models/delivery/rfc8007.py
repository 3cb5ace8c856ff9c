"""A fill plan as CDNI trigger commands: RFC 8007, `application/cdni; ptype=ci-trigger-command`, type preposition.

A preposition may carry no patterns, only full URLs, so a plan becomes lists of URLs, cut by their number. Version 1 of
the interface has no time window and no priority: order is rank, the window travels in the fill_plan record.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pandas as pd

from models.delivery.planner import ADD
from models.frames import rows

MEDIA_TYPE = "application/cdni; ptype=ci-trigger-command"
URLS_PER_COMMAND = 500


def command(urls: Sequence[str], cdn_path: Sequence[str]) -> str:
    """One command as JSON.

    Args:
        urls: full URLs (scheme and host), at least one.
        cdn_path: CDN provider ids passed so far, for loop detection, e.g. "AS64496:1"; at least one.

    Raises:
        ValueError: a URL is not absolute, or a list is empty.
    """
    if not urls or not cdn_path:
        raise ValueError(f"a preposition command needs URLs and a cdn-path; got {len(urls)} and {len(cdn_path)}")
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"URL {url!r} is not absolute; RFC 8007 wants scheme and host")
    body = {"trigger": {"type": "preposition", "content.urls": list(urls)}, "cdn-path": list(cdn_path)}
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def commands(
    plans: pd.DataFrame,
    files: pd.DataFrame,
    *,
    base_url: str,
    cdn_path: Sequence[str],
    urls_per_command: int = URLS_PER_COMMAND,
) -> pd.DataFrame:
    """Rows of record preposition_command for every file the plans add, in order of filling.

    Args:
        plans: record fill_plan. files: record asset_file (newest rows).
        base_url: scheme and host put before each file's path; `{cdn_id}` in it becomes the cluster's id.

    Raises:
        ValueError: a planned file has no asset_file row.
    """
    path = dict(zip(files["file_id"], files["url"], strict=True))
    made = []
    for plan in rows(plans.sort_values("cdn_id")):
        added = sorted((f for f in plan["files"] if f["action"] == ADD), key=lambda f: int(f["rank"]))
        missing = [f["file_id"] for f in added if f["file_id"] not in path]
        if missing:
            raise ValueError(
                f"plan {plan['plan_id']} adds {missing[0]!r}, which asset_file does not know; "
                f"{len(missing)} such files; land the asset_file topic first"
            )
        host = base_url.format(cdn_id=plan["cdn_id"]).rstrip("/")
        urls = [host + "/" + str(path[f["file_id"]]).lstrip("/") for f in added]
        for number, first in enumerate(range(0, len(urls), urls_per_command)):
            made.append(
                (
                    f"{plan['plan_id']}#{number}",
                    plan["plan_id"],
                    plan["cdn_id"],
                    plan["plan_date"],
                    command(urls[first : first + urls_per_command], cdn_path),
                )
            )
    return pd.DataFrame(made, columns=["command_id", "plan_id", "cdn_id", "plan_date", "body"])
