"""Laws of `Tail`, the calibration that needs no labels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.model.calibration import KEEP, REACH, STEP, Tail

MAXIMA = st.lists(st.floats(0, 100), min_size=20, max_size=80)


def fed(maxima, **parameters):
    tail = Tail(**parameters)
    for maximum in maxima:
        tail.add(maximum)
    return tail


def test_it_is_silent_until_it_has_seen_enough_role_days():
    """A cold start never pages, whatever it sees."""
    tail = fed([4.0] * 19, quiet_until=20)
    assert tail.quiet
    assert tail.decades(1e9) == 0.0
    tail.add(4.0)
    assert tail.decades(1e9) > 3


@given(MAXIMA, st.lists(st.floats(0, 200), min_size=2, max_size=20))
def test_a_larger_score_is_never_less_rare(maxima, scores):
    """Monotone over all of its pieces: below the data, within, beyond."""
    tail = fed(maxima, keep=30)
    rarities = [tail.decades(z) for z in sorted(scores)]
    assert rarities == sorted(rarities)
    assert rarities[0] >= 0


@given(MAXIMA)
def test_no_claim_goes_further_beyond_the_data_than_its_reach(maxima):
    """n role-days support -log10(.5 / (n + 1)) decades, and at most 2.5 more are extrapolated."""
    assert fed(maxima).decades(1e12) == pytest.approx(-math.log10(0.5 / (len(maxima) + 1)) + REACH)


def test_it_reads_as_one_role_day_in_ten_to_the_p():
    """Of fresh role-days of the same kind, one in a hundred passes 2 decades, one in a thousand 3."""
    draw = np.random.default_rng(7)
    tail = fed(3 + draw.exponential(0.8, 3000))
    fresh = np.array([tail.decades(z) for z in 3 + draw.exponential(0.8, 20_000)])
    assert (fresh >= 2).mean() == pytest.approx(1e-2, rel=0.3)
    assert (fresh >= 3).mean() == pytest.approx(1e-3, rel=0.7)


def test_calm_days_make_no_small_step_rare():
    """Where every role-day stayed far below the floor, what is below the floor is ordinary."""
    tail = fed([0.1] * 5000)
    assert tail.decades(2.9) == 0
    assert tail.decades(6.0) > 3


def test_one_theft_does_not_hide_the_next_of_its_size():
    """One role-day pushes the edge of the data by half a decade at most."""
    tail = fed(3 + np.random.default_rng(1).exponential(0.5, 200))
    before = tail.decades(40.0)
    tail.add(40.0)
    assert tail.decades(40.0) > before - STEP
    assert tail.decades(40.0) > 4


def test_memory_is_bounded_and_rarity_stays_true_past_it():
    """Only the largest maxima are kept; all role-days count."""
    draw = 3 + np.random.default_rng(2).exponential(1.0, 20_000)
    tail = fed(draw)
    days, top = tail.state()
    assert days == 20_000
    assert len(top) == KEEP
    assert tail.decades(np.quantile(draw, 0.99)) == pytest.approx(2, abs=0.05)
    assert tail.decades(3.1) < 0.8


@given(MAXIMA, MAXIMA, st.floats(0, 200))
def test_a_loaded_state_goes_on_exactly(before, after, z):
    """Count and maxima are the whole state."""
    original = fed(before)
    copy = Tail()
    copy.load(original.state())
    for maximum in after:
        assert copy.decades(z) == original.decades(z)
        original.add(maximum)
        copy.add(maximum)
    assert copy.state() == original.state()
