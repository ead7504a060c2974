"""What a batch counts by credentials, and what that comes to by groups of identities. Pure.

Rows get into order by counting, as in `view.py`. What is alike of all groups, the rows of one credentials, second and
member being one, is done once; a group then takes a few additions of what its credentials have in a bucket of time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detector.core.access import I64, U64, Index
from detector.core.screen import Touched
from detector.core.window import HALF, starts_of_runs, steady_order

Codes = npt.NDArray[np.integer]


class Counts(NamedTuple):
    """Rows in the order of credentials and seconds, each once. codes: of principals; items: as of tallies."""

    codes: Codes
    seconds: I64
    items: U64
    distinct: bool

    @classmethod
    def of(cls, codes: Codes, places: Codes, seconds: I64, items: U64, *, distinct: bool) -> Counts:
        """Rows put together. places: by code, its place among all."""
        rows = np.flatnonzero(codes >= 0)
        if distinct:
            rows = rows[steady_order(items[rows] >> HALF)]
        rows = rows[steady_order(_together(places[codes[rows]], seconds[rows]))]
        codes, seconds, items = codes[rows], seconds[rows], items[rows]
        starts = starts_of_runs(codes, seconds, items) if distinct else starts_of_runs(codes, seconds)
        if len(starts) == len(rows):
            return cls(codes, seconds, items, distinct)
        items = items[starts] if distinct else np.add.reduceat(items, starts)
        return cls(codes[starts], seconds[starts], items, distinct)

    def touched(self, groups: U64, places: Codes, width: int, grain: int) -> Touched:
        """The groups and buckets of so many seconds. groups, places: by code, its group and the place of that.

        grain: seconds that are one, the first of them.
        """
        bucket = (self.seconds // grain * grain if width % grain else self.seconds) // width
        starts = starts_of_runs(self.codes, bucket)
        by_group = _together(places[self.codes[starts]], bucket[starts])
        order = steady_order(by_group)
        first = starts_of_runs(by_group[order])
        since, amounts = self.seconds[starts][order], self._amounts(starts)[order]
        rows = starts[order[first]]
        since, amounts = np.minimum.reduceat(since, first), np.add.reduceat(amounts, first)
        return Touched(groups[self.codes[rows]], bucket[rows], since, amounts)

    def _amounts(self, starts: Index) -> I64:
        """What the rows from each of these to the next come to."""
        if self.distinct:
            return np.diff(np.append(starts, len(self.codes)))
        return np.add.reduceat(self.items.astype(np.int64), starts)


def _together(places: Codes, seconds: I64) -> I64:
    """Numbers that are in order where places are, and of one place where seconds are."""
    since: I64 = seconds - seconds.min(initial=np.iinfo(np.int64).max)
    return places.astype(np.int64) * (int(since.max(initial=0)) + 1) + since
