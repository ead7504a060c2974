"""The daemon as a process against a real server of S3, SQS, SNS and IAM: from a log's arrival to the denied session."""

import json
import shlex
import time
from dataclasses import dataclass

import pytest

from detector.core.times import iso
from detector.journal import verify
from replay.drill.calls import Role
from replay.example_day import burst
from tests.e2e.test_daemon_directory import SECONDS, books, daemon, lines_of, packed, said

ACCOUNT = "123456789012"
"""Both servers'."""
TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})
SENDERS = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": ["s3.amazonaws.com", "sns.amazonaws.com"]},
                "Action": "sqs:SendMessage",
                "Resource": "*",
            }
        ],
    }
)
RULES = """
rules:
  - id: bulk
    title: One session read 40 objects in a minute
    severity: high
    kind: threshold
    where: {operation: read, bucket: ["ml-voice-*"]}
    group_by: session
    measure: objects
    window: 1m
    threshold: 40
    respond: [revoke]
    runbook: Ask the owner of the role.
"""
CONFIG = """
source: {{kind: sqs, queue_url: "{queue}"}}
accept: {{buckets: ["{bucket}"], accounts: ["{account}"]}}
rules: {folder}/rules.yaml
state: {{kind: sqlite, path: {folder}/state.db}}
alerts: [{{kind: sns, topic_arn: "{topic}"}}]
journal: {{path: {folder}/journal.jsonl}}
response: {{mode: {mode}, armed: true, max_age: 30m, accounts: ["{account}"]}}
"""


@dataclass(frozen=True)
class MadeRole(Role):
    """A role that a server has made: it chose the id."""

    made_id: str = ""

    @property
    def role_id(self) -> str:
        return self.made_id


class Account:
    """One test's account: a trail's bucket that tells a queue, a topic that a second queue listens to, a role."""

    def __init__(self, aws, folder) -> None:
        self.aws, self.folder = aws, folder
        self.s3, self.sqs, self.sns, self.iam = (aws.client(name) for name in ("s3", "sqs", "sns", "iam"))
        self.bucket, self.topic_name = aws.name("trail-logs"), aws.name("alerts")
        self.queue, queue_arn = self._queue("notices")
        self.inbox, self.inbox_arn = self._queue("inbox")
        self.s3.create_bucket(Bucket=self.bucket)
        self._notify(self.bucket, queue_arn)
        self.queue_arn = queue_arn
        self.topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:{self.topic_name}"
        made = self.iam.create_role(
            RoleName=aws.name("ContractorDataReader"), Path="/vendors/", AssumeRolePolicyDocument=TRUST
        )["Role"]
        self.role = MadeRole(ACCOUNT, "/vendors/", made["RoleName"], made["RoleId"])
        self.began = int(time.time())
        (folder / "rules.yaml").write_text(RULES)

    def _queue(self, kind):
        url = self.sqs.create_queue(QueueName=self.aws.name(kind), Attributes={"Policy": SENDERS})["QueueUrl"]
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, answer["Attributes"]["QueueArn"]

    def _notify(self, bucket, queue_arn):
        told = {"QueueConfigurations": [{"QueueArn": queue_arn, "Events": ["s3:ObjectCreated:*"]}]}
        self.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=told)

    def other_bucket(self):
        """A bucket that tells the same queue, and that the config does not accept."""
        name = self.aws.name("elsewhere")
        self.s3.create_bucket(Bucket=name)
        self._notify(name, self.queue_arn)
        return name

    def make_topic(self):
        assert self.sns.create_topic(Name=self.topic_name)["TopicArn"] == self.topic
        self.sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=self.inbox_arn)

    def theft(self, session="contractor-42", objects=60, ago=120):
        """Records of a theft that has just happened: an object a second."""
        return burst(session, objects, objects, self.began - ago, role=self.role)

    def put(self, name, data, bucket=None):
        key = f"AWSLogs/{ACCOUNT}/CloudTrail/us-east-1/2026/05/01/a b+{name}.json.gz"
        self.s3.put_object(Bucket=bucket or self.bucket, Key=key, Body=data)
        return f"s3://{bucket or self.bucket}/{key}"

    def watch(self, *options, mode="enforce", queue="", more="", idle="0.5"):
        config = self.folder / "bucketwatch.yaml"
        names = {"folder": self.folder, "bucket": self.bucket, "account": ACCOUNT, "mode": mode, "topic": self.topic}
        config.write_text(CONFIG.format(queue=queue or self.queue, **names) + more)
        return daemon(config, "--until-idle", idle, *options)

    def alerts(self, count):
        """The alerts that came through the topic, as a program subscribed to it gets them: so many and no more."""
        got, until = [], time.monotonic() + SECONDS
        while batch := self._received() or (len(got) < count and time.monotonic() < until):
            got += batch if isinstance(batch, list) else []
        assert len(got) == count
        return sorted(got, key=lambda alert: (alert["opened_at"], alert["state"] == "closed"))

    def _received(self):
        messages = self.sqs.receive_message(QueueUrl=self.inbox, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            self.sqs.delete_message(QueueUrl=self.inbox, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(json.loads(message["Body"])["Message"]) for message in messages]

    def policies(self):
        names = self.iam.list_role_policies(RoleName=self.role.name)["PolicyNames"]
        got = [self.iam.get_role_policy(RoleName=self.role.name, PolicyName=name) for name in names]
        return {one["PolicyName"]: one["PolicyDocument"] for one in got}

    def waiting(self):
        """Messages that the queue still has, in hand or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        return [int(answer[name]) for name in names]

    def journal(self, kind):
        return [entry["body"] for entry in lines_of(self.folder / "journal.jsonl") if entry["kind"] == kind]


@pytest.fixture(params=["aws", "ministack"], ids=["moto", "ministack"])
def account(request, tmp_path):
    return Account(request.getfixturevalue(request.param), tmp_path)


def test_a_theft_is_alerted_and_its_session_denied(account):
    """A log arrives, the alert opens and closes under one id, the role denies the session, the queue is empty."""
    account.make_topic()
    records = account.theft()
    account.put("1", packed(records[:35]))
    account.put("2", packed(records[30:] + burst("reader", 20, 60, account.began - 120, role=account.role)))
    ended = account.watch("--close")
    assert ended.returncode == 0, ended.stderr

    opened, closed = account.alerts(2)
    principal_id = f"{account.role.role_id}:contractor-42"
    for alert in (opened, closed):
        assert alert["schema"] == "bucketwatch.finding.v1"
        assert alert["group"] == {"session": account.role.session_arn("contractor-42")}
        assert alert["principal"]["principal_id"] == principal_id
        assert alert["principal"]["role"] == account.role.arn
        assert alert["runbook"] == "Ask the owner of the role."
        assert (alert["peak_value"], alert["threshold"], alert["measure"]) == (60, 40, "objects")
        assert alert["opened_at"] == iso(account.began - 120 + 39)
        assert alert["last_at"] == iso(account.began - 120 + 59)
        assert 60 <= alert["delivery_delay_seconds"] < 60 + 2 * SECONDS
    assert (opened["state"], closed["state"]) == ("opened", "closed")
    assert opened["alert_id"] == closed["alert_id"] == closed["alert_ids"][0]
    assert "finding_id" not in opened
    assert closed["finding_id"]

    plan = opened["plan"]
    assert plan["applicable"], plan["refusals"]
    ((name, document),) = account.policies().items()
    assert (name, document) == (plan["actions"][0]["name"], plan["actions"][0]["document"])
    (statement,) = document["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {
        "StringEquals": {"aws:userid": principal_id},
        "DateLessThanEquals": {"aws:TokenIssueTime": plan["planned_at"]},
    }
    assert account.waiting() == [0, 0]
    assert books(account.folder)["records"] == 35 + 30 + 20
    assert books(account.folder)["duplicates"] == 5
    assert verify(account.folder / "journal.jsonl") == []
    assert [body["status"] for body in account.journal("revocation")] == ["applied"]

    again = account.watch("--close")
    assert again.returncode == 0, again.stderr
    assert account.alerts(0) == []
    assert len(account.policies()) == 1


def test_plan_mode_writes_nothing_to_iam_and_its_commands_do(account):
    """The alert carries the plan; IAM is untouched until a person runs the first command, and after the second."""
    account.make_topic()
    account.put("1", packed(account.theft()))
    ended = account.watch(mode="plan")
    assert ended.returncode == 0, ended.stderr
    (opened,) = account.alerts(1)
    assert account.policies() == {}
    plan = opened["plan"]
    assert [told.split(".")[0:2] for told in plan["refusals"]] == [["response", "mode is not `enforce`"]]
    put, delete = (shlex.split(command) for command in plan["commands"])
    assert put[:3] == ["aws", "iam", "put-role-policy"]
    assert delete[:3] == ["aws", "iam", "delete-role-policy"]
    role, name, document = put[3].removeprefix("--role-name="), put[5], put[7]
    assert (role, name, json.loads(document)) == (
        account.role.name,
        plan["actions"][0]["name"],
        plan["actions"][0]["document"],
    )
    account.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=document)
    assert account.policies() == {name: plan["actions"][0]["document"]}
    account.iam.delete_role_policy(RoleName=delete[3].removeprefix("--role-name="), PolicyName=delete[5])
    assert account.policies() == {}


def test_what_is_not_accepted_is_refused_and_what_is_broken_is_read_as_far_as_it_goes(account):
    """A strange bucket's notice and a broken file are journalled; the good part counts and the others keep flowing."""
    account.make_topic()
    strange = account.other_bucket()
    account.put("0", packed(account.theft("stranger")), bucket=strange)
    whole = packed(account.theft("half", 2000, ago=2100))
    broken = account.put("1", whole[: len(whole) // 2])
    no_log = account.put("2", b"no log at all")
    account.put("3", packed(account.theft()))
    account.sqs.send_message(QueueUrl=account.queue, MessageBody="not a notice")
    ended = account.watch(mode="plan")
    assert ended.returncode == 0, ended.stderr
    blind, *alerts = sorted(account.alerts(3), key=lambda alert: alert["kind"])
    assert {a["group"]["session"].rpartition("/")[2] for a in alerts} == {"half", "contractor-42"}
    assert (blind["kind"], blind["rule_id"], blind["peak_value"]) == ("blindness", "blind-refused", 2)
    assert account.waiting() == [0, 0]
    refused, unclear = sorted(account.journal("quarantine"), key=lambda body: strange not in body["reason"])
    assert "accept.buckets" in refused["reason"]
    assert "not a notice" in unclear["reason"]
    assert [body["file"] for body in account.journal("damaged")] == [broken]
    assert "gzip" in account.journal("damaged")[0]["reason"]
    assert [body["file"] for body in account.journal("ignored")] == [no_log]
    kept = books(account.folder)
    assert 40 + 60 < kept["access_events"] < 2000
    assert "stranger" not in json.dumps(account.journal("finding"))


def test_a_queue_that_does_not_exist_is_the_configs_mistake(account):
    """Exit 2 before anything else is touched, with the queue's name and what to mend."""
    ended = account.watch(queue=f"{account.queue}-gone")
    assert ended.returncode == 2, ended.stderr
    assert f"{account.queue}-gone" in ended.stderr
    assert "source.queue_url" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (account.folder / "state.db").exists()


def test_an_alert_survives_a_missing_topic(account):
    """The log is done with and the alert waits in the checkpoint: the run that finds the topic sends it, same id.

    That nobody could be told is told, too: at once in the log and the journal, afterwards through the topic.
    """
    account.put("1", packed(account.theft()))
    first = account.watch(mode="plan")
    assert first.returncode == 0, first.stderr
    (failed, *_) = said(first.stderr, "alert_failed")
    assert said(first.stderr, "sink_down")
    assert [body["state"] for body in account.journal("sink_down")] == ["opened"]
    assert account.waiting() == [0, 0]
    account.make_topic()
    second = account.watch("--close", mode="plan")
    assert second.returncode == 0, second.stderr
    told = account.alerts(3)
    opened, closed = [alert for alert in told if alert["rule_id"] == "bulk"]
    assert [alert["state"] for alert in told if alert["rule_id"] == "bucketwatch.sink_down"] == ["closed"]
    assert opened["alert_id"] == closed["alert_id"] == failed["alert"]
    assert (opened["state"], closed["state"]) == ("opened", "closed")
    assert not said(second.stderr, "alert_failed")


def test_a_canary_that_no_log_tells_of_is_alerted_and_one_that_cannot_be_read(account):
    """It is read in the bucket itself; where the logs are silent about that, people hear of it."""
    account.make_topic()
    account.s3.put_object(Bucket=account.bucket, Key="bird", Body=b"tweet")
    places = [f"s3://{account.bucket}/bird", f"s3://{account.aws.name('nowhere')}/bird"]
    more = f"canary: {{every: 1h, within: 1s, objects: {json.dumps(places)}}}\n"
    ended = account.watch(more=more, idle="3")
    assert ended.returncode == 0, ended.stderr
    alerts = {alert["rule_id"]: alert for alert in account.alerts(2)}
    assert set(alerts) == {"blind-canary", "blind-canary-read"}
    assert alerts["blind-canary"]["group"] == {"bucket": account.bucket}
    assert alerts["blind-canary"]["severity"] == "critical"
    assert "NoSuchBucket" in alerts["blind-canary-read"]["explanation"]
