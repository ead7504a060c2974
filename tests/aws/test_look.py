"""Laws of doctor's questions: what may be asked is a table, and what AWS refuses is an answer."""

import json
import re
from pathlib import Path

import boto3
import pytest

from detector.aws import look
from detector.aws.look import QUESTIONS, Look
from tests.aws.test_session import answer

OPERATOR = (Path(__file__).resolve().parents[2] / "docs/operator.md").read_text("utf-8")
WRITING = {"s3:put_object", "s3:delete_object", "sts:assume_role"}


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_is_an_operation_of_its_service(question):
    service, _, operation = question.partition(":")
    made = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    assert operation in made.meta.method_to_api_mapping
    if QUESTIONS[question].pages:
        assert made.can_paginate(operation)


def test_questions_read_but_for_the_three_that_are_named():
    reading = re.compile(r"(get|list|describe)_")
    assert {one for one in QUESTIONS if not reading.match(one.partition(":")[2])} == WRITING


def test_the_policy_shown_allows_every_question_and_nothing_else():
    """One statement for reading, one for probing; a caller's identity needs no permission."""
    section = OPERATOR.split("## Doctor")[1].split("\n## ")[0]
    [policy] = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", section, re.DOTALL)]
    given = {action for one in policy["Statement"] for action in one["Action"]}
    unseen = {"kms:Decrypt", "kms:GenerateDataKey"}
    assert given - unseen == {one.action for one in QUESTIONS.values()} - {"sts:GetCallerIdentity"}


class Scripted:
    """A service whose answers are written down."""

    def __init__(self, found) -> None:
        self.found, self.asked = found, 0

    def can_paginate(self, operation):
        return False

    def __getattr__(self, operation):
        def call(**arguments):
            self.asked += 1
            if isinstance(self.found, Exception):
                raise self.found
            return dict(self.found)

        return call


@pytest.mark.parametrize(
    ("code", "status", "why"),
    [
        ("AccessDenied", 403, "denied"),
        ("AuthorizationError", 403, "denied"),
        ("SomethingNew", 403, "denied"),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, "absent"),
        ("TrailNotFoundException", 404, "absent"),
        ("NoSuchBucket", 404, "absent"),
        ("PreconditionFailed", 412, "failed"),
        ("InternalError", 500, "failed"),
    ],
)
def test_a_refusal_says_of_what_kind_it_is_and_what_would_allow_it(monkeypatch, code, status, why):
    monkeypatch.setattr(look, "client", lambda *_, **__: Scripted(answer(code, status)))
    got = Look()("cloudtrail:get_trail_status", Name="t")
    assert (got.found, got.why, got.code, got.action) == (None, why, code, "cloudtrail:GetTrailStatus")
    assert code in got.told


def test_the_same_question_is_put_once(monkeypatch):
    server = Scripted({"trailList": []})
    monkeypatch.setattr(look, "client", lambda *_, **__: server)
    ask = Look()
    assert ask("cloudtrail:describe_trails") == ask("cloudtrail:describe_trails")
    assert server.asked == 1
    ask("cloudtrail:describe_trails", region="eu-west-1")
    assert server.asked == 2


def test_credentials_of_an_assumed_role_are_let_go(monkeypatch):
    monkeypatch.setattr(look, "client", lambda *_, **__: Scripted({"Credentials": {"SecretAccessKey": "s"}, "x": 1}))
    assert Look()("sts:assume_role", RoleArn="r").found == {"x": 1}


def test_nothing_is_asked_that_is_not_in_the_table():
    with pytest.raises(KeyError):
        Look()("iam:create_user", UserName="x")
