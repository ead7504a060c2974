"""What a batch counts by credentials, and what that comes to by groups, is what counting by hand says."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from detector.core.counts import Counts
from tests.rows import T0

PEOPLE = 5
rows_ = st.lists(
    st.tuples(st.integers(-1, PEOPLE - 1), st.integers(T0, T0 + 3) | st.integers(T0, T0 + 200), st.integers(0, 3)),
    max_size=20,
)
"""Code of the principal (-1: nobody), second, item."""
places_ = st.permutations(range(PEOPLE))


def counted(rows, places, *, distinct):
    """Members are as hashes are: their upper halves tell them apart."""
    codes, seconds, items = (np.array(column, np.int64) for column in zip(*rows, strict=True)) if rows else [NONE] * 3
    members = items.astype(np.uint64) << np.uint64(32 * distinct)
    return Counts.of(codes, np.array([*places, PEOPLE], np.uint8), seconds, members, distinct=distinct)


NONE = np.zeros(0, np.int64)


def by_hand(rows, *, distinct):
    """(code, second) → members or amounts, of somebody's rows."""
    found = defaultdict(list)
    for code, second, item in rows:
        if code >= 0:
            found[code, second].append(item)
    return {pair: sorted(set(items)) if distinct else [sum(items)] for pair, items in found.items()}


@example(rows=[(0, T0, 1), (0, T0, 2), (0, T0, 1)], places=range(PEOPLE), distinct=True)
@given(rows=rows_, places=places_, distinct=st.booleans())
def test_rows_are_put_together_in_the_order_of_credentials_and_seconds(rows, places, distinct):
    """Amounts are added up, members are each there once; nobody's rows are left out."""
    found = counted(rows, places, distinct=distinct)
    each = by_hand(rows, distinct=distinct).items()
    wanted = [(*pair, n) for pair, items in sorted(each, key=lambda one: (places[one[0][0]], one[0][1])) for n in items]
    items = found.items >> np.uint64(32 * distinct)
    assert [*zip(found.codes.tolist(), found.seconds.tolist(), items.tolist(), strict=True)] == wanted


@given(
    rows=rows_,
    places=places_,
    groups=st.lists(st.integers(0, 2), min_size=PEOPLE, max_size=PEOPLE),
    width=st.sampled_from([1, 7, 10, 60]),
    grain=st.sampled_from([1, 3, 10]),
    distinct=st.booleans(),
)
def test_groups_are_touched_where_their_credentials_are(rows, places, groups, width, grain, distinct):
    """In the order of groups and buckets: from which second on, and how many rows or how much; grain: one second."""
    prints, order = np.array([7, 1 << 60, 3, 0], np.uint64), [1, 2, 0, 3]
    named = [*groups, 3]
    found = counted(rows, places, distinct=distinct).touched(
        prints[named], np.array(order, np.uint8)[named], width, grain
    )
    seconds, amounts = defaultdict(list), defaultdict(int)
    for (code, second), items in by_hand(rows, distinct=distinct).items():
        pair = order[groups[code]], second // grain * grain // width
        seconds[pair].append(second)
        amounts[pair] += len(items) if distinct else sum(items)
    wanted = [
        (int(prints[order.index(group)]), bucket, min(seconds[group, bucket]), amounts[group, bucket])
        for group, bucket in sorted(seconds)
    ]
    assert [*zip(*(column.tolist() for column in found), strict=True)] == wanted
