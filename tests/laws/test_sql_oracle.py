"""Laws of findings, by an oracle in SQL: raw records in, the same episodes out, however and whenever they came.

`tests/sql_oracle.py` says the contract's sentences a second time, in DuckDB. Here the engine gets the same records as
CloudTrail files: as replay does, in any order and any cut, and as the daemon does, late and disordered.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.access import Log
from detector.core.engine import HORIZON, Engine
from detector.core.finding import Finding
from detector.core.rule import DISTINCT_MEASURES, Level, Measure, Threshold
from detector.core.watermark import Watermark
from detector.watches import watches
from tests.sql_oracle import ACCOUNT, Episode, Fact, batch, episodes, found
from tests.streams import NOW, rule

T0 = 1_777_626_000
HOUR = 3600
DAY = 24 * HOUR
LEVELS, MEASURES = get_args(Level), get_args(Measure)
WINDOWS = (10, 13, 60, 300, HOUR, HOUR + 60, 2 * HOUR, DAY, 2 * DAY, 30 * DAY)
"""Seconds; over an hour they count in minutes."""


def of_role(name: str, session: str, path: str = "/", **more: str) -> Fact:
    """A session of a role."""
    return Fact(
        "", 0, principal_id=f"AROA{name.upper()}:{session}", access_key=f"ASIA{name}{session}",
        arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{session}",
        issuer_arn=f"arn:aws:iam::{ACCOUNT}:role{path}{name}",
    )._replace(**more)  # fmt: skip


def bare(kind: str, **more: str) -> Fact:
    """An identity that is no session of a role that is known in full."""
    return Fact(
        "", 0, type=kind, principal_id=None, arn=None, account=None, access_key=None, issuer_arn=None
    )._replace(**more)  # fmt: skip


SSO = "/aws-reserved/sso.amazonaws.com/"
WHO = [
    of_role("Reader-1", "thief"),
    of_role("Reader-1", "thief", access_key="ASIARENEWED"),
    of_role("Reader-1", "other", invoked_by="athena.amazonaws.com"),
    of_role("Reader-2", "thief", "/vendors/"),
    of_role("Trainer", "job", source_identity="dana"),
    of_role("AWSReservedSSO_Analyst_4f6c1d2a9be03857", "dana", SSO),
    of_role("Portal", "x", on_behalf_of="544894e8-1"),
    bare("AWSAccount", principal_id="AROAFOREIGN:etl", account="444455556666"),
    bare("IAMUser", principal_id="AIDADANA", arn=f"arn:aws:iam::{ACCOUNT}:user/labs/dana", account=ACCOUNT),
    bare("Root", principal_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root", account=ACCOUNT),
    bare("AWSAccount", account="anonymous"),
    bare("AWSService", invoked_by="replication.s3.amazonaws.com"),
]
"""Every kind of the contract's table; some are one and the same at some level."""
ADDRESSES = [
    "198.51.100.7", "198.51.100.9", "203.0.113.5", "10.0.0.1", "2001:db8:1:2::3", "2001:db8:1:9::3",
    "athena.amazonaws.com", "AWS Internal", "AWS Internal/4", None,
]  # fmt: skip


def at_edges(window: int, steps: Sequence[int], seed: int, *, few: bool = True) -> list[Fact]:
    """Records whose distances (numbered by `steps`) lie about the edges of windows, minutes and nothing at all.

    few: of one to three identities, so that they crowd in few groups; else of all.
    """
    gaps = (0, 0, 0, 1, 59, 60, window // 3, window - 1, window, window + 1)
    choose = random.Random(seed)
    people = choose.sample(WHO, choose.randint(1, 3)) if few else WHO
    addresses = choose.sample(ADDRESSES, choose.randint(1, 4)) if few else ADDRESSES
    endpoints = choose.choice([[None], ["vpce-1"], [None, None, "vpce-1", "vpce-2"]]) if few else [None, "vpce-1", None]
    time, facts = T0 + choose.choice([0, 1, 59, seed]), []
    for number, step in enumerate(steps):
        time += gaps[step % len(gaps)]
        facts.append(
            choose.choice(people)._replace(
                id=f"e{number}",
                time=time,
                address=choose.choice(addresses),
                endpoint=choose.choice(endpoints),
                bucket=choose.choice(["ml-voice", "ml-face"]),
                key=choose.choice(["top", "raw/a.wav", "raw/b.wav", "raw/x/a.wav", "raw/x/b.wav"]),
                bytes=choose.randrange(4),
                api=choose.choice(["GetObject"] * 19 + ["PutObject"]),
                error=choose.choice([None] * 19 + ["AccessDenied"]),
            )
        )
    return facts


def at(*seconds: int, keys: str = "") -> list[Fact]:
    """One read a second named, each of another object, or of those named."""
    return [Fact(f"e{n}", T0 + s, key=keys[n] if keys else f"k{n}") for n, s in enumerate(seconds)]


def measurable(measure: str, facts: Iterable[Fact]) -> list[Fact]:
    """Where addresses are counted every record has one."""
    needed = measure in ("source_ips", "source_nets")
    return [fact._replace(address=fact.address or "203.0.113.77") if needed else fact for fact in facts]


def grouped(measure: str, levels: Sequence[str], window: int, threshold: int, **more: object) -> Threshold:
    where = {"operation": "GetObject"}
    return rule(measure, window, threshold, group_by=tuple(levels), where=where, **more)


def replayed(chosen: Threshold, batches: Iterable[Sequence[Fact]]) -> list[Episode]:
    """What a replay closes: a second run where differing copies came in an unlucky order."""
    cut = [batch(facts) for facts in batches]
    engine = Engine([chosen], watches(), best_copies=True)
    for one in cut:
        engine.process(one, NOW)
    if engine.needs_second_run:
        engine = Engine([chosen], watches(), best_copies=True, **engine.second_run())
        for one in cut:
            engine.process(one, NOW)
    assert engine.books.balance()
    assert engine.failures == {}
    return found(f for f in engine.finish() if f.state == "closed")


def foreign(fact: Fact) -> Fact:
    """The copy of a record in the bucket owner's trail: principal id and account, nothing else of who it was."""
    if not (fact.principal_id or "").startswith("AROA"):
        return fact
    return fact._replace(
        type="AWSAccount", arn=None, issuer_arn=None, access_key=None, source_identity=None, on_behalf_of=None
    )


# --- every measure at every level


ALONE = {
    ("session", "sessions"), ("session", "roles"), ("role", "roles"), ("access_key", "sessions"),
    ("access_key", "roles"), ("source_ip", "source_ips"), ("bucket", "buckets"), ("source_net", "source_nets"),
    ("vpc_endpoint", "source_nets"),
}  # fmt: skip
"""A group at this level has one member by its nature: such a rule can never reach two."""


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("level", LEVELS)
def test_every_measure_at_every_level_is_what_sql_counts(level, measure):
    """Two streams each: one counted in seconds, one in minutes."""
    for window, seed in ((HOUR, 1), (2 * HOUR, 2)):
        choose = random.Random(seed)
        facts = measurable(measure, at_edges(window, [choose.randrange(7) for _ in range(80)], seed, few=False))
        chosen = grouped(measure, [level], window, 2)
        expected = episodes(chosen, facts)
        assert bool(expected) is ((level, measure) not in ALONE)
        assert replayed(chosen, [facts]) == expected


# --- any stream, any order, any cut

steps_ = st.lists(st.integers(0, 9), min_size=5, max_size=50)
levels_ = st.lists(st.sampled_from(LEVELS), min_size=1, max_size=3, unique=True)


@given(
    steps=steps_,
    seed=st.integers(0, 9999),
    measure=st.sampled_from(MEASURES),
    levels=levels_,
    window=st.sampled_from(WINDOWS),
    threshold=st.integers(1, 4),
    cuts=st.integers(1, 5),
)
def test_replay_finds_what_sql_finds_in_any_order(steps, seed, measure, levels, window, threshold, cuts):
    """Shuffled, cut anywhere, with copies, some of them the other account's: the episodes of the distinct records."""
    facts = measurable(measure, at_edges(window, steps, seed))
    choose = random.Random(seed)
    mixed = facts + choose.choices(facts, k=5) + [foreign(fact) for fact in choose.choices(facts, k=5)]
    choose.shuffle(mixed)
    chosen = grouped(measure, levels, window, threshold)
    assert replayed(chosen, [mixed[i::cuts] for i in range(cuts)]) == episodes(chosen, facts)


@settings(max_examples=30)
@given(steps=steps_, seed=st.integers(0, 9999), first=st.sampled_from(["odd", "rest"]))
def test_declared_peer_groups_are_what_sql_matches(steps, seed, first):
    """The first declared group that fits, else the stem."""
    facts = at_edges(60, steps, seed)
    declared = {"odd": ("*:role/Reader-?", "*:user/*"), "rest": ("*Reader*", "*Trainer")}
    chosen = grouped("requests", ["peer_group"], 60, 2, peer_groups={first: declared[first]} | declared)
    assert replayed(chosen, [facts]) == episodes(chosen, facts)


@settings(max_examples=50)
@given(
    steps=steps_,
    seed=st.integers(0, 9999),
    measure=st.sampled_from(sorted(DISTINCT_MEASURES)),
    level=st.sampled_from(LEVELS),
    cap=st.integers(1, 4),
)
def test_past_the_cap_the_value_is_the_cap(steps, seed, measure, level, cap):
    """A cap of 3 is the same law as one of 100,000: values beyond it are it, and the first such second is the peak.

    The finding says that there was more, and only then.
    """
    facts = measurable(measure, at_edges(300, steps, seed))
    chosen = grouped(measure, [level], 300, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detector.core.threshold.DISTINCT_CAP", cap)
        assert replayed(chosen, [facts]) == episodes(chosen, facts, cap)


# --- the daemon: late, disordered, in polls

LATENESS = 1200
KEPT = 10_000 * DAY
"""A horizon behind which nothing lies: what memory lets go is a law of its own, below."""

DELAYS = (0, 0, 60, LATENESS, LATENESS + 1, 2 * HOUR, 30 * HOUR)
delays_ = st.lists(st.sampled_from(DELAYS), min_size=5, max_size=50)


def delivered(facts: Sequence[Fact], delays: Sequence[int]) -> list[tuple[int, Fact]]:
    """(arrival, record) in order of arrival; every seventh record comes twice, an hour apart.

    Half an hour before each delayed record comes one that no rule counts, fresh: event time has gone on meanwhile.
    """
    arrivals = [(fact.time + delays[n % len(delays)], fact) for n, fact in enumerate(facts)]
    again = [(arrival + HOUR, fact) for arrival, fact in arrivals[::7]]
    idle = [
        fact._replace(id=f"i{n}", time=arrival - 1800, api="PutObject") for n, (arrival, fact) in enumerate(arrivals)
    ]
    fresh = [(new.time, new) for new, (_, fact) in zip(idle, arrivals, strict=True) if new.time > fact.time]
    return sorted(arrivals + again + fresh, key=lambda item: item[0])


def watched(chosen: Threshold, polls: Iterable[Sequence[tuple[int, Fact]]], horizon: int = KEPT) -> list[Episode]:
    """What a daemon has said last about everything it closed: a correction takes the place of what it corrects."""
    lateness = Watermark(dict.fromkeys(Log, LATENESS))
    engine = Engine([chosen], watches(gather=True), watermark=lateness, horizon=horizon)
    said: list[Finding] = []
    for poll in polls:
        now = max(arrival for arrival, _ in poll)
        engine.process(batch([fact for _, fact in poll]), now)
        said += engine.judge() + engine.advance(now, backlog=False)
    said += engine.finish()
    assert engine.books.balance()
    assert engine.failures == {}
    opened = [one for finding in said if finding.state == "opened" for one in finding.alert_ids]
    assert len(opened) == len(set(opened))
    assert set(opened) == {one for finding in said if finding.state == "closed" for one in finding.alert_ids}
    return found(_corrected(said))


def _corrected(said: Iterable[Finding]) -> list[Finding]:
    last: list[Finding] = []
    for finding in said:
        if finding.state == "closed":
            last = [old for old in last if not set(old.alert_ids) & set(finding.alert_ids)] + [finding]
    return last


@given(
    steps=steps_,
    seed=st.integers(0, 9999),
    delays=delays_,
    measure=st.sampled_from(MEASURES),
    levels=levels_,
    window=st.sampled_from(WINDOWS),
    threshold=st.integers(1, 4),
    size=st.integers(1, 12),
)
def test_the_daemon_ends_with_what_sql_finds(steps, seed, delays, measure, levels, window, threshold, size):
    """Late by up to 30 hours, out of order, twice: what was said last of every finding is what the whole set says."""
    facts = measurable(measure, at_edges(window, steps, seed))
    arrived = delivered(facts, delays)
    chosen = grouped(measure, levels, window, threshold)
    polls = [arrived[i : i + size] for i in range(0, len(arrived), size)]
    assert watched(chosen, polls) == episodes(chosen, facts)


@pytest.mark.parametrize("first", range(290, 311))
def test_the_end_of_a_burst_may_come_before_its_beginning(first):
    """Wherever the edges of internal buckets are: the late half makes the crossing of the half that was there."""
    early, last = at(first, first + 9)
    chosen = grouped("objects", ["session"], 10, 2)
    expected = [((early.arn,), last.time, last.time, 2, last.time, False)]
    assert episodes(chosen, [early, last]) == expected
    assert watched(chosen, [[(last.time, last)], [(last.time + HOUR, early)]]) == expected
    assert replayed(chosen, [[last], [early]]) == expected


# --- what memory lets go


def test_what_was_closed_long_ago_is_not_opened_again():
    """A job that crosses every night is one finding a night: no night is told of twice, however many follow."""
    nights = [[(T0 + night * DAY + 60, fact) for fact in pair(night)] for night in range(6)]
    chosen = grouped("requests", ["session"], 300, 2)
    assert watched(chosen, nights, HORIZON) == episodes(chosen, [fact for poll in nights for _, fact in poll])


def pair(night: int) -> list[Fact]:
    """Two reads in one night."""
    return [Fact(f"{night}/{n}", T0 + night * DAY + n) for n in range(2)]


def test_who_it_was_is_known_until_the_window_has_passed():
    """A window longer than the horizon: the closed finding still shows the session's ARN."""
    chosen = grouped("requests", ["session"], 30 * DAY, 2)
    quiet = [Fact(f"q{day}", T0 + day * DAY, "Root", None, None, "9", api="PutObject") for day in range(1, 6)]
    facts = [*pair(0), *quiet]
    assert watched(chosen, [[(fact.time + 60, fact)] for fact in facts], HORIZON) == episodes(chosen, facts)


def test_no_address_is_no_member():
    """Records without an address (access logs have such) do not add to the number of distinct addresses."""
    facts = [Fact("a", T0), Fact("b", T0 + 1, address=None)]
    chosen = grouped("source_ips", ["session"], 300, 2)
    assert replayed(chosen, [facts]) == episodes(chosen, facts) == []


# --- edges by hand: engine, oracle and a person agree


def spread(count: int, seconds: int) -> list[Fact]:
    """So many objects read at an even pace."""
    return [Fact(f"e{n}", T0 + n * seconds // count, key=f"k{n}") for n in range(count)]


EDGES = {
    "one below the threshold": ("objects", 300, 3, at(0, 10), []),
    "exactly the threshold": ("objects", 300, 3, at(0, 10, 20), [(20, 20, 3, 20)]),
    "a window later less a second": ("requests", 300, 2, at(0, 299), [(299, 299, 2, 299)]),
    "a window later less a second, over the edge of an internal bucket": (
        "requests", 300, 2, at(1, 300), [(300, 300, 2, 300)],
    ),
    "a window later": ("requests", 300, 2, at(0, 300), []),
    "a burst across the edge of an internal bucket": (
        "objects", 300, 4, at(*range(298, 302)), [(301, 301, 4, 301)],
    ),
    "20,000 in 15 minutes are no 10,000 in five": ("objects", 300, 10_000, spread(20_000, 900), []),
    "12,500 in four minutes are": ("objects", 300, 10_000, spread(12_500, 240), [(191, 239, 12_500, 239)]),
    "crossings a window apart are one": ("objects", 100, 1, at(0, 100), [(0, 100, 1, 0)]),
    "crossings a window and a second apart are two": (
        "objects", 100, 1, at(0, 101), [(0, 0, 1, 0), (101, 101, 1, 101)],
    ),
    "members that return": ("objects", 300, 2, at(10, 20, 400, keys="ABA"), [(20, 20, 2, 20)]),
    "members seen again and again": ("objects", 300, 2, at(0, 1, 250, 301, keys="ABAB"), [(1, 301, 2, 1)]),
    "a day and a second": (
        "objects", 300, 1, at(*range(0, DAY + 1, 300)), [(0, DAY - 300, 1, 0), (DAY, DAY, 1, DAY)],
    ),
    "a window longer than a day is cut by itself": (
        "requests", 2 * DAY, 1, at(0, DAY, 2 * DAY - 60, 2 * DAY),
        [(0, 2 * DAY - 60, 3, 2 * DAY - 60), (2 * DAY, 2 * DAY, 3, 2 * DAY)],
    ),
    "minutes over one hour": ("requests", 7200, 2, at(59, 7199, 7200), [(7140, 7200, 2, 7140)]),
    "the first of equal peaks": ("requests", 60, 2, at(0, 1, 30, 61, 62), [(1, 62, 3, 30)]),
}  # fmt: skip
"""Measure, window, threshold, records → opened_at, last_at, peak_value, peak_at, in seconds after T0."""


@pytest.mark.parametrize("name", EDGES)
def test_at_the_edges_engine_and_sql_say_what_a_person_counts(name):
    """The cases that rules stand or fall by."""
    measure, window, threshold, facts, by_hand = EDGES[name]
    chosen = grouped(measure, ["session"], window, threshold)
    expected = [((facts[0].arn,), T0 + a, T0 + b, value, T0 + c, False) for a, b, value, c in by_hand]
    assert episodes(chosen, facts) == expected
    assert replayed(chosen, [facts[::2], facts[1::2]]) == expected
