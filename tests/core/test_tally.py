"""Rows that add up: merging in any order and any cuts is counting by hand, and every bound is one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core import runs, tally
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


@given(cuts=cuts_, width=st.sampled_from([10, 13, 300, 3600, 7200]))
def test_a_bound_is_never_below_a_value(cuts, width):
    """No value of a window that ends in a bucket is above the bucket's bound, however small the screen."""
    screen, told = Screen(width, distinct=True), {}
    for rows in cuts:
        run = merge_members([columns(rows)])
        group, bucket, bound = screen.add(run)
        told |= dict(zip(zip(group.tolist(), bucket.tolist(), strict=True), bound.tolist(), strict=True))
    everything = [row for rows in cuts for row in set(rows)]
    for group, second, *_ in everything:
        for t in (second, second + width - 1):
            value = len([row for row in everything if row[0] == group and t - width < row[1] <= t])
            assert screen.bound(group, t // width) >= value
    assert told.keys() == {(row[0], row[1] // width) for row in everything}


def test_a_row_is_rewritten_rarely():
    """Merging in tiers: a thousand small batches are rewritten a few times over, not once a batch."""
    held = Tallies("t", distinct=True)
    written = 0
    for number in range(1000):
        held.add(*columns([(number * 10 + i, T0, 1, i + 1) for i in range(10)]))
        written += sum(len(runs.decode(part)[0]) for part in held.changes().values() if part is not None)
    assert written <= 5 * 10_000
    assert len(list(held.runs())) <= 4 * runs.TIER
