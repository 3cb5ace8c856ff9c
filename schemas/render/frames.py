"""The sums of the metrics over a pandas frame of spans: for notebooks, reports and small checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from schemas.metrics import ALL, DIMENSIONS, METRICS, ROLLUPS, Metric, Rollup
from schemas.render.sql import MINUTE_KEYS, measures, row_expressions


def row_values(spans: pd.DataFrame, metrics: Sequence[Metric] | None = None) -> pd.DataFrame:
    """Row-level numerators and denominators (int64), one column a sum, with the index of `spans`."""
    whole = spans[measures(metrics)].astype("int64")
    return pd.DataFrame({name: whole.eval(expression) for name, expression in row_expressions(metrics)}, spans.index)


def rollup_sums(
    spans: pd.DataFrame, keys: Mapping[str, str] = MINUTE_KEYS, rollups: Sequence[Rollup] = ROLLUPS
) -> pd.DataFrame:
    """What `schemas.render.sql.rollup_sums` makes: rows of `qoe_minute` or, with its keys, of `qoe_daily`."""
    rows = row_values(spans)
    columns = list(rows)
    leading = [name for name in keys if name != "revision"]
    order = ["rollup", *leading, *DIMENSIONS, *(name for name in keys if name == "revision")]
    parts = []
    for rollup in rollups:
        by = pd.DataFrame({name: spans[origin] for name, origin in keys.items()}, index=spans.index)
        for name in DIMENSIONS:
            by[name] = spans[name] if name in rollup.by else ALL
        parts.append(pd.concat([by.assign(rollup=rollup.name)[order], rows], axis=1))
    return pd.concat(parts).groupby(order, sort=True, as_index=False)[columns].sum()


def values(sums: pd.DataFrame, metrics: Sequence[Metric] = METRICS) -> pd.DataFrame:
    """The metrics over a frame of sums (float64; NaN where the denominator is 0), with the index of `sums`."""
    found = {}
    for metric in metrics:
        num, *den = (sums[name].astype("float64") for name in metric.columns)
        value = num / den[0].where(den[0] != 0) if den else num
        found[metric.name] = value / metric.scale
    return pd.DataFrame(found)
