"""The world: a video service with known truth that lives one day at a time.

`World.create(config)` makes it, `live(day)` lives a day and returns what the service's systems would see, and beside
it the truth. A day depends on the configuration and on the days before, so days are lived in order; a day lived
before may be lived again under other decisions (pages, artwork, plan, faults) and becomes the last one lived.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.world import (
    browsing,
    cast,
    catalogue,
    delivery,
    frames,
    network,
    population,
    ratings,
    taste,
    truth,
)
from models.world.browsing import Place
from models.world.cast import Played, Wanted
from models.world.catalogue import Catalogue
from models.world.config import WorldConfig
from models.world.delivery import Disks
from models.world.errors import WorldError
from models.world.faults import Fault, disturb_environment
from models.world.network import Traces
from models.world.population import F8, Clusters, Population
from models.world.rng import stream
from models.world.sending import Sent, send
from models.world.taste import F4


@dataclass(slots=True)
class Day:
    """One day as the service sees it, and its truth.

    `events`, `impressions`, `cdn_requests` are in record form (`events` also has `schema_version`), in the order they
    reach their topics; sessions are whole, their tail after midnight included. `order_ms` is the place of each event
    row in the topic. `poison` are (key, value) bytes to be sent after the event row `poison_at`. `truth` frames:
    `timeline, sessions, disturbed, takes, rates, faults, plan, poison`.
    """

    day: int
    events: pd.DataFrame
    order_ms: NDArray[np.int64]
    poison: list[tuple[bytes, bytes]]
    poison_at: NDArray[np.int64]
    impressions: pd.DataFrame
    cdn_requests: pd.DataFrame
    truth: dict[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """What a day leaves to the next: disks, how far profiles are in shows, public play counts (countries, shows)."""

    disks: Disks
    progress: NDArray[np.int16]
    counts: F8

    def copy(self) -> State:
        """A state that can move on without moving this one."""
        return State(self.disks.copy(), self.progress.copy(), self.counts.copy())


class World:
    """A seeded video service. Public: `create`, `catalogue`, `news`, `live`, `useful`, `oracle_page`, `viewings`."""

    def __init__(
        self,
        config: WorldConfig,
        isps: Clusters,
        people: Population,
        cat: Catalogue,
        liking: F4,
        traces: Traces,
        viewings: pd.DataFrame | None,
    ) -> None:
        self.config, self.isps, self.people, self.cat, self.liking, self.traces = (
            config,
            isps,
            people,
            cat,
            liking,
            traces,
        )
        self.viewings = viewings
        self._states: list[State] = [self._first_state()]

    @classmethod
    def create(
        cls,
        config: WorldConfig,
        ratings_frame: pd.DataFrame | None = None,
        traces: Traces | None = None,
        movies: pd.DataFrame | None = None,
    ) -> World:
        """A world by configuration; anchored on real `ratings_frame` (and `movies`) of `models.world.ratings.parse`
        and on real `traces` of `models.world.traces.parse` where given."""
        isps = population.clusters(config)
        if ratings_frame is None:
            shows = catalogue.synthetic_shows(config)
            people = population.build(config, isps)
            cat = catalogue.build(config, shows)
            return cls(
                config,
                isps,
                people,
                cat,
                taste.affinity(config, people, shows),
                traces or network.synthetic(config),
                None,
            )
        config, shows = ratings.shows(config, ratings_frame, pd.DataFrame() if movies is None else movies)
        users = [f"u{u}" for u in ratings_frame["user_id"].drop_duplicates()]
        people = population.build(config, isps, users)
        people, liking = ratings.taste(config, people, shows, ratings_frame)
        cat = catalogue.build(config, shows, rungs=(3, 3), extra=False)
        return cls(
            config,
            isps,
            people,
            cat,
            liking,
            traces or network.synthetic(config),
            ratings.viewings(config, people, shows, ratings_frame),
        )

    def _first_state(self) -> State:
        """The evening before the first day: warm LRU disks and a week of public counts."""
        config, people, cat = self.config, self.people, self.cat
        rng = stream(config.seed, "warm")
        shows = len(cat.shows.show_id)
        progress = taste.past(config, self.liking, cat.shows)
        if self.viewings is not None:
            progress[:] = taste.NEVER
        share = taste.softmax(taste.utility(config, people, cat.shows, self.liking, progress, -1)).astype(np.float64)
        decay = 0.5 ** (1.0 / config.half_life_days)
        weight = config.visits_per_profile_day * config.scale(0) * people.visits / (1.0 - decay)
        counts = np.zeros((len(config.countries), shows))
        np.add.at(counts, people.country, share * weight[:, None])
        counts = rng.poisson(counts).astype(np.float64)
        disk, _ = catalogue.budgets(config, cat)
        disks = delivery.empty(len(self.isps.cdn_id), len(cat.file_id), disk)
        self._warm(disks, share, rng)
        return State(disks, progress, counts)

    def _warm(self, disks: Disks, share: F8, rng: np.random.Generator) -> None:
        """Touch files by demand until every disk has turned over."""
        cat, shows = self.cat, self.cat.shows
        for c in range(len(self.isps.cdn_id)):
            members = np.flatnonzero(self.people.cluster == c)
            demand = share[members].sum(axis=0) if len(members) else share.sum(axis=0)
            drawn = rng.choice(len(demand), 600, p=demand / demand.sum())
            title = cat.first_title[drawn] + rng.integers(0, 1_000, len(drawn)) % shows.titles[drawn]
            asset = cat.title_avc[title]
            files = cat.asset_file[asset] + np.minimum(rng.integers(0, 5, len(drawn)), cat.asset_rungs[asset] - 1)
            for f in files:
                delivery.touch(disks.before, disks.after, disks.used, c, int(f), cat.file_bytes, disks.disk, False)

    # ------------------------------------------------------------------ what is known

    def catalogue(self, day: int) -> dict[str, pd.DataFrame]:
        """Records title, artwork, asset_file, profile, cdn_cluster as known on the day."""
        out = catalogue.frames(self.config, self.cat, self.isps, day)
        out["profile"] = population.profile_frame(self.config, self.people, self.isps)
        return out

    def news(self, day: int) -> dict[str, pd.DataFrame]:
        """Rows of `catalogue(day)` that are new or changed since the day before; on day 0 all of them.

        What a catalogue topic carries: it is compacted, and sending an entity again would push out the version that a
        backfill of an earlier day reads.
        """
        now = self.catalogue(day)
        if day == 0:
            return now
        return {name: frames.changed(now[name], before) for name, before in self.catalogue(day - 1).items()}

    def useful(self, day: int) -> F4:
        """True utility (profiles, shows) at the start of the day: take logit before place and image."""
        return taste.utility(self.config, self.people, self.cat.shows, self.liking, self._state(day).progress, day)

    def to_newcomers(self, day: int) -> F4:
        """True utility (profiles, shows) if nobody had watched anything yet: what the service's own history hides."""
        never = np.full_like(self._state(day).progress, taste.NEVER)
        return taste.utility(self.config, self.people, self.cat.shows, self.liking, never, day)

    def begun(self, day: int) -> NDArray[np.bool_]:
        """Shows that each profile has begun before the day (profiles, shows)."""
        return np.asarray(self._state(day).progress > taste.NEVER)

    def oracle_page(self, day: int, rows: int = 5, cols: int = 8) -> pd.DataFrame:
        """The best page a ranker could give each profile: shows by true utility, in record form (home_page)."""
        best = np.argsort(-self.useful(day), axis=1, kind="stable")[:, : rows * cols]
        ids, date = self.cat.shows.show_id, self.config.date(day)
        worth = self.useful(day)
        out = []
        for p in range(len(self.people)):
            cells = [ids[s] for s in best[p] if worth[p, s] > taste.IMPOSSIBLE / 2]
            out.append(
                [
                    {
                        "row_kind": "oracle",
                        "heading": "Best",
                        "reason": "true utility",
                        "title_ids": cells[r * cols : (r + 1) * cols],
                    }
                    for r in range(rows)
                ]
            )
        return pd.DataFrame(
            {
                "page_id": [f"{p}-{date.isoformat()}-oracle" for p in self.people.profile_id],
                "profile_id": self.people.profile_id,
                "page_date": date,
                "page_arm": "policy",
                "model_id": "oracle",
                "rows": pd.Series(out, dtype=object),
            }
        )

    def _state(self, day: int) -> State:
        if not 0 <= day < len(self._states):
            raise WorldError(
                f"day {day} cannot be lived yet: the world has lived {len(self._states) - 1} days; "
                "live days in order from 0"
            )
        return self._states[day]

    # ------------------------------------------------------------------ a day

    def live(
        self,
        day: int,
        pages: pd.DataFrame | None = None,
        artwork: pd.DataFrame | None = None,
        plan: pd.DataFrame | None = None,
        faults: tuple[Fault, ...] = (),
    ) -> Day:
        """Live one day under the given decisions (record form) and faults.

        Raises:
            WorldError: days out of order, or decisions that do not fit this world.
        """
        if day >= self.config.days:
            raise WorldError(f"day {day} is beyond the world's {self.config.days} days; set days")
        state = self._state(day).copy()
        env = network.environment(self.config, self.isps, day, self.traces.real)
        disturb_environment(env, self.isps, faults)
        in_force, filled = delivery.apply_plan(state.disks, plan, self.cat, self.isps)
        place = Place(self.config, self.people, self.cat, self.isps, self.liking, self.useful(day), state.progress, day)
        b = browsing.browse(place, state.counts, pages, artwork, self._rated(day))
        want, impressions = browsing.wanted(b), browsing.impressions(b)
        day_sessions, version = cast.sessions(
            self.config,
            want,
            self.people,
            self.cat,
            self.isps,
            self.traces,
            faults,
            stream(self.config.seed, "cast", day),
            day,
        )
        played = cast.play_day(self.config, day_sessions, self.cat, self.isps, self.traces, env, state.disks)
        sent = send(self.config, want, version, played, impressions, self.people, self.cat, self.isps, faults, day)
        out = self._day(day, want, played, sent, impressions)
        out.cdn_requests = frames.cdn_requests(
            played.requests,
            want.session_id,
            want,
            np.array(in_force, dtype=object),
            self.cat,
            self.isps,
            stream(self.config.seed, "log", day),
            self.config.day_ms(day),
        )
        out.truth["takes"], out.truth["plan"] = browsing.takes(b), filled
        visits = self.config.visits_per_profile_day * self.config.scale(day) * self.people.visits
        out.truth["rates"] = browsing.rates(b, played, want, visits)
        out.truth["faults"] = pd.DataFrame(
            [{n: getattr(f, n) for n in Fault.__slots__} for f in faults], columns=list(Fault.__slots__)
        )
        self._move_on(day, state, want, played)
        return out

    def _day(self, day: int, want: Wanted, played: Played, sent: Sent, impressions: pd.DataFrame) -> Day:
        """The day without its delivery log, with the truth about its sessions."""
        day_ms, profile = self.config.day_ms(day), self.people.profile_id[want.profile]
        facts = {
            "timeline": truth.timeline(played.intervals, want.session_id, self.cat, day_ms),
            "sessions": truth.sessions(
                played.intervals, played.ends, want.session_id, profile, want.at, day_ms, sent.broken
            ),
            "disturbed": sent.disturbed,
            "poison": sent.poison,
        }
        if self.viewings is not None:
            rated = self._rated(day)
            facts["ratings"] = self.viewings.iloc[:0] if rated is None else rated
        poison = list(zip(sent.poison["key"], sent.poison["payload"], strict=True))
        at = sent.poison["position"].to_numpy(np.int64)
        return Day(day, sent.events, sent.order_ms, poison, at, impressions, pd.DataFrame(), facts)

    def _rated(self, day: int) -> pd.DataFrame | None:
        """The day's real ratings, None where the world lives by itself."""
        if self.viewings is None or day >= self.config.ratings_days:
            return None
        return self.viewings[self.viewings["day"] == day].reset_index(drop=True)

    def _move_on(self, day: int, state: State, want: Wanted, played: Played) -> None:
        """The state after the day."""
        title_number = want.title - self.cat.first_title[want.show]
        after = title_number + played.ends["completed"]
        np.maximum.at(state.progress, (want.profile, want.show), after.astype(np.int16))
        state.counts *= 0.5 ** (1.0 / self.config.half_life_days)
        np.add.at(state.counts, (self.isps.country[want.cluster], want.show), 1.0)
        del self._states[day + 1 :]
        self._states.append(state)
