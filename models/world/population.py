"""Who watches: profiles of households in countries, behind ISPs, with devices, rhythm and latent taste."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.world.config import WorldConfig
from models.world.rng import stream

DEVICES = ("tv", "mobile", "tablet", "web", "console")
_DEVICE_SHARES = (0.42, 0.24, 0.10, 0.16, 0.08)
_ISPS = ("alder", "birch", "cedar", "dogwood", "elm", "fir", "gum", "hazel", "ivy", "juniper")
LATENT = 8

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
Obj = NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Clusters:
    """One CDN cluster per ISP and country; arrays of shape (clusters,)."""

    cdn_id: Obj
    isp: Obj
    country: I8
    share: F8
    access_kbps: F8
    congestion: F8
    edge_rtt_ms: I8
    origin_rtt_ms: I8


@dataclass(frozen=True, slots=True)
class Population:
    """Profiles; arrays of shape (profiles,), taste (profiles, genres) and latent (profiles, LATENT)."""

    profile_id: Obj
    household_id: Obj
    country: I8
    cluster: I8
    device: I8
    created: Obj
    maturity_limit: I8
    taste: F8
    latent: F8
    visits: F8
    evening: F8
    version: I8
    ads: NDArray[np.bool_]
    access_kbps: F8

    def __len__(self) -> int:
        return len(self.profile_id)


def clusters(config: WorldConfig) -> Clusters:
    """ISPs with market shares, access speed (kbps, median) and evening congestion; one cluster stands in each."""
    rng = stream(config.seed, "clusters")
    k, n = config.isps_per_country, config.isps_per_country * len(config.countries)
    country = np.repeat(np.arange(len(config.countries)), k)
    names = [f"{_name(j)}-{c.lower()}" for c in config.countries for j in range(k)]
    share = np.concatenate([rng.dirichlet(np.full(k, 4.0)) for _ in config.countries])
    access = np.exp(rng.normal(np.log(7_500.0), 0.4, n))
    return Clusters(
        np.array([f"cdn-{name}" for name in names], dtype=object),
        np.array(names, dtype=object),
        country,
        share,
        access,
        rng.uniform(0.2, 0.75, n),
        rng.integers(6, 28, n),
        rng.integers(45, 140, n),
    )


def _name(j: int) -> str:
    return _ISPS[j] if j < len(_ISPS) else f"isp{j}"


def build(config: WorldConfig, isps: Clusters, profile_ids: list[str] | None = None) -> Population:
    """Households of one to four profiles; members share country, ISP and line, not taste.

    `profile_ids` gives the ids (real users); without it there are `config.profiles` of them.
    """
    rng = stream(config.seed, "population")
    n = config.profiles if profile_ids is None else len(profile_ids)
    house = _households(rng, n)
    houses = int(house[-1]) + 1
    weights = np.array(config.country_weights) / sum(config.country_weights)
    house_country = rng.choice(len(weights), houses, p=weights)
    within = np.array([rng.choice(config.isps_per_country, p=isps.share[isps.country == c]) for c in house_country])
    house_cluster = house_country * config.isps_per_country + within
    line = isps.access_kbps[house_cluster] * np.exp(rng.normal(0.0, 0.6, houses))
    cluster = house_cluster[house]
    device = rng.choice(len(DEVICES), n, p=_DEVICE_SHARES)
    ids = profile_ids or [f"p{i:06d}" for i in range(n)]
    versions = np.array(config.version_shares) / sum(config.version_shares)
    return Population(
        np.array(ids, dtype=object),
        np.array([f"h{i:06d}" for i in house], dtype=object),
        isps.country[cluster],
        cluster,
        device,
        np.array([config.start - timedelta(days=int(d)) for d in rng.integers(1, 1200, n)], dtype=object),
        rng.choice([12, 16, 18], n, p=[0.08, 0.12, 0.8]),
        rng.dirichlet(np.full(len(config.genres), 0.35), n),
        rng.normal(0.0, 1.0, (n, LATENT)),
        rng.gamma(2.0, 0.5, n),
        rng.beta(4.0, 2.0, n),
        rng.choice(len(versions), n, p=versions),
        rng.random(n) < config.ad_share,
        line[house],
    )


def _households(rng: np.random.Generator, n: int) -> I8:
    """Household number of each profile, in order."""
    sizes = rng.choice([1, 2, 3, 4], n, p=[0.4, 0.3, 0.2, 0.1])
    return np.repeat(np.arange(n), sizes)[:n]


def profile_frame(config: WorldConfig, people: Population, isps: Clusters) -> pd.DataFrame:
    """Record `profile`."""
    return pd.DataFrame(
        {
            "profile_id": people.profile_id,
            "household_id": people.household_id,
            "country": np.array(config.countries, dtype=object)[people.country],
            "isp": isps.isp[people.cluster],
            "device": np.array(DEVICES, dtype=object)[people.device],
            "created_date": people.created,
            "maturity_limit": people.maturity_limit.astype(np.int32),
        }
    )


def visit_times(config: WorldConfig, people: Population, rng: np.random.Generator, day: int) -> tuple[I8, I8]:
    """Visits of a day: (profile, ms from the day's first moment UTC), ordered by time.

    The number is Poisson in the profile's own rate; the local hour is a mixture of evening, noon and late night, the
    weight of the evening being the profile's. Two visits of a profile are at least 90 minutes apart.
    """
    weekend = 1.2 if config.date(day).weekday() >= 5 else 1.0
    count = rng.poisson(config.visits_per_profile_day * config.scale(day) * weekend * people.visits)
    who = np.repeat(np.arange(len(people)), count)
    part = rng.random(len(who))
    evening = people.evening[who]
    hour = np.where(
        part < evening,
        rng.normal(20.6, 1.4, len(who)),
        np.where(
            part < evening + 0.6 * (1 - evening), rng.normal(13.5, 2.8, len(who)), rng.normal(23.4, 1.6, len(who))
        ),
    )
    local = hour - np.array(config.utc_offset_h)[people.country[who]]
    at = ((local % 24.0) * 3_600_000).astype(np.int64)
    order = np.lexsort((at, who))
    who, at = who[order], at[order]
    apart = np.ones(len(who), dtype=bool)
    apart[1:] = (who[1:] != who[:-1]) | (np.diff(at) > 5_400_000)
    who, at = who[apart], at[apart]
    order = np.lexsort((who, at))
    return who[order], at[order]
