"""The streaming query: Spark's half of a batch. What the steps do is in `stages.py`; here is how Spark runs them.

    manifests (a data source) → transformWithState by shard: admitted → transformWithState by shard: counted
                              → foreachBatch: the driver, one batch at a time

Rules of this file
- Spark knows no event time here: the core handles lateness, so there is no watermark of Spark's that could drop rows.
- One manifest is one batch. The sink hands a batch over and returns when it is in the daemon's checkpoint; only then
  does Spark commit. A batch whose number that checkpoint has came before: Spark was stopped before it committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pandas as pd
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle
from pyspark.sql.types import StructType

from replay.spark.manifest import Manifests
from replay.spark.parts import Parts
from replay.spark.rows import ROWS, of_one
from replay.spark.stages import DRIVER, How, Row, admitted, counted, read_files, told

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

PARTS = "name string", "part binary"
"""Key and value of a shard's state."""
LOOK = "200 milliseconds"
"""Between looks for a manifest."""
SETTINGS = {
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"  # transformWithState needs it
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "8",
}
Step = Callable[[How, str, "list[Row]", Parts], "list[Row]"]


class Source(DataSource):
    """Manifests, as a source of rows."""

    @classmethod
    def name(cls) -> str:
        """What Spark calls it."""
        return "bucketwatch"

    def schema(self) -> str:
        """Of its rows."""
        return ROWS

    def streamReader(self, schema: StructType) -> Reader:  # noqa: ARG002, N802  Spark's names
        """Reads it."""
        return Reader(self.options["folder"], msgspec.json.decode(self.options["how"], type=How))


class Task(InputPartition):
    """What one task reads. chunk -1: nothing, it tells of the batch."""

    def __init__(self, number: int, chunk: int) -> None:
        super().__init__((number, chunk))
        self.number, self.chunk = number, chunk


class Reader(DataSourceStreamReader):
    """Positions are numbers of manifests."""

    def __init__(self, folder: str, how: How) -> None:
        self.folder, self.how = folder, how

    def initialOffset(self) -> dict[str, int]:  # noqa: N802
        """Before the first."""
        return {"number": 0}

    def latestOffset(self) -> dict[str, int]:  # type: ignore[override]  # noqa: N802  Spark 4.0's, which later ones take
        """The newest there is."""
        return {"number": Manifests(self.folder).last()}

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> list[Task]:
        """The tasks of a batch."""
        numbers = range(start["number"] + 1, end["number"] + 1)
        read = {number: Manifests(self.folder).read(number) for number in numbers}
        return [Task(n, chunk) for n, manifest in read.items() for chunk in range(-1, len(manifest.chunks()))]

    def read(self, partition: Task) -> Iterator[pa.RecordBatch]:  # type: ignore[override]
        """A task's rows."""
        manifest = Manifests(self.folder).read(partition.number)
        rows = (
            told(manifest.order, self.how.count)
            if partition.chunk < 0
            else read_files(self.how, manifest.columns, partition.chunk, manifest.chunks()[partition.chunk])
        )
        return (of_one(ROWS, row) for row in rows)


class Shard(StatefulProcessor):
    """A step over the rows and the state of each shard."""

    def __init__(self, how: How, step: Step) -> None:
        self.how, self.step = how, step

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Each shard has one map of parts."""
        self.state = handle.getMapState("parts", *PARTS)

    def handleInputRows(  # type: ignore[override]  # noqa: N802
        self,
        key: Any,
        rows: Iterator[pd.DataFrame],
        timerValues: Any,  # noqa: ARG002, N803  Spark's names
    ) -> Iterator[pd.DataFrame]:
        """What the step makes of them; what is for the driver passes."""
        shard = str(key[0])
        came = [
            (shard, int(number), bytes(parcel))
            for frame in rows
            for number, parcel in zip(frame["number"], frame["parcel"], strict=True)
        ]
        made = came if shard == DRIVER else self.step(self.how, shard, came, Parts(self.state))
        for row in made:
            yield pd.DataFrame([row], columns=["shard", "number", "parcel"])

    def close(self) -> None:
        """Nothing is held open."""


def start(spark: SparkSession, folder: Path, how: How, sink: Callable[[list[bytes]], None]) -> StreamingQuery:
    """Begin, or go on where the checkpoint in the folder stopped. sink: gets what is for the driver, batch by batch."""
    spark = spark.newSession()
    for name, value in {**SETTINGS, "spark.sql.shuffle.partitions": str(how.count)}.items():
        spark.conf.set(name, value)
    spark.dataSource.register(Source)
    options = {"folder": str(folder / "manifests"), "how": msgspec.json.encode(how).decode()}
    rows = spark.readStream.format(Source.name()).options(**options).load()
    for step in (admitted, counted):
        rows = rows.groupBy("shard").transformWithStateInPandas(Shard(how, step), ROWS, "Append", "None")

    def hand_over(frame: DataFrame, _: int) -> None:
        rows = sorted((row.number, bytes(row.parcel)) for row in frame.select("number", "parcel").collect())
        sink([parcel for _, parcel in rows])

    writer = rows.writeStream.foreachBatch(hand_over).option("checkpointLocation", (folder / "checkpoint").as_uri())
    return writer.queryName("bucketwatch").trigger(processingTime=LOOK).start()
