"""The commands about this machine: stack, Spark cluster, settings, doctor, dist, clean."""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from conf.errors import ConfigError
from conf.settings import explain, load

if TYPE_CHECKING:
    from conf.settings import Settings

LEFT = ("airflow", "bench", "demo", "lake", "mlflow", "stream", "world")
"""What runs leave in ``paths.var``, beside the stack's data."""


def _say(text: str) -> None:
    click.echo(text)


@click.command()
def up() -> None:
    """Start the Kafka broker and the Flink cluster, and wait until both are well. Harmless when they run."""
    from conf import stack

    settings = load()
    found = stack.up(settings, _say)
    click.echo(
        f"up: Kafka {settings.kafka.bootstrap}, Flink {settings.flink.rest_url}, "
        f"{len(found.jobs)} jobs; `make down` stops it"
    )


@click.command()
def down() -> None:
    """Stop exactly the processes that `up` started."""
    from conf import stack

    stopped = stack.down()
    click.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@click.command()
def status() -> int:
    """Show processes, health and stream jobs; exit 5 if the stack is not well."""
    from conf import stack

    found = stack.status()
    processes = Table("process", "pid", "state", "restarts", "last exit")
    for child in found.children:
        state = child.status if child.alive or child.status != "running" else "gone"
        processes.add_row(child.name, str(child.pid), state, str(child.restarts), _text(child.last_exit))
    console = Console(markup=False, emoji=False)  # a failure's text may hold `[/tmp/x]`
    if found.children:
        console.print(processes)
    if not found.supervised:
        console.print("no supervisor runs: `make up` starts the stack")
    for name, reason in found.ills.items():
        console.print(f"{name}: {reason or 'well'}", highlight=False, soft_wrap=True)
    if found.jobs:
        jobs = Table("job", "state", "restarts", "checkpoints", "failed", "last failure")
        for job in found.jobs:
            jobs.add_row(
                job.name,
                job.state,
                _text(job.restarts),
                _text(job.checkpoints),
                _text(job.failed_checkpoints),
                _text(job.last_failure),
            )
        console.print(jobs)
    return 0 if found.well else 5


def _text(value: Any) -> str:
    return "" if value is None else str(value)


@click.command()
@click.argument("service", default="supervisor")
@click.option("-n", "--lines", default=40, show_default=True, help="How many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on as the log grows, until Ctrl-C.")
def logs(service: str, lines: int, follow: bool) -> None:
    """Print the end of the log of SERVICE: broker, jobmanager, taskmanager or supervisor (the default)."""
    from conf import stack, supervisor

    path = stack.log_path(load(), service)
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: the stack was not started here; `make up` starts it")
    click.echo(supervisor.tail(path, lines))
    with path.open("rb") as file:
        file.seek(0, 2)
        while follow:
            piece = file.read()
            if piece:
                click.echo(piece.decode("utf-8", "replace"), nl=False)
            else:
                time.sleep(0.3)


@click.command()
@click.option("--profile", help="Show this profile.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="Lay this file over it.")
def config(profile: str | None, file: Path | None) -> None:
    """Print every setting, its value and the place it comes from."""
    for key, value, source in explain(profile, file):
        click.echo(f"{key} = {_without_password(key, value)!r}  # {source}")


def _without_password(key: str, value: Any) -> Any:
    if key.endswith(".token") and value is not None:
        return "***"
    return re.sub(r"://([^:/@]*):[^/@]+@", r"://\1:***@", value) if isinstance(value, str) else value


@click.command()
def doctor() -> int:
    """Check this machine; each failure says what to do. Exit 2 if anything fails."""
    from conf.doctor import examine

    failed = 0
    for check in examine(load()):
        failed += not check.ok
        click.echo(
            f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.found}"
            + ("" if check.ok else f"\n       {check.way_out}")
        )
    click.echo(f"{failed} checks failed" if failed else "all well")
    return 2 if failed else 0


@click.group("spark-cluster")
def spark_cluster() -> None:
    """A real standalone Spark cluster, master and workers, on loopback."""


@spark_cluster.command("up")
def _spark_up() -> None:
    """Start master and workers. Harmless when they run."""
    from conf import spark_cluster as cluster

    settings = load()
    click.echo(
        f"up: {cluster.up(settings)} with {settings.stack.spark_workers} workers; `matinee spark-cluster down` stops it"
    )


@spark_cluster.command("down")
def _spark_down() -> None:
    """Stop exactly the processes that `spark-cluster up` started."""
    from conf import spark_cluster as cluster

    stopped = cluster.down()
    click.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@click.command()
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    default=None,
    help="Where to write; by default dist/ of the repository.",
)
@click.option(
    "--at",
    "place",
    type=click.Path(path_type=Path),
    default=None,
    help="Where the folder will lie when it is used, if elsewhere.",
)
@click.option(
    "--python", "python", default=sys.executable, help="The interpreter on driver and workers; by default this one."
)
def dist(folder: Path | None, place: Path | None, python: str) -> None:
    """Write app.zip, main.py, jars/ and spark.conf for spark-submit."""
    from conf import dist as packing

    click.echo(packing.write(load(), folder, place, python))


@click.command()
@click.option(
    "--all", "everything", is_flag=True, help="The jars, the kernel and uv too; `make setup` brings them back."
)
def clean(everything: bool) -> None:
    """Remove lake, demos, stack data and MLflow runs under var/; environments stay, and so does whatever is not ours.
    Refused while the stack or the Spark cluster runs."""
    from conf import spark_cluster as cluster
    from conf import supervisor

    settings = load()
    running = {settings.stack.dir: "make down", cluster.folder(settings): "matinee spark-cluster down"}
    for folder, way_out in running.items():
        state = supervisor.read_state(folder)
        if state is not None and (state.alive or any(child.alive for child in state.children)):
            raise ConfigError(f"what was started still runs with its data in {folder}: run `{way_out}` first")
    var = settings.paths.var
    ours = {var / name for name in LEFT} | {settings.stack.dir}
    if everything:
        ours |= _brought(settings)
    there = sorted(path for path in ours if path.exists() or path.is_symlink())
    for path in there:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    names = f" ({', '.join(path.name for path in there)})" if there else ""
    click.echo(f"removed {len(there)} entries of {var}{names}")
    rest = sorted(path.name for path in var.glob("*") if everything or path not in _brought(settings))
    if rest:
        click.echo(f"left alone, as matinee did not make them: {', '.join(rest)}")


def _brought(settings: Settings) -> set[Path]:
    """What `make setup` brings under var/."""
    return {settings.jars.dir, settings.paths.build, settings.paths.var / "bootstrap"}
