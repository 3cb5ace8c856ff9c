"""The online step: a published page right after a play, before the next batch makes a new one.

What was just finished leaves the page; what was begun goes to the front of continue watching and out of every other
row. Nothing else moves and nothing is added but the show that was played, so no rule can be broken that the page keeps:
`may_see` is asked for that show alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

CONTINUE = "continue_watching"


class Played(NamedTuple):
    """A quality play since the page was made: begun at (Unix milliseconds), and whether nothing of the show is left to
    watch."""

    begun_ms: int
    finished: bool
    show_id: str


def after_plays(page: dict[str, Any], plays: Iterable[Played], may_see: Callable[[str], bool]) -> dict[str, Any]:
    """The page after all plays of its day, whichever of them it knows already; the one given if none changes a row."""
    after = page
    for play in sorted(plays):
        after = after_play(after, play.show_id, finished=play.finished, may_see=may_see(play.show_id))
    return page if after["rows"] == page["rows"] else after


def after_play(
    page: dict[str, Any], show_id: str, *, finished: bool, may_see: bool, columns: int = 8
) -> dict[str, Any]:
    """The page as it should be next; the one given is left as it is.

    Args:
        page: record home_page. show_id: the show of the play. finished: nothing of it is left to watch.
        may_see: whether the rules let the profile see the show now (page_rules); if not, it only leaves.
        columns: most shows of continue watching; the oldest gives way.
    """
    rows = [{**row, "title_ids": [t for t in row["title_ids"] if t != show_id]} for row in page["rows"]]
    evidence = [e for e in page.get("evidence") or [] if e["title_id"] != show_id]
    if not finished and may_see:
        place = next((i for i, row in enumerate(rows) if row["row_kind"] == CONTINUE), None)
        if place is None:
            row = {"row_kind": CONTINUE, "heading": "Continue watching", "reason": "begun and not finished",
                   "title_ids": []}  # fmt: skip
            rows.insert(0, row)
            place = 0
        rows[place] = {**rows[place], "title_ids": [show_id, *rows[place]["title_ids"]][:columns]}
        kept = next((e for e in page.get("evidence") or [] if e["title_id"] == show_id), None)
        by_title = {e["title_id"]: e for e in evidence}
        new = kept or {"title_id": show_id, "worth": 0.0, "because_ids": [], "because_shares": []}
        by_title[show_id] = new
        evidence = [by_title[t] for row in rows for t in row["title_ids"] if t in by_title]
    rows = [row for row in rows if row["title_ids"]]
    if rows == page["rows"]:
        return page
    digest = blake2b(f"{page['page_id']}|{show_id}|{finished}|{may_see}".encode(), digest_size=10).hexdigest()
    return {**page, "page_id": digest, "rows": rows, "evidence": evidence}
