"""Laws of the journal in S3 that a file does not have: lost replies, races, locks, and what an auditor finds."""

from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from detector.aws import journal
from detector.aws.journal import Lock, S3Journal, examine
from detector.errors import EdgeError, StateError, UnreadablePathError
from tests.contract.test_journal import entry

PREFIX = "deep/journal"


@pytest.fixture
def bucket(aws):
    name = aws.name("journal")
    aws.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3(aws):
    return aws.client("s3")


def opened(bucket, **more) -> S3Journal:
    return S3Journal(bucket, PREFIX, **({"sleep": lambda _: None} | more))


def keys(s3, bucket):
    return [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


class Faulty:
    """A client whose next calls of one operation fail: `before` or `after` they took effect, or with a code."""

    def __init__(self, inner, operation, *faults) -> None:
        self._inner, self._operation, self.faults, self.calls = inner, operation, list(faults), []

    def __getattr__(self, name):
        self.calls.append(name)
        found = getattr(self._inner, name)
        return self._failing(found) if name == self._operation else found

    def _failing(self, call):
        def failing(**arguments):
            fault = self.faults.pop(0) if self.faults else ""
            if fault == "after":
                call(**arguments)
            if fault in ("before", "after"):
                raise ConnectionResetError(104, "reset")
            if fault:
                raise ClientError({"Error": {"Code": fault}, "ResponseMetadata": {"HTTPStatusCode": 409}}, "PutObject")
            return call(**arguments)

        return failing


def faulty(opened, operation, *faults) -> Faulty:
    opened._objects._client = made = Faulty(opened._objects._client, operation, *faults)
    return made


@pytest.mark.parametrize(
    "faults",
    [
        ["before"],
        ["after"],
        ["before", "after"],
        ["ConditionalRequestConflict"],
        ["ConditionalRequestConflict", "after"],
    ],
    ids=" ".join,
)
def test_a_lost_request_or_reply_and_a_race_with_nobody_leave_one_entry(bucket, faults):
    """What was written all the same is recognised as ours; what was not is written again."""
    made = opened(bucket)
    made.append([entry(1)])
    faulty(made, "put_object", *faults)
    made.append([entry(2), entry(3)])
    made.append([entry(4)])
    assert examine(bucket, PREFIX) == ([], made.head, False, ())
    assert made.head.seq == 4


def test_what_cannot_be_written_is_told_and_can_be_written_later(bucket):
    """An outage is an error with a remedy; the same append then goes on where the journal ends."""
    made = opened(bucket)
    faulty(made, "put_object", *["before"] * 4)
    with pytest.raises(StateError) as caught:
        made.append([entry(1)])
    assert caught.value.remedy
    made.append([entry(1)])
    assert examine(bucket, PREFIX).problems == []


def test_the_end_of_a_long_journal_is_found_without_reading_it(bucket, s3):
    """With the checkpoint's mark one listing and one read; without, some forty listings of a few names."""
    written = opened(bucket)
    written.append([entry(1)])
    for n in range(2, 120):
        s3.put_object(Bucket=bucket, Key=f"{PREFIX}/{n:020d}.jsonl", Body=b"")
    last = opened(bucket)
    last.seek(119)
    s3.put_object(Bucket=bucket, Key=f"{PREFIX}/{120:020d}.jsonl", Body=s3.get_object(
        Bucket=bucket, Key=f"{PREFIX}/{0:020d}.jsonl")["Body"].read())  # fmt: skip
    watched = faulty(last, "nothing")
    assert last.head.seq == 1
    assert watched.calls == ["get_object_lock_configuration", "list_objects_v2", "get_object"]
    for mark in (0, 5_000):
        again = opened(bucket)
        again.seek(mark)
        watched = faulty(again, "nothing")
        assert again.mark in (0, mark)
        assert again.head.seq == 1
        assert again.mark == 120
        assert watched.calls.count("get_object") == 1
        assert watched.calls.count("list_objects_v2") < 25


def test_a_large_append_is_cut_into_objects(bucket, s3, monkeypatch):
    """Neither an object nor an entry's distance from its object's name grows without bound."""
    monkeypatch.setattr(journal, "ENTRIES", 10)
    monkeypatch.setattr(journal, "BYTES", 3000)
    made = opened(bucket)
    made.append([entry(n, x="y" * 100) for n in range(1, 41)])
    made.append([entry(41, x="y" * 9000), entry(42)])
    assert len(keys(s3, bucket)) >= 6
    assert examine(bucket, PREFIX).problems == []
    again = opened(bucket)
    again.append([entry(n, x="y" * 100) for n in range(15, 41)] + [entry(41, x="y" * 9000), entry(42), entry(43)])
    assert again.head.seq == 43
    assert examine(bucket, PREFIX).problems == []


def tampered(s3, bucket, name):
    names = keys(s3, bucket)
    body = s3.get_object(Bucket=bucket, Key=names[1])["Body"].read()
    third = s3.get_object(Bucket=bucket, Key=names[2])["Body"].read()
    acts = {
        "an edit": lambda: s3.put_object(Bucket=bucket, Key=names[1], Body=body.replace(b'"n":3', b'"n":9')),
        "an object cut out": lambda: s3.delete_object(Bucket=bucket, Key=names[1]),
        "the first object cut out": lambda: s3.delete_object(Bucket=bucket, Key=names[0]),
        "two objects changed over": lambda: (
            s3.put_object(Bucket=bucket, Key=names[1], Body=third),
            s3.put_object(Bucket=bucket, Key=names[2], Body=body),
        ),
        "an object twice": lambda: s3.put_object(Bucket=bucket, Key=f"{PREFIX}/{77:020d}.jsonl", Body=body),
        "a strange object": lambda: s3.put_object(Bucket=bucket, Key=f"{PREFIX}/notes.txt", Body=b"x"),
        "a strange object below": lambda: s3.put_object(Bucket=bucket, Key=f"{PREFIX}/a/{4:020d}.jsonl", Body=b"x"),
        "a line cut out": lambda: s3.put_object(Bucket=bucket, Key=names[1], Body=body.splitlines(keepends=True)[0]),
        "a torn end": lambda: s3.put_object(Bucket=bucket, Key=names[1], Body=body[:-4]),
        "an empty object": lambda: s3.put_object(Bucket=bucket, Key=names[3], Body=b""),
    }  # fmt: skip
    acts[name]()


@pytest.mark.parametrize(
    "name",
    [
        "an edit", "an object cut out", "the first object cut out", "two objects changed over", "an object twice",
        "a strange object", "a strange object below", "a line cut out", "a torn end", "an empty object",
    ],
)  # fmt: skip
def test_tampering_shows_and_says_where(bucket, s3, name):
    """Every object that is changed, missing, repeated or none of ours is named."""
    made = opened(bucket)
    for n in range(1, 9, 2):
        made.append([entry(n, n=n), entry(n + 1, n=n + 1)])
    assert examine(bucket, PREFIX).problems == []
    tampered(s3, bucket, name)
    problems = examine(bucket, PREFIX).problems
    assert problems
    assert all(problem.startswith(f"{PREFIX}/") for problem in problems)


def test_in_a_versioned_bucket_a_chain_written_anew_and_a_cut_at_the_end_show(bucket, s3):
    """What is overwritten or deleted leaves a version behind, and the auditor hears of it."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made = opened(bucket)
    made.append([entry(1, a=1)])
    made.append([entry(2)])
    assert examine(bucket, PREFIX).problems == []
    last = keys(s3, bucket)[-1]
    s3.delete_object(Bucket=bucket, Key=last)
    (told,) = examine(bucket, PREFIX).problems
    assert told.startswith(last)
    assert "2 versions" in told


def test_a_strange_object_does_not_hide_the_end(bucket, s3):
    """Names that are none of ours before, among and after ours are passed over when the end is looked for."""
    made = opened(bucket)
    for n in range(1, 6):
        made.append([entry(n)])
    for name in ("!", f"{3:020d}.jsonl.bak", "zzz"):
        s3.put_object(Bucket=bucket, Key=f"{PREFIX}/{name}", Body=b"x")
    for mark in (0, 2, 99):
        again = opened(bucket)
        again.seek(mark)
        assert again.head == made.head


# --- object lock


@pytest.fixture
def locked(aws):
    name = aws.name("journal")
    aws.client("s3").create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


NOW = datetime(2026, 5, 1, 9, tzinfo=UTC)


def retention(s3, bucket):
    found = s3.head_object(Bucket=bucket, Key=keys(s3, bucket)[0])
    return found["ObjectLockMode"], found["ObjectLockRetainUntilDate"] - NOW


@pytest.mark.parametrize(
    ("lock", "expected"),
    [
        (Lock(), ("GOVERNANCE", timedelta(days=365))),
        (Lock(30 * 86_400, "COMPLIANCE"), ("COMPLIANCE", timedelta(days=30))),
    ],
)
def test_where_the_bucket_has_object_lock_every_object_is_retained(locked, s3, lock, expected):
    """A year, or what the config says."""
    S3Journal(locked, PREFIX, lock, clock=NOW.timestamp).append([entry(1)])
    assert retention(s3, locked) == expected


def test_the_buckets_own_rule_is_left_alone(locked, s3, monkeypatch):
    """Where the bucket retains by itself and the config says nothing, nothing is asked for."""
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 7}}
    s3.put_object_lock_configuration(
        Bucket=locked, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    made = opened(locked)
    asked = {}
    monkeypatch.setattr(made._objects, "put", lambda _number, _body, terms: asked.update(terms))
    made.append([entry(1)])
    assert asked == {}


def test_retention_without_object_lock_is_a_mistake_that_is_said(bucket):
    """A promise that the bucket cannot keep."""
    with pytest.raises(StateError, match="no object lock") as caught:
        opened(bucket, lock=Lock(86_400)).append([entry(1)])
    assert caught.value.remedy


def test_a_bucket_that_is_not_there_is_told(aws):
    """At the first use, with a remedy; and to the auditor, who named it."""
    with pytest.raises(StateError) as caught:
        _ = opened(aws.name("nowhere")).head
    assert caught.value.remedy
    with pytest.raises(EdgeError):
        examine(aws.name("nowhere"), PREFIX)


def test_where_nothing_is_there_is_no_journal(bucket):
    """An empty prefix is no whole journal: the auditor has named the wrong place, or all of it is gone."""
    with pytest.raises(UnreadablePathError):
        examine(bucket, PREFIX)
