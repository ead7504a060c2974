"""The daemon's archive: the access events it counted, as access-record Parquet by hour of event time.

Rules of this file
- A turn's events are part of the checkpoint that counts them: none is missing, none is there twice.
- Now and then the oldest parts become files, one an hour of event time. Which parts (a bite) is in a checkpoint before
  the first file is written, and the parts are there until one after the last: a crash in between writes the same files
  again. Their names tell the bite: `date=2026-05-01/hour=09/<first part>-<last part>.parquet`, and a part's name the
  process that counted it, so that a state that was restored from a copy writes over nothing.
- Detection comes first: a bite is bounded and so is the time of a turn for it; an archive that cannot be written is
  said, tried again, and holds nothing up. What waits is bounded; past that the oldest is let go, which is said, too.
- pyarrow is slow to import and is imported where it is used.
"""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from detector.core.access import AccessBatch
from detector.core.times import iso
from detector.drain import Drain, Hurry
from detector.edges import Edges
from detector.errors import EdgeError, StateError
from detector.logs.parquet import to_table, without_dictionaries

if TYPE_CHECKING:
    import pyarrow as pa

EVERY = 300
"""Seconds after which what waits is written."""
ROWS, PARTS = 200_000, 200
"""Events after which it is written at once; also how much one bite takes, and how many parts."""
SECONDS = 2.0
"""Seconds of a turn that may go into writing, begun files to be finished."""
ROOM = 32 << 20
"""Bytes of parts in memory; the rest is read from the checkpoint."""
MOST = 1 << 30
"""Bytes of parts that wait, at most."""
LONGEST_PAUSE = 300.0
HEAD, PART = "archive", "archive/"

Tell = Callable[[str, dict[str, Any]], object]
"""Journals what a person should know: kind, body."""


class _Head(msgspec.Struct):
    """next: number of the next part. bite: the first and the last part that are being written."""

    next: int = 1
    bite: tuple[int, int] | None = None


@dataclass(slots=True)
class _Part:
    """Events of one turn. content: a line (how many, since when, by which process), then Parquet. size: its bytes.

    While it is in the checkpoint only, content is None.
    """

    content: bytes | None
    size: int
    rows: int
    since: int
    process: str
    saved: bool = False

    @classmethod
    def of(cls, content: bytes, *, saved: bool) -> _Part:
        """A part as it lies in a checkpoint. Raises ValueError."""
        rows, since, process = content[: content.index(b"\n")].decode("ascii").split()
        return cls(content, len(content), int(rows), int(since), process, saved)


class Archive:
    """Events on their way into files; without `edges.archive` it takes none. `clock`: epoch seconds."""

    def __init__(
        self,
        edges: Edges,
        *,
        clock: Callable[[], float],
        tell: Tell,
        drain: Drain,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._edges, self._clock, self._tell, self._drain, self._monotonic = edges, clock, tell, drain, monotonic
        self._process = uuid.uuid4().hex[:12]
        self._head, self._head_saved = _Head(), True
        self._parts: dict[int, _Part] = {}
        self._gone: list[int] = []
        self._files: Iterator[tuple[str, bytes]] | None = None
        self._file: tuple[str, bytes] | None = None
        self._pause, self._again = 0.0, 0.0
        self.dropped = 0

    @property
    def wanted(self) -> bool:
        """Whether there is one."""
        return self._edges.archive is not None

    @property
    def unsaved(self) -> bool:
        """Whether it waits for a checkpoint."""
        return not self._head_saved

    def waiting(self) -> int:
        """Events that are not in files yet."""
        return sum(part.rows for part in self._parts.values())

    def take(self, events: AccessBatch) -> None:
        """These were counted. Encoded at once: what waits costs little, and a checkpoint writes it once."""
        if not self.wanted or not len(events):
            return
        head = f"{len(events)} {int(self._clock())} {self._process}\n".encode("ascii")
        self._parts[self._head.next] = _Part.of(head + _encoded(to_table(events)), saved=False)
        self._head.next += 1
        self._head_saved = False
        self._bound()

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        out: dict[str, bytes | None] = dict.fromkeys(map(_name, self._gone))
        self._gone = []
        for number, part in self._parts.items():
            if not part.saved:
                out[_name(number)], part.saved = part.content, True
        if not self._head_saved:
            out[HEAD], self._head_saved = msgspec.msgpack.encode(self._head), True
        return out

    def let_go(self) -> None:
        """Right after a checkpoint: what is too much for memory leaves it, the newest first."""
        held = 0
        for part in self._parts.values():
            held = _kept(part, held)

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint. Raises StateError."""
        if HEAD not in parts:
            return
        held = 0
        try:
            self._head = msgspec.msgpack.decode(parts[HEAD], type=_Head)
            for name in sorted(name for name in parts if name.startswith(PART)):
                part = self._parts[int(name[len(PART) :], 16)] = _Part.of(parts[name], saved=True)
                held = _kept(part, held)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateError(
                "the checkpoint's archive cannot be read", remedy="run the version that wrote it"
            ) from error
        if not self.wanted:  # there was one, and the operator took it away
            self._head.bite = None
            self._lose(list(self._parts))

    def write(self, *, everything: bool = False, until: float | None = None) -> bool:
        """Right after a checkpoint: go on making files, of what has waited long enough or of all of it.

        until: by the monotonic clock. Whether another checkpoint would bring it further.
        """
        until = self._monotonic() + SECONDS if until is None else until
        if not self.wanted or self._clock() < self._again or not self._head_saved:
            return False
        if self._head.bite is None:
            return self._plan(everything=everything)
        while file := self._next_file():
            if self._monotonic() > until or not self._put(*file):
                return False
            self._file = None
        self._finish()
        return True

    def _plan(self, *, everything: bool) -> bool:
        """The oldest parts are to be written next, if it is time for it."""
        oldest = next(iter(self._parts.values()), None)
        if oldest is None or not (
            everything
            or self.waiting() >= ROWS
            or self._clock() - oldest.since >= EVERY
            or len(self._parts) > 2 * PARTS
        ):
            return False
        taken: list[int] = []
        rows = 0
        for number, part in self._parts.items():
            if rows >= ROWS or len(taken) >= PARTS:
                break
            taken.append(number)
            rows += part.rows
        self._head.bite, self._head_saved = (taken[0], taken[-1]), False
        return True

    def _next_file(self) -> tuple[str, bytes] | None:
        import pyarrow as pa

        if self._files is None:
            self._files = self._hours(self._bitten())
        try:
            if self._file is None:
                self._file = next(self._files, None)
        except (pa.ArrowException, ValueError, KeyError, OSError) as error:
            # parts that cannot be read would end the daemon at every start, and the log files still have the events
            self._lose(self._bitten(), error=f"{type(error).__name__}: {error}"[:500])
        return self._file

    def _put(self, name: str, content: bytes) -> bool:
        files = self._edges.archive
        self._edges.insist()
        try:
            with self._drain.edge():
                files.put(name, content)  # type: ignore[union-attr]  # there is one
        except (EdgeError, Hurry) as error:
            if not self._pause:
                told = str(error) or "the daemon had to end"
                self._tell("archive_failed", {"error": told, "waiting": self.waiting()})
            self._pause = min(LONGEST_PAUSE, max(1.0, 2 * self._pause))
            self._again = self._clock() + self._pause
            return False
        if self._pause:
            self._tell("archive_written_again", {"waiting": self.waiting()})
        self._pause = self._again = 0.0
        return True

    def _finish(self) -> None:
        """All files of the bite are there."""
        self._forget(self._bitten())
        self._head.bite, self._files = None, None

    def _bitten(self) -> list[int]:
        first, last = self._head.bite or (0, -1)
        return [number for number in self._parts if first <= number <= last]

    def _bound(self) -> None:
        """Let go of the oldest events that are not being written, if too many bytes wait."""
        size, lost = sum(part.size for part in self._parts.values()), []
        bitten = set(self._bitten())
        if size <= MOST:
            return
        for number, part in self._parts.items():
            if size <= 0.9 * MOST:
                break
            if number not in bitten:
                lost.append(number)
                size -= part.size
        self._lose(lost)

    def _lose(self, numbers: list[int], **why: str) -> None:
        """These will be in no file, and that is said."""
        if events := self._forget(numbers):
            self.dropped += events
            self._tell("archive_dropped", {"events": events} | why)

    def _forget(self, numbers: list[int]) -> int:
        """Let go of parts; how many events they held."""
        gone = [(number, self._parts.pop(number)) for number in numbers]
        self._gone += [number for number, part in gone if part.saved]
        self._head_saved = False
        return sum(part.rows for _, part in gone)

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
        bite = "-".join(f"{self._parts[number].process}.{number:x}" for number in (taken[0], taken[-1]))
        for first, end in zip(starts, [*starts[1:], len(hours)], strict=True):
            hour = iso(int(hours[first]) * 3600)
            content = _encoded(without_dictionaries(table.slice(int(first), int(end - first))))
            yield f"date={hour[:10]}/hour={hour[11:13]}/{bite}.parquet", content

    def _content(self, number: int) -> bytes:
        part = self._parts[number]
        whole = part.content if part.content is not None else self._edges.store.get(_name(number), 0, part.size)
        return whole[whole.index(b"\n") + 1 :]


def _kept(part: _Part, held: int) -> int:
    """Bytes in memory with this part, which leaves if that is too much and the checkpoint has it."""
    if part.content is not None and part.saved and held + part.size > ROOM:
        part.content = None
    return held + (part.size if part.content is not None else 0)


def _name(number: int) -> str:
    return f"{PART}{number:010x}"


def _encoded(table: pa.Table) -> bytes:
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(table, out, compression="zstd")
    return out.getvalue()


def _decoded(content: bytes) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(io.BytesIO(content))
