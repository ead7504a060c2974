"""Cases over months: a register that fails, people who act beside the daemon, ends, renewals, orders to a responder."""

import json
from dataclasses import replace

import pytest

from detector.core.times import iso
from detector.errors import EdgeError
from detector.journal import verify
from detector.local.files import FolderFiles
from detector.response.ordering import Ordering
from detector.response.plan import case_of
from detector.response.register import Register, cases, event
from detector.source import Standing
from replay.example_day import STOLEN_ADDRESS, burst
from tests.crash.test_consumer_crash import NOW, Crash, World, drain, thief

HOUR = 3600


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def started(world, **changes):
    consumer = world.consumer(**changes)
    consumer.start()
    return consumer


def revoked(world, **changes):
    """A daemon that has revoked thief-1's session; the case."""
    world.put("a", thief("thief-1", world.now - 60))
    consumer = started(world, **changes)
    drain(consumer)
    [case] = world.responder.standing or [None]
    return consumer, case


def register(world, writer="person"):
    return Register(FolderFiles(world.folder / "cases"), writer)


def later(world, consumer, seconds, **files):
    """Time passes, log files arrive."""
    world.now += seconds
    for name, records in files.items():
        world.put(name, records)
    drain(consumer)
    consumer.turn(0)


def kinds(world):
    return [alert["rule_id"].removeprefix("bucketwatch.") for alert in world.alerts() if alert["kind"] == "alarm"]


def refused(records):
    """The same credentials as those that were revoked, and no success."""
    for record in records:
        record["userIdentity"]["sessionContext"]["attributes"]["creationDate"] = iso(NOW - 960)
    return [record | {"errorCode": "AccessDenied", "errorMessage": "x"} for record in records]


def test_a_case_is_in_the_register_with_all_that_undo_needs(world):
    """Plan, what was there before, the finding; and a clean journal."""
    consumer, case = revoked(world)
    consumer.stop()
    found = cases(register(world).all())[case]
    assert found["state"] == "stands"
    assert found["before"] == {"a": "was"}
    assert found["plan"]["actions"]
    assert found["events"][0]["finding"]["rule_id"]
    assert verify(world.folder / "journal.jsonl") == []


def test_a_register_that_fails_holds_no_denial_up(world, monkeypatch):
    """The session is denied at once; the event is written when the register takes it, after a restart too."""
    put = FolderFiles.put

    def full(self, name, data, **how):
        if "/" in name and self._path.name == "cases":
            raise EdgeError("no room", retryable=True)
        return put(self, name, data, **how)

    monkeypatch.setattr(FolderFiles, "put", full)
    consumer, case = revoked(world)
    assert case
    assert ("cases_failed" in {what for what, _ in world.said}) is True
    consumer.stop()
    world.gone()
    assert register(world).all() == []
    monkeypatch.setattr(FolderFiles, "put", put)
    again = started(world)
    again.stop()
    assert cases(register(world).all())[case]["state"] == "stands"


def test_what_a_person_did_is_journalled_once(world):
    """Also what was done while the daemon was down; and it is not looked after any more."""
    consumer, case = revoked(world)
    consumer.stop()
    world.gone()
    register(world).add(event(case, "undone", at=world.now, by="person dana", reason="mistake"))
    world.responder.standing.clear()
    again = started(world)
    later(world, again, 400)
    again.stop()
    [entry] = world.journal("case")
    assert (entry["body"]["what"], entry["body"]["by"], entry["body"]["reason"]) == ("undone", "person dana", "mistake")
    assert "revocation_changed" not in kinds(world)
    world.gone()
    third = started(world)
    third.stop()
    assert len(world.journal("case")) == 1
    assert verify(world.folder / "journal.jsonl") == []


def test_a_case_that_a_person_took_back_is_not_opened_again(world):
    """The plan of the alert still waits when a person says no."""
    world.responder.failures = 100
    world.put("a", thief("thief-1", world.now - 60))
    consumer = started(world)
    drain(consumer)
    alert = next(a for a in world.alerts() if a["state"] == "opened")
    case = case_of(alert["alert_id"])
    made = alert["plan"]
    register(world).add(event(case, "applied", at=world.now, by="person", plan=made))
    register(world).add(event(case, "undone", at=world.now + 1, by="person"))
    later(world, consumer, 61)
    world.responder.failures = 0
    later(world, consumer, 61)
    consumer.stop()
    assert world.responder.standing == {}
    assert "refused" in [entry["body"]["status"] for entry in world.journal("revocation")]


def test_a_case_ends_when_nobody_tries_any_more(world):
    """Half a day, then it is taken back; journalled, in the register, and silent."""
    consumer, case = revoked(world)
    later(world, consumer, 12 * HOUR - 1)
    assert case in world.responder.standing
    later(world, consumer, 2)
    assert world.responder.standing == {}
    consumer.stop()
    assert [entry["body"]["case_id"] for entry in world.journal("revocation_ends")] == [case]
    assert cases(register(world).all())[case]["state"] == "lifted"
    assert [kind for kind in kinds(world) if kind.startswith("revocation")] == []


def test_a_case_is_kept_while_somebody_tries(world):
    """A refusal keeps it for a day; that is told; the effect stands in the register."""
    consumer, case = revoked(world)
    later(world, consumer, 11 * HOUR, b=refused(thief("thief-1", NOW + 11 * HOUR - 100)))
    later(world, consumer, HOUR + 1)
    assert kinds(world)[-2:] == ["revocation_holding", "revocation_renewed"]
    assert case in world.responder.standing
    assert "holding" in cases(register(world).all())[case]["effect"]
    later(world, consumer, 24 * HOUR)
    assert world.responder.standing == {}
    consumer.stop()


def test_what_somebody_else_took_away_is_critical(world):
    """Looked at every five minutes, and at once after a restart."""
    consumer, case = revoked(world)
    world.responder.standing.clear()
    later(world, consumer, 100)
    assert "revocation_changed" not in kinds(world)
    later(world, consumer, 300)
    assert kinds(world).count("revocation_changed") == 1
    later(world, consumer, 300)
    consumer.stop()
    world.gone()
    again = started(world)
    later(world, again, 300)
    again.stop()
    assert kinds(world).count("revocation_changed") == 1
    changed = [told for told in register(world).all() if told["what"] == "changed"]
    assert [told["case_id"] for told in changed] == [case]


def test_an_end_that_fails_is_tried_again(world):
    """Somebody edited the policy: it is not taken back, and not forgotten."""
    consumer, case = revoked(world)
    remove = world.responder.remove
    world.responder.remove = lambda plan, before: remove({"case_id": "x"}, before).__class__(case, "refused", "edited")
    later(world, consumer, 12 * HOUR + 1)
    later(world, consumer, 60)
    assert len(world.journal("revocation_ends")) == 1
    world.responder.remove = remove
    later(world, consumer, HOUR)
    assert world.responder.standing == {}
    consumer.stop()


def test_an_order_names_the_log_files_and_writes_nothing_to_iam(tmp_path):
    """With a responder of its own the daemon orders: plan, finding, and where to read it."""
    world = World(tmp_path, responder="separate")
    world.put("early", thief("reader-1", NOW - 200, 3))
    world.put("a", thief("thief-1", NOW - 60))
    consumer = world.consumer()
    consumer.edges.responder = Ordering()
    consumer.start()
    drain(consumer)
    assert world.responder.standing == {}
    [order] = [told for told in register(world).all() if told["what"] == "ordered"]
    assert any(name.endswith("a.json.gz") for name in order["logs"])
    assert order["finding"]["principal"]["session_name"] == "thief-1"
    [entry] = world.journal("revocation")
    assert entry["body"]["status"] == "ordered"
    answers = register(world, "responder")
    answers.add(event(order["case_id"], "applied", at=world.now, by="responder", plan=order["plan"]))
    later(world, consumer, 61)
    later(world, consumer, 1, b=refused(thief("thief-1", NOW + 30)))
    assert kinds(world) == ["revocation_holding"]
    consumer.stop()
    assert [e["body"]["what"] for e in world.journal("case")] == ["applied"]


@pytest.mark.parametrize(("passing", "after"), [(False, 0), (True, 61)])
def test_a_revocation_that_fails_is_a_persons_work(world, passing, after):
    """What AWS denies is paged at once, what may pass after a minute; once, with the command to run."""
    world.responder.failures, world.responder.passing = 1000, passing
    consumer, _ = revoked(world)
    assert kinds(world) == (["revocation_failed"] if not after else [])
    later(world, consumer, 61)
    later(world, consumer, 1)
    assert kinds(world) == ["revocation_failed"]
    [told] = [alert for alert in world.alerts() if alert["kind"] == "alarm"]
    assert told["severity"] == "critical"
    assert told["plan"]["commands"][0].startswith("aws iam put-role-policy")
    later(world, consumer, 3600)
    consumer.stop()
    assert kinds(world) == ["revocation_failed"]


def test_an_order_that_nobody_answers_is_critical_and_a_refusal_is_told(tmp_path):
    """The daemon has no rights: if its responder is down or says no, a person has to act."""
    world = World(tmp_path, responder="separate")
    world.put("a", thief("thief-1", NOW - 60))
    consumer = world.consumer()
    consumer.edges.responder = Ordering()
    consumer.start()
    drain(consumer)
    later(world, consumer, 100)
    assert kinds(world) == []
    later(world, consumer, 21)
    assert kinds(world) == ["revocation_unanswered"]
    [order] = [told for told in register(world).all() if told["what"] == "ordered"]
    register(world, "responder").add(event(order["case_id"], "refused", at=world.now, by="responder", detail="no"))
    later(world, consumer, 61)
    assert kinds(world) == ["revocation_unanswered", "revocation_failed"]
    consumer.stop()


def test_what_stands_of_a_plan_that_failed_is_a_case(world):
    """Half of it was written: that half is looked after and can be taken back, and the failure is told."""
    plain = world.responder.apply
    world.responder.apply = lambda plan: replace(
        plain(plan), status="failed", detail="a bucket", actions=(plan["actions"][0],)
    )
    consumer, case = revoked(world)
    later(world, consumer, 61)
    world.responder.apply = plain
    consumer.stop()
    found = cases(register(world).all())[case]
    assert found["state"] == "stands"
    assert len(found["plan"]["actions"]) == 1
    assert [told["what"] for told in found["events"]].count("applied") == 1
    assert "revocation_failed" in kinds(world)


@pytest.mark.parametrize("what", ["another network", "another login"])
def test_an_owner_whom_the_rule_does_not_see_keeps_the_session(world, what):
    """Ten minutes before, elsewhere, or with credentials of another time: a person decides. A day before: no matter."""
    own = burst("thief-1", 2, 2, NOW - 700, address="31.9.1.1" if what == "another network" else STOLEN_ADDRESS)
    theft = thief("thief-1", NOW - 60)
    if what == "another network":
        for record in own:
            record["userIdentity"] = theft[0]["userIdentity"]
    world.put("0", own)
    consumer, case = revoked(world)
    consumer.stop()
    assert case is None
    [alert] = [a for a in world.alerts() if a["state"] == "opened"]
    assert any("two networks" in told for told in alert["plan"]["refusals"])
    assert len(alert["plan"]["at_once"]["networks" if what == "another network" else "issue_times"]) == 2


def test_a_login_of_yesterday_is_no_company(world):
    world.put("0", burst("thief-1", 2, 2, NOW - 2 * HOUR, address="31.9.1.1"))
    consumer, case = revoked(world)
    consumer.stop()
    assert case


def test_what_was_written_before_a_crash_is_a_case_however_late_it_is_found(world):
    """The denial stands; the finding is too old by now to act alone: it is looked after, and nobody is paged."""
    plain = world.responder.apply

    def crashing(plan):
        plain(plan)
        raise Crash

    world.responder.apply = crashing
    world.put("a", thief("thief-1", world.now - 60))
    consumer = started(world)
    with pytest.raises(Crash):
        drain(consumer)
    world.gone()
    world.responder.apply = plain
    world.now += 2 * HOUR
    again = started(world)
    drain(again)
    again.stop()
    [case] = world.responder.standing
    assert cases(register(world).all())[case]["state"] == "stands"
    assert "revocation_failed" not in kinds(world)


def test_a_persons_undo_is_no_change_by_a_stranger(world):
    """Taken back between two looks into the register: it is read before anybody is paged."""
    consumer, case = revoked(world)
    later(world, consumer, 290)
    register(world).add(event(case, "undone", at=world.now, by="person dana"))
    world.responder.standing.clear()
    later(world, consumer, 20)
    consumer.stop()
    assert "revocation_changed" not in kinds(world)


def test_room_that_was_made_is_no_change_by_a_stranger(world):
    """A denial whose credentials are dead was taken for another's sake: the case has ended."""
    consumer, _ = revoked(world)
    later(world, consumer, 11 * HOUR, b=refused(thief("thief-1", NOW + 11 * HOUR - 100)))
    later(world, consumer, HOUR + 1)
    world.responder.standing.clear()
    later(world, consumer, 400)
    consumer.stop()
    assert "revocation_changed" not in kinds(world)
    assert world.responder.standing == {}


def test_what_nobody_can_see_is_told_after_a_while(world):
    """Rights or trust were taken away: half an hour of not knowing is an alarm, once."""
    consumer, _ = revoked(world)
    world.responder.look = lambda plan: Standing("unknown", "AccessDenied", "")
    for _ in range(12):
        later(world, consumer, 301)
    consumer.stop()
    assert kinds(world).count("revocation_unseen") == 1


@pytest.mark.parametrize(
    "text", ["{", json.dumps({"schema": "bucketwatch.case.v1"}), json.dumps({"before": ["x"]}), '{"detail": "\\ud800"}']
)
def test_whatever_lies_in_the_register_the_daemon_goes_on(world, text):
    """It is said, and passed over; at the next start, too."""
    consumer, case = revoked(world)
    for name in (f"person/{case}/20260501T000000Z-applied-00000000.json", f"responder/{case}/x.json", "person/y"):
        path = world.folder / "cases" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    later(world, consumer, 61)
    consumer.stop()
    world.gone()
    again = started(world)
    later(world, again, 61)
    again.stop()
    assert "case_unreadable" in {what for what, _ in world.said}
    assert world.journal("case") == []
