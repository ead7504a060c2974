"""Laws of memory: with room for next to nothing the answers are those of all the memory in the world.

What leaves memory is read back from the last checkpoint, so these are laws of daemon and replay alike.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from detector.core import ids, part, runs, sighting
from detector.core.access import AccessBatch, Column, Log
from detector.core.engine import KEPT, Engine
from detector.core.finding import Finding
from detector.core.part import decode
from detector.core.principal import print_of
from detector.core.rule import Rule, Sequence
from detector.core.tally import Tallies
from detector.core.watermark import FOREVER, Watermark
from detector.watches import watches
from replay.scratch import Scratch
from tests.streams import NOW, Event, batch, principal, rule

T0 = 1_777_626_000
HOUR = 3600
TINY = 4000
"""Bytes: less than anything ever needs, so everything that can leave does, at every checkpoint."""
EXCEPTION = {"session_name": "a", "key": "k1", "owner": "o", "reason": "r", "until": date(2030, 1, 1)}
RULES = [
    rule("objects", 60, 3, id="objects"),
    rule("requests", 600, 4, id="requests", group_by="role"),
    rule("bytes", 7200, 5, id="bytes", group_by=("account", "source_ip")),
]
READ_AGAIN = {"where": {"operation": "read"}, "measure": "objects"}
ALIKE = [
    *RULES,
    rule("objects", 600, 4, id="longer"),
    rule("objects", 60, 3, id="excepted", exceptions=(EXCEPTION,)),
    rule("objects", 5400, 5, id="of-a-role", group_by="role"),
    rule("bytes", 5400, 6, id="of-an-account", group_by="account"),
    rule("bytes", 60, 2, id="of-a-session"),
    Sequence.model_validate(
        {"id": "steps", "title": "t", "severity": "high", "kind": "sequence", "group_by": "session", "within": "1h"}
        | {"steps": (READ_AGAIN | {"count": 2}, READ_AGAIN | {"count": 3})}
    ),
]
"""Rules of which some count just the same: in replay they share it."""

events_ = st.builds(
    Event,
    time=st.one_of(st.integers(T0, T0 + 200), st.integers(T0, T0 + 6 * HOUR)),
    who=st.sampled_from(["a", "b", "c"]),
    key=st.sampled_from([f"k{i}" for i in range(6)]),
    size=st.integers(1, 2),
    id=st.integers(0, 60).map(str),
)
polls_ = st.lists(st.lists(events_, max_size=25), min_size=1, max_size=8)


class Store:
    """A checkpoint in memory, counting what is read of it."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self.reads = 0

    def save(self, parts: dict[str, bytes | None]) -> None:
        self.parts = {name: data for name, data in (self.parts | parts).items() if data is not None}

    def get(self, name: str, first: int, end: int) -> bytes:
        self.reads += 1
        data = self.parts[name][first:end]
        assert len(data) == end - first
        return data


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks and large runs so small that a few dozen rows go through every step."""
    monkeypatch.setattr(part, "BLOCK", 2)
    monkeypatch.setattr(runs, "LARGE", 8)
    monkeypatch.setattr(ids, "LARGE", 8)
    monkeypatch.setattr(sighting, "LATELY", 2)


def daemon(store: Store | None, lateness: int, horizon: int) -> Engine:
    marks = Watermark(dict.fromkeys(Log, lateness))
    return Engine(RULES, watches(gather=True), watermark=marks, horizon=horizon, memory=TINY, shelf=store)


class Daemon:
    """An engine driven as the daemon drives it. `store` None: all in memory, and no checkpoint."""

    def __init__(self, store: Store | None, lateness: int, horizon: int) -> None:
        self.make = lambda: daemon(store, lateness, horizon)
        self.engine, self.store, self.told = self.make(), store, list[Finding]()

    def poll(self, events: list[Event]) -> list[Finding]:
        now = max((e.time for e in events), default=T0)
        self.engine.process(batch(events), now)
        return self.engine.judge() + self.engine.advance(now, backlog=False)

    def turn(self, events: list[Event]) -> None:
        self.told += self.poll(events)
        if self.store is not None:
            self.store.save(self.engine.changes())
            self.engine.saved()

    def restart(self) -> None:
        self.engine = self.make()
        self.engine.restore(self.store.parts)

    def end(self) -> list[dict[str, object]]:
        self.told += self.engine.finish()
        assert self.engine.books.balance()
        return [
            f.to_json() | {"state": f.state, "ids": f.alert_ids, "late": f.late, "evidence": None} for f in self.told
        ]


def counted(parts: dict[str, bytes]) -> dict[str, list[object]]:
    """The rows of a checkpoint's tallies, by rule and hour."""
    rows: dict[str, set[object]] = {}
    for name, data in parts.items():
        if name.startswith("tally/"):
            columns = [column.tolist() for column in decode(data)]
            rows.setdefault(name.rsplit("/", 1)[0], set()).update(zip(*columns, strict=True))
    return {name: sorted(some) for name, some in rows.items()}


LATE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


FORGOTTEN = [
    [Event(time=T0, who="a", key="k0", id=str(i)) for i in range(8)] + [Event(T0 + 11_400, "a", "k0", id="9")],
    [Event(time=T0, who="a", key="k0", id="0")],
]
"""The id that comes again is of before the horizon: it is new, also after a restart."""


@LATE
@example(polls=FORGOTTEN, horizon=2 * HOUR, restarts={0})
@given(polls=polls_, horizon=st.sampled_from([2 * HOUR, 48 * HOUR]), restarts=st.sets(st.integers(0, 7)))
def test_a_daemon_without_memory_tells_the_same(polls, horizon, restarts):
    """Late, repeated, forgotten records and restarts: every finding with its alert ids, and the books, are the same."""
    roomy, tight = Daemon(None, 600, horizon), Daemon(Store(), 600, horizon)
    for number, events in enumerate(polls):
        roomy.turn(events)
        tight.turn(events)
        if number in restarts:
            tight.restart()
    assert tight.end() == roomy.end()
    assert tight.engine.books == roomy.engine.books


@LATE
@given(polls=polls_, crashes=st.sets(st.integers(0, 7)))
def test_a_crash_before_a_checkpoint_is_written_loses_nothing(polls, crashes):
    """What was read, counted and given out as changes, but not saved, is as if it had never been."""
    straight, crashed = Daemon(Store(), 600, 48 * HOUR), Daemon(Store(), 600, 48 * HOUR)
    for number, events in enumerate(polls):
        straight.turn(events)
        if number in crashes:
            crashed.poll(events)
            crashed.engine.changes()
            crashed.restart()
        crashed.turn(events)
    assert crashed.end() == straight.end()
    assert crashed.engine.books == straight.engine.books


@LATE
@given(polls=polls_)
def test_the_checkpoint_holds_the_same_rows(polls):
    """Whatever was merged in memory or on the shelf, a checkpoint holds the same counts."""
    tight, roomy = Daemon(Store(), 600, 48 * HOUR), Store()
    plain = Daemon(None, 600, 48 * HOUR)
    for events in polls:
        tight.turn(events)
        plain.turn(events)
        roomy.save(plain.engine.changes())
    sums, held = counted(roomy.parts), counted(tight.store.parts)
    assert held.keys() == sums.keys()
    for name in (name for name in sums if "objects" in name):
        assert held[name] == sums[name]


def pieces(events: list[Event], seed: int) -> Iterator[AccessBatch]:
    mixed = list(events)
    shuffler = random.Random(seed)
    mixed += shuffler.choices(mixed, k=len(mixed) // 3)
    shuffler.shuffle(mixed)
    for at in range(0, len(mixed), 7):
        made = batch(mixed[at : at + 7])
        yield replace(made, has_arn=np.array([e.size == 1 for e in mixed[at : at + 7]]))


def replayed(
    events: list[Event], seed: int, scratch: Scratch | None, rules: list[Rule] = RULES, *, once: bool = True
) -> tuple[list[object], object]:
    room = {"memory": TINY, "shelf": scratch}
    engine = Engine(rules, watches(once=once), best_copies=True, horizon=FOREVER, **room)
    for made in pieces(events, seed):
        engine.process(made, NOW)
        engine.spill(scratch.save if scratch else lambda _: None)
    if engine.needs_second_run:
        if scratch:
            scratch.clear(but=KEPT)
        again = engine.second_run()
        engine = Engine(rules, watches(once=once), best_copies=True, horizon=FOREVER, **room, **again)
        for made in pieces(events, seed):
            engine.process(made, NOW)
            engine.spill(scratch.save if scratch else lambda _: None)
    return [f.to_json() for f in engine.finish() if f.state == "closed"], engine.books


@LATE
@given(events=st.lists(events_, min_size=1, max_size=120), seed=st.integers(0, 99))
def test_a_replay_without_memory_finds_the_same(tmp_path_factory, events, seed):
    """Shuffled, repeated, with copies that differ: findings and books are those of a replay in memory."""
    with Scratch(tmp_path_factory.getbasetemp()) as scratch:
        assert replayed(events, seed, scratch) == replayed(events, seed, None)


@LATE
@given(events=st.lists(events_, min_size=1, max_size=120), seed=st.integers(0, 99))
def test_rules_find_together_what_each_finds_alone(tmp_path_factory, events, seed):
    """Also those that share what they count, by credentials, with room for next to nothing; alone each has its own."""
    with Scratch(tmp_path_factory.getbasetemp()) as scratch:
        together, _ = replayed(events, seed, scratch, ALIKE)
    alone = [found for one in ALIKE for found in replayed(events, seed, None, [one], once=False)[0]]
    assert sorted(map(repr, together)) == sorted(map(repr, alone))


def test_what_is_counted_alike_is_held_once():
    """In replay; a daemon's rules come and go, and forget, each by itself."""
    for make, counted in ((watches(once=True), [9, 10]), (watches(), [9, 10, 10, 10, 10, 10])):
        engine = Engine(ALIKE, make, horizon=FOREVER)
        engine.process(batch(Event(T0 + n, "a", f"k{n}") for n in range(10)), NOW)
        held = [one for one in engine._spilling if isinstance(one, Tallies) and one.distinct]
        assert sorted(map(len, held)) == counted


def test_memory_holds_its_budget_over_many_ids(monkeypatch):
    """A stream of many times the budget: after every checkpoint the bytes held are within it, and nothing is lost."""
    monkeypatch.undo()
    memory, store = 2 << 20, Store()
    engine = Engine([rule("objects", 300, 1000)], watches(), best_copies=True, memory=memory, shelf=store)
    first = None
    for number in range(60):
        made = many(number, 5000)
        first = first or made
        engine.process(made, NOW)
        engine.spill(store.save)
        assert engine.held() <= memory
    assert sum(map(len, store.parts.values())) > 4 * memory
    engine.process(many(0, 5000), NOW)
    assert (engine.books.duplicates, engine.books.access_events) == (5000, 300_000)
    assert store.reads


def test_memory_holds_its_budget_over_many_people(monkeypatch):
    """Ever new sessions: the bytes held are within the budget, and each is still known and named."""
    monkeypatch.undo()
    memory, store = 1 << 20, Store()
    rules = [rule("objects", 300, 3), rule("objects", 300, 1000, id="busy", group_by="role")]
    engine = Engine(rules, watches(once=True), horizon=FOREVER, memory=memory, shelf=store)
    for number in range(12):
        engine.process(batch(Event(T0 + number * 600, f"s{number * 1000 + i}", f"k{number}") for i in range(1000)), NOW)
        engine.spill(store.save)
        assert engine.held() <= memory
    engine.process(batch(Event(T0 + 100_000 + i, "s7", f"t{i}") for i in range(3)), NOW)
    assert sum(map(len, store.parts.values())) > 4 * memory
    assert engine.people.sessions() == 12_000
    who = [principal(f"s{number}") for number in (0, 1, 6_000, 11_999)]
    assert sorted(engine.people.of(map(print_of, who))) == sorted(who)
    assert engine.people.name("session", who[0].session) == who[0].session_shown
    theft, *busy = sorted((f for f in engine.finish() if f.state == "closed"), key=lambda f: f.rule_id != "r1")
    assert theft.group == {"session": principal("s7").session_shown}
    assert theft.principal["access_key_ids"] == ["ASIAS7"]
    assert not busy


def many(number: int, rows: int) -> AccessBatch:
    """A batch of so many records, none of them in another batch."""
    rng = np.random.default_rng(number)
    small = batch([Event(T0, who=f"s{i}") for i in range(50)])
    picked = small.take(rng.integers(0, 50, rows))
    keys = Column(np.arange(rows, dtype=np.int32), [f"{number}/{i}" for i in range(rows)])
    ids_ = rng.integers(0, 1 << 64, rows, np.uint64)
    time = T0 + number * 600 + rng.integers(0, 600, rows)
    return replace(picked, id=ids_, time=time, text=picked.text | {"key": keys})


STREAM = """
import sys
from pathlib import Path
from detector.core.engine import Engine
from detector.watches import watches
from replay.scratch import Scratch
from tests.laws.test_memory import NOW, many
from tests.streams import rule

def peak():  # not ru_maxrss, which begins at the peak of the process that started this one
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024

with Scratch(Path(sys.argv[1])) as scratch:
    shelf = scratch if sys.argv[2] == "shelf" else None
    engine = Engine([rule("objects", 300, 1000)], watches(), best_copies=True, memory=8 << 20, shelf=shelf)
    for number in range(60):
        engine.process(many(number, 25_000), NOW)
        engine.spill(scratch.save) if shelf else None
        before = peak() if number == 5 else before if number > 5 else 0
    engine.finish()
    print(peak() - before, engine.books.duplicates)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_process_stays_within_bounds(tmp_path):
    """A process over a stream larger than its budget grows no further once it is warm; without a shelf it does."""
    grown = {}
    for how in ("shelf", "memory"):
        child = subprocess.run(
            [sys.executable, "-c", STREAM, str(tmp_path), how], check=True, capture_output=True, text=True, timeout=300
        )
        grown[how], _ = map(int, child.stdout.split())
    assert grown["shelf"] < 40 < grown["memory"]
    assert not list(tmp_path.iterdir())
