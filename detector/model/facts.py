"""Facts by 64-bit key, each with a number: what was first touched when, how many read where. Pure.

What is new lies in Segments, for the checkpoint, which holds it as runs and lets them leave memory. Whoever asks looks
in two sorted arrays, one large and one small, so that an answer costs two binary searches a key; a filter before them
spares most of these to what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.core.access import I64, U64, Index, Mask
from detector.core.bloom import FULL, Bloom
from detector.core.part import Run
from detector.core.runs import Segments, concat
from detector.core.window import starts_of_runs

NONE = -1
SMALL = 1 << 12
"""Facts the small array holds at least, before it is put into the large one."""
SMALLEST = 1 << 6
"""Words of the filter at least."""


def smallest(runs: Sequence[Run]) -> Run:
    """Runs as one, by key; of rows alike in key that of the smallest number."""
    return _merged(runs, np.minimum)


def largest(runs: Sequence[Run]) -> Run:
    """Runs as one, by key; of rows alike in key that of the largest number."""
    return _merged(runs, np.maximum)


def _merged(runs: Sequence[Run], better: np.ufunc) -> Run:
    key, number = concat(runs)
    if (key[1:] > key[:-1]).all():
        return key, number
    order = np.argsort(key, kind="stable")
    key, number = key[order], number[order]
    starts = starts_of_runs(key)
    return key[starts], better.reduceat(number, starts) if len(starts) else number


class Facts:
    """Key → number. `most`: of numbers for one key the largest counts, else the smallest."""

    def __init__(self, name: str, *, most: bool = False) -> None:
        self._merge: Callable[[Sequence[Run]], Run] = largest if most else smallest
        self._better = np.maximum if most else np.minimum
        self.runs = Segments(name, self._merge)
        self._large, self._small = _nothing(), _nothing()
        self._filter = Bloom(SMALLEST)

    def __len__(self) -> int:
        return len(self._large[0]) + len(self._small[0])

    @property
    def nbytes(self) -> int:
        """Bytes of what is looked in."""
        return self._filter.nbytes + sum(column.nbytes for run in (self._large, self._small) for column in run)

    def get(self, keys: U64) -> I64:
        """The number of each of these keys, in any order; `NONE` where there is none."""
        found = np.full(len(keys), NONE, np.int64)
        if not len(keys):
            return found
        (rows,) = self._filter.may_hold(keys).nonzero()
        asked = keys[rows]
        for known, number in (self._large, self._small):
            if len(known) and len(asked):
                at = known.searchsorted(asked)
                at[at == len(known)] = 0
                hit = known[at] == asked
                mine, new = rows[hit], number[at[hit]].astype(np.int64)
                old = found[mine]
                found[mine] = np.where(old == NONE, new, self._better(old, new))
        return found

    def put(self, keys: U64, numbers: I64) -> None:
        """Put these in; numbers are 0 to 2^32 - 1."""
        if len(keys):
            run = self._merge([(keys, numbers.astype(np.uint32))])
            self.runs.append(0, run)
            self._take(run)

    def keep(self, wanted: Callable[[Run], Mask]) -> None:
        """Let go of all others."""
        run = self._merge([self._large, self._small])
        kept = wanted(run)
        if not kept.all():
            self._large, self._small = tuple(column[kept] for column in run), _nothing()
            self.runs.replace(0, self._large)
            self._refill()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint."""
        runs: list[Run] = [_nothing()]
        self.runs.restore(parts, runs.append)
        self._large, self._small = self._merge(runs), _nothing()
        self._refill()

    def all(self) -> Run:
        """Every fact."""
        return self._merge([self._large, self._small])

    def _take(self, run: Run) -> None:
        self._small = self._with(self._small, run)
        if len(self._small[0]) > max(SMALL, len(self._large[0]) // 8):
            self._large, self._small = self._with(self._large, self._small), _nothing()
        self._filter.add(run[0])
        if self._filter.full:
            self._refill()

    def _refill(self) -> None:
        """A filter of the right size, of all that is there."""
        words = 1 << (2 * len(self) // FULL).bit_length()
        self._filter = Bloom(max(words, SMALLEST))
        for keys, _ in (self._large, self._small):
            self._filter.add(keys)

    def _with(self, known: Run, more: Run) -> Run:
        """Both by key; without sorting anything where no key is in both."""
        if not len(known[0]):
            return more
        at = np.searchsorted(known[0], more[0])
        if (known[0][np.minimum(at, len(known[0]) - 1)] == more[0]).any():
            return self._merge([known, more])
        place = at + np.arange(len(at))
        others = np.ones(len(known[0]) + len(at), np.bool_)
        others[place] = False
        return tuple(_woven(one, new, place, others) for one, new in zip(known, more, strict=True))


def _woven(known: npt.NDArray[Any], new: npt.NDArray[Any], place: Index, others: Mask) -> npt.NDArray[Any]:
    woven = np.empty(len(others), known.dtype)
    woven[place], woven[others] = new, known
    return woven


def _nothing() -> Run:
    return np.zeros(0, np.uint64), np.zeros(0, np.uint32)
