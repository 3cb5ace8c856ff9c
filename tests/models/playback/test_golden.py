"""The reference against cases reasoned by hand."""

from __future__ import annotations

import pytest

from models.playback.spans import REVISIONS, Revision, fold
from tests.models.playback import golden


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("case", golden.CASES)
def test_golden(case: str, revision: Revision) -> None:
    folded = fold(golden.events(case), golden.policy(case), revision)
    for kind, rows in (("spans", folded.spans), ("sessions", folded.sessions)):
        expected = golden.expected(case, kind, revision)
        assert golden.comparable(rows, expected) == expected
        assert len(rows) == len(expected) > 0
