"""Looks at what lies on this machine, for `bucketwatch doctor`: directory, state, journal, files of alerts.

Nothing is written and no lock is taken, so that a running daemon, or one that starts, does not notice.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from detector.doctor.result import Result
from detector.errors import BucketwatchError
from detector.journal import verify
from detector.local.sqlite import START_AGAIN, VERSION

SCARCE, SPENT = 2 << 30, 200 << 20
"""Bytes of free disk below which it is told, and is a problem."""


def directory(path: Path) -> Iterator[Result]:
    """The source of log files."""
    if not path.is_dir():
        yield Result("source", "problem", "there is no such directory", str(path), "make it, or mend source.path")
    elif not os.access(path, os.R_OK | os.X_OK):
        yield Result("source", "problem", "the directory cannot be read", str(path), "let this user read it")
    else:
        yield Result("source", "ok", "the directory can be read", str(path))


def state(path: Path) -> Iterator[Result]:
    """The state file: whether it can be written, holds a checkpoint of this version, and there is room."""
    yield from _writable("state", path)
    if path.exists():
        try:
            version, count = _inside(path)
        except sqlite3.Error as error:
            yield Result("state", "problem", f"is no state of bucketwatch, or damaged: {error}", str(path), START_AGAIN)
            return
        if version != VERSION:
            told = f"it was written in version {version!r}, this program reads version {VERSION!r}"
            remedy = "run the program that wrote it, or start with a new state.path"
            yield Result("state", "problem", told, str(path), remedy)
        else:
            yield Result("state", "ok", f"there is a checkpoint of {count} parts, of version {version}", str(path))


def parts(path: Path) -> Mapping[str, bytes]:
    """The parts of a state file but for counted panes, as they lie there; empty without one. Raises sqlite3.Error."""
    if not path.exists():
        return {}
    with closing(_read_only(path)) as db:
        return {
            str(name): bytes(content)
            for name, content in db.execute("SELECT name, content FROM parts WHERE name NOT LIKE 'pane/%'")
        }


def journal(path: Path) -> Iterator[Result]:
    """The journal: whether it can be written, and its chain holds."""
    yield from _writable("journal", path)
    if not path.exists():
        return
    try:
        problems = verify(path)
    except BucketwatchError as error:
        yield Result("journal", "problem", error.what, str(path), error.remedy)
        return
    if problems:
        told = f"the chain is broken in {len(problems)} places, first: {problems[0]}"
        yield Result("journal", "problem", told, str(path), "keep the file as evidence; see who could write there")
    else:
        yield Result("journal", "ok", "the chain is whole", str(path))


def alerts(path: Path) -> Iterator[Result]:
    """A file of alerts."""
    yield from _writable("alerts", path)


def _writable(check: str, path: Path) -> Iterator[Result]:
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent  # the daemon makes what is missing
    target = path if path.exists() else folder
    if not os.access(target, os.W_OK):
        yield Result(check, "problem", "cannot be written", str(target), "let bucketwatch's user write there")
        return
    free = shutil.disk_usage(folder).free
    if free < SCARCE:
        status = "problem" if free < SPENT else "warn"
        yield Result(check, status, f"{free / 2**30:.1f} GiB are free on its disk", str(folder), "make room")  # type: ignore[arg-type]
    else:
        yield Result(check, "ok", "can be written", str(path))


def _inside(path: Path) -> tuple[str, int]:
    with closing(_read_only(path)) as db:
        [found] = db.execute("SELECT value FROM meta WHERE name = 'version'").fetchall() or [("none",)]
        [(count,)] = db.execute("SELECT count(*) FROM parts").fetchall()
        [(sound,)] = db.execute("PRAGMA quick_check(1)").fetchall()
    if sound != "ok":
        raise sqlite3.DatabaseError(sound)
    return str(found[0]), int(count)


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2)
