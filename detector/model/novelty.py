"""What was never there before: memory of keys, prefixes, networks and destinations. Pure.

1. A pane is counted against what the panes before it left; a sealed one is learned with that. Panes that are sealed
   together count and leave what they would one by one.
2. What does not fit is never news: of a role's keys see `KeyMemory`; where that is saturated, a key is new if its
   prefix is. Every step may miss a new key, and invents none.
3. What "the organisation" knows is what it knew at the last UTC midnight: so peer groups can be held apart by day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from detector.core.access import I64, U64, Index, Mask
from detector.core.part import Run
from detector.core.runs import Segments, concat
from detector.model.channels import DAY
from detector.model.counting import MANY, Known, counted
from detector.model.day import Day
from detector.model.facts import Facts
from detector.model.keymemory import KeyMemory
from detector.model.rows import ALL_NET, NET, PREFIX, Counted, Rows, Who, mix
from detector.model.slots import grown

MOST_PREFIXES = 1 << 14
"""Prefixes of a role that are remembered; further ones are never news."""


class Novelty:
    """What the roles of a rule have read, from where, and where to. `name`: of its checkpoint parts."""

    def __init__(self, name: str, room: int) -> None:
        self.keys = KeyMemory(name, room)
        self.first = Facts(f"model-first/{name}")
        self.readers = Facts(f"model-readers/{name}", most=True)
        self.today = Segments(f"model-today/{name}", _sorted)
        self._prefixes = np.zeros(256, np.int64)

    def count(self, rows: Rows, who: Who, start: int) -> Counted:
        """Count the rows of open panes so far, and learn nothing. `start`: second the first pane begins at."""
        return counted(rows, who, start, self._known(self.keys.ask, who), apart=False)

    def seal(self, rows: Rows, who: Who, start: int) -> Counted:
        """Count the rows of sealed panes of a day, each against what those before it left, and remember them."""
        found = counted(rows, who, start, self._known(self.keys.meet, who), apart=True)
        keys, seconds = (np.concatenate(columns) for columns in zip(*found.learnt.first, strict=True))
        self.first.put(keys, seconds)
        self.readers.put(*found.learnt.readers)
        self._prefixes += np.bincount(found.learnt.prefixes, minlength=len(self._prefixes))
        self.today.append(start // DAY, (found.learnt.today,))
        return found

    def _known(self, keys: Callable[[U64, Index, Mask, I64], Mask], who: Who) -> Known:
        self._reserve(int(who.slot.max(initial=0)))
        return Known(keys, self.first, self.readers, MOST_PREFIXES - self._prefixes[who.slot])

    def accept(self, role: int, prefixes: U64, nets: U64) -> None:
        """A person said that these places and networks are a role's business: they are no news to it."""
        for salt, keys in ((PREFIX, prefixes), (NET, nets)):
            self.first.put(mix(salt, np.full(len(keys), role, np.uint64), keys), np.zeros(len(keys), np.int64))
        self.readers.put(mix(ALL_NET, nets), np.ones(len(nets), np.int64))

    def over(self) -> tuple[U64, I64]:
        """What was touched in the day that is over, and will be known to the whole organisation: how often each."""
        parts = [part.whole()[0] for part in self.today.all_parts()]
        keys, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *parts]), return_counts=True)
        return keys, counts

    def midnight(self, over: Day) -> None:
        """A day is over: what the roles of all shards touched is known to the whole organisation."""
        keys, counts = over.touched
        known = np.maximum(self.readers.get(keys), 0)
        self.readers.put(keys, np.minimum(known + counts, MANY))
        self.today.drop_before(over.number + 1)
        self.keys.allow(over.filters)

    def forget(self, slots: set[int]) -> None:
        """Let go of what these roles read."""
        self.keys.forget(slots)
        for slot in slots:
            if slot < len(self._prefixes):
                self._prefixes[slot] = 0

    def holders(self) -> list[Segments]:
        """The parts of its state that may leave memory."""
        return [self.keys.exact.runs, self.first.runs, self.readers.runs, self.today]

    def prefixes(self, slot: int) -> int:
        """How many prefixes a role touched."""
        return int(self._prefixes[slot]) if slot < len(self._prefixes) else 0

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        first, readers = self.first.runs.changes(), self.readers.runs.changes()
        return self.keys.changes() | first | readers | self.today.changes()

    def names(self) -> set[str]:
        """Names of its parts in the checkpoint."""
        return self.keys.names().union(self.first.runs.names(), self.readers.runs.names(), self.today.names())

    def restore(self, parts: Mapping[str, bytes], prefixes: Iterable[tuple[int, int]]) -> None:
        """Take in the parts of a checkpoint. prefixes: how many each role (by slot) touched."""
        self.keys.restore(parts)
        self.first.restore(parts)
        self.readers.restore(parts)
        self.today.restore(parts)
        for slot, count in prefixes:
            self._reserve(slot)
            self._prefixes[slot] = count

    def _reserve(self, slot: int) -> None:
        self._prefixes = grown(self._prefixes, slot)


def _sorted(runs: Sequence[Run]) -> Run:
    run = concat(runs)
    return (np.sort(run[0]),)
