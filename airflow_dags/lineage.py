"""Which job waits for which inside one daily run, worked out from what the jobs read and write."""

from __future__ import annotations

from collections.abc import Iterable

from jobs.registry import JobSpec, Kind, Read
from schemas.tables import Table


def edges(specs: Iterable[JobSpec]) -> set[tuple[str, str]]:
    """Pairs (producer, consumer) among ``specs`` that run for the same day.

    A job run for day D writes partition D + ``writes_day``, so a read of partitions D + first .. D + last waits for the
    producer's run of the same day when ``writes_day`` lies between them. Earlier partitions are earlier runs: the
    schedule keeps runs in order, and the runner ends with code 3 if a required one is missing. A landing job fills
    every day there is, so whoever reads its tables waits for it.

    Raises:
        ValueError: two jobs write one table, or a job requires a partition that only a later day's run writes.
    """
    known = tuple(specs)
    producers = _producers(known)
    found = set()
    for consumer in known:
        for read in consumer.reads:
            producer = producers.get(read.table)
            if producer is not None and producer is not consumer and _same_run(consumer, read, producer):
                found.add((producer.name, consumer.name))
    return found


def _producers(specs: tuple[JobSpec, ...]) -> dict[Table, JobSpec]:
    producers: dict[Table, JobSpec] = {}
    for spec in specs:
        for table in spec.writes:
            if table in producers:
                raise ValueError(
                    f"{table.fqn} is written by {producers[table].name} and by {spec.name}; a table has one writer"
                )
            producers[table] = spec
    return producers


def _same_run(consumer: JobSpec, read: Read, producer: JobSpec) -> bool:
    if producer.kind is Kind.LANDING:
        return True
    if read.latest:
        return producer.writes_day <= 0
    first, last = read.days
    if read.required and first > producer.writes_day:
        raise ValueError(
            f"{consumer.name} requires {read.table.fqn} of day {first:+d}, but {producer.name} writes day "
            f"{producer.writes_day:+d}: only a later run could bring it; read an earlier day or make it optional"
        )
    return first <= producer.writes_day <= last
