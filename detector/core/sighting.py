"""What was seen of 64-bit keys, and in which hour last: memory holds of it what it has room for. Pure.

Rules of this file
- Rows are (key, tie, hour, …). Of rows alike in key and tie the one seen last stays; so what is put in again costs
  one row until the next merge, and nobody has to know what is in already.
- A text lies in rows of `WIDTH` bytes: so it can leave memory as all columns do. The place of its n-th row is a hash of
  its key and n, and its tie the key, so that the rows of many texts are found at once.
- `Texts` keeps in a table of bounded size what was put in lately: that spares nearly all repeated rows. What waits is
  in it, too, with its hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.core.access import I64, U64, Index
from detector.core.part import Run
from detector.core.runs import Segments, concat
from detector.core.table import SPREAD, Table
from detector.core.window import by_value, starts_of_runs

PARTITION_BITS = 4
_FIRSTS = np.arange(1, 1 << PARTITION_BITS, dtype=np.uint64) << np.uint64(64 - PARTITION_BITS)
"""The smallest key of every partition but the first."""
WIDTH = 64
LENGTH = 4
"""Bytes before a text that say how long it is."""
LATELY = 1 << 19
"""Keys that are known to be in; more are forgotten, and put in once more when they are met."""
AT_ONCE = 1 << 14
"""Texts that are made rows together: that takes three times their memory."""
OVERHEAD = 140
"""Bytes of a text that waits beside its own, about."""


def latest(runs: Sequence[Run]) -> Run:
    """Runs as one, by key; of rows alike in key and tie the one of the latest hour. Of several each is sorted."""
    run = concat(runs)
    order = np.argsort(run[0], kind="stable" if len(runs) > 1 else None)  # which merges what is sorted
    key = run[0][order]
    if (key[1:] == key[:-1]).any():
        order = np.lexsort((~run[2], run[1], run[0]))
        order = order[starts_of_runs(run[0][order], run[1][order])]
    return tuple(np.take(column, order) for column in run)  # three times as fast as by index, of wide rows


class Sightings(Segments):
    """Rows of (key, tie, hour, …), cut by the highest bits of the key."""

    def __init__(self, name: str) -> None:
        super().__init__(name, latest)

    def add(self, key: U64, tie: U64, hour: I64, *content: npt.NDArray[Any]) -> None:
        """Put in these rows."""
        run = latest([(key, tie, hour.astype(np.int32), *content)])
        bounds = [0, *np.searchsorted(run[0], _FIRSTS).tolist(), len(run[0])]
        for partition, (first, end) in enumerate(pairwise(bounds)):
            self.append(partition, tuple(column[first:end].copy() for column in run))

    def rows(self, key: int) -> list[Run]:
        """Runs of the rows of a key. A row may be among them more than once."""
        partition = key >> 64 - PARTITION_BITS
        return [part.span(key, key) for part in self.parts(partition, partition)]

    def find(self, keys: U64) -> Iterator[tuple[Index, Run]]:
        """Which of these keys are there, and their rows without the key; for keys of one row each."""
        order = np.argsort(keys)
        keys = keys[order]
        for partition, rows in _by_partition(keys):
            for part in self.parts(partition, partition):
                for hit, run in part.find(keys[rows]):
                    yield order[rows][hit], run

    def merged(self) -> Iterator[Run]:
        """All rows, sorted by key, one partition at a time."""
        for partition in self.segments():
            yield latest([part.whole() for part in self.parts(partition, partition)])

    def taken(self) -> Iterator[Run]:
        """As `merged`; they are let go thereby."""
        for partition, run in zip(self.segments(), self.merged(), strict=True):
            self.replace(partition, tuple(column[:0] for column in run))
            yield run

    def forget_before(self, hour: int) -> None:
        """Let go of what was not seen since."""

        def kept(run: Run) -> Run:
            lasting = run[2] >= hour
            return run if lasting.all() else tuple(column[lasting] for column in run)

        for partition in self.segments():
            self.rewrite(partition, kept)


class Texts(Sightings):
    """Key → bytes. `slack`: hours for which it need not be noted that a key was seen again.

    A text waits, as it came, until it has to be written or leave memory: a replay asks for few, and ends before that.
    before: what is to be done while all that waited are still at hand.
    """

    def __init__(self, name: str, slack: int = 0, before: Callable[[], None] = lambda: None) -> None:
        super().__init__(name)
        self._before = before
        self._slack = slack
        self._lately = Table()
        self._waiting: dict[int, bytes] = {}
        self._size = 0

    def put(self, keys: U64, hour: I64, texts: Callable[[list[int]], list[bytes]]) -> Index:
        """Note that these distinct keys were seen. `texts`: of the keys at these indices, which are put in.

        Returns the indices of the keys that were.
        """
        noted = self._lately.values_of(keys).astype(np.int64)
        new = np.flatnonzero((noted == 0) | (noted + self._slack <= hour))
        if len(new):
            self._note(keys[new], hour[new])
            some = dict(zip(keys[new].tolist(), texts(new.tolist()), strict=True))
            self._size += sum(map(len, some.values())) + OVERHEAD * len(some)
            self._waiting |= some
        return new

    def of(self, keys: U64) -> dict[int, bytes]:
        """The text of each of these keys that has one."""
        here = {key: self._waiting[key] for key in keys.tolist() if key in self._waiting}
        return here | self._written(np.array([key for key in keys.tolist() if key not in here], np.uint64))

    def changes(self) -> dict[str, bytes | None]:
        """As of all segments; nothing waits afterwards."""
        self._write_all()
        return super().changes()

    def held(self) -> int:
        """Bytes in memory."""
        return super().held() + self._size

    def tidy(self, most: int) -> None:
        """As of all segments; nothing waits afterwards."""
        self._write_all()
        super().tidy(most)

    def forget_before(self, hour: int) -> None:
        """Let go of what was not seen since."""
        self._write_all()
        super().forget_before(hour - self._slack)
        self._lately = Table()

    def _written(self, keys: U64) -> dict[int, bytes]:
        texts = self._pieces(keys, 0)
        short, number = texts, 0
        while short := {key: texts[key] for key in short if _rows(texts[key]) * WIDTH > len(texts[key])}:
            number += 1
            more = self._pieces(np.fromiter(short, np.uint64, len(short)), number)
            texts |= {key: short[key] + piece for key, piece in more.items()}
            short = {key: texts[key] for key in more}
        return {key: text[LENGTH : LENGTH + _length(text)] for key, text in texts.items()}

    def _note(self, keys: U64, hour: I64) -> None:
        if len(self._lately) + len(keys) > LATELY:
            self._write_all()
            self._lately = Table()
        self._lately.put(keys, (hour + 1).astype(np.uint64))  # never 0, which is the value of whoever is not there

    def _write_all(self) -> None:
        """Make rows of what waits; each was seen in the hour that is noted."""
        if not self._waiting:
            return
        self._before()
        keys, texts = np.fromiter(self._waiting, np.uint64, len(self._waiting)), [*self._waiting.values()]
        hour = self._lately.values_of(keys).astype(np.int64) - 1
        for first in range(0, len(texts), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            self._write(keys[some], hour[some], texts[some])
        self._waiting, self._size = {}, 0

    def _write(self, keys: U64, hour: I64, texts: list[bytes]) -> None:
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        counts = -(-(LENGTH + lengths) // WIDTH)
        starts = np.cumsum(counts) - counts
        piece = np.zeros(int(counts.sum()), f"V{WIDTH}")
        for count in np.unique(counts).tolist():
            some = np.flatnonzero(counts == count)
            chosen = texts if len(some) == len(texts) else [texts[at] for at in some.tolist()]
            sized = np.zeros(len(some), [("length", "<u4"), ("text", f"S{count * WIDTH - LENGTH}")])
            sized["length"], sized["text"] = lengths[some], chosen
            piece[starts[some, None] + np.arange(count)] = sized.view(piece.dtype).reshape(len(some), count)
        owner = np.repeat(keys, counts)
        number = np.arange(len(owner)) - np.repeat(starts, counts)
        self.add(_place(owner, number), owner, np.repeat(hour, counts), piece)

    def _pieces(self, keys: U64, number: int) -> dict[int, bytes]:
        """The row of this number of each of these keys that has one."""
        found: dict[int, bytes] = {}
        for at, (owner, _, piece) in self.find(_place(keys, number)):
            mine = owner == keys[at]
            found.update(zip(owner[mine].tolist(), piece[mine].tolist(), strict=True))
        return found


def _by_partition(keys: U64) -> Iterator[tuple[int, Index | slice]]:
    return by_value((keys >> np.uint64(64 - PARTITION_BITS)).astype(np.int64))


def _place(keys: U64, number: int | I64) -> U64:
    place: U64 = keys + np.asarray(number, np.uint64) * SPREAD
    return place


def _length(sized: bytes) -> int:
    return int.from_bytes(sized[:LENGTH], "little")


def _rows(sized: bytes) -> int:
    return -(-(LENGTH + _length(sized)) // WIDTH)
