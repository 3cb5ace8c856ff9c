"""Dates as whole days since 1970-01-01: what every model computes with."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

EPOCH = date(1970, 1, 1)
DAY_MS = 86_400_000


def epoch_day(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def as_date(number: int) -> date:
    """The date `number` days after 1970-01-01."""
    return EPOCH + timedelta(days=int(number))


def epoch_days(column: pd.Series) -> NDArray[np.int64]:
    """A column of dates (python dates, datetime64 with or without zone, Arrow dates) as epoch days, shape (n,).

    Raises:
        ValueError: a value is missing or no date.
    """
    if len(column) == 0:
        return np.zeros(0, dtype=np.int64)
    stamps = pd.to_datetime(column, utc=True, errors="raise")
    if stamps.isna().any():
        raise ValueError(f"column {column.name!r} has {int(stamps.isna().sum())} missing dates; every row needs one")
    return stamps.dt.tz_localize(None).to_numpy().astype("datetime64[D]").astype(np.int64)


def no_future(column: pd.Series, what: str, day: date) -> None:
    """Refuse rows of a date column that lie after `day`.

    Raises:
        ValueError: there are some.
    """
    days = epoch_days(column)
    if len(days) and int(days.max()) > epoch_day(day):
        later = int(days.max()) - epoch_day(day)
        raise ValueError(f"{what} hold rows {later} days after {day}; what is learned of a day must know nothing later")
