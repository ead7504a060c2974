"""Laws of revocation plans: one session and nobody else, never alone where anything speaks against it."""

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.times import iso
from detector.response.plan import ResponsePolicy, case_of, plan, policy_text

NOW = 1_777_626_390  # 2026-05-01T09:06:30Z
ACCOUNT = "111122223333"
ROLE_ID = "AROAEXAMPLEROLEID0001"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/vendors/ContractorDataReader"
ENFORCE = ResponsePolicy(mode="enforce", accounts=frozenset({ACCOUNT}), enforcing_since=NOW - 90_000)


def principal(**changes):
    name = changes.pop("name", "contractor-42")
    return {
        "type": "AssumedRole",
        "session": f"arn:aws:sts::{ACCOUNT}:assumed-role/ContractorDataReader/{name}",
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
    } | changes


def planned(settings=ENFORCE, at=NOW, **changes):
    return plan(finding(**changes), planned_at=at, settings=settings)


def test_a_clean_case_is_denied_by_the_documented_policy():
    """The policy denies everything to this aws:userid and to credentials issued up to the planning time, only."""
    made = planned()
    assert made.applicable, made.refusals
    assert made.means == "role_session_policy"
    assert made.document == {
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
    assert made.role_name == "ContractorDataReader"
    assert made.policy_name == f"bucketwatch-{made.case_id}"
    assert made.may_be_lifted_at == NOW + 12 * 3600
    assert made.document["Statement"][0]["Sid"].isalnum()


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
    assert any("EC2" in line for line in made.cannot_stop)


def test_commands_are_what_the_plan_says():
    """The first command writes exactly the plan's policy on the plan's role, the second takes exactly that back."""
    made = planned()
    put, undo = (shlex.split(command) for command in made.commands)
    assert put[:3] == ["aws", "iam", "put-role-policy"]
    assert put[put.index("--policy-document") + 1] == policy_text(made.document)
    assert undo[:3] == ["aws", "iam", "delete-role-policy"]
    for words in (put, undo):
        assert f"--role-name={made.role_name}" in words
        assert words[words.index("--policy-name") + 1] == made.policy_name


@pytest.mark.parametrize(("partition", "region"), [("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1")])
def test_other_partitions_are_reached_where_they_are(partition, region):
    """A role of another partition is planned as in `aws`, and its commands go to that partition's IAM."""
    role = f"arn:{partition}:iam::{ACCOUNT}:role/R"
    session = f"arn:{partition}:sts::{ACCOUNT}:assumed-role/R/contractor-42"
    made = planned(who=principal(role=role, session=session))
    assert made.applicable, made.refusals
    assert made.partition == partition
    assert all(shlex.split(c)[3:5] == ["--region", region] for c in made.commands)


def test_the_case_is_the_alerts():
    """All alerts of a finding are one case, whenever planned; another alert is another case."""
    assert planned().case_id == planned(at=NOW + 60, state="updated").case_id == case_of("a-0123456789abcdef")
    assert planned(alert_id="a-2").case_id != planned().case_id


IDENTITIES = {
    "IAM user": principal(
        type="IAMUser",
        session=f"arn:aws:iam::{ACCOUNT}:user/labs/dana",
        role=f"arn:aws:iam::{ACCOUNT}:user/labs/dana",
        session_name=None,
        principal_id="AIDAEXAMPLEUSERID0001",
        access_key_ids=["AKIAEXAMPLE000000001"],
    ),
    "root": principal(type="Root", session=f"arn:aws:iam::{ACCOUNT}:root", role=f"arn:aws:iam::{ACCOUNT}:root"),
    "anonymous": principal(
        type="anonymous", session="anonymous@198.51.100.7", role="anonymous", account="anonymous", principal_id=None
    ),
    "AWS service": principal(
        type="AWSService", session="service:replication.s3.amazonaws.com", role="service:…", principal_id=None
    ),
    "federated user": principal(type="FederatedUser", session=f"arn:aws:sts::{ACCOUNT}:federated-user/bob"),
    "service-linked role": principal(
        role=f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/macie.amazonaws.com/AWSServiceRoleForAmazonMacie"
    ),
    "Identity Center role": principal(
        role=f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_0123"
    ),
    "foreign account": principal(role="arn:aws:iam::444455556666:role/Etl", account="444455556666"),
    "foreign role as AWSAccount": principal(
        type="AWSAccount",
        session="444455556666:AROAFOREIGNROLEID001:etl",
        role="444455556666:AROAFOREIGNROLEID001",
        account="444455556666",
        session_name="etl",
        principal_id="AROAFOREIGNROLEID001:etl",
    ),
    "many sessions": principal(session=None, session_name=None, principal_id=None),
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
    assert made.document is None
    assert made.commands == ()
    assert made.steps
    assert not made.applicable
    assert any("no policy can revoke" in reason for reason in made.refusals)


def test_a_users_key_is_turned_off_by_a_command():
    """For an IAM user the plan names the runnable command against the very key that was seen."""
    step = planned(who=IDENTITIES["IAM user"]).steps[0]
    words = shlex.split(step.split(": ", 1)[1])
    assert words[:3] == ["aws", "iam", "update-access-key"]
    assert words[words.index("--user-name") + 1] == "dana"
    assert words[words.index("--access-key-id") + 1] == "AKIAEXAMPLE000000001"


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
    "account": ({}, {"accounts": frozenset({"444455556666"})}, "response.accounts"),
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
    assert len(made.refusals) >= 7


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
    assert made.document is None
    assert made.commands == ()
    assert json.loads(json.dumps(made.to_json()))["session"] == made.session


@given(st.text(alphabet=AWS_NAME, min_size=2, max_size=64), st.text(alphabet=AWS_NAME, min_size=1, max_size=64))
def test_every_name_aws_allows_survives_the_shell(name, role):
    """For any session and role AWS can name, the commands split into the words they were made of."""
    made = planned(who=principal(name=name, role=f"arn:aws:iam::{ACCOUNT}:role/{role}"))
    put = shlex.split(made.commands[0])
    document = json.loads(put[-1])
    assert document == made.document
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
    assert made.applicable == (made.document is not None and not made.refusals)
    assert all(step.isprintable() for step in made.steps)
