"""Hard rules: pages of a service on which every rule bites break none; and the count of violations can count."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from bench.page_rules import PAGE_DATE, RULES, Service, service, violations
from models.recommend.page_rules import Rules, active, no_choices, usable_plays
from models.recommend.pages import CONTEXTUAL, PageMaker, home_pages


def count(given: Service, maker: PageMaker) -> dict[str, int]:
    total = dict.fromkeys(RULES, 0)
    for block in maker.blocks():
        for rule, found in violations(given, maker, block).items():
            total[rule] += found
    return total


@pytest.mark.parametrize("seed", [4, 5])  # without a model and with one
def test_no_rule_is_broken(seed: int) -> None:
    given = service(seed, 400, 120)
    assert count(given, PageMaker(**given.frames)) == dict.fromkeys(RULES, 0)


class Lawless(Rules):
    """Everything is allowed."""

    def allowed(self, first: int, last: int) -> np.ndarray:
        return np.ones((last - first, len(self.on_offer)), dtype=bool)


def test_the_count_sees_every_broken_rule() -> None:
    given = service(5, 400, 120)
    maker = PageMaker(**given.frames)
    names = ("on_offer", "maturity", "kids", "country", "in_country", "people", "not_for")
    maker.rules = Lawless(*(getattr(maker.rules, name) for name in names))
    found = count(given, maker)
    for rule in ("not_out", "licence", "withdrawn", "country", "maturity", "kids", "not_interested"):
        assert found[rule] > 0, rule
    forgetful = PageMaker(**{**given.frames, "choices": no_choices()})
    assert count(given, forgetful)["removed"] > 0


def test_records_hold_what_was_built_and_both_arms_obey() -> None:
    given = service(5, 300, 120)
    pages = home_pages(**given.frames)
    alive = sorted(np.array([f"p{i:06d}" for i in range(300)])[~given.gone])
    assert pages["profile_id"].tolist() == alive and set(pages["page_arm"]) == {"policy", "holdback"}
    for page in pages.to_dict("records"):
        who = int(page["profile_id"][1:])
        on = [int(t[1:]) for row in page["rows"] for t in row["title_ids"]]
        assert on and len(on) == len(set(on)) and all(m[who, on].all() for m in given.may_see.values())
        assert [e["title_id"] for e in page["evidence"]] == [t for row in page["rows"] for t in row["title_ids"]]
        for placed in page["evidence"]:
            assert len(placed["because_ids"]) == len(placed["because_shares"]) <= 3
            assert all(given.seen[who, int(t[1:])] for t in placed["because_ids"])
        at = 0
        for row in page["rows"]:
            if row["row_kind"] == "because_you_watched":
                anchor = row["reason"].removeprefix("finished ")
                assert given.finished[who, int(anchor[1:])]
                cells = page["evidence"][at : at + len(row["title_ids"])]
                assert all(anchor in placed["because_ids"] for placed in cells)
            at += len(row["title_ids"])
        if given.silent[who]:
            assert page["model_id"] == CONTEXTUAL
            kinds = {row["row_kind"] for row in page["rows"]}
            assert not kinds & {"because_you_watched", "continue_watching", "top_picks", "watch_again"}


def test_an_opted_out_profile_gets_what_a_new_one_would() -> None:
    given = service(5, 200, 120)
    profiles = given.frames["profiles"].copy()
    old = profiles[profiles["opted_out"] & ~profiles["erased"]].iloc[0].to_dict()
    said = given.frames["choices"]
    said = said[said["profile_id"] != old["profile_id"]]
    new = pd.DataFrame([{**old, "profile_id": "p999999"}])
    pages = home_pages(**{**given.frames, "profiles": pd.concat([profiles, new]), "choices": said, "holdback": 0.0})
    pages = pages.set_index("profile_id")
    assert pages.loc[old["profile_id"], "rows"] == pages.loc["p999999", "rows"]


def test_choices_are_taken_back_and_removal_spares_what_came_later() -> None:
    day = date(2026, 3, 1)
    at = pd.Timestamp(day, tz="UTC")
    said = pd.DataFrame(
        [("p", "a", "not_interested", True, at), ("p", "a", "not_interested", False, at + pd.Timedelta(hours=1)),
         ("p", "b", "not_interested", True, at), ("p", "a", "removed_from_history", True, at)],
        columns=["profile_id", "title_id", "choice", "active", "chosen_at"],
    )  # fmt: skip
    assert active(said, "not_interested")["title_id"].tolist() == ["b"]
    plays = pd.DataFrame(
        {"profile_id": ["p", "p", "q", "p"], "show_id": ["a", "a", "a", "b"],
         "started_at": [at - pd.Timedelta(hours=1), at + pd.Timedelta(hours=1), at - pd.Timedelta(hours=1), at],
         "play_date": day}
    )  # fmt: skip
    profiles = pd.DataFrame({"profile_id": ["p", "q", "r"]})
    titles = pd.DataFrame({"title_id": ["a", "b"], "show_id": ["a", "b"]})
    assert usable_plays(plays, profiles, titles, said).index.tolist() == [1, 2, 3]
    silent = profiles.assign(opted_out=[False, True, None])
    assert usable_plays(plays, silent, titles, no_choices()).index.tolist() == [0, 1, 3]


def test_rows_of_an_older_version_have_no_restrictions() -> None:
    given = service(5, 50, 60)
    young = ["licensed_from_date", "licensed_until_date", "countries", "kids", "hidden"]
    titles = given.frames["titles"].drop(columns=young).assign(launch_date=PAGE_DATE - timedelta(days=1), maturity=0)
    profiles = given.frames["profiles"][["profile_id", "country", "device", "maturity_limit"]]
    maker = PageMaker(**{**given.frames, "titles": titles, "profiles": profiles, "choices": no_choices()})
    assert maker.rules.allowed(0, 50).all()
    nulls = given.frames["titles"].assign(**dict.fromkeys(young), launch_date=PAGE_DATE, maturity=0)
    maker = PageMaker(**{**given.frames, "titles": nulls, "profiles": profiles, "choices": no_choices()})
    assert maker.rules.allowed(0, 50).all()
