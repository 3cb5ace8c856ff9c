"""`matinee session`: folded by the reference, put into a lake, drawn; the drawing says what the golden cases say."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from rich.console import Console

import matinee
from conf.errors import InputMissing, UsageError
from jobs.session_view import _events, draw, page
from models.playback.spans import Policy, fold
from models.playback.story import tell
from schemas import tables as t
from schemas.records import Scalar
from tests.fixtures.spark import lake_variables
from tests.lake import facts
from tests.models.playback import golden

CASES = ("stall", "gap", "seek", "duplicate", "late_event", "content_change")
MINUTE = 60_000
DAY, LETTER_DAYS = 86_400_000, 6


def _at_rest(table: t.Table, rows: list[dict]) -> list[dict]:  # type: ignore[type-arg]
    """Rows of the fold as the lake keeps them: times and dates, no column left out that is not nullable."""
    columns = {field.name: field for field in t.columns(table)}
    made = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name in columns}
        for name, value in kept.items():
            if columns[name].type is Scalar.TIMESTAMP and value is not None:
                kept[name] = pd.Timestamp(value, unit="ms", tz="UTC")
            elif columns[name].type is Scalar.DATE and isinstance(value, int):
                kept[name] = (pd.Timestamp(0) + pd.Timedelta(days=value)).date()
        made.append(kept)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of golden cases, each one session named after its case, and of one session that nobody folded."""
    made = tmp_path_factory.mktemp("session")
    settings = facts.settings_of(made)
    events, spans, sessions = [], [], []
    for number, case in enumerate(CASES):
        mine = [
            row | {"session_id": case, "kafka_offset": 1000 * number + row["kafka_offset"]}
            for row in golden.events(case)
        ]
        events += mine
        for revision in ("live", "final"):
            folded = fold(mine, golden.policy(case), revision)  # type: ignore[arg-type]
            spans += folded.spans
            sessions += folded.sessions
    events += [
        row | {"session_id": "raw", "kafka_offset": 9000 + n} for n, row in enumerate(golden.events("plain_play"))
    ]
    late = [row | {"session_id": "letter", "kafka_offset": 8000 + n} for n, row in enumerate(golden.events("stall"))]
    late[2] |= {name: late[2][name] + LETTER_DAYS * DAY for name in ("received_at", "post_device_at")}
    late[2]["kafka_offset"] = 8999
    folded = fold(late, Policy(), "final")
    events, spans, sessions = events + late, spans + folded.spans, sessions + folded.sessions
    for row in events:
        row["received_date"] = datetime.fromtimestamp(row["received_at"] / 1000, UTC).date()
    for table, rows in ((t.BRONZE_PLAYBACK_EVENT, events), (t.SPAN, spans), (t.SESSION, sessions)):
        facts.given(settings, table, *_at_rest(table, rows))
    return made


@pytest.fixture
def drawn(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[object]:
    """`drawn(words...)` runs the command and returns its exit code and what it wrote, a line a row."""
    for name, value in lake_variables(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, str, str]:
        code = matinee.main(["session", *words])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    yield run


def test_a_stall_is_drawn_beside_its_events(drawn) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = drawn("stall")
    assert code == 0
    row = next(line for line in out.splitlines() if "rebuffering" in line and "│" in line)
    assert "stall" in row and " r" in row
    assert out.index("starting") < out.index("first content frame") < out.index(row)
    lane = next(line for line in out.splitlines() if line.startswith("state"))
    assert "!" in lane and "█" in lane


def test_flags_say_what_is_missing_repeated_and_late(drawn) -> None:  # type: ignore[no-untyped-def]
    _, gap, _ = drawn("gap")
    assert "1 number missing before" in gap and "not observed throughout" in gap and "flags: " in gap
    _, repeated, _ = drawn("duplicate")
    assert repeated.count("<repeat, not counted>") == golden_duplicates()
    _, late, _ = drawn("late_event")
    assert "<late: not in revision live>" in late
    _, live, _ = drawn("late_event", "--revision", "live")
    assert "revision live" in live and live != late
    _, chained, _ = drawn("content_change")
    assert "segment 0: title t1" in chained and "segment 1: title " in chained


def test_a_letter_that_came_days_later_is_drawn(drawn) -> None:  # type: ignore[no-untyped-def]
    """`sessionize` takes it in up to seven days later: the events beside the spans are those that were folded."""
    _, out, _ = drawn("letter")
    assert "1 late" in out and "<late: not in revision live>" in out and "missing" not in out
    assert [line for line in out.splitlines() if "rebuffering" in line and " #2 " in line]


def golden_duplicates() -> int:
    events = golden.events("duplicate")
    return len(events) - len({row["seq"] for row in events})


def test_pages_hold_the_same(drawn, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    html, svg = tmp_path / "s.html", tmp_path / "s.svg"
    code, _, err = drawn("stall", "--html", str(html), "--svg", str(svg))
    assert code == 0 and str(html) in err
    assert "rebuffering" in html.read_text() and "</html>" in html.read_text()
    assert svg.read_text().lstrip().startswith("<svg") and "rebuffering" in svg.read_text()
    code, _, err = drawn("stall", "--html", str(tmp_path / "absent" / "s.html"))
    assert code == UsageError.exit_code and "does not exist" in err
    for given in (("--html", "/proc/x.html"), ("--svg", "/dev/full")):
        code, _, err = drawn("stall", *given)
        assert code == UsageError.exit_code and f"{given[1]} cannot be written: " in err


def test_an_unfolded_session_is_its_raw_events(drawn) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = drawn("raw")
    assert code == 0
    assert "not folded yet" in out and "#0" in out


def test_an_unknown_session_is_said_with_some_that_exist(drawn, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = drawn("stal")
    assert code == InputMissing.exit_code and not out
    assert "session 'stal' is not in this lake" in err and "There are e.g. stall, " in err
    code, _, err = drawn("stall", "--revision", "newest")
    assert code == UsageError.exit_code and "must be live or final" in err


def test_an_event_that_says_no_state_shows_none() -> None:
    """Its column holds one all the same, that of a session which begins with it: here "preloading", while it plays."""
    silent = (10, "d", {"event": "t", "kept": "ad,state"}), (11, "d", {"event": "rr", "kept": "*"})
    rows = _played(*silent, (12, "a", {}))
    story = tell([], [], rows, Policy(), "final")
    lines = _events(list(story.reports), story.reports[0].at, {})
    assert [line.split(" s ", 1)[1].split(" ")[:3] for line in lines.splitlines()[2:]] == [
        ["#2", "t"],
        ["#3", "rr"],
        ["#4", "ps", "a"],
    ]


def test_what_a_player_says_gives_the_terminal_no_orders() -> None:
    rows = _played((10, "f", {"error_code": "\x1b]0;mine\x07\x1b[2J[red]x\ny"}))
    for row in rows:
        row["title_id"] = "\x9b31mt\u202e"
    folded = fold(rows, Policy(), "final")
    story = tell(folded.sessions, folded.spans, rows, Policy(), "final")
    shown = io.StringIO()
    draw(Console(file=shown, width=200, highlight=False), story, "s", "final")
    assert all(line.isprintable() for line in shown.getvalue().splitlines())
    assert "title \ufffd31mt\ufffd," in shown.getvalue() and "[2J[red]x\ufffdy" in shown.getvalue()
    ElementTree.fromstring(page(story, "s", "final", "svg"))  # a control character would break it


def test_of_a_start_that_was_not_seen_nothing_is_said_to_be_missing() -> None:
    rows = _played()[1:]
    rows[0] |= {"seq": 0}
    folded = fold(rows, Policy(), "final")
    story = tell(folded.sessions, folded.spans, rows, Policy(), "final")
    assert "start not measured: its begin was not seen, or an event before it is missing" in story.stretches[0].notes


SPAN = {
    "segment": 0, "ad": False, "background": False, "bitrate_kbps": 800, "cdn_id": "c", "unobserved": False,
    "stalls": 0, "stall_ms": 0, "cir_stalls": 0, "cir_stall_ms": 0,
}  # fmt: skip


def spans(*rows: dict) -> list[dict]:  # type: ignore[type-arg]
    """Spans of 10 s each, one after the other."""
    return [SPAN | {"span": n, "start_at": 10_000 * n, "end_at": 10_000 * (n + 1)} | row for n, row in enumerate(rows)]


STALLED = {"state": "rebuffering", "stalls": 1, "stall_ms": 10_000}


@pytest.mark.parametrize(
    ("before", "stall", "said"),
    [
        ({"state": "playing"}, STALLED | {"cir_stalls": 1}, "stall caused by the connection"),
        ({"state": "paused"}, STALLED, "stall not caused by the connection"),
        ({"state": "playing"}, STALLED | {"ad": True}, "not counted as a stall: an ad is on screen"),
        (
            {"state": "playing"},
            STALLED | {"stalls": 0, "stall_ms": 0},
            "not counted as a stall: before the first frame",
        ),
    ],
)
def test_a_stall_without_its_events(before: dict, stall: dict, said: str) -> None:  # type: ignore[type-arg]
    """Bronze is kept for a shorter time than silver: what the rows do not say is not guessed."""
    assert tell([], spans(before, stall), [], Policy(), "final").stretches[-1].notes[-1] == said


def _causes(events: list[dict]) -> list[str]:  # type: ignore[type-arg]
    """What is said of each stall of a session, without the words that all have in common."""
    folded = fold(events, Policy(), "final")
    story = tell(folded.sessions, folded.spans, events, Policy(), "final")
    said = [one.notes[-1] for one in story.stretches if one.row["state"] == "rebuffering"]
    return [one.removeprefix("stall ").removesuffix(" before: not the connection's") for one in said]


def _played(*steps: tuple[float, str, dict]) -> list[dict]:  # type: ignore[type-arg]
    """A start at 0 s, content from 1 s, then these (second, state, columns)."""
    return [
        golden.DEFAULTS
        | {"seq": n, "kafka_offset": n, "state": state}
        | dict.fromkeys(("device_at", "received_at", "post_device_at"), 1_790_000_000_000 + round(second * 1000))
        | more
        for n, (second, state, more) in enumerate([(0, "s", {}), (1, "p", {}), *steps])
    ]


def test_every_stall_has_its_cause() -> None:
    assert _causes(golden.events("stall_causes")) == [
        "after a pause, 1,000 ms",
        "after a rate change, 1,000 ms",
        "after an ad, 1,000 ms",
        "caused by the connection",
    ]


def test_causes_are_the_law_s_and_no_names_of_events() -> None:
    faster = {"playback_rate": 1.5}
    carried = _played((20, "a", {}), (22, "p", {}), (24, "p", faster | {"event": "t"}), (25, "r", faster))
    assert _causes(carried) == ["after a rate change, 1,000 ms"]
    empty = _played((20, "k", {}), (21, "p", {}), (22, "p", {"event": "pr"}), (23, "r", {}))
    assert _causes(empty) == ["after a seek, 2,000 ms"]
    from_zero = _played((20, "k", {}), (21, "p", {"playback_rate": 0.0}), (22, "p", {"event": "pr"}), (23, "r", {}))
    assert _causes(from_zero) == ["after a seek, 2,000 ms"]
    both = _played((20, "a", {}), (22, "p", {}), (23, "r", {}), (24, "r", {"bitrate_kbps": 400}), (25, "p", {}))
    assert _causes(both) == ["after a pause, 1,000 ms"] * 2


def test_a_lake_without_causes_says_so() -> None:
    old = [{k: v for k, v in row.items() if not k.startswith("cir_")} for row in spans({"state": "playing"}, STALLED)]
    assert "cause not kept" in tell([], old, [], Policy(), "final").stretches[-1].notes[-1]


def test_repairs_are_told_and_minutes_joined() -> None:
    repaired = {"state": "playing", "repaired_stalls": 2, "repaired_stall_ms": 3400, "gaps": 1, "gaps_verified": 1}
    story = tell([], spans({"state": "playing"}, repaired, {"state": "paused"}), [], Policy(), "final")
    assert [one.duration_ms for one in story.stretches] == [10_000, 10_000, 10_000]
    notes = " | ".join(story.stretches[1].notes)
    assert "stalls +2, stalled +3,400 ms; place unknown" in notes and "of which the player's counters tell 1" in notes
    taken_back = spans({"state": "playing"}, {"state": "paused", "gaps_verified": -1})
    back = tell([], taken_back, [], Policy(), "final")
    assert "a gap before is not verified after all" in back.stretches[-1].notes[0]
    minutes = spans({"state": "playing", "stall_ms": 1}, {"state": "playing", "stall_ms": 2})
    joined = tell([], minutes, [], Policy(), "final")
    assert [(one.duration_ms, one.row["stall_ms"]) for one in joined.stretches] == [(20_000, 3)]
