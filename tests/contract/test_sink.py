"""The laws of a Sink, over both twins: a file, and an SNS topic read back through a queue."""

import json

import pytest

from detector.aws.topic import SnsSink
from detector.errors import EdgeError
from detector.local.file_sink import FileSink
from detector.ocsf import detection_finding
from tests.servers import Aws

ALERT = {
    "schema": "bucketwatch.finding.v1",
    "alert_id": "a-0123456789abcdef",
    "finding_id": "f",
    "rule_id": "bulk-object-read",
    "title": "One session read 10,000 objects in five minutes",
    "severity": "high",
    "state": "opened",
    "sent_at": "2026-05-01T09:06:00Z",
    "group": {"session": "arn:aws:sts::111122223333:assumed-role/R/contractor-42"},
    "principal": {"account": "111122223333"},
    "evidence": {"requests": 1, "sample_keys": ["a/b.wav"]},
    "explanation": "…",
}


class File:
    def __init__(self, folder) -> None:
        self.path = folder / "deep" / "alerts.jsonl"
        self.sink = FileSink(self.path)

    def received(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def ocsf(self):
        return FileSink(self.path, ocsf=True)

    def broken(self):
        """A sink whose place cannot be written."""
        self.path.parent.parent.joinpath("occupied").write_text("")
        return FileSink(self.path.parent.parent / "occupied" / "alerts.jsonl")


class Topic:
    suffix = ""

    def __init__(self, aws: Aws) -> None:
        self.aws, self.sqs = aws, aws.client("sqs")
        fifo = {"FifoQueue": "true"} if self.suffix else {}
        topic = {"FifoTopic": "true"} if self.suffix else {}
        sns = aws.client("sns")
        self.arn = sns.create_topic(Name=aws.name("alerts") + self.suffix, Attributes=topic)["TopicArn"]
        self.queue = self.sqs.create_queue(QueueName=aws.name("reader") + self.suffix, Attributes=fifo)["QueueUrl"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        sns.subscribe(TopicArn=self.arn, Protocol="sqs", Endpoint=found["Attributes"]["QueueArn"])
        self.sink = SnsSink(self.arn, sleep=lambda _: None)

    def envelopes(self):
        found = []
        while batch := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in batch:
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    def received(self):
        return [json.loads(envelope["Message"]) for envelope in self.envelopes()]

    def ocsf(self):
        return SnsSink(self.arn, ocsf=True, sleep=lambda _: None)

    def broken(self):
        return SnsSink(self.arn.replace("alerts", "nowhere"), sleep=lambda _: None)


class FifoTopic(Topic):
    suffix = ".fifo"


@pytest.fixture(params=["file", "sns", "sns fifo"])
def world(request, tmp_path):
    if request.param == "file":
        return File(tmp_path)
    return {"sns": Topic, "sns fifo": FifoTopic}[request.param](request.getfixturevalue("aws"))


def test_an_alert_arrives_as_it_was_sent(world):
    """What programs read on the other side is the contract's JSON, field by field."""
    world.sink.send(ALERT)
    assert world.received() == [ALERT]


def test_with_ocsf_a_detection_finding_arrives(world):
    """The same alert in the other form."""
    world.ocsf().send(ALERT)
    assert world.received() == [detection_finding(ALERT)]


def test_alerts_arrive_in_the_number_they_were_sent(world):
    """Each state of an alert is a message of its own."""
    states = ["opened", "updated", "closed"]
    for state in states:
        world.sink.send(ALERT | {"state": state})
    assert sorted(alert["state"] for alert in world.received()) == sorted(states)


@pytest.mark.parametrize(
    "text",
    ["line\nbreak", "\x00\x1b[2J", "\u202e\ufffe\U0001f4a5", "\ud800", '"\\', "<x>&amp;", "a" * 2000],
    ids=["newline", "control", "beyond", "surrogate", "quotes", "markup", "long"],
)
def test_hostile_text_arrives_and_breaks_nothing(world, text):
    """Session names, keys and user agents of any characters neither stop an alert nor change another field."""
    alert = ALERT | {"title": text, "group": {"session": text}, "principal": {"account": text}}
    world.sink.send(alert)
    assert world.received() == [alert]


def test_a_place_that_cannot_be_written_is_an_edge_error_with_a_remedy(world):
    """The alert is not lost silently: the caller hears that it was not sent, and why."""
    with pytest.raises(EdgeError) as caught:
        world.broken().send(ALERT)
    assert caught.value.remedy


def test_a_sink_has_a_name(world):
    """Metrics and logs tell sinks apart by name."""
    assert world.sink.name.partition(":")[0] in ("file", "sns")
