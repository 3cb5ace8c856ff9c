"""publish: the topics hold exactly tomorrow's rows, however often it runs; commands are sent once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from conf.errors import InputMissing
from conf.settings import Settings
from schemas import tables as t
from schemas import wire
from tests.jobs import stream
from tests.jobs.frames import DAY
from tests.lake import facts

if TYPE_CHECKING:
    from jobs.runner import Runner

pytestmark = [pytest.mark.spark, pytest.mark.kafka]
NEXT = DAY + timedelta(days=1)
AFTER = DAY + timedelta(days=2)


def _page(profile: str) -> dict[str, Any]:
    rows = [{"row_kind": "k", "heading": "É", "reason": "r", "title_ids": ["a", "b"]}]
    return {"profile_id": profile, "page_id": f"page-{profile}", "page_date": NEXT, "rows": rows}


def _choice(profile: str, title: str) -> dict[str, Any]:
    return {
        "profile_id": profile,
        "title_id": title,
        "valid_date": NEXT,
        "artwork_ids": ["x", "y"],
        "probabilities": [0.25, 0.75],
    }


def _plan() -> dict[str, Any]:
    actions = [("f2", 1, "add"), ("f1", 0, "add"), ("f3", 2, "keep")]
    files = [{"file_id": f, "rank": r, "bytes": 1, "expected_bytes": 0.5, "action": a} for f, r, a in actions]
    return {"cdn_id": "c1", "plan_id": "plan-1", "plan_date": NEXT, "files": files}


def _fill(settings: Settings) -> None:
    facts.given(settings, t.HOME_PAGE, _page("p1"), _page("p2"))
    facts.given(settings, t.ARTWORK_CHOICE, _choice("p1", "a"), _choice("p1", "b"))
    facts.given(settings, t.FILL_PLAN, _plan())
    files = [{"file_id": f"f{n}", "url": f"/a/f{n}", "received_date": DAY, "kafka_offset": n} for n in (1, 2, 3)]
    facts.given(settings, t.BRONZE_ASSET_FILE, *files)


def _held(settings: Settings, topic: str) -> dict[str, dict[str, Any] | None]:
    from jobs import produce

    newest: dict[str, dict[str, Any] | None] = {}
    for key, value, _ in produce.messages(settings, topic):
        assert key is not None
        newest[key.decode()] = wire.decode_one(value)[2] if value is not None else None
    return newest


def test_topics_hold_exactly_tomorrow(stack: Settings, new_lake: Callable[..., Runner]) -> None:
    from jobs import produce

    runner = new_lake(**stream.universe(stack, "publish"))
    settings = runner.settings
    with pytest.raises(InputMissing, match="gold.home_page has no partition"):
        runner.run(["publish"], [DAY])
    _fill(settings)
    for _ in range(2):
        runner.run(["publish"], [DAY])
        pages = _held(settings, "home_page")
        assert set(pages) == {"p1", "p2"}
        assert (
            pages["p1"] is not None and pages["p1"]["rows"] == _page("p1")["rows"] and pages["p1"]["page_date"] == NEXT
        )
        assert set(_held(settings, "artwork_choice")) == {"p1|a", "p1|b"}
        plan = _held(settings, "cdn_fill_plan")["c1"]
        assert plan is not None and plan["files"] == _plan()["files"]
        commands = list(produce.messages(settings, "cdn_preposition"))
        assert len(commands) == 1
    body = json.loads(wire.decode_one(commands[0][1])[2]["body"])
    assert body["trigger"]["content.urls"] == [
        f"{settings.delivery.base_url}/a/f1",
        f"{settings.delivery.base_url}/a/f2",
    ]

    facts.given(settings, t.HOME_PAGE, _page("p2") | {"page_date": AFTER})
    facts.given(settings, t.ARTWORK_CHOICE, _choice("p1", "b") | {"valid_date": AFTER})
    facts.given(settings, t.FILL_PLAN, _plan() | {"plan_date": AFTER, "plan_id": "plan-2"})
    runner.run(["publish"], [NEXT])
    pages = _held(settings, "home_page")
    assert pages["p1"] is None and pages["p2"] is not None and pages["p2"]["page_date"] == AFTER
    choices = _held(settings, "artwork_choice")
    assert choices["p1|a"] is None and choices["p1|b"] is not None
    assert len(list(produce.messages(settings, "cdn_preposition"))) == 2
