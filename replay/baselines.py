"""Baselines of a replay cut by peer group: which shard a role's records go to, and what one place makes of its shards.

Rules of this file
- All records of a role go to one shard, with those of every peer group that any of them names: not all logs name a role
  alike. So it is for all baseline rules at once.
- What everybody is told at midnight is `detector.model.shards`; how it is carried is `meet`, which is the caller's.
- One record of every identity goes along for its name, as in `replay.shards`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from heapq import heapify, heapreplace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detector.core.access import I64, U64, AccessBatch, Skip
from detector.core.engine import Engine
from detector.core.episode import CLOSED
from detector.core.fields import Levels
from detector.core.groupings import NO_GROUP
from detector.core.kinds.baseline import BaselineRule
from detector.core.parcel import pack, unpack
from detector.core.people import People
from detector.core.view import BatchView
from detector.core.watermark import FOREVER
from detector.core.window import by_value
from detector.model.shards import Meet, ShardError, through
from detector.model.watch import BaselineWatch
from replay.scratch import Scratch
from replay.shards import Counted, Known, Level, of_each_identity, take

Ties = tuple[U64, U64, I64]
"""Fingerprints of roles and of peer groups that their records name, and how many records do."""


_AT_ONCE = 64


def gathered(ties: list[Ties], packed: Sequence[bytes]) -> list[Ties]:
    """These and some more, as bytes; put together now and then, so that what is held grows with the roles only."""
    roles, groups = (np.frombuffer(column, np.uint64) for column in packed[:2])
    more = [*ties, (roles, groups, np.frombuffer(packed[2], np.int64))]
    return more if len(more) < _AT_ONCE else [_together(more)]


def _together(ties: Iterable[Ties]) -> Ties:
    roles, groups, records = map(np.concatenate, zip(*ties, strict=True))
    unique, of = np.unique(np.stack([roles, groups], axis=1), axis=0, return_inverse=True)
    return unique[:, 0], unique[:, 1], np.bincount(of.ravel(), records, len(unique)).astype(np.int64)


class Deal:
    """Which shard each role is in. roles: fingerprints, ascending."""

    def __init__(self, ties: Iterable[Ties], count: int) -> None:
        roles, groups, records = map(np.concatenate, zip(*ties, strict=True))
        self.roles, role = np.unique(roles, return_inverse=True)
        held = _held_together(role, np.unique(groups, return_inverse=True)[1])
        self.shards = _evenly(np.bincount(held[role], records), count)[held]

    def dealt(self, parcel: bytes) -> Iterator[tuple[int, bytes]]:
        """Shards, and what of a parcel is theirs."""
        batch = unpack(parcel)
        roles = BatchView(batch).groups(("role",))[0]
        there = np.flatnonzero(roles != NO_GROUP)
        for shard, some in by_value(self.shards[np.searchsorted(self.roles, roles[there])]):
            yield shard, pack(batch.take(there[some]))


def _held_together(role: I64, group: I64) -> I64:
    """The smallest role that each one hangs together with, over groups. role, group: of each tie, numbers from 0."""
    least = np.arange(int(role.max(initial=-1)) + 1)
    while True:
        of_group = np.full(int(group.max(initial=-1)) + 1, len(least))
        np.minimum.at(of_group, group, least[role])
        before = least.copy()
        np.minimum.at(least, role, of_group[group])
        if (least == before).all():
            return least


def _evenly(records: I64, count: int) -> I64:
    """Shards of what has so many records: the largest first, to whichever shard has least."""
    loads = [(0, shard) for shard in range(count)]
    heapify(loads)
    shards = np.zeros(len(records), np.int64)
    for one in np.argsort(-records, kind="stable").tolist():
        load, shards[one] = loads[0]
        heapreplace(loads, (load + int(records[one]), int(shards[one])))
    return shards


@dataclass(frozen=True, slots=True)
class Baselines:
    """Baseline rules, in `count` shards. memory: bytes that one shard's engine may hold. now: as in `Options`."""

    rules: tuple[BaselineRule, ...]
    count: int
    memory: int
    now: int

    @property
    def total(self) -> int:
        """How many shards there are."""
        return self.count if self.rules else 0

    def cut(self, batch: AccessBatch) -> tuple[AccessBatch, Ties]:
        """What of a batch the rules look at, and what holds its roles together."""
        events = batch.take(np.flatnonzero(batch.skip == Skip.no))
        rows, skip = Level((), self.rules).chosen(BatchView(events), of_each_identity(events))
        mine = replace(events.take(rows), skip=skip)
        return mine, self._ties(BatchView(mine))

    def _ties(self, view: BatchView) -> Ties:
        roles = view.groups(("role",))[0]
        some = np.flatnonzero(roles != NO_GROUP)
        return _together(
            (roles[some], view.groups(Levels(("peer_group",), peers))[0][some], np.ones(len(some), np.int64))
            for peers in dict.fromkeys(rule.peers for rule in self.rules)
        )

    def judged(
        self, parcels: Iterable[tuple[int, bytes]], known: Known, meet: Meet, tmp: Path | None = None
    ) -> Counted:
        """What the rules find in the shards of one place, of which each one's parcels come together."""
        counted = Counted()
        with ExitStack() as kept:
            shards = [
                self._absorbed((parcel for _, parcel in mine), known, kept.enter_context(Scratch(tmp)))
                for _, mine in groupby(parcels, key=lambda one: one[0])
            ]
            for number, rule in enumerate(self.rules):
                failed = next((shard.failures[rule.id] for shard in shards if rule.id in shard.failures), "")
                try:
                    found = through([shard.watches[number] for shard in shards], meet, failed=failed, last=True)
                except ShardError as error:
                    counted.failures[rule.id] = str(error)
                else:
                    counted.findings.extend(finding for finding in found if finding.state == CLOSED)
        return counted

    def _absorbed(self, parcels: Iterable[bytes], known: Known, scratch: Scratch) -> _Shard:
        watches: list[BaselineWatch] = []

        def made(rule: Any, people: People) -> BaselineWatch:
            watches.append(BaselineWatch(rule, people, once=True))
            return watches[-1]

        engine = Engine(
            self.rules, made, horizon=FOREVER, best_copies=True, memory=self.memory, shelf=scratch, **known.arguments()
        )
        for parcel in parcels:
            take(engine, unpack(parcel), scratch, self.now)
        return _Shard(watches, engine.failures)


class _Shard(NamedTuple):
    """Watches by rule, and why those that failed did."""

    watches: list[BaselineWatch]
    failures: dict[str, str]
