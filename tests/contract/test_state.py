"""The laws of a StateStore, over every store there is."""

import pytest

from detector.aws.state import S3State
from detector.errors import StateError
from detector.local.sqlite import SqliteState


@pytest.fixture(params=["sqlite", "s3"])
def make(request, tmp_path):
    """Makes a store of the same state each time."""
    if request.param == "sqlite":
        return lambda: SqliteState(tmp_path / "state.db")
    aws = request.getfixturevalue("aws")
    bucket = aws.bucket()
    return lambda: S3State(bucket, "some/prefix")


@pytest.fixture
def opened(make):
    """Opens the store anew, closing the one before: a restart."""
    held = []

    def again():
        if held:
            held.pop().close()
        held.append(make())
        return held[0]

    yield again
    if held:
        held.pop().close()


def test_a_new_store_is_empty(opened):
    """Without a checkpoint there is nothing, and no error."""
    assert dict(opened().load()) == {}


def test_what_was_saved_is_there_after_a_restart(opened):
    """Every part comes back byte for byte, empty ones, binary ones and large ones too."""
    parts = {"engine": b"\x00\xff" * 1000, "empty": b"", "n\u00e4me": b"x", "large": bytes(range(256)) * 10_000}
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


def test_what_was_loaded_is_one_checkpoint(opened):
    """A part that is not there is a KeyError, and names and length are those of the parts."""
    opened().save({"b": b"1", "a": b"2"})
    parts = opened().load()
    assert (sorted(parts), len(parts), "a" in parts, "c" in parts) == (["a", "b"], 2, True, False)
    with pytest.raises(KeyError):
        parts["c"]


def test_there_is_one_writer(make):
    """Of two stores of one state one writes: the second is turned away, or the first is from then on, with a remedy."""
    first = make()
    first.save({"a": b"1"})
    with pytest.raises(StateError) as caught:  # noqa: PT012  which of them is turned away is the store's own
        second = make()
        second.load()
        first.save({"a": b"lost"})
    assert caught.value.remedy
    assert caught.value.where
    first.close()
    third = make()
    assert dict(third.load()) == {"a": b"1"}
    third.close()
