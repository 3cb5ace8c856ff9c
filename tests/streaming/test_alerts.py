"""The alert process on a real broker: counters in, one incident out, a person's word, a restart, a web address.

The counters are written here as the stream job writes them: two thin days of a service with two ISPs, then a day in
which one of them cannot start anything for a quarter of an hour.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from conf import alerts as rules_of
from conf.settings import ROOT, Settings
from schemas import topics as catalogue
from schemas import wire
from streaming import alert_cli, clients, topics
from streaming.alerts import Alerts, command, incidents

pytestmark = pytest.mark.kafka
DAY = date(2026, 1, 7)
GUILTY = "Birch 电信 Telekom"
"""Providers are called like this: with spaces, and not in ASCII alone."""
BEGIN_S = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())
MIDNIGHT_S = int(datetime(2026, 1, 7, tzinfo=UTC).timestamp())
ONSET_S = MIDNIGHT_S + 10 * 3_600
LENGTH_S = 900
RULES = """
cohorts: [[isp], [device], [isp, device]]
signals:
  start_errors_per_attempt: {num: start_failures, den: [attempts], memory_s: 5400, runbook: start-failures.md}
  attempts: {num: attempts, runbook: traffic-fall.md}
webhook: {url: "http://127.0.0.1:%d/hook", retry_s: 0.01}
"""


def counters(until_s: int) -> pd.DataFrame:
    """Steps of four cells, a few attempts each; sparse steps are left out, as the stream leaves them out."""
    rng = np.random.default_rng(5)
    parts = []
    for isp, share in (("alder-de", 0.7), (GUILTY, 0.3)):
        for device in ("tv", "web"):
            at = np.arange(BEGIN_S, until_s, 60)
            attempts = rng.poisson(6 * share, len(at))
            bad = (isp == GUILTY) & (at >= ONSET_S) & (at < ONSET_S + LENGTH_S)
            failures = rng.binomial(attempts, np.where(bad, 0.9, 0.02))
            parts.append(pd.DataFrame({
                "step_at": pd.to_datetime(at, unit="s", utc=True).as_unit("ms"), "cdn_id": f"cdn-{isp}", "isp": isp,
                "device": device, "country": "DE", "app_version": "5.2.0", "attempts": attempts,
                "plays": attempts - failures, "start_failures": failures, "exits_before_start": 0,
                "playback_failures": 0, "stalls": 0, "stall_ms": 0, "play_ms": 60_000 * attempts,
                "alive_ms": 60_000 * attempts,
            }))  # fmt: skip
    found = pd.concat(parts, ignore_index=True)
    return found[found["attempts"] > 0].sort_values("step_at", kind="stable")


def sessions(settings: Settings) -> None:
    """Forty profiles behind each ISP who watch from the evening before on, one failed session each during the fault."""
    with clients.reaching(settings):
        producer = clients.producer(settings)
        name = topics.real_name(catalogue.QOE_SESSION, settings)
        from schemas import records, samples

        for isp in ("alder-de", GUILTY):
            for number in range(40):
                at = datetime.fromtimestamp(ONSET_S + 5 * number, UTC)
                row = samples.rows(records.load("qoe_session"), 1)[0] | {
                    "session_id": f"{isp}-{number}", "profile_id": f"{isp}-p{number}", "isp": isp,
                    "cdn_id": f"cdn-{isp}",
                    "device": "tv" if number % 2 else "web", "country": "DE", "app_version": "5.2.0", "start_at": at,
                    "end_at": at, "segment": 0, "start_failures": int(isp == GUILTY),
                }  # fmt: skip
                long = row | {
                    "session_id": f"{isp}-{number}-long", "start_failures": 0,
                    "start_at": datetime.fromtimestamp(MIDNIGHT_S - 14_400, UTC),
                    "end_at": datetime.fromtimestamp(ONSET_S + 7_200, UTC),
                }  # fmt: skip
                for one in (row, long):
                    key = f"{one['session_id']}|0".encode()
                    producer.send(name, key=key, value=wire.encode_one("qoe_session", one))
        producer.flush()
        producer.close()


def send(frame: pd.DataFrame, settings: Settings) -> None:
    keys = frame["step_at"].astype("int64").astype(str)
    for name in ("cdn_id", "isp", "device", "country", "app_version"):
        keys = keys + "|" + frame[name]
    with clients.reaching(settings):
        producer = clients.producer(settings)
        for key, value in zip(keys, wire.encode_frame("qoe_step", None, frame), strict=True):
            producer.send(topics.real_name(catalogue.QOE_STEP, settings), key=key.encode(), value=value)
        producer.flush()
        producer.close()


class Receiver:
    """A web address that fails twice, then takes what comes."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.keys: list[str] = []
        self.refusals = 2
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.refusals:
                    outer.refusals -= 1
                    self.send_response(503)
                else:
                    outer.bodies.append(json.loads(body))
                    outer.keys.append(self.headers["Idempotency-Key"])
                    self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@pytest.fixture(scope="module")
def watched(
    universe: Callable[[str], Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Settings, rules_of.Rules, Receiver]]:
    settings, receiver = universe("alerts"), Receiver()
    path: Path = tmp_path_factory.mktemp("rules") / "alerts.yaml"
    path.write_text(RULES % receiver.port)
    topics.create(settings)
    sessions(settings)
    send(counters(ONSET_S + LENGTH_S // 2), settings)
    yield settings, rules_of.load(path), receiver
    receiver.server.shutdown()


def follow(alerts: Alerts, until: Callable[[], bool], patience_s: float = 60.0) -> None:
    """Run until `until()`; the wall clock stands far away, so that only counters move the steps."""
    deadline = time.monotonic() + patience_s
    alerts.run(lambda: until() or time.monotonic() > deadline)
    assert until(), "nothing came in time"


def test_a_fault_is_one_incident_that_survives_a_restart(watched: tuple[Settings, rules_of.Rules, Receiver]) -> None:
    settings, rules, receiver = watched
    follow(Alerts(settings, rules), lambda: bool(incidents(settings)))
    (first,) = incidents(settings)
    assert (first["cohort"], first["signal"], first["state"]) == (f"isp={GUILTY}", "start_errors_per_attempt", "open")
    assert ONSET_S - 60 <= first["onset_at"].timestamp() <= first["opened_at"].timestamp() <= ONSET_S + 300
    assert len(first["example_sessions"]) == 5 and all(s.startswith(f"{GUILTY}-") for s in first["example_sessions"])
    assert first["impacted_sessions"] >= 5 and GUILTY in first["explanation"]
    assert (ROOT / "docs" / "runbooks" / first["runbook"]).is_file()
    assert first["incident_id"].isascii() and " " not in first["incident_id"], "to be typed in a shell"

    command(settings, first["incident_id"], "ack", "tester")
    send(
        counters(ONSET_S + LENGTH_S)[lambda f: f["step_at"].astype("int64") >= (ONSET_S + LENGTH_S // 2) * 1000],
        settings,
    )
    again = Alerts(settings, rules)
    follow(again, lambda: incidents(settings)[0]["state"] == "acknowledged")
    assert [row["incident_id"] for row in incidents(settings)] == [first["incident_id"]], (
        "the same incident, not another"
    )

    command(settings, first["incident_id"], "mute", "tester", datetime.fromtimestamp(ONSET_S + LENGTH_S + 600, UTC))
    follow(Alerts(settings, rules), lambda: incidents(settings)[0]["state"] == "muted")
    command(settings, first["incident_id"], "ack", "tester")
    follow(Alerts(settings, rules), lambda: incidents(settings)[0]["state"] == "acknowledged")
    send(counters(ONSET_S + 5_400)[lambda f: f["step_at"].astype("int64") >= (ONSET_S + LENGTH_S) * 1000], settings)
    follow(Alerts(settings, rules), lambda: incidents(settings)[0]["state"] == "resolved")
    (last,) = incidents(settings)
    assert last["incident_id"] == first["incident_id"] and last["resolved_at"] is not None
    told = list(zip(receiver.keys, receiver.bodies, strict=True))
    own = {key: body["state"] for key, body in told if body["incident_id"] == first["incident_id"]}
    assert set(own.items()) == {(key, body["state"]) for key, body in told if key in own}, "a repeat says the same"
    words = [state for state in own.values() if state in ("acknowledged", "muted")]
    assert words == ["acknowledged", "muted", "acknowledged"], "each start hears all words, one obeys each"
    assert receiver.refusals == 0 and len(told) > len(own), "each start tells once more what may not have arrived"


def test_a_day_gone_through_again_finds_the_same_fault(
    watched: tuple[Settings, rules_of.Rules, Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, rules, _ = watched
    (known,) = incidents(settings)
    raised = Alerts(settings, rules).replay(DAY)
    ratios = [row for row in raised if row["signal"] == "start_errors_per_attempt"]
    assert len(ratios) == 1, [(row["incident_id"], row["signal"], row["window_s"], row["observed"]) for row in raised]
    found = ratios[0]
    assert found["cohort"] == known["cohort"] and found["state"] == "resolved"
    assert abs((found["opened_at"] - known["opened_at"]).total_seconds()) <= 60
    assert known in incidents(settings), "what is resolved stays so"
    monkeypatch.setattr(alert_cli, "load", lambda: settings)
    told = CliRunner().invoke(alert_cli.alerts, ["show", found["incident_id"]])
    assert told.exit_code == 0, told.output
    parts = (f"isp={GUILTY}", "start_errors_per_attempt", "resolved", f"matinee session {GUILTY}-", "# Start failures")
    for text in parts:
        assert text in told.output
    nearly = CliRunner().invoke(alert_cli.alerts, ["show", found["incident_id"] + "x"])
    assert nearly.exit_code and f"did you mean {found['incident_id']}?" in str(nearly.exception)


def test_an_unknown_incident_is_refused(watched: tuple[Settings, rules_of.Rules, Receiver]) -> None:
    with pytest.raises(Exception, match="no incident 'x'"):
        command(watched[0], "x", "ack", "tester")
