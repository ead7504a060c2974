"""The objects behind findings, and whose they are: counted once each, over one finding or over many.

An object is noted by a hash of it and of the finding's number, tied to that number; what memory has no room for lies in
files. So what several findings lost together is counted exactly, however much it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from detector.core.access import U64, AccessBatch, Index, text_hash
from detector.core.finding import LIST_LIMIT
from detector.core.incident import Loss
from detector.core.owner import Owners
from detector.core.part import Spilling
from detector.core.sighting import Sightings
from detector.core.table import SPREAD
from detector.core.window import grouped

NOBODY = 0
"""In place of an owner's hash, of an object whose key names none."""

NO_GROUP = -1
"""Of a finding that stands alone: what it lost is counted already."""


class Lost:
    """Objects by finding. `owners`: whose they are; None: nobody asked."""

    def __init__(self, name: str, owners: Owners | None = None) -> None:
        self._name, self._owners = name, owners
        self._objects = Sightings(name)
        self._named: dict[int, dict[int, str]] = {}
        self._counts: list[int] = []

    def spilling(self) -> list[Spilling]:
        """What may leave memory."""
        return [self._objects]

    def add(self, number: int, batch: AccessBatch, rows: Index) -> None:
        """Take note of the objects in these rows behind the finding of this number."""
        hashes = batch.object_hash(rows)
        rows, hashes = rows[hashes != 0], hashes[hashes != 0]
        if not len(rows):
            return
        hashes, first, _ = grouped(hashes)
        owned = [] if self._owners is None else [self._owned(number, self._owners, batch, rows[first])]
        _add(self._objects, number, hashes, *owned)

    def counts(self, findings: int) -> list[int]:
        """How many distinct objects there are behind each finding."""
        counts = np.zeros(findings, np.int64)
        for _, tie, *_ in self._objects.merged():
            counts += np.bincount(tie.astype(np.int64), minlength=findings)
        self._counts = counts.tolist()
        return self._counts

    def of(
        self, groups: Sequence[Sequence[int]], lean: Callable[[Spilling], None], spill: Callable[[], None]
    ) -> list[Loss]:
        """What the findings of each group lost together, after `counts`. Each finding is in one group.

        lean, spill: have state share the memory there is; let go of what is too much.
        """
        together = Sightings(f"{self._name}-together")
        lean(together)
        mixed = [number for number, group in enumerate(groups) if len(group) > 1 or self._owners is not None]
        group_of = np.full(len(self._counts), NO_GROUP)
        for number in mixed:
            group_of[list(groups[number])] = number
        for key, tie, _, *owned in self._objects.merged() if mixed else ():
            group = group_of[tie.astype(np.int64)]
            hashes = key - tie * SPREAD
            for number in np.unique(group[group != NO_GROUP]).tolist():
                mine = group == number
                _add(together, number, hashes[mine], *(column[mine] for column in owned))
            spill()
        return self._summed(together, groups)

    def _summed(self, together: Sightings, groups: Sequence[Sequence[int]]) -> list[Loss]:
        objects, ownerless = np.zeros(len(groups), np.int64), np.zeros(len(groups), np.int64)
        people: list[set[int]] = [set() for _ in groups]
        for _, tie, _, *owned in together.merged():
            group = tie.astype(np.int64)
            objects += np.bincount(group, minlength=len(groups))
            for owner in owned:
                ownerless += np.bincount(group[owner == NOBODY], minlength=len(groups))
                for number in np.unique(group).tolist():
                    people[number].update(np.unique(owner[(group == number) & (owner != NOBODY)]).tolist())
        if self._owners is None:
            several = zip(groups, objects.tolist(), strict=True)
            return [Loss(count if len(group) > 1 else self._counts[group[0]]) for group, count in several]
        return [
            Loss(count, len(whose), self._names(group), without)
            for count, whose, group, without in zip(objects.tolist(), people, groups, ownerless.tolist(), strict=True)
        ]

    def _owned(self, number: int, owners: Owners, batch: AccessBatch, rows: Index) -> U64:
        """The hash of each object's owner; their names are kept as far as they are shown."""
        keys = batch.text["key"]
        found = owners.of_each([keys.values[code] for code in keys.codes[rows].tolist()])
        hashes = {owner: text_hash(owner) for owner in set(found) if owner is not None}
        names = self._named.get(number, {}) | {one: owner for owner, one in hashes.items()}
        self._named[number] = dict(sorted(names.items())[:LIST_LIMIT])
        return np.array([NOBODY if owner is None else hashes[owner] for owner in found], np.uint64)

    def _names(self, group: Sequence[int]) -> tuple[str, ...]:
        names = {one: owner for number in group for one, owner in self._named.get(number, {}).items()}
        return tuple(sorted(owner for _, owner in sorted(names.items())[:LIST_LIMIT]))


def _add(objects: Sightings, number: int, hashes: U64, *owned: U64) -> None:
    tie = np.full(len(hashes), number, np.uint64)
    objects.add(hashes + tie * SPREAD, tie, np.zeros(len(hashes), np.int64), *owned)
