"""The checkpoint in a SQLite file.

Rules of this file
- One transaction a save, WAL, synchronous FULL: after a crash or power cut there is the old checkpoint or the new.
- One writer: a lock of the operating system, which ends with the process that holds it, however it ends.
- Every part carries its checksum and the whole a checksum of those: what is damaged is refused, never half read.

Source: SQLite documentation, "Write-Ahead Logging", "PRAGMA synchronous".
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import xxhash

from detector.errors import StateError
from detector.response.plain import printable

VERSION = "1"
TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts (name TEXT PRIMARY KEY, content BLOB NOT NULL, sum TEXT NOT NULL);
"""
START_AGAIN = "restore it from a copy, or move it away: the daemon then starts from nothing and reads its source again"


class SqliteState:
    """A SQLite file as a StateStore. Opening it takes the lock; raises StateError if another process has it."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = _locked(self._path)
        try:
            self._db = self._opened()
        except BaseException:
            os.close(self._lock)
            raise

    def load(self) -> Mapping[str, bytes]:
        """The last checkpoint's parts; empty if there is none. Raises StateError if anything of it is damaged."""
        with self._transaction():
            rows = self._db.execute("SELECT name, content, sum FROM parts").fetchall()
            manifest = self._meta("manifest")
        for name, content, told in rows:
            if not isinstance(content, bytes) or _sum(name, content) != told:
                raise self._error(f"part {name!r} of the checkpoint is damaged", START_AGAIN)
        if rows and manifest != _manifest((name, told) for name, _, told in rows):
            raise self._error("a part of the checkpoint is missing", START_AGAIN)
        return {name: content for name, content, _ in rows}

    def save(self, parts: Mapping[str, bytes | None]) -> None:
        """Replace these parts, all or none; None deletes one. Raises StateError."""
        with self._transaction():
            for name, content in parts.items():
                if content is None:
                    self._db.execute("DELETE FROM parts WHERE name = ?", (name,))
                else:
                    row = (name, content, _sum(name, content))
                    self._db.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", row)
            manifest = _manifest(self._db.execute("SELECT name, sum FROM parts"))
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('manifest', ?)", (manifest,))

    def close(self) -> None:
        """Let go of the lock. The lock file stays: deleting it would let two processes lock two files of one name."""
        self._db.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _opened(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._error(f"cannot be opened: {error}", "check state.path and its permissions") from error
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(TABLES)
            db.execute("INSERT OR IGNORE INTO meta VALUES ('version', ?)", (VERSION,))
            found = db.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()[0]
        except sqlite3.Error as error:
            db.close()
            raise self._error(f"is no state of bucketwatch, or damaged: {error}", START_AGAIN) from error
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

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            remedy = "make room on the disk and check the file's permissions; if it is damaged, " + START_AGAIN
            raise self._error(f"SQLite says: {error}", remedy) from error

    def _error(self, what: str, remedy: str) -> StateError:
        return StateError(printable(what), where=printable(self._path), remedy=remedy)


def _locked(path: Path) -> int:
    """Take the lock beside the state file and write our process id into it."""
    beside = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(beside, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(
            f"cannot be opened: {error.strerror}",
            where=printable(beside),
            remedy="check state.path and its permissions",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise StateError(
            f"another bucketwatch (process {printable(holder)}) holds this state",
            where=printable(path),
            remedy="stop it first, or give this one a state.path of its own",
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
    return lock


def _sum(name: str, content: bytes) -> str:
    # the name is part of it: contents that changed places are damage too
    return xxhash.xxh64_hexdigest(name.encode("utf-8") + b"\0" + content)


def _manifest(rows: object) -> str:
    return xxhash.xxh64_hexdigest(repr(sorted(rows)).encode("utf-8"))  # type: ignore[call-overload]
