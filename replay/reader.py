"""Finds log files under paths and reads them as batches, in file-name order, many small files to a batch."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from detector.core.access import AccessBatch, BatchBuilder
from detector.errors import InputError, UnreadablePathError
from detector.logs.limits import LIMITS, Limits
from detector.logs.read import read
from detector.source import shown_name

BATCH_RECORDS = 50_000
CHUNK_FILES = 64
CHUNK_BYTES = 16 << 20
PASSED_OVER = (".part", ".tmp")


@dataclass(frozen=True, slots=True)
class LogPath:
    """A file to read. `outright`: the user named this very file, not a folder or a glob."""

    path: Path
    size: int
    outright: bool = False

    @property
    def name(self) -> str:
        """As it is shown, and filed under in rejected.jsonl."""
        return shown_name(self.path.as_posix())


@dataclass(frozen=True, slots=True)
class FileRead:
    """What came of a file. `kind` empty: no known log, `reason` says why. Times in epoch seconds, None without rows."""

    file: LogPath
    kind: str
    reason: str = ""
    damage: str = ""
    first: int | None = None
    last: int | None = None
    lacks: tuple[str, ...] = ()


def find(paths: Iterable[str]) -> list[LogPath]:
    """The files under these paths (file, folder or glob), each once. Raises UnreadablePathError or InputError."""
    found: dict[Path, LogPath] = {}
    for text in paths:
        for file in _expand(text):
            known = found.get(file.path.resolve())
            if known is None or file.outright:
                found[file.path.resolve()] = file
    if not found:
        raise InputError("no files here", where=", ".join(paths), remedy="name a folder or file with logs in it")
    return sorted(found.values(), key=lambda file: file.name)


Progress = Callable[[int, int, int, str], None]
"""Called with (files done, files in all, bytes done, step)."""
Chunk = Callable[[list[LogPath]], tuple[AccessBatch, list[FileRead]]]


def batches(files: list[LogPath], read_chunk: Chunk, jobs: int = 1) -> Iterator[tuple[AccessBatch, list[FileRead]]]:
    """The files' records in batches of many files, in order, with what came of each file. `jobs`: reading processes."""
    chunks = _chunks(files)
    if jobs == 1:
        yield from map(read_chunk, chunks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        waiting = [pool.submit(read_chunk, chunk) for chunk in islice(chunks, jobs * 2)]
        while waiting:
            done = waiting.pop(0).result()
            waiting += [pool.submit(read_chunk, chunk) for chunk in islice(chunks, 1)]
            yield done


def records(
    files: list[LogPath], columns: frozenset[str], limits: Limits = LIMITS
) -> tuple[AccessBatch, list[FileRead]]:
    """All records of these files with these columns."""
    builder = BatchBuilder(columns)
    outcomes = [_read_file(file, builder, limits) for file in files]
    return builder.build(), outcomes


def _expand(text: str) -> list[LogPath]:
    if text.startswith("s3://"):
        raise InputError(
            "reading from S3 is not in this version",
            where=text,
            remedy="copy it first: aws s3 sync, then name the folder",
        )
    path = Path(text)
    if path.is_dir():
        files = [LogPath(p, p.stat().st_size) for p in path.rglob("*") if p.is_file() and not _passed_over(p, path)]
        if not files:
            raise InputError("an empty folder: no log files in it", where=text, remedy="name a folder with logs in it")
        return files
    if path.exists():
        return [LogPath(path, path.stat().st_size, outright=True)]
    matches = [Path(match) for match in glob.glob(text, recursive=True)]  # noqa: PTH207  an absolute glob if glob.has_magic(text) else []
    if not matches:
        raise UnreadablePathError("no such file or folder", where=text, remedy="check the path, or quote a glob")
    return [LogPath(match, match.stat().st_size) for match in sorted(matches) if match.is_file()]


def _passed_over(path: Path, root: Path) -> bool:
    return path.suffix in PASSED_OVER or any(part.startswith(".") for part in path.relative_to(root).parts)


def _chunks(files: list[LogPath]) -> Iterator[list[LogPath]]:
    chunk: list[LogPath] = []
    size = 0
    for file in files:
        chunk.append(file)
        size += file.size
        if len(chunk) >= CHUNK_FILES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read_file(file: LogPath, into: BatchBuilder, limits: Limits) -> FileRead:
    try:
        data = file.path.read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        return FileRead(file, "", reason, reason)
    reading = read(data, file.name, into, limits)
    return FileRead(file, reading.kind, reading.reason, reading.damage, into.first, into.last, reading.lacks)
