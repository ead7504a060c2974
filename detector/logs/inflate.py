"""Bounded inflation of gzip. Pure.

All members of a concatenated file are read. A file that breaks off, or is damaged, gives what came before, and says so.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from isal import isal_zlib

from detector.logs.limits import LIMITS

GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 31
_BROKEN: tuple[type[Exception], ...] = (isal_zlib.IsalError, zlib.error, EOFError)  # type: ignore[assignment]  # its stub calls a class an instance
_FEED = 1 << 16
_STEP = 1 << 14
_MOST = 1032
"""Deflate makes at most so many bytes of one."""


class Inflated(NamedTuple):
    """Content, and why it is not all there (empty if it is)."""

    data: bytes
    problem: str = ""


class _Member(NamedTuple):
    """Content of one gzip member, where its data end in the file, and why it is not all there."""

    data: bytes
    end: int
    problem: str = ""


def inflate(data: bytes, limit: int = LIMITS.inflated) -> Inflated:
    """Inflate gzip; nothing of what grows past `limit` bytes. Other content is returned as it is."""
    if not data.startswith(GZIP_MAGIC):
        return Inflated(data)
    parts: list[bytes] = []
    at, left = 0, limit
    while data.startswith(GZIP_MAGIC, at):
        member = _member(data, at, left)
        parts.append(member.data)
        at, left = member.end, left - len(member.data)
        if member.problem or left < 0:
            too_much = f"inflates to more than limits.inflated, {limit:,} bytes: nothing of it was read"
            return Inflated(b"", too_much) if left < 0 else Inflated(b"".join(parts), member.problem)
    junk = len(data) - at if data[at:].strip(b"\0") else 0
    whole = parts[0] if len(parts) == 1 else b"".join(parts)
    return Inflated(whole, f"broken gzip: {junk} bytes after the end that are no gzip" if junk else "")


def _member(data: bytes, start: int, left: int) -> _Member:
    """One member, of which at most `left` + 1 bytes are inflated.

    The first is fed whole, into a buffer of the size that the file's end tells: most files have one member, and a
    buffer that grows costs as much as inflating. Later members are fed in pieces that grow, for what a member leaves
    over is copied, and a file of many small members would be copied as often as it has members.
    """
    inflater, parts, at = isal_zlib.decompressobj(_GZIP), [], start
    feed = _FEED if start else len(data)
    room = left + 1
    told = min(int.from_bytes(data[-4:], "little") + 1, room, len(data) * _MOST) if not start else room
    try:
        while at < len(data) and room > 0 and not inflater.eof:
            parts.append(inflater.decompress(data[at : at + feed], told))
            room -= len(parts[-1])
            while inflater.unconsumed_tail and room > 0:
                parts.append(inflater.decompress(inflater.unconsumed_tail, room))
                room -= len(parts[-1])
            at, feed, told = min(at + feed, len(data)), 2 * feed, room
    except _BROKEN as error:
        return _Member(_good_part(data[start:], left), len(data), f"broken gzip: {error}")
    problem = "" if inflater.eof or room <= 0 else "broken gzip: the file ends before its content does"
    return _Member(parts[0] if len(parts) == 1 else b"".join(parts), at - len(inflater.unused_data), problem)


def _good_part(data: bytes, limit: int) -> bytes:
    """What can be inflated before a damaged place: in steps, and from the step that fails on byte by byte."""
    inflater, out, at, step = zlib.decompressobj(_GZIP), bytearray(), 0, _STEP
    while at < len(data) and len(out) < limit:
        before = inflater.copy() if step > 1 else inflater
        piece = data[at : at + 1024]
        try:
            out += inflater.decompress(piece, min(step, limit - len(out)))
        except zlib.error:
            if step == 1:
                break
            inflater, step = before, 1
        else:
            at += len(piece) - len(inflater.unconsumed_tail)
    return bytes(out)
