"""Rows that add up: merging in any order and any cuts is counting by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from detector.core import part, runs, tally
from detector.core.tally import Tallies, by_hour, merge_amounts, merge_members, together
from tests.rows import ALIKE, T0, columns, cuts_, row_, rows_of


@given(cuts=cuts_)
@example(cuts=[[(ALIKE[1], T0, 1, 1), (ALIKE[0], T0 + 1, 1, 1)]])
@example(cuts=[[(1, T0, 1, 2), (1, T0 + 1, 1, 1), (1, T0 + 1, 1, 2), (1, T0 + 1, 1, 1)]])
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


def test_rows_of_one_second_are_each_kept_once():
    rows = [(7, T0, who % 3, item % 50) for who in range(9) for item in range(100)]
    assert sorted(rows_of(merge_members([columns(rows)]))) == sorted(set(rows))


def test_groups_that_are_hashes_are_ordered_in_one_sort(monkeypatch):
    """The slower way is for groups that somebody made alike, and for very many rows of one second."""
    monkeypatch.setattr(np, "lexsort", lambda _: pytest.fail("the slower way"))
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 1 << 64, 50, np.uint64).tolist()
    rows = [(groups[n % 50], T0 + n % 7, n % 3, n % 11) for n in rng.integers(0, 5000, 3000).tolist()]
    for merge in (merge_members, merge_amounts):
        merged = rows_of(merge([columns(rows)]))
        assert [row[:2] for row in merged] == sorted(row[:2] for row in merged)
        assert {row[:3] for row in merged} == {row[:3] for row in rows}


def add(held, *columns, distinct=True):
    """Count rows as they come."""
    order = np.lexsort(columns[::-1])
    held.add(by_hour(together(tuple(column[order] for column in columns), distinct=distinct)))


@given(rows=st.lists(row_, min_size=1, max_size=30), distinct=st.booleans())
def test_rows_in_order_are_put_together_as_they_are_in_a_merge(rows, distinct):
    """And cut by the hour: what is counted of a batch is what tallies hold of it."""
    run = together(columns(sorted(rows)), distinct=distinct)
    merge = merge_members if distinct else merge_amounts
    assert rows_of(run) == sorted(rows_of(merge([columns(rows)])))
    assert {hour: rows_of(some) for hour, some in by_hour(run)} == {
        hour: [row for row in rows_of(run) if row[1] // 3600 == hour] for hour in sorted({r[1] // 3600 for r in rows})
    }


def test_a_checkpoint_holds_tallies_by_hour():
    """The names of its parts: what was written stays readable."""
    held = Tallies("t", distinct=True)
    add(held, *columns([(1, T0 - 1, 1, 1), (1, T0, 1, 1), (1, T0 + 3599, 1, 1), (1, T0 + 3600, 1, 1)]))
    assert list(held.changes()) == [f"t/{T0 // 3600 - 1}/0", f"t/{T0 // 3600}/1", f"t/{T0 // 3600 + 1}/2"]


def test_where_nothing_was_counted_there_is_no_whole_and_what_is_put_in_is_told():
    held = Tallies("t", distinct=True)
    assert (held.whole(), held.taken_in) == ((), 0)
    add(held, *columns([(1, T0, 1, 1)]))
    assert (rows_of(held.whole()), held.taken_in) == ([(1, T0, 1, 1)], 1)


def test_where_nothing_was_counted_there_are_no_rows():
    """Of no such hour, no such second, no such group; each column has its type."""
    held = Tallies("t", distinct=True)
    for _ in range(2):
        for group, first, last in ((1, T0 - 9000, T0 - 8000), (1, T0 + 1, T0 + 9), (1, T0 - 9, T0 - 1), (2, T0, T0)):
            found = held.rows(group, first, last)
            assert [column.tolist() for column in found] == [[], [], []]
            assert [column.dtype for column in found] == [np.int64, np.uint64, np.uint64]
        add(held, *columns([(1, T0, 1, 1)]))


def test_only_the_hours_in_question_are_read():
    """From the shelf: those that the seconds asked for lie in, and no other."""
    held, shelf = Tallies("t", distinct=True), Noting()
    held.lean_on(shelf, 0)
    add(held, *columns([(1, T0 + 3600 * hour, 1, 1) for hour in range(6)]))
    shelf.parts = held.changes()
    held.let_go(0)
    for ask in (lambda *asked: held.rows(1, *asked), lambda *asked: list(held.slices(*asked))):
        shelf.read.clear()
        ask(T0 + 3600, T0 + 3 * 3600 - 1)
        assert shelf.read == {f"t/{T0 // 3600 + hour}/{hour:x}" for hour in (1, 2)}


class Noting:
    """A shelf that notes the names of what is read."""

    def __init__(self):
        self.parts, self.read = {}, set()

    def get(self, name: str, first: int, end: int) -> bytes:
        self.read.add(name)
        return self.parts[name][first:end]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=cuts_, distinct=st.booleans(), first=st.integers(T0 - 1, T0 + 5), last=st.integers(T0 - 1, T0 + 9000))
def test_slices_are_all_rows_of_a_time(cuts, distinct, first, last, monkeypatch):
    """Group by group in order, each group in one slice, however few rows a slice may have."""
    monkeypatch.setattr(tally, "SLICE", 3)
    held = Tallies("t", distinct=distinct)
    for rows in cuts:
        add(held, *columns(rows), distinct=distinct)
    slices = [rows_of(run) for run in held.slices(first, last)]
    merge = merge_members if distinct else merge_amounts
    whole = rows_of(merge([columns([row for rows in cuts for row in rows])]))
    wanted = [row for row in whole if first <= row[1] <= last]
    told = [row for run in slices for row in run]
    assert (sorted(told), [row[:2] for row in told]) == (sorted(wanted), [row[:2] for row in wanted])
    of_groups = [{row[0] for row in run} for run in slices]
    assert sum(map(len, of_groups)) == len(set().union(*of_groups))
    assert held.groups() == {row[0] for row in whole}


def test_a_slice_is_of_as_many_rows_as_memory_bears(monkeypatch):
    """Groups are hashes, so that slices of the range of groups are about equally large."""
    monkeypatch.setattr(tally, "SLICE", 1000)
    rng = np.random.default_rng(9)
    held = Tallies("t", distinct=True)
    groups = rng.integers(0, 1 << 64, 10_000, np.uint64)
    add(held, groups, np.full(10_000, T0), groups, groups)
    sizes = [len(run[0]) for run in held.slices(T0, T0)]
    assert len(sizes) == 11
    assert max(sizes) < 1100


def test_few_rows_are_one_slice():
    """At the size there really is: nothing is cut up for nothing."""
    held = Tallies("t", distinct=True)
    add(held, *columns([(group << 60, T0, 1, 1) for group in range(16)]))
    assert [len(run[0]) for run in held.slices(T0, T0)] == [16]


def test_what_is_forgotten_is_forgotten_by_the_hour():
    """An hour stays as long as one of its seconds must; whether anything went is told."""
    held = Tallies("t", distinct=True)
    add(held, *columns([(1, T0 - 1, 1, 1), (2, T0, 1, 1)]))
    assert not held.forget_before(T0 - 1)
    assert held.groups() == {1, 2}
    assert held.forget_before(T0 + 3599)
    assert held.groups() == {2}
    assert held.forget_before(T0 + 3600)
    assert held.groups() == set()


@given(cuts=cuts_, distinct=st.booleans(), first=st.integers(T0 - 1, T0 + 5), span=st.integers(0, 6))
def test_rows_are_those_from_the_first_second_to_the_last(cuts, distinct, first, span):
    """Both included."""
    held = Tallies("t", distinct=distinct)
    for rows in cuts:
        add(held, *columns(rows), distinct=distinct)
    everything = [row for rows in cuts for row in rows]
    for group in (1, ALIKE[1]):
        second, _, _ = held.rows(group, first, first + span)
        wanted = {row[1] for row in everything if row[0] == group and first <= row[1] <= first + span}
        assert (second.tolist(), set(second.tolist())) == (sorted(second.tolist()), wanted)


@given(cuts=cuts_, distinct=st.booleans())
def test_tallies_hold_what_was_put_in(cuts, distinct):
    """Of every group and any time exactly its rows, through merges and a checkpoint."""
    first, again = (Tallies("t", distinct=distinct) for _ in range(2))
    parts = {}
    for rows in cuts * 3:
        add(first, *columns(rows), distinct=distinct)
        parts |= first.changes()
    again.restore({name: part for name, part in parts.items() if part is not None})
    everything = [row for rows in cuts * 3 for row in rows]
    by_hand = Counter()
    for *row, item in everything:
        by_hand[*row, item if distinct else 0] += item
    whole = [(*row, item if distinct else 0) for *row, item in rows_of(first.whole())]
    assert (sorted(whole), first.taken_in >= 3) == (sorted(by_hand), True)
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


def test_what_no_checkpoint_holds_yet_stays_in_memory():
    """Only what was given out as a change and saved may leave: the rest is nowhere else."""
    held = Tallies("t", distinct=True)
    held.lean_on(Nothing(), 0)
    add(held, *columns([(1, T0, 1, item) for item in range(100)]))
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
        add(held, *columns([(number * 10 + i, T0, 1, i + 1) for i in range(10)]))
        written += sum(len(part.decode(data)[0]) for data in held.changes().values() if data is not None)
    assert written <= 5 * 10_000
    assert len(held.all_parts()) <= 4 * runs.TIER
