"""Globs: what they match, and that no text makes them slow."""

from __future__ import annotations

import time
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.globs import glob

PIECES = ["a", "b", "/", "*", "**", "?", "ab"]


def fits(pattern: str, text: str, *, path: bool) -> bool:
    """Character by character, every way there is: shares nothing with the expressions."""

    @cache
    def rest(at: int, of: int) -> bool:
        if at == len(pattern):
            return of == len(text)
        if pattern[at] != "*":
            one = pattern[at] == "?" and not (path and text[of : of + 1] == "/")
            same = of < len(text) and (one or pattern[at] == text[of])
            return same and rest(at + 1, of + 1)
        across = not path or pattern.startswith("**", at)
        after = at + (2 if pattern.startswith("**", at) else 1)
        return rest(after, of) or (of < len(text) and (across or text[of] != "/") and rest(at, of + 1))

    return rest(0, 0)


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join), st.text("ab/\n", max_size=12), st.booleans())
def test_a_glob_means_what_it_says(pattern, text, path):
    assert (glob([pattern], path=path).fullmatch(text) is not None) == fits(pattern, text, path=path)


@pytest.mark.parametrize(
    ("pattern", "text", "path"),
    [
        ("*a*b*c*d*", "ab" * 4000, False),
        ("**a**b**c**d", "/ab" * 340, True),
        ("**/*a*b*c*.wav", "/" + "ab" * 500, True),
    ],
)
def test_no_text_makes_a_glob_slow(pattern, text, path):
    """Keys and user agents are the attacker's: one that took a second each would hold the daemon up for good."""
    expression, began = glob([pattern], path=path), time.process_time()
    assert not expression.fullmatch(text)
    assert time.process_time() - began < 0.5
