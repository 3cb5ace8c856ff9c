"""conf/alerts.yaml: the committed file holds, an unknown key is refused with the nearest known one."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf import alerts
from conf.errors import ConfigError
from conf.settings import ROOT, load

SIGNAL = "signals: {attempts: {num: attempts, runbook: traffic-fall.md}}\n"
WINDOW = (
    "cohorts: [[isp]]\nmaintenance: [{cohort: {%s}, from_at: 2026-01-05T02:00:00Z, until_at: %s}]\n" + SIGNAL
)


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
    ("cohorts: [[isp]]\nsignals: {a: {num: stall_ms, runbook: rebuffering.md}}\n", "set whole to false"),
    ("cohorts: [[isp]]\nmaintenance: [{cohort: {isp: a}, from_at: 2026-01-05T02:00:00,"
     " until_at: 2026-01-06T02:00:00}]\n"
     + SIGNAL, "need a time zone"),
    (WINDOW % ("isp: a", "2026-02-30T02:00:00Z"), "2026-02-30T02:00:00Z: day is out of range for month"),
    (WINDOW % ("isp: a", "2026-02-30T02:00:00Z"), "line 2, column"),
    (WINDOW % ("isp: a", "9999-12-31T23:59:59-01:00"), "outside the years 1 to 9999 in UTC"),
    (WINDOW % ("country: NO", "2026-01-06T02:00:00Z"), "country = False: Input should be a valid string; YAML takes"),
    (WINDOW % ("app_version: 7.1", "2026-01-06T02:00:00Z"), "put it in quotes"),
    ("cohorts: %s\n" % ("[" * 5_000) + SIGNAL, "cannot be read"),
    ("cohorts: [[isp]]\nsignals: {'a,b': {num: attempts, runbook: traffic-fall.md}}\n", "a name without commas"),
    ("cohorts: [[isp]]\nsignals: {' ': {num: attempts, runbook: traffic-fall.md}}\n", "a signal has a name"),
    ("cohorts: [[isp]]\nwebhook: {url: ftp://x}\n" + SIGNAL, "webhook.url = 'ftp://x'"),
    ("cohorts: [[isp]]\nwebhook: {url: 'http://'}\n" + SIGNAL, "names a host"),
    ("cohorts: [[isp]]\nwebhook: {url: 'http://a:99999/x'}\n" + SIGNAL, "out of range"),
    ("cohorts: [[isp]]\nwebhook: {url: 'http://alerts..example.org/x'}\n" + SIGNAL, "1 to 63 characters"),
    ("cohorts: [[isp]]\nwebhook: {url: 'http://%s.org/x'}\n" % ("a" * 64) + SIGNAL, "1 to 63 characters"),
    ("cohorts: [[isp]]\nwebhook: {url: 'http://a b/x'}\n" + SIGNAL, "without spaces"),
    ("cohorts: [[isp]]\nwebhook: {url: 'http://a/x', timeout_s: .inf}\n" + SIGNAL, "webhook.timeout_s = inf"),
    ("cohorts: [[]]\n" + SIGNAL, "cohorts.0 = []"),
    ("cohorts: [[isp]]\nfalse_alarms_a_day: .inf\n" + SIGNAL, "false_alarms_a_day = inf"),
    ("cohorts: [[isp]]\nsignals: {a: {num: attempts, runbook: trafic-fall.md}}\n",
     "no such page in docs/runbooks; did you mean traffic-fall.md?"),
    ("cohorts: [[isp]]\nsignals: {a: {num: attempts, runbook: ../../conf/base.yaml}}\n", "no such page"),
    ("cohorts: [[isp]]\nsignals: {a: {num: attempts, longest_s: 5, runbook: traffic-fall.md}}\n", "longest_s = 5"),
    ("cohorts: [[isp]]\nsignals: {a: {num: attempts, longest_s: 59, runbook: traffic-fall.md}}\n", "longest_s = 59"),
    ("cohorts: [[isp]]\nsignals: {a: {num: attempts, lag_s: 86401, runbook: traffic-fall.md}}\n", "lag_s = 86401"),
    ("cohorts: [[isp]]\nsignals: {a: {num: attempts, memory_s: 604801, runbook: traffic-fall.md}}\n", "s = 604801"),
    ("cohorts: [[isp]]\nsignals: {a: {num: attempts, memory_s: 59, runbook: traffic-fall.md}}\n", "memory_s = 59"),
    ("cohorts: [[isp]]\nfalse_alarms_a_day: 101\n" + SIGNAL, "false_alarms_a_day = 101"),
    ("cohorts: [[isp]]\nhistory_days: 1000000\n" + SIGNAL, "history_days = 1000000"),
    ("cohorts: [[isp]]\nsignals: {a: {num: stalls, den: [plays, plays], runbook: rebuffering.md}}\n", "twice"),
    ("cohorts: [[isp]]\nsignals: {a: {num: stalls, den: [stalls], runbook: rebuffering.md}}\n", "is num itself"),
])  # fmt: skip
def test_wrong_rules_are_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="alerts.yaml") as found:
        alerts.load(path)
    assert told in str(found.value)


@pytest.mark.parametrize("webhook", [
    "{url: 'http://user:secret@host/x'}", "{url: 'http://secret@host/x'}", "{url: 'ftp://user:secret@host/x'}",
    "{url: 'http://user:secret@ho st/x'}", "{url: 'http://user:secret@host:99999/x'}", "'http://user:secret@host/x'",
    "{url: 'http://user:se/secret@host/x'}", "[{url: 'http://user:secret@host/x'}]",
])  # fmt: skip
def test_a_password_in_the_address_is_refused_and_not_told(webhook: str, tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(f"cohorts: [[isp]]\nwebhook: {webhook}\n{SIGNAL}")
    with pytest.raises(ConfigError, match="webhook") as found:
        alerts.load(path)
    assert "secret" not in str(found.value)
    if webhook.startswith("{url: 'http://user:secret@host/x"):
        assert "no user and password" in str(found.value)
