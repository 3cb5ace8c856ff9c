"""Tomorrow's home page of every profile, by the one builder (page_build) and under the rules (page_rules).

The holdback's page has the same shape and rules, continue watching too, and ranks by decayed popularity alone: the
experiment measures the model, not the rules. A profile that opted out gets what a new profile of its country and device
would get, ranked by what is begun there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.days import epoch_day
from models.experiment.assign import HOLDBACK, arms
from models.frames import places
from models.recommend.blend import dot_scores
from models.recommend.decision import FALLBACK, MODEL, serving_version
from models.recommend.interactions import from_plays, shows
from models.recommend.page_build import Built, Floats, Ints, OwnRows, Sparse, Weights, build
from models.recommend.page_rows import (
    AGAIN_DAYS,
    BY_HISTORY,
    Candidates,
    History,
    RowMaker,
    again,
    history,
    repeats,
    under_way,
)
from models.recommend.page_rules import Rules, flags, no_choices, usable_plays
from models.recommend.page_themes import CONTRIBUTORS, KIND, KINDS, explain
from models.recommend.page_view import View, learn_view
from models.recommend.popularity import Contextual, log_plays
from models.recommend.protocol import BLOCK, single_threaded
from models.recommend.strong import ranked

ROWS, COLUMNS = 5, 8
CANDIDATES = 300
CONTEXTUAL = "contextual_popularity"
WEIGHTS = Weights(calibration=0.1, repeat=0.002)
PLAIN = Weights(calibration=0.0, repeat=0.0, window=1, least=1, spare=np.inf)
"""Of the holdback's page: titles by popularity, in reading order."""
PAGE_COLUMNS = ["page_id", "profile_id", "page_date", "page_arm", "model_id", "rows", "evidence"]


@dataclass(frozen=True, slots=True)
class Serving:
    """What ranks: the promoted model's towers, or nothing but popularity.

    Attributes:
        model_id: model and version, or the fallback's name. profiles: ids of `profile_vectors`' rows.
        profile_vectors, title_vectors: shapes (profiles, d), (shows of the catalogue, d); None when popularity serves.
    """

    model_id: str
    profiles: NDArray[np.object_]
    profile_vectors: NDArray[np.float64] | None
    title_vectors: NDArray[np.float64] | None

    def scores(self, profiles: list[str], popular: Floats) -> Floats:
        """Log odds of a take up to a constant, shape (profiles, shows); `popular` for everybody without a model."""
        if self.profile_vectors is None or self.title_vectors is None:
            return np.repeat(popular[None, :], len(profiles), axis=0)
        return dot_scores(profiles, self.profiles, self.profile_vectors, self.title_vectors)


def served_model(promotion: pd.DataFrame) -> str | None:
    """`model_id` of the version that the day's promotion row lets serve, None for the fallback."""
    rows = promotion[promotion["model"] == MODEL].to_dict("records")
    version = serving_version({str(name): value for name, value in rows[0].items()}) if rows else None
    return f"{MODEL}-{version}" if version is not None else None


def serving(factors: pd.DataFrame, promotion: pd.DataFrame, catalogue: pd.DataFrame) -> Serving:
    """The model the promotion row lets serve; decayed popularity when it lets none.

    Args:
        factors: record `factors`, rows of the version that serves or more. promotion: record `promotion` of the day.

    Raises:
        ValueError: its factors are missing or not whole. No pages are made then: those of the day before go on.
    """
    none = Serving(FALLBACK, np.zeros(0, dtype=object), None, None)
    model_id = served_model(promotion)
    mine = factors[factors["model_id"] == model_id].sort_values(["side", "entity_id"], kind="mergesort")
    mine = mine.drop_duplicates(["side", "entity_id"])  # the same content may have been trained on two days
    who, what = mine[mine["side"] == "profile"], mine[mine["side"] == "title"]
    if model_id is None:
        return none
    wide = {len(vector) for vector in mine["vector"]}
    if not len(who) or not len(what) or len(wide) > 1 or not np.isfinite(np.concatenate(list(mine["vector"]))).all():
        raise ValueError(
            f"factors of {model_id} are not whole: {len(who)} profiles, {len(what)} titles, vectors of {sorted(wide)} "
            "numbers, all of which must be finite; run its training again or `matinee model rollback`"
        )
    place = places(what["entity_id"], catalogue["title_id"])
    known = np.array([np.asarray(v, dtype=np.float64) for v in what["vector"]])
    titles = np.zeros((len(catalogue), known.shape[1]))
    titles[:, -1] = known[:, -1].min()  # a show the model never saw ranks with the least popular
    titles[place >= 0] = known[place[place >= 0]]
    vectors = np.array([np.asarray(v, dtype=np.float64) for v in who["vector"]]).reshape(len(who), known.shape[1])
    return Serving(str(model_id), who["entity_id"].to_numpy(dtype=object), vectors, titles)


@dataclass(frozen=True, slots=True, eq=False)
class PageInputs:
    """All that pages of a day are made from.

    Attributes:
        plays: record `play` up to the day before. titles, profiles: newest rows of their records.
        factors, promotion: see serving.
        features: record feature_title of the day before.
        salt, holdback: of the page experiment; the share of profiles whose page is decayed popularity.
        choices: newest rows of record profile_choice. impressions: record impression_outcome of the last days.
        zones: IANA time zone by country, for rows about hours of the day; UTC where none is named.
    """

    plays: pd.DataFrame
    titles: pd.DataFrame
    profiles: pd.DataFrame
    factors: pd.DataFrame
    promotion: pd.DataFrame
    features: pd.DataFrame
    page_date: date
    salt: str
    holdback: float
    choices: pd.DataFrame | None = None
    impressions: pd.DataFrame | None = None
    zones: Mapping[str, str] | None = None


def home_pages(given: PageInputs) -> pd.DataFrame:
    """Record home_page of every profile, sorted by profile_id; see page_batches, which needs less memory."""
    pages = pd.concat(list(page_batches(given)), ignore_index=True)
    return pages.sort_values("profile_id", kind="mergesort", ignore_index=True)


def page_batches(given: PageInputs) -> Iterator[pd.DataFrame]:
    """Record home_page of every profile, at most BLOCK of them at a time; one empty frame if there is nobody."""
    with single_threaded():
        maker = PageMaker(given)
        for block in maker.blocks():
            yield pd.DataFrame(list(maker.records(block)), columns=PAGE_COLUMNS)
        if not maker.ids:
            yield pd.DataFrame(columns=PAGE_COLUMNS)


@dataclass(frozen=True, slots=True)
class Block:
    """Pages of some profiles of one arm and device, as numbers: places in `PageMaker.people` and in the catalogue.

    Attributes:
        first, last: the profiles (last exclusive). built: what the builder made. worth: shape (profiles, shows).
    """

    first: int
    last: int
    candidates: Candidates | None
    own: OwnRows
    built: Built
    worth: Floats
    past: History


class PageMaker:
    """Everything pages of a day are made from; profiles stand in the order (group, device, profile_id)."""

    def __init__(self, given: PageInputs, weights: Weights = WEIGHTS, pin_under_way: bool = True) -> None:
        """`pin_under_way`: "Continue watching" comes first."""
        choices = given.choices if given.choices is not None else no_choices()
        titles, profiles = given.titles, given.profiles
        self.page_date, today = given.page_date, epoch_day(given.page_date)
        self.weights, self.pin_under_way = weights, pin_under_way
        self.catalogue = shows(titles)
        self.title_ids = self.catalogue["title_id"].to_numpy(dtype=object)
        people = profiles[~flags(profiles, "erased")].drop_duplicates("profile_id").reset_index(drop=True)
        people["arm"] = arms(given.salt, people["profile_id"].astype(str), given.holdback)
        people["opted_out"] = flags(people, "opted_out")
        people["held"] = (people["arm"] == HOLDBACK).to_numpy() & ~people["opted_out"].to_numpy()
        if "device" not in people.columns:
            people["device"] = ""
        order = ["opted_out", "held", "device", "profile_id"]
        self.people = people.sort_values(order, kind="mergesort", ignore_index=True)
        self.ids = self.people["profile_id"].astype(str).tolist()
        self.rules = Rules.of(self.catalogue, titles, self.people, choices, given.page_date)
        used = usable_plays(given.plays, profiles, titles, choices)
        self.model = serving(given.factors, given.promotion, self.catalogue)
        self.past = history(used, titles, self.catalogue, self.people["profile_id"], today)
        interactions = from_plays(used)
        self.popular = log_plays(interactions, self.title_ids, today)
        self.contextual = Contextual.of(interactions, self.title_ids, today)
        new = places(self.model.profiles, self.people["profile_id"]) < 0
        new &= self.model.profile_vectors is not None
        self.people["by_context"] = self.people["opted_out"] | (new & ~self.people["held"])
        vectors = self.model.title_vectors
        self.maker = RowMaker(
            self.catalogue, titles, used, self.people, self.past, vectors, given.features, today, ROWS, given.zones
        )
        self.repeats = repeats(used)
        self.view = learned_view(given.impressions, self.people)

    def blocks(self) -> Iterator[Block]:
        """Pages of all profiles, at most BLOCK at a time, each of one arm and one device class."""
        group = list(zip(self.people["opted_out"], self.people["held"], self.people["device"], strict=True))
        first = 0
        while first < len(group):
            last = first
            while last < len(group) and last - first < BLOCK and group[last] == group[first]:
                last += 1
            opted_out, held, device = group[first]
            yield self.block(first, last, bool(opted_out), bool(held), self.view.of(str(device)))
            first = last

    def block(self, first: int, last: int, opted_out: bool, held: bool, view: Floats) -> Block:
        """Pages of neighbouring profiles."""
        n = last - first
        country = self.people["country"].iloc[first:last].astype(str).tolist()
        past = self.past.of(first, last)
        may_see = self.rules.allowed(first, last)
        allowed = may_see.copy()
        allowed[past.who[past.finished], past.show[past.finished]] = False
        if opted_out:
            scores = self.contextual.scores(self.people.iloc[first:last])
        elif held:
            scores = np.repeat(self.popular[None, :], n, axis=0)
        else:
            scores = self.model.scores(self.ids[first:last], self.popular)
            new = np.flatnonzero(self.people["by_context"].iloc[first:last])
            scores[new] = self.contextual.scores(self.people.iloc[first + new])
        top = np.max(scores, axis=1, where=allowed, initial=-700.0, keepdims=True)
        worth = np.where(allowed, np.exp(np.minimum(scores - top, 0.0)), 0.0)
        begun = under_way(past, allowed, worth)
        free = np.where(allowed, scores, -np.inf)
        free[past.who[~past.finished], past.show[~past.finished]] = -np.inf  # what is under way has a row of its own
        order, value = rank(free, worth)
        if held:
            return Block(first, last, None, begun, self._plain(order, value, begun), worth, past)
        seen = again(past, may_see, scores, top, self.repeats, epoch_day(self.page_date))
        offer = self.maker.candidates(first, order, value, country, past, begun, seen, ROWS)
        if not self.pin_under_way:
            offer.pins[:] = -1
        built = self._build(order, value, view, first, last, offer)
        return Block(first, last, offer, offer.own, built, worth, past)

    def _build(self, order: Ints, value: Floats, view: Floats, first: int, last: int, offer: Candidates) -> Built:
        """By the builder; pages that came out too short are built again with rows that need no theme."""
        maker, taste = self.maker, self.maker.taste[first:last]

        def made(some: NDArray[np.int64], own: OwnRows, pins: Ints, offered: NDArray[np.bool_]) -> Built:
            return build(
                order[some], value[some], maker.member, maker.kinds, maker.genre_shares, taste[some], view,
                self.weights, own, pins, offered,
            )  # fmt: skip

        built = made(np.arange(last - first), offer.own, offer.pins, offer.offered)
        count = (built.row >= 0).sum(axis=1)
        again = np.flatnonzero(count < ROWS)
        if len(again):
            pins, offered = built.row[again].copy(), offer.offered[again]
            empty = np.arange(ROWS)[None, :] >= count[again][:, None]
            more = np.flatnonzero(maker.is_more)
            pins[empty] = np.broadcast_to(more[:ROWS], pins.shape)[empty]
            offered |= maker.is_more
            second = made(again, _of_pages(offer.own, again), pins, offered)
            built.row[again], built.show[again] = second.row, second.show
        return built

    def _plain(self, order: Ints, value: Floats, begun: OwnRows) -> Built:
        """The holdback's page: continue watching, which any service has, then decayed popularity alone."""
        pins = np.full((len(order), ROWS), -1, dtype=np.int32)
        pins[begun.page, 0] = ROWS
        every = Sparse.of(np.ones((len(self.catalogue), ROWS), dtype=bool))
        kinds = np.full(ROWS, KIND["popular"], dtype=np.int32)
        none = np.zeros((len(order), self.maker.genre_shares.size))
        return build(order, value, every, kinds, self.maker.genre_shares, none, FULL_VIEW, PLAIN, begun, pins)

    def records(self, block: Block) -> Iterator[dict[str, object]]:
        """Pages of a block in record form."""
        who = np.arange(block.first, block.last)
        offer = block.candidates
        own_first = np.searchsorted(block.own.page, np.arange(len(who) + 1))
        themes = ROWS if offer is None else len(self.maker.themes.kind)
        because, share = self._because(block)
        for i, place in enumerate(who):
            person = self.people.iloc[place]
            rows, evidence = [], []
            for r, theme in enumerate(block.built.row[i]):
                cells = block.built.show[i, r][block.built.show[i, r] >= 0]
                if theme < 0 or not len(cells):
                    continue
                country = str(person["country"])
                kind, heading, reason = self._words(block, i, int(theme), themes, int(own_first[i]), country)
                ids = self.title_ids[cells].tolist()
                rows.append({"row_kind": kind, "heading": heading, "reason": reason, "title_ids": ids})
                for c, show in enumerate(cells):
                    named = because[i, r, c] >= 0
                    evidence.append(
                        {
                            "title_id": self.title_ids[show],
                            "worth": round(float(block.worth[i, show]), 6),
                            "because_ids": self.title_ids[because[i, r, c][named]].tolist(),
                            "because_shares": [round(float(x), 4) for x in share[i, r, c][named]],
                        }
                    )
            model_id = CONTEXTUAL if person["by_context"] else FALLBACK if offer is None else self.model.model_id
            arm = str(person["arm"])
            text = json.dumps([self.ids[place], self.page_date.isoformat(), arm, model_id, rows], sort_keys=True)
            yield {
                "page_id": blake2b(text.encode(), digest_size=10).hexdigest(),
                "profile_id": self.ids[place],
                "page_date": self.page_date,
                "page_arm": arm,
                "model_id": model_id,
                "rows": rows,
                "evidence": evidence,
            }

    def _words(
        self, block: Block, i: int, theme: int, themes: int, own_first: int, country: str
    ) -> tuple[str, str, str]:
        """(kind, heading, reason) of a row."""
        if theme >= themes:
            k = own_first + theme - themes
            if block.own.kind[k] == KIND["continue_watching"]:
                return "continue_watching", "Continue watching", "begun and not finished"
            if block.own.kind[k] == KIND["watch_again"]:
                return "watch_again", "Watch again", f"finished at least {AGAIN_DAYS} days ago"
            assert block.candidates is not None
            show = int(block.candidates.anchor[k])
            name, title_id = self.maker.names[show], self.maker.ids[show]
            return KINDS[block.own.kind[k]], f"Because you watched {name}", f"finished {title_id}"
        if block.candidates is None:
            return "popular", "Popular", "most watched, newer plays count more"
        place = block.first + i
        by_context = bool(self.people["by_context"].iat[place])
        popularity = by_context or self.model.profile_vectors is None
        if popularity and self.maker.themes.kind[theme] in ("top_picks", "more"):
            heading, most = "Popular", "most watched"
            if by_context:
                heading, most = f"Popular in {country}", "most begun in the country and on such a device"
            return "popular", heading, f"{most}, newer plays count more"
        ranked_by = "most watched first" if popularity else BY_HISTORY
        return self.maker.words(theme, float(block.candidates.lift[i, theme]), country, place, ranked_by)

    def _because(self, block: Block) -> tuple[NDArray[np.int32], Floats]:
        """Contributors of every cell and their shares, shape (profiles, R, C, CONTRIBUTORS); -1 and 0 without."""
        shape = (*block.built.show.shape, CONTRIBUTORS)
        if block.candidates is None or self.maker.near is None:
            return np.full(shape, -1, dtype=np.int32), np.zeros(shape)
        first, show = block.past.flat(block.last - block.first)
        who, share = explain(block.built.show.reshape(len(block.built.show), -1), self.maker.near, first, show)
        return who.reshape(shape), share.reshape(shape)


FULL_VIEW = np.outer(1.0 / np.arange(1, ROWS + 1), 1.0 / np.log2(np.arange(2, COLUMNS + 2)))
"""Of the holdback's page: falls row by row, so that popularity is laid out in reading order."""


def rank(scores: Floats, worth: Floats) -> tuple[Ints, Floats]:
    """Candidates of every profile, best first, and their worth: shape (profiles, at most CANDIDATES).

    Args:
        scores: shape (profiles, shows), minus infinity where a show must not stand; ties go to the smaller place.
    """
    order = ranked(scores, None, CANDIDATES)
    there = np.isfinite(np.take_along_axis(scores, order, axis=1))
    value = np.where(there, np.take_along_axis(worth, order, axis=1), 0.0)
    return np.where(there, order, -1).astype(np.int32), value


def learned_view(impressions: pd.DataFrame | None, people: pd.DataFrame) -> View:
    """View probability by the usual device of the viewers; of those who opted out nothing is learned, and without
    impressions the prior alone holds."""
    if impressions is None or not len(impressions):
        empty = pd.DataFrame({"row": np.zeros(0, int), "col": np.zeros(0, int)})
        return learn_view(empty, pd.Series([], dtype=object), ROWS, COLUMNS)
    device = people[~flags(people, "opted_out")].set_index("profile_id")["device"]
    known = impressions[impressions["profile_id"].isin(device.index).to_numpy()]
    return learn_view(known, device.reindex(known["profile_id"]), ROWS, COLUMNS)


def _of_pages(own: OwnRows, pages: NDArray[np.int64]) -> OwnRows:
    """The rows of some pages (ascending), numbered by their place among these."""
    place = np.searchsorted(pages, own.page)
    mine = np.flatnonzero((place < len(pages)) & (pages[np.minimum(place, len(pages) - 1)] == own.page))
    size = np.diff(own.first)[mine]
    first = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    pick = (np.repeat(own.first[:-1][mine] - first[:-1], size) + np.arange(first[-1])).astype(np.int64)
    return OwnRows(place[mine], own.kind[mine], own.least[mine], first, own.show[pick], own.worth[pick])
