"""``matinee model``: which version of the recommender serves, why, and the way back. No JVM is started."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, timedelta
from multiprocessing import Pipe, get_context
from typing import TYPE_CHECKING, Any

import click

from conf.errors import InputMissing, ServiceUnavailable, UsageError
from conf.settings import Settings, load
from jobs import registry
from models.recommend.decision import FALLBACK, MODEL, ROLLBACK, serving_version
from schemas import tables as t

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from lake.reader import Lake

READ_BACK_DAYS = max(-read.days[0] for read in registry.job("pages").reads if read.table is t.FACTORS)
"""How far job `pages` looks for the vectors of the version that serves."""
MEANS = ("ndcg", "recall", "genre_kl", "coverage", "short_ndcg")
Row = Mapping[str, Any]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def model() -> None:
    """Show versions of the recommender, why each was promoted or not, and roll back."""


@model.command("list")
@click.option("--days", "shown", default=28, metavar="N", help="The newest N days.")
def list_(shown: int) -> None:
    """List the versions, newest first: day, version, what serves after it, figures, promoted or not.

    \b
    matinee model list
    matinee model show 2026-11-01
    matinee model rollback --reason "empty rows in BR"
    """
    rows = decisions(_lake(load()))[:shown]
    click.echo(f"{'day':<12}{'version':<14}{'serves':<20}{'value':>8}{'baseline':>10}  decided")
    for row in rows:
        decided = "promoted" if row["promoted"] else "not promoted"
        decided += ", rolled back" if row["decided_by"] == ROLLBACK else ""
        click.echo(
            f"{row['event_date']!s:<12}{row['version']:<14}{serving_version(row) or FALLBACK:<20}{row['value']:8.4f}"
            f"{row['baseline']:10.4f}  {decided}"
        )


@model.command()
@click.argument("version")
def show(version: str) -> None:
    """Tell why VERSION (or the version of a day, YYYY-MM-DD) was promoted or not, with the figures of its run."""
    settings = load()
    rows = decisions(_lake(settings))
    row = next((row for row in rows if version in (row["version"], str(row["event_date"]))), None)
    if row is None:
        raise InputMissing(f"no version and no day {version!r}; `matinee model list` names the {len(rows)} there are")
    click.echo(f"{MODEL} {row['version']}, trained up to {row['event_date']}: {row['reason']}")
    click.echo(f"from {row['valid_from_date']} on {serving_version(row) or FALLBACK} serves")
    from jobs import tracking

    run = tracking.logged(settings, f"{settings.lake.namespace_prefix}{MODEL}", row["run_id"])
    if run is None:
        click.echo(f"MLflow holds no run {row['run_id']}")
        return
    if run.reason != row["reason"]:
        click.echo(f"its run said: {run.reason}")
    click.echo(f"MLflow run {run.run_id}, plots and model under {run.artifact_uri}")
    for line in told(run.params, run.metrics):
        click.echo(line)


@model.command()
@click.option("--to", "target", metavar="VERSION", help=f"Instead of the last good one; or {FALLBACK}.")
@click.option("--reason", default="", metavar="TEXT", help="Kept with the decision.")
def rollback(target: str | None, reason: str) -> None:
    """Let the version before serve again from tomorrow's pages on: the newest decision is replaced, within seconds.

    The decision is the promotion row of the newest day; running that day's training again leaves it as it is. The next
    day's training decides anew, with what serves now as its measure.
    """
    settings = load()
    name = f"{settings.lake.namespace_prefix}{MODEL}"
    # MLflow takes as long to import as the lake takes to decide: it does so meanwhile, on another core
    side, work = Pipe()
    other = get_context("fork").Process(target=_move_alias, args=(side, work, settings, name), daemon=True)
    other.start()
    work.close()
    try:
        row = roll_back(settings, _lake(settings), target, reason)
        day = row["event_date"]
        click.echo(f"from {row['valid_from_date']} on {row['serves'] or FALLBACK} serves: {row['reason']}")
        click.echo(f"pages that are made already: matinee job pages choose_artwork publish --date {day}")
        try:
            side.send((row["serves"], day, row["reason"]))
            problem = side.recv()
        except (EOFError, OSError):
            problem = "the process that was to move it has ended."
    finally:  # after an error and Ctrl-C too: nobody waits for it
        other.kill()
        other.join()
    if problem:  # what serves is the row in the lake; the alias is for people
        again = f"matinee model rollback --to {row['serves'] or FALLBACK}"
        raise ServiceUnavailable(f"the rollback stands; its alias does not: {problem} Then: {again}")


def _move_alias(side: Connection, work: Connection, settings: Settings, name: str) -> None:
    """The process beside: MLflow is at hand when `work` says what serves; sends what went wrong, if anything did. It
    leaves an interrupt to the command, and asks a server that does not answer once more, not for minutes as MLflow
    would."""
    side.close()  # or it would not notice that the command is gone
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from jobs import tracking

    with suppress(Exception):  # it is told below
        tracking.connect(settings)
    try:
        version, day, reason = work.recv()
        tracking.serve(settings, name, version, day, reason)
        work.send("")
    except EOFError:  # there is nobody to tell
        return
    except ServiceUnavailable as error:
        work.send(str(error))


def decisions(home: Lake) -> list[dict[str, Any]]:
    """Promotion rows of the recommender, newest first.

    Raises:
        InputMissing: there is none.
    """
    rows = [row for row in home.read(t.PROMOTION, to="arrow").to_pylist() if row["model"] == MODEL]
    if not rows:
        raise InputMissing(f"{t.PROMOTION.fqn} has no row of {MODEL}; job 'train_recommender' makes them")
    return sorted(rows, key=lambda row: row["event_date"], reverse=True)


def roll_back(settings: Settings, home: Lake, target: str | None, reason: str) -> dict[str, Any]:
    """Replace the newest decision; returns its new row.

    Args:
        target: version or FALLBACK; by default the newest promoted one of an earlier day that does not serve now.

    Raises:
        UsageError: there is no such version. InputMissing: its vectors are gone, or too old for `pages` to read.
    """
    from lake import amend
    from lake.catalog import bootstrap

    rows = decisions(home)
    newest, now = rows[0], serving_version(rows[0])
    good = good_versions(rows)
    if target is None:
        target = version_before(rows)
        if target is None:
            raise UsageError(
                f"no version was promoted before {now or FALLBACK}, which serves: --to {FALLBACK} lets popularity serve"
            )
    elif target not in (*good, FALLBACK):
        raise UsageError(f"{target!r} was never promoted; there are {', '.join([*good, FALLBACK])}")
    if target != FALLBACK:
        _check_vectors(home, target, good[target], newest["event_date"])
    if target == (now or FALLBACK) and newest["decided_by"] == ROLLBACK and not reason:
        return newest  # again, for the alias alone: why it was done stays
    words = f"rolled back from {now or FALLBACK} to {target}" + (f": {reason}" if reason else "")
    row = {
        **newest,
        "serves": None if target == FALLBACK else target,
        "reason": words,
        "decided_by": ROLLBACK,
    }
    catalog = bootstrap(settings, only=(t.PROMOTION, t.PUBLICATION))
    amend.replace(catalog, settings, t.PROMOTION, newest["event_date"], [row], ROLLBACK)
    return row


def good_versions(rows: Sequence[Row]) -> dict[str, date]:
    """Versions that were promoted, newest first, with the day whose run made their vectors. `rows`: newest first."""
    found: dict[str, date] = {}
    for row in rows:
        if row["promoted"]:
            found.setdefault(row["version"], row["event_date"])
    return found


def version_before(rows: Sequence[Row]) -> str | None:
    """The newest version promoted before the one that serves, leaving out those rolled back from and never let serve
    again. `rows`: as above."""
    left, served = set(), set()
    for place, row in enumerate(rows):
        served.add(serving_version(row))
        if row["decided_by"] == ROLLBACK:
            older = serving_version(rows[place + 1]) if place + 1 < len(rows) else None
            left |= {row["version"] if row["promoted"] else older} - served
    good, now = good_versions(rows), serving_version(rows[0])
    until = good[now] if now in good else rows[0]["event_date"]
    return next((version for version, made in good.items() if made < until and version not in left), None)


def told(params: Mapping[str, str], metrics: Mapping[str, float]) -> list[str]:
    """Split times, snapshots, and a line a model: means with their intervals."""
    lines = [f"trained {params.get('train_from', '?')} to {params.get('train_until', '?')}, origins "
             f"{params.get('origins', '') or 'none'}"]  # fmt: skip
    lines += [f"read {name.removeprefix('snapshot.')} at snapshot {params[name]}" for name in sorted(params)
              if name.startswith("snapshot.")]  # fmt: skip
    models = sorted(name.removesuffix(".coverage") for name in metrics if name.endswith(".coverage"))
    for one in models:
        lines.append(f"{one}: " + ", ".join(_figure(metrics, f"{one}.{mean}", mean) for mean in MEANS
                                            if f"{one}.{mean}" in metrics))  # fmt: skip
    for name in sorted(name for name in metrics if name.startswith("quality.") and name.count(".") == 2):
        _, arm, metric = name.split(".")
        lines.append(f"playback, {arm}: " + _figure(metrics, name, metric.replace("_", " ")))
    rivals = sorted(name for name in metrics if name.startswith("gain_over_") and name.endswith(".ndcg"))
    return lines + [_figure(metrics, name, name.removesuffix(".ndcg").replace("_", " ", 2)) for name in rivals]


def _figure(metrics: Mapping[str, float], name: str, word: str) -> str:
    low, high = metrics.get(f"{name}.low", math.nan), metrics.get(f"{name}.high", math.nan)
    interval = f" [{low:.4f}, {high:.4f}]" if math.isfinite(low) else ""
    return f"{word} {metrics[name]:.4f}{interval}"


def _check_vectors(home: Lake, version: str, made: date, newest: date) -> None:
    oldest = newest - timedelta(days=READ_BACK_DAYS)
    if made < oldest:
        raise InputMissing(f"version {version} is of {made}; job 'pages' reads vectors from {oldest} on")
    found = home.sql(
        f"SELECT count(*) AS n FROM {t.FACTORS.fqn} WHERE event_date = DATE '{made.isoformat()}' "
        f"AND model_id = '{MODEL}-{version}'",
        to="arrow",
    ).to_pylist()[0]["n"]
    if not found:
        raise InputMissing(
            f"{t.FACTORS.fqn} holds no vector of version {version} ({made}); "
            f"`matinee job train_recommender --date {made}` makes them again"
        )


def _lake(settings: Settings) -> Lake:
    import lake

    return lake.connect(settings)
