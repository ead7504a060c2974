"""SNS as it answers when it does not want to: a stub on loopback that says what each request is told, and counts."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from detector.aws.topic import SnsSink
from detector.errors import EdgeError
from tests.aws.test_topic import ALERT, ARN
from tests.servers import Aws

DONE = b"<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult></PublishResponse>"


class Stub:
    """answers: (status, code) one after the other; then it takes everything. keys: the access key of each request."""

    def __init__(self) -> None:
        self.answers, self.keys, self.slow = [], [], 0.0
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                stub.keys.append(self.headers["Authorization"].split("Credential=")[1].split("/")[0])
                status, code = stub.answers.pop(0) if stub.answers else (200, "")
                time.sleep(stub.slow)
                told = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
                body = DONE if status == 200 else told.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def sns(monkeypatch, aws: Aws):
    stub = Stub()
    threading.Thread(target=stub.server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", stub.url)
    yield stub
    stub.server.shutdown()
    stub.server.server_close()


def sink(waits=None):
    return SnsSink(ARN, sleep=(waits if waits is not None else []).append)


@pytest.mark.parametrize(("status", "code"), [(429, "Throttled"), (400, "KMSThrottling")])
def test_what_asks_to_wait_is_tried_again_with_growing_pauses(sns, status, code):
    """Whether botocore tries again by itself (which differs by version) or not, we do, and in the end it is told."""
    sns.answers, waits = [(status, code)] * 3, []
    sink(waits).send(ALERT)
    assert len(sns.keys) == 4
    assert waits == sorted(waits)
    sns.answers, waits = [(status, code)] * 99, []
    with pytest.raises(EdgeError) as caught:
        sink(waits).send(ALERT)
    assert caught.value.retryable
    assert waits == [1.0, 2.0, 4.0]
    assert 4 + 4 <= len(sns.keys) <= 4 + 4 * 3


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "AuthorizationError"),
        (404, "NotFound"),
        (400, "InvalidParameter"),
        (400, "KMSDisabled"),
        (400, "KMSNotFound"),
        (400, "KMSAccessDenied"),
        (400, "KMSInvalidState"),
        (400, "EndpointDisabled"),
        (403, "InvalidClientTokenId"),
    ],
)
def test_what_waiting_does_not_mend_is_told_at_once(sns, status, code):
    """One request, an error that says it is for good, and what to do."""
    sns.answers = [(status, code)]
    with pytest.raises(EdgeError, match=code) as caught:
        sink().send(ALERT)
    assert not caught.value.retryable
    assert caught.value.remedy
    assert len(sns.keys) == 1


def test_a_server_error_is_left_to_botocore_and_then_to_the_spool(sns):
    """Three requests, no pauses of ours on top, and the caller hears that it may try again later."""
    sns.answers = [(500, "InternalError")] * 9
    with pytest.raises(EdgeError) as caught:
        sink().send(ALERT)
    assert caught.value.retryable
    assert len(sns.keys) == 3


@pytest.mark.parametrize(("status", "code"), [(403, "ExpiredToken"), (400, "RequestExpired")])
def test_expired_credentials_are_looked_for_anew_once(sns, status, code, monkeypatch):
    """Renewed ones are found without a restart; where there are none, the error says that it may pass."""
    topic = sink()
    topic.send(ALERT)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "renewed")
    sns.answers = [(status, code)]
    topic.send(ALERT)
    assert sns.keys == ["testing", "testing", "renewed"]
    sns.answers = [(status, code)] * 2
    with pytest.raises(EdgeError) as caught:
        topic.send(ALERT)
    assert caught.value.retryable
    assert len(sns.keys) == 5


def test_a_slow_answer_is_waited_for(sns):
    """Slow is not broken: one request, one message."""
    sns.slow = 0.5
    sink().send(ALERT)
    assert len(sns.keys) == 1
