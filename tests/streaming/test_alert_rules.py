"""The signals of the rules beside the registry of metrics: one name, one definition."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from conf.alerts import LONGEST_S
from conf.errors import ConfigError
from conf.settings import load
from models.incident.detect import Tuning
from schemas.metrics import METRICS
from streaming import alert_cli, alert_rules, alerts, consume, pace, webhook


def rules(signal: str) -> str:
    return f"cohorts: [[isp]]\nsignals: {{{signal}}}\n"


def test_the_committed_signals_are_the_metrics_whose_names_they_bear() -> None:
    signals = alert_rules.load(load().alerts.rules).signals
    known = {metric.name for metric in METRICS} & set(signals)
    assert known == {"exit_before_start_rate", "rebuffer_ratio", "attempts", "concurrency"}


@pytest.mark.parametrize(("signal", "own", "metric"), [
    ("playback_failure_rate: {num: playback_failures, den: [attempts], runbook: playback-failures.md}",
     "playback_failures / attempts", "(playback_failures - playback_failures_recovered) / plays"),
    ("start_failure_rate: {num: start_failures, den: [attempts], runbook: start-failures.md}",
     "start_failures / attempts", "(start_failures - start_failures_recovered) / attempts"),
    ("rebuffer_ratio: {num: stall_ms, den: [play_ms], whole: false, runbook: rebuffering.md}",
     "stall_ms / play_ms", "stall_ms / (stall_ms + play_ms)"),
    ("stall_count: {num: stalls, runbook: rebuffering.md}", "stalls", "stalls / plays"),
    ("attempts: {num: plays, runbook: traffic-fall.md}", "plays", "attempts"),
    ("plays: {num: plays, den: [attempts], runbook: traffic-fall.md}", "plays / attempts", "plays"),
    ("percent_complete: {num: plays, runbook: traffic-fall.md}", "plays", "content_ms / duration_ms"),
    ("missing_rate: {num: stalls, den: [plays], runbook: rebuffering.md}", "stalls / plays",
     "missing / (events + missing)"),
    ("inferred_end_rate: {num: plays, runbook: traffic-fall.md}", "plays", "inferred / 1"),
])  # fmt: skip
def test_a_metrics_name_for_another_formula_is_refused(signal: str, own: str, metric: str, tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(rules(signal))
    name = signal.split(":")[0]
    with pytest.raises(ConfigError) as found:
        alert_rules.load(path)
    assert f"{path}: signals.{name} is {own}, but the metric of this name is {metric}:" in str(found.value)


def test_the_order_of_a_sum_does_not_matter_and_other_names_are_free(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(rules(
        "rebuffer_ratio: {num: stall_ms, den: [play_ms, stall_ms], whole: false, runbook: rebuffering.md}, "
        "errors: {num: start_failures, den: [attempts], runbook: start-failures.md}"
    ))  # fmt: skip
    assert set(alert_rules.load(path).signals) == {"rebuffer_ratio", "errors"}


@pytest.mark.parametrize("verb", [["run"], ["replay", "2026-01-12"]])
def test_wrong_rules_are_refused_before_a_broker_is_asked(verb: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are 2, which nobody tries again; a broker that is away would be 5."""
    monkeypatch.setenv("MATINEE__KAFKA__BOOTSTRAP", "127.0.0.1:1")
    done = CliRunner().invoke(alert_cli.alerts, [*verb, "--rules", "/nowhere/alerts.yaml"])
    assert isinstance(done.exception, ConfigError) and "/nowhere/alerts.yaml" in str(done.exception)


def test_a_constant_of_the_alerts_has_one_place_and_one_meaning() -> None:
    assert Tuning().windows_s[-1] == LONGEST_S, "the longest window that rules may ask for is one that is looked at"
    rooms = (alerts, pace, consume, webhook)
    for name in {name for room in rooms for name in vars(room) if name.isupper() and name != "LOG"}:
        held = [vars(room)[name] for room in rooms if name in vars(room)]
        assert all(value is held[0] for value in held), f"{name} means two things"
