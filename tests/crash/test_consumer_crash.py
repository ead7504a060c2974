"""A crash at every step of the loop: the daemon that takes over ends with the same books, findings and alerts.

    1 receive → 2 fetch → 3 parse → 4 engine → 5 checkpoint → 6 journal → 7 publish → 8 respond → 9 acknowledge

The edges are the real local ones. Each call that crosses one is a place to crash, once before and once after it took
effect; an uncrashed run counts the places and says what must come out.
"""

import gzip
import json
import os
import random
from collections import Counter
from dataclasses import fields, replace

import pytest

from detector import archive
from detector.aws import lease, session, state
from detector.cli.joined import make_lease
from detector.cli.watch import build
from detector.consumer import Consumer
from detector.errors import EdgeError, LeaseLostError
from detector.journal import verify
from detector.local.directory import DirectorySource
from detector.local.file_sink import FileSink
from detector.settings import Settings
from detector.source import Applied, Standing
from replay.example_day import burst
from tests import flood
from tests.servers import environment
from tests.test_archive import archived

NOW = 1_777_626_000
RULE = flood.RULE + "    respond: [revoke]\n"
PAIRS_OF_CRASHES = 25


class Crash(BaseException):
    """The process is gone: nothing of ours may catch this."""


class Fuse:
    """Counts the places passed; crashes at the chosen ones."""

    def __init__(self, *at: int) -> None:
        self.at, self.passed = set(at), []

    def pass_by(self, place: str) -> None:
        self.passed.append(place)
        if len(self.passed) - 1 in self.at:
            raise Crash(place)


class Wired:
    """An edge (or the engine) with a place to crash before and after each of the named calls."""

    def __init__(self, inner, fuse, *calls) -> None:
        self._inner, self._fuse, self._calls = inner, fuse, calls

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        return self._wired(name, found) if name in self._calls else found

    def _wired(self, name, call):
        def wired(*args, **kwargs):
            self._fuse.pass_by(f"before {name}")
            result = call(*args, **kwargs)
            self._fuse.pass_by(f"after {name}")
            return result

        return wired


class Twin:
    """A responder that keeps what it was told to do: the policies that stand, and every call. Safe to repeat."""

    separate = False

    def __init__(self) -> None:
        self.standing, self.calls, self.failures, self.passing = {}, [], 0, True

    def before(self, plan):
        return Applied(plan["case_id"], "applied", "", {"a": "was"})

    def remove(self, plan, before):
        gone = self.standing.pop(plan["case_id"], None)
        return Applied(plan["case_id"], "already" if gone is None else "applied", "")

    def look(self, plan):
        return Standing("stands" if plan["case_id"] in self.standing else "gone", "", "same")

    def apply(self, plan):
        self.calls.append(plan["case_id"])
        if self.failures:
            self.failures -= 1
            return Applied(plan["case_id"], "failed", "AWS asks to slow down", passing=self.passing)
        status = "already" if plan["case_id"] in self.standing else "applied"
        self.standing.setdefault(plan["case_id"], plan["actions"])
        return Applied(plan["case_id"], status, "")


class Queue(DirectorySource):
    """A directory that, like a queue, delivers after a restart whatever it has not been told to forget.

    forgotten: identities of messages, which outlive a crash of whoever reads them.
    """

    def __init__(self, path, forgotten, **options) -> None:
        super().__init__(path, **options)
        self._forgotten = forgotten
        super().restore(json.dumps(sorted(forgotten)).encode())

    def acknowledge(self, messages):
        self._forgotten.update(message.id for message in messages)
        return super().acknowledge(messages)

    def restore(self, positions) -> None:
        pass


def swap(consumer: Consumer, **edges) -> None:
    """Put other edges in the place of a daemon's own."""
    for name, edge in edges.items():
        setattr(consumer.edges, name, edge)


class World:
    """One daemon's files and the world around it, which outlive its crashes."""

    def __init__(self, folder, kind=DirectorySource, bucket="", **response) -> None:
        self.folder, self.kind, self.bucket, self.now, self.waited = folder, kind, bucket, NOW, 0.0
        self.response = {"mode": "enforce", "armed": True, "accounts": ("111122223333",)} | response
        self.responder, self.said, self.store, self.lease = Twin(), [], None, None
        self.acknowledged = set()
        (folder / "logs").mkdir(exist_ok=True)
        (folder / "rules.yaml").write_text(RULE)

    def settings(self, **changes):
        return Settings.model_validate(
            {
                "source": {"kind": "directory", "path": str(self.folder / "logs")},
                "rules": str(self.folder / "rules.yaml"),
                "state": self.state(),
                "alerts": ({"kind": "file", "path": str(self.folder / "alerts.jsonl")},),
                "journal": {"path": str(self.folder / "journal.jsonl")},
                "archive": None if self.bucket else {"path": str(self.folder / "archive")},
                "response": self.response,
                "lateness": {"cloudtrail": "1m"},
            }
            | changes
        )

    def consumer(self, fuse=None, **changes) -> Consumer:
        """A daemon as a new process would make it, with wires around its edges."""
        settings, fuse = self.settings(**changes), fuse or Fuse()
        self.lease = self.taken(settings)
        made = build(settings, say=self.say, clock=lambda: self.now, lease=self.lease)
        self.store = made.edges.store
        if self.bucket:
            self.store._parcels = Wired(self.store._parcels, fuse, "put")
            self.store._pointer = Wired(self.store._pointer, fuse, "replace")
        else:
            self.store._db.execute("PRAGMA synchronous=OFF")
        remembered = (self.acknowledged,) if self.kind is Queue else ()
        source = self.kind(self.folder / "logs", *remembered, limit=2)
        made.stop = self.stopping(made.stop, self.lease)
        made.engine = Wired(made.engine, fuse, "process", "judge", "advance")
        swap(
            made,
            source=Wired(source, fuse, "receive", "fetch", "acknowledge"),
            store=Wired(made.edges.store, fuse, "save"),
            journal=Wired(made.edges.journal, fuse, "append"),
            sinks=[Wired(sink, fuse, "send") for sink in made.edges.sinks],
            responder=Wired(self.responder, fuse, "before", "apply") if self.response["mode"] == "enforce" else None,
            archive=Wired(made.edges.archive, fuse, "put") if made.edges.archive else None,
        )
        return made

    def state(self):
        if self.bucket:
            return {"kind": "s3", "bucket": self.bucket, "prefix": str(self.folder)}
        return {"kind": "sqlite", "path": str(self.folder / "state.db")}

    def taken(self, settings):
        """The lease, waited for by a clock of ours if somebody has it who is gone."""
        lease = make_lease(settings, say=self.say)
        lease._clock, lease._sleep, lease._start_beating = lambda: self.waited, self.wait, lambda: None
        assert lease.acquire(60, lambda: False)
        return lease

    def stopping(self, stop, lease):
        """A clean stop, and then what `watch` does."""

        def stopped():
            stop()
            lease.release()

        return stopped

    def wait(self, seconds) -> None:
        self.waited += max(seconds, 5)

    def gone(self) -> None:
        """What the system does for a process that is gone."""
        self.store.close()
        if not self.bucket:
            self.lease.release()

    def say(self, event, **fields) -> None:
        self.said.append((event, fields))

    def put(self, name, records) -> None:
        """Lay a log file into the directory, always the very same; nothing if it lies there."""
        path = self.folder / "logs" / f"{name}.json.gz"
        if not path.exists():
            path.write_bytes(gzip.compress(json.dumps({"Records": records}).encode(), mtime=0))
            os.utime(path, (NOW, NOW))

    def run(self, fuse=None) -> Consumer:
        """The whole story once: two deliveries, the end of the data, a clean stop. A crash leaves it where it was."""
        consumer = self.consumer(fuse)
        try:
            consumer.start()
            for name, records in FIRST.items():
                self.put(name, records)
            drain(consumer)
            for name, records in SECOND.items():
                self.put(name, records)
            drain(consumer)
            consumer.close_all()
            consumer.stop()
        finally:
            self.gone()
        return consumer

    def alerts(self):
        lines = (self.folder / "alerts.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def journal(self, *kinds):
        entries = [json.loads(line) for line in (self.folder / "journal.jsonl").read_text().splitlines()]
        return [e for e in entries if not kinds or e["kind"] in kinds]


def drain(consumer) -> None:
    while consumer.turn(0):
        pass


def thief(name, start, objects=30):
    return burst(name, objects, objects, start)


ONE, TWO, NOBODY = thief("thief-1", NOW - 900), thief("thief-2", NOW - 300), thief("reader-1", NOW - 890, 10)
FIRST = {"a1": ONE[:12], "a2": ONE[10:25] + NOBODY, "a3": ONE[20:]}
SECOND = {"b1": TWO[:15], "b2": [{"eventTime": "never"}, *TWO[15:], "no record"], "b3": TWO[5:20] + ONE[:3]}
"""Two thefts, each over three files that overlap: one is closed by the watermark, one at the end of the data."""


def books(consumer):
    """Field by field: `asdict` counts a Counter's items anew."""
    kept = consumer.engine.books
    return {field.name: getattr(kept, field.name) for field in fields(kept)}


def outcome(world, consumer):
    """What must not depend on crashes."""
    closed = [e["body"] for e in world.journal("finding") if e["body"]["state"] == "closed"]
    return {
        "books": books(consumer),
        "closed": [{k: v for k, v in body.items() if k != "sent_at"} for body in closed],
        "told": Counter((e["body"]["alert_id"], e["body"]["state"]) for e in world.journal("finding")),
        "alerts": {(alert["alert_id"], alert["state"]) for alert in world.alerts()},
        "denied": world.responder.standing,
        "journal": verify(world.folder / "journal.jsonl"),
        "refused": Counter(e["body"]["reason"] for e in world.journal("rejected")),
        "archive": archived(world.folder / "archive"),
    }


@pytest.fixture(autouse=True, scope="module")
def _the_archive_is_written_every_turn():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "EVERY", 0)
        yield


@pytest.fixture(autouse=True, scope="module")
def _processes_crash_and_not_machines():
    """What a process has written survives it without being on the disk; the tests need not wait for that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def bucket(moto_server):
    """A bucket for the states of all these tests; a client is made once, which takes longer than a run."""
    made = {}

    def client(service, **how):
        if (service, *how) not in made:
            made[service, *how] = session.client(service, **how)
        return made[service, *how]

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(moto_server).items():
            patch.setenv(name, value)
        patch.setattr(lease, "client", client)
        patch.setattr(state, "client", client)
        client("s3").create_bucket(Bucket="crashes")
        yield "crashes"


@pytest.fixture(scope="module", params=[(DirectorySource, ""), (Queue, ""), (Queue, "s3")], ids=str)
def uncrashed(request, tmp_path_factory):
    """(Source kind, state bucket) → the places a run passes, and what comes out of it."""
    kind, on_s3 = request.param
    kind = kind, request.getfixturevalue("bucket") if on_s3 else ""
    world, fuse = World(tmp_path_factory.mktemp("uncrashed"), *kind), Fuse()
    expected = outcome(world, world.run(fuse))
    assert len(expected["closed"]) == 2 == len(expected["denied"])
    assert expected["books"]["duplicates"] == 2 + 5 + 15 + 3
    assert expected["books"]["rejected"].total() == 2
    assert expected["journal"] == []
    assert len(expected["alerts"]) == 4
    assert kind[1] or expected["archive"].total() == expected["books"]["access_events"]
    return kind, fuse.passed, expected


def run_through_crashes(world, *crashes):
    """Crash at the places chosen (each counted from the start of its own run), then run to the end."""
    for at in crashes:
        try:
            return world.run(Fuse(at))
        except Crash:
            continue
    return world.run()


def test_a_crash_anywhere_changes_nothing(uncrashed, tmp_path):
    """Before and after every call across an edge: same books, same findings, no alert missing, the journal whole."""
    kind, places, expected = uncrashed
    steps = {"receive", "fetch", "process", "save", "append", "send", "apply", "acknowledge"}
    assert {place.split()[1] for place in places} >= steps
    for at, place in enumerate(places):
        if kind[0] is DirectorySource and place.startswith("before") and at:
            continue  # nothing lasting happens between one call's end and the next call's beginning
        if kind[1] and at not in some_of_each(places):
            continue  # a run over S3 takes ten times as long
        folder = tmp_path / str(at)
        folder.mkdir()
        world = World(folder, *kind)
        assert outcome(world, run_through_crashes(world, at)) == expected, f"crash {place}, place {at} of {len(places)}"


def some_of_each(places):
    """The first and the last of the places of one name."""
    by_name = {name: [at for at, place in enumerate(places) if place == name] for name in places}
    return {at for every in by_name.values() for at in (every[0], every[-1])}


class Pause(Fuse):
    """At one place the process is stopped, and goes on when another daemon has done everything."""

    def __init__(self, at, meanwhile) -> None:
        super().__init__()
        self.pause, self.meanwhile, self.since = at, meanwhile, None

    def pass_by(self, place) -> None:
        super().pass_by(place)
        if len(self.passed) - 1 == self.pause:
            self.meanwhile()
            self.since = len(self.passed)


LEAVING = {f"before {call}" for call in ("append", "send", "apply", "acknowledge")}


def test_a_daemon_that_was_paused_past_its_lease_does_nothing_further(bucket, tmp_path):
    """Wherever it stops, another takes over and does all. Going on, it tells, answers and acknowledges nothing.

    What it tries to save is refused.
    """
    (tmp_path / "whole").mkdir()
    world, fuse = World(tmp_path / "whole", Queue, bucket), Fuse()
    expected = outcome(world, world.run(fuse))
    for at in sorted(some_of_each(fuse.passed[:-2]))[::2]:  # after the last save it was done with
        if fuse.passed[at] in LEAVING:
            continue  # between the look at the lease and the act nothing can be done but to be quick
        folder, done = tmp_path / str(at), []
        folder.mkdir()
        paused = World(folder, Queue, bucket)

        def meanwhile(paused=paused, done=done):
            paused.waited += 100
            done.append(paused.run())

        pause = Pause(at, meanwhile)
        try:
            paused.run(pause)
        except LeaseLostError:
            pass
        else:
            pytest.fail(f"went on, paused {fuse.passed[at]}, place {at} of {len(fuse.passed)}")
        assert not LEAVING & set(pause.passed[pause.since :]), f"paused {fuse.passed[at]}, place {at}"
        assert outcome(paused, done[0]) == expected, f"paused {fuse.passed[at]}, place {at}"


def test_a_crash_while_recovering_changes_nothing(uncrashed, tmp_path):
    """Two crashes, the second anywhere in the run that takes over from the first."""
    kind, places, expected = uncrashed
    chance = random.Random(1)
    for n in range(PAIRS_OF_CRASHES // (3 if kind[1] else 1)):
        folder = tmp_path / str(n)
        folder.mkdir()
        world, pair = World(folder, *kind), (chance.randrange(len(places)), chance.randrange(len(places) // 2))
        assert outcome(world, run_through_crashes(world, *pair)) == expected, f"crashes {pair}"


def test_daemons_that_always_crash_still_get_on(uncrashed, tmp_path):
    """Each start gets a few calls further than it needs to recover: the end is reached, and nothing is told wrongly."""
    kind, places, expected = uncrashed
    world, runs = World(tmp_path, *kind), 0
    while True:
        runs += 1
        assert runs < len(places), "no progress"
        try:
            done = world.run(Fuse(70 if kind[1] else 40))
            break
        except Crash:
            continue
    assert runs > 2
    assert outcome(world, done) == expected


# --- what the edges refuse


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


class Refusing:
    """An edge one call of which fails for a while with an EdgeError."""

    def __init__(self, inner, call, refuses, *, retryable) -> None:
        self._inner, self._call, self.refuses, self._retryable = inner, call, refuses, retryable

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        return self._asked(found) if name == self._call else found

    def _asked(self, call):
        def asked(argument):
            if self.refuses(argument):
                raise EdgeError("no", retryable=self._retryable)
            return call(argument)

        return asked


def test_a_file_that_cannot_be_fetched_is_not_acknowledged(tmp_path):
    """It stays with the source and counts when it comes again; the files beside it count at once, and once."""
    world = World(tmp_path, Queue)
    for name, records in FIRST.items():
        world.put(name, records)
    first = world.consumer()
    swap(first, source=Refusing(first.edges.source, "fetch", lambda n: "a2" in n.name, retryable=False))
    first.start()
    drain(first)
    first.stop()
    assert {name.split(".")[0] for name in world.acknowledged} == {"a1", "a3"}
    assert first.values()["fetch_failures"] == 1
    second = world.consumer()
    second.start()
    drain(second)
    second.stop()
    assert {name.split(".")[0] for name in world.acknowledged} == {"a1", "a2", "a3"}
    books = second.engine.books
    assert (books.records, books.duplicates) == (12 + 25 + 10, 2 + 5)


def test_a_source_that_cannot_be_asked_is_not_empty(world):
    """An outage is no end of the data: `--until-idle` goes on waiting, and event time stands still."""
    consumer, outage = world.consumer(), [True]
    swap(consumer, source=Refusing(consumer.edges.source, "receive", lambda _: bool(outage), retryable=True))
    consumer.start()
    assert consumer.turn(0)
    outage.clear()
    assert not consumer.turn(0)
    consumer.stop()


class Bundles(DirectorySource):
    """Delivers all files of a poll as one message, as S3 may put several into one notification."""

    def receive(self, wait_seconds):
        delivery = super().receive(wait_seconds)
        if not delivery.messages:
            return delivery
        notices = tuple(notice for message in delivery.messages for notice in message.notices)
        return replace(delivery, messages=[replace(delivery.messages[0], notices=notices)])


def test_part_of_a_message_counts_once_however_often_the_message_comes(tmp_path):
    """One file of a message cannot be fetched: the other is in the checkpoint, and not counted when all comes again."""
    world = World(tmp_path, Bundles)
    world.put("a1", FIRST["a1"])
    world.put("a2", FIRST["a2"])
    for refused in ("a2", "nothing"):
        consumer = world.consumer()
        swap(
            consumer,
            source=Refusing(consumer.edges.source, "fetch", lambda n, it=refused: it in n.name, retryable=True),
        )
        consumer.start()
        consumer.turn(0)
        world.gone()
    assert (consumer.engine.books.records, consumer.engine.books.duplicates) == (12 + 25, 2)


def test_a_file_the_parser_cannot_bear_is_quarantined(world, monkeypatch):
    """It stops nobody: the other files count, the journal names it, and it does not come again."""
    import detector.logs.read as logs

    real = logs.read

    def bursting(data, name, builder, limits):
        reading = real(data, name, builder, limits)
        if "a1" in name:
            raise OverflowError("too large")
        return reading

    monkeypatch.setattr(logs, "read", bursting)
    for name, records in FIRST.items():
        world.put(name, records)
    consumer = world.consumer()
    consumer.start()
    drain(consumer)
    consumer.stop()
    assert consumer.engine.books.records == 25 + 10
    (entry,) = world.journal("quarantine")
    assert "a1" in entry["body"]["file"]
    assert "too large" in entry["body"]["reason"]


def all_told(world):
    return [(alert["group"]["session"].rpartition("/")[2], alert["state"]) for alert in world.alerts()]


def test_a_sink_that_cannot_be_reached_gets_its_alerts_later_and_in_order(world):
    """Alerts stay in the outbox over a restart and come out oldest first, each once."""
    blocked = world.folder / "alerts.jsonl"
    blocked.mkdir()  # a directory where the file should be: every write fails
    done = world.run()
    assert done.values()["alerts_waiting"] == 4
    assert ("left_for_next_start", {"count": 4}) in world.said
    blocked.rmdir()
    later = world.consumer()
    later.start()
    later.stop()
    assert all_told(world) == [
        ("thief-1", "opened"),
        ("thief-2", "opened"),
        ("thief-1", "closed"),
        ("thief-2", "closed"),
    ]
    assert later.values()["alerts_waiting"] == 0


def test_an_alert_that_a_sink_refuses_does_not_hold_up_the_others(world):
    """Nobody can silence a sink with one alert that it will never take; nor does a closing overtake its opening."""
    consumer = world.consumer()
    sink, refusing = consumer.edges.sinks[0], [True]

    def refuses(alert):
        return bool(refusing) and alert["group"]["session"].endswith("thief-1")

    swap(consumer, sinks=[Refusing(sink, "send", refuses, retryable=False)])
    for name, records in (FIRST | SECOND).items():
        world.put(name, records)
    consumer.start()
    drain(consumer)
    consumer.close_all()
    assert all_told(world) == [("thief-2", "opened"), ("thief-2", "closed")]
    refusing.clear()
    world.now += 120
    consumer.turn(0)
    assert all_told(world)[2:] == [("thief-1", "opened"), ("thief-1", "closed")]
    consumer.stop()


def test_an_alert_for_a_sink_that_was_taken_away_goes_to_the_ones_there_are(world):
    """Whoever mends a wrong topic in the config gets what was waiting for it."""
    (world.folder / "alerts.jsonl").mkdir()
    world.run()
    elsewhere = world.folder / "elsewhere.jsonl"
    later = world.consumer(alerts=({"kind": "file", "path": str(elsewhere)},))
    later.start()
    later.stop()
    assert len(elsewhere.read_text().splitlines()) == 4


# --- responses


def opened(world, **changes):
    """A daemon that has just seen the first theft."""
    for name, records in FIRST.items():
        world.put(name, records)
    consumer = world.consumer(**changes)
    consumer.start()
    return consumer


def results(world):
    return [entry["body"]["status"] for entry in world.journal("revocation")]


def test_a_revocation_that_failed_is_tried_again(world):
    """AWS slowing down is no reason to let a thief go on; one entry says it failed, one that it stands."""
    world.responder.failures = 3
    consumer = opened(world)
    drain(consumer)
    for _ in range(5):
        world.now += 20
        consumer.turn(0)
    consumer.stop()
    assert len(world.responder.calls) == 4
    assert results(world) == ["failed", "applied"]
    assert verify(world.folder / "journal.jsonl") == []


def crash_before_apply(world):
    """The plan is in the checkpoint, and nobody has carried it out."""
    consumer = opened(world)
    consumer._outbox._respond = crash
    with pytest.raises(Crash):
        drain(consumer)
    world.gone()


def crash(*_args):
    raise Crash


def test_a_plan_from_before_a_long_outage_is_not_carried_out(world):
    """What was right to do alone within max_age is a person's to decide later: refused, and said."""
    crash_before_apply(world)
    world.now += 3600
    later = world.consumer()
    later.start()
    later.stop()
    assert world.responder.calls == []
    assert results(world) == ["refused"]


def test_a_flood_of_thefts_revokes_no_more_than_an_hour_allows(tmp_path):
    """Past the limit plans are refused, with one alarm. A restart gives no new hour; an hour later there is one."""
    world = World(tmp_path, hourly=3)

    def taken(*names):
        for name in names:
            world.put(name, thief(name, world.now - 60))
        consumer = world.consumer()
        consumer.start()
        drain(consumer)
        consumer.stop()
        return len(world.responder.standing)

    def alarms():
        return [alert["state"] for alert in world.alerts() if alert["rule_id"] == "bucketwatch.revocation_limit"]

    assert taken(*(f"thief-{n}" for n in range(5))) == 3
    assert sorted(results(world)) == ["applied"] * 3 + ["refused"] * 2
    assert alarms() == ["opened"]
    assert taken("thief-5") == 3
    assert alarms() == ["opened"]
    world.now += 3600
    assert taken("thief-6") == 4
    assert alarms() == ["opened", "closed"]
    [closed] = [a for a in world.alerts() if (a["kind"], a["state"]) == ("alarm", "closed")]
    assert "3 plans were not carried out" in closed["explanation"]


def test_what_may_stand_though_it_failed_counts_for_the_hour(tmp_path):
    """IAM may have taken a policy that it does not show: no more sessions are tried than the hour allows."""
    world = World(tmp_path, hourly=3)
    world.responder.failures = 1000
    for n in range(8):
        world.put(f"thief-{n}", thief(f"thief-{n}", NOW - 60))
    consumer = world.consumer()
    consumer.start()
    for _ in range(20):
        consumer.turn(0)
        world.now += 30
    assert len(set(world.responder.calls)) == 3
    world.responder.failures = 0
    for _ in range(20):
        consumer.turn(0)
        world.now += 30
    consumer.stop()
    assert len(world.responder.standing) == 3


def test_an_archive_that_was_taken_out_of_the_config_changes_no_number_of_the_journal(world):
    """What it lacks is said, after everything that the checkpoint still had to say."""
    consumer = world.consumer()
    consumer.start()
    world.put("a", thief("thief-1", NOW - 300))
    consumer.turn(0)
    world.gone()
    later = world.consumer(archive=None)
    later.start()
    drain(later)
    later.stop()
    assert world.journal("journal_changed") == []
    assert verify(world.folder / "journal.jsonl") == []
    assert len(world.journal("archive_dropped")) == 1


def test_a_plan_dies_with_enforce_mode(world):
    """Taking the daemon out of enforce mode means it: what was planned before is not done when it is put back."""
    crash_before_apply(world)
    for mode in ("plan", "enforce"):
        world.response = world.response | {"mode": mode}
        later = world.consumer()
        later.start()
        later.stop()
    assert world.responder.calls == []
    assert results(world) == ["refused"]


def test_the_first_day_of_enforce_mode_only_plans(tmp_path):
    """Unless `armed` is set; the day is counted over restarts, and anew after a time in another mode."""
    world = World(tmp_path, armed=False)
    hours = [(0, "enforce", False), (23, "enforce", False), (25, "plan", False), (26, "enforce", False)]
    hours += [(49, "enforce", False), (51, "enforce", True)]
    for hour, mode, acts in hours:
        world.now = NOW + hour * 3600
        world.response = world.response | {"mode": mode}
        world.put(f"h{hour:02d}", thief(f"thief-{hour:02d}", world.now - 60))
        consumer = world.consumer()
        consumer.start()
        drain(consumer)
        consumer.stop()
        assert bool(world.responder.calls) == acts, f"hour {hour}"
    would = [fields for event, fields in world.said if event == "not_revoked"]
    assert len(would) == 4  # the hours of enforce mode in which nothing was done
    assert all("would have done" in " ".join(one["why"]) and one["would"] for one in would)


# --- the journal's numbers


@pytest.mark.parametrize("lost", ["state.db", "journal.jsonl"])
def test_nothing_is_missing_from_the_journal_after_checkpoint_or_journal_were_lost(world, lost):
    """A checkpoint that knows less than the journal must not give numbers twice: those entries would vanish."""
    world.run()
    for path in world.folder.glob(f"{lost}*"):
        path.unlink()
    before = len(world.journal()) if lost == "state.db" else 0
    world.run()
    assert verify(world.folder / "journal.jsonl") == []
    after = [entry["kind"] for entry in world.journal()][before:]
    assert after[:2] == ["journal_changed", "start"]
    assert after.count("finding") == (4 if lost == "state.db" else 0)


LEARNER = """
  - id: unusual
    title: A role reads far more than usual
    severity: medium
    kind: baseline
    where: {operation: read}
    group_by: role
"""


def test_alerts_name_the_rules_that_are_still_learning(world):
    """Whoever reads that a threshold was passed must know that the model was not asked yet."""
    (world.folder / "rules.yaml").write_text(RULE + LEARNER)
    consumer = world.consumer()
    consumer.start()
    world.put("a", thief("thief-1", NOW - 300))
    drain(consumer)
    assert consumer.values()["rules_learning"] == 1
    assert [alert["learning"] for alert in world.alerts()] == [["unusual"]]
    consumer.stop()


def test_a_torn_last_line_of_the_journal_is_told(world):
    """A crash amid a write is cut off and noted: the chain holds, and says what happened."""
    world.run()
    with (world.folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"seq":99,"ti')
    world.run()
    assert verify(world.folder / "journal.jsonl") == []
    assert len(world.journal("journal_recovered")) == 1


# --- time


def test_a_poll_without_news_writes_nothing(world):
    """The watermark moves with the clock, but only what it closes is a reason for a checkpoint."""
    fuse = Fuse()
    consumer = world.consumer(fuse)
    for name, records in FIRST.items():
        world.put(name, records)
    consumer.start()
    consumer.turn(0)
    assert consumer.values()["watermark_lag_seconds"] == 0  # a backlog, and no watermark yet
    drain(consumer)
    assert consumer.values()["watermark_lag_seconds"] == 900 - 29 + 60
    while consumer._archive.waiting() or consumer._archive.unsaved:
        consumer.turn(0)
    fuse.passed.clear()
    for _ in range(30):
        world.now += 60
        consumer.turn(0)
    assert "before save" not in fuse.passed
    assert "closed" not in [alert["state"] for alert in world.alerts()]
    world.now += 3600  # now nobody has been heard of for an hour: event time goes on with the clock
    consumer.turn(0)
    assert [alert["state"] for alert in world.alerts()] == ["opened", "closed"]
    saves = fuse.passed.count("before save")
    assert saves
    consumer.turn(0)
    assert fuse.passed.count("before save") == saves
    consumer.stop()


def test_a_daemon_that_slept_does_not_take_its_sources_for_silent(world):
    """After an outage longer than idle_after, event time waits for what is still to come: it is not late."""
    for name, records in FIRST.items():
        world.put(name, records)
    first = world.consumer()
    first.start()
    drain(first)
    first.stop()
    world.now += 7200
    second = world.consumer()
    second.start()
    second.turn(0)  # what was missed has not come yet
    for name, records in SECOND.items():
        world.put(name, records)
    drain(second)
    second.stop()
    assert second.engine.books.late == 0
    assert not world.journal("idle")


def test_closing_all_works_in_a_later_process(world):
    """Findings opened by one daemon are closed by another, with the same alert ids and the figures of one run."""
    (world.folder / "whole").mkdir()
    whole = World(world.folder / "whole")
    whole.run()
    for files in (FIRST, SECOND, {}):
        for name, records in files.items():
            world.put(name, records)
        consumer = world.consumer()
        consumer.start()
        drain(consumer)
        if not files:
            consumer.close_all()
        consumer.stop()
    assert {(a["alert_id"], a["state"]) for a in world.alerts()} == {
        (a["alert_id"], a["state"]) for a in whole.alerts()
    }
    assert figures(world) == figures(whole)


def figures(world):
    return {
        a["finding_id"]: (a["opened_at"], a["last_at"], a["peak_value"]) for a in world.alerts() if "finding_id" in a
    }


def test_the_sink_twin_is_the_real_one(world):
    """What these tests wire is what the daemon uses."""
    assert isinstance(world.consumer().edges.sinks[0]._inner, FileSink)
    world.gone()
