"""Laws of a baseline rule's keys in checkpoints: all of it comes back, and only what is new is written."""

from hypothesis import given
from hypothesis import strategies as st

from detector.model.keys import PIECES, Keys

STEPS = st.lists(st.tuples(st.sampled_from(["put", "put", "keep", "save"]), st.sets(st.integers(0, 30), max_size=8)))


def applied(parts, changes):
    return {name: part for name, part in (parts | changes).items() if part is not None}


@given(STEPS)
def test_what_was_saved_comes_back(steps):
    """Whatever was put and let go in between, and however often it was saved."""
    keys, parts = Keys("k"), {"other/1": b"not ours", "kk/1": b"nor this"}
    for what, groups in [*steps, ("save", set())]:
        if what == "put":
            keys.put({group: f"role-{group}" for group in groups})
        elif what == "keep":
            keys.keep(groups)
        else:
            parts = applied(parts, keys.changes())
            restored = Keys("k")
            restored.restore(parts)
            assert restored._keys == keys._keys
            assert set(restored._pieces) == set(keys._pieces)
            assert restored._pieces == [] or restored._next == keys._next
            assert keys.changes() == {} == restored.changes()


def test_a_checkpoint_writes_what_is_new_and_pieces_are_few():
    """A thousand groups and one more: one key is written; many pieces become one."""
    keys = Keys("k")
    keys.put(dict.fromkeys(range(1000), "x" * 50))
    assert len(b"".join(keys.changes().values())) > 50_000
    for n in range(200):
        keys.put({10_000 + n: "y", 1: "known"})
        written = [part for part in keys.changes().values() if part]
        assert len(written) == 1
        assert len(keys._pieces) <= PIECES + 1
        if n == 0:
            assert len(written[0]) < 10
