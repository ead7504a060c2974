"""Which records may stand behind findings, by their time and by who asked: told before anything else is read. Pure.

It is for a second look at the logs, and lets through too many rather than too few: who asks looks closer at those.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np

from detector.core.access import I32, I64, U64, Mask
from detector.core.groupings import Groupings, one_identity
from detector.core.principal import Principal
from detector.core.window import grouped


class Asked(NamedTuple):
    """Records with `after < time <= until`; where there is a level of identities, those of a group there."""

    after: int
    until: int
    level: str | None = None
    group: int = 0

    @classmethod
    def of(cls, after: int, until: int, grouping: tuple[str, ...], group: int) -> Asked:
        """What a group of this grouping asks for."""
        return cls(after, until, grouping[0], group) if one_identity(grouping) else cls(after, until)


class People(Protocol):
    """Whose codes rows have, more and more of them. told: by level, of each code, what was worked out so far."""

    told: dict[str, Mask]

    def prints(self, first: int = 0) -> U64:
        """Fingerprints of those from this code on."""

    def principal(self, code: int) -> Principal:
        """The principal of a code."""


class Sought:
    """All that is asked for. groupings: may be shared with whoever looks closer."""

    def __init__(self, asked: Iterable[Asked], groupings: Groupings) -> None:
        every = list(asked)
        levels = {one.level for one in every}
        self._groups = {
            level: np.array(sorted({one.group for one in every if one.level == level}), np.uint64) for level in levels
        }
        self._spans = {level: _spans([one for one in every if one.level == level]) for level in levels}
        self._groupings = groupings

    def rows(self, time: I64, who: I32, people: People) -> Mask:
        """Which of these rows. who: codes of people, -1 for nobody."""
        found = np.zeros(len(time), np.bool_)
        for level, (after, until) in self._spans.items():
            span = np.searchsorted(after, time) - 1  # the last that begins before
            inside = (span >= 0) & (time <= until[span])
            found |= inside if level is None or not inside.any() else inside & self._told(level, people)[who]
        return found

    def _told(self, level: str, people: People) -> Mask:
        """By code of people whether they are of a group that is asked for; the last is nobody."""
        told = people.told.get(level, np.zeros(1, np.bool_))
        known = len(told) - 1
        if len(new := people.prints(known)):
            prints, first, number = grouped(new)
            first += known
            groups = self._groupings.groups(level, prints, lambda at: [*map(people.principal, first[at].tolist())])
            groups = groups[number]
            wanted = self._groups[level]
            mine = wanted[np.minimum(np.searchsorted(wanted, groups), len(wanted) - 1)] == groups
            told = people.told[level] = np.concatenate([told[:-1], mine, told[-1:]])
        return told


def _spans(asked: list[Asked]) -> tuple[I64, I64]:
    """The times asked for as spans that do not touch, in order: after and until."""
    spans: list[list[int]] = []
    for one in sorted(asked):
        if spans and one.after <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], one.until)
        else:
            spans.append([one.after, one.until])
    after, until = np.array(spans, np.int64).T
    return after, until
