"""Laws of AWS errors: every failure of an edge says whether trying again can help, and what to do."""

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)

from detector.aws.session import client, code_of, edge
from detector.errors import EdgeError


def answer(code, status=400, message="said"):
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Op"
    )


CASES = [
    (answer("Throttled", 429), True),
    (answer("KMSThrottling"), True),
    (answer("RequestThrottled"), True),
    (answer("SlowDown", 503), True),
    (answer("InternalError", 500), True),
    (answer("ExpiredToken", 403), True),
    (answer("NeverHeardOf", 503), True),
    (answer("NeverHeardOf", 429), True),
    (answer("NeverHeardOf", 400), False),
    (answer("AccessDenied", 403), False),
    (answer("AuthorizationError", 403), False),
    (answer("NoSuchKey", 404), False),
    (answer("NoSuchBucket", 404), False),
    (answer("KMSDisabled"), False),
    (answer("LimitExceeded", 409), False),
    (answer("UnmodifiableEntity"), False),
    (NoCredentialsError(), False),
    (ParamValidationError(report="x"), False),
    (EndpointConnectionError(endpoint_url="http://x"), True),
    (ConnectTimeoutError(endpoint_url="http://x"), True),
    (CredentialRetrievalError(provider="container-role", error_msg="timed out"), True),
    (ReadTimeoutError(endpoint_url="http://x"), True),
    (IncompleteReadError(actual_bytes=1, expected_bytes=2), True),
    (ConnectionResetError(104, "reset"), True),
]


@pytest.mark.parametrize(("error", "retryable"), CASES, ids=lambda v: str(v)[:60] if isinstance(v, Exception) else "")
def test_every_failure_says_whether_trying_again_helps(error, retryable):
    """Codes are judged by the table, unknown ones by their status; each has a remedy and keeps its cause."""
    with pytest.raises(EdgeError) as caught, edge("do it", where="there"):
        raise error
    assert caught.value.retryable is retryable
    assert caught.value.remedy
    assert caught.value.__cause__ is error


def test_a_message_of_aws_cannot_act_on_a_terminal():
    """AWS repeats names it was given: control characters in them are escaped."""
    with pytest.raises(EdgeError) as caught, edge("do it", where="a\x1b[2J"):
        raise answer("NoSuchKey", 404, "key \x1b[2J\n does not exist")
    assert caught.value.what.isprintable()
    assert caught.value.where.isprintable()


def test_the_code_is_known_behind_an_edge_error():
    """Callers decide by AWS's own code, through our error; other errors have none."""
    with pytest.raises(EdgeError) as caught, edge("do it"):
        raise answer("NoSuchEntity", 404)
    assert code_of(caught.value) == "NoSuchEntity"
    assert code_of(ValueError()) == code_of(None) == ""


def test_our_own_errors_pass_unchanged():
    """An EdgeError raised inside is not wrapped again."""
    ours = EdgeError("x")
    with pytest.raises(EdgeError) as caught, edge("do it"):
        raise ours
    assert caught.value is ours


def test_a_client_is_pinned_and_goes_where_the_environment_says(aws, monkeypatch):
    """Retries and time limits do not change with botocore; AWS_ENDPOINT_URL and AWS_REGION are honoured."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", "http://127.0.0.1:9")
    sqs, sns = client("sqs"), client("sns")
    assert sqs.meta.endpoint_url == aws.url
    assert sns.meta.endpoint_url == "http://127.0.0.1:9"
    assert sqs.meta.region_name == "eu-west-1"
    assert sqs.meta.config.retries["mode"] == "standard"
    assert sqs.meta.config.retries["total_max_attempts"] == 5
    assert (sqs.meta.config.connect_timeout, sqs.meta.config.read_timeout) == (5, 30)


def test_without_a_region_the_remedy_names_the_variable(aws, monkeypatch):
    """A missing region is said as such."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(EdgeError, match="AWS_REGION"):
        client("sqs")
