"""Laws of the spool: what is in is in a checkpoint, in order, and a checkpoint costs what changed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import StateError
from detector.spool import PAGE, Entry, Spool


class Checkpoint:
    """Parts as a store keeps them. written: bytes of the last save."""

    def __init__(self) -> None:
        self.parts, self.written, self.read = {}, 0, 0

    def save(self, spool):
        changes = spool.changes()
        self.written = sum(len(content) for content in changes.values() if content is not None)
        for name, content in changes.items():
            self.parts.pop(name, None) if content is None else self.parts.__setitem__(name, content)
        spool.let_go()

    def get(self, name, first, end):
        self.read += 1
        return self.parts[name][first:end]


def entry(seq, *sinks, body="", **more):
    more = {"journalled": True} | more
    return Entry(seq, "2026-05-01T09:00:00Z", "finding", {}, alert={"n": seq, "x": body}, sinks=list(sinks), **more)


def seqs(spool, sink="s"):
    return [one.seq for one in spool.waiting_for(sink)]


def restored(shelf, room=1 << 20):
    spool = Spool(shelf, room)
    spool.restore(shelf.parts)
    return spool


def test_a_checkpoint_costs_what_changed_not_what_waits():
    """A sink down for a day: each save writes the last page at most."""
    shelf = Checkpoint()
    spool, most = Spool(shelf, 100_000), 0
    for seq in range(5000):
        spool.add(entry(seq, "s", body="x" * 1000))
        shelf.save(spool)
        most = max(most, shelf.written)
    assert most < PAGE * 1200
    shelf.save(spool)
    assert shelf.written == 0


def test_what_waits_leaves_memory_and_comes_back_in_order():
    """Memory holds `room`; every alert is still there, oldest first, in this process and the next."""
    shelf = Checkpoint()
    spool = Spool(shelf, 100_000)
    for seq in range(2000):
        spool.add(entry(seq, "s", body="x" * 1000))
        shelf.save(spool)
    held = sum(len(one.alert["x"]) for one in spool)
    assert held < 200_000
    assert spool.waiting() == len(spool) == 2000
    assert spool.oldest() == 1_777_626_000
    again = restored(shelf, 100_000)
    assert sum(len(one.alert["x"]) for one in again) < 200_000
    assert again.waiting() == 2000
    assert seqs(again) == seqs(spool) == list(range(2000))


def test_what_is_more_than_waiting_stays_in_memory():
    """An entry not journalled, or with a plan to carry out, is never out of sight."""
    shelf = Checkpoint()
    spool = Spool(shelf, 0)
    for seq in range(PAGE):
        spool.add(entry(seq, "s"))
    spool.add(entry(PAGE, "s", plan={"case_id": "c"}))
    spool.add(entry(PAGE + 1, journalled=False))
    shelf.save(spool)
    assert [one.seq for one in spool] == [PAGE, PAGE + 1]
    assert [one.seq for one in restored(shelf, 0)] == [PAGE, PAGE + 1]


def test_an_alert_taken_out_of_a_page_that_had_left_memory_is_gone_for_good():
    """Fetched, sent, saved: the next process does not send it again."""
    shelf = Checkpoint()
    spool = Spool(shelf, 0)
    for seq in range(3 * PAGE):
        spool.add(entry(seq, "s", "t"))
    shelf.save(spool)
    assert list(spool) == []
    for one in spool.waiting_for("s"):
        if one.seq % 2:
            one.sinks.remove("s")
            spool.touch(one)
    spool.sweep()
    shelf.save(spool)
    assert seqs(restored(shelf)) == list(range(0, 3 * PAGE, 2))
    assert seqs(restored(shelf), "t") == list(range(3 * PAGE))


@given(
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 40), st.booleans(), st.booleans()), max_size=8),
    st.sampled_from([0, 500, 1 << 20]),
)
@settings(max_examples=60)
def test_whatever_comes_goes_and_restarts_the_spool_is_a_list(steps, room):
    """Against a plain list: add so many, send the first so many, save or crash-free restart between."""
    shelf, expected, seq = Checkpoint(), [], 0
    spool = Spool(shelf, room)
    for add, send, save, restart in steps:
        for _ in range(add):
            spool.add(entry(seq, "s"))
            expected.append(seq)
            seq += 1
        if save or restart:
            shelf.save(spool)
        if restart:
            spool = restored(shelf, room)
        for _, one in zip(range(send), spool.waiting_for("s"), strict=False):
            one.sinks.remove("s")
            spool.touch(one)
        del expected[:send]
        spool.sweep()
        assert spool.waiting() == len(spool) == len(expected)
        assert seqs(spool) == expected


def test_a_damaged_page_is_refused():
    """Half an outbox is none."""
    shelf = Checkpoint()
    shelf.parts["outbox/0000000001"] = b"\xc1"
    with pytest.raises(StateError) as caught:
        restored(shelf)
    assert caught.value.remedy
