"""Two small things every model does with a frame: walk its rows, find the places of its ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries by column name."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def places(ids: Iterable[Any], column: Iterable[Any]) -> NDArray[np.int64]:
    """Place of every value of `column` in `ids` (unique), -1 where it is not among them; shape (n,)."""
    known = ids if isinstance(ids, pd.Index) else pd.Index(np.asarray(list(ids), dtype=object))
    wanted = pd.Index(np.asarray(list(column), dtype=object))
    return np.asarray(known.get_indexer(wanted), dtype=np.int64)
