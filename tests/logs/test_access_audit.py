"""The application's audit log: what a line says is read, and what is wrong with a line costs that line only."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from detector.core.access import Log, Operation, Outcome
from detector.core.builder import BatchBuilder
from detector.core.dedup import Seen, ranks
from detector.logs import access_audit, parquet
from detector.logs.limits import Limits
from detector.logs.read import read
from tests.records import NINE, SESSION_ARN, file_of, record, rows_of, taken

LINE = {"timestamp": "2026-05-01T09:00:00Z", "sample_id": "utt-1", "requester": "dana", "purpose": "labelling"}


def parsed(*lines, limits=None):
    """Rows and rejects of lines, each a dict or bytes."""
    into = BatchBuilder()
    data = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    access_audit.parse(data, "audit.jsonl", into, limits or Limits())
    return taken(into)


def one(**fields):
    """The row of one line."""
    (row,), rejects = parsed({name: value for name, value in (LINE | fields).items() if value is not None})
    assert rejects == []
    return row


def test_a_line_is_a_read_as_the_application_tells_of_it():
    """All of the documented form."""
    row = one(bucket="ml-voice", key="raw/utt-1.wav", source_ip="192.0.2.7", user_agent="labeller/2", request_id="3E57")
    assert (row.log, row.time, row.operation, row.outcome) == (
        Log.access_audit, NINE, Operation.read, Outcome.success
    )  # fmt: skip
    assert (row.bucket, row.key, row.sample_id, row.purpose) == ("ml-voice", "raw/utt-1.wav", "utt-1", "labelling")
    assert (row.source_ip, row.user_agent, row.request_id) == ("192.0.2.7", "labeller/2", "3E57")
    assert (row.who.type, row.who.session, row.who.account) == ("Application", "app:dana", "application")


@pytest.mark.parametrize("field", list(access_audit.NAMES))
def test_every_documented_name_is_read_however_it_is_spelled(field):
    """snake_case, camelCase, Capitals, dashes, a leading @: one name."""
    value = {"time": "2026-05-01T09:00:01Z", "uri": "s3://b/k", "outcome": "denied"}.get(field, "x")
    plain = {"time": "2026-05-01T09:00:00Z", "sample_id": "s", "bucket": "c"}
    before = parsed({name: value for name, value in plain.items() if name != field})
    for name in access_audit.NAMES[field]:
        words = name.split("_")
        camel = words[0] + "".join(word.title() for word in words[1:])
        for spelled in (name, name.upper(), camel, name.replace("_", "-"), f"@{name}"):
            line = {n: v for n, v in plain.items() if n != field} | {spelled: value}
            assert parsed(line) == parsed({n: v for n, v in plain.items() if n != field} | {name: value})
            assert parsed(line) != before


def test_of_several_names_of_one_thing_the_first_documented_counts():
    """Whatever their order in the line."""
    line = {"timestamp": "2026-05-01T09:00:00Z", "sample_id": "s", "user": "loser", "requester": "winner"}
    assert parsed(line)[0][0].who.session == "app:winner"
    assert parsed(dict(reversed(line.items())))[0][0].who.session == "app:winner"
    assert parsed(line | {"requester": None})[0][0].who.session == "app:loser"


@pytest.mark.parametrize(
    "written",
    [
        "2026-05-01T09:00:00Z", "2026-05-01T09:00:00.999999Z", "2026-05-01 11:00:00,5+02:00", "20260501T090000Z",
        "2026-05-01T09:00:00", NINE, NINE + 0.9, str(NINE), NINE * 1000 + 999, NINE * 10**6, NINE * 10**9 + 999_999_999,
    ],
)  # fmt: skip
def test_times_are_read_in_all_usual_forms(written):
    """ISO 8601 with any offset, or a number of seconds, milli-, micro- or nanoseconds; always rounded down."""
    assert one(timestamp=written).time == NINE


@pytest.mark.parametrize(
    ("given_", "bucket", "key"),
    [
        ({"s3_uri": "s3://voice/raw/a b.wav"}, "voice", "raw/a b.wav"),
        ({"key": "s3://voice/raw/a.wav", "bucket": "other"}, "voice", "raw/a.wav"),
        ({"object_arn": "arn:aws-cn:s3:::voice/raw/a.wav"}, "voice", "raw/a.wav"),
        ({"key": "raw/a.wav"}, None, "raw/a.wav"),
        ({"key": "arn:aws:s3:us-east-1:1:accesspoint/p/object/k", "bucket": "voice"}, "voice", "k"),
        ({"bucket": "voice"}, "voice", None),
    ],
)
def test_an_object_may_be_named_as_uri_or_arn(given_, bucket, key):
    """What the name itself says of the bucket counts before the field."""
    row = one(**given_)
    assert (row.bucket, row.key) == (bucket, key)


def test_a_requester_that_is_an_arn_is_known_as_in_an_access_log():
    """Any other name is the application's own, and cannot be taken for a service or for nobody."""
    assert one(requester=SESSION_ARN).who.session_name == "contractor-42"
    for name in ("service:x", "anonymous", "-"):
        assert one(requester=name).who.role == f"app:{name}"
    assert one(requester=None).who.session == "app:unknown"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"timestamp":', "broken_json"),
        (b"\0", "broken_json"),
        (b"[1]", "not_a_record"),
        (b'"text"', "not_a_record"),
        (LINE | {"timestamp": None}, "no_event_time"),
        (LINE | {"timestamp": "soon"}, "bad_event_time"),
        (LINE | {"timestamp": True}, "bad_event_time"),
        (LINE | {"timestamp": -1}, "bad_event_time"),
        (LINE | {"timestamp": "9" * 300}, "bad_event_time"),
        (LINE | {"sample_id": None}, "no_object"),
        (LINE | {"sample_id": {}}, "no_object"),
        (LINE | {"purpose": "x" * 70_000}, "line_too_long"),
    ],
)
def test_a_bad_line_costs_itself_and_says_why(line, reason):
    """Its neighbours are read; its position is its line."""
    rows, rejects = parsed(LINE, line, b"", LINE | {"sample_id": "utt-2"})
    assert [row.sample_id for row in rows] == ["utt-1", "utt-2"]
    assert [(reject.position, reject.reason) for reject in rejects] == [(2, reason)]


def test_nesting_is_bounded():
    """What is nested deeply is not read; past the limit the line is refused, and the limit named."""
    deep = json.dumps(LINE)[:-1].encode() + b', "more": ' + b"[" * 9000 + b"]" * 9000 + b"}"
    assert parsed(deep)[0] == parsed(LINE)[0]
    (reject,) = parsed(deep, limits=Limits(nesting=500))[1]
    assert reject.reason == "too_deep"
    assert "limits.nesting" in reject.detail


def test_what_is_no_valid_text_is_replaced():
    """Half a character, broken UTF-8: the line counts all the same."""
    (row,), rejects = parsed(b'{"timestamp":"2026-05-01T09:00:00Z","sample_id":"\\ud83d","purpose":"\xff"}')
    assert (row.sample_id, row.purpose, rejects) == ("\ufffd", "\ufffd", [])


def test_equal_lines_are_copies_and_numbered_ones_are_not():
    """A line that is delivered twice is one record; a writer that numbers its lines tells its reads apart."""
    assert one().id == one(trace="more, that is not read").id
    for changed in ({"event_id": "2"}, {"requester": "eve"}, {"purpose": "x"}, {"timestamp": NINE + 1}, {"key": "k"}):
        assert one(**changed).id != one().id


def test_no_line_passes_for_a_copy_of_a_request():
    """Named by the id of a CloudTrail record, or of an access log's line, it still is a record of its own."""
    into = BatchBuilder()
    read(file_of([record()]), "trail", into)
    ((_, event_id),) = [(row.id, row.event_id) for row in rows_of(into.build())]
    trail = BatchBuilder()
    read(file_of([record()]), "trail", trail)
    access_audit.parse(json.dumps(LINE | {"event_id": event_id}).encode(), "audit", trail)
    batch = trail.build()
    assert not Seen().judge(batch.id, ranks(batch), batch.time).duplicate.any()


def test_a_sample_without_a_bucket_is_not_unresolved():
    """Only a request that AWS logged can hide its bucket."""
    into = BatchBuilder()
    access_audit.parse(json.dumps(LINE | {"key": "k"}).encode(), "audit", into)
    assert not into.build().unresolved.any()


def test_a_batch_survives_parquet():
    """The archive and the replay cache keep purpose and sample id."""
    into = BatchBuilder()
    access_audit.parse(json.dumps(LINE | {"s3_uri": "s3://b/k", "source_ip": "192.0.2.1"}).encode(), "audit", into)
    batch, again = into.build(), BatchBuilder()
    out = io.BytesIO()
    pq.write_table(parquet.to_table(batch), out)
    assert parquet.parse(out.getvalue(), "day.parquet", again) == []
    assert rows_of(again.build()) == rows_of(batch)


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()) | st.just({})


@given(st.dictionaries(st.sampled_from([n for names in access_audit.NAMES.values() for n in names]), values))
def test_whatever_the_values_a_line_is_one_row_or_one_reject(fields):
    """Books balance, and what comes out is within its bounds."""
    rows, rejects = parsed(fields)
    assert len(rows) + len(rejects) == 1
    assert all(0 <= row.time < 1 << 33 for row in rows)
