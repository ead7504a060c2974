"""Log files out of a directory. The twin of `aws.queue` and `aws.prefix`.

Rules of this file
- A file is its path, size and modification time together: one that grew or was replaced is another file, read anew.
- Files come in name order, so that two runs over the same files are the same. Dot-files, `*.part` and `*.tmp` are
  somebody's work in progress.
- What has been read is known by `positions` (`detector/listed.py`), which travels with the checkpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from detector.errors import EdgeError, InputError
from detector.listed import DIRECTORY, POLL, Listed, until_there
from detector.response.plain import printable
from detector.source import Delivery, Message, Notice, shown_name
from detector.walk import PASSED_OVER


class DirectorySource:
    """A directory as a Source. monotonic, sleep: the clock to wait by."""

    def __init__(
        self,
        path: str | Path,
        *,
        limit: int = POLL,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._root, self._limit = Path(path), limit
        self._listed = Listed(DIRECTORY)
        self._monotonic, self._sleep = monotonic, sleep

    @property
    def redrives(self) -> bool:
        """A directory has no dead letters."""
        return False

    def check(self) -> None:
        """Raises InputError if there is no such directory."""
        if not self._root.is_dir():
            raise InputError(
                "there is no such directory",
                where=printable(self._root),
                remedy="create it, or mend source.path in the config",
            )

    def receive(self, wait_seconds: float) -> Delivery:
        """The next files, waiting up to so long for the first. Raises InputError and EdgeError."""
        waiting = until_there(self._waiting, wait_seconds, self._monotonic, self._sleep)
        chosen = waiting[: self._limit]
        self._listed.hand_out(chosen, self._monotonic())
        return Delivery(chosen, backlog=len(waiting) > len(chosen))

    def fetch(self, notice: Notice) -> bytes:
        """The file's bytes. Raises EdgeError: what has vanished or is locked away does not come back by itself."""
        try:
            return (self._root / notice.key).read_bytes()
        except FileNotFoundError as error:
            raise _vanished(notice.name) from error
        except OSError as error:
            raise _unreadable(error, notice.name) from error

    def acknowledge(self, messages: Sequence[Message]) -> list[str]:
        """Never deliver these again."""
        return self._listed.acknowledge(messages)

    def let_go(self, messages: Sequence[Message]) -> None:
        """They come again when their time is over."""

    def positions(self, done: Sequence[Message]) -> bytes:
        """What has been read, these included, for the checkpoint."""
        return self._listed.positions(done)

    def restore(self, positions: bytes) -> None:
        """Take up what `positions` wrote. Raises StateError."""
        self._listed.restore(positions)

    def close(self) -> None:
        """Nothing is held open."""

    def _waiting(self) -> list[Message]:
        """All files not read and not in hand, in name order."""
        self.check()
        there = {message.id: message for message in self._listing()}
        return self._listed.waiting(there, self._monotonic())

    def _listing(self) -> list[Message]:
        found = sorted(_files(self._root, ""), key=lambda pair: pair[0])
        return [self._message(name, stat) for name, stat in found]

    def _message(self, name: str, stat: os.stat_result) -> Message:
        version = f"{stat.st_size}-{stat.st_mtime_ns}"
        notice = Notice(shown_name(str(self._root / name)), key=name, version=version, size=stat.st_size)
        return Message(f"{name}|{version}", (notice,), stat.st_mtime)


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files under a folder by their path relative to the root, with slashes. Linked folders are not followed: loops."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return  # gone since it was listed
    except OSError as error:
        raise _unreadable(error, str(folder)) from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), f"{prefix}{entry.name}/")
        elif not entry.name.endswith(PASSED_OVER):
            yield from _file(entry, prefix)


def _file(entry: os.DirEntry[str], prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        if entry.is_file():
            yield f"{prefix}{entry.name}", entry.stat()
    except OSError:
        return  # gone since it was listed, or a link to nothing


def _vanished(name: str) -> EdgeError:
    return EdgeError(
        "the file was there and is gone",
        where=printable(name),
        remedy="put log files into the directory under a name ending in .part, rename them, and leave them there",
    )


def _unreadable(error: OSError, name: str) -> EdgeError:
    return EdgeError(
        f"cannot be read: {error.strerror}",
        where=printable(name),
        remedy="let bucketwatch's user read it (chmod, chown)",
    )
