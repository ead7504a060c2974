"""The journal: what was found and what was done about it, in an append-only chain of lines.

Rules of this file
- One JSON object a line: {"seq","time","kind","body","prev","hash"}. `hash` is SHA-256 over the canonical JSON of the
  other five, `prev` the hash of the line before; so an edit, a cut in the middle and a reordering show.
- A cut at the end, and a chain written anew from the start, do not show in the file alone: keep `head` elsewhere
  (the checkpoint does) and compare.
- Everything beyond ASCII is escaped: names out of a log cannot break a line or a terminal.
- Entries are numbered by the caller and durable when `append` returns; what is appended again after a crash is skipped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detector.errors import StateError, UnreadablePathError
from detector.response.plain import printable

GENESIS = "0" * 64
SEALED = ("seq", "time", "kind", "body", "prev")
BLOCK = 1 << 16


class Journal:
    """A journal file to append to. `recovered`: what a crash had left of a last line, now cut; else None.

    Several processes may have it open: each append locks the file and reads anew what others wrote.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.recovered: str | None = None
        self._end, self._seq, self._hash = -1, -1, GENESIS
        with self._locked() as file:
            self._catch_up(file)

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the last entry; (-1, zeros) if there is none."""
        return self._seq, self._hash

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add entries ({"seq","time","kind","body"}, rising `seq`), durable on return. Raises StateError.

        Entries with a number the journal has already are skipped: a crash after an append repeats it.
        """
        with self._locked() as file:
            self._catch_up(file)
            lines, seq, head = b"", self._seq, self._hash
            for entry in entries:
                if entry["seq"] > seq:
                    line, seq, head = _line(entry, head)
                    lines += line
            if lines:
                _write(file, lines, self._end)
                self._end, self._seq, self._hash = self._end + len(lines), seq, head

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise StateError(
                f"the journal cannot be written: {error.strerror}",
                where=printable(self._path),
                remedy="make room on the disk and let bucketwatch's user write there",
            ) from error

    def _catch_up(self, file: int) -> None:
        """Read the last line, if somebody else has written since, and cut what is torn."""
        size = os.fstat(file).st_size
        if size == self._end:
            return
        start, line = _last_line(file, size)
        entry = _parsed(line)
        if line and (entry is None or not line.endswith(b"\n")):
            os.ftruncate(file, start)
            os.fsync(file)
            self.recovered = (
                f"a torn last line of {size - start} bytes was cut: {printable(line[:80].decode('latin-1'))}"
            )
            size = start
            _, line = _last_line(file, size)
            entry = _parsed(line)
        self._take_up(entry, line, size)

    def _take_up(self, entry: dict[str, Any] | None, line: bytes, size: int) -> None:
        if line and (entry is None or not isinstance(entry.get("seq"), int) or not isinstance(entry.get("hash"), str)):
            raise StateError(
                "the journal's last entry cannot be read, and not because of a crash",
                where=printable(self._path),
                remedy="keep the file as evidence, run `bucketwatch journal verify`, and start with a new journal.path",
            )
        self._end = size
        self._seq, self._hash = (entry["seq"], entry["hash"]) if entry else (-1, GENESIS)


def verify(path: str | Path) -> list[str]:
    """Everything wrong with a journal's chain, by line; empty if it holds. Raises UnreadablePathError."""
    problems: list[str] = []
    expected, last = GENESIS, None
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                entry = _parsed(line)
                if entry is None or not line.endswith(b"\n"):
                    problems.append(f"line {number}: torn, or no entry of a journal")
                    continue
                problems += [f"line {number}: {what}" for what in _wrong(entry, line, expected, last)]
                expected, last = str(entry.get("hash")), entry.get("seq")
    except OSError as error:
        raise UnreadablePathError(
            f"cannot be read: {error.strerror}", where=printable(path), remedy="give the path of a journal"
        ) from error
    return problems


def _wrong(entry: dict[str, Any], line: bytes, expected: str, last: Any) -> Iterator[str]:
    # the line itself must be what we would write: a field given twice, or one that no hash covers, is an edit too
    if entry.get("hash") != _seal(entry) or _written({n: entry.get(n) for n in (*SEALED, "hash")}) != line:
        yield "was edited: its content does not have the hash it carries"
    if entry.get("prev") != expected:
        yield "does not follow the line before: entries were cut out, put in or reordered"
    seq = entry.get("seq")
    if not isinstance(seq, int) or (seq not in (0, 1) if last is None else seq != last + 1):
        yield f"has number {seq!r} after {last!r}: entries are missing or reordered"


def _line(entry: Mapping[str, Any], prev: str) -> tuple[bytes, int, str]:
    sealed = {name: entry[name] for name in SEALED if name != "prev"} | {"prev": prev}
    sealed["hash"] = _seal(sealed)
    return _written(sealed), entry["seq"], sealed["hash"]


def _seal(entry: Mapping[str, Any]) -> str:
    sealed = {name: entry.get(name) for name in SEALED}
    return hashlib.sha256(json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def _written(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _last_line(file: int, size: int) -> tuple[int, bytes]:
    """Where the last line begins, and the line with its newline if it has one."""
    tail, start = b"", size
    while start > 0 and b"\n" not in tail[:-1]:
        step = min(BLOCK, start)
        start -= step
        tail = os.pread(file, step, start) + tail
    cut = tail[:-1].rfind(b"\n") + 1
    return start + cut, tail[cut:]


def _write(file: int, lines: bytes, at: int) -> None:
    """All of it, then to the disk. A half write (a full disk) is taken back, so that no torn line stays."""
    try:
        written = 0
        while written < len(lines):
            written += os.pwrite(file, lines[written:], at + written)
        os.fsync(file)
    except OSError:
        os.ftruncate(file, at)
        raise
