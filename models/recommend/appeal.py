"""What pages told: how often a show was taken beside how often its places would have had it taken.

A cell high on the page is taken more often whatever stands in it, so takes are compared with what is expected of the
places a show was given (the examination hypothesis of Craswell et al. 2008, with rates by place). Without that, a show
that a page happens to put first looks liked. Pages put first what is liked, so rates by place are cleared of the appeal
of the shows that stood there, a few times in turn: the mode of takes ~ Poisson(rate of place x appeal of show).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.frames import places

ROUNDS = 6
"""Of rates by place and appeal in turn; on the world's logs more of them change no ranking by more than .0001 NDCG."""
PULL_TAKES = 8.0
"""Takes of a show, or of a show in a country, at which the log ratio is half believed."""


@dataclass(frozen=True, slots=True, eq=False)
class Appeal:
    """Log ratios of takes to what the places promised, shrunk to 0, and what is left to be explained by taste.

    Attributes:
        title: shape (titles,). countries: names. country: shape (titles, countries), beyond `title`.
        expected: takes of the cells each profile read, by place, show and country: shape (profiles, titles).
    """

    title: NDArray[np.float64]
    countries: list[str]
    country: NDArray[np.float64]
    expected: csr_matrix


def appeal(
    read: pd.DataFrame,
    titles: NDArray[np.object_],
    profiles: NDArray[np.object_],
    country_of: pd.Series,
    *,
    by_place: bool = True,
) -> Appeal:
    """Count takes and expectations.

    Args:
        read: see choices.rows_read; every row is from before the day that is ranked.
        country_of: country by profile_id.
        by_place: False expects the same of every cell, as who ignores place would.
    """
    show = places(titles, read["title_id"])
    known = show >= 0
    show, taken = show[known], read["taken"].to_numpy(dtype=np.float64)[known]
    row, column = read["row"].to_numpy()[known], read["col"].to_numpy()[known]
    place = row * (int(column.max(initial=0)) + 1) + column if by_place else np.zeros(len(row), dtype=np.int64)
    whole = np.ones(len(titles))
    takes_there, takes = np.bincount(place, taken), np.bincount(show, taken, len(titles))
    expected = np.zeros(len(place))
    for _ in range(ROUNDS):
        rate = takes_there / np.maximum(np.bincount(place, whole[show]), 1e-9)
        expected = rate[place]
        whole = (takes + PULL_TAKES) / (np.bincount(show, expected, len(titles)) + PULL_TAKES)
    expected = expected * whole[show]
    who = read["profile_id"].to_numpy(dtype=object)[known]
    countries = sorted(set(country_of))
    where = places(countries, country_of.reindex(who))
    local = np.ones((len(titles), len(countries)))
    for number in range(len(countries)):
        here = where == number
        took, told = (np.bincount(show[here], values[here], len(titles)) for values in (taken, expected))
        local[:, number] = (took + PULL_TAKES) / (told + PULL_TAKES)
        expected[here] *= local[show[here], number]
    person = places(profiles, who)
    mine = person >= 0
    shape = (len(profiles), len(titles))
    return Appeal(
        np.log(whole),
        countries,
        np.log(local),
        csr_matrix((expected[mine], (person[mine], show[mine])), shape=shape),
    )
