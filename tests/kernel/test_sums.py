"""Packed deltas added up in Flink against plain addition: signed, merged, serialized, in one phase and in two."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
from collections import defaultdict
from typing import Any

import pytest

from conf import kernel
from conf.environments import python
from conf.settings import ROOT
from schemas import wire
from schemas.measures import NAMES
from tests.kernel import packed

pytestmark = [pytest.mark.flink, pytest.mark.jvm]
KEYS, ROWS = 12, 900
Row = tuple[str, list[int]]


def _deltas() -> list[Row]:
    """Sparse signed deltas; of key `k0` every one is taken back in the end, and `k1` has large numbers."""
    rng = random.Random(11)

    def delta(size: int) -> list[int]:
        return [rng.randint(-size, size) if rng.random() < 0.2 else 0 for _ in NAMES]

    rows: list[Row] = []
    for _ in range(ROWS):
        key = f"k{rng.randrange(KEYS)}"
        rows.append((key, delta(2**55 if key == "k1" else 90_000)))
    return rows + [(key, [-n for n in values]) for key, values in rows if key == "k0"] + [("once", delta(9))]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return _deltas()


@pytest.fixture(scope="module")
def found(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    source = tmp_path_factory.mktemp("sums") / "deltas.csv"
    lines = [f"{key},{base64.b64encode(packed.pack(values)).decode()}\n" for key, values in rows]
    source.write_text("".join(lines))
    done = subprocess.run(
        [str(python("streaming")), str(ROOT / "tests/kernel/flink_sums.py"), str(kernel.jar()), str(source)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "JVM_ARGS": os.environ["JVM_ARGS"]},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answers: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            answers |= json.loads(line)
    return answers


def _total(parts: list[list[int]]) -> list[int]:
    return [sum(column) for column in zip(*parts, strict=True)]


def test_python_reads_what_it_packed(rows: list[Row]) -> None:
    for _, values in rows:
        assert packed.unpack(packed.pack(values)) == values


def test_parts_add_up_and_survive_the_serializer(found: dict[str, Any], rows: list[Row]) -> None:
    alone, parts = found["alone"], [values for _, values in rows]
    expected = {
        "empty": [0] * len(NAMES),
        "sums": _total(parts),
        "copy": _total(parts[::2]),
        "restored and one more": _total([*parts[::2], parts[0]]),
    }
    for name, values in expected.items():
        assert alone[name] == packed.pack(values).hex(), f"{name}: equal sums must be equal bytes"


def test_state_of_other_measures_is_refused(found: dict[str, Any]) -> None:
    assert found["alone"]["refused"] == [True, False], "other measures, and the same"


def test_keys_are_unequivocal_and_messages_know_their_columns(found: dict[str, Any]) -> None:
    keys = [bytes.fromhex(key).decode() for key, _ in found["keys"]]
    assert keys == [
        r"-60000|a\|b|c|d|e|f", "-60000|c|*|*|*|*", r"-60000|a|b\|c|d|e|f", r"-60000|b\|c|*|*|*|*",
        "-60000||ä\\\\|d|e|f", "-60000|ä\\\\|*|*|*|*", r"-60000|*|\||d|e|f", r"-60000|\||*|*|*|*",
    ]  # fmt: skip
    first, *_, last = (wire.decode_one(bytes.fromhex(value))[2] for _, value in found["keys"])
    assert [first[name] for name in ("cdn_id", "isp", "device", "country", "app_version")] == [
        "a|b",
        "c",
        "d",
        "e",
        "f",
    ]
    assert first["step_at"].timestamp() == -60
    assert [first[name] for name in ("attempts", "plays", "start_failures", "exits_before_start")] == [2, -3, 1, 0]
    assert (last["cdn_id"], last["isp"]) == ("|", "*")


@pytest.mark.parametrize("form", ["two phases, RocksDB", "one phase, heap"])
def test_the_last_row_of_every_key_is_its_sum(found: dict[str, Any], rows: list[Row], form: str) -> None:
    by_key: dict[str, list[list[int]]] = defaultdict(list)
    for key, values in rows:
        by_key[key].append(values)
    expected = {key: _total(parts) for key, parts in by_key.items()}
    assert any(expected["k0"]) is False and max(map(abs, expected["k1"])) > 2**55
    last = {key: packed.unpack(bytes.fromhex(sums)) for kind, key, sums in found[form] if "BEFORE" not in kind}
    assert last == expected
    assert len(found[form]) > len(last), "sums that are never corrected test nothing"
