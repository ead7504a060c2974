"""What a replay's memory has no room for: its state and its records as files in a private folder, removed at the end.

The folder is made when the first part is written.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from detector.errors import EdgeError

MOST_OPEN = 64
"""Files that are held open at most."""


class Scratch:
    """A shelf of files. `parent`: where the folder is made; None: where the system keeps temporary files."""

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._names: set[str] = set()
        self._open: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(*self._open)
        if self._folder is not None:
            self._folder.cleanup()

    def save(self, parts: Mapping[str, bytes | bytearray | None]) -> None:
        """Write these parts; None deletes one. Raises EdgeError."""
        try:
            for name, content in parts.items():
                self._close(name)
                if content is not None:
                    self.path(name).write_bytes(content)
                    self._names.add(name)
                elif name in self._names:
                    self.path(name).unlink()
                    self._names.discard(name)
        except OSError as error:
            raise self._error(error) from error

    def offer(self, name: str, content: bytes | bytearray) -> Path | None:
        """Write a part that can be done without: where it lies. None if that cannot be; then nothing is left of it."""
        try:
            self.save({name: content})
        except EdgeError:
            if self._folder is not None:
                self.path(name).unlink(missing_ok=True)
            return None
        return self.path(name)

    def get(self, name: str, first: int, end: int) -> bytes:
        """Bytes `first` to `end` (not included) of a part. Raises EdgeError."""
        try:
            found = os.pread(self._file(name), end - first, first)
        except OSError as error:
            raise self._error(error) from error
        if len(found) < end - first:
            raise EdgeError(f"part {name} is cut short", where=str(self._parent or tempfile.gettempdir()))
        return found

    def parts(self, names: Iterable[str]) -> dict[str, bytes]:
        """The parts of these names that are here, whole. Raises EdgeError."""
        try:
            return {name: self.path(name).read_bytes() for name in sorted(self._names.intersection(names))}
        except OSError as error:
            raise self._error(error) from error

    def free(self) -> int:
        """Bytes of room there; 0 if that cannot be told."""
        try:
            return shutil.disk_usage(self._parent or tempfile.gettempdir()).free
        except OSError:
            return 0

    def clear(self, but: Iterable[str]) -> None:
        """Delete all parts whose names begin with none of these."""
        kept = tuple(but)
        self.save({name: None for name in self._names if not name.startswith(kept)})

    def _file(self, name: str) -> int:
        """Descriptor of a part's file; some stay open, since one part is read again and again."""
        if name not in self._open:
            if len(self._open) >= MOST_OPEN:
                self._close(next(iter(self._open)))
            self._open[name] = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
        return self._open[name]

    def _close(self, *names: str) -> None:
        for name in names:
            if (file := self._open.pop(name, None)) is not None:
                os.close(file)

    def path(self, name: str) -> Path:
        """Where a part lies."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="bucketwatch-", dir=self._parent)
        return Path(self._folder.name, name.replace("/", "."))

    def _error(self, error: OSError) -> EdgeError:
        where = str(self._parent or tempfile.gettempdir())
        remedy = "name a folder with more room with --tmp, or give it more --memory"
        return EdgeError(f"cannot keep temporary files: {error.strerror}", where=where, remedy=remedy)
