"""Pictures of a training run, kept with it in MLflow: each a function from figures to SVG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.recommend.evaluate import Judged
from models.recommend.promote import Verdict
from models.recommend.strong import Paired

STYLE = {"svg.hashsalt": "matinee", "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"}


def charts(judged: Mapping[str, Judged], verdict: Verdict) -> dict[str, bytes]:
    """`plots/*.svg`; none without a day that was judged."""
    if not judged:
        return {}
    means = {name: by["ndcg"] for name, by in verdict.intervals.items()}
    return {
        "plots/ndcg.svg": intervals("NDCG@10 of each model, 95 %", means),
        "plots/gain.svg": intervals("NDCG@10 of the new model less each rival's, paired, 95 %", verdict.against, 0.0),
        "plots/origins.svg": by_origin("NDCG@10 by origin", judged),
    }


def intervals(title: str, found: Mapping[str, Paired], line: float | None = None) -> bytes:
    """A point and its interval a name; `line` marks a value."""
    with rc_context(STYLE):
        figure, axes = _figure(title, 1.4 + 0.4 * len(found))
        place = np.arange(len(found))
        mean = np.array([one.mean for one in found.values()])
        gap = np.array([[one.mean - one.low, one.high - one.mean] for one in found.values()]).T
        axes.errorbar(mean, place, xerr=np.maximum(gap, 0.0), fmt="o", capsize=3)
        axes.set_yticks(place, list(found))
        axes.invert_yaxis()
        if line is not None:
            axes.axvline(line, color="gray", lw=1)
        return _svg(figure)


def by_origin(title: str, judged: Mapping[str, Judged]) -> bytes:
    """A line a model over the origins, dates on the x axis."""
    with rc_context(STYLE):
        figure, axes = _figure(title, 3.2)
        for name, one in judged.items():
            days, code = np.unique(one.origin, return_inverse=True)
            mean = np.bincount(code, weights=one.ndcg) / np.bincount(code)
            axes.plot(days.astype("datetime64[D]"), mean, marker="o", label=name)
        axes.set_xticks(np.unique(np.concatenate([one.origin for one in judged.values()])).astype("datetime64[D]"))
        axes.legend(frameon=False)
        return _svg(figure)


def _figure(title: str, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.0, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _svg(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
