"""How much one file, record, line or message may be: what is more is refused, and the reason names the limit. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, but for nesting.

    inflated: what a file may inflate to (a CloudTrail file has at most 50 MB compressed, inflated about 10 times that).
    record: of a CloudTrail record (AWS writes at most 256 KB, 1 MB where "large events" are on).
    nesting: arrays and objects within each other, of a CloudTrail record or a message. AWS nests about ten. The default
    is more than any decoder takes, so that it costs nothing to hold: what a decoder takes is within it. A limit below
    that is held as exactly, and every file's brackets are counted for it.
    line: of an access log.
    message: what a gzipped message of the queue may inflate to (a message has at most 1 MiB, and a poll takes many).
    """

    inflated: int = 1 << 30
    record: int = 16 << 20
    nesting: int = 20_000
    line: int = 64 << 10
    message: int = 8 << 20


LIMITS = Limits()
