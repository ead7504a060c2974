"""Laws of windows as functions of arrays: each against counting by hand, on few seconds, so that every edge is met."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.core import window
from detector.core.window import (
    DAY,
    Episode,
    by_value,
    distinct_at,
    episodes,
    longest_episode,
    starts_of_runs,
    steady_order,
    sums_at,
    unique_sorted,
)

seconds = st.integers(100, 125)
windows = st.integers(1, 12)
sightings = st.lists(st.tuples(seconds, st.integers(0, 4)), max_size=14).map(sorted)
moments = st.lists(seconds, max_size=8)


def column(values, dtype=np.int64):
    return np.array(list(values), dtype)


@given(sightings, moments, windows)
def test_a_sum_is_over_the_open_closed_window(rows, at, window):
    """Everything in (t - window, t], nothing else; seconds may repeat, and t need be no second of a record."""
    found = sums_at(column(s for s, _ in rows), column(n for _, n in rows), column(at), window)
    assert found.tolist() == [sum(n for s, n in rows if t - window < s <= t) for t in at]


@given(sightings, moments, windows)
def test_a_member_counts_once_in_the_open_closed_window(rows, at, window):
    """However often it is seen, and in whatever order the sightings come."""
    for shown in (rows, rows[::-1]):
        found = distinct_at(column(s for s, _ in shown), column((m for _, m in shown), np.uint64), column(at), window)
        assert found.tolist() == [len({m for s, m in rows if t - window < s <= t}) for t in at]


def by_hand(crossed, gap, longest, cap):
    """Episodes of (second, value) pairs, one second after the other."""
    runs = []
    for second, value in crossed:
        joins = runs and second - runs[-1][-1][0] <= gap and second - runs[-1][0][0] < longest
        runs[-1].append((second, value)) if joins else runs.append([(second, value)])
    out = []
    for run in runs:
        most = max(value for _, value in run)
        peak = min(most, cap)
        at = next(second for second, value in run if value >= peak)
        out.append(Episode(run[0][0], run[-1][0], peak, at, most > cap))
    return out


@given(
    st.dictionaries(seconds, st.integers(1, 4).map(float), max_size=16),
    st.integers(0, 6),
    st.integers(1, 12),
    st.integers(1, 5),
)
def test_an_episode_is_a_run_of_near_neighbours_shorter_than_the_longest(values, gap, longest, cap):
    """Opening, end, peak, its first second and whether there was more, for every way of lying near or far."""
    crossed = sorted(values.items())
    found = episodes(column(s for s, _ in crossed), column((v for _, v in crossed), np.float64), gap, longest, cap)
    assert found == by_hand(crossed, gap, longest, cap)


def test_an_episode_is_within_the_cap_unless_it_says_otherwise():
    """Checkpoints from before it could say so hold four figures of each."""
    assert Episode(100, 110, 4.5, 105) == Episode(100, 110, 4.5, 105, at_least=False)


def test_an_episode_lasts_a_day_or_one_window_if_that_is_longer():
    """A day is 86,400 seconds."""
    assert DAY == 24 * 60 * 60
    assert [longest_episode(window) for window in (1, DAY - 1, DAY, DAY + 1)] == [DAY, DAY, DAY, DAY + 1]


@given(st.lists(st.integers(0, 6), max_size=10))
def test_sorted_values_are_made_distinct(values):
    """Each once, in order; of none there are none."""
    assert unique_sorted(column(sorted(values))).tolist() == sorted(set(values))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=12))
def test_a_run_begins_where_any_column_changes(rows):
    """The first row always begins one; a change in either column does. One column alone is a case of its own."""
    rows.sort()
    both = [n for n, row in enumerate(rows) if n == 0 or row != rows[n - 1]]
    first = [n for n, row in enumerate(rows) if n == 0 or row[0] != rows[n - 1][0]]
    columns = column(a for a, _ in rows), column(b for _, b in rows)
    assert starts_of_runs(*columns).tolist() == both
    assert starts_of_runs(columns[0]).tolist() == first


@example([-1, 1])
@given(st.lists(st.integers(-3, 3) | st.integers(0, 300) | st.integers(1 << 40, 1 << 41), max_size=12))
def test_rows_are_told_by_value(values):
    """Each value once, in order, with its rows in the order they came."""
    places = np.arange(len(values))
    told = [(value, places[rows].tolist()) for value, rows in by_value(column(values))]
    assert told == [(one, [n for n, value in enumerate(values) if value == one]) for one in sorted(set(values))]


@pytest.mark.parametrize("least", [0, 1000, -(1 << 40)])
def test_order_is_steady_whatever_bit_tells_numbers_apart(least, monkeypatch):
    """For every number of digits: alike ones as they come, and numpy's own way is for few only."""
    for top in range(62):
        values = least + column([*(1 << bit for bit in range(top, -1, -1)), 0] * 2)
        wanted = np.argsort(values, kind="stable").tolist()
        assert steady_order(values).tolist() == wanted
        monkeypatch.setattr(window, "FEW", 1)
        assert steady_order(values).tolist() == wanted
        if least >= 0:
            assert steady_order(values.astype(np.uint64)).tolist() == wanted
        monkeypatch.undo()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30), st.sampled_from([1, window.FEW]))
def test_hashes_are_grouped_as_numpy_does_also_where_their_halves_are_alike(halves, few):
    """Distinct hashes in order, first rows, numbers; few: rows from which on halves are looked at first."""
    keys = np.array([high << 32 | low for high, low in halves], np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window, "FEW", few)
        seen = window.grouped(keys)
    for mine, numpys in zip(seen, np.unique(keys, return_index=True, return_inverse=True), strict=True):
        assert mine.tolist() == numpys.tolist()


def test_half_of_a_hash_is_enough_to_put_it_in_order(monkeypatch):
    """Two digits of 16 bits, even if some are alike; only where halves are alike is the whole looked at."""
    hashes = np.random.default_rng(1).integers(0, 1 << 64, window.FEW, np.uint64)
    hashes[:9] = hashes[-9:]
    wanted, sorts, sort = np.argsort(hashes, kind="stable").tolist(), [], np.argsort
    monkeypatch.setattr(np, "argsort", lambda *asked, **how: sorts.append(asked) or sort(*asked, **how))
    assert window.hash_order(hashes).tolist() == wanted
    assert len(sorts) == 2
