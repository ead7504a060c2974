"""Which records have been seen before, within a horizon. Pure.

An id is the 64-bit hash of a record's dedup id. With each id goes a rank, so that of two differing copies the better
one can be told whatever their order: a copy with an ARN before one without, then the smaller digest of what rules see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from detector.core.access import I64, U64, AccessBatch, Index, Mask, Rows
from detector.core.ids import Ids
from detector.core.part import Spilling
from detector.core.window import grouped, hash_order

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
    """Ids seen so far, by event hour.

    `contested`: ids of which differing copies came, with the best rank. `miscounted`: a better copy came after a worse
    one had been kept. `preferred` (replay's second run): the `contested` of the first, so that the best copy is kept.
    """

    def __init__(self, name: str = "seen", preferred: Ids | None = None) -> None:
        self._ids = Ids(name)
        self._preferred = preferred
        self.contested = Ids(f"{name}-contested" if preferred is None else f"{name}-contested-again", once=False)
        self.miscounted = False

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def contests(self) -> bool:
        """Whether differing copies of an id are known of."""
        return len(self.contested) > 0 or bool(self._preferred)

    def judge(self, ids: U64, rank: U64, time: I64, *, best_of_batch: bool = False) -> Verdict:
        """Tell copies from new records and remember the new ones.

        Of copies within the batch the first is kept, or with `best_of_batch` the one with the smallest rank (and what
        differs from it is `contested`).
        """
        order = _by_id(ids, rank, best_of_batch=best_of_batch)
        ids, rank, hour = ids[order], rank[order], time[order] // HOUR
        lost = self._lost(ids, rank)
        rows: Rows | slice = np.flatnonzero(~lost) if lost.any() else slice(None)
        duplicate, differing = np.empty_like(lost), np.empty_like(lost)
        duplicate[order] = differing[order] = lost
        duplicate[order[rows]], differing[order[rows]] = self._judge(ids[rows], rank[rows], hour[rows], best_of_batch)
        return Verdict(duplicate, differing)

    def contains(self, ids: U64) -> Mask:
        """Which of these ids are known."""
        order = hash_order(ids)
        known = np.empty(len(ids), np.bool_)
        known[order], _ = self._ids.look_up(ids[order])
        return known

    def remember(self, ids: U64, time: I64) -> None:
        """Take in ids without ranks (links of copies)."""
        ids, first, _ = grouped(ids)
        known, _ = self._ids.look_up(ids)
        new = ids[~known]
        self._ids.add(new, np.zeros(len(new), np.uint64), time[first][~known] // HOUR)

    def forget_before(self, second: int) -> None:
        """Let go of ids of records older than this (whole hours of event time)."""
        self._ids.forget_before(second // HOUR)

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [self._ids, self.contested, *([] if self._preferred is None else [self._preferred])]

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        return self._ids.changes()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint."""
        self._ids.restore(parts)

    def _lost(self, ids: U64, rank: U64) -> Mask:
        """Rows whose id has a preferred copy, and which are not alike to it."""
        if self._preferred is None:
            return np.zeros(len(ids), np.bool_)
        known, best = self._preferred.look_up(ids)
        lost: Mask = known & (best != rank)
        return lost

    def refuses(self, ids: U64, rank: U64) -> Mask:
        """Which rows are worse copies of an id than the one that counts: for a later pass over the same records."""
        best = self.contested if self._preferred is None else self._preferred
        order = hash_order(ids)
        contested, wanted = best.look_up(ids[order])
        refused = np.empty(len(ids), np.bool_)
        refused[order] = contested & (wanted != rank[order])
        return refused

    def _judge(self, ids: U64, rank: U64, hour: I64, contest: bool) -> tuple[Mask, Mask]:
        """Which rows are copies and which differ, of rows sorted by id: of a new id the first row is kept."""
        duplicate = _again(ids)
        first = np.flatnonzero(~duplicate)
        known, reference = self._ids.look_up(ids[first])
        new = first[~known]
        self._ids.add(ids[new], rank[new], hour[new])
        reference[~known] = rank[new]
        duplicate[first] = known
        rows = np.flatnonzero(duplicate)
        mine = np.searchsorted(first, rows, "right") - 1
        odd = rank[rows] != reference[mine]
        self.miscounted |= bool((known[mine] & (rank[rows] < reference[mine])).any())
        if contest and odd.any():
            best = np.minimum(rank[rows], reference[mine])[odd]
            starts = np.flatnonzero(~_again(ids[rows[odd]]))
            at = rows[odd][starts]
            self.contested.add(ids[at], np.minimum.reduceat(best, starts), hour[at])
        differing = np.zeros(len(ids), np.bool_)
        differing[rows] = odd
        return duplicate, differing


def _by_id(ids: U64, rank: U64, *, best_of_batch: bool) -> Index:
    """Order of the rows by id; of one id first the row to keep: the first, or the one with the smallest rank."""
    order = hash_order(ids)
    again = _again(ids[order])
    if again.any():
        tied = np.flatnonzero(again | np.append(again[1:], False))
        rows = order[tied]
        worse = rank[rows] if best_of_batch else rows
        order[tied] = rows[np.lexsort((rows, worse, ids[rows]))]
    return order


def _again(ordered: U64) -> Mask:
    """Which of sorted values are those before them once more."""
    again = np.zeros(len(ordered), np.bool_)
    np.equal(ordered[1:], ordered[:-1], out=again[1:])
    return again
