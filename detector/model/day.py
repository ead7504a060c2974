"""A UTC day that is over, as its end needs it: of some peer groups or of all. Plain data; pure.

At midnight every shard of a baseline says what its day was (`Baseline.over`), all say it `together`, and every shard
begins the next day with that (`Baseline.begin`). A baseline that is not cut is the one shard of itself. What adds up to
other bits in another order (means over roles) is not added here: the roles themselves are told, and stand in the order
of their keys, however they were cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from detector.core.access import I64, U64
from detector.core.groupings import GroupKey
from detector.core.window import F64
from detector.model.score import WIDTH


class RoleDay(NamedTuple):
    """A role that was active in the day, and what it knows at its end.

    score, maxima: the largest of the day, the latter by channel. news: its new, rare and foreign keys.
    mean, variance: as it learned them, by channel; weight: theirs, in panes.
    """

    key: GroupKey
    group: str
    kind: str
    young: bool
    score: float
    alerted: bool
    news: list[int]
    maxima: F64
    mean: F64
    variance: F64
    weight: float


@dataclass(frozen=True, slots=True)
class Day:
    """number: days since the epoch. known: roles, whether active or not. roles: by key.

    touched: keys that the whole organisation knows from now on, ascending, and how often each was.
    filters: how many roles want 0, 1, 2, … filters for their keys.
    """

    number: int
    known: int
    roles: Sequence[RoleDay]
    touched: tuple[U64, I64]
    filters: Sequence[int]

    def pack(self) -> bytes:
        """As bytes, for a journey to another process."""
        plain = [role[:7] for role in self.roles]
        moments = np.array([[role.maxima, role.mean, role.variance] for role in self.roles], np.float64)
        weights = np.array([role.weight for role in self.roles], np.float64)
        columns = [column.tobytes() for column in (moments, weights, *self.touched)]
        return msgspec.msgpack.encode([self.number, self.known, plain, columns, [*self.filters]])

    @classmethod
    def unpack(cls, packed: bytes) -> Day:
        """What `pack` gave."""
        number, known, plain, (moments, weights, keys, counts), filters = msgspec.msgpack.decode(packed)
        channels = np.frombuffer(moments).reshape(-1, 3, WIDTH)
        numbers = zip(plain, *channels.swapaxes(0, 1), np.frombuffer(weights).tolist(), strict=True)
        roles = [
            RoleDay(tuple(key), group, kind, young, score, alerted, news, maxima, mean, variance, weight)
            for (key, group, kind, young, score, alerted, news), maxima, mean, variance, weight in numbers
        ]
        touched = np.frombuffer(keys, np.uint64), np.frombuffer(counts, np.int64)
        return cls(number, known, roles, touched, filters)


def together(days: Iterable[Day]) -> Day:
    """The same day of all shards, of which there is at least one."""
    every = list(days)
    keys, of_key = np.unique(np.concatenate([day.touched[0] for day in every]), return_inverse=True)
    counts = np.zeros(len(keys), np.int64)
    np.add.at(counts, of_key, np.concatenate([day.touched[1] for day in every]))
    return Day(
        max(day.number for day in every),
        sum(day.known for day in every),
        sorted((role for day in every for role in day.roles), key=lambda role: role.key),
        (keys, counts),
        [sum(many) for many in zip(*(day.filters for day in every), strict=True)],
    )
