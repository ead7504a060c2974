"""Tests inside rule files, in short form: what they say, what they leave out, what they must not say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from detector.core.access import COLUMNS, NUMBER_COLUMNS, TEXT_COLUMNS, Log, Operation, Outcome, Skip
from detector.core.acted import principal, records
from detector.core.addresses import joined, read_list
from detector.core.asked import ABSENT
from detector.core.example import Event, Example, Moment, span
from detector.core.rule import Where
from detector.core.select import Selector
from tests.records import rows_of

START = 1_777_626_000


def example(*events: dict[str, object], **more: object) -> Example:
    return Example.model_validate({"name": "a test", "events": events, "findings": ()} | more)


def rows(*events: dict[str, object], **more: object):
    return rows_of(records(example(*events, **more), COLUMNS))


def test_a_generator_makes_so_many_records_at_each_moment():
    made = rows({"count": 3, "every": "10s", "for": "30s", "at": "1m"})
    assert [row.time - START for row in made] == [60, 60, 60, 70, 70, 70, 80, 80, 80]
    assert len({row.id for row in made}) == len({row.key for row in made}) == 9


def test_an_event_that_says_nothing_is_one_plain_read():
    (row,) = rows({})
    assert (row.time, row.operation, row.outcome, row.skip) == (START, Operation.read, Outcome.success, Skip.no)
    assert (row.api, row.bucket, row.key, row.log) == ("GetObject", "ml-voice", "raw/1.wav", Log.cloudtrail)


def test_numbers_go_through_the_whole_test_and_may_go_round():
    made = rows({"count": 2, "key": "a/{n}"}, {"count": 3, "source_ip": "198.51.{n:2}.7", "at": "1s"})
    assert [row.key for row in made] == ["a/1", "a/2", "raw/3.wav", "raw/4.wav", "raw/5.wav"]
    assert [row.source_ip for row in made[2:]] == ["198.51.1.7", "198.51.0.7", "198.51.1.7"]


def test_times_may_be_said_as_a_clock_says_them():
    made = rows({"at": "2026-06-01T00:00:05Z"}, {"at": "1h30m"}, start="2026-06-01T00:00:00Z")
    assert sorted(row.time for row in made) == [1_780_272_005, 1_780_272_000 + 5400]


@pytest.mark.parametrize(
    ("by", "type_", "session", "role"),
    [
        ("vendors/Reader/c-42", "AssumedRole", "assumed-role/Reader/c-42", ":role/vendors/Reader"),
        ("c-42", "AssumedRole", "assumed-role/app/c-42", ":role/app"),
        ("user/dana", "IAMUser", ":user/dana", ":user/dana"),
        ("root", "Root", ":root", ":root"),
        ("anonymous", "anonymous", "anonymous@192.0.2.1", "anonymous"),
        ("service:athena.amazonaws.com", "AWSService", "service:athena.amazonaws.com", "service:athena.amazonaws.com"),
    ],
)
def test_who_is_said_shortly(by, type_, session, role):
    who = principal(by, address="192.0.2.1")
    assert who.type == type_
    assert who.session_shown.endswith(session)
    assert who.role_shown.endswith(role)


def test_sessions_of_one_role_share_it_and_nothing_else():
    one, other = principal("Reader/a"), principal("Reader/b")
    assert one.role == other.role != principal("Writer/a").role
    assert one.session != other.session


def test_calls_name_no_more_than_such_calls_do():
    """A listing has no key, a trail no bucket, a role that is assumed neither; said all the same, it is there."""
    made = {
        row.api: (row.bucket, row.key)
        for name in ("list", "StopLogging", "assume", "PutBucketPolicy", "decrypt", "DeleteObject", "ListBuckets")
        for row in rows({"operation": name})
    }
    assert made == {
        "ListObjects": ("ml-voice", None),
        "StopLogging": (None, None),
        "AssumeRole": (None, None),
        "PutBucketPolicy": ("ml-voice", None),
        "Decrypt": ("ml-voice", "raw/1.wav"),
        "DeleteObject": ("ml-voice", "raw/1.wav"),
        "ListBuckets": (None, None),
    }
    assert rows({"operation": "list", "key": "raw/"})[0].key == "raw/"
    assert rows({"key": None})[0].key is None


def test_an_access_logs_own_spelling_is_the_same_call():
    (row,) = rows({"operation": "REST.GET.OBJECT", "log": "server_access"})
    assert (row.api, row.operation, row.log_operation) == ("GetObject", Operation.read, "REST.GET.OBJECT")


def test_every_column_can_be_said():
    """Whatever a parser can fill, a test can state; what identities tell, too."""
    implied = {"api", "log_operation", "event_id", "request_id", "signed_at"}
    no_rule_asks = {"destination_key", "began", "began_arn", "began_key"}
    assert set(TEXT_COLUMNS) | set(NUMBER_COLUMNS) <= set(Event.model_fields) | implied | no_rule_asks


@pytest.mark.parametrize("name", sorted(set(Where.model_fields) - {"outcome", "log", "operation"}))
def test_whatever_a_rule_asks_for_an_event_can_be(name):
    """For each field of `where` there is an event that fits, and one that does not."""
    said = {
        "session": ({"by": "a/b"}, "*assumed-role/a/b"),
        "role": ({"by": "a/b"}, "*:role/a"),
        "account": ({"account": "444455556666"}, "444455556666"),
        "session_name": ({"by": "a/b"}, "b"),
        "principal_type": ({"by": "root"}, "Root"),
        "mfa": ({"mfa": True}, True),
        "invoked_by": ({"by": "service:athena"}, "athena"),
        "change": ({"change": "replication"}, "replication"),
        "account_is": ({"account": "444455556666"}, "foreign"),
        "destination_is": ({"destination_account": "444455556666"}, "foreign"),
        "session_age_over": ({"session_age": "2h"}, "1h"),
        "signed_for_over": ({"signed_for": "2h"}, "1h"),
        "signed_age_over": ({"signed_before": "2h"}, "1h"),
        "retention": ({"key": "2020/a.wav"}, {"key": "{yyyy}/*", "keep": "1d"}),
        "source_ip_in": ({"source_ip": "10.1.2.3"}, joined({"bad.txt": read_list("bad.txt", "10.0.0.0/8", [])})),
        "unless": ({"by": "a/b"}, {"session_name": "y"}),
    }.get(name)
    if said is None:
        log = next(log.name for log in Log if name not in ABSENT[log])
        said = ({name: "other", "log": log}, "other")
    event, pattern = said
    selector = Selector(Where.model_validate({name: pattern} | ({"log": "access_audit"} if name == "purpose" else {})))
    assert selector.mask(records(example(event), COLUMNS)).tolist() == [True]
    assert selector.mask(records(example({"by": "x/y"}), COLUMNS)).tolist() == [False]


def test_what_a_log_never_tells_cannot_be_said():
    with pytest.raises(ValidationError, match="destination: a record of server_access never has it"):
        example({"log": "server_access", "destination": "elsewhere"})


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"every": "1s"}, "'every' and 'for' together"),
        ({"every": "0s", "for": "5s"}, "expected at least 1s"),
        ({"operation": "reed"}, "expected a class"),
        ({"at": "soon"}, "expected a time such as 19s"),
        ({"count": 1_000_001}, "less than or equal to 1000000"),
        ({"count": 600_000, "every": "1s", "for": "2s"}, "expected at most 1,000,000 records"),
    ],
)
def test_what_cannot_be_meant_is_refused(event, told):
    with pytest.raises(ValidationError, match=told):
        example(event)


def test_spans_add_up():
    assert [span(text) for text in ("0s", "90s", "1h30m", "1d 2h")] == [0, 90, 5400, 93_600]
    assert Moment(5).on(100) == 105
    assert Moment(5, absolute=True).on(100) == 5
