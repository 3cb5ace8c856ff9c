"""What can be watched: shows with genres, launch and quality; titles, encodes with per-title ladders, artworks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from models.world.config import WorldConfig
from models.world.population import DEVICES, F8, I8, LATENT, Clusters, Obj
from models.world.rng import stream

CHUNK_MS = 4_000
_LONG = (0.8, -0.8, -0.3, 0.0, 0.3)
"""How much more of a long show each of DEVICES takes."""
VBR = 64
_LADDER = (235, 560, 1050, 2350, 4300)
_ADJECTIVES = (
    "Silent",
    "Golden",
    "Last",
    "Hidden",
    "Broken",
    "Distant",
    "Paper",
    "Crimson",
    "Second",
    "Northern",
    "Hollow",
    "Bright",
    "Iron",
    "Velvet",
    "Winter",
    "Electric",
    "Quiet",
    "Wild",
    "Little",
    "Burning",
)
_NOUNS = (
    "Harbour",
    "Garden",
    "Signal",
    "Letters",
    "Mountain",
    "Summer",
    "Empire",
    "River",
    "Orchard",
    "Station",
    "Mirror",
    "Voyage",
    "Kingdom",
    "Detective",
    "Kitchen",
    "Island",
    "Machine",
    "Dance",
    "Shadow",
    "Promise",
)


@dataclass(frozen=True, slots=True)
class Shows:
    """What a home page shows. `launch` counts days from the world's first day; arrays (shows,) unless said."""

    show_id: Obj
    name: Obj
    series: NDArray[np.bool_]
    titles: I8
    quality: F8
    quality_in: F8  # (countries, shows)
    quality_on: F8  # (devices, shows)
    genres: F8  # (shows, genres)
    latent: F8  # (shows, LATENT)
    launch: I8
    maturity: I8
    minutes: I8  # running time of its titles, mean


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Shows, their playable titles, assets (title and codec), files (asset and rung) and artworks, as arrays."""

    shows: Shows
    first_title: I8
    title_id: Obj
    title_show: I8
    episode: I8
    duration_ms: I8
    asset_id: Obj
    asset_title: I8
    asset_codec: Obj
    asset_file: I8  # first file of the asset
    asset_rungs: I8
    asset_next: I8  # same codec of the next episode, -1 at the end
    asset_vbr: F8  # (assets, VBR) size of chunk k over the mean, k modulo VBR
    title_avc: I8  # asset of every title in avc
    title_extra: I8  # its asset in a newer codec, -1 without
    file_id: Obj
    file_asset: I8
    file_rung: I8
    file_kbps: I8
    file_bytes: I8
    artwork_id: Obj
    artwork_show: I8
    artwork_first: I8  # first artwork of a show; one entry more than shows
    artwork_themes: F8  # (artworks, genres)
    artwork_effect: F8  # logits, the same for everyone


def synthetic_shows(config: WorldConfig) -> Shows:
    """Shows with a heavy popularity tail, regional tastes and launches, some of them inside the run."""
    rng = stream(config.seed, "shows")
    n, g = config.shows, len(config.genres)
    series = rng.random(n) >= config.film_share
    launch = -np.floor(rng.exponential(240.0, n)).astype(np.int64) - 1
    inside = rng.random(n) < config.launches_in_run
    launch[inside] = rng.integers(0, config.days, int(inside.sum()))
    low, high = config.series_episodes
    minutes = np.where(
        series,
        rng.integers(*config.episode_minutes, n, endpoint=True),
        rng.integers(*config.film_minutes, n, endpoint=True),
    )
    pairs = rng.permutation(len(_ADJECTIVES) * len(_NOUNS))
    names = [
        f"{_ADJECTIVES[p % 20]} {_NOUNS[p // 20]}" + (f" {1 + i // 400}" if i >= 400 else "")
        for i, p in enumerate(np.resize(pairs, n))
    ]
    return Shows(
        np.array([f"s{i:05d}" for i in range(n)], dtype=object),
        np.array(names, dtype=object),
        series,
        np.where(series, rng.integers(low, high, n, endpoint=True), 1),
        rng.normal(0.0, 1.0, n),
        rng.normal(0.0, 1.0, (len(config.countries), n)) * config.country_spread,
        _quality_on(config, minutes),
        rng.dirichlet(np.full(g, 0.18), n),
        rng.normal(0.0, 1.0, (n, LATENT)),
        launch,
        rng.choice([0, 6, 12, 16, 18], n, p=[0.2, 0.2, 0.35, 0.2, 0.05]),
        minutes,
    )


def _quality_on(config: WorldConfig, minutes: I8) -> F8:
    """What devices add to shows (devices, shows): to long ones on television, to short ones on phones; a rest."""
    long = (minutes - minutes.mean()) / (minutes.std() or 1.0)
    rest = stream(config.seed, "devices").normal(0.0, 1.0, (len(DEVICES), len(minutes)))
    return np.asarray(config.device_spread * (np.array(_LONG)[:, None] * long + np.sqrt(0.5) * rest))


def build(config: WorldConfig, shows: Shows, rungs: tuple[int, int] = (3, 5), extra: bool = True) -> Catalogue:
    """Titles, ladders, encodes and artworks of the shows.

    A title's complexity scales its ladder and sets how many rungs (`rungs`, both ends) are worth having; a share of
    the titles (`extra`) is also encoded as av1 at 60 percent of the bitrate.
    """
    rng = stream(config.seed, "titles")
    show = np.repeat(np.arange(len(shows.show_id)), shows.titles)
    first = np.concatenate([[0], np.cumsum(shows.titles)[:-1]])
    episode = np.arange(len(show)) - first[show]
    ids = np.array(
        [
            f"{s}e{e + 1:02d}" if ser else s
            for s, e, ser in zip(shows.show_id[show], episode, shows.series[show], strict=True)
        ],
        dtype=object,
    )
    duration = (shows.minutes[show] * 60_000 * rng.uniform(0.85, 1.15, len(show))).astype(np.int64)
    complexity = rng.uniform(0.6, 1.5, len(shows.show_id))[show]
    count = np.clip(np.round(rungs[0] + (complexity - 0.6) / 0.9 * (rungs[1] - rungs[0])), *rungs).astype(np.int64)
    vbr = np.exp(rng.normal(0.0, 0.28, (len(show), VBR)))
    vbr /= vbr.mean(axis=1, keepdims=True)
    newer = (
        (rng.random(len(shows.show_id)) < config.extra_codec_share)[show] if extra else np.zeros(len(show), dtype=bool)
    )
    title = np.concatenate([np.arange(len(show)), np.flatnonzero(newer)])
    codec = np.array(["avc"] * len(show) + ["av1"] * int(newer.sum()), dtype=object)
    title_extra = np.full(len(show), -1)
    title_extra[newer] = len(show) + np.arange(int(newer.sum()))
    asset_file = np.concatenate([[0], np.cumsum(count[title])[:-1]])
    asset = np.repeat(np.arange(len(title)), count[title])
    rung = np.arange(len(asset)) - asset_file[asset]
    factor = complexity[title][asset] * np.where(codec[asset] == "av1", 0.6, 1.0)
    kbps = np.round(np.array(_LADDER)[rung] * factor).astype(np.int64)
    asset_id = np.array([f"{ids[t]}-{c}" for t, c in zip(title, codec, strict=True)], dtype=object)
    art = _artworks(config, shows)
    return Catalogue(
        shows,
        first,
        ids,
        show,
        episode,
        duration,
        asset_id,
        title,
        codec,
        asset_file,
        count[title],
        _next_asset(title, codec, show, title_extra),
        vbr[title],
        np.arange(len(show)),
        title_extra,
        np.array([f"{asset_id[a]}-{r}" for a, r in zip(asset, rung, strict=True)], dtype=object),
        asset,
        rung,
        kbps,
        _file_bytes(kbps, duration[title][asset], vbr[title], asset),
        *art,
    )


def _next_asset(title: I8, codec: Obj, show: I8, title_extra: I8) -> I8:
    """The same codec of the next episode, else its avc, -1 after the last."""
    follows = np.zeros(len(show), dtype=bool)
    follows[:-1] = show[1:] == show[:-1]
    following = np.where(follows[title], title + 1, 0)
    same = np.where((codec == "av1") & (title_extra[following] >= 0), title_extra[following], following)
    return np.where(follows[title], same, -1)


@njit(cache=True)
def chunk_bytes(kbps: int, length_ms: int, factor: float) -> int:
    """Size of one chunk: mean bitrate times length times the title's factor at this place, rounded down."""
    return int(float(kbps) * float(length_ms) * factor / 8.0)


@njit(cache=True)
def _file_bytes(kbps: I8, duration: I8, vbr: F8, asset: I8) -> I8:
    """Sum of the chunks of every file."""
    out = np.zeros(len(kbps), dtype=np.int64)
    for f in range(len(kbps)):
        chunks = (duration[f] + CHUNK_MS - 1) // CHUNK_MS
        for k in range(chunks):
            length = min(CHUNK_MS, duration[f] - k * CHUNK_MS)
            out[f] += chunk_bytes(kbps[f], length, vbr[asset[f], k % VBR])
    return out


def _artworks(config: WorldConfig, shows: Shows) -> tuple[Obj, I8, I8, F8, F8]:
    """Three to six images per show, each leaning to one or two of the genres, drawn around the show's own mixture."""
    rng = stream(config.seed, "artworks")
    n = len(shows.show_id)
    count = rng.integers(3, 6, n, endpoint=True)
    first = np.concatenate([[0], np.cumsum(count)])
    show = np.repeat(np.arange(n), count)
    ids = np.array([f"{shows.show_id[s]}-a{i - first[s]}" for i, s in enumerate(show)], dtype=object)
    weights = rng.gamma(0.25 + 1.2 * shows.genres[show]) + 1e-9
    themes = weights / weights.sum(axis=1, keepdims=True)
    return ids, show, first, themes, rng.normal(0.0, config.artwork_spread, len(show))


def frames(config: WorldConfig, cat: Catalogue, isps: Clusters, day: int) -> dict[str, pd.DataFrame]:
    """Records `title`, `artwork`, `asset_file` and `cdn_cluster` as known on a day (announced launches included)."""
    known = cat.shows.launch <= day + config.announce_days
    files = known[cat.title_show[cat.asset_title[cat.file_asset]]]
    asset = cat.file_asset[files]
    images = known[cat.artwork_show]
    genres = np.array(config.genres, dtype=object)
    launch = np.array([config.date(int(d)) for d in cat.shows.launch], dtype=object)
    disk, fill = budgets(config, cat)
    return {
        "title": _title_frame(config, cat, known, launch),
        "artwork": pd.DataFrame(
            {
                "artwork_id": cat.artwork_id[images],
                "title_id": cat.shows.show_id[cat.artwork_show[images]],
                "theme": genres[cat.artwork_themes[images].argmax(axis=1)],
                "themes": pd.Series(list(cat.artwork_themes[images]), dtype=object),
                "added_date": launch[cat.artwork_show[images]],
            }
        ),
        "asset_file": pd.DataFrame(
            {
                "file_id": cat.file_id[files],
                "asset_id": cat.asset_id[asset],
                "title_id": cat.title_id[cat.asset_title[asset]],
                "codec": cat.asset_codec[asset],
                "rung": cat.file_rung[files].astype(np.int32),
                "bitrate_kbps": cat.file_kbps[files].astype(np.int32),
                "bytes": cat.file_bytes[files],
                "url": np.array([f"/v/{f.replace('-', '/')}.mp4" for f in cat.file_id[files]], dtype=object),
            }
        ),
        "cdn_cluster": pd.DataFrame(
            {
                "cdn_id": isps.cdn_id,
                "isp": isps.isp,
                "country": np.array(config.countries, dtype=object)[isps.country],
                "disk_bytes": disk,
                "fill_budget_bytes": fill,
                "edge_latency_ms": isps.edge_rtt_ms.astype(np.int32),
                "origin_latency_ms": isps.origin_rtt_ms.astype(np.int32),
            }
        ),
    }


def budgets(config: WorldConfig, cat: Catalogue) -> tuple[int, int]:
    """Disk and nightly fill budget of a cluster, bytes."""
    disk = int(cat.file_bytes.sum() * config.disk_share)
    return disk, int(disk * config.fill_share)


def _title_frame(config: WorldConfig, cat: Catalogue, known: NDArray[np.bool_], launch: Obj) -> pd.DataFrame:
    """Series rows first, then films and episodes."""
    shows = cat.shows
    heads = np.flatnonzero(known & shows.series)
    titles = np.flatnonzero(known[cat.title_show])
    of = cat.title_show[titles]
    episodic = shows.series[of]
    show = np.concatenate([heads, of])
    genres = np.array(
        [
            [config.genres[g] for g in np.argsort(-m, kind="stable")[:3] if m[g] >= 0.2 or g == m.argmax()]
            for m in shows.genres
        ]
        + [None],
        dtype=object,
    )[:-1]
    origin = np.array(config.countries, dtype=object)[shows.quality_in.argmax(axis=0)]
    name = np.concatenate(
        [
            shows.name[heads],
            np.where(
                episodic,
                np.array(
                    [f"{shows.name[s]}, episode {e + 1}" for s, e in zip(of, cat.episode[titles], strict=True)],
                    dtype=object,
                ),
                shows.name[of],
            ),
        ]
    )
    number = pd.array(
        np.concatenate([np.full(len(heads), -1), np.where(episodic, cat.episode[titles] + 1, -1)]), dtype="Int32"
    )
    number[np.asarray(number) < 0] = pd.NA
    season = pd.array(np.where(pd.isna(number), -1, 1), dtype="Int32")
    season[pd.isna(number)] = pd.NA
    return pd.DataFrame(
        {
            "title_id": np.concatenate([shows.show_id[heads], cat.title_id[titles]]),
            "show_id": shows.show_id[show],
            "kind": np.concatenate(
                [np.full(len(heads), "series", dtype=object), np.where(episodic, "episode", "film").astype(object)]
            ),
            "name": name,
            "genres": pd.Series(list(genres[show]), dtype=object),
            "country_origin": origin[show],
            "season": season,
            "episode": number,
            "launch_date": launch[show],
            "duration_ms": np.concatenate([np.zeros(len(heads), dtype=np.int64), cat.duration_ms[titles]]),
            "maturity": shows.maturity[show].astype(np.int32),
        }
    )
