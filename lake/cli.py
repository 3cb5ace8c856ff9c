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
@click.option("--limit", type=click.IntRange(0), default=200, metavar="N",
              help="Most rows of a table that are printed (csv and json: all).")
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
    try:
        lines = render(answer, form, limit)
    except (OverflowError, ValueError) as error:
        raise UsageError(f"the answer cannot be shown ({error}); cast it to VARCHAR") from error
    for line in lines:
        click.echo(line)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("profile_id")
@click.argument("title", required=False)
@click.option("--date", "day", required=True, metavar="DAY", help="Day of the page, YYYY-MM-DD.")
def why(profile_id: str, title: str | None, day: str) -> None:
    """Explain the home page of PROFILE_ID: its arm, its model, and the reason of every row; or one TITLE on it.

    Everything said is read off the page's own record, as it was made: no model is asked again.
    """
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
    for line in rows_told(page, titles) if title is None else placement_told(page, titles, title):
        click.echo(line)


def rows_told(page: dict[str, Any], names: dict[str, str]) -> list[str]:
    """Every row of a home_page record with its reason and first shows."""
    lines = []
    for place, row in enumerate(page["rows"]):
        shown = ", ".join(names.get(t, t) for t in row["title_ids"][:6])
        lines += [f"{place:>2} {row['heading']} ({row['row_kind']}): {row['reason']}", f"   {shown}"]
    return lines


def placement_told(page: dict[str, Any], names: dict[str, str], title: str) -> list[str]:
    """Why a title (id or name) stands where it stands on a home_page record.

    Raises:
        InputMissing: it is not on the page.
    """
    wanted = {title, *(t for t, name in names.items() if name.casefold() == title.casefold())}
    for r, row in enumerate(page["rows"]):
        for c, title_id in enumerate(row["title_ids"]):
            if title_id not in wanted:
                continue
            said = next((e for e in page.get("evidence") or [] if e["title_id"] == title_id), None)
            lines = [
                f"{names.get(title_id, title_id)} ({title_id}): row {r + 1} of {len(page['rows'])}, cell {c + 1} of "
                f"{len(row['title_ids'])}",
                f"row: {row['heading']} ({row['row_kind']}): {row['reason']}",
            ]
            if said is None:
                return [*lines, "its record holds no evidence (made before evidence was kept)"]
            lines.append(f"worth {said['worth']:.4g} of the best title this profile may see")
            because = zip(said["because_ids"], said["because_shares"], strict=True)
            told = [f"  {names.get(t, t)} ({t}): {share:.0%}" for t, share in because]
            if told:
                return [*lines, "of all that its history says for it, most comes from", *told]
            return [*lines, "nothing in the history speaks for it in particular"]
    on = sum(len(row["title_ids"]) for row in page["rows"])
    raise InputMissing(f"{title!r} is none of the {on} shows on page {page['page_id']}; leave it out to see them")


def render(table: pa.Table, form: str, limit: int) -> list[str]:
    """The answer as lines; of columns with one name the later ones get a number, as in DuckDB's own frames."""
    table = table.rename_columns(_apart(table.column_names))
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


def _apart(names: list[str]) -> list[str]:
    """Names with `_1`, `_2`, ... behind those that stand before already."""
    taken: list[str] = []
    for name in names:
        free, number = name, 0
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken.append(free)
    return taken


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
