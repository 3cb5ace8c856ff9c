"""Demand: how many bytes of which file a region will ask for tomorrow."""
