"""Every batch job, declared: what it reads and writes, when it runs, how big it is. Imports no engine.

The runner, the command line, the Airflow DAG and the documentation are all made from this page.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from schemas import tables as t
from schemas import topics
from schemas.tables import Table
from schemas.topics import Topic


class Kind(Enum):
    """How a job touches the world (docs/decisions, job kinds)."""

    LANDING = "landing"
    """Kafka offsets to bronze, exactly once."""
    TABLE = "table"
    """A pure transform of declared partitions to one partition of each written table."""
    EFFECT = "effect"
    """Writes outside the lake (Kafka), or keeps the lake itself in order; may be repeated without harm."""


@dataclass(frozen=True, slots=True)
class Read:
    """Partitions of a table relative to the job's day, both ends included.

    `required` partitions that are missing end the job with exit code 3; of a range only those in `required_days` are
    XX reads every partition up to the day and keeps the newest row of each entity
    (for catalogue tables).
    """

    table: Table
    days: tuple[int, int] = (0, 0)
    required: bool = True
    latest: bool = False


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job. `writes_day` is the partition it writes, relative to its day: decisions for tomorrow write +1.

    `delay_h` is when the day's result counts as available: hours after the day has ended.
    """

    name: str
    kind: Kind
    doc: str
    reads: tuple[Read, ...] = ()
    writes: tuple[Table, ...] = ()
    reads_topics: tuple[Topic, ...] = ()
    writes_topics: tuple[Topic, ...] = ()
    writes_day: int = 0
    cadence: str = "daily"
    size: str = "regular"
    delay_h: int = 2


_CATALOGUE = (t.BRONZE_TITLE, t.BRONZE_ARTWORK, t.BRONZE_ASSET_FILE, t.BRONZE_PROFILE, t.BRONZE_CDN_CLUSTER)

SESSION_DAYS = 7
"""How far `sessionize` looks for events of a session; further than a day for those alone that need it."""


def _latest(table: Table) -> Read:
    return Read(table, latest=True)


_PROFILES = Read(t.BRONZE_PROFILE, required=False, latest=True)
_PROFILE_CHOICES = Read(t.BRONZE_PROFILE_CHOICE, required=False, latest=True)

JOBS: tuple[JobSpec, ...] = (
    JobSpec(
        "ingest",
        Kind.LANDING,
        "Land the event and catalogue topics exactly once.",
        writes=(
            t.BRONZE_PLAYBACK_EVENT,
            t.BRONZE_IMPRESSION,
            t.BRONZE_CDN_REQUEST,
            *_CATALOGUE,
            t.BRONZE_PROFILE_CHOICE,
            t.BRONZE_INCIDENT,
            t.QUARANTINE,
        ),
        reads_topics=topics.LANDED,
    ),
    JobSpec(
        "sessionize",
        Kind.TABLE,
        "Fold events to spans, sessions and plays with the kernel.",
        reads=(
            Read(t.BRONZE_PLAYBACK_EVENT),
            Read(t.BRONZE_PLAYBACK_EVENT, (-SESSION_DAYS, SESSION_DAYS), required=False),
            Read(t.BRONZE_TITLE, required=False, latest=True),  # whoever measures his own events may have no catalogue
        ),
        writes=(t.SPAN, t.SESSION, t.PLAY),
    ),
    JobSpec(
        "outcomes",
        Kind.TABLE,
        "Join impressions to the plays they led to on the same UTC day.",
        reads=(Read(t.BRONZE_IMPRESSION), Read(t.BRONZE_IMPRESSION, (0, 1), required=False), Read(t.PLAY)),
        writes=(t.IMPRESSION_OUTCOME,),
    ),
    JobSpec(
        "qoe_daily",
        Kind.TABLE,
        "Sum every metric by minute and by day for every rollup.",
        reads=(Read(t.SPAN),),
        writes=(t.QOE_MINUTE, t.QOE_DAILY),
    ),
    JobSpec(
        "reconcile",
        Kind.TABLE,
        "Hold the stream's sums against the batch's, integer by integer.",
        reads=(Read(t.QOE_MINUTE), Read(t.SESSION)),
        writes=(t.RECONCILE_RESULT,),
        reads_topics=(topics.QOE_MINUTE, topics.QOE_SESSION, topics.QOE_PROGRESS),
        cadence="stream",
    ),
    JobSpec(
        "features",
        Kind.TABLE,
        "Point-in-time features of profiles and shows.",
        reads=(
            Read(t.PLAY),
            Read(t.PLAY, (-27, 0), required=False),
            Read(t.SESSION, (-6, 0), required=False),
            Read(t.IMPRESSION_OUTCOME, (-6, 0), required=False),
            _latest(t.BRONZE_TITLE),
            _latest(t.BRONZE_PROFILE),
            _PROFILE_CHOICES,
        ),
        writes=(t.FEATURE_PROFILE, t.FEATURE_TITLE),
    ),
    JobSpec(
        "train_recommender",
        Kind.TABLE,
        "Train the blend of ALS, EDLAE and taste, hold it against its baselines and what serves, promote or not.",
        reads=(
            Read(t.PROMOTION, (-27, 0), required=False),
            Read(t.IMPRESSION_OUTCOME, (-27, 0), required=False),
            Read(t.SESSION, (-6, 0), required=False),
            Read(t.PLAY),
            Read(t.PLAY, (-27, 0), required=False),
            _latest(t.BRONZE_TITLE),
            _latest(t.BRONZE_PROFILE),
            _PROFILE_CHOICES,
        ),
        writes=(t.FACTORS, t.PROMOTION),
    ),
    JobSpec(
        "pages",
        Kind.TABLE,
        "Make tomorrow's home page of every profile.",
        reads=(
            Read(t.FACTORS, (-89, 0), required=False),
            Read(t.PROMOTION),
            Read(t.FEATURE_TITLE),
            Read(t.PLAY, (-27, 0), required=False),
            Read(t.IMPRESSION_OUTCOME, (-6, 0), required=False),
            _latest(t.BRONZE_TITLE),
            _latest(t.BRONZE_PROFILE),
            _PROFILE_CHOICES,
        ),
        writes=(t.HOME_PAGE,),
        writes_day=1,
    ),
    JobSpec(
        "train_artwork",
        Kind.TABLE,
        "Posterior of every image from decisions and takes.",
        reads=(
            Read(t.IMPRESSION_OUTCOME),
            Read(t.IMPRESSION_OUTCOME, (-27, 0), required=False),
            Read(t.PLAY, (-27, 0), required=False),
            _latest(t.BRONZE_TITLE),
            _latest(t.BRONZE_ARTWORK),
            _PROFILES,
        ),
        writes=(t.ARTWORK_STATISTICS,),
    ),
    JobSpec(
        "choose_artwork",
        Kind.TABLE,
        "Choose tomorrow's image of every show on every page, with its exact probability.",
        reads=(
            Read(t.ARTWORK_STATISTICS),
            Read(t.HOME_PAGE, (1, 1)),
            Read(t.ARTWORK_CHOICE, (-5, 0), required=False),
            Read(t.FEATURE_PROFILE),
            _latest(t.BRONZE_ARTWORK),
        ),
        writes=(t.ARTWORK_CHOICE,),
        writes_day=1,
    ),
    JobSpec(
        "popularity",
        Kind.TABLE,
        "Forecast tomorrow's bytes of every file in every region.",
        reads=(
            Read(t.PLAY),
            Read(t.PLAY, (-27, 0), required=False),
            Read(t.BRONZE_CDN_REQUEST, (-6, 0), required=False),
            _latest(t.BRONZE_TITLE),
            _latest(t.BRONZE_ASSET_FILE),
            _PROFILES,
        ),
        writes=(t.DEMAND_FORECAST,),
        writes_day=1,
    ),
    JobSpec(
        "fill_plan",
        Kind.TABLE,
        "Choose what every CDN cluster shall hold tomorrow.",
        reads=(
            Read(t.DEMAND_FORECAST, (1, 1)),
            Read(t.FILL_PLAN, required=False),
            Read(t.BRONZE_CDN_REQUEST, (-6, 0), required=False),
            _latest(t.BRONZE_CDN_CLUSTER),
            _latest(t.BRONZE_ASSET_FILE),
        ),
        writes=(t.FILL_PLAN,),
        writes_day=1,
    ),
    JobSpec(
        "publish",
        Kind.EFFECT,
        "Send tomorrow's pages, artwork and plans to Kafka.",
        reads=(
            Read(t.HOME_PAGE, (1, 1)),
            Read(t.ARTWORK_CHOICE, (1, 1)),
            Read(t.FILL_PLAN, (1, 1)),
            _latest(t.BRONZE_ASSET_FILE),
        ),
        writes_topics=topics.DECISIONS,
    ),
    JobSpec(
        "retention",
        Kind.EFFECT,
        "Expire old partitions, snapshots and raw records; put small files together.",
        cadence="upkeep",
    ),
)

DAILY: tuple[str, ...] = tuple(spec.name for spec in JOBS if spec.cadence == "daily")
"""Jobs of the daily schedule, in an order that respects their reads; `reconcile` runs only where a stream does."""

UPKEEP: tuple[str, ...] = tuple(spec.name for spec in JOBS if spec.cadence == "upkeep")
"""Jobs of the nightly upkeep: they touch every table, each under its write lease, so they may meet any other job."""


def job(name: str) -> JobSpec:
    """The job called `name`.

    Raises:
        KeyError: no such job; the message lists the names there are.
    """
    for spec in JOBS:
        if spec.name == name:
            return spec
    raise KeyError(f"no job {name!r}; jobs are: {', '.join(s.name for s in JOBS)}")
