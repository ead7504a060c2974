"""Stretches are what a walk over the seconds of each group finds, however they came."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.core.spans import Spans, following

GROUPS = [1, 2, (1 << 60) - 1, 1 << 60, 9 << 60 | 5, (1 << 64) - 1]
"""In four partitions, two of them with neighbours."""
LAST = (1 << 33) - 1
"""The last second that a record may have."""
second_ = st.integers(0, 60) | st.sampled_from([LAST - 3, LAST - 1, LAST])
heard_ = st.lists(st.tuples(st.sampled_from(GROUPS), second_), max_size=12)
limit_ = st.integers(1, 9)


def by_hand(heard, limit):
    """Of each group the seconds, parted where neighbours lie further apart than the limit."""
    out = []
    for group, second in sorted(heard):
        if out and out[-1][0] == group and second - out[-1][2] <= limit:
            out[-1][2] = second
        else:
            out.append([group, second, second])
    return [tuple(one) for one in out]


def columns(heard):
    return np.array([group for group, _ in heard], np.uint64), np.array([second for _, second in heard], np.int64)


def rows(*runs):
    return [row for run in runs for row in zip(*(column.tolist() for column in run), strict=True)]


def filled(cuts, limit):
    """With each cut told of as it is by itself."""
    spans = Spans("heard", limit)
    for heard in cuts:
        assert rows(spans.add(*columns(heard))) == by_hand(heard, limit)
    return spans


@given(st.lists(heard_, max_size=6), limit_)
@example([[(1, 0), (1, 9), (1, 18)], [(1, 3), (1, 40)]], 9)
@example([[(1, LAST)], [(2, 0)]], 1)
def test_stretches_are_parted_by_gaps_over_the_limit_whatever_the_cuts(cuts, limit):
    """All of them in order, those of one group, and the gap after each; what is asked with more is not kept."""
    spans, every = filled(cuts, limit), [one for heard in cuts for one in heard]
    expected = by_hand(every, limit)
    more = [(GROUPS[0], 30), (GROUPS[4], 31)]
    at = columns(more)
    assert rows(*spans.all((at[0], at[1], at[1]))) == by_hand([*every, *more], limit)
    assert rows(*spans.all()) == expected
    for group in GROUPS:
        assert rows(spans.of(group)) == [row[1:] for row in expected if row[0] == group]
    run = spans.united([(*columns(every), columns(every)[1])])
    after = {row: other[1] for row, other in pairwise(expected) if row[0] == other[0]}
    assert following(run, -7).tolist() == [after.get(row, -7) for row in expected]


@pytest.mark.parametrize("restored", [False, True])
@given(cuts=st.lists(heard_, max_size=6), oldest=second_)
def test_only_what_is_let_go_of_changes_anything(restored, cuts, oldest):
    """Stretches stay or go as a whole; where all stay, nothing is written anew."""
    spans, limit = filled(cuts, 5), 5
    parts = spans.changes()
    if restored:
        spans = Spans("heard", limit)
        spans.restore(parts)
    expected = by_hand([one for heard in cuts for one in heard], limit)
    lasting = [row for row in expected if row[2] >= oldest]
    assert spans.keep(lambda run: run[2] >= oldest) is (lasting != expected)
    assert rows(*spans.all()) == lasting
    assert bool(spans.changes()) is (lasting != expected)
