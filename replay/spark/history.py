"""Replay on Apache Spark: the same engine, a shard a task.

    manifest of files → read, parse, cut (a task for some chunks of files) → one shuffle by shard → books → rules
                      → baselines (`spark/baselines.py`) → evidence, from the files concerned

Rules of this file
- What goes where is decided in `shards.py` and `baselines.py` beside this folder; here is only how it travels. Rows are
  (shard, chunk, parcel): few and large, so that nothing of a record passes through the JVM as columns.
- The shuffled parcels are kept on the executors' disks: the books are counted from them first, then the rules.
- The driver holds what came of each file, the findings, and what the books know of copies. Executors tell nobody else.
- Files are named to the executors, which must see the same paths: one machine, or a file system that all share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from functools import partial
from itertools import groupby, starmap
from pathlib import Path
from typing import TYPE_CHECKING

from detector.core.access import AccessBatch, Reject
from detector.core.admit import Admission
from detector.core.books import Books
from detector.core.coverage import Coverage
from detector.core.dated import Period
from detector.core.engine import Engine
from detector.core.kinds.baseline import BaselineRule
from detector.core.parcel import pack, unpack
from detector.core.rule import Rule
from detector.core.watermark import FOREVER
from detector.core.ways import BEGAN, Chains, beginning
from detector.watches import watches
from replay import java
from replay.baselines import Baselines, Deal, Ties, gathered
from replay.files import Files, find
from replay.incidents import Look
from replay.options import Options
from replay.reader import Chunk, FileRead, Reads, records
from replay.run import COVERED, Result, Totals, columns_of, result, with_evidence
from replay.scratch import Scratch
from replay.shards import Counted, Known, Shards, not_keyed
from replay.spark.baselines import judged, may_meet
from replay.spark.notes import DRIVER, listed, manifest, note, notes
from replay.spark.progress import Tally
from replay.spark.rows import Parcel, mapped
from replay.spark.session import session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def run(paths: Sequence[str], rules: Sequence[Rule], options: Options | None = None) -> Result:
    """As `replay.run.run`, on the Spark session there is, else on one of `options.jobs` cores of this machine.

    Raises InputError where Spark cannot run, and for what the user should mend.
    """
    java.require()
    options = options or Options()
    began = time.monotonic()
    files = find(paths, Period.of(options.admission))
    chosen = [rule for rule in rules if options.model or not isinstance(rule, BaselineRule)]
    with session(options.jobs) as spark, Scratch(options.tmp) as scratch:
        count = max(spark.sparkContext.defaultParallelism, options.jobs)
        shards, models = _shards(chosen, count, options, side_by_side=may_meet(spark))
        looked_at = columns_of(chosen, options)
        read = partial(records, columns=looked_at | COVERED | {BEGAN}, limits=options.limits)
        tally = Tally(spark)
        cut = partial(_cut, shards, models, options.admission, read, looked_at, tally)
        parcels = mapped(manifest(spark, files), cut).repartition(shards.total + models.total, "shard")
        with tally.told(files, options.progress, "reading"), _kept(parcels) as kept:
            reads, rejected, begun, ties = _reads(kept, options)
            known, found = _counted(kept, shards, options.tmp)
            if models.rules and ties:
                of_models = kept.where(f"shard >= {shards.total}")
                found += judged(spark, of_models, models, Deal(ties, models.count), known, options.tmp)
            counted = Counted.together(found)
            counted.books.add(rejected)
        engine = Engine((), watches(), horizon=FOREVER, best_copies=True, shelf=scratch, **known.arguments())
        chains = Chains()
        engine.lean_on_shelf(*chains.spilling())
        for batch in begun:
            chains.meet(batch)
            engine.spill(scratch.save)
        look = Look(files, reads, partial(_read_again, spark), records, options, chains)
        findings, told = with_evidence(counted.findings, chosen, engine, look, scratch)
    totals = Totals(counted.books, counted.logs_seen, counted.principals, counted.failures, counted.curves, told)
    return result(findings, totals, rules, options, reads, began)


def _shards(rules: Sequence[Rule], count: int, options: Options, *, side_by_side: bool) -> tuple[Shards, Baselines]:
    """How it is cut. side_by_side: whether tasks can go through the baselines' shards side by side."""
    models = tuple(rule for rule in rules if isinstance(rule, BaselineRule) and side_by_side)
    others = [rule for rule in rules if rule not in models]
    if whole := not_keyed(others):
        options.tell(f"one task counts all access events for what is not keyed: {', '.join(whole)} (docs/spark.md)")
    return (
        Shards.of(others, count, options.memory, options.curves, options.now),
        Baselines(models, count, options.memory, options.now),
    )


def _cut(
    shards: Shards,
    models: Baselines,
    admission: Admission,
    read: Chunk,
    columns: frozenset[str],
    tally: Tally,
    rows: Iterator[Parcel],
) -> Iterator[Parcel]:
    """Read the files of chunks: every shard's records with these columns, and for the driver what came of the files."""
    for _, chunk, files in rows:
        batch, outcomes = read(listed(files))
        admitted = admission.apply(batch)
        for shard, parcel in shards.parcels(admitted.cut(columns)):
            yield shard, chunk, parcel
        ties: list[bytes] = []
        if models.rules:
            mine, tied = models.cut(admitted.cut(columns))
            ties = [column.tobytes() for column in tied]
            yield shards.total + chunk % models.count, chunk, pack(mine)
        coverage = Coverage()
        coverage.add(batch)
        rejects = [astuple(reject) for reject in sorted(batch.rejects, key=_position)]
        begun = pack(admitted.take(beginning(admitted)).cut(frozenset({BEGAN})))
        yield note(chunk, outcomes, rejects, coverage.to_json(), begun, ties)
        tally.add(outcomes, len(batch) + len(batch.rejects))


def _read(read: Chunk, rows: Iterator[Parcel]) -> Iterator[Parcel]:
    """Read the files of chunks: all of it is for the driver."""
    for _, chunk, files in rows:
        batch, outcomes = read(listed(files))
        yield note(chunk, outcomes, pack(batch))


def _read_again(spark: SparkSession, files: Files, read: Chunk) -> Iterator[tuple[AccessBatch, list[FileRead]]]:
    """`replay.reader.batches`, with the executors to read."""
    with _kept(mapped(manifest(spark, files), partial(_read, read))) as told:
        for outcomes, batch in notes(told):
            yield unpack(batch), outcomes


@contextmanager
def _kept(frame: DataFrame) -> Iterator[DataFrame]:
    """The frame, worked out once, on the executors' disks."""
    from pyspark import StorageLevel

    frame = frame.sortWithinPartitions("shard", "chunk").persist(StorageLevel.DISK_ONLY)
    frame.count()
    try:
        yield frame
    finally:
        frame.unpersist()


def _reads(parcels: DataFrame, options: Options) -> tuple[Reads, Books, list[AccessBatch], list[Ties]]:
    """What came of all files, the books of the records that could not be read, those that begin sessions, and what
    holds roles together.
    """
    reads, books, begun, ties = Reads(), Books(), list[AccessBatch](), list[Ties]()
    for outcomes, told, coverage, beginnings, tied in notes(parcels):
        rejects = list(starmap(Reject, told))
        reads.coverage.merge(Coverage.from_json(coverage))
        for outcome in outcomes:
            reads.add(outcome)
        books.records += len(rejects)
        books.rejected.update(reject.reason for reject in rejects)
        options.rejects(rejects)
        options.inputs(outcomes)
        begun.append(unpack(beginnings))
        if tied:
            ties = gathered(ties, tied)
    return reads, books, begun, ties


def _counted(parcels: DataFrame, shards: Shards, tmp: Path | None) -> tuple[Known, list[bytes]]:
    """What is known of copies, from the books' shards; then, with that known, what all shards come to."""
    of_books = parcels.where(f"shard >= 0 AND shard < {shards.count}")
    known = Known.together(_folded(of_books, partial(_know, shards, tmp)))
    every = parcels.where(f"shard >= 0 AND shard < {shards.total}")
    return known, _folded(every, partial(_count, shards, tmp, known))


def _folded(frame: DataFrame, count: Callable[[int, Iterator[bytes]], bytes]) -> list[bytes]:
    """What each shard's parcels came to."""
    return [bytes(row.parcel) for row in mapped(frame, partial(_fold, count)).collect()]


def _fold(count: Callable[[int, Iterator[bytes]], bytes], rows: Iterator[Parcel]) -> Iterator[Parcel]:
    for shard, mine in groupby(rows, key=lambda row: row[0]):
        yield DRIVER, 0, count(shard, (parcel for _, _, parcel in mine))


def _know(shards: Shards, tmp: Path | None, _: int, parcels: Iterator[bytes]) -> bytes:
    return shards.know(parcels, tmp).pack()


def _count(shards: Shards, tmp: Path | None, known: Known, shard: int, parcels: Iterator[bytes]) -> bytes:
    return shards.counted(shard, parcels, known, tmp).pack()


def _position(reject: Reject) -> tuple[str, int]:
    return reject.file, reject.position
