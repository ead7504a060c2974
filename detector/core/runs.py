"""Append-only columns cut into segments: what tallies and seen ids are kept in. Pure.

Rules of this file
- A run is a tuple of equally long arrays, sorted by the first, and never changes once it is in. Appending is cheap;
  whoever reads looks at several runs.
- Runs of one segment are merged in tiers: only when `TIER` of about one size have come together, so that a row is
  rewritten once for every `TIER`-fold growth. What is large enough is merged no more: that bounds the work and memory
  of a merge.
- A checkpoint therefore writes only what is new: `changes()` names the runs that came and went since the last call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.core.access import U64, Index

Run = tuple[npt.NDArray[Any], ...]
Merge = Callable[[Sequence[Run]], Run]

TIER = 8
LARGE = 1 << 18
"""Rows from which on a run is left as it is."""


def concat(runs: Sequence[Run]) -> Run:
    """The runs one after the other."""
    return tuple(np.concatenate(columns) for columns in zip(*runs, strict=True)) if len(runs) > 1 else runs[0]


def encode(run: Run) -> bytes:
    """A run as bytes: a line with the types of its columns, then their content."""
    return b"\n".join((" ".join(column.dtype.str for column in run).encode(), b"".join(c.tobytes() for c in run)))


def decode(data: bytes) -> Run:
    """The run that `encode` wrote."""
    head = data.index(b"\n")
    types = [np.dtype(name) for name in data[:head].decode().split()]
    rows = (len(data) - head - 1) // sum(dtype.itemsize for dtype in types)
    columns, at = [], head + 1
    for dtype in types:
        columns.append(np.frombuffer(data, dtype, rows, at))
        at += rows * dtype.itemsize
    return tuple(columns)


@dataclass(slots=True, eq=False)
class Part:
    """A run and the name it has in a checkpoint."""

    name: str
    run: Run

    def __len__(self) -> int:
        return len(self.run[0])

    def whole(self) -> Run:
        """All its rows."""
        return self.run

    def span(self, first: int, last: int) -> Run:
        """The rows whose first column is in `first` to `last`, both included."""
        low = int(np.searchsorted(self.run[0], np.uint64(first)))
        high = int(np.searchsorted(self.run[0], np.uint64(last), "right"))
        return tuple(column[low:high] for column in self.run)

    def find(self, keys: U64) -> tuple[Index, Run]:
        """Which of these sorted keys are in the first column, and the rows of those (one each)."""
        if not len(self):
            return np.zeros(0, np.intp), self.run
        at = np.minimum(np.searchsorted(self.run[0], keys), len(self) - 1)
        hit = np.flatnonzero(self.run[0][at] == keys)
        return hit, tuple(column[at[hit]] for column in self.run)


class Segments:
    """Runs by segment. `name` heads the names of its parts in a checkpoint."""

    def __init__(self, name: str, merge: Merge = concat) -> None:
        self.name = name
        self._merge = merge
        self._parts: dict[int, list[Part]] = {}
        self._next = 0
        self._fresh: dict[str, Part] = {}
        self._gone: set[str] = set()

    def __len__(self) -> int:
        return sum(len(part) for parts in self._parts.values() for part in parts)

    def add(self, segment: int, run: Run) -> None:
        """Append a run to a segment, and merge where enough of one size have come together."""
        if not len(run[0]):
            return
        parts = self._parts.setdefault(segment, [])
        parts.append(self._enter(segment, run))
        while (tier := _tier(len(parts[-1]))) < _tier(LARGE):
            if sum(1 for part in parts if _tier(len(part)) == tier) < TIER:
                return
            alike = [part for part in parts if _tier(len(part)) <= tier]
            parts[:] = [part for part in parts if _tier(len(part)) > tier]
            parts.append(self._enter(segment, self._merge([part.whole() for part in alike])))
            self._leave(alike)

    def parts(self, first: int, last: int) -> Iterator[Part]:
        """The parts of these segments, both included."""
        few = last - first < len(self._parts)
        wanted: Sequence[int] = range(first, last + 1) if few else sorted(s for s in self._parts if first <= s <= last)
        for segment in wanted:
            yield from self._parts.get(segment, ())

    def segments(self) -> list[int]:
        """The segments that hold something, in order."""
        return sorted(self._parts)

    def drop(self, segment: int, part: Part) -> None:
        """Let go of one part."""
        self._parts[segment].remove(part)
        self._leave([part])
        if not self._parts[segment]:
            del self._parts[segment]

    def replace(self, segment: int, run: Run) -> None:
        """This run instead of all that the segment held."""
        self._leave(self._parts.pop(segment, ()))
        self.add(segment, run)

    def drop_before(self, segment: int) -> bool:
        """Let go of all segments before this one; whether there were any."""
        old = [s for s in self._parts if s < segment]
        for s in old:
            self._leave(self._parts.pop(s))
        return bool(old)

    def changes(self) -> dict[str, bytes | None]:
        """Parts that came (bytes) and went (None) since the last call."""
        out: dict[str, bytes | None] = dict.fromkeys(self._gone)
        out |= {name: encode(part.whole()) for name, part in self._fresh.items()}
        self._fresh, self._gone = {}, set()
        return out

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint that are ours."""
        for name in sorted(name for name in parts if name.startswith(f"{self.name}/")):
            segment, number = name[len(self.name) + 1 :].split("/")
            self._parts.setdefault(int(segment), []).append(Part(name, decode(parts[name])))
            self._next = max(self._next, int(number, 16) + 1)

    def _enter(self, segment: int, run: Run) -> Part:
        part = Part(f"{self.name}/{segment}/{self._next:x}", run)
        self._next += 1
        self._fresh[part.name] = part
        return part

    def _leave(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if self._fresh.pop(part.name, None) is None:
                self._gone.add(part.name)


def _tier(rows: int) -> int:
    """Runs of one tier are of about one size: each begins at eight (2^3) times the rows of the one before."""
    return (rows.bit_length() - 1) // 3
