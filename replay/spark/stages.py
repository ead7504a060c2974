"""What executors do with a batch that came live: read log files, let every record through once, count by group.

    files → read → (by event id) admitted: books, copies told from new records
                 → (by the group of each level) counted: rules → findings

Rules of this file
- There is one engine. Each step is it over a shard's records and a shard's state, and depends on nothing else: what the
  clock says and how far event time has come is in the batch's order. So a batch that runs again finds the same.
- Records are dealt out by event id; a copy, and what AWS read for it, by what links them. All copies of a record say
  the same of that, so they meet; of those that differ the first counts, as in the daemon.
- Every shard hears of every batch. Shard 0 of the books tells the levels' shards, and those of levels that are no more.
- A shard's state (`parts.py`) holds the rules that it counts by: new ones are adopted as the daemon adopts them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np

from detector.core.access import AccessBatch, Index, Skip
from detector.core.admit import Admission
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.core.groupings import GroupKey
from detector.core.parcel import pack, together, unpack
from detector.core.view import BatchView
from detector.errors import EdgeError
from detector.local.directory import DirectorySource
from detector.logs.limits import Limits
from detector.logs.read import fallible
from detector.rules import Rulebook, read_book
from detector.source import Notice
from detector.watches import watches
from replay.remote import objects
from replay.shards import NOT_KEYED, Shards, cut_by, dealt_out, levels_of
from replay.spark.manifest import LogFile, Order
from replay.spark.parts import OnShelf, Parts

Fetch = Callable[[Notice], bytes]
Row = tuple[str, int, bytes]
"""Shard, number of what is in it, parcel."""
DRIVER = ""
"""The shard whose rows are for the driver; they pass through all steps."""
BOOKS = "books"
ORDER = -1
"""The number of a parcel that is no records, but the batch's order."""
_ENCODE, _DECODE = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


class How(msgspec.Struct, frozen=True):
    """What the configuration says. count: shards of the books, and of each level.

    folder: of the log files; empty: they lie in S3, as each says.
    memory: bytes that a shard's engine may hold. prefer: see `Admission`. limits: fields of `Limits`.
    """

    count: int
    folder: str
    horizon: int
    memory: int
    prefer: dict[str, str] = {}
    limits: dict[str, int] = {}


class Outcome(NamedTuple):
    """What came of a log file. told: see `fallible`. lost: why it cannot be had. passing: another try may have it."""

    name: str
    version: str
    told: dict[str, str]
    lost: str = ""
    passing: bool = False


def told(order: Order, count: int) -> Iterator[Row]:
    """What every shard of the books, and the driver, hears of a batch."""
    yield DRIVER, 0, _ENCODE(("head", order.number, order.rules))
    yield from ((f"{BOOKS}#{shard}", ORDER, _ENCODE(order)) for shard in range(count))


def read_files(how: How, columns: Iterable[str], chunk: int, files: Iterable[LogFile]) -> Iterator[Row]:
    """Read some log files: every shard's records, and for the driver what came of them."""
    builder = BatchBuilder(frozenset(columns))
    fetch, limits = _fetching(how), Limits(**how.limits)
    outcomes = [_read_file(file.notice, fetch, builder, limits) for file in files]
    batch = Admission.of(None, None, how.prefer).apply(builder.build())
    rejects = [(one.file, one.position, one.reason, one.detail) for one in batch.rejects]
    yield from dealt(how, chunk, batch)
    yield DRIVER, chunk, _ENCODE(("files", outcomes, rejects))


def dealt(how: How, chunk: int, batch: AccessBatch) -> Iterator[Row]:
    """Every shard of the books' records."""
    keys = np.where(batch.link != 0, batch.link, batch.id)
    for shard, rows in dealt_out(keys, np.arange(len(batch)), how.count):
        yield f"{BOOKS}#{shard}", chunk, pack(batch.take(rows))


def _fetching(how: How) -> Fetch:
    """How this executor gets at log files."""
    if how.folder:
        return DirectorySource(how.folder).fetch
    return lambda notice: objects().fetch(notice.bucket, notice.key, notice.version)


def _read_file(notice: Notice, fetch: Fetch, into: BatchBuilder, limits: Limits) -> Outcome:
    try:
        data = fetch(notice)
    except EdgeError as error:
        return Outcome(notice.name, notice.version, {}, error.what, error.retryable)
    return Outcome(notice.name, notice.version, fallible(data, notice.name, into, limits))


def admitted(how: How, shard: str, rows: Iterable[Row], parts: Parts) -> list[Row]:
    """One shard of the books: what it lets through is for the shards of the levels, what it knows for the driver."""
    order, batch = _opened(rows)
    number = int(shard.partition("#")[2])
    before, rules = _books(parts, order)
    engine = Engine((), watches(), horizon=how.horizon, memory=how.memory, shelf=OnShelf(parts))
    engine.restore(parts)
    engine.watermark.reached = dict(order.reached)
    out: list[Row] = []
    if batch is not None:
        events = engine.process(batch, order.now)
        cut = Shards.of(rules.rules, how.count, how.memory)
        for level, to, parcel in cut.of_levels(events):
            out.append((f"{_name(cut.levels[level].by)}#{to}", number, parcel))
        out.append((DRIVER, 0, _ENCODE(("seen", pack(_newest(batch)), pack(_newest(events.requests()))))))
    engine.advance(order.now, backlog=True)  # nothing moves; what is beyond the horizon is let go of
    out.append((DRIVER, 0, _ENCODE(("books", shard, engine.books))))
    if number == 0:
        out += [(to, ORDER, _ENCODE(order)) for to in _all_shards([before, rules], how)]
    parts.save(engine.changes(), order.rules)
    return out


def counted(how: How, shard: str, rows: Iterable[Row], parts: Parts) -> list[Row]:
    """One shard of a level: what its rules find."""
    order, batch = _opened(rows)
    name = shard.rpartition("#")[0]
    before, after = ([r for r in book.rules if _name(cut_by(r)) == name] for book in _books(parts, order))
    engine = Engine(before, watches(gather=True), horizon=how.horizon, memory=how.memory, shelf=OnShelf(parts))
    engine.restore(parts)
    engine.watermark.reached = dict(order.reached)
    found = engine.adopt(after) if order.rules is not None else []
    if batch is not None:
        named = batch.skip != Skip.no
        engine.people.meet(BatchView(batch.take(named)))
        engine.count(batch.take(~named), order.now)
        found += engine.judge()
    found += engine.finish() if order.finish else engine.advance(order.now, backlog=True)
    if after:
        parts.save(engine.changes(), order.rules)
    else:
        parts.clear()  # a level that is no more has nothing to keep
    return [(DRIVER, 0, _ENCODE(("found", shard, found, engine.failures, engine.learning())))]


def _opened(rows: Iterable[Row]) -> tuple[Order, AccessBatch | None]:
    """The order in a shard's rows, and their records in order as one batch."""
    parcels = sorted(((number, parcel) for _, number, parcel in rows), key=lambda row: row[0])
    order = msgspec.msgpack.decode(parcels[0][1], type=Order)
    batches = [unpack(parcel) for number, parcel in parcels if number != ORDER]
    return order, together(batches) if batches else None


def _books(parts: Parts, order: Order) -> tuple[Rulebook, Rulebook]:
    """The rules that counted so far, and those that count from now on."""
    kept = _book(_ENCODE(parts.rules()))
    return kept, kept if order.rules is None else _book(_ENCODE(order.rules))


@lru_cache(maxsize=4)
def _book(texts: bytes) -> Rulebook:
    return read_book(_DECODE(texts))


def _name(by: GroupKey) -> str:
    """What a level is called in the names of its shards."""
    peers = getattr(by, "peers", ())
    return json.dumps([*by, repr(peers)] if peers else [*by])


def _all_shards(books: Iterable[Rulebook], how: How) -> list[str]:
    """The shards of all levels of these rules. What is not keyed has one."""
    every = {level.by for book in books for level in levels_of(book.rules)}
    one = [int(NOT_KEYED) % how.count]
    return [f"{name}#{shard}" for name, by in sorted((_name(by), by) for by in every)
            for shard in (range(how.count) if by else one)]  # fmt: skip


def _newest(batch: AccessBatch) -> AccessBatch:
    """The newest record of every kind of log, partition and bucket: for what the driver wants to see of a batch."""
    by_time = np.argsort(batch.time, kind="stable")[::-1]
    buckets = batch.text["bucket"]
    key = (batch.partition.codes.astype(np.int64) + 1) * (len(buckets.values) + 1) + buckets.codes + 1
    key = key * (int(batch.log.max(initial=0)) + 1) + batch.log
    first: Index = by_time[np.unique(key[by_time], return_index=True)[1]]
    return batch.take(np.sort(first))
