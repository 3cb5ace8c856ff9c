"""Collect a `Story` from what the demo left: lake tables, the stream's topics, the world's truth for yardsticks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from conf.errors import InputMissing
from conf.settings import Settings
from demo import score
from demo.story import FaultWindow, Story
from lake.reader import Lake
from models.days import DAY_MS, epoch_day
from models.delivery.yardsticks import offload_lines
from schemas import tables as t
from schemas import topics
from schemas.metrics import PLAY_METRICS, SESSION_METRICS, Metric
from schemas.render import sql
from schemas.tables import Table
from streaming import alerts, consume
from streaming.produce import truth_folder

CATALOGUE = (t.BRONZE_TITLE, t.BRONZE_ARTWORK, t.BRONZE_ASSET_FILE, t.BRONZE_PROFILE, t.BRONZE_CDN_CLUSTER)
RUN = "run.json"


@dataclass
class Run:
    """What only the run itself knows: its days, what it sent, how long it took. Kept in ``run.json``."""

    live_day: date
    next_day: date
    messages_sent: int = 0
    poison: int = 0
    timings: list[tuple[str, float]] = field(default_factory=list)
    peak_memory_bytes: int = 0

    def write(self, folder: Path) -> None:
        """Write ``folder/run.json``."""
        (folder / RUN).write_text(json.dumps(asdict(self), default=str, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read ``folder/run.json``.

        Raises:
            InputMissing: the demo of this folder has not come to its report.
        """
        path = folder / RUN
        if not path.is_file():
            raise InputMissing(f"{path} is missing: this demo did not come to its end; play one with `make demo`")
        raw = json.loads(path.read_text(encoding="utf-8"))
        days = {name: date.fromisoformat(raw.pop(name)) for name in ("live_day", "next_day")}
        return cls(**days, **{**raw, "timings": [(name, float(took)) for name, took in raw["timings"]]})


def story(settings: Settings, run: Run) -> Story:
    """The story of the demo whose settings these are."""
    live, after = run.live_day, run.next_day
    lake = Lake(settings)
    catalogue = {table.record: _newest(lake, table) for table in CATALOGUE}
    plan = lake.read(t.FILL_PLAN, day=after)
    choices = lake.read(t.ARTWORK_CHOICE, day=after)
    rates, lifts = score.take_rates(lake.read(t.IMPRESSION_OUTCOME, day=after))
    log = _log(lake, after)
    history = lake.sql(f"SELECT * FROM {t.BRONZE_CDN_REQUEST.fqn} WHERE received_date < DATE '{after.isoformat()}'")
    forecast = lake.read(t.DEMAND_FORECAST, day=after)
    asked = score.asked_bytes(log, catalogue["cdn_cluster"])
    promotion = lake.read(t.PROMOTION, day=live).iloc[0].to_dict()
    return Story(
        universe=settings.paths.var.name,
        live_day=live,
        next_day=after,
        fault=_fault(settings, live),
        qoe=_stream_minutes(settings, live),
        viewers=_viewers(lake, live),
        plays=sums_of_the_day(lake, t.PLAY, PLAY_METRICS, live),
        sessions=sums_of_the_day(lake, t.SESSION, SESSION_METRICS, live),
        funnel=_funnel(lake, live),
        forecast=score.forecast_against_asked(forecast, asked),
        disk=score.disk_by_title(plan, catalogue["asset_file"], catalogue["title"]),
        plan=plan.drop(columns="files"),
        offload=offload_lines(
            log,
            history,
            _log(lake, live),
            plan,
            _truth(settings, after, "rates"),
            catalogue["asset_file"],
            catalogue["cdn_cluster"],
        ),
        logged_offload=score.edge_share(log),
        take_rates=rates,
        lifts=lifts,
        page=_page(lake, after, choices, catalogue),
        reconcile=lake.read(t.RECONCILE_RESULT, day=live),
        counts={
            "messages_sent": run.messages_sent,
            "poison": run.poison,
            **_counts(lake, settings),
            **_shown(lake, live),
        },
        incidents=_incidents(settings, live),
        model=promotion,
        timings=run.timings,
        peak_memory_bytes=run.peak_memory_bytes,
    )


def _newest(lake: Lake, table: Table) -> pd.DataFrame:
    """The newest row of every entity of a catalogue table."""
    key = next(topic.key for topic in topics.CATALOGUE if topic.record == table.record)
    frame = lake.read(table).sort_values(["received_date", "kafka_partition", "kafka_offset"])
    return frame.drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)


def _truth(settings: Settings, day: date, name: str) -> pd.DataFrame:
    """A truth frame of the world; the report is the only reader beside the tests."""
    return pd.read_parquet(truth_folder(settings, day) / f"{name}.parquet")


def _fault(settings: Settings, day: date) -> FaultWindow:
    """The fault that was injected on the day, as the world's truth has it."""
    row = _truth(settings, day, "faults").iloc[0]
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=int(row["start"]))
    return FaultWindow(str(row["name"]), str(row["isp"]), start, start + timedelta(minutes=int(row["minutes"])))


def _incidents(settings: Settings, day: date) -> list[dict[str, Any]]:
    """What the alerts raised on the day, first one first."""
    raised = [row for row in alerts.incidents(settings) if row["opened_at"].date() == day]
    return sorted(raised, key=lambda row: (row["opened_at"], row["incident_id"]))


def _stream_minutes(settings: Settings, day: date) -> pd.DataFrame:
    """The live day's minute sums as they stand on the topic."""
    first = epoch_day(day) * DAY_MS

    def of_the_day(key: bytes) -> bool:
        """Keys begin with rollup and minute; the topic holds every day of the demo."""
        rollup, minute, *_ = key.split(b"|", 2)
        return rollup in (b"total", b"place") and first <= int(minute) < first + DAY_MS

    return consume.snapshot(topics.QOE_MINUTE, settings, wanted=of_the_day)


def _viewers(lake: Lake, day: date) -> pd.DataFrame:
    after = day + timedelta(days=1)  # a session may close on the day after
    found = lake.sql(
        f"SELECT isp, profile_id, start_at, end_at FROM {t.SESSION.fqn} WHERE revision = 'final' "
        f"AND close_date IN (DATE '{day}', DATE '{after}')"
    )
    return score.viewers(found)


def sums_of_the_day(lake: Lake, table: Table, metrics: Sequence[Metric], day: date) -> pd.DataFrame:
    """One row: the sums of metrics over a day's rows of their table; of revision `final` where it has both."""
    revision = " AND revision = 'final'" if table.twofold else ""
    sums = ", ".join(sql.sums(sql.DUCKDB, metrics=metrics))
    found: pd.DataFrame = lake.sql(f"SELECT {sums} FROM {table.fqn} WHERE {table.partition} = DATE '{day}'{revision}")
    return found


def _funnel(lake: Lake, day: date) -> dict[str, int]:
    """Steps from pressing play to a finished title, of one day."""
    plays = lake.read(t.PLAY, day=day)
    return {
        "attempts": len(plays),
        "first frame": int(plays["started"].sum()),
        "quality play": int(plays["quality_play"].sum()),
        "completed": int(plays["completed"].sum()),
    }


def _shown(lake: Lake, day: date) -> dict[str, int]:
    """Impressions of the live day, and the sessions they led to."""
    impressions = lake.read(t.IMPRESSION_OUTCOME, day=day)
    return {
        "impressions_of_the_live_day": len(impressions),
        "attempts_from_pages": int(impressions["attempted"].sum()),
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


def _counts(lake: Lake, settings: Settings) -> dict[str, int]:
    """Rows at rest of the whole run, and what lies in the dead-letter topic."""

    def rows(table: Table) -> int:
        return int(lake.sql(f"SELECT count(*) AS n FROM {table.fqn}")["n"].iloc[0])

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
