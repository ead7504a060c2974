"""The lease beside a SQLite file: a lock of the operating system, which ends with its process, however it ends.

A process that is stopped (SIGSTOP, a frozen machine) keeps its lock: nobody takes over from it, and nothing it does can
come too late. Only somebody who deletes the lock file can make two holders; the one whose file is gone notices.
The lock file stays: deleting it on release would let two processes lock two files of one name.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from detector.errors import StateError
from detector.response.plain import printable

LOOK = 0.2
"""Seconds between looks of who waits."""


class FileLease:
    """The lock `<path>.lock`. say: told who is waited for. sleep, clock: seconds to wait by."""

    def __init__(
        self,
        path: str | Path,
        *,
        say: Callable[..., object] = lambda *_, **__: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        path = Path(path)
        self._path = path.with_name(path.name + ".lock")
        self._say, self._clock, self._sleep = say, clock, sleep
        self._lock = -1
        self.other = ""
        self.epoch = 0

    def acquire(self, wait: float, stop: Callable[[], bool]) -> bool:
        """Wait for the lock; whether it is held now. Raises StateError if there can be no lock file."""
        until, told = self._clock() + wait, ""
        while not stop():
            if self._try():
                return True
            if self._clock() >= until:
                return False
            if told != self.other:
                told = self.other
                self._say("waiting_for_lease", holder=told, where=printable(self._path))
            self._sleep(LOOK)
        return False

    def held(self) -> bool:
        """Whether we have the lock, and the file by that name is still the one we locked."""
        if self._lock < 0:
            return False
        try:
            return os.path.samestat(os.fstat(self._lock), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        """Let go of the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _try(self) -> bool:
        """One attempt. Our process id is written into the file, for those who wait."""
        lock = self._opened()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            self.other = f"process {printable(holder)}"
            return False
        with suppress(OSError):  # on a full disk the lock holds all the same; the state will say what is wrong
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
        self._lock = lock
        if self.held():
            return True
        self.release()  # the file was deleted between opening and locking it
        return False

    def _opened(self) -> int:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(
                f"cannot be opened: {error.strerror}",
                where=printable(self._path),
                remedy="check state.path and its permissions",
            ) from error
