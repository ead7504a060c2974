"""When each key was seen first on each UTC day: whether something is new. Pure.

Rows of this file are (key, second), cut by days, the earliest second of a key and day only; they merge in any order. A
key is new in a second if this is its first of the day and it was seen on none of the `forget` days before. Memory holds
what it has room for; what was put in lately is remembered in a table of bounded size, which spares nearly all work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from detector.core.access import I64, U64, Index, Mask
from detector.core.part import Run
from detector.core.runs import Segments, concat
from detector.core.table import SPREAD, Table
from detector.core.window import by_value, starts_of_runs

DAY = 86_400
LATELY = 1 << 19
"""Keys and days that are known to be in; more are forgotten, and looked up once more when they are met."""
ASKED = 1 << 14
"""Keys whose days are kept at hand while groups are judged."""
NEVER = np.int64(1 << 62)


class Met(NamedTuple):
    """What became of rows that were met, by their places.

    fresh: among them are all that are the first of a key and day. new: as far as is known, new. changed, at: rows that
    took from a later second, `at`, that it is new.
    """

    fresh: Index
    new: Index
    changed: Index
    at: I64


def earliest(runs: Sequence[Run]) -> Run:
    """Runs as one, by key, of each the earliest second."""
    key, second = concat(runs)
    order = np.lexsort((second, key))
    order = order[starts_of_runs(key[order])]
    return key[order], second[order]


class Firsts:
    """First seconds of keys. `forget`: days without a sighting after which a key is new again."""

    def __init__(self, name: str, forget: int) -> None:
        self.rows = Segments(name, earliest)
        self._forget = forget
        self._lately = Table()
        self._asked: dict[int, I64] = {}
        self._forgotten = 0

    def meet(self, keys: U64, seconds: I64, *, watch: bool) -> Met:
        """Take note of these sightings. watch: tell also what is no longer new because of them."""
        places = _places(keys, seconds // DAY)
        noted = self._lately.values_of(places).astype(np.int64) - 1
        fresh = np.flatnonzero((noted < 0) | (seconds <= noted))
        new, changed, at = [_NOWHERE], [_NOWHERE], [np.zeros(0, np.int64)]
        for day, some in by_value(seconds[fresh] // DAY):
            rows = fresh[some]
            order = rows[np.lexsort((seconds[rows], keys[rows]))]
            starts = starts_of_runs(keys[order])
            first = order[starts]
            key, second = keys[first], seconds[first]
            so_far, before = self.first_on(day, key), self.before(day, key)
            better = second < so_far
            if better.any():
                self._asked.clear()
                self.rows.append(day, (key[better], second[better]))
                if watch:
                    after = np.where(so_far < NEVER, so_far, self._next(day, key))
                    lost = np.flatnonzero(better & (after < NEVER))
                    changed.append(first[lost])
                    at.append(after[lost])
            now = np.minimum(second, so_far)
            self._note(places[first], now)
            lasting = np.repeat(~before, np.diff(np.append(starts, len(order))))
            is_first = seconds[order] == np.repeat(now, np.diff(np.append(starts, len(order))))
            new.append(order[lasting & is_first])
        return Met(fresh, np.concatenate(new), np.concatenate(changed), np.concatenate(at))

    def are_new(self, keys: U64, seconds: I64) -> Mask:
        """Whether each of these keys is new in a second."""
        found = np.zeros(len(keys), np.bool_)
        for day, rows in by_value(seconds // DAY):
            key, of_row = np.unique(keys[rows], return_inverse=True)
            first = np.where(self.before(day, key), NEVER, self.first_on(day, key))
            found[rows] = first[of_row] == seconds[rows]
        return found

    def of(self, key: int) -> I64:
        """The first seconds of a key, day by day, in order; the same group is asked for again and again."""
        if key not in self._asked:
            if len(self._asked) >= ASKED:
                self._asked.clear()
            found = [part.span(key, key)[1] for part in self.rows.all_parts()]
            seconds = np.sort(np.concatenate([np.zeros(0, np.int64), *found]))
            self._asked[key] = seconds[starts_of_runs(seconds // DAY)]
        return self._asked[key]

    def news(self, key: int) -> I64:
        """The seconds in which a key is new."""
        seconds = self.of(key)
        return seconds[np.diff(seconds // DAY, prepend=-NEVER) > self._forget]

    def first_on(self, day: int, keys: U64) -> I64:
        """First second of each of these sorted keys on a day; NEVER without one."""
        first = np.full(len(keys), NEVER)
        for part in self.rows.parts(day, day):
            for hit, (second,) in part.find(keys):
                first[hit] = np.minimum(first[hit], second)
        return first

    def earliest(self, keys: U64) -> I64:
        """First second of all of each of these sorted keys; NEVER without one."""
        return self._first_among(self.rows.segments(), keys)

    def before(self, day: int, keys: U64) -> Mask:
        """Which of these sorted keys were seen on the days before that count."""
        seen: Mask = self._first_among(reversed(self._among(day - self._forget, day - 1)), keys) < NEVER
        return seen

    def forget_before(self, day: int, *, thin: bool) -> None:
        """Let go of what does not matter to days from this one on. thin: of each key's days before, keep the last."""
        if day == self._forgotten:
            return
        self._forgotten = day
        self._asked.clear()
        self.rows.drop_before(day - self._forget)
        last = np.zeros(0, np.uint64)
        for other in reversed(self._among(day - self._forget, day - 1)) if thin else ():
            key, second = earliest([part.whole() for part in self.rows.parts(other, other)])
            kept = ~np.isin(key, last)
            if not kept.all():
                self.rows.replace(other, (key[kept], second[kept]))
            last = np.union1d(last, key)
        self._lately = Table()

    def _next(self, day: int, keys: U64) -> I64:
        """First second of each of these sorted keys on the next day it was seen, as far as it matters."""
        return self._first_among(self._among(day + 1, day + self._forget), keys)

    def _first_among(self, days: Iterable[int], keys: U64) -> I64:
        """First second of each of these sorted keys on the first of these days it was seen; NEVER without one."""
        found = np.full(len(keys), NEVER)
        for day in days:
            left = np.flatnonzero(found == NEVER)
            if not len(left):
                break
            found[left] = self.first_on(day, keys[left])
        return found

    def _among(self, first: int, last: int) -> list[int]:
        return [day for day in self.rows.segments() if first <= day <= last]

    def _note(self, places: U64, seconds: I64) -> None:
        if len(self._lately) + len(places) > LATELY:
            self._lately = Table()
        slot, _ = self._lately.enter(places)
        self._lately.values[slot] = (seconds + 1).astype(np.uint64)


_NOWHERE = np.zeros(0, np.intp)


def _places(keys: U64, days: I64) -> U64:
    """Hash of (key, day), never 0; keys are such hashes already as nobody can aim."""
    mixed = keys + days.astype(np.uint64) * SPREAD
    spread: U64 = ((mixed ^ (mixed >> np.uint64(32))) * SPREAD) | np.uint64(1)
    return spread
