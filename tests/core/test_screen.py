"""Upper bounds: never below a value, tight where there is room, and never much memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.core import screen
from detector.core.screen import RECENT, SMALLEST, Screen
from detector.core.table import Table
from detector.core.tally import merge_amounts, merge_members
from tests.rows import T0, columns, cuts_

PLACE = 8
"""Bytes."""
ONE, OTHER = 11 << 40, 12 << 40
"""Groups that share no place with each other or themselves in the buckets used here."""


@pytest.fixture
def few_places(monkeypatch):
    """So few places to begin with that every stream makes them grow."""
    monkeypatch.setattr(screen, "SMALLEST", 2)
    monkeypatch.setattr(screen, "GROWTH", 2)
    monkeypatch.setattr(screen, "RECENT", 0)


def test_bounds_are_tight_where_there_is_room():
    """Groups with a few rows each are not taken for one with many: hardly any is looked at closely for nothing."""
    bounds = Screen(300, distinct=True)
    rng = np.random.default_rng(3)
    groups = rng.integers(1, 1 << 64, 20_000, np.uint64)
    for _ in range(3):
        rows = (groups, T0 + rng.integers(0, 3000, 20_000), groups, rng.integers(0, 1 << 64, 20_000, np.uint64))
        _, _, bound = bounds.add(merge_members([rows]))
    assert (bound >= 20).mean() < 0.001


def test_what_was_counted_is_spread_over_all_places():
    """So that a group nobody has seen is bound by its share: of two buckets, a hundred among `SMALLEST` places each."""
    bounds, rng = Screen(300, distinct=False), np.random.default_rng(4)
    counted(bounds, *((group, T0 + 300, 1) for group in rng.integers(1, 1 << 64, 100, np.uint64).tolist()))
    others = rng.integers(1, 1 << 64, 2000, np.uint64).tolist()
    assert np.mean([bounds.bound(group, T0 // 300 + 1) for group in others]) < 1.1 * 2 * 100 / SMALLEST


def counted(bounds, *rows):
    """Rows of (group, second, amount), each of other credentials; what is told of them."""
    full = [(group, second, number, amount) for number, (group, second, amount) in enumerate(rows)]
    return [column.tolist() for column in bounds.add(merge_amounts([columns(full)]))]


def test_a_bound_is_what_was_counted_in_a_bucket_and_the_one_before():
    """Exactly, where places are not shared.

    bucket    0     1     2     3        width 300
    amounts   5     7           9
    """
    bounds = Screen(300, distinct=False)
    counted(bounds, (ONE, T0, 2), (ONE, T0 + 299, 3), (ONE, T0 + 300, 7), (ONE, T0 + 900, 9))
    first = T0 // 300
    assert [bounds.bound(ONE, first + n) for n in range(-1, 6)] == [0, 5, 12, 7, 9, 9, 0]
    assert bounds.bound(OTHER, first) == 0


def test_adding_tells_what_may_have_been_reached_in_or_just_after_each_bucket():
    """With the larger of the neighbours, whether they were counted before or now; an item counts as one if distinct."""
    bounds, first = Screen(300, distinct=False), T0 // 300
    assert counted(bounds, (ONE, T0, 5), (ONE, T0 + 300, 7), (ONE, T0 + 900, 9)) == [
        [ONE] * 3,
        [first, first + 1, first + 3],
        [12, 12, 9],
    ]
    assert counted(bounds, (ONE, T0 + 600, 1), (OTHER, T0, 4)) == [[ONE, OTHER], [first + 2, first], [10, 4]]
    members = Screen(300, distinct=True)
    run = merge_members(
        [columns([(ONE, T0 + 5, 1, 50), (ONE, T0 + 5, 1, 6), (ONE, T0 + 6, 1, 6), (ONE, T0 + 303, 1, 5)])]
    )
    assert members.touched(run).since.tolist() == [T0 + 5, T0 + 303]
    assert [column.tolist() for column in members.add(run)] == [[ONE, ONE], [first, first + 1], [4, 4]]


def test_neighbours_in_other_stretches_count():
    """Where an hour ends makes no difference."""
    bounds, last = Screen(300, distinct=False), T0 // 300 - 1
    assert counted(bounds, (ONE, T0 - 1, 5), (ONE, T0, 7))[2] == [12, 12]
    assert bounds.bound(ONE, last + 1) == 12


@pytest.mark.parametrize(("width", "stretches"), [(10, 2), (300, 2), (3600, 2), (7200, 2)])
def test_a_stretch_is_an_hour_or_one_long_window(width, stretches):
    """One stretch of places for it, of the smallest size."""
    bounds = Screen(width, distinct=False)
    begin = T0 // 7200 * 7200
    counted(bounds, (1, begin, 1), (1, begin + max(width, 3600) - 1, 1))
    assert bounds.held() == SMALLEST * PLACE
    counted(bounds, (1, begin + max(width, 3600), 1))
    assert bounds.held() == stretches * SMALLEST * PLACE


def test_places_grow_with_what_lies_in_them(few_places, monkeypatch):
    """Twofold here, as soon as there are more pairs than places, up to the most there may be; totals stay bounds."""
    monkeypatch.setattr(screen, "LARGEST", 16)
    bounds, held = Screen(300, distinct=False), []
    for group in range(1, 20):
        counted(bounds, (group << 40, T0, 1))
        held.append(bounds.held() // PLACE)
        assert bounds.bound(group << 40, T0 // 300) >= 1
    assert held == [2] * 2 + [4] * 2 + [8] * 4 + [16] * 11
    counted(bounds, *((group << 40, T0, 1) for group in range(1, 20)))
    assert bounds.held() == 16 * PLACE


def test_what_was_counted_before_places_grew_is_bound_after():
    """At the sizes there really are: each of the new places starts from the total of the one it was a part of."""
    bounds, groups = Screen(300, distinct=False), [n * 0x9E37_79B9_7F4A_7C15 % (1 << 64) for n in range(1, 1200)]
    for some in (groups[:100], groups[100:600], groups[600:]):
        counted(bounds, *((group, T0, 1) for group in some))
        assert all(bounds.bound(group, T0 // 300) >= 1 for group in groups[: groups.index(some[-1]) + 1])


def test_a_folded_stretch_grows_as_a_new_one(few_places):
    """Its places are the fewest again, and what is added then counts anew."""
    bounds = Screen(300, distinct=False)
    counted(bounds, *((group << 40, T0, 1) for group in range(8)))
    bounds.let_go(0)
    assert bounds.held() == 2 * PLACE
    counted(bounds, (1 << 40, T0, 1), (2 << 40, T0, 1))
    assert bounds.held() == 2 * PLACE
    counted(bounds, (3 << 40, T0, 1))
    assert bounds.held() == 4 * PLACE


def spread(bounds, hour):
    """So many pairs of one hour that its places have grown; they are large now."""
    counted(bounds, *((group << 40, T0 + hour * 3600, 1) for group in range(1, SMALLEST + 2)))


def test_what_was_not_touched_for_longest_is_folded_first():
    """Until it is enough; the most recent stretches stay as they are, however little memory there is."""
    bounds, large = Screen(300, distinct=False), SMALLEST * screen.GROWTH * PLACE
    for hour in range(RECENT + 3):
        spread(bounds, hour)
    spread(bounds, 0)
    whole = (RECENT + 3) * large
    assert bounds.held() == whole
    bounds.let_go(whole)
    assert bounds.held() == whole
    bounds.let_go(whole - 1)
    once = whole - large + SMALLEST * PLACE
    assert bounds.held() == once
    bounds.let_go(once)
    assert bounds.held() == once
    for most in (once - large, 0):  # what a folded one still takes is counted, so that one more is not enough
        bounds.let_go(most)
        assert bounds.held() == RECENT * large + 3 * SMALLEST * PLACE
    sizes = {hour: len(places.totals) for hour, places in bounds._stretches.items()}
    assert [hour - T0 // 3600 for hour, size in sizes.items() if size == SMALLEST] == [1, 2, 3]


@pytest.mark.parametrize("stretches", [1, 3, RECENT])
def test_where_all_stretches_are_recent_none_is_folded(stretches):
    """However little memory there is."""
    bounds = Screen(300, distinct=False)
    for hour in range(stretches):
        spread(bounds, hour)
    bounds.let_go(0)
    assert bounds.held() == stretches * SMALLEST * screen.GROWTH * PLACE


def test_of_two_places_folded_into_one_the_larger_total_stays(few_places):
    """It bounds both."""
    bounds = Screen(300, distinct=False)
    counted(bounds, *((group << 40, T0, group) for group in range(1, 9)))
    before = max(bounds.bound(group << 40, T0 // 300) for group in range(1, 9))
    bounds.let_go(0)
    assert max(bounds.bound(group << 40, T0 // 300) for group in range(1, 9)) == before


@pytest.mark.parametrize("width", [300, 3600, 7200])
def test_what_bounds_values_from_a_second_on_is_kept(width):
    """Its bucket and the one before; a stretch in which nothing of that lies is let go."""
    begin, stretch = T0 // 7200 * 7200, max(width, 3600)
    for second, left in ((begin, 3), (begin + width - 1, 3), (begin + width, 2), (begin + stretch + width, 1)):
        bounds = Screen(width, distinct=False)
        counted(bounds, *((1, begin + n * stretch - 1, 1) for n in range(3)))
        bounds.forget_before(second)
        assert bounds.held() == left * SMALLEST * PLACE


def test_bounds_are_no_part_of_a_checkpoint():
    """They are made anew of what was counted."""
    bounds = Screen(300, distinct=False)
    counted(bounds, (1, T0, 1))
    assert bounds.changes() == bounds.leaving(0) == {}


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


def test_where_members_are_few_a_member_counts_once_a_bucket():
    """However often it is seen, in whatever batch; what is no member (0) counts not at all.

    bucket         0        1
    members    7 7 7     7 8 0
    """
    members, first = Screen(300, distinct=True, few=True), T0 // 300
    for _ in range(2):
        rows = [(ONE, T0, 5, 7), (ONE, T0 + 1, 5, 7), (ONE, T0 + 2, 6, 7)]
        rows += [(ONE, T0 + 300, 5, 7), (ONE, T0 + 301, 5, 8), (ONE, T0 + 302, 5, 0)]
        _, _, bound = members.add(merge_members([columns(rows)]))
    assert bound.tolist() == [3, 3]
    assert [members.bound(ONE, first + at) for at in range(3)] == [1, 3, 2]


def test_where_members_are_few_a_pair_has_eight_places():
    """One pair more in a place would be as good as another member."""
    bounds, places = Screen(300, distinct=True, few=True), []
    members = bounds.held()
    assert members == Table().nbytes
    for pair in range(1, SMALLEST // 8 + 2):
        bounds.add(columns([(pair << 40, T0, 1, pair)]))
        places.append((bounds.held() - members) // PLACE)
    assert places == [SMALLEST] * (SMALLEST // 8) + [SMALLEST * screen.GROWTH]


@given(st.lists(st.lists(st.tuples(st.sampled_from([ONE, OTHER]), st.integers(0, 900), st.integers(0, 9)), min_size=1)))
def test_where_members_are_few_no_bound_is_below_the_distinct_members(batches):
    """Also when members are forgotten in between."""
    bounds, seen = Screen(300, distinct=True, few=True), set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen, "REMEMBERED", 5)
        for rows in batches:
            full = [(group, T0 + second, 1, item) for group, second, item in rows]
            bounds.add(merge_members([columns(full)]))
            assert len(bounds._members) <= max(5, len(rows))
            seen.update((group, second // 300, item) for group, second, item in rows if item)
    for group in (ONE, OTHER):
        for bucket in range(5):
            counted = {item for one, at, item in seen if one == group and at in (bucket - 1, bucket)}
            assert bounds.bound(group, T0 // 300 + bucket) >= len(counted)
