"""Live a tiny world, make its pages and watch it once, so that every compiled loop is in numba's cache.

`conf.bootstrap` runs it in set-up (``python -m models.compile``): a first demo day should not wait for a compiler.
"""

from __future__ import annotations

import pandas as pd

from models.incident.detect import Detector, Tuning
from models.incident.learn import DIMENSIONS, Grid, learned, watched
from models.incident.signals import Signal
from models.recommend.pages import PageInputs, home_pages
from models.world import World, WorldConfig, faults
from models.world.service import Day

FACTORS = pd.DataFrame(columns=["model_id", "side", "entity_id", "vector"])
PROMOTION = pd.DataFrame({"model": ["recommender"], "version": [""], "promoted": [False]})


def some_plays(lived: Day, titles: pd.DataFrame) -> pd.DataFrame:
    """The first plays of a lived day with the columns that pages read."""
    events = lived.events
    first = events[events["state"] == "p"].drop_duplicates("session_id").head(200)
    return pd.DataFrame({
        "session_id": first["session_id"],
        "segment": 0,
        "profile_id": first["profile_id"],
        "title_id": first["title_id"],
        "show_id": first["title_id"].map(titles.set_index("title_id")["show_id"]).fillna(first["title_id"]),
        "started_at": first["received_at"],
        "play_date": first["received_at"].dt.date,
        "country": first["country"],
        "device": first["device"],
        "quality_play": True,
        "censored": False,
        "completed": True,
        "watched_share": 1.0,
    })  # fmt: skip


def watch() -> None:
    """Learn from some hours of two cells, as the alerts do, and look at two steps."""
    at = pd.date_range("2026-01-05", periods=8 * 60, freq="min", tz="UTC").as_unit("ms")
    cells = [dict(zip(DIMENSIONS, ("DE", isp, isp, "tv", "1"), strict=True)) for isp in ("a", "b")]
    rows = pd.concat([pd.DataFrame({"step_at": at, **cell, "bad": 1, "all": 9, "alive_ms": 9_000}) for cell in cells])
    grid = Grid.of(rows.reset_index(drop=True))
    cohorts = watched(grid, [("isp",)], None, 1)
    signals = [Signal("rate", "bad", "all"), Signal("sum", "alive_ms", "all", whole=False), Signal("all", "all")]
    counters, low = ["bad", "all", "alive_ms"], int(at[0].timestamp())
    models = learned(grid, cohorts, signals, counters, low, low + 8 * 3_600, Tuning())
    detector = Detector(cohorts, counters, models, 10, Tuning())
    for step, step_cells in enumerate(grid.sums(low, low + 20, 10, counters)):
        detector.step(low + 10 * (step + 1), step_cells)


def main() -> None:
    """Call every compiled function with arguments of the types it meets."""
    world = World.create(WorldConfig(profiles=60, shows=40, days=2))
    for day in range(2):
        lived = world.live(day, faults=(faults.isp_outage(world.isps.isp[0], start=1_200, minutes=30),))
    catalogue = world.catalogue(1)
    plays = some_plays(lived, catalogue["title"])
    home_pages(PageInputs(
        plays, catalogue["title"], catalogue["profile"], FACTORS, PROMOTION,
        pd.DataFrame({"title_id": catalogue["title"]["title_id"], "plays_1d": 1.0, "plays_7d": 1.0}),
        world.config.date(2), salt="compile", holdback=0.5,
    ))  # fmt: skip
    watch()


if __name__ == "__main__":
    main()
