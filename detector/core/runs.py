"""Append-only columns cut into segments: what tallies and seen ids are kept in. Pure.

Rules of this file
- A run never changes once it is in. Appending is cheap; whoever reads looks at several runs.
- Runs of one segment are merged in tiers: only when `TIER` of about one size have come together, so that a row is
  rewritten once for every `TIER`-fold growth. What is large enough is merged no more: that bounds the work and memory
  of a merge.
- A checkpoint therefore writes only what is new: `changes()` names the runs that came and went since the last call.
- What the last checkpoint holds may leave memory; it is read from there, by ranges. What was not touched for longest
  goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from detector.core.part import Part, Run, Shelf, decode, encode

Merge = Callable[[Sequence[Run]], Run]

TIER = 8
LARGE = 1 << 18
"""Rows from which on a run is left as it is."""
FEW = 3
"""Runs of a segment that leave memory as they are: to sort their rows once more costs more than to look at so many."""


def concat(runs: Sequence[Run]) -> Run:
    """The runs one after the other."""
    return tuple(np.concatenate(columns) for columns in zip(*runs, strict=True)) if len(runs) > 1 else runs[0]


class Segments:
    """Runs by segment. `name` heads the names of its parts in a checkpoint."""

    def __init__(self, name: str, merge: Merge = concat) -> None:
        self.name = name
        self._merge = merge
        self._parts: dict[int, list[Part]] = {}
        self._next = 0
        self._fresh: dict[str, Part] = {}
        self._gone: set[str] = set()
        self._touched: dict[int, None] = {}
        self._shelf: Shelf | None = None
        self._room = 0

    def __len__(self) -> int:
        return sum(len(part) for parts in self._parts.values() for part in parts)

    @property
    def taken_in(self) -> int:
        """Number of runs that ever were put in: as long as it is the same, so is what is held."""
        return self._next

    def append(self, segment: int, run: Run) -> None:
        """Append a run to a segment, and merge where enough of one size have come together."""
        if not len(run[0]):
            return
        self._touched.pop(segment, None)
        self._touched[segment] = None
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

    def all_parts(self) -> list[Part]:
        """Every part, by segment."""
        return [part for segment in sorted(self._parts) for part in self._parts[segment]]

    def whole(self) -> Run:
        """Everything as one run; nothing at all if there is none."""
        runs = [part.whole() for part in self.all_parts()]
        return self._merge(runs) if runs else ()

    def segments(self) -> list[int]:
        """The segments that hold something, in order."""
        return sorted(self._parts)

    def drop(self, segment: int, part: Part) -> None:
        """Let go of one part."""
        self._parts[segment].remove(part)
        self._leave([part])
        if not self._parts[segment]:
            del self._parts[segment], self._touched[segment]

    def rewrite(self, segment: int, kept: Callable[[Run], Run]) -> None:
        """What `kept` leaves of each part in its place; a part of which it gives back the very run stays as it is."""
        left = []
        for part in list(self.parts(segment, segment)):
            run = part.whole()
            less = kept(run)
            if less is not run:
                self.drop(segment, part)
                left.append(less)
        for run in left:  # only now: to append may merge parts that were yet to be looked at
            self.append(segment, run)

    def replace(self, segment: int, run: Run) -> None:
        """This run instead of all that the segment held."""
        self._leave(self._parts.pop(segment, ()))
        self._touched.pop(segment, None)
        self.append(segment, run)

    def drop_before(self, segment: int) -> bool:
        """Let go of all segments before this one; whether there were any."""
        old = [s for s in self._parts if s < segment]
        for s in old:
            self._leave(self._parts.pop(s))
            del self._touched[s]
        return bool(old)

    def changes(self) -> dict[str, bytes | None]:
        """Parts that came (bytes) and went (None) since the last call."""
        out: dict[str, bytes | None] = dict.fromkeys(self._gone)
        out |= {name: encode(part.whole()) for name, part in self._fresh.items()}
        self._fresh, self._gone = {}, set()
        return out

    def names(self) -> set[str]:
        """Names of what the checkpoint has of it, by the last `changes`."""
        return {part.name for part in self.all_parts() if part.name not in self._fresh} | self._gone

    def restore(self, parts: Mapping[str, bytes], each: Callable[[Run], object] = lambda _: None) -> None:
        """Take in the parts of a checkpoint that are ours and show each; what is too much stays on the shelf."""
        held = 0
        for name in sorted(name for name in parts if name.startswith(f"{self.name}/")):
            segment, number = name[len(self.name) + 1 :].split("/")
            run = decode(parts[name])
            part = Part(name, run)
            self._parts.setdefault(int(segment), []).append(part)
            self._touched.setdefault(int(segment))
            self._next = max(self._next, int(number, 16) + 1)
            each(run)
            if self._shelf is not None and held + part.nbytes > self._room:
                part.leave(self._shelf)
            held += part.nbytes

    def lean_on(self, shelf: Shelf, room: int) -> None:
        """From now on what is in a checkpoint may leave memory. `room`: bytes taken in at most when restoring."""
        self._shelf, self._room = shelf, room

    def held(self) -> int:
        """Bytes in memory."""
        return sum(part.nbytes for parts in self._parts.values() for part in parts)

    def tidy(self, most: int) -> None:
        """Before a checkpoint after which much has to leave: put together what will, so that it leaves as one."""
        held = self.held()
        for segment in list(self._touched):
            if held <= most:
                return
            parts = self._parts[segment]
            warm = [part for part in parts if not part.cold]
            held -= sum(part.nbytes for part in warm)
            if len(warm) > FEW and sum(map(len, warm)) <= LARGE * TIER:
                parts[:] = [part for part in parts if part.cold]
                parts.append(self._enter(segment, self._merge([part.whole() for part in warm])))
                self._leave(warm)

    def leaving(self, most: int) -> dict[str, bytes | None]:
        """What has to be written, and deleted, for `let_go` to hold no more than so many bytes."""
        out: dict[str, bytes | None] = dict.fromkeys(self._gone)
        self._gone = set()
        held = self.held()
        for part in self._by_age():
            if held <= most:
                break
            held -= part.nbytes * (not part.cold)
            if self._fresh.pop(part.name, None):
                out[part.name] = encode(part.whole())
        return out

    def let_go(self, most: int) -> None:
        """Right after a checkpoint: hold no more than so many bytes, if what is in it can be spared."""
        held = self.held()
        for part in self._by_age():
            if held <= most or self._shelf is None:
                return
            if part.name not in self._fresh:
                held -= part.nbytes
                part.leave(self._shelf)
                held += part.nbytes

    def _by_age(self) -> Iterator[Part]:
        """The parts in the order in which they leave memory."""
        for segment in list(self._touched):
            yield from sorted(self._parts[segment], key=len, reverse=True)

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
