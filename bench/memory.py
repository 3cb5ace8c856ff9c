"""Peak memory of this process, for the benches."""

from __future__ import annotations

import resource
from pathlib import Path


def forget_peak() -> None:
    """Linux: the peak of the resident set starts anew; elsewhere it is that of the process so far."""
    refs = Path("/proc/self/clear_refs")
    if refs.exists():
        refs.write_text("5")


def peak_mb() -> float:
    """Largest resident set since forget_peak, or since the process began."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
