"""Bytes of messages that could not be used, one file each, under the name of their hash. The twin of `aws.quarantine`.

Nothing here is ever read by the program, overwritten or deleted. It is for people, who may delete it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from detector.errors import EdgeError
from detector.response.plain import printable

LARGEST = 1 << 20
"""Bytes that are kept of one: as much as a message may have."""
MOST = 10_000
"""Files a folder holds: whoever can send messages must not be able to fill the disk."""


class QuarantineFolder:
    """A folder as a Quarantine; made when it is needed."""

    def __init__(self, path: str | Path, *, most: int = MOST) -> None:
        self._path, self._most = Path(path), most

    def put(self, data: bytes) -> str:
        """Keep the first 1 MiB of these bytes; where they are, or that the folder is full. Raises EdgeError."""
        path = self._path / hashlib.sha256(data).hexdigest()
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.exists():
                return printable(path)
            if sum(1 for _ in os.scandir(self._path)) >= self._most:
                return f"nowhere: the quarantine is full ({self._most:,} files)"
            begun = path.with_suffix(".part")
            begun.write_bytes(data[:LARGEST])
            begun.replace(path)
        except OSError as error:
            raise EdgeError(
                f"the quarantine cannot be written: {error.strerror}",
                where=printable(self._path),
                remedy="make room, or let bucketwatch's user write there (quarantine.path in the config)",
                retryable=True,
            ) from error
        return printable(path)
