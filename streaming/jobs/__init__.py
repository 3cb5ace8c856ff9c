"""Flink jobs. Modules here may import pyflink; no module elsewhere does."""
