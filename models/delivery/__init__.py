"""Delivery: what every CDN cluster shall hold, the words a CDN accepts for it, and what it would have saved."""
