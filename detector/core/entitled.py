"""What a session's name entitles it to, and which records lie outside of it. Pure.

What was captured from a name is compared letter by letter: a session that calls itself `*` may touch `*/`, no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import numpy as np

from detector.core.access import AccessBatch, Column, Index
from detector.core.conditions import PRINCIPAL_FIELDS
from detector.core.finding import prefix_of
from detector.core.globs import expression
from detector.core.kinds.scope import PIECE, Scope
from detector.core.principal import Principal

Captured = dict[str, str]
REMEMBERED = 4096
"""Principals whose entitlements are kept compiled."""


class Entitlements:
    """Which records lie outside of what a rule allows. by_folder: of a key only its folder matters."""

    def __init__(self, rule: Scope) -> None:
        self._names = [_capturing(pattern) for pattern in rule.session_name or ()]
        self._roles = [_capturing(pattern) for pattern in rule.role or ()]
        self._allowed = {
            name: patterns for name in ("bucket", "key") if (patterns := getattr(rule, f"allowed_{name}")) is not None
        }
        self.by_folder = all(pattern == "**" or pattern.endswith("/**") for pattern in rule.allowed_key or ())
        self._of = lru_cache(maxsize=REMEMBERED)(self._entitlements)

    def outside(self, batch: AccessBatch, rows: Index) -> Index:
        """Those of these rows that are not allowed: each principal, bucket and folder is looked at once.

        A row without a key, or without a bucket, where this is asked for, is none of them.
        """
        columns = {name: self._texts(batch, name, rows) for name in self._allowed}
        there = np.logical_and.reduce([batch.who[rows] >= 0, *(column.codes >= 0 for column in columns.values())])
        rows, columns = rows[there], {name: column.take(there) for name, column in columns.items()}
        combined = batch.who[rows].astype(np.int64)
        for column in columns.values():
            combined = combined * len(column.values) + column.codes
        _, first, of_row = np.unique(combined, return_index=True, return_inverse=True)
        allowed = [
            self._allows(batch.principals[int(batch.who[rows[at]])], {n: c.text(at) or "" for n, c in columns.items()})
            for at in first.tolist()
        ]
        return rows[~np.array(allowed, np.bool_)[of_row]] if len(rows) else rows

    def _texts(self, batch: AccessBatch, name: str, rows: Index) -> Column:
        """What is compared of these rows: of a key only the folder, where the patterns look at no more."""
        column = batch.text[name].take(rows)
        if name == "bucket" or not self.by_folder:
            return column
        texts = [*column.values, None]
        return Column.of([None if (key := texts[code]) is None else prefix_of(key) for code in column.codes.tolist()])

    def _allows(self, who: Principal, texts: dict[str, str]) -> bool:
        return any(all(bound[name].fullmatch(text) for name, text in texts.items()) for bound in self._of(who))

    def _entitlements(self, who: Principal) -> list[dict[str, re.Pattern[str]]]:
        """Each way to read the principal's name and role, as expressions of what it allows."""
        names = list(_captures(self._names, (who.session_name,)))
        roles = list(_captures(self._roles, PRINCIPAL_FIELDS["role"](who)))
        return [
            {name: _bound(patterns, one | other, path=name == "key") for name, patterns in self._allowed.items()}
            for one, other in product(names, roles)
            if all(other.get(name, text) == text for name, text in one.items())
        ]


def _captures(patterns: list[re.Pattern[str]], texts: tuple[str | None, ...]) -> Iterator[Captured]:
    """What each pattern that fits captures; where no pattern is given, everybody fits and nothing is captured."""
    if not patterns:
        yield {}
    for pattern in patterns:
        for text in texts:
            if text is not None and (match := pattern.fullmatch(text)):
                yield match.groupdict()
                break


def _capturing(pattern: str) -> re.Pattern[str]:
    """The expression that captures a pattern's placeholders, in the one way there is."""
    pieces = list(PIECE.finditer(pattern))
    last = max((at for at, piece in enumerate(pieces) if piece["name"]), default=-1)
    out, seen = "", set[str]()
    for at, piece in enumerate(pieces):
        end = pieces[at + 1]["plain"] if at + 1 < len(pieces) else None
        one = f"(?:(?!{re.escape(end)}).)" if end and at <= last else "."
        if piece["name"] in seen:
            out += f"(?P={piece['name']})"
        elif piece["name"]:
            out += f"(?P<{piece['name']}>{one}+)"
            seen.add(piece["name"])
        elif piece["star"]:
            out += "." if piece["star"] == "?" else f"{one}*"
        else:
            out += re.escape(piece["plain"])
    return re.compile(out, re.DOTALL)


def _bound(patterns: tuple[str, ...], captured: Captured, *, path: bool) -> re.Pattern[str]:
    """The globs with what was captured in them, letter by letter."""
    one = ("".join(_filled(piece, captured, path=path) for piece in PIECE.finditer(pattern)) for pattern in patterns)
    return re.compile("|".join(f"(?:{text})" for text in one), re.DOTALL)


def _filled(piece: re.Match[str], captured: Captured, *, path: bool) -> str:
    return re.escape(captured[piece["name"]]) if piece["name"] else expression(piece[0], path=path)
