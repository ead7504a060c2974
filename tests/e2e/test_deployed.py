"""The templates brought up in an emulator with IAM enforced, and the daemon run as the task they describe.

What the emulator does not have, and what the test therefore does itself:
- AWS::CloudTrail::Trail is left out: log files are put into the trail's bucket by the test.
- The service is made with no task, and `DesiredCount` as a number: the daemon is started by the test, with exactly the
  environment of the task definition and credentials of its task role.
- Nobody can be the ECS service, so the task role's trust is widened to the account's root before it is assumed.
- It judges IAM calls by the ARN of a role or user without its path: the responder's paths stand in the names instead.
- It asks for `sqs:DeleteMessageBatch` and `sqs:ChangeMessageVisibilityBatch`, which AWS does not have (the rights to
  the single calls cover them): the role gets them, too.
- It does not take up a bus's policy (that is looked at in tests/deploy), and knows one account only.
- Its rules forward only in the state `ENABLED`: where an event has to pass, `FastPathState` is that.
"""

import json
import os
import re
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from detector.settings import read_settings
from replay.example_day import burst
from tests.deploy.templates import FOLDER, template
from tests.e2e.test_daemon_aws import RULES, SENDERS, MadeRole
from tests.e2e.test_daemon_directory import PROGRAM, SECONDS, packed, said
from tests.ministack import ACCOUNT

EXTERNAL_ID = "tests/external-id"
TRUST_ROOT = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        ],
    }
)
DENIAL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})


class Deployment:
    """A new trail, and the detector on top of it, as an operator would deploy them."""

    def __init__(self, aws, rules) -> None:
        self.aws, self.name = aws, f"bucketwatch-{uuid.uuid4().hex[:8]}"
        clients = ("cloudformation", "ec2", "ecs", "events", "iam", "logs", "s3", "sns", "sqs", "sts", "cloudwatch")
        for service in clients:
            setattr(self, service, aws.client(service))
        self.bucket = self.trail()
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        self.parameters = {
            "Name": self.name, "Image": "example/bucketwatch:1", "LogBucket": self.bucket["LogBucketName"],
            "LogKeyArn": self.bucket["LogKeyArn"], "VpcId": vpc, "SubnetIds": subnet, "DesiredCount": "0",
            "ProtectedBuckets": "ml-voice-raw,ml-voice-clean", "LogAccounts": ACCOUNT, "RulesPath": str(rules),
        }  # fmt: skip
        self.out = self.deploy(self.name, self.detector_template(), self.parameters)
        self.inbox = self.listen()

    def trail(self):
        described = template("new-trail")
        del described["Resources"]["Trail"], described["Outputs"]["TrailArn"]
        wanted = {"Name": self.name, "ProtectedObjects": "arn:aws:s3:::ml-voice-raw/,arn:aws:s3:::ml-voice-clean/"}
        return self.deploy(f"{self.name}-trail", described, wanted)

    def detector_template(self):
        described = template("existing-trail")
        described["Resources"]["Service"]["Properties"]["DesiredCount"] = 0
        return described

    def deploy(self, stack, described, parameters):
        """Create or update a stack; its outputs."""
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        try:
            self.cloudformation.describe_stacks(StackName=stack)
            act = self.cloudformation.update_stack
        except ClientError:
            act = self.cloudformation.create_stack
        act(
            StackName=stack,
            TemplateBody=json.dumps(described),
            Parameters=given,
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        until = time.monotonic() + SECONDS
        while (found := self.cloudformation.describe_stacks(StackName=stack)["Stacks"][0])["StackStatus"].endswith(
            "IN_PROGRESS"
        ):
            assert time.monotonic() < until
            time.sleep(0.1)
        events = self.cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        reasons = [(e["LogicalResourceId"], e.get("ResourceStatusReason")) for e in events]
        assert found["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"), reasons
        return {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}

    def responder(self, trusted, **more):
        """The responder's role: outputs of its stack."""
        wanted = {"Name": self.name, "DetectorRoleArn": trusted, "ExternalId": EXTERNAL_ID} | more
        described = template("responder")
        [policy] = described["Resources"]["ResponderRole"]["Properties"]["Policies"]
        choices = [one["Fn::If"] for one in policy["PolicyDocument"]["Statement"] if "Fn::If" in one]
        for one in [one for choice in choices for one in choice[1:]]:
            for kind, path in (("role", "vendors"), ("user", "partners")):
                if str(one.get("Resource", "")).endswith(f":{kind}${{Revocable{kind.capitalize()}Path}}*'}}"):
                    one["Resource"] = f"arn:aws:iam::{ACCOUNT}:{kind}/{path}-*"
        assert "Revocable" not in json.dumps(policy)
        return self.deploy(f"{self.name}-responder", described, {"RevocableRolePath": "/vendors/"} | wanted)

    def enforce(self):
        """The responder's role beside the detector, then the detector's stack updated: as README.md says."""
        role = self.responder(self.out["DetectorRoleArn"])["ResponderRoleArn"]
        accounts = f'{{"{ACCOUNT}": {{role_arn: "{role}", external_id: "{EXTERNAL_ID}"}}}}'
        self.parameters |= {"ResponseMode": "enforce", "ResponseAccounts": accounts, "ResponderRoleArns": role}
        self.deploy(self.name, self.detector_template(), self.parameters)
        return role

    def listen(self):
        """A queue that hears the topic of alerts."""
        url = self.sqs.create_queue(QueueName=f"{self.name}-inbox", Attributes={"Policy": SENDERS})["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.sns.subscribe(TopicArn=self.out["AlertTopicArn"], Protocol="sqs", Endpoint=arn)
        return url

    def heard(self):
        """What has come through the topic since it was asked last."""
        messages = self.sqs.receive_message(QueueUrl=self.inbox, MaxNumberOfMessages=10).get("Messages", [])
        for one in messages:
            self.sqs.delete_message(QueueUrl=self.inbox, ReceiptHandle=one["ReceiptHandle"])
        return [json.loads(json.loads(one["Body"])["Message"]) for one in messages]

    def hears(self, holds):
        """The first message that is wanted, waiting for it."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for one in self.heard():
                if holds(one):
                    return one
            time.sleep(0.05)
        raise AssertionError("nothing was heard")

    def task(self, family=""):
        """The environment of the container, as the task definition has it after all functions."""
        found = self.ecs.describe_task_definition(taskDefinition=family or self.name)["taskDefinition"]
        [container] = found["containerDefinitions"]
        return {one["name"]: one["value"] for one in container["environment"]}

    def credentials(self, role, **how):
        """Credentials of a role's session, as environment variables."""
        got = self.sts.assume_role(RoleArn=role, RoleSessionName="task-1", **how)["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": got["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": got["SecretAccessKey"],
            "AWS_SESSION_TOKEN": got["SessionToken"],
        }

    def separate(self):
        """The responder's process first, its role, then the detector told: as README.md says."""
        role = f"arn:aws:iam::{ACCOUNT}:role/{self.name}-responder"
        accounts = f'{{"{ACCOUNT}": {{role_arn: "{role}", external_id: "{EXTERNAL_ID}"}}}}'
        told = {"ResponseAccounts": accounts, "ResponseBuckets": f'{{"ml-voice-*": "{ACCOUNT}"}}'}
        given = ("Name", "Image", "LogBucket", "LogKeyArn", "VpcId", "SubnetIds", "RulesPath")
        wanted = {name: self.parameters[name] for name in given} | told
        wanted |= {"KeyArn": self.out["KeyArn"], "ResponderRoleArns": role, "DesiredCount": "0"}
        described = template("responder-service")
        described["Resources"]["Service"]["Properties"]["DesiredCount"] = 0
        server = self.deploy(f"{self.name}-responder-service", described, wanted)["ServerRoleArn"]
        assert self.responder(server)["ResponderRoleArn"] == role
        self.parameters |= told | {"ResponseMode": "enforce", "ResponseResponder": "separate"}
        self.deploy(self.name, self.detector_template(), self.parameters)
        return server

    def as_server(self, role):
        self.iam.update_assume_role_policy(RoleName=role.rpartition("/")[2], PolicyDocument=TRUST_ROOT)
        return self.credentials(role)

    def as_detector(self):
        self.iam.update_assume_role_policy(RoleName=f"{self.name}-detector", PolicyDocument=TRUST_ROOT)
        both = ["sqs:DeleteMessageBatch", "sqs:ChangeMessageVisibilityBatch"]
        batch = {"Effect": "Allow", "Action": both, "Resource": "*"}
        self.iam.put_role_policy(
            RoleName=f"{self.name}-detector",
            PolicyName="emulator",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [batch]}),
        )
        return self.credentials(self.out["DetectorRoleArn"])

    def put(self, name, records):
        key = f"AWSLogs/{ACCOUNT}/CloudTrail/us-east-1/2026/05/01/{ACCOUNT}_CloudTrail_us-east-1_{name}.json.gz"
        self.s3.put_object(Bucket=self.bucket["LogBucketName"], Key=key, Body=packed(records))

    def role(self, path):
        name = f"{path.strip('/')}-{self.name.removeprefix('bucketwatch-')}"
        made = self.iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=TRUST_ROOT)["Role"]
        return MadeRole(ACCOUNT, path, name, made["RoleId"])

    def policies(self, role):
        return self.iam.list_role_policies(RoleName=role.name)["PolicyNames"]


@pytest.fixture
def deployment(ministack, tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    return Deployment(ministack, tmp_path / "rules.yaml")


def ran(deployment, folder, **more):
    """The daemon as the task, run until nothing comes any more; what it logged."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BUCKETWATCH_")}
    environment |= deployment.task() | deployment.as_detector()
    environment |= {"BUCKETWATCH_HTTP__PORT": "0"} | more
    ended = subprocess.run(
        [PROGRAM, "watch", "--config", FOLDER / "bucketwatch.yaml", "--until-idle", "1"], env=environment, cwd=folder,
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def test_a_theft_is_seen_through_what_the_templates_make(deployment, tmp_path):
    """Log file → log bucket → EventBridge → queue → daemon with the task role's rights alone → topic → subscriber."""
    began = int(time.time()) - 120
    role = deployment.role("/vendors/")
    deployment.put("20260501T0900Z_a", burst("contractor-42", 60, 60, began, role=role))
    deployment.put("20260501T0905Z_b", burst("reader", 20, 60, began, role=role))
    log = ran(deployment, tmp_path)
    opened = deployment.hears(lambda one: one.get("state") == "opened")
    assert opened["group"] == {"session": role.session_arn("contractor-42")}
    assert opened["peak_value"] == 60
    assert opened["plan"]["commands"]
    for wrong in ("receive_failed", "fetch_failed", "alert_failed", "acknowledge_failed", "protected_bucket_unwatched"):
        assert not said(log, wrong), wrong
    waiting = deployment.sqs.get_queue_attributes(QueueUrl=deployment.out["QueueUrl"], AttributeNames=["All"])
    assert waiting["Attributes"]["ApproximateNumberOfMessages"] == "0"
    assert waiting["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"
    assert deployment.policies(role) == []
    heartbeat(deployment, said(log, "heartbeat")[0])
    assert deployment.s3.list_objects_v2(Bucket=deployment.out["StateBucket"], Prefix="state/")["KeyCount"] > 1


def test_what_cannot_be_used_and_what_is_kept_go_where_the_role_may_write(deployment, tmp_path):
    """Poison into quarantine, counted events into the archive: in the state bucket, with the task role's rights."""
    deployment.parameters["ArchiveDays"] = "30"
    deployment.deploy(deployment.name, deployment.detector_template(), deployment.parameters)
    deployment.put("20260501T0900Z_a", burst("reader", 20, 60, int(time.time()) - 120))
    deployment.sqs.send_message(QueueUrl=deployment.out["QueueUrl"], MessageBody="what?")
    log = ran(deployment, tmp_path)
    assert not said(log, "quarantine_failed")
    listed = deployment.s3.list_objects_v2(Bucket=deployment.out["StateBucket"])["Contents"]
    keys = [one["Key"] for one in listed if not one["Key"].startswith("state/")]
    assert [key.partition("/")[0] for key in keys] == ["archive", "quarantine"]
    assert re.fullmatch(r"archive/date=[-0-9]+/hour=\d\d/[\w.]+-[\w.]+\.parquet", keys[0])


def doctor(deployment, folder, **credentials):
    """What `bucketwatch doctor --json` says of the task's configuration, by check."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BUCKETWATCH_")}
    environment |= deployment.task() | credentials
    ended = subprocess.run(
        [PROGRAM, "doctor", "--config", FOLDER / "bucketwatch.yaml", "--json"], env=environment, cwd=folder,
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode in {0, 3}, ended.stderr
    found = json.loads(ended.stdout)
    results = found if isinstance(found, list) else found["results"]
    return {check: [r for r in results if r["check"] == check] for check in {r["check"] for r in results}}


def test_doctor_sees_what_it_may_see_and_says_what_it_may_not(deployment, tmp_path):
    """Whoever owns the account sees all of it; the detector's role may not look at trails, and that is no `ok`."""
    owner = doctor(deployment, tmp_path)
    shown = {check: {r["status"] for r in results} for check, results in owner.items()}
    assert shown["state"] == shown["journal"] == {"ok"}, owner
    role = doctor(deployment, tmp_path, **deployment.as_detector())
    shown = {check: {r["status"] for r in results} for check, results in role.items()}
    assert shown["state"] == {"ok"}, role
    assert shown["trails"] == {"skipped"}, role
    assert "cloudtrail:DescribeTrails" in role["trails"][0]["remedy"]


def heartbeat(deployment, beat):
    """The filters of the alarms fit the daemon's own line, and the values they take out of it are whole numbers."""
    filters = deployment.logs.describe_metric_filters(logGroupName=f"/ecs/{deployment.name}")["metricFilters"]
    assert len(filters) == 4
    for one in filters:
        name, value = re.fullmatch(r'\{ \$\.(\w+) = "(\w+)" \}', one["filterPattern"]).groups()
        assert beat[name] == value
        taken = one["metricTransformations"][0]["metricValue"]
        assert taken == "1" or isinstance(beat[taken.removeprefix("$.")], int)


def test_every_alarm_reaches_who_hears_the_alerts(deployment):
    """When it goes off and when it is over, through the topic's policy and key."""
    names = {one["AlarmName"] for one in deployment.cloudwatch.describe_alarms()["MetricAlarms"]}
    ours = {name for name in names if name.startswith(f"{deployment.name}-")}
    assert len(ours) == 7
    for name in sorted(ours):
        for state in ("ALARM", "OK"):
            deployment.cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="test")
            told = deployment.hears(lambda one: "AlarmName" in one)
            assert (told["AlarmName"], told["NewStateValue"]) == (name, state)


def test_in_enforce_the_responders_role_revokes_and_only_on_its_path(deployment, tmp_path):
    """The stack is updated to enforce: the session's role gets its denial; one of another path cannot be touched."""
    deployment.enforce()
    began = int(time.time()) - 120
    vendor, other = deployment.role("/vendors/"), deployment.role("/staff/")
    deployment.put("20260501T0900Z_a", burst("contractor-42", 60, 60, began, role=vendor))
    deployment.put("20260501T0905Z_b", burst("employee-7", 60, 60, began, role=other))
    log = ran(deployment, tmp_path, BUCKETWATCH_RESPONSE__ARMED="true")
    done = {line["status"] for line in said(log, "revocation")}
    assert done == {"applied", "failed"}, log
    [name] = deployment.policies(vendor)
    document = deployment.iam.get_role_policy(RoleName=vendor.name, PolicyName=name)["PolicyDocument"]
    assert document["Statement"][0]["Condition"]["StringEquals"] == {"aws:userid": f"{vendor.role_id}:contractor-42"}
    assert deployment.policies(other) == []


def test_left_to_the_responders_process_the_detector_orders_and_the_other_revokes(deployment, tmp_path):
    """Two roles: the detector's may not assume the responder's role, the process reads the order and the log files."""
    server = deployment.separate()
    role = deployment.role("/vendors/")
    deployment.put("20260501T0900Z_a", burst("contractor-42", 60, 60, int(time.time()) - 120, role=role))
    log = ran(deployment, tmp_path, BUCKETWATCH_RESPONSE__ARMED="true")
    assert {line["status"] for line in said(log, "revocation")} == {"ordered"}, log
    assert not said(log, "cases_failed")
    assert deployment.policies(role) == []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BUCKETWATCH_")}
    task = deployment.task(f"{deployment.name}-responder")
    ended = subprocess.run(
        [PROGRAM, "respond", "serve", "--config", FOLDER / "bucketwatch.yaml", "--once"], cwd=tmp_path,
        env=environment | task | deployment.as_server(server), capture_output=True, text=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert [line["what"] for line in said(ended.stderr, "case")] == ["begun", "applied"], ended.stderr
    assert len(deployment.policies(role)) == 1
    listed = deployment.s3.list_objects_v2(Bucket=deployment.out["JournalBucket"], Prefix="cases/")["Contents"]
    assert {one["Key"].split("/")[1] for one in listed} == {"daemon", "responder"}
    read = read_settings(FOLDER / "bucketwatch.yaml", {n: v for n, v in task.items() if n.startswith("BUCKETWATCH_")})
    assert read.source.queue_url.rpartition("/")[2] == deployment.out["QueueUrl"].rpartition("/")[2]
    assert read.state.bucket == deployment.out["StateBucket"]
    assert read.journal.bucket == read.response.cases.bucket == deployment.out["JournalBucket"]
    assert read.response.buckets == {"ml-voice-*": ACCOUNT}


def test_daemon_and_responder_have_their_own_part_of_the_register(deployment, monkeypatch):
    """Each writes below its own name alone; the detector cannot become the responder, nor the process the detector."""
    server, out = deployment.separate(), deployment.out
    responder = f"arn:aws:iam::{ACCOUNT}:role/{deployment.name}-responder"
    for own, other, keys in (
        ("daemon", "responder", deployment.as_detector()),
        ("responder", "daemon", deployment.as_server(server)),
    ):
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
        s3, sts = deployment.aws.client("s3"), deployment.aws.client("sts")
        s3.put_object(Bucket=out["JournalBucket"], Key=f"cases/{own}/x", Body=b"1")
        s3.put_object(Bucket=out["JournalBucket"], Key=f"cases/{own}/x", Body=b"2")
        assert s3.get_object(Bucket=out["JournalBucket"], Key="cases/daemon/x")["Body"].read() == b"2"
        s3.list_objects_v2(Bucket=out["JournalBucket"], Prefix="cases/")
        for theirs in (other, "person"):
            refused(s3.put_object, Bucket=out["JournalBucket"], Key=f"cases/{theirs}/x", Body=b"")
        refused(s3.delete_object, Bucket=out["JournalBucket"], Key=f"cases/{own}/x")
        if own == "daemon":
            refused(sts.assume_role, RoleArn=responder, RoleSessionName="task-2", ExternalId=EXTERNAL_ID)
            continue
        refused(s3.list_objects_v2, Bucket=out["JournalBucket"], Prefix="journal/")
        refused(s3.list_objects_v2, Bucket=out["StateBucket"])
        refused(s3.put_object, Bucket=out["JournalBucket"], Key="journal/1", Body=b"")
        refused(s3.put_object, Bucket=out["StateBucket"], Key="state/x", Body=b"")
        refused(deployment.aws.client("sqs").receive_message, QueueUrl=out["QueueUrl"])
        refused(deployment.aws.client("sns").publish, TopicArn=out["AlertTopicArn"], Message="x")
        refused(deployment.aws.client("iam").list_roles)


def test_with_a_boundary_no_role_is_written(deployment, monkeypatch):
    """Versions of the boundary alone; and with users and buckets these, as far as they are named."""
    made = deployment.aws.name("ml-voice")
    for bucket in (made, f"{made}-2"):
        deployment.s3.create_bucket(Bucket=bucket)
    more = {"BoundaryMode": "true", "RevocableUserPath": "/partners/", "BucketPolicies": f"arn:aws:s3:::{made}"}
    out = deployment.responder(deployment.out["DetectorRoleArn"], **more)
    vendor, tail = deployment.role("/vendors/"), deployment.name.removeprefix("bucketwatch-")
    users = [f"partners-{tail}", f"staff-{tail}", f"partners-breakglass-{tail}"]
    for name in users:
        deployment.iam.create_user(UserName=name)
    other = deployment.iam.create_policy(PolicyName=f"other-{tail}", PolicyDocument=DENIAL)["Policy"]["Arn"]
    deployment.iam.update_assume_role_policy(RoleName=f"{deployment.name}-responder", PolicyDocument=TRUST_ROOT)
    for name, value in deployment.credentials(out["ResponderRoleArn"]).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    iam, s3 = deployment.aws.client("iam"), deployment.aws.client("s3")
    iam.get_role(RoleName=vendor.name)
    refused(iam.put_role_policy, RoleName=vendor.name, PolicyName="denial", PolicyDocument=DENIAL)
    refused(iam.delete_role_policy, RoleName=vendor.name, PolicyName="denial")
    default = iam.get_policy(PolicyArn=out["BoundaryArn"])["Policy"]["DefaultVersionId"]
    version = iam.get_policy_version(PolicyArn=out["BoundaryArn"], VersionId=default)["PolicyVersion"]
    assert [one["Effect"] for one in version["Document"]["Statement"]] == ["Allow"]
    iam.create_policy_version(PolicyArn=out["BoundaryArn"], PolicyDocument=DENIAL, SetAsDefault=True)
    assert len(iam.list_policy_versions(PolicyArn=out["BoundaryArn"])["Versions"]) == 2
    iam.delete_policy_version(PolicyArn=out["BoundaryArn"], VersionId=default)
    refused(iam.create_policy_version, PolicyArn=other, PolicyDocument=DENIAL, SetAsDefault=True)
    refused(iam.attach_role_policy, RoleName=vendor.name, PolicyArn=out["BoundaryArn"])
    iam.put_user_policy(UserName=users[0], PolicyName="denial", PolicyDocument=DENIAL)
    iam.delete_user_policy(UserName=users[0], PolicyName="denial")
    for name in users[1:]:
        refused(iam.put_user_policy, UserName=name, PolicyName="denial", PolicyDocument=DENIAL)
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{made}/x"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(Bucket=made, Policy=policy)
    assert json.loads(s3.get_bucket_policy(Bucket=made)["Policy"])
    s3.delete_bucket_policy(Bucket=made)
    refused(s3.put_bucket_policy, Bucket=f"{made}-2", Policy=policy.replace(made, f"{made}-2"))


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    code = caught.value.response["Error"]["Code"]
    assert code in ("AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException"), code


def test_the_detector_has_no_other_rights(deployment, monkeypatch):
    """No IAM, nothing in others' buckets, no way to change the journal, to write logs or to send notices."""
    keys = deployment.as_detector()
    secret = deployment.aws.name("somebody-elses")
    deployment.s3.create_bucket(Bucket=secret)
    deployment.s3.put_object(Bucket=secret, Key="x", Body=b"1")
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    s3, iam, sqs, sns = (deployment.aws.client(name) for name in ("s3", "iam", "sqs", "sns"))
    out, logs = deployment.out, deployment.bucket["LogBucketName"]
    assert deployment.aws.client("sts").get_caller_identity()["Arn"].endswith("detector/task-1")
    refused(iam.list_roles)
    refused(iam.put_role_policy, RoleName=f"{deployment.name}-detector", PolicyName="denial", PolicyDocument=DENIAL)
    refused(s3.get_object, Bucket=secret, Key="x")
    refused(s3.put_object, Bucket=logs, Key="AWSLogs/x", Body=b"")
    refused(s3.delete_object, Bucket=logs, Key="AWSLogs/x")
    refused(s3.list_objects_v2, Bucket=logs)
    refused(s3.put_object, Bucket=out["StateBucket"], Key="elsewhere/x", Body=b"")
    refused(sqs.send_message, QueueUrl=out["QueueUrl"], MessageBody="x")
    refused(sqs.purge_queue, QueueUrl=out["QueueUrl"])
    refused(sns.subscribe, TopicArn=out["AlertTopicArn"], Protocol="email", Endpoint="x@example.org")
    s3.put_object(Bucket=out["StateBucket"], Key="state/x", Body=b"1")
    s3.put_object(Bucket=out["JournalBucket"], Key="journal/1", Body=b"1")
    assert s3.get_object(Bucket=out["JournalBucket"], Key="journal/1")["Body"].read() == b"1"
    refused(s3.delete_object, Bucket=out["JournalBucket"], Key="journal/1")
    s3.delete_object(Bucket=out["StateBucket"], Key="state/x")


def test_nobody_but_the_detector_becomes_the_responder(deployment, monkeypatch):
    """Not the account's root, not the detector without the external id; and it cannot touch roles of bucketwatch."""
    role = deployment.enforce()
    refused(deployment.sts.assume_role, RoleArn=role, RoleSessionName="task-2", ExternalId=EXTERNAL_ID)
    for name, value in deployment.as_detector().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    sts = deployment.aws.client("sts")
    refused(sts.assume_role, RoleArn=role, RoleSessionName="task-2")
    refused(sts.assume_role, RoleArn=role, RoleSessionName="task-2", ExternalId="another-id")
    keys = sts.assume_role(RoleArn=role, RoleSessionName="task-2", ExternalId=EXTERNAL_ID)["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    iam = deployment.aws.client("iam")
    for ours in ("detector", "responder", "execution"):
        name = f"{deployment.name}-{ours}"
        refused(iam.put_role_policy, RoleName=name, PolicyName="denial", PolicyDocument=DENIAL)
    vendor = deployment.role("/vendors/")
    iam.put_role_policy(RoleName=vendor.name, PolicyName="denial", PolicyDocument=DENIAL)
    iam.delete_role_policy(RoleName=vendor.name, PolicyName="denial")
    guarded = f"vendors-breakglass-{deployment.name.removeprefix('bucketwatch-')}"
    deployment.iam.create_role(RoleName=guarded, Path="/vendors/", AssumeRolePolicyDocument=TRUST_ROOT)
    refused(iam.put_role_policy, RoleName=guarded, PolicyName="denial", PolicyDocument=DENIAL)


def test_the_tasks_environment_is_a_whole_configuration(deployment):
    """Every variable of the task is a key of the config, and nothing is missing."""
    task = {name: value for name, value in deployment.task().items() if name.startswith("BUCKETWATCH_")}
    read = read_settings(FOLDER / "bucketwatch.yaml", task)
    assert read.source.queue_url == deployment.out["QueueUrl"]
    assert read.accept.buckets == (deployment.bucket["LogBucketName"],)
    assert read.accept.accounts == (ACCOUNT,)
    assert read.protected_buckets == ("ml-voice-raw", "ml-voice-clean")
    assert [one.topic_arn for one in read.alerts] == [deployment.out["AlertTopicArn"]]
    assert read.response.mode == "plan"
    assert read.memory == 1 << 30
    assert read.rules == Path(deployment.parameters["RulesPath"])
    assert task["BUCKETWATCH_STATE__BUCKET"] == deployment.out["StateBucket"]
    assert task["BUCKETWATCH_JOURNAL__BUCKET"] == deployment.out["JournalBucket"]
    deployment.deploy(
        deployment.name,
        deployment.detector_template(),
        deployment.parameters
        | {
            "ResponseMode": "off",
            "LogAccounts": "",
            "ProtectedBuckets": "",
            "RulesPath": "",
            "AccessLogBucket": "access-logs",
        },
    )
    task = {name: value for name, value in deployment.task().items() if name.startswith("BUCKETWATCH_")}
    least = read_settings(FOLDER / "bucketwatch.yaml", task)
    assert least.response.mode == "off"
    assert least.accept.accounts == ()
    assert least.accept.buckets[1:] == ("access-logs",)
    assert least.rules is None


def test_events_of_other_accounts_come_over_the_bus(deployment):
    """Forwarded by forward.yaml (here within one account), through bus and rule, into the queue."""
    elsewhere = deployment.aws.name("central-logs")
    deployment.s3.create_bucket(Bucket=elsewhere)
    told = {"EventBridgeConfiguration": {}}
    deployment.s3.put_bucket_notification_configuration(Bucket=elsewhere, NotificationConfiguration=told)
    deployment.parameters |= {"SenderAccounts": f"{ACCOUNT},444455556666", "FastPathState": "ENABLED"}
    bus = deployment.deploy(deployment.name, deployment.detector_template(), deployment.parameters)["BusArn"]
    # a name of its own: in one account the forwarder's rules would else be the detector's
    wanted = {"Name": f"{deployment.name}-f", "BusArn": bus, "LogBuckets": elsewhere, "ProtectedBuckets": "ml-far"}
    deployment.deploy(f"{deployment.name}-f", template("forward"), wanted)
    deployment.s3.put_object(Bucket=elsewhere, Key="AWSLogs/x.json.gz", Body=b"x")
    until, bodies = time.monotonic() + SECONDS, []
    while not bodies and time.monotonic() < until:
        got = deployment.sqs.receive_message(QueueUrl=deployment.out["QueueUrl"], WaitTimeSeconds=1)
        bodies = [json.loads(one["Body"]) for one in got.get("Messages", [])]
    [event] = bodies
    assert event["detail-type"] == "Object Created"
    assert event["detail"]["bucket"]["name"] == elsewhere


def test_every_option_can_be_chosen(deployment):
    """All that is optional at once; and endpoints beside it."""
    topic = deployment.sns.create_topic(Name=f"{deployment.name}-trail")["TopicArn"]
    deployment.parameters |= {
        "AccessLogBucket": "access-logs", "AlertEmail": "security@example.org", "NotificationTopicArn": topic,
        "ImageRepositoryArn": f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/bucketwatch", "SenderAccounts": ACCOUNT,
        "S3PrefixListId": "pl-63a5400a", "EgressCidr": "10.0.0.0/16", "JournalLockMode": "COMPLIANCE",
        "FastPathState": "DISABLED", "LogKeyArn": "", "RedactKeys": "hash", "CpuArchitecture": "ARM64",
    }  # fmt: skip
    deployment.deploy(deployment.name, deployment.detector_template(), deployment.parameters)
    state = {
        rule: deployment.events.describe_rule(Name=f"{deployment.name}-{rule}", EventBusName=bus)["State"]
        for rule, bus in (("files", "default"), ("reads", "default"), ("forwarded", deployment.name))
    }
    assert state == {"files": "ENABLED", "reads": "DISABLED", "forwarded": "ENABLED"}
    listening = deployment.sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert [one["Protocol"] for one in listening] == ["sqs"]
    network = {"VpcId": deployment.parameters["VpcId"], "SubnetIds": deployment.parameters["SubnetIds"]}
    tables = deployment.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [network["VpcId"]]}])
    wanted = network | {"RouteTableIds": tables["RouteTables"][0]["RouteTableId"], "VpcCidr": "10.0.0.0/16"}
    deployment.deploy(f"{deployment.name}-endpoints", template("vpc-endpoints"), wanted)


def test_to_enforce_without_a_responder_is_refused(deployment):
    """Before anything is changed, and with what to do."""
    wanted = deployment.parameters | {"ResponseMode": "enforce"}
    with pytest.raises(ClientError, match=r"responder\.yaml"):
        deployment.deploy(deployment.name, deployment.detector_template(), wanted)


ARRIVED = {
    "version": "0", "id": "1", "detail-type": "Object Created", "source": "aws.s3", "account": ACCOUNT,
    "time": "2026-05-01T09:05:02Z", "region": "us-east-1", "resources": ["arn:aws:s3:::{bucket}"],
    "detail": {"version": "0", "bucket": {"name": "{bucket}"}, "object": {"key": "AWSLogs/x", "size": 1}},
}  # fmt: skip
READ = {
    "version": "0", "id": "1", "detail-type": "AWS API Call via CloudTrail", "source": "aws.s3", "account": ACCOUNT,
    "time": "2026-05-01T09:05:02Z", "region": "us-east-1", "resources": [],
    "detail": {
        "eventVersion": "1.11", "eventName": "GetObject", "eventSource": "s3.amazonaws.com",
        "requestParameters": {"bucketName": "{bucket}", "key": "a"},
    },
}  # fmt: skip


def test_the_rules_take_what_they_are_for_and_nothing_else(deployment):
    """Log files of the log bucket alone; reads of protected buckets alone; to the queue, or to its dead letters."""

    def matches(rule, event, bucket):
        pattern = deployment.events.describe_rule(Name=f"{deployment.name}-{rule}")["EventPattern"]
        told = json.dumps(event).replace("{bucket}", bucket)
        return deployment.events.test_event_pattern(EventPattern=pattern, Event=told)["Result"]

    logs = deployment.bucket["LogBucketName"]
    assert matches("files", ARRIVED, logs)
    assert not matches("files", ARRIVED, "another")
    assert not matches("files", READ, logs)
    assert matches("reads", READ, "ml-voice-raw")
    assert matches("reads", READ, "ml-voice-clean")
    assert not matches("reads", READ, logs)
    assert not matches("reads", ARRIVED, "ml-voice-raw")
    for rule in ("files", "reads"):
        [target] = deployment.events.list_targets_by_rule(Rule=f"{deployment.name}-{rule}")["Targets"]
        assert target["Arn"].endswith(f":{deployment.name}-notices")
        assert target["DeadLetterConfig"]["Arn"].endswith(f":{deployment.name}-notices-dead")
