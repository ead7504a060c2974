"""Which records have been seen before, within a horizon. Pure.

An id is the 64-bit hash of a record's dedup id. With each id goes a rank, so that of two differing copies the better
one can be told whatever their order: a copy with an ARN before one without, then the smaller digest of what rules see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from detector.core.access import I64, U64, AccessBatch, Index, Mask
from detector.core.runs import Segments

HOUR = 3600
SEEN_BY_RULES = (
    "api", "bucket", "key", "destination", "source_ip", "user_agent", "auth", "region", "access_point", "vpc_endpoint",
    "tls",
)  # fmt: skip
_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)
_NO_ARN = np.uint64(1 << 63)


class Verdict(NamedTuple):
    """Of each row: whether it is a copy of a record seen before, and whether it differs from that one."""

    duplicate: Mask
    differing: Mask


def ranks(batch: AccessBatch) -> U64:
    """Rank of every row among copies of its id: smaller is better, equal means alike in all that the rules look at."""
    digest = batch.time.astype(np.uint64)
    who = np.append(batch.prints, np.uint64(0))
    for column in (
        batch.bytes.astype(np.uint64),
        batch.operation.astype(np.uint64) << np.uint64(8) | batch.outcome.astype(np.uint64),
        who[batch.who],
        *(batch.text[name].hashes() for name in SEEN_BY_RULES if name in batch.text),
    ):
        digest = (digest ^ (digest >> np.uint64(29))) * _MIX + column
    digest = (digest ^ (digest >> np.uint64(32))) * _MIX
    return (digest >> np.uint64(1)) | np.where(batch.has_arn, np.uint64(0), _NO_ARN)


class Seen:
    """Ids seen so far, by event hour; a table of 64-bit hashes with open addressing over plain arrays.

    `contested`: ids of which differing copies came, with the best rank. `miscounted`: a better copy came after a worse
    one had been kept. `preferred` (replay's second run): the `contested` of the first, so that the best copy is kept.
    """

    def __init__(self, name: str = "seen", preferred: Mapping[int, int] | None = None) -> None:
        self._segments = Segments(name)
        self._ids = np.zeros(1 << 10, np.uint64)
        self._ranks = np.zeros(1 << 10, np.uint64)
        self._count = 0
        chosen = dict(preferred or {})
        self._preferred_ids = np.array(sorted(chosen), np.uint64)
        self._preferred_ranks = np.array([chosen[i] for i in sorted(chosen)], np.uint64)
        self.contested: dict[int, int] = {}
        self.miscounted = False

    def __len__(self) -> int:
        return self._count

    def judge(self, ids: U64, rank: U64, time: I64, *, best_of_batch: bool = False) -> Verdict:
        """Tell copies from new records and remember the new ones.

        Of copies within the batch the first is kept, or with `best_of_batch` the one with the smallest rank.
        """
        ids = _nonzero(ids)
        duplicate = self.lost(ids, rank)
        differing = duplicate.copy()
        rows = np.flatnonzero(~duplicate)
        leader = rows[_leaders(ids[rows], rank[rows], best_of_batch=best_of_batch)]
        unique = rows[leader == rows]
        slots = self._find(ids[unique])
        known = slots >= 0
        duplicate[rows] = True
        duplicate[unique[~known]] = False
        reference = rank.copy()
        reference[unique[known]] = self._ranks[slots[known]]
        in_table = np.zeros(len(ids), np.bool_)
        in_table[unique[known]] = True
        differing[rows] = rank[rows] != reference[leader]
        better = rank[rows] < reference[leader]
        self.miscounted |= bool((in_table[leader] & better).any())
        odd = rows[differing[rows]]
        self._contest(ids[odd], np.minimum(rank[rows], reference[leader])[differing[rows]])
        new = unique[~known]
        self._remember(ids[new], rank[new], time[new])
        return Verdict(duplicate, differing)

    def contains(self, ids: U64) -> Mask:
        """Which of these ids are known."""
        found: Mask = self._find(_nonzero(ids)) >= 0
        return found

    def remember(self, ids: U64, time: I64) -> None:
        """Take in ids without ranks (links of copies)."""
        ids, first = np.unique(_nonzero(ids), return_index=True)
        new = self._find(ids) < 0
        self._remember(ids[new], np.zeros(int(new.sum()), np.uint64), time[first][new])

    def forget_before(self, second: int) -> None:
        """Let go of ids of records older than this (whole hours of event time)."""
        if self._segments.drop_before(second // HOUR):
            self._rebuild()

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        return self._segments.changes()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint."""
        self._segments.restore(parts)
        self._rebuild()

    def lost(self, ids: U64, rank: U64) -> Mask:
        """Rows whose id has a preferred copy, and which are not alike to it."""
        if not len(self._preferred_ids):
            return np.zeros(len(ids), np.bool_)
        at = np.minimum(np.searchsorted(self._preferred_ids, ids), len(self._preferred_ids) - 1)
        lost: Mask = (self._preferred_ids[at] == ids) & (self._preferred_ranks[at] != rank)
        return lost

    def _contest(self, ids: U64, rank: U64) -> None:
        for one, value in zip(ids.tolist(), rank.tolist(), strict=True):
            self.contested[one] = min(value, self.contested.get(one, value))

    def _remember(self, ids: U64, rank: U64, time: I64) -> None:
        hours = time // HOUR
        for hour in np.unique(hours):
            rows = hours == hour
            self._segments.add(int(hour), (ids[rows], rank[rows]))
        self._insert(ids, rank)

    def _rebuild(self) -> None:
        self._ids, self._ranks, self._count = np.zeros(1 << 10, np.uint64), np.zeros(1 << 10, np.uint64), 0
        hours = self._segments.segments()
        for run in self._segments.within(hours[0], hours[-1]) if hours else ():
            self._insert(run[0].astype(np.uint64), run[1].astype(np.uint64))

    def _slot(self, ids: U64) -> Index:
        return ((ids * _MIX) >> np.uint64(64 - int(len(self._ids) - 1).bit_length())).astype(np.intp)

    def _find(self, ids: U64) -> Index:
        """Slot of each id, or -1."""
        found = np.full(len(ids), -1, np.intp)
        waiting, slot = np.arange(len(ids)), self._slot(ids)
        while len(waiting):
            there = self._ids[slot]
            hit = there == ids[waiting]
            found[waiting[hit]] = slot[hit]
            go_on = ~hit & (there != 0)
            waiting, slot = waiting[go_on], (slot[go_on] + 1) % len(self._ids)
        return found

    def _insert(self, ids: U64, rank: U64) -> None:
        """Put distinct new ids into the table."""
        if (self._count + len(ids)) * 2 > len(self._ids):
            self._grow(self._count + len(ids))
        self._count += len(ids)
        waiting, slot = np.arange(len(ids)), self._slot(ids)
        while len(waiting):
            free = self._ids[slot] == 0
            self._ids[slot[free]] = ids[waiting[free]]
            won = self._ids[slot] == ids[waiting]
            self._ranks[slot[won]] = rank[waiting[won]]
            waiting, slot = waiting[~won], (slot[~won] + 1) % len(self._ids)

    def _grow(self, count: int) -> None:
        ids, rank = self._ids[self._ids != 0], self._ranks[self._ids != 0]
        size = 1 << max(10, int(count * 3).bit_length())
        self._ids, self._ranks, self._count = np.zeros(size, np.uint64), np.zeros(size, np.uint64), 0
        self._insert(ids, rank)


def _nonzero(ids: U64) -> U64:
    """0 marks a free slot of the table, so no id may be 0."""
    return np.where(ids == 0, np.uint64(1), ids)


def _leaders(ids: U64, rank: U64, *, best_of_batch: bool) -> Index:
    """Row → the row that stands for its id: the first one, or the one with the smallest rank."""
    order = np.lexsort((rank, ids)) if best_of_batch else np.argsort(ids, kind="stable")
    ordered = ids[order]
    first = np.ones(len(ids), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    leader = np.empty(len(ids), np.intp)
    leader[order] = order[np.flatnonzero(first)][np.cumsum(first) - 1]
    return leader
