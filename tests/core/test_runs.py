"""Segments of runs: what was appended is there, is written once, and leaves memory in good order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.core import runs as runs_module
from detector.core.part import OVERHEAD, decode
from detector.core.runs import FEW, TIER, Segments


class Store:
    """The last checkpoint, in memory."""

    def __init__(self):
        self.parts = {}

    def save(self, parts):
        for name, data in parts.items():
            if data is None:
                del self.parts[name]
            else:
                assert name not in self.parts
                self.parts[name] = data

    def get(self, name, first, end):
        return self.parts[name][first:end]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Runs of 64 rows are large: two tiers below them."""
    monkeypatch.setattr(runs_module, "LARGE", 64)


def run_of(*values):
    return (np.array(values, np.uint64),)


def put(held, segment, *values):
    held.append(segment, run_of(*values))


def fill_up(held, segment):
    """As many parts as leave as they are."""
    for number in range(FEW):
        put(held, segment, number)


def values_of(parts):
    return [value for part in parts for value in part.keys().tolist()]


def sizes(held, segment):
    return [len(part) for part in held.parts(segment, segment)]


class Both:
    """Segments, and lists that are treated alike."""

    def __init__(self):
        self.held, self.store, self.wanted = Segments("s"), Store(), {}
        self.held.lean_on(self.store, 0)

    def append(self, segment, values):
        put(self.held, segment, *values)
        self.wanted.setdefault(segment, []).extend(values)

    def replace(self, segment, values):
        self.held.replace(segment, run_of(*values))
        self.wanted[segment] = list(values)

    def drop_before(self, segment, _):
        assert self.held.drop_before(segment) == any(s < segment for s in self.wanted)
        self.wanted = {s: some for s, some in self.wanted.items() if s >= segment}

    def drop(self, segment, _):
        for part in list(self.held.parts(segment, segment))[:1]:
            gone = part.keys().tolist()
            self.wanted[segment] = [value for value in self.wanted[segment] if value not in gone]
            self.held.drop(segment, part)

    def tidy(self, _, values):
        self.held.tidy(len(values) * OVERHEAD)

    def save(self, *_):
        self.store.save(self.held.changes())

    def save_and_let_go(self, _, values):
        self.save()
        self.held.let_go(len(values) * OVERHEAD)

    def spill(self, _, values):
        self.store.save(self.held.leaving(len(values) * OVERHEAD))
        self.held.let_go(len(values) * OVERHEAD)

    def restart(self, _, values):
        self.save()
        self.held = Segments("s")
        self.held.lean_on(self.store, len(values) * OVERHEAD)
        self.held.restore(self.store.parts)

    def compare(self):
        self.wanted = {s: some for s, some in self.wanted.items() if some}
        assert self.held.segments() == sorted(self.wanted)
        assert len(self.held) == sum(map(len, self.wanted.values()))
        for first, last in (*((s, s) for s in range(-3, 6)), (-1, 2), (-9, 9), (3, 2)):
            inside = [value for s, some in self.wanted.items() if first <= s <= last for value in some]
            assert sorted(values_of(self.held.parts(first, last))) == sorted(inside)


STEPS = ("append",) * 8 + ("replace", "drop_before", "drop", "tidy", "save", "save_and_let_go", "spill", "restart")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(-2, 4), st.integers(0, 30)), max_size=40))
def test_segments_agree_with_lists(steps):
    """Whatever is done, each segment holds what it should, and a checkpoint holds exactly that."""
    both = Both()
    for number, (what, segment, size) in enumerate(steps):
        getattr(both, what)(segment, range(number * 100, number * 100 + size))
        both.compare()
    both.save()
    assert sum(len(decode(data)[0]) for data in both.store.parts.values()) == len(both.held)
    assert both.held.changes() == {}


def test_parts_come_by_segment():
    """Whether a few segments are asked for or more than there are."""
    held = Segments("s")
    for segment in (5, 1, 3):
        put(held, segment, segment)
    assert values_of(held.parts(1, 3)) == [1, 3]
    assert values_of(held.parts(0, 99)) == values_of(held.parts(-9, 5)) == values_of(held.all_parts()) == [1, 3, 5]


def test_runs_are_merged_when_a_tier_is_full():
    """Eight of about one size become one, together with all that is smaller; a large run is left as it is."""
    held = Segments("s")
    for number in range(TIER - 1):
        put(held, 0, number)
    assert sizes(held, 0) == [1] * (TIER - 1)
    put(held, 0, 99)
    assert sizes(held, 0) == [TIER]
    put(held, 0, 1)
    for _ in range(TIER - 1):
        put(held, 0, *range(8))
    assert sizes(held, 0) == [8 * TIER + 1]
    for _ in range(2 * TIER):
        put(held, 0, *range(64))
    assert sizes(held, 0) == [8 * TIER + 1] + [64] * 2 * TIER
    for _ in range(TIER):
        put(held, 0, 1)
    assert sizes(held, 0) == [8 * TIER + 1] + [64] * 2 * TIER + [TIER]


@pytest.mark.parametrize(("rows", "tier"), [(1, 0), (7, 0), (8, 1), (63, 1), (64, 2), (511, 2), (512, 3)])
def test_a_tier_begins_at_eight_times_the_rows_of_the_one_before(rows, tier):
    """Runs of one tier are of about one size."""
    assert runs_module._tier(rows) == tier


def test_a_checkpoint_writes_what_is_new_and_nothing_that_came_and_went():
    """A part is named after its segment and a number that never comes again."""
    held = Segments("s")
    put(held, 3, 1)
    assert list(held.changes()) == ["s/3/0"]
    for number in range(TIER - 1):
        put(held, 3, number)
    assert {name: data is None for name, data in held.changes().items()} == {"s/3/0": True, "s/3/8": False}
    put(held, -1, 1)
    put(held, 3, 1)
    assert sorted(held.changes()) == ["s/-1/9", "s/3/a"]


def test_after_a_restart_no_name_is_used_again():
    """Else a new part would take the place of one that the checkpoint holds."""
    first, again = Segments("s"), Segments("s")
    for segment in range(20, 0, -1):
        put(first, segment, segment)
    again.restore(first.changes() | {"other/1/ff": b"not ours"})
    assert again.changes() == {}
    put(again, 2, 5)
    assert list(again.changes()) == ["s/2/14"]


def filled(store, segments=(1, 2, 3), rows=100):
    """Segments of one part each, in a checkpoint, touched in this order."""
    held = Segments("s")
    held.lean_on(store, 1 << 20)
    for segment in segments:
        put(held, segment, *range(rows))
    store.save(held.changes())
    return held


def cold(held):
    return [segment for segment in held.segments() for part in held.parts(segment, segment) if part.cold]


WARM, COLD = OVERHEAD + 800, OVERHEAD + 8


def test_what_was_not_touched_for_longest_leaves_first():
    """And no more than has to: exactly the bytes that may stay, stay."""
    held = filled(Store(), (3, 1, 2))
    assert held.held() == 3 * WARM
    held.let_go(3 * WARM)
    assert cold(held) == []
    held.let_go(3 * WARM - 1)
    assert (cold(held), held.held()) == ([3], 2 * WARM + COLD)
    put(held, 1, 7)
    held.let_go(held.held() - 1)
    assert cold(held) == [2, 3]


def test_only_what_has_to_leave_is_written():
    """Once: what leaves is on the shelf, what went since is off it, and what stays is written when it is its turn."""
    store, held = Store(), Segments("s")
    held.lean_on(store, 0)
    for segment in (3, 1, 2):
        put(held, segment, *range(100))
    for most, left in ((3 * WARM, []), (3 * WARM - 1, [3]), (2 * WARM + COLD - 1, [1, 3])):
        store.save(held.leaving(most))
        held.let_go(most)
        assert (cold(held), [name.split("/")[1] for name in sorted(store.parts)]) == (left, list(map(str, left)))
    held.drop_before(2)
    store.save(held.leaving(held.held()))
    assert [name.split("/")[1] for name in store.parts] == ["3"]
    store.save(held.changes())
    held.let_go(0)
    assert cold(held) == [2, 3]
    assert values_of(held.all_parts()) == 2 * [*range(100)]


def test_of_one_segment_the_largest_part_leaves_first():
    """Few leave rather than many."""
    store = Store()
    held = filled(store, (1,))
    put(held, 1, *range(200))
    store.save(held.changes())
    held.let_go(held.held() - 1)
    assert [(len(part), part.cold) for part in held.parts(1, 1)] == [(100, False), (200, True)]


def test_replaced_is_touched():
    """A segment that was written anew is the last to leave."""
    store = Store()
    held = filled(store)
    held.replace(1, run_of(*range(100)))
    store.save(held.changes())
    held.let_go(3 * WARM - 1)
    assert cold(held) == [2]


def test_a_restart_takes_in_what_there_is_room_for():
    """The rest stays on the shelf; without a shelf everything is taken in."""
    store = Store()
    filled(store)
    for room, left in ((3 * WARM, []), (3 * WARM - 1, [3]), (WARM, [2, 3]), (0, [1, 2, 3])):
        again = Segments("s")
        again.lean_on(store, room)
        shown: list[tuple[np.ndarray]] = []
        again.restore(store.parts, shown.append)
        assert (cold(again), [len(run[0]) for run in shown]) == (left, [100] * 3)
    without = Segments("s")
    without.restore(store.parts)
    assert cold(without) == []


def test_what_a_restart_took_in_may_leave():
    """As what was there before."""
    store = Store()
    filled(store)
    again = Segments("s")
    again.lean_on(store, 1 << 20)
    again.restore(store.parts)
    again.let_go(2 * WARM + COLD)
    assert cold(again) == [1]


def test_what_is_gone_is_not_asked_to_leave():
    """Dropped, forgotten, or replaced by nothing."""
    for let in (
        lambda held: held.drop(1, *held.parts(1, 1)),
        lambda held: held.drop_before(2),
        lambda held: held.replace(1, run_of()),
    ):
        held = filled(Store())
        let(held)
        held.tidy(0)
        held.let_go(0)
        assert cold(held) == [2, 3]


def test_all_of_time_may_be_asked_for():
    """It takes no longer than there are segments."""
    held = Segments("s")
    put(held, 5, 1)
    assert values_of(held.parts(-(10**12), 10**12)) == [1]


def test_what_will_leave_is_put_together_first():
    """The warm parts of a segment leave as one; nothing is touched where there is room, they are few, or too large."""
    store = Store()
    held = filled(store, (1, 2))
    for segment in (1, 2):
        fill_up(held, segment)
    held.tidy(held.held())
    assert sizes(held, 1) == sizes(held, 2) == [100] + [1] * FEW
    held.tidy(held.held() - 1)
    assert (sizes(held, 1), sizes(held, 2)) == ([100 + FEW], [100] + [1] * FEW)
    store.save(held.changes())
    held.let_go(0)
    fill_up(held, 1)
    held.tidy(0)
    assert sizes(held, 1) == [100 + FEW] + [1] * FEW
    put(held, 1, 0)
    held.tidy(0)
    assert sizes(held, 1) == [100 + FEW, FEW + 1]
    store.save(held.changes())
    assert sum(len(decode(data)[0]) for data in store.parts.values()) == len(held)


@pytest.mark.parametrize(("more", "after"), [(0, [64 * TIER]), (1, [64 * TIER - FEW + 1] + [1] * FEW)])
def test_what_would_be_too_large_is_not_put_together(more, after):
    """Eight large runs at most; and one alone is not written again."""
    held = filled(Store(), (1,), 64 * TIER - FEW + more)
    held.tidy(0)
    assert held.changes() == {}
    fill_up(held, 1)
    held.tidy(0)
    assert sizes(held, 1) == after


def test_names_are_what_the_checkpoint_has():
    """Before the first save none; then those saved, also what went since; never what only came since."""
    held, store = Segments("s"), Store()
    put(held, 1, 5, 6)
    assert held.names() == set()
    store.save(held.changes())
    assert held.names() == set(store.parts)
    put(held, 2, 7)
    assert held.names() == set(store.parts)
    held.drop_before(2)
    assert held.names() == set(store.parts)
    store.save(held.changes())
    assert held.names() == set(store.parts)
    assert len(store.parts) == 1


@given(lengths=st.lists(st.integers(1, 20), max_size=40), every=st.integers(1, 20))
def test_what_is_rewritten_is_what_was_kept_of_it(lengths, every):
    """Also where what is left of one part makes enough of one size for a merge with parts not looked at yet."""
    held, wanted, first = Segments("s"), [], 0
    for length in lengths:
        put(held, 0, *range(first, first + length))
        wanted += [value for value in range(first, first + length) if value % every == 0]
        first += length

    def kept(run):
        left = run[0] % every == 0
        return run if left.all() else (run[0][left],)

    held.rewrite(0, kept)
    assert sorted(values_of(held.parts(0, 0))) == wanted


def test_a_part_that_shrinks_may_be_merged_with_those_after_it():
    held = Segments("s")
    put(held, 0, *range(10))
    for value in range(TIER - 1):
        put(held, 0, 100 + value)
    held.rewrite(0, lambda run: (run[0][:1],) if len(run[0]) > 1 else (run[0].copy(),))
    assert sorted(values_of(held.parts(0, 0))) == [0, *range(100, 99 + TIER)]
