"""Copies of the checkpoint's parts on this machine's disk, so that looking for a row need not ask S3 each time.

Rules of this file
- A copy is made when somebody asks for a range of a part: of the whole part, after its checksum was found right.
- A part never changes at its place in an object, so no copy is out of date; the oldest go when there is no room.
- The disk may be full, or forbidden: then there are no copies, and S3 is asked. The folder goes with the process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

ROOM = 8 << 30
"""Bytes of copies at most."""

Key = tuple[str, int]
"""An object's name and the place in it at which the part begins."""


class Nearby:
    """Parts on the local disk. room: bytes. folder: where; else the system's temporary folder (TMPDIR)."""

    def __init__(self, room: int = ROOM, folder: Path | None = None) -> None:
        self._room, self._parent = room, folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._held: dict[Key, tuple[Path, int]] = {}
        self._size = self._count = 0

    def range(self, key: Key, first: int, end: int, whole: Callable[[], bytes]) -> bytes:
        """Bytes `first` to `end` of a part; `whole` gets it if it is not here."""
        found = self._read(key, first, end)
        if found is None:
            content = whole()
            self._keep(key, content)
            found = content[first:end]
        return found

    def forget(self, names: set[str]) -> None:
        """These objects are gone."""
        for key in [key for key in self._held if key[0] in names]:
            self._drop(key)

    def close(self) -> None:
        """Remove the folder."""
        self._held, self._size = {}, 0
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _read(self, key: Key, first: int, end: int) -> bytes | None:
        if key not in self._held:
            return None
        self._held[key] = path, _ = self._held.pop(key)  # the last one asked for goes last
        try:
            with path.open("rb") as file:
                file.seek(first)
                found = file.read(end - first)
        except OSError:
            found = b""
        if len(found) == end - first:
            return found
        self._drop(key)
        return None

    def _keep(self, key: Key, content: bytes) -> None:
        if len(content) > self._room:
            return
        while self._size + len(content) > self._room:
            self._drop(next(iter(self._held)))
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="bucketwatch-state-", dir=self._parent)
            self._count += 1
            path = Path(self._folder.name) / str(self._count)
            path.write_bytes(content)
        except OSError:
            return
        self._held[key] = path, len(content)
        self._size += len(content)

    def _drop(self, key: Key) -> None:
        path, size = self._held.pop(key)
        self._size -= size
        path.unlink(missing_ok=True)
