"""How deep JSON text is nested, and the same text without what is nested too deeply for a decoder. Pure.

Decoders recurse, and how deep they can depends on who calls them. So nobody here gives them what is deep: nothing that
is read lies deeper than a few levels, and what lies deeper than READ levels is null to every decoder.
"""

from __future__ import annotations

import re
from itertools import accumulate

READ = 100
"""Levels that are decoded: what is read of a record lies within six, the envelopes of a message add a few."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*"'
_TOKEN = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_TEXT = re.compile(_STRING, re.DOTALL)
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)).difference(_STEP))


def levels(text: bytes) -> int:
    """How many arrays and objects lie in each other where the text is nested deepest."""
    brackets = _TEXT.sub(b"", text).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def openings(text: bytes) -> int:
    """How many brackets the text has that may open an array or an object: it is nested no deeper, and this is quick."""
    return text.count(b"[") + text.count(b"{")


def shallow(text: bytes) -> bytes:
    """The same JSON with null in the place of every array and object that lies deeper than READ levels."""
    if openings(text) <= READ:
        return text
    parts, depth, kept = [], 0, 0
    for token in _TOKEN.finditer(text):
        step = _STEP.get(token[0][0], 0)
        if step > 0 and depth == READ:
            parts += [text[kept : token.start()], b"null"]
        depth += step
        if step < 0 and depth == READ:
            kept = token.end()
    return b"".join([*parts, text[kept:] if depth <= READ else b""])
