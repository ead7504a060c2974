"""Laws of the kinds, against oracles that count by brute force, straight from the sentences in rules/README.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detector.core.access import Log
from detector.core.engine import Engine
from detector.core.rule import KINDS, Rule
from detector.core.sequence import SequenceWatch
from detector.core.times import iso
from detector.core.view import BatchView
from detector.core.watermark import Watermark
from detector.watches import watches
from tests.kinds import DAY, NOW, T0, Daemon, Fact, batch, replayed, shown

Episode = tuple[str, int, int, int]
"""Group, opened_at, last_at, peak."""


def rule(kind: str, **fields: object) -> Rule:
    common = {"id": "r", "title": "t", "severity": "high", "kind": kind}
    return KINDS[kind].model_validate(common | fields)  # type: ignore[return-value]


def episodes(group: str, values: dict[int, int], threshold: int, gap: int) -> list[Episode]:
    """The runs of seconds at or above the threshold, at most `gap` apart, each shorter than a day."""
    runs: list[list[int]] = []
    for t in sorted(values):
        if values[t] >= threshold:
            joins = runs and t - runs[-1][-1] <= gap and t < runs[-1][0] + max(DAY, gap)
            runs[-1].append(t) if joins else runs.append([t])
    return [(group, run[0], run[-1], max(values[t] for t in run)) for run in runs]


def found(chosen: Rule, facts: Sequence[Fact], level: str) -> list[Episode]:
    """What replay closes, in two batches; the daemon, poll by poll in this order, closes the same."""
    half = len(facts) // 2
    engine, closed = replayed(chosen, [facts[:half], facts[half:]])
    assert engine.failures == {}
    daemon = Daemon(chosen)
    for at in range(0, len(facts), 5):
        daemon.poll(facts[at : at + 5])
        if at % 3 == 0:
            daemon.restart()
    assert shown(daemon.end()) == shown(closed)
    last = {one: f.state for f in daemon.told for one in f.alert_ids}
    assert set(last.values()) <= {"closed", "withdrawn"}
    return sorted((f.group[level].rpartition("/")[2], f.opened_at, f.last_at, int(f.peak_value)) for f in closed)


# --- scope


def allowed(fact: Fact) -> bool:
    head, _, id_ = fact.name.partition("-")
    return head == "c" and id_ != "" and fact.key.startswith(f"{id_}/")


@settings(max_examples=60)
@given(
    st.lists(
        st.builds(
            Fact,
            time=st.integers(T0, T0 + 300),
            name=st.sampled_from(["c-1", "c-12", "c-*", "c-", "d-1", "c-1/2", "c-{id}", "c-.*"]),
            key=st.sampled_from(["1/a", "12/a", "*/a", "1/2/a", "/a", "1", ".*/a", "{id}/b", "11/"]),
        ),
        min_size=6,
        max_size=25,
        unique=True,
    ),
    st.sampled_from([("{id}/**",), ("{id}/**", "{id}/*")]),
)
def test_scope(facts, patterns):
    """Who touches what his name does not say: counted, whatever the name is made of."""
    chosen = rule("scope", session_name="c-{id}", allowed_key=patterns, window="30s", threshold=2, measure="objects")
    expected: list[Episode] = []
    for name in {f.name for f in facts}:
        out = [f for f in facts if f.name == name and not allowed(f)]
        values = {f.time: len({g.key for g in out if f.time - 30 < g.time <= f.time}) for f in out}
        expected += episodes(name.rpartition("/")[2], values, 2, 30)
    assert found(chosen, facts, "session") == sorted(expected)


@pytest.mark.parametrize(
    ("patterns", "role", "name", "key", "fires"),
    [
        ({"session_name": "{team}-{id}", "allowed_key": "{team}/{id}/**"}, "R", "a-b-c", "a/b-c/k", False),
        ({"session_name": "{team}-{id}", "allowed_key": "{team}/{id}/**"}, "R", "a-b-c", "a-b/c/k", True),
        ({"session_name": "{id}-{id}", "allowed_key": "{id}/**"}, "R", "a-a", "a/k", False),
        ({"session_name": "{id}-{id}", "allowed_key": "{id}/**"}, "R", "a-b", "a/k", True),
        ({"session_name": ("x-{id}", "y-{id}"), "allowed_key": ("{id}/*", "open/**")}, "R", "y-1", "open/a/b", False),
        ({"session_name": ("x-{id}", "y-{id}"), "allowed_key": ("{id}/*", "open/**")}, "R", "y-1", "1/a/b", True),
        ({"role": "*:role/v-{id}", "allowed_key": "{id}/**"}, "v-7", "anything", "7/k", False),
        ({"role": "*:role/v-{id}", "allowed_key": "{id}/**"}, "v-7", "8", "8/k", True),
        ({"role": "*:role/v-{id}", "session_name": "{id}-*", "allowed_key": "{id}/**"}, "v-7", "7-x", "7/k", False),
        ({"role": "*:role/v-{id}", "session_name": "{id}-*", "allowed_key": "{id}/**"}, "v-7", "8-x", "8/k", True),
        ({"session_name": "{b}", "allowed_bucket": "{b}oice"}, "R", "v", "k", False),
        ({"session_name": "{b}", "allowed_bucket": "{b}oice", "allowed_key": "raw/**"}, "R", "v", "k", True),
    ],
)
def test_a_name_is_read_in_one_way_only(patterns, role, name, key, fires):
    """Several patterns, placeholders, what comes from the role; case by case."""
    _, closed = replayed(rule("scope", **patterns), [[Fact(T0, name, role, key=key)]])
    assert bool(closed) is fires


# --- first_seen

LEARN, FORGET = DAY + 100, 3 * DAY


def new_in(facts: Sequence[Fact], group: str) -> dict[tuple[int, str], None]:
    """(second, value) of everything that is new in a group, once it is known for long enough."""
    mine = [f for f in facts if f.bucket == group]
    seen_on = {(f.time // DAY, f.role) for f in mine}
    days = sorted({f.time // DAY for f in mine})
    out: dict[tuple[int, str], None] = {}
    for f in mine:
        day = f.time // DAY
        first = f.time == min(g.time for g in mine if g.role == f.role and g.time // DAY == day)
        if first and not any((day - back, f.role) in seen_on for back in range(1, FORGET // DAY + 1)):
            run = [day]
            for other in reversed([d for d in days if d < day]):
                if run[-1] - other > FORGET // DAY:
                    break
                run.append(other)
            since = min(g.time for g in mine if g.time // DAY == run[-1])
            if f.time - since >= LEARN:
                out[f.time, f.role] = None
    return out


seconds_ = st.sampled_from([0, 1, 99, 100, 101, 150, 86_399])
sightings_ = st.lists(
    st.builds(
        Fact,
        time=st.builds(lambda day, second: T0 + day * DAY + second, st.integers(0, 9), seconds_),
        name=st.sampled_from(["a", "b"]),
        role=st.sampled_from(["R0", "R1", "R2", "R3"]),
        bucket=st.sampled_from(["one", "two"]),
        key=st.sampled_from(["k0", "k1"]),
    ),
    min_size=10,
    max_size=40,
    unique=True,
)  # fmt: skip


@settings(max_examples=20)
@given(sightings_, st.sampled_from([1, 2]))
def test_first_seen(facts, threshold):
    """New roles in a bucket, in any order of records: what was new only so far is taken back."""
    chosen = rule(
        "first_seen", group_by="bucket", what="role", learn=f"{LEARN}s", forget="3d", window="100s", threshold=threshold
    )
    expected: list[Episode] = []
    for group in ("one", "two"):
        new = new_in(facts, group)
        values = {t: len({v for s, v in new if t - 100 < s <= t}) for t, _ in new}
        expected += episodes(group, values, threshold, 100)
    assert found(chosen, facts, "bucket") == sorted(expected)


@settings(max_examples=40)
@given(sightings_)
def test_what_the_new_do(facts):
    """Sessions of a role that is new to a bucket, within a while of its first time there."""
    chosen = rule(
        "first_seen", group_by="bucket", what="role", learn=f"{LEARN}s", forget="3d", new_within="100s",
        measure="sessions", window="60s", threshold=2,
    )  # fmt: skip
    expected: list[Episode] = []
    for group in ("one", "two"):
        new = new_in(facts, group)
        for role in {f.role for f in facts}:
            mine = [f for f in facts if (f.bucket, f.role) == (group, role)]
            young = [f for f in mine if any(v == role and s <= f.time <= s + 100 for s, v in new)]
            values = {f.time: len({g.name for g in young if f.time - 60 < g.time <= f.time}) for f in young}
            expected += episodes(f"{group}:{role}", values, 2, 60)
    closed = found(chosen, facts, "bucket")
    assert sorted(e[1:] for e in closed) == sorted(e[1:] for e in expected)


def test_an_earlier_record_takes_a_finding_back():
    """Told, then withdrawn under the same alert id; and what is new instead is told."""
    chosen = rule("first_seen", group_by="bucket", what="role", learn="1d", window="1m")
    daemon = Daemon(chosen)
    daemon.poll([Fact(T0, role="Old"), Fact(T0 + 3 * DAY, role="New")])
    assert [(f.state, f.opened_at) for f in daemon.told] == [("opened", T0 + 3 * DAY)]
    assert daemon.told[0].details["first_seen"] == {
        "what": "role", "new": ["arn:aws:iam::111122223333:role/New"], "known_since": "2026-05-01T00:00:00Z",
    }  # fmt: skip
    daemon.restart()
    daemon.poll([Fact(T0 + 3600, role="New")])
    assert [(f.state, f.opened_at) for f in daemon.told[1:]] == [("withdrawn", T0 + 3 * DAY)]
    assert daemon.told[1].alert_ids == daemon.told[0].alert_ids
    assert daemon.end() == []


def test_a_late_record_takes_back_what_was_closed():
    """Below the watermark, after the last word: withdrawn, and it says late."""
    chosen = rule("first_seen", group_by="bucket", what="role", learn="1d", window="1m")
    engine = Engine([chosen], watches(gather=True), watermark=Watermark(dict.fromkeys(Log, 0)))

    def poll(*facts: Fact) -> list[tuple[str, bool, tuple[str, ...]]]:
        now = T0 + 3 * DAY + 7200
        engine.process(batch(facts), now)
        return [(f.state, f.late, f.alert_ids) for f in engine.judge() + engine.advance(now, backlog=False)]

    assert poll(Fact(T0, role="Old")) == []
    ((opened, _, ids),) = poll(Fact(T0 + 3 * DAY, role="New"))
    assert opened == "opened"
    assert poll(Fact(T0 + 3 * DAY + 3600, role="Old")) == [("closed", False, ids)]
    assert poll(Fact(T0 + 3600, role="New")) == [("withdrawn", True, ids)]
    assert poll(Fact(T0 + 3601, role="New")) == []


def test_private_addresses_are_never_new():
    """Neither as networks nor as addresses; public ones and VPC endpoints are."""
    for what, new in (("source_net", ["198.51.100.0/24"]), ("source_ip", ["198.51.100.9"])):
        chosen = rule("first_seen", group_by="bucket", what=what, learn="1d")
        later = [Fact(T0 + 2 * DAY, address=a) for a in ("10.1.2.3", "::ffff:192.168.0.1", "fd00::1", "198.51.100.9")]
        _, closed = replayed(chosen, [[Fact(T0, address="8.8.8.8"), *later]])
        assert [f.details["first_seen"]["new"] for f in closed] == [new]


def test_what_was_let_go_is_known_all_the_same():
    """Days behind the horizon leave memory down to the last sighting of each; nothing old is new for that."""
    chosen = rule("first_seen", group_by="bucket", what="role", learn="1d", forget="10d", window="1m")
    engine = Engine([chosen], watches(gather=True), watermark=Watermark(dict.fromkeys(Log, 0)), horizon=DAY)
    told, store = [], dict[str, bytes]()
    for day in range(60):
        now = T0 + day * DAY
        roles = ["Daily", *(["Weekly"] if day % 7 == 0 else []), *(["Rarely"] if day % 20 == 5 else [])]
        engine.process(batch([Fact(now + n, role=role) for n, role in enumerate(roles)]), now)
        told += engine.judge() + engine.advance(now, backlog=False)
        for name, part in engine.changes().items():
            store.pop(name, None) if part is None else store.__setitem__(name, part)
    assert engine.failures == {}
    opened = [((f.opened_at - T0) // DAY, f.details["first_seen"]["new"]) for f in told if f.state == "opened"]
    assert opened == [(day, ["arn:aws:iam::111122223333:role/Rarely"]) for day in (5, 25, 45)]
    [watch] = engine._watches
    assert len(watch._pairs.rows) <= 3 + 4  # type: ignore[attr-defined]  # three roles, and what the last two days brought
    assert len(watch._groups.rows) <= 13  # type: ignore[attr-defined]


# --- sequence

STEPS = (
    {"where": {"operation": "list"}},
    {"where": {"operation": "read"}, "measure": "objects", "count": 2},
    {"where": {"operation": "delete"}, "count": 2},
)
WITHIN = 60
COUNTS = {"list": 1, "read": 2, "delete": 2}


def members(facts: Iterable[Fact], op: str) -> list[Fact]:
    """The records that count for a step; one without a key is no object."""
    return [f for f in facts if f.op == op and (f.key or op != "read")]


def many(facts: Iterable[Fact], op: str) -> int:
    return len({f.key if op == "read" else f for f in facts})


def completed(facts: Iterable[Fact], t: int) -> bool:
    """Whether all steps are done by t, each as early as can be after the one before."""
    since = t - WITHIN + 1
    for op, count in COUNTS.items():
        mine = [f for f in members(facts, op) if since <= f.time <= t]
        done = [f.time for f in mine if many([g for g in mine if g.time <= f.time], op) >= count]
        if not done:
            return False
        since = min(done)
    return True


def steps_back(facts: Iterable[Fact], t: int) -> list[tuple[str, str]]:
    """From when to when each step was done, each as late as can be before the next."""
    out = []
    for op, count in reversed(COUNTS.items()):
        mine = [f for f in members(facts, op) if f.time <= t]
        until = max(f.time for f in mine)
        t = max(f.time for f in mine if many([g for g in mine if g.time >= f.time], op) >= count)
        out.append((iso(t), iso(until)))
    return out[::-1]


@pytest.mark.parametrize("few", [0, 32])
@settings(max_examples=40)
@given(
    st.lists(
        st.builds(
            Fact,
            time=st.sampled_from([T0 + at for at in (0, 1, 2, 59, 60, 61, 62, 119, 120, 121)])
            | st.integers(T0, T0 + 150),
            name=st.sampled_from(["a", "a", "b"]),
            op=st.sampled_from(["list", "read", "read", "delete", "delete"]),
            key=st.sampled_from(["k0", "k1", "k2", ""]),
        ),
        min_size=10,
        max_size=40,
        unique=True,
    ),
    st.booleans(),
)
@example(  # no step but the last is done in the minute before it
    [
        *(Fact(T0, "a", op=op, key=key) for op in ("list", "read", "delete") for key in ("k0", "")),
        *(Fact(T0, "a", op=op, key="k1") for op in ("list", "delete")),
        *(Fact(T0 + 1, "a", op="list", key=key) for key in ("k0", "k1")),
    ],
    False,
)
@example(
    [Fact(T0 + 1, "a", op="list"), *(Fact(T0 + 60, "a", op=op, key=k) for op in ("read", "delete") for k in "xy")], True
)
def test_sequence(few, facts, sorted_):
    """List, two objects, two deletions, in order within a minute; what happens in one second is in order.

    Seconds are looked at one by one or together, at a poll only those after its first new record.
    """
    chosen = rule("sequence", steps=STEPS, within=f"{WITHIN}s")
    facts = sorted(facts) if sorted_ else facts
    expected: list[Episode] = []
    for name in ("a", "b"):
        mine = [f for f in facts if f.name == name]
        values = {f.time: 3 for f in mine if f.op == "delete" and completed(mine, f.time)}
        expected += episodes(name, values, 3, WITHIN)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("detector.core.sequence.FEW", few)
        patched.setattr("detector.core.sequence.NEARBY", 2)
        assert found(chosen, facts, "session") == sorted(expected)
        _, closed = replayed(chosen, [facts])
    for finding in closed:
        mine = [f for f in facts if finding.group["session"].endswith(f"/{f.name}")]
        steps = [(step["from"], step["to"]) for step in finding.details["sequence"]]
        assert steps == steps_back(mine, finding.opened_at)


def test_a_group_is_warm_for_as_long_as_its_last_step_may_follow():
    """Evidence of it is kept until then: all steps but the last may be done, in whichever bucket."""
    chosen = rule("sequence", steps=STEPS, within=f"{WITHIN}s")
    facts = [Fact(T0 + 70, op="list"), Fact(T0 + 71, key="a"), Fact(T0 + 72, key="b")]
    for some, warm in ((facts, [True, True, True, True, False]), (facts[:1], [False] * 5)):
        engine, view = Engine([chosen], watches(gather=True)), BatchView(batch(some))
        engine.process(view.batch, T0)
        [watch] = engine._watches
        group = int(view.groups(chosen.group_by)[0][0])
        assert [watch.is_warm(group, T0 + at) for at in (0, 60, 120, 179, 180)] == warm


def test_evidence_is_of_all_steps_though_they_came_poll_by_poll():
    """It is gathered from when all steps but the last may be done."""
    daemon = Daemon(rule("sequence", steps=STEPS, within=f"{WITHIN}s"))
    daemon.poll([Fact(T0, op="list"), Fact(T0 + 1, key="a"), Fact(T0 + 2, key="b")])
    daemon.poll([Fact(T0 + 3, op="delete", key="a"), Fact(T0 + 4, op="delete", key="b")])
    assert [(f.state, f.evidence["requests"]) for f in daemon.told] == [("opened", 5)]


def test_who_did_it_hours_apart_in_one_poll_is_told_by_name_both_times():
    """The group's name is kept for as long as the later finding is open."""
    chosen = rule("sequence", steps=STEPS, within=f"{WITHIN}s")
    engine = Engine([chosen], watches(gather=True), watermark=Watermark(dict.fromkeys(Log, 0)), horizon=3600)
    done = [
        Fact(T0 + hour * 3600 + n, op=op, key=key)
        for hour in (0, 9)
        for n, (op, key) in enumerate([("list", "a"), ("read", "a"), ("read", "b"), ("delete", "a"), ("delete", "b")])
    ]
    told = []
    for facts in (done, [Fact(T0 + 12 * 3600, "other")]):
        engine.process(batch(facts), NOW)
        told += engine.judge() + engine.advance(NOW, backlog=False)
    assert engine.failures == {}
    closed = [(f.opened_at, f.group["session"].rpartition("/")[2]) for f in told if f.state == "closed"]
    assert closed == [(T0 + hour * 3600 + 4, "thief") for hour in (0, 9)]


@pytest.mark.parametrize(
    ("ops", "looks"),
    [("list read delete", True), ("list read", False), ("list delete", False), ("delete", False)],
)
def test_only_who_may_have_done_all_steps_is_looked_at(monkeypatch, ops, looks):
    looked: list[object] = []
    close = SequenceWatch.crossing
    monkeypatch.setattr(SequenceWatch, "crossing", lambda *what: looked.append(what) or close(*what))
    replayed(
        rule("sequence", steps=STEPS, within="60s"), [[Fact(T0, op=op, key=k) for op in ops.split() for k in "ab"]]
    )
    assert bool(looked) is looks


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), min_size=4, max_size=30), st.integers(1, 4))
def test_the_latest_second_from_which_on_so_many_were_seen(seen, count):
    """Against trying every second."""
    import numpy as np

    from detector.core.sequence import TOO_EARLY, _distinct_begins

    seen = sorted(seen)
    got = _distinct_begins(np.array([s for s, _ in seen], np.int64), np.array([i for _, i in seen], np.uint64), count)
    expected = []
    for end in sorted({s for s, _ in seen}):
        fits = [x for x in range(end, -1, -1) if len({i for s, i in seen if x <= s <= end}) >= count]
        expected.append(fits[0] if fits else int(TOO_EARLY))
    assert got.tolist() == expected
