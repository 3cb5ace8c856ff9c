"""Do the alerts find faults in time, name the guilty, and stay silent? (`python -m bench.qoe_alerts [--small] ...`)

A service is drawn as counters every 10 s (`bench.incident_counts`), 28 days of it for the detectors to learn from.
Then:

1. `limit`: what any test could reach with one false alarm a day over all cohorts, by the size of the cohort's own
count.
2. `uniform`: randomised p-values of fault-free days, by signal, window and size of cohort.
3. `quiet`: incidents on fault-free days (`--quiet-days`).
4. `faults`: start failures of a random cohort. *Fast*: the excess reaches 7 standard deviations of the cohort's own
count within 60 s, to be alerted within 90 s of the onset. *Slow* (constant or growing): it does so in 10 minutes, to be
   alerted within 12. Excess and deviation are the simulator's own, drawn and by its laws; a fault is scored where the
   drawn excess got there. The cohort's own count expects at least `--least` in a minute: below, see the limit.
5. `falls`: a share of a cohort's attempts and reports vanishes for some minutes (7 deviations of attempts in 60 s) and
   arrives 5 to 60 minutes after, with 30 % failures in it: a volume alert, and no ratio alert by the burst.

An alert counts when it can be seen: so long after its step ended as the alert process needs (`streaming.pace`). Seeds
below 1,000 are for tuning, from 1,000 on for scoring (`--seed`; the default, 1, is for tuning: score a finished method,
once). `--small` is a quick look at a tenth. Intervals: 95 %, Wilson for shares, exact for counts. Exit 4 if a bound of
the issue is missed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from bench import verdict
from bench.incident_counts import ATTEMPTS, COUNTERS, FAILURES, SIZES, Fault, Feed, Service
from bench.incident_models import DAY_S, learn
from models.incident import tails
from models.incident.detect import Detector, Model, Tuning
from models.incident.ledger import Incident, Ledger
from streaming.pace import VISIBLE_S

STEP_S = 10
WARM_S = 7_200
FAST = (60.0, 90.0)
SLOW = (600.0, 720.0)
NEED = 7.0
BOUNDS = {
    "fast": 0.95,
    "slow": 0.90,
    "named": 0.90,
    "quiet": 1.0,
    "in_90_s": 0.90,
    "incidents_a_fault": 1.5,
    "ks": 0.05,
    "tail": 2.0,
}
PARTS = ("limit", "uniform", "quiet", "faults", "falls")
LEAST_P_VALUES = 10_000
"""Fewer values of a signal, window and size are printed and not judged: neighbours depend on each other."""
LEAST_FALLS = 10
"""Outages below which `falls` says nothing and fails."""


class Run:
    """A service under watch: feed and detectors side by side."""

    def __init__(
        self,
        service: Service,
        models: Sequence[Model],
        seed: Sequence[int],
        faults: Sequence[Fault] = (),
        tuning: Tuning | None = None,
    ) -> None:
        self.feed = Feed(service, 0, STEP_S, seed, faults)
        self.detector = Detector(service.cohorts, COUNTERS, models, STEP_S, tuning or Tuning())
        self.ledger = Ledger(self.detector)
        self.named: dict[int, int] = {}

    def go(self, seconds: int, look: object = None) -> list[Incident]:
        """Let it run; all incidents so far. `look(at_s)` is called after every step."""
        for begin, block in self.feed.blocks(seconds):
            for i, cells in enumerate(block):
                at = begin + (i + 1) * STEP_S
                for incident in self.ledger.update(at, self.detector.step(at, cells)):
                    self.named.setdefault(incident.number, incident.cohort)
                if callable(look):
                    look(at)
        return self.ledger.incidents


def share(good: int, of: int) -> dict[str, object]:
    """A share with its 95 % interval (Wilson)."""
    if not of:
        return {"good": 0, "of": 0}
    low, high = stats.binomtest(good, of).proportion_ci(method="wilson")
    return {"good": good, "of": of, "share": round(good / of, 4), "from": round(low, 4), "to": round(high, 4)}


def a_day(count: int, days: float) -> dict[str, object]:
    """A rate with its exact 95 % interval (Poisson, Garwood)."""
    low = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    high = stats.chi2.ppf(0.975, 2 * count + 2) / 2
    return {"incidents": count, "days": days, "a_day": round(count / days, 3),
            "from": round(low / days, 3), "to": round(high / days, 3)}  # fmt: skip


def limit(service: Service, rng: np.random.Generator, repeats: int = 20_000) -> list[dict[str, float]]:
    """Recall of a clairvoyant who knows cohort, onset and length, and looks once every 90 s at each cohort, at one
    false alarm a day over all cohorts: no test with that budget does better on cohorts of this size."""
    alpha = 1.0 / (len(service.cohorts) * DAY_S / 90.0)
    spread = 0.004
    rows = []
    for own in (0.25, 1.0, 4.0, 10.0, 25.0, 100.0, 1_000.0, 10_000.0):
        sd = np.sqrt(own + spread * own**2)
        margin = rng.uniform(NEED, 2 * NEED, repeats)
        first = rng.poisson(margin * sd)
        seen_s = 90.0 - VISIBLE_S
        more = rng.poisson(margin * sd * (seen_s - 60.0) / 60.0)
        mean = own * seen_s / 60.0
        base = rng.poisson(mean * rng.gamma(1 / spread, spread, repeats))
        reached = first >= NEED * sd
        p = tails.at_least(base + first + more, mean, spread)
        edge = reached & (margin < 1.2 * NEED)
        rows.append(
            {"own_count": own, "all": float((p < alpha)[reached].mean()), "edge": float((p < alpha)[edge].mean())}
        )
    return rows


def uniformity(service: Service, models: Sequence[Model], seed: int, hours: int) -> list[dict[str, object]]:
    """Randomised p-values on a fault-free run, every ten minutes, by signal, window and size of the cohort's own
    count."""
    run = Run(service, models, [seed, 21])
    rng = np.random.default_rng([seed, 22])
    kept: dict[tuple[str, int], list[np.ndarray]] = {}
    sizes: dict[tuple[str, int], list[np.ndarray]] = {}

    def look(at_s: int) -> None:
        if at_s <= WARM_S or at_s % 600:
            return
        for j, model in enumerate(models):
            for window_s in (10, 60, 600):
                if window_s > model.signal.longest_s:
                    continue
                count, mean = run.detector.windows_of(j, window_s)
                unit, spread = np.asarray(model.spread.unit), model.spread.relative(mean, np.array(float(window_s)))
                k, m = np.round(count / unit, 6), mean / unit
                if model.signal.volume:
                    p = tails.randomised(tails.at_most(k - 1, m, spread), tails.at_most(k, m, spread), rng)
                else:
                    p = tails.randomised(tails.at_least(k + 1, m, spread), tails.at_least(k, m, spread), rng)
                kept.setdefault((model.signal.name, window_s), []).append(p)
                sizes.setdefault((model.signal.name, window_s), []).append(mean)

    run.go(hours * 3_600, look)
    rows: list[dict[str, object]] = []
    for key, found in kept.items():
        p, mean = np.concatenate(found), np.concatenate(sizes[key])
        for low, high in ((0.0, 1.0), (1.0, 10.0), (10.0, 100.0), (100.0, np.inf)):
            part = p[(mean >= low) & (mean < high)]
            if len(part) >= 2_000:
                rows.append({
                    "signal": key[0], "window_s": key[1], "own_count": f"{low:g} to {high:g}", "n": len(part),
                    "ks": float(stats.kstest(part, "uniform").statistic),
                    "deciles": [round(float(x), 3) for x in np.histogram(part, 10, (0, 1))[0] / len(part) * 10],
                    "below_1e-2": float((part < 1e-2).mean() / 1e-2), "below_1e-3": float((part < 1e-3).mean() / 1e-3),
                })  # fmt: skip
    return rows


def quiet(service: Service, models: Sequence[Model], seed: int, days: int) -> dict[str, object]:
    """Incidents a day where nothing is wrong."""
    run = Run(service, models, [seed, 31])
    run.go(WARM_S)
    for day in range(1, days + 1):
        run.go(DAY_S)
        if day % 10 == 0 and day < days:
            so_far = sum(i.opened_s > WARM_S for i in run.ledger.incidents)
            print(f"   {day} of {days} days: {so_far} incidents", flush=True)
    found = [i for i in run.ledger.incidents if i.opened_s > WARM_S]
    by: dict[str, int] = {}
    for incident in found:
        by[incident.signal] = by.get(incident.signal, 0) + 1
    return {**a_day(len(found), days), "by_signal": by, "scores": sorted(round(i.score, 1) for i in found)}


def planned_ratio(service: Service, rng: np.random.Generator, days: int, least: float) -> list[Fault]:
    """Fast and slow faults by turns, one every 45 minutes, each of a random cohort whose own count is large enough."""
    faults: list[Fault] = []
    slot = 2_700  # a slow one lasts 900 s and may be noticed for 900 s more
    for n in range(days * DAY_S // slot):
        fast = n % 2 == 0
        reach = FAST[0] if fast else SLOW[0]
        start = WARM_S + n * slot + 300 + rng.uniform(0, STEP_S)
        for _ in range(1_000):
            cohort = int(rng.integers(1, len(service.cohorts)))
            minute, _ = service.own_sd(FAILURES, cohort, start, 60.0)
            if minute < least:
                continue
            own, sd = service.own_sd(FAILURES, cohort, start, reach)
            margin = rng.uniform(NEED, 2 * NEED)
            cells = service.cohorts.cells(cohort)
            started = reach * float(service.attempts(np.array([start + reach / 2]))[0, cells].sum()) - own
            ramp = not fast and n % 4 == 3
            share = margin * sd / max(started, 1e-9) * (2.0 if ramp else 1.0)
            if share <= 0.6:
                length = 300.0 if fast else 900.0
                faults.append(
                    Fault(
                        "ratio",
                        cohort,
                        cells,
                        start,
                        start + length,
                        share,
                        ramp,
                        margin=margin,
                        own_mean=own,
                        own_sd=sd,
                    )
                )
                break
    return faults


def planned_falls(service: Service, rng: np.random.Generator, days: int) -> list[Fault]:
    """Outages with withheld beacons, one every two hours; deep enough for 7 deviations of attempts in 60 s."""
    faults: list[Fault] = []
    slot = 7_200
    for n in range(days * DAY_S // slot):
        start = WARM_S + n * slot + 300 + rng.uniform(0, STEP_S)
        for _ in range(3_000):
            cohort = int(rng.integers(1, len(service.cohorts)))
            own, sd = service.own_sd(ATTEMPTS, cohort, start, 60.0)
            need = 1.1 * NEED * sd / own
            if need <= 0.95:
                length = rng.uniform(180, 1_500)
                release = start + length + min(rng.uniform(300, 3_600), slot - length - 900)
                faults.append(
                    Fault(
                        "outage",
                        cohort,
                        service.cohorts.cells(cohort),
                        start,
                        start + length,
                        rng.uniform(need, 1.0),
                        release_s=release,
                        spread_s=rng.uniform(10, 120),
                        own_mean=own,
                        own_sd=sd,
                    )
                )
                break
    return faults


def reached(fault: Fault, within_s: float) -> bool:
    """Whether the drawn excess came to 7 deviations in time."""
    at = np.array([0.0] + [t for t, _ in fault.excess])
    total = np.concatenate([[0.0], np.cumsum([x for _, x in fault.excess])])
    return bool(np.interp(within_s, at, total) >= NEED * fault.own_sd)


def score(run: Run, faults: Sequence[Fault], service: Service, tail_s: float) -> tuple[list[dict[str, object]], int]:
    """What became of each fault; and how many incidents belong to none. An incident belongs to the fault during
    which (or up to `tail_s` after) it opened, if it shares traffic with it."""
    rows, owned = [], set()
    for fault in faults:
        share = service.cohorts.share_inside(fault.cohort)
        last = max(fault.end_s, fault.release_s + fault.spread_s if fault.kind == "outage" else 0.0) + tail_s
        mine = [
            i for i in run.ledger.incidents if fault.start_s < i.opened_s <= last and share[run.named[i.number]] > 0
        ]
        owned |= {i.number for i in mine}
        first = mine[0] if mine else None
        same = first is not None and run.named[first.number] == fault.cohort
        rows.append({
            "fault": fault, "delay_s": first.opened_s + VISIBLE_S - fault.start_s if first else np.inf,
            "named": same, "later_named": first is not None and first.cohort == fault.cohort,
            "listed": first is not None and fault.cohort in [s.cohort for s in first.suspects],
            "incidents": len(mine), "mine": mine,
        })  # fmt: skip
    warm = [i for i in run.ledger.incidents if i.opened_s > WARM_S]
    return rows, len([i for i in warm if i.number not in owned])


def ratio_faults(service: Service, models: Sequence[Model], seed: int, days: int, least: float) -> dict[str, object]:
    """Recall, delay and naming of rises."""
    faults = planned_ratio(service, np.random.default_rng([seed, 41]), days, least)
    run = Run(service, models, [seed, 42], faults)
    run.go(WARM_S + days * DAY_S)
    rows, false = score(run, faults, service, 900.0)
    out: dict[str, object] = {"others": a_day(false, days)}
    for kind, (reach, limit_s) in (("fast", FAST), ("slow", SLOW)):
        length = 300.0 if kind == "fast" else 900.0
        mine = [
            r for r in rows if round(r["fault"].end_s - r["fault"].start_s) == length and reached(r["fault"], reach)
        ]
        good = [r for r in mine if r["delay_s"] <= limit_s]
        named = sum(bool(r["named"]) for r in good)
        out[kind] = {"recall": share(len(good), len(mine)), "delays_s": _quantiles(mine),
                     "named": share(named, len(good)), "named_in_2_minutes": _mean(good, "later_named"),
                     "listed": _mean(good, "listed"), "incidents_a_fault": _mean(good, "incidents"),
                     "by_size": _by_size(mine, limit_s),
                     "edge": _recall([r for r in mine if r["fault"].margin < 1.2 * NEED],
                                                                         limit_s)}  # fmt: skip
    return out


def _recall(rows: list[dict[str, object]], limit_s: float) -> tuple[float, int]:
    return (sum(r["delay_s"] <= limit_s for r in rows) / max(len(rows), 1), len(rows))


def _by_size(rows: list[dict[str, object]], limit_s: float) -> dict[str, tuple[float, int]]:
    """Recall by the cohort's own count in the reaching time."""
    edges = (0, 1, 4, 10, 25, 100, 1_000, np.inf)
    return {f"{low:g} to {high:g}": _recall([r for r in rows if low <= r["fault"].own_mean < high], limit_s)
            for low, high in pairwise(edges)
            if any(low <= r["fault"].own_mean < high for r in rows)}  # fmt: skip


def _mean(rows: list[dict[str, object]], name: str) -> float:
    return float(np.mean([r[name] for r in rows])) if rows else float("nan")


def _quantiles(rows: list[dict[str, object]]) -> list[float]:
    return (
        [round(float(np.quantile([r["delay_s"] for r in rows], q, method="lower")), 0) for q in (0.5, 0.9, 0.95)]
        if rows
        else []
    )


def falls(service: Service, models: Sequence[Model], seed: int, days: int) -> dict[str, object]:
    """Outages whose beacons come later."""
    faults = planned_falls(service, np.random.default_rng([seed, 51]), days)
    run = Run(service, models, [seed, 52], faults)
    run.go(WARM_S + days * DAY_S)
    rows, false = score(run, faults, service, 600.0)
    mine = [r for r in rows if reached(r["fault"], FAST[0])]
    ratio_models = {m.signal.name for m in models if not m.signal.volume}
    for r in mine:
        r["volume"] = any(i.signals - ratio_models for i in r["mine"])
        # Only the burst brings failures here, so any ratio alert of these incidents is a false one.
        r["false_ratio"] = any(i.signals & ratio_models for i in r["mine"])
    return {
        "volume_alert": share(sum(bool(r["volume"]) for r in mine), len(mine)),
        "delays_s": _quantiles(mine),
        "in_90_s": _recall(mine, FAST[1])[0],
        "false_ratio": share(sum(bool(r["false_ratio"]) for r in mine), len(mine)),
        "named": share(sum(bool(r["named"]) for r in mine), len(mine)),
        "named_in_2_minutes": _mean(mine, "later_named"),
        "incidents_a_fault": _mean(mine, "incidents"),
        "others": a_day(false, days),
    }


def _days(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of days, 1 or more")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts and print; exit 4 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="a quick look: a tenth of the days, 1,000 cohorts")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quiet-days", type=_days, default=60)
    parser.add_argument("--fault-days", type=_days, default=10)
    parser.add_argument("--fall-days", type=_days, default=4)
    parser.add_argument(
        "--least", type=float, default=4.0, help="least expected own count in a minute of a ratio's fault"
    )
    args = parser.parse_args(arguments)
    if args.small:
        args.cohorts, args.quiet_days, args.fault_days, args.fall_days = [1_000], 6, 2, 1
    missed = []
    for n in args.cohorts:
        began = time.process_time()
        service = Service(SIZES[n], args.seed)
        models = learn(service, [args.seed], Tuning())
        print(
            f"== {len(service.cohorts):,} cohorts, seed {args.seed}: learned in {time.process_time() - began:.0f} CPU s"
        )
        parts = {
            "limit": lambda s=service: limit(s, np.random.default_rng([args.seed, 61])),
            "uniform": lambda s=service, m=models: uniformity(s, m, args.seed, 26),
            "quiet": lambda s=service, m=models: quiet(s, m, args.seed, args.quiet_days),
            "faults": lambda s=service, m=models: ratio_faults(s, m, args.seed, args.fault_days, args.least),
            "falls": lambda s=service, m=models: falls(s, m, args.seed, args.fall_days),
        }
        for name in args.parts:
            began = time.process_time()
            answer = parts[name]()
            print(f"-- {name} ({time.process_time() - began:.0f} CPU s)")
            for line in answer if isinstance(answer, list) else [answer]:
                print("   " + json.dumps(line, default=str), flush=True)
            missed += [f"{n}: {what}" for what in _missed(name, answer)]
    if not missed:
        print("missed: nothing")
    verdict.end(missed)


def _heavy(row: Mapping[str, Any]) -> str | None:
    """What is wrong with the tail, of which alerts are made and the Kolmogorov distance sees nothing: more p-values
    below .001 than the bound's multiple and than chance has once in ten thousand."""
    due, allowed = row["n"] * 1e-3, BOUNDS["tail"]
    if row["below_1e-3"] * due <= max(allowed * due, stats.poisson.ppf(0.9999, due)):
        return None
    where = f"{row['signal']}, {row['window_s']} s, {row['own_count']}"
    return f"p-values below .001 {row['below_1e-3']:.1f} times as many as should be ({where}), {allowed:g} allowed"


def _missed(part: str, answer: object) -> list[str]:
    """Bounds of the issue that this part did not meet."""
    if part == "uniform":
        judged = [row for row in answer if row["n"] >= LEAST_P_VALUES]
        unjudged = sorted({row["signal"] for row in answer} - {row["signal"] for row in judged})
        worst = max((row["ks"] for row in judged), default=np.nan)
        if unjudged:
            return [f"too few p-values of {', '.join(unjudged)} to judge"]
        far = (
            [] if worst <= BOUNDS["ks"] else [f"p-values {worst:.3f} from uniform (Kolmogorov), {BOUNDS['ks']} allowed"]
        )
        return far + [tail for row in judged if (tail := _heavy(row))]
    if part == "quiet" and answer["a_day"] > BOUNDS["quiet"]:
        return [f"{answer['a_day']:.2f} false incidents a day"]
    out = []
    if part == "faults":
        for kind in ("fast", "slow"):
            for what, bound in (("recall", BOUNDS[kind]), ("named", BOUNDS["named"])):
                if answer[kind][what].get("share", 0.0) < bound:
                    out.append(f"{kind} {what} {answer[kind][what]}")
        if answer["others"]["a_day"] > BOUNDS["quiet"]:
            out.append(f"{answer['others']['a_day']:.2f} other incidents a day")
    if part == "falls":
        alerts = answer["volume_alert"]
        if alerts["of"] < LEAST_FALLS:
            out.append(f"{alerts['of']} outages, too few to say anything (at least {LEAST_FALLS})")
            return out
        if alerts["good"] < alerts["of"]:
            out.append(f"volume alert {alerts}")
        if answer["false_ratio"]["good"]:
            out.append(f"{answer['false_ratio']['good']} false ratio alerts")
        if answer["in_90_s"] < BOUNDS["in_90_s"]:
            out.append(f"outages in 90 s {answer['in_90_s']:.3f}")
        if answer["named"]["share"] < BOUNDS["named"]:
            out.append(f"outages named {answer['named']}")
        if answer["incidents_a_fault"] > BOUNDS["incidents_a_fault"]:
            out.append(f"{answer['incidents_a_fault']:.2f} incidents an outage")
        if answer["others"]["a_day"] > BOUNDS["quiet"]:
            out.append(f"{answer['others']['a_day']:.2f} other incidents a day beside outages")
    return out


if __name__ == "__main__":
    main()
