"""Experiments: who is in which arm, and how sure a difference is."""
