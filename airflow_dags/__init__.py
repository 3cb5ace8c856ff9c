"""Schedules: which job on which day. Wiring only; nothing here computes."""
