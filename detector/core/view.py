"""One batch as rules look at it: groups, members and credentials of rows, each worked out once. Pure.

Groups and credentials are 64-bit fingerprints of their keys, so that tallies need no table of names, and two processes
or two runs of the program agree on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np

from detector.core.access import I32, U64, AccessBatch, Column, Index, Rows, text_hash
from detector.core.finding import prefix_of
from detector.core.net import nets
from detector.core.peers import peer_group
from detector.core.principal import Principal, fingerprint, person
from detector.core.rule import Levels, Peers
from detector.core.table import Table

GroupKey = tuple[str, ...]

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


_group_of = lru_cache(maxsize=1 << 15)(fingerprint)


class Groupings:
    """Level → fingerprint of credentials → their group at that level: worked out once, not once a batch."""

    REMEMBERED = 1 << 18
    """Credentials a level remembers at most."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}

    def groups(self, level: str, batch: AccessBatch, codes: Index) -> U64:
        """The groups of the principals with these codes."""
        prints = batch.prints[codes]
        table = self._tables.setdefault(level, Table())
        groups = table.values_of(prints)
        new = np.flatnonzero(groups == 0)
        if len(new):
            key = IDENTITY[level]
            texts = [(key(batch.principals[code]),) for code in codes[new].tolist()]
            groups[new] = np.fromiter(map(fingerprint, texts), np.uint64, len(new))
            if len(table) + len(new) > self.REMEMBERED:
                table = self._tables[level] = Table()
            slot, _ = table.enter(prints[new])
            table.values[slot] = groups[new]
        return groups


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
    """Access events of one batch (skipped and duplicate rows are gone already)."""

    def __init__(self, batch: AccessBatch, groupings: Groupings | None = None) -> None:
        self.batch = batch
        self.time = batch.time
        self._groupings = groupings or Groupings()
        self._groups: dict[GroupKey, tuple[U64, Mapping[int, GroupKey]]] = {}
        self._items: dict[str, U64] = {}
        self._who: U64 | None = None
        self._nets: Column | None = None

    def groups(self, levels: GroupKey) -> tuple[U64, Mapping[int, GroupKey]]:
        """Group of every row at these levels, and the key (one text a level) of each group."""
        if levels not in self._groups:
            of_identity = len(levels) == 1 and levels[0] in IDENTITY and levels[0] != "peer_group"
            self._groups[levels] = self._identities(levels[0]) if of_identity else self._make_groups(levels)
        return self._groups[levels]

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

    def nets(self) -> Column:
        """Source network of every row."""
        if self._nets is None:
            self._nets = nets(self.batch)
        return self._nets

    def _identities(self, level: str) -> tuple[U64, Mapping[int, GroupKey]]:
        """The groups of one level at which identities are counted."""
        batch = self.batch
        met = np.zeros(len(batch.principals) + 1, np.bool_)  # the last is nobody's, whose code is -1
        met[batch.who] = True
        codes = np.flatnonzero(met[:-1])
        of_code = np.full(len(met), NO_GROUP)
        of_code[codes] = self._groupings.groups(level, batch, codes)
        key = IDENTITY[level]
        return of_code[batch.who], Keys(of_code[codes], lambda at: (key(batch.principals[int(codes[at])]),))

    def _level(self, level: str, peers: Peers) -> tuple[I32, Sequence[str]]:
        """Codes of the rows at one level (-1 where a record has no value there) and the keys the codes stand for."""
        if level == "peer_group":
            return self.batch.who, [peer_group(p, peers) for p in self.batch.principals]
        if level in IDENTITY:
            return self.batch.who, [IDENTITY[level](p) for p in self.batch.principals]
        column = self.nets() if level == "source_net" else self.batch.text[level]
        return column.codes, column.values

    def _make_groups(self, levels: GroupKey) -> tuple[U64, Mapping[int, GroupKey]]:
        peers = levels.peers if isinstance(levels, Levels) else ()
        coded = [self._level(level, peers) for level in levels]
        combined = np.zeros(len(self.batch), np.int64)
        first = combined
        nowhere = np.zeros(len(self.batch), np.bool_)
        for codes, values in coded:
            nowhere |= codes < 0
            mixed = combined * (len(values) + 1) + codes + 1
            _, first, combined = np.unique(mixed, return_index=True, return_inverse=True)
        keys = [tuple(values[codes[row]] if values else "" for codes, values in coded) for row in first]
        prints = np.fromiter(map(_group_of, keys), np.uint64, len(keys))
        groups = prints[combined] if keys else np.zeros(0, np.uint64)
        groups[nowhere] = NO_GROUP
        return groups, dict(zip(prints.tolist(), keys, strict=True))


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
