"""Whose an object is, as its key says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.owner import owners

KEYS = st.text(alphabet="ab-/.*\n{", max_size=12)


@pytest.mark.parametrize(
    ("pattern", "key", "owner"),
    [
        ("{contractor}/**", "c17/raw/1.wav", "c17"),
        ("{contractor}/", "c17/1.wav", "c17"),
        ("{contractor}/…", "c17/1.wav", "c17"),
        ("{contractor}/**", "readme.txt", None),
        ("{contractor}/**", "/1.wav", None),
        ("raw/{site}/{person}/*.wav", "raw/paris/p1/1.wav", "paris/p1"),
        ("raw/{site}/{person}/*.wav", "raw/paris/p1/deeper/1.wav", None),
        ("raw/speaker-{id}.wav", "raw/speaker-7.wav", "7"),
        ("raw/speaker-{id}.wav", "raw/speaker-7.wav.wav", None),
        ("**/speakers/{id}/**", "2026/05/speakers/7/a/1.wav", "7"),
    ],
)
def test_a_key_says_whose_the_object_is(pattern: str, key: str, owner: str | None) -> None:
    assert owners([pattern]).of(key) == owner


@given(keys=st.lists(KEYS, max_size=8))
def test_the_first_folder_is_the_owner_whatever_the_key_says(keys: list[str]) -> None:
    """`of_each` looks at each folder once, and says the same."""
    first = [key.partition("/")[0] if "/" in key and not key.startswith("/") else None for key in keys]
    by_first = owners(["{contractor}/**"])
    assert by_first.by_folder
    assert [by_first.of(key) for key in keys] == by_first.of_each(keys) == first


@given(
    keys=st.lists(KEYS, max_size=8), pattern=st.sampled_from(["{a}/*", "x/{a}-{b}/**", "**/{a}.a", "{a}*", "{a}/**"])
)
def test_looking_at_folders_once_changes_nothing(keys: list[str], pattern: str) -> None:
    try:
        by = owners([pattern, "b/{c}/**"])
    except ValueError:
        assert pattern == "{a}*"
        return
    assert by.of_each(keys) == [by.of(key) for key in keys]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("raw/**", "expected a placeholder for the owner"),
        ("{a}{b}/**", "expected plain text around a placeholder"),
        ("{a}/{a}/**", "expected each placeholder once"),
        ("{Contractor}/{id}/**", "expected placeholders such as"),
    ],
)
def test_a_pattern_that_cannot_be_read_in_one_way_is_refused(pattern: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        owners(["{fine}/**", pattern])
