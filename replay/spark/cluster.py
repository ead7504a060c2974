"""Spark's half of the daemon, seen from the driver: a manifest goes out, what came of it comes back, Spark commits.

Rules of this file
- One batch at a time. Spark hands over what a batch came to in a thread of its own, and waits there until that is in
  the daemon's checkpoint; only then does it commit.
- A batch whose number the checkpoint has came before: Spark was stopped before it committed, and runs it again.
"""

from __future__ import annotations

from pathlib import Path
from queue import Empty, Queue
from threading import Event
from typing import TYPE_CHECKING, Any

from detector.drain import Drain
from detector.errors import BucketwatchError, StateError
from replay.spark.came import Came
from replay.spark.manifest import Manifest, Manifests, Order
from replay.spark.session import failing
from replay.spark.stages import How

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

PATIENCE = 0.2
"""Seconds between looks whether Spark, or the daemon, still lives."""


class Cluster:
    """Manifests to Spark, and what came of them: one batch at a time. drain: how the daemon is told to end."""

    def __init__(self, spark: SparkSession, folder: Path, how: How, drain: Drain) -> None:
        self._spark, self._folder, self._how, self._drain = spark, folder, how, drain
        self._manifests = Manifests(folder / "manifests")
        self._query: StreamingQuery | None = None
        self._came: Queue[Came] = Queue(1)
        self._saved, self._over = Event(), Event()
        self._handed = False
        self.known = 0

    @property
    def waits(self) -> bool:
        """Whether a batch was sent, and what came of it is not in the daemon's checkpoint."""
        return self._manifests.last() > self.known

    @property
    def shards(self) -> int:
        """Of the books, and of each level."""
        return self._how.count

    def begin(self, known: int) -> None:
        """Start Spark's half. known: the last batch that is in the daemon's checkpoint. Raises StateError."""
        from replay.spark.query import start

        last = self._manifests.last()
        if not known <= last <= known + 1:
            raise StateError(
                f"the state knows of {known:,} batches, Spark's folder of {last:,}: they are not of one run",
                where=str(self._folder),
                remedy="restore both from copies of the same time, or start anew with a new state and a new spark.path",
            )
        self.known = known
        with failing():
            self._query = start(self._spark, self._folder, self._how, self._take)

    def send(self, *read: Any, **order: Any) -> None:
        """The next batch. read: columns and files of its manifest. order: fields of `Order`."""
        self._manifests.write(Manifest(Order(self.known + 1, **order), *read))

    def receive(self) -> Came:
        """What the batch that was sent comes to, once Spark has done it. Raises Hurry, BucketwatchError."""
        with self._drain.edge():
            while True:
                try:
                    came = self._came.get(timeout=PATIENCE)
                except Empty:
                    self._look()
                else:
                    self.known, self._handed = came.number, True
                    return came

    def saved(self) -> None:
        """What was received is in the daemon's checkpoint: Spark may commit. Returns when it has."""
        if self._handed and self._query is not None:
            self._handed = False
            self._saved.set()
            with failing():
                self._query.processAllAvailable()

    def end(self) -> None:
        """Stop Spark's half; a batch that is not in the daemon's checkpoint is not committed."""
        self._over.set()
        if self._query is not None:
            self._query.stop()

    def _take(self, parcels: list[bytes]) -> None:
        """Called by Spark: hands a batch over, and returns when it is in the daemon's checkpoint."""
        came = Came.of(parcels)
        if came.number <= self.known:
            return
        self._saved.clear()
        self._came.put(came)
        while not self._saved.wait(PATIENCE):
            if self._over.is_set():
                raise RuntimeError("the daemon has ended")

    def _look(self) -> None:
        query = self._query
        if query is None or not query.isActive:
            told = str(query.exception()).strip() if query is not None else ""
            raise BucketwatchError(
                f"Spark has stopped: {told[-2000:] or 'it does not say why'}",
                where=str(self._folder),
                remedy="spark.log in that folder has the whole of it; started again, it goes on where it stopped",
            )
