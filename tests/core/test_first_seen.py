"""First-seen rules: values that were never near the threshold, many groups at once."""

import random

import pytest

from detector.core import first_seen
from detector.core.engine import Engine
from detector.core.first_seen import FirstSeenWatch
from detector.core.rule import FirstSeen
from detector.core.view import BatchView
from detector.watches import watches
from tests.kinds import Fact, replayed, shown
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


@pytest.mark.parametrize("threshold", [1, 2])
@pytest.mark.parametrize("seed", range(4))
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
