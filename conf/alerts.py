"""The rules of the alerts (conf/alerts.yaml), validated: an unknown key is refused with the nearest known one."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from conf.errors import ConfigError
from conf.layers import read_yaml
from conf.settings import ROOT

Dimension = Literal["cdn_id", "isp", "device", "country", "app_version"]
Counter = Literal[
    "attempts", "plays", "start_failures", "exits_before_start", "playback_failures", "stalls", "stall_ms", "play_ms",
    "alive_ms",
]  # fmt: skip


RUNBOOKS = ROOT / "docs" / "runbooks"
STEP_S = 10
"""Seconds in a step of the counters (`qoe_step`); no window is shorter."""
LEAST_PROFILES = 25
"""Nothing is shown outside of fewer distinct profiles than this; rules may ask for more, not for fewer."""
LONGEST_S = 3_600
"""No window of a signal is longer; the detector has one of this length."""
LONGEST_LABEL = 63
MINUTE_S, DAY_S = 60, 86_400
"""A spread is learned from minutes, so a signal's windows go up to one at least; its level forgets within a week."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SignalRule(_Part):
    """One watched figure: see `models.incident.signals.Signal`; `den` is added up."""

    num: Counter
    den: tuple[Counter, ...] = ()
    whole: bool = True
    lag_s: Annotated[int, Field(ge=1, le=DAY_S)] = 720
    memory_s: Annotated[float, Field(ge=MINUTE_S, le=7 * DAY_S)] = 1_800.0
    longest_s: Annotated[int, Field(ge=MINUTE_S, le=LONGEST_S)] = 720
    runbook: str

    @model_validator(mode="after")
    def _counts(self) -> SignalRule:
        if self.whole and self.num.endswith("_ms"):
            raise ValueError(f"num {self.num} is a sum of milliseconds, not a count: set whole to false")
        if len(set(self.den)) < len(self.den) or self.den == (self.num,):
            raise ValueError(f"den {', '.join(self.den)} is num itself, or names a counter twice")
        return self

    @field_validator("runbook")
    @classmethod
    def _is_there(cls, value: str) -> str:
        known = sorted(page.name for page in RUNBOOKS.glob("*.md"))
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"no such page in docs/runbooks; {hint}")
        return value


class MaintenanceRule(_Part):
    """A planned window (UTC) for a cohort and everything in it."""

    cohort: dict[Dimension, str]
    from_at: datetime
    until_at: datetime

    @model_validator(mode="after")
    def _ordered(self) -> MaintenanceRule:
        if self.from_at.tzinfo is None or self.until_at.tzinfo is None:
            raise ValueError("from_at and until_at need a time zone: 2026-01-05T02:00:00Z")
        try:
            self.seconds()
        except OverflowError:  # 9999-12-31T23:00:00-02:00 is of the year 10000, which no engine knows
            raise ValueError("from_at or until_at is outside the years 1 to 9999 in UTC") from None
        if self.until_at <= self.from_at:
            raise ValueError(f"until_at {self.until_at} is not after from_at {self.from_at}")
        return self

    def seconds(self) -> tuple[int, int]:
        """Both ends as Unix seconds."""
        return int(self.from_at.astimezone(UTC).timestamp()), int(self.until_at.astimezone(UTC).timestamp())


class WebhookRule(_Part):
    """Where changes go; without a url nowhere."""

    url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 5.0
    attempts: PositiveInt = 6
    retry_s: Annotated[float, Field(gt=0, le=600)] = 1.0

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is None:
            return value
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("an address is of plain ASCII characters without spaces: encode others (%20)")
        parts = urlsplit(value)
        if "@" in parts.netloc:
            raise ValueError("an address holds no user and password: they would stand in logs and are not sent; put a "
                             "relay in front that adds them, or use an address with a token in its path")  # fmt: skip
        if not parts.hostname or parts.port == 0:  # reading a port beyond 65535 raises by itself
            raise ValueError("an address names a host, and a port from 1 to 65535 if any")
        if any(not 1 <= len(part) <= LONGEST_LABEL for part in parts.hostname.removesuffix(".").split(".")):
            raise ValueError(f"a part of a host's name has 1 to {LONGEST_LABEL} characters; no resolver takes this")
        return value

    @property
    def shown(self) -> str:
        """The address as it may stand in a log: without its path, which may hold a token."""
        parts = urlsplit(self.url or "")
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _name(value: str) -> str:
    if not value.strip() or "," in value:
        raise ValueError("a signal has a name without commas: an incident's `signals` lists names with commas between")
    return value


class Rules(_Part):
    """The whole file."""

    cohorts: tuple[Annotated[tuple[Dimension, ...], Field(min_length=1)], ...]
    least_profiles: Annotated[int, Field(ge=LEAST_PROFILES)] = LEAST_PROFILES
    history_days: Annotated[int, Field(ge=1, le=3_660)] = 28
    false_alarms_a_day: Annotated[float, Field(gt=0, le=100)] = 0.5
    signals: Annotated[dict[Annotated[str, AfterValidator(_name)], SignalRule], Field(min_length=1)]
    resolve_after_s: PositiveInt = 600
    maintenance: tuple[MaintenanceRule, ...] = ()
    webhook: WebhookRule = WebhookRule()


def load(path: Path) -> Rules:
    """The rules of a file.

    Raises:
        ConfigError: no such file, an unknown key (with the nearest known one), a value that is not valid.
    """
    try:
        return Rules.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(path, problem) for problem in error.errors())) from None


def _sentence(path: Path, problem: Any) -> str:
    place = [str(part) for part in problem["loc"]]
    if problem["type"] != "extra_forbidden":
        found = re.sub(r"//.*@", "//***@", repr(problem["input"]), flags=re.DOTALL)  # a password is not for the log
        hint = "; YAML takes this for no text: put it in quotes" if problem["type"] == "string_type" else ""
        return f"{path}: {'.'.join(place) or 'the file'} = {found}: {problem['msg']}{hint}"
    known = _known(place[:-1])
    near = difflib.get_close_matches(place[-1], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"{path}: unknown key {'.'.join(place)}; {hint}"


def _known(place: list[str]) -> list[str]:
    parts: dict[str, type[BaseModel]] = {
        "signals": SignalRule, "maintenance": MaintenanceRule, "webhook": WebhookRule,
    }  # fmt: skip
    return list(parts.get(place[0] if place else "", Rules).model_fields)
