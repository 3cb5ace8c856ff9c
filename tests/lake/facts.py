"""Lakes without Spark: rows appended by pyiceberg, for tests of reading."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from conf.settings import Settings, load
from lake.catalog import bootstrap, identifier
from schemas.render import iceberg
from schemas.tables import Table
from tests.fixtures.spark import lake_variables
from tests.jobs.frames import rows


def settings_of(folder: Path, **variables: str) -> Settings:
    """Settings of a lake below `folder`."""
    return load(environ={**os.environ, **lake_variables(folder), **variables})


def append(settings: Settings, table: Table, frame: pd.DataFrame) -> int:
    """Append rows; returns the snapshot's id."""
    catalog = bootstrap(settings, [table])
    loaded = catalog.load_table(identifier(settings, table))
    loaded.append(pa.Table.from_pandas(frame, schema=iceberg.schema(table).as_arrow(), preserve_index=False))
    current = loaded.refresh().current_snapshot()
    assert current is not None
    return int(current.snapshot_id)


def given(settings: Settings, table: Table, *made: dict[str, Any]) -> int:
    """Append rows that name only what matters."""
    return append(settings, table, rows(table, *made))
