"""`bucketwatch doctor` against a real server: healthy surroundings, and each way in which they can be broken."""

import datetime as dt
import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

from detector.cli import main
from detector.cli.doctor import examine
from detector.journal import Journal
from detector.rules import load_book
from detector.settings import read_settings
from replay.example_day import burst
from tests.e2e.test_daemon_directory import packed

ACCOUNT = "123456789012"
SEVEN_DAYS, FOURTEEN_DAYS = 604_800, 1_209_600


class World:
    """An account in which all is well; what a test breaks in it is its own."""

    def __init__(self, aws, folder: Path) -> None:
        self.aws, self.folder = aws, folder
        self.s3, self.sqs, self.sns, self.trail = (aws.client(name) for name in ("s3", "sqs", "sns", "cloudtrail"))
        self.logs, self.voice = aws.name("logs"), aws.name("ml-voice")
        for bucket in (self.logs, self.voice):
            self.s3.create_bucket(Bucket=bucket)
        self.encrypt("arn:aws:kms:us-east-1:111122223333:key/0b8e", bucket_keys=False)
        self._queue()
        self.topic = self.sns.create_topic(Name=aws.name("alerts"))["TopicArn"]
        self.sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=self.arn(self.dead))
        self.notify()
        self.name = aws.name("trail")
        self.logs_policy()
        self.trail.create_trail(
            Name=self.name, S3BucketName=self.logs, IsMultiRegionTrail=True, EnableLogFileValidation=True
        )
        self.trail.start_logging(Name=self.name)
        self.select(self.object_selector())
        self.deliver()

    def encrypt(self, key: str, *, bucket_keys: bool) -> None:
        default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
        rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": bucket_keys}
        self.s3.put_bucket_encryption(Bucket=self.voice, ServerSideEncryptionConfiguration={"Rules": [rule]})

    def _queue(self) -> None:
        self.dead = self.sqs.create_queue(
            QueueName=self.aws.name("dead"), Attributes={"MessageRetentionPeriod": str(FOURTEEN_DAYS)}
        )["QueueUrl"]
        self.queue = self.sqs.create_queue(QueueName=self.aws.name("notices"))["QueueUrl"]
        self.attributes(
            VisibilityTimeout="600",
            MessageRetentionPeriod=str(SEVEN_DAYS),
            RedrivePolicy=json.dumps({"deadLetterTargetArn": self.arn(self.dead), "maxReceiveCount": 10}),
            Policy=self.policy("s3.amazonaws.com", f"arn:aws:s3:::{self.logs}"),
        )

    def attributes(self, **attributes: str) -> None:
        self.sqs.set_queue_attributes(QueueUrl=self.queue, Attributes=attributes)

    def arn(self, url: str) -> str:
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def policy(self, service: str, source: str) -> str:
        statement = {
            "Effect": "Allow", "Principal": {"Service": service}, "Action": "sqs:SendMessage",
            "Resource": self.arn(self.queue), "Condition": {"ArnLike": {"aws:SourceArn": source}},
        }  # fmt: skip
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    def notify(self, events=("s3:ObjectCreated:*",)) -> None:
        to = [{"QueueArn": self.arn(self.queue), "Events": list(events)}] if events else []
        self.s3.put_bucket_notification_configuration(
            Bucket=self.logs, NotificationConfiguration={"QueueConfigurations": to}
        )

    def logs_policy(self) -> None:
        statement = {
            "Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}, "Resource": "*", "Action": "s3:*",
        }  # fmt: skip
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self.s3.put_bucket_policy(Bucket=self.logs, Policy=json.dumps(policy))

    def object_selector(self, *arns: str) -> dict:
        fields = [
            {"Field": "eventCategory", "Equals": ["Data"]},
            {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
            {"Field": "resources.ARN", "StartsWith": list(arns or (f"arn:aws:s3:::{self.voice}/",))},
        ]
        return {"FieldSelectors": fields}

    def select(self, *selectors: dict) -> None:
        management = {"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]}
        data = {"Field": "eventCategory", "Equals": ["Data"]}
        others = [
            {"FieldSelectors": [data, {"Field": "resources.type", "Equals": [kind]}]}
            for kind in ("AWS::S3::AccessPoint", "AWS::S3ObjectLambda::AccessPoint", "AWS::S3Express::Object")
        ]  # fmt: skip
        self.trail.put_event_selectors(TrailName=self.name, AdvancedEventSelectors=[management, *selectors, *others])

    def deliver(self) -> None:
        day = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        folder = f"AWSLogs/{ACCOUNT}/CloudTrail/us-east-1/{day:%Y/%m/%d}"
        key = f"{folder}/{ACCOUNT}_CloudTrail_us-east-1_{day:%Y%m%dT%H%MZ}_x.json.gz"
        body = packed(burst("reader", 500, 60, int(day.timestamp())))
        self.s3.put_object(Bucket=self.logs, Key=key, Body=body)

    def config(self, **more: object) -> Path:
        text = {
            "source": {"kind": "sqs", "queue_url": self.queue},
            "accept": {"buckets": [self.logs], "accounts": [ACCOUNT]},
            "state": {"kind": "sqlite", "path": str(self.folder / "state.db")},
            "journal": {"path": str(self.folder / "journal.jsonl")},
            "alerts": [{"kind": "sns", "topic_arn": self.topic}],
            "protected_buckets": [self.voice],
        } | more  # fmt: skip
        path = self.folder / "bucketwatch.yaml"
        path.write_text(json.dumps(text), "utf-8")
        return path

    def results(self, clock=time.time, **more: object):
        settings = read_settings(self.config(**more), {})
        return list(examine(settings, load_book(Path("rules")), clock))

    def told(self, status: str, clock=time.time, **more: object) -> str:
        """What all results of a status say."""
        return "\n".join(f"{r.check}: {r.what} [{r.where}]" for r in self.results(clock, **more) if r.status == status)


@pytest.fixture
def world(aws, tmp_path):
    return World(aws, tmp_path)


def test_where_all_is_well_there_is_no_problem(world):
    """Every check has something good to say; the redirected endpoint and the fresh model are warned about."""
    results = world.results()
    assert [r for r in results if r.status in ("problem", "skipped")] == []
    assert {r.check for r in results if r.status == "warn"} == {"endpoints", "model"}
    fine = {r.check for r in results if r.status == "ok"}
    assert fine >= {
        "rules", "identity", "clock", "queue", "dead-letters", "notices", "logs", "cost", "trails", "coverage", "loops",
        "state", "journal", "alerts", "response", "encryption",
    }  # fmt: skip


def test_a_prefix_that_is_listed_is_examined_without_a_queue(world):
    results = world.results(source={"kind": "s3", "bucket": world.logs}, accept={"accounts": [ACCOUNT]})
    assert [r for r in results if r.status in ("problem", "skipped")] == []
    checks = {r.check for r in results}
    assert checks >= {"logs", "cost", "trails", "coverage", "loops", "encryption"}
    assert not checks & {"queue", "dead-letters", "notices"}


def test_bucket_keys_that_leave_few_decrypts_are_warned_about(world):
    world.encrypt("arn:aws:kms:us-east-1:111122223333:key/0b8e", bucket_keys=True)
    assert "encryption: has S3 Bucket Keys on: KMS Decrypts are few and name the bucket only" in world.told("warn")


def test_the_cost_is_estimated_from_a_days_files(world):
    [cost] = [r for r in world.results() if r.check == "cost"]
    assert "(500 a day" in cost.what
    assert "estimated" in cost.what


def test_a_clock_that_is_wrong_is_told(world):
    assert "clock" in world.told("problem", clock=lambda: time.time() - 400)
    assert "clock: 60 s ahead" in world.told("warn", clock=lambda: time.time() + 60).replace("61 s", "60 s")


BREAKS = {
    "hidden too short": (lambda w: w.attributes(VisibilityTimeout="30"), "queue: messages are hidden for 30 s"),
    "kept too short": (lambda w: w.attributes(MessageRetentionPeriod="3600"), "queue: messages are kept for 1 hours"),
    "given up early": (
        lambda w: w.attributes(
            RedrivePolicy=json.dumps({"deadLetterTargetArn": w.arn(w.dead), "maxReceiveCount": 2})
        ),
        "dead-letters: a message is given up after 2 receives",
    ),
    "dead letters": (
        lambda w: w.sqs.send_message(QueueUrl=w.dead, MessageBody="x"), "dead-letters: 1 notices were given up",
    ),
    "queue closed to S3": (
        lambda w: w.attributes(Policy=w.policy("s3.amazonaws.com", "arn:aws:s3:::another")),
        "notices: the bucket notifies the queue, but the queue's policy does not let S3 in",
    ),
    "nobody notifies": (lambda w: w.notify(()), "notices: no way leads from this bucket to the queue"),
    "notified of deletions": (lambda w: w.notify(["s3:ObjectRemoved:*"]), "notices: the notification is not of new"),
    "trail off": (lambda w: w.trail.stop_logging(Name=w.name), "trails: it is switched off"),
    "not named": (
        lambda w: w.select(w.object_selector("arn:aws:s3:::another/")), "coverage: reads of this protected",
    ),
    "loop": (lambda w: w.select(w.object_selector("arn:aws:s3:::")), "loops: the trail logs the detector's own work"),
    "nobody hears": (
        lambda w: [
            w.sns.unsubscribe(SubscriptionArn=s["SubscriptionArn"])
            for s in w.sns.list_subscriptions_by_topic(TopicArn=w.topic)["Subscriptions"]
        ],
        "alerts: nobody is subscribed",
    ),
    "no topic": (lambda w: w.sns.delete_topic(TopicArn=w.topic), "alerts: there is no such topic"),
    "no queue": (lambda w: w.sqs.delete_queue(QueueUrl=w.queue), "queue: there is no such queue"),
    "no dead letters' queue": (lambda w: w.sqs.delete_queue(QueueUrl=w.dead), "dead-letters: the dead"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_a_problem(world, name):
    """Each break is told, by the check whose work it is."""
    break_, expected = BREAKS[name]
    break_(world)
    assert expected in world.told("problem")


def test_no_log_bucket_is_a_problem(world):
    assert "logs: there is no such bucket" in world.told("problem", accept={"buckets": ["not-there-at-all"]})


def test_a_second_trail_is_warned_about(world):
    world.name = world.aws.name("second")
    world.trail.create_trail(
        Name=world.name, S3BucketName=world.logs, IsMultiRegionTrail=True, EnableLogFileValidation=True
    )
    world.trail.start_logging(Name=world.name)
    world.select(world.object_selector())
    assert "double-trails: 2 trails log the same reads" in world.told("warn")


def test_a_bucket_in_two_logs_needs_a_preference(world):
    owner = world.s3.list_buckets()["Owner"]["ID"]
    grants = [
        {"Grantee": {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/s3/LogDelivery"}, "Permission": p}
        for p in ("WRITE", "READ_ACP")
    ]
    world.s3.put_bucket_acl(Bucket=world.logs, AccessControlPolicy={"Owner": {"ID": owner}, "Grants": grants})
    world.s3.put_bucket_logging(
        Bucket=world.voice,
        BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": world.logs, "TargetPrefix": "access/"}},
    )
    assert "two-logs: both CloudTrail and its access log" in world.told("warn")
    assert "two-logs" not in world.told("warn", prefer={world.voice: "cloudtrail"})


def test_the_way_through_a_topic_is_followed(world):
    world.notify(())
    topic = world.sns.create_topic(Name=world.aws.name("news"))["TopicArn"]
    world.s3.put_bucket_notification_configuration(
        Bucket=world.logs,
        NotificationConfiguration={"TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]},
    )
    assert "notices: no way leads" in world.told("problem")
    world.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=world.arn(world.queue))
    assert "the queue's policy does not let the topic in" in world.told("problem")
    world.attributes(Policy=world.policy("sns.amazonaws.com", topic))
    assert "hands on to the queue" in world.told("ok")


def test_the_way_over_eventbridge_is_followed(world):
    """moto does not tell that a bucket sends to EventBridge; the whole way is in tests/doctor/test_ways.py."""
    events = world.aws.client("events")
    rule = events.put_rule(
        Name=world.aws.name("rule"),
        EventPattern=json.dumps(
            {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": {"bucket": {"name": [world.logs]}}}
        ),
    )["RuleArn"]
    name = rule.rpartition("/")[2]
    events.put_targets(Rule=name, Targets=[{"Id": "q", "Arn": world.arn(world.queue)}])
    world.notify(())
    assert "the bucket does not send any to EventBridge" in world.told("problem")
    events.disable_rule(Name=name)
    assert "the rule that leads to the queue is disabled" in world.told("problem")


def test_enforcing_without_accounts_is_a_problem(world):
    assert "response: mode enforce without accounts" in world.told("problem", response={"mode": "enforce"})


def test_a_responder_is_assumed(world):
    role = f"arn:aws:iam::{ACCOUNT}:role/bucketwatch-responder"
    told = world.told(
        "ok", response={"mode": "enforce", "accounts": {ACCOUNT: {"role_arn": role, "external_id": "xx"}}}
    )
    assert f"can be assumed [{role}]" in told


def test_a_canary_is_read(world):
    uri = f"s3://{world.voice}/canary"
    assert "canary: there is no such object" in world.told("problem", canary={"objects": [uri]})
    world.s3.put_object(Bucket=world.voice, Key="canary", Body=b"tweet")
    assert f"canary: can be read [{uri}]" in world.told("ok", canary={"objects": [uri]})


# --- what lies on this machine


def local(folder: Path, **more: object) -> Path:
    (folder / "incoming").mkdir(exist_ok=True)
    text = {
        "source": {"kind": "directory", "path": str(folder / "incoming")},
        "state": {"kind": "sqlite", "path": str(folder / "state.db")},
        "journal": {"path": str(folder / "journal.jsonl")},
        "alerts": [{"kind": "file", "path": str(folder / "alerts.jsonl")}],
        "protected_buckets": ["ml-voice-*"],
    } | more
    path = folder / "bucketwatch.yaml"
    path.write_text(json.dumps(text), "utf-8")
    return path


def doctor(capsys, monkeypatch, config: Path, *options: str):
    """Exit status and output."""
    monkeypatch.setattr("sys.argv", ["bucketwatch", "doctor", "--config", str(config), *options])
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr()


def test_a_directory_is_examined_without_aws(tmp_path, capsys, monkeypatch):
    status, said = doctor(capsys, monkeypatch, local(tmp_path), "--json")
    assert status == 0, said
    found = json.loads(said.out)
    assert found["problems"] == 0
    assert {r["check"] for r in found["results"]} == {
        "rules",
        "source",
        "state",
        "model",
        "journal",
        "alerts",
        "response",
    }
    assert list((tmp_path / "incoming").iterdir()) == []
    assert not (tmp_path / "state.db").exists()


def test_problems_are_exit_3_and_come_first(tmp_path, capsys, monkeypatch):
    status, said = doctor(capsys, monkeypatch, local(tmp_path, source={"kind": "directory", "path": "/not/there"}))
    assert status == 3
    assert said.out.startswith("problem  source        there is no such directory")
    assert "1 problems" in said.out.splitlines()[-1]


def test_a_config_that_is_wrong_is_exit_2(tmp_path, capsys, monkeypatch):
    status, said = doctor(capsys, monkeypatch, local(tmp_path, sources={}))
    assert status == 2
    assert "sources" in said.err
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{id: x}]", "utf-8")
    assert doctor(capsys, monkeypatch, local(tmp_path, rules=str(rules)))[0] == 2


def test_a_damaged_state_and_a_cut_journal_are_problems(tmp_path, capsys, monkeypatch):
    (tmp_path / "state.db").write_bytes(b"no database" * 1000)
    Journal(tmp_path / "journal.jsonl").append(
        [{"seq": n, "time": "2026-05-01T00:00:00Z", "kind": "start", "body": {}} for n in range(3)]
    )
    lines = (tmp_path / "journal.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_text(lines[0] + lines[2], "utf-8")
    status, said = doctor(capsys, monkeypatch, local(tmp_path), "--json")
    assert status == 3
    problems = {r["check"] for r in json.loads(said.out)["results"] if r["status"] == "problem"}
    assert problems == {"state", "journal"}


def test_a_state_of_another_version_is_a_problem(tmp_path, capsys, monkeypatch):
    db = sqlite3.connect(tmp_path / "state.db")
    db.executescript("CREATE TABLE meta (name, value); CREATE TABLE parts (name, sum, content);")
    db.execute("INSERT INTO meta VALUES ('version', '0')")
    db.commit()
    db.close()
    status, said = doctor(capsys, monkeypatch, local(tmp_path))
    assert status == 3
    assert "written in version '0'" in said.out


def test_a_protected_bucket_without_a_live_rule_is_a_problem(tmp_path, capsys, monkeypatch):
    text = (
        Path("rules/bulk-read.yaml")
        .read_text("utf-8")
        .replace("operation: read\n", "operation: read\n      bucket: [other]\n")
        .replace("{operation: read", "{bucket: [other], operation: read")
        .replace("operation: [read, head", "bucket: [other]\n      operation: [read, head")
    )
    (tmp_path / "rules.yaml").write_text(text, "utf-8")
    status, said = doctor(capsys, monkeypatch, local(tmp_path, rules=str(tmp_path / "rules.yaml")))
    assert status == 3
    assert "no live rule looks at this protected bucket" in said.out


def test_a_model_that_has_seen_nothing_is_learning(tmp_path, capsys, monkeypatch):
    _, said = doctor(capsys, monkeypatch, local(tmp_path))
    assert "rule unusual-read-rate is learning: it has seen 0 of 20 role-days" in said.out
