"""The laws of a shelf, over every shelf there is: any range of a saved part, byte for byte, and nothing else."""

import pytest

from detector.aws.state import S3State
from detector.errors import BucketwatchError
from detector.local.sqlite import SqliteState
from replay.scratch import Scratch

SHELVES = {"sqlite": lambda folder: SqliteState(folder / "state.db"), "scratch": Scratch}


@pytest.fixture(params=[*SHELVES, "s3"])
def shelf(request, tmp_path):
    if request.param == "s3":
        return S3State(request.getfixturevalue("aws").bucket(), "")
    return SHELVES[request.param](tmp_path)


def test_any_range_of_a_part_can_be_read(shelf):
    """From anywhere to anywhere, in small parts and in those that take many pages."""
    parts = {"tally/a/1/0": bytes(range(256)) * 2000, "seen/-1/a": b"abc", "empty": b""}
    shelf.save(parts)
    for name, content in parts.items():
        for first in (0, 1, 100_000, len(content) - 1):
            for end in (first, first + 1, first + 70_000, len(content)):
                if 0 <= first <= end <= len(content):
                    assert shelf.get(name, first, end) == content[first:end]


def test_a_part_is_what_was_saved_last(shelf):
    """A part that was replaced is the new one; one that was deleted is an error that says what to do or where."""
    shelf.save({"a": b"one", "b": b"two"})
    shelf.save({"a": b"three", "b": None, "never was": None})
    assert shelf.get("a", 0, 5) == b"three"
    for name in ("b", "never was"):
        with pytest.raises(BucketwatchError) as caught:
            shelf.get(name, 0, 1)
        assert caught.value.where


def test_a_range_past_the_end_is_never_cut_short(shelf):
    """Whoever asks for bytes that are not there is told, and does not get fewer."""
    shelf.save({"a": b"one"})
    with pytest.raises(BucketwatchError):
        shelf.get("a", 1, 9)
