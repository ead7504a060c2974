"""Inflation: all of what can be read of a gzip file comes out, never more than the limit, and damage is said."""

from __future__ import annotations

import gzip
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.logs.inflate import inflate

TEXT = b"".join(b'{"n": %d, "square": %d}\n' % (n, n * n) for n in range(5000))
PACKED = gzip.compress(TEXT)


def test_plain_content_is_returned_as_it_is():
    """What does not begin with gzip's magic is not touched."""
    assert inflate(b'{"Records": []}') == (b'{"Records": []}', "")


def test_members_of_a_concatenated_file_are_all_read():
    """`cat a.gz b.gz` is one file with the content of both; zero padding at the end is no damage."""
    assert inflate(PACKED + gzip.compress(b"more") + b"\0" * 512) == (TEXT + b"more", "")


def test_many_small_members_take_time_in_proportion_to_their_bytes():
    """Twice the members is not four times the work: what follows a member is not copied for each."""
    member = gzip.compress(TEXT[:2000])
    started = time.process_time()
    assert inflate(member * 20_000) == (TEXT[:2000] * 20_000, "")
    assert time.process_time() - started < 20


@pytest.mark.parametrize("cut", [2, 9, 12, 400, len(PACKED) - 9, len(PACKED) - 8, len(PACKED) - 1])
def test_a_truncated_file_gives_what_came_before_the_cut(cut):
    """The good part is a prefix of the content, and the problem is said."""
    found = inflate(PACKED[:cut])
    assert TEXT.startswith(found.data)
    assert "ends before" in found.problem
    assert cut < len(PACKED) - 9 or found.data == TEXT


def test_nothing_before_a_damaged_place_is_lost():
    """A block that cannot be a block: every byte before it comes out, and the damage is said."""
    head, _, tail = PACKED.partition(PACKED[4000:4010])
    good = inflate(head).data
    found = inflate(head + b"\xff" * 20 + tail)
    assert len(good) > 1000
    assert found.data.startswith(good[:-300])
    assert found.problem.startswith("broken gzip")


def test_a_wrong_checksum_costs_at_most_the_last_byte():
    """The content of a member whose checksum is wrong is kept, and the damage is said."""
    wrong = bytearray(PACKED)
    wrong[-6] ^= 1
    found = inflate(bytes(wrong))
    assert found.data in {TEXT, TEXT[:-1]}
    assert found.problem.startswith("broken gzip")


def test_bytes_after_the_end_are_reported():
    """What is no gzip after the last member is not content."""
    assert inflate(PACKED + b"garbage") == (TEXT, "broken gzip: 7 bytes after the end that are no gzip")


@pytest.mark.parametrize(("limit", "whole"), [(len(TEXT) - 1, False), (len(TEXT), True), (len(TEXT) + 1, True)])
def test_no_more_than_the_limit_is_inflated(limit, whole):
    """The limit is exact: content of just that size is whole; of a byte more nothing is read, and that is said."""
    found = inflate(PACKED, limit)
    assert found.data == (TEXT if whole else b"")
    assert (not found.problem) is whole


def test_the_limit_holds_over_all_members():
    """A bomb in several members is one bomb."""
    found = inflate(gzip.compress(b"\0" * 1_000_000) * 50, 3_000_000)
    assert found.data == b""
    assert "more than limits.inflated, 3,000,000 bytes" in found.problem


@given(st.binary(max_size=300), st.integers(0, len(PACKED)), st.integers(0, 40))
def test_damage_of_any_kind_is_no_crash(junk, at, lost):
    """Whatever is put in or taken out, inflation ends with content within the limit."""
    assert len(inflate(PACKED[:at] + junk + PACKED[at + lost :], 200_000).data) <= 200_000
