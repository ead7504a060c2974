"""A rotation of sessions, a fan-out over roles: one page and a few updates, through the real loop and over crashes."""

import os
from collections import Counter
from dataclasses import replace

import pytest

from detector.journal import verify
from detector.local.file_sink import FileSink
from replay.example_day import CONTRACTOR_ROLES, burst
from tests.crash.test_consumer_crash import NOW, Crash, Fuse, Wired, World, drain, swap

THIEVES = 9
ADDRESS, OFFICE = "203.0.113.9", "198.51.100.20"


@pytest.fixture(autouse=True, scope="module")
def _processes_crash_and_not_machines():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


class Pager:
    """A sink that wakes somebody."""

    name, keeps = "sns:pager", False

    def __init__(self) -> None:
        self.got = []

    def send(self, alert) -> None:
        self.got.append(alert)


class Woken(World):
    """A daemon with a file of alerts and a pager, which outlives its crashes. It has known the office since long."""

    def __init__(self, folder) -> None:
        super().__init__(folder, mode="plan")
        self.pager = Pager()

    def begun(self, fuse=None):
        consumer = self.consumer(fuse)
        sinks = [FileSink(self.folder / "alerts.jsonl"), self.pager]
        swap(consumer, sinks=[Wired(sink, fuse, "send") for sink in sinks] if fuse else sinks)
        consumer.start()
        return consumer

    def run(self, stories, fuse=None):
        """Story by story, each in a file of its own, in a turn of its own; then the data ends."""
        try:
            consumer = self.begun(fuse)
            self.put("000", [one for n in range(9) for one in burst(f"clerk-{n}", 3, 60, NOW - 9000, address=OFFICE)])
            for number, records in enumerate(stories, 1):
                self.put(f"{number:03d}", records)
                drain(consumer)
            consumer.close_all()
            consumer.stop()
        finally:
            self.gone()
        return consumer


def rotation(address=ADDRESS):
    return [burst(f"s-{n:02d}", 30, 30, NOW - 900 + 10 * n, address=address) for n in range(THIEVES)]


def fan_out():
    roles = [replace(CONTRACTOR_ROLES[0], name=f"Reader{n}") for n in range(THIEVES)]
    return [burst("job", 30, 30, NOW - 900 + 10 * n, address=ADDRESS, role=one) for n, one in enumerate(roles)]


def pages(world):
    return [(a["state"], a["incident"]["findings"], a["schema"].split(".")[1]) for a in world.pager.got]


ONE_PAGE = [("opened", 1, "finding"), *(("updated", n, "incident") for n in (2, 4, 8))]


@pytest.mark.parametrize("story", [rotation, fan_out])
def test_a_thief_who_changes_sessions_or_roles_is_one_page_and_an_update_at_each_doubling(tmp_path, story):
    """Each finding is in the journal and in the file by itself all the same; those that woke nobody say so."""
    world = Woken(tmp_path)
    consumer = world.run(story())
    told = pages(world)
    assert [one for one in told if one[0] != "closed"] == ONE_PAGE
    assert [one[2] for one in told if one[0] == "closed"] == ["finding", "incident"]
    assert told[-1] == ("closed", THIEVES, "incident")
    (incident,) = {a["incident_id"] for a in world.pager.got}
    findings = [e["body"] for e in world.journal("finding")]
    assert Counter(one["state"] for one in findings) == {"opened": THIEVES, "closed": THIEVES}
    kept = [a for a in world.alerts() if a["schema"] == "bucketwatch.finding.v1"]
    assert Counter((a["alert_id"], a["state"]) for a in kept) == Counter((b["alert_id"], b["state"]) for b in findings)
    assert {a["incident_id"] for a in kept} == {incident}
    assert sum("paged" not in a for a in kept) == 2
    assert all(a["paged"] is False for a in kept if "paged" in a)
    assert [link["kind"] for a in kept if a["state"] == "opened" for link in a["incident"]["links"]].count(
        "network"
    ) == THIEVES - 1
    assert consumer.values()["alerts_joined"] == THIEVES - 1
    assert verify(tmp_path / "journal.jsonl") == []


def test_an_office_s_way_out_joins_nobody(tmp_path):
    """Nine clerks came from it too: two who steal there are two pages."""
    world = Woken(tmp_path)
    world.run(rotation(OFFICE)[:2])
    assert [one for one in pages(world) if one[0] == "opened"] == 2 * [("opened", 1, "finding")]


def test_a_daemon_that_has_just_begun_knows_no_network(tmp_path):
    world = Woken(tmp_path)
    consumer = world.begun()
    for number, records in enumerate(rotation()[:3]):
        world.put(f"{number}", records)
        drain(consumer)
    assert [one[0] for one in pages(world)] == 3 * ["opened"]


def test_a_crash_anywhere_neither_loses_nor_adds_a_page(tmp_path):
    """The same pages, under the same ids, with the same figures."""

    def story(world):
        return {(a["alert_id"], a["state"], a["incident"]["findings"]) for a in world.pager.got}

    (tmp_path / "whole").mkdir()
    whole, fuse = Woken(tmp_path / "whole"), Fuse()
    whole.run(rotation()[:3], fuse)
    assert len(story(whole)) == 4
    for at in range(3, len(fuse.passed), 13):
        (tmp_path / str(at)).mkdir()
        world = Woken(tmp_path / str(at))
        try:
            world.run(rotation()[:3], Fuse(at))
        except Crash:
            world.run(rotation()[:3])
        assert story(world) == story(whole), f"crash {fuse.passed[at]}, place {at}"
