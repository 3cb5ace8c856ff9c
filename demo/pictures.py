"""The report's pictures: each a function from frames to an SVG string; no file, no global state."""

from __future__ import annotations

import io
from collections.abc import Mapping

import matplotlib

matplotlib.use("Agg")

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from conf.alerts import LEAST_PROFILES
from demo.story import WINDOW, FaultWindow
from models.experiment.intervals import Estimate

INK, MUTED, GRID = "#1c2430", "#7b8794", "#e6e9ee"
ACCENT, WARM, COOL, GOOD = "#c8102e", "#e07a1f", "#2f6f9f", "#3a8f5c"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "matinee",
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "legend.frameon": False,
}


def qoe_over_the_day(qoe: pd.DataFrame, fault: FaultWindow, viewers: pd.DataFrame) -> str:
    """Concurrency, and the rebuffer ratio of every ISP, a point a window, the fault's window shaded.

    `qoe` holds rows of `qoe_minute`, rollups `total` and `place`. Ratios are sums over sums of the window; windows in
    which fewer than `LEAST_PROFILES` of an ISP watched (`viewers`: isp, window, profiles) are left out.
    """
    minutes = pd.Timedelta(WINDOW).total_seconds() / 60
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 5.6), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.6])
        frame = qoe.assign(window=pd.to_datetime(qoe["minute_at"], utc=True).dt.floor(WINDOW))
        total = frame[frame["rollup"] == "total"].groupby("window")["concurrency_num"].sum() / (60_000 * minutes)
        top.fill_between(total.index, total.to_numpy(), color=COOL, alpha=0.25, lw=0)
        top.plot(total.index, total, color=COOL, lw=1.4)
        top.set_title("Sessions alive")
        sums = (
            frame[frame["rollup"] == "place"]
            .groupby(["isp", "window"])[["rebuffer_ratio_num", "rebuffer_ratio_den"]]
            .sum()
        )
        enough = viewers.set_index(["isp", "window"])["profiles"].reindex(sums.index, fill_value=0) >= LEAST_PROFILES
        for isp, rows in sums[enough.groupby(level="isp").transform("any")].groupby(level="isp"):
            shown = rows.where(enough[rows.index]).droplevel("isp")
            ratio = 100 * shown["rebuffer_ratio_num"] / shown["rebuffer_ratio_den"].where(lambda den: den > 0)
            guilty = isp == fault.isp
            bottom.plot(
                ratio.index,
                ratio,
                color=ACCENT if guilty else MUTED,
                lw=2.0 if guilty else 0.8,
                alpha=1 if guilty else 0.6,
                zorder=3 if guilty else 2,
            )
        for axes in (top, bottom):
            axes.axvspan(fault.start_at, fault.end_at, color=ACCENT, alpha=0.08, lw=0)
        bottom.annotate(
            f"{fault.name.replace('_', ' ')}\n{fault.isp}",
            (fault.end_at, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(6, 0),
            textcoords="offset points",
            color=ACCENT,
            va="top",
            fontsize=9,
        )
        bottom.set_title("Rebuffer ratio by ISP, percent")
        bottom.xaxis.set_major_formatter(mdates.DateFormatter("%H:%M"))
        return _svg(figure)


def funnel(steps: Mapping[str, int]) -> str:
    """Bars of a funnel, each with its count and its share of the step before."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 0.52 * len(steps) + 0.5), layout="constrained")
        axes = figure.subplots()
        names, values = list(steps), list(steps.values())
        widest = max([*values, 1])
        axes.barh(names, values, color=COOL, height=0.62)
        for i, value in enumerate(values):
            share = f"  {100 * value / values[i - 1]:.1f} % of the step before" if i and values[i - 1] else ""
            axes.text(value + widest * 0.005, i, f"{value:,}{share}", va="center", fontsize=9)
        axes.invert_yaxis()
        axes.set_xlim(0, widest * 1.28)
        axes.grid(False)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        return _svg(figure)


def forecast_against_truth(forecast: pd.DataFrame) -> str:
    """Expected against asked bytes, one dot a file and region, both axes logarithmic; the diagonal is perfect."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 5.2), layout="constrained")
        axes = figure.subplots()
        seen = forecast[(forecast["expected_bytes"] > 0) & (forecast["asked_bytes"] > 0)]
        for method, colour in (("history", COOL), ("release_calendar", WARM)):
            rows = seen[seen["method"] == method]
            axes.scatter(
                rows["expected_bytes"],
                rows["asked_bytes"],
                s=8,
                alpha=0.45,
                lw=0,
                color=colour,
                label=f"{method.replace('_', ' ')} ({len(rows):,})",
            )
        if len(seen):
            values = seen[["expected_bytes", "asked_bytes"]].to_numpy()
            ends = [values.min(), values.max()]
            axes.plot(ends, ends, color=INK, lw=0.8)
            axes.set(xscale="log", yscale="log")
        axes.set(
            xlabel="expected bytes",
            ylabel="bytes asked for on the day after",
            title="Forecast against truth, by file and region",
        )
        axes.legend(loc="upper left")
        return _svg(figure)


def disk_before_and_after(disk: pd.DataFrame, cdn_id: str, top: int = 24) -> str:
    """What one cluster held before the fill and holds after it, by title, largest first."""
    with matplotlib.rc_context(STYLE):
        rows = disk[disk["cdn_id"] == cdn_id].copy()
        rows["most"] = rows[["before_bytes", "after_bytes"]].max(axis=1)
        rows = rows.sort_values(["most", "title_id"], ascending=[False, True]).head(top)
        figure = Figure(figsize=(10, 0.22 * max(len(rows), 4) + 1), layout="constrained")
        axes = figure.subplots()
        place, height = np.arange(len(rows)), 0.38
        axes.barh(
            place - height / 2, rows["before_bytes"] / 1e9, height, color=MUTED, alpha=0.6, label="before the fill"
        )
        axes.barh(place + height / 2, rows["after_bytes"] / 1e9, height, color=GOOD, label="after the fill")
        axes.set_yticks(place, rows["name"], fontsize=8)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="GB", title=f"Disk of cluster {cdn_id}: the {len(rows)} largest titles")
        axes.legend(loc="lower right")
        return _svg(figure)


def offload_lines(offload: Mapping[str, float], logged: float) -> str:
    """Share of bytes from the edge under every policy on the same log, and what the logs themselves show."""
    with matplotlib.rc_context(STYLE):
        rows = sorted(offload.items(), key=lambda item: item[1])
        figure = Figure(figsize=(10, 0.45 * len(rows) + 0.9), layout="constrained")
        axes = figure.subplots()
        colours = [GOOD if name == "our plan" else (WARM if "oracle" in name else MUTED) for name, _ in rows]
        axes.barh([name for name, _ in rows], [100 * value for _, value in rows], color=colours, height=0.62)
        for i, (_, value) in enumerate(rows):
            axes.text(100 * value + 0.4, i, f"{100 * value:.1f} %", va="center", fontsize=9)
        axes.axvline(100 * logged, color=ACCENT, lw=1.2, ls="--")
        axes.text(
            100 * logged, len(rows) - 0.45, f" logged {100 * logged:.1f} %", color=ACCENT, fontsize=9, va="bottom"
        )
        axes.grid(axis="y", visible=False)
        axes.set(title="Bytes served from the edge on the day after", xlim=(0, 100))
        return _svg(figure)


def take_rates(rates: Mapping[str, Estimate]) -> str:
    """Take rate of every arm with its interval."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 2.9), layout="constrained")
        axes = figure.subplots()
        _intervals(axes, rates)
        axes.set(title="Impressions taken, percent")
        return _svg(figure)


def _intervals(axes: Axes, rates: Mapping[str, Estimate]) -> None:
    for i, (name, rate) in enumerate(rates.items()):
        colour = GOOD if name.endswith("policy") else MUTED
        axes.plot([100 * rate.low, 100 * rate.high], [i, i], color=colour, lw=2.4, solid_capstyle="round")
        axes.plot([100 * rate.value], [i], "o", color=colour)
    axes.set_yticks(range(len(rates)), list(rates))
    axes.set_ylim(len(rates) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def _svg(figure: Figure) -> str:
    """The figure as an inline SVG element: without the XML head, the same bytes for the same data."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
