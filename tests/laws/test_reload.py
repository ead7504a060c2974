"""Laws of changing rules: whoever counts what it counted goes on, whoever does not ends, and nobody else notices."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import Log
from detector.core.engine import OF_WATCHES, Engine
from detector.core.finding import Finding
from detector.core.rule import BaselineRule, Rule
from detector.core.watermark import Watermark
from detector.watches import watches
from tests import kinds
from tests.streams import Event, batch, decoys, rule

T0 = 1_777_626_000
HOUR = 3600
RULES = [
    rule("objects", 60, 3, id="objects"),
    rule("requests", 600, 4, id="requests", group_by="role"),
    BaselineRule.model_validate({"id": "usual", "title": "t", "severity": "high", "kind": "baseline"}),
    decoys("k1", "k4"),
]
OTHER = rule("bytes", 7200, 5, id="bytes", group_by=("account", "source_ip"))

events_ = st.builds(
    Event,
    time=st.integers(T0, T0 + 200),
    who=st.sampled_from(["a", "b"]),
    key=st.sampled_from([f"k{i}" for i in range(6)]),
    size=st.integers(1, 2),
    id=st.integers(0, 60).map(str),
)
polls_ = st.lists(st.lists(events_, max_size=25), min_size=1, max_size=6)


class Daemon:
    """An engine driven as the daemon drives it, with its checkpoint; `adopt` between two polls."""

    def __init__(self, rules: list[Rule]) -> None:
        self.engine, self.parts, self.told = self.made(rules), dict[str, bytes](), list[Finding]()

    def made(self, rules: list[Rule]) -> Engine:
        return Engine(rules, watches(gather=True), watermark=Watermark(dict.fromkeys(Log, HOUR)))

    def poll(self, events: list[Event]) -> None:
        self.engine.process(batch(events), T0 + 4 * HOUR)
        self.told += self.engine.judge() + self.engine.advance(T0 + 4 * HOUR, backlog=False)
        self.save()

    def save(self) -> None:
        parts = self.parts | self.engine.changes()
        self.parts = {name: data for name, data in parts.items() if data is not None}
        self.engine.saved()

    def adopt(self, rules: list[Rule]) -> None:
        self.told += self.engine.adopt(rules)
        self.save()

    def restart(self, rules: list[Rule]) -> None:
        self.engine = self.made(rules)
        self.engine.restore(self.parts)

    def end(self) -> list[dict[str, object]]:
        self.told += self.engine.finish()
        return shown(self.told)

    def of_rules(self) -> set[str]:
        """Rules of which the checkpoint has parts."""
        return {name.split("/")[1] for name in self.parts if name.split("/")[0] in OF_WATCHES}


def shown(findings: list[Finding], *rules: str) -> list[dict[str, object]]:
    chosen = [f for f in findings if not rules or f.rule_id in rules]
    return [f.to_json() | {"state": f.state, "ids": f.alert_ids} for f in chosen]


@given(polls=polls_, at=st.sets(st.integers(0, 6)))
def test_the_same_rules_again_change_nothing(polls, at):
    """At any point, any number of times: findings with evidence and ids, books and checkpoint are the same bytes."""
    straight, reloaded = Daemon(RULES), Daemon(RULES)
    for number, events in enumerate(polls):
        straight.poll(events)
        if number in at:
            reloaded.adopt([type(one).model_validate(one, strict=False) for one in RULES])
        reloaded.poll(events)
    assert reloaded.parts == straight.parts
    assert reloaded.end() == straight.end()
    assert reloaded.engine.books == straight.engine.books


@given(polls=polls_, comes=st.integers(0, 6), goes=st.integers(0, 6), restarts=st.sets(st.integers(0, 6)))
def test_rules_that_come_and_go_do_not_touch_the_others(polls, comes, goes, restarts):
    """Another rule is added and removed anywhere, with restarts: the findings of the others are those without it."""
    straight, changed = Daemon(RULES), Daemon(RULES)
    now = RULES
    for number, events in enumerate(polls):
        straight.poll(events)
        now = [OTHER, *RULES] if number == comes else RULES if number == goes else now
        changed.adopt(now)
        if number in restarts:
            changed.restart(now)
        changed.poll(events)
        assert changed.of_rules() <= {one.id for one in now}
    straight.end(), changed.end()
    ids = [one.id for one in RULES]
    assert shown(changed.told, *ids) == shown(straight.told, *ids)
    assert changed.engine.books == straight.engine.books


@given(before=polls_, after=polls_, restarted=st.booleans())
def test_a_changed_rule_begins_empty_and_stays_so_over_restarts(before, after, restarted):
    """What the old definition counted is never counted for the new one: neither at once nor after restarts."""
    changed, fresh = rule("objects", 60, 3, id="objects", where={"operation": "read", "key": "k[0-2]"}), Daemon([])
    daemon = Daemon(RULES[:1])
    for events in before:
        daemon.poll(events)
        fresh.poll(events)
    daemon.restart([changed]) if restarted else daemon.adopt([changed])
    daemon.save()
    fresh.adopt([changed])
    already = len(daemon.told)
    for events in after:
        daemon.poll(events)
        fresh.poll(events)
        daemon.restart([changed])
    assert {name for name in daemon.parts if name.startswith("tally/")} == {
        name for name in fresh.parts if name.startswith("tally/")
    }
    daemon.end(), fresh.end()
    assert shown(daemon.told[already:]) == shown(fresh.told)


@given(polls=polls_)
def test_a_rule_that_ends_closes_what_it_opened(polls):
    """Every finding opened is closed once, with its alert ids and the reason; the checkpoint has nothing of it."""
    daemon = Daemon(RULES)
    for events in polls:
        daemon.poll(events)
    opened = {f.alert_ids for f in daemon.told if f.state == "opened"}
    last = len(daemon.told)
    daemon.adopt([rule("objects", 60, 4, id="objects")])
    ended = daemon.told[last:]
    assert all(f.state == "closed" for f in ended)
    assert {f.details["ended_by"] for f in ended} <= {"rule changed", "rule removed"}
    closed = [f.alert_ids for f in daemon.told if f.state == "closed"]
    assert opened <= {(one,) for ids in closed for one in ids}
    assert daemon.of_rules() <= {"objects"}
    assert not any(name.startswith("tally/") for name in daemon.parts)


def test_an_exception_that_comes_lets_the_finding_close_and_one_that_goes_opens_it():
    """A change of exceptions keeps the windows: what was counted is held against the new limits."""
    exempt = {"session_name": "a", "allow_up_to": 99, "until": "2030-01-01", "owner": "o", "reason": "r"}
    lenient = type(RULES[0]).model_validate(
        RULES[0].model_dump() | {"window": "60s", "exceptions": [exempt]}, strict=False
    )
    assert lenient.digest() == RULES[0].digest()
    daemon = Daemon([lenient])
    daemon.poll([Event(T0 + n, "a", f"k{n}") for n in range(5)])
    assert daemon.told == []
    daemon.adopt(RULES[:1])
    daemon.poll([])
    assert [(f.state, f.peak_value) for f in daemon.told] == [("opened", 5)]


def test_a_baseline_rule_that_is_reworded_keeps_its_model():
    """Title and severity are no part of what it counts."""
    daemon = Daemon(RULES[2:3])
    daemon.poll([Event(T0 + n, "a", f"k{n}") for n in range(5)])
    kept = dict(daemon.parts)
    reworded = RULES[2].model_copy(update={"title": "other"})
    daemon.adopt([reworded])
    assert daemon.parts == kept
    assert [watch.rule.title for watch in daemon.engine._watches] == ["other"]


COUNTING = ("threshold", "match", "scope", "first_seen", "decoy", "unaudited", "received")


@pytest.mark.parametrize("kind", COUNTING)
def test_what_memory_let_go_of_is_not_told_again_when_exceptions_change(kind):
    """Wherever the horizon has cut through what was counted: everything was told, and nothing has changed of it."""
    example = kinds.KIND[kind]
    chosen, some_facts = example.rule(kind), sorted(example.facts)[:200]
    facts = [replace(fact, time=fact.time - HOUR) for fact in some_facts] + some_facts
    nobody = {"session": "nobody", "allow_up_to": 9, "until": date(2030, 1, 1), "owner": "o", "reason": "r"}
    other = replace(example, fields=example.fields | {"exceptions": (nobody,)}).rule(kind)
    assert other.digest() == chosen.digest()

    def made(one: Rule) -> Engine:
        return Engine([one], watches(gather=True), watermark=Watermark(dict.fromkeys(Log, 0)), horizon=HOUR)

    opened = 0
    for number, cut in enumerate(some_facts[:: len(some_facts) // 6]):
        engine, told = made(chosen), list[Finding]()
        end = cut.time + chosen.reach + HOUR
        for some in (facts, [kinds.Fact(end, op="audit", key="x"), kinds.Fact(end, bucket="x", key="x")]):
            engine.process(kinds.batch(some), kinds.NOW)
            told += engine.judge() + engine.advance(kinds.NOW, backlog=False)
        opened += len(told)
        if number % 2:
            engine, parts = made(other), engine.changes()
            engine.restore({name: part for name, part in parts.items() if part is not None})
        else:
            engine.adopt([other])
        assert [(f.state, f.opened_at) for f in engine.judge() + engine.advance(kinds.NOW, backlog=False)] == []
        assert engine.failures == {}
    assert opened
