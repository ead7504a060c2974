"""Access-record Parquet: what is counted survives a round trip, and what others wrote is read by the contract."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from detector.core.access import ALL_DIFFERENT, AccessBatch, Log, Operation, Outcome, Row, Skip, text_hash
from detector.core.builder import BatchBuilder
from detector.core.principal import Principal, anonymous, service
from detector.errors import InputError
from detector.logs.parquet import FIXED_COLUMNS, parse, to_table
from detector.logs.server_access import parse as parse_server_access
from tests.real_logs import REAL_LOGS, needs_real_logs
from tests.records import rows_of, taken

ROLE = "arn:aws:iam::111122223333:role/vendors/Reader"
SESSION = "arn:aws:sts::111122223333:assumed-role/Reader/contractor-42"
READER = Principal(
    "AssumedRole", "AROAEXAMPLE:contractor-42", SESSION, "AROAEXAMPLE", ROLE, "111122223333", "contractor-42",
    "AROAEXAMPLE:contractor-42", "ASIAEXAMPLE", 1_777_630_000, "jane", False, None,
    "544894e8-1",
)  # fmt: skip
FULL = Row(
    Log.cloudtrail, 1_777_636_800, text_hash("e-1"), "111122223333/us-east-1", Skip.no, 2**64 - 1, Operation.copy,
    Outcome.success, 4096, READER, True, "CopyObject", "voice", "raw/é a.wav", "elsewhere", "192.0.2.7", "aws-cli/2.0",
    "query", "e-1", "3E57427F3EXAMPLE", "us-east-1", "arn:aws:s3:us-east-1:1:accesspoint/v", "vpce-1", "TLSv1.3",
    "SSE-KMS", "arn:aws:kms:us-east-1:1:key/k", "v1", "training", "REST.COPY.OBJECT_GET", "utt-7",
    status=200, signed_at=1_777_636_000, signed_for=3600,
)  # fmt: skip


def batch_of(*rows: Row) -> AccessBatch:
    into = BatchBuilder()
    for row in rows:
        into.add(row)
    return into.build()


def written(table: pa.Table, **how) -> bytes:
    out = io.BytesIO()
    parquet.write_table(table, out, **how)
    return out.getvalue()


def read(data: bytes):
    into = BatchBuilder()
    parse(data, "day.parquet", into)
    return taken(into)


def foreign(**columns) -> pa.Table:
    """A file of one row with only the fixed columns, as others may write it; None takes a column out."""
    values = {
        "time": pa.array([1_777_636_800], pa.timestamp("s", "UTC")),
        "operation": ["read"],
        "api": ["GetObject"],
        "outcome": ["success"],
        "session": [SESSION],
        "role": [ROLE],
        "account": ["111122223333"],
        "session_name": ["contractor-42"],
        "principal_type": ["AssumedRole"],
        "principal_id": ["AROAEXAMPLE:contractor-42"],
        "bucket": ["voice"],
        "key": ["raw/a.wav"],
        "bytes": pa.array([4096], pa.int64()),
        "destination": pa.array([None], pa.string()),
        "source_ip": ["192.0.2.7"],
        "user_agent": ["aws-cli/2.0"],
        "auth": ["header"],
        "event_id": ["e-1"],
        "log": ["cloudtrail"],
    }
    return pa.table({name: column for name, column in (values | columns).items() if column is not None})


def test_a_full_row_survives_the_round_trip():
    """Every column of a row and every part of its principal comes back as it was."""
    assert read(written(to_table(batch_of(FULL)))) == ([FULL], [])


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
principals = st.sampled_from(
    [READER, anonymous("192.0.2.1"), anonymous(None), service("athena.amazonaws.com", None)]
) | (
    st.builds(
        Principal,
        words,
        words,
        words,
        words,
        words,
        words,
        words | st.none(),
        words | st.none(),
        words | st.none(),
        st.integers(0, 2**32) | st.none(),
        words | st.none(),
        st.booleans() | st.none(),
        words | st.none(),
        words | st.none(),
    )
)


@st.composite
def rows(draw):
    event_id = draw(words)
    maybe = words | st.none()
    return FULL._replace(
        log=draw(st.sampled_from(Log)),
        time=draw(st.integers(-(2**32), 2**36)),
        id=text_hash(event_id),
        event_id=event_id,
        partition=draw(st.text(st.characters(codec="utf-8"), max_size=5)),
        skip=draw(st.sampled_from([Skip.no, Skip.no, Skip.not_s3])),
        link=draw(st.integers(0, 2**64 - 1)),
        operation=draw(st.sampled_from(Operation)),
        outcome=draw(st.sampled_from(Outcome)),
        bytes=draw(st.integers(0, 2**46 - 1)),
        who=draw(principals),
        has_arn=draw(st.booleans()),
        auth=draw(st.sampled_from(["header", "query", "none", None])),
        **{
            name: draw(maybe)
            for name in ("api", "bucket", "key", "destination", "user_agent", "log_operation", "tls", "sample_id")
        },
        status=draw(st.integers(-1, 599)),
        signed_at=draw(st.integers(-1, 2**32)),
        signed_for=draw(st.integers(-1, 604_800)),
    )


@given(st.lists(rows(), max_size=6), st.sampled_from(["snappy", "zstd", "none"]), st.integers(1, 4))
def test_any_batch_survives_the_round_trip(given_rows, compression, group):
    """Batch to Parquet to batch loses nothing of an access event; skipped rows are not in the file."""
    data = written(to_table(batch_of(*given_rows)), compression=compression, row_group_size=group)
    assert read(data) == ([row for row in given_rows if row.skip is Skip.no], [])


@needs_real_logs
@pytest.mark.parametrize("name", ["dandi", "opensearch_amazon_s3"])
def test_real_lines_survive_the_round_trip(name):
    """What an access log says in production comes back from the cache as it was."""
    into = BatchBuilder()
    parse_server_access((REAL_LOGS / "s3access" / f"{name}.log").read_bytes(), name, into)
    batch = into.build()
    assert read(written(to_table(batch))) == (rows_of(batch), [])


def test_the_columns_and_types_are_the_contracts():
    """Fixed columns first, in order; time in UTC seconds, bytes as int64; text dictionary-encoded but for keys."""
    schema = to_table(batch_of(FULL)).schema
    assert tuple(schema.names[: len(FIXED_COLUMNS)]) == FIXED_COLUMNS
    assert schema.field("time").type == pa.timestamp("s", "UTC")
    assert schema.field("bytes").type == pa.int64()
    nullable = """status region access_point vpc_endpoint access_key source_identity invoked_by mfa issued_at signed_at
                  signed_for tls sse kms_key version_id purpose"""
    assert set(nullable.split()) <= set(schema.names)
    assert all(
        pa.types.is_dictionary(schema.field(name).type) for name in ("session", "bucket", "operation", "user_agent")
    )
    assert {schema.field(name).type for name in ALL_DIFFERENT} == {pa.string()}
    assert to_table(batch_of()).schema == schema


def test_a_table_for_counting_has_folders_and_objects():
    """By them rows are told apart as by bucket and key; whoever reads it by records sees no difference."""
    rows = [FULL._replace(bucket=b, key=k, skip=skip) for b, k, skip in (
        ("voice", "raw/é a.wav", Skip.no), ("voice", "b", Skip.not_s3), ("other", "raw/é a.wav", Skip.no),
        ("voice", "x//y.wav", Skip.no), ("voice", None, Skip.no), ("voice", "root", Skip.no),
    )]  # fmt: skip
    batch = batch_of(*rows)
    table = to_table(batch, of_objects=True)
    assert table["prefix"].to_pylist() == ["raw/", "raw/", "x//", None, ""]
    hashes = batch.object_hash(np.array([0, 2, 3, 4, 5])).tolist()
    assert table["object"].to_pylist() == [one or None for one in hashes]
    assert len({*hashes}) == 5
    assert read(written(table)) == read(written(to_table(batch)))


def test_session_and_role_are_shown_as_in_a_finding():
    """The contract's `session` and `role` are what a person is shown, not the keys they are counted by."""
    (row,) = to_table(batch_of(FULL)).to_pylist()
    assert (row["session"], row["role"]) == (SESSION, ROLE)
    assert (row["operation"], row["outcome"], row["log"]) == ("copy", "success", "cloudtrail")
    assert (row["mfa"], row["bytes"]) == (False, 4096)


def test_a_slice_carries_only_its_own_text():
    """An hour cut out of a big batch does not carry the whole batch's buckets and keys into the archive."""
    big = batch_of(*(FULL._replace(bucket=f"b{i}", key=f"k{i}" * 99) for i in range(100)))
    whole, small = to_table(big), to_table(big.take(big.text["key"].codes == 7))
    assert [len(table["bucket"].chunk(0).dictionary) for table in (whole, small)] == [100, 1]
    assert (small["bucket"].to_pylist(), small["key"].to_pylist()) == (["b7"], ["k7" * 99])
    assert small["key"].get_total_buffer_size() * 10 < whole["key"].get_total_buffer_size()


@pytest.mark.parametrize(
    ("type_", "principal_id", "session", "role"),
    [
        ("AssumedRole", "AROAEXAMPLE:contractor-42", "AROAEXAMPLE:contractor-42", "AROAEXAMPLE"),
        ("AWSAccount", "AROAEXAMPLE:x", "AROAEXAMPLE:x", "AROAEXAMPLE"),
        ("AssumedRole", "anonymised-7:x", "anonymised-7:x", "anonymised-7"),
        ("AWSAccount", "AIDAEXAMPLE", SESSION, ROLE),
        ("IAMUser", "AIDAEXAMPLE", SESSION, ROLE),
        ("AssumedRole", None, SESSION, ROLE),
        (None, None, SESSION, ROLE),
    ],
)
def test_a_file_of_others_is_keyed_by_the_contracts_table(type_, principal_id, session, role):
    """Without our further columns the keys follow from principal_id, so that the same session is counted as one."""
    table = foreign(principal_type=pa.array([type_], pa.string()), principal_id=pa.array([principal_id], pa.string()))
    ((row,), rejects) = read(written(table))
    assert not rejects
    assert (row.who.session, row.who.role) == (session, role)
    assert (row.who.session_shown, row.who.role_shown, row.who.type) == (SESSION, ROLE, type_ or "unknown")
    assert (row.id, row.has_arn, row.partition, row.link, row.status) == (text_hash("e-1"), True, "", 0, -1)


@pytest.mark.parametrize(
    "type_",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
def test_text_may_be_of_any_text_type(type_):
    """Writers differ in how they type text; a null column of no type is text without a value."""
    table = foreign(key=pa.array(["raw/a.wav"]).cast(type_), user_agent=pa.nulls(1), whatever=pa.array([[1]]))
    ((row,), rejects) = read(written(table))
    assert (row.key, row.user_agent, rejects) == ("raw/a.wav", None, [])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", None])
def test_time_may_be_of_any_unit_and_is_rounded_down(unit, zone):
    """Event time is whole seconds of UTC; a zone is only how a time is shown, and one without a zone is UTC."""
    half = {"s": 0, "ms": 500, "us": 500_000, "ns": 500_000_000}[unit]
    scale = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}[unit]
    times = [1_777_636_800, -5]
    table = pa.concat_tables(
        foreign(time=pa.array([t * scale + half], pa.int64()).cast(pa.timestamp(unit, zone))) for t in times
    )
    assert [row.time for row in read(written(table))[0]] == times


def test_text_that_is_no_utf8_is_replaced():
    """Parquet holds whatever bytes were written; bad ones neither stop the file nor become surrogates."""
    bad = pa.array([b"raw/\xff\xed\xa0\x80"]).view(pa.string())
    ((row,), rejects) = read(written(foreign(key=bad)))
    assert (row.key, rejects) == ("raw/" + "\ufffd" * 4, [])


@pytest.mark.parametrize("column", ["time", "operation", "outcome", "log", "session", "role", "account", "event_id"])
def test_a_null_where_the_contract_has_none_is_a_reject(column):
    """A row without a time, a class, an owner or an id is filed by its number; the rows around it flow on."""
    null = foreign(**{column: foreign()[column].combine_chunks().take(pa.array([None], pa.int64()))})
    good_rows, rejects = read(written(pa.concat_tables([foreign(), null, foreign()])))
    assert len(good_rows) == 2
    assert [(r.file, r.position, r.reason) for r in rejects] == [("day.parquet", 2, f"null_{column}")]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("operation", "GetObject"),
        ("outcome", "ok"),
        ("log", "syslog"),
        ("auth", "cookie"),
        ("bytes", -1),
        ("bytes", 2**46),
    ],
)
def test_a_value_that_is_none_of_the_contracts_is_a_reject(column, value):
    """A class nobody knows would silently match no rule: it is filed instead."""
    _, rejects = read(written(pa.concat_tables([foreign(), foreign(**{column: [value]})])))
    assert [(r.position, r.reason) for r in rejects] == [(2, f"bad_{column}")]


def test_a_row_with_several_faults_is_one_reject():
    """The books count records, not faults."""
    good_rows, rejects = read(written(foreign(operation=["x"], bytes=[-1], session=pa.nulls(1, pa.string()))))
    assert (good_rows, [r.reason for r in rejects]) == ([], ["null_session"])


def test_null_bytes_are_none_sent():
    """Where a writer does not know how many bytes went out, none are counted; the request still is."""
    ((row,), _) = read(written(foreign(bytes=pa.nulls(1, pa.int64()))))
    assert row.bytes == 0


@pytest.mark.parametrize("column", FIXED_COLUMNS)
def test_a_missing_fixed_column_is_named(column):
    """The writer of the file is told which column it lacks, and nothing of the file is counted."""
    with pytest.raises(InputError, match=rf"day\.parquet.*lacks the column {column}\b"):
        read(written(foreign(**{column: None})))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("time", ["2026-05-01T12:00:00Z"]),
        ("time", [1_777_636_800]),
        ("bytes", ["many"]),
        ("key", [1]),
        ("role", [["a"]]),
    ],
)
def test_a_column_of_another_type_is_named(column, values):
    """A number that may be seconds or milliseconds is not guessed at; the writer is told which column is wrong."""
    with pytest.raises(InputError, match=rf"column {column} has the type"):
        read(written(foreign(**{column: values})))


@pytest.mark.parametrize("cut", [0, 10, -1, -200])
def test_bytes_that_are_no_parquet_are_wrong_input(cut):
    """A truncated or foreign file is the user's to mend: exit 2, with the file's name."""
    with pytest.raises(InputError, match=r"day\.parquet: no readable Parquet"):
        read(written(to_table(batch_of(FULL)))[:cut])
