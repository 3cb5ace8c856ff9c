"""The life of the QoE job from the main environment: submit, cancel, savepoint (`streaming.follow` watches it).

The streaming environment's interpreter runs as a child for the moment of submission only; after that Flink's REST
interface is enough. A second submission finds the running job and does nothing. After an end of any kind the next one
goes on from the newest retained checkpoint: reading from the start again would give the same sums, but every dead
letter twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from conf import environments, flink, jars, kernel
from conf import stack as one_machine
from conf.errors import ConfigError, InputMissing, MatineeError, ServiceUnavailable
from conf.flink import Job
from conf.settings import ROOT, Settings
from schemas import topics as catalogue
from streaming import rest, topics
from streaming.follow import LOOK_S, SILENT_S, Forgotten, Say, follow, mute
from streaming.jobs import plan

SUBMIT_S = 300
CLIENT_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""The client's JVM plans for seconds and ends: the second compiler would cost as much again (8.6 CPU s, else 17.7)."""


@dataclass(frozen=True)
class Submission:
    """What `start` did; `resumed` names the checkpoint it went on from, `found` says that the job ran already."""

    job_id: str
    found: bool
    resumed: str | None


def run(
    settings: Settings,
    *,
    until_day: date | None = None,
    detach: bool = False,
    fresh: bool = False,
    timeout_s: float | None = None,
    say: Say = mute,
) -> str:
    """Submit (or find) the job; then return at once it works (`detach`), when `until_day` is complete, or never.

    Returns the job's id.

    Raises:
        ServiceUnavailable: broker or cluster away.
        InputMissing: `until_day` is not complete after `timeout_s`.
        MatineeError: the job ended, or only restarts; the root exception is in the message.
    """
    done = start(settings, fresh=fresh)
    origin = f"goes on from {done.resumed}" if done.resumed else "reads from the start"
    say(f"job {done.job_id} {'runs already' if done.found else origin}")
    follow(settings, done.job_id, until_day=until_day, detach=detach, timeout_s=timeout_s, say=say)
    return done.job_id


def keep(settings: Settings, *, fresh: bool = False, say: Say = mute) -> None:
    """Run the job and send it again whenever the cluster has forgotten it; never returns.

    Flink keeps its jobs over a JobManager's death only with ZooKeeper or Kubernetes. One machine has neither: the
    supervisor starts the process again, and this sends the job back, from its newest checkpoint.

    Raises:
        ServiceUnavailable: broker or cluster away for a minute.
        MatineeError: the job ended, or only restarts: sending it again would not help.
    """
    away_since: float | None = None
    client = Client(settings)

    def see(job: Job | None) -> None:
        """A cluster that does not answer may have to be sent the job again: the plan can be ready by then."""
        if job is None:
            client.plan()
        else:
            client.drop()

    try:
        while True:
            try:
                done = start(settings, fresh=fresh, client=client)
                fresh, away_since = False, None
                say(f"job {done.job_id} goes on from {done.resumed}" if done.resumed else f"job {done.job_id} runs")
                follow(settings, done.job_id, say=say, see=see)
            except Forgotten as error:
                say(f"{error}; sending it again")
            except ServiceUnavailable as error:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > SILENT_S:
                    raise
                say(str(error))
                time.sleep(LOOK_S)
    finally:
        client.drop()


def submit(settings: Settings) -> str:
    """`start` for a caller who only wants the job's id."""
    return start(settings).job_id


def await_day(settings: Settings, day: date, job_id: str, *, timeout_s: float | None = None, say: Say = mute) -> None:
    """Return when the stream has made `day` final on every partition and all of it can be read; see `run`."""
    follow(settings, job_id, until_day=day, timeout_s=timeout_s, say=say)


def start(settings: Settings, *, fresh: bool = False, client: Client | None = None) -> Submission:
    """Send the job to the cluster unless it runs there; `fresh` forgets what earlier runs left.

    `client` may have planned it already.

    Raises:
        ServiceUnavailable: broker or cluster away.
        MatineeError: Flink refused the job.
    """
    flink.get(settings, "/overview")
    topics.create(settings)
    running = rest.find(settings, plan.name(settings))
    if running is not None:
        return Submission(running.id, True, None)
    origin = None if fresh else resumable(settings)
    job_id = (client or Client(settings)).submit(origin)
    told = {"job_id": job_id, "topic_ids": _topic_ids(settings), "state_backend": settings.flink.state_backend}
    _remember(settings, told if origin is None else told | {"origin": origin})
    return Submission(job_id, False, origin)


def explain(settings: Settings) -> str:
    """The planner's account of the whole statement set; needs no cluster and no broker."""
    client = Client(settings, "explain", all_jars(settings))
    client.plan()
    return str(client.answer()["plan"])


class Client:
    """Flink's client for one job: `streaming.jobs.qoe` as a child in the streaming environment.

    Planning takes it most of its seconds and needs neither cluster nor broker, so it may begin before they answer.
    """

    def __init__(self, settings: Settings, verb: str = "submit", jars: Sequence[Path] | None = None) -> None:
        self.settings, self.verb, self.jars = settings, verb, jars
        self.process: subprocess.Popen[str] | None = None

    def plan(self) -> None:
        """Begin to plan, unless it does or has."""
        if self.process is not None:
            return
        pipeline = pipeline_jars(self.settings) if self.jars is None else self.jars
        request = {"settings": self.settings.model_dump(mode="json"), "jars": [str(path) for path in pipeline]}
        self.process = subprocess.Popen(
            [str(environments.python("streaming")), "-m", "streaming.jobs.qoe", self.verb],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env=_environment(self.settings),
        )  # fmt: skip
        self._say(request)

    def submit(self, origin: str | None) -> str:
        """Send the job, to go on from a savepoint or checkpoint if one is given; its id. Errors as of `answer`."""
        self.plan()
        self._say({"savepoint": origin})
        return str(self.answer()["job_id"])

    def answer(self) -> dict[str, Any]:
        """What the child says before it ends.

        Raises:
            MatineeError: it failed; the root exception is in the message.
            ServiceUnavailable: no answer within `SUBMIT_S`.
        """
        assert self.process is not None
        try:
            out, err = self.process.communicate(timeout=SUBMIT_S)
        except subprocess.TimeoutExpired:
            self.drop()
            raise ServiceUnavailable(f"Flink's client did not {self.verb} the stream job within {SUBMIT_S} s") from None
        failed, self.process = self.process.returncode != 0, None
        answers = [line for line in out.splitlines() if line.startswith("{")]
        if failed or not answers:
            raise MatineeError(f"Flink's client could not {self.verb} the stream job: {root_cause(err or out)}")
        found: dict[str, Any] = json.loads(answers[-1])
        return found

    def drop(self) -> None:
        """End the child, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _say(self, line: dict[str, Any]) -> None:
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(line) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has failed; `answer` tells of what


def pipeline_jars(settings: Settings) -> list[Path]:
    """Jars that travel with the job: the kernel; the connector too, unless the cluster is ours and has it."""
    ours = (one_machine.flink_folder(settings) / "lib").is_dir()
    return [kernel.jar(settings)] if ours else all_jars(settings)


def all_jars(settings: Settings) -> list[Path]:
    """The kernel and every jar of group `flink`."""
    return [kernel.jar(settings), *jars.jar_paths("flink", settings)]


def _environment(settings: Settings) -> dict[str, str]:
    found = {**os.environ, **one_machine.flink_environment(settings), "PYTHONPATH": str(ROOT), "JVM_ARGS": CLIENT_JVM}
    for name in ("FLINK_CONF_DIR", "FLINK_LIB_DIR", "FLINK_LOG_DIR", "FLINK_PID_DIR"):
        if not Path(found[name]).is_dir():  # a cluster that is not this machine's: the wheel's own folders do
            del found[name]
    return found


def root_cause(trace: str) -> str:
    """The last cause a Java or Python traceback names, in at most 600 characters."""
    lines = [line.strip() for line in trace.splitlines() if line.strip() and not line.startswith(("\t", "  "))]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes or lines or ["no word of why"])[-1][:600]


def _record(settings: Settings) -> Path:
    return settings.paths.var / "stream" / f"{settings.kafka.topic_prefix}qoe.json"


def _topic_ids(settings: Settings) -> dict[str, str]:
    """The broker's id of every topic the job reads, by the topic's name."""
    return {topic.name: topics.identity(topic, settings) for topic in plan.SOURCES}


def _remember(settings: Settings, found: dict[str, Any]) -> None:
    path = _record(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))


def resumable(settings: Settings) -> str | None:
    """Where the next submission goes on from: the last run's savepoint or newest checkpoint, if it still exists.

    A run that ended before its first checkpoint leaves what it went on from itself.

    None too where a topic it reads was made anew since: offsets of the old topic would skip what lies in the new one.
    Records of runs before `cmcd` was looked at hold the id of `playback_event` alone, as `topic_id`: such a run is gone
    on from if that one is the same, and `cmcd` is believed to be, once, as the next run's record holds both.

    Raises:
        ConfigError: it is a checkpoint of another `flink.state_backend`; a savepoint is read by both.
    """
    path = _record(settings)
    if not path.is_file():
        return None
    last: dict[str, Any] = json.loads(path.read_text())
    now = _topic_ids(settings)
    known = last.get("topic_ids", now | {catalogue.PLAYBACK_EVENT.name: last.get("topic_id")})
    if known != now:
        return None
    savepoint: str | None = last.get("savepoint")
    if savepoint is not None and rest.there(savepoint):
        return savepoint
    origin = last.get("origin")
    found = rest.last_checkpoint(settings, last["job_id"]) or (origin if origin and rest.there(origin) else None)
    checkpoint = found is not None and found.rpartition("/")[2].startswith("chk-")
    lay = last.get("state_backend", settings.flink.state_backend)
    if checkpoint and lay != settings.flink.state_backend:
        raise ConfigError(
            f"the newest checkpoint is of flink.state_backend = {lay}, not {settings.flink.state_backend}: run the job "
            f"once more with {lay} and `matinee stream savepoint`, which both read, or read from the start with --fresh"
        )
    return found


def cancel(settings: Settings, job_id: str | None = None) -> str | None:
    """Cancel the job; its last checkpoint stays. Returns its id, None if it (or not this one) does not run."""
    running = rest.find(settings, plan.name(settings))
    if running is None or job_id not in (None, running.id):
        return None
    rest.send(settings, "PATCH", f"/jobs/{running.id}?mode=cancel")
    _await_end(settings, running.id)
    return running.id


def savepoint(settings: Settings) -> str:
    """Stop the job with a savepoint and return its address; the next submission goes on from there.

    Raises:
        InputMissing: the job does not run.
        MatineeError: Flink could not write it.
    """
    running = rest.find(settings, plan.name(settings))
    if running is None:
        raise InputMissing(f"job {plan.name(settings)!r} does not run: `matinee stream qoe` starts it")
    asked = rest.send(settings, "POST", f"/jobs/{running.id}/stop", {"drain": False})["request-id"]
    deadline = time.monotonic() + SUBMIT_S
    while time.monotonic() < deadline:
        answer = flink.get(settings, f"/jobs/{running.id}/savepoints/{asked}")
        if answer["status"]["id"] == "COMPLETED":
            cause = answer["operation"].get("failure-cause")
            if cause is not None:
                raise MatineeError(f"no savepoint of job {running.id}: {root_cause(cause['stack-trace'])}")
            address = str(answer["operation"]["location"])
            _remember(settings, {"job_id": running.id, "topic_ids": _topic_ids(settings), "savepoint": address})
            _await_end(settings, running.id)
            return address
        time.sleep(LOOK_S / 4)
    raise ServiceUnavailable(f"job {running.id}: no savepoint after {SUBMIT_S} s; see `matinee logs jobmanager`")


def _await_end(settings: Settings, job_id: str) -> None:
    deadline = time.monotonic() + SUBMIT_S
    while time.monotonic() < deadline:
        job = rest.look(settings, job_id)
        if job is None or job.state in rest.ENDED:
            return
        time.sleep(LOOK_S / 4)
    raise ServiceUnavailable(f"job {job_id} does not end within {SUBMIT_S} s; see `matinee logs jobmanager`")
