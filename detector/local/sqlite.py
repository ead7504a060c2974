"""The checkpoint in a SQLite file.

Rules of this file
- One transaction a save, WAL, synchronous FULL: after a crash or power cut there is the old checkpoint or the new.
- One writer: whoever has the lease (`local.lease`), which ends with the process that holds it, however it ends.
- Every part carries its checksum and the whole a checksum of those: what is damaged is refused, never half read.
- A checkpoint may be larger than memory: parts are read one at a time, and ranges of them without the rest. Checksums
  stand before the contents, so that what a save costs depends on what it writes, not on what is there.

Source: SQLite documentation, "Write-Ahead Logging", "PRAGMA synchronous", "Database File Format" (overflow pages: a
range is found by following a list of pages, which is why these are larger than usual).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import xxhash

from detector.errors import StateError
from detector.local.lease import FileLease
from detector.response.plain import printable
from detector.source import Lease

VERSION = "2"
PAGE = 16_384
TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts (name TEXT PRIMARY KEY, sum TEXT NOT NULL, content BLOB NOT NULL);
"""
MAKE_ROOM = (
    "make room on the disk and check it and the file's permissions: the checkpoint is as it was, nothing is lost"
)
OF_THE_DISK = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
}  # fmt: skip
"""What SQLite says where the file itself may be as it should."""
START_AGAIN = "restore it from a copy, or move it away: the daemon then starts from nothing and reads its source again"


class SqliteState:
    """A SQLite file as a StateStore.

    lease: of whoever opens it, held; without one it takes its own, and raises StateError if another process has it.
    """

    def __init__(self, path: str | Path, lease: Lease | None = None) -> None:
        self._path = Path(path)
        self._own = None if lease else _taken(self._path)
        try:
            self._db = self._opened()
        except BaseException:
            self._let_go()
            raise

    def load(self) -> Mapping[str, bytes]:
        """The last checkpoint's parts; empty if there is none. Raises StateError if anything of it is damaged."""
        names: list[str] = []
        whole = _Manifest()
        with self._transaction():
            for name, told, content in self._db.execute("SELECT name, sum, content FROM parts"):
                self._check(name, content, told)
                whole.take(told)
                names.append(name)
            if names and self._meta("manifest") != str(whole):
                raise self._error("a part of the checkpoint is missing", START_AGAIN)
        return _Parts(names, self._part)

    def get(self, name: str, first: int, end: int) -> bytes:
        """Bytes `first` to `end` (not included) of a part. Raises StateError."""
        with self._speaking():
            row = self._db.execute("SELECT rowid FROM parts WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise self._error(f"part {name!r} of the checkpoint is missing", START_AGAIN)
            with self._db.blobopen("parts", "content", row[0], readonly=True) as blob:
                blob.seek(first)
                found = bytes(blob.read(end - first))
        if len(found) < end - first:
            raise self._error(f"part {name!r} of the checkpoint is cut short", START_AGAIN)
        return found

    def save(self, parts: Mapping[str, bytes | None]) -> None:
        """Replace these parts, all or none; None deletes one. Raises StateError."""
        with self._transaction():
            whole = _Manifest.read(self._meta("manifest"))
            for name, content in parts.items():
                for (told,) in self._db.execute("SELECT sum FROM parts WHERE name = ?", (name,)).fetchall():
                    whole.give(told)
                if content is None:
                    self._db.execute("DELETE FROM parts WHERE name = ?", (name,))
                else:
                    row = (name, _sum(name, content), content)
                    self._db.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", row)
                    whole.take(row[1])
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('manifest', ?)", (str(whole),))

    def close(self) -> None:
        """Close the file."""
        self._db.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._own is not None:
            self._own.release()

    def _opened(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._error(f"cannot be opened: {error}", "check state.path and its permissions") from error
        try:
            db.execute(f"PRAGMA page_size={PAGE}")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(TABLES)
            db.execute("INSERT OR IGNORE INTO meta VALUES ('version', ?)", (VERSION,))
            found = db.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()[0]
        except sqlite3.Error as error:
            db.close()
            if _damaged(error):
                raise self._error(f"is no state of bucketwatch, or damaged: {error}", START_AGAIN) from error
            raise self._error(f"SQLite says: {error}", MAKE_ROOM) from error
        if found != VERSION:
            db.close()
            raise self._error(
                f"was written in version {found!r}, this program reads version {VERSION!r}",
                "run the program that wrote it, or start with a new state.path",
            )
        return db

    def _meta(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _part(self, name: str) -> bytes:
        with self._speaking():
            row = self._db.execute("SELECT content, sum FROM parts WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise KeyError(name)
        self._check(name, *row)
        return bytes(row[0])

    def _check(self, name: object, content: object, told: object) -> None:
        if not isinstance(name, str) or not isinstance(content, bytes) or _sum(name, content) != told:
            raise self._error(f"part {name!r} of the checkpoint is damaged", START_AGAIN)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._speaking():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """What SQLite refuses is an error of ours."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._error(f"SQLite says: {error}", START_AGAIN if _damaged(error) else MAKE_ROOM) from error

    def _error(self, what: str, remedy: str) -> StateError:
        return StateError(printable(what), where=printable(self._path), remedy=remedy)


def _damaged(error: sqlite3.Error) -> bool:
    """Whether the file itself is wrong, and not the disk under it. Errors of Python's own module have no code."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in OF_THE_DISK


def _taken(path: Path) -> FileLease:
    lease = FileLease(path)
    if not lease.acquire(0, lambda: False):
        raise StateError(
            f"another bucketwatch ({lease.other}) holds this state",
            where=printable(path),
            remedy="stop it first, or give this one a state.path of its own",
        )
    return lease


def _sum(name: str, content: bytes) -> str:
    # the name is part of it: contents that changed places are damage too
    return xxhash.xxh64_hexdigest(name.encode("utf-8") + b"\0" + content)


class _Manifest:
    """A checksum of the parts' checksums that changes with each of them, without a look at the others."""

    def __init__(self, count: int = 0, mixed: int = 0) -> None:
        self._count, self._mixed = count, mixed

    @classmethod
    def read(cls, text: str | None) -> _Manifest:
        """What `str` gave; of a text that is none, something that no parts fit."""
        count, _, mixed = (text or "0:0").partition(":")
        try:
            return cls(int(count), int(mixed, 16))
        except ValueError:
            return cls(-1)

    def take(self, told: str) -> None:
        """A part came, with this checksum."""
        self._count += 1
        self._mixed ^= _digest(told)

    def give(self, told: str) -> None:
        """A part went, with this checksum."""
        self._count -= 1
        self._mixed ^= _digest(told)

    def __str__(self) -> str:
        return f"{self._count}:{self._mixed:016x}"


def _digest(told: object) -> int:
    return xxhash.xxh64_intdigest(str(told).encode("utf-8", "replace"))


class _Parts(Mapping[str, bytes]):
    """The parts of a checkpoint, read when asked for."""

    def __init__(self, names: list[str], read: Callable[[str], bytes]) -> None:
        self._names, self._read = dict.fromkeys(names), read

    def __getitem__(self, name: str) -> bytes:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
