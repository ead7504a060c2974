"""Storms, sinks that fail, and a journal in S3, through the real loop and over crashes."""

import json
import os

import msgspec
import pytest

from detector.aws import journal as in_s3
from detector.errors import EdgeError, StateError
from detector.journal import verify
from detector.local.file_sink import FileSink
from detector.local.sqlite import SqliteState
from tests.crash.test_consumer_crash import NOW, Crash, Fuse, World, drain, swap, thief

THIEVES = 12
STORM = {"single": 2, "every": "5m", "named": 3}


@pytest.fixture(autouse=True, scope="module")
def _processes_crash_and_not_machines():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


class Stormy(World):
    """Many thefts at once, by one rule, in two files."""

    def __init__(self, folder) -> None:
        super().__init__(folder, mode="plan")

    def settings(self, **changes):
        return super().settings(**({"storm": STORM} | changes))

    def run(self, fuse=None):
        consumer = self.consumer(fuse)
        try:
            consumer.start()
            for part in range(2):
                for n in range(part, THIEVES, 2):
                    self.put(f"{part}{n:02d}", thief(f"thief-{n:02d}", NOW - 900 + n))
                drain(consumer)
            consumer.close_all()
            consumer.stop()
        finally:
            self.gone()
        return consumer


def story(world):
    """Every finding as journalled; what went out by itself; what the digests stand for."""
    entries = world.journal("finding")
    return {
        "findings": sorted((e["body"]["alert_id"], e["body"]["state"], "grouped" in e["body"]) for e in entries),
        "alone": {(a["alert_id"], a["state"]) for a in world.alerts() if "digest" not in a},
        "digests": {a["alert_id"]: a["digest"] for a in world.alerts() if "digest" in a},
        "journal": verify(world.folder / "journal.jsonl"),
    }


def counted(found):
    return sum(digest["count"] for digest in found["digests"].values())


def test_a_storm_is_told_in_a_digest_and_journalled_one_by_one(tmp_path):
    """Each finding stands in the journal once per state under its own alert id; the figures add up."""
    world = Stormy(tmp_path)
    consumer = world.run()
    found = story(world)
    assert len(found["findings"]) == len(set(found["findings"])) == 2 * THIEVES
    assert len(found["alone"]) == 4
    assert counted(found) == 2 * THIEVES - 4 == consumer.values()["alerts_grouped"]
    grouped = {(a, s) for a, s, held in found["findings"] if held}
    assert grouped | found["alone"] == {(a, s) for a, s, _ in found["findings"]}
    (digest,) = found["digests"].values()
    assert {one["alert_id"] for one in digest["first"]} <= {a for a, _ in grouped}
    places = [e["seq"] for e in world.journal("finding") if "grouped" in e["body"]]
    assert digest["journal"] == {"first": places[0], "last": places[-1]}
    sent = [one for e in world.journal("sent") for one in e["body"]["alerts"]]
    assert {(one["alert_id"], one["state"]) for one in sent} >= found["alone"]


def test_a_crash_amid_a_storm_neither_loses_nor_adds_anything(tmp_path):
    """Anywhere: the same findings, the same alerts, the same digests under the same ids."""
    (tmp_path / "whole").mkdir()
    whole, fuse = Stormy(tmp_path / "whole"), Fuse()
    whole.run(fuse)
    expected = story(whole)
    for at in range(0, len(fuse.passed), 11):
        (tmp_path / str(at)).mkdir()
        world = Stormy(tmp_path / str(at))
        try:
            world.run(Fuse(at))
        except Crash:
            world.run()
        found = story(world)
        for digest in (*found["digests"].values(), *expected["digests"].values()):
            digest.pop("journal", None)  # its numbers: one more `start` and other `sent` entries lie between
        places = {k: v for k, v in found.items() if k != "digests"}
        assert places == {k: v for k, v in expected.items() if k != "digests"}, f"crash {fuse.passed[at]}, place {at}"
        assert counted(found) == counted(expected)


# --- a sink that fails


class Sick:
    """A sink that says no."""

    name = "sns:alerts"

    def __init__(self, *, retryable) -> None:
        self.retryable, self.well, self.got = retryable, False, []

    def send(self, alert) -> None:
        if not self.well:
            raise EdgeError("AuthorizationError: no", remedy="allow sns:Publish", retryable=self.retryable)
        self.got.append(alert)


def with_sinks(world, *sinks):
    consumer = world.consumer()
    swap(consumer, sinks=[FileSink(world.folder / "alerts.jsonl"), *sinks])
    consumer.start()
    return consumer


def alarms(world):
    return [(a["state"], a["group"]["sink"]) for a in world.alerts() if a["schema"] == "bucketwatch.alarm.v1"]


def test_a_sink_that_cannot_be_reached_for_long_is_an_alarm_through_the_others_and_so_is_its_end(tmp_path):
    """Not at once, once, over a restart too; and all that had waited comes, in order."""
    world, sick = World(tmp_path, mode="plan"), Sick(retryable=True)
    consumer = with_sinks(world, sick)
    world.put("a", thief("thief-1", NOW - 900))
    drain(consumer)
    assert alarms(world) == []
    assert consumer.values()["sink_down"] == 0
    world.now += 300
    consumer.turn(0)
    consumer.stop()
    consumer = with_sinks(world, sick)
    world.now += 301
    consumer.turn(0)
    consumer.turn(0)
    assert alarms(world) == [("opened", "sns:alerts")]
    assert consumer.values()["sink_down"] == 1
    assert consumer.values()["alert_age_seconds"] > 600
    assert [e["body"]["group"] for e in world.journal("sink_down")] == [{"sink": "sns:alerts"}]
    sick.well, world.now = True, world.now + 120
    consumer.turn(0)
    consumer.turn(0)
    assert alarms(world) == [("opened", "sns:alerts"), ("closed", "sns:alerts")]
    assert [a["state"] for a in sick.got] == ["opened", "closed"]
    assert (consumer.values()["sink_down"], consumer.values()["alerts_waiting"]) == (0, 0)
    assert [event for event, _ in world.said if event.startswith("sink_")] == ["sink_down", "sink_up"]
    consumer.stop()


def test_a_sink_that_refuses_is_an_alarm_at_once(tmp_path):
    """Waiting does not mend a missing permission. The alert is kept, and the alarm says what to do."""
    world, sick = World(tmp_path, mode="plan"), Sick(retryable=False)
    consumer = with_sinks(world, sick)
    world.put("a", thief("thief-1", NOW - 900))
    drain(consumer)
    consumer.turn(0)
    assert alarms(world) == [("opened", "sns:alerts")]
    assert "allow sns:Publish" in world.alerts()[-1]["explanation"]
    assert consumer.values()["alerts_waiting"] == 1
    consumer.stop()


def test_the_only_sink_down_is_in_log_metrics_and_journal(tmp_path):
    """There is nobody else to tell; its end is told through itself."""
    world, sick = World(tmp_path, mode="plan"), Sick(retryable=False)
    consumer = world.consumer()
    swap(consumer, sinks=[sick])
    consumer.start()
    world.put("a", thief("thief-1", NOW - 900))
    drain(consumer)
    assert consumer.values()["sink_down"] == 1
    assert len(world.journal("sink_down")) == 1
    sick.well, world.now = True, world.now + 120
    consumer.turn(0)
    consumer.turn(0)
    assert [a["schema"].split(".")[1] for a in sick.got] == ["finding", "alarm"]
    consumer.stop()


def test_a_long_backlog_does_not_keep_the_loop_from_reading(tmp_path, monkeypatch):
    """So many a turn, the rest in the next ones."""
    monkeypatch.setattr("detector.outbox.AT_ONCE", 3)
    world, sick = World(tmp_path, mode="plan"), Sick(retryable=True)
    consumer = with_sinks(world, sick)
    for n in range(5):
        world.put(f"a{n}", thief(f"thief-{n}", NOW - 900 + n))
    drain(consumer)
    sick.well, world.now = True, world.now + 120
    took = []
    while consumer.values()["alerts_waiting"]:
        consumer.turn(0)
        took.append(len(sick.got))
    assert took == [3, 5]
    consumer.stop()


def test_what_an_earlier_version_had_left_in_its_checkpoint_is_sent(tmp_path):
    """Its outbox lay in one part with the loop's memory; nothing of it is lost."""
    world = World(tmp_path, mode="plan")
    old = {
        "seq": 1,
        "enforcing_since": 0,
        "saved_at": NOW,
        "outbox": [
            {
                "seq": 1, "time": "2026-05-01T09:00:00Z", "kind": "finding", "body": {"alert_id": "a-1"},
                "journalled": False, "alert": {"alert_id": "a-1", "schema": "x"}, "sinks": ["gone"], "plan": None,
            }
        ],
    }  # fmt: skip
    state = SqliteState(tmp_path / "state.db")
    state.save({"consumer": msgspec.msgpack.encode(old)})
    state.close()
    consumer = world.consumer()
    consumer.start()
    consumer.stop()
    assert [alert["alert_id"] for alert in world.alerts()] == ["a-1"]
    assert [entry["seq"] for entry in world.journal("finding")] == [1]


# --- the journal's other writers, and the journal in S3


def test_another_writer_of_the_journal_stops_the_daemon_and_a_restart_goes_on(tmp_path):
    """No entry is passed over in silence: what the daemon had to say stands behind what the other wrote."""
    world = World(tmp_path, mode="plan")
    consumer = world.consumer()
    consumer.start()
    other = consumer.edges.journal
    other.append([{"seq": other.head.seq + 1, "time": "t", "kind": "strange", "body": {}}])
    world.put("a", thief("thief-1", NOW - 900))
    with pytest.raises(StateError, match="somebody else"):
        drain(consumer)
    world.gone()
    again = world.consumer()
    again.start()
    drain(again)
    again.stop()
    kinds = [entry["kind"] for entry in world.journal()]
    assert kinds.count("strange") == 1
    assert {"journal_changed", "finding"} <= set(kinds)
    assert len(world.alerts()) >= 1
    assert verify(world.folder / "journal.jsonl") == []


class InBucket(World):
    """The same daemon with its journal in S3."""

    audit = ""

    def settings(self, **changes):
        return super().settings(**({"journal": {"bucket": self.audit, "prefix": self.folder.name}} | changes))

    def journal(self, *kinds):
        objects = in_s3.Objects(in_s3.client("s3"), self.audit, self.folder.name)
        lines = [json.loads(line) for n in objects.after(-1) for line in objects.read(n).splitlines()]
        return [line for line in lines if not kinds or line["kind"] in kinds]


def told(world):
    findings = [(e["body"]["alert_id"], e["body"]["state"]) for e in world.journal("finding")]
    return sorted(findings), {(a["alert_id"], a["state"]) for a in world.alerts()}


def test_a_crash_around_every_append_to_a_journal_in_s3_changes_nothing(tmp_path, aws):
    """Before and after: every finding stands in it once, the chain is whole, the head is found from the checkpoint."""
    InBucket.audit = aws.name("journal")
    aws.client("s3").create_bucket(Bucket=InBucket.audit)
    (tmp_path / "whole").mkdir()
    whole, fuse = InBucket(tmp_path / "whole", mode="plan"), Fuse()
    whole.run(fuse)
    expected = told(whole)
    assert len(expected[0]) == 4
    places = [at for at, place in enumerate(fuse.passed) if place.endswith("append")]
    for at in places[:6]:
        (tmp_path / str(at)).mkdir()
        world = InBucket(tmp_path / str(at), mode="plan")
        with pytest.raises(Crash):
            world.run(Fuse(at))
        world.run()
        assert told(world) == expected
        assert in_s3.examine(InBucket.audit, str(at)).problems == []
