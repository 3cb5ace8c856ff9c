"""A metric worked on one session: its spans as a band of states, under it where numerator and denominator come from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from models.playback.spans import Folded
from schemas.metrics import Metric

COLOURS = {
    "starting": "#f2c14e",
    "playing": "#5aa469",
    "rebuffering": "#d1495b",
    "seeking": "#8d6a9f",
    "paused": "#b8b8b8",
    "preloading": "#dfe7ec",
    "unknown": "#999999",
}
WIDTH, LEFT, BAND, ROW = 760, 110, 34, 26
STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800)


def value(expression: str, row: dict[str, Any]) -> int:
    """A registry's expression (names, joined by + and -) over a row of measures."""
    words = re.findall(r"[+-]|[a-z_0-9]+", expression)
    total, sign = 0, 1
    for word in words:
        if word in "+-":
            sign = 1 if word == "+" else -1
        else:
            total += sign * int(row[word])
    return total


def svg(metric: Metric, folded: Folded, what: str) -> str:
    """The picture as text.

    Args:
        metric: what is worked out.
        folded: one revision of one session, from the reference fold.
        what: the session in words.
    """
    spans = folded.spans
    first, last = spans[0]["start_at"], max(span["end_at"] for span in spans)
    length = max(last - first, 1)

    def x(at: int) -> float:
        return round(LEFT + (WIDTH - LEFT - 20) * (at - first) / length, 1)

    out = [_text(10, 20, metric.name, "bold"), _text(LEFT, 20, what), _text(10, 58, "state")]
    for span in spans:
        left, width = x(span["start_at"]), x(span["end_at"]) - x(span["start_at"])
        if not width:
            continue
        shade = ' opacity="0.45"' if span["ad"] or span["background"] else ""
        dash = ' stroke-dasharray="3 2"' if span["unobserved"] else ""
        out.append(
            f'<rect x="{left}" y="38" width="{round(width, 1)}" height="{BAND}" fill="{COLOURS[span["state"]]}"'
            f' stroke="#333" stroke-width="0.6"{dash}{shade}/>'
        )
        label = "ad" if span["ad"] else span["state"] + (", hidden" if span["background"] else "")
        if width > 7 * len(label):
            out.append(_text(left + 4, 59, label))
    top = 38 + BAND + 8
    for name, expression in (("numerator", metric.num), ("denominator", metric.den)):
        if expression is not None:
            out += _row(name, expression, spans, top, x)
            top += ROW
    out += _axis(first, last, top, x)
    height = top + 44
    out.append(_text(LEFT, height - 8, _result(metric, spans)))
    box = f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *out, "</svg>"]) + "\n"


def _row(name: str, expression: str, spans: Sequence[dict[str, Any]], top: int, x: Any) -> list[str]:
    out = [_text(10, top + 14, name)]
    free = 0.0
    for span in spans:
        n = value(expression, span)
        if n == 0:
            continue
        left, right = x(span["start_at"]), x(span["end_at"])
        out.append(
            f'<rect x="{left}" y="{top}" width="{max(round(right - left, 1), 2)}" height="18" fill="none"'
            ' stroke="#30638e"/>'
        )
        at = max(left + 4, free)
        out.append(_text(at, top + 13, f"{n:,}"))
        free = at + 8 * len(f"{n:,}") + 6
    return out


def _axis(first: int, last: int, top: int, x: Any) -> list[str]:
    seconds = (last - first) / 1000
    step = next((s for s in STEPS_S if seconds / s <= 12), STEPS_S[-1])
    out = [f'<line x1="{x(first)}" y1="{top}" x2="{x(last)}" y2="{top}" stroke="#333"/>']
    for tick in range(0, int(seconds) + 1, step):
        out.append(_text(x(first + tick * 1000), top + 14, f"{tick} s"))
    return out


def _result(metric: Metric, spans: Sequence[dict[str, Any]]) -> str:
    num = sum(value(metric.num, span) for span in spans)
    den = None if metric.den is None else sum(value(metric.den, span) for span in spans)
    scale = "" if metric.scale == 1 else f" / {metric.scale:,}"
    if den is None:
        return f"{metric.num} = {num:,}{scale}" + (f" = {num / metric.scale:g}" if scale else "")
    share = "null" if den == 0 else f"{num / den / metric.scale:.4g} {metric.unit}".removesuffix(" 1")
    return f"{num:,} / {den:,}{scale} = {share}"


def _text(at: float, y: float, text: str, weight: str = "normal") -> str:
    return f'<text x="{round(at, 1)}" y="{y}" font-weight="{weight}">{escape(text)}</text>'
