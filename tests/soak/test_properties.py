"""The checks of soak can fail: a reader with a fault in it breaks a property, a fault put into a module is a mutant."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from detector.core.builder import BatchBuilder
from detector.logs import read as real
from soak import properties, reading
from soak.fuzz import MOST, failure, shrunk, targets
from soak.mutate import mutated
from tests.records import file_of, numbered

LOG = b"\n".join(properties.LINES)
TRAIL = file_of(numbered(4))
CORPUS = sorted(Path(__file__).parents[1].glob("fuzz/corpus/*/*"))


def loses_rows(data, name, into):
    found = real.read(data, name, into)
    into.build()
    into.reject(name, 1, "lost")
    return found


def is_never_the_same(data, name, into):
    into.reject(name, 1, str(next(COUNTER)))
    return real.Reading(real.CLOUDTRAIL)


def raises(data, name, into):
    raise KeyError("eventTime")


def calls_it_broken(data, name, into):
    return real.read(data, name, into)._replace(damage="broken JSON")


def adds_to_what_is_no_log(data, name, into):
    into.reject(name, 1, "odd")
    return real.Reading("", "no log")


def rejects_backwards(data, name, into):
    for position in (2, 1):
        into.reject(name, position, "odd")
    return real.Reading(real.SERVER_ACCESS)


def writes_half_a_character(data, name, into):
    into.reject(name, 1, "odd", "\ud83d")
    return real.Reading(real.CLOUDTRAIL)


def remembers_what_stood_before(data, name, into):
    """A line changes the ones after it."""
    found = real.read(data, name, into)
    batch = into.build()
    into.reject(name, 1, f"{len(batch)} rows")
    return found


COUNTER = iter(range(10**6))


@pytest.mark.parametrize(
    ("data", "reader", "how"),
    [
        (TRAIL, loses_rows, "a record is not one row or one reject"),
        (TRAIL, calls_it_broken, "well-formed JSON is called broken"),
        (TRAIL, raises, "KeyError"),
        (b"x", adds_to_what_is_no_log, "a file that is no log added something"),
        (LOG, rejects_backwards, "positions of rejects do not rise"),
        (b"x", is_never_the_same, "read twice: other rejects"),
        (TRAIL, writes_half_a_character, "a text that is no valid UTF-8"),
        (LOG, remembers_what_stood_before, "a line is not one row or one reject"),
    ],
)
def test_a_reader_with_a_fault_breaks_a_property(monkeypatch, data, reader, how):
    """Each fault is told by a text of its own."""
    properties._good.cache_clear()
    monkeypatch.setattr(reading, "read", reader)
    try:
        assert how in failure(targets()["cloudtrail"], data)
    finally:
        properties._good.cache_clear()


@pytest.mark.parametrize("data", [TRAIL, LOG], ids=["cloudtrail", "server_access"])
def test_another_way_to_read_has_to_give_the_same(monkeypatch, data):
    """A differential check is one more entry of ALIKE."""

    def otherwise(content):
        found = reading.content_of(content)
        return found._replace(rows=found.rows[:-1])

    monkeypatch.setattr(properties, "ALIKE", dict.fromkeys(properties.ALIKE, (otherwise,)))
    assert failure(targets()["cloudtrail"], data) == "BrokenError: read otherwise: other rows"


@pytest.mark.parametrize(
    ("column", "value", "how"),
    [("bytes", -1, "bytes"), ("time", 1 << 40, "time"), ("skip", 99, "skip"), ("who", 9, "a code without a principal")],
)
def test_a_value_out_of_bounds_is_noticed(monkeypatch, column, value, how):
    """Of every column."""
    real_build = BatchBuilder.build

    def build(self):
        batch = real_build(self)
        values = getattr(batch, column).copy()
        values[:1] = value
        return replace(batch, **{column: values})

    monkeypatch.setattr(BatchBuilder, "build", build)
    assert how in failure(targets()["cloudtrail"], TRAIL)


def test_mutations_never_fail_and_depend_on_nothing_but_chance():
    """Any input can be mutated, again and again; the same chance makes the same bytes."""
    for path in CORPUS:
        for seed in range(20):
            one, other = (mutated(path.read_bytes(), random.Random(seed), MOST) for _ in range(2))
            assert one == other
            assert len(mutated(one, random.Random(seed), 100)) <= 100


def test_what_fails_is_made_smaller():
    """Down to the bytes it takes."""
    assert shrunk(b"a" * 500 + b"XY" + b"b" * 300, lambda less: b"XY" in less) == b"XY"
