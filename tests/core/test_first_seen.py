"""First-seen rules: values that were never near the threshold."""

from detector.core.engine import Engine
from detector.core.rule import FirstSeen
from detector.core.view import BatchView
from detector.watches import watches
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
