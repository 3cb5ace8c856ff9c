"""Events per CPU second of the Flink job, Kafka to Kafka, exactly once: ``.venv/bin/python -m bench.stream``.

Ends with 4 where what is claimed of two cores is missed; what is fast enough is a question of the machine.

On the running stack (`matinee up`): a world's day with 5 % repeats, 5 % out of order and 2 % lost is copied under other
session ids to two sizes; the live job and the yardsticks read both to their end. `notes`: a Java process table function
of 40 lines over rows that Flink decoded, TUMBLE behind it, state on the heap; `bare`: over raw bytes that the kernel
decodes, one `SUM` behind it, state on the heap; `rocks`: the same with state in RocksDB; `python`: the same as a
PyFlink process function. The slope between the sizes leaves out start-up; a TaskManager that has just been started
compiles Flink itself in its first run, which makes the slope too good, so every job reads a small size before. CPU
seconds are those of the TaskManager and what it starts. Full size: ``--small 5000000 --large 20000000 --warm 1000000
--turns 3``, where at each size the jobs take turns and the median of a job's turns counts. Take a quiet machine: a
checkpoint each second costs the same whether many events or few were read in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import click

from bench import java, verdict
from bench.cpu import Meter
from bench.notes_event import NOTES_EVENT
from conf import environments, flink, supervisor
from conf.errors import InputMissing, MatineeError
from conf.jars import jar_paths
from conf.settings import ROOT, Settings, load
from models.world import World, WorldConfig
from models.world.config import Disturb
from schemas import topics as catalogue
from streaming import launch, produce, rest, topics
from streaming.jobs import plan

FIRST = date(2026, 1, 5)
MIX = Disturb(duplicates=0.05, out_of_order=0.05, lost=0.02, poison=0.0)
YARDSTICK_STATE = {"state.backend.type": "hashmap", "state.changelog.enabled": "false"}
"""As the function of the notes was measured; small states are cheapest so."""
FORMS: Mapping[str, Mapping[str, str]] = {
    "qoe": {},
    "notes": YARDSTICK_STATE,
    "bare": YARDSTICK_STATE,
    "rocks": plan.STATE["rocksdb"],
    "python": YARDSTICK_STATE,
}

SOME = click.IntRange(min=1)
LEAST, BESIDE = 60_000, {"notes": 0.7, "python": 8.0}
"""Events per CPU second that the live job must reach, and how many times those of another job in the same run."""


@dataclass(frozen=True)
class Run:
    """One job over one size."""

    events: int
    cpu_s: float
    wall_s: float


def taskmanager(settings: Settings) -> int:
    """The stack's, by its id."""
    state = supervisor.read_state(settings.stack.dir)
    if state is None:
        raise InputMissing("no stack runs here: `matinee up` starts it")
    return next(child.pid for child in state.children if child.name == "taskmanager")


def universe(base: Settings, name: str) -> Settings:
    """The same settings under topics of this name."""
    return base.model_copy(update={"kafka": base.kafka.model_copy(update={"topic_prefix": f"bench.{name}."})})


def fold_vertex(settings: Settings, job_id: str) -> Any:
    """The running job's vertex of the fold, as Flink tells it."""
    return next(v for v in flink.get(settings, f"/jobs/{job_id}")["vertices"] if v["name"].startswith("fold_live"))


def base_day(settings: Settings, profiles: int) -> int:
    """One disturbed day into the topics of `settings`; its events."""
    topics.delete(settings)
    world = World.create(replace(WorldConfig(seed=1, start=FIRST, days=1, profiles=profiles), disturb=MIX))
    sent = produce.produce_day(world.live(0), settings, on=FIRST)
    return sent.messages[f"{settings.kafka.topic_prefix}playback_event"]


def flooded(origin: Settings, target: Settings, copies: int, limit: int) -> int:
    """Copies of the first `limit` events of `origin` into `target`, whole and cut down; how many."""
    topics.delete(target, [*catalogue.TOPICS, NOTES_EVENT])
    topics.create(target, [*catalogue.TOPICS, NOTES_EVENT])
    whole, cut = (topics.real_name(topic, target) for topic in (catalogue.PLAYBACK_EVENT, NOTES_EVENT))
    base = topics.real_name(catalogue.PLAYBACK_EVENT, origin)
    command = java.command("Flood", origin.kafka.bootstrap, base, whole, copies, limit, 0, cut)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise MatineeError(f"the copies could not be sent: {launch.root_cause(done.stderr)}")
    return int(done.stdout)


def measure(form: str, settings: Settings, events: int) -> Run:
    """Read the topic to its end with one of the jobs.

    Raises:
        MatineeError: the job failed.
    """
    topics.delete(settings, catalogue.QOE)
    topics.create(settings)
    jars = [str(path) for path in (java.jar(), *launch.pipeline_jars(settings))]
    if form == "python":
        jars += [str(path) for path in environments.flink_home().glob("opt/flink-python-*.jar")]
    if form == "notes":
        jars += map(str, jar_paths("bench", settings))
    request = {"settings": settings.model_dump(mode="json"), "jars": jars, "options": dict(FORMS[form])}
    meter, manager, began = Meter(), taskmanager(settings), time.monotonic()
    cpu = meter.look(manager)
    done = subprocess.run(
        [str(environments.python("streaming")), "-m", "bench.flink_stream", form],
        input=json.dumps(request), capture_output=True, text=True, cwd=ROOT, env=_environment(settings),
    )  # fmt: skip
    if done.returncode:
        raise MatineeError(f"job {form} was not taken: {launch.root_cause(done.stderr)}")
    job_id = json.loads(done.stdout.splitlines()[-1])["job_id"]
    while (job := rest.look(settings, job_id)) is None or job.state not in rest.ENDED:
        meter.look(manager)
        time.sleep(0.2)
    if job.state != "FINISHED":
        raise MatineeError(f"job {form} ended as {job.state}: {root_exception(settings, job_id)}")
    return Run(events, meter.look(manager) - cpu, time.monotonic() - began)


def _environment(settings: Settings) -> dict[str, str]:
    """The submitting child's; PyFlink's functions are translated by looking into the JDK's own classes."""
    found = launch._environment(settings)
    return found | {"JVM_ARGS": f"{found['JVM_ARGS']} --add-opens=java.base/java.util=ALL-UNNAMED"}


def root_exception(settings: Settings, job_id: str) -> str:
    """Why a job failed."""
    history = flink.get(settings, f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
    return launch.root_cause(history[0]["stacktrace"]) if history else "no exception is known"


def middle(runs: Sequence[Run]) -> Run:
    """The run whose CPU seconds are the (lower) median."""
    return sorted(runs, key=lambda run: run.cpu_s)[(len(runs) - 1) // 2]


def ordered(small: int, large: int) -> None:
    """Refuse two sizes that no slope lies between."""
    if small >= large:
        raise click.UsageError(f"--small {small:,} is not below --large {large:,}: there is no slope between them")


def slope(small: Run, large: Run) -> float:
    """Events per CPU second between two sizes."""
    return (large.events - small.events) / (large.cpu_s - small.cpu_s)


@click.command()
@click.option("--small", default=1_000_000, show_default=True, type=SOME, help="Events of the small size, about.")
@click.option("--large", default=4_000_000, show_default=True, type=SOME, help="Events of the large size, about.")
@click.option("--python-share", default=20, show_default=True, type=SOME, help="PyFlink reads one of so many events.")
@click.option("--warm", default=300_000, show_default=True, type=SOME, help="Events every job reads before it counts.")
@click.option("--profiles", default=2_000, show_default=True, type=SOME, help="Viewers of the day that is copied.")
@click.option("--turns", default=1, show_default=True, type=SOME, help="How often every job reads each size, by turns.")
@click.option("--forms", default=",".join(FORMS), show_default=True, help="Which jobs.")
def main(small: int, large: int, python_share: int, warm: int, profiles: int, turns: int, forms: str) -> None:
    """Print every run, and the slope of every job between the medians of its turns; exit 4 where a claim is missed."""
    ordered(small, large)
    if unknown := set(forms.split(",")) - set(FORMS):
        raise click.UsageError(f"--forms {forms}: no {', '.join(sorted(unknown))!r} among {', '.join(FORMS)}")
    settings = load()
    origin = universe(settings, "day")
    day = base_day(origin, profiles)
    shares = {form: python_share if form == "python" else 1 for form in forms.split(",")}
    found: dict[str, list[Run]] = {form: [] for form in shares}
    read = [(warm, warm, tuple(shares))]
    for size in (small, large):
        for share in sorted(set(shares.values()), reverse=True):
            mine = tuple(form for form in shares if shares[form] == share)
            read.append((size // share, large // share, mine))
    for number, (size, full, mine) in enumerate(read):
        target = universe(settings, f"{size}")
        copies = max(1, round(full / day))
        events = flooded(origin, target, copies, round(size / copies))
        runs: dict[str, list[Run]] = {form: [] for form in mine}
        for form in mine * (turns if number > 0 else 1):
            run = measure(form, target, events)
            runs[form].append(run)
            if number > 0:
                click.echo(f"{form:<7} {run.events:>11,} events {run.cpu_s:8.1f} CPU s {run.wall_s:7.1f} s wall")
        if number > 0:
            for form in mine:
                found[form].append(middle(runs[form]))
        topics.delete(target, [*catalogue.TOPICS, NOTES_EVENT])
    topics.delete(origin)
    slopes = {form: slope(*runs) for form, runs in found.items()}
    for form, value in slopes.items():
        beside = f", the live job is {slopes['qoe'] / value:.2f} of it" if form != "qoe" and "qoe" in slopes else ""
        click.echo(f"{form:<7} {value:>11,.0f} events per CPU second in steady state{beside}")
    verdict.end(missed(slopes))


def missed(slopes: Mapping[str, float]) -> list[str]:
    """Which claims on the live job do not hold among the jobs that ran; none without the live job."""
    live = slopes.get("qoe")
    if live is None:
        return []
    out = verdict.least("events per CPU second", live, LEAST)
    for form, ratio in BESIDE.items():
        if form in slopes:
            out += verdict.least(f"the live job beside {form}", live / slopes[form], ratio)
    return out


if __name__ == "__main__":
    sys.exit(main())
