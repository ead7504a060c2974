"""Laws of the engine as the daemon drives it: openings, closings, restarts, lateness, books."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import Column, Log
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.rule import BaselineRule, Rule
from detector.core.watermark import Watermark
from detector.errors import StateError
from detector.watches import watches
from tests.streams import Event, batch, closed, decoys, rule

T0 = 1_777_626_000
HOUR = 3600

polls_ = st.lists(
    st.lists(
        st.builds(
            Event,
            time=st.integers(T0, T0 + 3 * HOUR),
            who=st.sampled_from(["a", "b", "c"]),
            key=st.sampled_from([f"k{i}" for i in range(6)]),
            id=st.uuids().map(str),
        ),
        min_size=3,
        max_size=12,
    ),
    min_size=1,
    max_size=6,
)


def daemon(rules: list[Rule], lateness: int = 6 * HOUR) -> Engine:
    return Engine(rules, watches(gather=True), watermark=Watermark(dict.fromkeys(Log, lateness)))


def told(
    engine: Engine, polls: list[list[Event]], restart_after: int = -1, rules: list[Rule] | None = None
) -> list[Finding]:
    """All findings a daemon tells of over these polls and the end of the data; perhaps restarted on the way."""
    findings = []
    for number, events in enumerate(polls):
        engine.process(batch(events), T0 + 4 * HOUR)
        findings += engine.judge() + engine.advance(T0 + 4 * HOUR, backlog=False)
        if number == restart_after and rules is not None:
            parts = {name: part for name, part in engine.changes().items() if part is not None}
            engine = daemon(rules)
            engine.restore(parts)
    findings += engine.finish()
    assert engine.books.balance()
    return findings


def without_evidence(findings: list[Finding]) -> list[dict[str, object]]:
    rows = [f.to_json() | {"evidence": None} for f in findings if f.state == "closed"]
    return sorted(rows, key=lambda row: (row["opened_at"], row["finding_id"]))


RULES = [
    rule("objects", 60, 3, id="objects"),
    rule("requests", 600, 4, id="requests", group_by="role"),
    rule("bytes", 7200, 5, id="bytes", group_by=("account", "source_ip")),
    decoys("k1", "k4"),
]


@given(polls=polls_, seed=st.integers(0, 99))
def test_daemon_and_replay_close_the_same_findings(polls, seed):
    """However the records came in polls, the daemon's CLOSED findings are replay's, evidence aside (none was late)."""
    everything = [event for events in polls for event in events]
    random.Random(seed).shuffle(everything)
    live = told(daemon(RULES), polls)
    assert without_evidence(live) == without_evidence(closed(RULES, [everything]))


@given(polls=polls_, where=st.integers(0, 5))
def test_a_restart_at_any_poll_changes_nothing(polls, where):
    """Snapshot and restore anywhere: the same findings, opened once, closed once, with the same alert ids."""
    straight = told(daemon(RULES), polls)
    restarted = told(daemon(RULES), polls, where, RULES)
    assert [f.to_json() | {"ids": f.alert_ids} for f in restarted] == [
        f.to_json() | {"ids": f.alert_ids} for f in straight
    ]


@given(polls=polls_)
def test_changes_alone_rebuild_the_state(polls):
    """What `changes` names after every poll, laid over one another, is a whole checkpoint."""
    engine, store = daemon(RULES), {}
    for events in polls:
        engine.process(batch(events), T0 + 4 * HOUR)
        engine.judge()
        store |= engine.changes()
        store = {name: part for name, part in store.items() if part is not None}
    again = daemon(RULES)
    again.restore(store)
    assert without_evidence(again.finish()) == without_evidence(engine.finish())
    assert again.books == engine.books


@given(polls=polls_)
def test_what_is_opened_is_always_closed_and_keeps_its_alert_id(polls):
    """Every opened alert id appears in exactly one closed finding, whatever was joined on the way."""
    findings = told(daemon(RULES), polls)
    opened = {i for f in findings if f.state == "opened" for i in f.alert_ids}
    closed_ids = [i for f in findings if f.state == "closed" for i in f.alert_ids]
    assert sorted(opened) == sorted(closed_ids)


def test_a_finding_opens_with_the_record_that_suffices_and_closes_one_window_after_its_last():
    """Opened in the very poll that brings the crossing; closed once the watermark has passed last_at by one window."""
    engine = daemon([rule("objects", 60, 3)], lateness=0)

    def poll(*seconds: int) -> list[str]:
        engine.process(batch([Event(T0 + s, key=f"k{s}") for s in seconds]), T0 + 9999)
        return [f.state for f in engine.judge() + engine.advance(T0 + 9999, backlog=False)]

    assert poll(0, 1) == []
    assert poll(2) == ["opened"]
    assert poll(62) == []
    assert poll(63) == ["closed"]


def test_a_peak_that_doubles_is_told_again_and_a_small_rise_is_not():
    """One finding, one opened alert; an update only when the peak has doubled since it was last told."""
    engine = daemon([rule("objects", 600, 3)])
    states = []
    for upto in (3, 4, 5, 6, 11, 12):
        engine.process(batch([Event(T0 + i, key=f"k{i}") for i in range(upto)]), T0 + 600)
        states.append([f.state for f in engine.judge()])
    assert states == [["opened"], [], [], ["updated"], [], ["updated"]]


def test_a_backlog_holds_the_watermark_back():
    """While old data is being drained nothing closes and nothing is late, whatever its order."""
    engine = daemon([rule("objects", 60, 3)], lateness=0)
    engine.process(batch([Event(T0 + 9 * HOUR)]), T0 + 9 * HOUR)
    assert engine.advance(T0 + 9 * HOUR, backlog=True) == []
    engine.process(batch([Event(T0 + s, key=f"k{s}") for s in range(3)]), T0 + 9 * HOUR)
    assert [f.late for f in engine.judge()] == [False]
    assert engine.books.late == 0


def test_a_late_record_is_judged_and_its_finding_says_late():
    """Below the watermark a record counts all the same: it opens a finding, or reopens a closed one, marked late."""
    engine = daemon([rule("objects", 60, 3)], lateness=0)
    engine.process(batch([Event(T0, key="a"), Event(T0 + 1, key="b"), Event(T0 + HOUR, "other")]), T0 + HOUR)
    assert engine.judge() + engine.advance(T0 + HOUR, backlog=False) == []
    engine.process(batch([Event(T0 + 2, key="c")]), T0 + HOUR)
    (opened,) = engine.judge()
    assert (opened.state, opened.late, engine.books.late) == ("opened", True, 1)
    (done,) = engine.advance(T0 + HOUR, backlog=False)
    assert (done.state, done.late) == ("closed", True)
    engine.process(batch([Event(T0 + 3, key="d")]), T0 + HOUR)
    (again,) = engine.judge()
    assert (again.state, again.late, again.alert_ids) == ("updated", True, opened.alert_ids)
    (final,) = engine.advance(T0 + HOUR, backlog=False)
    assert (final.state, final.peak_value, final.last_at) == ("closed", 4, T0 + 3)


def test_late_records_that_join_two_closed_findings_keep_both_alert_ids():
    """Two episodes that turn out to be one are closed as one, which names both alerts."""
    engine = daemon([rule("objects", 60, 1)], lateness=0)
    engine.process(batch([Event(T0), Event(T0 + 100, key="b"), Event(T0 + HOUR, "other")]), T0 + HOUR)
    ids = {i for f in engine.judge() for i in f.alert_ids if "thief" in f.group["session"]}
    engine.advance(T0 + HOUR, backlog=False)
    engine.process(batch([Event(T0 + 50, key="c")]), T0 + HOUR)
    engine.judge()
    (joined,) = engine.advance(T0 + HOUR, backlog=False)
    assert set(joined.alert_ids) == ids
    assert (joined.opened_at, joined.last_at) == (T0, T0 + 100)


def test_a_rule_that_fails_is_reported_and_stops_no_other():
    """An exception inside a rule is never "no match": it is named, and the other rules go on."""
    engine = daemon([rule("objects", 60, 1, id="bad"), rule("objects", 60, 1, id="good")])

    def fail(*_: object) -> None:
        raise RuntimeError("boom")

    engine._watches[0].absorb = fail  # type: ignore[method-assign]
    engine.process(batch([Event(T0)]), T0)
    assert [f.rule_id for f in engine.judge()] == ["good"]
    assert engine.failures == {"bad": "RuntimeError: boom"}


def test_a_changed_rule_starts_anew_and_an_unchanged_one_keeps_its_windows():
    """State belongs to what a rule computes: a title may change, a threshold may not."""
    first = daemon([rule("objects", 60, 3, id="same"), rule("objects", 60, 3, id="other")])
    first.process(batch([Event(T0, key="a"), Event(T0 + 1, key="b")]), T0)
    parts = {name: part for name, part in first.changes().items() if part is not None}
    second = daemon([rule("objects", 60, 3, id="same", title="new"), rule("objects", 60, 2, id="other")])
    second.restore(parts)
    second.process(batch([Event(T0 + 2, key="c")]), T0)
    assert [f.rule_id for f in second.judge()] == ["same"]


def test_a_checkpoint_of_another_version_is_refused():
    """State of a version this program does not know is never half read."""
    engine = daemon([rule()])
    parts = {name: part for name, part in engine.changes().items() if part is not None}
    import msgspec

    parts["engine"] = msgspec.msgpack.encode(msgspec.msgpack.decode(parts["engine"]) | {"version": 99})
    with pytest.raises(StateError, match="version 99"):
        daemon([rule()]).restore(parts)


def test_a_window_in_minutes_is_not_closed_while_its_last_minute_may_still_grow():
    """Over an hour a record counts at its minute: one that comes in time joins the episode, and nothing is late."""
    engine = daemon([rule("requests", 7200, 1)], lateness=0)
    start = T0 - T0 % 60
    told = []
    for second, who in ((0, "thief"), (7205, "other"), (7230, "thief")):
        engine.process(batch([Event(start + second, who)]), start + 9 * HOUR)
        told += engine.judge() + engine.advance(start + 9 * HOUR, backlog=False)
    mine = [(f.state, f.late) for f in told + engine.finish() if "thief" in f.group["session"]]
    assert mine == [("opened", False), ("closed", False)]


def test_a_record_without_a_value_at_a_level_belongs_to_no_group_there():
    """Requests from nowhere in particular are not one visitor: no address, no group by address."""
    events = batch([Event(T0 + i, f"s{i}", key=f"k{i}") for i in range(5)])
    nowhere = replace(events, text=events.text | {"source_ip": Column(np.full(5, -1, np.int32), [])})
    for level, found in (("source_ip", 0), ("vpc_endpoint", 0), ("account", 1)):
        engine = Engine([rule("objects", 60, 3, group_by=level)], watches())
        engine.process(nowhere, T0)
        assert len([f for f in engine.finish() if f.state == "closed"]) == found


def test_many_levels_at_once_keep_all_groups_apart():
    """However many levels and principals, two groups are never taken for one."""
    levels = ("bucket", "session", "role", "account", "access_key", "session_name")
    events = [Event(T0, f"s{i}", key=f"k{j}") for i in range(3000) for j in range(2)]
    findings = closed([rule("objects", 60, 2, group_by=levels)], [events])
    assert len(findings) == 3000
    assert all(f.peak_value == 2 for f in findings)


def test_books_survive_a_checkpoint():
    """Counts by reason come back as they were, and the books still balance."""
    builder = BatchBuilder()
    for number in range(3):
        builder.reject("f", number, "not_a_record")
    first, second = daemon([rule()]), daemon([rule()])
    first.process(builder.build(), T0)
    second.restore({name: part for name, part in first.changes().items() if part is not None})
    assert second.books == first.books
    assert second.books.balance()


def test_new_exceptions_keep_the_windows_and_are_held_against_what_was_counted():
    """A responder who tunes an exception loses nothing of what is already counted, and it holds at once."""
    first = daemon([rule("objects", 60, 3, exceptions=(exemption(9),))])
    first.process(batch([Event(T0 + i, key=f"k{i}") for i in range(5)]), T0)
    assert first.judge() == []
    parts = {name: part for name, part in first.changes().items() if part is not None}
    second = daemon([rule("objects", 60, 3, exceptions=(exemption(4),))])
    second.restore(parts)
    assert [(f.state, f.peak_value) for f in second.judge()] == [("opened", 5)]


def exemption(most: int) -> dict[str, object]:
    until = date(2026, 12, 31)
    return {"role": "*:role/Role", "allow_up_to": most, "until": until, "owner": "o", "reason": "r"}


def test_evidence_of_a_long_poll_is_that_of_the_findings_own_time():
    """One poll may bring hours of records: an opened finding shows the records of its window, and says since when."""
    engine = daemon([rule("objects", 60, 3)])
    early = [Event(T0 + i, key=f"k{i}") for i in range(5)]
    engine.process(batch([*early, *(Event(T0 + 5 * HOUR + i * 70, key=f"x{i}") for i in range(3))]), T0 + 6 * HOUR)
    (opened,) = engine.judge()
    assert (opened.evidence["requests"], opened.evidence["objects"]) == (5, 5)
    assert opened.evidence["sample_keys"] == [f"k{i}" for i in range(5)]


def test_memory_is_let_go_behind_the_horizon():
    """Tallies, ids and identities older than the horizon leave memory and the checkpoint."""
    engine = Engine([rule("objects", 60, 3)], watches(), watermark=Watermark(dict.fromkeys(Log, 0)), horizon=HOUR)
    store: dict[str, bytes] = {}
    for hour in range(30):
        now = T0 + hour * HOUR
        engine.process(batch([Event(now + i, f"s{hour}", key=f"{hour}/{i}") for i in range(50)]), now)
        engine.judge()
        engine.advance(now, backlog=False)
        for name, part in engine.changes().items():
            store.pop(name, None) if part is None else store.__setitem__(name, part)
    assert engine.books.access_events == 1500
    assert len(engine._seen) <= 4 * 50
    assert engine.people.sessions() <= 5
    assert sum(1 for name in store if name.startswith(("tally/", "seen/"))) <= 12


baseline = BaselineRule.model_validate(
    {"id": "b", "title": "t", "severity": "medium", "kind": "baseline", "where": {"operation": "read"},
     "threshold": 3, "learn_role_days": 2, "cooldown": "1h"}
)  # fmt: skip


def steady_days(days: int, burst: int) -> list[Event]:
    """A role that reads 5 to 7 new objects a pane, all day, and once very many."""
    events = []
    for pane in range(days * 288):
        start = T0 - T0 % 86_400 + pane * 300
        many = burst if pane == days * 288 - 10 else 5 + pane % 3
        events += [Event(start + i % 300, key=f"{pane}/{i}", address="11.0.0.9") for i in range(many)]
    return sorted(events)


@pytest.mark.parametrize("restart_every", [0, 3])
def test_the_online_model_finds_the_same_in_daemon_and_replay(restart_every):
    """A pane far above the role's own habit is a finding, and the same one however the records came."""
    events = steady_days(5, 2000)
    shuffled = random.Random(5).sample(events, len(events))
    (finding,) = closed([baseline], [shuffled])
    assert finding.measure == "score"
    why = finding.details["baseline"]["reasons"][0]
    assert (why["family"], why["seen"]) == ("amount", 2000)
    assert why["expected"] < 10
    polls = [events[i : i + 700] for i in range(0, len(events), 700)]
    engine, store = daemon([baseline], lateness=HOUR), dict[str, bytes]()
    live: list[Finding] = []
    for number, some in enumerate(polls):
        events_ = random.Random(number).sample(some, len(some))
        engine.process(batch(events_), some[-1].time)
        live += engine.judge() + engine.advance(some[-1].time, backlog=False)
        store = {name: part for name, part in (store | engine.changes()).items() if part is not None}
        if restart_every and number % restart_every == 0:
            engine = daemon([baseline], lateness=HOUR)
            engine.restore(store)
    live += engine.finish()
    assert engine.failures == {}
    assert without_evidence(live) == without_evidence([finding])
    (opened,) = [f for f in live if f.state == "opened"]
    assert opened.alert_ids == next(f for f in live if f.state == "closed").alert_ids
