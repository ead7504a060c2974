"""First-seen rules: since when a group is known, values that were never near the threshold, many groups at once."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core import first_seen
from detector.core.access import Log
from detector.core.engine import Engine
from detector.core.first_seen import FirstSeenWatch
from detector.core.people import People
from detector.core.rule import FirstSeen
from detector.core.view import BatchView
from detector.core.watermark import Watermark
from detector.watches import watches
from tests.kinds import NOW, Fact, replayed, shown
from tests.kinds import batch as batch_of
from tests.streams import Event, batch

T0 = 1_777_626_000
DAY = 86_400


def test_a_value_that_was_never_near_the_threshold_is_looked_at_again_without_harm():
    """Its key is not kept; when others have raised the bound of its place, it is looked at, and has not crossed."""
    rule = FirstSeen.model_validate(
        {
            "id": "fan-in", "title": "t", "severity": "high", "kind": "first_seen", "group_by": ("account",),
            "what": "source_net", "new_within": "24h", "measure": "roles", "window": "5m", "threshold": 8,
        }
    )  # fmt: skip
    engine = Engine([rule], watches())
    events = batch([Event(T0, "first"), Event(T0 + 8 * DAY, "quiet", address="11.1.1.1")])
    engine.process(events, T0)
    watch = engine._watches[0]
    quiet = int(BatchView(events).groups(rule.pairs)[0][1])
    assert not watch.is_named(quiet)
    assert len(watch.counted(quiet, 0, T0 + 9 * DAY)[0]) == 0
    assert engine.finish() == []
    assert engine.failures == {}


CROWDED = {
    "id": "new", "title": "t", "severity": "high", "kind": "first_seen", "group_by": "bucket", "what": "role",
    "learn": "2d", "forget": "3d", "window": "100s",
}  # fmt: skip


def crowd(seed):
    """Of 60 buckets what five roles did within nine days, in any order: most of it is nothing new."""
    chance = random.Random(seed)
    return [
        Fact(
            T0 + chance.randrange(9) * DAY + chance.choice((0, 99, 100, 5000)), role=role, bucket=f"b{number}", key=key
        )
        for number in range(60)
        for role in chance.choices(["R0", "R1", "R2", "R3", "R4"], k=6)
        for day in (T0 // DAY + chance.randrange(9),)
        for key in "ab"
    ]


@pytest.mark.parametrize(("seed", "threshold"), [(0, 1), (1, 2)])
def test_what_many_groups_did_is_judged_as_that_of_one(monkeypatch, seed, threshold):
    """Sifted all together, or each looked at closely: the same findings; and most need no close look."""
    rule, facts = FirstSeen.model_validate(CROWDED | {"threshold": threshold}), list(dict.fromkeys(crowd(seed)))
    looks, found = [], []
    close = FirstSeenWatch.crossing
    monkeypatch.setattr(FirstSeenWatch, "crossing", lambda *what: looks.append(what) or close(*what))
    for few in (0, len(facts)):
        monkeypatch.setattr(first_seen, "FEW", few)
        looks.clear()
        engine, closed = replayed(rule, [facts[::2], facts[1::2]])
        assert engine.failures == {}
        found.append((len(looks), shown(closed)))
    (sifted, after), (every, before) = found
    assert after == before
    assert after
    assert sifted * 2 < every


def test_many_groups_at_midnight(monkeypatch):
    """What was new just before counts, though it was judged already and lies in the bucket and the day before."""
    rule = FirstSeen.model_validate(CROWDED | {"threshold": 2})
    monkeypatch.setattr(first_seen, "FEW", 0)
    engine, midnight = Engine([rule], watches()), T0 // DAY * DAY + 6 * DAY
    told = []
    for second, role in ((midnight - 3 * DAY, "R0"), (midnight - 1, "R1"), (midnight + 98, "R2")):
        engine.process(batch_of([Fact(second, role=role, bucket=f"b{number}") for number in range(20)]), T0)
        told += engine.judge()
    assert engine.failures == {}
    assert [(f.state, f.opened_at, f.peak_value) for f in told] == [("opened", midnight + 98, 2)] * 20


@pytest.mark.parametrize("seed", range(2))
def test_what_is_new_to_many_groups_at_once_is_what_is_new_to_each(seed):
    """In a bucket and the one before, wherever these lie in time; none of the groups is ever long without a record."""
    rule = FirstSeen.model_validate(CROWDED)
    often = [Fact(T0 + day * DAY, role="Often", bucket=f"b{n}") for n in range(60) for day in range(0, 9, 3)]
    engine = Engine([rule], watches())
    engine.process(batch_of(dict.fromkeys([*crowd(seed), *often])), T0)
    [watch] = engine._watches
    chance, window = random.Random(seed), rule.window
    group, second, *_ = watch._counted.tallies.whole()
    crossed = zip(group.tolist(), (second // window).tolist(), strict=True)
    asked = {(group, bucket + more) for group, bucket in crossed for more in (0, 1)}
    by_time = sorted(asked, key=lambda one: one[1])
    for some in (asked, chance.sample(by_time, 40), by_time[:1], by_time[-1:]):
        groups, buckets = zip(*sorted(some), strict=True)
        each = [len(watch.counted(g, (b - 1) * window, (b + 1) * window - 1)[0]) for g, b in sorted(some)]
        assert watch._new(np.array(groups, np.uint64), np.array(buckets)).tolist() == each


seconds_ = st.builds(
    lambda day, at: (T0 // DAY + day) * DAY + at, st.integers(0, 12), st.sampled_from([0, 99, 100, 200])
)


@settings(max_examples=50)
@given(st.lists(seconds_, min_size=1, max_size=8), st.sampled_from([DAY + 100, 3 * DAY, 100]))
def test_a_group_is_known_since_it_was_last_seen_after_days_without(seconds, learn):
    """Longer without a record than `forget` it is new itself. What came after a second changes nothing of it."""
    rule = FirstSeen.model_validate(CROWDED | {"learn": f"{learn}s"})
    watch = FirstSeenWatch(rule, People(), gather=False, once=True)
    watch._groups.meet(np.full(len(seconds), 7, np.uint64), np.array(seconds), watch=False)
    expected = []
    for second in seconds:
        since = second
        for earlier in sorted({one for one in seconds if one < second}, reverse=True):
            if since // DAY - earlier // DAY > rule.forget // DAY:
                break
            since = earlier
        expected.append(second - since >= learn)
    assert watch._learnt(7, np.array(seconds)).tolist() == expected
    assert watch._learnt(8, np.array(seconds)).tolist() == [False] * len(seconds)


def test_what_a_group_learnt_earlier_counts_for_a_window_after_it():
    """Known a second longer than it seemed: what was new in that second counts again, for a window."""
    learn, window = DAY + 99, 100
    rule = FirstSeen.model_validate(CROWDED | {"learn": f"{learn}s", "window": f"{window}s", "threshold": 2})
    engine = Engine([rule], watches(), watermark=Watermark(dict.fromkeys(Log, 9 * DAY)))
    since = T0 // window * window + 99
    first, last = since + learn - 1, since + learn - 1 + window - 1
    told = []
    for facts in ([Fact(since), Fact(first, role="A"), Fact(last, role="B")], [Fact(since - 1)]):
        engine.process(batch_of(facts), T0)
        told.append([(f.state, f.opened_at, f.peak_value) for f in engine.judge()])
    assert told == [[], [("opened", last, 2)]]


@pytest.mark.parametrize("order", [1, -1])
def test_what_was_new_twice_in_one_poll_is_told_by_name_both_times(order):
    """The value's name is kept for as long as the later finding is open."""
    rule = FirstSeen.model_validate(CROWDED | {"learn": "1d", "forget": "1d"})
    engine = Engine([rule], watches(), watermark=Watermark(dict.fromkeys(Log, 0)), horizon=3600)
    known = [Fact(T0 + day * DAY) for day in range(6)]
    told = []
    for facts in (
        [*known, Fact(T0 + 2 * DAY, role="Back"), Fact(T0 + 5 * DAY, role="Back")][::order],
        [Fact(T0 + 6 * DAY)],
    ):
        engine.process(batch_of(facts), NOW)
        told += engine.judge() + engine.advance(NOW, backlog=False)
    assert engine.failures == {}
    closed = [(f.opened_at, f.details["first_seen"]["new"]) for f in told if f.state == "closed"]
    assert closed == [(T0 + day * DAY, ["arn:aws:iam::111122223333:role/Back"]) for day in (2, 5)]
