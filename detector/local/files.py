"""Files of one folder, each written whole or not at all. The twin of `aws.files`.

Nothing here is ever deleted by the program. It is for people and other programs, who may.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from detector.errors import EdgeError
from detector.response.plain import printable

PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EINTR, errno.EAGAIN, errno.EFBIG}
"""What may be mended by itself, or by somebody else: the same bytes may be written later."""


class FolderFiles:
    """A folder as Files; made when it is needed. most: files that lie in it, at most, of those put in once."""

    def __init__(self, path: str | Path, *, most: int = 10_000) -> None:
        self._path, self._most = Path(path), most

    def put(self, name: str, data: bytes, *, once: bool = False) -> str:
        """Keep these bytes under a name; where they are. Raises EdgeError."""
        path = self._path / name
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if once and path.exists():
                return printable(path)
            if once and sum(1 for _ in os.scandir(path.parent)) >= self._most:
                return f"nowhere: the folder is full ({self._most:,} files)"
            _write(path, data)
        except OSError as error:
            raise EdgeError(
                f"cannot be written: {error.strerror}",
                where=printable(path),
                remedy="make room, or let bucketwatch's user write there",
                retryable=error.errno in PASSING,
            ) from error
        return printable(path)

    def names(self, below: str = "") -> list[str]:
        """The names that begin so, sorted; `below` ends with a slash. Raises EdgeError."""
        there = (self._path / below).rglob("*")
        found = sorted(path.relative_to(self._path).as_posix() for path in there if path.is_file())
        return [name for name in found if not name.endswith(".part")]

    def get(self, name: str, most: int) -> bytes:
        """The bytes under a name, the first `most` of them. Raises EdgeError."""
        path = self._path / name
        try:
            with path.open("rb") as file:
                return file.read(most)
        except OSError as error:
            raise EdgeError(
                f"cannot be read: {error.strerror}",
                where=printable(path),
                remedy="let bucketwatch's user read there",
                retryable=error.errno in PASSING,
            ) from error


def _write(path: Path, data: bytes) -> None:
    begun = path.with_name(path.name + ".part")
    try:
        with begun.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        begun.replace(path)
    except OSError:
        begun.unlink(missing_ok=True)  # on a full disk the half of a file is only in the way
        raise
