"""Rows as Spark carries them: few and large, the last column a parcel, so that no record passes through Java."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

PARCELS = "shard int, chunk long, parcel binary"
"""Of history."""
Parcel = tuple[int, int, bytes]
"""A row of `PARCELS`."""
Step = Callable[[Iterator[Parcel]], Iterator[Parcel]]
ROWS = "shard string, number long, parcel binary"
"""Of what comes live."""


def of_one(columns: str, row: tuple[Any, ...]) -> pa.RecordBatch:
    """A row as a batch of its own: several together might be more than Arrow puts into one."""
    import pyarrow as pa

    kinds = {"int": pa.int32(), "long": pa.int64(), "string": pa.string(), "binary": pa.binary()}
    named = (column.split(" ") for column in columns.split(", "))
    arrays = {name: pa.array([value], kinds[kind]) for (name, kind), value in zip(named, row, strict=True)}
    return pa.RecordBatch.from_pydict(arrays)


def mapped(frame: DataFrame, step: Step, *, barrier: bool = False) -> DataFrame:
    """What a step makes of the rows of each partition, all of them `PARCELS`. barrier: of all at the same time."""
    return frame.mapInArrow(lambda batches: _stepped(step, batches), PARCELS, barrier=barrier)


def _stepped(step: Step, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = (row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))
    for row in step(rows):
        yield of_one(PARCELS, row)
