"""Spark batch: one job a file, all declared in `jobs.registry`, all run by `jobs.runner`."""
