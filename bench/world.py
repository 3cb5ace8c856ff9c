"""How fast the world lives, and what a default world looks like (`python -m bench.world [--days 9] [--profiles N]`).

Prints per day: events, impressions, delivery rows, sessions, CPU seconds of `World.live` end to end (frames included),
events per CPU second, offload of the LRU clusters, rebuffer ratio, start delay, takes per visit; and the peak memory.
A small world is lived before, so that compiling is not measured.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import replace

from models.world import Day, World, WorldConfig

NEED_EVENTS_PER_S = 20_000


def line(day: Day, cpu_s: float) -> str:
    """One day in figures."""
    s, r, takes = day.truth["sessions"], day.cdn_requests, day.truth["takes"]
    visits = day.impressions["impression_id"].str.split("-").str[1].nunique()
    edge = r.loc[r["tier"] == "edge", "bytes"].sum() / max(r["bytes"].sum(), 1)
    stall, play = s["stall_ms"].sum(), s["play_ms"].sum()
    return (
        f"{day.day:>3} {len(day.events):>9,} {len(day.impressions):>9,} {len(r):>9,} {len(s):>8,} {cpu_s:>6.2f} "
        f"{len(day.events) / cpu_s:>10,.0f} {edge:>6.3f} {stall / max(stall + play, 1):>8.4f} "
        f"{s['start_delay_ms'].sum() / max(s['plays'].sum(), 1):>8,.0f} {(s['plays'] == 0).mean():>7.3f} "
        f"{s['stalls'].sum():>6} "
        f"{takes['taken'].sum() / max(visits, 1):>6.3f} {play / 60_000 / max(len(s), 1):>7.1f}"
    )


def main() -> int:
    """Live the days and print; 1 if events per CPU second fall short of the need."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=9)
    parser.add_argument("--profiles", type=int, default=WorldConfig().profiles)
    parser.add_argument("--visits", type=float, default=WorldConfig().visits_per_profile_day)
    parser.add_argument("--seed", type=int, default=WorldConfig().seed)
    args = parser.parse_args()
    config = WorldConfig(seed=args.seed, days=args.days, profiles=args.profiles, visits_per_profile_day=args.visits)
    World.create(replace(config, profiles=50, shows=20)).live(0)
    began = time.process_time()
    world = World.create(config)
    print(
        f"create {time.process_time() - began:.2f} s CPU: {len(world.people):,} profiles, "
        f"{len(world.cat.shows.show_id):,} shows, "
        f"{len(world.cat.title_id):,} titles, {len(world.cat.file_id):,} files, {len(world.isps.cdn_id)} clusters"
    )
    print(
        "day    events     shown       cdn sessions  cpu_s   events/s   edge rebuffer start_ms"
        " unstarted stalls takes/v min/session"
    )
    events, seconds, rows = 0, 0.0, 0
    for number in range(args.days):
        began = time.process_time()
        day = world.live(number)
        spent = time.process_time() - began
        print(line(day, spent), flush=True)
        events, seconds, rows = (
            events + len(day.events),
            seconds + spent,
            rows + len(day.impressions) + len(day.cdn_requests),
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"all {events:,} events and {rows:,} other rows in {seconds:.1f} s CPU: "
        f"{events / seconds:,.0f} events per CPU second, "
        f"peak {peak:.2f} GB"
    )
    return 0 if events / seconds >= NEED_EVENTS_PER_S else 1


if __name__ == "__main__":
    sys.exit(main())
