"""Kind `scope`: a session may only touch what its name entitles it to. Pure; `detector.core.entitled` judges.

Patterns have placeholders, which stand for the same text wherever they are: `contractor-{id}` and `{id}/**`. A name is
read in one way only: a placeholder, and a `*` before one, runs up to where the plain text after it comes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal

from detector.core.fields import Measure, Texts
from detector.core.kinds.windowed import Limit, Window, Windowed

PIECE = re.compile(r"\{(?P<name>[a-z][a-z0-9_]*)\}|(?P<star>\*\*|\*|\?)|(?P<plain>[^{}*?]+)|(?P<brace>[{}])")
CAPTURING = ("session_name", "role")
BOUND = ("allowed_key", "allowed_bucket")


class Scope(Windowed):
    """Fires when a session touches what its name, or its role's, does not entitle it to. Others may nothing."""

    kind: Literal["scope"]
    session_name: Texts | None = None
    """patterns of session names with placeholders; it or `role` is required"""
    role: Texts | None = None
    """patterns of the role's ARN or id with placeholders; with both, both have to fit"""
    allowed_key: Texts | None = None
    """globs of keys, in which placeholders stand for what was captured; it or `allowed_bucket` is required"""
    allowed_bucket: Texts | None = None
    """globs of buckets, likewise; with both, both have to fit"""
    measure: Measure = "requests"
    """what is counted of the records out of scope"""
    window: Window = 3600
    """a duration, as of thresholds"""
    threshold: Limit = 1
    """fires at or above it"""

    @classmethod
    def contradictions(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """As for all that count in a window; patterns that cannot be read, or name what nothing gives."""
        yield from super().contradictions(fields)
        for some in (CAPTURING, BOUND):
            if not any(fields.get(name) for name in some):
                yield some[0], f"{some[0]}: expected it, or {some[1]}"
        for name in (*CAPTURING, *BOUND):
            for pattern in _patterns(fields, name):
                if trouble := pieces_trouble(pattern, capturing=name in CAPTURING):
                    yield name, f"{name}: {trouble}, got '{pattern}'"
        given = [{*placeholders(p)} for p in _patterns(fields, "session_name")] or [set()]
        of_role = [{*placeholders(p)} for p in _patterns(fields, "role")] or [set()]
        known = set.intersection(*given) | set.intersection(*of_role)
        for name in BOUND:
            for unknown in sorted({n for p in _patterns(fields, name) for n in placeholders(p)} - known):
                yield name, f"{name}: expected a placeholder of every session_name or every role, got '{{{unknown}}}'"

    @property
    def extra_columns(self) -> frozenset[str]:
        """Further columns it looks at."""
        return frozenset(name for name in ("key", "bucket") if getattr(self, f"allowed_{name}"))

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        return f"outside of its name's scope: {super().summary}"


def placeholders(pattern: str) -> list[str]:
    """The names of a pattern's placeholders."""
    return [match["name"] for match in PIECE.finditer(pattern) if match["name"]]


def _patterns(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = fields.get(name)
    texts = (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()
    return tuple(text for text in texts if isinstance(text, str))


def pieces_trouble(pattern: str, *, capturing: bool) -> str:
    """What is wrong with a pattern, if anything is. capturing: its placeholders are to be read from texts."""
    pieces = list(PIECE.finditer(pattern))
    if any(piece["brace"] for piece in pieces):
        return "expected placeholders such as {id}"
    last = max((at for at, piece in enumerate(pieces) if piece["name"]), default=-1)
    unclear = any(not a["plain"] and not b["plain"] for a, b in pairwise(pieces[: last + 2]))
    return "expected plain text around a placeholder" if capturing and unclear else ""
