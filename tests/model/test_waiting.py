"""Laws of who is waiting to be looked at: against plain dictionaries, and over checkpoints."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.model.pieces import ROUND
from detector.model.waiting import GROWTH, Waiting

steps_ = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "due", "drop", "save", "restart"]),
        st.lists(st.tuples(st.integers(0, 2 * ROUND), st.integers(0, 99)), min_size=1, max_size=12),
    ),
    max_size=3 * ROUND,
)


@given(steps_)
def test_due_is_who_has_a_tenth_more_whatever_was_saved_and_restarted(steps):
    """Counts, first and last second a role; dropped once all of it is sealed; a restart changes nothing."""
    waiting, parts, rows, sealed = Waiting("w"), {}, {}, 0
    for what, records in steps:
        if what == "put":
            some = [(role, sealed + second) for role, second in records]
            waiting.put(np.array([r for r, _ in some], np.uint64), np.array([s for _, s in some], np.int64))
            for role, second in some:
                count, seen, first, last = rows.get(role, (0, 0, second, second))
                rows[role] = count + 1, seen, min(first, second), max(last, second)
        elif what == "due":
            wanted = sorted(role for role, (count, seen, *_) in rows.items() if count > (1 + GROWTH) * seen)
            assert waiting.due() == wanted
            mine = [rows[role] for role in wanted]
            span = min((row[2] for row in mine), default=0), max((row[3] for row in mine), default=0)
            assert not wanted or waiting.span(wanted) == span
            rows |= {role: (rows[role][0], *rows[role][:1], *rows[role][2:]) for role in wanted}
        elif what == "drop":
            sealed += records[0][1]
            waiting.drop_before(sealed)
            rows = {role: row for role, row in rows.items() if row[3] >= sealed}
        else:
            changes = waiting.changes()
            parts = {name: part for name, part in (parts | changes).items() if part is not None}
            assert set(parts) == waiting.names()
            assert len(parts) <= ROUND
        if what == "restart":
            waiting = Waiting("w")
            waiting.restore(parts, sealed)
    assert {role: tuple(row) for role, row in waiting._rows.items()} == rows


def test_rows_of_an_older_program_are_taken_up_and_written():
    """They came with the watch's own part."""
    waiting, again = Waiting("w"), Waiting("w")
    waiting.restore({}, 10, [(1, [3, 0, 5, 12]), (2, [1, 1, 5, 6])])
    again.restore(waiting.changes(), 10)
    assert waiting.due() == again.due() == [1]
