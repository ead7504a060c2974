"""Laws of the whole model: what does not change a score, and how far a patient thief can move one."""

import random
from dataclasses import replace

import numpy as np
import pytest

from detector.core.access import text_hash
from detector.core.people import People
from detector.core.principals import Principals
from detector.core.rule import BaselineRule
from detector.core.view import BatchView
from detector.errors import StateError
from detector.model.channels import DAY, HOUR
from detector.model.watch import BaselineWatch
from tests.streams import Event, batch, principal

T0 = 20_575 * DAY
RULE = {"id": "b", "title": "t", "severity": "high", "kind": "baseline", "where": {"operation": "read"}}


def watch(once=True, **more):
    return BaselineWatch(BaselineRule.model_validate(RULE | {"learn_role_days": 2} | more), People(), once=once)


def event(second, role, key, address="11.0.0.1"):
    return Event(T0 + second, role, key, id=f"{second}/{role}/{key}", address=address)


def role_batch(events):
    """Each `who` is a role of its own, of a group of its own letter."""
    made = batch(events)
    people = [
        principal(p.session_name)._replace(
            role=f"AROA{p.session_name}", role_shown=f"arn:aws:iam::1:role/{p.session_name}"
        )
        for p in made.principals
    ]
    prints = np.array([text_hash(f"p{p.session_name}") for p in people], np.uint64)
    return replace(made, principals=Principals(people), prints=prints)


def feed(to, events, step=0):
    """All events; with a step, sealed as they come, so many seconds at a time."""
    events = sorted(events)
    if not step:
        random.Random(7).shuffle(events)
        to.absorb(BatchView(role_batch(events)), np.zeros(len(events), np.bool_))
    for first in range(0, 40 * DAY, step) if step else ():
        some = [one for one in events if first <= one.time - T0 < first + step]
        if some:
            random.Random(first).shuffle(some)
            to.absorb(BatchView(role_batch(some)), np.zeros(len(some), np.bool_))
            to.advance(T0 + first + step)
    return to


def habit(role, days, per_day, seed):
    draw = random.Random(seed)
    return [
        event(day * DAY + 9 * HOUR + draw.randrange(8 * HOUR), role, f"{role}/{day}/{draw.randrange(400)}")
        for day in range(days)
        for _ in range(per_day)
    ]


def organisation(days, roles="abcd"):
    return [one for number, role in enumerate(roles) for one in habit(f"{role}-{number}", days, 60, number)]


def sealed(to, end):
    to.advance(T0 + end)
    return {
        role.who.key: (to.model.levels.state(role.slot), role.score, to.model.levels.maxima[role.slot].tolist())
        for role in to.model.roles.values()
    }


def test_order_and_cuts_change_no_score():
    """Shuffled at once, or sealed an hour at a time: the same levels, maxima, scores and line to the last bit."""
    events = organisation(5)
    once, hourly = feed(watch(), events), feed(watch(), events, HOUR)
    assert sealed(once, 5 * DAY) == sealed(hourly, 5 * DAY)
    assert once.model.line == hourly.model.line
    assert once.model.organisation.pools.state() == hourly.model.organisation.pools.state()


def test_a_restart_changes_no_score():
    """Parts of a checkpoint, laid over one another, are all there is; damage is told."""
    events = organisation(5)
    straight, parts = feed(watch(), events, HOUR), {}
    first = feed(watch(), [one for one in events if one.time < T0 + 3 * DAY], 6 * HOUR)
    parts = {name: part for name, part in first.changes().items() if part is not None}
    again = watch()
    again.restore(parts)
    feed(again, [one for one in events if one.time >= T0 + 3 * DAY], HOUR)
    assert sealed(again, 5 * DAY) == sealed(straight, 5 * DAY)
    assert again.model.line == straight.model.line
    for name in [name for name in parts if name.startswith(("model/", "model-roles/", "model-pools/"))]:
        with pytest.raises(StateError):
            watch().restore(parts | {name: parts[name][:-1] + b"?"})


def test_open_panes_are_looked_at_up_to_now():
    """A log that an application writes may speak of years to come: all panes until then would fill all memory."""
    to, now, seen = feed(watch(once=False), organisation(4), HOUR), 4 * DAY, []
    glance = to.model.glance
    to.model.glance = lambda first, rows, *who: seen.append((first, rows)) or glance(first, rows, *who)
    events = [event(now + 5, "a-0", "x"), event(now + 60 * DAY, "a-0", "y"), event(now + 60 * DAY, "b-1", "z")]
    to.absorb(BatchView(role_batch(events), latest=T0 + now + HOUR), np.zeros(len(events), np.bool_))
    assert not to.learning()
    to.judge()
    assert [(first, rows.second.tolist()) for first, rows in seen] == [(T0 + now, [T0 + now + 5])]
    assert to.judge() == []
    to.advance(T0 + 65 * DAY)
    assert max(role.last for role in to.model.roles.values()) == T0 + 64 * DAY


def test_a_slow_ramp_moves_the_line_by_a_bound():
    """One patient role among many, a tenth more every day for three weeks, lifts the line by under one decade."""
    quiet = organisation(24, "abcdefgh")
    draw = random.Random(99)
    ramp = [
        event(day * DAY + 9 * HOUR + draw.randrange(8 * HOUR), "p-9", f"p/{day}/{n}")
        for day in range(24)
        for n in range(int(60 * 1.1**day))
    ]
    calm, poisoned = feed(watch(), quiet, 12 * HOUR), feed(watch(), quiet + ramp, 12 * HOUR)
    assert poisoned.model.line - calm.model.line < 1.0


def learned(to):
    """What is usual: levels of every role, pools and line."""
    model = to.model
    levels = {role.who.key: model.levels.state(role.slot) for role in model.roles.values()}
    return levels, model.organisation.pools.state(), model.line


def test_frozen_is_what_is_usual_and_scores_go_on():
    """Frozen on the fifth day: levels, pools and line stay, a theft is found all the same; thawed, it learns on."""
    rule, frozen = watch(threshold=2).rule, watch(threshold=2, frozen=True).rule
    assert rule.digest() == frozen.digest()
    to = feed(watch(threshold=2), organisation(5), HOUR)
    to.advance(T0 + 5 * DAY + HOUR)
    before = learned(to)
    later = [one for one in organisation(9) if one.time >= T0 + 5 * DAY]
    theft = [event(8 * DAY + 11 * HOUR + n // 9, "a-0", f"all/{n}") for n in range(3000)]
    to.take(frozen)
    to.absorb(BatchView(role_batch(later + theft)), np.zeros(len(later + theft), np.bool_))
    found = to.advance(T0 + 9 * DAY)
    assert learned(to) == before
    assert any("a-0" in one.group["role"] and one.opened_at >= T0 + 8 * DAY for one in found)
    assert to.model.learnt == watch_days(before)
    to.take(rule)
    more = [one for one in organisation(11) if one.time >= T0 + 9 * DAY]
    to.absorb(BatchView(role_batch(more)), np.zeros(len(more), np.bool_))
    to.advance(T0 + 11 * DAY)
    assert learned(to)[0] != before[0]
    assert to.model.learnt > watch_days(before)


def watch_days(known):
    """Principal-days in a `learned`: of the pools of everybody."""
    return sum(count for level, _, days in known[1][0] if level.startswith("all") for _, count, *_ in days)
