"""What the model gets, counts and learns of a pane: columns of records, countable things, keys made of two. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.core.access import I64, U64, Index
from detector.core.table import SPREAD
from detector.model.channels import Counter

READ, ERROR, COPY = 0, 1, 2
PREFIX, NET, GROUP_NET, ALL_NET, TO, ALL_TO, READERS, ALL_READERS = (
    np.uint64(number * 0x9E3779B97F4A7C15 % (1 << 64)) for number in range(1, 9)
)
"""Kinds of keys: a role's prefix, a role's and a group's network, anybody's, a role's destination and anybody's, and
the readers of a prefix in a group and in all."""
KEY = np.uint64(0)
"""A role's object."""
_ODD = np.uint64(0xD6E8_FEB8_6659_FD93)


def mix(salt: np.uint64, one: U64, other: U64 | None = None) -> U64:
    """One key of two, of a kind."""
    mixed = (one + salt) * _ODD
    if other is not None:
        mixed = (mixed ^ (mixed >> np.uint64(32)) ^ other) * SPREAD
    return mixed ^ (mixed >> np.uint64(29))


class Rows(NamedTuple):
    """Records of roles, as the model looks at them, by second. `role`: index of the row's role in `Who`.

    net: 0 where the source can be no news. amount: bytes, or of a copy the hash of its destination.
    """

    role: Index
    second: I64
    object: U64
    prefix: U64
    net: U64
    amount: U64
    what: I64


class Who(NamedTuple):
    """The roles of `Rows`: fingerprint, slot, and fingerprint of the peer group of each."""

    role: U64
    slot: Index
    group: U64


class Learnt(NamedTuple):
    """What counting found to be new beside keys, to be put in memory once the panes are sealed.

    first: (role, prefix or network or destination) and the second. readers: (group, prefix) and how many of its roles
    read there. prefixes: the slot of each new (role, prefix). today: what the organisation knows from the next midnight
    on, sorted.
    """

    first: list[tuple[U64, I64]]
    readers: tuple[U64, I64]
    prefixes: Index
    today: U64


class Counted(NamedTuple):
    """Counter → the rows it counts (of `bytes`: each by its amount); what is to be learnt."""

    rows: dict[Counter, Index]
    learnt: Learnt
