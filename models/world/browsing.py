"""A day in front of the screen: visits, pages read, titles taken or searched for, and the exact rates behind them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.experiment.assign import arms
from models.world import frames, home, population, taste, truth
from models.world.cast import Played, Wanted
from models.world.catalogue import Catalogue
from models.world.config import WorldConfig
from models.world.home import ChosenArtwork, Pages, Seen
from models.world.population import DEVICES, F8, I8, Clusters, Obj, Population
from models.world.rng import stream
from models.world.taste import F4, IMPOSSIBLE

MOBILE = DEVICES.index("mobile")


@dataclass(frozen=True, slots=True)
class Place:
    """What browsing needs of a world on one day."""

    config: WorldConfig
    people: Population
    cat: Catalogue
    isps: Clusters
    liking: F4
    useful: F4
    progress: NDArray[np.int16]
    day: int


@dataclass(frozen=True, slots=True)
class Browsing:
    """Visits of a day (arrays per visit) and what was seen; `page_of` are the visits that opened a page."""

    place: Place
    who: I8
    at: I8
    device: I8
    pages: Pages
    chosen: ChosenArtwork | None
    seen: Seen
    arm: Obj
    organic: I8  # show found by search per visit, -1 without
    wanted: pd.DataFrame | None


def browse(
    place: Place, counts: F8, pages: pd.DataFrame | None, artwork: pd.DataFrame | None, viewings: pd.DataFrame | None
) -> Browsing:
    """Let everyone browse. `viewings` (real ratings of the day) replace takes and searches; a few see a page."""
    config, people, cat, day = place.config, place.people, place.cat, place.day
    rng = stream(config.seed, "browse", day)
    laid = home.lay_out(config, people, cat, counts, pages, day)
    chosen = home.index_artwork(artwork, people, cat) if artwork is not None and len(artwork) else None
    if viewings is None:
        who, at = population.visit_times(config, people, rng, day)
    else:
        who, at = viewings["profile"].to_numpy(np.int64), viewings["at"].to_numpy(np.int64)
    device = np.where(rng.random(len(who)) < 0.8, people.device[who], rng.integers(0, len(DEVICES), len(who)))
    opened = np.ones(len(who), dtype=bool) if viewings is None else rng.random(len(who)) < config.ratings_impressions
    show, logit, images = home.logits(config, laid, place.useful, cat, people, chosen, who[opened], device[opened], day)
    if viewings is not None:
        logit = np.where(show >= 0, -50.0, logit)
    seen = _spread(home.read(config, show, logit, images, rng), np.flatnonzero(opened), len(who))
    organic = np.full(len(who), -1, dtype=np.int64)
    if viewings is None:
        searching = np.flatnonzero((seen.taken_show < 0) & (rng.random(len(who)) < config.organic))
        organic[searching] = _search(place.useful, who[searching], rng)
    arm = arms(config.artwork_salt, people.profile_id, config.artwork_holdback)
    return Browsing(place, who, at, device, laid, chosen, seen, arm, organic, viewings)


def _spread(seen: Seen, visits: I8, n: int) -> Seen:
    """Seen cells of some visits, numbered among all `n`."""
    taken_show, taken_cell, rows = (np.full(n, -1, dtype=np.int64) for _ in range(3))
    taken_show[visits], taken_cell[visits], rows[visits] = seen.taken_show, seen.taken_cell, seen.rows_read
    return Seen(
        visits[seen.visit],
        seen.show,
        seen.row,
        seen.col,
        seen.images,
        seen.logit,
        seen.probability,
        seen.taken,
        taken_show,
        taken_cell,
        rows,
    )


def _search(useful: F4, who: I8, rng: np.random.Generator, block: int = 2_000) -> I8:
    """One show each by the multinomial logit over everything playable (Gumbel maxima); -1 if nothing is."""
    out = np.empty(len(who), dtype=np.int64)
    for i in range(0, len(who), block):
        rows = who[i : i + block]
        best = (useful[rows] + rng.gumbel(size=(len(rows), useful.shape[1]))).argmax(axis=1)
        out[i : i + block] = np.where(useful[rows, best] > IMPOSSIBLE / 2, best, -1)
    return out


def wanted(b: Browsing) -> Wanted:
    """Viewings of the day in order of their start, some seconds of browsing after the visit."""
    p = b.place
    rng = stream(p.config.seed, "wanted", p.day)
    if b.wanted is not None:
        return _rated(b)
    visit = np.flatnonzero((b.seen.taken_show >= 0) | (b.organic >= 0))
    show = np.where(b.seen.taken_show[visit] >= 0, b.seen.taken_show[visit], b.organic[visit])
    at = b.at[visit] + b.seen.rows_read[visit] * 2_500 + rng.integers(1_500, 30_000, len(visit))
    order = np.lexsort((visit, at))
    visit, show, at = visit[order], show[order], at[order]
    who = b.who[visit]
    episode = np.maximum(p.progress[who, show], 0) % p.cat.shows.titles[show]
    ids = np.array(
        [
            f"{p.config.seed:x}-{p.day}-{v:x}-{z:08x}"
            for v, z in zip(visit, rng.integers(0, 2**32, len(visit)), strict=True)
        ],
        dtype=object,
    )
    return Wanted(
        who,
        show,
        p.cat.first_title[show] + episode,
        at,
        b.device[visit],
        _clusters(p, who, b.device[visit], rng),
        b.seen.taken_cell[visit],
        taste.like(p.config, p.liking, p.cat.shows, who, show),
        np.full(len(visit), -1, dtype=np.int64),
        ids,
    )


def _clusters(p: Place, who: I8, device: I8, rng: np.random.Generator) -> I8:
    """A phone is sometimes behind another ISP of the country."""
    home_cluster = p.people.cluster[who]
    k = p.config.isps_per_country
    other = p.people.country[who] * k + rng.integers(0, k, len(who))
    return np.where((device == MOBILE) & (rng.random(len(who)) < 0.15), other, home_cluster)


def _rated(b: Browsing) -> Wanted:
    """Real ratings as viewings, at their times; a title that was on the page seen counts as its impression."""
    p, v = b.place, b.wanted
    assert v is not None
    rng = stream(p.config.seed, "wanted", p.day)
    show = v["show"].to_numpy(np.int64)
    cell = np.full(len(v), -1, dtype=np.int64)
    match = b.seen.show == show[b.seen.visit]
    cell[b.seen.visit[match]] = np.flatnonzero(match)
    title = p.cat.first_title[show]
    length = (p.cat.duration_ms[title] * v["share"].to_numpy()).astype(np.int64)
    return Wanted(
        b.who,
        show,
        title,
        b.at,
        b.device,
        _clusters(p, b.who, b.device, rng),
        cell,
        np.full(len(v), 0.9),
        length,
        v["session_id"].to_numpy(object),
    )


def impressions(b: Browsing) -> pd.DataFrame:
    """impression rows."""
    p = b.place
    rng = stream(p.config.seed, "impressions", p.day)
    return frames.impressions(
        p.config, b.seen, b.pages, b.who, b.at, b.device, b.chosen, b.arm, p.people, p.cat, rng, p.day
    )


def takes(b: Browsing) -> pd.DataFrame:
    """Truth of every impression: logit, exact probability given that its row was seen, the parts, the outcome."""
    s = b.seen
    return pd.DataFrame(
        {
            "impression_id": frames.impression_ids(s.visit, s, b.place.day),
            "utility": b.place.useful[b.who[s.visit], s.show].astype(np.float64),
            "artwork_effect": s.images.effect,
            "logit": s.logit,
            "probability": s.probability,
            "taken": s.taken,
        }
    )


def rates(b: Browsing, played: Played, want: Wanted, counts_of_visits: F8) -> pd.DataFrame:
    """True demand of the day: expected plays and bytes of every file at every cluster, `cdn_id, file_id, title_id`.

    Expected visits times the exact take rates of the page in force and the search rates, times episodes by where each
    profile stands and how far it binges, times expected playing time. Only the mix of rungs at a cluster is not a
    formula: it is measured over all that the day played there. Wait, stalls and pauses are left out.
    Empty on a day of real ratings, which follow no rate of this world.
    """
    p = b.place
    if b.wanted is not None:
        return pd.DataFrame(
            {"cdn_id": [], "file_id": [], "title_id": [], "expected_plays": np.zeros(0), "expected_bytes": np.zeros(0)}
        )
    plays, minutes = _title_rates(b, counts_of_visits)
    mix = _mix(p, played, want)
    cat = p.cat
    out = []
    newer = _av1_share(p)
    for c in range(len(p.isps.cdn_id)):
        asset_ms = minutes[c][cat.asset_title]
        asset_plays = plays[c][cat.asset_title]
        split = np.where(
            cat.asset_codec == "av1", newer[c], np.where(cat.title_extra[cat.asset_title] >= 0, 1.0 - newer[c], 1.0)
        )
        rung = mix[c, np.minimum(cat.asset_rungs[cat.file_asset], 5), cat.file_rung]
        size = asset_ms[cat.file_asset] * split[cat.file_asset] * rung * cat.file_kbps / 8.0
        keep = size > 0.0
        out.append(
            pd.DataFrame(
                {
                    "cdn_id": p.isps.cdn_id[c],
                    "file_id": cat.file_id[keep],
                    "title_id": cat.title_id[cat.asset_title[cat.file_asset]][keep],
                    "expected_plays": (asset_plays * split)[cat.file_asset][keep],
                    "expected_bytes": size[keep],
                }
            )
        )
    return pd.concat(out, ignore_index=True)


def _title_rates(b: Browsing, visits: F8) -> tuple[F8, F8]:
    """Expected plays and playing ms (clusters, titles) of a day on which each profile makes `visits` visits."""
    p, cat = b.place, b.place.cat
    everyone = np.arange(len(p.people))
    show, logit, _ = home.logits(p.config, b.pages, p.useful, cat, p.people, b.chosen, everyone, p.people.device, p.day)
    shows = len(cat.shows.show_id)
    clusters = len(p.isps.cdn_id)
    plays, playing = np.zeros((clusters, len(cat.title_id))), np.zeros((clusters, len(cat.title_id)))
    for i in range(0, len(everyone), 500):
        rows = everyone[i : i + 500]
        page = home.take_rates(p.config, show[rows], logit[rows], shows)
        rest = 1.0 - page.sum(axis=1, keepdims=True)
        rate = visits[rows][:, None] * (page + rest * p.config.organic * taste.softmax(p.useful[rows]))
        _chain(p, rows, rate, plays, playing)
    return plays, playing


def _chain(p: Place, rows: I8, rate: F8, plays: F8, playing: F8) -> None:
    """Add title rates of some profiles: the next episode of each show, and those that follow in a binge."""
    cat = p.cat
    who, show = np.nonzero(rate > 1e-6)
    weight = rate[who, show]
    profile = rows[who]
    episode = np.maximum(p.progress[profile, show], 0) % cat.shows.titles[show]
    like = taste.like(p.config, p.liking, cat.shows, profile, show)
    binge = np.where(cat.shows.series[show], 0.15 + 0.6 * like, 0.0)
    cluster = p.people.cluster[profile]
    for _ in range(4):
        title = cat.first_title[show] + episode
        watched, whole = truth.watch_ms(cat.duration_ms[title].astype(np.float64), like)
        np.add.at(plays, (cluster, title), weight)
        np.add.at(playing, (cluster, title), weight * watched)
        weight = weight * whole * binge
        episode = episode + 1
        on = episode < cat.shows.titles[show]
        weight, like, binge = weight[on], like[on], binge[on]
        episode, show, cluster = episode[on], show[on], cluster[on]


def _mix(p: Place, played: Played, want: Wanted) -> F8:
    """Share of playing time by (cluster, rungs of the ladder, rung), measured; at least a little everywhere."""
    r, cat = played.requests, p.cat
    out = np.full((len(p.isps.cdn_id), 6, 5), 1e-3)
    if len(r):
        asset = cat.file_asset[r["file"]]
        np.add.at(
            out,
            (want.cluster[r["session"]], np.minimum(cat.asset_rungs[asset], 5), cat.file_rung[r["file"]]),
            r["bytes"] / cat.file_kbps[r["file"]],
        )
    for n in range(6):
        out[:, n, n:] = 0.0
    return np.asarray(out / np.maximum(out.sum(axis=2, keepdims=True), 1e-12))


def _av1_share(p: Place) -> F8:
    """Share of viewing at each cluster on devices that take the newer codec, by usual device."""
    able = np.isin(p.people.device, (DEVICES.index("mobile"), DEVICES.index("web")))
    hit = np.bincount(p.people.cluster, able * p.people.visits, minlength=len(p.isps.cdn_id))
    total = np.bincount(p.people.cluster, p.people.visits, minlength=len(p.isps.cdn_id))
    usual = np.where(total > 0, hit / np.maximum(total, 1e-12), 0.5)
    return np.asarray(0.8 * usual + 0.2 * 0.4)
