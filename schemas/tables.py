"""The tables: records at rest. A job names a constant of this module, never a path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from schemas import records
from schemas.errors import SchemaError
from schemas.records import Field, Scalar


@dataclass(frozen=True, slots=True)
class Table:
    """A record at rest.

    `key` is unique in a partition; `partition` is an identity column (a date) or None; `retention_days` None keeps
    for ever (job `retention`; settings rule over bronze's and silver's); `landed` tables also carry the `META` columns
    of ingest. In a `twofold` table a row that is the same in both revisions lies once, as revision `BOTH`; readers get
    it twice, as its record says (`schemas.render.sql.each_revision`). `by_column`: of millions of rows a day, so that
    its files are written by the kernel (`kernel/.../ColumnFiles.java`); no column holds arrays or records.
    """

    name: str
    namespace: str
    record: str
    key: tuple[str, ...]
    partition: str | None
    retention_days: int | None
    producer: str
    landed: bool = False
    twofold: bool = False
    by_column: bool = False

    @property
    def fqn(self) -> str:
        """Name inside the catalogue: ``namespace.name``."""
        return f"{self.namespace}.{self.name}"


REVISIONS = ("live", "final")
BOTH = "both"
"""What column ``revision`` says of a row of a twofold table that stands for one of each of `REVISIONS`."""

META: tuple[tuple[str, str], ...] = (
    ("kafka_partition", "int"),
    ("kafka_offset", "long"),
    ("schema_id", "int"),
    ("received_date", "date"),
)
"""Columns ingest adds to a bronze table: position in the topic, schema of the writer, UTC date of arrival
(`received_at` where the record has one, else the Kafka timestamp)."""

_META_DOC = {
    "kafka_partition": "Partition of the topic; of topic cmcd 1,000,000 more.",
    "kafka_offset": "Offset in the partition; of topic cmcd offset x 1,024 + line of the message.",
    "schema_id": "Schema the message was written with (schemas/ids.lock); 0 for CMCD text.",
    "received_date": "UTC date of arrival.",
}


def _bronze(name: str, days: int | None = 90, by_column: bool = False) -> Table:
    key = ("kafka_partition", "kafka_offset")
    return Table(name, "bronze", name, key, "received_date", days, "ingest", landed=True, by_column=by_column)


BRONZE_PLAYBACK_EVENT = _bronze("playback_event", by_column=True)
BRONZE_IMPRESSION = _bronze("impression")
BRONZE_CDN_REQUEST = _bronze("cdn_request")
# The catalogue stays: the newest row of a title may be years old, and a past day is computed again as it was known.
BRONZE_TITLE = _bronze("title", days=None)
BRONZE_ARTWORK = _bronze("artwork", days=None)
BRONZE_ASSET_FILE = _bronze("asset_file", days=None)
BRONZE_PROFILE = _bronze("profile", days=None)
BRONZE_CDN_CLUSTER = _bronze("cdn_cluster", days=None)
BRONZE_PROFILE_CHOICE = _bronze("profile_choice", days=None)
BRONZE_INCIDENT = _bronze("incident")
QUARANTINE = Table(
    "quarantine", "bronze", "quarantine", ("topic", "kafka_partition", "kafka_offset", "line"), "received_date", 90,
    "ingest",
)

SPAN = Table(
    "span", "silver", "span", ("session_id", "segment", "revision", "span"), "start_date", 400, "sessionize",
    twofold=True, by_column=True,
)  # fmt: skip
SESSION = Table(
    "session", "silver", "session", ("session_id", "segment", "revision"), "close_date", 400, "sessionize",
    twofold=True, by_column=True,
)  # fmt: skip
PLAY = Table("play", "silver", "play", ("session_id", "segment"), "play_date", 400, "sessionize")
IMPRESSION_OUTCOME = Table(
    "impression_outcome", "silver", "impression_outcome", ("impression_id",), "shown_date", 400, "outcomes"
)

QOE_MINUTE = Table(
    "qoe_minute",
    "gold",
    "qoe_minute",
    ("rollup", "minute_at", "cdn_id", "isp", "device", "country", "app_version", "title_id", "revision"),
    "event_date",
    400,
    "qoe_daily",
)
QOE_DAILY = Table(
    "qoe_daily",
    "gold",
    "qoe_daily",
    ("rollup", "cdn_id", "isp", "device", "country", "app_version", "title_id"),
    "event_date",
    None,
    "qoe_daily",
)
FEATURE_PROFILE = Table("feature_profile", "gold", "feature_profile", ("profile_id",), "event_date", 400, "features")
FEATURE_TITLE = Table("feature_title", "gold", "feature_title", ("title_id",), "event_date", 400, "features")
FACTORS = Table("factors", "gold", "factors", ("model_id", "side", "entity_id"), "event_date", 90, "train_recommender")
PROMOTION = Table("promotion", "gold", "promotion", ("model",), "event_date", None, "train_recommender")
HOME_PAGE = Table("home_page", "gold", "home_page", ("profile_id",), "page_date", 90, "pages")
ARTWORK_STATISTICS = Table(
    "artwork_statistics",
    "gold",
    "artwork_statistics",
    ("title_id", "artwork_id", "cell"),
    "event_date",
    400,
    "train_artwork",
)
ARTWORK_CHOICE = Table(
    "artwork_choice", "gold", "artwork_choice", ("profile_id", "title_id"), "valid_date", 400, "choose_artwork"
)
DEMAND_FORECAST = Table(
    "demand_forecast", "gold", "demand_forecast", ("region", "file_id"), "forecast_date", 90, "popularity"
)
FILL_PLAN = Table("fill_plan", "gold", "fill_plan", ("cdn_id",), "plan_date", 400, "fill_plan")

RECONCILE_RESULT = Table(
    "reconcile_result", "ops", "reconcile_result", ("rollup", "metric"), "event_date", None, "reconcile"
)
PUBLICATION = Table("publication", "ops", "publication", ("run_id", "table_name", "state"), None, None, "runner")


@cache
def every() -> tuple[Table, ...]:
    """All tables, in the order of this page."""
    return tuple(value for value in globals().values() if isinstance(value, Table))


def table(name: str) -> Table:
    """The table called `name` (``namespace.name``, or ``name`` alone).

    Raises:
        SchemaError: no such table; the message lists the names there are.
    """
    for candidate in every():
        if name == candidate.fqn:
            return candidate
    alone = [candidate for candidate in every() if name == candidate.name]
    if len(alone) == 1:
        return alone[0]
    raise SchemaError(f"no table {name!r}; tables are: {', '.join(t.fqn for t in every())}")


def columns(table: Table) -> tuple[Field, ...]:
    """Columns of a table: the fields of its record's newest version, then `META` where ingest lands it."""
    meta = tuple(Field(name, Scalar(kind), _META_DOC[name]) for name, kind in META) if table.landed else ()
    return records.load(table.record).fields + meta
