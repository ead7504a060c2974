"""Ids: what a dict says of them, through merges, partitions, checkpoints and forgetting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.core import ids as ids_module
from detector.core import runs
from detector.core.ids import CYCLE, PARTITIONS, Ids
from detector.core.part import OVERHEAD, encode

FIRST_HOUR = 400_000
batches_ = st.lists(
    st.tuples(st.integers(0, 60), st.lists(st.integers(0, 400), max_size=60)),
    max_size=20,
)


@pytest.fixture
def small(monkeypatch):
    """Runs count as large at 64 rows, so that a few hundred ids go through every step."""
    monkeypatch.setattr(runs, "LARGE", 64)
    monkeypatch.setattr(ids_module, "LARGE", 64)


def hashes(numbers):
    """Numbers as ids, all over the range, and the two ends of it."""
    array = np.array(numbers, np.uint64)
    return np.where(array < 2, ~(array * np.uint64((1 << 64) - 1)), array * np.uint64(0x9E37_79B9_7F4A_7C15))


def put(ids, numbers, ranks, hour):
    keys, first = np.unique(hashes(numbers), return_index=True)
    ids.add(keys, np.array(ranks, np.uint64)[first], np.full(len(keys), hour))


def ranks_of(ids, numbers):
    keys, back = np.unique(hashes(numbers), return_inverse=True)
    known, rank = ids.look_up(keys)
    return [int(rank[i]) if known[i] else None for i in back.tolist()]


class Noting:
    """A shelf that notes the names of what is read."""

    def __init__(self, parts):
        self.parts, self.read = parts, []

    def get(self, name, first, end):
        self.read.append(name)
        return self.parts[name][first:end]


def restored(store, *, once):
    again = Ids("i", once=once)
    again.restore({name: part for name, part in store.items() if part is not None})
    return again


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=batches_)
def test_ids_agree_with_a_dict(batches, small):
    """Every id that was put in is known with its smallest rank, every other is not; and so after a checkpoint."""
    ids, known, store = Ids("i", once=False), {}, {}
    for number, (_, numbers) in enumerate(batches):
        ranks = [(n * 7 + number * 13) % 50 for n in numbers]
        put(ids, numbers, ranks, FIRST_HOUR)
        for n in dict.fromkeys(numbers):
            known[n] = min(known.get(n, 99), (n * 7 + number * 13) % 50)
        store |= ids.changes()
        everybody = list(range(401))
        assert ranks_of(ids, everybody) == [known.get(n) for n in everybody]
    assert ranks_of(restored(store, once=False), everybody := list(range(401))) == [known.get(n) for n in everybody]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=batches_)
def test_what_is_forgotten_is_forgotten_by_its_hour(batches, small):
    """An id put in for an hour is known exactly until that hour is forgotten, before and after a restart."""
    ids, known, store = Ids("i"), {}, {}
    for number, (hour, numbers) in enumerate(batches):
        now = FIRST_HOUR + number * 8
        ids.forget_before(now)
        known = {n: h for n, h in known.items() if h >= now}
        new = sorted({n for n in numbers if n not in known})
        put(ids, new, [1] * len(new), now + hour)
        known |= dict.fromkeys(new, now + hour)
        store |= ids.changes()
        for held in (ids, restored(store, once=True)):
            assert [rank is not None for rank in ranks_of(held, range(401))] == [n in known for n in range(401)]


def test_what_is_forgotten_leaves_memory(small):
    """After one cycle nothing of the forgotten hours is held any more, and the filter is as new."""
    ids = Ids("i")
    for number in range(20):
        put(ids, range(number * 1000, number * 1000 + 1000), [1] * 1000, FIRST_HOUR + number)
    assert len(ids) == 20_000
    assert len(ids.segments()) == PARTITIONS
    ids.forget_before(FIRST_HOUR + 19)
    assert [n for n, rank in enumerate(ranks_of(ids, range(20_000))) if rank is not None] == list(range(19_000, 20_000))
    for _ in range(CYCLE):
        ids.forget_before(FIRST_HOUR + 19)
    assert len(ids) == 1000
    assert int(np.bitwise_count(ids._filter._words).sum()) <= 4 * 1000


def test_what_is_forgotten_stays_so_after_a_restart(small):
    """Also what has not left yet; the hour is written once."""
    ids = Ids("i")
    put(ids, range(1000), [1] * 1000, FIRST_HOUR)
    ids.forget_before(FIRST_HOUR + 1)
    again = restored(ids.changes(), once=True)
    assert len(again) > 0
    assert ranks_of(again, range(1000)) == [None] * 1000
    assert ids.changes() == again.changes() == {}


def test_parts_of_a_checkpoint_are_found_again():
    """Their names, types and cuts: a checkpoint written by an earlier version is understood.

    `-1` holds what is new; of the others each holds the ids with these seven highest bits.
    """
    written = {"i/-1/0": [5, 1 << 63], "i/0/1": [7], "i/1/2": [1 << 57, (1 << 58) - 1], "i/127/3": [(1 << 64) - 1]}
    store = {
        name: encode((np.array(ids, np.uint64), np.full(len(ids), 3, np.uint64), np.full(len(ids), 9, np.int32)))
        for name, ids in written.items()
    }
    ids = restored(store | {"j/0/0": store["i/0/1"]}, once=True)
    known, rank = ids.look_up(np.array([1, 5, 7, 1 << 57, (1 << 58) - 1, 1 << 58, 1 << 63, (1 << 64) - 1], np.uint64))
    assert known.tolist() == [False, True, True, True, True, False, True, True]
    assert rank[known].tolist() == [3] * 6
    ids.add(*(np.array([one], dtype) for one, dtype in ((6, np.uint64), (3, np.uint64), (9, np.int64))))
    (name,) = ids.changes()
    assert name == "i/-1/4"


def test_a_run_is_cut_once_it_is_large(small):
    """Right then: as it is merged no more, it would lie uncut for ever."""
    ids = Ids("i")
    put(ids, range(63), [1] * 63, FIRST_HOUR)
    assert ids.segments() == [-1]
    put(ids, range(63, 127), [1] * 64, FIRST_HOUR)
    assert len(ids) == 127
    assert [len(part) for part in ids.parts(-1, -1)] == [63]
    assert len(ids.segments()) > 32


def test_any_rank_is_told_as_it_was_put_in():
    """From the best to the worst there is."""
    ids, ranks = Ids("i"), np.array([0, 1, 1 << 63, (1 << 64) - 1], np.uint64)
    ids.add(np.arange(4, dtype=np.uint64), ranks, np.zeros(4, np.int64))
    known, rank = ids.look_up(np.arange(5, dtype=np.uint64))
    assert known.tolist() == [True] * 4 + [False]
    assert rank[:4].tolist() == ranks.tolist()


def test_what_lies_at_the_ends_of_a_partition_outlasts_a_cycle(small):
    """Tidying up loses no id that is not forgotten, in a partition or not cut yet."""
    first = np.arange(PARTITIONS, dtype=np.uint64) << np.uint64(57)
    ends = np.sort(np.concatenate([first, first + np.uint64(1), first - np.uint64(1)]))
    for some in (ends, ends[:9], ends[-9:]):
        ids = Ids("i")
        ids.add(some, some, np.full(len(some), FIRST_HOUR))
        for _ in range(CYCLE):
            ids.forget_before(FIRST_HOUR)
            assert ids.look_up(some)[0].all()


def put_numbers(ids, first, end):
    """The ids from `first` to `end` (not included)."""
    ids.add(np.arange(first, end, dtype=np.uint64), np.zeros(end - first, np.uint64), np.zeros(end - first, np.int64))


def words(ids):
    """Of the filter: what is held beside the parts."""
    return (ids.held() - sum(part.nbytes for part in ids.all_parts())) / 8


def test_the_filter_grows_with_the_ids():
    """Past five ids a word it would know too many others; then it is made anew for a good while."""
    ids = Ids("i")
    for first, end, wanted in ((0, 5120, 1024), (5120, 5121, 8192), (5121, 40_960, 8192), (40_960, 40_961, 65_536)):
        put_numbers(ids, first, end)
        assert words(ids) == wanted


@pytest.mark.parametrize(("number", "wanted"), [(0, 1024), (1279, 1024), (1280, 2048), (2559, 2048), (2560, 4096)])
def test_after_a_restart_the_filter_is_as_large_as_the_ids_need(number, wanted):
    """A word for every id and a quarter at least."""
    ids = Ids("i")
    put_numbers(ids, 0, number)
    assert words(restored(ids.changes(), once=True)) == wanted


@pytest.mark.parametrize(("room", "wanted"), [(0, 1024), (0xFFFF, 2048), (0x1_0000, 4096), (1 << 20, 8192)])
def test_the_filter_takes_half_of_the_room_at_most(room, wanted):
    """In whole powers of two; the smallest there is has to have room."""
    ids = Ids("i")
    ids.lean_on(Noting({}), room)
    put_numbers(ids, 0, 5121)
    assert words(ids) == wanted


def test_a_restart_takes_in_ids_for_the_other_half_of_the_room():
    """The rest stays on the shelf and is known all the same."""
    one = np.arange(100, dtype=np.uint64)
    run = one, one, np.zeros(100, np.int32)
    store = {f"i/{n}/{n}": encode((one + np.uint64(n << 57), *run[1:])) for n in range(6)}
    size = OVERHEAD + sum(column.nbytes for column in run)
    for room, warm in ((2 * 3 * size, 3), (2 * 3 * size - 1, 2)):
        ids = Ids("i")
        ids.lean_on(Noting(store), room)
        ids.restore(store)
        assert [part.cold for part in ids.all_parts()] == [False] * warm + [True] * (6 - warm)
        assert ids.look_up(one + np.uint64(5 << 57))[0].all()


def test_adding_reads_nothing_from_the_shelf_unless_the_filter_can_grow():
    """Neither while it is not full, nor where it is full and there is no room for a larger one."""
    for number in (100, 6000):
        ids, shelf = Ids("i"), Noting({})
        ids.lean_on(shelf, 0)
        put_numbers(ids, 0, number)
        shelf.parts = ids.changes()
        ids.let_go(0)
        put_numbers(ids, number, number + 1)
        assert shelf.read == []
        assert ids.look_up(np.arange(number + 2, dtype=np.uint64))[0].tolist() == [True] * (number + 1) + [False]
