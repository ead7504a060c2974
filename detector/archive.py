"""The daemon's archive: the access events it counted, as access-record Parquet by hour of event time.

Rules of this file
- A turn's events are part of the checkpoint that counts them: none is missing, none is there twice.
- Now and then what waits becomes files, one an hour: `date=2026-05-01/hour=09/<lineage>-<first part>.parquet`. They are
  written before the checkpoint that forgets what they hold. A crash in between writes them again, under the same names,
  with the same events and perhaps more.
- Detection comes first: an archive that cannot be written is said, tried again, and holds nothing up. What waits is
  bounded; past that the oldest is let go, and that is said, too.
- pyarrow is slow to import and is imported where it is used.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from detector.core.access import AccessBatch
from detector.core.times import iso
from detector.drain import Drain, Hurry
from detector.errors import EdgeError, StateError
from detector.logs.parquet import to_table
from detector.outbox import Edges

if TYPE_CHECKING:
    import pyarrow as pa

EVERY = 300
"""Seconds after which what waits is written."""
ROWS = 200_000
"""Events after which it is written at once; also what one write takes in hand."""
ROOM = 32 << 20
"""Bytes of parts in memory; the rest is read from the checkpoint."""
MOST = 1 << 30
"""Bytes of parts that wait, at most."""
LONGEST_PAUSE = 300.0
HEAD, PARTS = "archive", "archive/"

Tell = Callable[[str, dict[str, Any]], object]
"""Journals what a person should know: kind, body."""


class _Head(msgspec.Struct):
    """lineage: of this state; another one begins to number anew and must not write over these files."""

    lineage: str
    next: int = 1


@dataclass(slots=True)
class _Part:
    """Events of one turn. content: how many and since when (epoch second), a line; then Parquet. size: its bytes.

    While it is in the checkpoint only, content is None.
    """

    content: bytes | None
    size: int
    rows: int
    since: int
    saved: bool = False


class Archive:
    """Events on their way into files; without `edges.archive` it takes none. `clock`: epoch seconds."""

    def __init__(self, edges: Edges, *, clock: Callable[[], float], tell: Tell, drain: Drain) -> None:
        self._edges, self._clock, self._tell, self._drain = edges, clock, tell, drain
        self._head = _Head(uuid.uuid4().hex[:12])
        self._parts: dict[int, _Part] = {}
        self._gone: list[int] = []
        self._pause, self._again = 0.0, 0.0
        self.dropped = 0

    @property
    def wanted(self) -> bool:
        """Whether there is one."""
        return self._edges.archive is not None

    def waiting(self) -> int:
        """Events that are not in files yet."""
        return sum(part.rows for part in self._parts.values())

    def take(self, events: AccessBatch) -> None:
        """These were counted. Encoded at once: what waits costs little, and a checkpoint writes it once."""
        if not self.wanted or not len(events):
            return
        now = int(self._clock())
        content = b"%d %d\n" % (len(events), now) + _encoded(to_table(events))
        self._parts[self._head.next] = _Part(content, len(content), len(events), now)
        self._head.next += 1
        self._bound()

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        out: dict[str, bytes | None] = dict.fromkeys(map(_name, self._gone))
        fresh = {number: part for number, part in self._parts.items() if not part.saved}
        for number, part in fresh.items():
            out[_name(number)] = part.content
            part.saved = True
        if fresh or self._gone:
            out[HEAD] = msgspec.msgpack.encode(self._head)
        self._gone = []
        return out

    def let_go(self) -> None:
        """Right after a checkpoint: what is too much for memory leaves it, the newest first."""
        held = 0
        for part in self._parts.values():
            held += part.size if part.content is not None else 0
            if held > ROOM and part.saved and part.content is not None:
                part.content = None
                held -= part.size

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint. Raises StateError."""
        if HEAD not in parts:
            return
        try:
            self._head = msgspec.msgpack.decode(parts[HEAD], type=_Head)
            for name in sorted(name for name in parts if name.startswith(PARTS)):
                content = parts[name]
                rows, since = map(int, content[: content.index(b"\n")].split())
                self._parts[int(name[len(PARTS) :], 16)] = _Part(content, len(content), rows, since, saved=True)
                self.let_go()
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateError(
                "the checkpoint's archive cannot be read", remedy="run the version that wrote it"
            ) from error
        if not self.wanted:  # there was one, and the operator took it away
            self._drop(self.waiting())

    def write(self, *, everything: bool = False) -> None:
        """Right after a checkpoint: make files of what has waited long enough, or of all of it."""
        now, files = self._clock(), self._edges.archive
        while files and self._parts and (everything or (now >= self._again and self._due(now))):
            taken = self._oldest()
            try:
                for name, content in self._hours(taken):
                    self._edges.insist()
                    with self._drain.edge():
                        files.put(name, content)
            except (EdgeError, Hurry) as error:
                self._failed(error, now)
                return
            for number in taken:
                del self._parts[number]
            self._gone += taken
            if self._pause:
                self._tell("archive_written_again", {"waiting": self.waiting()})
            self._pause = self._again = 0.0

    def _due(self, now: float) -> bool:
        return self.waiting() >= ROWS or now - next(iter(self._parts.values())).since >= EVERY

    def _oldest(self) -> list[int]:
        taken, rows = [], 0
        for number, part in self._parts.items():
            if rows >= ROWS or not part.saved:
                break
            taken.append(number)
            rows += part.rows
        return taken

    def _failed(self, error: BaseException, now: float) -> None:
        if not self._pause:
            self._tell("archive_failed", {"error": str(error) or "the daemon had to end", "waiting": self.waiting()})
        self._pause = min(LONGEST_PAUSE, max(1.0, 2 * self._pause))
        self._again = now + self._pause

    def _bound(self) -> None:
        size, rows = sum(part.size for part in self._parts.values()), 0
        for part in self._parts.values():
            if size <= MOST:
                break
            size, rows = size - part.size, rows + part.rows
        if rows:
            self._drop(rows)

    def _drop(self, rows: int) -> None:
        """Let go of so many of the oldest events."""
        left = rows
        while left > 0:
            number = next(iter(self._parts))
            part = self._parts.pop(number)
            self._gone += [number] if part.saved else []
            left -= part.rows
        self.dropped += rows
        self._tell("archive_dropped", {"events": rows})

    def _hours(self, taken: list[int]) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the files that hold these parts, hour by hour, in the order of time."""
        import pyarrow as pa
        import pyarrow.compute as pc

        tables = [_decoded(self._content(number)) for number in taken]
        table = pa.concat_tables(tables, promote_options="default").unify_dictionaries().combine_chunks()
        seconds = table["time"].cast(pa.timestamp("s", "UTC")).cast(pa.int64())  # Parquet has no whole seconds
        table = table.take(pc.sort_indices(seconds))
        hours = np.sort(seconds.to_numpy()) // 3600
        starts = np.flatnonzero(np.diff(hours, prepend=hours[0] - 1))
        for first, end in zip(starts, [*starts[1:], len(hours)], strict=True):
            hour = iso(int(hours[first]) * 3600)
            name = f"date={hour[:10]}/hour={hour[11:13]}/{self._head.lineage}-{taken[0]:010x}.parquet"
            yield name, _encoded(table.slice(int(first), int(end - first)))

    def _content(self, number: int) -> bytes:
        part = self._parts[number]
        whole = part.content if part.content is not None else self._edges.store.get(_name(number), 0, part.size)
        return whole[whole.index(b"\n") + 1 :]


def _name(number: int) -> str:
    return f"{PARTS}{number:010x}"


def _encoded(table: pa.Table) -> bytes:
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(table, out, compression="zstd")
    return out.getvalue()


def _decoded(content: bytes) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(io.BytesIO(content))
