"""What executors do with a batch that came live, driven without Spark: shards that know nothing of each other."""

from __future__ import annotations

import copy
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from detector.core.access import AccessBatch, Log
from detector.core.books import Books
from detector.core.engine import STATE_VERSION, Engine
from detector.core.finding import Finding
from detector.core.parcel import together
from detector.core.watermark import Watermark
from detector.drain import Drain
from detector.errors import InputError, StateError
from detector.settings import Settings
from detector.watches import watches
from replay.spark import joined, stages
from replay.spark.came import Came
from replay.spark.cluster import Cluster
from replay.spark.manifest import Order
from replay.spark.parts import HEAD, LAYOUT, RULES_1, Parts
from replay.spark.remote import PART, Remote
from tests import older
from tests.kinds import DAY, KIND, NOW, T0, Fact, batch, shown


class Kept:
    """Spark's map state, in memory."""

    def __init__(self) -> None:
        self.values: dict[tuple[str], tuple[bytes]] = {}

    def keys(self) -> Iterator[Any]:
        return iter(list(self.values))

    def getValue(self, key: Any) -> Any:  # noqa: N802
        return self.values.get(key)

    def updateValue(self, key: Any, value: Any) -> None:  # noqa: N802
        self.values[key] = value

    def removeKey(self, key: Any) -> None:  # noqa: N802
        del self.values[key]


class Cut:
    """A batch's way through all steps, as Spark runs it, and the driver's watermark. Nothing is late by default."""

    def __init__(self, count: int, lateness: int = 300 * DAY, now: int = NOW) -> None:
        self.how = stages.How(count, ".", 400 * DAY, 1 << 20)
        self.watermark = Watermark(dict.fromkeys(Log, lateness))
        self.states: dict[str, Kept] = defaultdict(Kept)
        self.books: dict[str, Books] = {}
        self.told: list[Finding] = []
        self.now, self.number = now, 0
        self.steps: Any = (stages.admitted, stages.counted)

    def batch(self, chunks: Sequence[AccessBatch] = (), **fields: Any) -> Came:
        """One batch, whose tasks end in any order."""
        self.number += 1
        order = Order(self.number, self.now, self.watermark.reached, **fields)
        rows = list(stages.told(order, self.how.count))
        for number, records in enumerate(chunks):
            rows += stages.dealt(self.how, number, records)
        for step in self.steps:
            rows = self._stepped(step, rows)
        came = Came.of(parcel for _, _, parcel in rows)
        self.books |= came.books
        self.told += [finding for found in came.findings.values() for finding in found]
        assert came.failures == {}
        for seen in came.seen:
            self.watermark.observe(seen, self.now)
        self.watermark.advance(self.now, backlog=False)
        return came

    def _stepped(self, step: Any, rows: list[stages.Row]) -> list[stages.Row]:
        random.Random(self.number).shuffle(rows)
        by_shard: dict[str, list[stages.Row]] = defaultdict(list)
        for row in rows:
            by_shard[row[0]].append(row)
        out = by_shard.pop(stages.DRIVER, [])
        for shard, mine in by_shard.items():
            out += step(self.how, shard, mine, Parts(self.states[shard]))
        return out

    @property
    def whole(self) -> Books:
        """All shards' books."""
        books = Books()
        for one in self.books.values():
            books.add(one)
        return books


def rules_of(rule: Any) -> dict[str, str]:
    """A rule as the text of a file."""
    fields = {"id": rule.id, "title": "t", "severity": "high", "kind": rule.kind} | KIND[rule.kind].fields
    return {"rules.yaml": json.dumps({"rules": [fields]})}


def closed(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """CLOSED ones in order, as people see them."""
    every = [finding for finding in findings if finding.state == "closed"]
    return shown(sorted(every, key=lambda finding: (finding.opened_at, finding.finding_id)))


def daemon(
    rule: Any, polls: Sequence[Sequence[AccessBatch]], lateness: int, now: int = NOW
) -> tuple[Engine, list[Finding]]:
    """The same in one process: each poll one batch."""
    engine = Engine([rule], watches(gather=True), watermark=Watermark(dict.fromkeys(Log, lateness)), horizon=400 * DAY)
    told = []
    for chunks in polls:
        engine.process(together(chunks), now)
        told += engine.judge() + engine.advance(now, backlog=False)
    return engine, told + engine.finish()


def polls_of(facts: Sequence[Fact], seed: int = 3) -> list[list[AccessBatch]]:
    """Records in disorder, some twice, in four polls of two tasks each."""
    facts = [*facts, *facts[::5]]
    random.Random(seed).shuffle(facts)
    return [[batch(facts[first::8]), batch(facts[first + 4 :: 8])] for first in range(4)]


@pytest.mark.parametrize("kind", KIND)
def test_every_kind_closes_what_the_daemon_closes(kind):
    """In shards whose state is all that one batch leaves the next."""
    rule = KIND[kind].rule(kind)
    polls = polls_of(KIND[kind].facts)
    engine, found = daemon(rule, polls, 300 * DAY)
    cut = Cut(3)
    cut.batch(rules=rules_of(rule))
    for chunks in polls:
        cut.batch(chunks)
    cut.batch(finish=True)
    assert closed(cut.told) == closed(found) != []
    assert cut.whole == engine.books


def test_what_is_late_is_late_in_every_shard():
    """Lateness is judged by where event time stood before the batch, whoever moved it; the books say the same."""
    rule = KIND["threshold"].rule("threshold")
    polls = polls_of(KIND["threshold"].facts)
    now = T0 + DAY
    engine, _ = daemon(rule, polls, 60, now)
    cut = Cut(3, 60, now)
    cut.batch(rules=rules_of(rule))
    for chunks in polls:
        cut.batch(chunks)
    cut.batch(finish=True)
    assert cut.whole == engine.books
    assert engine.books.late > 0


def test_too_little_lateness_is_noticed_by_parity():
    """The control: records that are said to come in order and do not give other findings, and the books say why."""
    rule = KIND["threshold"].rule("threshold")
    polls = polls_of(KIND["threshold"].facts)
    patient, hasty = Cut(3), Cut(3, 0)
    for cut in (patient, hasty):
        cut.batch(rules=rules_of(rule))
        for chunks in polls:
            cut.batch(chunks)
        cut.batch(finish=True)
    assert closed(hasty.told) != closed(patient.told)
    assert hasty.whole.late > 0 == patient.whole.late


def test_rules_that_change_end_what_they_had_open():
    """A level that is no more is told so, closes what is open, and leaves nothing behind; the new one begins empty."""
    cut = Cut(3)
    cut.batch(rules=rules_of(KIND["threshold"].rule("threshold")))
    cut.batch([batch(KIND["threshold"].facts)])
    cut.batch(rules=rules_of(KIND["silence"].rule("silence")))
    ended = [f for f in cut.told if f.state == "closed"]
    assert {f.rule_id for f in ended} == {"threshold"}
    assert all("rule removed" in str(f.details) for f in ended)
    cut.batch(finish=True)
    kept = {shard for shard, state in cut.states.items() if state.values}
    assert not [shard for shard in kept if "session" in shard]


def test_a_batch_that_runs_again_finds_the_same():
    """From the same state: what Spark does after a crash before its commit."""
    cut = Cut(3)
    cut.batch(rules=rules_of(KIND["sequence"].rule("sequence")))
    before = copy.deepcopy((cut.states, cut.watermark, cut.number))
    first = cut.batch([batch(KIND["sequence"].facts)])
    cut.states, cut.watermark, cut.number = before
    again = cut.batch([batch(KIND["sequence"].facts)])
    assert again.findings == first.findings
    assert any(first.findings.values())
    assert again.books == first.books


@pytest.mark.parametrize("kind", ["threshold", "sequence", "silence"])
def test_what_an_older_version_kept_is_carried_on(kind):
    """Layout 1 in every shard, half way: the findings are those of a run without a break, and all is laid out anew."""
    rule, polls, cut = KIND[kind].rule(kind), polls_of(KIND[kind].facts), Cut(3)
    _, found = daemon(rule, polls, 300 * DAY)
    cut.steps = (older.admitted, older.counted)
    cut.batch(rules=rules_of(rule))
    for chunks in polls[:2]:
        cut.batch(chunks)
    assert not [name for state in cut.states.values() for (name,) in state.values if name == HEAD]
    cut.steps = (stages.admitted, stages.counted)
    for chunks in polls[2:]:
        cut.batch(chunks)
    kept = [{name for (name,) in state.values} for state in cut.states.values() if state.values]
    assert all(HEAD in names and RULES_1 not in names for names in kept)
    cut.batch(finish=True)
    assert closed(cut.told) == closed(found) != []


def test_what_a_newer_version_kept_is_refused_by_every_shard():
    """Whatever the daemon's own checkpoint says: one of them was restored from a copy."""
    parts = Parts(Kept())
    parts.save({"engine": b"x"})
    assert parts.rules() == {}
    parts._put(HEAD, msgspec.msgpack.encode({"version": LAYOUT + 1, "rules": {}}))
    with pytest.raises(StateError, match="up to version") as refused:
        parts.rules()
    assert "a newer one" in refused.value.remedy


STATES = {
    "of version": {"version": [LAYOUT, STATE_VERSION - 1]},
    "laid out in version": {"version": [LAYOUT + 1, STATE_VERSION]},
    "into 3 shards": {"version": [LAYOUT, STATE_VERSION], "shards": 3},
}


@pytest.mark.parametrize("told", STATES)
def test_a_state_that_does_not_fit_is_refused(tmp_path, told):
    """Of another version of the engine's, of a newer one of ours, or cut otherwise: before Spark begins."""
    cluster = Cluster(None, tmp_path, stages.How(2, ".", DAY, 1 << 20), Drain())
    remote = Remote(cluster, watermark=Watermark(), horizon=DAY)
    with pytest.raises(StateError, match=told) as refused:
        remote.restore({PART: msgspec.msgpack.encode(STATES[told])})
    assert "a new state" in refused.value.remedy


def test_a_state_of_one_process_is_refused(tmp_path):
    """It holds windows that Spark's shards know nothing of."""
    cluster = Cluster(None, tmp_path, stages.How(2, ".", DAY, 1 << 20), Drain())
    with pytest.raises(StateError, match="one process"):
        Remote(cluster, watermark=Watermark(), horizon=DAY).restore(Engine((), watches()).changes())


REFUSED = {
    "source: expected a directory, or s3": {
        "source": {"kind": "sqs", "queue_url": "https://q"},
        "accept": {"buckets": ("b",)},
    },
    "response.mode: expected off or plan": {"response": {"mode": "enforce"}},
    "archive: expected no archive": {"archive": {"path": "a"}},
    "canary: expected no canaries": {"canary": {"objects": ("s3://voice/c",)}},
    "learnt: expected no learnt": {"learnt": "learnt"},
    "spark.path: expected a folder": {"spark": None},
}


@pytest.mark.parametrize("told", REFUSED)
def test_what_spark_cannot_do_is_refused(told):
    """Never half done: a config that asks for it is a mistake."""
    fields = {
        "source": {"kind": "directory", "path": "in"}, "state": {"kind": "sqlite", "path": "s"},
        "journal": {"path": "j"}, "spark": {"path": "spark"},
    }  # fmt: skip
    with pytest.raises(InputError, match=told):
        joined.check(Settings.model_validate(fields | REFUSED[told]))
