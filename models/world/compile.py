"""Live a tiny world once, so that every compiled loop is in numba's cache: ``python -m models.world.compile``."""

from models.world import World, WorldConfig, faults

if __name__ == "__main__":
    world = World.create(WorldConfig(profiles=60, shows=40, days=2))
    for day in range(2):
        world.live(day, faults=(faults.isp_outage(world.isps.isp[0], start=1_200, minutes=30),))
