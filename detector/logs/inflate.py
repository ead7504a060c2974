"""Bounded inflation of gzip. Pure.

All members of a concatenated file are read. A file that breaks off gives what came before the break, and says so.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from isal import isal_zlib

GZIP_MAGIC = b"\x1f\x8b"
MAX_INFLATED = 2 << 30
"""Bytes a file may inflate to (CloudTrail files are at most 50 MB compressed, about 10 times that inflated)."""
_GZIP = 31
_BROKEN: tuple[type[Exception], ...] = (isal_zlib.IsalError, zlib.error, EOFError)  # type: ignore[assignment]  # its stub calls a class an instance


class Inflated(NamedTuple):
    """Content, and why it is not all there (empty if it is)."""

    data: bytes
    problem: str = ""


def inflate(data: bytes, limit: int = MAX_INFLATED) -> Inflated:
    """Inflate gzip; other content is returned as it is."""
    if not data.startswith(GZIP_MAGIC):
        return Inflated(data)
    parts: list[bytes] = []
    size, rest = 0, data
    while rest.startswith(GZIP_MAGIC):
        member = isal_zlib.decompressobj(_GZIP)
        try:
            parts.append(member.decompress(rest, limit - size + 1))
        except _BROKEN as error:
            return Inflated(b"".join(parts) + _good_part(rest, limit - size), f"broken gzip: {error}")
        size += len(parts[-1])
        if size > limit:
            return Inflated(b"".join(parts)[:limit], f"inflates to more than {limit} bytes; the rest was not read")
        if not member.eof:
            return Inflated(b"".join(parts), "broken gzip: the file ends before its content does")
        rest = member.unused_data
    if rest.strip(b"\0"):
        return Inflated(b"".join(parts), f"broken gzip: {len(rest)} bytes after the end that are no gzip")
    return Inflated(b"".join(parts))


def _good_part(data: bytes, limit: int) -> bytes:
    """What can be inflated before a damaged place: fed in small pieces, until one fails."""
    member, out, size = zlib.decompressobj(_GZIP), [], 0
    for start in range(0, len(data), 1024):
        try:
            out.append(member.decompress(data[start : start + 1024], max(1, limit - size)))
        except zlib.error:
            break
        size += len(out[-1])
    return b"".join(out)
