"""Which of a cache's records count, once all are known: of differing copies the best, of a copy's own read none.

Rules of this file
- What counts is what a replay by all columns would count (`Engine`): of an id the copy with the smallest rank, of equal
  ones the first; and no read that AWS made for a copy whose own record is there.
- Nothing is thrown away: what does not count lies aside, each copy as often as it came, since a replay by fewer columns
  may see it otherwise. What was dropped because it was like a record that has become contested is put back there.
- Parts are written anew under other names, and only those in which something moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from detector.core.access import U64, AccessBatch, Index, Mask, Operation, Skip
from detector.core.books import Books
from detector.core.dedup import Seen, Verdict, ranks
from detector.core.parcel import pack, unpack
from detector.core.watermark import FOREVER
from detector.logs.parquet import to_table
from replay.cache import partfiles
from replay.cache.parts import Content, Ids, Part, joined, reasons
from replay.scratch import Scratch

Pairs = Counter[tuple[int, int]]
"""How many copies of an id and a rank there were beside the one that was kept."""


class Known:
    """All records of a cache. seen: their ids. copies: links of copies. placed: ids whose best copy has its place.

    memory: bytes of that in memory; the rest is in `scratch`.
    """

    def __init__(self, memory: int, scratch: Scratch) -> None:
        from detector.core.engine import Engine  # who only reads a cache need not load it
        from detector.watches import watches

        self.seen, self.copies, self.placed = Seen("kept"), Seen("kept-copies"), Seen("placed")
        self._scratch = scratch
        self._engine = Engine((), watches(), horizon=FOREVER, memory=memory, shelf=scratch)
        self._engine.lean_on_shelf(*self.seen.spilling(), *self.copies.spilling(), *self.placed.spilling())

    @property
    def contests(self) -> bool:
        """Whether there are records that others bear on."""
        return self.seen.contests or len(self.copies) > 0

    def judge(self, batch: AccessBatch) -> tuple[U64, Verdict]:
        """Ranks of records, which are copies of others, and which of those differ. They are known from then on."""
        rank = ranks(batch)
        verdict = self.seen.judge(batch.id, rank, batch.time, best_of_batch=True)
        copied = (batch.link != 0) & (batch.operation == Operation.copy)
        self.copies.remember(batch.link[copied], batch.time[copied])
        self._engine.spill(self._scratch.save)
        return rank, verdict

    def learn(self, ids: Ids, skipped: Sequence[bytes]) -> None:
        """From a part: its records, then those that were skipped."""
        self.seen.judge(ids.ids, ids.ranks, np.zeros(len(ids.ids), np.int64), best_of_batch=True)
        copies = ids.copies[ids.copies != 0]
        self.copies.remember(copies, np.zeros(len(copies), np.int64))
        self.learn_records(skipped)

    def learn_records(self, parcels: Sequence[bytes]) -> None:
        """From parcels."""
        for parcel in parcels:
            self.judge(unpack(parcel))

    def best(self, ids: U64, rank: U64) -> tuple[Mask, Mask]:
        """Of records: which have differing copies, and which of those are the best."""
        order = np.argsort(ids)
        contested, best = np.zeros(len(ids), np.bool_), np.zeros(len(ids), np.uint64)
        contested[order], best[order] = self.seen.contested.look_up(ids[order])
        return contested, contested & (best == rank)

    def made_for_copy(self, reads: U64) -> Mask:
        """Which links are of reads for a copy that is known."""
        found: Mask = reads != 0
        found[found] = self.copies.contains(reads[found])
        return found


def settle(folder: Path, parts: Sequence[Part], known: Known, name: str) -> list[Part]:
    """All parts, with nothing among their records but what counts. name: begins no file's yet. Raises OSError."""
    lost = Pairs()
    for part in parts:
        ids, _ = partfiles.read_ids(folder, part)
        held = ids.ids[known.best(ids.ids, ids.ranks)[1] & ~known.made_for_copy(ids.reads)]
        known.placed.remember(held, np.zeros(len(held), np.int64))
        contested, _ = known.best(ids.same, ids.same_ranks)
        lost.update(zip(ids.same[contested].tolist(), ids.same_ranks[contested].tolist(), strict=True))
    return [_settled(folder, part, known, lost, name) for part in parts]


def _settled(folder: Path, part: Part, known: Known, lost: Pairs, name: str) -> Part:
    ids, parcels = partfiles.read_ids(folder, part)
    contested, best = known.best(ids.ids, ids.ranks)
    out = (contested & ~best) | known.made_for_copy(ids.reads)
    again = _again(ids.ids, ids.ranks, np.flatnonzero(best & ~out), lost)
    same, _ = known.best(ids.same, ids.same_ranks)
    skipped, found = _contested(parcels, known)
    aside = [unpack(parcel) for parcel in partfiles.read_aside(folder, part)]
    if not (out.any() or len(again) or same.any() or found or aside):
        return part
    table = partfiles.read_table(folder, part)
    worse = partfiles.batch_of(table.take(np.flatnonzero(out)))
    judged = _Judged(known, lost)
    judged.take([*aside, *found, worse])
    judged.lay(partfiles.batch_of(table.take(again)))
    tables = [table.take(np.flatnonzero(~out)), *(to_table(batch, of_objects=True) for batch in judged.kept)]
    every = [ids.take(np.flatnonzero(~out)), *(Ids.of(batch, ranks(batch)) for batch in judged.kept)]
    content = Content(
        joined(tables), Ids.together(every), skipped, judged.aside, _left(part, found, int(same.sum())), judged.books
    )
    content.ids.same, content.ids.same_ranks = ids.same[~same], ids.same_ranks[~same]
    content.judged.unresolved_bucket += part.judged["unresolved_bucket"] - int(worse.unresolved.sum())
    return partfiles.write(folder, (part.number, f"{name}-{part.number:06}"), content, part.inputs, part.logs)


def _again(ids: U64, rank: U64, rows: Index, lost: Pairs) -> Index:
    """Of these rows those of which copies were dropped, each as often as that; they are lost no more."""
    some = np.fromiter({one for one, _ in lost}, np.uint64)
    hit = rows[np.isin(ids[rows], some)]
    times = [lost.pop((int(ids[row]), int(rank[row])), 0) for row in hit]
    return np.repeat(hit, times)


def _contested(parcels: Sequence[bytes], known: Known) -> tuple[list[bytes], list[AccessBatch]]:
    """Skipped records: those that no others bear on, and the rest."""
    stay, contested = [], []
    for parcel in parcels:
        batch = unpack(parcel)
        rank = ranks(batch)
        mask = known.best(batch.id, rank)[0] | known.made_for_copy(Ids.of(batch, rank).reads)
        if not mask.any():
            stay.append(parcel)
            continue
        contested.append(batch.take(np.flatnonzero(mask)))
        if not mask.all():
            stay.append(pack(batch.take(np.flatnonzero(~mask))))
    return stay, contested


def _left(part: Part, found: Sequence[AccessBatch], same: int) -> Books:
    """What no replay looks at, now that these skipped records and so many like copies lie aside."""
    left = Books.of(part.left)
    left.records -= same + sum(map(len, found))
    left.duplicates -= same
    for batch in found:
        left.skipped.subtract(reasons(batch.skip))
    left.skipped += Counter()  # without zeros
    return left


class _Judged:
    """Records that others bear on. kept: those that count after all. aside: parcels of the others, and their books."""

    def __init__(self, known: Known, lost: Pairs) -> None:
        self._known, self._lost = known, lost
        self.kept: list[AccessBatch] = []
        self.aside: list[bytes] = []
        self.books = Books()

    def take(self, batches: Sequence[AccessBatch]) -> None:
        """Judge these, then the copies of them that were dropped because they were like them."""
        for batch in batches:
            self._judge(batch)
        for batch in batches:
            self.lay(batch.take(_again(batch.id, ranks(batch), np.arange(len(batch)), self._lost)))

    def lay(self, batch: AccessBatch) -> None:
        """Judge copies of records that have their place."""
        self._judge(batch)

    def _judge(self, batch: AccessBatch) -> None:
        if not len(batch):
            return
        rank = ranks(batch)
        internal = self._known.made_for_copy(Ids.of(batch, rank).reads)
        batch = replace(batch, skip=np.where(internal, np.int8(Skip.internal_read_of_copy), batch.skip))
        contested, best = self._known.best(batch.id, rank)
        first = np.flatnonzero(best | ~contested)
        verdict = self._known.placed.judge(batch.id[first], rank[first], np.zeros(len(first), np.int64))
        first = first[~verdict.duplicate]
        kept = np.zeros(len(batch), np.bool_)
        kept[first] = batch.skip[first] == Skip.no
        self._book(batch, first, kept, contested & ~best)
        if kept.any():
            self.kept.append(batch.take(np.flatnonzero(kept)))
        if not kept.all():
            self.aside.append(pack(batch.take(np.flatnonzero(~kept))))

    def _book(self, batch: AccessBatch, first: Index, kept: Mask, worse: Mask) -> None:
        books, skipped = self.books, batch.skip[first[~kept[first]]]
        books.records += int((~kept).sum())
        books.skipped.update(reasons(skipped))
        books.duplicates += len(batch) - len(first)
        books.duplicates_differing += int(worse.sum())
        books.unresolved_bucket += int(batch.unresolved[kept].sum())
