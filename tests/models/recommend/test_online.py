"""The online step against its laws, on pages that the builder made."""

from __future__ import annotations

import copy

from bench.page_rules import service
from models.recommend.online import CONTINUE, after_play
from models.recommend.pages import home_pages


def test_laws_on_real_pages() -> None:
    given = service(5, 120, 120)
    titles = given.inputs.titles["title_id"].tolist()
    for n, page in enumerate(home_pages(given.inputs).to_dict("records")):
        before = copy.deepcopy(page)
        on = [t for row in page["rows"] for t in row["title_ids"]]
        show = on[n % len(on)] if n % 3 else titles[n % len(titles)]
        for finished, may_see in ((True, True), (False, True), (False, False)):
            after = after_play(page, show, finished=finished, may_see=may_see)
            assert page == before
            now = [t for row in after["rows"] for t in row["title_ids"]]
            assert len(now) == len(set(now)) and all(row["title_ids"] for row in after["rows"])
            assert [e["title_id"] for e in after["evidence"]] == now
            if finished or not may_see:
                assert now == [t for t in on if t != show]
            else:
                row = next(r for r in after["rows"] if r["row_kind"] == CONTINUE)
                assert row["title_ids"][0] == show and len(row["title_ids"]) <= 8
                assert set(on) - set(now) <= set(page["rows"][0]["title_ids"])  # at most the oldest one gives way
            assert (after["page_id"] == page["page_id"]) == (after["rows"] == page["rows"])
            again = after_play(after, show, finished=finished, may_see=may_see)
            assert again["rows"] == after["rows"]
