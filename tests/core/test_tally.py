"""Rows that add up: merging in any order and any cuts is counting by hand, and every bound is one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.core import part, runs, screen, tally
from detector.core.screen import Screen
from detector.core.tally import Tallies, merge_amounts, merge_members

T0 = 1_777_626_000
ALIKE = (0xABCD_0000_0000_0000, 0xABCD_0000_0000_0001, 0xABCD_0000_0000_0002)
"""Groups that differ only in the bits the packed sort puts the second into."""

row_ = st.tuples(
    st.sampled_from([1, 2, *ALIKE, (1 << 64) - 1]),
    st.one_of(st.integers(T0, T0 + 4), st.integers(T0, T0 + 9000)),
    st.integers(1, 3),
    st.sampled_from([1, 2, 3, 1 << 63]),
)
cuts_ = st.lists(st.lists(row_, min_size=1, max_size=30), min_size=1, max_size=6)


def columns(rows):
    dtypes = (np.uint64, np.int64, np.uint64, np.uint64)
    return tuple(np.array(column, dtype) for column, dtype in zip(zip(*rows, strict=True), dtypes, strict=True))


def rows_of(run):
    return list(zip(*(column.tolist() for column in run), strict=True))


@given(cuts=cuts_)
def test_members_are_each_kept_once(cuts):
    """Whatever the cuts: the set of rows, by group and second."""
    merged = rows_of(merge_members([merge_members([columns(rows)]) for rows in cuts]))
    assert sorted(merged) == sorted({row for rows in cuts for row in rows})
    assert [row[:2] for row in merged] == sorted(row[:2] for row in merged)


@given(cuts=cuts_)
def test_amounts_are_added_up(cuts):
    """Whatever the cuts: the sum of each (group, second, credentials), by group and second."""
    merged = rows_of(merge_amounts([merge_amounts([columns(rows)]) for rows in cuts]))
    wanted = Counter()
    for row in (row for rows in cuts for row in rows):
        wanted[row[:3]] += row[3]
    assert {row[:3]: row[3] for row in merged} == {key: total % (1 << 64) for key, total in wanted.items()}
    assert [row[:2] for row in merged] == sorted(row[:2] for row in merged)


@pytest.mark.parametrize("tied", [1, 1 << 20])
def test_both_ways_to_order_rows_of_one_second_agree(tied, monkeypatch):
    """Few rows of one group and second are ordered in one number, many by their columns."""
    monkeypatch.setattr(tally, "CODE_BITS", tied.bit_length())
    rows = [(7, T0, who % 3, item % 50) for who in range(9) for item in range(100)]
    assert sorted(rows_of(merge_members([columns(rows)]))) == sorted(set(rows))


@given(cuts=cuts_, distinct=st.booleans())
def test_tallies_hold_what_was_put_in(cuts, distinct):
    """Of every group and any time exactly its rows, through merges and a checkpoint."""
    first, again = (Tallies("t", distinct=distinct) for _ in range(2))
    parts = {}
    for rows in cuts * 3:
        first.add(*columns(rows))
        parts |= first.changes()
    again.restore({name: part for name, part in parts.items() if part is not None})
    everything = [row for rows in cuts * 3 for row in rows]
    for held in (first, again):
        for group in {row[0] for row in everything}:
            second, who, item = held.rows(group, T0 + 2, T0 + 3700)
            inside = [row for row in everything if row[0] == group and T0 + 2 <= row[1] <= T0 + 3700]
            assert sorted(second.tolist()) == second.tolist()
            got = set(zip(second.tolist(), who.tolist(), item.tolist(), strict=True))
            if distinct:
                assert got == {row[1:] for row in inside}
            else:
                assert int(item.sum()) == sum(row[3] for row in inside) % (1 << 64)


@pytest.fixture
def few_places(monkeypatch):
    """So few places to begin with that every stream makes them grow."""
    monkeypatch.setattr(screen, "SMALLEST", 2)
    monkeypatch.setattr(screen, "GROWTH", 2)
    monkeypatch.setattr(screen, "RECENT", 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    cuts=cuts_,
    width=st.sampled_from([10, 13, 300, 3600, 7200]),
    distinct=st.booleans(),
    room=st.lists(st.sampled_from([0, 50, 1 << 20]), min_size=6, max_size=6),
)
def test_a_bound_is_never_below_a_value(cuts, width, distinct, room, few_places):
    """No value of a window that ends in a bucket is above the bucket's bound, grown and folded as memory wants."""
    merge = merge_members if distinct else merge_amounts
    bounds, rows_ = Screen(width, distinct=distinct), []
    for most, rows in zip(room, cuts, strict=False):
        rows_ += [(group, second, who, item % 7) for group, second, who, item in rows]
        group, bucket, bound = bounds.add(merge([columns(rows_[-len(rows) :])]))
        for one, at, told in zip(group.tolist(), bucket.tolist(), bound.tolist(), strict=True):
            assert told >= max(bounds.bound(one, at), bounds.bound(one, at + 1))
        bounds.let_go(most)
    weight = dict.fromkeys(rows_, 1) if distinct else {}
    for row in () if distinct else rows_:
        weight[row[:3]] = weight.get(row[:3], 0) + row[3]
    for group, second, *_ in weight:
        for t in (second, second + width - 1):
            inside = [value for row, value in weight.items() if row[0] == group and t - width < row[1] <= t]
            assert bounds.bound(group, t // width) >= sum(inside)


def test_bounds_are_tight_where_there_is_room():
    """Groups with a few rows each are not taken for one with many: hardly any is looked at closely for nothing."""
    bounds = Screen(300, distinct=True)
    rng = np.random.default_rng(3)
    groups = rng.integers(1, 1 << 64, 20_000, np.uint64)
    for _ in range(3):
        rows = (groups, T0 + rng.integers(0, 3000, 20_000), groups, rng.integers(0, 1 << 64, 20_000, np.uint64))
        _, _, bound = bounds.add(merge_members([rows]))
    assert (bound >= 20).mean() < 0.001


def test_what_no_checkpoint_holds_yet_stays_in_memory():
    """Only what was given out as a change and saved may leave: the rest is nowhere else."""
    held = Tallies("t", distinct=True)
    held.lean_on(Nothing(), 0)
    held.add(*columns([(1, T0, 1, item) for item in range(100)]))
    held.let_go(0)
    assert len(held.rows(1, T0, T0)[0]) == 100
    held.changes()
    held.let_go(0)
    with pytest.raises(KeyError):
        held.rows(1, T0, T0)


class Nothing:
    """A shelf on which nothing lies."""

    def get(self, name: str, first: int, end: int) -> bytes:
        raise KeyError(name)


def test_a_row_is_rewritten_rarely():
    """Merging in tiers: a thousand small batches are rewritten a few times over, not once a batch."""
    held = Tallies("t", distinct=True)
    written = 0
    for number in range(1000):
        held.add(*columns([(number * 10 + i, T0, 1, i + 1) for i in range(10)]))
        written += sum(len(part.decode(data)[0]) for data in held.changes().values() if data is not None)
    assert written <= 5 * 10_000
    assert len(held.all_parts()) <= 4 * runs.TIER
