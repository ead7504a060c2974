"""One batch as rules look at it: groups, members and credentials of rows, each worked out once. Pure.

Groups and credentials are 64-bit fingerprints of their keys, so that tallies need no table of names, and two processes
or two runs of the program agree on them.

Rows get into the order of tallies by counting, one column after the other, the last one first: member, credentials,
second, group. Rules that count the same rows by other groups differ in the last step only; those that count alike, in
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from detector.core.access import I32, I64, U64, AccessBatch, Column, Index, Mask, Rows, intern, present, text_hash
from detector.core.finding import prefix_of
from detector.core.made import Made
from detector.core.net import nets, public
from detector.core.part import Run
from detector.core.peers import acting, peer_group
from detector.core.principal import Principal, fingerprint, person
from detector.core.rule import Levels, Peers
from detector.core.select import Selector
from detector.core.tally import Tallies, by_hour, together
from detector.core.window import HALF, steady_order

GroupKey = tuple[str, ...]
Timely = tuple[Index, I64]
"""Rows in an order, and their seconds."""

IDENTITY: dict[str, Callable[[Principal], str]] = {
    "session": lambda p: p.session,
    "role": lambda p: p.role,
    "account": lambda p: p.account,
    "access_key": lambda p: p.access_key or p.session,
    "session_name": lambda p: p.session_name or p.session,
    "person": person,
    "peer_group": peer_group,
}
"""Level → the key of a principal at that level; without an access key, a session name or a person the session's."""

NO_GROUP = np.uint64(0)
"""Group of a row that has no value at a level (no address, no VPC endpoint): it belongs to no group there."""

SHOWN: dict[str, Callable[[Principal], str]] = IDENTITY | {
    "session": lambda p: p.session_shown,
    "role": lambda p: p.role_shown,
}
"""Level → what a person is shown of a principal at that level."""


group_print = lru_cache(maxsize=1 << 15)(fingerprint)
"""Fingerprint of a group's key; the same few come again and again."""


class Groupings:
    """Level → credentials → their group at that level: worked out once, not once a batch."""

    def __init__(self) -> None:
        self._made: dict[str | tuple[str, ...], Made] = {}

    def acting(self, shared: tuple[str, ...], batch: AccessBatch) -> U64:
        """Whose habits every row of a batch is of: the fingerprint of `peers.acting`."""
        if shared not in self._made:
            self._made[shared] = Made(lambda who: group_print(acting(who, shared)))
        return self._made[shared].by_code(batch, np.arange(len(batch)))[batch.who]

    def groups(self, level: str, prints: U64, principal: Callable[[int], Principal]) -> U64:
        """The groups of the principals with these fingerprints. principal: of the n-th of them."""
        if level not in self._made:
            key = IDENTITY[level]
            self._made[level] = Made(lambda who: fingerprint((key(who),)))
        return self._made[level].of(prints, principal)


class Keys(Mapping[int, GroupKey]):
    """Group → its key, one text a level; made when it is asked for."""

    def __init__(self, groups: U64, key: Callable[[int], GroupKey]) -> None:
        self._groups, self._first = np.unique(groups, return_index=True)
        self._key = key

    def __getitem__(self, group: int) -> GroupKey:
        at = int(np.searchsorted(self._groups, np.uint64(group)))
        if at == len(self._groups) or self._groups[at] != group:
            raise KeyError(group)
        return self._key(int(self._first[at]))

    def __iter__(self) -> Iterator[int]:
        return iter(self._groups.tolist())

    def __len__(self) -> int:
        return len(self._groups)


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
        self._ranks: dict[GroupKey, npt.NDArray[np.integer]] = {}
        self._timely: dict[tuple[int, ...], tuple[Index, U64 | None, Timely]] = {}
        self._tallied: dict[tuple[Hashable, ...], tuple[Index, U64, list[tuple[int, Run]]]] = {}
        self._counted: set[Tallies] = set()
        self._items: dict[str, U64] = {}
        self._begun: dict[Hashable, Index] = {}
        self._rows: dict[Selector, Index] = {}
        self._who: U64 | None = None
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
            of_identity = self._identities if one_identity(levels) else self._make_groups
            self._groups[levels] = of_identity(levels)
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

    def who(self) -> U64:
        """Fingerprint of the credentials of every row."""
        if self._who is None:
            self._who = np.append(self.batch.prints, np.uint64(0))[self.batch.who]
        return self._who

    def items(self, measure: str) -> U64:
        """What a measure counts of every row: an amount, or a member's hash for a distinct measure."""
        if measure not in self._items:
            self._items[measure] = ITEMS[measure](self)
        return self._items[measure]

    def text_hashes(self, column: str) -> U64:
        """Hash of a text column."""
        return self.batch.text[column].hashes()

    def of_principal(self, key: Callable[[Principal], str]) -> U64:
        """Hash of a property of the row's principal."""
        table = [text_hash(key(p)) for p in self.batch.principals]
        return np.array([*table, 0], np.uint64)[self.batch.who]

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
        by_group = steady_order(self._ranks[levels][order])
        order, second = order[by_group], second[by_group]
        there = int(np.searchsorted(groups[order], NO_GROUP, "right"))
        order, second = order[there:], second[there:]
        return together((groups[order], second, self.who()[order], items[order]), distinct=distinct)

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

    def _rank(self, levels: GroupKey, prints: U64, number: npt.NDArray[np.integer]) -> None:
        """Take note of the place of every row's group among all groups in order. number: of its group in `prints`."""
        among, place = np.unique(prints, return_inverse=True)
        self._ranks[levels] = place.astype(np.min_scalar_type(len(among)))[number]

    def _identities(self, levels: GroupKey) -> tuple[U64, Mapping[int, GroupKey]]:
        """The groups of one level at which identities are counted."""
        (level,), batch = levels, self.batch
        codes = present(batch.who, len(batch.principals))
        of_code = np.full(len(batch.principals) + 1, NO_GROUP)  # the last is nobody's, whose code is -1

        def one(at: int) -> Principal:
            return batch.principals[int(codes[at])]

        of_code[codes] = self._groupings.groups(level, batch.prints[codes], one)
        self._rank(levels, of_code, batch.who)
        return of_code[batch.who], Keys(of_code[codes], lambda at: (IDENTITY[level](one(at)),))

    def _level(self, level: str, peers: Peers) -> tuple[I32, int, Callable[[int], str]]:
        """Codes of the rows at one level (-1 where a record has no value there), how many there are, and their keys."""
        batch = self.batch
        if level == "peer_group":
            return batch.who, len(batch.principals), lambda code: peer_group(batch.principals[code], peers)
        if level in IDENTITY:
            return batch.who, len(batch.principals), lambda code: IDENTITY[level](batch.principals[code])
        column = DERIVED[level](self) if level in DERIVED else batch.text[level]
        return column.codes, len(column.values), column.values.__getitem__

    def _make_groups(self, levels: GroupKey) -> tuple[U64, Mapping[int, GroupKey]]:
        peers = levels.peers if isinstance(levels, Levels) else ()
        coded = [self._level(level, peers) for level in levels]
        combined = np.zeros(len(self.batch), np.int64)
        first: Index = combined[:1]
        nowhere = np.zeros(len(self.batch), np.bool_)
        count = 1
        for codes, many, _ in coded:
            nowhere |= codes < 0
            first, combined = distinct(combined * (many + 1) + codes + 1, count * (many + 1))
            count = len(first)
        keys = [tuple(key(int(codes[row])) if codes[row] >= 0 else "" for codes, _, key in coded) for row in first]
        prints = np.fromiter(map(group_print, keys), np.uint64, len(keys))
        number = np.where(nowhere, -1, combined)
        of_number = np.append(prints, NO_GROUP)
        self._rank(levels, of_number, number)
        groups = of_number[number]
        return groups, dict(zip(prints.tolist(), keys, strict=True))


def folders_of(batch: AccessBatch, rows: Index) -> Column:
    """Bucket and prefix of these rows' keys, as one text; null where there is no key. A text may be there twice."""
    bucket, key = batch.text["bucket"].take(rows), batch.text["key"].take(rows)
    heads = [*(f"{name}/" for name in bucket.values), "/"]  # the last is of rows without a bucket, whose code is -1
    keyed = np.flatnonzero(key.codes >= 0)
    first, number = np.arange(len(keyed)), np.arange(len(keyed))
    if len(key.values) * len(heads) < len(keyed):
        each = key.codes[keyed].astype(np.int64) * len(heads) + bucket.codes[keyed] + 1
        first, number = distinct(each, len(key.values) * len(heads))
    own = map(heads.__getitem__, bucket.codes[keyed[first]].tolist())
    keys = map(key.values.__getitem__, key.codes[keyed[first]].tolist())
    codes = np.full(len(rows), -1, np.int32)
    codes[keyed] = number
    return Column(codes, [head + text[: text.rfind("/") + 1] for head, text in zip(own, keys, strict=True)])


def one_identity(levels: Sequence[str]) -> bool:
    """Whether groups of these levels depend on nothing but the principal."""
    return len(levels) == 1 and levels[0] in IDENTITY and levels[0] != "peer_group"


def distinct(codes: I64, count: int) -> tuple[Index, I64]:
    """Of codes below `count`: the first row of each that is there, and the rows' numbers among these."""
    if count > 4 * len(codes) + DENSE:
        _, first, number = np.unique(codes, return_index=True, return_inverse=True)
        return first, number
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
    "sessions": lambda view: view.of_principal(IDENTITY["session"]),
    "roles": lambda view: view.of_principal(IDENTITY["role"]),
}
"""Measure → what is counted of a row."""
