"""Finds and reads rule files from disk. The only place where a rule file is opened."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import InputError, UnreadablePathError

if TYPE_CHECKING:
    from detector.core.rule import Rule
    from detector.core.suppression import Suppression

LOOK = 1.0
"""Seconds between looks at whether rule files changed."""
SETTLED = 2.0
"""Seconds that changed files must have stood still before they are read: who writes them may not be done."""

SUFFIXES = (".yaml", ".yml")


def shipped() -> Path:
    """The folder of the rules that come with the program: inside the wheel, or `rules/` in a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "_rules"
    return installed if installed.is_dir() else here.parent / "rules"


def rule_files(path: Path) -> dict[str, str]:
    """Name → text of a rule file, or of all rule files in a folder (not below it). Raises InputError."""
    if not path.exists():
        raise UnreadablePathError("no such file or folder", where=str(path), remedy="name a rule file or a folder")
    files = (
        sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))
        if path.is_dir()
        else [path]
    )
    if not files:
        raise InputError("no rule files (*.yaml) here", where=str(path), remedy=f"the shipped ones are in {shipped()}")
    return {str(file): _text(file) for file in files}


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Rules and the texts that say them, by file: kept in a checkpoint, these tell a restart what had counted."""

    rules: tuple[Rule, ...]
    files: Mapping[str, str]
    suppressions: tuple[Suppression, ...] = ()


def read_book(files: Mapping[str, str]) -> Rulebook:
    """The rules that these texts say. Raises RuleFileError with every mistake."""
    from detector.core.rulefile import read_written

    written = read_written(files)
    rules = tuple(located.rule for located in written.rules)
    return Rulebook(rules, dict(files), tuple(one for one, _ in written.suppressions))


def load_book(path: Path) -> Rulebook:
    """The rules of a file or folder. Raises RuleFileError with every mistake, InputError if there is no rule."""
    book = read_book(rule_files(path))
    if not book.rules:
        raise InputError("no rules in here: nothing would ever be detected", where=str(path), remedy="add a rule")
    return book


def load_rules(path: Path) -> list[Rule]:
    """The rules of a file or folder. Raises as `load_book`."""
    return list(load_book(path).rules)


class RuleFiles:
    """Rule files that are looked at again and again. `path`: a file or folder; `clock`: seconds to wait by."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self._clock = path, clock
        self._read_of = self._seen = self._stamp()
        self._looked_at = self._seen_at = clock()

    def read(self) -> Rulebook:
        """What they say now. Raises as `load_book`."""
        self._read_of = self._seen = self._stamp()  # before reading: what is written meanwhile is another change
        return load_book(self.path)

    def changed(self, *, asked: bool = False) -> Rulebook | InputError | None:
        """What they say, or why they cannot be used, if they changed and stand still by now, or if that is asked."""
        if not asked and not self._has_changed():
            return None
        try:
            return self.read()
        except InputError as error:
            return error
        except OSError as error:
            return UnreadablePathError(f"cannot be read: {error.strerror}", where=str(self.path))

    def _has_changed(self) -> bool:
        now = self._clock()
        if now - self._looked_at < LOOK:
            return False
        self._looked_at = now
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen, self._seen_at = stamp, now
        return stamp != self._read_of and now - self._seen_at >= SETTLED

    def _stamp(self) -> tuple[tuple[str, int, int, int], ...]:
        """What tells of a change without reading: every file's modification time, size and number."""
        try:
            files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        except OSError:
            return ()
        return tuple(
            stamp for file in files if file.suffix in SUFFIXES or file == self.path for stamp in _stamp_of(file)
        )


def _stamp_of(file: Path) -> list[tuple[str, int, int, int]]:
    try:
        stat = file.stat()
    except OSError:
        return []
    return [(str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino)]


def _text(file: Path) -> str:
    """A file's text; what is no UTF-8 in it is told with the other mistakes, by the reader."""
    try:
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UnreadablePathError(f"cannot be read: {error.strerror}", where=str(file)) from error
