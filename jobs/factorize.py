"""Factors of more profiles than one machine holds: the objective of `models.recommend.ials`, block by block in Spark.

Pairs are cut into blocks (profiles by hash, titles by order of their ids) and stay where they are; factors travel to
the blocks that need them, each half-epoch. Nothing that grows with profiles, titles or pairs comes to the driver: only
two counts and, twice an epoch, one d x d Gram matrix. The same start and the same solver as on one machine, so that
both give the same ranking up to the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.sparse import csr_matrix

from models.recommend.ials import FOLD_IN_STEPS, first_factors, gram_of, solve_block

Floats = NDArray[np.float32]
_BLOCK = "profile_block int, title_block int, rows binary, columns binary, weights binary, own binary"
_SIDE = "block int, factors binary, gram binary"
PANEL = 2048
"""Profiles of a block scored at a time: PANEL x titles numbers."""


@dataclass(frozen=True, slots=True)
class Objective:
    """As the arguments of `Ials`. Blocks: of profiles and of titles; a block's pairs and factors fit one worker."""

    factors: int = 128
    regularization: float = 0.01
    unobserved: float = 0.17
    epochs: int = 12
    steps: int = 3
    seed: int = 17
    profile_blocks: int = 8
    title_blocks: int = 4


@dataclass(frozen=True, slots=True)
class Factorized:
    """Factors at rest in Spark.

    Attributes:
        titles: title_id, place (0, 1, ... by id). profiles: profile_block, profile_id, row within its block.
        blocks: the pairs. profile_side, title_side: block, factors (rows x d, float32), gram.
    """

    objective: Objective
    titles: DataFrame
    profiles: DataFrame
    blocks: DataFrame
    profile_side: DataFrame
    title_side: DataFrame
    title_count: int


def factorize(pairs: DataFrame, objective: Objective | None = None) -> Factorized:
    """Alternate over blocks.

    Args:
        pairs: profile_id, title_id (strings), weight (above 0); each pair once.

    Raises:
        ValueError: no pairs.
    """
    rule = objective if objective is not None else Objective()
    titles = _numbered(pairs.select("title_id").distinct())
    title_count = titles.count()
    if not title_count:
        raise ValueError("there are no pairs to factorize; give at least one profile_id, title_id, weight")
    cut = _cuts(title_count, rule.title_blocks)
    known = (
        pairs.join(F.broadcast(titles), "title_id")
        .withColumn("profile_block", F.pmod(F.xxhash64("profile_id"), F.lit(rule.profile_blocks)).cast("int"))
        .localCheckpoint()
    )
    profiles = (
        known.select("profile_block", "profile_id")
        .distinct()
        .groupBy("profile_block")
        .applyInPandas(_rows, "profile_block int, profile_id string, row int")
    )
    profiles = profiles.localCheckpoint()
    profile_count = profiles.count()
    blocks = (
        known.join(profiles, ["profile_block", "profile_id"])
        .groupBy("profile_block")
        .applyInPandas(lambda frame: _cut(frame, cut), _BLOCK)
        .localCheckpoint()
    )
    spark = pairs.sparkSession
    title_side = spark.range(rule.title_blocks, numPartitions=rule.title_blocks).mapInPandas(
        lambda frames: _start(frames, rule, title_count, cut), _SIDE
    )
    sizes = profiles.groupBy("profile_block").count().withColumnRenamed("profile_block", "block")
    profile_side = sizes.groupBy("block").applyInPandas(lambda frame: _zeros(frame, rule.factors), _SIDE)
    title_side, profile_side = title_side.localCheckpoint(), profile_side.localCheckpoint()
    for _ in range(rule.epochs):
        profile_side = _half(blocks, title_side, profile_side, rule, title_count, cut, True, rule.steps)
        title_side = _half(blocks, profile_side, title_side, rule, profile_count, cut, False, rule.steps)
    # as on one machine, a profile's final factors are solved for from its history alone
    fresh = sizes.groupBy("block").applyInPandas(lambda frame: _zeros(frame, rule.factors), _SIDE)
    profile_side = _half(blocks, title_side, fresh, rule, title_count, cut, True, FOLD_IN_STEPS)
    return Factorized(rule, titles, profiles, blocks, profile_side, title_side, title_count)


def top_titles(model: Factorized, k: int) -> DataFrame:
    """The `k` best titles a profile has not seen: profile_id, title_id, rank (from 0), score.

    What was seen is left out where the scores are made: each block of profiles brings its own pairs.
    """
    rule = model.objective
    cut = _cuts(model.title_count, rule.title_blocks)
    left = model.blocks.join(
        model.profile_side.select(F.col("block").alias("profile_block"), F.col("factors").alias("mine")),
        "profile_block",
    )
    ranked = (
        left.groupBy("profile_block")
        .cogroup(_sent(model.title_side, rule.profile_blocks).groupBy("to"))
        .applyInPandas(
            lambda mine, given: _ranked(mine, given, rule.factors, cut, k),
            "profile_block int, row int, place int, rank int, score float",
        )
    )
    named = ranked.join(F.broadcast(model.titles), "place").join(model.profiles, ["profile_block", "row"])
    return named.select("profile_id", "title_id", "rank", "score")


def _numbered(ids: DataFrame) -> DataFrame:
    """Ids with their place in the order of all; one task sorts them, titles are few."""
    sorted_ids = ids.coalesce(1).sortWithinPartitions("title_id")
    return sorted_ids.mapInPandas(_places, "title_id string, place int").localCheckpoint()


def _places(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    first = 0
    for frame in frames:
        yield frame.assign(place=np.arange(first, first + len(frame), dtype=np.int32))
        first += len(frame)


def _cuts(titles: int, blocks: int) -> NDArray[np.int64]:
    """Borders of the blocks of titles, shape (blocks + 1,)."""
    return np.linspace(0, titles, blocks + 1).astype(np.int64)


def _rows(frame: pd.DataFrame) -> pd.DataFrame:
    ordered = frame.sort_values("profile_id", ignore_index=True)
    return ordered.assign(row=np.arange(len(ordered), dtype=np.int32))


def _cut(frame: pd.DataFrame, cut: NDArray[np.int64]) -> pd.DataFrame:
    """The pairs of a block of profiles, one row for each block of titles: coordinates and weights as bytes."""
    ordered = frame.sort_values(["row", "place"], ignore_index=True)
    block = np.searchsorted(cut, ordered["place"].to_numpy(), side="right") - 1
    out = []
    for number in range(len(cut) - 1):
        part = ordered[block == number]
        row = part["row"].to_numpy(dtype=np.int32)
        out.append(
            {
                "profile_block": int(frame["profile_block"].iloc[0]),
                "title_block": number,
                "rows": row.tobytes(),
                "columns": (part["place"].to_numpy(dtype=np.int64) - cut[number]).astype(np.int32).tobytes(),
                "weights": part["weight"].to_numpy(dtype=np.float32).tobytes(),
                "own": np.int64(int(ordered["row"].max()) + 1).tobytes(),
            }
        )
    return pd.DataFrame(out)


def _start(
    frames: Iterator[pd.DataFrame], rule: Objective, titles: int, cut: NDArray[np.int64]
) -> Iterator[pd.DataFrame]:
    for frame in frames:
        every = first_factors(titles, rule.factors, rule.seed)
        for block in frame["id"].tolist():
            yield _side(block, every[cut[block] : cut[block + 1]])


def _zeros(frame: pd.DataFrame, factors: int) -> pd.DataFrame:
    return _side(int(frame["block"].iloc[0]), np.zeros((int(frame["count"].iloc[0]), factors), dtype=np.float32))


def _side(block: int, factors: Floats) -> pd.DataFrame:
    gram = gram_of(factors).tobytes()
    return pd.DataFrame({"block": [block], "factors": [np.ascontiguousarray(factors).tobytes()], "gram": [gram]})


def _gram(side: DataFrame, factors: int) -> NDArray[np.float64]:
    """Sum over the blocks, in their order, made by one task; d x d numbers reach the driver."""

    def add(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        total = np.zeros(factors * factors)
        for frame in frames:
            for gram in frame["gram"]:
                total += np.frombuffer(gram)
        yield pd.DataFrame({"gram": [total.tobytes()]})

    one = side.select("block", "gram").coalesce(1).sortWithinPartitions("block").mapInPandas(add, "gram binary")
    row = one.first()
    if row is None:
        raise ValueError("the factors of one side have no block; that cannot be")
    return np.frombuffer(bytes(row["gram"])).reshape(factors, factors)


def _sent(side: DataFrame, to: int) -> DataFrame:
    """Every block of factors once for each of the `to` blocks of the other side."""
    targets = F.array([F.lit(number) for number in range(to)])
    return side.select("block", "factors", F.explode(targets).alias("to"))


def _half(
    blocks: DataFrame,
    given: DataFrame,
    solved: DataFrame,
    rule: Objective,
    columns: int,
    cut: NDArray[np.int64],
    of_profiles: bool,
    steps: int,
) -> DataFrame:
    """Solve one side's rows, block by block; the lineage ends here, or it would grow by every epoch."""
    mine, other = ("profile_block", "title_block") if of_profiles else ("title_block", "profile_block")
    gram = _gram(given, rule.factors)
    stood = solved.select(F.col("block").alias(mine), F.col("factors").alias("stood"))
    number = rule.profile_blocks if of_profiles else rule.title_blocks

    def solve(pairs: pd.DataFrame, factors: pd.DataFrame) -> pd.DataFrame:
        ordered = factors.sort_values("block")
        arrays = [_matrix(value, rule.factors) for value in ordered["factors"]]
        start = dict(zip(ordered["block"], np.cumsum([0, *(len(a) for a in arrays[:-1])]), strict=True))
        was = _matrix(pairs["stood"].iloc[0], rule.factors)
        matrix = _sparse(pairs, other, of_profiles, start, (len(was), sum(len(a) for a in arrays)))
        new = solve_block(
            matrix, np.concatenate(arrays), was, gram, columns, rule.regularization, rule.unobserved, steps
        )
        return _side(int(pairs[mine].iloc[0]), new)

    return (
        blocks.join(stood, mine)
        .groupBy(mine)
        .cogroup(_sent(given, number).groupBy("to"))
        .applyInPandas(solve, _SIDE)
        .localCheckpoint()
    )


def _matrix(value: bytes, factors: int) -> Floats:
    return np.frombuffer(value, dtype=np.float32).reshape(-1, factors)


def _sparse(
    pairs: pd.DataFrame, other: str, of_profiles: bool, start: dict[Any, Any], shape: tuple[int, int]
) -> csr_matrix:
    """The pairs of one block, the other side's rows counted through in the order of its blocks."""
    ordered = pairs.sort_values(other)
    row, column, weight = (
        [np.frombuffer(value, dtype=kind) for value in ordered[name]]
        for name, kind in (("rows", np.int32), ("columns", np.int32), ("weights", np.float32))
    )
    if not of_profiles:
        row, column = column, row
    offset = [start[block] for block in ordered[other]]
    where = np.concatenate([part.astype(np.int64) + first for part, first in zip(column, offset, strict=True)])
    matrix = csr_matrix((np.concatenate(weight), (np.concatenate(row), where)), shape=shape)
    matrix.sort_indices()
    return matrix


def _ranked(mine: pd.DataFrame, given: pd.DataFrame, factors: int, cut: NDArray[np.int64], k: int) -> pd.DataFrame:
    titles = np.concatenate([_matrix(value, factors) for value in given.sort_values("block")["factors"]])
    profiles = _matrix(mine["mine"].iloc[0], factors)
    start = {block: int(cut[block]) for block in range(len(cut) - 1)}
    seen = _sparse(mine, "title_block", True, start, (len(profiles), len(titles)))
    k = min(k, len(titles))
    pieces = []
    for first in range(0, len(profiles), PANEL):
        score = profiles[first : first + PANEL] @ titles.T
        own = seen[first : first + PANEL]
        score[np.repeat(np.arange(own.shape[0]), np.diff(own.indptr)), own.indices] = -np.inf
        place = np.argsort(-score, axis=1, kind="stable")[:, :k]
        value = np.take_along_axis(score, place, axis=1)
        row, rank = np.nonzero(np.isfinite(value))
        pieces.append(
            pd.DataFrame(
                {
                    "profile_block": np.int32(mine["profile_block"].iloc[0]),
                    "row": (row + first).astype(np.int32),
                    "place": place[row, rank].astype(np.int32),
                    "rank": rank.astype(np.int32),
                    "score": value[row, rank],
                }
            )
        )
    return pd.concat(pieces, ignore_index=True)
