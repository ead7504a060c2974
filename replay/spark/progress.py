"""How far a replay on Spark has come: what its tasks have read, told by the driver while it waits for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from replay.files import Files
from replay.reader import FileRead, Progress

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EVERY = 0.5
"""Seconds between two looks."""


class Tally:
    """Files, their bytes and their records that tasks have read. Spark adds up what each task counted when it ends."""

    def __init__(self, spark: SparkSession) -> None:
        self._files, self._bytes, self._records = (spark.sparkContext.accumulator(0) for _ in range(3))

    def add(self, outcomes: Sequence[FileRead], records: int) -> None:
        """In a task: so much was read."""
        self._files.add(len(outcomes))
        self._bytes.add(sum(outcome.file.size for outcome in outcomes))
        self._records.add(records)

    @contextmanager
    def told(self, files: Files, progress: Progress, step: str) -> Iterator[None]:
        """On the driver: meanwhile progress is told of, and once more when it is over. A task that Spark runs again
        counts again.
        """
        over = Event()

        def tell() -> None:
            progress(min(self._files.value, len(files)), len(files), self._bytes.value, self._records.value, step)

        def look() -> None:
            while not over.wait(EVERY):
                tell()

        teller = Thread(target=look, daemon=True)
        teller.start()
        try:
            yield
            tell()
        finally:
            over.set()
            teller.join()
