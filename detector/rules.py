"""Finds and reads rule files from disk. The only place where a rule file is opened."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import EdgeError, InputError, UnreadablePathError

if TYPE_CHECKING:
    from detector.core.rule import Rule
    from detector.core.suppression import Suppression
    from detector.source import Files

LOOK = 1.0
"""Seconds between looks at whether rule files changed."""
SETTLED = 2.0
"""Seconds that changed files must have stood still before they are read: who writes them may not be done."""

OFTEN = 60.0
"""Seconds between looks at the registry of decoys."""
OF_REGISTRY = "decoys:"
"""Beginning of the names under which a rulebook keeps the texts of the registry."""

SUFFIXES = (".yaml", ".yml")
LIST = ".txt"
"""Ending of lists of addresses, which rules may name."""


def shipped() -> Path:
    """The folder of the rules that come with the program: inside the wheel, or `rules/` in a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "_rules"
    return installed if installed.is_dir() else here.parent / "rules"


def rule_files(path: Path) -> dict[str, str]:
    """Name → text of a rule file, or of all in a folder (not below it), and of lists they name. Raises InputError."""
    if not path.exists():
        raise UnreadablePathError("no such file or folder", where=str(path), remedy="name a rule file or a folder")
    files = (
        sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))
        if path.is_dir()
        else [path]
    )
    if not files:
        raise InputError("no rule files (*.yaml) here", where=str(path), remedy=f"the shipped ones are in {shipped()}")
    texts = {str(file): _text(file) for file in files}
    return texts | {str(file): _text(file) for file in _lists_beside(texts)}


def _lists_beside(texts: Mapping[str, str]) -> list[Path]:
    """The lists that these rule files may name and that stand beside them."""
    from detector.core.rulefile import named_lists

    named = {Path(name).with_name(one) for name, text in texts.items() for one in named_lists(text)}
    return sorted(file for file in named if file.is_file())


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Rules and the texts that say them, by file: kept in a checkpoint, these tell a restart what had counted."""

    rules: tuple[Rule, ...]
    files: Mapping[str, str]
    suppressions: tuple[Suppression, ...] = ()
    waiting: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Ids of rules that are not evaluated → the names they ask for that no `site` says."""


def read_book(files: Mapping[str, str]) -> Rulebook:
    """The rules that these texts say. Raises RuleFileError with every mistake, InputError for the registry's."""
    from detector.core.kinds.decoy import DecoyRule
    from detector.core.rulefile import read_written
    from detector.decoy.registry import standing

    registry = {name: text.encode() for name, text in files.items() if name.startswith(OF_REGISTRY)}
    decoys = standing(registry)
    written = read_written({name: text for name, text in files.items() if name not in registry})
    rules = (located.rule for located in written.rules if not located.waits)
    knowing = tuple(rule.knowing(decoys) if isinstance(rule, DecoyRule) else rule for rule in rules)
    waiting = {located.rule.id: located.waits for located in written.rules if located.waits}
    return Rulebook(knowing, dict(files), tuple(one for one, _ in written.suppressions), waiting)


def registry_texts(registry: Files | None) -> dict[str, str]:
    """The texts of a registry of decoys, by the names a rulebook keeps them under. Raises EdgeError, InputError."""
    from detector.decoy.registry import read_all

    found = read_all(registry) if registry else {}
    return {OF_REGISTRY + name: text.decode("utf-8", "replace") for name, text in found.items()}


def load_book(path: Path, registry: Files | None = None) -> Rulebook:
    """The rules of a file or folder, with the decoys of a registry.

    Raises RuleFileError with every mistake, InputError if there is no rule, EdgeError.
    """
    return _not_empty(read_book(rule_files(path) | registry_texts(registry)), path)


def _not_empty(book: Rulebook, path: Path) -> Rulebook:
    if not book.rules:
        raise InputError("no rules in here: nothing would ever be detected", where=str(path), remedy="add a rule")
    return book


def _kept(book: Rulebook, path: Path) -> Rulebook:
    """The rules, if a daemon can keep what they learn. Raises InputError."""
    own = [rule.id for rule in book.rules if getattr(rule, "detector", None)]
    if own:
        raise InputError(
            f"rule {', '.join(own)}: what a River detector (`detector`) has learned cannot be kept in a checkpoint",
            where=str(path),
            remedy="leave `detector` out: the model takes its place; or keep the rule where only `replay` reads it",
        )
    return _not_empty(book, path)


def load_rules(path: Path, registry: Files | None = None) -> list[Rule]:
    """The rules of a file or folder. Raises as `load_book`."""
    return list(load_book(path, registry).rules)


class RuleFiles:
    """Rule files, and the registry of decoys, that are looked at again and again.

    path: a file or folder; clock: seconds to wait by. A registry that cannot be reached is what it was before; one that
    cannot be reached for good is told once.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic, registry: Files | None = None) -> None:
        self.path, self._clock, self._registry = path, clock, registry
        self._read_of = self._seen = self._stamp()
        self._looked_at = self._seen_at = self._asked_at = clock()
        self._decoys: dict[str, str] = {}
        self._lost = ""

    def read(self) -> Rulebook:
        """What they say now. Raises as `load_book`."""
        self._asked_at = self._clock()
        self._decoys = registry_texts(self._registry)
        return self._book()

    def changed(self, *, asked: bool = False) -> Rulebook | InputError | None:
        """What they say, or why they cannot be used, if they changed and stand still by now, or if that is asked."""
        try:
            if asked:
                return self.read()
            return self._book() if self._new_decoys() or self._has_changed() else None
        except InputError as error:
            return error
        except EdgeError as error:
            return None if self._known(error) else UnreadablePathError(error.what, where=error.where)
        except OSError as error:
            return UnreadablePathError(f"cannot be read: {error.strerror}", where=str(self.path))

    def _book(self) -> Rulebook:
        self._read_of = self._seen = self._stamp()  # before reading: what is written meanwhile is another change
        return _kept(read_book(rule_files(self.path) | self._decoys), self.path)

    def _new_decoys(self) -> bool:
        """Whether the registry says anything else, or can be read again. Raises EdgeError."""
        if self._registry is None or self._clock() - self._asked_at < OFTEN:
            return False
        self._asked_at = self._clock()
        found = registry_texts(self._registry)
        news = found != self._decoys or bool(self._lost)
        self._decoys, self._lost = found, ""
        return news

    def _known(self, error: EdgeError) -> bool:
        """Whether this is nothing new, or may pass by itself."""
        known, self._lost = self._lost, error.what
        return error.retryable or known == error.what

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
            files = sorted((self.path if self.path.is_dir() else self.path.parent).iterdir())
        except OSError:
            return ()
        rules = files if self.path.is_dir() else [self.path]
        read = [file for file in rules if file.suffix in SUFFIXES or file == self.path]
        return tuple(stamp for file in [*read, *(f for f in files if f.suffix == LIST)] for stamp in _stamp_of(file))


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
