"""Where data rests: one reader, one writer, point-in-time features.

``lake.connect()`` is the notebook's front door: pyiceberg and DuckDB, no JVM. The writing side (`lake.publish`,
`lake.audit`, `lake.hashing`) takes a Spark session that somebody else made; nothing here imports pyspark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conf.settings import Settings
    from lake.reader import Lake

__all__ = ["connect"]


def connect(config: Settings | str | None = None) -> Lake:
    """Open the lake for reading. `config` is a settings file, loaded settings, or nothing for the settings in force.

    Raises:
        InputMissing: there is no catalogue yet at the address in force.
    """
    from pathlib import Path

    from conf.settings import load
    from lake.reader import Lake

    settings = load(config=config) if config is None or isinstance(config, str | Path) else config
    return Lake(settings)
