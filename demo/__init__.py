"""The loop played on one machine: history, a live day with a fault, decisions, the day after, the report."""
