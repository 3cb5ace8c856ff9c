"""Renderers: a record, a table or the metrics in each engine's own words.

They return text or data; an engine is imported only inside the functions whose result is an object of that engine.
"""
