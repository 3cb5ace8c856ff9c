"""choose_artwork: tomorrow's image of every show on every page, with its exact probability."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import DataFrame

from conf.settings import Settings
from jobs.pandas_frames import to_pandas
from jobs.session import to_spark
from models.artwork.choose import choose
from models.artwork.statistics import policy_id
from schemas import tables as t


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """See models.artwork.choose."""
    experiment = settings.experiment
    cells = to_pandas(frames["feature_profile"], "profile_id", "top_genre").set_index("profile_id")["top_genre"]
    made = choose(
        to_pandas(frames["home_page"], "profile_id", "rows"),
        to_pandas(frames["artwork_statistics"]),
        to_pandas(frames["artwork"]),
        cells,
        to_pandas(frames["artwork_choice"]),
        day + timedelta(days=1),
        salt=experiment.artwork_salt,
        holdback=experiment.artwork_holdback,
        floor=experiment.artwork_floor,
        policy=policy_id(day),
    )
    return {t.ARTWORK_CHOICE.name: to_spark(frames["home_page"].sparkSession, made, t.ARTWORK_CHOICE)}
