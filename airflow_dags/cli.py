"""``matinee airflow``: the scheduler on this machine, one day tried in the shell, one day run by the scheduler."""

from __future__ import annotations

import time
from datetime import date, datetime

import click

from airflow_dags.processes import Command
from airflow_dags.rest import Api
from airflow_dags.scheduler import USER, LocalAirflow
from conf.errors import MatineeError, UsageError
from conf.settings import ROOT, load

DAY = click.DateTime(formats=["%Y-%m-%d"])
REGISTER_S = 120.0


@click.group(invoke_without_command=True)
@click.pass_context
def airflow(context: click.Context) -> None:
    """Start Airflow on this machine; Ctrl-C stops it."""
    if context.invoked_subcommand is None:
        serve()


@airflow.command("test")
@click.argument("dag")
@click.argument("day", type=DAY, metavar="DAY")
@click.pass_context
def try_day(context: click.Context, dag: str, day: datetime) -> None:
    """Run DAG for DAY in this shell, without scheduler, pool or retries (`airflow dags test`)."""
    local = LocalAirflow(load())
    local.prepare()
    argv = [str(local.bin / "airflow"), "dags", "test", dag, day.date().isoformat()]
    context.exit(Command(argv, ROOT, local.environment() | {"MATINEE_RETRIES": "0"}).follow(click.echo))


@airflow.command("run")
@click.argument("dag")
@click.argument("day", type=DAY, metavar="DAY")
def run_day(dag: str, day: datetime) -> None:
    """Let the running Airflow run DAG for DAY (by its REST API) and wait for the end."""
    local = LocalAirflow(load())
    if not local.passwords_file.exists():
        raise UsageError(f"no Airflow was ever started under {local.home}; start it with `make airflow`")
    api = Api(local.url)
    api.login(USER, local.password)
    run_and_wait(api, dag, day.date())


def run_and_wait(api: Api, dag: str, day: date) -> None:
    """Trigger one run and follow it; `MatineeError` if it fails."""
    await_dag(api, dag)
    run = api.trigger(dag, day)
    click.echo(f"{dag} {day}: {run}")
    state = api.follow(dag, run, click.echo)
    click.echo(f"{dag} {day}: {state}")
    if state != "success":
        raise MatineeError(f"run {run} of {dag} ended as {state}; its tasks' logs: {api.url}/dags/{dag}/runs/{run}")


def serve() -> None:
    """Run the local Airflow until SIGINT or SIGTERM."""
    local = LocalAirflow(load())
    try:
        with local.running(click.echo) as api:
            await_dag(api, "daily")
            click.echo(f"\nAirflow: {local.url}   user {USER}   password {local.password}")
            click.echo("One day by the scheduler, from another shell: .venv/bin/matinee airflow run daily DAY")
            click.echo("Ctrl-C stops it.")
            while True:
                local.check()
                time.sleep(1)
    except KeyboardInterrupt:
        click.echo("Airflow is stopped.")


def await_dag(api: Api, dag: str) -> None:
    """Wait until the DAG processor has registered ``dag``; `UsageError` if it does not within ``REGISTER_S``."""
    deadline = time.monotonic() + REGISTER_S
    while not api.knows(dag):
        if time.monotonic() > deadline:
            raise UsageError(f"Airflow knows no DAG {dag!r}; look for import errors in {api.url}")
        time.sleep(1)
