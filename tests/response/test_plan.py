"""Laws of revocation plans: one session and nobody else, never alone where anything speaks against it."""

import json
import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.times import iso
from detector.response.action import action_of
from detector.response.documents import Denial, Networks, document, policy_text, statement
from detector.response.guards import GUARDS, ResponsePolicy
from detector.response.plan import case_of, plan

NOW = 1_777_626_390  # 2026-05-01T09:06:30Z
ACCOUNT = "111122223333"
ROLE_ID = "AROAEXAMPLEROLEID0001"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/vendors/ContractorDataReader"
ENFORCE = ResponsePolicy(mode="enforce", accounts=frozenset({ACCOUNT}), enforcing_since=NOW - 90_000)


def principal(**changes):
    name = changes.pop("name", "contractor-42")
    role = str(changes.get("role") or ROLE).rsplit("/", 1)[-1]
    return {
        "type": "AssumedRole",
        "session": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}",
        "role": ROLE,
        "account": ACCOUNT,
        "session_name": name,
        "principal_id": f"{ROLE_ID}:{name}",
        "issued_at": "2026-05-01T09:00:00Z",
        "access_key_ids": ["ASIAEXAMPLE000000001"],
        "source_identity": None,
        "mfa": False,
        "invoked_by": None,
    } | changes


READ = {"buckets": ["ml-voice-raw"], "source_ips": ["26.77.3.41"], "logs": ["cloudtrail"]}


def user(**changes):
    """An IAM user whose key was stolen."""
    arn = f"arn:aws:iam::{ACCOUNT}:user/labs/dana"
    mine = {"type": "IAMUser", "session": arn, "role": arn, "session_name": None, "issued_at": None}
    return (
        principal()
        | mine
        | {
            "principal_id": "AIDAEXAMPLEUSERID0001",
            "access_key_ids": ["AKIAEXAMPLE000000001"],
        }
        | changes
    )


def finding(who=None, **changes):
    return {
        "alert_id": "a-0123456789abcdef",
        "rule_id": "bulk-object-read",
        "title": "One session read 10,000 objects in five minutes",
        "kind": "threshold",
        "severity": "high",
        "state": "opened",
        "last_at": "2026-05-01T09:05:01Z",
        "group": {"session": "…"},
        "principal": principal() if who is None else who,
        "respond": ["alert", "revoke"],
        "evidence": READ,
    } | changes


def planned(settings=ENFORCE, at=NOW, **changes):
    return plan(finding(**changes), planned_at=at, settings=settings)


def test_a_clean_case_is_denied_by_the_documented_policy():
    """The policy denies everything to this aws:userid and to credentials issued up to the planning time, only."""
    made = planned()
    assert made.applicable, made.refusals
    assert made.means == "credential_set"
    [action] = made.actions
    assert action.document == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": f"BucketwatchCase{made.case_id}",
                "Effect": "Deny",
                "Action": "*",
                "Resource": "*",
                "Condition": {
                    "StringEquals": {"aws:userid": f"{ROLE_ID}:contractor-42"},
                    "DateLessThanEquals": {"aws:TokenIssueTime": "2026-05-01T09:06:30Z"},
                },
            }
        ],
    }
    assert (action.writes, action.target, action.target_id) == ("role_policy", ROLE, ROLE_ID)
    assert action.name == f"bucketwatch-{made.case_id}"
    assert made.may_be_lifted_at == NOW + 12 * 3600
    assert action.document["Statement"][0]["Sid"].isalnum()


def test_the_plan_says_what_it_also_hits_and_cannot_stop():
    """A person who reads the plan learns who shares the name, and what goes on in spite of it."""
    made = planned()
    assert "contractor-42" in made.also_hits
    assert iso(NOW) in made.also_hits
    assert any("assumed again" in line for line in made.cannot_stop)
    assert any("AssumeRole" in line for line in made.cannot_stop)
    assert any("copied" in line for line in made.cannot_stop)


def test_an_instance_is_named_as_renewing_itself():
    """For an EC2 instance the plan says that new credentials come by themselves."""
    made = planned(who=principal(name="i-0123456789abcdef0"))
    assert "renew themselves" in made.why
    assert not made.applicable


def test_commands_are_what_the_plan_says():
    """The first command writes exactly the plan's policy on the plan's role, the second takes exactly that back."""
    made = planned()
    put, undo = (shlex.split(command) for command in made.commands)
    assert put[:3] == ["aws", "iam", "put-role-policy"]
    assert put[put.index("--policy-document") + 1] == policy_text(made.actions[0].document)
    assert undo[:3] == ["aws", "iam", "delete-role-policy"]
    for words in (put, undo):
        assert "--role-name=ContractorDataReader" in words
        assert words[words.index("--policy-name") + 1] == made.actions[0].name


@pytest.mark.parametrize(("partition", "region"), [("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1")])
def test_other_partitions_are_reached_where_they_are(partition, region):
    """A role of another partition is planned as in `aws`, and its commands go to that partition's IAM."""
    role = f"arn:{partition}:iam::{ACCOUNT}:role/R"
    session = f"arn:{partition}:sts::{ACCOUNT}:assumed-role/R/contractor-42"
    made = planned(who=principal(role=role, session=session))
    assert made.applicable, made.refusals
    assert made.actions[0].partition == partition
    assert all(shlex.split(c)[3:5] == ["--region", region] for c in made.commands)


def test_the_case_is_the_alerts():
    """All alerts of a finding are one case, whenever planned; another alert is another case."""
    assert planned().case_id == planned(at=NOW + 60, state="updated").case_id == case_of("a-0123456789abcdef")
    assert planned(alert_id="a-2").case_id != planned().case_id


IDENTITIES = {
    "IAM user of an access log": user(principal_id=None),
    "IAM user with a forged id": user(principal_id="AIDA*"),
    "root": principal(type="Root", session=f"arn:aws:iam::{ACCOUNT}:root", role=f"arn:aws:iam::{ACCOUNT}:root"),
    "anonymous": principal(
        type="anonymous", session="anonymous@198.51.100.7", role="anonymous", account="anonymous", principal_id=None
    ),
    "AWS service": principal(
        type="AWSService", session="service:replication.s3.amazonaws.com", role="service:…", principal_id=None
    ),
    "federated user without id": principal(type="FederatedUser", session=f"arn:aws:sts::{ACCOUNT}:federated-user/bob"),
    "service-linked role": principal(
        role=f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/macie.amazonaws.com/AWSServiceRoleForAmazonMacie"
    ),
    "many sessions of a foreign role": principal(
        session=None,
        session_name=None,
        principal_id=None,
        role="arn:aws:iam::444455556666:role/Etl",
        account="444455556666",
    ),
    "many sessions of a service-linked role": principal(
        session=None, session_name=None, principal_id=None, role=f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/x/Y"
    ),
    "nobody": {},
    "access log": principal(principal_id=None, role=f"arn:aws:sts::{ACCOUNT}:assumed-role/ContractorDataReader"),
    "role not named": principal(role=f"{ACCOUNT}:{ROLE_ID}"),
    "session arn as role": principal(role=f"arn:aws:sts::{ACCOUNT}:assumed-role/ContractorDataReader/contractor-42"),
    "unknown": principal(type="IdentityCenterUser", session="user", role="user", principal_id=None),
    "wildcard id": principal(principal_id=f"{ROLE_ID}:*"),
    "policy variable": principal(name="${aws:username}"),
    "name too long": principal(name="x" * 65),
    "name with a newline": principal(name="contractor\n42"),
    "name with a slash": principal(name="a/b"),
    "wide letters": principal(name="\uff43ontractor"),
    "two names": principal(session_name="somebody-else"),
    "arn of another session": principal(session=f"arn:aws:sts::{ACCOUNT}:assumed-role/R/somebody-else"),
    "user id of a user": principal(principal_id="AIDAEXAMPLEUSERID0001:contractor-42"),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_what_no_policy_can_revoke_gets_steps_and_no_policy(name):
    """Root, users, services, foreign and forged sessions: no document, no command, a reason and steps for a person."""
    made = planned(who=IDENTITIES[name])
    assert made.means == "none"
    assert made.actions == ()
    assert made.commands == ()
    assert made.steps
    assert not made.applicable
    assert any("no policy can revoke" in reason for reason in made.refusals)


def policy(**changes):
    """ENFORCE, and what is different."""
    return replace(ENFORCE, **changes)


OWN = (
    (
        "Contractor*",
        Networks(("10.0.0.0/8", "203.0.113.0/24"), ("vpc-0123456789abcdef0",), ("vpce-0123456789abcdef0",)),
    ),
)
INSIDE = (("Contractor*", Networks(("26.77.3.0/24",))),)
FOREIGN = principal(
    type="AWSAccount",
    session="444455556666:AROAFOREIGNROLEID001:etl",
    role="444455556666:AROAFOREIGNROLEID001",
    account="444455556666",
    session_name="etl",
    principal_id="AROAFOREIGNROLEID001:etl",
)
CENTER = principal(role=f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_0123")
FEDERATED = principal(
    type="FederatedUser",
    session=f"arn:aws:sts::{ACCOUNT}:federated-user/bob",
    session_name=None,
    principal_id=f"{ACCOUNT}:bob",
)

REFUSED = {
    "rule does not ask": ({"respond": ["alert"]}, {}, "revoke"),
    "rule says nothing": ({"respond": None}, {}, "revoke"),
    "respond is a word": ({"respond": "revoke"}, {}, "revoke"),
    "staged": ({"stage": "staged"}, {}, "staged"),
    "plan mode": ({}, {"mode": "plan"}, "enforce"),
    "off": ({}, {"mode": "off"}, "enforce"),
    "first day": ({}, {"enforcing_since": NOW - 86_399}, "younger than a day"),
    "old": ({"last_at": iso(NOW - 1801)}, {}, "max_age"),
    "no time": ({"last_at": "yesterday"}, {}, "max_age"),
    "late": ({"late": True}, {}, "late"),
    "withdrawn": ({"state": "withdrawn"}, {}, "withdrawn"),
    "info": ({"severity": "info"}, {}, "severity"),
    "low": ({"severity": "low"}, {}, "severity"),
    "baseline": ({"kind": "baseline"}, {}, "withdrawn when all data"),
    "first_seen": ({"kind": "first_seen"}, {}, "withdrawn when all data"),
    "no id": ({"alert_id": ""}, {}, "no id"),
    "account": ({"evidence": READ}, {"accounts": frozenset({"444455556666"})}, "response.accounts"),
    "access log": ({"evidence": {"logs": ["server_access"]}}, {}, "CloudTrail alone"),
    "audit log": ({"evidence": {"logs": ["access_audit"]}}, {}, "could frame anybody"),
    "audit log among others": ({"evidence": {"logs": ["access_audit", "cloudtrail"]}}, {}, "could frame anybody"),
    "two networks": ({"evidence": {"source_ips": ["26.77.3.41", "31.9.1.1"]}}, {}, "two networks"),
    "no logs named": ({"evidence": {}}, {}, "CloudTrail alone"),
    "part of a session": ({"group": {"session": "…", "source_net": "…"}}, {}, "a part of"),
    "a key's finding": ({"group": {"access_key": "…"}}, {}, "a part of"),
    "an endpoint that nobody placed": (
        {"evidence": READ | {"vpc_endpoints": ["vpce-0fedcba9876543210"]}},
        {"workloads": OWN},
        "endpoint",
    ),
    "the session's role is not the role": (
        {"principal": principal(session=f"arn:aws:sts::{ACCOUNT}:assumed-role/Other/contractor-42")},
        {},
        "no policy",
    ),
    "the session's account is not the role's": (
        {"principal": principal(session="arn:aws:sts::222222222222:assumed-role/ContractorDataReader/contractor-42")},
        {},
        "no policy",
    ),
    **{
        f"bucket: {name}": ({"principal": who, "evidence": READ | more}, {"buckets": {"*": ACCOUNT}}, why)
        for name, who, more, why in (
            ("two networks", CENTER, {"source_ips": ["26.77.3.41", "31.9.1.1"]}, "two networks"),
            (
                "break-glass",
                principal(role=f"{CENTER['role'].rsplit('/', 1)[0]}/AWSReservedSSO_BreakGlass_1"),
                {},
                "protected",
            ),
            (
                "our own in another account",
                principal(
                    role="arn:aws:iam::999900001111:role/bucketwatch-detector",
                    account="999900001111",
                    session="arn:aws:sts::999900001111:assumed-role/bucketwatch-detector/contractor-42",
                ),
                {},
                "protected",
            ),
            (
                "a foreign user for emergencies",
                user(session="arn:aws:iam::444455556666:user/breakglass-admin", account="444455556666"),
                {},
                "protected",
            ),
            (
                "a foreign instance",
                principal(
                    role="arn:aws:iam::444455556666:role/Etl",
                    account="444455556666",
                    issued_to="ec2",
                    session="arn:aws:sts::444455556666:assumed-role/Etl/contractor-42",
                ),
                {},
                "workload",
            ),
        )
    },
    "two issue times": (
        {"principal": principal(issue_times=["2026-05-01T08:00:00Z", "2026-05-01T09:00:00Z"])},
        {},
        "two",
    ),
    "our own user": ({"principal": user(session=f"arn:aws:iam::{ACCOUNT}:user/ops/breakglass-1")}, {}, "protected"),
    "a protected user": ({"principal": user()}, {"protected_roles": ("/labs/*",)}, "protected"),
    "our own role": ({}, {"own_roles": frozenset({ROLE})}, "protected"),
    "an instance without networks": ({"principal": principal(name="i-0123456789abcdef0")}, {}, "take a workload down"),
    "a task without networks": ({"principal": principal(name="0123456789abcdef" * 2)}, {}, "take a workload down"),
    "a function without networks": ({"principal": principal(issued_to="AWS::Lambda::Function")}, {}, "workload down"),
    "a role's finding": (
        {"principal": principal(session=None, session_name=None, principal_id=None)},
        {},
        "hits others",
    ),
    "two accounts": ({"principal": principal(account="444455556666")}, {}, "not the role's"),
    "protected by config": ({}, {"protected_roles": ("contractor*",)}, "protected"),
    "protected by ARN": ({}, {"protected_roles": ("arn:aws:iam::*:role/vendors/*",)}, "protected"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_guard_alone_stops_the_automatism(name):
    """Any single objection is enough, and the plan says which."""
    changes, policy, reason = REFUSED[name]
    settings = ResponsePolicy(**{f: getattr(ENFORCE, f) for f in ENFORCE.__slots__} | policy)
    made = planned(settings, **changes)
    assert not made.applicable
    assert any(reason in refusal for refusal in made.refusals), made.refusals


@pytest.mark.parametrize(
    "role", ["bucketwatch", "Bucketwatch-Responder", "detector-task", "OpsBreakGlass", "aws-break-glass-1"]
)
def test_our_own_and_emergency_roles_are_never_revoked_alone(role):
    """A forged log cannot turn bucketwatch off, nor lock the way in for emergencies, in any letter case or path."""
    made = planned(who=principal(role=f"arn:aws:iam::{ACCOUNT}:role/x/{role}"))
    assert not made.applicable
    assert any("protected" in refusal for refusal in made.refusals)


def test_armed_needs_no_first_day():
    """Who says `armed: true` has said so: the first day's pause is left out, no other guard is."""
    fresh = ResponsePolicy(mode="enforce", accounts=ENFORCE.accounts, enforcing_since=NOW, armed=True)
    assert planned(fresh).applicable
    assert not planned(fresh, severity="low").applicable


def test_all_objections_are_listed():
    """A person sees every reason at once, not the first one only."""
    made = planned(ResponsePolicy(), severity="low", late=True, respond=[], kind="baseline")
    assert len(made.refusals) >= 6


def test_at_the_edge_of_age_it_is_still_applied():
    """max_age seconds are allowed, one more is not."""
    assert planned(last_at=iso(NOW - 1800)).applicable


AWS_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-"
HOSTILE = st.text(min_size=1, max_size=80).filter(
    lambda name: not set(name) <= set(AWS_NAME) or not 2 <= len(name) <= 64
)


@given(HOSTILE)
def test_hostile_session_names_never_make_an_applicable_plan(name):
    """What AWS would not accept as a session name ends in steps for a person, and in JSON that reads back."""
    made = planned(who=principal(name=name))
    assert not made.applicable
    assert made.actions == ()
    assert made.commands == ()
    assert json.loads(json.dumps(made.to_json()))["session"] == made.session


@given(st.text(alphabet=AWS_NAME, min_size=2, max_size=64), st.text(alphabet=AWS_NAME, min_size=1, max_size=64))
def test_every_name_aws_allows_survives_the_shell(name, role):
    """For any session and role AWS can name, the commands split into the words they were made of."""
    made = planned(who=principal(name=name, role=f"arn:aws:iam::{ACCOUNT}:role/{role}"))
    put = shlex.split(made.commands[0])
    document = json.loads(put[-1])
    assert document == made.actions[0].document
    assert document["Statement"][0]["Condition"]["StringEquals"] == {"aws:userid": f"{ROLE_ID}:{name}"}
    assert f"--role-name={role}" in put
    assert made.commands[0].isprintable()


@given(
    st.fixed_dictionaries(
        {}, optional={field: st.none() | st.text(max_size=30) for field in principal() if field != "access_key_ids"}
    )
)
def test_no_principal_breaks_the_planner(changes):
    """Whatever text stands in a log's identity, there is a plan, it is JSON, and a forged one is not applicable."""
    made = planned(who=principal() | changes)
    json.dumps(made.to_json())
    assert made.applicable == (bool(made.actions) and not made.refusals)
    assert all(step.isprintable() for step in made.steps)


MEANS = {
    "session": (principal(), {}, "credential_set", True),
    "web identity": (principal(issued_to="web identity"), {}, "credential_set", True),
    "instance, read from outside": (principal(name="i-0123456789abcdef0"), {"workloads": OWN}, "off_host", True),
    "function, read from outside": (principal(issued_to="AWS::Lambda::Function"), {"workloads": OWN}, "off_host", True),
    "declared workload": (principal(), {"workloads": OWN}, "off_host", True),
    "workload, read from inside": (principal(), {"workloads": INSIDE}, "session_name", False),
    "instance, networks unknown": (principal(name="i-0123456789abcdef0"), {}, "session_name", False),
    "user": (user(), {}, "user_keys", True),
    "user of another account": (user(), {"accounts": frozenset()}, "bucket_policy", False),
    "role": (principal(session=None, session_name=None, principal_id=None), {}, "role_sessions", False),
    "foreign role": (FOREIGN, {"buckets": {"ml-voice-*": ACCOUNT}}, "bucket_policy", True),
    "foreign role, bucket not ours to write": (FOREIGN, {}, "bucket_policy", False),
    "Identity Center": (CENTER, {"buckets": {"ml-*": ACCOUNT}}, "bucket_policy", True),
    "federated user": (FEDERATED, {"buckets": {"ml-*": ACCOUNT}}, "bucket_policy", True),
}


@pytest.mark.parametrize("name", MEANS)
def test_each_kind_has_its_means(name):
    """Who is denied, how, and whether that may happen without a person."""
    who, settings, means, alone = MEANS[name]
    made = planned(policy(**settings), principal=who, evidence=READ)
    assert (made.means, made.applicable) == (means, alone), made.refusals
    assert made.actions
    assert len(made.commands) == 2 * len(made.actions)
    assert all(made.cannot_stop)
    assert made.also_hits


def test_the_first_day_says_what_it_would_have_done():
    """Fresh in enforce mode a plan is complete and is not carried out, and says so."""
    made = planned(policy(enforcing_since=NOW))
    assert made.actions
    assert [r for r in made.refusals if "would have done" in r]


def test_a_person_is_held_back_by_less():
    """Age, mode and doubt are a person's to judge; forged, foreign, protected and absent are not."""
    assert planned(ResponsePolicy(accounts=ENFORCE.accounts), severity="low", late=True).forbidden == ()
    assert planned(policy(own_roles=frozenset({ROLE}))).forbidden
    assert planned(policy(), principal=principal(session_name="somebody-else")).forbidden
    assert planned(policy(), evidence={"logs": ["cloudtrail", "access_audit"]}).forbidden


def test_a_user_loses_keys_and_tokens():
    """The key is turned off, and what was made with it before is denied by its issue time; in this order."""
    made = planned(principal=user(access_key_ids=["AKIAEXAMPLE000000001", "ASIAEXAMPLE000000001"]), evidence=READ)
    key, tokens = made.actions
    assert (key.writes, key.name) == ("access_key", "AKIAEXAMPLE000000001")
    assert tokens.document["Statement"][0]["Condition"] == {"DateLessThanEquals": {"aws:TokenIssueTime": iso(NOW)}}
    words = shlex.split(made.commands[0])
    assert words[:3] == ["aws", "iam", "update-access-key"]
    assert "--user-name=dana" in words
    assert words[words.index("--access-key-id") + 1] == "AKIAEXAMPLE000000001"
    assert made.may_be_lifted_at == NOW + 36 * 3600


@pytest.mark.parametrize(
    ("name", "hours"), [("session", 12), ("Identity Center", 12), ("federated user", 36), ("user", 36)]
)
def test_a_case_outlives_the_credentials_it_denies(name, hours):
    """A role's session lives twelve hours at most, a token made with a user's key thirty-six."""
    who, settings, _, _ = MEANS[name]
    made = planned(policy(**settings), principal=who, evidence=READ)
    assert made.may_be_lifted_at == NOW + hours * 3600
    assert {action.dead_at for action in made.actions} <= {None, NOW + hours * 3600}


def test_a_workload_is_denied_elsewhere_only():
    """All own networks must be missed, and no AWS service be calling for it; no issue time, since it is renewed."""
    [action] = planned(policy(workloads=OWN), evidence=READ).actions
    assert action.document["Statement"][0]["Condition"] == {
        "StringEquals": {"aws:userid": f"{ROLE_ID}:contractor-42"},
        "NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "203.0.113.0/24"]},
        "StringNotEquals": {"aws:SourceVpc": ["vpc-0123456789abcdef0"], "aws:SourceVpce": ["vpce-0123456789abcdef0"]},
        "BoolIfExists": {"aws:ViaAWSService": "false"},
    }


def test_a_session_that_comes_back_is_denied_without_an_issue_time():
    """After new credentials under the name were seen the next plan of the case denies the name, and only by hand."""
    made = plan(finding(), planned_at=NOW, settings=ENFORCE, unbounded=True)
    assert made.means == "session_name"
    assert "DateLessThanEquals" not in made.actions[0].document["Statement"][0]["Condition"]
    assert made.case_id == planned().case_id
    assert not made.applicable
    assert not made.forbidden


def test_a_foreign_identity_is_denied_at_the_buckets_it_read():
    """A statement a bucket, with the identity as its condition; in the account that the operator told."""
    made = planned(
        policy(buckets={"ml-*": "444455556666"}), principal=FOREIGN, evidence=READ | {"buckets": ["ml-a", "ml-b"]}
    )
    assert [(a.target, a.account) for a in made.actions] == [
        ("arn:aws:s3:::ml-a", "444455556666"),
        ("arn:aws:s3:::ml-b", "444455556666"),
    ]
    assert made.actions[0].document == {
        "Sid": f"BucketwatchCase{made.case_id}",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["arn:aws:s3:::ml-a", "arn:aws:s3:::ml-a/*"],
        "Condition": {
            "StringEquals": {"aws:userid": "AROAFOREIGNROLEID001:etl"},
            "DateLessThanEquals": {"aws:TokenIssueTime": iso(NOW)},
        },
    }


def test_with_a_boundary_the_role_is_left_alone():
    """Where guarded roles carry a boundary, the statement goes there: no right to write to roles is needed."""
    arn = f"arn:aws:iam::{ACCOUNT}:policy/bucketwatch-boundary"
    [action] = planned(policy(boundaries={ACCOUNT: arn})).actions
    assert (action.writes, action.boundary, action.target) == ("boundary", arn, ROLE)
    assert "Principal" not in action.document


@pytest.mark.parametrize("name", MEANS)
def test_a_plan_is_read_back_as_it_was_and_an_edited_one_is_not(name):
    """Every action survives JSON; a changed letter anywhere in it is refused."""
    who, settings, _, _ = MEANS[name]
    made = json.loads(json.dumps(planned(policy(**settings), principal=who, evidence=READ).to_json()))
    for told in made["actions"]:
        assert action_of(told, made["case_id"]).to_json() == told
        for field, other in {"writes": "role", "name": "x", "document": {}, "denial": None, "target": "arn:x"}.items():
            with pytest.raises(ValueError, match=r"edited|not a denial|does not name"):
                action_of(told | {field: other}, made["case_id"])
        if told["writes"] != "access_key":
            with pytest.raises(ValueError, match="edited"):
                action_of(told, "0" * 16)


def test_a_denial_never_shrinks():
    """Covering: a later time, no time, more sessions, everywhere; never the other way."""
    one, two = f"{ROLE_ID}:one", f"{ROLE_ID}:two"
    wide = [Denial((one, two)), Denial((one,)), Denial((one,), 20), Denial((one,), 10)]
    for at, big in enumerate(wide):
        assert all(big.covers(small) for small in wide[at:])
        assert not any(small.covers(big) for small in wide[at + 1 :])
    assert not Denial((one,), outside=Networks(("10.0.0.0/8",))).covers(Denial((one,)))
    assert Denial(until=10).covers(Denial((one,), 10))


def test_nobody_in_particular_is_never_denied():
    """There is no document without somebody in it."""
    with pytest.raises(ValueError, match="everybody"):
        document("0" * 16, Denial())
    with pytest.raises(ValueError, match="everybody"):
        statement("0" * 16, Denial(until=5), "arn:aws:s3:::b")


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_each_refusal_says_what_a_person_can_do(guard):
    """Why, and what instead."""
    assert guard.text
    assert guard.instead[0].isupper()


DRILLED = principal(
    account="000000000000",
    role="arn:aws:iam::000000000000:role/Drill",
    session="arn:aws:sts::000000000000:assumed-role/Drill/x",
)


@pytest.mark.parametrize("part", ["account", "role", "session"])
def test_a_drill_is_never_revoked(part):
    """By no rule, in no mode, and not by hand either; whichever of its names says that it is one."""
    everywhere = replace(ENFORCE, armed=True, accounts=frozenset({ACCOUNT, "000000000000"}))
    made = planned(everywhere, who=principal() | {part: DRILLED[part]})
    assert not made.applicable
    assert any("drill" in one for one in made.forbidden)


def test_nobody_passes_for_a_drill_by_a_name():
    """A thief chooses session names: they are no mark."""
    made = planned(who=principal(name="000000000000"))
    assert made.applicable, made.refusals
