"""The laws of a StateStore, over every store there is."""

import pytest

from detector.errors import StateError
from detector.local.sqlite import SqliteState

STORES = {"sqlite": lambda folder: SqliteState(folder / "state.db")}


@pytest.fixture(params=STORES)
def opened(request, tmp_path):
    """Opens the store anew, closing the one before: a restart."""
    held = []

    def again():
        if held:
            held.pop().close()
        held.append(STORES[request.param](tmp_path))
        return held[0]

    yield again
    if held:
        held.pop().close()


def test_a_new_store_is_empty(opened):
    """Without a checkpoint there is nothing, and no error."""
    assert dict(opened().load()) == {}


def test_what_was_saved_is_there_after_a_restart(opened):
    """Every part comes back byte for byte, empty ones and binary ones too."""
    parts = {"engine": b"\x00\xff" * 1000, "empty": b"", "n\u00e4me": b"x"}
    opened().save(parts)
    assert dict(opened().load()) == parts


def test_saving_replaces_only_what_is_named(opened):
    """A part not named stays, one named is replaced, None deletes."""
    store = opened()
    store.save({"a": b"1", "b": b"1", "c": b"1"})
    store.save({"b": b"2", "c": None, "never was": None})
    assert dict(opened().load()) == {"a": b"1", "b": b"2"}


def test_a_save_that_fails_changes_nothing(opened):
    """All or none: a part that cannot be written leaves the old checkpoint whole."""
    store = opened()
    store.save({"a": b"1"})
    with pytest.raises(Exception):  # noqa: B017, PT011 - which error is the store's own; the law is what is left
        store.save({"a": b"2", "b": object()})
    assert dict(store.load()) == {"a": b"1"}
    store.save({"a": b"3"})
    assert dict(opened().load()) == {"a": b"3"}


def test_there_is_one_writer(opened, request, tmp_path):
    """A second daemon is turned away with a remedy, and gets in when the first has gone."""
    opened()
    store = next(iter(STORES.values()))
    with pytest.raises(StateError) as caught:
        store(tmp_path)
    assert caught.value.remedy
    opened().save({"a": b"1"})
