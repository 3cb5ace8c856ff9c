"""A small drawn service under watch: quiet stays quiet, a fault is one incident with the guilty cohort's name, a burst
of kept beacons is a debt. The whole measure is ``python -m bench.qoe_alerts``; this is a cut of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from bench.incident_counts import ATTEMPTS, COUNTERS, FAILURES, Fault, Service, Size
from bench.incident_models import learn
from bench.qoe_alerts import WARM_S, Run, reached, uniformity
from models.incident import cohorts as hierarchy
from models.incident.cohorts import label
from models.incident.detect import NONE, Detector, Evidence, Model, Tuning
from models.incident.ledger import Incident, Ledger, Maintenance, Rules, State, commanded
from models.incident.season import BINS, Season
from models.incident.signals import Signal, Spread, _least_squares, fit_spread

Watched = tuple[Service, list[Model]]


@pytest.fixture(scope="module")
def watched() -> Watched:
    service = Service(Size(200, 2, 3, 60.0), 4)
    return service, learn(service, [4], Tuning(), days=8)


def _cohort(service: Service, dimension: str, depth: int = 1) -> int:
    """The heaviest cohort that fixes `depth` dimensions, this one among them."""
    traffic = service.cohorts.traffic()
    fits = [i for i, name in enumerate(service.cohorts.names) if len(name) == depth and dimension in dict(name)]
    return max(fits, key=lambda i: traffic[i])


def test_p_values_of_a_quiet_day_are_uniform(watched: Watched) -> None:
    rows = uniformity(*watched, seed=5, hours=8)
    assert {row["signal"] for row in rows} == {"start_errors_per_attempt", "attempts", "concurrency"}
    ratios = [row for row in rows if row["signal"] == "start_errors_per_attempt" and row["window_s"] < 600]
    assert len(ratios) > 1 and max(row["ks"] for row in ratios) < 0.05, "eight days are little for the volumes' seasons"
    assert max(row["below_1e-2"] for row in rows) < 3.0


def test_a_quiet_day_has_no_incident(watched: Watched) -> None:
    run = Run(*watched, seed=[6])
    assert [i.title for i in run.go(WARM_S + 6 * 3_600) if i.opened_s > WARM_S] == []


def test_a_fault_is_one_incident_named_after_its_cohort(watched: Watched) -> None:
    service, models = watched
    guilty, start = _cohort(service, "isp", 2), WARM_S + 1_803.0
    own, sd = service.own_sd(FAILURES, guilty, start, 60.0)
    share = 12 * sd / (60 * service.attempts(np.array([start]))[0, service.cohorts.cells(guilty)].sum())
    cells = service.cohorts.cells(guilty)
    fault = Fault("ratio", guilty, cells, start, start + 600, min(share, 0.9), own_mean=own, own_sd=sd)
    run = Run(service, models, [7], [fault])
    found = [i for i in run.go(WARM_S + 5_400) if i.opened_s > WARM_S]
    assert reached(fault, 60.0)
    assert [label(i.name) for i in found] == [label(service.cohorts.names[guilty])]
    assert found[0].opened_s <= start + 90 and found[0].state is State.RESOLVED
    assert found[0].signals == {"start_errors_per_attempt"}
    assert abs(found[0].onset_s - start) <= 20, "the change point, not the start of the window"


def _parent_and_child(service: Service) -> tuple[int, int]:
    """An ISP, and its cohort of two dimensions or more with the most traffic."""
    traffic, names = service.cohorts.traffic(), service.cohorts.names
    parent = _cohort(service, "isp")
    return parent, max((i for i, name in enumerate(names) if set(names[parent]) < set(name)), key=lambda i: traffic[i])


def test_an_alarm_around_an_incident_is_the_same_incident(watched: Watched) -> None:
    """Named after a child by chance, the incident becomes its parent's when that is the likelier cause, and no second
    one opens; where the child is the likelier cause it keeps its name."""
    service, models = watched
    run = Run(service, models, [12])
    run.go(WARM_S)
    parent, child = _parent_and_child(service)

    for wider, whole in ((400.0, parent), (60.0, child)):
        ledger = Ledger(run.detector)
        ledger.update(WARM_S, _evidence([(child, 50.0, 5.0)]))
        ledger.detector.window = lambda *_: (50.0, 5.0)  # type: ignore[method-assign]
        ledger._unexplained = lambda by, rows: rows.take(rows.cohort != by)  # type: ignore[method-assign]
        ledger.update(WARM_S + 200, _evidence([(parent, wider, 40.0)]))
        assert [incident.cohort for incident in ledger.incidents] == [whole]


def test_a_name_outside_the_window_is_not_muted_by_it(watched: Watched) -> None:
    """Born muted as the child, the incident is renamed after its parent, of which the window says nothing; the word of
    a person goes with it. And the other way: the parent's window mutes what is renamed into it."""
    service, models = watched
    run = Run(service, models, [12])
    run.go(WARM_S)
    parent, child = _parent_and_child(service)
    until_s = WARM_S + 7_200

    def renamed(window: int, first: int, then: int, by_hand_s: int | None = None) -> tuple[State, int | None]:
        planned = Maintenance(service.cohorts.names[window], 0, until_s)
        ledger = Ledger(run.detector, Rules(maintenance=(planned,)))
        ledger.update(WARM_S, _evidence([(first, 50.0, 5.0)]))
        if by_hand_s is not None:
            ledger.incidents[0] = commanded(ledger.incidents[0], "mute", WARM_S, by_hand_s)
        ledger._unexplained = lambda by, rows: rows.take(np.zeros(len(rows), dtype=bool))  # type: ignore[method-assign]
        (one,) = ledger.update(WARM_S + 10, _evidence([(then, 900.0, 40.0), (first, 55.0, 5.0)])) or ledger.incidents
        assert one.cohort == then
        return one.state, one.muted_until_s

    assert renamed(child, child, parent) == (State.OPEN, None)
    assert renamed(parent, child, parent) == (State.MUTED, until_s)
    assert renamed(child, parent, child) == (State.MUTED, until_s)
    assert renamed(child, child, parent, WARM_S + 600) == (State.MUTED, WARM_S + 600)


def test_an_incident_waits_for_its_name_and_not_for_ever(watched: Watched) -> None:
    """Two causes that explain an alarm alike: it opens when one stands out or when its time is over, which is one step
    where the evidence came quickly; a sure one opens at once, and what goes away while it waits was none."""
    service, models = watched
    run = Run(service, models, [13])
    run.go(WARM_S)
    parent, child = _parent_and_child(service)
    sure, even = [(parent, 60.0, 10.0), (child, 20.0, 4.0)], [(parent, 60.0, 10.0), (child, 56.0, 8.0)]

    def opened(*steps: list[tuple[int, float, float]], window_s: int = 120) -> list[tuple[int, int]]:
        ledger = Ledger(run.detector)
        ledger._unexplained = lambda by, rows: rows.take(np.zeros(len(rows), dtype=bool))  # type: ignore[method-assign]
        for i, rows in enumerate(steps):
            ledger.update(WARM_S + 10 * i, _evidence(rows, window_s) if rows else NONE)
        return [(incident.opened_s - WARM_S, incident.cohort) for incident in ledger.incidents]

    assert opened(sure) == [(0, parent)]
    assert opened(even, even, sure) == [(20, parent)]
    assert [at_s for at_s, _ in opened(*[even] * 15)] == [120]
    assert [at_s for at_s, _ in opened(*[even] * 9, window_s=80)] == [10]
    assert opened(even, even, []) == []


def _evidence(rows: list[tuple[int, float, float]], window_s: int = 60) -> Evidence:
    """Alarms of the first signal over one window: cohort, count, mean."""
    n, score = len(rows), np.full(len(rows), 20.0)
    return Evidence(np.zeros(n, dtype=np.int64), np.array([c for c, _, _ in rows]), np.full(n, window_s),
                    np.array([k for _, k, _ in rows]), np.array([m for _, _, m in rows]), -score, score,
                    np.ones(n, dtype=bool))  # fmt: skip


def test_kept_beacons_are_a_debt_and_not_a_fault(watched: Watched) -> None:
    service, models = watched
    guilty, start = _cohort(service, "isp"), WARM_S + 1_203.0
    own, sd = service.own_sd(ATTEMPTS, guilty, start, 60.0)
    fault = Fault("outage", guilty, service.cohorts.cells(guilty), start, start + 900, 0.9, release_s=start + 2_400,
                  spread_s=40.0, own_mean=own, own_sd=sd)  # fmt: skip
    run = Run(service, models, [8], [fault])
    found = [i for i in run.go(WARM_S + 7_200) if i.opened_s > WARM_S]
    assert found and found[0].name == service.cohorts.names[guilty]
    assert found[0].signals <= {"attempts", "concurrency"} and found[0].opened_s <= start + 90
    assert not any("start_errors_per_attempt" in i.signals for i in found)

    blind = Run(service, models, [8], [Fault(**{**_given(fault), "excess": [], "kept": None})],
                tuning=Tuning(owing_s=0))  # fmt: skip
    fooled = blind.go(WARM_S + 7_200)
    assert any("start_errors_per_attempt" in i.signals for i in fooled), "without the debt it is a ratio alert"


def _given(fault: Fault) -> dict[str, object]:
    return {name: getattr(fault, name) for name in fault.__dataclass_fields__}


def test_equal_cells_are_one_cohort_and_parents_hold_their_children() -> None:
    found = hierarchy.build(
        ("country", "isp"),
        [["DE", "DE", "BR"], ["a", "b", "c"]],
        [("country",), ("isp",), ("country", "isp")],
        [1, 2, 3],
    )
    assert [label(name) for name in found.names] == [
        "everything", "country=BR", "country=DE", "isp=a", "isp=b",
    ], "c is all of BR"  # fmt: skip
    assert [int(p) for p in found.parent] == [-1, 0, 0, 0, 0]
    np.testing.assert_allclose(found.share_inside(2), [1, 0, 1, 1 / 3, 2 / 3])
    with pytest.raises(ValueError, match="no dimension planet"):
        hierarchy.build(("isp",), [["a"]], [("planet",)], [1])


def test_a_maintenance_window_and_the_word_of_people() -> None:
    window = Maintenance((("isp", "a"),), 100, 200)
    assert window.covers((("isp", "a"), ("device", "tv")), 100) and not window.covers((("device", "tv"),), 150)
    assert not window.covers((("isp", "a"),), 200)
    incident = Incident(0, 1, (("isp", "a"),), "attempts", 0, 10, State.OPEN, 6.0, -20.0, 60, 1.0, 9.0, (), 10, 10)
    assert commanded(incident, "ack", 20).state is State.ACKNOWLEDGED
    assert commanded(incident, "mute", 20, 50).muted_until_s == 50
    over = commanded(incident, "resolve", 30)
    assert (over.state, over.resolved_s) == (State.RESOLVED, 30) and commanded(over, "ack", 40) is over
    with pytest.raises(ValueError, match="must be ack, mute or resolve"):
        commanded(incident, "shout", 20)


def test_an_incident_inside_a_window_is_born_muted(watched: Watched) -> None:
    service, models = watched
    guilty, start = _cohort(service, "isp"), WARM_S + 603.0
    fault = Fault("outage", guilty, service.cohorts.cells(guilty), start, start + 600, 0.9, release_s=1e9)
    run = Run(service, models, [9], [fault])
    planned = Maintenance(service.cohorts.names[guilty], WARM_S, WARM_S + 3_600)
    run.ledger = Ledger(run.detector, Rules(maintenance=(planned,)))
    run.go(WARM_S + 900)
    named = [i for i in run.ledger.incidents if i.name == service.cohorts.names[guilty]]
    assert named and named[-1].state is State.MUTED and COUNTERS[ATTEMPTS] == "attempts"


def test_after_a_long_outage_a_cohort_still_owes(watched: Watched) -> None:
    """The level of concurrency learns an outage within minutes; the return to what is usual is then a surplus, but must
    not be taken for the payment of the debt: the burst comes later."""
    service, models = watched
    guilty, start = _cohort(service, "country"), WARM_S + 1_203.0
    fault = Fault("outage", guilty, service.cohorts.cells(guilty), start, start + 1_500, 0.7,
                  release_s=start + 4_000, spread_s=95.0)  # fmt: skip
    run = Run(service, models, [11], [fault])
    found = [i for i in run.go(WARM_S + 7_200) if i.opened_s > WARM_S]
    assert label(found[0].name) == label(service.cohorts.names[guilty])
    assert not any("start_errors_per_attempt" in i.signals for i in found)


def test_a_large_country_that_vanishes_changes_the_mixture_and_no_ratio() -> None:
    """Two countries of .5 and 2 % failures and two releases, of which the first is watched ten times as long and stalls
    less: the first country falls by nine tenths, nobody fails or stalls more often, and what remains of everybody and
    of each release is expected at the rate of who remains."""
    attempts, rates = np.array([240.0, 360.0, 240.0, 160.0]), np.array([0.005, 0.005, 0.02, 0.02])
    watched, stalls = attempts * np.array([40.0, 4.0, 40.0, 4.0]), np.array([0.003, 0.02, 0.003, 0.02])
    cohorts = hierarchy.build(["country", "release"], [["a", "a", "b", "b"], ["1", "2", "1", "2"]],
                              [["country"], ["release"]], attempts)  # fmt: skip
    seasons = (cohorts.sums(attempts * rates) / cohorts.sums(attempts), cohorts.sums(attempts) / 10.0,
               cohorts.sums(watched * stalls) / cohorts.sums(watched), cohorts.sums(watched) / 10.0)  # fmt: skip
    ratio, volume, stalled, time = (Season(np.tile(rate, (BINS, 1))) for rate in seasons)
    models = [Model(Signal("failures", "failures", "attempts"), ratio, Spread(), volume),
              Model(Signal("attempts", "attempts"), volume, Spread()),
              Model(Signal("stalled", "stalled", "watched"), stalled, Spread(), time)]  # fmt: skip
    detector = Detector(cohorts, ("attempts", "failures", "watched", "stalled"), models, 10, Tuning())
    usual = np.stack([attempts, attempts * rates, watched, watched * stalls], axis=1)
    fallen = usual * np.array([0.1, 0.1, 1.0, 1.0])[:, None]
    for step in range(200):
        detector.step(10 * (step + 1), usual)
    found = [detector.step(2_000 + 10 * (step + 1), fallen) for step in range(60)]
    assert detector.owing_until[cohorts.index((("country", "a"),))] > detector.at_s
    everyone, first_release = cohorts.index(()), cohorts.index((("release", "1"),))
    for cohort in (everyone, first_release):
        for signal in (0, 2):
            count, mean = detector.window(signal, 300, cohort)
            assert mean == pytest.approx(count, rel=1e-5)
    assert {int(signal) for evidence in found for signal in evidence.signal} == {1}


def test_each_kind_of_cohort_keeps_its_own_spread() -> None:
    """Two kinds, Poisson and gamma-Poisson of relative variance 0.04; means of both kinds a little wrong alike."""
    rng = np.random.default_rng(3)
    mean = np.full((2_000, 40), 30.0)
    drift = np.where(np.arange(40) < 20, 0.0, 1.0) * rng.normal(0.0, 0.2, (200, 40)).repeat(10, axis=0)
    seen = rng.poisson(mean * (1 + drift)).astype(float)
    kind = (np.arange(40) >= 20).astype(np.int64)
    found = fit_spread(seen, mean, 60, (1, 2, 4), whole=True, kind=kind, prior=100.0)
    sixty = found.relative(np.full(40, 30.0), np.array(60.0))
    assert sixty[:20].max() < 0.004 and sixty[20:] == pytest.approx(np.full(20, 0.04), rel=0.3)
    small = np.full((4_000, 40), 0.3)
    seen = rng.poisson(small * 1.05).astype(float)
    assert fit_spread(seen, small, 60, (1, 2, 4), whole=True).relative(np.array(0.3), np.array(60.0)) < 0.15


def test_a_part_that_would_be_negative_leaves_the_others_alone() -> None:
    """A spread of known `slow` and `fast` is found again though its terms' units are a million apart; and least squares
    over a root of the normal equations are those over the rows."""
    rng = np.random.default_rng(9)
    design = rng.normal(1.0, 1.0, (500, 3)) * np.array([3_600.0, 1.0, 1 / 3_600.0])
    for truth in ([-1e-4, 0.01, 3.0], [1e-5, 0.0, 40.0], [-1e-5, -0.01, 20.0]):
        came = design @ np.array(truth) + rng.normal(0.0, 0.01, 500)
        over_rows = nnls(design / design.std(0), came)[0] / design.std(0)
        assert _least_squares(design.T @ design, design.T @ came) == pytest.approx(over_rows, rel=1e-5, abs=1e-12)

    mean = np.tile(np.geomspace(2.0, 100.0, 40), (2_880, 1))
    slow, fast = (rng.gamma(1 / v, v, (n, 40)) for v, n in ((0.008, 240), (0.2 / 60.0, 2_880)))
    seen = rng.poisson(mean * slow.repeat(12, axis=0) * fast).astype(float)
    found = fit_spread(seen, mean, 60, (1, 2, 3, 4, 6, 8, 12), whole=True)
    for window_s in (60.0, 720.0):
        got = found.relative(np.array(20.0 * window_s / 60.0), np.array(window_s))
        assert got == pytest.approx(0.008 + 0.2 / window_s, rel=0.2)
