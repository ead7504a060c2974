"""A Spark session: the one there is, or one on this machine's cores for a while."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import BucketwatchError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Settings = dict[str, bool | float | int | str | None]

SETTINGS: Settings = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": "8",  # parcels are large
    "spark.sql.adaptive.enabled": "false",  # it would put shards together that are to be counted side by side
    "spark.executorEnv.PYTHONWARNINGS": "ignore::FutureWarning",
}
"""Of a session that is started here."""
OF_THIS_MACHINE: Settings = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}
"""Further ones of a session on this machine alone."""


@contextmanager
def session(cores: int, log: Path | None = None) -> Iterator[SparkSession]:
    """The session there is (spark-submit or a notebook has made one), or one on this machine's cores for a while.

    log: where Java and its workers write what they say; None: where this process does. What fails in a task becomes a
    BucketwatchError.
    """
    from pyspark.sql import SparkSession

    there = SparkSession.getActiveSession()
    try:
        with failing():
            yield there or _started(cores, log)
    finally:
        if there is None and (mine := SparkSession.getActiveSession()) is not None:
            mine.stop()


@contextmanager
def failing() -> Iterator[None]:
    """What fails in a task becomes a BucketwatchError."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        told = [line for line in str(error).strip().splitlines() if not line.startswith("\t")]  # Java's frames
        raise BucketwatchError(
            f"a task on Spark failed: {told[-1] if told else type(error).__name__}",
            remedy="Spark's own log has the whole of it; without --engine spark the same runs in one process",
        ) from error


def _started(cores: int, log: Path | None) -> SparkSession:
    from pyspark.sql import SparkSession

    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    builder = SparkSession.builder.appName("bucketwatch").config(map=SETTINGS)
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # else spark-submit has started Java and says where to run
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = builder.config(map=OF_THIS_MACHINE).master(f"local[{cores}]")
    with _into(log):
        spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


@contextmanager
def _into(log: Path | None) -> Iterator[None]:
    """Children that are started meanwhile write their errors there: Spark's are no lines of our own log."""
    if log is None:
        yield
        return
    mine = os.dup(2)
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        os.dup2(file, 2)
        yield
    finally:
        os.dup2(mine, 2)
        os.close(mine)
        os.close(file)
