"""The rows a home page may have, and each row's reason, which is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.days import epoch_days
from models.frames import places
from models.recommend.interactions import decay, from_plays, genre_matrix
from models.recommend.page_build import Floats, Ints, OwnRows, Sparse
from models.recommend.page_themes import KIND, Near, Themes, because_rows, label_themes, lifts, shares

NEW_DAYS = 14
TREND_HALF_LIFE_DAYS = 1.5
LEAST_LIFT = 1.0
"""Rows of labels a profile watches less than others are not offered to it."""
LIFT_PULL = 3.0
"""Titles by which a lift is drawn to 1."""
WATCHED_ROWS = 3
AGAIN_DAYS = 7
"""Days since a show was finished before it may be offered again."""
AGAIN_LEAST = 2
LEAST_REPEATS = 0.01
"""Share of plays that are repeats, below which a service has no row of them."""
QUARTERS = ("00-06", "06-12", "12-18", "18-24")
MOOD_LIFT = 1.2
MOOD_LEAST = 5.0
"""Plays of a show in a quarter of the day before it can be a mood."""
LABEL_LEAST = 12
"""Shows a label needs to be a row."""
BY_HISTORY = "ranked by what you watched"


@dataclass(frozen=True, slots=True)
class History:
    """What profiles did with shows: pairs by profile place, the latest first; all arrays of shape (pairs,).

    Attributes:
        who: place of the profile, ascending. show: place of the show.
        finished: a completed film, or a series all of whose episodes out were completed; else it is under way.
        day: epoch day of the last play.
    """

    who: NDArray[np.int64]
    show: NDArray[np.int64]
    finished: NDArray[np.bool_]
    day: NDArray[np.int64]

    def of(self, first: int, last: int) -> Self:
        """Pairs of profiles `first` to `last` (exclusive), counted from `first`."""
        cut = slice(*np.searchsorted(self.who, [first, last]).tolist())
        return type(self)(self.who[cut] - first, self.show[cut], self.finished[cut], self.day[cut])

    def only(self, keep: NDArray[np.bool_]) -> Self:
        """Some of the pairs."""
        return type(self)(self.who[keep], self.show[keep], self.finished[keep], self.day[keep])

    def flat(self, profiles: int) -> tuple[NDArray[np.int64], Ints]:
        """(first, show) as page_themes.because_rows takes it."""
        first = np.searchsorted(self.who, np.arange(profiles + 1)).astype(np.int64)
        return first, self.show.astype(np.int32)


def history(
    plays: pd.DataFrame, titles: pd.DataFrame, catalogue: pd.DataFrame, profiles: pd.Series, today: int
) -> History:
    """Read finished and begun shows off record `play`; `today` decides which episodes are out.

    Args:
        profiles: ids, in the order of their places; other profiles' plays are left out.
    """
    good = plays[plays["quality_play"].astype(bool) & plays["show_id"].isin(set(catalogue["title_id"]))]
    playable = titles[(titles["kind"] != "series") & (epoch_days(titles["launch_date"]) <= today)]
    needed = playable.groupby("show_id")["title_id"].nunique()
    done = good[good["completed"].astype(bool)].groupby(["profile_id", "show_id"])["title_id"].nunique()
    last = good.groupby(["profile_id", "show_id"]).agg(at=("started_at", "max")).reset_index()
    who = places(profiles, last["profile_id"])
    last, who = last[who >= 0], who[who >= 0]
    show = places(catalogue["title_id"], last["show_id"])
    pairs = pd.MultiIndex.from_frame(last[["profile_id", "show_id"]])
    completed = done.reindex(pairs).fillna(0).to_numpy()
    required = needed.reindex(last["show_id"]).fillna(np.inf).to_numpy()
    at = pd.DatetimeIndex(last["at"]).asi8 if len(last) else np.zeros(0, dtype=np.int64)
    day = epoch_days(last["at"]) if len(last) else at
    order = np.lexsort((show, -at, who))
    return History(who[order], show[order], (completed >= required)[order], day[order])


def repeats(plays: pd.DataFrame) -> float:
    """Share of quality plays whose title the profile had completed before: how much a service's viewers watch again."""
    good = plays[plays["quality_play"].astype(bool)].sort_values(["started_at", "session_id"], kind="mergesort")
    done = good["completed"].astype(np.int64)
    before = done.groupby([good["profile_id"], good["title_id"]]).cumsum() - done
    return float((before > 0).mean()) if len(good) else 0.0


def again(past: History, allowed: NDArray[np.bool_], scores: Floats, top: Floats, share: float, today: int) -> OwnRows:
    """Rows of what was finished at least AGAIN_DAYS ago and may be seen, best first; none below LEAST_REPEATS.

    Args:
        allowed, scores: shape (profiles, shows). top: shape (profiles, 1), the best score of what is new to a profile.
        share: see `repeats`; a show finished before is worth so much of what it would be worth unseen.
    """
    if share < LEAST_REPEATS:
        return OwnRows.of([])
    kept = past.only(past.finished & allowed[past.who, past.show] & (today - past.day >= AGAIN_DAYS))
    worth = share * np.exp(np.minimum(scores[kept.who, kept.show] - top[kept.who, 0], 0.0))
    order = np.lexsort((kept.show, -worth, kept.who))
    page, first = np.unique(kept.who, return_index=True)
    return OwnRows(
        page,
        np.full(len(page), KIND["watch_again"], dtype=np.int32),
        np.full(len(page), AGAIN_LEAST, dtype=np.int32),
        np.append(first, len(order)).astype(np.int64),
        kept.show[order].astype(np.int32),
        worth[order],
    )


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the builder takes for some profiles, and the reasons behind its rows.

    Attributes:
        own: rows of single pages; anchor: show a "because" row is about, -1 for other rows, shape (rows,).
        offered: shape (profiles, themes). pins: shape (profiles, R). lift: shape (profiles, themes).
    """

    own: OwnRows
    anchor: Ints
    offered: NDArray[np.bool_]
    pins: Ints
    lift: Floats


class RowMaker:
    """Makes the candidate rows of pages; holds what all profiles share.

    Attributes:
        themes: rows all pages share: top picks, what rises in each country, new, labels, moods; then `more` rows for
            profiles of whom too little is known for themes.
        genres: shape (shows, genres). taste: shape (profiles, genres), shares of each history.
        near: what is like what, None when no model serves.
    """

    def __init__(
        self,
        catalogue: pd.DataFrame,
        titles: pd.DataFrame,
        plays: pd.DataFrame,
        people: pd.DataFrame,
        past: History,
        title_vectors: NDArray[np.float64] | None,
        features: pd.DataFrame,
        today: int,
        more: int,
        zones: Mapping[str, str] | None = None,
    ) -> None:
        """`catalogue`: interactions.shows. `past`: of `people`, in their order. `more`: rows a page may have. `zones`:
        IANA time zone by country; UTC where none is named."""
        self.names, self.ids = catalogue["name"].tolist(), catalogue["title_id"].tolist()
        self.today, self.zones = today, zones or {}
        interactions = from_plays(plays)
        self.trend = _trends(interactions, catalogue, features, today)
        self._moods(interactions, plays, catalogue, people)
        self._themes(catalogue, titles, more)
        self.member, self.kinds = Sparse.of(self.themes.member), self.themes.numbers
        _, self.genres = genre_matrix(catalogue)
        self.genre_shares = Sparse.of(self.genres)
        shape = (len(people), len(catalogue))
        self.watched = csr_matrix((np.ones(len(past.who)), (past.who, past.show)), shape=shape)
        self.taste = shares(self.watched, self.genres)
        total = np.asarray(self.watched.sum(axis=0)).ravel()
        self.base = (total @ self.themes.member) / max(total.sum(), 1.0)
        self.near = near_by_vectors(title_vectors)

    def _themes(self, catalogue: pd.DataFrame, titles: pd.DataFrame, more: int) -> None:
        n = len(catalogue)
        everything = np.ones((n, 1), dtype=bool)
        fresh = (self.today - catalogue["launch_day"].to_numpy() <= NEW_DAYS)[:, None]
        countries = sorted(self.trend)
        rising = np.array([np.isfinite(self.trend[c]) for c in countries], dtype=bool).reshape(len(countries), n).T
        facets = {
            "genre": catalogue["genres"].tolist(),
            "form": [("films",) if kind == "film" else ("series",) for kind in catalogue["kind"]],
        }
        if "country_origin" in titles.columns:
            origin = titles.drop_duplicates("title_id").set_index("title_id")["country_origin"]
            facets["origin"] = [(f"from {c}",) for c in origin.reindex(catalogue["title_id"])]
        labels = label_themes(facets, LABEL_LEAST)
        moods = sorted(self.moods)
        mood = np.array([self.moods[m] for m in moods], dtype=bool).reshape(len(moods), n).T
        parts = [
            Themes(["top_picks"], ["Top picks for you"], everything),
            Themes(["new"], ["New"], fresh),
            Themes(["trending"] * len(countries), [f"Trending in {c}" for c in countries], rising),
            Themes(["mood"] * len(moods), ["At your hours"] * len(moods), mood),
            labels,
            Themes(["more"] * more, ["More for you"] * more, np.repeat(everything, more, axis=1)),
        ]
        self.themes = parts[0]
        for part in parts[1:]:
            self.themes = self.themes.joined(part)
        kind = np.array(self.themes.kind, dtype=object)
        self.is_label = np.isin(kind, ("genre", "micro_genre"))
        self.is_more = kind == "more"
        self.trend_theme = {c: int(np.flatnonzero(kind == "trending")[i]) for i, c in enumerate(countries)}
        self.mood_theme = {m: int(np.flatnonzero(kind == "mood")[i]) for i, m in enumerate(moods)}

    def _moods(
        self, interactions: pd.DataFrame, plays: pd.DataFrame, catalogue: pd.DataFrame, people: pd.DataFrame
    ) -> None:
        """Shows a country watches more in a quarter of its day than in others, and each profile's quarter."""
        good = plays[plays["quality_play"].astype(bool)]
        show, who = places(catalogue["title_id"], good["show_id"]), places(people["profile_id"], good["profile_id"])
        country = good["country"].to_numpy(dtype=object)
        at = pd.DatetimeIndex(pd.to_datetime(good["started_at"], utc=True))
        quarter = np.zeros(len(at), dtype=np.int64)
        for name in set(country):
            here = country == name
            quarter[here] = at[here].tz_convert(self.zones.get(name, "UTC")).hour.to_numpy() // 6
        self.moods: dict[tuple[str, int], NDArray[np.bool_]] = {}
        for name in sorted(set(country)):
            mine = (country == name) & (show >= 0)
            counts = np.zeros((4, len(catalogue)))
            np.add.at(counts, (quarter[mine], show[mine]), 1.0)
            part = counts.sum(axis=1, keepdims=True) / max(counts.sum(), 1.0)
            expected = counts.sum(axis=0) * part
            for q in range(4):
                self.moods[name, q] = (counts[q] >= MOOD_LEAST) & (counts[q] > MOOD_LIFT * expected[q])
        hours = np.zeros((len(people), 4))
        np.add.at(hours, (who[who >= 0], quarter[who >= 0]), 1.0)
        self.quarter = np.where(hours.sum(axis=1) > 0, hours.argmax(axis=1), -1)

    def candidates(
        self,
        first: int,
        shows: Ints,
        worth: Floats,
        country: list[str],
        past: History,
        under_way: OwnRows,
        seen: OwnRows,
        rows: int,
    ) -> Candidates:
        """Of the profiles from `first` on.

        Args:
            shows, worth: as page_build.build takes them. past: of these profiles, by their place among them.
            under_way: their continue-watching rows, which are pinned to the top. seen: rows of what may be seen again.
        """
        n = len(shows)
        watched = self.watched[first : first + n]
        lift = lifts(watched, np.asarray(watched.sum(axis=1)).ravel(), self.themes.member, self.base, LIFT_PULL)
        offered = np.repeat(~(self.is_label | self.is_more)[None, :], n, axis=0)
        offered |= self.is_label & (lift >= LEAST_LIFT)
        for theme in (*self.trend_theme.values(), *self.mood_theme.values()):
            offered[:, theme] = False
        for i, name in enumerate(country):
            if name in self.trend_theme:
                offered[i, self.trend_theme[name]] = True
            mood = self.mood_theme.get((name, int(self.quarter[first + i])))
            if mood is not None:
                offered[i, mood] = True
        own, _ = joined(under_way, seen)
        anchor = np.full(len(own.page), -1, dtype=np.int32)
        if self.near is not None:
            because, about = because_rows(
                shows, worth, self.near, past.flat(n), past.only(past.finished).flat(n), WATCHED_ROWS
            )
            own, order = joined(own, because)
            anchor = np.concatenate([anchor, about])[order]
        pins = np.full((n, rows), -1, dtype=np.int32)
        pins[under_way.page, 0] = len(self.themes.kind)  # it is the first of a page's own rows
        return Candidates(own, anchor, offered, pins, lift)

    def words(
        self, theme: int, lift: float, country: str, profile: int, ranked_by: str = BY_HISTORY
    ) -> tuple[str, str, str]:
        """(kind, heading, reason) of a shared theme's row; `ranked_by` where nothing else speaks for it."""
        kind, heading = self.themes.kind[theme], self.themes.heading[theme]
        if kind in ("genre", "micro_genre"):
            more = f"you watch {lift:.1f} times as much of it as others"
            return kind, heading, more if lift >= 1.05 else ranked_by
        reasons = {
            "top_picks": ranked_by,
            "new": f"out for at most {NEW_DAYS} days",
            "trending": f"watched more than usual in {country} in the last days",
            "mood": f"{country} watches it more than at other hours when you watch most, {self._hours(profile)} "
            f"{'local time' if country in self.zones else 'UTC'}",
            "more": "ranked next for you",
        }
        return kind, heading, reasons[kind]

    def _hours(self, profile: int) -> str:
        return QUARTERS[int(self.quarter[profile])]


def under_way(past: History, allowed: NDArray[np.bool_], worth: Floats) -> OwnRows:
    """Continue-watching rows: what was begun and may be seen, the latest first.

    Args:
        allowed, worth: shape (profiles, shows).
    """
    kept = past.only(~past.finished & allowed[past.who, past.show])
    page = np.unique(kept.who)
    return OwnRows(
        page,
        np.full(len(page), KIND["continue_watching"], dtype=np.int32),
        np.ones(len(page), dtype=np.int32),
        np.append(np.searchsorted(kept.who, page), len(kept.who)).astype(np.int64),
        kept.show.astype(np.int32),
        worth[kept.who, kept.show],
    )


def joined(one: OwnRows, other: OwnRows) -> tuple[OwnRows, NDArray[np.int64]]:
    """Rows of both, by page, the first's before the other's; and where each came from (others after the first's)."""
    page = np.concatenate([one.page, other.page])
    order = np.argsort(page, kind="stable")
    first = np.concatenate([one.first[:-1], other.first[:-1] + one.first[-1]])
    size = np.concatenate([np.diff(one.first), np.diff(other.first)])
    show, worth = np.concatenate([one.show, other.show]), np.concatenate([one.worth, other.worth])
    at = np.repeat(first[order] - np.concatenate([[0], np.cumsum(size[order])[:-1]]), size[order]) if len(order) else 0
    pick = (np.arange(len(show)) + at).astype(np.int64)
    return (
        OwnRows(
            page[order],
            np.concatenate([one.kind, other.kind])[order],
            np.concatenate([one.least, other.least])[order],
            np.concatenate([[0], np.cumsum(size[order])]).astype(np.int64),
            show[pick],
            worth[pick],
        ),
        order,
    )


def near_by_vectors(title_vectors: NDArray[np.float64] | None, n: int = 100, block: int = 512) -> Near | None:
    """By the cosine of the personal parts of show vectors (all but the last coordinate); None without any."""
    if title_vectors is None or title_vectors.shape[1] < 2 or len(title_vectors) < 2:
        return None
    own = title_vectors[:, :-1]
    length = np.linalg.norm(own, axis=1, keepdims=True)
    unit = np.divide(own, length, out=np.zeros_like(own), where=length > 0)
    count = len(unit)
    n = min(n, count - 1)
    show, likeness = np.full((count, n), -1, dtype=np.int32), np.zeros((count, n))
    for start in range(0, count, block):
        cosine = unit[start : start + block] @ unit.T
        here = np.arange(len(cosine))
        cosine[here, start + here] = -1.0
        best = np.argpartition(-cosine, n - 1, axis=1)[:, :n]
        best = np.sort(best, axis=1)
        value = np.take_along_axis(cosine, best, axis=1)
        order = np.argsort(-value, axis=1, kind="stable")
        value = np.take_along_axis(value, order, axis=1)
        likeness[start : start + block] = np.where(value > 0, value, 0.0)
        show[start : start + block] = np.where(value > 0, np.take_along_axis(best, order, axis=1), -1)
    return Near(show, likeness)


def _trends(
    interactions: pd.DataFrame, catalogue: pd.DataFrame, features: pd.DataFrame, today: int
) -> Mapping[str, Floats]:
    """Per country: log of recent plays over what the week before would give, minus infinity for shows not rising there.

    A show rises when its recent share beats its week's share in the country; everybody's one-day share (feature_title)
    joins the evidence.
    """
    place = places(catalogue["title_id"], interactions["title_id"])
    day = interactions["day"].to_numpy(dtype=np.int64)
    known = (place >= 0) & (day < today)
    week = features.set_index("title_id").reindex(catalogue["title_id"])[["plays_1d", "plays_7d"]].fillna(0)
    everywhere = (week["plays_1d"].to_numpy() + 1.0) / (week["plays_7d"].to_numpy() / 7.0 + 1.0)
    out = {}
    for country in sorted(set(interactions["country"])):
        mine = known & (interactions["country"] == country).to_numpy()
        recent = np.bincount(
            place[mine], weights=decay(day[mine], today - 1, TREND_HALF_LIFE_DAYS), minlength=len(catalogue)
        )
        usual = np.bincount(place[mine], weights=decay(day[mine], today - 1, 7.0), minlength=len(catalogue))
        scale = recent.sum() / max(usual.sum(), 1e-9)
        rise = np.log((recent + 1.0) / (usual * scale + 1.0)) + np.log(everywhere)
        out[country] = np.where((rise > 0) & (recent > 0), np.log(recent + 1.0) + rise, -np.inf)
    return out
