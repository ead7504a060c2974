"""Laws of the kind `silence`, against an oracle that looks at every pair of neighbours."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detector.core.access import Log
from detector.core.engine import Engine
from detector.core.rule import KINDS, Rule
from detector.core.watermark import Watermark
from detector.watches import watches
from replay.evidence import Behind
from tests.kinds import DAY, NOW, T0, Daemon, Fact, batch, replayed, shown

EVERY, FORGET, HOUR = 100, 400, 3600


def rule(**fields: object) -> Rule:
    common = {"id": "r", "title": "t", "severity": "high", "kind": "silence", "where": {"operation": "read"}}
    return KINDS["silence"].model_validate(common | {"every": f"{EVERY}s", "forget": f"{FORGET}s"} | fields)  # type: ignore[return-value]


def silences(seconds: list[int], end: int) -> list[tuple[int, int, int]]:
    """Opening, end and length of every gap over `EVERY`, straight from the page."""
    out = []
    for last, heard in pairwise([*sorted(set(seconds)), None]):
        until = min(end if heard is None else heard, last + FORGET)
        if until - last > EVERY:
            out.append((last + EVERY, until, until - last))
    return out


FACTS = st.lists(
    st.builds(
        Fact,
        time=st.one_of(st.integers(T0, T0 + 900), st.integers(0, 9).map(lambda n: T0 + n * EVERY)),
        bucket=st.sampled_from(["a00", "b00", "c00"]),
        op=st.sampled_from(["read", "read", "list"]),
        name=st.sampled_from(["x", "y"]),
    ),
    min_size=6,
    max_size=25,
    unique=True,
)


@settings(max_examples=150)
@given(FACTS, st.sampled_from([(), ("a00",), ("a00", "d00")]))
def test_gaps_between_neighbours_and_after_the_last(facts, expect):
    """Replay and the daemon, in any cuts and with restarts, close exactly the gaps that there are."""
    chosen = rule(group_by="bucket", expect=expect)
    half = len(facts) // 2
    engine, closed = replayed(chosen, [facts[:half], facts[half:]])
    assert engine.failures == {}
    daemon = Daemon(chosen)
    for at in range(0, len(facts), 4):
        daemon.poll(facts[at : at + 4])
        daemon.restart()
    assert shown(daemon.end()) == shown(closed)
    times = [fact.time for fact in facts]
    expected = []
    for bucket in ("a00", "b00", "c00", "d00") if facts else ():
        heard = [fact.time for fact in facts if fact.bucket == bucket and fact.op == "read"]
        heard += [min(times)] if bucket in expect else []
        expected += [(bucket, *gap) for gap in silences(heard, max(times))]
    assert sorted((f.group["bucket"], f.opened_at, f.last_at, int(f.peak_value)) for f in closed) == sorted(expected)


@settings(max_examples=60)
@given(FACTS)
def test_without_a_level_all_records_are_one(facts):
    _, closed = replayed(rule(), [facts])
    heard = [fact.time for fact in facts if fact.op == "read"]
    assert [f.group for f in closed] == [{}] * len(closed)
    assert [(f.opened_at, f.last_at, int(f.peak_value)) for f in closed] == (
        silences(heard, max(fact.time for fact in facts)) if facts else []
    )


@settings(max_examples=100)
@given(st.permutations(range(12)), st.sets(st.integers(0, 30), max_size=12), st.booleans())
def test_what_is_told_in_time_ends_as_replay_says(order, missing, reversed_):
    """A watermark that goes on with the records, all of which come in any order: late ones correct what was told."""
    slots = [slot for slot in range(31) if slot not in missing]
    facts = [Fact(T0 + slot * 60, bucket=f"b{slot % 2}") for slot in slots]
    chunks = [facts[number::12] for number in order]
    chosen = rule(group_by="bucket")
    engine = Engine([chosen], watches(gather=True), watermark=Watermark(dict.fromkeys(Log, 0)))
    told = []
    for chunk in reversed(chunks) if reversed_ else chunks:
        engine.process(batch(chunk), NOW)
        told += engine.judge() + engine.advance(NOW, backlog=False)
    told += engine.finish()
    assert engine.failures == {}
    last = {one: f for f in told for one in f.alert_ids}
    assert {f.state for f in last.values()} <= {"closed", "withdrawn"}
    closed = {f.finding_id: f for f in last.values() if f.state == "closed"}
    _, expected = replayed(chosen, [facts])
    assert [(f.opened_at, f.last_at) for f in sorted(closed.values(), key=lambda f: (f.opened_at, f.finding_id))] == [
        (f.opened_at, f.last_at) for f in expected
    ]


def live(chosen: Rule) -> Engine:
    """An engine whose watermark is the greatest event time."""
    return Engine([chosen], watches(gather=True), watermark=Watermark(dict.fromkeys(Log, 0)))


def poll(engine: Engine, *facts: Fact, now: int = NOW) -> list[tuple[str, str, int, int]]:
    engine.process(batch(facts), now)
    told = engine.judge() + engine.advance(now, backlog=False)
    assert engine.failures == {}
    return [(f.state, f.group["bucket"], f.opened_at - T0, f.last_at - T0) for f in told]


def test_it_opens_when_time_has_passed_is_told_again_every_day_and_closes_when_heard_again():
    engine = live(rule(group_by="bucket", every="2h", forget="30d"))
    assert poll(engine, Fact(T0, bucket="a"), Fact(T0, bucket="b")) == []
    assert poll(engine, Fact(T0 + 2 * HOUR, bucket="b")) == []
    assert poll(engine, Fact(T0 + 2 * HOUR + 1, bucket="b")) == [("opened", "a", 7200, 7201)]
    told = [told for hour in range(3, 60) for told in poll(engine, Fact(T0 + hour * HOUR, bucket="b"))]
    assert [state for state, *_ in told] == ["updated"] * len(told)
    assert 2 <= len(told) <= 8
    assert poll(engine, Fact(T0 + 60 * HOUR, bucket="a"), Fact(T0 + 60 * HOUR, bucket="b")) == []
    assert poll(engine, Fact(T0 + 61 * HOUR, bucket="b")) == [("closed", "a", 7200, 60 * HOUR)]


def test_a_late_record_withdraws_or_shortens_it():
    engine = live(rule(group_by="bucket", every="2h", forget="30d"))
    poll(engine, Fact(T0, bucket="a"), Fact(T0, bucket="b"), Fact(T0 + HOUR, bucket="b"))
    assert poll(engine, Fact(T0 + 3 * HOUR, bucket="b")) == [("opened", "a", 7200, 3 * HOUR)]
    assert poll(engine, Fact(T0 + 90 * 60, bucket="a")) == [("withdrawn", "a", 7200, 3 * HOUR)]
    assert poll(engine, Fact(T0 + 9 * HOUR, bucket="a"), Fact(T0 + 10 * HOUR, bucket="b"))[0][0] == "opened"
    assert ("updated", "a", 12600, 5 * HOUR) in poll(engine, Fact(T0 + 5 * HOUR, bucket="a"))


def test_what_was_told_and_let_go_is_not_found_again():
    """Days later a record within what has been forgotten changes nothing, and nothing is kept of it."""
    engine = live(rule(group_by="bucket", every="1h", forget="12h", expect=("aaa", "never")))
    told = [told for hour in range(400) for told in poll(engine, Fact(T0 + hour * HOUR, bucket=("b", "c")[hour % 2]))]
    never = [one for one in told if one[1] == "never"]
    assert [(state, at) for state, _, at, _ in never if state in ("opened", "closed")] == [
        ("opened", HOUR), ("closed", HOUR)
    ]  # fmt: skip
    openings = [(bucket, at) for state, bucket, at, _ in told if state == "opened"]
    assert len(openings) == len(set(openings))
    assert len(next(iter(engine._watches))._spans) < 100
    assert poll(engine, Fact(T0 + 7 * HOUR, bucket="b")) == []


def test_the_end_of_all_logs_is_noticed_by_the_clock():
    engine = live(rule(group_by="bucket", every="2h", forget="30d"))
    assert poll(engine, Fact(T0, bucket="a"), now=T0 + 10) == []
    assert poll(engine, now=T0 + HOUR) == []
    assert [state for state, *_ in poll(engine, now=T0 + 3 * HOUR)] == ["opened"]


def test_a_finding_has_no_records_behind_it():
    """The second pass of a replay reads no file for it."""
    chosen = rule(group_by="bucket")
    _, (finding,) = replayed(chosen, [[Fact(T0), Fact(T0 + 300)]])
    behind = Behind.of(finding, chosen)
    assert behind.after == behind.until < T0
    assert "heard again" in finding.explanation
    assert finding.details["silence"] == {
        "last_heard": "2026-05-01T00:00:00Z", "heard_again": "2026-05-01T00:05:00Z"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"expect": ("a-bucket",)}, "group_by: bucket"),
        ({"expect": ("a-*",), "group_by": "bucket"}, "expect"),
        ({"every": "30s"}, "1m to 366d"),
        ({"every": "5m", "forget": "5m"}, "more than every"),
        ({"group_by": ("bucket", "bucket")}, "each level once"),
        ({"respond": ("revoke",)}, "withdrawn"),
    ],
)
def test_what_makes_no_sense_is_an_error(fields, word):
    with pytest.raises(ValidationError, match=word):
        rule(**fields)


def test_a_year_without_a_gap_is_one_row():
    """What is kept does not grow with the records."""
    chosen = rule(group_by="bucket", every="2h", forget="30d")
    daemon = Daemon(chosen)
    for day in range(40):
        daemon.poll([Fact(T0 + day * DAY + hour * HOUR) for hour in range(24)])
    assert sum(len(part) for name, part in daemon.parts.items() if name.startswith("spans/")) < 2000
    assert daemon.end() == []


def test_a_record_of_the_future_does_not_move_the_end_of_the_data():
    """One record of the year 2099 (a wrong clock, or somebody who writes into a log) makes nobody silent."""
    chosen = rule(group_by="bucket")
    heard = [Fact(T0 + at, bucket=name, key=str(at)) for at in range(0, 5 * EVERY, EVERY // 2) for name in ("a", "b")]
    future = Fact(T0 + 73 * 365 * DAY, bucket="c")
    for facts in (heard, [*heard, future], [future, *heard]):
        engine = Engine([chosen], watches(once=True))
        engine.process(batch(facts), NOW)
        assert engine.finish() == []
