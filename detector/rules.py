"""Finds and reads rule files from disk. The only place where a rule file is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import InputError, UnreadablePathError

if TYPE_CHECKING:
    from detector.core.rule import Rule

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


def load_rules(path: Path) -> list[Rule]:
    """The rules of a file or folder. Raises RuleFileError with every mistake, InputError if there is no rule."""
    from detector.core.rulefile import read_rules

    rules = read_rules(rule_files(path))
    if not rules:
        raise InputError("no rules in here: nothing would ever be detected", where=str(path), remedy="add a rule")
    return rules


def hints(rules: list[Rule], now: int) -> list[str]:
    """What is allowed but probably not meant. `now`: epoch seconds."""
    return [
        f"{rule.id}: the exception for {exemption.owner} ended on {exemption.until}"
        for rule in rules
        for exemption in getattr(rule, "exceptions", ())
        if exemption.ends_at <= now
    ]


def _text(file: Path) -> str:
    """A file's text; what is no UTF-8 in it is told with the other mistakes, by the reader."""
    try:
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UnreadablePathError(f"cannot be read: {error.strerror}", where=str(file)) from error
