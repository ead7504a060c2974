"""A replay in shards is the replay in one process: books, findings, names."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import AccessBatch, Log, Operation, Row, text_hash
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.kinds.first_seen import FirstSeen
from detector.core.principal import Principal
from detector.core.rule import Rule
from detector.core.watermark import FOREVER
from detector.watches import watches
from replay.run import closed_of
from replay.shards import AFTER_ALL, Counted, Known, Shards
from tests.kinds import KIND, Fact, shown
from tests.kinds import batch as kind_batch
from tests.streams import rule

T0 = 1_777_626_000
RULES = [
    rule("objects", 60, 3, id="objects"),
    rule("requests", 600, 4, id="requests", group_by="role"),
    rule("requests", 600, 3, id="of-bucket", group_by=("role", "bucket")),
    rule("bytes", 7200, 5, id="bytes", group_by=("account", "source_ip")),
    FirstSeen.model_validate(
        {
            "id": "new",
            "title": "t",
            "severity": "low",
            "kind": "first_seen",
            "group_by": "bucket",
            "what": "role",
            "learn": "1s",
            "forget": "1d",
            "window": "1m",
        }
    ),
]


def who(name: str, *, arn: bool) -> Principal:
    """A session as its own account's trail has it, or as another's, which does not know its ARN."""
    role = "AROA" + name[0].upper()
    shown = f"arn:aws:sts::111122223333:assumed-role/R{name[0]}/{name}" if arn else f"111122223333:{role}:{name}"
    shown_role = f"arn:aws:iam::111122223333:role/R{name[0]}" if arn else f"111122223333:{role}"
    return Principal("AssumedRole", f"{role}:{name}", shown, role, shown_role, "111122223333", session_name=name)


rows_ = st.lists(
    st.builds(
        dict,
        time=st.integers(T0, T0 + 900),
        id=st.integers(1, 60),
        name=st.sampled_from(["a1", "a2", "b1"]),
        arn=st.booleans(),
        key=st.sampled_from(["k1", "k2", "k3", "k4"]),
        bucket=st.sampled_from(["one", "two"]),
        operation=st.sampled_from([Operation.read, Operation.read, Operation.copy, Operation.list]),
        link=st.sampled_from([0, 0, 0, 1, 2]),
    ),
    max_size=60,
)


def batch(rows: list[dict]) -> AccessBatch:
    """Copies of one id differ in who and what; what is linked is a copy or a read made for one."""
    builder = BatchBuilder()
    for row in rows:
        builder.add(
            Row(
                Log.cloudtrail, row["time"], text_hash(str(row["id"])), "p",
                link=row["link"] if row["operation"] != Operation.list else 0, operation=row["operation"],
                who=who(row["name"], arn=row["arn"]), has_arn=row["arn"], bytes=2, bucket=row["bucket"], key=row["key"],
                source_ip="11.0.0.1",
            )
        )  # fmt: skip
    return builder.build()


def alone(batches: list[AccessBatch], rules: Sequence[Rule] = RULES) -> tuple[Engine, list]:
    """One engine over all, a second time if the first says so: a replay in one process."""
    how = {"horizon": FOREVER, "best_copies": True}
    engine = Engine(rules, watches(once=True), **how)
    for one in batches:
        engine.process(one, AFTER_ALL)
    if engine.needs_second_run:
        engine = Engine(rules, watches(once=True), **how, **engine.second_run())
        for one in batches:
            engine.process(one, AFTER_ALL)
    return engine, closed_of(engine)


def sharded(batches: list[AccessBatch], count: int, seed: int, rules: Sequence[Rule] = RULES) -> Counted:
    """All shards over all batches, whose parcels come in any order."""
    shards = Shards.of(rules, count, 1 << 20)
    parcels = [parcel for one in batches for parcel in shards.parcels(one)]
    random.Random(seed).shuffle(parcels)
    mine = {number: [data for shard, data in parcels if shard == number] for number in range(shards.total)}
    known = Known.together([shards.know(mine[number]).pack() for number in range(count)])
    return Counted.together([shards.counted(number, mine[number], known).pack() for number in mine if mine[number]])


@given(rows_, st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_shards_find_and_book_what_one_process_does(rows, count, cuts, seed):
    """With differing copies, with reads made for copies, with identities that have two names."""
    first = {}
    rows = [
        row | {name: first.setdefault(row["id"], row)[name] for name in ("time", "link", "operation")} for row in rows
    ]
    edges = np.linspace(0, len(rows), cuts + 1).astype(int)
    batches = [batch(rows[a:b]) for a, b in pairwise(edges)]
    engine, findings = alone(batches)
    counted = sharded(batches, count, seed)
    assert counted.failures == engine.failures == {}
    by_id = {f.finding_id: f.to_json() for f in counted.findings}
    assert len(by_id) == len(counted.findings)
    assert {f: str(one) for f, one in by_id.items()} == {f.finding_id: str(f.to_json()) for f in findings}
    assert counted.books == engine.books
    assert counted.logs_seen == engine.logs_seen
    assert counted.principals == engine.people.sessions()


def test_a_level_with_a_role_is_cut_by_it():
    """All credentials of an identity are in one shard, also where a rule counts it by bucket."""
    shards = Shards.of(RULES, 8, 1 << 20)
    assert [level.by for level in shards.levels] == [("session",), ("role",), ("account", "source_ip"), ("bucket",)]


@pytest.mark.parametrize("kind", KIND)
def test_every_kind_finds_in_shards_what_it_finds_alone(kind):
    """Each example of the laws: its findings, its books; also what is not keyed, in its one shard."""
    example = KIND[kind]
    facts = shuffled(example.facts)
    rules, batches = [example.rule(kind)], [kind_batch(facts[first::3]) for first in range(3)]
    engine, findings = alone(batches, rules)
    counted = sharded(batches, 3, 1, rules)
    assert in_order(counted.findings) == in_order(findings) != []
    assert counted.failures == {}
    assert counted.books == engine.books


def in_order(findings: Sequence[Finding]) -> list[dict]:
    """As people see them."""
    return shown(sorted(findings, key=lambda finding: (finding.opened_at, finding.finding_id)))


def shuffled(facts: list[Fact]) -> list[Fact]:
    """In an order of their own."""
    return random.Random(7).sample(facts, len(facts))


def test_an_identity_is_named_alike_in_every_shard():
    """A role whose ARN is known only from records of another group is shown by it all the same."""

    def read(number: int, name: str, bucket: str, at: int, *, arn: bool) -> AccessBatch:
        fields = {"id": number, "name": name, "bucket": bucket, "time": T0 + at, "arn": arn, "key": "k", "link": 0}
        return batch([fields | {"operation": Operation.read}])

    buckets = ("one", "two")
    batches = [read(at, "b1", bucket, 0, arn=True) for at, bucket in enumerate(buckets)]
    batches += [read(3, "a1", "two", 400, arn=True), read(4, "a1", "one", 500, arn=False)]
    told = [f.details for f in alone(batches)[1] if f.rule_id == "new"]
    assert [one["first_seen"]["new"] for one in told] == [["arn:aws:iam::111122223333:role/Ra"]] * 2
    for count in (4, 5, 7):  # whether both buckets are in one shard is chance
        assert [f.details for f in sharded(batches, count, 1).findings if f.rule_id == "new"] == told


def test_what_is_not_keyed_is_in_one_shard():
    """The records of the online model, whatever their groups."""
    from detector.core.kinds.baseline import BaselineRule

    model = BaselineRule.model_validate({"id": "m", "title": "t", "severity": "high", "kind": "baseline"})
    shards = Shards.of([model], 8, 1 << 20)
    rows = [
        {
            "time": T0,
            "id": n,
            "name": "a1",
            "arn": True,
            "key": "k",
            "bucket": "one",
            "operation": Operation.read,
            "link": 0,
        }
        for n in range(50)
    ]
    used = {shard for shard, _ in shards.parcels(batch(rows))}
    assert len([shard for shard in used if shard >= 8]) == 1
