"""What credentials have is, read by groups, what counting by groups says: at any time, whatever comes in between."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.counted import Counted, OfGroups
from detector.core.people import People
from detector.core.screen import Screen
from detector.core.tally import Tallies, by_hour, together
from tests.rows import T0, columns, rows_of

MEMBERS = {1: (11, 12), 2: (21,), 3: ()}
"""Group → its credentials."""
row_ = st.tuples(
    st.sampled_from([11, 12, 21]),
    st.integers(T0 - 2, T0 + 2) | st.integers(T0 - 4000, T0 + 8000),
    st.sampled_from([1, 2, 1 << 62]),
)
asked_ = st.tuples(
    st.sampled_from([*MEMBERS]), st.integers(T0 - 5000, T0 + 60), st.integers(-2, 5) | st.integers(0, 9000)
)


def put(into, rows, group_of, grain):
    """Count (credentials, second, item) by these groups."""
    rows = sorted((group_of[who], second // grain * grain, who, item) for who, second, item in rows)
    if rows:
        into.add(by_hour(together(columns(rows), distinct=into.distinct)))


def said(rows, distinct):
    """(second, credentials, member) or (second, credentials) → how much; parts may tell of one second each."""
    total = Counter()
    for second, who, item in rows_of(rows):
        total[(second, who, item) if distinct else (second, who)] += not distinct and item
    return {what: amount % (1 << 64) for what, amount in total.items()}


@given(
    rounds=st.lists(st.tuples(st.lists(row_, max_size=8), st.lists(asked_, max_size=4)), max_size=4),
    distinct=st.booleans(),
    grain=st.sampled_from([1, 60]),
)
def test_read_by_groups_is_counted_by_groups(rounds, distinct, grain):
    by_credentials, by_groups = (Tallies("t", distinct=distinct) for _ in range(2))
    of = OfGroups(by_credentials, lambda group: np.array(MEMBERS[group], np.uint64), grain)
    for rows, asked in rounds:
        put(by_credentials, rows, {who: who for who in (11, 12, 21)}, 1)
        put(by_groups, rows, {who: group for group, all_ in MEMBERS.items() for who in all_}, grain)
        for group, first, span in asked:
            found, wanted = (one.rows(group, first, first + span) for one in (of, by_groups))
            assert said(found, distinct) == said(wanted, distinct)
            assert grain == 1 or len(rows_of(found)) == len(said(found, distinct))
            assert found[0].tolist() == sorted(found[0].tolist())
            assert [column.dtype for column in found] == [np.int64, np.uint64, np.uint64]


def test_an_hour_of_a_group_is_put_together_once(monkeypatch):
    """For all windows that lie in it, until something more is counted, or another group is asked for."""
    held, looked = Tallies("t", distinct=False), []
    put(held, [(11, T0, 1), (12, T0 + 5, 1), (21, T0, 1)], {11: 11, 12: 12, 21: 21}, 1)
    of = OfGroups(held, lambda group: np.array(MEMBERS[group], np.uint64), 1)
    parts = held.parts
    monkeypatch.setattr(held, "parts", lambda *hours: looked.append(hours) or parts(*hours))
    for group, second, looks in ((1, T0, 1), (1, T0 + 9, 1), (2, T0, 2), (1, T0, 3), (1, T0 + 3600, 4), (3, T0, 4)):
        of.rows(group, second, second)
        assert len(looked) == looks
    with pytest.raises(KeyError):
        of.rows(4, T0, T0)


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ([("session",), ("role",), ("person",)], 1),
        ([("source_ip",), ("source_ip",)], 1),
        ([("source_ip",), ("vpc_endpoint",)], 2),
        ([("session", "source_ip"), ("session",)], 2),
        ([("peer_group",), ("session",)], 2),
    ],
)
def test_who_counts_alike_shares_one_tally(asked, held):
    """Where groups are of identities, whatever the level and the grain; others by their own groups and grain."""
    pool = {}

    def tallies(levels, grain=1, what="all", few=False):
        one = Counted(Tallies("t", distinct=few), Screen(300, distinct=few, few=few))
        one.share(pool, what, levels, People(), grain)
        return one.tallies

    shared = [tallies(levels) for levels in asked]
    assert len({id(one) for one in shared}) == held
    assert [tallies(levels) for levels in asked] == shared
    assert (tallies(asked[0], grain=60) is shared[0]) == (asked[0] == ("session",))
    assert tallies(asked[0], what="some") not in shared
    assert tallies(("session",), what="few", few=True) is not tallies(("role",), what="few", few=True)


def test_with_what_was_counted_its_bounds_are_forgotten():
    """By the hour; whether there was anything to forget is told."""
    one = Counted(Tallies("t", distinct=False), Screen(300, distinct=False))
    rows = columns([(1, T0, 1, 1), (1, T0 + 7200, 1, 1)])
    one.tallies.add(by_hour(rows))
    one.bounds.add(rows)
    held = one.bounds.held()
    assert not one.forget_before(T0)
    assert one.bounds.held() == held
    assert one.forget_before(T0 + 7200)
    assert (one.bounds.held(), one.tallies.groups()) == (held // 2, {1})
    assert not one.forget_before(T0 + 7200)
    assert one.bounds.bound(1, T0 // 300) == 0
