"""`matinee profile` on a real broker: what was said stands in the topics that ingest lands, and pages obey it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pandas as pd
import pytest
from click.testing import CliRunner

from conf.errors import InputMissing, UsageError
from conf.settings import Settings
from models.recommend.page_rules import NOT_INTERESTED, REMOVED, active
from schemas import records, samples, topics
from streaming import consume, produce, profile_cli

pytestmark = pytest.mark.kafka


def _row(record: str, **given: object) -> pd.DataFrame:
    return pd.DataFrame([samples.rows(records.load(record), 1)[0] | given])


def test_what_a_person_says(universe: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = universe("profile")
    monkeypatch.setattr(profile_cli, "load", lambda: settings)
    day = date(2026, 1, 5)
    clean = {"kids": False, "opted_out": False, "erased": False}
    for person in ("p1", "p10"):
        produce.produce_frame(topics.PROFILE, _row("profile", profile_id=person, **clean), settings, day=day)
    for title in ("x", "y"):
        produce.produce_frame(topics.TITLE, _row("title", title_id=title), settings, day=day)

    def call(*words: str) -> str:
        found = CliRunner().invoke(profile_cli.profile, words, catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.output

    call("not-interested", "p1", "x", "--at", "2026-01-05T10:00")
    call("not-interested", "p1", "y", "--at", "2026-01-05T11:00")
    call("not-interested", "p1", "y", "--undo", "--at", "2026-01-05T12:00")
    call("forget", "p10", "x", "--at", "2026-01-05T13:00+02:00")
    said = consume.snapshot(topics.PROFILE_CHOICE, settings)
    assert active(said, NOT_INTERESTED)[["profile_id", "title_id"]].values.tolist() == [["p1", "x"]]
    forgotten = active(said, REMOVED)
    assert forgotten[["profile_id", "title_id"]].values.tolist() == [["p10", "x"]]
    assert forgotten["chosen_at"].iloc[0] == pd.Timestamp("2026-01-05T11:00Z")

    call("opt-out", "p1")
    call("erase", "p10", "--yes")
    call("opt-out", "p1", "--undo")
    call("opt-out", "p10")
    people = consume.snapshot(topics.PROFILE, settings).set_index("profile_id")
    assert people[["opted_out", "erased"]].astype(bool).T.to_dict() == {
        "p1": {"opted_out": False, "erased": False}, "p10": {"opted_out": True, "erased": True},
    }  # fmt: skip
    told = call("show", "p1")
    assert "not_interested x" in told and "not_interested y, taken back" in told and "removed_from_history" not in told

    with pytest.raises(InputMissing, match="no profile 'p2'"):
        call("opt-out", "p2")
    with pytest.raises(InputMissing, match="no title 'z'"):
        call("not-interested", "p1", "z")
    with pytest.raises(UsageError, match="is no moment"):
        call("opt-out", "p1", "--at", "yesterday")
