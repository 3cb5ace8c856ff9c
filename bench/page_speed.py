"""What pages cost, stage by stage, the online step, EDLAE of 20,000 titles: `python -m bench.page_speed`.

CPU seconds of this process, so that other work on the machine does not count; compiled before anything is timed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from bench.memory import forget_peak, peak_mb
from bench.page_rules import service
from models.recommend import page_rows, pages
from models.recommend.histories import Histories
from models.recommend.linear import Edlae
from models.recommend.online import after_play
from models.recommend.pages import PageMaker
from models.recommend.protocol import single_threaded

MOST_MB = 4096
"""EDLAE of 20,000 titles."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print; exit code 1 below 1,000 pages a second from ranked candidates, an online p99 above 20 ms, or EDLAE above
    its memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", type=int, default=20_000)
    parser.add_argument("--shows", type=int, default=2_000)
    parser.add_argument("--titles", type=int, default=20_000, help="of EDLAE")
    given = parser.parse_args(arguments)
    spent: dict[str, float] = {}

    def timed(name, function):  # type: ignore[no-untyped-def]
        def inner(*args, **words):  # type: ignore[no-untyped-def]
            begun = time.process_time()
            try:
                return function(*args, **words)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - begun

        return inner

    pages.rank = timed("rank", pages.rank)
    pages.build = timed("build", pages.build)
    page_rows.RowMaker.candidates = timed("rows", page_rows.RowMaker.candidates)  # type: ignore[method-assign]
    with single_threaded():
        for profiles in (500, given.profiles):
            made = service(5, profiles, given.shows)
            spent.clear()
            begun = time.process_time()
            maker = PageMaker(made.inputs)
            prepared = time.process_time() - begun
            begun, count, records, writing = time.process_time(), 0, [], 0.0
            for block in maker.blocks():
                start = time.process_time()
                records += list(maker.records(block))
                writing += time.process_time() - start
                count += block.last - block.first
            whole = time.process_time() - begun
    ranker = whole - writing - sum(spent.values())
    lines = {
        "preparing the day (history, themes, neighbours)": prepared,
        f"ranker (scores of {given.shows:,} shows, rules, worth)": ranker,
        "candidates (the best 300 of them)": spent["rank"],
        "candidate rows": spent["rows"],
        "building from ranked candidates and rows": spent["build"],
        "records (words, evidence)": writing,
    }
    for name, seconds in lines.items():
        print(f"{name:52s}{seconds:8.2f} s{count / max(seconds, 1e-9):12,.0f} pages/s")
    print(f"{'all but preparing':52s}{whole:8.2f} s{count / whole:12,.0f} pages/s")
    took = []
    for n, page in enumerate(records[:20_000]):
        show = page["rows"][n % len(page["rows"])]["title_ids"][0]
        begun = time.perf_counter()
        after_play(page, show, finished=n % 2 == 0, may_see=True)
        took.append(1000.0 * (time.perf_counter() - begun))
    late = float(np.quantile(took, 0.99))
    print(f"online step: p50 {np.median(took):.3f} ms, p99 {late:.3f} ms of {len(took):,} plays")
    print(f"peak memory {peak_mb():,.0f} MB")
    good = count / (spent["build"] + spent["rows"]) >= 1000 and late <= 20
    return 0 if good and edlae(given.titles) <= MOST_MB else 1


def edlae(titles: int) -> float:
    """Fit EDLAE to drawn histories, 100,000 profiles of about twenty of so many titles; its peak memory in MB."""
    rng = np.random.default_rng(9)
    profiles, pairs = 100_000, 2_000_000
    show = (titles * rng.random(pairs) ** 3).astype(np.int64)
    matrix = csr_matrix((np.ones(pairs), (rng.integers(0, profiles, pairs), show)), shape=(profiles, titles))
    names = (np.array([f"{kind}{i}" for i in range(n)], dtype=object) for kind, n in (("p", profiles), ("t", titles)))
    histories = Histories(*names, matrix)
    forget_peak()
    begun = time.process_time()
    model = Edlae().fit(histories)
    print(f"EDLAE of {titles:,} titles: {time.process_time() - begun:.0f} CPU s, peak memory {peak_mb():,.0f} MB, of "
          f"which its weights {model.weights.nbytes / 2**20:,.0f} MB")  # fmt: skip
    return peak_mb()


if __name__ == "__main__":
    sys.exit(main())
