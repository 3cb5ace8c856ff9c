"""What is said to be lost, doubled, late or poisoned is exactly that."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from models.days import DAY_MS
from models.playback.events import late_events
from models.world import Day, World, by_receipt, disturb, faults
from schemas import records, wire
from schemas.errors import WireError
from tests.models.world.conftest import SMALL
from tests.models.world.test_truth import SUMS, compare


def keys(frame: pd.DataFrame) -> set[tuple[str, int]]:
    return set(zip(frame["session_id"], frame["seq"].astype(int), strict=True))


def noted(day: Day, kind: str) -> set[tuple[str, int]]:
    rows = day.truth["disturbed"]
    return keys(rows[rows["kind"] == kind])


def test_the_lists_are_the_difference_to_a_world_without_loss(clean: tuple[World, Day]) -> None:
    world = World.create(SMALL)
    whole = World.create(
        replace(SMALL, disturb=replace(SMALL.disturb, lost=0.0, duplicates=0.0, out_of_order=0.0, poison=0.0))
    )
    day, all_of_it = world.live(0), whole.live(0)
    assert keys(all_of_it.events) - keys(day.events) == noted(day, "lost")
    assert keys(day.events) <= keys(all_of_it.events)
    assert not noted(day, "unsent") & keys(day.events)
    repeats = day.events.groupby(["session_id", "seq"]).size()
    extra = day.truth["disturbed"].query("kind == 'duplicated'").groupby(["session_id", "seq"]).size()
    assert (repeats[repeats > 1] - 1).to_dict() == extra.to_dict()
    for kind, share in (("lost", 0.01), ("duplicated", 0.02)):
        assert abs(len(noted(day, kind)) / len(all_of_it.events) - share) < 0.4 * share


def test_disorder_stays_inside_the_lateness(dirty: tuple[World, Day]) -> None:
    _, day = dirty
    moved = noted(day, "delayed") | noted(day, "displaced")
    assert 0.01 < len(moved) / len(day.events) < 0.03
    assert not noted(day, "late")
    assert (day.order_ms[1:] >= day.order_ms[:-1]).all()
    behind = day.events.groupby("session_id")["seq"].diff() < 0
    assert behind.sum() > 20


def test_late_is_what_the_rule_says() -> None:
    world = World.create(SMALL)
    day = world.live(0, faults=(faults.late_burst(start=18 * 60, minutes=60, share=0.8, delay_minutes=15.0),))
    events = day.events.assign(received_at=day.events["received_at"].astype("int64"))
    firsts = events.drop_duplicates(["session_id", "seq"])
    found = set()
    for session_id, group in firsts.groupby("session_id"):
        found |= {(session_id, seq) for seq in late_events(group.itertuples(), SMALL.disturb.lateness_ms)}
    assert found == noted(day, "late")
    assert len(found) > 100
    assert found <= noted(day, "withheld")


def test_sessions_called_exact_are_measured_exactly_under_disturbance(dirty: tuple[World, Day]) -> None:
    both = compare(dirty[1])
    exact = both[both["exact"]]
    assert 0.3 < len(exact) / len(both) < 0.95
    for column in SUMS:
        assert (exact[column] == exact[f"{column}_found"]).all(), column


def refused(key: bytes, payload: bytes) -> str:
    """Why a reader must refuse a message: by the wire, else by the record's own limits, else by its key."""
    try:
        name, version, row = wire.decode_one(payload)
    except WireError as error:
        return error.error_class if hasattr(error, "error_class") else "wire"
    for field in records.load(name, version).fields:
        value = row[field.name]
        if value is None:
            continue
        if (
            (field.values and value not in field.values)
            or (field.minimum is not None and value < field.minimum)
            or (field.maximum is not None and value > field.maximum)
        ):
            return "range"
    return "key" if key != row["session_id"].encode() else ""


@pytest.mark.parametrize("kind", disturb.POISON)
def test_no_reader_can_take_the_poison(dirty: tuple[World, Day], kind: str) -> None:
    day = dirty[1]
    rows = day.truth["poison"].query("kind == @kind")
    assert len(rows) > 5
    reasons = {refused(k, p) for k, p in zip(rows["key"], rows["payload"], strict=True)}
    assert "" not in reasons
    assert reasons == {"out_of_range": {"range"}, "wrong_key": {"key"}}.get(kind, reasons)


def test_poison_is_a_share_of_the_events(dirty: tuple[World, Day]) -> None:
    day = dirty[1]
    assert len(day.poison) == len(day.poison_at) == round(0.01 * len(day.events))
    assert day.poison == list(zip(day.truth["poison"]["key"], day.truth["poison"]["payload"], strict=True))


def test_numbers_clocks_and_posts(clean: tuple[World, Day]) -> None:
    """Without disturbance: numbers from 0 without gaps, device times in their order, one clock error per session."""
    events = clean[1].events.sort_values(["session_id", "seq"])
    same = events["session_id"].eq(events["session_id"].shift())
    assert (events["seq"].diff()[same] == 1).all() and (events["seq"][~same] == 0).all()
    assert (events["device_at"].diff()[same] >= pd.Timedelta(0)).all()
    assert (events["post_device_at"] >= events["device_at"]).all()
    delay = (events["received_at"] - events["post_device_at"]).dt.total_seconds() * 1000
    spread = delay.groupby(events["session_id"]).agg(lambda d: d.max() - d.min())
    assert spread.max() < 60_000
    assert set(events["schema_version"]) == {1, 2}
    assert events.loc[events["schema_version"] == 1, "throughput_kbps"].isna().all()


def test_days_end_to_end_lose_nothing_and_never_step_back(dirty: tuple[World, Day]) -> None:
    world = World.create(SMALL)
    days = [world.live(d) for d in range(3)]
    carry, sent, poison = None, [], 0
    for day in days:
        now, carry = by_receipt(carry, day, SMALL.day_ms(day.day))
        assert (now.order_ms < SMALL.day_ms(day.day) + DAY_MS).all()
        assert (now.order_ms[1:] >= now.order_ms[:-1]).all()
        assert not len(now.poison_at) or now.poison_at.max() < max(len(now.events), 1)
        sent.append(now.events)
        poison += len(now.poison)
    assert carry is not None
    assert len(pd.concat(sent)) + len(carry.events) == sum(len(d.events) for d in days)
    assert poison + len(carry.poison) == sum(len(d.poison) for d in days)
    assert len(carry.events) > 0, "no session ran past midnight"
