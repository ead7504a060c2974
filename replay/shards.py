"""A replay cut into shards that know nothing of each other: by event id for the books, by group for the rules.

Rules of this file
- There is one engine. A shard is an `Engine` over some of the records; here is only which records go where.
- Every record goes to one shard of the books, by its event id (a copy, and the read that AWS made for it, by their
  link): there copies are told from new records, exactly as in one process.
- For the rules of one level the records go to the shard of their group. Levels that hold a session or a role are cut by
  that: all credentials of an identity come together, so it is shown by the same name as in one process. One record of
  every identity goes along for its name, marked as skipped: it is met, and not counted. Where rules name identities
  of any group, it goes to all shards.
- What is not keyed (the online model; what waits for something that does not come) is counted in one shard.
- The books come first: of differing copies, and of reads for a copy, they know which count (`Known`), and the rules'
  shards are told, as the second run of a replay is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from detector.core.access import I8, I32, U64, AccessBatch, Index, Log, Operation, Skip
from detector.core.books import Books
from detector.core.curve import Curve
from detector.core.dedup import Seen
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.groupings import NO_GROUP, GroupKey
from detector.core.ids import Ids
from detector.core.parcel import pack, unpack
from detector.core.people import NAMED
from detector.core.rule import BaselineRule, Rule
from detector.core.select import selectors_of
from detector.core.view import BatchView
from detector.core.watermark import FOREVER
from detector.core.window import by_value
from detector.watches import watches
from replay.options import CURVES
from replay.run import closed_of, curves_of
from replay.scratch import Scratch

NOT_KEYED = np.uint64(1)
"""What a level that is not keyed is dealt by: all to one shard."""
AFTER_ALL = 1 << 40
"""A clock that no record is ahead of: epoch seconds."""


class Known(NamedTuple):
    """What is known of copies.

    ids: those of which differing copies came, sorted; with the rank of the best copy, and the hour it was seen in.
    copies, reads: links of copies, and of reads that AWS made for a copy.
    """

    ids: U64
    ranks: U64
    hours: I32
    copies: U64
    reads: U64

    def pack(self) -> bytes:
        """As bytes, for a journey to another process."""
        return msgspec.msgpack.encode([column.tobytes() for column in self])

    @classmethod
    def together(cls, packed: Iterable[bytes]) -> Known:
        """All shards' as one."""
        every = [NOTHING, *(cls._unpacked(msgspec.msgpack.decode(data)) for data in packed)]
        ids, ranks, hours, copies, reads = map(np.concatenate, zip(*every, strict=True))
        order = np.argsort(ids)  # an id is in one shard only
        common = np.intersect1d(copies, reads)
        return cls(ids[order], ranks[order], hours[order], common, common)

    def arguments(self) -> dict[str, Any]:
        """Of an `Engine` that is to count as if it knew."""
        preferred, copies = Ids("known", once=False), Seen("copies")
        preferred.add(self.ids, self.ranks, self.hours.astype(np.int64))
        copies.remember(self.copies, np.zeros(len(self.copies), np.int64))
        return {"preferred": preferred, "copies": copies}

    @classmethod
    def _unpacked(cls, columns: Sequence[bytes]) -> Known:
        ids, ranks, hours, *links = columns
        copies, reads = (np.frombuffer(column, np.uint64) for column in links)
        known = np.frombuffer(ids, np.uint64), np.frombuffer(ranks, np.uint64), np.frombuffer(hours, np.int32)
        return cls(*known, copies, reads)


_NO_IDS = np.zeros(0, np.uint64)
NOTHING = Known(_NO_IDS, _NO_IDS, np.zeros(0, np.int32), _NO_IDS, _NO_IDS)


@dataclass(frozen=True, slots=True)
class Level:
    """Rules that are counted in the same shards. by: what these are cut by; empty: one shard has all."""

    by: GroupKey
    rules: tuple[Rule, ...]

    @property
    def names_others(self) -> bool:
        """Whether findings name identities of which some credentials may be in other shards."""
        together = self.by in ((), ("role",))  # a session is one role's
        return not together and any(getattr(rule, "what", "") in {*NAMED} - {*self.by} for rule in self.rules)

    def chosen(self, view: BatchView, named: Index) -> tuple[Index, I8]:
        """The rows that its rules count, then those that name identities; and `skip` of each: the latter are skipped.

        What is not keyed, a baseline aside, may look at any record.
        """
        rows = np.arange(len(view.batch))
        if all(rule.keyed or isinstance(rule, BaselineRule) for rule in self.rules):
            rows = np.unique(np.concatenate([view.rows(one) for rule in self.rules for one in selectors_of(rule)]))
        skip = np.repeat(np.array([Skip.no, Skip.outside_period], np.int8), (len(rows), len(named)))
        return np.concatenate([rows, named]), skip


@dataclass(frozen=True, slots=True)
class Counted:
    """What shards came to: the books, or what rules found. sessions: fingerprints of those the books met."""

    books: Books = field(default_factory=Books)
    logs_seen: set[Log] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    sessions: bytes = b""
    curves: dict[str, Curve] = field(default_factory=dict)

    def pack(self) -> bytes:
        """As bytes, for a journey to another process."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def together(cls, packed: Iterable[bytes]) -> Counted:
        """All shards' as one."""
        whole, sessions = cls(), list[bytes]()
        for one in map(msgspec.msgpack.decode, packed):
            whole.books.add(Books.of(one["books"]))
            whole.logs_seen.update(map(Log, one["logs_seen"]))
            whole.findings.extend(map(finding_of, one["findings"]))
            whole.failures.update(one["failures"])
            whole.curves.update({name: Curve(*curve) for name, curve in one["curves"].items()})
            sessions.append(one["sessions"])
        return replace(whole, sessions=np.unique(np.frombuffer(b"".join(sessions), np.uint64)).tobytes())

    @property
    def principals(self) -> int:
        """How many sessions the books met."""
        return len(self.sessions) // 8


@dataclass(frozen=True, slots=True)
class Shards:
    """How a replay is cut: `count` shards of the books, then as many for each level.

    curves: of each, at most. now: as in `Options`.
    """

    levels: tuple[Level, ...]
    count: int
    memory: int
    curves: int
    now: int

    @classmethod
    def of(cls, rules: Sequence[Rule], count: int, memory: int, curves: int = CURVES, now: int = AFTER_ALL) -> Shards:
        """The cut for these rules. memory: bytes that one shard's engine may hold. curves, now: as in `Options`."""
        return cls(levels_of(rules), count, memory, curves, now)

    @property
    def total(self) -> int:
        """How many shards there are in all."""
        return self.count * (1 + len(self.levels))

    def parcels(self, batch: AccessBatch) -> Iterator[tuple[int, bytes]]:
        """Numbers of shards, and what of the batch is theirs."""
        for shard, rows in dealt_out(batch.id, np.arange(len(batch)), self.count):
            yield shard, pack(batch.take(rows))
        for number, shard, parcel in self.of_levels(batch.take(np.flatnonzero(batch.skip == Skip.no))):
            yield (1 + number) * self.count + shard, parcel

    def of_levels(self, events: AccessBatch) -> Iterator[tuple[int, int, bytes]]:
        """Number of a level, shard of it, and what of the access events that shard is to look at."""
        view, named = BatchView(events), of_each_identity(events)
        for number, level in enumerate(self.levels):
            rows, skip = level.chosen(view, named)
            groups = view.groups(level.by)[0][rows] if level.by else np.full(len(rows), NOT_KEYED)
            mine = replace(events.take(rows), skip=skip)
            for shard, some in dealt_out(groups, np.flatnonzero(groups != NO_GROUP), self.count):
                yield number, shard, pack(mine.take(some))
            if level.names_others and len(named):
                names = pack(mine.take(np.arange(len(rows) - len(named), len(rows))))
                yield from ((number, shard, names) for shard in range(self.count))

    def know(self, parcels: Iterable[bytes], tmp: Path | None = None) -> Known:
        """What a shard of the books knows of copies."""
        copies, reads = [_NO_IDS], [_NO_IDS]
        with Scratch(tmp) as scratch:
            engine = self._engine((), scratch, {})
            for batch in map(unpack, parcels):
                linked, copied = batch.link != 0, batch.operation == Operation.copy
                copies.append(batch.link[linked & copied])
                reads.append(batch.link[linked & ~copied])
                _take(engine, batch, scratch, self.now)
            ids, ranks, hours = engine.second_run()["preferred"].whole() or NOTHING[:3]
        return Known(ids, ranks, hours, np.unique(np.concatenate(copies)), np.unique(np.concatenate(reads)))

    def counted(self, shard: int, parcels: Iterable[bytes], known: Known, tmp: Path | None = None) -> Counted:
        """The books of one shard, or what its rules find in its records."""
        books = shard < self.count
        level = Level((), ()) if books else self.levels[shard // self.count - 1]
        with Scratch(tmp) as scratch:
            engine = self._engine(level.rules, scratch, known.arguments())
            for batch in map(unpack, parcels):
                (_take if books else take)(engine, batch, scratch, self.now)
            if books:
                return Counted(engine.books, engine.logs_seen, sessions=engine.people.session_prints().tobytes())
            closed = closed_of(engine)
            return Counted(findings=closed, curves=curves_of(engine, closed, self.curves), failures=engine.failures)

    def _engine(self, rules: Sequence[Rule], scratch: Scratch, known: dict[str, Any]) -> Engine:
        return Engine(
            rules, watches(once=True), horizon=FOREVER, best_copies=True, memory=self.memory, shelf=scratch, **known
        )


def _take(engine: Engine, batch: AccessBatch, scratch: Scratch, now: int) -> None:
    engine.process(batch, now=now)
    engine.spill(scratch.save)


def take(engine: Engine, batch: AccessBatch, scratch: Scratch, now: int) -> None:
    """Count a batch of which the rows that are skipped only name identities."""
    named = batch.skip != Skip.no
    engine.people.meet(BatchView(batch.take(named)))
    _take(engine, batch.take(~named), scratch, now)


def finding_of(plain: dict[str, Any]) -> Finding:
    """A finding as it was packed: its whole numbers are whole numbers still."""
    return Finding(**(plain | {"alert_ids": tuple(plain["alert_ids"])}))


def not_keyed(rules: Iterable[Rule]) -> list[str]:
    """Ids of the rules for which one shard has to have all of it to count."""
    return sorted(rule.id for rule in rules if not cut_by(rule))


def cut_by(rule: Rule) -> GroupKey:
    """The levels by whose group a rule's records are dealt out."""
    if not rule.keyed:
        return ()
    return next(((level,) for level in ("role", "session") if level in rule.group_by), rule.group_by)


def levels_of(rules: Iterable[Rule]) -> tuple[Level, ...]:
    """The levels that these rules are counted in."""
    levels: dict[GroupKey, list[Rule]] = {}
    for rule in rules:
        levels.setdefault(cut_by(rule), []).append(rule)
    return tuple(Level(by, tuple(some)) for by, some in levels.items())


def dealt_out(keys: U64, rows: Index, count: int) -> Iterator[tuple[int, Index]]:
    """Shards by key, and which of these rows are theirs."""
    for shard, mine in by_value((keys[rows] % np.uint64(count)).astype(np.int64)):
        yield shard, rows[mine]


def of_each_identity(events: AccessBatch) -> Index:
    """One row of each identity, its last, by which it is named."""
    by_time = np.argsort(events.time, kind="stable")[::-1]
    named: Index = by_time[np.unique(events.who[by_time], return_index=True)[1]]
    return named
