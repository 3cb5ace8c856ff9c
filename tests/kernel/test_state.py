"""A fold state that another kernel wrote is refused in words, wherever the operator begins to read it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conf import kernel
from conf.java import tool
from models.playback.spans import Policy
from tests.kernel import jvm

pytestmark = pytest.mark.jvm
OLDER_AND_NEWER = ("1", "4", "5", "7", "8", "60")


def test_another_version_is_refused() -> None:
    source = Path(__file__).with_name("OldState.java")
    command = [str(tool("java")), *jvm.QUICK, "-cp", str(kernel.jar()), str(source), jvm.policy_text(Policy())]
    done = subprocess.run([*command, *OLDER_AND_NEWER], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == len(OLDER_AND_NEWER) * 4
    for number, line in enumerate(said):
        version = OLDER_AND_NEWER[number // 4]
        assert line.startswith(f"fold state of version {version}, this kernel reads "), line
        assert "start the job without the old savepoint" in line
