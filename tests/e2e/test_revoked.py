"""Real sessions in an emulator that evaluates policies: the stolen one is refused, its neighbour reads on, and back.

What ministack does not know (see `tests.iam.Emulator`) is judged by iam-simulate in `tests/response/test_matrix.py`.
"""

import json
import subprocess
import time
from dataclasses import dataclass

import pytest
from botocore.exceptions import ClientError

from detector.aws.roles import IamResponder
from detector.core.times import iso
from detector.journal import verify
from detector.response.documents import Networks
from detector.response.guards import ResponsePolicy
from detector.response.plan import plan
from replay.example_day import burst
from tests.e2e.test_daemon_aws import MadeRole
from tests.e2e.test_daemon_directory import PROGRAM, SECONDS, daemon, lines_of, packed
from tests.iam import ALL_OF_S3, FULL_ACCESS, wait_past

ACCOUNT = "123456789012"


@pytest.fixture
def responder(ministack):
    return IamResponder(sleep=lambda _: None)


def session_of(role, name, **more):
    """A finding's principal: a session of a role that the emulator made."""
    return {
        "type": "AssumedRole", "session": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.name}/{name}", "role": role.arn,
        "account": ACCOUNT, "session_name": name, "principal_id": f"{role.unique_id}:{name}",
    } | more  # fmt: skip


def planned(who, bucket, unbounded=False, **settings):
    """The plan of now, as it comes from an alert."""
    now = int(time.time())
    finding = {
        "alert_id": "a-0123456789abcdef", "rule_id": "bulk", "severity": "high", "last_at": iso(now),
        "respond": ["revoke"], "principal": who, "evidence": {"buckets": [bucket], "source_ips": ["127.0.0.1"]},
    }  # fmt: skip
    allowed = ResponsePolicy(mode="enforce", armed=True, accounts=frozenset({ACCOUNT}), **settings)
    return json.loads(json.dumps(plan(finding, planned_at=now, settings=allowed, unbounded=unbounded).to_json()))


def applied(responder, made):
    """The plan carried out; what taking it back needs."""
    before = responder.before(made)
    done = responder.apply(made)
    assert done.status == "applied", done.detail
    return before.before


def test_a_session_is_refused_and_those_around_it_are_not(emulator, responder):
    """Another session, the name on another role, the name issued later: they read. After undo all do."""
    bucket, role, other = emulator.bucket(), emulator.role("/vendors/"), emulator.role("/vendors/")
    thief, bystander = emulator.assume(role, "contractor-42"), emulator.assume(role, "contractor-43")
    namesake = emulator.assume(other, "contractor-42")
    wait_past(thief)
    made = planned(session_of(role, "contractor-42"), bucket)
    before = applied(responder, made)
    assert not emulator.can_read(thief, bucket)
    assert emulator.can_read(bystander, bucket)
    assert emulator.can_read(namesake, bucket)
    time.sleep(1.1)  # issue times have whole seconds
    assert emulator.can_read(emulator.assume(role, "contractor-42"), bucket)
    assert responder.remove(made, before).status == "applied"
    assert emulator.can_read(thief, bucket)


def test_a_session_that_comes_back_is_refused_without_an_issue_time(emulator, responder):
    """The second plan of the case takes the place of the first, and holds for credentials issued after it."""
    bucket, role = emulator.bucket(), emulator.role("/vendors/")
    bystander = emulator.assume(role, "contractor-43")
    applied(responder, planned(session_of(role, "contractor-42"), bucket))
    applied(responder, planned(session_of(role, "contractor-42"), bucket, unbounded=True))
    time.sleep(1.1)
    assert not emulator.can_read(emulator.assume(role, "contractor-42"), bucket)
    assert emulator.can_read(bystander, bucket)
    assert len(emulator.client("iam").list_role_policies(RoleName=role.name)["PolicyNames"]) == 2


def test_all_sessions_of_a_role_so_far_are_refused(emulator, responder):
    """A finding about a role: whoever has credentials now; not who gets them later."""
    bucket, role = emulator.bucket(), emulator.role("/vendors/")
    sessions = [emulator.assume(role, name) for name in ("one", "two")]
    for session in sessions:
        wait_past(session)
    made = planned(session_of(role, "x") | {"session": None, "session_name": None, "principal_id": None}, bucket)
    applied(responder, made)
    assert [emulator.can_read(session, bucket) for session in sessions] == [False, False]
    time.sleep(1.1)
    assert emulator.can_read(emulator.assume(role, "one"), bucket)


@pytest.mark.parametrize(("own", "reads"), [("10.0.0.0/8", False), ("127.0.0.0/8", True)])
def test_a_workload_is_refused_outside_its_own_networks_only(emulator, responder, own, reads):
    """All requests come from 127.0.0.1: once that is elsewhere, once it is home."""
    bucket, role, instance = emulator.bucket(), emulator.role("/ml/"), "i-0123456789abcdef0"
    workload, another = emulator.assume(role, instance), emulator.assume(role, "i-0fedcba9876543210")
    who = session_of(role, instance, issued_to="ec2")
    made = planned(who, bucket, workloads=((role.name, Networks((own,))),))
    if reads:  # to look at the document, not at the choice: read from inside, a plan denies the name
        made = planned(who, bucket, workloads=((role.name, Networks(("10.0.0.0/8",))),))
        made = json.loads(json.dumps(made).replace("10.0.0.0/8", own))
    assert made["means"] == "off_host"
    applied(responder, made)
    assert emulator.can_read(workload, bucket) is reads
    assert emulator.can_read(another, bucket)


def test_a_user_loses_the_key_and_what_was_made_with_it(emulator, responder):
    """The key is refused, the token got by it too; another key and a token got later are not. And all of it back."""
    bucket, user = emulator.bucket(), emulator.user("/labs/")
    stolen, own = emulator.access_key(user), emulator.access_key(user)
    token = emulator.session_token(stolen)
    wait_past(token)
    who = {
        "type": "IAMUser", "session": user.arn, "role": user.arn, "account": ACCOUNT, "principal_id": user.unique_id,
        "access_key_ids": [stolen.access_key_id],
    }  # fmt: skip
    made = planned(who, bucket)
    before = applied(responder, made)
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        emulator.can_read(stolen, bucket)
    assert not emulator.can_read(token, bucket)
    assert emulator.can_read(own, bucket)
    time.sleep(1.1)
    assert emulator.can_read(emulator.session_token(own), bucket)
    assert responder.remove(made, before).status == "applied"
    assert emulator.can_read(stolen, bucket)
    assert emulator.can_read(token, bucket)


def test_an_identity_center_session_is_refused_at_the_bucket(emulator, responder):
    """Its role cannot be changed: the bucket's policy denies the one person, and is afterwards what it was."""
    bucket, role = emulator.bucket(), emulator.role("/aws-reserved/sso.amazonaws.com/")
    thief, colleague = emulator.assume(role, "dana@example.org"), emulator.assume(role, "erin@example.org")
    own = {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "Own", "Effect": "Allow", "Principal": {"AWS": role.arn}, "Action": "s3:GetObject",
                       "Resource": f"arn:aws:s3:::{bucket}/*"}],
    }  # fmt: skip
    emulator.bucket_policy(bucket, own)
    made = planned(session_of(role, "dana@example.org"), bucket, buckets={"*": ACCOUNT})
    before = applied(responder, made)
    assert not emulator.can_read(thief, bucket)
    assert emulator.can_read(colleague, bucket)
    assert responder.remove(made, before).status == "applied"
    assert json.loads(emulator.client("s3").get_bucket_policy(Bucket=bucket)["Policy"]) == own
    assert emulator.can_read(thief, bucket)


def test_a_guarded_role_is_refused_by_its_boundary(emulator, responder):
    """The role itself is not written; the boundary denies the one session."""
    bucket, role = emulator.bucket(), emulator.role("/vendors/", boundary=FULL_ACCESS)
    boundary = emulator.client("iam").get_role(RoleName=role.name)["Role"]["PermissionsBoundary"]
    thief, bystander = emulator.assume(role, "contractor-42"), emulator.assume(role, "contractor-43")
    wait_past(thief)
    arn = boundary["PermissionsBoundaryArn"]
    made = planned(session_of(role, "contractor-42"), bucket, boundaries={ACCOUNT: arn})
    before = applied(responder, made)
    assert emulator.client("iam").list_role_policies(RoleName=role.name)["PolicyNames"] == ["allow"]
    assert not emulator.can_read(thief, bucket)
    assert emulator.can_read(bystander, bucket)
    assert responder.remove(made, before).status == "applied"
    assert emulator.can_read(thief, bucket)


# --- from the log to the refused request, and back


@dataclass
class Scene:
    """A role, a stolen session and one beside it, a bucket, and a daemon's folder."""

    emulator: object
    folder: object

    def __post_init__(self) -> None:
        self.bucket, self.role = self.emulator.bucket(), self.emulator.role("/vendors/", ALL_OF_S3)
        self.thief = self.emulator.assume(self.role, "contractor-42")
        self.bystander = self.emulator.assume(self.role, "contractor-43")
        wait_past(self.thief)
        self.logged = MadeRole(ACCOUNT, "/vendors/", self.role.name, self.role.unique_id)
        self.config = self.folder / "bucketwatch.yaml"
        (self.folder / "logs").mkdir()
        (self.folder / "rules.yaml").write_text(
            "rules:\n  - {id: bulk, title: One session read 40 objects in a minute, severity: high, kind: threshold,\n"
            "     where: {operation: read}, group_by: session, measure: objects, window: 1m, threshold: 40,\n"
            "     respond: [revoke]}\n"
        )
        self.write()

    def write(self, response="", rules="rules.yaml"):
        self.config.write_text(
            f"source: {{kind: directory, path: {self.folder}/logs}}\nrules: {self.folder}/{rules}\n"
            f"state: {{kind: sqlite, path: {self.folder}/state.db}}\njournal: {{path: {self.folder}/journal.jsonl}}\n"
            f"alerts: [{{kind: file, path: {self.folder}/alerts.jsonl}}]\n"
            f"response: {{mode: enforce, armed: true, verify_after: 1m, accounts: ['{ACCOUNT}']{response}}}\n"
        )

    def reads(self, name, session, ago, error=None, count=60, issued=0):
        """A log file with reads of a session of ours, the last so many seconds ago."""
        now = int(time.time())
        records = burst(session, count, count, now - ago - count, role=self.logged)
        for record in records:
            record["userIdentity"]["sessionContext"]["attributes"]["creationDate"] = iso(
                issued or self.thief.issued - 1
            )
            if error:
                record |= {"errorCode": error, "errorMessage": "x", "responseElements": None}
        part = self.folder / "logs" / f"{name}.part"
        part.write_bytes(packed(records))
        part.rename(part.with_suffix(".json.gz"))

    def watch(self):
        ended = daemon(self.config, "--until-idle", "0.5")
        assert ended.returncode == 0, ended.stderr
        return ended

    def respond(self, *words, code=0):
        command = [PROGRAM, "respond", *words, "--config", self.config]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def alerts(self):
        return lines_of(self.folder / "alerts.jsonl")

    def journal(self, kind):
        return [entry["body"] for entry in lines_of(self.folder / "journal.jsonl") if entry["kind"] == kind]

    def can_read(self):
        return self.emulator.can_read(self.thief, self.bucket), self.emulator.can_read(self.bystander, self.bucket)


@pytest.fixture
def scene(emulator, ministack, tmp_path):
    return Scene(emulator, tmp_path)


def test_the_stolen_sessions_next_request_is_refused_and_its_bystander_reads_on(scene):
    """The whole of it: theft, log, alert, denial, the proof in the log that it holds, the list, undo, and its trace."""
    assert scene.can_read() == (True, True)
    scene.reads("theft", "contractor-42", 5)
    scene.reads("work", "contractor-43", 5, count=10)
    scene.watch()
    assert scene.can_read() == (False, True)
    [opened] = [alert for alert in scene.alerts() if alert["state"] == "opened"]
    case = opened["plan"]["case_id"]

    listed = scene.respond("list", "--look")
    assert case in listed
    assert "in AWS  stands" in listed
    assert "contractor-42" in listed

    scene.reads("refused", "contractor-42", -30, error="AccessDenied", count=20)
    scene.watch()
    told = [alert for alert in scene.alerts() if alert["rule_id"].startswith("bucketwatch.")]
    assert [alert["rule_id"] for alert in told] == ["bucketwatch.revocation_holding"]
    assert "holding" in scene.respond("list")

    early = scene.respond("undo", case, code=2)
    assert "may be alive until" in early
    assert "needs a reason" in scene.respond("undo", case, "--force", code=2)
    assert scene.can_read() == (False, True)
    assert "applied" in scene.respond("undo", case, "--force", "--reason", "a drill")
    assert scene.can_read() == (True, True)
    assert scene.respond("list").strip() == "Nothing stands."
    assert "undone" in scene.respond("list", "--all")

    scene.reads("again", "contractor-42", 1, count=50)
    scene.watch()
    assert scene.can_read() == (True, True)  # a person took it back: the daemon leaves it so
    [undone] = [body for body in scene.journal("case") if body["what"] == "undone"]
    assert (undone["case_id"], undone["reason"]) == (case, "a drill")
    assert verify(scene.folder / "journal.jsonl") == []


def test_a_denial_that_does_not_hold_is_critical_and_one_that_was_changed_too(scene):
    """Somebody deletes the policy: the next look says so; reads that succeed long after say so, too."""
    scene.reads("theft", "contractor-42", 5)
    scene.watch()
    [name] = [
        n
        for n in scene.emulator.client("iam").list_role_policies(RoleName=scene.role.name)["PolicyNames"]
        if n != "allow"
    ]
    scene.emulator.delete(scene.role, name)
    assert scene.can_read() == (True, True)
    scene.reads("after", "contractor-42", -200, count=60)
    scene.watch()
    told = {
        alert["rule_id"]: alert for alert in scene.alerts() if alert["rule_id"].startswith("bucketwatch.revocation")
    }
    assert set(told) == {"bucketwatch.revocation_not_holding", "bucketwatch.revocation_changed"}
    assert {alert["severity"] for alert in told.values()} == {"critical"}
    alert_id = next(alert["alert_id"] for alert in scene.alerts() if alert.get("plan"))
    scene.respond("apply", alert_id, "--yes")
    assert scene.can_read() == (False, True)


def test_a_person_applies_what_the_daemon_only_planned(scene):
    """Plan mode: nothing is written; the person sees all of it, says no, says yes."""
    scene.config.write_text(scene.config.read_text().replace("mode: enforce", "mode: plan"))
    scene.reads("theft", "contractor-42", 5)
    scene.watch()
    assert scene.can_read() == (True, True)
    alert = next(a for a in scene.alerts() if a["state"] == "opened")["alert_id"]
    shown = scene.respond("plan", alert)
    assert "aws:userid" in shown
    assert "not alone" in shown
    assert json.loads(scene.respond("plan", alert, "--json"))["means"] == "credential_set"
    assert scene.can_read() == (True, True)
    refused = subprocess.run(
        [PROGRAM, "respond", "apply", alert, "--config", scene.config], input="n\n", capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert scene.can_read() == (True, True)
    scene.respond("apply", alert, "--yes")
    assert scene.can_read() == (False, True)
    scene.reads("refused", "contractor-42", -30, error="AccessDenied", count=20)
    scene.watch()
    assert [body["what"] for body in scene.journal("case")] == ["begun", "applied"]
    assert [a["rule_id"] for a in scene.alerts() if a["rule_id"].startswith("bucketwatch.")] == [
        "bucketwatch.revocation_holding"
    ]
    assert "no alert or finding has this id" in scene.respond("plan", "a-nobody", code=2)
    assert "there is no such case" in scene.respond("undo", "0" * 16, code=2)


def test_a_responder_of_its_own_reads_the_logs_itself(scene):
    """The daemon orders; `respond serve` recomputes and denies; a forged order is refused, and all is journalled."""
    scene.write(response=", responder: separate")
    scene.reads("theft", "contractor-42", 5)
    scene.watch()
    assert scene.can_read() == (True, True)
    assert "ordered" in scene.respond("list")
    scene.respond("serve", "--once")
    assert scene.can_read() == (False, True)

    [order] = (scene.folder / "cases" / "daemon").rglob("*-ordered-*.json")
    forged = json.loads(order.read_text().replace("contractor-42", "contractor-43"))
    forged["finding"]["alert_id"] = "a-00000000000000aa"
    from detector.response.plan import case_of

    forged["case_id"] = case = case_of("a-00000000000000aa")
    del forged["plan"]
    place = scene.folder / "cases" / "daemon" / case
    place.mkdir()
    (place / "20260501T000000Z-ordered-00000000.json").write_text(json.dumps(forged | {"at": "2026-05-01T00:00:00Z"}))
    scene.respond("serve", "--once")
    assert scene.can_read() == (False, True)
    [answer] = [json.loads(p.read_text()) for p in (scene.folder / "cases" / "responder" / case).iterdir()]
    assert answer["what"] == "refused"
    assert "do not bear the finding out" in answer["detail"]

    scene.watch()
    assert {body["what"] for body in scene.journal("case")} == {"begun", "applied", "refused"}
