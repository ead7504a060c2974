"""A batch as bytes and back is the same batch."""

from __future__ import annotations

from dataclasses import fields, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import AccessBatch, Log, Row
from detector.core.builder import BatchBuilder
from detector.core.parcel import ARRAYS, Parcel, keep, pack, together, unpack
from detector.core.principal import Principal
from detector.core.principals import Principals, Unread
from detector.errors import StateError

texts = st.one_of(st.none(), st.text(st.characters(exclude_categories=()), max_size=8))  # half characters, too
rows = st.lists(
    st.builds(
        Row,
        log=st.sampled_from(Log),
        time=st.integers(0, 1 << 40),
        id=st.integers(0, (1 << 64) - 1),
        partition=st.sampled_from(["a/b", "c/d"]),
        bytes=st.integers(0, 1 << 45),
        who=st.none() | st.builds(Principal, *[st.text(max_size=5)] * 6, issued_at=st.none() | st.integers(0, 99)),
        has_arn=st.booleans(),
        bucket=texts,
        key=texts,
        link=st.integers(0, (1 << 64) - 1),
        status=st.integers(-1, 599),
        signed_at=st.integers(-1, 1 << 40),
        signed_for=st.integers(-1, 1 << 40),
    ),
    max_size=8,
)


def seen(batch: AccessBatch) -> list[object]:
    """All that a batch says of its rows."""
    who = [None if code < 0 else (batch.principals[code], int(batch.prints[code])) for code in batch.who]
    plain = [getattr(batch, name).tolist() for name in ARRAYS]
    text = {name: column.texts() for name, column in batch.text.items()}
    return [who, plain, text, {n: c.tolist() for n, c in batch.number.items()}, batch.partition.texts()]


def kept(batch: AccessBatch, *own) -> Parcel:
    """A batch as it was kept, in a place where another lay before."""
    place = bytearray(b"what was kept before" * 1000)
    keep(batch, own, place)
    return Parcel(bytes(place), own)


@given(rows, st.randoms(use_true_random=False))
def test_a_batch_comes_back_as_it_was(made, random):
    """Whatever its texts, and also of some of its rows only: a slice does not carry the dictionaries of the whole."""
    builder = BatchBuilder()
    for row in made:
        builder.add(row)
    whole = builder.build()
    rows = np.array(sorted(random.sample(range(len(made)), len(made) // 2)), np.intp)
    some = whole.take(rows)
    for batch in (whole, some):
        assert seen(unpack(pack(batch))) == seen(batch)
    for name in ("key", "bucket"):
        whole.text[name].hashes()
    own = kept(whole).batch(chosen=rows)
    assert seen(own) == seen(some)
    both = together([some, own, own])
    for name, column in some.text.items():
        for came, times in ((own, 1), (both, 3)):
            assert came.text[name].hashes().tolist() == column.hashes().tolist() * times


def test_what_a_program_keeps_for_itself_is_worked_out_by_nobody():
    """Identities stay unread, also where two batches become one; texts that were hashed are not hashed again."""
    read = []

    def reader(text):
        read.append(text)
        return Principal(*[text.decode()] * 6)

    builder = BatchBuilder()
    for number in range(4):
        builder.add(Row(Log.cloudtrail, number, number, "p", key=f"k{number}", bucket="b"))
    batch = replace(
        builder.build(),
        who=np.array([0, 1, 1, -1], np.int32),
        principals=Principals([Unread(reader, b"a"), Unread(reader, b"b")]),
        prints=np.array([7, 8], np.uint64),
    )
    batch.text["key"].hashes()
    parcel = kept(batch, len, reader)
    came = parcel.batch(frozenset({"key"}), np.array([1, 3]))
    assert came.text["key"].values == ["k1", "k3"]
    assert came.text["key"].hashed.tolist() == batch.text["key"].hashes()[[1, 3]].tolist()
    assert list(came.text) == ["key"]
    both = together([came, came])
    assert read == []
    assert [both.principals[code].session for code in both.who[[0, 2]]] == ["b", "b"]
    assert read == [b"b"]


def test_every_field_of_a_batch_travels():
    """But for the rejects, which whoever made the batch has booked."""
    apart = {"who", "principals", "prints", "partition", "text", "number", "rejects"}
    assert {field.name for field in fields(AccessBatch)} == {*ARRAYS, *apart}


def test_a_slice_leaves_the_dictionary_of_the_whole_behind():
    builder = BatchBuilder()
    for number in range(1000):
        builder.add(Row(Log.cloudtrail, number, number, "p", key=f"a-long-key-of-an-object/{number}"))
    assert len(pack(builder.build().take(np.arange(2)))) < 2000


@pytest.mark.parametrize("data", [b"", b"\x93\x01", b"\x80", pack(BatchBuilder().build())[:-3]])
def test_what_is_damaged_is_said(data):
    with pytest.raises(StateError, match="damaged"):
        unpack(data)


def test_a_column_of_another_length_is_damaged():
    builder = BatchBuilder()
    for number in range(3):
        builder.add(Row(Log.cloudtrail, number, number, "p"))
    parcel = msgspec.msgpack.decode(pack(builder.build()))
    for wrong in (b"", parcel["arrays"]["time"][:16]):
        parcel["arrays"]["time"] = wrong
        with pytest.raises(StateError, match="damaged"):
            unpack(msgspec.msgpack.encode(parcel))
