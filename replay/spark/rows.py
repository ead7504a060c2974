"""Rows as Spark carries them: few and large, the last column a parcel, so that no record passes through Java."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

PARCELS = "shard int, chunk long, parcel binary"
"""Of history."""
ROWS = "shard string, number long, parcel binary"
"""Of what comes live."""


def of_one(columns: str, row: tuple[Any, ...]) -> pa.RecordBatch:
    """A row as a batch of its own: several together might be more than Arrow puts into one."""
    import pyarrow as pa

    kinds = {"int": pa.int32(), "long": pa.int64(), "string": pa.string(), "binary": pa.binary()}
    named = (column.split(" ") for column in columns.split(", "))
    arrays = {name: pa.array([value], kinds[kind]) for (name, kind), value in zip(named, row, strict=True)}
    return pa.RecordBatch.from_pydict(arrays)
