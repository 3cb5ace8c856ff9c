"""The rules of the alerts, read and held against the registry of metrics: one name, one definition."""

from __future__ import annotations

from pathlib import Path

from conf import alerts
from conf.alerts import Rules, SignalRule
from conf.errors import ConfigError
from schemas.metrics import Metric, by_name


def load(path: Path) -> Rules:
    """The rules of a file.

    Raises:
        ConfigError: see `conf.alerts.load`; or a signal has the name of a metric and counts something else.
    """
    rules = alerts.load(path)
    metrics = by_name()
    for name, rule in rules.signals.items():
        if name in metrics and not same(rule, metrics[name]):
            own, other = _formula(rule.num, " + ".join(rule.den)), _formula(metrics[name].num, metrics[name].den)
            raise ConfigError(
                f"{path}: signals.{name} is {own}, but the metric of this name is {other}: name the signal after what "
                "it counts"
            )
    return rules


def same(rule: SignalRule, metric: Metric) -> bool:
    """Whether a signal is the metric: equal sums over equal sums."""
    den = sorted(metric.den.split(" + ")) if metric.den else []
    return rule.num == metric.num and sorted(rule.den) == den


def _formula(num: str, den: str | None) -> str:
    parts = [f"({part})" if " " in part else part for part in (num, den) if part]
    return " / ".join(parts)
