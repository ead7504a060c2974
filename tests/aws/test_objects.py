"""Laws of fetching: a body that breaks off is read anew, a wrong length never counts, no object fills the memory."""

import io

import pytest
from botocore.exceptions import IncompleteReadError, ResponseStreamingError

from detector.aws import objects
from detector.aws.objects import ATTEMPTS, S3Objects
from detector.errors import EdgeError
from tests.aws.test_session import answer
from tests.faults import FaultyServer


class Body(io.BytesIO):
    def __init__(self, content, error=None) -> None:
        super().__init__(content)
        self.error = error

    def read(self, size=-1):
        chunk = super().read(size)
        if not chunk and self.error:
            raise self.error
        return chunk


class Scripted:
    def __init__(self, *answers) -> None:
        self.answers, self.asked = list(answers), []

    def get_object(self, **request):
        self.asked.append(request)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return {"Body": found, "ContentLength": len(found.getvalue())}

    def close(self):
        pass


@pytest.fixture
def fetcher(monkeypatch):
    def make(server, **options):
        monkeypatch.setattr(objects, "client", lambda *_, **__: server)
        return S3Objects(sleep=lambda _: None, **options)

    return make


BROKEN = [IncompleteReadError(actual_bytes=1, expected_bytes=9), ResponseStreamingError(error="reset"), OSError("x")]


@pytest.mark.parametrize("error", BROKEN, ids=lambda e: type(e).__name__)
def test_a_body_that_breaks_off_is_read_anew(fetcher, error):
    """botocore's retries end before the body: half a log is never taken for a whole one."""
    assert fetcher(Scripted(Body(b"ha", error), Body(b"whole"))).fetch("b", "k") == b"whole"


def test_it_gives_up_after_a_bound_and_says_that_later_may_help(fetcher):
    """An endless fault ends in a retryable error: the message comes again."""
    server = Scripted(*(Body(b"ha", BROKEN[0]) for _ in range(ATTEMPTS)), Body(b"too late"))
    with pytest.raises(EdgeError) as caught:
        fetcher(server).fetch("b", "k")
    assert caught.value.retryable
    assert len(server.asked) == ATTEMPTS


@pytest.mark.parametrize(
    "code", ["NoSuchKey", "NoSuchBucket", "AccessDenied", "InvalidObjectState", "KMS.DisabledException"]
)
def test_a_refusal_is_not_repeated_and_says_what_to_do(fetcher, code):
    """What will not heal by itself is told at once, with where and a remedy."""
    server = Scripted(answer(code, 403))
    with pytest.raises(EdgeError) as caught:
        fetcher(server).fetch("b", "k\n")
    assert not caught.value.retryable
    assert caught.value.remedy
    assert caught.value.where == "s3://b/k\\n"
    assert len(server.asked) == 1


def test_an_object_larger_than_the_bound_is_refused(fetcher):
    """Nobody can fill the daemon's memory by putting a huge object beside the logs."""
    with pytest.raises(EdgeError, match="more than 4 bytes") as caught:
        fetcher(Scripted(Body(b"12345")), largest=4).fetch("b", "k")
    assert not caught.value.retryable
    assert fetcher(Scripted(Body(b"1234")), largest=4).fetch("b", "k") == b"1234"


def test_a_wrong_length_does_not_help(fetcher):
    """The bound holds for the bytes that come, not for what their header says."""

    class Lies(Scripted):
        def get_object(self, **request):
            return super().get_object(**request) | {"ContentLength": 1}

    with pytest.raises(EdgeError, match="more than 4 bytes"):
        fetcher(Lies(Body(b"12345")), largest=4).fetch("b", "k")


def test_the_announced_version_is_read(aws):
    """With versioning the very version that was announced is read, not its successor; an ETag reads what is there."""
    s3, bucket = aws.client("s3"), aws.name("logs")
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"first")
    s3.put_object(Bucket=bucket, Key="k", Body=b"second")
    fetcher = S3Objects()
    assert fetcher.fetch(bucket, "k", first["VersionId"]) == b"first"
    assert fetcher.fetch(bucket, "k") == fetcher.fetch(bucket, "k", first["ETag"]) == b"second"


def test_a_missing_bucket_and_key_are_told_apart(aws):
    """The real server's answers carry their own codes."""
    bucket = aws.name("logs")
    with pytest.raises(EdgeError, match="NoSuchBucket"):
        S3Objects().fetch(bucket, "k")
    aws.client("s3").create_bucket(Bucket=bucket)
    with pytest.raises(EdgeError, match="NoSuchKey"):
        S3Objects().fetch(bucket, "k")


def test_a_log_whose_body_breaks_off_on_the_wire_is_read_anew(aws, moto_server, monkeypatch):
    """Over a real connection: what urllib3 raises in the middle of a body ends nobody's daemon."""
    bucket = aws.bucket("logs")
    aws.client("s3").put_object(Bucket=bucket, Key="k", Body=b"whole" * 1000)
    with FaultyServer(moto_server) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.url)
        broken = faults.add("GET", "/k", times=2, cut=100)
        assert S3Objects(sleep=lambda _: None).fetch(bucket, "k") == b"whole" * 1000
    assert broken.times == 0
