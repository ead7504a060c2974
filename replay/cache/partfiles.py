"""Parts of a cache of parsed records as files: written beside their places and moved there, read only if undamaged."""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import xxhash

from detector.core.access import ALL_DIFFERENT, COLUMNS, AccessBatch, Index, Reject
from detector.core.builder import BatchBuilder
from detector.core.coverage import Coverage
from detector.core.parcel import unpack
from detector.logs.parquet import add_rows, asked_of, to_table
from detector.source import shown_name
from replay.cache import indexed, summed, whole
from replay.cache.parts import GROUP, ORDER, PIECE, Content, Gathered, Ids, Input, Part, Span, Written
from replay.cache.summed import Summed
from replay.columns import Piece, in_threads
from replay.files import LogPath
from replay.reader import FileRead, Reads
from replay.remote import path_of

if TYPE_CHECKING:
    import pyarrow as pa


def write(folder: Path, part: tuple[int, str], content: Content, inputs: Written, logs: list[int]) -> Part:
    """Write a part: its number, and how the names of its files begin. Raises OSError."""
    number, name = part
    order = _order(content.table)
    content.judged.records += len(order)
    content.judged.access_events += len(order)
    table = content.table.take(order)
    records, pieces = _write_records(folder, f"{name}.parquet", table)
    piece = Piece(table)
    sums, reads = summed.encoded(summed.of_part(piece))
    who = indexed.encoded(indexed.indexed(piece, GROUP))
    ids = content.ids.take(order)
    arrays = [getattr(ids, one.name).tobytes() for one in fields(Ids)]
    return Part(
        number,
        records,
        put(folder, f"{name}.ids", _packed([arrays, content.skipped])),
        inputs,
        put(folder, f"{name}.sums", sums),
        put(folder, f"{name}.reads", reads),
        put(folder, f"{name}.who", who),
        put(folder, f"{name}.aside", _packed(content.aside)) if content.aside else None,
        pieces,
        msgspec.to_builtins(content.left),
        msgspec.to_builtins(content.judged),
        logs,
    )


def write_inputs(folder: Path, name: str, gathered: Gathered) -> Written:
    """Write what came of the log files of a part. Raises OSError."""
    rejects = [(r.file, r.position, r.reason, r.detail) for r in gathered.rejects]
    files = [(os.fsencode(one.read.file.path), one.read.file.size, one.read.file.outright, one.print, *_came(one.read))
             for one in gathered.inputs]  # fmt: skip
    return put(folder, f"{name}.inputs", _packed([files, rejects, gathered.coverage.to_json()]))


def read_inputs(folder: Path, written: Written) -> tuple[list[Input], list[Reject], Coverage]:
    """What `write_inputs` wrote."""
    files, rejects, coverage = _read(folder / written.name)
    return [_input(*one) for one in files], [Reject(*one) for one in rejects], Coverage.from_json(coverage)


def add_reads(folder: Path, written: Written, into: Reads) -> None:
    """Add what came of the log files of a part: nearly all are logs without a fault, for which no objects are made."""
    files, _, coverage = _read(folder / written.name)
    into.coverage.merge(Coverage.from_json(coverage))
    for one in files:
        path, size, _, _, kind, _, damage, first, last, lacks, _ = one
        if kind and not damage:
            into.add_log(shown_name(os.fsdecode(path)), size, first, last, tuple(lacks))
        else:
            into.add(_input(*one).read)


def _input(path: bytes, size: int, outright: bool, print_: int, *came: Any) -> Input:
    kind, reason, damage, first, last, lacks, checksum = came
    file = LogPath(path_of(os.fsdecode(path)), size, outright)
    return Input(FileRead(file, kind, reason, damage, first, last, tuple(lacks), checksum), print_)


def read_prints(folder: Path, written: Written) -> list[int]:
    """Of these log files only the prints."""
    return [print_ for _, _, _, print_, *_ in _read(folder / written.name)[0]]


def read_ids(folder: Path, part: Part) -> tuple[Ids, list[bytes]]:
    """The ids of a part, and parcels of its skipped records."""
    arrays, skipped = _read(folder / part.ids.name)
    return Ids(*(np.frombuffer(one, np.uint64) for one in arrays)), skipped


def read_aside(folder: Path, part: Part) -> list[bytes]:
    """Parcels of the records that lie aside."""
    parcels: list[bytes] = _read(folder / part.aside.name) if part.aside else []
    return parcels


def read_summed(folder: Path, part: Part) -> Summed:
    """What the records of a part add up to."""
    return summed.decoded(folder / part.sums.name, folder / part.reads.name)


def write_whole(folder: Path, name: str, parts: Sequence[Part]) -> Written:
    """Write what the records of all parts add up to. Raises OSError."""
    made = whole.whole(in_threads(parts, partial(read_summed, folder)))
    return put(folder, f"{name}.whole", summed.encoded(made)[0])


def read_table(folder: Path, part: Part) -> pa.Table:
    """The records of a part, as `to_table` makes them."""
    from pyarrow import parquet

    return parquet.read_table(folder / part.records.name).cast(to_table(BatchBuilder().build(), of_objects=True).schema)


def add_piece(file: Path, number: int, into: BatchBuilder) -> None:
    """Add the records of a piece."""
    from pyarrow import parquet

    with parquet.ParquetFile(file) as opened:
        some = range(opened.num_row_groups)[number * PIECE : (number + 1) * PIECE]
        table = opened.read_row_groups(list(some), asked_of(into.columns))
    add_rows(table, file.name, into)


def add_aside(file: Path, into: BatchBuilder) -> None:
    """Add the records of an `.aside` file."""
    for batch in map(unpack, _read(file)):
        into.extend(replace(batch.cut(into.columns), who=into.who_of(batch)))


def batch_of(table: pa.Table, columns: frozenset[str] = COLUMNS) -> AccessBatch:
    """The records of a table."""
    into = BatchBuilder(columns)
    add_rows(table, "", into)
    return into.build()


def put(folder: Path, name: str, data: bytes) -> Written:
    """Write a file whole or not at all. Raises OSError."""
    beside = folder / f"{name}.tmp"
    beside.write_bytes(data)
    beside.replace(folder / name)
    return Written(name, len(data), xxhash.xxh3_64_hexdigest(data))


def damaged(folder: Path, written: Written) -> bool:
    """Whether a file is not what was written."""
    try:
        with (folder / written.name).open("rb") as file:
            if os.fstat(file.fileno()).st_size != written.size:
                return True
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if written.size else b""
    except OSError:
        return True
    return xxhash.xxh3_64_hexdigest(data) != written.digest


def _came(read: FileRead) -> tuple[Any, ...]:
    return read.kind, read.reason, read.damage, read.first, read.last, read.lacks, read.checksum


def _packed(plain: Any) -> bytes:
    import pyarrow as pa

    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(msgspec.msgpack.encode(plain))
    return out.getvalue().to_pybytes()


def _read(file: Path) -> Any:
    import pyarrow as pa

    with pa.input_stream(file, compression="zstd") as stream:
        return msgspec.msgpack.decode(stream.read())


def _order(table: pa.Table) -> Index:
    """The rows by `ORDER`."""
    keys = [_ranked(table[name]) for name in reversed(ORDER)]
    return np.lexsort(keys)


def _ranked(column: pa.ChunkedArray[Any]) -> Any:
    """Numbers that sort as the column does."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return column.cast(pa.int64()).to_numpy()
    whole: Any = column.combine_chunks()
    place = np.empty(len(whole.dictionary), np.int64)
    place[pc.sort_indices(whole.dictionary).to_numpy()] = np.arange(len(place))
    return place[whole.indices.to_numpy()]


def _write_records(folder: Path, name: str, table: pa.Table) -> tuple[Written, list[Span]]:
    import pyarrow as pa
    from pyarrow import parquet

    out = io.BytesIO()
    values: Any = [name for name in table.schema.names if name not in ALL_DIFFERENT and name not in ("object", "bytes")]
    parquet.write_table(table, out, compression="zstd", row_group_size=GROUP, use_dictionary=values)
    times = table["time"].cast(pa.int64()).to_numpy()
    pieces = []
    file = parquet.ParquetFile(out).metadata
    sizes = [file.row_group(number).total_byte_size for number in range(file.num_row_groups)]
    for first in range(0, -(-len(times) // GROUP), PIECE):  # of no records there is an empty row group, and no piece
        span = times[first * GROUP : (first + PIECE) * GROUP]
        pieces.append(Span(int(span.min()), int(span.max()), sum(sizes[first : first + PIECE])))
    return put(folder, name, out.getvalue()), pieces
