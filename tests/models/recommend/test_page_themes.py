"""Row themes hold what their heading says; a row's "because" is true of each of its titles."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recommend.page_themes import Near, because_rows, contributors, label_themes, lifts, shares


def test_labels_and_pairs() -> None:
    genres = [("war", "drama")] * 3 + [("drama",)] * 3 + [("comedy",)] * 2
    decades = [("1990s",), ("1980s",)] * 4
    made = label_themes({"genre": genres, "decade": decades}, least=2)
    found = dict(zip(made.heading, made.member.T.tolist(), strict=True))
    assert found["Drama"] == [True] * 6 + [False] * 2
    assert found["Drama, 1990s"] == [True, False, True, False, True, False, False, False]
    assert "Comedy, 1990s" not in found  # one show alone
    assert "War, drama" not in found and "Drama, War" not in found  # all of war is drama: no row of its own
    assert set(made.kind) == {"genre", "micro_genre"} and len(made.numbers) == len(made.kind)


def test_shares_and_lifts() -> None:
    history = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    of = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert shares(history, of).tolist() == [[0.75, 0.25], [0.0, 0.0]]
    lift = lifts(history, history.sum(axis=1), of > 0.9, np.array([0.25, 0.25]), pull=2.0)
    assert np.allclose(lift, [[(1 + 0.5) / (4 * 0.25), 0.5 / (4 * 0.25)], [1.0, 1.0]])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_because_names_one_of_the_three_that_speak_most(seed: int) -> None:
    """Against a plain sort of everything the history says of a title."""
    rng = np.random.default_rng(seed)
    n = 25
    likeness = np.round(rng.normal(size=(n, n)), 1)  # with ties and with values below 0
    near = Near.of(likeness, 24)
    pages = 4
    shows = np.array([rng.permutation(n) for _ in range(pages)], dtype=np.int32)
    shows[:, 20:] = -1
    worth = -np.sort(-rng.random((pages, n)), axis=1)
    past = [rng.permutation(n)[: rng.integers(0, 9)].astype(np.int32) for _ in range(pages)]
    ended = [np.sort(x[: len(x) // 2]) for x in past]

    def flat(lists: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        first = np.concatenate([[0], np.cumsum([len(x) for x in lists])]).astype(np.int64)
        return first, np.concatenate(lists).astype(np.int32)

    own, anchor = because_rows(shows, worth, near, flat(past), flat(ended), rows=3, least=2)
    assert (np.diff(own.page) >= 0).all() and np.bincount(own.page, minlength=pages).max(initial=0) <= 3
    for i, (page, x) in enumerate(zip(own.page, anchor, strict=True)):
        assert x in ended[page]
        row = own.show[own.first[i] : own.first[i + 1]].tolist()
        expected = []
        for t in shows[page]:
            speaking = sorted((-likeness[h, t], h) for h in past[page].tolist() if h != t and likeness[h, t] > 0)[:3]
            if t >= 0 and x in [h for _, h in speaking]:
                expected.append(int(t))
        assert row == expected and len(row) >= 2
        for t in row:
            named = contributors(t, near, past[page].tolist())
            assert x in [h for h, _ in named] and sum(share for _, share in named) <= 1 + 1e-9
    assert contributors(3, near, []) == []
