"""Laws of `RoleDetector`: one role's channels, and the score they make."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river.base import AnomalyDetector
from river.stats import EWMean

from detector.model.channels import CHANNELS, FAMILY_OF
from detector.model.detector import RoleDetector
from detector.model.levels import Levels
from detector.model.score import ALPHA, CLIP, NAMES, NOISE, SHARES, WIDTH, Level
from detector.model.tail import Shipped

PANES = st.lists(st.fixed_dictionaries({name: st.integers(0, 10**6) for name in NAMES[:4]}), min_size=1, max_size=30)


def taught(panes, **parameters):
    detector = RoleDetector(**parameters)
    for pane in panes:
        detector.learn_one(pane)
    return detector


def logs(pane):
    return [math.log1p(pane.get(name, 0)) for name in NAMES]


def test_it_is_a_river_detector():
    """Learns and scores dicts of features, and knows itself by River's word for it."""
    detector = taught([{"reads_5m": 3}] * 300, rarity=Shipped())
    assert isinstance(detector, AnomalyDetector)
    assert detector.learn_one({"reads_5m": 5, "no_such_feature": 1}) is None
    assert detector.score_one({"reads_5m": 5}) == 0.0
    assert detector.score_one({"reads_5m": 50_000}) > 1.0


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


@given(PANES, PANES)
def test_a_loaded_state_scores_and_learns_exactly_like_the_original(before, after):
    """state() is everything: plain numbers."""
    original = taught(before, rarity=Shipped())
    copy = RoleDetector(rarity=Shipped())
    copy.load(original.state())
    for pane in after:
        assert copy.score_one(pane) == original.score_one(pane)
        original.learn_one(pane)
        copy.learn_one(pane)
    assert copy.state() == original.state()


@given(PANES, st.integers(0, 10**12))
def test_one_pane_moves_a_level_by_no_more_than_the_clip(before, theft):
    """The largest theft teaches no more than a pane at mean + clip * scale."""
    detector = taught(before)
    mean, scale = detector.levels()[0]
    own = detector.own()[0][0]
    detector.learn_one({**before[-1], NAMES[0]: theft})
    weight = ALPHA / (1 - (1 - ALPHA) ** (len(before) + 1))
    assert detector.own()[0][0] <= own + weight * (max(0.0, mean + CLIP * scale - own)) + 1e-9


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_channel_seen_late_is_what_it_were_had_it_been_fed_zeros(silent, loud):
    """Nothing is kept of channels that were never seen, and nothing is lost thereby."""
    sparse = taught([{NAMES[0]: 3}] * silent + [{NAMES[0]: 3, NAMES[2]: 9}] * loud)
    mean, variance, _ = sparse.own()
    scale, level, square, weight = 0.0, 0.0, 0.0, 0.0
    clipped = RoleDetector()
    for number in range(silent + loud):
        usual, scale = clipped.levels()[2]
        x = min(0.0 if number < silent else math.log1p(9), usual + CLIP * scale)
        weight = weight * (1 - ALPHA) + ALPHA
        level, square = level * (1 - ALPHA) + ALPHA * x, square * (1 - ALPHA) + ALPHA * x * x
        clipped.learn_one({NAMES[0]: 3, NAMES[2]: 0 if number < silent else 9})
    assert mean[2] == pytest.approx(level / weight)
    assert variance[2] == pytest.approx(max(0.0, square / weight - (level / weight) ** 2), abs=1e-12)


def test_a_young_role_is_measured_by_its_peers():
    """A newcomer's first pane is far from the peers' level; with a past of its own it is its own."""
    peers = Level([math.log1p(100)] * WIDTH, [0.1] * WIDTH)
    newcomer = RoleDetector(peers)
    assert newcomer.scales(logs({NAMES[0]: 100}))[0] == 0.0
    assert newcomer.scales(logs({NAMES[0]: 10_000}))[0] == pytest.approx(
        math.log(10_001 / 101) / math.sqrt(0.1 + NOISE)
    )
    old = taught([{NAMES[0]: 10_000}] * 2000, peers=peers)
    assert old.scales(logs({NAMES[0]: 10_000}))[0] < 2.0


def test_less_than_usual_is_no_anomaly():
    """Only an excess counts: reading less is no theft."""
    detector = taught([{NAMES[0]: 1000}] * 50, rarity=Shipped())
    assert detector.score_one({NAMES[0]: 1}) == 0.0


def test_only_the_best_channel_of_a_family_counts_and_the_best_three_families():
    """Ten ways to say "many new keys" are one piece of evidence."""
    detector = RoleDetector(rarity=Shipped())
    one = [0.0] * WIDTH
    one[0] = 10.0
    same = [10.0 if FAMILY_OF[c] == FAMILY_OF[0] else 0.0 for c in range(WIDTH)]
    every = [10.0] * WIDTH
    nothing = [0.0] * WIDTH
    decades = Shipped().decades(0, 10.0)
    assert detector.judge(nothing, one).score == pytest.approx(SHARES[0] * decades)
    assert detector.judge(nothing, same).score == detector.judge(nothing, one).score
    assert detector.judge(nothing, every).score == pytest.approx(sum(SHARES) * decades)


def test_channels_have_names_of_their_own():
    """A feature stands for one channel."""
    assert len(set(NAMES)) == len(CHANNELS) == WIDTH


@given(st.lists(PANES, min_size=1, max_size=4), st.lists(st.floats(0, 8), min_size=WIDTH, max_size=WIDTH))
def test_arrays_of_all_roles_learn_what_each_roles_detector_learns(roles, peers):
    """`Levels` is `RoleDetector` for all roles at once: levels, scales and state agree to the last bit."""
    level = Level(peers, [one / 10 for one in peers])
    arrays, detectors = Levels(), [RoleDetector(level) for _ in roles]
    for slot in range(len(roles)):
        arrays.lean(slot, level)
    for turn in range(max(map(len, roles))):
        active = [slot for slot, panes in enumerate(roles) if turn < len(panes)]
        slots, x = np.array(active), np.array([logs(roles[slot][turn]) for slot in active])
        mean, scale = arrays.usual(slots)
        for at, slot in enumerate(active):
            assert detectors[slot].levels() == list(zip(mean[at].tolist(), scale[at].tolist(), strict=True))
            detectors[slot].learn(x[at].tolist())
        arrays.learn(slots, x, mean, scale)
    again = Levels()
    for slot, detector in enumerate(detectors):
        assert arrays.state(slot) == detector.state()
        again.load(slot, arrays.state(slot))
        assert again.state(slot) == detector.state()
