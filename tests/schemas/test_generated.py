"""Generated files are up to date; `schemas check` turns red on a hand edit, an incompatible version, a new meaning."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.registry import JOBS
from schemas import compat, generate, ids, records, tables, topics
from schemas.measures import HISTOGRAMS
from schemas.metrics import METRICS, PEAK, PLAY_METRICS, SESSION_METRICS
from schemas.render import dictionary

ROOT = Path(__file__).resolve().parents[2]
SUMS = records.load("qoe_minute").label


def test_generated_files_are_up_to_date() -> None:
    assert generate.stale() == []
    assert ids.check(ids.lock()) == []
    assert compat.every_problem() == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the command works on."""
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs" / "generated", tmp_path / "docs" / "generated")
    return tmp_path


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('schemas', run_name='__main__')"
    command = [sys.executable, "-c", code, str(tree), *words]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def without_default(tree: Path) -> None:
    avro = json.loads((tree / "schemas/records/playback_event.v2.avsc").read_text())
    avro["fields"].append({"name": "new", "type": "int", "doc": "New."})
    (tree / "schemas/records/playback_event.v3.avsc").write_text(json.dumps(avro))


def append_metric(tree: Path, registry: str, num: str) -> None:
    with (tree / "schemas/metrics.py").open("a") as source:
        source.write(f'{registry} += (Metric("x", "{num}", "attempts", "1", NEITHER, "X.", "here", "None."),)\n')


RED: list[tuple[str, Callable[[Path], None], str]] = [
    ("page edited", lambda t: edit(t / "docs/generated/glossary.md", "Stalls per play", "Stalls"),
     "docs/generated/glossary.md is not what would be generated"),
    ("sums edited", lambda t: edit(t / f"schemas/records/{SUMS}.avsc", "Sum over", "sum over"),
     f"schemas/records/{SUMS}.avsc is not what would be generated"),
    ("lock edited", lambda t: edit(t / "schemas/ids.lock", "\n1 artwork 1 ", "\n1 artwork 1 f"),
     "artwork.v1 is not what id 1 stands for"),
    ("range changed", lambda t: edit(t / "schemas/records/playback_event.v1.avsc", "10000000", "20000000"),
     "playback_event.v1 is not what id"),
    ("incompatible version", without_default, "playback_event.v3 cannot read playback_event.v1"),
    ("formula changed", lambda t: edit(t / "schemas/metrics.py", '"stall_ms + play_ms"', '"play_ms"'),
     f"rebuffer_ratio_den of {SUMS} is locked as stall_ms + play_ms and would become play_ms"),
    ("metric of an unknown column", lambda t: append_metric(t, "METRICS", "nonsense"),
     "metric x: rows of `span` have no measure `nonsense`"),
    ("metric of a session's column among those of spans", lambda t: append_metric(t, "METRICS", "missing"),
     "metric x: rows of `span` have no measure `missing`; `session` has it: make it an entry of SESSION_METRICS"),
    ("file gone", lambda t: (t / "schemas/records/playback_event.v2.avsc").unlink(), "that file is gone"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), [pytest.param(c, w, id=i) for i, c, w in RED])
def test_check_turns_red(tree: Path, change: Callable[[Path], None], words: str) -> None:
    change(tree)
    done = run(tree, "check")
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_a_changed_formula_stays_red_after_generating(tree: Path) -> None:
    edit(tree / "schemas/metrics.py", '"stall_ms + play_ms"', '"play_ms"')
    done = run(tree, "generate")
    assert done.returncode == 2
    assert "give it another name" in done.stderr
    assert run(tree, "check").returncode == 2
    edit(tree / "schemas/metrics.py", '"stall_ms", "play_ms"', '"stall_ms", "stall_ms + play_ms"')
    assert run(tree, "check").returncode == 0, "nothing had been written"


def test_another_rollup_is_refused_with_what_differs(tree: Path) -> None:
    with (tree / "schemas/metrics.py").open("a") as source:
        source.write('ROLLUPS += (Rollup("asset", ("asset_id",)),)\n')
    done = run(tree, "generate")
    locked = "['total', 'delivery', 'client', 'place', 'title'"
    assert done.returncode == 2
    assert f"rollup of {SUMS} is locked as values {locked}] and would become values {locked}, 'asset']" in done.stderr


def test_a_metric_of_other_rows_generates_nothing(tree: Path) -> None:
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    append_metric(tree, "METRICS", "missing")
    done = run(tree, "generate")
    assert (done.returncode, "rows of `span` have no measure `missing`" in done.stderr) == (2, True), done.stderr
    changed = [path.name for path, content in before.items() if path.read_bytes() != content]
    assert changed == ["metrics.py"]
    assert sorted((tree / "schemas/records").iterdir()) == sorted(p for p in before if p.parent.name == "records")


@pytest.mark.parametrize("file", ["metrics", "measures"])
def test_an_entry_is_the_only_edit(tree: Path, file: str) -> None:
    """What is locked stays; a new version takes the new column up, with the default 0; again there is nothing to do."""
    if file == "metrics":
        with (tree / "schemas/metrics.py").open("a") as source:
            source.write('METRICS += (Metric("x", "pause_ms", None, "ms", NEITHER, "X.", "here", "None."),)\n')
    else:
        edit(tree / "schemas/measures.py", "NAMES: tuple", 'MEASURES += (Measure("x_ms", "ms", "X."),)\nNAMES: tuple')
    before = {path.name: path.read_text() for path in (tree / "schemas/records").iterdir()}
    assert run(tree, "check").returncode == 2
    assert run(tree, "generate").returncode == 0
    after = {path.name: path.read_text() for path in (tree / "schemas/records").iterdir()}
    names = {"metrics": ["qoe_daily", "qoe_minute"], "measures": ["qoe_session", "session", "span"]}[file]
    assert {name: after[name] for name in before} == before
    assert sorted(name.partition(".")[0] for name in after.keys() - before.keys()) == names
    checked = run(tree, "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert run(tree, "generate").stdout == "every generated file was up to date\n"


def test_the_whole_way_of_a_new_version(tree: Path) -> None:
    assert run(tree, "check").returncode == 0
    without_default(tree)
    edit(tree / "schemas/records/playback_event.v3.avsc", '"doc": "New."', '"doc": "New.", "default": 0')
    stale = run(tree, "generate", "--check")
    assert (stale.returncode, "schemas/ids.lock" in stale.stderr) == (2, True)
    before = (tree / "schemas/ids.lock").read_text()
    assert run(tree, "generate").returncode == 0
    after = (tree / "schemas/ids.lock").read_text()
    assert after.startswith(before)
    assert re.fullmatch(r"\d+ playback_event 3 [0-9a-f]{64}\n", after[len(before) :])
    checked = run(tree, "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "+ new int, default 0" in run(tree, "diff", "playback_event").stdout


def test_flows_name_real_producers() -> None:
    jobs = {job.name for job in JOBS} | {"runner"}
    assert {t.producer for t in tables.every()} <= jobs
    for job in JOBS:
        for table in job.writes:
            assert table.producer == job.name or table is tables.QUARANTINE, table.fqn
        for topic in job.writes_topics:
            assert topic.producer == job.name, topic.name
    for topic in topics.TOPICS:
        names = {f.name for f in records.load(topic.record).fields}
        assert set(filter(None, topic.key.split("|"))) <= names, topic.name
        assert topic.environment in ("main", "streaming")


def test_every_record_flows_somewhere() -> None:
    text = dictionary.flows()
    for name in records.names():
        assert f"| `{name}` v1" in text


def test_the_dictionary_is_complete() -> None:
    text = dictionary.data_dictionary()
    for name in records.names():
        part = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for field in records.load(name).fields:
            assert f"| `{field.name}` |" in part
    assert "| `playback_rate` | double |  | 0.0 to 16.0 |  | v2 | Playback rate after the event (CMCD pr). |" in text
    assert "| `files[].action` | string |" in text
    glossary = dictionary.glossary()
    for metric in (*METRICS, *PLAY_METRICS, *SESSION_METRICS):
        assert f"| `{metric.name}` | {metric.doc} |" in glossary
        part = glossary.split(f"\n### {metric.name}\n")[1].split("\n### ")[0]
        assert f"| edges | {metric.edges} |\n| owner | {metric.owner} |" in part
    for entry in (*HISTOGRAMS, PEAK):
        assert f"| {entry.edges} | {entry.owner} |" in glossary, entry.name
