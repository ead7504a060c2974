"""Levels at which principals are told apart, and the groups that rules make of them. Pure.

Groups and credentials are 64-bit fingerprints of their keys, so that tallies need no table of names, and two processes
or two runs of the program agree on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial

import numpy as np

from detector.core.access import U64, AccessBatch, Index, intern, text_hashes
from detector.core.made import Made, one_by_one
from detector.core.peers import acting, peer_group
from detector.core.principal import Principal, fingerprint, fingerprints, person
from detector.core.rule import Peers
from detector.core.table import SPREAD
from detector.core.window import grouped

GroupKey = tuple[str, ...]
CREDENTIALS: GroupKey = ("credentials",)
"""The level at which all that a principal is tells him from others; no rule counts by it."""

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

People = Callable[[Index], Sequence[Principal]]
"""Principals at these indices."""


def group_prints(keys: Sequence[GroupKey]) -> U64:
    """`group_print` of each of these, which hardly come again."""
    return np.frombuffer(fingerprints(keys), np.uint64)


def _groups_of(keys: Sequence[str]) -> U64:
    """Groups of one level by their keys."""
    codes, each = intern(keys)
    return group_prints([(key,) for key in each])[codes]


class Groupings:
    """Groups and members that were met before: worked out once, not once a batch."""

    def __init__(self) -> None:
        self._of_level: dict[tuple[str, Peers], Made[Principal]] = {}
        self._acting: dict[tuple[str, ...], Made[Principal]] = {}
        self._members: dict[str, Made[Principal]] = {}
        self._together: Made[GroupKey] = Made(group_prints)

    def acting(self, shared: tuple[str, ...], batch: AccessBatch) -> U64:
        """Whose habits every row of a batch is of: the fingerprint of `peers.acting`."""
        if shared not in self._acting:
            self._acting[shared] = Made(one_by_one(lambda who: group_print(acting(who, shared))))
        return self._acting[shared].by_code(batch, np.arange(len(batch)))[batch.who]

    def groups(self, level: str, prints: U64, some: People, peers: Peers = ()) -> U64:
        """The groups at a level of the principals with these fingerprints. some: those at these indices."""
        if (level, peers) not in self._of_level:
            key = key_at(level, peers)
            self._of_level[level, peers] = Made(lambda people: _groups_of([*map(key, people)]))
        return self._of_level[level, peers].of(prints, some)

    def together(self, groups: Sequence[U64], key: Callable[[int], GroupKey]) -> U64:
        """The groups at several levels of what has these groups at each. key: of the n-th."""
        mixed = groups[0]
        for more in groups[1:]:  # a product, since sums of two hashes that can be chosen can be aimed
            mixed = (mixed * SPREAD ^ more) * ((more * SPREAD ^ mixed) | np.uint64(1))
        each, first, number = grouped(mixed)
        return self._together.of(each, lambda at: [*map(key, first[at].tolist())])[number]

    def members(self, level: str, prints: U64, some: People) -> U64:
        """What a measure counts of these principals: hashes of their keys at a level."""
        if level not in self._members:
            key = IDENTITY[level]
            self._members[level] = Made(lambda people: text_hashes([*map(key, people)]))
        return self._members[level].of(prints, some)


class Keys(Mapping[int, GroupKey]):
    """Group → its key, one text a level; made when it is asked for."""

    def __init__(self, groups: U64, key: Callable[[int], GroupKey]) -> None:
        self._asked, self._key = groups, key

    @cached_property
    def _each(self) -> tuple[U64, Index]:
        """The groups in order, and a place of each."""
        return grouped(self._asked)[:2]

    def __getitem__(self, group: int) -> GroupKey:
        groups, first = self._each
        at = int(np.searchsorted(groups, np.uint64(group)))
        if at == len(groups) or groups[at] != group:
            raise KeyError(group)
        return self._key(int(first[at]))

    def __iter__(self) -> Iterator[int]:
        return iter(self._each[0].tolist())

    def __len__(self) -> int:
        return len(self._each[0])


def key_at(level: str, peers: Peers = ()) -> Callable[[Principal], str]:
    """A principal's key at a level. peers: declared peer groups."""
    return partial(peer_group, declared=peers) if level == "peer_group" else IDENTITY[level]


def one_identity(levels: Sequence[str]) -> bool:
    """Whether groups of these levels depend on nothing but the principal."""
    return len(levels) == 1 and levels[0] in IDENTITY and levels[0] != "peer_group"
