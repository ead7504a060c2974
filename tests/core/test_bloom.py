"""A filter of ids: it forgets none, and knows few others."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.core.bloom import FULL, Bloom
from detector.core.table import SPREAD

INVERSE = pow(int(SPREAD), -1, 1 << 64)
ids_ = st.lists(st.integers(0, (1 << 64) - 1), max_size=40).map(lambda ids: np.array(sorted(ids), np.uint64))


@given(batches=st.lists(ids_, max_size=4), words=st.sampled_from([1, 2, 64]))
def test_what_was_put_in_may_be_there(batches, words):
    """All of it, whatever came after; and in an empty filter there is nothing."""
    bloom = Bloom(words)
    for ids in batches:
        assert not Bloom(words).may_hold(ids).any()
        bloom.add(ids)
    assert all(bloom.may_hold(ids).all() for ids in batches)
    assert bloom.added == sum(map(len, batches))
    again = Bloom.restore(bloom.snapshot())
    assert (len(again), again.snapshot()) == (words, bloom.snapshot())
    again.add(np.array([1 << 63], np.uint64))
    assert again.may_hold(np.concatenate([*batches, [np.uint64(1 << 63)]])).all()


def test_an_empty_filter_knows_nobody():
    """Not even ids of which every bit is the same one; nor does one that was emptied."""
    alike = np.sort(np.arange(1000, dtype=np.uint64) * np.uint64(INVERSE))
    bloom = Bloom(64)
    assert not bloom.may_hold(alike).any()
    bloom.add(alike)
    bloom.clear(0, (1 << 64) - 1)
    assert not bloom.may_hold(alike).any()


def test_a_filter_knows_few_others():
    """But all of its own. Where it is full about one of a hundred others seems to be there, half as full hardly any."""
    rng = np.random.default_rng(7)
    others = rng.integers(0, 1 << 64, 100_000, np.uint64)
    for number, most in ((1024 * FULL, 0.0115), (1024 * FULL // 2, 0.002)):
        bloom = Bloom(1024)
        ids = np.sort(rng.integers(0, 1 << 64, number, np.uint64))
        bloom.add(ids)
        assert bloom.may_hold(ids).all()
        assert bloom.may_hold(others).mean() < most


def test_every_bit_of_a_word_is_used():
    """So many ids in one word that each bit is set."""
    bloom = Bloom(1)
    bloom.add(np.arange(5000, dtype=np.uint64))
    assert bloom.may_hold(np.arange(5000, 9000, dtype=np.uint64)).all()


def test_a_filter_is_full_past_five_ids_a_word():
    """It says so, and how large it is."""
    bloom = Bloom(4)
    bloom.add(np.arange(20, dtype=np.uint64))
    assert (bloom.full, len(bloom), bloom.nbytes) == (False, 4, 32)
    bloom.add(np.array([], np.uint64))
    assert not bloom.full
    bloom.add(np.array([99], np.uint64))
    assert bloom.full


def test_words_in_a_range_are_emptied_and_no_others():
    """Both bounds included; what lies before and behind stays."""
    ids = np.arange(16, dtype=np.uint64) << np.uint64(60)
    bloom = Bloom(16)
    bloom.add(ids)
    bloom.clear(3 << 60, (8 << 60) - 1)
    assert bloom.may_hold(ids).tolist() == [not 3 <= n < 8 for n in range(16)]
