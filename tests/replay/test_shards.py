"""A replay in shards is the replay in one process: books, findings, names."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import AccessBatch, Log, Operation, Row, text_hash
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.core.principal import Principal
from detector.core.watermark import FOREVER
from detector.watches import watches
from replay.run import closed_of
from replay.shards import AFTER_ALL, Counted, Known, Shards
from tests.streams import rule

T0 = 1_777_626_000
RULES = [
    rule("objects", 60, 3, id="objects"),
    rule("requests", 600, 4, id="requests", group_by="role"),
    rule("requests", 600, 3, id="of-bucket", group_by=("role", "bucket")),
    rule("bytes", 7200, 5, id="bytes", group_by=("account", "source_ip")),
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


def alone(batches: list[AccessBatch]) -> tuple[Engine, list]:
    """One engine over all, a second time if the first says so: a replay in one process."""
    how = {"horizon": FOREVER, "best_copies": True}
    engine = Engine(RULES, watches(once=True), **how)
    for one in batches:
        engine.process(one, AFTER_ALL)
    if engine.needs_second_run:
        engine = Engine(RULES, watches(once=True), **how, **engine.second_run())
        for one in batches:
            engine.process(one, AFTER_ALL)
    return engine, closed_of(engine)


def sharded(batches: list[AccessBatch], count: int, seed: int) -> Counted:
    """All shards over all batches, whose parcels come in any order."""
    shards = Shards.of(RULES, count, 1 << 20)
    parcels = [parcel for one in batches for parcel in shards.parcels(one)]
    random.Random(seed).shuffle(parcels)
    mine = {number: [data for shard, data in parcels if shard == number] for number in range(shards.total)}
    known = Known.together([shards.know(mine[number]).pack() for number in range(count)])
    return Counted.together([shards.counted(number, mine[number], known).pack() for number in range(shards.total)])


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
    assert [level.by for level in shards.levels] == [("session",), ("role",), ("account", "source_ip")]


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
