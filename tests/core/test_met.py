"""Whom a process has met, it knows by number, through growing and forgetting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.core import met
from detector.core.met import MARK, Met


@given(batches=st.lists(st.sets(st.integers(1, 30)), max_size=5), many=st.sampled_from([1, 200]))
def test_whoever_was_met_is_told_by_the_same_number(batches, many):
    """Twice the number, one more where an ARN is named; nobody has none. many: so many ways to be called at once."""
    known, expected, people = Met(), {}, []
    for batch in batches:
        new = [name * many + n for name in batch for n in range(many) if name * many + n not in expected]
        hashes = np.array(new, np.uint64) << np.uint64(33) | MARK
        prints = np.array([name * 7 if name % 5 else 0 for name in new], np.uint64)
        told = known.meet(hashes, prints, np.array([name % 3 == 0 for name in new], np.bool_))
        for name in new:
            expected[name] = 2 * len(people) + (name % 3 == 0) if name % 5 else -1
            people += [name * 7] if name % 5 else []
        assert told.tolist() == [expected[name] for name in new]
    assert len(known) == len(people)
    assert known.prints(np.arange(len(people))).tolist() == people
    every = np.array([*expected, 1 << 20], np.uint64) << np.uint64(33) | MARK
    assert known.told(every).tolist() == [*expected.values(), -1]


def test_of_too_many_all_are_forgotten(monkeypatch):
    """Not before there is one too many, and never while a batch is made: whoever asked goes on with what he got."""
    monkeypatch.setattr(met, "_met", Met())
    monkeypatch.setattr(met, "MOST", 2)
    hashes = np.arange(3, dtype=np.uint64) << np.uint64(33) | MARK
    first = met.met()
    first.meet(hashes[:2], hashes[:2], np.zeros(2, np.bool_))
    assert met.met() is first
    first.meet(hashes[2:], hashes[2:], np.zeros(1, np.bool_))
    again = met.met()
    assert (len(again), len(first)) == (0, 3)
    assert met.met() is again


def test_a_quarter_of_a_million_are_remembered():
    """About 40 bytes each: no more, and one account's identities are fewer."""
    assert met.MOST == 1 << 18
