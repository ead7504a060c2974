"""Laws of `RateResidual`, the detector of one role."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river.base import AnomalyDetector
from river.stats import EWMean

from detector.model.detector import NOISE, RateResidual

COUNTS = st.lists(st.integers(0, 10**9), min_size=1, max_size=60)
PARAMETERS = [{}, {"measure": "bytes", "alpha": 0.3, "clip": 4.0, "prior": 5.0}, {"pool": RateResidual(alpha=0.001)}]


def pane(value):
    return {"requests": value * 2.0, "objects": float(value), "bytes": value * 1e5}


def taught(values, **parameters):
    detector = RateResidual(**parameters)
    for value in values:
        detector.learn_one(pane(value))
    return detector


@given(st.lists(st.floats(0, 1000), max_size=50), st.lists(st.floats(0, 1000), max_size=50), st.floats(0.001, 1))
def test_one_update_restores_an_ewmean_exactly(before, after, alpha):
    """River's EWMean takes its first value whole, so its state is the one number it returns."""
    original, copy = EWMean(alpha), EWMean(alpha)
    for value in [0.0, *before]:
        original.update(value)
    copy.update(original.get())
    for value in after:
        original.update(value)
        copy.update(value)
        assert copy.get() == original.get()


@given(COUNTS, COUNTS)
def test_a_loaded_state_scores_and_learns_exactly_like_the_original(before, after):
    """state() is everything: three plain numbers."""
    original = taught(before)
    copy = RateResidual()
    copy.load(original.state())
    for value in after:
        assert copy.score_one(pane(value)) == original.score_one(pane(value))
        original.learn_one(pane(value))
        copy.learn_one(pane(value))
    assert copy.state() == original.state()


@given(COUNTS, st.integers(0, 10**12))
def test_one_pane_moves_the_level_by_no_more_than_the_clip(before, theft):
    """The largest theft teaches no more than a pane at mean + clip * scale."""
    detector = taught(before)
    mean, scale = detector.level()
    weight = detector.alpha / (1 - (1 - detector.alpha) ** (len(before) + 1))
    detector.learn_one(pane(theft))
    assert detector.level()[0] <= mean + weight * detector.clip * scale + 1e-9


def test_a_ramp_runs_away_from_its_clipped_baseline():
    """A thief who doubles his rate every 10 minutes for two hours ends far above the usual: he cannot lead it along."""
    detector = taught([18, 22, 20, 25, 16] * 60)
    for step in range(24):
        ramp = pane(20 * 2 ** (step / 2))
        score = detector.score_one(ramp)
        detector.learn_one(ramp)
    assert score > 6
    assert detector.expected() < 20 * 4


def test_an_hour_of_theft_does_not_become_usual():
    """Fifty times the usual for twelve panes still stands out in the last of them."""
    detector = taught([18, 22, 20, 25, 16] * 60)
    for _ in range(12):
        score = detector.score_one(pane(1000))
        detector.learn_one(pane(1000))
    assert score > 4


@given(st.integers(0, 10**9))
def test_a_constant_stream_does_not_explode(value):
    """After a thousand equal panes the variance is its floor: one fifth more is less than one scale."""
    detector = taught([value] * 1000)
    assert detector.score_one(pane(value)) < 1e-5
    assert detector.score_one(pane(value * 1.2)) < 1.0
    assert detector.level()[1] == pytest.approx(math.sqrt(NOISE), rel=1e-6)


@given(COUNTS)
def test_reading_less_is_never_an_anomaly(values):
    """Only an excess scores."""
    assert taught(values).score_one(pane(min(values) - 1)) == 0.0


def test_a_young_role_is_judged_by_the_pool_and_an_old_one_by_itself():
    """m = (prior m_pool + n m_role) / (prior + n)."""
    pool = taught([10, 1000] * 500, measure="objects", alpha=0.0002, clip=5.0)
    newcomer = RateResidual(pool=pool)
    assert newcomer.expected() == pool.expected()
    assert newcomer.score_one(pane(5000)) < 2
    middle, old = taught([10] * 30, pool=pool), taught([10] * 3000, pool=pool)
    halfway = (pool.level()[0] + math.log1p(10)) / 2
    assert middle.level()[0] == pytest.approx(halfway)
    assert old.expected() == pytest.approx(10, rel=0.05)
    assert old.score_one(pane(5000)) > 10


def test_early_panes_weigh_alike():
    """The short history is corrected for: after three panes the level is about their mean, not the first of them."""
    detector = taught([10, 40, 20], clip=100.0)
    assert detector.level()[0] == pytest.approx((math.log1p(10) + math.log1p(40) + math.log1p(20)) / 3, rel=0.01)


@pytest.mark.parametrize("parameters", PARAMETERS)
class TestIsAnEstimatorOfRiver:
    """What `river.checks` asks of any estimator (importing that costs 7 s, so the checks are written out here)."""

    def test_it_is_an_anomaly_detector_with_a_name(self, parameters):
        detector = RateResidual(**parameters)
        assert isinstance(detector, AnomalyDetector)
        assert not detector._supervised
        assert str(detector) == "RateResidual"
        assert RateResidual.__doc__

    def test_a_clone_has_the_parameters_and_nothing_learned(self, parameters):
        original = taught([5, 6, 7], **parameters)
        clone = original.clone()
        assert repr(clone) == repr(original)
        assert clone.state() == (0, 0.0, 0.0)
        assert clone._get_params().keys() == original._get_params().keys()

    def test_a_clone_is_independent(self, parameters):
        original = RateResidual(**parameters)
        clone = original.clone()
        original.learn_one(pane(50))
        assert clone.state() == (0, 0.0, 0.0)

    def test_clone_applies_new_parameters(self, parameters):
        assert RateResidual(**parameters).clone({"alpha": 0.11}).alpha == 0.11

    def test_learn_one_returns_nothing_and_leaves_its_input(self, parameters):
        x = pane(7)
        assert RateResidual(**parameters).learn_one(x) is None
        assert x == pane(7)

    def test_score_one_changes_nothing(self, parameters):
        detector = taught([5, 6, 7], **parameters)
        x, state = pane(900), detector.state()
        assert detector.score_one(x) == detector.score_one(x)
        assert detector.state() == state
        assert x == pane(900)

    def test_a_fresh_one_scores(self, parameters):
        assert RateResidual(**parameters).score_one(pane(900)) == 0.0

    def test_order_and_absence_of_features_do_no_harm(self, parameters):
        detector = taught([5, 6, 7], **parameters)
        assert detector.score_one(dict(reversed(pane(900).items()))) == detector.score_one(pane(900))
        assert detector.score_one({"unknown": 1.0}) == 0.0
        detector.learn_one({})
