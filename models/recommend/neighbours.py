"""Neighbours: titles watched by the same profiles (BM25), and titles alike in what they are about (content)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, vstack

from models.frames import places
from models.recommend.histories import Histories
from models.recommend.linear import gram_matrix, played

PANEL = 512
"""Titles compared with all others at a time: bounds memory at PANEL x titles."""


class Bm25Neighbours:
    """Item neighbours: a title is a document, the profiles that watched it its words, weighed by Okapi BM25.

    A candidate scores the sum of its similarity to the titles of the history that are among its `neighbours` nearest.

    Attributes:
        similarity: shape (titles, titles), row: a title of the history, column: a candidate.
    """

    name = "bm25"

    def __init__(self, neighbours: int = 200, k1: float = 1.2, b: float = 0.75) -> None:
        if neighbours < 1 or k1 <= 0 or not 0 <= b <= 1:
            raise ValueError(f"neighbours {neighbours} and k1 {k1} must be above 0, b {b} in [0, 1]")
        self.neighbours, self.k1, self.b = neighbours, k1, b
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.similarity = csr_matrix((0, 0), dtype=np.float32)

    def fit(self, histories: Histories) -> Self:
        """Compare every title with every other, keep the nearest."""
        self.titles = histories.titles
        documents = played(histories).T.tocsr()
        length = np.diff(documents.indptr).astype(np.float64)
        mean = max(length.mean(), 1e-9) if len(length) else 1.0
        rarity = np.log1p(documents.shape[0] / np.maximum(histories.lengths(), 1))
        row = np.repeat(np.arange(documents.shape[0]), np.diff(documents.indptr))
        damped = (self.k1 + 1) / (self.k1 * ((1 - self.b) + self.b * length / mean) + 1)
        documents.data = (damped[row] * rarity[documents.indices]).astype(np.float32)
        self.similarity = _nearest(documents, documents, self.neighbours).T.tocsr()
        return self

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Scores of any profiles, shape (profiles, titles)."""
        return (played(histories.over(self.titles)) @ self.similarity).toarray()


class CoWatched:
    """Of those who watched a title of the history, the share that watched the candidate: best for a history of one.

    Profiles count 1 / length, so that the share is of what was watched rather than of who watches everything; `shrink`
    plays by nobody are added to each title of the history.

    Attributes:
        share: shape (titles, titles), row: a title of the history, column: a candidate.
    """

    name = "co_watched"

    def __init__(self, shrink: float = 5.0) -> None:
        if shrink <= 0:
            raise ValueError(f"shrink is {shrink}, must be above 0")
        self.shrink = shrink
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.share: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)

    def fit(self, histories: Histories) -> Self:
        """Count pairs."""
        self.titles = histories.titles
        pairs = played(histories)
        length = np.maximum(np.diff(pairs.indptr), 1)
        mean = float(length.mean()) if len(length) else 1.0
        pairs.data = np.repeat(np.sqrt(mean / length), np.diff(pairs.indptr)).astype(np.float32)
        self.share = gram_matrix(pairs)
        own = np.diag(self.share).copy()
        np.fill_diagonal(self.share, 0.0)
        self.share /= (own + np.float32(self.shrink))[:, None]
        return self

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Sums of shares of any profiles, shape (profiles, titles)."""
        return np.asarray(played(histories.over(self.titles)) @ self.share)


class Walks:
    """Random walks title, profile, title (RP3beta without the last step; Christoffel et al. 2015).

    A step's chance is 1 / degree to the power `alpha`; what everybody watches is divided by plays to the power `beta`.

    Attributes:
        chance: shape (titles, titles), row: a title of the history, column: a candidate.
    """

    name = "walks"

    def __init__(self, alpha: float = 0.8, beta: float = 0.6) -> None:
        if alpha <= 0 or beta < 0:
            raise ValueError(f"alpha {alpha} must be above 0 and beta {beta} not below")
        self.alpha, self.beta = alpha, beta
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.chance: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)

    def fit(self, histories: Histories) -> Self:
        """Count pairs, each profile worth its length to the power -alpha."""
        self.titles = histories.titles
        pairs = played(histories)
        length = np.maximum(np.diff(pairs.indptr), 1).astype(np.float32)
        plays = np.maximum(np.bincount(pairs.indices, minlength=pairs.shape[1]), 1).astype(np.float32)
        pairs.data = np.repeat(length ** (-self.alpha / 2), np.diff(pairs.indptr)).astype(np.float32)
        self.chance = gram_matrix(pairs)
        self.chance *= (plays**-self.alpha)[:, None]
        self.chance /= (plays**self.beta)[None, :]
        np.fill_diagonal(self.chance, 0.0)
        return self

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Sums of chances of any profiles, shape (profiles, titles)."""
        return np.asarray(played(histories.over(self.titles)) @ self.chance)


def _nearest(rows: csr_matrix, columns: csr_matrix, k: int) -> csr_matrix:
    """The `k` largest products of each row with the columns' rows, itself included: shape (rows, columns)."""
    pieces = []
    turned = columns.T.tocsr()
    for first in range(0, rows.shape[0], PANEL):
        near = (rows[first : first + PANEL] @ turned).toarray()
        if k < near.shape[1]:
            edge = -np.partition(-near, k - 1, axis=1)[:, k - 1 : k]
            near[near < edge] = 0.0
        pieces.append(csr_matrix(near))
    return vstack(pieces, format="csr") if pieces else csr_matrix((0, columns.shape[0]), dtype=np.float32)


class ContentNeighbours:
    """Scores titles by likeness to the history in genres, years and words of the name: needs no play of the title.

    Attributes:
        titles: every title of the catalogue, played or not. words: their tf-idf rows at length 1.
    """

    name = "content"

    def __init__(self, catalogue: pd.DataFrame, neighbours: int = 50) -> None:
        """`catalogue`: title_id, name, genres; ids unique. `neighbours`: played titles that may vouch for another."""
        if neighbours < 1:
            raise ValueError(f"neighbours is {neighbours}, must be above 0")
        own = catalogue.sort_values("title_id")
        self.neighbours = neighbours
        self.titles: NDArray[np.object_] = own["title_id"].astype(str).to_numpy(dtype=object)
        self.words = tf_idf([describe(n, g) for n, g in zip(own["name"], own["genres"], strict=True)])
        self.known: NDArray[np.bool_] = np.ones(len(self.titles), dtype=bool)

    def fit(self, histories: Histories) -> Self:
        """Only titles that were played vouch for others."""
        self.known = np.zeros(len(self.titles), dtype=bool)
        place = places(self.titles, histories.titles)
        self.known[place[place >= 0]] = True
        likeness = self.words.multiply(self.known[:, None]).tocsr()
        self.similarity = _nearest(self.words, likeness, self.neighbours).T.tocsr()
        return self

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Scores of any profiles over the whole catalogue, shape (profiles, titles)."""
        return (played(histories.over(self.titles)) @ self.similarity).toarray()


def describe(name: str, genres: Iterable[str]) -> list[str]:
    """Words a title is known by: its genres, their pairs, year and decade if its name ends in (1999), its name."""
    kinds = sorted({f"genre:{g}" for g in genres})
    words = kinds + [f"{a}+{b}" for i, a in enumerate(kinds) for b in kinds[i + 1 :]]
    year = re.search(r"\((\d{4})\)\s*$", name)
    if year:
        words += [f"year:{year[1]}", f"decade:{year[1][:3]}"]
    plain = re.sub(r"\(.*?\)", "", name.lower())
    return words + [w for w in re.findall(r"[^\W_]+", plain) if w not in _STOP and len(w) > 1]


_STOP = frozenset(
    [
        "the",
        "of",
        "and",
        "in",
        "to",
        "for",
        "on",
        "at",
        "by",
        "an",
        "from",
        "with",
        "de",
        "la",
        "le",
        "les",
        "el",
        "der",
        "die",
        "das",
        "il",
        "un",
        "une",
        "is",
        "it",
        "ii",
        "iii",
        "iv",
    ]
)


def tf_idf(documents: Sequence[Sequence[str]]) -> csr_matrix:
    """Rows of length 1 over the words found in at least two documents, shape (documents, words)."""
    count: dict[str, int] = {}
    for words in documents:
        for word in set(words):
            count[word] = count.get(word, 0) + 1
    column = {word: i for i, word in enumerate(sorted(w for w, n in count.items() if n > 1))}
    row = [i for i, words in enumerate(documents) for w in sorted(set(words)) if w in column]
    what = [column[w] for words in documents for w in sorted(set(words)) if w in column]
    matrix = csr_matrix((np.ones(len(row)), (row, what)), shape=(len(documents), len(column)))
    rarity = np.log(len(documents) / np.array([count[w] for w in column])) if column else np.zeros(0)
    matrix = (matrix @ diags(rarity)).tocsr()
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return (diags(1.0 / np.maximum(length, 1e-12)) @ matrix).tocsr().astype(np.float32)
