"""A hash table for whole batches: what a dict says, through collisions, wraps and growth."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.core.table import SPREAD, Table

INVERSE = pow(int(SPREAD), -1, 1 << 64)
near_the_end = st.integers(0, 40).map(lambda i: ((1 << 64) - 1 - (i << 40)) * INVERSE % (1 << 64))
keys_ = st.one_of(st.integers(1, 60), near_the_end, st.integers(1, (1 << 64) - 1)).filter(bool)


@given(batches=st.lists(st.lists(keys_, max_size=60, unique=True), max_size=12), many=st.integers(0, 3000))
def test_a_table_agrees_with_a_dict(batches, many):
    """Keys are fresh exactly once, values stay with their keys, and what was never put in is not found."""
    table, known = Table(), {}
    batches = [*batches, list(range(1_000, 1_000 + many)), *batches]
    for number, batch in enumerate(batches):
        keys = np.array(batch, np.uint64)
        slot, fresh = table.enter(keys)
        assert fresh.tolist() == [key not in known for key in batch]
        table.values[slot] = number
        known |= dict.fromkeys(batch, number)
        asked = np.array([*known, 1 << 63, 123_456], np.uint64)
        assert table.values_of(asked).tolist() == [known.get(key, 0) for key in asked.tolist()]
    assert len(table) == len(known)


def test_keys_whose_places_lie_past_the_end_go_on_at_the_beginning():
    """All of one probe: the table wraps round, and growth keeps every key."""
    table = Table()
    ends = [((1 << 64) - 1 - i) * INVERSE % (1 << 64) for i in range(300)]
    for some in (ends[:100], ends[100:]):
        slot, fresh = table.enter(np.array(some, np.uint64))
        table.values[slot] = np.array(some, np.uint64)
        assert fresh.all()
    assert table.values_of(np.array(ends, np.uint64)).tolist() == ends
