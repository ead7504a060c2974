"""Laws of `Tail` and `Pooled`: rarity that needs no labels, in levels."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.model.score import WIDTH
from detector.model.tail import CALM, DAYS, KEEP, LEAN, REACH, Pooled, Shipped, Tail

MAXIMA = st.lists(st.floats(0, 100), min_size=1, max_size=80)


def fed(*days):
    tail = Tail()
    for number, maxima in enumerate(days):
        tail.add(number, np.repeat(np.array(maxima, np.float64)[:, None], WIDTH, axis=1))
    return tail


@given(MAXIMA, st.lists(st.floats(0, 200), min_size=2, max_size=20))
def test_a_larger_score_is_never_less_rare(maxima, scores):
    """Monotone over all of its pieces: below the data, within, beyond; alone and in levels."""
    tail = fed(maxima)
    for rarity in (tail, Pooled([tail]), Pooled([tail, fed([1.0, 50.0])])):
        decades = [rarity.decades(0, z) for z in sorted(scores)]
        assert all(one <= other + 1e-9 for one, other in pairwise(decades))
        assert decades[0] >= 0


@given(MAXIMA)
def test_no_claim_goes_further_beyond_the_data_than_its_reach(maxima):
    """n principal-days support -log10(.5 / (n + 1)) decades, and at most 2.5 more are extrapolated."""
    assert fed(maxima).decades(0, 1e12) == pytest.approx(-math.log10(0.5 / (len(maxima) + 1)) + REACH)


def test_it_reads_as_one_principal_day_in_ten_to_the_p():
    """Of fresh principal-days of the same kind, one in a hundred passes 2 decades, one in a thousand 3."""
    draw = np.random.default_rng(7)
    tail = fed(*(3 + draw.exponential(0.8, 300) for _ in range(10)))
    fresh = np.array([tail.decades(0, z) for z in 3 + draw.exponential(0.8, 20_000)])
    assert (fresh >= 2).mean() == pytest.approx(1e-2, rel=0.4)
    assert (fresh >= 3).mean() == pytest.approx(1e-3, rel=0.7)


def test_calm_days_make_no_small_step_rare():
    """Where every principal-day stayed far below the floor, what is below the floor is ordinary."""
    tail = fed([0.1] * 5000)
    assert tail.decades(0, CALM - 0.1) == 0
    assert tail.decades(0, 6.0) > 3


@given(MAXIMA, MAXIMA)
def test_a_loaded_state_says_the_same(one, other):
    """The state is plain numbers, and all there is."""
    tail = fed(one, other)
    again = Tail.load(tail.state())
    assert again.state() == tail.state()
    for z in (0.0, 3.0, 4.5, 20.0, 1e6):
        assert again.decades(0, z) == tail.decades(0, z)


def test_it_holds_28_days_and_the_largest_of_each():
    """Memory is bounded, and what was usual a month ago says nothing."""
    tail = fed(*([float(day)] * 100 for day in range(40)))
    assert tail.count == DAYS * 100
    assert sum(rows for *_, rows, _ in tail.state()) == DAYS * KEEP
    assert tail.decades(0, 11.9) == pytest.approx(math.log10((tail.count + 1) / (DAYS * KEEP + 0.5)) * 11.9 / 12)


def test_a_pool_that_knows_little_leans_on_the_one_above():
    """Nothing known: what is shipped. Much known: its own. In between, in between."""
    wide, little, much = fed([30.0] * 1000), fed([4.0]), fed([4.0] * int(LEAN) * 50)
    assert Pooled([]).decades(0, 9.0) == Shipped().decades(0, 9.0)
    alone = Pooled([wide]).decades(0, 25.0)
    assert Pooled([wide, little]).decades(0, 25.0) == pytest.approx(alone, abs=0.1)
    assert Pooled([wide, much]).decades(0, 25.0) == pytest.approx(much.decades(0, 25.0), rel=0.1)


def test_a_muted_channel_says_nothing():
    """Newcomers' new places are no news."""
    assert Pooled([], frozenset({3})).decades(3, 1e6) == 0.0
    assert Pooled([], frozenset({3})).decades(4, 1e6) > 0.0
