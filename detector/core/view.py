"""One batch as rules look at it: groups, members and credentials of rows, each worked out once. Pure.

What groups there are, and of whom, is in `groupings.py`.

Rows get into the order of tallies by counting, one column after the other, the last one first: member, credentials,
second, group. Rules that count the same rows by other groups differ in the last step only; those that count alike, in
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np

from detector.core.access import I64, U64, AccessBatch, Column, Index, Mask, Rows, intern, present, text_hash
from detector.core.counts import Codes, Counts
from detector.core.finding import prefix_of
from detector.core.groupings import (
    CREDENTIALS,
    IDENTITY,
    NO_GROUP,
    Groupings,
    GroupKey,
    Keys,
    People,
    group_print,
    key_at,
)
from detector.core.net import nets, public
from detector.core.part import Run
from detector.core.principal import fingerprint
from detector.core.rule import Levels, Peers
from detector.core.screen import Touched
from detector.core.select import Selector
from detector.core.tally import Tallies, by_hour, together
from detector.core.window import HALF, grouped, of_alike, steady_order

Timely = tuple[Index, I64]
"""Rows in an order, and their seconds."""
T = TypeVar("T")
Coded = tuple[Codes, U64, Callable[[int], T]]
"""Codes of rows (-1: no value); by code its group, of which the last is nobody's; and what a code's key is."""


class BatchView:
    """Access events of one batch (skipped and duplicate rows are gone already).

    latest: second after which no clock can be that is right.
    """

    def __init__(self, batch: AccessBatch, groupings: Groupings | None = None, latest: int = 1 << 62) -> None:
        self.batch = batch
        self.latest = latest
        self.time = batch.time
        self._groupings = groupings or Groupings()
        self._groups: dict[GroupKey, tuple[U64, Mapping[int, GroupKey]]] = {}
        self._coded: dict[GroupKey, tuple[Codes, U64, Codes]] = {}
        self._counts: dict[tuple[Hashable, ...], tuple[Index, U64, Counts]] = {}
        self._timely: dict[tuple[int, ...], tuple[Index, U64 | None, Timely]] = {}
        self._tallied: dict[tuple[Hashable, ...], tuple[Index, U64, list[tuple[int, Run]]]] = {}
        self._counted: set[Tallies] = set()
        self._items: dict[str, U64] = {}
        self._begun: dict[Hashable, Index] = {}
        self._rows: dict[Selector, Index] = {}
        self._nets: Column | None = None

    def rows(self, chosen: Selector) -> Index:
        """The rows that a selector chooses: once for all rules that say the same, a part of the way for others."""
        if chosen not in self._rows:
            if chosen.first not in self._begun:
                self._begun[chosen.first] = chosen.begin(self.batch)
            if chosen.coarse not in self._begun:
                self._begun[chosen.coarse] = chosen.of_operation(self.batch, self._begun[chosen.first])
            self._rows[chosen] = chosen.narrow(self.batch, self._begun[chosen.coarse])
        return self._rows[chosen]

    def groups(self, levels: GroupKey) -> tuple[U64, Mapping[int, GroupKey]]:
        """Group of every row at these levels, and the key (one text a level) of each group."""
        if levels not in self._groups:
            self._groups[levels] = self._make_groups(levels)
        return self._groups[levels]

    def of_groups(self, rows: Index, levels: GroupKey) -> Index:
        """Those of these rows that have a value at all of these levels."""
        there: Mask = self.groups(levels)[0] != NO_GROUP
        return rows if there.all() else rows[there[rows]]

    def tally(self, into: Tallies, rows: Index, levels: GroupKey, items: U64, grain: int = 1) -> list[tuple[int, Run]]:
        """Count these rows by their groups at these levels. Returns them by hour, as `by_hour`, repeated ones as one.

        items: of every row of the batch. grain: seconds that are one. What several rules count alike is worked out
        once, and counted once in tallies that they share.
        """
        asked = (id(rows), levels, id(items), into.distinct, grain)
        if asked not in self._tallied:  # what was asked is held with it, so that no other array has its address
            self._tallied[asked] = rows, items, by_hour(self._tally(rows, levels, items, into.distinct, grain))
        runs = self._tallied[asked][2]
        if into not in self._counted:
            self._counted.add(into)
            into.add(runs)
        return runs

    def acting(self, shared: tuple[str, ...]) -> U64:
        """Whose habits every row is of. shared: as in `peers.acting`."""
        return self._groupings.acting(shared, self.batch)

    def count(self, into: Tallies, rows: Index, items: U64) -> Counts:
        """Count these rows by their credentials, as `tally` does by groups."""
        asked = id(rows), id(items), into.distinct
        if asked not in self._counts:
            self._counts[asked] = rows, items, self._count(rows, items, into.distinct)
        counts = self._counts[asked][2]
        if into not in self._counted:
            self._counted.add(into)
            who = self.batch.prints[counts.codes]
            into.add(by_hour((who, counts.seconds, who, counts.items)))
        return counts

    def touched(self, counts: Counts, levels: GroupKey, width: int, grain: int) -> Touched:
        """The groups at a level of identities, and buckets of so many seconds, that these counts touch."""
        self.groups(levels)
        _, groups, places = self._coded[levels]
        return counts.touched(groups, places, width, grain)

    def groups_of(self, codes: Index, level: str) -> U64:
        """The groups at a level of identities of the principals of these codes."""
        batch = self.batch
        return self._groupings.groups(level, batch.prints[codes], lambda at: batch.principals.each(codes[at].tolist()))

    def who(self) -> U64:
        """Fingerprint of the credentials of every row."""
        return self.groups(CREDENTIALS)[0]

    def items(self, measure: str) -> U64:
        """What a measure counts of every row: an amount, or a member's hash for a distinct measure."""
        if measure not in self._items:
            self._items[measure] = ITEMS[measure](self)
        return self._items[measure]

    def text_hashes(self, column: str) -> U64:
        """Hash of a text column."""
        return self.batch.text[column].hashes()

    def of_principal(self, level: str) -> U64:
        """Hash of the key of the row's principal at a level."""
        codes, some = self._people()
        return self._of_codes(codes, self._groupings.members(level, self.batch.prints[codes], some))[self.batch.who]

    def of_prefixes(self) -> U64:
        """Hash of (bucket, prefix of the key), 0 where there is no key."""
        keys = self.batch.text["key"]
        table = np.array([*(text_hash(prefix_of(v)) for v in keys.values), 0], np.uint64)
        return np.where(keys.codes < 0, np.uint64(0), self.text_hashes("bucket") * np.uint64(31) + table[keys.codes])

    def folders(self) -> Column:
        """Bucket and prefix of every row's key, as one text; null where there is no key."""
        folders = folders_of(self.batch, np.arange(len(self.batch)))
        codes, texts = intern(folders.values)
        return Column(np.append(codes, np.int32(-1))[folders.codes], texts)

    def nets(self) -> Column:
        """Source network of every row."""
        if self._nets is None:
            self._nets = nets(self.batch)
        return self._nets

    def _tally(self, rows: Index, levels: GroupKey, items: U64, distinct: bool, grain: int) -> Run:
        order, second = self._by_time(rows, items if distinct else None, grain)
        groups, _ = self.groups(levels)
        codes, _, place = self._coded[levels]
        by_group = steady_order(place[codes[order]])
        order, second = order[by_group], second[by_group]
        there = int(np.searchsorted(groups[order], NO_GROUP, "right"))
        order, second = order[there:], second[there:]
        return together((groups[order], second, self.who()[order], items[order]), distinct=distinct)

    def _count(self, rows: Index, items: U64, distinct: bool) -> Counts:
        self.groups(CREDENTIALS)
        codes, _, places = self._coded[CREDENTIALS]
        return Counts.of(codes[rows], places, self.time[rows], items[rows], distinct=distinct)

    def _by_time(self, rows: Index, members: U64 | None, grain: int) -> Timely:
        """These rows by second, of one second by credentials, of one credentials by member; and their seconds.

        Half of a member's hash is enough for alike ones to lie together (or, once in ages, another comes between, which
        costs a row and changes no count).
        """
        asked = (id(rows), id(members), grain)
        if asked not in self._timely:
            order = rows if members is None else rows[steady_order(members[rows] >> HALF)]
            order = order[steady_order(self.batch.who[order])]
            second = self.time[order] // grain * grain
            by_second = steady_order(second)
            self._timely[asked] = rows, members, (order[by_second], second[by_second])
        return self._timely[asked][2]

    def _people(self) -> tuple[Index, People]:
        """Codes of the principals that the rows have, and those at some indices."""
        codes = present(self.batch.who, len(self.batch.principals))
        return codes, lambda at: self.batch.principals.each(codes[at].tolist())

    def _of_codes(self, codes: Index, numbers: U64) -> U64:
        """By code of principals, the number of each; the last is nobody's, whose code is -1."""
        table = np.zeros(len(self.batch.principals) + 1, np.uint64)
        table[codes] = numbers
        return table

    def _level(self, level: str, peers: Peers) -> Coded[str]:
        """The rows at one level."""
        batch = self.batch
        if (level,) == CREDENTIALS:
            return batch.who, np.append(batch.prints, NO_GROUP), str
        if level in IDENTITY:
            codes, some = self._people()
            key, groups = key_at(level, peers), self._groupings.groups(level, batch.prints[codes], some, peers)
            return batch.who, self._of_codes(codes, groups), lambda code: key(batch.principals[code])
        column = DERIVED[level](self) if level in DERIVED else batch.text[level]
        groups, values = np.full(len(column.values) + 1, NO_GROUP), column.values
        codes = present(column.codes, len(values))
        groups[codes] = np.fromiter((group_print((values[code],)) for code in codes.tolist()), np.uint64, len(codes))
        return column.codes, groups, values.__getitem__

    def _make_groups(self, levels: GroupKey) -> tuple[U64, Mapping[int, GroupKey]]:
        coded = [self._level(level, levels.peers if isinstance(levels, Levels) else ()) for level in levels]
        codes, groups, key = self._together(coded)
        there = np.flatnonzero(groups != NO_GROUP)
        among, _, place = grouped(groups)
        self._coded[levels] = codes, groups, place.astype(np.min_scalar_type(len(among)))
        return groups[codes], Keys(groups[there], lambda at: key(int(there[at])))

    def _together(self, coded: list[Coded[str]]) -> Coded[GroupKey]:
        """Several levels as one; with no level all rows are one group."""
        if not coded:
            return np.zeros(len(self.batch), np.int64), np.array([fingerprint(())], np.uint64), lambda _: ()
        if len(coded) == 1:
            codes, groups, text = coded[0]
            return codes, groups, lambda code: (text(code),)
        number, count = np.zeros(len(self.batch), np.int64), 1
        first: Index = number[:1]
        nowhere = np.zeros(len(self.batch), np.bool_)
        for codes, groups, _ in coded:
            nowhere |= codes < 0
            first, number = distinct(number * len(groups) + codes + 1, count * len(groups))
            count = len(first)
        there = np.flatnonzero(~nowhere[first])
        each = [(codes[first], groups, text) for codes, groups, text in coded]
        together = np.full(count, NO_GROUP)

        def key(number: int) -> GroupKey:
            return tuple(text(int(codes[number])) for codes, _, text in each)

        at_levels = [groups[codes[there]] for codes, groups, _ in each]
        together[there] = self._groupings.together(at_levels, lambda at: key(int(there[at])))
        return number, together, key


def folders_of(batch: AccessBatch, rows: Index) -> Column:
    """Bucket and prefix of these rows' keys, as one text; null where there is no key."""
    bucket, key = batch.text["bucket"].take(rows), batch.text["key"].take(rows)
    heads = [*(f"{name}/" for name in bucket.values), "/"]  # the last is of rows without a bucket, whose code is -1
    keyed = np.flatnonzero(key.codes >= 0)
    keys, at = key.values, key.codes[keyed]
    if len(keys) > len(keyed):
        keys, at = [keys[code] for code in at.tolist()], np.arange(len(keyed), dtype=np.int32)
    folder, folders = intern([text[: text.rfind("/") + 1] for text in keys])
    pairs = folder[at].astype(np.int64) * len(heads) + bucket.codes[keyed] + 1
    first, number = distinct(pairs, len(folders) * len(heads))
    codes = np.full(len(rows), -1, np.int32)
    codes[keyed] = number
    each = zip(*(one.tolist() for one in np.divmod(pairs[first], len(heads))), strict=True)
    return Column(codes, [heads[bucket - 1] + folders[folder] for folder, bucket in each])


def distinct(codes: I64, count: int) -> tuple[Index, I64]:
    """Of codes below `count`: the first row of each that is there, and the rows' numbers among these."""
    if count > 4 * len(codes) + DENSE:
        return of_alike(codes, steady_order(codes))
    row = np.full(count, -1, np.int64)
    row[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    there = row >= 0
    return row[there], (np.cumsum(there) - 1)[codes]


DENSE = 1 << 12
"""Codes of which a table is made without further thought."""
DERIVED: dict[str, Callable[[BatchView], Column]] = {
    "source_net": BatchView.nets,
    "public_net": lambda view: public(view.nets()),
    "public_ip": lambda view: public(view.batch.text["source_ip"]),
    "prefix": BatchView.folders,
}
"""Level that is no column of a record → how it is made of others."""


def _all(view: BatchView) -> Rows:
    return np.arange(len(view.batch))


ITEMS: dict[str, Callable[[BatchView], U64]] = {
    "requests": lambda view: np.ones(len(view.batch), np.uint64),
    "bytes": lambda view: view.batch.bytes.astype(np.uint64),
    "objects": lambda view: view.batch.object_hash(_all(view)),
    "prefixes": BatchView.of_prefixes,
    "source_ips": lambda view: view.text_hashes("source_ip"),
    "source_nets": lambda view: view.nets().hashes(),
    "buckets": lambda view: view.text_hashes("bucket"),
    "sessions": lambda view: view.of_principal("session"),
    "roles": lambda view: view.of_principal("role"),
}
"""Measure → what is counted of a row."""
