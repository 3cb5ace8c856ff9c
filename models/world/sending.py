"""A day's beacons from the player to the topic, with everything that befalls them, and the list of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.world import beacons, disturb, frames
from models.world.beacons import Beacons
from models.world.cast import Played, Wanted
from models.world.catalogue import Catalogue
from models.world.config import Disturb, WorldConfig
from models.world.faults import Fault, inside, of
from models.world.population import DEVICES, I8, Clusters, Obj, Population
from models.world.rng import stream


@dataclass(frozen=True, slots=True)
class Sent:
    """Events in topic order with their places (epoch ms), poison among them (`position, kind, key, payload`), what was
    disturbed (`session_id, seq, kind`), and which sessions no reader can see whole."""

    events: pd.DataFrame
    order_ms: I8
    poison: pd.DataFrame
    disturbed: pd.DataFrame
    broken: NDArray[np.bool_]


def send(
    config: WorldConfig,
    want: Wanted,
    version: Obj,
    played: Played,
    impressions: pd.DataFrame,
    people: Population,
    cat: Catalogue,
    isps: Clusters,
    faults: tuple[Fault, ...],
    day: int,
) -> Sent:
    """Everything between the player and the topic."""
    e, rng = played.events, stream(config.seed, "send", day)
    session = np.ascontiguousarray(e["session"])
    seq = beacons.number(session)
    on_the_way, newest = _posts(played, session, want, rng)
    leaves = on_the_way.sent_at
    there = leaves >= 0
    cohort = {"isp": isps.isp[want.cluster]}
    topic, notes = disturb.disturb(on_the_way.take(there), session[there], cohort, config.disturb, faults, rng)
    notes.append((disturb.UNSENT, np.flatnonzero(~there)))
    skew = _skew(config.disturb, want, faults, rng)
    link = [np.concatenate([impressions[c].to_numpy(object), [None]])[want.cell] for c in ("impression_id", "page_id")]
    day_ms = config.day_ms(day)
    events = frames.events(
        config, topic, e, seq, newest, skew, want, version, want.session_id, link[0], link[1], people, cat, isps, day_ms
    )
    late, broken = _late(topic, session, seq, notes, len(want), config.disturb.lateness_ms)
    named = [(str(disturb.KINDS[k]), which) for k, which in notes] + [("late", late)]
    ids = want.session_id
    listed = [pd.DataFrame({"session_id": ids[session[i]], "seq": seq[i], "kind": kind}) for kind, i in named]
    spoilt = _poison(config.disturb, events, topic, faults, rng)
    return Sent(events, topic.order + day_ms, spoilt, pd.concat(listed, ignore_index=True), broken)


def _posts(played: Played, session: I8, want: Wanted, rng: np.random.Generator) -> tuple[Beacons, I8]:
    """All events on their way, undisturbed (`sent_at` -1: never left), and the newest moment in the POST of each."""
    e, ends = played.events, played.ends
    crash = np.where(ends["crashed"] == 1, ends["at"], -1)
    at, code, mode = (np.ascontiguousarray(e[name]) for name in ("at", "code", "mode"))
    post, leaves = beacons.group(session, at, code, mode, beacons.BATCH_MS[want.device], crash)
    posts = int(post[-1]) + 1 if len(post) else 0
    transit = (20.0 + np.exp(rng.normal(4.0, 0.7, posts))).astype(np.int64)
    newest = np.zeros(posts, dtype=np.int64)
    np.maximum.at(newest, post, at)
    received = leaves + transit[post]
    return Beacons(np.arange(len(e)), post, leaves, received, leaves.copy(), np.zeros(len(e), dtype=np.int8)), newest[
        post
    ]


def _skew(rates: Disturb, want: Wanted, faults: tuple[Fault, ...], rng: np.random.Generator) -> I8:
    """Clock error of each session's device, ms: small for most, minutes for two percent, hours by fault."""
    n = len(want)
    skew = rng.normal(0.0, rates.skew_ms, n)
    far = rng.random(n) < 0.02
    skew = np.where(far & (rates.skew_ms > 0), rng.uniform(-600_000, 600_000, n), skew)
    for f in of(faults, "clock_skew"):
        hit = inside(f, want.at) & (rng.random(n) < f.share)
        if f.device is not None:
            hit &= np.array(DEVICES, dtype=object)[want.device] == f.device
        skew = np.where(hit, rng.uniform(-1.0, 1.0, n) * f.amount * 3_600_000, skew)
    return np.round(skew).astype(np.int64)


def _late(
    topic: Beacons, session: I8, seq: I8, notes: list[tuple[int, I8]], n: int, lateness_ms: int
) -> tuple[I8, NDArray[np.bool_]]:
    """Events that are late by decision 1, and sessions with an event late, withheld, lost or never sent."""
    _, first = np.unique(topic.event, return_index=True)
    event, received = topic.event[first], topic.received_at[first]
    late = event[beacons.late(session[event], seq[event], received, lateness_ms)]
    broken = np.zeros(n, dtype=bool)
    broken[session[late]] = True
    for kind, which in notes:
        if kind in (disturb.LOST, disturb.UNSENT, disturb.WITHHELD):
            broken[session[which]] = True
    return late, broken


def _poison(
    rates: Disturb, events: pd.DataFrame, topic: Beacons, faults: tuple[Fault, ...], rng: np.random.Generator
) -> pd.DataFrame:
    """Messages that must end in the dead-letter topic."""
    count = round(rates.poison * len(events))
    out = [disturb.poison(events, count, rng)]
    for f in of(faults, "poison"):
        rows = np.flatnonzero(inside(f, topic.order))
        more = disturb.poison(events.iloc[rows], round(f.share * len(rows)), rng)
        out.append(more.assign(position=rows[more["position"].to_numpy(np.int64)]))
    filled = [frame for frame in out if len(frame)] or out[:1]
    return pd.concat(filled, ignore_index=True).sort_values("position", kind="stable", ignore_index=True)
