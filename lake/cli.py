"""``matinee sql`` and ``matinee why``: questions to the lake from a shell, without a JVM."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import click

from conf.errors import InputMissing, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("table", "csv", "json")
WIDEST = 60


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("text")
@click.option("--format", "form", default="table", metavar="|".join(FORMATS), help="How to print the answer.")
@click.option("--limit", default=200, metavar="N", help="Most rows of a table that are printed (csv and json: all).")
@click.option("--as-of", "as_of", metavar="TIME", help="The lake as it stood then, e.g. 2026-11-01T12:00:00Z.")
def sql(text: str, form: str, limit: int, as_of: str | None) -> None:
    """Answer a DuckDB query over the lake's tables, named NAMESPACE.NAME.

    \b
    matinee sql "SELECT close_date, count(*) FROM silver.session GROUP BY 1"
    """
    if form not in FORMATS:
        raise UsageError(f"--format {form!r}; it must be one of {', '.join(FORMATS)}")
    import lake

    answer = lake.connect().sql(text, to="arrow", as_of=_moment(as_of) if as_of else None)
    for line in render(answer, form, limit):
        click.echo(line)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("profile_id")
@click.option("--date", "day", required=True, metavar="DAY", help="Day of the page, YYYY-MM-DD.")
def why(profile_id: str, day: str) -> None:
    """Explain the home page of a profile: its arm, its model, and the reason of every row."""
    import lake

    home = lake.connect()
    pages = home.read("gold.home_page", day=day, to="arrow").to_pylist()
    page = next((p for p in pages if p["profile_id"] == profile_id), None)
    if page is None:
        known = ", ".join(sorted(p["profile_id"] for p in pages)[:3])
        raise InputMissing(
            f"profile {profile_id!r} has no page on {day}; {len(pages):,} profiles have one"
            + (f", e.g. {known}" if known else "; job 'pages' makes them")
        )
    titles = {
        t["title_id"]: t["name"]
        for t in home.read("bronze.title", columns=["title_id", "name"], to="arrow").to_pylist()
    }
    click.echo(f"page {page['page_id']} of {profile_id} on {day}: arm {page['page_arm']}, model {page['model_id']}")
    for place, row in enumerate(page["rows"]):
        shown = ", ".join(titles.get(t, t) for t in row["title_ids"][:6])
        click.echo(f"{place:>2} {row['heading']} ({row['row_kind']}): {row['reason']}\n   {shown}")


def render(table: pa.Table, form: str, limit: int) -> list[str]:
    """The answer as lines."""
    if form == "json":
        return [json.dumps(row, default=_text) for row in table.to_pylist()]
    if form == "csv":
        return table.to_pandas(date_as_object=True).to_csv(index=False).splitlines()
    rows = [[_cell(value) for value in row.values()] for row in table.slice(0, limit).to_pylist()]
    widths = [max(map(len, column)) for column in zip(table.column_names, *rows, strict=False)]
    numeric = [_is_number(table.schema.field(i).type) for i in range(table.num_columns)]
    lines = [_line(table.column_names, widths, numeric), _line(["-" * w for w in widths], widths, numeric)]
    lines += [_line(row, widths, numeric) for row in rows]
    if table.num_rows > limit:
        lines.append(f"({limit} of {table.num_rows:,} rows; --limit shows more)")
    return lines


def _line(cells: list[str], widths: list[int], numeric: list[bool]) -> str:
    parts = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(cells, widths, numeric, strict=True)]
    return "  ".join(parts).rstrip()


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _cell(value: Any) -> str:
    text = "" if value is None else _text(value)
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return f"{value:.6g}"
    return value.isoformat() if isinstance(value, date) else str(value)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--as-of {text!r} is not a time; write it as 2026-11-01T12:00:00Z") from None
    return found
