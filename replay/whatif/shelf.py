"""Keeps summaries of history in files, so that the same history is read once.

Rules of this file
- A name is a digest of all that a summary depends on: the content of every log file, what the rule counts (neither its
  threshold nor its window, exceptions or wording), the period and the limits asked for, and this program's own code.
- A file is taken only if its checksum is right; anything else is read anew and written over. Nothing is unpickled.
- What was read in part (a damaged file, a failed rule), or changed while it was read, is not kept.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from detector.core.admit import Admission
from detector.core.principal import Principal
from detector.core.rule import Threshold
from detector.core.rulebase import NOT_COUNTED
from replay.files import Files, LogPath
from replay.options import Options
from replay.output import writing
from replay.remote import S3Path
from replay.whatif.summary import Summary

MAGIC = b"bucketwatch history 1\n"
ALIGNED = 8
NOT_OF_HISTORY = {"id", "kind", "threshold", "window"}
"""Fields of a rule that change nothing about its summary, beside those that change nothing about what it counts."""
REMEDY = "name another folder with --cache"
COLUMNS = ("starts", "second", "who", "item", "again")


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """All of a summary but its columns; of these type and length."""

    columns: list[tuple[str, int]]
    keys: list[tuple[str, ...]]
    shown: list[tuple[str, ...]]
    principals: list[Principal]
    records: int
    events: int
    first: int
    last: int
    lacking: list[dict[str, Any]]


_DECODE = msgspec.msgpack.Decoder(_Head).decode


class Shelf:
    """A folder of summaries. Raises UnreadablePathError if it cannot be written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with writing(folder, REMEDY):
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> Summary | None:
        """The summary of this name, if it is here and whole."""
        try:
            with self._path(name).open("rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            return decode(data)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None

    def put(self, name: str, summary: Summary) -> None:
        """Keep a summary."""
        part = self._path(name).with_suffix(f".{os.getpid()}.part")
        with writing(self._folder, REMEDY):
            try:
                with part.open("wb") as file:
                    for piece in encode(summary):
                        file.write(piece)
                part.replace(self._path(name))
            except OSError:
                part.unlink(missing_ok=True)
                raise

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.history"


def encode(summary: Summary) -> Iterator[bytes]:
    """A summary as bytes: a line, the checksum of what follows, length of the head, the head, the columns."""
    columns = [getattr(summary, name) for name in COLUMNS]
    others = {field.name: getattr(summary, field.name) for field in fields(summary) if field.name not in COLUMNS}
    head = msgspec.msgpack.encode(others | {"columns": [(one.dtype.str, len(one)) for one in columns]})
    pieces = [len(head).to_bytes(ALIGNED, "little"), head.ljust(_aligned(len(head)), b"\0")]
    pieces += [one.tobytes().ljust(_aligned(one.nbytes), b"\0") for one in columns]
    checksum = hashlib.sha256()
    for piece in pieces:
        checksum.update(piece)
    yield MAGIC + checksum.digest()
    yield from pieces


def decode(data: memoryview) -> Summary:
    """The summary that `encode` wrote. Raises ValueError or MsgspecError for anything else."""
    begin = len(MAGIC) + hashlib.sha256().digest_size
    rest = data[begin:]
    if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : begin] != hashlib.sha256(rest).digest():
        raise ValueError("no summary, of another version, or damaged")
    length = int.from_bytes(rest[:ALIGNED], "little")
    head = _DECODE(rest[ALIGNED : ALIGNED + length])
    at = ALIGNED + _aligned(length)
    parts = {name: getattr(head, name) for name in head.__struct_fields__ if name != "columns"}
    for name, (kind, count) in zip(COLUMNS, head.columns, strict=True):
        dtype = np.dtype(kind)
        parts[name] = np.frombuffer(rest, dtype, count, at)
        at += _aligned(count * dtype.itemsize)
    return Summary(**parts)


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def name_of(digests: list[str], rule: Threshold, options: Options) -> str:
    """What the summary of files with this content is called."""
    admission: Admission = options.admission
    meaning = {
        "program": _program(),
        "rule": rule.model_dump(mode="json", exclude=NOT_COUNTED | NOT_OF_HISTORY),
        "bound": [one.model_dump(mode="json") for one in rule.bound],
        "period": (admission.since, admission.until),
        "prefer": [(pattern.pattern, log.name) for pattern, log in admission.prefer],
        "limits": asdict(options.limits),
        "files": sorted(digests),
    }
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def digests_of(files: Files) -> list[str] | None:
    """Digest of every file's content; None if one cannot be read: the reading says why."""
    try:
        return [_digest(file) for file in files]
    except OSError:
        return None


def stamps_of(files: Files) -> list[tuple[int, int, int]] | None:
    """What changes of a file when it is written to."""
    try:
        return [_stamp(file) for file in files]
    except OSError:
        return None


def _stamp(log: LogPath) -> tuple[int, int, int]:
    if isinstance(log.path, S3Path):
        return log.size, log.stamp, 0
    stat = log.path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _digest(log: LogPath) -> str:
    if isinstance(log.path, S3Path):
        return f"{log.path} {log.size} {log.stamp}"
    with log.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _program() -> str:
    """Digest of the code that reads and counts: another version may read another thing in the same file."""
    import detector

    found = hashlib.sha256()
    for root in (Path(detector.__file__).parent, Path(__file__).parent):
        for path in sorted(root.rglob("*")):
            if path.suffix in (".py", ".so"):
                found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return found.hexdigest()
