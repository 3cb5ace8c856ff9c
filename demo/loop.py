"""The demo's course: history, a live day with a fault, decisions, the day after under them, the report.

Everything that passes between the parts passes through the broker and the lake. The world is told the truth by nobody
and tells it to nobody: the day after reads its pages, artwork and plan from the compacted topics alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import date

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from conf.errors import InputMissing, MatineeError
from conf.settings import Settings
from demo import gather, kills, report
from demo.meter import Meter
from demo.story import Story
from demo.universe import Universe
from jobs import registry
from jobs.runner import Runner
from models.world import faults
from models.world.config import WorldConfig
from models.world.network import Traces
from models.world.service import World
from schemas import topics
from streaming import alert_rules, consume, launch, produce
from streaming import topics as admin
from streaming.alerts import Alerts

FAULT_LOCAL_HOUR, FAULT_MINUTES = 20, 60
WITHDRAW_S = 10.0
"""So long a job may take to appear on the cluster after the process that sent it has ended."""
HISTORY_JOBS = ("sessionize", "outcomes")
DECISION_JOBS = tuple(name for name in registry.DAILY if name not in ("ingest", *HISTORY_JOBS, "qoe_daily"))


@dataclass(frozen=True, slots=True)
class Input:
    """What the loop is played on; `ratings` and `traces` replace the drawn viewings and networks by real ones, `kill`
    ends the TaskManager and the driver of ingest in their work."""

    config: WorldConfig
    history_days: int
    ratings: tuple[pd.DataFrame, pd.DataFrame] | None = None
    traces: Traces | None = None
    kill: bool = False


@dataclass
class Loop:
    """One demo in the making."""

    settings: Settings
    universe: Universe
    given: Input
    console: Console
    meter: Meter
    sent: dict[str, int] = field(default_factory=dict)
    poison: int = 0

    def play(self) -> Story:
        """Run the whole course and write the report.

        Raises:
            MatineeError: as any of its parts.
        """
        with self._step("build the world"):
            rated, movies = self.given.ratings or (None, None)
            world = World.create(self.given.config, rated, self.given.traces, movies)
            admin.create(self.settings)
        with self._stream() as job_id:
            with self._step("start Spark"):
                runner = Runner(self.settings, say=self._say)
            with runner:
                return self._days(world, runner, job_id)

    def _days(self, world: World, runner: Runner, job_id: str) -> Story:
        eve = self.given.history_days
        history, (live, after) = (
            [world.config.date(n) for n in range(eve)],
            (world.config.date(eve), world.config.date(eve + 1)),
        )
        for n, day in enumerate(history):
            with self._step(f"history {day}"):
                self._live(world, n)
        isp = busiest_isp(world, eve)
        fault = faults.isp_outage(isp, start=evening(world, isp), minutes=FAULT_MINUTES)
        with self._step(f"live day {live}, outage of {isp}"), self._killing(job_id, live):
            self._live(world, eve, injected=(fault,))
        if self.given.kill:
            with self._step("kill the driver of ingest at three points"):
                kills.ingest(live, self._say)
        self._run(runner, "land", ["ingest"], [live])
        self._run(runner, "fold history", HISTORY_JOBS, history)
        self._run(runner, "fold the live day", (*HISTORY_JOBS, "qoe_daily"), [live])
        with self._step("wait for the stream to end the live day"):
            launch.await_day(self.settings, live, job_id)
        if self.given.kill:
            self._say(f"the stream was restored {kills.assert_restored(self.settings, job_id)} time(s)")
        with self._step("raise incidents of the live day"):
            self._watch(live)
        self._run(runner, "reconcile", ["reconcile"], [live])
        self._run(runner, "decide", DECISION_JOBS, [live])
        with self._step(f"day after {after}, under what came back over Kafka"):
            self._live(world, eve + 1, **self._decisions())
        self._run(runner, "land and fold the day after", ("ingest", *HISTORY_JOBS, "qoe_daily"), [after])
        run = gather.Run(live, after, sum(self.sent.values()), self.poison, self.meter.steps, self.meter.peak_bytes)
        run.write(self.universe.folder)
        self.console.print("[bold]write the report[/bold]")
        story = gather.story(self.settings, run)
        self.universe.report.write_text(report.html(story), encoding="utf-8")
        return story

    def _live(
        self,
        world: World,
        n: int,
        injected: tuple[faults.Fault, ...] = (),
        pages: pd.DataFrame | None = None,
        artwork: pd.DataFrame | None = None,
        plan: pd.DataFrame | None = None,
    ) -> None:
        """Live day number `n` and send what its systems saw; the producer keeps the truth aside."""
        day = world.config.date(n)
        lived = world.live(n, pages=pages, artwork=artwork, plan=plan, faults=injected)
        with self._bar(f"  produce {day}") as progress:
            done = produce.produce_day(
                lived, self.settings, on=day, catalogue_frames=world.news(n), progress=progress
            )
        self.poison += len(done.poison)
        for name, count in done.messages.items():
            self.sent[name] = self.sent.get(name, 0) + count

    def _watch(self, day: date) -> None:
        """Let the alerts go through the day's counters as if it were now; what they raise lies on topic `incident`."""
        try:
            Alerts(self.settings, alert_rules.load(self.settings.alerts.rules), say=self._say).replay(day)
        except InputMissing as error:  # a world of a few viewers, or counters left out: nothing to raise, not a failure
            self._say(f"no alerts: {error}")

    def _killing(self, job_id: str, day: date) -> AbstractContextManager[None]:
        return kills.taskmanager(self.settings, job_id, day, self._say) if self.given.kill else nullcontext()

    def _decisions(self) -> Mapping[str, pd.DataFrame]:
        """Pages, artwork and plan as a reader of the compacted topics finds them, read committed."""
        return {
            "pages": consume.snapshot(topics.HOME_PAGE, self.settings),
            "artwork": consume.snapshot(topics.ARTWORK_CHOICE, self.settings),
            "plan": consume.snapshot(topics.CDN_FILL_PLAN, self.settings),
        }

    def _run(self, runner: Runner, name: str, jobs: tuple[str, ...] | list[str], days: list[date]) -> None:
        with self._step(name):
            runner.run(list(jobs), days)

    @contextmanager
    def _stream(self) -> Iterator[str]:
        """The QoE job on the session cluster for as long as the loop runs; cancelled at the end, whatever happens."""
        try:
            with self._step("submit the QoE stream"):
                job_id = launch.submit(self.settings)
        except BaseException:
            self._withdraw()
            raise
        try:
            yield job_id
        finally:
            launch.cancel(self.settings, job_id)

    def _withdraw(self) -> None:
        """Cancel a job whose submission was cut off: the cluster may have taken it, or be about to."""
        with suppress(MatineeError):
            until = time.monotonic() + WITHDRAW_S
            while launch.cancel(self.settings) is None and time.monotonic() < until:
                time.sleep(0.5)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self.console.print(f"[bold]{name}[/bold]")
        with self.meter.step(name):
            yield
        self.console.print(f"  [dim]{self.meter.steps[-1][1]:.1f} s[/dim]")

    @contextmanager
    def _bar(self, name: str) -> Iterator[Callable[[int, int], None]]:
        columns = (
            TextColumn("[dim]{task.description}[/dim]"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(name, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def _say(self, text: str) -> None:
        self.console.print(f"  [dim]{text}[/dim]", highlight=False)


def busiest_isp(world: World, n: int) -> str:
    """The ISP with most profiles of those whose evening lies well inside the UTC day: an outage there is seen."""
    profiles = world.catalogue(n)["profile"]["isp"].value_counts(sort=True).sort_index(kind="stable")
    inside = [isp for isp in profiles.index if 12 * 60 <= evening(world, str(isp)) <= 21 * 60]
    return str(profiles.loc[inside or list(profiles.index)].idxmax())


def evening(world: World, isp: str) -> int:
    """The minute of the UTC day at which it is evening where the ISP's viewers are."""
    clusters = world.catalogue(0)["cdn_cluster"].set_index("isp")
    offset = dict(zip(world.config.countries, world.config.utc_offset_h, strict=True))[str(clusters.at[isp, "country"])]
    return (FAULT_LOCAL_HOUR - offset) % 24 * 60
