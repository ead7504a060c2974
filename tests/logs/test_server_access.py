"""S3 server access logs: every line is a row or a reject, and nothing a requester writes can change what is counted."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.core.access import COLUMNS, Log, Operation, Outcome, Row, text_hash
from detector.core.builder import BatchBuilder
from detector.logs import kernel, server_access, usual_lines
from detector.logs.access_line import row_of as row_of_line
from detector.logs.server_access import looks_like, parse
from tests.access_lines import (
    ACCESS_POINT,
    CHINA,
    FAKE_404,
    HOST_ID,
    LOGS,
    MANGLED,
    ODD,
    OWNER,
    QUERY_TAIL,
    ROLE,
    SESSION,
    SIGNED,
    TAIL,
    line,
)
from tests.real_logs import REAL_LOGS, needs_real_logs
from tests.records import rows_of, taken

NOON = 1_777_636_800  # 2026-05-01T12:00:00Z


def read(text):
    """Rows and rejects of a log."""
    into = BatchBuilder()
    parse(text.encode(), "log", into)
    return taken(into)


def row_of(text) -> Row:
    """The one row of a log of one line."""
    rows, rejects = read(text)
    assert not rejects
    (row,) = rows
    return row


def left_of(row: Row):
    """All that is read from the left: what rules count."""
    return (row.time, row.partition, row.bucket, row.key, row.source_ip, row.who, row.request_id, row.log_operation,
            row.operation, row.status, row.outcome, row.bytes, row.id)  # fmt: skip


TRUE_LEFT = left_of(row_of(line()))
TRUE_404 = left_of(row_of(line(status="404", error="NoSuchKey", sent="-")))


def test_a_line_fills_every_column_it_has_a_field_for():
    """Each field of the format lands in its column, in the column's unit."""
    row = row_of(line())
    assert row.who is not None
    assert (row.log, row.time, row.partition, row.has_arn) == (Log.server_access, NOON, f"{OWNER}/", True)
    assert (row.bucket, row.key, row.bytes, row.status) == ("voice", "raw/a.wav", 4096, 200)
    assert (row.api, row.operation, row.outcome) == ("GetObject", Operation.read, Outcome.success)
    assert (row.source_ip, row.user_agent, row.auth) == ("192.0.2.7", "aws-cli/2.0", "header")
    assert (row.tls, row.access_point, row.region) == ("TLSv1.3", ACCESS_POINT, "eu-west-1")
    assert (row.version_id, row.log_operation) == ("3HL4kqtJvjVBH40N", "REST.GET.OBJECT")
    assert (row.who.session, row.who.role, row.who.account) == (SESSION, ROLE, "111122223333")


@pytest.mark.parametrize("fields", [15, 17, 18, 19, 23, 24, 25, 26, 27, 28, 31])
def test_any_number_of_fields_keeps_the_record(fields):
    """Lines have grown from 18 to 27 fields and will grow on; those a line has are read, those it lacks are null."""
    words = line(tail=f"{TAIL} new - newer newest").split(" ")  # the time is two words, the request three
    row = row_of(" ".join(words[: fields + 3]))
    assert left_of(row) == TRUE_LEFT
    assert row.version_id == ("3HL4kqtJvjVBH40N" if fields >= 18 else None)
    assert row.tls == ("TLSv1.3" if fields >= 24 else None)
    assert row.access_point == (ACCESS_POINT if fields >= 25 else None)
    assert row.region == ("eu-west-1" if fields >= 27 else None)


@pytest.mark.parametrize("extra", ["-", "x1", "TLSv1.2"])
def test_an_extra_token_before_the_host_id_shifts_nothing(extra):
    """Some production lines have one more token before the host id; the fields after it are still its own."""
    row = row_of(line(tail=TAIL.replace(HOST_ID, f"{extra} {HOST_ID}")))
    assert row == row_of(line())


HOSTILE = [
    '"',
    '""',
    '" "',
    '-" "-" - - -',
    FAKE_404,
    f"/ HTTP/1.1{FAKE_404}",
    f'a HTTP/1.1" 403 AccessDenied 0 0 1 1 "-" "{FAKE_404}',
    line(status="403", error="AccessDenied", requester="-"),
    f'q" - {HOST_ID} SigV4 - QueryString h TLSv1.0 - - us-west-9',
    "\r",
    "\x85 \u2028 \x0b\x0c\x1c",
    "\x00\ufffd",
]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("field", ["referer", "agent"])
def test_no_header_can_fake_a_status_or_another_record(field, hostile):
    """Whatever a requester puts into referer or user agent, left fields and the fields after the agent stay true."""
    row = row_of(line(**{field: f'"{hostile}"'}))
    assert left_of(row) == TRUE_LEFT
    assert (row.auth, row.tls, row.region) == ("header", "TLSv1.3", "eu-west-1")


@pytest.mark.parametrize("hostile", [h.replace(" ", "%20") for h in HOSTILE] + ['a"b', '?a="x"&b=""', "\u00a0\u2003x"])
def test_no_request_target_can_fake_a_status(hostile):
    """Quotes in the target are not escaped by S3, but a target ends at its first space, so it cannot end early."""
    row = row_of(line(request=f'"GET /voice/{hostile} HTTP/1.1"', status="404", error="NoSuchKey", sent="-"))
    assert left_of(row) == TRUE_404


text_on_one_line = st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=80)
noise = st.lists(
    st.sampled_from([*HOSTILE, "200 - 1 1 1 1", " ", '" ', ' "', "-", OWNER]) | text_on_one_line, max_size=5
)


@given(noise.map("".join), noise.map("".join), noise.map("".join))
def test_a_line_with_any_headers_yields_its_true_left_fields(target, referer, agent):
    """The law behind the examples: requester-written text never reaches the fields that are counted."""
    target = target.replace(" ", "")
    text = line(request=f'"GET /{target} HTTP/1.1"', referer=f'"{referer}"', agent=f'"{agent}"')
    row = row_of(text)
    assert left_of(row) == TRUE_LEFT
    assert (row.tls, row.version_id, row.auth) == ("TLSv1.3", "3HL4kqtJvjVBH40N", "header")


@given(noise.map("".join))
@example(FAKE_404)
@example(f"b HTTP/1.1{FAKE_404} HTTP/1.1")
def test_a_target_with_spaces_cannot_hide_a_read(target):
    """A target with spaces has several possible ends; the reading that blames the requester most is taken."""
    row = row_of(line(request=f'"GET /a  {target} HTTP/1.1"'))
    assert row.outcome is Outcome.success
    assert row.bytes >= 4096
    assert (row.who, row.key, row.source_ip) == (TRUE_LEFT[5], "raw/a.wav", "192.0.2.7")


@pytest.mark.parametrize("request_line", ['"-"', '""', '"GET"', '"GET /voice/raw/a.wav"', '" "', '"PROPFIND * HTTP/2"'])
def test_an_odd_request_line_keeps_the_record(request_line):
    """The request line is the requester's too; one that is empty or of another shape does not lose the record."""
    assert left_of(row_of(line(request=request_line))) == TRUE_LEFT


def test_the_opening_quote_is_never_taken_for_the_closing_one():
    """A request line that begins with a space cannot put figures of its own in front of the true ones."""
    row = row_of(line(request='" 200 - 999999 1 1 1 x HTTP/1.1"', status="404", error="NoSuchKey", sent="-"))
    assert left_of(row) == TRUE_404


def test_two_records_in_one_line_keep_the_first():
    """Where a line break was lost the line is one record: the first, which its left fields are of."""
    second = line(at="02/May/2026:12:00:00 +0000", address="198.51.100.9", requester="-", status="403", sent="1")
    for first in (line(), line(tail="-"), line(tail=f"- {HOST_ID} -")):
        assert left_of(row_of(first + second)) == TRUE_LEFT
        assert left_of(row_of(f"{first} {second}")) == TRUE_LEFT


def test_a_double_space_before_the_requester_is_one():
    """Production lines have it; the requester is not taken for empty."""
    assert row_of(line(requester=f" {SESSION}")) == row_of(line())


def test_a_line_ending_of_windows_is_no_part_of_a_field():
    """A log that passed through a Windows tool reads the same."""
    rows, rejects = read(f"{line()}\r\n\r\n{line(tail='-')}\r\n")
    assert not rejects
    assert [left_of(row) for row in rows] == [TRUE_LEFT, TRUE_LEFT]
    assert rows[0] == row_of(line())


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("01/May/2026:12:00:00 +0000", NOON),
        ("01/May/2026:14:00:00 +0200", NOON),
        ("01/May/2026:08:15:00 -0345", NOON),
        ("31/Dec/2023:23:59:59 +0000", 1_704_067_199),
        ("29/Feb/2024:00:00:00 +0000", 1_709_164_800),
    ],
)
def test_times_with_an_offset_are_converted_to_utc(at, expected):
    """Times other than +0000 have been seen; event time is UTC."""
    assert row_of(line(at=at)).time == expected


@pytest.mark.parametrize(
    "at",
    [
        "30/Feb/2026:12:00:00 +0000",
        "01/Mai/2026:12:00:00 +0000",
        "01/May/2026:25:00:00 +0000",
        "01/May/0000:12:00:00 +0000",
        "\u0660\u0661/May/2026:12:00:00 +0000",
        "2026-05-01T12:00:00Z",
        "",
    ],
)
def test_a_time_that_is_none_is_a_reject(at):
    """A record without a time has no place in any window; it is not given a made-up one."""
    rows, rejects = read(f"\n{line(at=at)}\n")
    assert not rows
    assert [(r.file, r.position, r.reason) for r in rejects] == [("log", 2, "bad_time")]


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        ("200", "-", Outcome.success),
        ("206", "-", Outcome.success),
        ("204", "-", Outcome.success),
        ("-", "-", Outcome.success),
        ("-", "AccessDenied", Outcome.denied),
        ("-", "InternalError", Outcome.error),
        ("401", "-", Outcome.denied),
        ("403", "AccessDenied", Outcome.denied),
        ("304", "-", Outcome.error),
        ("404", "NoSuchKey", Outcome.error),
        ("412", "PreconditionFailed", Outcome.error),
        ("503", "SlowDown", Outcome.error),
    ],
)
def test_outcomes_are_the_contracts(status, error, outcome):
    """2xx succeeded, 401 and 403 were denied, all else failed; a line without status goes by its error code."""
    row = row_of(line(status=status, error=error))
    assert (row.outcome, row.status) == (outcome, -1 if status == "-" else int(status))


def test_bytes_that_are_not_given_are_none_sent():
    """S3 writes `-` for zero bytes sent."""
    assert row_of(line(sent="-")).bytes == 0


@pytest.mark.parametrize("operation", ["REST.COPY.OBJECT_GET", "REST.COPY.PART_GET"])
def test_the_source_of_a_copy_is_a_successful_copy(operation):
    """The source bucket's line of a copy has no request, status or agent; it is the only trace of the theft there."""
    left = f"{OWNER} voice [01/May/2026:12:00:00 +0000] - {SESSION} 3E57427F3EXAMPLE {operation} raw/a.wav"
    row = row_of(f"{left} - - - - - - - - - - {HOST_ID} SigV4 - AuthHeader - TLSv1.3 - -")
    assert (row.operation, row.outcome, row.bytes, row.status) == (Operation.copy, Outcome.success, 0, -1)
    assert (row.key, row.source_ip, row.user_agent, row.auth) == ("raw/a.wav", None, None, "header")


@pytest.mark.parametrize(
    ("referer", "agent", "expected"),
    [
        ('"-"', '"curl/8"', "curl/8"),
        ('"-"', '"-"', None),
        ('"-"', '""', None),
        ("-", '"curl/8"', "curl/8"),
        ('"https://a/"', "-", None),
        ("-", "-", None),
        ('"-"', '""Mozilla/5.0 (X11)"', '"Mozilla/5.0 (X11)'),
        ('"https://a/?q="b""', '"curl "8""', 'curl "8"'),
    ],
)
def test_the_user_agent_is_found_beside_any_referer(referer, agent, expected):
    """Quoted, unquoted and with quotes inside: the agent shown as evidence is the one that was sent."""
    row = row_of(line(referer=referer, agent=agent))
    assert row.user_agent == expected
    assert (row.version_id, row.auth, row.tls) == ("3HL4kqtJvjVBH40N", "header", "TLSv1.3")


@pytest.mark.parametrize(
    ("requester", "type_", "session", "role", "account", "name"),
    [
        (SESSION, "AssumedRole", SESSION, ROLE, "111122223333", "contractor-42"),
        (f"{CHINA}/i-0a1", "AssumedRole", f"{CHINA}/i-0a1", CHINA, "111122223333", "i-0a1"),
        ("arn:aws:iam::123:user/ops/jane", "IAMUser", *["arn:aws:iam::123:user/ops/jane"] * 2, "123", None),
        ("arn:aws:iam::123:root", "Root", *["arn:aws:iam::123:root"] * 2, "123", None),
        ("arn:aws:sts::123:federated-user/b", "FederatedUser", *["arn:aws:sts::123:federated-user/b"] * 2, "123", None),
        ("arn:aws:iam::123:role/R", "unknown", *["arn:aws:iam::123:role/R"] * 2, "123", None),
        ("svc:s3.amazonaws.com", "AWSService", *["service:s3.amazonaws.com"] * 3, None),
        ("-", "anonymous", "anonymous@192.0.2.7", "anonymous", "anonymous", None),
        (OWNER, "Canonical", OWNER, OWNER, OWNER, None),
        ("arn:nonsense", "unknown", *["arn:nonsense"] * 3, None),
        ("AIDAEXAMPLE", "unknown", *["AIDAEXAMPLE"] * 3, None),
    ],
)  # fmt: skip
def test_every_requester_has_a_value_at_every_level(requester, type_, session, role, account, name):
    """Who asked is keyed as the contract's table says; no form of requester falls out of a count."""
    row = row_of(line(requester=requester))
    who = row.who
    assert who is not None
    assert (who.type, who.session, who.role, who.account, who.session_name) == (type_, session, role, account, name)
    assert (who.session_shown, who.role_shown) == (session, role)
    assert row.has_arn == requester.startswith("arn:")


def test_anonymous_requesters_are_told_apart_by_address():
    """Two strangers are two sessions, whatever order their lines come in; IPv6 is an address too."""
    rows, _ = read("\n".join(line(requester="-", address=a) for a in ("192.0.2.1", "2001:db8::1", "-", "192.0.2.1")))
    assert [row.who.session for row in rows if row.who] == [
        "anonymous@192.0.2.1",
        "anonymous@2001:db8::1",
        "anonymous@unknown",
        "anonymous@192.0.2.1",
    ]
    assert [row.source_ip for row in rows] == ["192.0.2.1", "2001:db8::1", None, "192.0.2.1"]


@pytest.mark.parametrize(
    ("operation", "written", "key"),
    [
        ("REST.GET.OBJECT", "raw/a%2520b.wav", "raw/a b.wav"),
        ("REST.GET.OBJECT", "raw/a%20b.wav", "raw/a b.wav"),
        ("REST.GET.OBJECT", "raw/%25C3%25A9", "raw/é"),
        ("BATCH.DELETE.OBJECT", "raw/a%2520b.wav", "raw/a%20b.wav"),
        ("S3.EXPIRE.OBJECT", "raw/100%25.wav", "raw/100%.wav"),
        ("REST.GET.OBJECT", "raw/a+b", "raw/a+b"),
        ("REST.GET.OBJECT", "%FF%ED%A0%80", "�" * 4),
        ("REST.GET.OBJECT", "-", None),
    ],
)
def test_keys_are_decoded_as_often_as_s3_encoded_them(operation, written, key):
    """The key is the object's, so that it agrees with CloudTrail's; bytes that are no text never make a surrogate."""
    assert row_of(line(operation=operation, key=written)).key == key


def test_the_dedup_id_is_the_contracts_hash_of_the_raw_fields():
    """A line delivered twice has one id; another key of the same multi-object delete has another."""
    row = row_of(line(key="raw/a%2520b"))
    event_id = f"{text_hash(chr(0).join(['3E57427F3EXAMPLE', 'REST.GET.OBJECT', 'voice', 'raw/a%2520b'])):016x}"
    assert (row.event_id, row.id) == (event_id, text_hash(event_id))
    assert row_of(line(key="raw/a%20b")).id != row.id
    assert row_of(line(key="raw/a%2520b", agent='"other"', tail="-")).id == row.id


@pytest.mark.parametrize(
    ("query", "tail", "expected"),
    [
        (SIGNED, QUERY_TAIL, ("query", NOON - 300, 3600)),
        (SIGNED, "-", ("query", NOON - 300, 3600)),  # 18 fields: the log does not say, the signature does
        (SIGNED, TAIL, ("header", -1, -1)),
        ("AWSAccessKeyId=A&Signature=b&Expires=1", QUERY_TAIL, ("query", -1, -1)),
        (SIGNED.replace("20260501", "20261399"), QUERY_TAIL, ("query", -1, 3600)),
        (SIGNED.replace("3600", "9" * 30), QUERY_TAIL, ("query", NOON - 300, -1)),
        ("versionId=1", TAIL.replace("AuthHeader", "-"), ("none", -1, -1)),
    ],
)
def test_a_pre_signed_url_says_when_it_was_signed_and_for_how_long(query, tail, expected):
    """Age and lifetime of a leaked link come from the request; a nonsensical one is null, no error."""
    row = row_of(line(request=f'"GET /voice/raw/a.wav?{query} HTTP/1.1"', tail=tail))
    assert (row.auth, row.signed_at, row.signed_for) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hello", "not_an_access_log_line"),
        ("#Version: 1.0", "not_an_access_log_line"),
        ('192.0.2.1 - - [01/May/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 5', "not_an_access_log_line"),
        (line()[:200], "not_an_access_log_line"),
        (line(sent="", tail="").split(" 8192")[0], "incomplete_line"),
        (line(request="-", status="OK"), "incomplete_line"),
        (line(request="-", status="OK", agent=f'"{FAKE_404}"'), "incomplete_line"),
        (line(sent="9" * 19), "incomplete_line"),
        (line(agent='"' + "x" * 70_000 + '"'), "line_too_long"),
    ],
)
def test_what_is_no_line_is_a_reject_with_its_number_and_reason(text, reason):
    """A line that cannot be read is filed, and the good lines around it flow on."""
    rows, rejects = read(f"{line()}\n\n{text}\n{line()}")
    assert [left_of(row) for row in rows] == [TRUE_LEFT, TRUE_LEFT]
    assert [(r.position, r.reason) for r in rejects] == [(3, reason)]


def test_the_longest_line_is_a_parameter_counted_in_bytes():
    """A line of exactly the limit is read, one byte more is not."""
    data, into = line().encode(), BatchBuilder()
    parse(data, "log", into, longest_line=len(data))
    parse(data, "log", into, longest_line=len(data) - 1)
    rows, rejects = taken(into)
    assert (len(rows), [r.reason for r in rejects]) == (1, ["line_too_long"])


SURROGATE = re.compile("[\ud800-\udfff]")


@given(st.lists(st.binary(max_size=60) | MANGLED, max_size=6), st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n"]))
def test_the_books_balance_for_any_bytes(parts, between):
    """Rows and rejects together are the lines that are not blank, whatever the file holds; all rows make a batch."""
    data, into = between.join(parts), BatchBuilder()
    parse(data, "log", into)
    rows, rejects = taken(into)
    assert len(rows) + len(rejects) == sum(bool(part.strip()) for part in data.split(b"\n"))
    assert not any(SURROGATE.search(text) for row in rows for text in row if isinstance(text, str))


def assert_read_exactly(data, longest=65_536, asked=COLUMNS):
    """Rows and rejects of a log are those of the exact parser, line by line."""
    rows, rejects, into = [], [], BatchBuilder(asked)
    for number, one in enumerate(data.split(b"\n"), 1):
        made = "line_too_long" if len(one) > longest else exactly(one)
        if isinstance(made, Row):
            rows.append(made)
        elif one.strip():
            rejects.append((number, made))
    parse(data, "log", into, longest)
    assert [(reject.position, reject.reason) for reject in into.rejects] == rejects
    found = into.build()
    if asked == COLUMNS:
        assert rows_of(found) == rows
    assert [
        (time, id_, bytes_, *(found.text[name].text(row) for name in found.text))
        for row, (time, id_, bytes_) in enumerate(zip(found.time, found.id, found.bytes, strict=True))
    ] == [
        (row.time, row.id, row.bytes if "bytes" in asked else 0, *(getattr(row, name) for name in found.text))
        for row in rows
    ]


@given(LOGS, st.sampled_from([700, 3_500, 65_536]), st.sampled_from([1, 2_000, 1 << 20]), st.sampled_from([0, 1, 2, 9]))
def test_lines_are_read_as_the_exact_parser_reads_them(data, longest, piece, room):
    """In pieces of any size, few or many lines together or none: the same rows and rejects, in the same order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_access, "PIECE", piece)
        patch.setattr(server_access, "FEW", 0)
        patch.setattr(usual_lines, "ROOM", room)
        patch.setattr(kernel, "BUILT", kernel.BUILT and room > 0)
        assert_read_exactly(data, longest)
        assert_read_exactly(data, longest, frozenset({"key", "bytes", "auth"}))


def test_any_two_odd_fields_are_read_as_the_exact_parser_reads_them():
    """All of them, not only those that chance would choose, in one file."""
    odd = [(field, text) for field, texts in ODD.items() for text in texts]
    pairs = [dict(pair) for pair in combinations(odd, 2)]
    assert_read_exactly("\n".join(line(**fields) for fields in pairs).encode())


@pytest.mark.parametrize("junk", [b'"', b" ", b"-", b"0", b"9", b"/", b":", b"_", b"\t", b"\0", b"\r", b"\xc3", b""])
def test_a_byte_too_many_or_another_is_read_as_the_exact_parser_reads_it(junk):
    """At every place of a line: no check of the quick way is weaker than that parser's."""
    made = [line(tail="- h").encode(), line(request='"-"', status="-", sent="-", tail="").encode()]
    changed = [one[:at] + junk + one[at + gone :] for one in made for at in range(len(one)) for gone in (0, 1)]
    assert_read_exactly(b"\n".join(changed))


def test_what_lines_differ_in_is_never_taken_from_another_line():
    """Right fields are remembered without the host id; where another field stands in its place, it is not left out."""
    host_ids = [HOST_ID, HOST_ID[:38], HOST_ID[:37], "é" * 20, "ü" * 20, "x", "y", f"-{HOST_ID}", "z" * 40]
    tails = [
        f"{version} {host} {more}"
        for host in host_ids
        for version in ("-", "v1")
        for more in (
            f"{HOST_ID} SigV4 AuthHeader QueryString - TLSv1.3 - - eu-west-1",
            "SigV4 - AuthHeader h TLSv1.2 - -",
        )
    ]
    quoted = [('"-"', '"-"'), ('"a"', "-"), ("-", '"a"'), ('"a"', '"b"c"'), ('"', "-")]
    lines = [line(referer=referer, agent=agent, tail=tail) for referer, agent in quoted for tail in tails]
    assert_read_exactly("\n".join([*lines, *(one.removeprefix(OWNER) for one in lines)]).encode())


def exactly(one):
    """A line as the exact parser reads it."""
    return row_of_line(one.rstrip(b"\r").decode("utf-8", "replace"))


HEAD = line().split('"')[0]
BOMBS = {
    "spaces": " " * 65_000,
    "one word": "a" * 65_000,
    "quotes": HEAD + '"' * 60_000,
    "quoted spaces": HEAD + '" ' * 30_000,
    "statuses": HEAD + '" 200' * 12_000,
    "almost ends": HEAD + '" 200 - 1 1 1' * 4_500,
    "ends": HEAD + '"a  ' + '" 200 - 1 1 1 1 ' * 3_500,
    "request lines": HEAD + '"GET / HTTP/1.1 ' * 3_800,
    "long error": HEAD + '"GET / HTTP/1.1" 200 ' + "e" * 60_000,
    "digits": HEAD + '"GET / HTTP/1.1" 200 - ' + "1" * 60_000,
    "brackets": f"{OWNER} b [" * 800,
    "agent of quotes": line(agent='"' + '" "' * 20_000 + '"'),
    "tail of words": line(tail="- " * 30_000),
    "key of percents": line(key="%25" * 20_000),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_hostile_line_costs_one_pass(bomb):
    """64 KiB made to send a regular expression back and forth are read in linear time (here about a millisecond)."""
    into, data = BatchBuilder(), (bomb[:65_536] + "\n").encode() * 20
    started = time.process_time()
    parse(data, "log", into)
    assert time.process_time() - started < 2
    assert len(into) in (0, 20)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (line().encode(), True),
        (f"\n{line(requester=' -', address='2001:db8::1')}\n".encode(), True),
        (b"junk\r\n" + line(address="-").encode()[:150], True),
        (b'{"Records":[]}', False),
        (b'192.0.2.1 - - [01/May/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 5', False),
        (b"PAR1\x15\x04\x15", False),
        (b"", False),
    ],
)
def test_an_access_log_is_known_by_its_beginning(head, expected):
    """Files are told apart by content, not by name; a web server's log is not taken for S3's."""
    assert looks_like(head) is expected


def dandi_lines():
    """The lines that the dandi oracle was made from: those of s3-log-extraction's own test data."""
    folder = REAL_LOGS / "s3access"
    sources = [json.loads(text)["src"] for text in (folder / "dandi.src.jsonl").read_text().splitlines()]
    lines = (folder / "dandi.log").read_text().splitlines()
    return [text for text, source in zip(lines, sources, strict=True) if source.startswith("tests/example_logs/")]


@needs_real_logs
@pytest.mark.parametrize(("name", "count"), [("dandi", 24), ("opensearch_amazon_s3", 18)])
def test_every_real_line_is_read(name, count):
    """Production's hardest lines are rows, all of them, and recognised by content."""
    data, into = (REAL_LOGS / "s3access" / f"{name}.log").read_bytes(), BatchBuilder()
    parse(data, name, into)
    rows, rejects = taken(into)
    assert (len(rows), rejects) == (count, [])
    assert looks_like(data[:4096])
    assert all(row.tls in {"TLSv1.2", "TLSv1.3"} and row.auth and row.source_ip for row in rows)


@needs_real_logs
def test_real_reads_agree_with_an_independent_extraction():
    """Object by object: bytes, times, addresses, and whole (200) or part (206) are what s3-log-extraction found.

    That tool takes the successful reads of objects; its two 304 and its 404 lines are `error` here too. It knows no
    duplicates, so this compares rows before dedup: two of its lines share request id and key, one 304 and one 200.
    """
    expected = json.loads((REAL_LOGS / "expected" / "dandi.extraction.json").read_text())
    rows, _ = read("\n".join(dandi_lines()))
    found = {
        row.key: {
            "bytes_sent": [str(row.bytes)],
            "download": [str(int(row.status == 200))],
            "ips": [row.source_ip],
            "timestamps": [f"{datetime.fromtimestamp(row.time, UTC):%y%m%d%H%M%S}"],
        }
        for row in rows
        if row.operation is Operation.read and row.outcome is Outcome.success
    }
    assert found == expected
    assert [row.status for row in rows if row.outcome is not Outcome.success] == [404, 304, 304]


@needs_real_logs
def test_real_quirks_are_read_as_they_were_meant():
    """A quote too many, a URI full of quotes, a pre-signed request, a double space: each line's own fields."""
    rows, _ = read("\n".join(dandi_lines()))
    quote, attack, signed, spaced = rows[3], rows[4], rows[6], rows[9]
    assert quote.user_agent is not None
    assert quote.user_agent.startswith('"Mozilla/5.0')
    assert (attack.key, attack.status, attack.bytes) == ("/", 404, 272)
    assert attack.user_agent == "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)"
    assert (signed.auth, signed.time - signed.signed_at, signed.signed_for) == ("query", 8, 3600)
    assert spaced.who is not None
    assert (spaced.who.type, spaced.who.account) == ("IAMUser", "123")
