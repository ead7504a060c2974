"""Which shard the roles of a baseline go to."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.baselines import Deal, Ties, gathered

ties_ = st.lists(st.tuples(st.integers(1, 40), st.integers(100, 140), st.integers(1, 9)), min_size=1, max_size=60)


def ties(some: list[tuple[int, int, int]]) -> Ties:
    """Columns of (role, peer group, records)."""
    roles, groups, records = zip(*some, strict=True)
    return np.array(roles, np.uint64), np.array(groups, np.uint64), np.array(records, np.int64)


@given(ties_, ties_, st.integers(1, 8))
def test_what_hangs_together_is_in_one_shard(some, more, count):
    """Roles that a group ties together are, and so are those that are tied over a third one; told in any portions."""
    shard = of(Deal([ties(some), ties(more)], count))
    assert shard.keys() == {role for role, *_ in some + more}
    assert set(shard.values()) <= set(range(count))
    by_group = sorted((group, role) for role, group, _ in some + more)
    for _, tied in groupby(by_group, key=lambda one: one[0]):
        assert len({shard[role] for _, role in tied}) == 1
    at_once: list[Ties] = []
    for one in [*some, *more] * 3:
        at_once = gathered(at_once, [column.tobytes() for column in ties([one])])
    assert len(at_once) < 64
    assert of(Deal(at_once, count)) == shard


def of(deal: Deal) -> dict[int, int]:
    """Role → shard."""
    return dict(zip(deal.roles.tolist(), deal.shards.tolist(), strict=True))


def test_shards_are_even():
    """By records, where groups allow it."""
    draw = np.random.default_rng(1)
    records = draw.integers(1, 100, 200)
    deal = Deal([(np.arange(1, 201, dtype=np.uint64), np.arange(1, 201, dtype=np.uint64), records)], 4)
    loads = np.bincount(deal.shards, records)
    assert loads.max() - loads.min() <= 100
