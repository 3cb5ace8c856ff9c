"""Incidents: from counters by cohort to one named fault (detectors, merging, root cause)."""
