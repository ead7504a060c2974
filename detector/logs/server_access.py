"""S3 server access logs: bytes → rows. Pure.

One row or one reject for every line that is not blank, in the order of the lines. The usual lines, if there is a kernel
to find them (`usual_lines.py`), become columns together (`usual_columns.py`); every other line goes to the exact parser
of `access_line.py`. A usual line has only one reading, so both agree on it, whatever the requester wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from detector.core.access import Row
from detector.core.builder import BatchBuilder, concat
from detector.logs import kernel
from detector.logs.access_line import row_of
from detector.logs.limits import LIMITS
from detector.logs.usual_columns import columns, told_apart
from detector.logs.usual_lines import LARGEST, UsualLines, usual_lines

PIECE = 1 << 30
"""Bytes of a log that the kernel is given."""
FEW = 10_000
"""Bytes of so few lines that looking at them together costs more than reading each exactly."""
_BEGINNING = re.compile(rb"[^ ]++ [^ ]++ \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] (?:[0-9A-Fa-f.:]++|-) ")


def looks_like(head: bytes) -> bool:
    """Whether a file that begins with `head` looks like an access log: one of its first 20 lines does."""
    return any(_BEGINNING.match(line) for line in head.split(b"\n", 20)[:20])


def parse(data: bytes, name: str, into: BatchBuilder, longest_line: int = LIMITS.line) -> None:
    """Add a row or a reject to `into` for every line of `data`; `name` is the file rejects are filed under.

    Reasons: `line_too_long`, and those of `access_line.row_of`.
    """
    lines_before = 0
    for piece in _pieces(data):
        if kernel.BUILT and FEW <= len(piece) <= LARGEST:
            lines_before += _together(piece, lines_before, name, into, longest_line)
        else:
            lines = piece.split(b"\n")
            for _, row in _exactly(enumerate(lines, lines_before + 1), name, into, longest_line):
                into.add(row)
            lines_before += len(lines) - 1


def _pieces(data: bytes) -> Iterator[bytes]:
    """The lines in pieces; all but the last end with a line break. A line that is longer than one is one of its own."""
    at = 0
    while at < len(data):
        end = len(data) if at + PIECE >= len(data) else data.rfind(b"\n", at, at + PIECE) + 1
        end = end or data.find(b"\n", at) + 1 or len(data)
        yield data[at:end]
        at = end


def _together(data: bytes, lines_before: int, name: str, into: BatchBuilder, longest_line: int) -> int:
    """Take in lines, many at a time; how many there are."""
    asked, lines, at = told_apart(into.columns), 0, 0
    while at < len(data):
        usual = usual_lines(data, at, longest_line, asked)
        _take(usual, lines_before + lines, name, into, longest_line)
        lines += usual.lines
        at = usual.end
    return lines


def _take(usual: UsualLines, lines_before: int, name: str, into: BatchBuilder, longest_line: int) -> None:
    """Take in usual lines, and those among them that are not."""
    others = ((lines_before + number + 1, usual.data[begin:end]) for number, begin, end in usual.others)
    rows = list(_exactly(others, name, into, longest_line))
    pieces = [columns(usual, into)] if len(usual) else []
    if rows:
        pieces.append(into.turned([row for _, row in rows]))
        order = np.argsort(np.append(usual.number, [number - lines_before - 1 for number, _ in rows]))
        into.extend(concat(pieces, into.columns).take(order))
    elif pieces:
        into.extend(pieces[0])


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
