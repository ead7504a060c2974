"""Laws of the responder's own process: no order is believed; what is answered once is not answered again."""

import gzip
import json
from dataclasses import replace

import pytest

from detector.core.rulefile import read_rules
from detector.errors import EdgeError
from detector.local.files import FolderFiles
from detector.recompute import recomputed
from detector.response.guards import ResponsePolicy
from detector.response.plan import case_of
from detector.response.register import Register, cases, event
from detector.serving import FILES, WAIT, Own, Server
from replay.example_day import CONTRACTOR_ROLES, burst
from tests.crash.test_consumer_crash import Twin
from tests.response.matrix import rows

NOW = 1_777_640_400
RULES = """
rules:
  - {id: bulk, title: One session read 20 objects in a minute, severity: high, kind: threshold,
     where: {operation: read}, group_by: session, measure: objects, window: 1m, threshold: 20, respond: [revoke]}
"""
ALERT = "a-0123456789abcdef"
CASE = case_of(ALERT)
ACCOUNT = CONTRACTOR_ROLES[0].account


def packed(records):
    return gzip.compress(json.dumps({"Records": records}).encode())


class Place:
    """A register, log files, a responder that keeps what it was told, and a server of its own."""

    def __init__(self, folder, **changes) -> None:
        self.daemon = Register(FolderFiles(folder / "cases"), "daemon")
        self.files, self.twin, self.now, self.said = {}, Twin(), NOW, []
        self.folder, self.changes = folder, changes
        self.rules = {rule.id: rule for rule in read_rules({"r.yaml": changes.pop("rules", RULES)})}
        self.fetched, self.hidden = [], ()
        self.server = self.made()
        theft = burst("thief", 30, 30, NOW - 60)
        self.files |= {"a": packed(theft[:18]), "b": packed(theft[12:])}

    def made(self):
        policy = ResponsePolicy(mode="enforce", accounts=frozenset({ACCOUNT}), enforcing_since=NOW)
        own = Own(
            self.rules,
            replace(policy, **self.changes.get("policy", {})),
            self.changes.get("hourly", 10),
            self.fetch,
            self.beside,
        )
        files = Register(FolderFiles(self.folder / "cases"), "responder")
        return Server(files, self.twin, own, say=lambda *a, **k: self.said.append((a, k)), clock=lambda: self.now)

    def fetch(self, name):
        self.fetched.append(name)
        if name not in self.files:
            raise EdgeError("gone", where=name)
        return self.files[name]

    def beside(self, logs):
        return sorted({*logs, *self.hidden})

    def finding(self, **changes):
        [rule] = self.rules.values()
        found = recomputed(
            {"rule_id": "bulk", "group": self.group(), "principal": self.who()}, rule, self.files.items()
        )
        return json.loads(json.dumps(found.to_json())) | {"alert_id": ALERT} | changes

    def group(self, name="thief"):
        return {"session": CONTRACTOR_ROLES[0].session_arn(name)}

    def who(self, name="thief"):
        return {"principal_id": f"{CONTRACTOR_ROLES[0].role_id}:{name}"}

    def order(self, logs=("a", "b"), case=CASE, at=NOW, **finding):
        self.daemon.add(event(case, "ordered", at=at, by="daemon", finding=self.finding(**finding), logs=list(logs)))

    def answers(self, case=CASE, *, every=False):
        found = Register(FolderFiles(self.folder / "cases"), "person").all()
        mine = [told for told in found if told["writer"] == "responder" and told["case_id"] == case]
        return [(told["what"], told.get("detail", "")) for told in mine if every or told["what"] != "begun"]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_an_order_that_the_logs_bear_out_is_carried_out_once(place):
    """Recomputed from the files it names, planned here, applied; the next turn and the next start do nothing."""
    place.order()
    place.server.turn()
    assert [what for what, _ in place.answers(every=True)] == ["begun", "applied"]
    assert place.twin.calls == [CASE]
    place.server.turn()
    place.made().turn()
    assert place.twin.calls == [CASE]
    [told] = [t for t in Register(FolderFiles(place.folder / "cases"), "daemon").new() if t["what"] == "applied"]
    assert told["plan"]["principal_id"] == place.who()["principal_id"]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"logs": ["a"]}, "do not bear the finding out"),
        ({"logs": []}, "do not bear the finding out"),
        ({"logs": ["a"] * (FILES + 1)}, "log files"),
        ({"logs": ["a", "nowhere"]}, "do not bear the finding out"),
        ({"rule_id": "another"}, "no rule of this id"),
        ({"alert_id": "a-ffffffffffffffff"}, "not its alert's"),
        ({"alert_id": "x"}, "not its alert's"),
        ({"principal": {"principal_id": "AROAOTHER:thief"}}, "do not bear the finding out"),
        ({"group": {"session": "arn:aws:sts::1:assumed-role/R/victim"}}, "do not bear the finding out"),
        ({"group": None, "principal": None}, "do not bear the finding out"),
    ],
)
def test_an_order_that_is_not_borne_out_is_refused(place, how, why):
    """Too few files, none, too many, none of its case, somebody else: told why, and nothing is written."""
    logs = how.pop("logs", ("a", "b"))
    place.order(logs, **how)
    place.server.turn()
    if "bear" in why:  # files may still come
        assert place.answers() == []
        place.now += WAIT
        place.server.turn()
    [(what, detail)] = place.answers()
    assert what == "refused"
    assert why in detail
    assert place.twin.calls == []


def test_files_that_come_later_bear_it_out(place):
    """The fast path is ahead of the log files: the order is made again when there are more of them."""
    place.order(["a"])
    for _ in range(3):
        place.server.turn()
    assert place.fetched.count("a") == 1
    place.order(["a", "b"], at=NOW + 60)
    place.server.turn()
    assert [what for what, _ in place.answers()] == ["applied"]


def test_what_a_network_breaks_off_is_read_again(place):
    """A file that cannot be fetched now is no file that is gone."""
    place.order()
    kept = place.files.pop("b")
    plain = place.fetch

    def broken(name):
        raise EdgeError("broke off", retryable=True)

    place.server._own = replace(place.server._own, fetch=broken)
    place.server.turn()
    place.files["b"] = kept
    place.server._own = replace(place.server._own, fetch=plain)
    place.server.turn()
    assert [what for what, _ in place.answers()] == ["applied"]


@pytest.mark.parametrize("what", ["applied", "lifted", "undone", "refused"])
def test_a_daemon_that_was_taken_over_may_order_and_nothing_else(place, what):
    """It cannot lift by telling another plan, an end, or an answer of its own."""
    place.order()
    place.server.turn()
    [told] = [t for t in Register(FolderFiles(place.folder / "cases"), "daemon").new() if t["what"] == "applied"]
    forged = told["plan"] | {"may_be_lifted_at": "2026-05-01T00:00:00Z"}
    place.daemon.add(event(CASE, what, at=place.now + 5, by="daemon", plan=forged))
    for server in (place.server, place.made()):
        place.server = server
        place.now += 301
        place.server.turn()
    assert CASE in place.twin.standing
    place.twin.standing.clear()
    place.now += 301
    place.server.turn()
    assert [answer for answer, _ in place.answers()] == ["applied", "changed"]


def test_whoever_orders_does_not_choose_what_is_read(place):
    """The owner at work in a file that the order leaves out: two networks, so a person decides."""
    place.files["c"] = packed(burst("thief", 5, 5, NOW - 50, address="31.9.1.1", prefix="own/"))
    place.hidden = ("c",)
    place.order(["a", "b"])
    place.server.turn()
    [(what, detail)] = place.answers()
    assert (what, "two networks" in detail) == ("refused", True)


def test_one_order_that_hangs_does_not_keep_others_waiting(place):
    """S3 slows down for one object: the next order is answered, and that one at last, too."""
    other = "a-00000000000000ff"
    stuck = place.finding() | {"alert_id": other}
    place.daemon.add(event(case_of(other), "ordered", at=NOW - 5, by="daemon", finding=stuck, logs=["slow"]))
    plain = place.fetch

    def fetch(name):
        if name == "slow":
            raise EdgeError("slow down", retryable=True)
        return plain(name)

    place.server._own = replace(place.server._own, fetch=fetch)
    place.order()
    place.server.turn()
    assert [what for what, _ in place.answers()] == ["applied"]
    assert place.answers(case_of(other)) == []
    place.now += WAIT
    place.server.turn()
    assert [what for what, _ in place.answers(case_of(other))] == ["refused"]


def test_half_of_a_plan_is_told_as_both(place):
    """What stands is a case, and the rest has failed: people hear of it."""
    plain = place.twin.apply
    place.twin.apply = lambda plan: replace(plain(plan), status="failed", detail="x", actions=(plan["actions"][0],))
    place.order()
    place.server.turn()
    assert [what for what, _ in place.answers()] == ["applied", "failed"]
    found = cases(Register(FolderFiles(place.folder / "cases"), "person").all())[CASE]
    assert found["state"] == "stands"


def test_what_was_begun_before_it_ended_is_done(place):
    """What was there before is known from then: it is not read anew."""
    place.order()
    apply = place.twin.apply

    def ended(plan):
        raise KeyboardInterrupt

    place.twin.apply = ended
    with pytest.raises(KeyboardInterrupt):
        place.server.turn()
    place.twin.apply = apply
    place.twin.before = lambda plan: (_ for _ in ()).throw(AssertionError("it was read before"))
    place.made().turn()
    assert [what for what, _ in place.answers()] == ["applied"]
    [told] = [t for t in Register(FolderFiles(place.folder / "cases"), "person").all() if t["what"] == "applied"]
    assert told["before"] == {"a": "was"}


@pytest.mark.parametrize("text", ["{", '{"schema": "bucketwatch.case.v1"}', "[]"])
def test_what_lies_in_the_register_never_ends_it(place, text):
    """Files that are none: passed over; good orders are answered."""
    folder = place.folder / "cases" / "daemon" / CASE
    folder.mkdir(parents=True)
    (folder / "20260501T000000Z-ordered-00000000.json").write_text(text)
    place.order()
    place.server.turn()
    assert [what for what, _ in place.answers()] == ["applied"]


def test_the_orders_own_plan_is_not_read(place):
    """What the order wants is of no matter: a plan with another document in it changes nothing."""
    evil = next(rows()).planned()
    assert evil["case_id"] == CASE
    place.daemon.add(event(CASE, "ordered", at=NOW, by="daemon", finding=place.finding(), logs=["a", "b"], plan=evil))
    place.server.turn()
    assert place.twin.standing[CASE][0]["denial"]["user_ids"] == [place.who()["principal_id"]]


def test_guards_are_its_own(tmp_path):
    """Whatever the daemon allowed: accounts, protected roles, age and what the rule says are this process's."""
    for changes, why in (
        ({"policy": {"accounts": frozenset()}}, "response.accounts"),
        ({"policy": {"protected_roles": ("Contractor*",)}}, "protected"),
        ({"policy": {"max_age": 10}}, "max_age"),
        ({"rules": RULES.replace("respond: [revoke]", "respond: [alert]")}, "revoke"),
    ):
        place = Place(tmp_path / why, **changes)
        place.order()
        place.server.turn()
        [(what, detail)] = place.answers()
        assert (what, why in detail) == ("refused", True), detail


def test_the_hours_limit_is_its_own_and_outlives_a_restart(tmp_path):
    """A flood of orders locks out no more than the limit."""
    place = Place(tmp_path, hourly=1)
    place.order()
    place.server.turn()
    other = "a-00000000000000ff"
    place.files["c"] = packed(burst("thief-2", 30, 30, NOW - 60))
    [rule] = place.rules.values()
    wanted = {"rule_id": "bulk", "group": place.group("thief-2"), "principal": place.who("thief-2")}
    found = recomputed(wanted, rule, place.files.items()).to_json() | {"alert_id": other}
    place.daemon.add(event(case_of(other), "ordered", at=NOW, by="daemon", finding=found, logs=["c"]))
    place.made().turn()
    [(what, detail)] = place.answers(case_of(other))
    assert what == "refused"
    assert "within an hour" in detail


def test_what_fails_is_tried_again(place):
    """IAM slows down: the order waits; then it is done."""
    place.twin.failures = 2
    place.order()
    for _ in range(3):
        place.server.turn()
    assert [what for what, _ in place.answers()] == ["applied"]
    assert len(place.twin.calls) == 3


def test_a_register_that_cannot_be_read_ends_nothing(place, monkeypatch):
    def refuse(*_, **__):
        raise EdgeError("no network", retryable=True)

    place.order()
    with monkeypatch.context() as patch:
        patch.setattr(FolderFiles, "names", refuse)
        place.server.turn()
    assert place.said
    place.server.turn()
    assert [what for what, _ in place.answers()] == ["applied"]


def test_it_looks_after_what_it_did(place):
    """Changed by somebody: told once. Dead credentials: lifted, unless somebody was denied lately."""
    place.order()
    place.server.turn()
    place.now += 301
    place.server.turn()
    kept = dict(place.twin.standing)
    place.twin.standing.clear()
    for _ in range(3):
        place.now += 301
        place.server.turn()
    assert [what for what, _ in place.answers()] == ["applied", "changed"]
    place.twin.standing |= kept
    place.daemon.add(
        event(CASE, "effect", at=place.now, by="daemon", detail="holding", last_denied="2026-05-02T00:00:00Z")
    )
    place.server = place.made()
    place.now = NOW + 12 * 3600
    place.server.turn()
    assert place.twin.standing
    place.now = NOW + 40 * 3600
    place.server.turn()
    assert not place.twin.standing
    assert cases(Register(FolderFiles(place.folder / "cases"), "person").all())[CASE]["state"] == "lifted"
