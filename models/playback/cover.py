"""Which parts of a content have been played: disjoint intervals of playheads, and their length."""

from __future__ import annotations

from dataclasses import dataclass, field

JOIN_MS = 1_000
"""Parts nearer than this are one: playheads and clocks of a player disagree by milliseconds from beat to beat."""


@dataclass(slots=True)
class Cover:
    """A union of intervals; `length_ms` does not depend on the order in which they were added."""

    parts: list[tuple[int, int]] = field(default_factory=list)
    length_ms: int = 0

    def add(self, start_ms: int, end_ms: int) -> int:
        """Add an interval that is not empty; returns by how much `length_ms` has grown."""
        kept = []
        for start, end in self.parts:
            if end < start_ms - JOIN_MS or start > end_ms + JOIN_MS:
                kept.append((start, end))
            else:
                start_ms, end_ms = min(start, start_ms), max(end, end_ms)
        self.parts = sorted([*kept, (start_ms, end_ms)])
        before, self.length_ms = self.length_ms, sum(end - start for start, end in self.parts)
        return self.length_ms - before
