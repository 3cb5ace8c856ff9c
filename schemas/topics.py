"""The Kafka topics: name, record, key. A real topic is called ``settings.kafka.topic_prefix + name``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    `record` is the record of its values, `key` the field (or fields, joined by ``|``) whose UTF-8 text is the message
    key (`schemas.wire.message_keys`; times as UTC milliseconds; in a key of several fields a ``|`` or ``\\`` inside one
    has a ``\\`` before it, but for a session's before its segment). `producer` is the command or job that writes it,
    `environment` the one that runs it.
    """

    name: str
    record: str
    key: str
    compacted: bool = False
    producer: str = "world produce"
    environment: str = "main"


PLAYBACK_EVENT = Topic("playback_event", "playback_event", "session_id")
CMCD = Topic("cmcd", "playback_event", "session_id", producer="collector")
"""Players' own lines, as the collector took them (models.playback.cmcd_event): text that holds playback events."""
IMPRESSION = Topic("impression", "impression", "profile_id")
CDN_REQUEST = Topic("cdn_request", "cdn_request", "session_id")

TITLE = Topic("title", "title", "title_id", compacted=True)
ARTWORK = Topic("artwork", "artwork", "artwork_id", compacted=True)
ASSET_FILE = Topic("asset_file", "asset_file", "file_id", compacted=True)
PROFILE = Topic("profile", "profile", "profile_id", compacted=True)
CDN_CLUSTER = Topic("cdn_cluster", "cdn_cluster", "cdn_id", compacted=True)
PROFILE_CHOICE = Topic("profile_choice", "profile_choice", "profile_id|title_id|choice", True, producer="your apps")

_QOE_MINUTE_KEY = "rollup|minute_at|cdn_id|isp|device|country|app_version|title_id"
QOE_MINUTE = Topic("qoe_minute", "qoe_minute", _QOE_MINUTE_KEY, True, "stream qoe", "streaming")
QOE_SESSION = Topic("qoe_session", "qoe_session", "session_id|segment", True, "stream qoe", "streaming")
QOE_PROGRESS = Topic("qoe_progress", "qoe_progress", "partition", True, "stream qoe", "streaming")
_QOE_STEP_KEY = "step_at|cdn_id|isp|device|country|app_version"
QOE_STEP = Topic("qoe_step", "qoe_step", _QOE_STEP_KEY, False, "stream qoe", "streaming")
DLQ_PLAYBACK_EVENT = Topic("dlq.playback_event", "dead_letter", "", False, "stream qoe", "streaming")
DLQ_CMCD = Topic("dlq.cmcd", "dead_letter", "", False, "stream qoe", "streaming")

INCIDENT = Topic("incident", "incident", "incident_id", compacted=True, producer="alerts run")
INCIDENT_COMMAND = Topic("incident_command", "incident_command", "incident_id", producer="alerts ack")

HOME_PAGE = Topic("home_page", "home_page", "profile_id", compacted=True, producer="publish")
ARTWORK_CHOICE = Topic("artwork_choice", "artwork_choice", "profile_id|title_id", compacted=True, producer="publish")
CDN_FILL_PLAN = Topic("cdn_fill_plan", "fill_plan", "cdn_id", compacted=True, producer="publish")
CDN_PREPOSITION = Topic("cdn_preposition", "preposition_command", "command_id", producer="publish")

EVENTS = (PLAYBACK_EVENT, IMPRESSION, CDN_REQUEST)
CATALOGUE = (TITLE, ARTWORK, ASSET_FILE, PROFILE, CDN_CLUSTER)
QOE = (QOE_MINUTE, QOE_SESSION, QOE_PROGRESS, QOE_STEP, DLQ_PLAYBACK_EVENT, DLQ_CMCD)
DECISIONS = (HOME_PAGE, ARTWORK_CHOICE, CDN_FILL_PLAN, CDN_PREPOSITION)
LANDED = (*EVENTS, CMCD, *CATALOGUE, PROFILE_CHOICE, INCIDENT)
"""Topics that ingest lands into bronze."""
TOPICS = (*LANDED, *QOE, INCIDENT_COMMAND, *DECISIONS)
