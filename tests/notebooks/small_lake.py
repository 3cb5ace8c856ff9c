"""A real lake made without a JVM: the world's events, folded by the Python reference, written by pyiceberg."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from conf.settings import Settings
from lake.catalog import bootstrap, identifier
from models.playback.events import Event
from models.playback.spans import SESSION_COLUMNS, SPAN_COLUMNS, Policy, fold
from models.recommend.features import profile_features, title_features
from models.world import World, WorldConfig
from models.world.faults import isp_outage
from schemas import tables as t
from schemas.render.frames import rollup_sums
from schemas.render.sql import DAILY_KEYS, MINUTE_KEYS
from schemas.tables import Table

DAYS = 4
TABLES = (
    t.SPAN, t.SESSION, t.PLAY, t.IMPRESSION_OUTCOME, t.QOE_MINUTE, t.QOE_DAILY, t.FEATURE_PROFILE, t.FEATURE_TITLE,
)  # fmt: skip


def make(settings: Settings, profiles: int = 120, seed: int = 3) -> list[date]:
    """Live `DAYS` days, the last but one with an outage of one ISP, and publish what the notebooks read."""
    config = WorldConfig(seed=seed, profiles=profiles, shows=40, days=DAYS, ratings_days=DAYS)
    world = World.create(config)
    catalog = bootstrap(settings, only=TABLES)
    titles, people = world.catalogue(0)["title"], world.catalogue(0)["profile"]
    spans: list[dict[str, Any]] = []
    sessions: list[dict[str, Any]] = []
    impressions = []
    for number in range(DAYS):
        faults = (isp_outage(people["isp"].mode()[0]),) if number == DAYS - 2 else ()
        lived = world.live(number, faults=faults)
        impressions.append(lived.impressions)
        for events in by_session(lived.events):
            for folded in (fold(events, Policy(), "live"), fold(events, Policy(), "final")):
                spans += folded.spans
                sessions += folded.sessions
    span, session = typed(spans, SPAN_COLUMNS), typed(sessions, SESSION_COLUMNS)
    play = plays(session, titles)
    outcome = outcomes(pd.concat(impressions), play)
    frames = {
        t.SPAN: span,
        t.SESSION: session,
        t.PLAY: play,
        t.IMPRESSION_OUTCOME: outcome,
        t.QOE_MINUTE: rollup_sums(span, MINUTE_KEYS),
        t.QOE_DAILY: rollup_sums(span[span["revision"] == "final"], DAILY_KEYS),
    }
    days = [config.start + timedelta(days=number) for number in range(DAYS)]
    for day in days:
        past = play[play["play_date"] <= day]
        seen = session[session["close_date"] <= day]
        shown = outcome[outcome["shown_date"] <= day]
        for table, frame in (
            (t.FEATURE_PROFILE, profile_features(past, seen, titles, people, day, 2)),
            (t.FEATURE_TITLE, title_features(past, shown, titles, day, 2)),
        ):
            frames[table] = pd.concat([frames[table], frame]) if table in frames else frame
    for table, frame in frames.items():
        write(catalog, settings, table, frame)
    return days


def by_session(events: pd.DataFrame) -> list[list[Event]]:
    """Each session's events with a Kafka position and times as milliseconds: what the fold takes."""
    landed = events.assign(kafka_partition=0, kafka_offset=np.arange(len(events)))
    for name in ("device_at", "received_at", "post_device_at"):
        landed[name] = landed[name].astype("int64")
    found: dict[str, list[Event]] = {}
    for row in landed.astype(object).where(landed.notna(), None).to_dict("records"):
        found.setdefault(row["session_id"], []).append(Event.of(row))
    return list(found.values())


def typed(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    """The fold's rows with timestamps and dates as the rest of the house has them."""
    frame = pd.DataFrame(rows, columns=list(columns))
    for name in columns:
        if name.endswith("_at"):
            frame[name] = pd.to_datetime(frame[name], unit="ms", utc=True).astype("datetime64[ms, UTC]")
        elif name.endswith("_date"):
            frame[name] = [date(1970, 1, 1) + timedelta(days=int(value)) for value in frame[name]]
    return frame


def plays(sessions: pd.DataFrame, titles: pd.DataFrame) -> pd.DataFrame:
    """Attempts of revision final, as job `sessionize` makes them, without its notion of censoring."""
    tried = sessions[(sessions["revision"] == "final") & (sessions["attempts"] > 0)]
    play = tried.merge(titles[["title_id", "show_id", "duration_ms"]], on="title_id")
    play["show_id"] = play["show_id"].fillna(play["title_id"])
    play["content_ms"] = play[["content_ms", "duration_ms"]].min(axis=1)
    share = play["content_ms"] / play["duration_ms"]
    enough = (play["play_ms"] >= 120_000) & (share >= 0.1)
    available = pd.to_datetime(play["close_date"], utc=True) + pd.Timedelta(hours=26)
    return play.assign(
        started_at=play["start_at"], play_date=play["close_date"], started=play["plays"] > 0,
        watched_ms=play["play_ms"],
        watched_share=share, completed=share >= 0.9, quality_play=enough | (share >= 0.9),
        censored=play["end_reason"] == "failed", event_at=play["end_at"], available_at=available,
    )  # fmt: skip


def outcomes(impressions: pd.DataFrame, play: pd.DataFrame) -> pd.DataFrame:
    """What came of every impression, as job `outcomes` makes it."""
    shown = impressions.drop_duplicates("impression_id")
    led = play.dropna(subset=["impression_id"]).groupby("impression_id")
    came = led.agg(taken=("quality_play", "any"), watched_ms=("watched_ms", "sum")).assign(attempted=True)
    rows = shown.join(came, on="impression_id")
    filled = {
        name: rows[name].astype(object).where(rows[name].notna(), False).astype(bool) for name in ("taken", "attempted")
    }
    return rows.assign(
        shown_date=rows["shown_at"].dt.date, watched_ms=rows["watched_ms"].fillna(0).astype("int64"), **filled
    )


def write(catalog: Any, settings: Settings, table: Table, frame: pd.DataFrame) -> None:
    """Append a frame to a table, columns by name; a column that is missing stops the test."""
    loaded = catalog.load_table(identifier(settings, table))
    schema = loaded.schema().as_arrow()
    loaded.append(pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False))
