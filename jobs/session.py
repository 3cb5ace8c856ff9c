"""The Spark session of the batch jobs: local, standalone or submitted, with the catalogue ``lake`` in it.

Started from Python (``matinee job``) the session is configured from the settings and gets its jars from the lock; under
``spark-submit`` master, memory and jars come from the command line and only the catalogue and the semantics (UTC, ANSI)
are set here. Only `jobs` imports pyspark.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from functools import reduce
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import psutil
from py4j.java_gateway import JavaClass
from pyspark import SparkConf, SparkContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from conf import jars, java
from conf.errors import ConfigError, MatineeError, stopped
from conf.settings import Settings
from lake.audit import warm_up
from lake.catalog import spark_properties
from schemas.tables import Table

if TYPE_CHECKING:
    import pandas as pd

LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")

_registered: WeakSet[SparkSession] = WeakSet()
CANCEL_S = 10.0
"""So long an interrupt waits for Spark to take in that its jobs are cancelled."""


def submitted() -> bool:
    """Whether this process was started by ``spark-submit``, which then owns master, memory and jars."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def start(settings: Settings, app: str = "matinee") -> SparkSession:
    """The session of this process, made at the first call.

    Raises:
        ConfigError: no Java, or jars that are not there.
    """
    if not submitted():
        java.version()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    logging.getLogger("DataFrameQueryContextLogger").setLevel(logging.CRITICAL)
    threading.Thread(target=warm_up, name="audit-warm-up", daemon=True).start()
    builder = SparkSession.builder.appName(app)
    properties = {**_semantics(settings), **({} if submitted() else _resources(settings))}
    for key, value in properties.items():
        builder = builder.config(key, value)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    on_interrupt = signal.getsignal(signal.SIGINT)
    _no_word_of_interrupts()
    try:
        # The context first: it puts PySpark's own handler of Ctrl-C in place, and the session takes seconds more.
        SparkContext.getOrCreate(SparkConf().setAll([("spark.app.name", app), *properties.items()]))
        _let_interrupts_through(on_interrupt)
        session = builder.getOrCreate()
    except (KeyboardInterrupt, SystemExit):
        _end_jvm(before)
        raise
    except (FileNotFoundError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"Spark did not start ({error}): a Java 17 must be on PATH or in JAVA_HOME; `matinee doctor` checks"
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    return session


def stop(session: SparkSession) -> None:
    """End the session and its jobs; of a job that is cut off, Spark and its dying threads need not say that it was."""
    session.sparkContext.setLogLevel("OFF")
    jvm: Any = session._jvm
    jvm.java.lang.System.setErr(jvm.java.io.PrintStream(jvm.java.io.OutputStream.nullOutputStream()))
    session.stop()


class _Interrupt:
    """Ctrl-C while Spark may work: its jobs are cancelled, then the handler that was there before speaks."""

    def __init__(self, then: Callable[[int, FrameType | None], Any]) -> None:
        self.then = then

    def __call__(self, number: int, frame: FrameType | None) -> None:
        cancelling = threading.Thread(target=_cancel, name="cancel", daemon=True)  # a thread has its own connection
        cancelling.start()
        cancelling.join(CANCEL_S)
        self.then(number, frame)


def _cancel() -> None:
    context = SparkContext._active_spark_context
    if context is not None:
        with contextlib.suppress(Exception):  # the JVM may be going already
            context.cancelAllJobs()


def _let_interrupts_through(handler: Any) -> None:
    """Undo PySpark's own handler of Ctrl-C, which calls the JVM from within the call it interrupts: that call then
    ends as a broken connection, an internal error, instead of as `KeyboardInterrupt` (which py4j knows). Jobs under way
    are cancelled first, as by PySpark's: what cleans up may ask Spark, and would wait for the cores they hold."""
    if threading.current_thread() is threading.main_thread() and handler is not None:
        before = handler.then if isinstance(handler, _Interrupt) else handler
        signal.signal(signal.SIGINT, _Interrupt(before) if callable(before) else before)


def _no_word_of_interrupts() -> None:
    """py4j need not print the stack of an interrupt."""
    for logger in (logging.getLogger(), logging.getLogger("py4j.clientserver")):
        if _no_interrupt not in logger.filters:
            logger.addFilter(_no_interrupt)


def _no_interrupt(record: logging.LogRecord) -> bool:
    """Whether a log record has nothing to do with Ctrl-C or SIGTERM: py4j logs the interrupt itself, and what breaks
    while it gives up the interrupted connection."""
    return stopped(record.exc_info[1] if record.exc_info else None) is None


def _end_jvm(before: set[int]) -> None:
    """End the driver JVM of an interrupted start: nobody has its port yet, so it would wait for ever."""
    for child in psutil.Process().children(recursive=True):
        if child.pid not in before:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def attach(session: SparkSession, settings: Settings) -> SparkSession:
    """A sibling of a running session, in the same JVM, whose catalogue ``lake`` is that of `settings`."""
    sibling = session.newSession()
    for key, value in _semantics(settings).items():
        if sibling.conf.isModifiable(key) or key.startswith("spark.sql.catalog."):
            sibling.conf.set(key, value)
    return sibling


def _semantics(settings: Settings) -> dict[str, str]:
    return {
        **spark_properties(settings),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.shuffle.partitions": str(settings.spark.shuffle_partitions),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.pandas.convertToArrowArraySafely": "true",
        "spark.sql.iceberg.check-nullability": "false",
        # Lists by key (the events of a session) are gathered from sorted rows, one key at a time: the hash form keeps
        # 128 keys, then sorts all the same what it has turned into objects by then.
        "spark.sql.execution.useObjectHashAggregateExec": "false",
        # Without kafka: the older reader makes a row of objects of every message, and of that a row again.
        "spark.sql.sources.useV1SourceList": "avro,csv,json,orc,parquet,text",
        **settings.spark.extra,
    }


def _resources(settings: Settings) -> dict[str, str]:
    """Master, memory, jars; small-data habits: no progress bar, no waiting for locality, no UI."""
    paths = [str(path) for path in jars.jar_paths("spark", settings)]
    try:
        paths.append(str(jars.kernel_jar(settings)))
    except MatineeError:
        if settings.spark.master.startswith("spark://"):
            raise
    local = settings.spark.master.startswith("local")
    options = f"-Dlog4j2.configurationFile={LOG_SETTINGS.as_uri()} -Duser.timezone=UTC -XX:+UseParallelGC {java.SPARK}"
    answer = {
        "spark.master": settings.spark.master,
        "spark.driver.memory": settings.spark.driver_memory,
        "spark.driver.extraJavaOptions": options,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.locality.wait": "0s",
        "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
    }
    if settings.spark.one_host:
        answer |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if local:
        answer["spark.driver.extraClassPath"] = os.pathsep.join(paths)
    else:
        answer["spark.jars"] = ",".join(paths)
    return answer


def register_kernel(session: SparkSession, settings: Settings) -> None:
    """Give the session the catalogue ``kernel`` with ``decode_<record>`` and ``fold_session`` (kernel/README.md).

    Raises:
        ConfigError: the kernel jar is missing, stale, or not on the session's class path.
    """
    if session in _registered:
        return
    if not submitted():
        jars.kernel_jar(settings)
    jvm: Any = session._jvm
    if not isinstance(jvm.io.matinee.kernel.spark.KernelCatalog, JavaClass):
        raise ConfigError("the session's class path has no kernel: end this process, run `make setup` and start again")
    session.conf.set("spark.sql.catalog.kernel.fold", settings.fold.text())
    session.conf.set("spark.sql.catalog.kernel", "io.matinee.kernel.spark.KernelCatalog")
    _registered.add(session)


def to_spark(session: SparkSession, frame: pd.DataFrame, table: Table) -> DataFrame:
    """A pandas frame in a record's form as a Spark frame with the table's columns and types.

    Raises:
        ConfigError: a column is missing or unknown.
    """
    wanted = _wanted(frame, table)
    return session.createDataFrame(frame[wanted.names], schema=wanted)


SENT_ROWS = 20_000
"""Rows that wait in Python as Arrow before they go to the JVM."""


def batches_to_spark(session: SparkSession, batches: Iterable[pd.DataFrame], table: Table) -> DataFrame:
    """The same of many frames, one after another: of what was sent already nothing stays in Python.

    Args:
        batches: at least one.

    Raises:
        ConfigError: a column is missing or unknown.
    """
    import pyarrow as pa
    from pyspark.sql.pandas.types import to_arrow_schema

    frames: list[DataFrame] = []
    waiting: list[pa.RecordBatch] = []

    def send() -> None:
        frames.append(session.createDataFrame(pa.Table.from_batches(waiting), schema=wanted))
        waiting.clear()

    for batch in batches:
        wanted = _wanted(batch, table)
        waiting.append(pa.RecordBatch.from_pandas(batch, to_arrow_schema(wanted), preserve_index=False))
        if sum(one.num_rows for one in waiting) >= SENT_ROWS:
            send()
    if waiting:
        send()
    return reduce(DataFrame.unionAll, frames)


def _wanted(frame: pd.DataFrame, table: Table) -> StructType:
    from schemas.render import spark

    wanted = spark.table_struct(table)
    differing = sorted(set(wanted.names) ^ set(map(str, frame.columns)))
    if differing:
        raise ConfigError(f"{table.fqn}: these columns are in one of frame and table only: {', '.join(differing)}")
    return wanted
