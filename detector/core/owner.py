"""Whose an object is, as its key says: a pattern such as `{contractor}/**` read over keys. Pure.

Rules of this file
- A pattern is a glob of keys, as rules write them (`*` within a folder's name, `**` across folders), with placeholders
  as in rules of kind `scope`. What they stand for is the owner; of several, their texts joined by `/`.
- A placeholder stands for a part of one folder's or file's name, never across a `/`, and is read in one way only: it
  runs up to where the plain text after it comes first.
- A pattern that ends with `/` means all that lies below. Of several patterns the first that fits counts.
- A key that no pattern fits has no owner: it is counted apart, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detector.core.globs import expression
from detector.core.kinds.scope import PIECE, pieces_trouble, placeholders

EXAMPLE = "{contractor}/**"
BELOW = ("…", "...")
"""How people write `**` in prose."""


@dataclass(frozen=True, slots=True)
class Owners:
    """Who owns which object. `patterns`: as given. `by_folder`: an owner follows from a key's folder alone."""

    patterns: tuple[str, ...]
    by_folder: bool
    expressions: tuple[re.Pattern[str], ...]

    @property
    def folders(self) -> int:
        """How many folders of a key are looked at, at most, where folders are enough."""
        return max(_completed(pattern).partition("/**")[0].count("/") + 1 for pattern in self.patterns)

    def of(self, key: str) -> str | None:
        """The owner of the object with this key; None where no pattern fits."""
        for one in self.expressions:
            if match := one.fullmatch(key):
                return "/".join(match.groups())
        return None

    def of_each(self, keys: Iterable[str]) -> list[str | None]:
        """The owner of each of these keys; of a folder only once, where that suffices."""
        if not self.by_folder:
            return [*map(self.of, keys)]
        known: dict[str, str | None] = {}
        out = []
        for key in keys:
            folder = key[: key.rfind("/") + 1]
            if folder not in known:
                known[folder] = self.of(folder)
            out.append(known[folder])
        return out

    def of_evidence(self, evidence: Mapping[str, Any]) -> set[str]:
        """The owners of what a finding's evidence shows: of a bounded list, so there may be more."""
        shown = [*(evidence.get("sample_keys") or ()), *((evidence.get("prefixes") or ()) if self.by_folder else ())]
        return {owner for owner in self.of_each(map(str, shown)) if owner is not None}


def owners(patterns: Sequence[str]) -> Owners:
    """Owners by these patterns. Raises ValueError, which says what is wrong with which."""
    whole = [_completed(pattern) for pattern in patterns]
    for given, pattern in zip(patterns, whole, strict=True):
        if trouble := _trouble(pattern):
            raise ValueError(f"{trouble}, got '{given}'")
    return Owners(tuple(patterns), all(map(_by_folder, whole)), tuple(map(_capturing, whole)))


def _completed(pattern: str) -> str:
    for dots in BELOW:
        pattern = pattern.removesuffix(dots)
    return f"{pattern}**" if pattern.endswith("/") else pattern


def _by_folder(pattern: str) -> bool:
    """Whether all below a folder has one owner, and its name is in the folder."""
    head, below, rest = pattern.partition("/**")
    return bool(below) and not rest and "**" not in head


def _trouble(pattern: str) -> str:
    """What is wrong with a pattern, if anything is."""
    names = placeholders(pattern)
    if not names:
        return f"expected a placeholder for the owner, as in {EXAMPLE}"
    if len(set(names)) < len(names):
        return "expected each placeholder once"
    return pieces_trouble(pattern, capturing=True)


def _capturing(pattern: str) -> re.Pattern[str]:
    """The expression whose groups are the placeholders, in the one way to read them.

    Where a placeholder is a whole folder's name it has nothing that RE2, and so Arrow, would not read the same.
    """
    pieces = list(PIECE.finditer(pattern))
    last = max(at for at, piece in enumerate(pieces) if piece["name"])
    out = ""
    for at, piece in enumerate(pieces[: last + 1]):
        end = pieces[at + 1]["plain"] if at + 1 < len(pieces) else None
        if piece["plain"]:
            out += re.escape(piece["plain"])
            continue
        one = _until(end, "." if piece["star"] == "**" else "[^/]")
        out += f"(?P<{piece['name']}>{one}+)" if piece["name"] else "[^/]" if piece["star"] == "?" else f"{one}*"
    rest = pattern[pieces[last].end() :]
    plain, below, more = rest.partition("**")
    tail = re.escape(plain) + ".*" if below and not more and not set("*?") & set(plain) else expression(rest, path=True)
    return re.compile(out + tail, re.DOTALL)


def _until(end: str | None, one: str) -> str:
    """One character of what runs up to this plain text."""
    if not end or (end[0] == "/" and one == "[^/]"):
        return one
    return f"(?:(?!{re.escape(end)}){one})"
