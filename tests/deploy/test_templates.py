"""The templates as text: valid, least in rights, the same in every partition, told of whole in deploy/README.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from detector.cli.watch import BEATING
from detector.response.documents import policy_name
from detector.response.register import NAME
from tests.deploy.templates import FOLDER, NAMES, chosen, path, resources, template

ROOT = FOLDER.parent
README = (FOLDER / "README.md").read_text("utf-8")
OPERATOR = (ROOT / "docs/operator.md").read_text("utf-8")
TEMPLATE_BODY = 51_200
"""Bytes a template may have that is not put into S3 first (CloudFormation's quota): then one command deploys it."""


def test_every_template_is_looked_at():
    assert sorted(NAMES) == sorted(one.stem for one in FOLDER.glob("*.yaml") if one.name != "bucketwatch.yaml")


def test_cfn_lint_has_nothing_to_say():
    """No errors, no warnings, no hints."""
    command = [Path(sys.executable).with_name("cfn-lint"), "--include-checks", "I", "--", *map(path, NAMES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", NAMES)
def test_one_command_deploys_it(name):
    """Small enough to be sent as it is, and whole: no nested stacks, no macros, no code of its own."""
    assert path(name).stat().st_size < TEMPLATE_BODY
    described = template(name)
    assert "Transform" not in described
    kinds = {one["Type"] for one in described["Resources"].values()}
    assert not [kind for kind in kinds if kind.startswith(("AWS::CloudFormation::", "Custom::", "AWS::Lambda::"))]


@pytest.mark.parametrize("name", NAMES)
def test_no_partition_is_assumed(name):
    """aws-cn and aws-us-gov have other ARNs and another domain."""
    text = path(name).read_text("utf-8")
    assert "arn:aws" not in text.replace("arn:aws[a-z-]*", "")
    assert set(re.findall(r"[\w.${}:-]*amazonaws\.com", text)) <= {
        "ecs-tasks.amazonaws.com", "events.amazonaws.com", "sns.amazonaws.com", "cloudwatch.amazonaws.com",
        "cloudtrail.amazonaws.com",
    } | ({"cn.com.amazonaws"} if name == "vpc-endpoints" else set())  # fmt: skip
    assert not re.search(r"\b(us|eu|ap)-[a-z]+-\d\b", text)


# --- rights


class Statement(NamedTuple):
    """One statement of one policy of a template, and where it stands."""

    template: str
    resource: str
    body: dict[str, Any]

    @property
    def sid(self) -> str:
        return self.body.get("Sid", "")

    @property
    def place(self) -> tuple[str, str, str]:
        return self.template, self.resource, self.sid


def documents(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "Statement" in node and "Version" in node:
            yield node
        for value in node.values():
            yield from documents(value)
    if isinstance(node, list):
        for value in node:
            yield from documents(value)


def alternatives(statement: dict[str, Any]) -> list[dict[str, Any]]:
    """A statement, or those that a condition chooses from."""
    return [one for one in statement["Fn::If"][1:] if "Effect" in one] if "Fn::If" in statement else [statement]


STATEMENTS = [
    Statement(name, id_, body)
    for name in NAMES
    for id_, one in resources(name).items()
    for document in documents(one["Properties"])
    for statement in document["Statement"]
    for body in alternatives(statement)
]


def several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def allowed(resource: str, name: str = "existing-trail") -> list[Statement]:
    return [s for s in STATEMENTS if (s.template, s.resource) == (name, resource) and s.body["Effect"] == "Allow"]


ALL_ACTIONS = {
    ("existing-trail", "Key", "Account"): "the account's IAM policies decide; without it nobody could mend the key",
    ("new-trail", "LogKey", "Account"): "the same",
    (
        "responder",
        "Boundary",
        "Everything",
    ): "a permissions boundary grants nothing: it says what may be granted at most",
}
ALL_RESOURCES = {
    ("existing-trail", "Key", "Account"): "in a key's policy * is the key",
    ("existing-trail", "Key", "AlarmsToTheTopic"): "in a key's policy * is the key",
    ("existing-trail", "Key", "ProgramLog"): "in a key's policy * is the key",
    ("new-trail", "LogKey", "Account"): "in a key's policy * is the key",
    ("new-trail", "LogKey", "CloudTrailWrites"): "in a key's policy * is the key",
    ("existing-trail", "ExecutionRole", "Token"): "ecr:GetAuthorizationToken knows no resource",
    ("responder-service", "ExecutionRole", "Token"): "the same",
    ("responder", "Boundary", "Everything"): "see ALL_ACTIONS",
}


def test_no_wildcard_without_a_reason():
    """An allowed * action or resource is in the lists above, and what is in the lists is there."""
    allowing = [s for s in STATEMENTS if s.body["Effect"] == "Allow"]
    assert {s.place for s in allowing if any("*" in a for a in several(s.body["Action"]))} == set(ALL_ACTIONS)
    assert {s.place for s in allowing if "*" in several(s.body.get("Resource", []))} == set(ALL_RESOURCES)
    assert not [s.place for s in STATEMENTS if {"NotAction", "NotResource", "NotPrincipal"} & set(s.body)]


def test_nobody_is_allowed_to_be_everybody():
    """A principal * stands in denials only; every service is bound to its source."""
    for one in STATEMENTS:
        principal = one.body.get("Principal")
        if principal is None or one.body["Effect"] == "Deny":
            continue
        assert principal != "*", one.place
        assert "*" not in several(principal.get("AWS", "")), one.place
        if "Service" in principal:
            keys = {key for condition in one.body["Condition"].values() for key in condition}
            assert keys & {"aws:SourceArn", "aws:SourceAccount", "kms:EncryptionContext:aws:logs:arn"}, one.place


@pytest.mark.parametrize("name", ["existing-trail", "new-trail"])
def test_buckets_queues_and_topics_refuse_what_is_not_encrypted_on_its_way(name):
    kinds = ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
    policies = {id_ for kind in kinds for id_ in resources(name, kind)}
    denied = {
        s.resource
        for s in STATEMENTS
        if s.template == name
        and s.body["Effect"] == "Deny"
        and s.body["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    }
    assert denied == policies
    subjects = [one for kind in ("AWS::S3::Bucket", "AWS::SNS::Topic") for one in resources(name, kind)]
    assert len(policies) >= len(subjects)


def actions(resource: str, name: str = "existing-trail") -> set[str]:
    return {action for s in allowed(resource, name) for action in several(s.body["Action"])}


def granted(resource: str, name: str = "existing-trail", **parameters: str) -> list[dict[str, Any]]:
    """What a role may do where these parameters are given."""
    role = chosen(name, **parameters)[resource]["Properties"]
    found = [s for policy in role["Policies"] for s in policy["PolicyDocument"]["Statement"]]
    return [s for s in found if s["Effect"] == "Allow"]


def rights(resource: str, name: str = "existing-trail", **parameters: str) -> set[str]:
    return {action for s in granted(resource, name, **parameters) for action in several(s["Action"])}


def test_the_detector_has_no_rights_on_iam():
    """Nor may it assume anything but the responders' roles, and these only when it enforces."""
    assert not [action for action in actions("DetectorRole") if action.startswith("iam:")]
    [assuming] = [s for s in allowed("DetectorRole") if s.sid == "Responders"]
    assert assuming.body["Resource"] == {"Fn::Split": [",", {"Ref": "ResponderRoleArns"}]}
    arns = {"ResponderRoleArns": "arn:aws:iam::111122223333:role/bucketwatch-responder"}
    assert "sts:AssumeRole" in rights("DetectorRole", **arns, ResponseMode="enforce")
    for other in ({"ResponseMode": "plan"}, {"ResponseMode": "enforce", "ResponseResponder": "separate"}):
        assert "sts:AssumeRole" not in rights("DetectorRole", **arns, **other), other
    assert "sts:AssumeRole" not in rights("DetectorRole", ResponseMode="enforce")


OF_CALLS = {
    "assume_role": {"sts:AssumeRole"},
    "change_message_visibility": {"sqs:ChangeMessageVisibility"},
    "change_message_visibility_batch": {"sqs:ChangeMessageVisibility"},
    "create_policy_version": {"iam:CreatePolicyVersion"},
    "get_caller_identity": set(),  # AWS lets everybody ask who they are
    "delete_bucket_policy": {"s3:DeleteBucketPolicy"},
    "delete_message_batch": {"sqs:DeleteMessage"},
    "delete_object": {"s3:DeleteObject"},
    "delete_objects": {"s3:DeleteObject"},
    "delete_policy_version": {"iam:DeletePolicyVersion"},
    "delete_role_policy": {"iam:DeleteRolePolicy"},
    "delete_user_policy": {"iam:DeleteUserPolicy"},
    "get_bucket_policy": {"s3:GetBucketPolicy"},
    "get_object": {"s3:GetObject", "s3:GetObjectVersion"},
    "get_object_lock_configuration": {"s3:GetBucketObjectLockConfiguration"},
    "get_policy": {"iam:GetPolicy"},
    "get_policy_version": {"iam:GetPolicyVersion"},
    "get_queue_attributes": {"sqs:GetQueueAttributes"},
    "get_role": {"iam:GetRole"},
    "get_role_policy": {"iam:GetRolePolicy"},
    "get_user": {"iam:GetUser"},
    "get_user_policy": {"iam:GetUserPolicy"},
    "head_object": {"s3:GetObject"},
    "list_access_keys": {"iam:ListAccessKeys"},
    "list_objects_v2": {"s3:ListBucket"},
    "list_policy_versions": {"iam:ListPolicyVersions"},
    "list_role_policies": {"iam:ListRolePolicies"},
    "list_user_policies": {"iam:ListUserPolicies"},
    "publish": {"sns:Publish"},
    "put_bucket_policy": {"s3:PutBucketPolicy"},
    "put_object": {"s3:PutObject"},
    "put_role_policy": {"iam:PutRolePolicy"},
    "put_user_policy": {"iam:PutUserPolicy"},
    "receive_message": {"sqs:ReceiveMessage"},
    "update_access_key": {"iam:UpdateAccessKey"},
}
"""Calls of boto3 → the actions they need."""

OF_OTHERS = {"list_object_versions", "send_message"}
"""Calls that the task never makes: `journal verify` does, and `drill --live`, with the rights of whoever runs them."""

UNSEEN = {"kms:Decrypt", "kms:GenerateDataKey"}
"""What S3 and SNS ask for on the caller's behalf: no call of ours."""

AHEAD = {
    "s3:PutObject": "state and journal in S3",
    "s3:DeleteObject": "state in S3",
    "s3:ListBucket": "state and journal in S3",
    "sqs:ChangeMessageVisibility": "work that takes longer than a message is hidden",
}
"""Rights that the contract's S3 state, S3 journal and longer visibility need, whether this version has them or not."""


FILLED = {"self._kind": ("role", "user"), "verb": ("put",)}
"""What the placeholders stand for in names of operations that detector/aws puts together (`get_{self._kind}`)."""


def spelled(node: ast.expr) -> set[str]:
    """The names that a constant or an f-string may be; a placeholder that FILLED does not know is a KeyError."""
    if isinstance(node, ast.Constant):
        return {str(node.value)}
    if not isinstance(node, ast.JoinedStr):
        return set()
    names = {""}
    for part in node.values:
        ends = (str(part.value),) if isinstance(part, ast.Constant) else FILLED[ast.unparse(part.value)]  # type: ignore[attr-defined]
        names = {name + end for name in names for end in ends}
    return names


def calls() -> set[str]:
    """Names of operations of AWS that are called anywhere in detector/aws.

    Not what doctor asks: that is the table in detector/aws/look.py, with rights of its own (tests/aws/test_look.py).
    """
    import boto3

    session = boto3.session.Session(region_name="us-east-1")
    known = {
        name
        for service in ("iam", "s3", "sns", "sqs", "sts")
        for name in session.client(service, aws_access_key_id="x", aws_secret_access_key="x").meta.method_to_api_mapping
    }
    trees = [ast.parse(source.read_text("utf-8")) for source in (ROOT / "detector/aws").glob("*.py")]
    made = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = {node.func.attr for node in made if isinstance(node.func, ast.Attribute)}
    for node in made:
        of = node.func
        if (isinstance(of, ast.Attribute) and of.attr == "get_paginator") or (
            isinstance(of, ast.Name) and of.id == "getattr"
        ):
            found |= {name for one in node.args for name in spelled(one)}
    return found & known


OF_ROLES = {"iam:GetRole", "iam:ListRolePolicies", "iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy"}
OF_BOUNDARY = {
    "iam:GetRole", "iam:GetPolicy", "iam:GetPolicyVersion", "iam:ListPolicyVersions", "iam:CreatePolicyVersion",
    "iam:DeletePolicyVersion",
}  # fmt: skip
OF_USERS = {
    "iam:GetUser", "iam:ListUserPolicies", "iam:GetUserPolicy", "iam:PutUserPolicy", "iam:DeleteUserPolicy",
    "iam:ListAccessKeys", "iam:UpdateAccessKey",
}  # fmt: skip
OF_BUCKETS = {"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"}
USERS = {"RevocableUserPath": "/partners/"}
BUCKETS = {"BucketPolicies": "arn:aws:s3:::ml-voice-raw,arn:aws:s3:::ml-voice-clean"}
BY_BOUNDARY = {"BoundaryMode": "true"}


def test_the_roles_may_do_what_the_program_calls_and_nothing_else():
    """Each call in detector/aws is allowed to the role whose work it is; no right is left over."""
    made = calls() - OF_OTHERS
    assert {
        "get_object",
        "receive_message",
        "publish",
        "put_role_policy",
        "put_user_policy",
        "list_access_keys",
    } <= made
    assert made <= set(OF_CALLS), "a call that this table does not know: which action does it need, and whose is it?"
    needed = {action for call in made for action in OF_CALLS[call]}
    of_responder = {action for action in needed if action.startswith("iam:") or action.endswith("BucketPolicy")}
    assert (
        of_responder
        == OF_ROLES | OF_BOUNDARY | OF_USERS | OF_BUCKETS
        == actions("ResponderRole", "responder") - {"sts:AssumeRole"}
    )
    given = actions("DetectorRole") - UNSEEN
    assert needed - of_responder <= given
    assert given <= (needed - of_responder) | set(AHEAD)


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({}, OF_ROLES),
        (BY_BOUNDARY, OF_BOUNDARY),
        (USERS, OF_ROLES | OF_USERS),
        (BUCKETS, OF_ROLES | OF_BUCKETS),
        (BY_BOUNDARY | USERS | BUCKETS, OF_BOUNDARY | OF_USERS | OF_BUCKETS),
    ],
)
def test_the_responder_gets_what_its_parameters_say_and_no_more(parameters, wanted):
    """With a boundary no policy of a role can be written: it could grant."""
    assert rights("ResponderRole", "responder", **parameters) == wanted


def test_what_the_responder_writes_is_named():
    """Roles and users below a path, one boundary, buckets by name; what is not asked for is not made."""
    of = {s["Sid"]: s["Resource"] for s in granted("ResponderRole", "responder", **BY_BOUNDARY, **USERS, **BUCKETS)}
    assert of["Look"]["Fn::Sub"].endswith(":role${RevocableRolePath}*")
    assert of["RevokeUsers"]["Fn::Sub"].endswith(":user${RevocableUserPath}*")
    assert of["RevokeByBoundary"] == {"Ref": "Boundary"}
    assert of["RevokeAtBuckets"] == {"Fn::Split": [",", {"Ref": "BucketPolicies"}]}
    assert "Boundary" not in chosen("responder")
    boundary = chosen("responder", **BY_BOUNDARY)["Boundary"]["Properties"]
    assert set(boundary) <= {"ManagedPolicyName", "Description", "PolicyDocument"}, "it is attached to nobody here"
    [statement] = boundary["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Allow", "*", "*")
    described = template("responder")["Parameters"]
    for id_, right in (("RevocableUserPath", "/partners/"), ("BucketPolicies", BUCKETS["BucketPolicies"])):
        assert re.fullmatch(described[id_]["AllowedPattern"], right)
        assert re.fullmatch(described[id_]["AllowedPattern"], "")
    for wide in ("/", "/*/", "partners"):
        assert not re.fullmatch(described["RevocableUserPath"]["AllowedPattern"], wide), wide
    for wide in ("*", "arn:aws:s3:::*", "arn:aws:s3:::ml-*", "arn:aws:s3:::ml-voice-raw/*"):
        assert not re.fullmatch(described["BucketPolicies"]["AllowedPattern"], wide), wide


def test_the_responders_process_reads_orders_and_logs_and_writes_answers():
    """No queue, no topic, no state, no journal; rights on IAM only through the roles that it assumes."""
    key = {"LogKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/1", "AccessLogBucket": "access-logs"}
    mine = {s["Sid"]: s for s in granted("ServerRole", "responder-service", **key)}
    assert rights("ServerRole", "responder-service", **key) - UNSEEN == {
        action for call in ("get_object", "put_object", "list_objects_v2", "assume_role") for action in OF_CALLS[call]
    } - {"s3:GetObjectVersion"}
    assert [sid for sid, s in mine.items() if "s3:PutObject" in several(s["Action"])] == ["OwnCases"]
    assert mine["OwnCases"]["Resource"]["Fn::Sub"].endswith("/cases/responder/*")
    assert mine["Cases"]["Resource"]["Fn::Sub"].endswith("/cases/*")
    assert mine["Lists"]["Condition"] == {"StringLike": {"s3:prefix": ["cases/*", "decoys/*"]}}
    assert mine["Decoys"]["Resource"]["Fn::Sub"].endswith("/decoys/*")
    assert "BUCKETWATCH_DECOYS__BUCKET" in str(template("responder-service")["Resources"]["Task"])
    assert mine["Responders"]["Resource"] == {"Ref": "ResponderRoleArns"}


def test_the_daemon_reads_what_people_say_and_cannot_write_it():
    """Verdicts and the registry of decoys: whoever plants decoys has rights of his own."""
    [told] = [s for s in granted("DetectorRole") if s["Sid"] == "Told"]
    assert several(told["Action"]) == ["s3:GetObject"]
    below = {one["Fn::Sub"].rpartition("}")[2] for one in told["Resource"]}
    assert below == {"/verdicts/*", "/decoys/*"}
    written = [s["Resource"] for s in granted("DetectorRole") if "s3:PutObject" in several(s["Action"])]
    assert not any(name in str(written) for name in ("verdicts", "decoys"))


def test_daemon_and_responder_write_cases_each_below_its_own_name():
    """As `detector.response.register` names the writers; in the journal's bucket, where nothing can be taken back."""
    mine = {s["Sid"]: s["Resource"]["Fn::Sub"] for s in granted("DetectorRole") if s["Sid"] in ("Cases", "OwnCases")}
    assert mine == {"Cases": "${Journal.Arn}/cases/*", "OwnCases": "${Journal.Arn}/cases/daemon/*"}
    assert NAME.fullmatch("daemon/0123456789abcdef/20260501T090000Z-ordered.json")
    assert NAME.fullmatch("responder/0123456789abcdef/20260501T090000Z-applied.json")


def test_the_responder_is_for_one_role_alone_and_never_for_its_own_roles():
    """Trust in one role with an external id; writing below one path; denied for guarded names on any path."""
    [trust] = [s for s in allowed("ResponderRole", "responder") if "Principal" in s.body]
    assert trust.body["Principal"] == {"AWS": {"Ref": "DetectorRoleArn"}}
    assert trust.body["Condition"] == {"StringEquals": {"sts:ExternalId": {"Ref": "ExternalId"}}}
    [revoke] = granted("ResponderRole", "responder")
    assert revoke["Resource"]["Fn::Sub"].endswith(":role${RevocableRolePath}*")
    pattern = template("responder")["Parameters"]["RevocableRolePath"]["AllowedPattern"]
    assert re.fullmatch(pattern, "/vendors/")
    for wide in ("/", "//", "vendors/", "/vendors", "/*/", "/vend*/", "/${x}/"):
        assert not re.fullmatch(pattern, wide), wide
    [never] = [s for s in STATEMENTS if s.place == ("responder", "ResponderRole", "NeverSelf")]
    assert never.body["Effect"] == "Deny"
    assert set(never.body["Action"]) == {
        action for action in OF_ROLES | OF_USERS if not action.startswith(("iam:Get", "iam:List"))
    }
    for kind in ("role", "user"):
        denied = {one["Fn::Sub"].partition(f":{kind}/")[2] for one in never.body["Resource"]}
        assert {"*bucketwatch*", "*detector-*", "*breakglass*", "*break-glass*"} <= denied
        assert kind == "user" or {"aws-service-role/*", "aws-reserved/*"} <= denied
    assert policy_name("x").startswith("bucketwatch")


def test_the_journal_cannot_be_taken_back_by_the_detector():
    """No deletion, no change of the lock; the lock is on from the first object."""
    for one in allowed("DetectorRole"):
        if "Journal" in str(one.body.get("Resource", "")):
            assert set(several(one.body["Action"])) <= {
                "s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:GetBucketObjectLockConfiguration",
            }  # fmt: skip
    journal = template("existing-trail")["Resources"]["Journal"]["Properties"]
    assert journal["ObjectLockEnabled"] is True
    assert journal["VersioningConfiguration"] == {"Status": "Enabled"}


def test_the_bus_takes_events_of_s3_from_named_accounts_alone():
    [statement] = [s for s in STATEMENTS if s.resource == "Bus"]
    assert statement.body["Principal"] == {"AWS": {"Fn::Split": [",", {"Ref": "SenderAccounts"}]}}
    assert statement.body["Action"] == "events:PutEvents"
    assert statement.body["Condition"] == {"StringEquals": {"events:source": "aws.s3"}}


# --- what is made


def test_the_responders_stack_finds_the_detectors_by_its_name():
    """Buckets, queue and topic are named there as here; the key is for its log, too; both name the same cases."""
    made, text = resources("existing-trail"), path("responder-service").read_text("utf-8")
    variables = {
        name: {one["Name"]: one["Value"] for one in task["Properties"]["ContainerDefinitions"][0]["Environment"]}
        for name in ("existing-trail", "responder-service")
        for task in [chosen(name)["Task"]]
    }
    own, detectors = variables["responder-service"], variables["existing-trail"]
    assert own["BUCKETWATCH_STATE__BUCKET"] == made["State"]["Properties"]["BucketName"]
    assert own["BUCKETWATCH_JOURNAL__BUCKET"] == made["Journal"]["Properties"]["BucketName"]
    assert own["BUCKETWATCH_RESPONSE__CASES__BUCKET"] == made["Journal"]["Properties"]["BucketName"]
    assert detectors["BUCKETWATCH_RESPONSE__CASES__BUCKET"] == {"Ref": "Journal"}
    for same in ("RESPONSE__CASES__PREFIX", "STATE__PREFIX", "JOURNAL__PREFIX", "ACCEPT__BUCKETS", "SOURCE__KIND"):
        assert own[f"BUCKETWATCH_{same}"] == detectors[f"BUCKETWATCH_{same}"]
    queue = own["BUCKETWATCH_SOURCE__QUEUE_URL"]["Fn::Sub"].rpartition("/")[2]
    assert queue == made["Notices"]["Properties"]["QueueName"]["Fn::Sub"]
    assert f':{made["Alerts"]["Properties"]["TopicName"]["Fn::Sub"]}"' in text
    [log] = [s for s in STATEMENTS if s.place == ("existing-trail", "Key", "ProgramLog")]
    logs = {
        one["Fn::Sub"].rpartition(":")[2]
        for one in log.body["Condition"]["ArnEquals"]["kms:EncryptionContext:aws:logs:arn"]
    }
    groups = [resources(name, "AWS::Logs::LogGroup")["ProgramLog"] for name in variables]
    assert logs == {one["Properties"]["LogGroupName"]["Fn::Sub"] for one in groups}


def test_the_responders_alarm_goes_to_the_topic_and_only_says_that_it_is_gone():
    [alarm] = resources("responder-service", "AWS::CloudWatch::Alarm").values()
    had = alarm["Properties"]
    assert had["TreatMissingData"] == "breaching"
    assert had["AlarmActions"] == had["OKActions"]
    assert had["AlarmActions"][0]["Fn::Sub"].endswith(":${Name}-alerts")


def test_every_alarm_goes_to_the_topic_when_it_starts_and_when_it_is_over():
    alarms = resources("existing-trail", "AWS::CloudWatch::Alarm")
    assert {"HeartbeatMissing", "NoTask", "OldestMessage", "DeadLetters"} <= set(alarms)
    for id_, one in alarms.items():
        for actions_ in ("AlarmActions", "OKActions"):
            assert one["Properties"][actions_] == [{"Ref": "Alerts"}], id_


def test_silence_is_an_alarm():
    """Where a missing value means that the daemon is gone, it is judged as bad; elsewhere as no news."""
    alarms = resources("existing-trail", "AWS::CloudWatch::Alarm")
    assert {id_ for id_, one in alarms.items() if one["Properties"]["TreatMissingData"] == "breaching"} == {
        "HeartbeatMissing",
        "NoTask",
    }


def test_every_filter_feeds_an_alarm_and_reads_what_a_heartbeat_says():
    alarms = [one["Properties"] for one in resources("existing-trail", "AWS::CloudWatch::Alarm").values()]
    watched = {one["MetricName"] for one in alarms if one["Namespace"] == {"Ref": "Name"}}
    made = set()
    for one in resources("existing-trail", "AWS::Logs::MetricFilter").values():
        [how] = one["Properties"]["MetricTransformations"]
        made.add(how["MetricName"])
        assert how["MetricValue"] == "1" or how["MetricValue"].removeprefix("$.") in BEATING
        assert how["MetricNamespace"] == {"Ref": "Name"}
    assert made == watched


@pytest.mark.parametrize("name", ["existing-trail", "responder-service"])
def test_every_alarm_is_explained_to_the_operator(name):
    """Its name, what it means and what to do."""
    for one in resources(name, "AWS::CloudWatch::Alarm").values():
        suffix = one["Properties"]["AlarmName"]["Fn::Sub"].removeprefix("${Name}")
        [row] = [line for line in OPERATOR.splitlines() if line.startswith(f"| `…{suffix}` |")]
        assert all(len(cell) > 20 for cell in row.split("|")[2:4])


def test_notices_are_not_lost():
    """Five attempts at least, two weeks among the dead letters, longer than in the queue; encrypted, and hidden longer
    than a poll takes."""
    queues = resources("existing-trail", "AWS::SQS::Queue")
    notices, dead = queues["Notices"]["Properties"], queues["DeadNotices"]["Properties"]
    assert notices["RedrivePolicy"]["maxReceiveCount"] >= 5
    assert dead["MessageRetentionPeriod"] == 14 * 86_400 > notices["MessageRetentionPeriod"]
    assert notices["VisibilityTimeout"] >= 600
    assert all(one["SqsManagedSseEnabled"] is True for one in (notices, dead))
    for one in resources("existing-trail", "AWS::Events::Rule").values():
        [target] = one["Properties"]["Targets"]
        assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["DeadNotices", "Arn"]}}


@pytest.mark.parametrize("name", ["existing-trail", "new-trail", "responder-service"])
def test_what_holds_evidence_outlives_its_stack(name):
    """Buckets, keys and the log are kept when a stack is deleted, not when it could not be made."""
    for kind in ("AWS::S3::Bucket", "AWS::KMS::Key", "AWS::Logs::LogGroup"):
        for id_, one in resources(name, kind).items():
            assert (one["DeletionPolicy"], one["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain"), id_


@pytest.mark.parametrize("name", ["existing-trail", "new-trail"])
def test_buckets_are_private_encrypted_and_versioned(name):
    for one in resources(name, "AWS::S3::Bucket").values():
        had = one["Properties"]
        assert set(had["PublicAccessBlockConfiguration"].values()) == {True}
        assert had["VersioningConfiguration"] == {"Status": "Enabled"}
        [rule] = had["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
        assert had["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_there_is_never_a_second_responder():
    """It has no lease: the old one stops before the new one starts."""
    [service] = resources("responder-service", "AWS::ECS::Service").values()
    how = service["Properties"]["DeploymentConfiguration"]
    assert (how["MinimumHealthyPercent"], how["MaximumPercent"]) == (0, 100)
    assert template("responder-service")["Parameters"]["DesiredCount"]["AllowedValues"] == [0, 1]


@pytest.mark.parametrize("name", ["existing-trail", "responder-service"])
def test_the_task_can_be_neither_entered_nor_written_to(name):
    [task] = resources(name, "AWS::ECS::TaskDefinition").values()
    [container] = task["Properties"]["ContainerDefinitions"]
    assert container["ReadonlyRootFilesystem"] is True
    assert container["User"] == "10001:10001"
    assert container["LinuxParameters"]["Capabilities"]["Drop"] == ["ALL"]
    assert container["StopTimeout"] >= 40
    image = (ROOT / "Dockerfile").read_text("utf-8")
    [mounted] = container["MountPoints"]
    assert f'VOLUME ["{mounted["ContainerPath"]}"]' in image
    if name == "existing-trail":
        assert " ".join(container["HealthCheck"]["Command"][1:]) in image.replace('", "', " ")
    else:
        assert container["Command"][:2] == ["respond", "serve"]
        assert " ".join(container["Command"][2:]) in image.replace('", "', " ")
    [service] = resources(name, "AWS::ECS::Service").values()
    assert service["Properties"]["EnableExecuteCommand"] is False
    network = service["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    [group] = resources(name, "AWS::EC2::SecurityGroup").values()
    assert "SecurityGroupIngress" not in group["Properties"]


@pytest.mark.parametrize("name", ["existing-trail", "responder-service"])
def test_the_programs_log_does_not_hold_it_up_and_has_room(name):
    """Non-blocking, with a buffer named: the default one is small and drops in silence."""
    [task] = resources(name, "AWS::ECS::TaskDefinition").values()
    options = task["Properties"]["ContainerDefinitions"][0]["LogConfiguration"]["Options"]
    assert (options["mode"], options["max-buffer-size"]) == ("non-blocking", "64m")


def test_the_trail_names_protected_objects_and_never_the_detectors_own():
    """Management events of all regions, protected objects without our own buckets, and the other ways to objects."""
    [trail] = resources("new-trail", "AWS::CloudTrail::Trail").values()
    had = trail["Properties"]
    assert had["IsMultiRegionTrail"] is True
    assert had["EnableLogFileValidation"] is True
    selectors = [one["Fn::If"][1] if "Fn::If" in one else one for one in had["AdvancedEventSelectors"]]
    fields = [{one["Field"]: one for one in selector["FieldSelectors"]} for selector in selectors]
    assert fields[0]["eventCategory"]["Equals"] == ["Management"]
    kinds = [one["resources.type"]["Equals"][0] for one in fields[1:]]
    assert kinds == [
        "AWS::S3::Object", "AWS::S3::AccessPoint", "AWS::S3ObjectLambda::AccessPoint", "AWS::S3Express::Object",
    ]  # fmt: skip
    objects = fields[1]["resources.ARN"]
    assert objects["StartsWith"] == {"Ref": "ProtectedObjects"}
    left_out = {one["Fn::Sub"].partition(":s3:::")[2] for one in objects["NotStartsWith"]}
    ours = {
        one["Properties"]["BucketName"]["Fn::Sub"].partition("${AWS::AccountId}")[0]
        for name in ("existing-trail", "new-trail")
        for one in resources(name, "AWS::S3::Bucket").values()
    }
    assert ours | {"${Name}-reports-"} == left_out


# --- what is told


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_and_output_is_in_the_readme(name):
    """In the section of its template, as a row of a table; and every row there is a parameter."""
    described = template(name)
    section = README.split(f"### `{name}.yaml`")[1].split("\n### ")[0].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(described["Parameters"])
    for output in described.get("Outputs", {}):
        assert f"`{output}`" in README, output


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_says_what_it_is(name):
    for id_, one in template(name)["Parameters"].items():
        assert len(one["Description"]) > 15, id_


def test_every_parameter_of_the_default_template_is_in_a_group():
    described = template("existing-trail")
    groups = described["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(one for group in groups for one in group["Parameters"]) == sorted(described["Parameters"])


def test_names_fit_their_limits():
    """With the longest Name and region: buckets 63 characters, roles 64; roles begin as the program's guards expect."""
    pattern = template("existing-trail")["Parameters"]["Name"]["AllowedPattern"]
    longest = "bucketwatch-" + "x" * 12
    assert re.fullmatch(pattern, longest)
    assert not re.fullmatch(pattern, longest + "x")
    for name in NAMES:
        for one in resources(name).values():
            made = one["Properties"].get("BucketName") or one["Properties"].get("RoleName")
            if made is None:
                continue
            full = made["Fn::Sub"].replace("${Name}", longest).replace("${AWS::AccountId}", "1" * 12)
            full = full.replace("${AWS::Region}", "ap-southeast-1")
            assert len(full) <= 63
            assert full.startswith("bucketwatch")
