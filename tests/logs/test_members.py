"""The kernel and the decoder say the same of every document; what the kernel is unsure of it leaves to the decoder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from unittest.mock import patch

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import COLUMNS, Column, text_hash
from detector.core.builder import ARRAYS, BatchBuilder
from detector.core.times import epoch, iso
from detector.logs import cloudtrail, documents, kernel
from detector.logs.documents import UNDECODABLE, members
from detector.logs.limits import LIMITS
from detector.logs.members import Decoded, Sliced, sliced
from detector.logs.read import fallible
from detector.logs.record import SETTINGS, WHOLE, shape
from tests.real_logs import REAL_LOGS, needs_real_logs
from tests.records import assumed_role, copy_object, file_of, iam_user, kms_decrypt, numbered, record, taken

REQUIRED = os.environ.get("BUCKETWATCH_REQUIRE_ALL") == "1"
pytestmark = pytest.mark.skipif(
    not kernel.BUILT and not REQUIRED, reason="the kernel is not built: needs a C compiler and Python's headers"
)
NARROW = shape(frozenset())
DEEP, LONG = 500, 1 << 24
COLUMN = [name for name, kind in kernel.plan(WHOLE.struct).types.items() if kind == str | None]


OF_OTHER_TYPES = ("signed_for", "s3_arn", *sorted(SETTINGS))


def by_kernel(data, asked=WHOLE, form=kernel.FILE, nesting=DEEP, longest=LONG):
    """What the kernel makes of a document; None if it leaves it to the decoder."""
    return sliced(data, asked, form, nesting, longest)


def decoded(data, asked=WHOLE):
    return Decoded(asked.file.decode(data).Records, asked)


def answers(found, asked=WHOLE):
    """Everything that can be asked of members."""
    plan = kernel.plan(asked.struct)
    texts = [name for name, kind in plan.types.items() if kind == str | None]
    who = found.identities()
    people = who.texts(np.arange(len(who.hashes)))
    return {
        "count": len(found),
        "texts": {name: found.column(name).texts() for name in texts},
        "who": [people[code] for code in who.codes],
        "told apart": len(set(who.hashes.tolist())) == len(set(people)),
        "times": found.times().tolist(),
        "identified": found.identified(),
        "hashes": found.hashes().tolist() if found.identified() else [],
        "values": {name: found.values(name) for name in OF_OTHER_TYPES if name in plan.types},
        "given": {name: list(found.given(name)) for name in OF_OTHER_TYPES if name in plan.types},
        "numbers": {n: repr(found.numbers(n).tolist()) for n in ("bytesTransferredOut",) if n in plan.types},
        "lengths": found.lengths("resources").tolist() if "resources" in plan.types else [],
        "begins": found.begins("sourceIPAddress", "AWS Internal").tolist(),
        "records": [found.record(row) for row in range(len(found))],
    }


def prefixes(found):
    bucket = found.column("bucketName")
    return Column(bucket.codes, [f"arn:aws:s3:::{name}/" for name in bucket.values])


def both(data, asked=WHOLE, form=kernel.FILE):
    """The kernel's answers, which are the decoder's."""
    found = by_kernel(data, asked, form)
    assert found is not None
    with patch.object(kernel, "BUILT", new=False):
        other = members(data, asked)
    assert isinstance(other, Decoded)
    assert answers(found, asked) == answers(other, asked)
    if "resources" in kernel.plan(asked.struct).types:
        column = found.rest("resources.0.ARN", prefixes(found))
        rest, expected = column.texts(), other.rest("resources.0.ARN", prefixes(other)).texts()
        assert rest == expected or (b"\\" in data and all(a in {b, None} for a, b in zip(rest, expected, strict=True)))
        assert column.hashes().tolist() == [0 if text is None else text_hash(text) for text in rest]
    return answers(found, asked)


def test_it_is_built():
    assert kernel.BUILT, "install a C compiler and Python's headers (on Debian: gcc libc6-dev python3-dev)"


TEXT = st.one_of(st.text(max_size=40), st.sampled_from(["", "AWS Internal", 'a"b\\c', "\x00\x1f", "é€😀", "a" * 33]))
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=8,
)
CONTEXT = st.fixed_dictionaries({}, optional={"aws:s3:arn": st.one_of(TEXT, st.lists(TEXT, max_size=2))})
SENT = st.one_of(st.none(), st.integers(), st.floats(-9, 9))
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "bucketName": st.sampled_from(["ml-voice", "other", "", "arn:aws:s3:us-east-1:1:accesspoint/x"]),
        "key": TEXT,
        "x-amz-copy-source": TEXT,
        "X-Amz-Date": TEXT,
        "X-Amz-Expires": st.one_of(st.integers(0, 1 << 40), TEXT),
        "encryptionContext": st.fixed_dictionaries(
            {}, optional={"aws:s3:arn": st.one_of(TEXT, st.lists(TEXT, max_size=2))}
        ),
        "x-amz-acl": VALUE,
        "bucketPolicy": VALUE,
        "VersioningConfiguration": VALUE,
        "other": VALUE,
    },
)
RESOURCE = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["AWS::S3::Object", "AWS::S3::Bucket", "x"]),
        "ARN": st.sampled_from(["arn:aws:s3:::ml-voice/raw/é.wav", "arn:aws:s3:::ml-voice/", "arn:aws:s3:::ml-voice"]),
        "accountId": TEXT,
    },
)
RECORD = st.fixed_dictionaries(
    {"eventName": st.sampled_from(["GetObject", "PutObject", 'odd"name'])},
    optional={
        "eventTime": st.one_of(st.integers(0, 1 << 33).map(iso), TEXT),
        "eventID": TEXT,
        "userIdentity": st.one_of(st.none(), st.sampled_from([assumed_role(), iam_user()]), VALUE),
        "sourceIPAddress": TEXT,
        "requestParameters": st.one_of(st.none(), PARAMETERS),
        "additionalEventData": st.one_of(st.none(), st.fixed_dictionaries({"bytesTransferredOut": SENT})),
        "resources": st.one_of(st.none(), st.lists(RESOURCE, max_size=3)),
        "addendum": st.one_of(st.none(), st.fixed_dictionaries({}, optional={"originalEventID": TEXT})),
        "errorCode": st.one_of(st.none(), TEXT),
        "responseElements": st.one_of(
            st.none(), st.fixed_dictionaries({}, optional={"x-amz-server-side-encryption-aws-kms-key-id": TEXT})
        ),
        "serviceEventDetails": VALUE,
    },
)  # fmt: skip
SPACED = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")])


@given(st.lists(RECORD, max_size=5), SPACED, st.booleans())
def test_of_any_document_in_order_both_say_the_same(records, separators, escaped):
    data = json.dumps({"Records": records}, separators=separators, ensure_ascii=escaped).encode()
    both(data)
    both(data, NARROW)
    both(json.dumps(records, separators=separators).encode(), form=kernel.ARRAY)
    both("".join(f"{json.dumps(one)} \r\n" for one in records).encode(), form=kernel.LINES)


@st.composite
def spelled_alike(draw):
    """Records of a few ways of writing, in any order: the same names and marks, other texts and numbers."""
    ways = draw(st.lists(RECORD, min_size=1, max_size=6))
    return [refilled(draw, draw(st.sampled_from(ways))) for _ in range(draw(st.integers(2, 20)))]


def refilled(draw, value):
    match value:
        case dict():
            return {k: v if k == "eventName" or v == "AssumedRole" else refilled(draw, v) for k, v in value.items()}
        case list():
            return [refilled(draw, one) for one in value]
        case str():
            return draw(TEXT)
        case float():
            return draw(st.floats(allow_nan=False, allow_infinity=False))
        case int() if not isinstance(value, bool):
            return draw(st.integers())
    return value


@given(spelled_alike(), SPACED, st.booleans())
def test_of_records_that_are_spelled_alike_both_say_the_same(records, separators, escaped):
    data = json.dumps({"Records": records}, separators=separators, ensure_ascii=escaped).encode()
    both(data)
    both(data, NARROW)


KINDS = [
    record(),
    copy_object("ml-voice/a.wav"),
    kms_decrypt({"aws:s3:arn": "arn:aws:s3:::ml-voice/a"}),
    record(userIdentity=None, errorCode="AccessDenied"),
]
DOCUMENT = file_of(KINDS)
SPELLED_ALIKE = file_of(numbered(4))
EDIT = st.tuples(
    st.floats(0, 1),
    st.integers(0, 12),
    st.sampled_from([*(bytes([n]) for n in range(256)), b"null", b"\\u0041", b"[["]),
)


@given(
    st.sampled_from([DOCUMENT, SPELLED_ALIKE]), st.lists(EDIT, min_size=1, max_size=4), st.sampled_from([WHOLE, NARROW])
)
def test_what_the_decoder_refuses_the_kernel_never_reads(data, edits, asked):
    """Bytes of a good document are replaced: what both read they read alike."""
    for place, length, put in edits:
        at = int(place * len(data))
        data = data[:at] + put + data[at + length :]
    found = by_kernel(data, asked)
    if found is None:
        return
    try:
        seen = answers(found, asked)
    except UNDECODABLE:
        return
    try:
        expected = answers(decoded(data, asked), asked)
    except UNDECODABLE:
        data.decode()  # the decoder looks at texts that nobody wants: these may be no UTF-8
        raise
    assert seen == expected


@pytest.mark.parametrize("data", [DOCUMENT, SPELLED_ALIKE])
def test_a_cut_document_is_left_to_the_decoder(data):
    assert all(by_kernel(data[:at]) is None for at in range(len(data) - 1))


JUNK = [b"", b"x", b'"', b"\\", b"\x1f", b"9", b"0", b"-", b"{", b"]", b"null", b'\\"']


def test_every_place_of_a_record_that_is_spelled_alike_is_looked_at():
    """The last of four is spoilt at every place: what both read they read alike."""
    last = SPELLED_ALIKE.rindex(b'{"eventVersion"')
    for at in range(last, len(SPELLED_ALIKE)):
        for junk in JUNK:
            data = SPELLED_ALIKE[:at] + junk + SPELLED_ALIKE[at + 1 :]
            found = by_kernel(data, NARROW)
            try:
                expected = decoded(data, NARROW)
            except UNDECODABLE:
                assert found is None, data[last:]
            else:
                assert found is None or answers(found, NARROW) == answers(expected, NARROW), data[last:]


def test_records_of_many_texts_are_read_alike():
    """As many as are noted of a record, and one more, and many more."""
    for count in [*range(200, 260), 1_000]:
        both(file_of([record(serviceEventDetails=[f"{n}-{row}" for n in range(count)]) for row in range(3)]))


@pytest.mark.parametrize(
    "spoilt",
    [
        b'{"Records":[{"eventName":"a"}]} x',
        b'{"Records":[{"eventName":"a"},]}',
        b'{"Records":[{"eventName":"a",}]}',
        b'{"Records":[{"eventName":"a" "b":1}]}',
        b'{"Records":[{"eventName":"a","n":01}]}',
        b'{"Records":[{"eventName":"a","n":1.}]}',
        b'{"Records":[{"eventName":"a","n":NaN}]}',
        b'{"Records":[{"eventName":"a","n":tru}]}',
        b'{"Records":[{"eventName":"a","n":"\x01"}]}',
        b'{"Records":[{"eventName":"a","n":"\\x"}]}',
        b'{"Records":[{"eventName":"a","n":"\\u12g4"}]}',
        b'{"Records":[{"eventName":"a","n":[1}]}',
        b'{"Records":[{"eventName":5}]}',
        b'{"Records":[{"event\\u004eame":"a"}]}',
        b'{"Records":[{"eventName":"a","requestParameters":[]}]}',
        b'{"Records":[{"eventName":"a","resources":["x"]}]}',
        b'{"Records":[null]}',
        b'{"Records":{}}',
        b'{"Records":[]',
        b'{"Record":[]}',
        b"\xef\xbb\xbf" + b'{"Records":[]}',
    ],
)  # fmt: skip
def test_what_is_odd_is_left_to_the_decoder(spoilt):
    assert by_kernel(spoilt) is None


def test_of_a_name_that_comes_twice_the_last_counts():
    first = {"bucketName": "ml-voice", "key": "a", "encryptionContext": {"aws:s3:arn": "x"}}
    text = json.dumps(record(requestParameters=first))
    again = text[:-1] + ', "eventName": "PutObject", "requestParameters": {"key": "b"}, "userIdentity": null}'
    found = both(f'{{"Records": [{again}]}}'.encode())
    assert (found["texts"]["eventName"], found["texts"]["bucketName"], found["texts"]["key"]) == (
        ["PutObject"],
        [None],
        ["b"],
    )
    assert found["values"]["s3_arn"] == [None]


@pytest.mark.parametrize(("levels", "most", "read"), [(3, 3, True), (4, 3, False), (500, 500, True), (501, 500, False)])
def test_levels_are_counted_with_the_record_itself(levels, most, read):
    deep = '{"eventName":"a","x":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
    assert (by_kernel(f'{{"Records":[{deep}]}}'.encode(), nesting=most) is not None) is read


def test_a_record_that_is_too_long_is_left_to_the_decoder():
    one = json.dumps(record()).encode()
    data = b'{"Records":[' + one + b"]}"
    assert by_kernel(data, longest=len(one)) is not None
    assert by_kernel(data, longest=len(one) - 1) is None


def test_many_short_records_after_long_ones_are_all_read():
    """The room for records is guessed from the beginning of a document."""
    long, short = (
        record(responseElements="x" * 80_000),
        {"eventName": "GetObject", "eventID": "e" * 40, "eventTime": iso(0)},
    )
    found = both(file_of([long, *[short] * 5_000]), NARROW)
    assert found["count"] == 5_001


def test_records_too_short_to_be_any_are_left_to_the_decoder():
    assert by_kernel(b"[" + b"{}," * 100_000 + b"{}]", form=kernel.ARRAY) is None


@given(st.text(alphabet="abcdefghij", max_size=100))
def test_ids_are_hashed_as_everywhere(name):
    found = by_kernel(file_of([record(eventID=name)]))
    assert found.hashes().tolist() == [xxhash.xxh64_intdigest(name.encode())]


@given(
    st.one_of(
        st.integers(-1, 1 << 33).map(lambda second: iso(max(second, 0))),
        st.from_regex(r"(19|20|21|00)\d\d-[01]\d-[0-3]\d[T ][0-2]\d:[0-6]\d:[0-6]\d(Z|\+01:00|\.5Z)", fullmatch=True),
    )
)
def test_times_are_read_as_everywhere(text):
    expected = epoch(text)
    assert by_kernel(file_of([record(eventTime=text)])).times().tolist() == [-1 if expected is None else expected]


def test_alike_texts_are_one_value_and_codes_come_in_order():
    records = [record(eventName=name) for name in ["b", "a", "b", "c", "a"]]
    column = by_kernel(file_of(records)).column("eventName")
    assert (column.values, column.codes.tolist()) == (["b", "a", "c"], [0, 1, 0, 2, 1])


def test_ten_thousand_different_texts_are_told_apart():
    names = [f"name-{n * 7919 % 10_000}" for n in range(10_000)]
    assert by_kernel(file_of([record(eventName=name) for name in names])).column("eventName").texts() == names


def gathered(documents, asked):
    found = kernel.Found(kernel.plan(asked.struct), 200)
    for data in documents:
        assert found.add(data, kernel.FILE, DEEP, LONG) >= 0
    return found


@given(st.lists(st.lists(RECORD, max_size=4), min_size=2, max_size=5), SPACED, st.booleans(), st.data())
def test_of_several_documents_it_says_what_of_one_with_all_records(files, separators, escaped, draw):
    """Also of those rows that somebody takes, and after one that was odd or let go of."""

    def written(records):
        return json.dumps({"Records": records}, separators=separators, ensure_ascii=escaped).encode()

    cut, whole = [*map(written, files)], decoded(written([one for file in files for one in file]))
    found = gathered(cut[:-1], WHOLE)
    assert found.add(cut[-1][:-1], kernel.FILE, DEEP, LONG) == kernel.ODD
    if draw.draw(st.booleans()):
        assert found.add(draw.draw(st.sampled_from(cut)), kernel.FILE, DEEP, LONG) >= 0
        found.drop()
    found.add(cut[-1], kernel.FILE, DEEP, LONG)
    all_rows = Sliced(WHOLE, found)
    assert answers(all_rows) == answers(whole)
    rows = np.array(draw.draw(st.lists(st.sampled_from(range(len(whole))), max_size=6)) if len(whole) else [], np.intp)
    some, expected = all_rows.take(rows), whole.take(rows)
    assert {name: some.column(name).texts() for name in COLUMN} == {
        name: expected.column(name).texts() for name in COLUMN
    }
    assert repr(some.numbers("bytesTransferredOut")) == repr(expected.numbers("bytesTransferredOut"))
    rest, other = (one.rest("resources.0.ARN", prefixes(one)).texts() for one in (some, expected))
    assert rest == other or (escaped and all(a in {b, None} for a, b in zip(rest, other, strict=True)))


def test_buffers_that_do_not_fit_are_refused():
    from detector.logs import _members

    how = kernel.plan(NARROW.struct)
    columns = len(how.asked)
    fitting = [
        np.zeros((columns, 4, 2), np.int32), np.zeros((columns, 4), np.int32), np.zeros((columns, 4), np.int32),
        np.zeros(columns, np.int32), np.zeros(4, np.uint64), np.zeros(4, np.int64),
    ]  # fmt: skip
    data = file_of([record()])

    def read(members=how.members, asked=how.asked, room=4, buffers=fitting, base=0, row=0):
        return _members.read(
            data, kernel.FILE, members, how.keys, asked, 64, LONG, 0, base, row, room, *map(np.copy, buffers)
        )

    assert read() == 1
    for base, row in ((-1, 0), ((1 << 31) - 9, 0), (0, -1), (0, 5)):
        with pytest.raises(ValueError, match="do not fit"):
            read(base=base, row=row)
    with pytest.raises(ValueError, match="do not fit"):
        read(buffers=[*fitting[:3], np.full(columns, 2, np.int32), *fitting[4:]], row=1)
    for at in range(len(fitting)):
        short = [*fitting[:at], fitting[at].reshape(-1)[:-1].copy(), *fitting[at + 1 :]]
        with pytest.raises(ValueError, match="do not fit"):
            read(buffers=short)
    with pytest.raises(ValueError, match="do not fit"):
        read(room=5)
    with pytest.raises(ValueError, match="do not fit"):
        read(asked=how.asked[:-1])
    for column, wrong in ((4, 10_000), (5, 10_000), (5, -1), (3, 10_000), (3, -1), (1, 10_000), (2, 10_000)):
        members = how.members.copy()
        members[0, column] = wrong
        with pytest.raises(ValueError, match="do not fit"):
            read(members=members)
    cycle = how.members.copy()
    cycle[0, 4] = 0
    with pytest.raises(ValueError, match="do not fit"):
        read(members=cycle)


def ints(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize("slices", [[[0, 4]], [[2, 4]], [[3, 7]], [[2, -4]], [[5, -2]], [[1, 0]]])
def test_nothing_is_read_that_is_not_inside_of_one_document(slices):
    from detector.logs import _members

    given, at, codes = (b"abc", b"", b"def"), ints(*slices), ints(0)
    calls = (
        lambda: _members.texts(given, at, False),
        lambda: _members.numbers(given, at, np.zeros(1)),
        lambda: _members.hashes(given, at, bytes(16), np.zeros(1, np.uint64)),
        lambda: _members.rest(given, at, codes, b"a", ints(1), ints([0, 0]), np.zeros(1, np.uint64)),
        lambda: _members.join(given, at, 1, 1, 0, codes, ints(0), ints(1)),
    )
    for call in calls:
        with pytest.raises(ValueError, match="ends behind its document"):
            call()


def test_what_is_asked_of_places_has_to_fit():
    from detector.logs import _members

    given, at, hashes = (b"abc", b"def"), ints([0, 3], [3, 6]), np.zeros(2, np.uint64)
    calls = (
        lambda: _members.numbers(given, at, np.zeros(1)),
        lambda: _members.hashes(given, at, bytes(15), hashes),
        lambda: _members.hashes(given, at, bytes(16), hashes[:1]),
        lambda: _members.rest(given, at, ints(0), b"a", ints(1), at.copy(), hashes),
        lambda: _members.rest(given, at, ints(0, 0), b"a", ints(1), at[:1].copy(), hashes),
        lambda: _members.rest(given, at, ints(0, 0), b"a", ints(1), at.copy(), hashes[:1]),
        lambda: _members.rest(given, at, ints(0, 0), b"a", ints(2), at.copy(), hashes),
        lambda: _members.rest(given, at, ints(0, 1), b"a", ints(1, 0), at.copy(), hashes),
        lambda: _members.rest(given, at, ints(0, 1), b"a", ints(1), at.copy(), hashes),
        lambda: _members.join(given, at, 3, 2, 0, ints(0, 1), ints(0, 1), ints(2)),
        lambda: _members.join(given, at, 2, 2, 0, ints(0, 1), ints(0, 1), ints(3)),
        lambda: _members.join(given, at, 2, 2, 0, ints(0), ints(0, 1), ints(2)),
        lambda: _members.join(given, at, 2, 2, 0, ints(0, 1), ints(0), ints(2)),
        lambda: _members.join(given, at[:1], 2, 2, 0, ints(0, 1), ints(0, 1), ints(2)),
        lambda: _members.join(given, at, 2, 2, 0, ints(0, 1), ints(0, 2), ints(2)),
    )
    for number, call in enumerate(calls):
        with pytest.raises(ValueError, match=r"fit|behind"):
            pytest.fail(f"call {number} was answered: {call()}")
    with pytest.raises(TypeError):
        _members.texts(("abc",), at, False)
    with pytest.raises(TypeError):
        _members.texts([b"abc"], at, False)


@given(st.lists(st.one_of(st.none(), st.integers(0, 10**17).map(str), st.sampled_from(["-1", "1e3", "0.5"]))))
def test_numbers_are_those_of_python(texts):
    ends = np.cumsum([len(text or "") for text in texts])
    slices = [(-1, -1) if text is None else (end - len(text), end) for text, end in zip(texts, ends, strict=True)]
    found = kernel.Found(kernel.plan(NARROW.struct), 1)
    found.documents = ("".join(text or "" for text in texts).encode(),)
    numbers = found.numbers(np.array(slices, np.int32).reshape(-1, 2))
    assert repr(numbers.tolist()) == repr([float(text or "nan") for text in texts])


def parsed(data, columns=COLUMNS):
    into = BatchBuilder(columns)
    from detector.logs.cloudtrail import parse

    whole = parse(data, "file", into)
    return *taken(into), whole


@needs_real_logs
def test_all_real_cloudtrail_logs_are_read_alike_with_and_without_it():
    from detector.logs.inflate import inflate

    files = [path for path in sorted(REAL_LOGS.rglob("*")) if path.suffix in {".json", ".gz"} and path.is_file()]
    by_the_kernel = 0
    for path in files:
        data = inflate(path.read_bytes()).data
        if data.lstrip()[:1] not in (b"{", b"["):
            continue
        found = parsed(data)
        by_the_kernel += isinstance(documents.members(data, WHOLE), Sliced)
        with patch.object(kernel, "BUILT", new=False):
            assert parsed(data) == found, path
    assert by_the_kernel


def test_generated_traffic_is_read_by_the_kernel_alone():
    data = file_of(numbered(50))
    assert isinstance(members(data, WHOLE), Sliced)
    with patch.object(kernel, "BUILT", new=False):
        assert isinstance(members(data, WHOLE), Decoded)


@pytest.mark.skipif(not kernel.BUILT, reason="the kernel is not built")
def test_hashes_of_identities_are_siphash():
    """Python's own hash of bytes, with the key that PYTHONHASHSEED=0 stands for: zeros."""
    if sys.hash_info.algorithm != "siphash13":
        pytest.skip(f"this Python hashes by {sys.hash_info.algorithm}")
    data = bytes(range(256)) * 3
    slices = np.array([(start, start + length) for start in (0, 1, 7) for length in range(1, 300)], np.int32)
    program = "import sys; d = bytes(range(256)) * 3; [print(hash(d[a:b])) for a, b in eval(sys.argv[1])]"
    told = subprocess.run(
        [sys.executable, "-c", program, repr(slices.tolist())],
        env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    with patch.object(kernel, "_KEY", bytes(16)):
        found = kernel.keyed_hashes((data,), slices)
    assert found.astype(np.int64).tolist() == list(map(int, told.stdout.split()))


def test_hashes_stay_within_the_document():
    with pytest.raises(ValueError, match="ends behind its document"):
        kernel.keyed_hashes((b"0123456789",), np.array([[0, 4], [8, 11]], np.int32))


IN_ORDER = [
    file_of(numbered(3)),
    file_of([record(eventID="other", requestParameters={"bucketName": "alias-s3alias", "key": "k"})]),
    file_of([copy_object("ml-voice/a.wav", eventID="copy"), record(eventID="read", sourceIPAddress="AWS Internal")]),
    file_of([record(eventName="ListBuckets", eventID="list", requestParameters=None, resources=None)]),
    file_of([]),
]
ODD = [
    file_of([record(eventID="no text", userAgent="cut")]).replace(b"cut", b"\xff"),
    file_of([record(eventID="half", userAgent="cut")]).replace(b"cut", b"\\ud800"),
    file_of([record(eventID="late", eventTime="2026-05-01T09:00:00+01:00")]),
    file_of([record(eventID="timeless", eventTime="never"), record(eventID="timely")]),
    file_of([record(eventID=None)]),
    file_of([record(eventID="cut off"), record()])[:-9],
]


def read_all(files, columns, most, *, settle=()):
    """What comes of files that are read into one batch; of each, whether it was whole, its first and last time."""
    into, told = BatchBuilder(columns), []
    with patch.object(cloudtrail, "GATHERED", most):
        for number, data in enumerate(files):
            into.begin()
            whole = cloudtrail.parse(data, f"file {number}", into)
            told.append((whole, into.first, into.last))
            if number in settle:
                into.settle()
        count = into.rows
        batch = into.build()
    assert count == len(batch)
    told.append(sorted(batch.rejects, key=lambda one: (one.file, one.position)))
    who = [batch.principals[code] if code >= 0 else None for code in batch.who.tolist()]
    arrays = {name: getattr(batch, name).tolist() for name in ARRAYS if name != "who"}
    return told, who, arrays, batch.partition.texts(), {name: one.texts() for name, one in batch.text.items()}


@given(st.data(), st.sampled_from([COLUMNS, frozenset(), frozenset({"bytes", "partition"})]), st.integers(0, 12_000))
def test_files_whose_columns_are_made_together_are_read_as_one_by_one(draw, columns, most):
    """In their order, whatever lies between them; and each is told of at once."""
    files = draw.draw(st.lists(st.sampled_from(IN_ORDER + ODD), min_size=1, max_size=8))
    settle = draw.draw(st.sets(st.integers(0, len(files) - 1), max_size=2))
    with patch.object(kernel, "BUILT", new=False):
        expected = read_all(files, columns, most)
    assert read_all(files, columns, most, settle=settle) == expected


def test_what_a_group_of_files_needs_beside_is_not_forgotten_when_the_next_needs_more():
    """A copy's link, an alias's places: members that few records need. Between the groups: an odd file."""
    ids = (b'"copy"', b'"late"', b'"other"', b'"copy"')
    files = [next(one for one in IN_ORDER + ODD if name in one) for name in ids]
    with patch.object(kernel, "BUILT", new=False):
        expected = read_all(files, frozenset(), 0)
    assert read_all(files, frozenset(), 12_000) == expected


def test_of_a_file_that_is_more_than_a_parser_can_bear_nothing_stays_and_others_are_whole():
    into = BatchBuilder(COLUMNS)
    assert not fallible(IN_ORDER[0], "before", into, LIMITS)
    with patch.object(cloudtrail, "columns", side_effect=MemoryError("too much")):
        assert fallible(IN_ORDER[1], "bad", into, LIMITS) == {"quarantine": "MemoryError: too much"}
    assert not fallible(IN_ORDER[2], "after", into, LIMITS)
    assert into.rows == len(into.build()) == 5
