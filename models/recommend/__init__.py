"""Recommendation and home pages: what a profile may want to watch next, and where on the page it goes."""
