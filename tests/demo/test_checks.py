"""The named checks on a demo that did not come to its end: nothing to check is not a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from conf.errors import InputMissing
from conf.settings import Settings
from demo import checks
from tests.lake import facts


@pytest.mark.parametrize(
    "check", [checks.measured_against_truth, lambda settings: checks.fold_against_reference(settings, 5)]
)
def test_a_lake_without_sessions_is_input_missing(tmp_path: Path, check: Callable[[Settings], Iterator[str]]) -> None:
    settings = facts.settings_of(tmp_path, MATINEE__PATHS__VAR=str(tmp_path))
    facts.bootstrap(settings)
    truth = tmp_path / "world" / "truth" / "2026-01-05"
    truth.mkdir(parents=True)
    pd.DataFrame({"session_id": ["s"], "exact": [True], "end_ms": [1]}).to_parquet(truth / "sessions.parquet")
    with pytest.raises(InputMissing, match="did not come to its end"):
        list(check(settings))
