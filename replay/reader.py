"""Reads log files as batches, in their order, many small files to a batch, and keeps what came of each."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

import numpy as np
import xxhash

from detector.core.access import AccessBatch, Mask
from detector.core.builder import BatchBuilder
from detector.core.coverage import Coverage
from detector.core.watermark import NEVER
from detector.logs.limits import LIMITS, Limits
from detector.logs.read import read
from replay.beside import in_order
from replay.files import Files, LogPath
from replay.remote import S3Path

if TYPE_CHECKING:
    from detector.core.sought import Sought  # knows rules, which whoever only reads logs does without

CHUNK_FILES, LAST_FILES = 64, 4
CHUNK_BYTES = 16 << 20
SIDE_BY_SIDE = 16
"""Files in S3 that are fetched at once."""
LISTED = 10_000
"""Files with a fault that are told by name; more are counted."""


@dataclass(frozen=True, slots=True)
class FileRead:
    """What came of a file. `kind` empty: no known log, `reason` says why. Times in epoch seconds, None without rows.

    checksum: of its bytes, with the name of the algorithm before a colon; empty if it could not be read.
    """

    file: LogPath
    kind: str
    reason: str = ""
    damage: str = ""
    first: int | None = None
    last: int | None = None
    lacks: tuple[str, ...] = ()
    checksum: str = ""

    @property
    def line(self) -> str:
        """The file in a list of what was read: a line of JSON; empty if it was not."""
        if not self.checksum:
            return ""
        row = {"file": self.file.name, "bytes": self.file.size, "kind": self.kind or None, "checksum": self.checksum}
        return json.dumps(row, separators=(",", ":")) + "\n"


class Reads:
    """What came of all files: of each when its records begin and end; of those with a fault the first `LISTED`.

    kept, size: how many were logs, and their bytes. unknown: files that the user named outright and that are no log.
    lacks: what some Parquet files lacked. coverage: what they have seen at all; whoever has a batch adds it.
    """

    def __init__(self) -> None:
        self.coverage = Coverage()
        self._first, self._last = array("q"), array("q")
        self.kept = self.size = self.ignored_count = self.damaged_count = 0
        self.ignored: list[FileRead] = []
        self.damaged: list[FileRead] = []
        self.unknown: list[FileRead] = []
        self.lacks: set[tuple[str, ...]] = set()

    def __len__(self) -> int:
        return len(self._first)

    def add(self, read: FileRead) -> None:
        """Take note of the next file."""
        if read.kind:
            self.add_log(read.file.name, read.file.size, read.first, read.last, read.lacks)
        else:
            self._span(read.first, read.last)
            self.ignored_count += 1
            _list(self.ignored, read)
        if read.damage:
            self.damaged_count += 1
            _list(self.damaged, read)
        if read.file.outright and not read.kind:
            self.unknown.append(read)

    def add_log(self, name: str, size: int, first: int | None, last: int | None, lacks: tuple[str, ...]) -> None:
        """As `add`, of a file that is a log without a fault."""
        self._span(first, last)
        self.kept += 1
        self.size += size
        self.lacks.add(lacks)
        self.coverage.deliver(name)

    def _span(self, first: int | None, last: int | None) -> None:
        self._first.append(NEVER if first is None else first)
        self._last.append(NEVER if last is None else last)

    def within(self, after: int, until: int) -> Mask:
        """Which files have records with `after < time <= until`."""
        first, last = np.frombuffer(self._first, np.int64), np.frombuffer(self._last, np.int64)
        return (first <= until) & (last > after)


def _list(listed: list[FileRead], read: FileRead) -> None:
    if len(listed) < LISTED:
        listed.append(read)


Progress = Callable[[int, int, int, int, str], None]
"""Called with (files done, files in all, bytes done, records done or 0 if nobody counts them, step)."""
Chunk = Callable[[list[LogPath]], tuple[AccessBatch, list[FileRead]]]


class Records(Protocol):
    """Reads some files."""

    def __call__(
        self, files: list[LogPath], columns: frozenset[str], limits: Limits, sought: Sought | None = None
    ) -> tuple[AccessBatch, list[FileRead]]:
        """All records of these files with these columns, and what came of each file.

        sought: for a later look: of other records as many are left out as can cheaply be, and no checksum is made.
        """


ReadAll = Callable[[Files, Chunk], Iterable[tuple[AccessBatch, list[FileRead]]]]
"""Given files and how to read some of them: all their records in batches, with what came of each file, in order."""


def batches(files: Files, read_chunk: Chunk, jobs: int = 1) -> Iterator[tuple[AccessBatch, list[FileRead]]]:
    """The files' records in batches of many files, in order, with what came of each file. `jobs`: reading processes."""
    chunks = 1 + max(len(files) // CHUNK_FILES, files.size // CHUNK_BYTES)
    jobs = min(jobs, chunks)  # another process has to be worth its start
    return in_order(read_chunk, chunks_of(files, jobs), jobs)


def followed(
    read: Iterable[tuple[AccessBatch, list[FileRead]]],
    files: Files,
    progress: Progress,
    step: str,
    *,
    every: bool = True,
) -> Iterator[tuple[AccessBatch, list[FileRead]]]:
    """The same batches of these files; once one has been dealt with, progress is told of.

    every: they have all records, which are counted.
    """
    done = size = count = 0
    for batch, outcomes in read:
        yield batch, outcomes
        done += len(outcomes)
        size += sum(outcome.file.size for outcome in outcomes)
        count += len(batch) + len(batch.rejects) if every else 0
        progress(done, len(files), size, count, step)


def records(
    files: list[LogPath], columns: frozenset[str], limits: Limits = LIMITS, sought: Sought | None = None
) -> tuple[AccessBatch, list[FileRead]]:
    """As `Records` says."""
    builder = BatchBuilder(columns, sought)
    outcomes = [_read_file(*one, builder, limits) for one in contents(files)]
    return builder.build(), outcomes


def chunks_of(files: Files, jobs: int = 1) -> Iterator[list[LogPath]]:
    """The files in chunks; for several processes in smaller ones towards the end, so that all end at the same time."""
    chunk: list[LogPath] = []
    size = 0
    most = CHUNK_FILES
    for number, file in enumerate(files):
        if jobs > 1 and not chunk:
            most = min(max((len(files) - number) // (2 * jobs), LAST_FILES), CHUNK_FILES)
        chunk.append(file)
        size += file.size
        if len(chunk) >= most or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def contents(files: list[LogPath]) -> Iterator[tuple[LogPath, bytes | str]]:
    """The files' bytes, or why they cannot be had. Those in S3 are fetched side by side while the first are parsed."""
    if not any(isinstance(file.path, S3Path) for file in files):
        yield from map(_content, files)
        return
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield from pool.map(_content, files)


def _content(file: LogPath) -> tuple[LogPath, bytes | str]:
    try:
        return file, file.path.read_bytes()
    except OSError as error:
        return file, f"cannot be read: {error.strerror}"


def _read_file(file: LogPath, data: bytes | str, into: BatchBuilder, limits: Limits) -> FileRead:
    if isinstance(data, str):
        return FileRead(file, "", data, data)
    reading = read(data, file.name, into, limits)
    sum_ = checksum(data) if into.sought is None else ""
    return FileRead(file, reading.kind, reading.reason, reading.damage, into.first, into.last, reading.lacks, sum_)


def checksum(data: bytes) -> str:
    """By which a file is known again: of its bytes as they lie there. Of compressed ones SHA-256.

    Of others that would cost a tenth of a replay: theirs tells a change, but nobody's bad intent.
    """
    if data.startswith(b"\x1f\x8b"):
        return f"sha256:{sha256(data).hexdigest()}"
    return f"xxh128:{xxhash.xxh3_128_hexdigest(data)}"
