"""Collect a `Story` from what the demo left: lake tables, the stream's topics, the world's truth for yardsticks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from conf.settings import Settings
from demo import score
from demo.story import FaultWindow, Story
from demo.universe import Universe
from lake.reader import Lake
from models.delivery.yardsticks import offload_lines
from models.world.faults import Fault
from schemas import tables as t
from schemas import topics
from schemas.tables import Table
from streaming import consume

CATALOGUE = (t.BRONZE_TITLE, t.BRONZE_ARTWORK, t.BRONZE_ASSET_FILE, t.BRONZE_PROFILE, t.BRONZE_CDN_CLUSTER)


def story(
    settings: Settings,
    universe: Universe,
    truth: Mapping[str, pd.DataFrame],
    live: date,
    after: date,
    fault: Fault,
    isp: str,
) -> Story:
    """The demo's story; timings and memory are filled in by the caller. `truth` is the world's, of the day after."""
    lake = Lake(settings)
    catalogue = {table.record: _newest(lake, table) for table in CATALOGUE}
    plan = lake.read(t.FILL_PLAN, day=after)
    choices = lake.read(t.ARTWORK_CHOICE, day=after)
    rates, lifts = score.take_rates(lake.read(t.IMPRESSION_OUTCOME, day=after))
    log = _log(lake, after)
    history = lake.sql(
        f"SELECT * FROM {t.BRONZE_CDN_REQUEST.fqn} WHERE received_date < DATE '{after.isoformat()}'"
    ).to_df()
    forecast = lake.read(t.DEMAND_FORECAST, day=after)
    asked = score.asked_bytes(log, catalogue["cdn_cluster"])
    promotion = lake.read(t.PROMOTION, day=live).iloc[0].to_dict()
    return Story(
        universe=universe.id,
        live_day=live,
        next_day=after,
        fault=_window(fault, isp, live),
        qoe=_stream_minutes(settings, live),
        funnel=_funnel(lake, live),
        forecast=score.forecast_against_asked(forecast, asked),
        disk=score.disk_by_title(plan, catalogue["asset_file"], catalogue["title"]),
        plan=plan.drop(columns="files"),
        offload=offload_lines(
            log, history, _log(lake, live), plan, truth["rates"], catalogue["asset_file"], catalogue["cdn_cluster"]
        ),
        logged_offload=score.edge_share(log),
        take_rates=rates,
        lifts=lifts,
        page=_page(lake, after, choices, catalogue),
        reconcile=lake.read(t.RECONCILE_RESULT, day=live),
        counts=_counts(lake, settings, live, after),
        model=promotion,
    )


def _newest(lake: Lake, table: Table) -> pd.DataFrame:
    """The newest row of every entity of a catalogue table."""
    key = next(topic.key for topic in topics.CATALOGUE if topic.record == table.record)
    frame = lake.read(table).sort_values(["received_date", "kafka_partition", "kafka_offset"])
    return frame.drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)


def _window(fault: Fault, isp: str, day: date) -> FaultWindow:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    start = midnight + timedelta(minutes=fault.start)
    return FaultWindow(fault.name, isp, start, start + timedelta(minutes=fault.minutes))


def _stream_minutes(settings: Settings, day: date) -> pd.DataFrame:
    """The live day's minute sums as they stand on the topic."""
    frame = consume.snapshot(topics.QOE_MINUTE, settings)
    return frame[(frame["event_date"] == day) & frame["rollup"].isin(["total", "place"])]


def _funnel(lake: Lake, day: date) -> dict[str, int]:
    """Steps from an impression to a finished title, of one day."""
    impressions = lake.read(t.IMPRESSION_OUTCOME, day=day)
    plays = lake.read(t.PLAY, day=day)
    return {
        "impressions": len(impressions),
        "sessions from an impression": int(impressions["attempted"].sum()),
        "attempts, search included": len(plays),
        "first frame": int(plays["started"].sum()),
        "quality play": int(plays["quality_play"].sum()),
        "completed": int(plays["completed"].sum()),
    }


def _log(lake: Lake, day: date) -> pd.DataFrame:
    return lake.read(t.BRONZE_CDN_REQUEST, day=day)


def _page(lake: Lake, day: date, choices: pd.DataFrame, catalogue: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """The page with most rows among those of the policy arm: the one worth looking at."""
    pages = lake.read(t.HOME_PAGE, day=day)
    policy = pages[pages["page_arm"] == "policy"]
    shown = policy if len(policy) else pages
    ranked = shown.assign(n=shown["rows"].map(len)).sort_values(["n", "profile_id"], ascending=[False, True])
    page = ranked.iloc[0].to_dict()
    profiles = catalogue["profile"].set_index("profile_id")
    return score.drawn_page(
        page, choices, catalogue["title"], catalogue["artwork"], profiles.loc[page["profile_id"]].to_dict()
    )


def _counts(lake: Lake, settings: Settings, live: date, after: date) -> dict[str, int]:
    """Rows at rest of the whole run, and what lies in the dead-letter topic."""

    def rows(table: Table) -> int:
        return int(lake.sql(f"SELECT count(*) AS n FROM {table.fqn}").to_df()["n"].iloc[0])

    landed = {
        f"{table.name}s landed": rows(table)
        for table in (t.BRONZE_PLAYBACK_EVENT, t.BRONZE_IMPRESSION, t.BRONZE_CDN_REQUEST)
    }
    return {
        **landed,
        "quarantined": rows(t.QUARANTINE),
        "dead_letters": sum(1 for _ in consume.messages(topics.DLQ_PLAYBACK_EVENT, settings)),
        "spans": rows(t.SPAN),
        "sessions": rows(t.SESSION),
        "plays": rows(t.PLAY),
        "pages": rows(t.HOME_PAGE),
    }
