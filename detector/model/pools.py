"""What the roles of an organisation have in common, in levels: peer group → kind of identity → all. Pure.

Made anew at every UTC midnight from what each role has learned, and still until the next: within a day a role's scores
depend on itself and its peer group only, so that groups can be held apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from detector.core.window import F64
from detector.model.channels import CHANNELS, DAY, Counter
from detector.model.day import RoleDay
from detector.model.score import WIDTH, Level
from detector.model.tail import Pooled, Tail, TailState

YOUNG = 2 * DAY
"""Seconds for which a principal is measured against other newcomers."""
NEWCOMER, SETTLING = DAY, 3 * DAY
"""Seconds for which what is new to a newcomer says nothing, and what is young to it."""
EVERYONE = ""
LEAN_ROLES = 1.5
"""Roles (that have learned much) at which a level weighs as much as the one above it."""
MOSTLY = 0.5
"""Where more than this share of all novelty is rare anyway, rarity says nothing."""
FADE = 0.9
_NEW_TO_ONESELF = frozenset(
    at for at, c in enumerate(CHANNELS) if c.counter in (Counter.prefixes, Counter.new_nets, Counter.young)
)
_YOUNG = frozenset(at for at, c in enumerate(CHANNELS) if c.counter is Counter.young)
_OF = {
    counter: frozenset(at for at, c in enumerate(CHANNELS) if c.counter is counter)
    for counter in (Counter.rare, Counter.foreign)
}

PoolKey = tuple[str, str]
"""Level (`group`, `kind`, `all`) with age (`young` or not), and the name at that level."""


class Pools:
    """Levels and tails of all pools, as of the last midnight."""

    def __init__(self) -> None:
        self._tails: dict[PoolKey, Tail] = {}
        self._levels: dict[PoolKey, Level] = {}
        self._novelty: dict[str, list[float]] = {}
        self._pooled: dict[tuple[str, str, bool, frozenset[int]], Pooled] = {}
        self.flat = Level([0.0] * WIDTH, [0.0] * WIDTH)

    @property
    def known(self) -> bool:
        """Whether a day was learned."""
        return bool(self._levels)

    @property
    def role_days(self) -> int:
        """Principal-days that were learned from."""
        return sum(tail.count for (level, _), tail in self._tails.items() if level.startswith("all"))

    def level(self, group: str, kind: str) -> Level:
        """What is usual in a peer group; where it is not known, in its kind, or everywhere."""
        for key in (("group", group), ("kind", kind), ("all", EVERYONE)):
            if key in self._levels:
                return self._levels[key]
        return self.flat

    def rarity(self, group: str, kind: str, age: int) -> Pooled:
        """How rare things are for a principal that was first seen so many seconds ago."""
        muted = _NEW_TO_ONESELF if age < NEWCOMER else _YOUNG if age < SETTLING else frozenset()
        key = (group, kind, age < YOUNG, muted)
        found = self._pooled.get(key)
        if found is None:
            suffix = " young" if age < YOUNG else ""
            wide = [("all", EVERYONE), ("all" + suffix, EVERYONE)] if suffix else [("all", EVERYONE)]
            keys = [*wide, ("kind" + suffix, kind), ("group" + suffix, group)]
            pools = [self._tails[one] for one in keys if one in self._tails]
            found = self._pooled[key] = Pooled(pools, muted | self._common(group))
        return found

    def midnight(self, day: int, roles: Sequence[RoleDay], taught: Iterable[RoleDay]) -> None:
        """A day is over: make all levels anew, of its roles by key. taught: those whose maxima are learned."""
        by_pool: dict[PoolKey, list[F64]] = defaultdict(list)
        for one in taught:
            suffix = " young" if one.young else ""
            for key in (("group", one.group), ("kind", one.kind), ("all", EVERYONE)):
                by_pool[key[0] + suffix, key[1]].append(one.maxima)
        for key in self._tails.keys() | by_pool.keys():
            maxima = np.array(by_pool.get(key, []), np.float64).reshape(-1, WIDTH)
            self._tails.setdefault(key, Tail()).add(day, maxima)
        self._tails = {key: tail for key, tail in sorted(self._tails.items()) if len(tail)}
        self._count_news(roles)
        self._make_levels([role for role in roles if role.weight > 0])
        self._pooled.clear()

    def _count_news(self, roles: Iterable[RoleDay]) -> None:
        today: dict[str, list[int]] = {}
        for role in roles:
            today[role.group] = [a + b for a, b in zip(today.get(role.group, [0] * 3), role.news, strict=True)]
        for group in sorted(self._novelty.keys() | today.keys()):
            faded = [FADE * count for count in self._novelty.get(group, [0.0] * 3)]
            self._novelty[group] = [a + b for a, b in zip(faded, today.get(group, [0] * 3), strict=True)]

    def _make_levels(self, roles: Iterable[RoleDay]) -> None:
        members: dict[PoolKey, list[RoleDay]] = defaultdict(list)
        above: dict[PoolKey, PoolKey] = {}
        for role in roles:
            group, kind, everyone = ("group", role.group), ("kind", role.kind), ("all", EVERYONE)
            for key in (group, kind, everyone):
                members[key].append(role)
            above |= {group: kind, kind: everyone}
        levels: dict[PoolKey, Level] = {}
        for key in sorted(members, key=lambda key: ("all", "kind", "group").index(key[0])):
            parent = levels[above[key]] if key in above else None
            levels[key] = _level(members[key], parent)
        self._levels = levels

    def _common(self, group: str) -> frozenset[int]:
        """Channels of what is too common in a group to say anything."""
        new, *counts = self._novelty.get(group, [0.0] * 3)
        return frozenset().union(
            *(_OF[c] for c, n in zip((Counter.rare, Counter.foreign), counts, strict=True) if n > MOSTLY * new)
        )

    def state(
        self,
    ) -> tuple[
        list[tuple[str, str, TailState]],
        list[tuple[str, str, list[float], list[float]]],
        list[tuple[str, list[float]]],
    ]:
        """The whole state, as plain numbers: tails, levels, novelty."""
        tails = [(*key, tail.state()) for key, tail in self._tails.items()]
        levels = [(*key, list(level.mean), list(level.variance)) for key, level in self._levels.items()]
        return tails, levels, sorted(self._novelty.items())

    def load(
        self,
        tails: Iterable[tuple[str, str, TailState]],
        levels: Iterable[tuple[str, str, list[float], list[float]]],
        novelty: Iterable[tuple[str, list[float]]],
    ) -> None:
        """Take up a `state()`."""
        self._tails = {(level, name): Tail.load(state) for level, name, state in tails}
        self._levels = {(level, name): Level(mean, variance) for level, name, mean, variance in levels}
        self._novelty = {group: list(counts) for group, counts in novelty}
        self._pooled.clear()


def _level(members: list[RoleDay], parent: Level | None) -> Level:
    """Mean over the roles, and variance within and between them; leaning on the level above."""
    weight = np.array([m.weight / (m.weight + 30.0) for m in members])
    mean, variance = np.array([m.mean for m in members]), np.array([m.variance for m in members])
    total = weight.sum()
    if not total:
        return parent or Level([0.0] * WIDTH, [0.0] * WIDTH)
    m = weight @ mean / total
    v = weight @ (variance + (mean - m) ** 2) / total
    if parent is not None:
        lean = LEAN_ROLES / (LEAN_ROLES + total)
        m, v = m + lean * (np.array(parent.mean) - m), v + lean * (np.array(parent.variance) - v)
    return Level(m.tolist(), v.tolist())
