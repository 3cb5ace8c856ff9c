"""The rows a home page may have: who may see what, and each row's candidates with a reason that is true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.days import epoch_days
from models.frames import places
from models.recommend.interactions import decay, from_plays, genre_counts, genre_matrix

CONTINUE = "continue_watching"
NEW_DAYS = 14
TREND_HALF_LIFE_DAYS = 1.5
GENRE_ROWS = 4
WATCHED_ROWS = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row that could stand on a page: shows by their order in the row, as places in the catalogue."""

    kind: str
    heading: str
    reason: str
    shows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class History:
    """What profiles did with shows, as sparse pairs by profile place.

    Attributes:
        finished: per profile, places of shows it finished: a completed film, or a series all of whose episodes out
            were completed; the latest first.
        unfinished: per profile, places of shows it began (a quality play) and did not finish, the latest first.
    """

    finished: dict[str, list[int]]
    unfinished: dict[str, list[int]]


def history(plays: pd.DataFrame, titles: pd.DataFrame, catalogue: pd.DataFrame, today: int) -> History:
    """Read finished and begun shows off record `play`; `today` decides which episodes are out."""
    good = plays[plays["quality_play"].astype(bool) & plays["show_id"].isin(set(catalogue["title_id"]))]
    good = good.sort_values(["profile_id", "started_at", "session_id", "segment"], kind="mergesort")
    playable = titles[(titles["kind"] != "series") & (epoch_days(titles["launch_date"]) <= today)]
    needed = playable.groupby("show_id")["title_id"].nunique()
    done = good[good["completed"].astype(bool)].groupby(["profile_id", "show_id"])["title_id"].nunique()
    last = good.groupby(["profile_id", "show_id"], sort=False).agg(at=("started_at", "max")).reset_index()
    last = last.sort_values(["profile_id", "at", "show_id"], ascending=[True, False, True], kind="mergesort")
    pairs = pd.MultiIndex.from_frame(last[["profile_id", "show_id"]])
    completed = done.reindex(pairs).fillna(0).to_numpy()
    required = needed.reindex(last["show_id"]).fillna(np.inf).to_numpy()
    place = places(catalogue["title_id"], last["show_id"])
    finished: dict[str, list[int]] = {}
    unfinished: dict[str, list[int]] = {}
    for profile, show, over in zip(last["profile_id"], place, completed >= required, strict=True):
        (finished if over else unfinished).setdefault(profile, []).append(int(show))
    return History(finished, unfinished)


class RowMaker:
    """Makes every candidate row of a profile; holds what all profiles share."""

    def __init__(
        self,
        catalogue: pd.DataFrame,
        plays: pd.DataFrame,
        profiles: pd.DataFrame,
        title_vectors: NDArray[np.float64] | None,
        features: pd.DataFrame,
        today: int,
    ) -> None:
        """`catalogue`: interactions.shows, sorted. `title_vectors`: None when no model serves. `today`: page day."""
        self.names, self.ids = catalogue["name"].tolist(), catalogue["title_id"].tolist()
        self.is_new = today - catalogue["launch_day"].to_numpy() <= NEW_DAYS
        self.genre_names, self.genres = genre_matrix(catalogue)
        self.main_genre = self.genres.argmax(axis=1)
        interactions = from_plays(plays)
        self.unit = _unit(title_vectors)
        self._near: dict[int, NDArray[np.float64]] = {}
        self.trend = _trends(interactions, catalogue, features, today)
        people = profiles["profile_id"].tolist()
        counts = genre_counts(interactions, catalogue, self.genres, people)
        total = counts.sum(axis=0)
        base = total / total.sum() if total.sum() > 0 else np.full(len(total), 1.0 / max(len(total), 1))
        own = (counts + 2.0 * base) / (counts.sum(axis=1, keepdims=True) + 2.0)
        self.lift = dict(zip(people, np.where(counts > 0, own / np.maximum(base, 1e-9), 0.0), strict=True))

    def rows(self, profile_id: str, country: str, score: NDArray[np.float64], past: History) -> list[Candidate]:
        """Candidate rows, each ordered for this profile; shows scored minus infinity are left out.

        Args:
            score: shape (shows,), log odds of a take; minus infinity where the profile may not see the show.
        """
        begun = continue_row(profile_id, score, past)
        if begun is not None:
            score = score.copy()
            score[begun.shows] = -np.inf  # what was begun has a row of its own
        found = [Candidate("top_picks", "Top picks for you", "ranked by what you watched", _order(score))]
        found += [begun] if begun is not None else []
        found += self._because_watched(profile_id, score, past)
        if country in self.trend:
            rising = self.trend[country]
            shows = _order(np.where(np.isfinite(rising), score + 0.3 * np.maximum(rising, -9.0), -np.inf))
            found.append(
                Candidate("trending", f"Trending in {country}", "watched more than usual in the last days", shows)
            )
        fresh = _order(np.where(self.is_new, score, -np.inf))
        found.append(Candidate("new", "New", f"out for at most {NEW_DAYS} days", fresh))
        return found + self._genres(profile_id, score)

    def _because_watched(self, profile_id: str, score: NDArray[np.float64], past: History) -> list[Candidate]:
        """Shows near one the profile finished: a cosine above 0, which counts beside the ranking."""
        made: list[Candidate] = []
        if self.unit is None:
            return made
        for show in past.finished.get(profile_id, [])[:WATCHED_ROWS]:
            if show not in self._near:
                self._near[show] = self.unit @ self.unit[show]
            near = np.where(self._near[show] > 0, score + 2.0 * self._near[show], -np.inf)
            near[show] = -np.inf
            heading, reason = f"Because you watched {self.names[show]}", f"finished {self.ids[show]}"
            made.append(Candidate("because_you_watched", heading, reason, _order(near)))
        return made

    def _genres(self, profile_id: str, score: NDArray[np.float64]) -> list[Candidate]:
        """The genres the profile watches most above everybody's share."""
        lift = self.lift.get(profile_id, np.zeros(len(self.genre_names)))
        made = []
        for genre in np.argsort(-lift, kind="stable")[:GENRE_ROWS]:
            if lift[genre] > 0:
                reason = f"you watch {lift[genre]:.1f} times as much of it as others"
                shows = _order(np.where(self.main_genre == genre, score, -np.inf))
                made.append(Candidate("genre", self.genre_names[genre].capitalize(), reason, shows))
        return made


def continue_row(profile_id: str, score: NDArray[np.float64], past: History) -> Candidate | None:
    """Shows the profile began and did not finish, the latest first; None without any it may see."""
    begun = [show for show in past.unfinished.get(profile_id, []) if np.isfinite(score[show])]
    if not begun:
        return None
    return Candidate(CONTINUE, "Continue watching", "begun and not finished", np.array(begun, dtype=np.int64))


def _order(values: NDArray[np.float64]) -> NDArray[np.int64]:
    usable = np.flatnonzero(np.isfinite(values))
    return usable[np.argsort(-values[usable], kind="stable")]


def _unit(title_vectors: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Personal parts of show vectors (all but the last coordinate) at length 1, shape (shows, d - 1)."""
    if title_vectors is None or title_vectors.shape[1] < 2:
        return None
    own = title_vectors[:, :-1]
    length = np.linalg.norm(own, axis=1, keepdims=True)
    return np.divide(own, length, out=np.zeros_like(own), where=length > 0)


def _trends(
    interactions: pd.DataFrame, catalogue: pd.DataFrame, features: pd.DataFrame, today: int
) -> dict[str, NDArray[np.float64]]:
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
