"""CloudTrail records written by AWS: every one is read, and the sums agree with those computed in SQL."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from msgspec import convert

from detector.core.access import Outcome, Skip
from detector.core.builder import BatchBuilder
from detector.core.times import epoch
from detector.logs.documents import Trouble, records
from detector.logs.event_columns import outcome
from detector.logs.inflate import inflate
from detector.logs.read import CLOUDTRAIL, read
from detector.logs.record import WHOLE, Identity
from tests.real_logs import REAL_LOGS, needs_real_logs
from tests.records import taken

pytestmark = needs_real_logs
OTRF = "otrf/ec2_proxy_s3_exfiltration_2020-09-14011940"
S3 = "s3.amazonaws.com"


def files(pattern):
    """The real files of a pattern, in order; there are some."""
    found = sorted((REAL_LOGS / "cloudtrail").glob(pattern))
    assert found
    return found


def rows_of(pattern):
    """All rows of these files, none of which is damaged or has a reject."""
    into = BatchBuilder()
    for path in files(pattern):
        assert read(path.read_bytes(), path.name, into)[:3] == (CLOUDTRAIL, "", "")
    assert into.rejects == []
    return taken(into)[0]


def records_of(pattern):
    """All records of these files as decoded."""
    found = [one for path in files(pattern) for one in records(inflate(path.read_bytes()).data, WHOLE)]
    assert not any(isinstance(one, Trouble) for one in found)
    return found


def oracle(name):
    """Sums of the same records, computed in SQL."""
    return json.loads((REAL_LOGS / "expected" / f"{name}.oracle.json").read_text())


CASES = pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("invictus/*.json.gz", "invictus"),
        (f"{OTRF}.json.gz", OTRF.replace("/", "_")),
        (f"{OTRF}.jsonl", OTRF.replace("/", "_")),
    ],
)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("invictus/*.gz", 2900), ("stratus/*.gz", 310), ("splunk/*.gz", 48), (f"{OTRF}.*", 206)],
)
def test_every_real_record_is_read(pattern, count):
    """No real record is rejected, whatever service it is of."""
    assert len(rows_of(pattern)) == count


@CASES
def test_counts_ids_and_times_agree_with_sql(pattern, name):
    """Records, distinct dedup ids, first and last event time."""
    rows, expected = rows_of(pattern), oracle(name)
    times = [row.time for row in rows]
    found = (len(rows), len({row.id for row in rows}), min(times), max(times))
    assert found == tuple(expected[k] for k in ("records", "distinct_event_ids", "first", "last"))


@CASES
def test_names_errors_and_identities_agree_with_sql(pattern, name):
    """API names of S3, error codes, and identities by type, `invokedBy` and missing arn."""
    records, expected = records_of(pattern), oracle(name)
    names = Counter(one.eventName for one in records if one.eventSource == S3)
    errors = Counter((one.eventName, one.errorCode) for one in records if one.errorCode)
    everybody = [json.loads(bytes(one.userIdentity)) for one in records]
    who = [convert(one, Identity, strict=False) for one in everybody if one]
    kinds = Counter((one.type, bool(one.invokedBy), one.arn is None) for one in who)
    assert names == dict(expected["s3_by_name"])
    assert all(errors[api, code] == count for api, code, count in expected["errors"])
    assert kinds == {(kind, bool(by), bool(no_arn)): n for kind, by, no_arn, n in expected["identity_types"]}


@CASES
def test_access_events_are_the_s3_calls_and_what_belongs_to_them(pattern, name):
    """Every S3 API call is an access event; whoever made it has a value at every level."""
    calls = Counter(dict(oracle(name)["s3_by_name"]))
    events = [row for row in rows_of(pattern) if row.skip is Skip.no]
    assert not calls - Counter(row.api for row in events)
    assert all(row.who and row.who.session and row.who.role and row.who.account for row in events)


def test_objects_read_with_stolen_keys_agree_with_sql():
    """GetObject per principal: number, bytes, first and last."""
    rows = [row for row in rows_of(f"{OTRF}.json.gz") if row.api == "GetObject"]
    (expected,) = oracle(OTRF.replace("/", "_"))["getobject_by_principal"]
    times = [row.time for row in rows]
    assert rows[0].who is not None
    assert expected[0] == rows[0].who.session_shown
    assert expected[1:] in ([len(rows), n, sum(r.bytes for r in rows), min(times), max(times)] for n in (1, 2))


def test_the_export_and_the_trail_file_hold_the_same_records():
    """`@timestamp` lines and the gzipped array of the same data set give the same rows, whatever their order."""
    assert sorted(rows_of(f"{OTRF}.json.gz"), key=repr) == sorted(rows_of(f"{OTRF}.jsonl"), key=repr)


def test_a_real_copy_is_a_read_of_its_source():
    """Splunk's CopyObject: source bucket and key, destination and key of the new encryption."""
    (row,) = [row for row in rows_of("splunk/*.gz") if row.api == "CopyObject"]
    assert (row.bucket, row.key) == ("patricktestbucketencrypt", "kms_aws_events.json")
    assert row.destination == "patricktestbucketencrypt"
    assert row.kms_key == "arn:aws:kms:us-west-2:111111111111:key/f2a82583-a7d3-4c92-8787-fe2baab1cee1"


def test_a_real_service_event_of_s3_is_no_access():
    """A batch job's state change is `AwsServiceEvent`: nobody asked for anything."""
    (found,) = [one for one in records_of("splunk/*.gz") if one.eventName == "JobCreated"]
    (row,) = [
        row for row in rows_of("splunk/*.gz") if row.skip is Skip.service_event and row.time == epoch(found.eventTime)
    ]
    assert found.eventType == "AwsServiceEvent"
    assert row.id
    assert row.api is None


def test_denials_in_real_records_are_denied():
    """The error codes of real refusals are told from other errors."""
    codes = {one.errorCode for one in records_of("invictus/*.gz") if one.errorCode}
    assert {code for code in codes if outcome(code) is Outcome.denied} == {
        "AccessDenied",
        "Client.UnauthorizedOperation",
    }
