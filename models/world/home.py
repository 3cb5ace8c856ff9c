"""Home pages: those given, the fallback everyone else sees, and what a viewer does in front of one.

A viewer reads the page row by row. In each row one title at most is taken: a multinomial logit over the visible cells
and "nothing here" (McFadden 1974), whose logits are utility plus the image's effect less the bias of the place.
After a row without a take the viewer goes on with probability `next_row`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.experiment.assign import arms
from models.world.catalogue import Catalogue
from models.world.config import WorldConfig
from models.world.errors import WorldError
from models.world.population import F8, I8, Obj, Population
from models.world.taste import F4, IMPOSSIBLE

VISIBLE = np.array([7, 4, 5, 7, 6])
"""Cells of a row in sight, by device class."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages as cells: `show[page, row, col]`, -1 where empty; `of` is each profile's page."""

    show: NDArray[np.int32]
    of: I8
    page_id: Obj  # (profiles,)
    arm: Obj  # (profiles,)
    row_kind: list[list[str]]


def fallback_rows(config: WorldConfig, cat: Catalogue, counts: F8, day: int) -> list[tuple[str, list[int]]]:
    """Decayed popularity, nothing personal: popular, new, and the genres watched most; no show twice."""
    shows = cat.shows
    playable = shows.launch <= day
    score = np.where(playable, counts, -1.0)
    order = [int(s) for s in np.lexsort((np.arange(len(score)), -score)) if playable[s]]
    recent = [s for s in sorted(order, key=lambda s: (-shows.launch[s], -score[s], s)) if shows.launch[s] > day - 14]
    main = shows.genres.argmax(axis=1)
    total = np.bincount(main, np.maximum(score, 0.0), minlength=len(config.genres))
    by_genre = [
        (f"genre:{config.genres[g]}", [s for s in order if main[s] == g]) for g in np.argsort(-total, kind="stable")
    ]
    wanted = [("popular", order), *by_genre[:1], ("new", recent), *by_genre[1:]]
    rows: list[tuple[str, list[int]]] = []
    used: set[int] = set()
    for kind, candidates in wanted:
        picked = [s for s in candidates if s not in used][: config.fallback_cols]
        if picked and len(rows) < config.fallback_rows:
            rows.append((kind, picked))
            used.update(picked)
    return rows


def lay_out(
    config: WorldConfig, people: Population, cat: Catalogue, counts: F8, pages: pd.DataFrame | None, day: int
) -> Pages:
    """Every profile's page of the day: the one given, else its country's fallback.

    Raises:
        WorldError: a page shows a title that is unknown or not launched yet.
    """
    date = config.date(day).isoformat()
    laid: list[list[tuple[str, list[int]]]] = [fallback_rows(config, cat, c, day) for c in counts]
    of = people.country.copy()
    page_id = np.array([f"{p}-{date}-fallback" for p in people.profile_id], dtype=object)
    arm = arms(config.page_salt, people.profile_id, config.page_holdback)
    if pages is not None and len(pages):
        place = {p: i for i, p in enumerate(people.profile_id)}
        number = {s: i for i, s in enumerate(cat.shows.show_id)}
        for page in pages.to_dict("records"):
            if page["profile_id"] not in place:
                raise WorldError(f"page {page['page_id']}: profile {page['profile_id']!r} does not live in this world")
            i = place[page["profile_id"]]
            of[i], page_id[i], arm[i] = len(laid), page["page_id"], page["page_arm"]
            laid.append([(r["row_kind"], _cells(page, r, number, cat, day)) for r in page["rows"]])
    height = max(1, *(len(p) for p in laid))
    width = max((len(r[1]) for p in laid for r in p), default=1)
    show = np.full((len(laid), height, width), -1, dtype=np.int32)
    for k, page in enumerate(laid):
        for j, (_, cells) in enumerate(page):
            show[k, j, : len(cells)] = cells
    return Pages(show, of, page_id, arm, [[kind for kind, _ in page] for page in laid])


def _cells(page: dict[str, Any], row: dict[str, Any], number: dict[str, int], cat: Catalogue, day: int) -> list[int]:
    """Show numbers of one row."""
    cells = []
    for title in row["title_ids"]:
        s = number.get(title)
        if s is None:
            raise WorldError(
                f"page {page['page_id']} shows {title!r}, which is no film or series of this world "
                "(episodes are shown as their series)"
            )
        if cat.shows.launch[s] > day:
            raise WorldError(
                f"page {page['page_id']} shows {title!r}, which launches on day "
                f"{cat.shows.launch[s]}; today is day {day}"
            )
        cells.append(s)
    return cells


@dataclass(frozen=True, slots=True)
class Images:
    """The image of cells: number, its logged probability, decision and arm; all of one shape."""

    image: I8
    probability: F8
    row: I8  # row of the artwork frame, -1 for the world's own uniform draw
    effect: F8


def choose_images(
    config: WorldConfig,
    people: Population,
    cat: Catalogue,
    chosen: ChosenArtwork | None,
    who: I8,
    show: NDArray[np.int32],
    day: int,
) -> Images:
    """Image of every (profile, show) pair: as decided, else uniform by a hash of (profile, show, epoch)."""
    safe = np.maximum(show, 0).astype(np.int64)
    first = cat.artwork_first[safe]
    count = cat.artwork_first[safe + 1] - first
    epoch = (config.date(day) - pd.Timestamp(0).date()).days // 7
    with np.errstate(over="ignore"):
        key = (who.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ (
            safe.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
        )
        key ^= np.uint64(epoch * 1_000_003 + config.seed)
        for mixer in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
            key = (key ^ (key >> np.uint64(30))) * np.uint64(mixer)
        key ^= key >> np.uint64(31)
    image = first + (key >> np.uint64(11)).astype(np.int64) % count
    probability, row = 1.0 / count, np.full(show.shape, -1, dtype=np.int64)
    if chosen is not None:
        decided = chosen.row[who, safe]
        has = decided >= 0
        image = np.where(has, chosen.image[decided], image)
        probability = np.where(has, chosen.probability[decided], probability)
        row = np.where(has, decided, row)
    return Images(image, probability, row, artwork_effect(config, people, cat, who, image))


def artwork_effect(config: WorldConfig, people: Population, cat: Catalogue, who: I8, image: I8) -> F8:
    """Logits an image adds: its own pull, and its themes against the profile's taste, centred on a neutral taste."""
    match = np.einsum("...g,...g->...", people.taste[who], cat.artwork_themes[image])
    return np.asarray(cat.artwork_effect[image] + config.artwork_taste * (match - 1.0 / len(config.genres)))


@dataclass(frozen=True, slots=True)
class ChosenArtwork:
    """Decisions in record form, indexed: `row[profile, show]` points into `image`, `probability` and the frame."""

    row: NDArray[np.int32]
    image: I8
    probability: F8
    decision_id: Obj
    arm: Obj


def index_artwork(artwork: pd.DataFrame, people: Population, cat: Catalogue) -> ChosenArtwork:
    """The newest decision of each (profile, show).

    Raises:
        WorldError: a decision names an unknown profile, show or image.
    """
    ordered = artwork.sort_values(["valid_date", "decision_id"], kind="stable").reset_index(drop=True)
    lookups = (("profile_id", people.profile_id), ("title_id", cat.shows.show_id), ("artwork_id", cat.artwork_id))
    numbers = []
    for column, ids in lookups:
        codes = pd.Index(ids).get_indexer(pd.Index(ordered[column]))
        if len(codes) and codes.min() < 0:
            raise WorldError(
                f"artwork choice {ordered['decision_id'][int(codes.argmin())]}: {column} "
                f"{ordered[column][int(codes.argmin())]!r} is unknown in this world"
            )
        numbers.append(codes.astype(np.int64))
    row = np.full((len(people), len(cat.shows.show_id)), -1, dtype=np.int32)
    row[numbers[0], numbers[1]] = np.arange(len(ordered))
    return ChosenArtwork(
        row,
        numbers[2],
        ordered["probability"].to_numpy(np.float64),
        ordered["decision_id"].to_numpy(object),
        ordered["artwork_arm"].to_numpy(object),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """Cells that were seen, one entry each, in reading order of each visit; `taken` at most once per visit."""

    visit: I8
    show: I8
    row: I8
    col: I8
    images: Images
    logit: F8
    probability: F8  # of being taken, given that its row was seen
    taken: NDArray[np.bool_]
    taken_show: I8  # (visits,) show taken from the page, -1 without
    taken_cell: I8  # (visits,) entry above that was taken, -1 without
    rows_read: I8  # (visits,)


def logits(
    config: WorldConfig,
    pages: Pages,
    useful: F4,
    cat: Catalogue,
    people: Population,
    chosen: ChosenArtwork | None,
    who: I8,
    device: I8,
    day: int,
) -> tuple[NDArray[np.int32], F8, Images]:
    """Cells (visits, rows, cols), their logits (-inf where nothing is seen) and images."""
    show = pages.show[pages.of[who]].copy()
    show[np.broadcast_to(np.arange(show.shape[2]), show.shape) >= VISIBLE[device][:, None, None]] = -1
    wide = np.broadcast_to(who[:, None, None], show.shape)
    worth = useful[wide, np.maximum(show, 0)].astype(np.float64)
    show[worth <= IMPOSSIBLE / 2] = -1
    images = choose_images(config, people, cat, chosen, wide, show, day)
    place = config.row_bias * np.arange(show.shape[1])[:, None] + config.col_bias * np.arange(show.shape[2])[None, :]
    return show, np.where(show >= 0, config.take_base + worth + images.effect - place, -np.inf), images


def read(config: WorldConfig, show: NDArray[np.int32], logit: F8, images: Images, rng: np.random.Generator) -> Seen:
    """Let the viewers of all visits read their pages."""
    n, height, width = show.shape
    weight = np.exp(logit)
    total = weight.sum(axis=2)
    hit = rng.random((n, height)) < total / (1.0 + total)
    on = rng.random((n, height)) < config.next_row
    first_hit = np.where(hit.any(axis=1), hit.argmax(axis=1), height)
    first_stop = np.where((~on).any(axis=1), (~on).argmax(axis=1), height - 1)
    rows_read = np.minimum(first_hit, first_stop) + 1
    rows_read = np.minimum(rows_read, (show >= 0).any(axis=2).cumsum(axis=1).argmax(axis=1) + 1)
    takes = np.flatnonzero(first_hit < rows_read)
    at = first_hit[takes]
    cumulative = weight[takes, at].cumsum(axis=1) / total[takes, at][:, None]
    col = np.minimum((rng.random(len(takes))[:, None] > cumulative).sum(axis=1), width - 1)
    seen = (show >= 0) & (np.arange(height)[None, :, None] < rows_read[:, None, None])
    visit, row, column = np.nonzero(seen)
    entry = np.full(show.shape, -1, dtype=np.int64)
    entry[seen] = np.arange(len(visit))
    taken_show, taken_cell = np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    taken_show[takes], taken_cell[takes] = show[takes, at, col], entry[takes, at, col]
    taken = np.zeros(len(visit), dtype=bool)
    taken[taken_cell[takes]] = True
    flat = Images(images.image[seen], images.probability[seen], images.row[seen], images.effect[seen])
    return Seen(
        visit,
        show[seen].astype(np.int64),
        row,
        column,
        flat,
        logit[seen],
        (weight / (1.0 + total[:, :, None]))[seen],
        taken,
        taken_show,
        taken_cell,
        rows_read,
    )


def take_rates(config: WorldConfig, show: NDArray[np.int32], logit: F8, shows: int) -> F8:
    """Exact probability that one visit takes each show from its page (visits, shows)."""
    weight = np.exp(logit)
    total = weight.sum(axis=2)
    stay = (1.0 / (1.0 + total)) * config.next_row
    reach = np.concatenate([np.ones((len(total), 1)), np.cumprod(stay, axis=1)[:, :-1]], axis=1)
    cell = weight / (1.0 + total[:, :, None]) * reach[:, :, None]
    out = np.zeros((len(show), shows))
    page = np.broadcast_to(np.arange(len(show))[:, None, None], show.shape)
    ok = show >= 0
    np.add.at(out, (page[ok], show[ok]), cell[ok])
    return out
