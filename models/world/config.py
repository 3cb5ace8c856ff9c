"""What a world is made of: one frozen record; two worlds of equal configuration are equal to the last byte."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from models.days import DAY_MS
from models.world.errors import WorldError

MINUTE_MS = 60_000


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise WorldError(f"world setting {name} is {value}: it must be between {low} and {high}")


@dataclass(frozen=True, slots=True)
class Disturb:
    """What always happens between player and topic, as shares of events; lists of it are in the truth.

    `duplicates`: sent again (same bytes, or later by a retry). `out_of_order`: arrives or lies in the topic after
    events with a higher number, inside `lateness_ms`. `lost`: never arrives. `poison`: bytes that no reader can take,
    on top of the events. `skew_ms` is the scale of the devices' clock errors.
    """

    duplicates: float = 0.02
    out_of_order: float = 0.02
    lost: float = 0.01
    poison: float = 0.01
    skew_ms: float = 1_500.0
    lateness_ms: int = 120_000

    def __post_init__(self) -> None:
        for name in ("duplicates", "out_of_order", "lost", "poison"):
            _between(f"disturb.{name}", getattr(self, name), 0.0, 0.9)


CLEAN = Disturb(0.0, 0.0, 0.0, 0.0)
"""Nothing lost, doubled, moved or poisoned."""


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """Sizes and rates of a world; the defaults are the demo's.

    `taste` scales how much genre and individual taste move a take, `artwork_taste` how
    much an image's theme does, `artwork_spread` how much images differ for everyone; all are logits. `country_spread`
    and `device_spread` are how far countries and devices differ in a show, where shows differ by 1. With the first one
    the ten most wanted of two of the countries have .35 of their titles in common; on Netflix it was .33 of films and
    .31 of series (`bench.top10`). The second is an assumption.
    `day_scale[d]` multiplies the visits of day d (last value repeated). `disk_share` is each cluster's disk over the
    bytes of the catalogue, `fill_share` the nightly fill budget over the disk.
    """

    seed: int = 7
    start: date = date(2026, 1, 5)
    days: int = 9
    profiles: int = 2_000
    shows: int = 300
    countries: tuple[str, ...] = ("DE", "BR", "IN", "US")
    country_weights: tuple[float, ...] = (0.3, 0.25, 0.2, 0.25)
    utc_offset_h: tuple[int, ...] = (1, -3, 5, -5)
    isps_per_country: int = 5
    genres: tuple[str, ...] = (
        "action",
        "animation",
        "comedy",
        "crime",
        "documentary",
        "drama",
        "family",
        "horror",
        "romance",
        "scifi",
    )
    visits_per_profile_day: float = 0.85
    day_scale: tuple[float, ...] = (1.0,)
    film_minutes: tuple[int, int] = (18, 40)
    episode_minutes: tuple[int, int] = (7, 16)
    film_share: float = 0.6
    series_episodes: tuple[int, int] = (2, 6)
    launches_in_run: float = 0.06
    announce_days: int = 7
    extra_codec_share: float = 0.18
    launch_boost: float = 1.4
    taste: float = 1.2
    latent: float = 0.6
    popularity: float = 0.8
    country_spread: float = 0.85
    device_spread: float = 0.8
    artwork_taste: float = 5.0
    artwork_spread: float = 0.45
    take_base: float = -5.2
    row_bias: float = 0.22
    col_bias: float = 0.10
    next_row: float = 0.86
    organic: float = 0.55
    fallback_rows: int = 5
    fallback_cols: int = 8
    half_life_days: float = 7.0
    app_versions: tuple[str, ...] = ("5.1.0", "5.2.0")
    version_shares: tuple[float, ...] = (0.3, 0.7)
    v1_versions: tuple[str, ...] = ("5.1.0",)
    ad_share: float = 0.12
    disk_share: float = 0.06
    fill_share: float = 0.5
    origin_kbps: float = 5_000.0
    page_salt: str = "page-2026"
    page_holdback: float = 0.1
    artwork_salt: str = "artwork-2026"
    artwork_holdback: float = 0.1
    ratings_days: int = 7
    ratings_film_minutes: tuple[int, int] = (3, 5)
    ratings_impressions: float = 0.05
    disturb: Disturb = field(default_factory=Disturb)

    def __post_init__(self) -> None:
        for name in ("days", "profiles", "shows", "isps_per_country", "fallback_rows", "fallback_cols"):
            _between(name, getattr(self, name), 1, 10_000_000)
        for name in (
            "page_holdback",
            "artwork_holdback",
            "film_share",
            "organic",
            "next_row",
            "disk_share",
            "fill_share",
        ):
            _between(name, getattr(self, name), 0.0, 1.0)
        n = len(self.countries)
        if not n or len(self.country_weights) != n or len(self.utc_offset_h) != n:
            raise WorldError(
                f"countries has {n} entries, country_weights {len(self.country_weights)}, utc_offset_h "
                f"{len(self.utc_offset_h)}: they must have one entry per country"
            )
        if len(self.app_versions) != len(self.version_shares):
            raise WorldError("app_versions and version_shares must have the same length")
        if not self.day_scale or min(self.day_scale) < 0:
            raise WorldError(f"day_scale is {self.day_scale}: give at least one value, none below 0")

    def scale(self, day: int) -> float:
        """Multiplier of the visits of a day."""
        return self.day_scale[min(day, len(self.day_scale) - 1)]

    def date(self, day: int) -> date:
        """UTC date of day 0, 1, ..."""
        return self.start + timedelta(days=day)

    def day_ms(self, day: int) -> int:
        """Epoch milliseconds of the day's first moment."""
        first = datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC)
        return int(first.timestamp() * 1000) + day * DAY_MS
