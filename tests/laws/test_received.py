"""Laws of the kind `received`, against an oracle that looks at every record and every copy before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detector.core.access import Log
from detector.core.asked import watches_bucket
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.received import ReceivedWatch
from detector.core.rule import KINDS, Rule
from detector.core.times import iso
from detector.core.watermark import Watermark
from detector.watches import watches
from replay.evidence import Behind, matches
from tests.kinds import DAY, NOW, T0, Daemon, Fact, batch, replayed, shown

HOUR = 3600
WINDOW, THRESHOLD = 120, 2
END = 900


def review(at: int, bucket: str = "*") -> dict[str, str]:
    return {"bucket": bucket, "at": iso(at), "owner": "o", "reason": "r"}


def rule(**fields: object) -> Rule:
    common = {"id": "r", "title": "t", "severity": "high", "kind": "received", "source": "voice*"}
    return KINDS["received"].model_validate(  # type: ignore[return-value]
        common | {"where": {"operation": "read"}, "window": f"{WINDOW}s", "threshold": THRESHOLD} | fields
    )


def is_watched(fact: Fact, facts: Sequence[Fact], reviews: Sequence[int]) -> bool:
    copies = [f.time for f in facts if f.bucket.startswith("voice") and f.to == fact.bucket and f.time <= fact.time]
    last = max((at for at in reviews if at <= fact.time), default=0)
    return not fact.bucket.startswith("voice") and any(at >= last for at in copies)


def expected(facts: Sequence[Fact], reviews: Sequence[int] = ()) -> list[tuple[str, str, int, int, int]]:
    """Bucket, session, opening, last second, peak: straight from the page."""
    left: dict[tuple[str, str], list[int]] = {}
    for fact in facts:
        if fact.op in ("read", "copy") and is_watched(fact, facts, reviews):
            left.setdefault((fact.bucket, fact.name), []).append(fact.time)
    out = []
    for group, times in left.items():
        values = {t: sum(t - WINDOW < other <= t for other in times) for t in times}
        runs: list[list[int]] = []
        for t in sorted(t for t, value in values.items() if value >= THRESHOLD):
            runs[-1].append(t) if runs and t - runs[-1][-1] <= WINDOW else runs.append([t])
        out += [(*group, run[0], run[-1], max(values[t] for t in run)) for run in runs]
    return sorted(out)


def plain(findings) -> list[tuple[str, str, int, int, int]]:
    return sorted(
        (f.group["bucket"], f.group["session"].rpartition("/")[2], f.opened_at, f.last_at, int(f.peak_value))
        for f in findings
    )


MINUTES = st.integers(0, END // 60).map(lambda minute: T0 + 60 * minute)
"""Where copies, reviews and what is done meet, and a window later what is done again."""
BUCKETS = st.sampled_from(["voice", "voice-2", "stage", "scratch", "voic", ""])
FACTS = st.lists(
    st.builds(
        Fact,
        time=st.integers(T0, T0 + END) | MINUTES,
        name=st.sampled_from(["x", "y"]),
        op=st.sampled_from(["read", "read", "copy", "list"]),
        bucket=BUCKETS,
        key=st.sampled_from(["1", "2"]),
    ).flatmap(lambda fact: st.builds(_to, st.just(fact), BUCKETS)),
    min_size=10,
    max_size=40,
    unique=True,
)


def _to(fact: Fact, bucket: str) -> Fact:
    return (
        Fact(*[getattr(fact, name) for name in list(Fact.__dataclass_fields__)[:-1]], bucket or None)
        if (fact.op == "copy")
        else fact
    )


REVIEWS = st.lists(MINUTES, max_size=2)

COPY = Fact(T0 + 100, op="copy", to="stage")


def reads(*times: int) -> list[Fact]:
    return [Fact(T0 + at, key=str(at), bucket="stage") for at in times]


@settings(max_examples=50)
@given(FACTS, REVIEWS)
@example([COPY, *reads(100, 101)], [])
@example([COPY, *reads(239, 240)], [T0 + 240])
def test_what_is_done_where_copies_went_counts_from_the_copy_on_until_it_is_reviewed(facts, reviews):
    """Replay and the daemon, in any cuts and with restarts."""
    chosen = rule(reviewed=tuple(map(review, reviews)))
    half = len(facts) // 2
    engine, closed = replayed(chosen, [facts[:half], facts[half:]])
    assert engine.failures == {}
    assert plain(closed) == expected(facts, reviews)
    daemon = Daemon(chosen)
    for at in range(0, len(facts), 5):
        daemon.poll(facts[at : at + 5])
        daemon.restart()
    assert shown(daemon.end()) == shown(closed)


@settings(max_examples=30)
@given(FACTS)
@example([COPY, *reads(181, 300)])
def test_evidence_are_the_records_that_counted(facts):
    """Not those of the same group and time from before the copy."""
    chosen = rule()
    _, closed = replayed(chosen, [facts])
    rows = batch(facts)
    for finding, (_, mask) in zip(closed, matches(rows, [Behind.of(f, chosen) for f in closed]), strict=True):
        group = finding.group["bucket"], finding.group["session"].rpartition("/")[2]
        first = finding.opened_at - WINDOW
        mine = [
            (f.bucket, f.name) == group
            and first < f.time <= finding.last_at
            and f.op in ("read", "copy")
            and is_watched(f, facts, ())
            for f in facts
        ]
        assert mask.tolist() == mine


def live(chosen: Rule, horizon: int = DAY) -> Engine:
    return Engine([chosen], watches(gather=True), watermark=Watermark(dict.fromkeys(Log, 0)), horizon=horizon)


def news(engine: Engine, facts: Sequence[Fact]) -> list[Finding]:
    engine.process(batch(facts), NOW)
    findings = engine.judge() + engine.advance(NOW, backlog=False)
    assert engine.failures == {}
    return findings


def told(engine: Engine, facts: Sequence[Fact]) -> list[str]:
    return [f.state for f in news(engine, facts)]


def opened(findings: Sequence[Finding]) -> list[tuple[int, bool]]:
    """When, and whether late."""
    return sorted((f.opened_at - T0, f.late) for f in findings if f.state == "opened")


@pytest.mark.parametrize("order", [1, -1])
def test_a_late_copy_counts_all_that_is_kept(order):
    """However many hours of a group one poll brought, and in whatever order; the hours that are kept, no others."""
    daemon = live(rule(threshold=1), horizon=2 * HOUR)
    done = [Fact(T0 + hour * HOUR, bucket="stage", key=str(hour)) for hour in range(11)]
    assert news(daemon, done[::order]) == []
    assert opened(news(daemon, [Fact(T0 + 9 * HOUR, op="copy", to="stage")])) == [(9 * HOUR, True), (10 * HOUR, True)]


def test_copies_of_one_poll_count_from_the_first_of_them_on():
    """Whether or not the bucket was watched before, from a later second on."""
    daemon = live(rule(threshold=1))
    assert opened(news(daemon, [replace(COPY, time=T0 + 500), *reads(50, 200, 600, 900)])) == [
        (600, False),
        (900, False),
    ]
    assert opened(news(daemon, [replace(COPY, time=T0 + 1000), COPY])) == [(200, True)]
    assert opened(news(daemon, reads(1001))) == []
    assert opened(news(daemon, [replace(reads(1002)[0], name="other")])) == [(1002, False)]


def test_evidence_in_time_are_the_records_that_counted_so_far():
    [finding] = news(live(rule()), [COPY, *reads(200, 201), Fact(T0 + 202, bucket="other")])
    assert (finding.state, finding.evidence["requests"], finding.evidence["buckets"]) == ("opened", 2, ["stage"])


def test_what_was_forgotten_is_in_memory_no_more():
    """Groups and findings of the hours behind the horizon; arrivals stay."""
    daemon = live(rule(threshold=1), horizon=HOUR)
    for hour in range(9):
        some = [Fact(T0 + hour * HOUR + n, f"s{hour}-{n}", bucket="stage") for n in range(5)]
        news(daemon, [Fact(T0 + hour * HOUR, op="copy", to="stage"), *some])
    [watch] = daemon._watches
    assert len(watch._within) <= 3 * 5  # type: ignore[attr-defined]
    assert len(watch.ledger.groups) <= 3 * 5  # type: ignore[attr-defined]
    assert len(watch._arrivals) == 9  # type: ignore[attr-defined]


def test_only_what_much_is_done_in_and_received_is_looked_at(monkeypatch):
    """Neither a bucket that received nothing, nor one in which next to nothing is done."""
    looked: list[int] = []
    close = ReceivedWatch.crossing
    monkeypatch.setattr(ReceivedWatch, "crossing", lambda watch, *what: looked.append(what[0]) or close(watch, *what))
    much = [Fact(T0 + 200 + n, bucket=bucket, key=str(n)) for n in range(9) for bucket in ("stage", "other")]
    _, closed = replayed(rule(threshold=5), [[COPY, *much, Fact(T0 + 210, "y", bucket="stage")]])
    assert set(looked) == {finding.group_id for finding in closed}
    assert len(closed) == 1


def test_a_review_by_reload_ends_it_and_a_copy_after_it_begins_anew():
    """The rule keeps its windows, its open finding and its alert id; nothing that was told is taken back."""
    daemon = live(rule(threshold=1))
    assert told(daemon, [COPY, *reads(200)]) == ["opened"]
    assert daemon.adopt([rule(threshold=1, reviewed=(review(T0 + 240),))]) == []
    assert told(daemon, reads(300, 800)) == ["closed"]
    assert told(daemon, [Fact(T0 + 900, op="copy", to="stage"), *reads(901)]) == ["opened"]


def test_what_was_received_is_remembered_beyond_the_horizon_and_over_a_restart():
    """A bucket is watched until it is reviewed, if that takes months."""
    chosen = rule(threshold=1)
    daemon, parts = live(chosen), dict[str, bytes]()
    told(daemon, [COPY])
    for day in range(1, 60, 7):
        told(daemon, [Fact(T0 + day * DAY, bucket="other", key=str(day))])
        parts = {name: part for name, part in (parts | daemon.changes()).items() if part is not None}
        daemon = live(chosen)
        daemon.restore(parts)
    assert told(daemon, reads(60 * DAY)) == ["opened"]


def test_state_is_a_row_for_each_bucket_and_minute_that_received():
    """However many objects were copied."""
    chosen = rule()
    engine = live(chosen)
    copies = [Fact(T0 + second, op="copy", to=f"b{second % 3}", key=str(n)) for second in range(300) for n in range(9)]
    for some in np.array_split(np.arange(len(copies)), 40):
        engine.process(batch([copies[at] for at in some.tolist()]), NOW)
    [watch] = engine._watches
    assert len(watch._arrivals.whole()[0]) == 3 * 5  # type: ignore[attr-defined]


def test_a_finding_says_since_when_its_bucket_is_watched():
    [finding] = replayed(rule(), [[COPY, *reads(50, 200, 201)]])[1]
    assert finding.details["received"] == {"bucket": "stage", "first_copy": iso(T0 + 100)}
    assert "copies from voice*" in finding.explanation


def test_such_a_rule_stands_for_no_protected_bucket_itself():
    """`doctor` and the daemon say of a protected bucket that no rule looks at it."""
    assert not watches_bucket(rule(), "voice*")


@pytest.mark.parametrize("fields", [{"group_by": "session"}, {"source": ()}, {"reviewed": ({"bucket": "b"},)}])
def test_what_makes_no_sense_is_refused(fields):
    with pytest.raises(ValidationError):
        rule(**fields)
