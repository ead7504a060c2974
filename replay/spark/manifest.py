"""What a batch on Spark is made of, as a file: which log files it reads, and how far event time has come. Numbered.

Rules of this file
- The manifest is written, whole and durable, before Spark sees its number, and is all that a batch depends on beside
  the log files: a batch that runs again after a crash finds what it found.
- There is one writer, the daemon that has the lease, and one manifest that waits: the next is written when the state
  of the last is in Spark's checkpoint.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from detector.audit import sync_folder
from detector.core.access import Log
from detector.errors import StateError
from detector.source import Notice

FILES, BYTES = 64, 16 << 20
"""Log files, and bytes as far as announced, that one task reads."""


class Order(msgspec.Struct, frozen=True):
    """What a batch tells every shard. now: the daemon's clock. reached: watermarks by kind of log, before this batch.

    rules: texts by file, where other rules count from now on. finish: the data ends here.
    """

    number: int
    now: int
    reached: dict[Log, int]
    rules: dict[str, str] | None = None
    finish: bool = False


class LogFile(msgspec.Struct, frozen=True, array_like=True):
    """A log file: names may be any bytes. Manifests of before there were buckets have none at the end."""

    name: bytes
    key: bytes
    version: str
    size: int
    bucket: str = ""

    @classmethod
    def of(cls, notice: Notice) -> LogFile:
        """The file that a notice names."""
        return cls(os.fsencode(notice.name), os.fsencode(notice.key), notice.version, notice.size, notice.bucket)

    @property
    def notice(self) -> Notice:
        """What it is fetched by."""
        name, key = os.fsdecode(self.name), os.fsdecode(self.key)
        return Notice(name, bucket=self.bucket, key=key, version=self.version, size=self.size)


class Manifest(msgspec.Struct, frozen=True):
    """One batch. columns: what is read of records."""

    order: Order
    columns: list[str] = []
    files: list[LogFile] = []

    def chunks(self) -> list[list[LogFile]]:
        """The files, some for each task."""
        out: list[list[LogFile]] = []
        size = BYTES
        for file in self.files:
            if size >= BYTES or len(out[-1]) == FILES:
                out.append([])
                size = 0
            out[-1].append(file)
            size += file.size
        return out


class Manifests:
    """The folder of them."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def last(self) -> int:
        """Number of the newest; 0 if there is none."""
        return max(self._numbers(), default=0)

    def read(self, number: int) -> Manifest:
        """One of them. Raises StateError."""
        file = self.folder / str(number)
        try:
            return msgspec.msgpack.decode(file.read_bytes(), type=Manifest)
        except (OSError, msgspec.MsgspecError) as error:
            raise StateError(
                f"a batch's manifest cannot be read: {error}",
                where=str(file),
                remedy="restore the folder spark.path from a copy, or start anew with a new one and a new state",
            ) from error

    def write(self, manifest: Manifest) -> None:
        """Make it durable; what Spark will not ask for any more goes. Raises StateError."""
        mine = manifest.order.number
        new = self.folder / f".{mine}"
        try:
            with new.open("wb") as file:
                file.write(msgspec.msgpack.encode(manifest))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.folder / str(mine))
            sync_folder(self.folder)
            for number in self._numbers():
                if number < mine - 1:
                    (self.folder / str(number)).unlink()
        except OSError as error:
            raise StateError(
                f"a batch's manifest cannot be written: {error.strerror}",
                where=str(new),
                remedy="make room on the disk and check spark.path and its permissions: nothing is lost",
            ) from error

    def _numbers(self) -> list[int]:
        return [int(file.name) for file in self.folder.iterdir() if file.name.isdigit()]
