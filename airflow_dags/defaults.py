"""What every task of every DAG shares."""

from __future__ import annotations

import os
from datetime import timedelta

POOL = "matinee_spark"
BY_HAND = os.environ.get("MATINEE_CALENDAR") == "off"
ARGUMENTS = {
    "owner": "matinee",
    "retries": int(os.environ.get("MATINEE_RETRIES", "3")),
    "retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(hours=2),
    "pool": POOL,
    "config": "{{ var.value.get('matinee_config', '') }}",
}
