"""Laws of the kind `unaudited`, against an oracle that looks at every pair of a read and a record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detector.core.access import Log, Outcome
from detector.core.engine import Engine
from detector.core.rule import KINDS, Rule
from detector.core.watermark import Watermark
from detector.watches import watches
from replay.evidence import Behind, matches
from tests.kinds import KIND, NOW, T0, Daemon, Fact, batch, replayed, shown

WITHIN, SILENT, WINDOW, THRESHOLD = 20, 60, 30, 2


def rule(**fields: object) -> Rule:
    common = {"id": "r", "title": "t", "severity": "high", "kind": "unaudited", "where": {"bucket": "v*"}}
    given_ = {"within": f"{WITHIN}s", "silent_after": f"{SILENT}s", "window": f"{WINDOW}s", "threshold": THRESHOLD}
    return KINDS["unaudited"].model_validate(common | given_ | {"key": "raw/{sample_id}"} | fields)  # type: ignore[return-value]


def tells(record: Fact, read: Fact, *, by_name: bool) -> bool:
    key = f"raw/{record.extra}" if record.extra else record.key
    same = key == read.key and record.bucket in ("", read.bucket)
    return same and abs(record.time - read.time) <= WITHIN and (not by_name or record.name == read.name)


def in_silence(second: int, heard: Sequence[int]) -> bool:
    before = max((at for at in heard if at <= second), default=None)
    after = min((at for at in heard if at >= second), default=None)
    return before is None or after is None or after - before > SILENT


def expected(facts: Sequence[Fact], *, by_name: bool) -> list[tuple[str, int, int, int]]:
    """Group, opening, last second, peak: straight from the page."""
    records = [f for f in facts if f.op == "audit"]
    heard = [f.time for f in records]
    left: dict[str, list[Fact]] = {}
    for read in facts:
        if read.op == "read" and not any(tells(one, read, by_name=by_name) for one in records):
            left.setdefault("access_audit" if in_silence(read.time, heard) else read.name, []).append(read)
    out = []
    for group, reads in left.items():
        values = {r.time: len({(o.bucket, o.key) for o in reads if r.time - WINDOW < o.time <= r.time}) for r in reads}
        runs: list[list[int]] = []
        for t in sorted(t for t, value in values.items() if value >= THRESHOLD):
            runs[-1].append(t) if runs and t - runs[-1][-1] <= WINDOW else runs.append([t])
        out += [(group, run[0], run[-1], max(values[t] for t in run)) for run in runs]
    return sorted(out)


FACTS = st.lists(
    st.one_of(
        st.builds(
            Fact,
            time=st.integers(T0, T0 + 300),
            name=st.sampled_from(["x", "y"]),
            bucket=st.sampled_from(["v1", "v2"]),
            key=st.sampled_from(["raw/1", "raw/2", "3"]),
        ),
        st.builds(
            Fact,
            op=st.just("audit"),
            time=st.integers(T0, T0 + 300),
            name=st.sampled_from(["x", "y"]),
            bucket=st.sampled_from(["v1", "v2", ""]),
            key=st.sampled_from(["raw/1", "raw/2", "3"]),
            extra=st.sampled_from(["", "", "1", "2"]),
        ),
    ),
    min_size=10,
    max_size=40,
    unique=True,
)


def plain(findings) -> list[tuple[str, int, int, int]]:
    return sorted(
        (next(iter(f.group.values())).rpartition("/")[2], f.opened_at, f.last_at, int(f.peak_value)) for f in findings
    )


@settings(max_examples=50)
@given(FACTS, st.booleans())
def test_what_no_record_tells_of_is_counted(facts, by_name):
    """Replay and the daemon, in any cuts and with restarts; what the log was silent about counts for the log."""
    chosen = rule(match_requester=by_name)
    half = len(facts) // 2
    engine, closed = replayed(chosen, [facts[:half], facts[half:]])
    assert engine.failures == {}
    assert plain(closed) == expected(facts, by_name=by_name)
    daemon = Daemon(chosen)
    for at in range(0, len(facts), 5):
        daemon.poll(facts[at : at + 5])
        daemon.restart()
    assert shown(daemon.end()) == shown(closed)


def live(chosen: Rule) -> Engine:
    """An engine whose watermark is the greatest event time."""
    return Engine([chosen], watches(gather=True), watermark=Watermark(dict.fromkeys(Log, 0)))


@settings(max_examples=50)
@given(FACTS, st.randoms(use_true_random=False), st.booleans())
def test_what_is_told_in_time_ends_as_replay_says(facts, chance, sorted_):
    """A watermark that goes on, records before and after it, a restart after every poll."""
    chosen = rule()
    facts = sorted(facts) if sorted_ else chance.sample(facts, len(facts))
    engine, told, parts = live(chosen), [], {}
    for at in range(0, len(facts), 4):
        engine.process(batch(facts[at : at + 4]), NOW)
        told += engine.judge() + engine.advance(NOW, backlog=False)
        assert engine.failures == {}
        parts = {name: part for name, part in (parts | engine.changes()).items() if part is not None}
        engine = live(chosen)
        engine.restore(parts)
    told += engine.finish()
    assert engine.failures == {}
    last = {one: f for f in told for one in f.alert_ids}
    assert {f.state for f in last.values()} <= {"closed", "withdrawn"}
    closed = {f.finding_id: f for f in last.values() if f.state == "closed"}
    assert plain(closed.values()) == expected(facts, by_name=False)


def poll(engine: Engine, *facts: Fact) -> list[tuple[str, str]]:
    engine.process(batch(facts), NOW)
    told = engine.judge() + engine.advance(NOW, backlog=False)
    assert engine.failures == {}
    return [(f.state, next(iter(f.group.values())).rpartition("/")[2]) for f in told]


def beat(first: int, last: int) -> list[Fact]:
    """An audit log that is heard every ten seconds, of other objects."""
    return [Fact(T0 + at, op="audit", key=f"other/{at}", bucket="v1") for at in range(first, last + 1, 10)]


def test_a_late_record_withdraws_its_finding():
    engine = live(rule(threshold=1))
    assert poll(engine, *beat(0, 400), Fact(T0 + 15, "x", bucket="v1", key="k"), Fact(T0 + 400, bucket="w")) == [
        ("opened", "x"), ("closed", "x")
    ]  # fmt: skip
    assert poll(engine, Fact(T0 + 30, op="audit", key="k", bucket="v1")) == [("withdrawn", "x")]


def test_what_only_time_has_told_is_in_the_checkpoint():
    """A poll that counts nothing moves the watermark: what that brings is not told again after a restart."""
    engine = live(rule(threshold=1))
    assert poll(engine, *beat(0, 400), Fact(T0 + 15, "x", bucket="v1", key="k")) == []
    parts = engine.changes()
    assert poll(engine, Fact(T0 + 100, bucket="w")) == [("opened", "x")]
    parts, engine = {name: part for name, part in (parts | engine.changes()).items() if part}, live(rule(threshold=1))
    engine.restore(parts)
    assert poll(engine, Fact(T0 + 101, bucket="w")) == []
    assert poll(engine, Fact(T0 + 400, bucket="w")) == [("closed", "x")]


def test_a_log_that_stops_is_one_finding_and_the_log_that_comes_late_takes_it_back():
    """Fifty sessions read while nothing comes of the audit log: one finding, which names them; then it comes."""
    engine = live(rule(threshold=1))
    reads = [Fact(T0 + at, f"s{at}", bucket="v1", key=f"{at}") for at in range(50)]
    assert poll(engine, *reads, Fact(T0 + 900, bucket="w")) == [("opened", "access_audit"), ("closed", "access_audit")]
    records = [Fact(r.time, op="audit", bucket="v1", key=r.key) for r in reads if r.name != "s7"]
    assert poll(engine, *records, *beat(60, 900)) == [("opened", "s7"), ("withdrawn", "access_audit"), ("closed", "s7")]


def test_without_its_exception_a_log_that_was_silent_is_looked_at_again():
    """What was judged while everybody was allowed so much is a finding once nobody is any more."""
    allowed = {"session": "*", "allow_up_to": 100, "owner": "o", "reason": "r", "until": date(2027, 1, 1)}
    engine = live(rule(threshold=1, exceptions=(allowed,)))
    reads = [Fact(T0 + at, f"s{at}", bucket="v1", key=f"{at}") for at in range(50)]
    assert poll(engine, *reads, Fact(T0 + 900, bucket="w")) == []
    assert engine.adopt([rule(threshold=1)]) == []
    assert poll(engine, Fact(T0 + 901, bucket="w")) == [("opened", "access_audit"), ("closed", "access_audit")]


def test_a_silent_log_says_who_read():
    """Of whom nobody knows whether he was told of; who read a window before is not among them."""
    early, reads = (
        Fact(T0, "early", bucket="v1"),
        [Fact(T0 + WINDOW, f"s{n % 3}", bucket="v1", key=f"{n}") for n in range(9)],
    )
    _, (finding,) = replayed(rule(), [[early, *reads]])
    assert (finding.opened_at, "is silent" in finding.explanation) == (T0 + WINDOW, True)
    assert finding.group == {"log": "access_audit"}
    assert finding.principal is None
    assert [name.rpartition("/")[2] for name in finding.details["unaudited"]["sessions"]] == ["s0", "s1", "s2"]


def test_only_the_unmatched_reads_are_behind_a_finding():
    """Not those of the same objects that there is a record of."""
    reads = [Fact(T0 + 10 + at % 2 * 25 + at // 2, "x", bucket="v1", key=f"{at // 2}") for at in range(20)]
    facts = [*beat(0, 100), *reads, *(Fact(r.time, op="audit", bucket="v1", key=r.key) for r in reads[::2])]
    chosen = rule()
    _, (finding,) = replayed(chosen, [facts])
    ((_, mask),) = matches(batch(facts), [Behind.of(finding, chosen)])
    assert [fact for fact, is_behind in zip(facts, mask, strict=True) if is_behind] == reads[1::2]


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"unaudited"}))
def test_the_audit_log_excuses_nobody_before_other_rules(kind):
    """An application may log what a thief does with it: with its records every finding is what it is without them."""
    example = KIND[kind]
    told = [Fact(f.time, f.name, f.role, "audit", f.bucket, f.key) for f in example.facts if f.op == "read"]
    _, without = replayed(example.rule(kind), [example.facts])
    _, beside = replayed(example.rule(kind), [example.facts + told])
    assert without
    assert shown(beside) == shown(without)


def test_a_record_of_a_refusal_excuses_no_read():
    refused = Fact(T0 + 10, op="audit", bucket="v1", key="k").row()._replace(outcome=Outcome.denied)
    _, closed = replayed(rule(threshold=1), [[*beat(0, 100), Fact(T0 + 10, "x", bucket="v1", key="k"), refused]])
    assert plain(closed) == [("x", T0 + 10, T0 + 10, 1)]


@pytest.mark.parametrize("by_name", [False, True])
def test_a_record_that_names_nobody_excuses_a_read_unless_it_has_to_say_who_read(by_name):
    nobody = Fact(T0 + 10, op="audit", bucket="v1", key="k").row()._replace(who=None)
    read = Fact(T0 + 10, "x", bucket="v1", key="k")
    _, closed = replayed(rule(threshold=1, match_requester=by_name), [[*beat(0, 100), read, nobody]])
    assert plain(closed) == ([("x", T0 + 10, T0 + 10, 1)] if by_name else [])


def test_a_record_of_no_object_excuses_no_read():
    """Neither key nor sample: not of an object that other records of the batch tell of either."""
    nothing = Fact(T0 + 10, op="audit", bucket="v1").row()._replace(key=None)
    other = Fact(T0 + 90, op="audit", bucket="v1", extra="1")
    read = Fact(T0 + 10, "x", bucket="v1", key="raw/1")
    _, closed = replayed(rule(threshold=1), [[*beat(0, 100), read, nothing, other]])
    assert plain(closed) == [("x", T0 + 10, T0 + 10, 1)]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"key": "raw/*.wav"}, "sample_id"),
        ({"key": "{sample_id}/{other}"}, "no other placeholder"),
        ({"within": "2d"}, "1s to 1d"),
        ({"where": {"log": "access_audit"}}, "held against the audit log"),
        ({"respond": ("revoke",)}, "withdrawn"),
    ],
)
def test_what_makes_no_sense_is_an_error(fields, word):
    with pytest.raises(ValidationError, match=word):
        rule(**fields)
