"""conf/alerts.yaml: the committed file holds, an unknown key is refused with the nearest known one."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf import alerts
from conf.errors import ConfigError
from conf.settings import ROOT, load

SIGNAL = "signals: {attempts: {num: attempts, runbook: traffic-fall.md}}\n"


def test_the_committed_rules_hold_and_every_runbook_is_there() -> None:
    rules = alerts.load(load().alerts.rules)
    assert rules.least_profiles >= 25
    for rule in rules.signals.values():
        assert (ROOT / "docs" / "runbooks" / rule.runbook).is_file()


@pytest.mark.parametrize(("text", "told"), [
    ("cohort: [[isp]]\n" + SIGNAL, "unknown key cohort; did you mean cohorts?"),
    ("cohorts: [[isp]]\nsignals: {a: {num: attempts, runbok: x}}\n",
     "unknown key signals.a.runbok; did you mean runbook?"),
    ("cohorts: [[isp]]\nleast_profiles: 5\n" + SIGNAL, "least_profiles = 5"),
    ("cohorts: [[planet]]\n" + SIGNAL, "cohorts.0.0 = 'planet'"),
    ("cohorts: [[isp]]\nsignals: {a: {num: stall_ms, runbook: x}}\n", "set whole to false"),
    ("cohorts: [[isp]]\nmaintenance: [{cohort: {isp: a}, from_at: 2026-01-05T02:00:00,"
     " until_at: 2026-01-06T02:00:00}]\n"
     + SIGNAL, "need a time zone"),
    ("cohorts: [[isp]]\nwebhook: {url: ftp://x}\n" + SIGNAL, "webhook.url = 'ftp://x'"),
])  # fmt: skip
def test_wrong_rules_are_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="alerts.yaml") as found:
        alerts.load(path)
    assert told in str(found.value)
