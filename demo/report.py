"""One self-contained HTML page and one short terminal table out of a `Story`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from rich.table import Table

from demo import pictures
from demo.story import Story
from schemas.metrics import METRICS, PLAY_METRICS, ROWS, SESSION_METRICS, Metric
from schemas.render import frames, sql

HERE = Path(__file__).parent
HOUR_MS, DAY_MINUTES = 3_600_000, 1_440


def html(story: Story) -> str:
    """The report as one HTML text: no script, no outside resource."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=select_autoescape(["html", "j2"]), undefined=StrictUndefined
    )
    environment.filters["hue"] = _hue
    cluster = _busiest_cluster(story)
    drawn = {
        "qoe": pictures.qoe_over_the_day(story.qoe, story.fault, story.viewers),
        "funnel": pictures.funnel(story.funnel),
        "forecast": pictures.forecast_against_truth(story.forecast),
        "disk": pictures.disk_before_and_after(story.disk, cluster),
        "offload": pictures.offload_lines(story.offload, story.logged_offload),
        "takes": pictures.take_rates(story.take_rates),
    }
    svg = {name: Markup(text) for name, text in drawn.items()}
    return environment.get_template("report.html.j2").render(
        story=story, svg=svg, headline=headline(story), metrics=every_metric(story)
    )


def every_metric(story: Story) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """(what the rows are, `metrics_of`) of every registry of metrics, for the live day."""
    found = {
        "METRICS": ("Over spans, as the stream added them up", metrics_of_the_day(story.qoe)),
        "PLAY_METRICS": ("Over plays, which know the running time", metrics_of(story.plays, PLAY_METRICS)),
        "SESSION_METRICS": ("Over sessions, which know what arrived", metrics_of(story.sessions, SESSION_METRICS)),
    }
    return [found[name] for name in ROWS]


def metrics_of_the_day(qoe: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """(metric, value, unit, what it is) of every metric of the registry, over rollup `total` of `qoe_minute` rows."""
    total = qoe[qoe["rollup"] == "total"].reindex(columns=[name for name, _ in sql.row_expressions()], fill_value=0)
    sums = total.sum().to_frame().T
    sums["concurrency_num"] /= DAY_MINUTES
    return metrics_of(sums, METRICS)


def metrics_of(sums: pd.DataFrame, metrics: Sequence[Metric]) -> list[tuple[str, str, str, str]]:
    """(metric, value, unit, what it is) of metrics, from one row of their sums."""
    found = frames.values(sums, metrics).iloc[0]
    return [(m.name, *_shown(found[m.name], m.unit), m.doc) for m in metrics]


def _shown(value: float, unit: str) -> tuple[str, str]:
    """A value and its unit as a reader wants them: long times in hours."""
    if pd.isna(value):
        return "", ""
    if unit == "ms" and value >= HOUR_MS:
        return f"{value / HOUR_MS:,.1f}", "h"
    return f"{value:,.4g}", "" if unit == "1" else unit


def headline(story: Story) -> list[tuple[str, str, str]]:
    """The figures worth a glance: (name, value, beside what)."""
    differing = int(story.reconcile["differing"].sum())
    integers = int((story.reconcile[["rows_stream", "rows_batch"]].max(axis=1)).sum())
    ours = story.offload["our plan"]
    oracle = story.offload.get("rate oracle", float("nan"))
    fault = story.fault
    rows: list[tuple[str, str, str]] = [
        (
            "Incidents raised",
            ", ".join(row["cohort"] for row in story.incidents) or "none",
            f"injected: {fault.name} at {fault.isp}, {fault.start_at:%H:%M} to {fault.end_at:%H:%M}",
        ),
        ("Stream against batch", f"{differing:,} differing integers", f"of {integers:,} compared"),
        ("Bytes from the edge, day after", f"{100 * ours:.1f} %", _others(story)),
        ("Distance to the rate oracle", f"{100 * (oracle - ours):.1f} points", f"oracle {100 * oracle:.1f} %"),
        (
            "Page take rate",
            story.take_rates["page policy"].percent(2),
            f"holdback {story.take_rates['page holdback'].percent(2)}",
        ),
        (
            "Artwork take rate",
            story.take_rates["artwork policy"].percent(2),
            f"holdback {story.take_rates['artwork holdback'].percent(2)}",
        ),
        ("Dead letters", f"{story.counts['dead_letters']:,}", f"poison sent {story.counts['poison']:,}"),
        (
            "Recommender",
            f"{story.model['metric']} {story.model['value']:.4f}",
            f"best baseline {story.model['baseline']:.4f}, {'promoted' if story.model['promoted'] else 'not promoted'}",
        ),
    ]
    return rows


def terminal(story: Story) -> Table:
    """The headline and the slowest steps as a terminal table."""
    table = Table(
        title=f"matinee demo {story.universe}", title_justify="left", show_header=False, box=None, padding=(0, 2)
    )
    for name, value, beside in headline(story):
        table.add_row(name, f"[bold]{value}[/bold]", f"[dim]{beside}[/dim]")
    seconds = sum(took for _, took in story.timings)
    table.add_row(
        "Time",
        f"{seconds:.0f} s",
        f"[dim]peak memory {story.peak_memory_bytes / 2**30:.1f} GiB (proportional set size)[/dim]",
    )
    return table


def _others(story: Story) -> str:
    rest = [
        f"{name} {100 * value:.1f} %"
        for name, value in story.offload.items()
        if name not in ("our plan", "rate oracle")
    ]
    return ", ".join(rest)


def _busiest_cluster(story: Story) -> str:
    """The cluster that fills most: the one worth drawing."""
    return str(story.plan.sort_values(["fill_bytes", "cdn_id"], ascending=[False, True])["cdn_id"].iloc[0])


def _hue(text: Any) -> int:
    """A stable hue (0..359) for a theme, so that one theme has one colour on every page."""
    return int.from_bytes(hashlib.blake2b(str(text).encode(), digest_size=2).digest(), "big") % 360
