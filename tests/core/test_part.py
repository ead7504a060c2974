"""A run in memory and on a shelf: the same rows, whatever is asked, and no more is read than was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.core import part as part_module
from detector.core.part import OVERHEAD, Part, decode, encode

TOP = (1 << 64) - 1
keys_ = st.lists(st.one_of(st.integers(0, 9), st.integers(TOP - 3, TOP)), min_size=1, max_size=14).map(sorted)
bound_ = st.one_of(st.integers(0, 11), st.integers(TOP - 4, TOP))


class Store:
    """A shelf in memory that notes what is read of it."""

    def __init__(self, *parts):
        self.parts = {name: encode(run) for name, run in parts}
        self.read = []

    def get(self, name, first, end):
        self.read.append((first, end))
        assert first < end <= len(self.parts[name])
        return self.parts[name][first:end]


@pytest.fixture
def blocks_of_three(monkeypatch):
    """So small that a dozen rows are several blocks."""
    monkeypatch.setattr(part_module, "BLOCK", 3)


def run_of(keys):
    """These keys, and columns of two other types from which a row can be told."""
    number = np.arange(len(keys))
    return np.array(keys, np.uint64), number.astype(np.int32), (number * 7 - 1).astype(np.int64)


def warm_and_cold(keys):
    run = run_of(keys)
    warm, cold, store = Part("p", run), Part("p", run), Store(("p", run))
    cold.leave(store)
    return run, warm, cold, store


def rows(run):
    return list(zip(*(column.tolist() for column in run), strict=True))


def test_a_run_as_bytes_is_a_line_of_types_and_its_columns():
    """The form of a checkpoint's parts: what was written stays readable."""
    run = np.array([1, TOP], np.uint64), np.array([-2, 3], np.int32)
    data = b"<u8 <i4\n" + b"\1" + bytes(7) + b"\xff" * 8 + b"\xfe\xff\xff\xff" + b"\3\0\0\0"
    assert encode(run) == data
    assert rows(decode(data)) == [(1, -2), (TOP, 3)]
    assert [column.dtype for column in decode(data)] == [np.uint64, np.int32]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=keys_, first=bound_, last=bound_)
def test_a_span_is_the_rows_between_its_bounds(keys, first, last, blocks_of_three):
    """Both bounds included, keys may repeat; and so for all the rows and for the first column."""
    run, warm, cold, _ = warm_and_cold(keys)
    wanted = [row for row in rows(run) if first <= row[0] <= last]
    for part in (warm, cold):
        assert rows(part.span(first, last)) == wanted
        assert [column.dtype for column in part.span(first, last)] == [column.dtype for column in run]
        assert rows(part.whole()) == rows(run)
        assert part.keys().tolist() == keys
        assert len(part) == len(keys)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=keys_, asked=st.sets(bound_, min_size=1).map(sorted))
def test_all_rows_of_keys(keys, asked, blocks_of_three):
    """Which key each is of, and its other columns; keys may repeat, or be missing."""
    run, warm, cold, _ = warm_and_cold(keys)
    wanted = [(asked.index(key), *row) for key, *row in rows(run) if key in asked]
    for part in (warm, cold):
        which, columns = part.all_of(np.array(asked, np.uint64))
        assert rows((which, *columns)) == wanted
        assert [column.dtype for column in columns] == [column.dtype for column in run[1:]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=keys_.map(set).map(sorted), asked=st.sets(bound_).map(sorted))
def test_keys_are_found_with_their_rows(keys, asked, blocks_of_three):
    """Each that is there once, with the other columns of its row; no other."""
    run, warm, cold, _ = warm_and_cold(keys)
    row_of = {key: tuple(row) for key, *row in rows(run)}
    for part in (warm, cold):
        found = {}
        for hit, columns in part.find(np.array(asked, np.uint64)):
            assert len(columns) == 2
            for at, row in zip(hit.tolist(), rows(columns), strict=True):
                assert asked[at] not in found
                found[asked[at]] = row
        assert found == {key: row_of[key] for key in asked if key in row_of}


def read_by(store, ask):
    store.read.clear()
    ask()
    return sum(end - first for first, end in store.read)


def test_of_a_run_on_the_shelf_only_the_blocks_in_question_are_read(blocks_of_three):
    """Keys of the blocks that may hold an answer, and of the other columns the rows of the answer."""
    _, _, cold, store = warm_and_cold(range(0, 300, 10))
    key, row = 8, 4 + 8
    assert read_by(store, lambda: cold.span(130, 130)) == 2 * 3 * key - 3 * key + row  # the fifth block, and its second
    assert read_by(store, lambda: cold.span(30, 30)) == 2 * 3 * key + row  # a key at an edge may begin a block before
    assert read_by(store, lambda: cold.span(131, 139)) == 3 * key
    assert read_by(store, lambda: cold.span(400, 500)) == 3 * key
    assert read_by(store, cold.keys) == 30 * key
    assert read_by(store, lambda: list(cold.find(np.array([131], np.uint64)))) == 3 * key
    assert read_by(store, lambda: list(cold.find(np.array([130], np.uint64)))) == 3 * key + row
    assert read_by(store, lambda: list(cold.find(np.array([10, 290], np.uint64)))) == 2 * (3 * key + row)
    assert read_by(store, lambda: list(cold.find(np.array([10, 30, 40], np.uint64)))) == 6 * key + 4 * row


def test_neighbouring_blocks_are_read_at_once(blocks_of_three):
    """A reading each for keys and columns, not one for every block; what lies between blocks in question is not."""
    _, _, cold, store = warm_and_cold(range(0, 300, 10))
    asked = np.array([10, 30, 60, 120, 290], np.uint64)  # of the first three blocks, of the fifth, and of the last
    assert read_by(store, lambda: list(cold.find(asked))) == (9 + 3 + 3) * 8 + (6 + 1 + 1) * 12
    assert len(store.read) == 3 * 3


def test_what_is_on_the_shelf_takes_next_to_no_memory(blocks_of_three):
    """Of its rows memory keeps one key in every block; leaving twice is leaving once."""
    run, warm, cold, store = warm_and_cold(range(7))
    assert (warm.cold, warm.nbytes) == (False, OVERHEAD + 7 * (8 + 4 + 8))
    assert (cold.cold, cold.nbytes) == (True, OVERHEAD + 3 * 8)
    cold.leave(store)
    assert rows(cold.whole()) == rows(run)
    assert (cold.cold, cold.nbytes) == (True, OVERHEAD + 3 * 8)


def test_before_the_first_key_nothing_is_read(blocks_of_three):
    """The fence alone says that a key is not there."""
    _, _, cold, store = warm_and_cold(range(10, 40))
    assert read_by(store, lambda: list(cold.find(np.array([1, 9], np.uint64)))) == 0
