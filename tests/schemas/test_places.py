"""The package works where it is sent: in the streaming environment, and from the zip that goes to a cluster."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from schemas import ids, records
from tests.schemas.wire_digest import digest

ROOT = Path(__file__).resolve().parents[2]
STREAMING = ROOT / ".venv-streaming" / "bin" / "python"


def test_the_streaming_environment_writes_and_reads_the_same_bytes() -> None:
    assert STREAMING.exists(), f"{STREAMING} is missing; run: make setup"
    command = [str(STREAMING), "-m", "tests.schemas.wire_digest"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, digest()), done.stderr


def test_records_and_lock_are_read_from_a_zip(tmp_path: Path) -> None:
    app = tmp_path / "app.zip"
    with zipfile.ZipFile(app, "w") as out:
        for file in sorted((ROOT / "schemas").rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                out.write(file, file.relative_to(ROOT))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from schemas import records, ids, wire, tables\n"
        "assert records.__file__.startswith(sys.argv[1]), records.__file__\n"
        "print(len(records.every()), len(ids.lock()), ids.schema_id('playback_event', 2))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(app)], cwd=tmp_path, capture_output=True, text=True)
    expected = f"{len(records.every())} {len(ids.lock())} {ids.schema_id('playback_event', 2)}"
    assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr
