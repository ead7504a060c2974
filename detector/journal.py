"""The journal in a file. The twin of `aws.journal`; what an entry is, and the chain: `detector.chain`.

Entries are durable when `append` returns. A line torn by a crash is cut on opening, and told.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detector.chain import EMPTY, GENESIS, Checking, Head, Verdict, agree, foreign, head_of, linked, parsed
from detector.errors import StateError, UnreadablePathError
from detector.response.plain import printable

BLOCK = 1 << 16
__all__ = ["GENESIS", "Journal", "examine", "verify"]


class Journal:
    """A journal file to append to. `recovered`: what a crash had left of a last line, now cut; else None.

    Several processes may have it open: each append locks the file and reads anew what others wrote. Of entries with the
    same number it takes the first, and tells whoever brings another that there is somebody else.
    """

    mark = 0

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.recovered: str | None = None
        self._end, self._head = -1, EMPTY
        with self._locked() as file:
            self._catch_up(file)

    @property
    def head(self) -> Head:
        """Number and hash of the last entry; (-1, zeros) if there is none."""
        return self._head

    def seek(self, mark: int) -> None:
        """A file's end is where it ends."""

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add entries ({"seq","time","kind","body"}, rising `seq`), durable on return. Raises StateError.

        Entries the journal has already are skipped: a crash after an append repeats it.
        """
        with self._locked() as file:
            self._catch_up(file)
            if not self._agrees(file, entries):
                raise foreign(str(self._path), entries[0]["seq"])
            lines, head = b"", self._head
            for line, after in linked([entry for entry in entries if entry["seq"] > head.seq], head):
                lines, head = lines + line, after
            if lines:
                _write(file, lines, self._end)
                self._end, self._head = self._end + len(lines), head

    def agrees(self, entries: Sequence[Mapping[str, Any]]) -> bool:
        """Whether none of these numbers is another entry's."""
        with self._locked() as file:
            self._catch_up(file)
            return self._agrees(file, entries)

    def _agrees(self, file: int, entries: Sequence[Mapping[str, Any]]) -> bool:
        old = [entry for entry in entries if entry["seq"] <= self._head.seq]
        if not old:
            return True
        there: dict[int, dict[str, Any]] = {}
        end, first = self._end, min(entry["seq"] for entry in old)
        while end > 0 and first not in there:
            end, line = _last_line(file, end)
            found = parsed(line)
            if found is None or not isinstance(seq := found.get("seq"), int) or seq < first:
                break
            there[seq] = found
        return agree(old, there)

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
        if line and (parsed(line) is None or not line.endswith(b"\n")):
            os.ftruncate(file, start)
            os.fsync(file)
            self.recovered = (
                f"a torn last line of {size - start} bytes was cut: {printable(line[:80].decode('latin-1'))}"
            )
            size = start
            _, line = _last_line(file, size)
        self._take_up(line, size)

    def _take_up(self, line: bytes, size: int) -> None:
        head = head_of(parsed(line)) if line else EMPTY
        if head is None:
            raise StateError(
                "the journal's last entry cannot be read, and not because of a crash",
                where=printable(self._path),
                remedy="keep the file as evidence, run `bucketwatch journal verify`, and start with a new journal.path",
            )
        self._end, self._head = size, head


def verify(path: str | Path) -> list[str]:
    """Everything wrong with a journal's chain, by line; empty if it holds. Raises UnreadablePathError."""
    return examine(path).problems


def examine(path: str | Path, wanted: str = "") -> Verdict:
    """The same with where the chain ends, and whether `wanted` is a hash in it. Raises UnreadablePathError."""
    checking = Checking(wanted)
    try:
        with Path(path).open("rb") as file:
            problems = [f"line {n}: {what}" for n, line in enumerate(file, 1) for what in checking.problems(line)]
    except OSError as error:
        raise UnreadablePathError(
            f"cannot be read: {error.strerror}", where=printable(path), remedy="give the path of a journal"
        ) from error
    return Verdict(problems, checking.head, checking.seen)


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
