"""The usual lines of a server access log, as the kernel finds them: what it is asked and what it answers. Pure.

A line is usual if what stands left of its referer leaves nothing to choose; `_lines.c` says what that is. The exact
parser of `access_line.py` has no other reading of it either, whatever the requester wrote. A line that is not usual is
not wrong: it is read by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.core.access import I32, I64, U64, Column
from detector.logs import kernel

_Slices = npt.NDArray[np.int32]

OWNER, BUCKET, ADDRESS, WHO, REQUEST_ID, OPERATION, KEY, TARGET, RESULT, RIGHT, AFTER_HOST_ID = range(11)
"""Columns of texts, as written. WHO: a space and the requester; of nobody (`-`) a space, address, space and requester.
TARGET: of the request. RESULT: status and error. RIGHT: all after turn-around, or only up to the host id: what comes
after that is then AFTER_HOST_ID, and what is left out takes part in nothing. Bucket, address, request id and key are
null where the log has its sign for nothing.
"""
_COLUMNS = 11
_NUMBERS, _OTHERS = 5, 3

ROOM = 8_192
"""Lines that are looked at together: what is made of them fits into the processor's caches."""
_SHORTEST = 128
"""Bytes of lines for each of which there is room at once; of shorter ones fewer are looked at together."""
LARGEST = (1 << 31) - 1
"""Bytes of a log in which the kernel can tell places."""


@dataclass(frozen=True, slots=True)
class UsualLines:
    """n usual lines of a log.

    number: of each line, from 0 for the first that was looked at. time: epoch seconds. sent: bytes. id: hash of the
    dedup id. event_id: the dedup id itself, a hash. slices (columns, n, 2): where texts lie; of a key with a percent
    sign the end is negative. others: number, begin and end of every line that is not usual. end: where the next begins.
    """

    data: bytes
    number: I64
    time: I64
    sent: I64
    id: U64
    event_id: U64
    slices: _Slices
    _codes: _Slices
    _firsts: _Slices
    _counts: list[int]
    others: list[list[int]]
    end: int

    def __len__(self) -> int:
        return len(self.number)

    @property
    def lines(self) -> int:
        """How many lines were looked at."""
        return len(self) + len(self.others)

    def column(self, column: int) -> Column:
        """A column of those whose texts are told apart."""
        slices = self.slices[column, self.firsts(column)]
        texts: list[str] = kernel.texts((self.data,), slices, False)  # type: ignore[assignment]  # they are there
        return Column(self.codes(column).copy(), texts)

    def texts(self, column: int) -> list[str | None]:
        """A column's text of every line; None also for one with a percent sign."""
        return kernel.texts((self.data,), self.slices[column], False)

    def codes(self, column: int) -> I32:
        """Which lines have the same text, of columns whose texts are told apart; -1 for null."""
        codes: I32 = self._codes[column]
        return codes

    def firsts(self, column: int) -> I32:
        """The lines in which a column's texts come first."""
        firsts: I32 = self._firsts[column, : self._counts[column]]
        return firsts


def usual_lines(data: bytes, at: int, longest_line: int, asked: frozenset[int]) -> UsualLines:
    """The usual lines from `at` on, none longer than so many bytes. asked: columns whose texts are to be told apart.

    Not all of a log at once: `UsualLines.end` tells where to go on.
    """
    room = min(ROOM, 16 + (len(data) - at) // _SHORTEST)
    slices = np.empty((_COLUMNS, room, 2), np.int32)
    codes, firsts = np.empty((2, _COLUMNS, room), np.int32)
    counts = np.zeros(_COLUMNS, np.int32)
    numbers, others = np.empty((_NUMBERS, room), np.int64), np.empty((_OTHERS, room), np.int32)
    filled = (slices, codes, firsts, counts, numbers, others)
    wanted = bytes(column in asked for column in range(_COLUMNS))
    rows, odd, end = kernel.usual_lines(data, at, longest_line, wanted, kernel.SEED, room, *filled)
    number, time, sent, id_, event_id = numbers[:, :rows].copy()
    return UsualLines(
        data, number, time, sent, id_.view(np.uint64), event_id.view(np.uint64), slices[:, :rows], codes[:, :rows],
        firsts, counts.tolist(), others[:, :odd].T.tolist(), end,
    )  # fmt: skip
