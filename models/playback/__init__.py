"""Playback: what a viewer's player did, as spans of time."""
