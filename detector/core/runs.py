"""Append-only columns cut by time: what tallies and seen ids are kept in. Pure.

Rules of this file
- A run is a tuple of equally long arrays and never changes once it is in. Appending is cheap; whoever reads looks at
  several runs.
- Runs of one segment of time are merged as they grow (a smaller one never lies before a larger one), so a segment has
  few of them and each row is rewritten a logarithmic number of times.
- A checkpoint therefore writes only what is new: `changes()` names the runs that came and went since the last call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Run = tuple[npt.NDArray[np.generic], ...]
Merge = Callable[[Sequence[Run]], Run]


def concat(runs: Sequence[Run]) -> Run:
    """The runs one after the other."""
    return tuple(np.concatenate(columns) for columns in zip(*runs, strict=True))


def encode(run: Run) -> bytes:
    """A run as bytes: the dtype and the content of each column."""
    return msgspec.msgpack.encode([[column.dtype.str, column.tobytes()] for column in run])


def decode(data: bytes) -> Run:
    """The run that `encode` wrote."""
    columns = msgspec.msgpack.decode(data, type=list[tuple[str, bytes]])
    return tuple(np.frombuffer(content, np.dtype(dtype)) for dtype, content in columns)


class Segments:
    """Runs by segment of time. `name` heads the names of its parts in a checkpoint."""

    def __init__(self, name: str, merge: Merge = concat) -> None:
        self.name = name
        self._merge = merge
        self._runs: dict[int, list[tuple[str, Run]]] = {}
        self._next = 0
        self._fresh: dict[str, Run] = {}
        self._gone: set[str] = set()

    def add(self, segment: int, run: Run) -> None:
        """Append a run to a segment and merge where the last runs have grown alike."""
        runs = self._runs.setdefault(segment, [])
        runs.append(self._enter(segment, run))
        while len(runs) > 1 and len(runs[-1][1][0]) * 2 >= len(runs[-2][1][0]):
            last, before = runs.pop(), runs.pop()
            self._leave(last[0])
            self._leave(before[0])
            runs.append(self._enter(segment, self._merge([before[1], last[1]])))

    def within(self, first: int, last: int) -> Iterator[Run]:
        """The runs of these segments, both included."""
        if last - first < len(self._runs):
            segments: Sequence[int] = [s for s in range(first, last + 1) if s in self._runs]
        else:
            segments = sorted(s for s in self._runs if first <= s <= last)
        for segment in segments:
            yield from (run for _, run in self._runs[segment])

    def segments(self) -> list[int]:
        """The segments that hold something, in order."""
        return sorted(self._runs)

    def drop_before(self, segment: int) -> bool:
        """Let go of all segments before this one; whether there were any."""
        old = [s for s in self._runs if s < segment]
        for s in old:
            for part, _ in self._runs.pop(s):
                self._leave(part)
        return bool(old)

    def changes(self) -> dict[str, bytes | None]:
        """Parts that came (bytes) and went (None) since the last call."""
        out: dict[str, bytes | None] = dict.fromkeys(self._gone)
        out |= {part: encode(run) for part, run in self._fresh.items()}
        self._fresh, self._gone = {}, set()
        return out

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint that are ours."""
        for part in sorted(p for p in parts if p.startswith(f"{self.name}/")):
            segment, number = part[len(self.name) + 1 :].split("/")
            self._runs.setdefault(int(segment), []).append((part, decode(parts[part])))
            self._next = max(self._next, int(number, 16) + 1)
        for runs in self._runs.values():
            runs.sort(key=lambda item: -len(item[1][0]))

    def _enter(self, segment: int, run: Run) -> tuple[str, Run]:
        part = f"{self.name}/{segment}/{self._next:x}"
        self._next += 1
        self._fresh[part] = run
        return part, run

    def _leave(self, part: str) -> None:
        if self._fresh.pop(part, None) is None:
            self._gone.add(part)
