"""What holds for every kind of rule: order, cuts, copies, restarts and rubbish change nothing of what is found."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from detector.core.access import Log
from detector.core.engine import OF_WATCHES, Engine
from detector.core.projection import columns
from detector.core.rule import KINDS
from detector.core.watermark import Watermark
from detector.watches import watches
from replay.scratch import Scratch
from tests.kinds import DAY, KIND, NOW, T0, Daemon, batch, hostile, replayed, shown

SEEDS = range(3)
TINY = 4000
"""Bytes: less than anything ever needs."""


def test_every_kind_has_an_example():
    assert set(KIND) == set(KINDS)


@pytest.fixture(params=KIND)
def kind(request):
    return request.param


@pytest.fixture
def case(kind):
    """Rule, records, and what is found in them in order, in one batch."""
    example = KIND[kind]
    rule = example.rule(kind)
    engine, found = replayed(rule, [sorted(example.facts)])
    assert engine.failures == {}
    assert found
    return rule, example, shown(found)


def cut(facts, seed):
    """In batches of different sizes."""
    chance = random.Random(seed)
    rest = list(facts)
    while rest:
        size = chance.randint(1, max(2, len(facts) // 3))
        yield rest[:size]
        rest = rest[size:]


def shuffled(facts, seed):
    facts = sorted(facts)
    random.Random(seed).shuffle(facts)
    return facts


@pytest.mark.parametrize("seed", SEEDS)
def test_disorder(case, seed):
    """Any order, any cuts: the same findings."""
    rule, example, found = case
    engine, again = replayed(rule, cut(shuffled(example.facts, seed), seed))
    assert engine.failures == {}
    assert shown(again) == found


@pytest.mark.parametrize("seed", SEEDS)
def test_duplicates(case, seed):
    """Every record comes two or three times, at any time."""
    rule, example, found = case
    copies = example.facts + shuffled(example.facts, seed) + example.facts[::2]
    engine, again = replayed(rule, cut(shuffled(copies, seed), seed))
    assert engine.books.duplicates == len(copies) - len(example.facts)
    assert shown(again) == found


@pytest.mark.parametrize("seed", SEEDS)
def test_restart(case, seed):
    """A daemon that gets them in any order and is killed after every poll closes what replay closes, once."""
    rule, example, found = case
    daemon, straight = Daemon(rule), Daemon(rule)
    for facts in cut(shuffled(example.facts, seed), seed):
        straight.poll(facts)
        daemon.poll(facts)
        daemon.restart()
    assert shown(daemon.end()) == found
    straight.end()
    assert [(f.state, f.alert_ids, f.to_json()) for f in daemon.told] == [
        (f.state, f.alert_ids, f.to_json()) for f in straight.told
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_memory(case, seed, tmp_path):
    """With room for next to nothing, all else on disk: the same findings."""
    rule, example, found = case
    with Scratch(tmp_path) as scratch:
        engine = Engine([rule], watches(once=True), best_copies=True, memory=TINY, shelf=scratch)
        for facts in cut(shuffled(example.facts, seed), seed):
            engine.process(batch(facts), NOW)
            engine.spill(scratch.save)
        again = [f for f in engine.finish() if f.state == "closed"]
    assert engine.failures == {}
    assert sorted(shown(again), key=lambda f: (f["opened_at"], f["finding_id"])) == found


@pytest.mark.parametrize("seed", SEEDS)
def test_reload(case, seed):
    """The same rule again, worded otherwise, after any poll: it goes on."""
    rule, example, found = case
    daemon = Daemon(rule)
    for number, facts in enumerate(cut(shuffled(example.facts, seed), seed)):
        daemon.poll(facts)
        assert daemon.engine.adopt([rule.model_copy(update={"description": str(number)})]) == []
    assert shown(daemon.end()) == found


def test_removal(case):
    """A rule that is no more closes what is open, and leaves nothing in the checkpoint."""
    rule, example, _ = case
    daemon = Daemon(rule)
    daemon.poll(sorted(example.facts))
    ended = daemon.engine.adopt([])
    assert {f.state for f in ended} <= {"closed"}
    daemon.poll([])
    assert not [name for name in daemon.parts if name.partition("/")[0] in OF_WATCHES]


def test_last_words(case):
    """Whatever was opened on part of the data has a last word under its alert id: closed, or withdrawn if it may be."""
    rule, example, _ = case
    for seed in SEEDS:
        daemon = Daemon(rule)
        for facts in cut(shuffled(example.facts, seed), seed):
            daemon.poll(facts)
        daemon.end()
        last = {one: f.state for f in daemon.told for one in f.alert_ids}
        assert set(last.values()) <= ({"closed", "withdrawn"} if rule.withdrawable else {"closed"})


@pytest.mark.parametrize("seed", SEEDS)
def test_hostile_values_and_empty_fields(case, seed):
    """Rubbish of somebody else's among the records fails nothing and hides nothing."""
    rule, example, found = case
    engine, again = replayed(rule, cut(shuffled(example.facts, seed) + hostile(), seed))
    assert engine.failures == {}
    assert engine.books.balance()
    if not example.pooled:
        assert [f for f in shown(again) if "vil" not in str(f) and "mpty" not in str(f)] == found
    daemon = Daemon(rule)
    for facts in cut(sorted(example.facts), seed):
        daemon.poll([*facts, *hostile()])
        daemon.restart()
    daemon.end()


@pytest.mark.parametrize("kind", [kind for kind in KIND if not KIND[kind].pooled], indirect=True)
def test_horizon(kind):
    """What no record can change any more is let go, also of a group of which something is open at every poll.

    After six rounds of its example a daemon holds no more, in memory and in its checkpoint, than after two.
    """
    example, rounds = KIND[kind], []
    rule, last = example.rule(kind), max(fact.time for fact in example.facts)
    engine = Engine([rule], watches(gather=True), watermark=Watermark(dict.fromkeys(Log, 0)), horizon=3600)
    parts = {}
    for number in range(6):
        shift = number * ((last - T0) // DAY + 8) * DAY
        facts = sorted(replace(fact, time=fact.time + shift) for fact in example.facts)
        for some in (facts[::2], facts[1::2]):
            engine.process(batch(some), last + shift)
            engine.judge()
            engine.advance(last + shift, backlog=False)
            parts |= engine.changes()
        written = sum(len(part) for part in parts.values() if part)
        rounds.append((written, sum(one.held() for one in engine._spilling)))
    assert engine.failures == {}
    assert all(after < 1.05 * before for before, after in zip(rounds[1], rounds[5], strict=True))


def test_columns(case):
    """With the columns that it says it looks at, and no others, it finds the same."""
    rule, example, found = case
    engine = Engine([rule], watches(once=True))
    engine.process(batch(sorted(example.facts)).cut(columns([rule])), NOW)
    again = [f for f in engine.finish() if f.state == "closed"]
    assert engine.failures == {}
    assert sorted(shown(again), key=lambda f: (f["opened_at"], f["finding_id"])) == found


def test_words(case):
    """Every finding says who and what in a sentence; every rule says in a line what fires it."""
    rule, _, found = case
    assert rule.summary
    for finding in found:
        assert len(finding["explanation"]) > 20
        assert all(name in finding["explanation"] for name in finding["group"].values())
