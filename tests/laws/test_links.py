"""What joins findings, against an oracle that compares them pair by pair; and what must never join them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import text_hash
from detector.core.finding import Finding
from detector.core.incident import incident
from detector.core.links import WITHIN, Key, Question, joined, network, questions, trace

HOUR = 3600
ROLE = "arn:aws:iam::111122223333:role/Reader"


def session_of(name: str, role: str = "Reader") -> str:
    return f"arn:aws:sts::111122223333:assumed-role/{role}/{name}"


def found(name: str = "a", at: int = 1_000_000, *, number: int = 0, **given_: Any) -> Finding:
    """A finding about one session. `who`, `evidence`, `group`: what else is said."""
    who = {"type": "AssumedRole", "session": session_of(name), "role": ROLE, "account": "111122223333"}
    who |= {"principal_id": f"AROAREADER0001:{name}", "access_key_ids": [f"ASIA{name}"]} | given_.get("who", {})
    return Finding(
        f"{at:08x}{name}{number}", "bulk", "Bulk", "threshold", given_.get("severity", "high"), "closed",
        at, at + given_.get("lasts", 60), 300, "objects", 10, 20, at,
        given_.get("group", {"session": session_of(name)}), number,
        None if given_.get("nobody") else who, "", given_.get("evidence", {}),
    )  # fmt: skip


def nets(*addresses: str) -> dict[str, Any]:
    return {"source_ips": list(addresses)}


def parts(findings: list[Finding], answers: Any = None, callers: Any = lambda _: ()) -> set[frozenset[str]]:
    groups, _ = joined([trace(one, callers) for one in findings], {} if answers is None else answers)
    return {frozenset(findings[one].finding_id for one in group) for group in groups}


def together(findings: list[Finding], **how: Any) -> bool:
    return len(parts(findings, **how)) == 1


# --- the law

NAMES = st.sampled_from("abcd")
SOME = st.builds(
    lambda name, at, number, person, ip, copied, read: found(
        name, at, number=number,
        who={"source_identity": person},
        evidence={"source_ips": ip, "destinations": copied, "buckets": read},
    ),
    NAMES,
    st.integers(0, 12).map(lambda n: 1_000_000 + n * 5 * HOUR),
    st.integers(0, 10_000),
    st.sampled_from([None, None, "ann", "bob"]),
    st.lists(st.sampled_from(["203.0.113.7", "203.0.113.9", "198.51.100.4", "10.0.0.1"]), max_size=2),
    st.lists(st.sampled_from(["out", "raw"]), max_size=1),
    st.lists(st.sampled_from(["out", "raw"]), max_size=2, unique=True),
)  # fmt: skip
CALLERS = {session_of("a"): [session_of("d")], session_of("b"): [session_of("d")]}
CAME = st.dictionaries(
    st.sampled_from(["203.0.113.0/24", "198.51.100.0/24", session_of("d")]), st.sets(st.sampled_from("abcdwxyz"))
)


def near(one: Finding, other: Finding, within: int) -> bool:
    first, second = sorted((one, other), key=lambda f: f.opened_at)
    return second.opened_at - second.window_seconds - first.last_at <= within


def reached(count: int, edges: list[tuple[int, int]]) -> set[frozenset[int]]:
    """Connected components, by walking."""
    left, out = set(range(count)), set()
    while left:
        seen, waiting = set(), [left.pop()]
        while waiting:
            one = waiting.pop()
            seen.add(one)
            waiting += [b for a, b in [*edges, *((b, a) for a, b in edges)] if a == one and b not in seen]
        out.add(frozenset(seen))
        left -= seen
    return out


def alike(one: Finding, other: Finding) -> bool:
    """Whether two findings have something in common that joins by itself."""
    who, whose = one.principal or {}, other.principal or {}
    if who["session"] == whose["session"] or (who["source_identity"] or 0) == whose["source_identity"]:
        return near(one, other, 24 * HOUR)
    return False


def copied(copier: Finding, reader: Finding) -> bool:
    new = set(copier.evidence["destinations"]) - set(copier.evidence["buckets"])
    then = reader.last_at >= copier.opened_at - 300 and reader.opened_at - 300 - copier.last_at <= 7 * 24 * HOUR
    return bool(new & set(reader.evidence["buckets"])) and then


def ways_of(one: Finding) -> set[tuple[str, str]]:
    session = (one.principal or {})["session"]
    ips = {ip.rpartition(".")[0] + ".0/24" for ip in one.evidence["source_ips"] if ip != "10.0.0.1"}
    return {("network", ip) for ip in ips} | {("chain", way) for way in (session, *CALLERS.get(session, ()))}


def same_way(findings: list[Finding], came: dict[str, set[str]]) -> Iterator[tuple[int, int]]:
    for kind, way in sorted({way for one in findings for way in ways_of(one)}):
        numbers = [number for number, one in enumerate(findings) if (kind, way) in ways_of(one)]
        within = {"network": 6, "chain": 24}[kind] * HOUR
        pairs = combinations(range(len(numbers)), 2)
        close = [(a, b) for a, b in pairs if near(findings[numbers[a]], findings[numbers[b]], within)]
        for part in reached(len(numbers), close):
            some = [numbers[one] for one in part]
            names = {(findings[one].principal or {})["session"] for one in some}
            seen = {session_of(name) for name in came.get(way, ())}
            if way in names or len(seen - names) <= len(seen & names) > 0:
                yield from pairwise(some)


def oracle(findings: list[Finding], came: dict[str, set[str]]) -> set[frozenset[str]]:
    """Pair by pair: what two findings have in common, and whether it counts."""
    pairs = [(a, b, findings[a], findings[b]) for a, b in combinations(range(len(findings)), 2)]
    edges = [(a, b) for a, b, one, other in pairs if alike(one, other) or copied(one, other) or copied(other, one)]
    edges += same_way(findings, came)
    return {frozenset(findings[one].finding_id for one in part) for part in reached(len(findings), edges)}


@given(findings=st.lists(SOME, max_size=9, unique_by=lambda f: f.finding_id), came=CAME, seed=st.integers(0, 99))
def test_findings_join_as_pairs_do_in_any_order(findings: list[Finding], came: Any, seed: int) -> None:
    """Incidents are the connected components, whatever the order; they have the same ids and links."""
    callers = lambda session: CALLERS.get(session, ())  # noqa: E731
    traces = [trace(one, callers) for one in findings]
    keys = {key for one in traces for key in one.keys}

    class Answers(dict[Question, frozenset[int]]):
        def get(self, question: Question, default: Any = None) -> Any:
            names = came.get(question.key.what)
            return default if names is None else frozenset(text_hash(session_of(name)) for name in names)

    expected = oracle(findings, came)
    assert parts(findings, Answers(), callers) == expected
    mixed = random.Random(seed).sample(findings, len(findings))
    assert parts(mixed, Answers(), callers) == expected
    ids = [{incident([f for f in order if f.finding_id in part], (), None).incident_id for part in expected}
           for order in (findings, mixed)]  # fmt: skip
    assert ids[0] == ids[1]
    assert len(ids[0]) == len(expected)
    # what is asked is enough: all else can be told without
    asked = {question: Answers().get(question, frozenset()) for question in questions(traces)}
    asked = {question: came_ for question, came_ in asked.items() if question.key.what in came}
    assert parts(findings, asked, callers) == expected
    assert all(key.kind in WITHIN for key in keys)


# --- what joins, and what does not


@pytest.mark.parametrize(
    "said",
    [
        {"who": {"source_identity": "ann"}},
        {"who": {"identity_center_user": "9067f0-11"}},
        {"who": {"access_key_ids": ["AKIAONE"]}},
    ],
)
def test_one_person_or_key_in_two_sessions_is_one_incident_within_a_day(said: dict[str, Any]) -> None:
    first, later, next_week = found("a", **said), found("b", 1_000_000 + 20 * HOUR, **said), 1_000_000 + 200 * HOUR
    assert together([first, later])
    assert not together([first, found("b", next_week, **said)])


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"who": {"source_identity": "", "identity_center_user": None, "access_key_ids": [None, ""]}},
        {"who": {"session": "service:athena.amazonaws.com", "principal_id": None}},
        {"who": {"session": "anonymous", "role": "anonymous"}, "group": {"role": "anonymous"}},
        {"nobody": True, "group": {"bucket": "raw"}, "evidence": {"buckets": ["raw"]}},
        {"nobody": True, "group": {"account": "111122223333"}, "evidence": {"sessions": [session_of("x")]}},
        {"nobody": True, "group": {"session_name": "botocore-session-1"}},
        {"evidence": {"source_ips": ["10.0.0.1", "AWS Internal", "athena.amazonaws.com"], "vpc_endpoints": ["vpce-1"]}},
        {"evidence": {"buckets": ["raw"], "user_agents": ["Boto3"], "prefixes": ["raw/"], "regions": ["us-east-1"]}},
        {"evidence": {"destinations": ["backup"]}},
    ],
)
def test_what_names_nobody_joins_nobody(said: dict[str, Any]) -> None:
    """Null, anonymous, services, accounts, buckets, private addresses, endpoints; two who copy into one bucket."""
    findings = [found("a", number=1, **said), found("b", number=2, **said)]
    assert not together(findings)
    assert not questions([trace(one) for one in findings])


def way(*names: str, ip: str = "203.0.113.7") -> tuple[list[Finding], Question]:
    """Findings of sessions that came from one network, and what has to be asked about it."""
    findings = [found(name, 1_000_000 + n * HOUR, evidence=nets(ip)) for n, name in enumerate(names)]
    (question,) = questions([trace(one) for one in findings])
    return findings, question


def test_a_network_joins_only_if_no_more_others_came_from_it_then() -> None:
    """A thief's own network does; an office's way out does not, nor one of which nothing is known."""
    findings, question = way("a", "b", "c")
    assert question == Question(Key("network", "203.0.113.0/24"), 1_000_000 - 300 - 6 * HOUR, 1_000_000 + 2 * HOUR + 60)
    came = lambda others: {question: frozenset(text_hash(session_of(n)) for n in ["a", "b", "c", *others])}  # noqa: E731
    assert together(findings, answers=came([]))
    assert together(findings, answers=came("uvw"))
    assert parts(findings, came("uvwx")) == {frozenset([one.finding_id]) for one in findings}
    assert not together(findings, answers={})


def test_a_network_joins_for_hours_and_not_for_days() -> None:
    findings = [
        found("a", evidence=nets("203.0.113.7")),
        found("b", 1_000_000 + 8 * HOUR, evidence=nets("203.0.113.8")),
    ]
    assert not questions([trace(one) for one in findings])


def test_a_finding_about_a_network_itself_joins_whoever_came_from_it() -> None:
    about = found(nobody=True, group={"source_net": "203.0.113.0/24"}, evidence={"sessions": [session_of("z")]})
    findings = [
        about,
        found("a", number=1, evidence=nets("203.0.113.7")),
        found("b", number=2, evidence=nets("203.0.113.8")),
    ]
    assert together(findings)


def test_sessions_that_a_session_began_join_if_it_is_in_a_finding_or_began_hardly_any_other() -> None:
    """A session that hands out others to everybody joins nobody."""
    chain = {"callers": lambda session: [session_of("broker")] if session != session_of("broker") else []}
    findings = [found("a"), found("b", number=1)]
    (question,) = questions([trace(one, chain["callers"]) for one in findings])
    began = lambda *names: {question: frozenset(text_hash(session_of(name)) for name in names)}  # noqa: E731
    assert together(findings, answers=began("a", "b"), **chain)
    assert not together(findings, answers=began("a", "b", "u", "v", "w"), **chain)
    assert together([*findings, found("broker")], answers={}, **chain)


def test_whoever_reads_where_copies_went_is_of_the_incident_not_before_and_not_weeks_later() -> None:
    copied = found("a", evidence={"destinations": ["elsewhere"], "buckets": ["raw"]})
    read = lambda hours: found("b", 1_000_000 + hours * HOUR, evidence={"buckets": ["elsewhere"]})  # noqa: E731
    assert together([copied, read(30)])
    assert not together([copied, read(-2)])
    assert not together([copied, read(24 * 9)])
    assert not together(
        [found("a", evidence={"destinations": ["raw"], "buckets": ["raw"]}), found("b", evidence={"buckets": ["raw"]})]
    )


@pytest.mark.parametrize(
    ("text", "net"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("2001:db9:1:2::5", "2001:db9:1::/48"),
        *((text, "") for text in ("10.1.2.3", "10.1.2.0/24", "fd00::1", "vpce-1", "AWS Internal", "", None, 7, "x/24")),
    ],
)
def test_a_network_is_a_public_one(text: Any, net: str) -> None:
    assert network(text) == net
