"""Identities seen lately: kept while they are seen, shown by their smallest ARN, let go behind the horizon."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from detector.core.people import People
from detector.core.principal import print_of
from detector.core.principals import Principals
from detector.core.view import BatchView
from tests.streams import Event, batch, principal

T0 = 1_777_626_000
HOUR = 3600


def met(*events: Event) -> People:
    people = People()
    for event in events:
        people.meet(BatchView(batch([event])))
    return people


def test_whoever_was_seen_again_is_kept():
    """An old acquaintance seen lately stays; one not seen since is forgotten, in memory and in the checkpoint."""
    people = met(Event(T0, "old"), Event(T0, "back"), Event(T0 + 50 * HOUR, "back"), Event(T0 + 49 * HOUR, "back"))
    people.forget_before(T0 + 40 * HOUR)
    assert people.sessions() == 1
    assert people.of([print_of(principal("back")), print_of(principal("old"))]) == [principal("back")]
    again = People()
    again.restore({name: part for name, part in people.changes().items() if part})
    assert again.sessions() == 1


def test_an_identity_is_shown_by_its_smallest_arn_in_any_order():
    """A session seen without an ARN in one trail and with it in another is shown by the ARN."""
    bare = principal("thief")._replace(session_shown="111122223333:AROAROLE:thief")
    full = principal("thief")
    for order, kept in product(((bare, full), (full, bare)), ((), ("session", "role"))):
        people = People()
        for level in kept:
            people.keep_groups(level)
        for one in order:
            alike = replace(
                batch([Event(T0, "thief")]), principals=Principals([one]), prints=np.array([print_of(one)], np.uint64)
            )
            people.meet(BatchView(alike))
        assert people.name("session", "AROAROLE:thief") == full.session_shown
    assert people.name("session", "never-seen") == "never-seen"
