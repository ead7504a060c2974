"""Laws of `Baseline`, the online model of one rule, on organisations simulated with fixed seeds."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river.base import AnomalyDetector

from detector.errors import StateError
from detector.model import codec
from detector.model.baseline import MAGIC, VERSION, Baseline
from detector.model.judgement import Judgement

START = 1_777_593_600  # Friday 1 May 2026
PANE, DAY = 300, 86_400
PER_DAY = DAY // PANE


def features(value):
    return {"requests": value * 2.0, "objects": float(value), "bytes": value * 1e5}


def organisation(seed, roles=40, days=10):
    """Objects read, [role, pane]: rates over three decades, noise, a daily swing, quiet weekends, half office hours."""
    draw = np.random.default_rng(seed)
    pane = np.arange(days * PER_DAY)
    hour, weekend = pane % PER_DAY / 12, (pane // PER_DAY + 4) % 7 >= 5
    rate = np.exp(
        draw.normal(3, 1.5, (roles, 1)) + draw.uniform(0.3, 1.2, (roles, 1)) * np.sin((hour - 9) / 12 * np.pi)
    )
    office = (draw.random((roles, 1)) < 0.5) & ((hour < 8) | (hour >= 18) | weekend)
    rate = np.where(office, 0, rate) * np.where(weekend, 0.4, 1) * draw.gamma(4, 0.25, (roles, len(pane)))
    return draw.poisson(rate)


def run(baseline, objects, start=START):
    """Every active pane in (pane, role) order."""
    return [
        baseline.observe(start + PANE * int(p), f"role-{r:02}", features(int(objects[r, p])))
        for p in range(objects.shape[1])
        for r in np.nonzero(objects[:, p])[0]
    ]


def steady(baseline, days, roles=40, value=20, start=START):
    """Panes of an hour a day, each role at a rate a little of its own."""
    for day in range(days):
        for p in range(12):
            for r in range(roles):
                baseline.observe(start + day * DAY + p * PANE, f"role-{r:02}", features(value + (r + p) % 5))
    return start + days * DAY


@pytest.fixture(scope="module")
def calm_organisation():
    return organisation(seed=4)


@pytest.mark.parametrize("thief", [0, 13, 26, 39])
def test_a_burst_of_fifty_times_the_usual_passes_three_decades(calm_organisation, thief):
    """15 minutes at 50 times a role's median, on the Thursday after six days, by any of forty roles."""
    objects = calm_organisation[:, : 7 * PER_DAY].copy()
    at = 6 * PER_DAY + 11 * 12
    objects[thief, at : at + 3] = 50 * max(1, np.median(objects[thief][objects[thief] > 0]))
    judged = run(Baseline("objects", 3.0, 3600), objects)
    caught = [j for j in judged if j.crossing and j.role == f"role-{thief:02}" and j.pane >= START + at * PANE]
    assert len(caught) == 1
    assert caught[0].pane == START + at * PANE
    assert caught[0].score > 3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rhythm_and_newcomers_of_an_honest_organisation_stay_quiet(seed):
    """400 role-days without a theft, asked for one alert in 1,000: two pages at most, whatever the day and week do."""
    objects = organisation(seed)
    objects[30:, : 5 * PER_DAY] = 0  # ten roles start on the sixth day
    judged = run(Baseline("objects", 3.0, 3600), objects)
    assert sum(j.crossing for j in judged) <= 2
    assert not any(j.crossing for j in judged if j.pane < START + DAY)


def test_a_newcomer_does_not_page_during_its_warm_up():
    """A role nobody knows, at a thousand times everybody's rate, is learned for an hour before it can page."""
    baseline = Baseline("objects", 3.0, 3600, warmup_panes=12)
    now = steady(baseline, days=5)
    judged = [baseline.observe(now + PANE * p, "newcomer", features(20_000)) for p in range(12)]
    assert all(j.learning and not j.above and j.score == 0 for j in judged)
    assert not baseline.observe(now + PANE * 12, "newcomer", features(20_000)).learning


def test_an_organisation_seen_for_the_first_time_does_not_page():
    """Nothing crosses before the tail has its role-days, whatever happens."""
    baseline = Baseline("objects", 0.1, 0, quiet_until=50, warmup_panes=0)
    now = steady(baseline, days=1)  # 40 role-days
    judgement = baseline.observe(now, "role-00", features(10**9))
    assert judgement.learning
    assert not judgement.crossing


def test_a_cooldown_merges_the_panes_of_one_role_into_one_alert():
    r"""Panes above, at most a cooldown apart, are one episode; 24 hours cut it; other roles have their own.

    above     x x x . . x . . . . . x
    crossing  x . . . . . . . . . . x      cooldown: three panes
    """
    baseline = Baseline("objects", 3.0, 3 * PANE)
    now = steady(baseline, days=10)
    seen = {p: baseline.observe(now + PANE * p, "role-00", features(50_000)) for p in (0, 1, 2, 5)}
    other = baseline.observe(now + PANE * 5, "role-01", features(50_000))
    later = baseline.observe(now + PANE * 11, "role-00", features(500_000))
    assert all(j.above for j in [*seen.values(), other, later])
    assert [p for p, j in seen.items() if j.crossing] == [0]
    assert other.crossing
    assert later.crossing


def test_an_episode_is_cut_a_day_after_it_opened():
    """A theft that never pauses alerts again every 24 hours."""
    baseline = Baseline("objects", 3.0, 2 * DAY - 1, alpha=0.0001)
    now = steady(baseline, days=10)
    crossed = [baseline.observe(now + 3600 * h, "role-00", features(10**7)).crossing for h in range(48)]
    assert [h for h, c in enumerate(crossed) if c] == [0]
    daily = Baseline("objects", 3.0, 3600, alpha=0.0001)
    now = steady(daily, days=10)
    crossed = [daily.observe(now + 3600 * h, "role-00", features(10**7)).crossing for h in range(48)]
    assert [h for h, c in enumerate(crossed) if c] == [0, 24]


def test_a_pane_is_scored_before_it_is_learned():
    """What a pane holds never takes part in what is expected of it."""
    first, second = Baseline("objects", 3.0, 3600), Baseline("objects", 3.0, 3600)
    now = steady(first, days=3)
    steady(second, days=3)
    one, two = first.observe(now, "role-00", features(30)), second.observe(now, "role-00", features(30_000))
    assert one.expected == two.expected
    assert one.expected == pytest.approx(22, rel=0.1)


def test_a_pane_out_of_order_or_judged_twice_is_refused():
    """Sealed panes come once, in (pane, role) order: anything else would make the answer depend on arrival."""
    baseline = Baseline("objects", 3.0, 3600)
    baseline.observe(START, "b", features(1))
    for pane, role in ((START, "b"), (START, "a"), (START - PANE, "z")):
        with pytest.raises(ValueError, match="in order"):
            baseline.observe(pane, role, features(1))
    baseline.observe(START, "c", features(1))


def test_the_same_panes_give_the_same_judgements_and_the_same_bytes(calm_organisation):
    """No clock, no hash order, no randomness."""
    first, second = Baseline("objects", 3.0, 3600), Baseline("objects", 3.0, 3600)
    panes = calm_organisation[:10, : 3 * PER_DAY]
    assert run(first, panes) == run(second, panes)
    assert first.snapshot() == second.snapshot()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcde"), st.integers(0, 10**5)), min_size=2, max_size=120),
    st.data(),
)
def test_a_restart_at_any_cut_changes_nothing(panes, data):
    """Snapshot, restore into a new process, go on: judgements and final state are the same to the last bit."""
    ordered = sorted({(START + slot * DAY // 8, role): value for slot, role, value in panes}.items())
    cut = data.draw(st.integers(0, len(ordered)))

    def new():
        return Baseline("objects", 0.5, 3600, warmup_panes=2, quiet_until=4)

    through, stopped = new(), new()
    for (pane, role), value in ordered[:cut]:
        assert through.observe(pane, role, features(value)) == stopped.observe(pane, role, features(value))
    resumed = new()
    resumed.restore(stopped.snapshot())
    for (pane, role), value in ordered[cut:]:
        assert resumed.observe(pane, role, features(value)) == through.observe(pane, role, features(value))
    assert resumed.snapshot() == through.snapshot()


def test_roles_unseen_for_28_days_are_forgotten():
    """Memory is bounded by the roles of the last 28 days of event time."""
    baseline = Baseline("objects", 3.0, 3600)
    for day in range(100):
        for n in range(20):
            baseline.observe(START + day * DAY, f"batch-{day:03}-{n:02}", features(5))
    assert len(baseline) == 29 * 20
    assert len(baseline.snapshot()) < 29 * 20 * 100


@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "version", "other", "body", "measure", "alpha"])
def test_damaged_or_foreign_state_is_refused_and_changes_nothing(damage):
    """A StateError that says what to do, and the model as it was before."""
    donor = Baseline("objects", 3.0, 3600)
    steady(donor, days=2)
    whole = donor.snapshot()
    bad = {
        "empty": b"",
        "cut": whole[:-3],
        "bit": whole[:200] + bytes([whole[200] ^ 4]) + whole[201:],
        "version": codec.seal(MAGIC, VERSION + 1, whole[14:]),
        "other": b"\x80\x04" + whole,
        "body": codec.seal(MAGIC, VERSION, msgspec.msgpack.encode(["objects", 1])),
        "measure": Baseline("bytes", 3.0, 3600).snapshot(),
        "alpha": Baseline("objects", 3.0, 3600, alpha=0.5).snapshot(),
    }[damage]
    baseline = Baseline("objects", 3.0, 3600)
    steady(baseline, days=1)
    before = baseline.snapshot()
    with pytest.raises(StateError) as refusal:
        baseline.restore(bad)
    assert "replay" in refusal.value.remedy
    assert baseline.snapshot() == before


class Loudness(AnomalyDetector):
    """A stand-in for any detector of River's."""

    def learn_one(self, x):
        pass

    def score_one(self, x):
        return x["objects"] / 1000


def test_any_detector_of_river_can_take_the_place_of_ours_but_is_not_saved():
    """Its score goes through the same tail and cooldown; a state it cannot write is a clear refusal, not a pickle."""
    baseline = Baseline("objects", 3.0, 3600, calm=0.0, make=Loudness)
    now = steady(baseline, days=10)
    judgement = baseline.observe(now, "role-00", features(5000))
    assert judgement.crossing
    assert judgement.z == 5.0
    assert judgement.expected is None
    with pytest.raises(StateError, match="Loudness cannot be saved"):
        baseline.snapshot()


def test_a_judgement_explains_itself():
    """Seen, usual, rarity, in a sentence for a person."""
    judgement = Judgement(START, "r", "objects", 3109.0, 4.2, 12.0, 3.02, above=True, crossing=True, learning=False)
    assert judgement.explain() == "read 3,109 objects in 5 min (usual 4); one role-day in 1,000 looks like this"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"measure": "requests", "score": 0.1}, "made 3,109 requests in 5 min (usual 4); an ordinary role-day"),
        ({"measure": "bytes", "expected": None}, "read 3,109 bytes in 5 min; one role-day in 1,000 looks like this"),
        ({"learning": True}, "read 3,109 objects in 5 min (usual 4); still learning what is usual"),
    ],
)
def test_a_judgement_says_no_more_than_it_knows(change, sentence):
    """No usual value where there is none, no rarity while learning."""
    base = {"measure": "objects", "expected": 4.2, "score": 3.02, "learning": False} | change
    assert Judgement(START, "r", seen=3109.0, z=12.0, above=False, crossing=False, **base).explain() == sentence
