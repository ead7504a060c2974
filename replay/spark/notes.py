"""How log files travel to tasks, and what came of them back to the driver: as the last column of rows, `rows.PARCELS`.

A row for the driver bears the number of no shard, `DRIVER`; its parcel is msgpack, first what came of a chunk's files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import starmap
from typing import TYPE_CHECKING, Any

import msgspec

from replay.files import Files, LogPath
from replay.reader import FileRead, chunks_of
from replay.remote import path_of
from replay.spark.rows import PARCELS, Parcel

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

DRIVER = -1
"""Number of the shard whose parcels are for the driver."""
CHUNKS_A_TASK = 4
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder().decode


def manifest(spark: SparkSession, files: Files) -> DataFrame:
    """A row a chunk of files, some to a task."""
    rows = [
        (DRIVER, number, _ENCODE([_named(file) for file in chunk])) for number, chunk in enumerate(chunks_of(files))
    ]
    return spark.createDataFrame(rows, PARCELS).repartition(max(1, len(rows) // CHUNKS_A_TASK), "chunk")


def listed(parcel: bytes) -> list[LogPath]:
    """The files of a manifest's row."""
    return [_file(*one) for one in _DECODE(parcel)]


def note(chunk: int, outcomes: Sequence[FileRead], *more: Any) -> Parcel:
    """For the driver: what came of a chunk's files, and more that msgpack can say."""
    told = [
        (_named(one.file), one.kind, one.reason, one.damage, one.first, one.last, one.lacks, one.checksum)
        for one in outcomes
    ]
    return DRIVER, chunk, _ENCODE((told, *more))


def notes(frame: DataFrame) -> Iterator[tuple[list[FileRead], *tuple[Any, ...]]]:
    """What came of each chunk's files, in order, and what else the executors sent the driver."""
    rows = frame.where(f"shard = {DRIVER}").coalesce(1).sortWithinPartitions("chunk")
    for row in rows.toLocalIterator():
        outcomes, *rest = _DECODE(bytes(row.parcel))
        yield list(starmap(_file_read, outcomes)), *rest


def _named(file: LogPath) -> tuple[bytes, int, bool, int]:
    return os.fsencode(file.path), file.size, file.outright, file.stamp


def _file(path: bytes, *rest: Any) -> LogPath:
    return LogPath(path_of(os.fsdecode(path)), *rest)


def _file_read(file: tuple[Any, ...], *rest: Any) -> FileRead:
    kind, reason, damage, first, last, lacks, checksum = rest
    return FileRead(_file(*file), kind, reason, damage, first, last, tuple(lacks), checksum)
