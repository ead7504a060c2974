"""What was met near which second is what looking at every sighting finds."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from detector.core.audited import DAY, Marks

MIDNIGHT = 20_000 * DAY
near_midnight = st.builds(lambda day, second: MIDNIGHT + day * DAY + second, st.integers(-1, 1), st.integers(-40, 40))
met_ = st.lists(st.tuples(st.integers(1, 3), near_midnight), max_size=12)
within_ = st.sampled_from([1, 7, 20, 3601, DAY])


def columns(rows):
    return np.array([one for one, _ in rows], np.uint64), np.array([second for _, second in rows], np.int64)


@given(st.lists(met_, max_size=6), met_, within_)
@example([[(1, MIDNIGHT)], [(1, MIDNIGHT + 9)]], [(1, MIDNIGHT - 7), (1, MIDNIGHT + 17), (1, MIDNIGHT + 4)], 7)
def test_a_mark_is_near_up_to_so_many_seconds_before_or_after(cuts, asked, within):
    marks = Marks("marks", within)
    for rows in cuts:
        marks.add(*columns(rows))
    met = [one for rows in cuts for one in rows]
    near = marks.near(*columns(asked)).tolist()
    assert near == [any(h == one and abs(s - second) <= within for h, s in met) for one, second in asked]


@given(met_, within_, near_midnight)
@example([(1, MIDNIGHT + 5), (2, MIDNIGHT - DAY - 40)], 3601, MIDNIGHT + 5)
def test_whole_days_are_let_go_of_and_nothing_from_that_second_on(rows, within, oldest):
    """A slot of time may begin the day before: what was met in it stays."""
    marks = Marks("marks", within)
    marks.add(*columns(rows))
    marks.forget_before(oldest)
    for row in rows:
        assert marks.near(*columns([row])).all() or row[1] < oldest
        assert not marks.near(*columns([row])).all() or row[1] >= oldest - within - DAY
