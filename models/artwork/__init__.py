"""Artwork: which image of a show a profile sees, with the exact probability that it does."""
