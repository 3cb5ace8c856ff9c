"""Page metrics against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from models.recommend.page_metrics import distinct, gains, genre_kl, hits, n2dcg


def test_against_plain_loops() -> None:
    rng = np.random.default_rng(5)
    pages = rng.integers(-1, 30, (20, 3, 4))  # with repeats and empty cells
    wanted = rng.random((20, 30)) < 0.3
    wanted[:, 0] = True
    genres = rng.dirichlet(np.ones(5), 30)
    history = rng.dirichlet(np.full(5, 0.3), 20)
    history[0] = [1.0, 0.0, 0.0, 0.0, 0.0]
    target = csr_matrix(wanted)
    found, share, kl = n2dcg(pages, target), hits(pages, target), genre_kl(pages, genres, history)
    for p in range(20):
        seen: set[int] = set()
        gain, q = 0.0, np.zeros(5)
        for r in range(3):
            for c in range(4):
                t = int(pages[p, r, c])
                if t < 0 or t in seen:
                    continue
                seen.add(t)
                q += genres[t]
                gain += wanted[p, t] / math.log2(r + c + 2)
        targets = int(wanted[p].sum())
        best = sorted((1 / math.log2(r + c + 2) for r in range(3) for c in range(4)), reverse=True)[:targets]
        assert math.isclose(found[p], gain / sum(best))
        assert math.isclose(share[p], len([t for t in seen if wanted[p, t]]) / min(targets, 12))
        assert distinct(pages)[p] == len(seen)
        q = 0.99 * q / q.sum() + 0.01 * history[p]
        assert math.isclose(kl[p], sum(h * math.log(h / x) for h, x in zip(history[p], q, strict=True) if h > 0))


def test_a_page_of_the_history_has_no_distance_and_an_empty_one_much() -> None:
    genres, history = np.eye(2), np.array([[0.5, 0.5]])
    assert genre_kl(np.array([[[0, 1]]]), genres, history)[0] == pytest.approx(0.0)
    assert genre_kl(np.array([[[-1, -1]]]), genres, history)[0] == pytest.approx(math.log(100))


def test_the_best_page_scores_one_and_no_target_is_an_error() -> None:
    target = csr_matrix(np.array([[1, 1, 0]]))
    assert n2dcg(np.array([[[0, 1], [2, -1]]]), target)[0] == 1.0
    assert gains(2, 2).tolist() == [[1.0, 1 / math.log2(3)], [1 / math.log2(3), 0.5]]
    with pytest.raises(ValueError, match="1 profiles have no target"):
        n2dcg(np.array([[[0]]]), csr_matrix(np.zeros((1, 3))))
