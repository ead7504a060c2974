"""A watch that counts, piece by piece: crossings, what is looked at again, whose it was, evidence that is kept."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.core.access import Log
from detector.core.engine import Engine
from detector.core.rule import Match, Threshold
from detector.core.watermark import Watermark
from detector.watches import watches
from tests.kinds import KIND, replayed, shown
from tests.kinds import batch as facts_of
from tests.streams import NOW, Event, batch, rule

T0 = 1_777_626_000
WINDOW, MANY = 10, 2


def counting(chosen, events, *, gather=False):
    """The watch of a rule that has counted these events."""
    engine = Engine([chosen], watches(gather=gather))
    engine.process(batch(events), NOW)
    (watch,) = engine._watches
    return watch


events_ = st.lists(
    st.builds(
        Event,
        st.integers(T0, T0 + 25),
        st.sampled_from(["a", "b"]),
        size=st.integers(0, 3),
        id=st.uuids().map(str),
        address=st.sampled_from([None, "11.0.0.1", "11.0.0.2", "11.0.0.3"]),
    ),
    max_size=14,
)


@example(events=[Event(T0 + 1), Event(T0 + 10)], measure="requests")
@example([Event(T0), Event(T0 + 10)], "requests")
@example([Event(T0 + 10, id=f"{one}", address=one) for one in (None, "11.0.0.1", "11.0.0.2")], "source_ips")
@given(events=events_, measure=st.sampled_from(["requests", "bytes", "source_ips"]))
def test_crossings_of_a_bucket_are_those_counted_by_hand(events, measure):
    """Second by second: every record in (t - window, t], each member once, no address being no member."""
    chosen = rule(measure, WINDOW, MANY)
    watch = counting(chosen, events)
    of = {
        "requests": len,
        "bytes": lambda some: sum(e.size for e in some),
        "source_ips": lambda some: len({e.address for e in some} - {None}),
    }[measure]
    for group in watch._counted.tallies.groups():
        mine = [e for e in events if watch.is_named(group) and watch.key(group)[0].endswith(f":{e.who}")]
        for bucket in range(T0 // WINDOW, T0 // WINDOW + 5) if mine else ():
            values = {
                t: of([e for e in mine if t - WINDOW < e.time <= t])
                for t in sorted({e.time for e in mine})
                if t // WINDOW == bucket
            }
            at, found = watch.crossing(group, bucket)
            assert dict(zip(at.tolist(), found.tolist(), strict=True)) == {t: v for t, v in values.items() if v >= MANY}


@example(events=[Event(T0, "a"), Event(T0, "b")], span=(T0, T0), one=True)
@given(events=events_, span=st.tuples(st.integers(T0 - 1, T0 + 26), st.integers(T0 - 1, T0 + 26)), one=st.booleans())
def test_what_is_looked_at_again_are_the_buckets_counted_in(events, span, one):
    """From the first second to the last, of all groups or of some; and those after them, whose values they are in."""
    watch = counting(rule("requests", WINDOW, 100), events)
    list(watch._candidates.taken())
    every = watch._counted.tallies.groups()
    among = np.array(sorted(every)[:1], np.uint64) if one else None
    wanted = set()
    for group in every if among is None else among.tolist():
        seconds, _, _ = watch.counted(group, *span)
        wanted |= {(group, second // WINDOW + after) for second in seconds.tolist() for after in (0, 1)}
    assert watch.consider_span(*span, among).tolist() == sorted({group for group, _ in wanted})
    pairs = [zip(groups.tolist(), buckets.tolist(), strict=True) for groups, buckets, *_ in watch._candidates.taken()]
    assert {pair for some in pairs for pair in some} == wanted


def test_a_group_is_warm_where_a_quarter_of_the_threshold_may_be_in_a_window():
    """From a second on: in its bucket or in the next, each with the one before it."""
    for many, threshold, warm in ((1, 8, []), (2, 8, [4, 5, 6]), (2, 9, [])):
        watch = counting(rule("requests", 60, threshold), [Event(T0 + 300, id=f"{n}") for n in range(many)])
        (group,) = watch._counted.tallies.groups()
        assert [n for n in range(9) if watch.is_warm(group, T0 + 60 * n)] == warm
        assert watch.is_named(group) == bool(warm)


def test_those_who_did_it_are_those_of_the_windows_of_the_episode():
    """Of the first window all of it, and nothing before; and nothing after the last second."""
    times = {"before": T0 - WINDOW, "first": T0 - WINDOW + 1, "last": T0 + 3, "after": T0 + 4}
    watch = counting(
        rule("requests", WINDOW, 3, group_by="role"), [Event(time, who) for who, time in times.items()] + [Event(T0)]
    )
    (group,) = watch._counted.tallies.groups()
    watch._judge(group, list(range(T0 // WINDOW - 2, T0 // WINDOW + 3)))
    (tracked,) = watch.ledger.groups[group]
    tracked.episode = tracked.episode._replace(opened_at=T0, last_at=T0 + 3)
    assert sorted(who.session_name for who in watch.people_of(group, tracked)) == ["first", "last", "thief"]


def test_a_limit_is_raised_where_an_exception_is_for_all_of_a_group():
    """Until its last second; to one more than is allowed, and never below the threshold."""
    holds = {"session": "*:a", "allow_up_to": 9, "until": date(2026, 5, 1), "owner": "o", "reason": "r"}
    chosen = rule("requests", WINDOW, 3, group_by="role", exceptions=(holds, holds | {"allow_up_to": 1}))
    watch = counting(chosen, [Event(T0, "a"), Event(T0, "b")])
    (group,) = watch._counted.tallies.groups()
    _, who, _ = watch.counted(group, T0, T0)
    of = {person.session_name: one for one, person in watch.people.found(who.tolist()).items()}
    end = chosen.exceptions[0].ends_at
    at = np.array([end - 1, end])
    for names, limits in (("a", [10, 3]), ("b", [3, 3]), ("ab", [3, 3])):
        assert watch.limits(at, np.array([of[name] for name in names], np.uint64)).tolist() == limits


@pytest.mark.parametrize(("later", "kept"), [(125, {T0, T0 + 120}), (126, {T0 + 126}), (1000, {T0 + 996})])
def test_evidence_is_kept_for_two_windows_where_nothing_is_open(later, kept):
    """By slices of a tenth of a window, to the second; of a group with none, nothing is kept."""
    engine = Engine([rule("requests", 60, 4)], watches(gather=True))
    for events in ([Event(T0, "a")], [Event(T0 + later, "b")]):
        engine.process(batch(events), NOW)
        engine.judge()
    (watch,) = engine._watches
    slices = [number * 6 for _, some in watch.state()["evidence"] for number, _ in some]
    assert set(slices) == kept
    assert len(slices) == len(watch.state()["evidence"])


def test_evidence_is_kept_for_as_long_as_something_is_open():
    """However long ago; with it goes what nothing was open for."""
    engine = Engine([rule("requests", 60, 2)], watches(gather=True))
    for events in ([Event(T0, id="1"), Event(T0, id="2")], [Event(T0 + 9000, "b")]):
        engine.process(batch(events), NOW)
        engine.judge()
    (watch,) = engine._watches
    assert len(watch.state()["evidence"]) == 2
    (group,) = watch.ledger.groups
    watch.forget_before(T0 + 3600 + 59)
    assert watch.counted(group, T0, T0)[0].tolist() == [T0]
    watch.forget_before(T0 + 9000)
    assert not len(watch.counted(group, T0, T0)[0])
    assert len(watch.state()["evidence"]) == 2
    (closed,) = watch.close(T0 + 1)
    assert (closed.evidence["requests"], closed.evidence["since"]) == (2, "2026-05-01T09:00:00Z")
    engine.judge()
    assert len(watch.state()["evidence"]) == 1


def test_a_match_says_how_often_and_when():
    fields = {"id": "r", "title": "t", "severity": "high", "kind": "match", "where": {"operation": "read"}}
    chosen = Match.model_validate(fields | {"window": "60s"})
    once, more = (Engine([chosen], watches()) for _ in range(2))
    once.process(batch([Event(T0)]), NOW)
    more.process(batch([Event(T0), Event(T0 + 60, id="1"), Event(T0 + 60, id="2")]), NOW)
    said = [engine.finish()[-1].explanation for engine in (once, more)]
    assert said[0].endswith(": 1 such record at 2026-05-01T09:00:00Z.")
    assert said[1].endswith(": 2 such records from 2026-05-01T09:00:00Z to 2026-05-01T09:01:00Z, at most 1m apart.")


def test_what_was_late_says_so_and_nothing_after_it():
    engine = Engine([rule("requests", 60, 2)], watches(), watermark=Watermark(dict.fromkeys(Log, 0)))
    late = []
    for hour in (1, 0, 2):
        engine.process(batch([Event(T0 + 3600 * hour, id=f"{hour}/{n}") for n in range(2)]), NOW)
        late += [one.late for one in engine.judge()]
        engine.advance(T0 + 3600 * hour, backlog=False)
    assert late == [False, True, False]


def test_what_exceptions_change_is_in_the_checkpoint_without_new_records():
    """Both ways they come: to a daemon that goes on, and with its restart. The rule is worded anew."""
    allowed = {"role": "*", "allow_up_to": 9, "until": date(2026, 6, 1), "owner": "o", "reason": "r"}
    before, after = rule("requests", 60, 2), rule("requests", 60, 2, title="new", exceptions=(allowed,))
    engine, again = Engine([before], watches()), Engine([after], watches())
    engine.process(batch([Event(T0, id="1"), Event(T0, id="2")]), NOW)
    assert [one.title for one in engine.judge()] == ["t"]
    again.restore(engine.changes())
    again.changes()
    assert "watch/r" not in engine.changes()
    engine.adopt([after])
    assert engine._watches[0].rule.title == "new"
    for one in (engine, again):
        assert ("watch/r" in one.changes()) == (one is engine)
        one.judge()
        assert "watch/r" in one.changes()


def test_in_replay_nothing_is_kept_of_a_group_that_has_been_judged():
    engine = Engine([rule("requests", 60, 2)], watches(once=True))
    engine.process(batch([Event(T0, id="1"), Event(T0, id="2")]), NOW)
    assert len(engine.finish()) == 1
    assert engine._watches[0].state()["crossings"] == []


@pytest.mark.parametrize(("window", "width"), [(10, 1), (300, 30)])
def test_evidence_of_a_daemon_is_exact_to_a_tenth_of_the_window(window, width):
    watch = counting(rule("requests", window, 2), [Event(T0), Event(T0 + width - 1), Event(T0 + width)], gather=True)
    ((_, slices),) = watch.state()["evidence"]
    assert [number for number, _ in slices] == [T0 // width, T0 // width + 1]


def test_only_members_have_a_cap():
    """They are hashes, of which a window holds each; amounts are added up."""
    caps = [counting(rule(measure), [Event(T0)]).cap for measure in ("objects", "source_ips", "bytes", "requests")]
    assert caps == [100_000, 100_000, math.inf, math.inf]


@pytest.mark.parametrize("kind", ["scope", "decoy", "unaudited", "received"])
def test_who_counts_only_some_of_what_his_where_says_shares_with_nobody(kind):
    """In replay, beside a rule that counts all of it by the same groups."""
    example = KIND[kind]
    some = example.rule(kind)
    fields = {"id": "all", "title": "t", "severity": "low", "kind": "threshold", "threshold": 1, "window": "60s"}
    everything = Threshold.model_validate(
        fields | {"where": some.where, "measure": some.measure, "group_by": some.group_by}
    )
    _, alone = replayed(some, [example.facts])
    engine = Engine([everything, some], watches(once=True), best_copies=True)
    engine.process(facts_of(example.facts), NOW)
    together = [one for one in engine.finish() if one.rule_id == some.id and one.state == "closed"]
    assert sorted(map(repr, shown(together))) == sorted(map(repr, shown(alone)))
