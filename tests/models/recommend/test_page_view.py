"""Learned view probability against a drawn truth."""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.recommend.page_metrics import gains
from models.recommend.page_view import learn_view


def test_within_three_points_of_the_truth_with_short_rows_among_them() -> None:
    rng = np.random.default_rng(1)
    width, go_on = {"tv": 6, "phone": 3}, {"tv": 0.8, "phone": 0.7}
    found = []
    for n in range(20_000):
        device = "tv" if n % 3 else "phone"
        for r in range(4):
            short = r == 1  # continue watching with two shows
            shown = min(width[device], 2 if short else 8)
            found += [(device, "continue_watching" if short else "top_picks", r, c) for c in range(shown)]
            if rng.random() > go_on[device]:
                break
    frame = pd.DataFrame(found, columns=["device", "row_kind", "row", "col"])
    view = learn_view(frame, frame["device"], 4, 8)
    for device, columns in width.items():
        truth = go_on[device] ** np.arange(4)[:, None] * (np.arange(8) < columns)
        assert np.abs(view.of(device) - truth).max() < 0.03
    assert (np.diff(view.probability, axis=2) <= 0).all()
    assert np.abs(view.of("fridge") - view.probability[-1]).max() == 0 and view.openings[-1] == 20_000


def test_without_impressions_the_prior() -> None:
    none = pd.DataFrame({"row": np.zeros(0, int), "col": np.zeros(0, int)})
    view = learn_view(none, pd.Series([], dtype=object), 3, 4)
    expected = np.outer(gains(3, 4)[:, 0], gains(3, 4)[0])
    assert np.allclose(view.of("tv"), expected)
