"""The baselines of a replay on Spark: cut by peer group, in tasks that run side by side and meet at every midnight.

    the rules' records → dealt by peer group, once it is known which hang together → one shuffle → judged, day by day

Rules of this file
- The tasks are one barrier stage: Spark starts them together, or none. They hand each other what a day was through the
  driver (`allGather`), which holds one day's messages at a time. Nothing is kept between days but in the tasks.
- A barrier stage that gives its results to the driver is not tried again when a task is lost; one before a shuffle is.
- Where Spark may take executors away and give them back (dynamic allocation) it has no barrier stages: then one task
  counts all of it, as what is not keyed.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from replay.baselines import Baselines, Deal
from replay.shards import Known
from replay.spark.rows import Parcel, mapped

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

DRIVER = -1
_TRIED = 64
"""Numbers tried for each partition until one hashes to it; that none does has odds of e^-64."""


def may_meet(spark: SparkSession) -> bool:
    """Whether tasks can go through their shards side by side."""
    return spark.sparkContext.getConf().get("spark.dynamicAllocation.enabled", "false") != "true"


def places(spark: SparkSession, shards: int) -> int:
    """How many tasks can go through so many shards side by side, with the executors there are now.

    `defaultParallelism` may be any setting, and 2 where there is one core; of more tasks than can run at the same time
    Spark starts none, and waits ten minutes before it says so. What it asks then it tells Java only.
    """
    context = spark.sparkContext._jsc.sc()  # noqa: SLF001
    slots = int(context.maxNumConcurrentTasks(context.resourceProfileManager().defaultResourceProfile()))
    return max(1, min(shards, slots))


def judged(
    spark: SparkSession, parcels: DataFrame, baselines: Baselines, deal: Deal, known: Known, tmp: Path | None
) -> list[bytes]:
    """What the rules find, of each task a `Counted`. parcels: what `Baselines.cut` left of every chunk of files."""
    tasks = places(spark, baselines.count)
    # --memory is a task's, and a task may have several shards
    baselines = replace(baselines, memory=baselines.memory * tasks // baselines.count)
    dealt = _to_tasks(spark, mapped(parcels, partial(_deal, deal)), tasks).sortWithinPartitions("shard", "chunk")
    found = mapped(dealt, partial(_judge, baselines, known, tmp), barrier=True)
    return [bytes(row.parcel) for row in found.repartition(1).collect()]


def _to_tasks(spark: SparkSession, frame: DataFrame, tasks: int) -> DataFrame:
    """The shards evenly over so many partitions: Spark deals rows by a hash, which may leave some without any."""
    from pyspark.sql import functions

    hashed = f"pmod(hash(cast(id as int)), {tasks})"
    tried = spark.range(_TRIED * tasks).selectExpr("cast(id as int) as id", f"{hashed} as task").collect()
    leading = {row.task: row.id for row in tried}
    listed = ", ".join(str(leading[task]) for task in range(tasks))
    return frame.repartition(tasks, functions.expr(f"element_at(array({listed}), shard % {tasks} + 1)"))


def _deal(deal: Deal, rows: Iterator[Parcel]) -> Iterator[Parcel]:
    for _, chunk, parcel in rows:
        for shard, mine in deal.dealt(parcel):
            yield shard, chunk, mine


def _judge(baselines: Baselines, known: Known, tmp: Path | None, rows: Iterator[Parcel]) -> Iterator[Parcel]:
    parcels = ((shard, parcel) for shard, _, parcel in rows)
    yield DRIVER, 0, baselines.judged(parcels, known, _meet, tmp).pack()


def _meet(said: bytes) -> list[bytes]:
    """What all tasks say. Spark carries text."""
    from pyspark import BarrierTaskContext

    text = b64encode(zlib.compress(said, 1)).decode()
    return [zlib.decompress(b64decode(one)) for one in BarrierTaskContext.get().allGather(text)]
