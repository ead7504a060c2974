"""S3 server access logs: bytes → rows. Pure.

One row or one reject for every line that is not blank, in the order of the lines. The usual lines of a block of lines
(`usual_lines.py`) become columns together (`usual_columns.py`); every other line goes to the exact parser of
`access_line.py`. A usual line has only one reading, so both agree on it, whatever the requester wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from detector.core.access import Row
from detector.core.builder import BatchBuilder, concat
from detector.logs.access_line import row_of
from detector.logs.limits import LIMITS
from detector.logs.usual_columns import columns
from detector.logs.usual_lines import usual_lines

_BLOCK = 1 << 20
"""Bytes that are looked at together: what is made of them fits into the processor's caches."""
_FEW = 20_000
"""Bytes of so few lines that looking at them together costs more than reading each exactly."""
_BEGINNING = re.compile(rb"[^ ]++ [^ ]++ \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] (?:[0-9A-Fa-f.:]++|-) ")


def looks_like(head: bytes) -> bool:
    """Whether a file that begins with `head` looks like an access log: one of its first 20 lines does."""
    return any(_BEGINNING.match(line) for line in head.split(b"\n", 20)[:20])


def parse(data: bytes, name: str, into: BatchBuilder, longest_line: int = LIMITS.line) -> None:
    """Add a row or a reject to `into` for every line of `data`; `name` is the file rejects are filed under.

    Reasons: `line_too_long`, and those of `access_line.row_of`.
    """
    if len(data) < _FEW:
        for _, row in _exactly(enumerate(data.split(b"\n"), 1), name, into, longest_line):
            into.add(row)
        return
    lines_before = 0
    for block in _blocks(data):
        lines_before += _take(block, lines_before, name, into, longest_line)


def _blocks(data: bytes) -> Iterator[bytes]:
    """The lines in blocks; each ends with a line break. A line that is longer than a block is one of its own."""
    at = 0
    while at < len(data):
        end = len(data) if at + _BLOCK >= len(data) else data.rfind(b"\n", at, at + _BLOCK) + 1
        end = end or data.find(b"\n", at) + 1 or len(data)
        yield data[at:end] if data[end - 1] == ord("\n") else data[at:end] + b"\n"
        at = end


def _take(block: bytes, lines_before: int, name: str, into: BatchBuilder, longest_line: int) -> int:
    """Take in the lines of a block; how many it has."""
    usual, begin, end = usual_lines(block, longest_line)
    other = np.ones(len(begin), np.bool_)
    other[usual.places.number] = False
    others = ((lines_before + n + 1, block[begin[n] : end[n]]) for n in np.flatnonzero(other).tolist())
    rows = list(_exactly(others, name, into, longest_line))
    pieces = [columns(usual, into)] if len(usual) else []
    if rows:
        pieces.append(into.turned([row for _, row in rows]))
        order = np.argsort(np.append(usual.places.number, [number - lines_before - 1 for number, _ in rows]))
        into.extend(concat(pieces, into.columns).take(order))
    elif pieces:
        into.extend(pieces[0])
    return len(begin)


def _exactly(
    lines: Iterable[tuple[int, bytes]], name: str, into: BatchBuilder, longest_line: int
) -> Iterator[tuple[int, Row]]:
    """The rows of numbered lines; those that are none, and not blank, are rejected."""
    for number, line in lines:
        if line.strip():
            row = _row(line, longest_line)
            if isinstance(row, Row):
                yield number, row
            else:
                into.reject(name, number, *row)


def _row(line: bytes, longest_line: int) -> Row | tuple[str, str]:
    """A line's row, or why there is none, and more about it."""
    if len(line) > longest_line:
        return "line_too_long", f"{len(line):,} bytes; limits.line is {longest_line:,}"
    row = row_of(line.rstrip(b"\r").decode("utf-8", "replace"))
    return row if isinstance(row, Row) else (row, "")
