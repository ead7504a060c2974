"""Laws of publications: never larger than SNS takes, mail in plain words, one id a sending."""

import json

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from detector.aws import topic
from detector.aws.topic import LARGEST, SnsSink, publication
from detector.errors import EdgeError, InputError
from detector.ocsf import detection_finding

ARN = "arn:aws-cn:sns:cn-north-1:111122223333:alerts"
ALERT = {
    "alert_id": "a-1",
    "rule_id": "bulk",
    "title": "Bulk read",
    "severity": "high",
    "state": "opened",
    "sent_at": "2026-05-01T09:06:00Z",
    "group": {"session": "arn:aws:sts::1:assumed-role/R/n"},
    "principal": {"account": "111122223333"},
    "evidence": {"requests": 5, "sample_keys": ["k"]},
    "plan": {"commands": ["aws iam put-role-policy --role-name=R"]},
}


def size(request):
    attributes = request["MessageAttributes"].items()
    return (
        len(request["Message"].encode())
        + len(request["Subject"])
        + sum(len(k) + len(v["DataType"]) + len(v["StringValue"].encode()) for k, v in attributes)
    )


def default(request):
    return json.loads(json.loads(request["Message"])["default"])


def test_mail_is_plain_words_and_programs_get_json():
    """Two texts in one message: the contract's JSON, and words that name who, what and one command."""
    request = publication(ALERT, ARN)
    assert request["MessageStructure"] == "json"
    assert default(request) == ALERT
    mail = json.loads(request["Message"])["email"]
    assert "put-role-policy" in mail
    assert "assumed-role/R/n" in mail
    assert not mail.startswith("{")


def test_attributes_leave_out_what_is_empty():
    """SNS refuses an attribute without a value: what is unknown is left out."""
    request = publication(ALERT | {"principal": None, "severity": ""}, ARN)
    assert set(request["MessageAttributes"]) == {"rule_id", "state"}
    assert set(publication(ALERT, ARN)["MessageAttributes"]) == {"rule_id", "severity", "state", "account"}


@given(st.text(), st.text(max_size=400))
def test_subjects_are_what_sns_takes(title, name):
    """ASCII, one line, under a hundred characters, whatever a session is called."""
    subject = publication(ALERT | {"title": title, "group": {"session": name}}, ARN)["Subject"]
    assert subject.isascii()
    assert subject.isprintable()
    assert 0 < len(subject) < 100


@pytest.mark.parametrize("text", ["x", '"', "\\", "\u00fc", "\U0001f4a5", "\x00"], ids=ascii)
def test_a_large_alert_loses_its_lists_first(text):
    """Evidence lists go first and the alert says so; counts and the plan stay. Escaping counts."""
    keys = {"requests": 5, "sample_keys": [text * 20_000] * 20}
    request = publication(ALERT | {"evidence": keys}, ARN)
    assert size(request) <= LARGEST
    pointer = "the whole is in the journal, the entries of alert_id a-1"
    assert default(request) == ALERT | {"evidence": {"requests": 5}, "truncated": True, "whole_at": pointer}
    assert pointer in json.loads(request["Message"])["email"]


@pytest.mark.parametrize(
    "field", ["title", "explanation", "group", "plan", "principal", "evidence", "runbook", "digest"]
)
def test_no_field_makes_an_alert_unsendable(field):
    """However large one part is, the alert goes out, with its identity whole."""
    big = "\U0001f4a5" * 300_000
    value = {"session": big, "account": big, "commands": [big], "first": [{"group": {"session": big}}]}
    if field in ("title", "explanation", "runbook"):
        value = big
    request = publication(ALERT | {field: value, "sequence": 7}, ARN)
    assert size(request) <= LARGEST
    assert size(publication(ALERT | {field: value}, ARN, ocsf=True)) <= LARGEST
    sent = default(request)
    assert sent["truncated"] is True
    assert sent["whole_at"] == "the whole is in the journal, entry 7 of alert_id a-1"
    assert (sent["alert_id"], sent["rule_id"], sent["state"]) == ("a-1", "bulk", "opened")


def test_a_command_is_whole_or_absent():
    """A command is never sent cut in the middle: somebody might run it."""
    command = "aws iam put-role-policy " + "x" * 3000
    request = publication(ALERT | {"plan": {"commands": [command]}, "explanation": "y" * 300_000}, ARN)
    assert default(request)["plan"]["commands"] == [command]


def test_a_long_runbook_leaves_the_mail_whole_before_it():
    """What is cut from a mail is its end: who, how much and the command stay, whole lines of them."""
    request = publication(ALERT | {"runbook": "\u00fc" * 900 + "\n" + "step\n" * 50 + "\U0001f4a5" * 90_000}, ARN)
    mail = json.loads(request["Message"])["email"]
    assert size(request) <= LARGEST
    assert "aws iam put-role-policy --role-name=R\n" in mail


def test_an_account_that_is_only_a_group_is_an_attribute():
    """A rule that counts by account has no single principal, and filters want its account all the same."""
    request = publication(ALERT | {"principal": None, "group": {"account": "444455556666"}}, ARN)
    assert request["MessageAttributes"]["account"]["StringValue"] == "444455556666"


def test_programs_behind_an_ocsf_topic_get_a_detection_finding_and_people_the_same_mail():
    """Only the default text differs."""
    plain, ocsf = publication(ALERT, ARN), publication(ALERT, ARN, ocsf=True)
    assert default(ocsf) == detection_finding(ALERT)
    assert json.loads(ocsf["Message"])["email"] == json.loads(plain["Message"])["email"]
    assert ocsf["MessageAttributes"] == plain["MessageAttributes"]


def test_a_fifo_topic_gets_one_group_an_alert_and_one_id_a_sending():
    """States of an alert keep their order, a repeated sending is recognised, another sending is not."""
    fifo = ARN + ".fifo"
    first, again = publication(ALERT, fifo), publication(dict(ALERT), fifo)
    later = publication(ALERT | {"sent_at": "2026-05-01T09:07:00Z"}, fifo)
    closed = publication(ALERT | {"state": "closed"}, fifo)
    assert first["MessageGroupId"] == closed["MessageGroupId"] == "a-1"
    assert first["MessageDeduplicationId"] == again["MessageDeduplicationId"]
    second = publication(ALERT | {"sequence": 2}, fifo)
    third = publication(ALERT | {"sequence": 3}, fifo)
    ids = {r["MessageDeduplicationId"] for r in (first, later, closed, second, third)}
    assert len(ids) == 5
    assert all(len(one) <= 128 and one.isalnum() for one in ids)
    assert "MessageGroupId" not in publication(ALERT, ARN)


class Fails:
    """SNS that fails so many times."""

    def __init__(self, code, times) -> None:
        self.code, self.times, self.calls = code, times, 0

    def publish(self, **_):
        self.calls += 1
        if self.calls <= self.times:
            raise ClientError({"Error": {"Code": self.code}, "ResponseMetadata": {"HTTPStatusCode": 429}}, "Publish")


def sink(monkeypatch, server):
    monkeypatch.setattr(topic, "client", lambda *_, **__: server)
    return SnsSink(ARN, sleep=lambda _: None)


@pytest.mark.parametrize("code", ["Throttled", "KMSThrottling"])
def test_what_botocore_does_not_retry_is_retried(monkeypatch, code):
    """Two answers that only ask to wait are tried again, a bounded number of times, then told."""
    server = Fails(code, 3)
    sink(monkeypatch, server).send(ALERT)
    assert server.calls == 4
    with pytest.raises(EdgeError) as caught:
        sink(monkeypatch, Fails(code, 99)).send(ALERT)
    assert caught.value.retryable


def test_a_refusal_is_not_repeated(monkeypatch):
    """A missing permission is told at once."""
    server = Fails("AuthorizationError", 99)
    with pytest.raises(EdgeError):
        sink(monkeypatch, server).send(ALERT)
    assert server.calls == 1


@pytest.mark.parametrize(
    "arn", ["", "alerts", "arn:aws:sqs:us-east-1:111122223333:q", ARN + ":subscription", ARN + "\n"]
)
def test_what_is_no_topic_is_the_users_mistake(arn):
    """A wrong ARN is found at start, not at the first alert."""
    with pytest.raises(InputError):
        SnsSink(arn)
