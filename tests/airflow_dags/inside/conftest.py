"""Tests of this folder need Airflow: ``test_inside.py`` runs them in its environment; elsewhere none is collected."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]
