"""Who is in which row group of a part, from where and when: whoever looks for somebody reads only what he is in.

Rules of this file
- A row is who came from where, as `WHO`, in one row group: `first` and `last` (epoch seconds), and how many `requests`.
- Beside them lie all calls that may have begun a session, as `EDGE`: they are looked at whoever is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.core.access import I32, I64
from detector.logs.parquet import dictionary
from replay.columns import Piece, bounds, grouped

if TYPE_CHECKING:
    import pyarrow as pa

WHO = (
    "session", "session_key", "role", "role_key", "access_key", "source_ip", "vpc_endpoint", "account",
    "source_identity", "identity_center_user",
)  # fmt: skip
"""Columns of records that tell who came, and from where."""
EDGE = (
    "time", "outcome", "session", "session_key", "role", "access_key", "source_ip", "began", "began_arn", "began_key",
)  # fmt: skip
"""Columns of a call that may have begun a session."""


class Met(Piece):
    """Who is in which row group. edges: calls that may have begun a session."""

    def __init__(self, rows: pa.Table, edges: pa.Table) -> None:
        super().__init__(rows)
        self.edges = edges

    @property
    def group(self) -> I32:
        """Of each row the row group."""
        return self.table["group"].to_numpy()

    @property
    def requests(self) -> I64:
        """Of each row how many."""
        return self.table["requests"].to_numpy()

    def span(self) -> tuple[I64, I64]:
        """Of each row the first and the last second."""
        return self.table["first"].to_numpy(), self.table["last"].to_numpy()


@dataclass(frozen=True, slots=True)
class Indexed:
    """A part as it lies: its records, and who is in which of their row groups."""

    records: Path
    index: Path

    def met(self) -> Met:
        """Who is in which row group."""
        import pyarrow as pa

        options = pa.ipc.IpcReadOptions(use_threads=False)  # parts are read on several threads
        with pa.memory_map(str(self.index)) as source:
            return Met(*(pa.ipc.open_stream(source, options=options).read_all() for _ in range(2)))


def indexed(piece: Piece, group: int) -> Met:
    """Who is in which row group of a part's records, in their order. group: records of a row group."""
    import pyarrow as pa

    number = (np.arange(len(piece)) // group).astype(np.int32)
    texts = [piece.text(name) for name in WHO]
    codes, at = grouped([number, *(column.codes for column in texts)])
    first, last = bounds(codes, len(at), *piece.span())
    told: dict[str, Any] = {name: dictionary(one.take(at)) for name, one in zip(WHO, texts, strict=True)}
    told |= {"group": number[at], "first": first, "last": last, "requests": np.bincount(codes, minlength=len(at))}
    return Met(pa.table(told), _edges(piece))


def no_edges() -> pa.Table:
    """As `Met.edges` of no records."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([(name, text if name != "time" else pa.int64()) for name in EDGE]).empty_table()


def _edges(piece: Piece) -> pa.Table:
    import pyarrow as pa

    rows = np.flatnonzero(piece.text("operation").are("assume"))
    told: dict[str, Any] = {
        name: dictionary(piece.text(name).take(rows)) if name != "time" else piece.seconds(name)[rows] for name in EDGE
    }
    return pa.table(told)


def encoded(met: Met) -> bytes:
    """As it is kept."""
    import pyarrow as pa

    out = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    for table in (met.table, met.edges):
        with pa.ipc.new_stream(out, table.schema, options=options) as stream:
            stream.write_table(table)
    return out.getvalue().to_pybytes()
