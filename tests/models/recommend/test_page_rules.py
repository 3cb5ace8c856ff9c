"""Hard rules: pages of a service on which every rule bites break none; and the count of violations can count."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from bench.page_rules import PAGE_DATE, RULES, Service, service, violations
from models.recommend.page_rows import repeats
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
    assert count(given, PageMaker(given.inputs)) == dict.fromkeys(RULES, 0)


class Lawless(Rules):
    """Everything is allowed."""

    def allowed(self, first: int, last: int) -> np.ndarray:
        return np.ones((last - first, len(self.on_offer)), dtype=bool)


def test_the_count_sees_every_broken_rule() -> None:
    given = service(5, 400, 120)
    maker = PageMaker(given.inputs)
    names = ("on_offer", "maturity", "kids", "country", "in_country", "people", "not_for")
    maker.rules = Lawless(*(getattr(maker.rules, name) for name in names))
    found = count(given, maker)
    for rule in ("not_out", "licence", "withdrawn", "country", "maturity", "kids", "not_interested"):
        assert found[rule] > 0, rule
    forgetful = PageMaker(replace(given.inputs, choices=no_choices()))
    assert count(given, forgetful)["removed"] > 0


def test_records_hold_what_was_built_and_both_arms_obey() -> None:
    given = service(5, 300, 120)
    pages = home_pages(given.inputs)
    alive = sorted(np.array([f"p{i:06d}" for i in range(300)])[~given.gone])
    assert pages["profile_id"].tolist() == alive and set(pages["page_arm"]) == {"policy", "holdback"}
    for page in pages.to_dict("records"):
        who = int(page["profile_id"][1:])
        on = [int(t[1:]) for row in page["rows"] for t in row["title_ids"]]
        assert on and len(on) == len(set(on))
        assert all(m[who, on].all() for rule, m in given.may_see.items() if rule != "finished")
        for row in page["rows"]:
            seen_to_the_end = given.finished[who, [int(t[1:]) for t in row["title_ids"]]]
            assert (seen_to_the_end == (row["row_kind"] == "watch_again")).all()
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


def test_watch_again_holds_what_was_finished_a_week_ago_where_people_do_watch_again() -> None:
    given = service(5, 300, 120)
    few = given.inputs.plays
    often = few.assign(started_at=few["started_at"] - pd.Timedelta(days=8), completed=True)
    often["play_date"] = often["started_at"].dt.date
    plays = pd.concat([few, often, often.assign(started_at=often["started_at"] + pd.Timedelta(minutes=5))])
    pages = home_pages(replace(given.inputs, plays=plays, choices=no_choices()))
    last = plays.groupby(["profile_id", "title_id"])["play_date"].max()
    done = set(map(tuple, plays.loc[plays["completed"], ["profile_id", "title_id"]].to_numpy()))
    shown = [
        (page["profile_id"], title)
        for page in pages.to_dict("records")
        for row in page["rows"]
        if row["row_kind"] == "watch_again"
        for title in row["title_ids"]
    ]
    assert len(shown) > 20
    for person, title in shown:
        assert (person, title) in done
        assert (PAGE_DATE - last[person, title]).days >= 7
    once = plays.drop_duplicates(["profile_id", "title_id"])
    assert 0.5 < repeats(plays) < 0.8 and repeats(once) == 0.0
    kinds = {row["row_kind"] for rows in home_pages(replace(given.inputs, plays=once))["rows"] for row in rows}
    assert "watch_again" not in kinds and "because_you_watched" in kinds


def test_hours_of_the_day_are_those_of_the_country() -> None:
    """India watches everything from 18 UTC on, when its night has begun."""
    given = service(5, 300, 120)
    plays = given.inputs.plays
    midnight = pd.to_datetime(plays["play_date"]).dt.tz_localize("UTC")
    hour = np.where(plays["country"] == "IN", 19, 9) + 6 * (np.arange(len(plays)) % 3 == 0)
    inputs = replace(given.inputs, plays=plays.assign(started_at=midnight + pd.to_timedelta(hour, unit="h")))
    assert PageMaker(inputs).maker.quarter.max() == 3
    zoned = PageMaker(replace(inputs, zones={"IN": "Asia/Kolkata"}))
    there = (zoned.people["country"] == "IN").to_numpy() & (zoned.maker.quarter >= 0)
    assert set(zoned.maker.quarter[there]) <= {0, 1} and set(zoned.maker.quarter[~there]) <= {-1, 1, 2}
    theme = next(iter(zoned.maker.mood_theme.values()))
    told = zoned.maker.words(theme, 1.0, "IN", int(np.flatnonzero(there)[0]))[2]
    assert told.endswith("local time") and zoned.maker.words(theme, 1.0, "DE", 0)[2].endswith("UTC")


def test_an_opted_out_profile_gets_what_a_new_one_would() -> None:
    given = service(5, 200, 120)
    profiles = given.inputs.profiles.copy()
    old = profiles[profiles["opted_out"] & ~profiles["erased"]].iloc[0].to_dict()
    said = given.inputs.choices
    said = said[said["profile_id"] != old["profile_id"]]
    new = pd.DataFrame([{**old, "profile_id": "p999999"}])
    both = pd.concat([profiles, new])
    pages = home_pages(replace(given.inputs, profiles=both, choices=said, holdback=0.0))
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
    titles = given.inputs.titles.drop(columns=young).assign(launch_date=PAGE_DATE - timedelta(days=1), maturity=0)
    profiles = given.inputs.profiles[["profile_id", "country", "device", "maturity_limit"]]
    maker = PageMaker(replace(given.inputs, titles=titles, profiles=profiles, choices=no_choices()))
    assert maker.rules.allowed(0, 50).all()
    nulls = given.inputs.titles.assign(**dict.fromkeys(young), launch_date=PAGE_DATE, maturity=0)
    maker = PageMaker(replace(given.inputs, titles=nulls, profiles=profiles, choices=no_choices()))
    assert maker.rules.allowed(0, 50).all()
