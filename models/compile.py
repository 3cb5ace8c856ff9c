"""Live a tiny world and make its pages once, so that every compiled loop is in numba's cache.

`conf.bootstrap` runs it in set-up (``python -m models.compile``): a first demo day should not wait for a compiler.
"""

from __future__ import annotations

import pandas as pd

from models.recommend.pages import home_pages
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
        "quality_play": True,
        "censored": False,
        "completed": True,
        "watched_share": 1.0,
    })  # fmt: skip


def main() -> None:
    """Call every compiled function with arguments of the types it meets."""
    world = World.create(WorldConfig(profiles=60, shows=40, days=2))
    for day in range(2):
        lived = world.live(day, faults=(faults.isp_outage(world.isps.isp[0], start=1_200, minutes=30),))
    catalogue = world.catalogue(1)
    plays = some_plays(lived, catalogue["title"])
    home_pages(
        plays, catalogue["title"], catalogue["profile"], FACTORS, PROMOTION,
        pd.DataFrame({"title_id": catalogue["title"]["title_id"], "plays_1d": 1.0, "plays_7d": 1.0}),
        world.config.date(2), salt="compile", holdback=0.5,
    )  # fmt: skip


if __name__ == "__main__":
    main()
