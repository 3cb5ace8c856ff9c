"""``matinee session SID``: one session drawn on the terminal, or into a page.

Its timeline, its spans with what the fold made of them, and the raw events beside them. Reads the lake without a JVM.
"""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conf.errors import InputMissing, UsageError
from conf.settings import load
from jobs.registry import SESSION_DAYS
from models.playback.events import keeps
from models.playback.spans import REVISIONS, Policy, Revision
from models.playback.story import Report, Story, Stretch, tell
from schemas import tables as t

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from lake.reader import Lake

# State: (glyph, colour). A glyph tells states apart where there is no colour.
STATES = {
    "preloading": ("o", "grey50"),
    "starting": ("▒", "yellow"),
    "playing": ("█", "green"),
    "seeking": ("»", "cyan"),
    "rebuffering": ("!", "bold red"),
    "paused": ("=", "grey62"),
    "ended": ("e", "blue"),
    "failed": ("x", "bold magenta"),
    "quit": ("q", "blue"),
    "unknown": ("?", "grey50"),
}
URGENT = ("failed", "rebuffering", "seeking", "starting", "paused", "unknown", "playing", "preloading", "ended", "quit")
"""Of the states within one cell of the timeline, the first of these is drawn: a short stall must not vanish."""
LEVELS = "▁▂▃▄▅▆▇█"
PAGE_WIDTH = 150
AROUND_DAYS = (1, SESSION_DAYS)
"""Raw events are read from this many days before the session's first to this many after its last: letters too, which
`sessionize` takes in."""
EVENT_DETAILS = (
    ("bitrate_kbps", "kbps"),
    ("buffer_ms", "ms buffered"),
    ("stall_count", "stalls"),
    ("stall_total_ms", "ms stalled"),
    ("start_delay_ms", "ms to start"),
    ("dropped_frames", "frames dropped"),
    ("error_code", "error"),
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("session_id", metavar="SID")
@click.option("--revision", default="final", metavar="live|final", help="With late events (final) or without (live).")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write it as a page.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Also write it as a picture.")
def session(session_id: str, revision: str, html: Path | None, svg: Path | None) -> None:
    """Draw one playback session: states, stalls with their cause, repairs and flags, beside its raw events.

    \b
    matinee session 7-6-9c-71984171
    matinee session 7-6-9c-71984171 --html session.html

    A session that was not folded yet is drawn from its raw events alone.
    """
    chosen = next((one for one in REVISIONS if one == revision), None)
    if chosen is None:
        raise UsageError(f"--revision {revision!r}; it must be live or final")
    for file in (html, svg):
        if file is not None and not file.parent.is_dir():
            raise UsageError(f"{file}: the folder {file.parent} does not exist")
    import lake

    settings = load()
    story = read(lake.connect(settings), session_id, chosen, Policy.of(settings.fold))
    from rich.console import Console

    draw(Console(highlight=False), story, session_id, revision)
    for file, form in ((html, "html"), (svg, "svg")):
        if file is not None:
            text = page(story, session_id, revision, form)
            try:
                file.write_text(text, encoding="utf-8")
            except OSError as error:
                raise UsageError(f"{file} cannot be written: {error.strerror or error}") from None
            click.echo(f"written: {file}", err=True)


def read(home: Lake, session_id: str, revision: Revision, policy: Policy) -> Story:
    """The session's rows of silver.session, silver.span and bronze.playback_event.

    Raises:
        InputMissing: the lake holds nothing of it; the message names some that it holds.
    """
    sessions = _rows(home, t.SESSION, "session_id = ? AND revision = ?", [session_id, revision])
    spans: list[dict[str, Any]] = []
    window: tuple[date, date] | None = None
    if sessions:
        first, last = min(row["start_at"] for row in sessions).date(), max(row["end_at"] for row in sessions).date()
        spans = _rows(home, t.SPAN, "session_id = ? AND revision = ?", [session_id, revision], (first, last))
        window = first - timedelta(days=AROUND_DAYS[0]), last + timedelta(days=AROUND_DAYS[1])
    events = _rows(home, t.BRONZE_PLAYBACK_EVENT, "session_id = ?", [session_id], window)
    if not sessions and not events:
        known = _some(home, session_id)
        raise InputMissing(
            f"session {session_id!r} is not in this lake, neither folded (silver.session) nor raw "
            f"(bronze.playback_event); it may not have been ingested yet, or be past its retention"
            + (f". There are e.g. {', '.join(known)}" if known else "")
        )
    return tell(*([_in_ms(row) for row in rows] for rows in (sessions, spans, events)), policy, revision)


def _rows(
    home: Lake, table: t.Table, where: str, values: list[str], days: tuple[date, date] | None = None
) -> list[dict[str, Any]]:
    """Rows of one table; none if it is not there yet."""
    try:
        connection = home.connection([table])
    except InputMissing:
        return []
    if days is not None:
        where += f" AND {table.partition} BETWEEN DATE '{days[0]}' AND DATE '{days[1]}'"
    return connection.execute(f"SELECT * FROM {table.fqn} WHERE {where}", values).to_arrow_table().to_pylist()


def _some(home: Lake, session_id: str) -> list[str]:
    """Up to three sessions of the lake, those that begin alike first."""
    try:
        connection = home.connection([t.SESSION])
    except InputMissing:
        return []
    found = connection.execute(
        f"SELECT session_id FROM {t.SESSION.fqn} GROUP BY 1 "
        "ORDER BY jaro_winkler_similarity(session_id, ?) DESC, session_id LIMIT 3",
        [session_id],
    ).fetchall()
    return [row[0] for row in found]


def _in_ms(row: dict[str, Any]) -> dict[str, Any]:
    """Times as UTC milliseconds; a null list of kept columns is an empty one."""
    made = {name: _ms(value) if isinstance(value, datetime) else value for name, value in row.items()}
    return made | {"kept": made["kept"] or ""} if "kept" in made else made


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


# -- drawing ----------------------------------------------------------------------------------------------------------


def page(story: Story, session_id: str, revision: str, form: str) -> str:
    """The drawing as a page (`html`) or a picture (`svg`)."""
    from rich.console import Console
    from rich.terminal_theme import MONOKAI, SVG_EXPORT_THEME

    console = Console(record=True, width=PAGE_WIDTH, file=io.StringIO(), highlight=False, force_terminal=True)
    draw(console, story, session_id, revision)
    title = f"session {session_id}"
    return (
        console.export_svg(title=title, theme=SVG_EXPORT_THEME) if form == "svg" else console.export_html(theme=MONOKAI)
    )


def draw(console: Console, story: Story, session_id: str, revision: str) -> None:
    """Heading, timeline, and the table of stretches beside events."""
    for part in (*_heading(story, session_id, revision), *_timeline(story, console.width), _table(story)):
        console.print(part)


def _heading(story: Story, session_id: str, revision: str) -> list[RenderableType]:
    from rich.text import Text

    lines: list[RenderableType] = [Text(f"session {session_id}, revision {revision}", style="bold")]
    if not story.sessions:
        lines.append(Text("not folded yet: raw events alone; `matinee job sessionize` folds its day", style="yellow"))
    for row in story.sessions:
        flags = [
            *(["end inferred"] if row["inferred"] else []),
            *(f"{row[name]} {name}" for name in ("missing", "duplicates", "late") if row[name]),
            *([f"clock {row['clock_offset_ms']:+,} ms"] if row["clock_offset_ms"] else []),
        ]
        lines.append(
            Text(
                _plain(
                    f"segment {row['segment']}: title {row['title_id']}, profile {row['profile_id']}, {row['device']}, "
                    f"app {row['app_version']}, {row['isp']} {row['country']}, CDN {row['cdn_id']}"
                )
                + f"\n  {_moment(row['start_at'], True)} to {_moment(row['end_at'], True)}, {row['end_reason']}; "
                f"played {_span_of(row['play_ms'])}, stalls {row['stalls']} of {_span_of(row['stall_ms'])}, "
                f"watched {_span_of(row['watched_ms'])}, {row['events']} events"
            )
        )
        if flags:
            lines.append(Text("  flags: " + ", ".join(flags), style="yellow"))
    return lines


def _timeline(story: Story, width: int) -> list[Text]:
    """Lanes of one cell a slice of time: state, bitrate, overlays, events."""
    from rich.text import Text

    if not story.stretches:
        return []
    begin, end = story.stretches[0].start_at, max(one.end_at for one in story.stretches)
    cells = max(20, width - 10)
    step = max((end - begin) / cells, 1e-9)
    lanes = {name: Text(f"{name:<9}", style="grey62") for name in ("state", "bitrate", "flags", "events")}
    top = max((one.row["bitrate_kbps"] or 0 for one in story.stretches), default=0)
    counts = [0] * cells
    for report in story.reports:
        counts[min(cells - 1, max(0, int((report.at - begin) / step)))] += 1
    for cell in range(cells):
        low, high = begin + cell * step, begin + (cell + 1) * step
        inside = [one for one in story.stretches if one.start_at < high and max(one.end_at, one.start_at + 1) > low]
        state = min((one.row["state"] for one in inside), key=URGENT.index, default=None)
        glyph, colour = STATES[state] if state else (" ", "default")
        lanes["state"].append(glyph, style=colour)
        rate = max((one.row["bitrate_kbps"] or 0 for one in inside), default=0)
        lanes["bitrate"].append(LEVELS[round(7 * rate / top)] if rate else " ", style="blue")
        lanes["flags"].append(
            "?" if any(one.row["unobserved"] for one in inside)
            else "A" if any(one.row["ad"] for one in inside)
            else "b" if any(one.row["background"] for one in inside)
            else " ",
            style="yellow",
        )  # fmt: skip
        lanes["events"].append("|" if counts[cell] == 1 else "‖" if counts[cell] else " ", style="grey62")
    key = ", ".join(f"{glyph} {name}" for name, (glyph, _) in STATES.items())
    lasts = Text(f"{'':<9}{_moment(begin)}{_moment(end):>{cells - 8}}", style="grey62")
    return [
        *lanes.values(),
        lasts,
        Text(f"{'':<9}{key}; bitrate up to {top:,} kbps; ? not observed, A ad, b in background", style="grey62"),
    ]


def _table(story: Story) -> RenderableType:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False, expand=True)
    table.add_column("at")
    table.add_column("state")
    table.add_column("for", justify="right")
    table.add_column("kbps", justify="right")
    table.add_column("what the fold made of it", ratio=2)
    table.add_column("raw events", ratio=3)
    begin = story.stretches[0].start_at if story.stretches else None
    last: dict[str, Any] = {}
    for stretch, reports in _beside(story):
        if stretch is None:
            table.add_row("", "", "", "", "no span", _events(reports, begin, last))
            continue
        glyph, colour = STATES[stretch.row["state"]]
        table.add_row(
            _moment(stretch.start_at),
            f"[{colour}]{glyph}[/] {stretch.row['state']}",
            _span_of(stretch.duration_ms),
            f"{stretch.row['bitrate_kbps']:,}" if stretch.row["bitrate_kbps"] is not None else "",
            "\n".join((*_overlays(stretch), *stretch.notes)),
            _events(reports, begin, last),
            style="on grey15" if stretch.row["state"] in ("rebuffering", "failed") else None,
        )
    return table


def _beside(story: Story) -> list[tuple[Stretch | None, list[Report]]]:
    """Each stretch with the events inside it; events outside every stretch stand before or after, in time."""
    told: list[tuple[Stretch | None, list[Report]]] = []
    left = sorted(story.reports, key=lambda one: one.at)
    for place, stretch in enumerate(story.stretches):
        outside = [one for one in left if one.at < stretch.start_at]
        if outside:
            told.append((None, outside))
        following = story.stretches[place + 1].start_at if place + 1 < len(story.stretches) else None
        ends = stretch.end_at if following is None or following > stretch.end_at else stretch.end_at - 1
        inside = [one for one in left[len(outside) :] if one.at <= ends]
        told.append((stretch, inside))
        left = left[len(outside) + len(inside) :]
    return [*told, *([(None, left)] if left else [])]


def _overlays(stretch: Stretch) -> list[str]:
    return [name for name, on in (("ad", stretch.row["ad"]), ("in background", stretch.row["background"])) if on]


def _events(reports: list[Report], begin: int | None, before: dict[str, Any]) -> str:
    """One line an event, with the details that differ from those last told (`before`, which is brought up to date)."""
    from rich.markup import escape

    lines = []
    for report in reports:
        row = report.row
        details = [
            f"{row[name]:,} {unit}" if isinstance(row[name], int) else f"{unit} {row[name]}"
            for name, unit in EVENT_DETAILS
            if row.get(name) is not None and row[name] != before.get(name)
        ]
        before |= {name: row.get(name) for name, _ in EVENT_DETAILS}
        since = f"{(report.at - begin) / 1000:+.3f} s " if begin is not None else f"{_moment(report.at)} "
        marks = "".join(mark for mark, on in ((" ad", row["ad"]), (" bg", row["background"])) if on)
        # Where it says nothing of its state, the column holds one all the same, for a session that begins with it.
        state = "" if keeps(row.get("kept") or "", "state") else f" {row['state']}"
        text = escape(_plain(f"{since}#{row['seq']} {row['event']}{state}{marks} {', '.join(details)}".rstrip()))
        lines.append(text + "".join(f" [yellow]<{escape(flag)}>[/]" for flag in report.flags))
    return "\n".join(lines)


def _plain(text: str) -> str:
    """What a player said, without what a terminal would obey or a picture could not hold."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _moment(at: int, with_day: bool = False) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}Z" if with_day else f"{moment:%H:%M:%S}"


def _span_of(ms: int) -> str:
    """A time as people say it: 950 ms, 12.3 s, 4:05, 1:02:03."""
    if ms < 1000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
