"""Globs as expressions: `*` matches anything and `?` one character; in object keys `*` stays within one `/` segment and
`**` crosses segments. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def glob(patterns: Iterable[str], *, path: bool = False) -> re.Pattern[str]:
    """One expression for "any of these globs". `path`: `*` stays within a `/` segment."""
    return re.compile("|".join(f"(?:{expression(pattern, path=path)})" for pattern in patterns), re.DOTALL)


def expression(pattern: str, *, path: bool) -> str:
    """A glob as an expression. `path`: `*` stays within a `/` segment.

    Texts are hostile. Of what follows a wildcard only the first place is tried, since a later one leaves no more to
    the rest; the last wildcard alone goes back, to reach the end. So the time is in proportion to the text, with `*`
    after `**` at most to its square, whatever the pattern.
    """
    *inner, last = pattern.split("**") if path else [pattern]
    before = [_chunk(text, path=path, ends=False) for text in inner]
    after = ".*" if inner else ""
    return "".join([*before[:1], *(f"(?>.*?{one})" for one in before[1:]), after, _chunk(last, path=path, ends=True)])


def _chunk(pattern: str, *, path: bool, ends: bool) -> str:
    """A glob without `**`. ends: the text has to end with it; else as soon as it can."""
    star, one = ("[^/]*", "[^/]") if path else (".*", ".")
    first, *others = ["".join(one if c == "?" else re.escape(c) for c in text) for text in re.split(r"\*+", pattern)]
    last = [star + others.pop()] if ends and others else []
    return "".join([first, *(f"(?>{star}?{text})" for text in others), *last])
