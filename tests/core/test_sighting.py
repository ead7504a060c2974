"""Sightings and texts: what a dict says of them, through merges, memory for nothing, checkpoints and forgetting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.core import part, runs, sighting
from detector.core.principal import fingerprint
from detector.core.sighting import WIDTH, Sightings, Texts

texts_ = st.one_of(
    st.binary(max_size=3 * WIDTH), st.sampled_from([b"", b"\0" * WIDTH, b"x" * (WIDTH - 4), b"long" * 999])
)
batches_ = st.lists(st.tuples(st.integers(0, 9), st.dictionaries(st.integers(1, 40), texts_, max_size=12)), max_size=12)
LATE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


class Shelf(dict):
    """A checkpoint in memory."""

    def take(self, rows: Sightings) -> None:
        for name, data in rows.changes().items():
            if data is None:
                self.pop(name, None)
            else:
                self[name] = data

    def get(self, name: str, first: int, end: int) -> bytes:
        return self[name][first:end]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A few dozen rows go through every step, and what was put in lately is soon forgotten."""
    monkeypatch.setattr(part, "BLOCK", 2)
    monkeypatch.setattr(runs, "LARGE", 64)
    monkeypatch.setattr(sighting, "LATELY", 20)


def hashes(numbers):
    return np.array([fingerprint((number,)) for number in numbers], np.uint64)


def keyed(found):
    return {int(key): text for key, text in found.items()}


@LATE
@given(batches=batches_, slack=st.integers(0, 3), spill=st.booleans(), forget=st.integers(0, 9))
def test_texts_are_those_that_were_put_in(batches, slack, spill, forget):
    """Whatever their length and however often they come; also from the shelf and after a restart."""
    texts, shelf, expected, last = Texts("t", slack), Shelf(), {}, {}
    texts.lean_on(shelf, 0)
    for hour, more in batches:
        put = {number: expected.get(number, text) for number, text in more.items()}  # a key has one text
        keys, every = hashes(put), list(put.values())
        texts.put(keys, np.full(len(put), hour), lambda new, every=every: [every[index] for index in new])
        expected |= put
        last |= {number: max(hour, last.get(number, 0)) for number in put}
        if spill:
            shelf.take(texts)
            texts.let_go(0)
        assert (texts.held() == 0) <= (not expected)
    asked = hashes(range(1, 42))
    every = dict(zip(hashes(expected).tolist(), expected.values(), strict=True))
    assert keyed(texts.of(asked)) == every
    shelf.take(texts)
    again = Texts("t", slack)
    again.restore(shelf)
    assert keyed(again.of(asked)) == every
    again.forget_before(forget)
    lasting = {int(key) for key in hashes(number for number in expected if last[number] >= forget)}
    kept = keyed(again.of(asked))
    assert kept.items() <= every.items()
    assert lasting <= kept.keys()
    if not slack:
        assert lasting == kept.keys()


def test_a_row_that_comes_again_is_held_once():
    """What is put in again and again costs nothing in the end, and is remembered by its last hour."""
    rows = Sightings("s")
    for hour in range(64):
        rows.add(hashes([1, 2]), np.array([7, 8], np.uint64), np.full(2, hour))
    assert len(rows) < 64
    (run,) = rows.rows(int(hashes([1])[0]))[:1]
    assert run[1].tolist() == [7]
    rows.forget_before(63)
    assert [run[2].tolist() for run in rows.taken()] == [[63], [63]]
    assert not len(rows)
    assert list(rows.merged()) == []
