"""The kernel finds the usual lines of an access log, no others, and says of them what the exact parser says."""

from __future__ import annotations

import os
import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core import met
from detector.core.access import COLUMNS, Row
from detector.core.builder import BatchBuilder
from detector.logs import kernel, server_access, usual_lines
from detector.logs.access_line import epoch_seconds, row_of
from detector.logs.usual_columns import columns, told_apart
from tests.access_lines import HOST_ID, LOGS, ODD, OWNER, TAIL, line
from tests.real_logs import REAL_LOGS, needs_real_logs
from tests.records import taken

REQUIRED = os.environ.get("BUCKETWATCH_REQUIRE_ALL") == "1"
pytestmark = pytest.mark.skipif(
    not kernel.BUILT and not REQUIRED, reason="the kernel is not built: needs a C compiler and Python's headers"
)
LONGEST = 65_536

FIELD = rb"[!#-\x7f]+"
USUAL = re.compile(
    rb"(?P<left>%(f)s %(f)s \[(?P<time>[^\]]{26})\] %(f)s %(f)s %(f)s %(f)s %(f)s) "
    rb'(?:"[A-Za-z_-]{1,32} %(f)s HTTP/[0-9.]{1,8}"|"-"|-) (?:[0-9]{3}|-) [\w.:-]{1,99}(?: (?:[0-9]{1,18}|-)){4} .*'
    % {b"f": FIELD},
    re.DOTALL,
)


def is_usual(one, longest=LONGEST):
    """What `_lines.c` says a usual line is, said otherwise."""
    match = USUAL.fullmatch(one)
    return (
        match is not None
        and len(one) <= longest
        and len(match["left"]) <= 2048
        and match["time"].isascii()
        and epoch_seconds(match["time"].decode()) is not None
    )


def found(data, room=usual_lines.ROOM, longest=LONGEST, asked=COLUMNS):
    """Line → its row, for the usual lines; begin and end of every other line; how many lines there are."""
    rows, others, lines, at = {}, {}, 0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(usual_lines, "ROOM", room)
        while at < len(data):
            usual = usual_lines.usual_lines(data, at, longest, told_apart(asked))
            into = BatchBuilder(asked)
            if len(usual):
                into.extend(columns(usual, into))
            made, _ = taken(into)
            rows |= {lines + number: row for number, row in zip(usual.number.tolist(), made, strict=True)}
            others |= {lines + number: (begin, end) for number, begin, end in usual.others}
            lines += usual.lines
            at = usual.end
    return rows, others, lines


def assert_found(data, room=usual_lines.ROOM, longest=LONGEST):
    """All lines are told, each as what it is, and the usual ones are rows as the exact parser reads them."""
    every = data.split(b"\n")
    every = every if every[-1] else every[:-1]
    rows, others, lines = found(data, room, longest)
    assert lines == len(every)
    assert {n: data[begin:end] for n, (begin, end) in others.items()} == {
        n: one for n, one in enumerate(every) if not is_usual(one, longest)
    }
    assert rows == {n: exactly(one) for n, one in enumerate(every) if is_usual(one, longest)}


def exactly(one):
    row = row_of(one.rstrip(b"\r").decode("utf-8", "replace"))
    assert isinstance(row, Row)
    return row


def test_it_is_built():
    assert kernel.BUILT, "install a C compiler and Python's headers (on Debian: gcc libc6-dev python3-dev)"


HOST_IDS = [HOST_ID.encode(), HOST_ID[:38].encode(), HOST_ID[:37].encode(), "é".encode() * 19]
ORDINARY = [
    line(),
    line(requester="-", address="2001:db8::1", status="403", error="AccessDenied", sent="243"),
    line(request='"-"', operation="S3.EXPIRE.OBJECT", status="-", sent="-"),
    line(request="-", operation="REST.COPY.OBJECT_GET", address="-", status="-", referer="-", agent="-", key="-"),
    line(request='"PUT /!/?partNumber=1 HTTP/1.0"', key="raw/%21!.wav", at="31/Dec/2025:23:59:59 -0130"),
    line(sent="123456789012345678", referer='"https://a/?q="b""', agent='"curl "é" \\"', tail="-"),
    line(request="-", referer="", agent="", tail="") + " ",
]


def test_ordinary_lines_are_usual_in_any_room():
    data = "\n".join([*ORDINARY, "hello", *ORDINARY]).encode()
    for room in range(1, 2 * len(ORDINARY) + 2):
        rows, others, _ = found(data, room)
        assert list(others) == [len(ORDINARY)]
        assert [rows[number] for number in sorted(rows)] == [exactly(one.encode()) for one in ORDINARY * 2]


@given(LOGS, st.sampled_from([700, 3_500, LONGEST]), st.sampled_from([1, 2, 100]))
def test_of_any_log_the_usual_lines_are_found_and_read_as_the_exact_parser_reads_them(data, longest, room):
    assert_found(data, room, longest)


def test_any_two_odd_fields():
    odd = [(field, text) for field, texts in ODD.items() for text in texts]
    assert_found("\n".join(line(**dict(pair)) for pair in combinations(odd, 2)).encode())


@pytest.mark.parametrize("junk", [b'"', b" ", b"-", b"0", b"/", b":", b"!", b"\t", b"\0", b"\r", b"\x7f", b"\xc3", b""])
def test_a_byte_too_many_or_another_at_every_place(junk):
    made = [line(tail="- h").encode(), ORDINARY[3].encode()]
    assert_found(
        b"\n".join(one[:at] + junk + one[at + gone :] for one in made for at in range(len(one)) for gone in (0, 1))
    )


def test_every_cut_of_a_line():
    """At the end of a log too, where nothing is beyond it that may be looked at."""
    for one in (line(tail="- h").encode(), ORDINARY[3].encode()):
        assert_found(b"\n".join(one[:at] for at in range(len(one) + 1)))
        for at in range(1, len(one) + 1):
            assert_found(one[:at])


@pytest.mark.parametrize("more", [0, 1])
def test_lengths_are_held_to_the_byte(more):
    """A line as long as may be, as much left of the request as may be, and one byte more."""
    left = len(line(key="").split(' "')[0])
    assert bool(found(line(key="k" * (2048 - left + more)).encode())[0]) is not bool(more)
    assert bool(found(line().encode(), longest=len(line()) - more)[0]) is not bool(more)


TWO = st.integers(0, 61)
TIMES = st.builds(
    "{:02}/{}/{:04}:{:02}:{:02}:{:02} {}{:02}{:02}".format,
    st.integers(0, 32),
    st.sampled_from(["Jan", "Feb", "Mar", "Apr", "Dec", "Jam", "jan"]),
    st.one_of(st.integers(0, 9999), st.sampled_from([1900, 1969, 1970, 2000, 2100, 2242, 2024])),
    *(st.integers(0, 24), TWO, TWO, st.sampled_from("+- "), st.integers(0, 99), TWO),
)
WITHIN = st.builds(
    "{}:{:02}{}{:02} {}".format,
    st.sampled_from(["01/Jan/1970:00", "16/Mar/2242:12", "01/May/2026:07"]),
    *(TWO, st.sampled_from("::-"), TWO, st.sampled_from(["+0000", "-0000", "+0030"])),
)


@given(st.lists(TIMES, min_size=1, max_size=4) | st.lists(WITHIN, min_size=2, max_size=9))
def test_times_are_read_as_everywhere(texts):
    """Also those within the hour of the line before."""
    rows, _, _ = found("\n".join(line(at=text) for text in texts).encode())
    assert {n: row.time for n, row in rows.items()} == {
        n: epoch_seconds(text) for n, text in enumerate(texts) if epoch_seconds(text) is not None
    }


@pytest.mark.parametrize(
    ("before", "at"),
    [
        (None, "16/Mar/2242:12:56:31 +0000"),
        (None, "16/Mar/2242:12:56:32 +0000"),
        ("16/Mar/2242:12:56:31 +0000", "16/Mar/2242:12:56:32 +0000"),
        (None, "01/Jan/1970:00:29:59 +0030"),
        ("01/Jan/1970:00:30:00 +0030", "01/Jan/1970:00:29:59 +0030"),
        (None, "01/May/2026:12:00:00 +0059"),
        (None, "01/May/2026:12:00:00 +0060"),
        (None, "31/Dec/0000:23:59:59 +0000"),
    ],
)
def test_the_bounds_of_times(before, at):
    rows, _, lines = found("\n".join(line(at=text) for text in (before, at) if text).encode())
    time = epoch_seconds(at)
    assert (rows[lines - 1].time if lines - 1 in rows else None) == time


@pytest.mark.parametrize("host_id", HOST_IDS)
@pytest.mark.parametrize("quoted", [b'"-" "a"', b'"a"', b'- "a"', b'"-" "a""', b'"', b"-"])
def test_which_host_ids_are_left_out(quoted, host_id):
    right = b" ".join([quoted, b"-", host_id, b"SigV4 -"])
    assert told(right) == [without_host_id(right)]


def without_host_id(rest):
    """What of the right of a line is told apart, said otherwise."""
    quoted, quote, tail = rest.rpartition(b'"')
    fields = tail.split(b" ", 3)
    if quote and len(fields) == 4 and len(fields[2]) >= 38 and fields[2].isascii() and quoted.count(b'"') != 1:
        return quoted + quote + fields[0] + b" " + fields[1] + b" ", b" " + fields[3]
    return rest, None


PIECE = st.sampled_from([b'"', b" ", b"-", b"x", b"\xff", b"\r", b'"-" "a" ', TAIL.encode(), *HOST_IDS])
QUOTED = st.sampled_from([b'"-" "a"', b'"a"', b"- -", b'- "a"', b'"-" "a""', b'"', b"", b'"a" -'])
RIGHT = st.one_of(
    st.lists(PIECE, max_size=9).map(b"".join),
    st.builds(lambda *parts: b" ".join(parts), QUOTED, st.sampled_from([b"-", b"v", b""]), PIECE, PIECE),
)


@given(st.lists(RIGHT, min_size=1, max_size=4))
def test_a_host_id_is_left_out_where_it_takes_part_in_nothing(rights):
    assert told(*rights) == list(map(without_host_id, rights))


def told(*rights):
    """What of these rights of lines is told apart."""
    left = line(referer="", agent="", tail="").encode()
    data = b"\n".join(left + b" " + right for right in rights)
    usual = usual_lines.usual_lines(data, 0, LONGEST, frozenset({usual_lines.RIGHT, usual_lines.AFTER_HOST_ID}))
    return [
        tuple(data[begin:end] if begin >= 0 else None for begin, end in pair)
        for pair in usual.slices[[usual_lines.RIGHT, usual_lines.AFTER_HOST_ID]].transpose(1, 0, 2).tolist()
    ]


def test_ten_thousand_requesters_are_told_apart_over_several_rooms():
    names = [f"arn:aws:iam::1:user/u{n * 7919 % 10_000}" for n in range(10_000)] * 2
    data, into, who, at = "\n".join(line(requester=name, tail="") for name in names).encode(), BatchBuilder(), [], 0
    while at < len(data):
        usual = usual_lines.usual_lines(data, at, LONGEST, told_apart(COLUMNS))
        into.extend(columns(usual, into))
        at = usual.end
    who = into.build()
    assert [who.principals[code].session for code in who.who.tolist()] == names
    assert len(who.principals) == 10_000


@pytest.mark.parametrize("most", [1, 3, 1_000])
def test_whatever_is_remembered_of_requesters_every_line_has_its_own(most):
    """Also where nobody's address looks like an ARN, and where somebody is named like an address."""
    who = ["-", "-x", "arn:x", "arn:", "ar", "svc:arn:", "192.0.2.7", "arn:aws:iam::1:user/u"]
    lines = [
        line(requester=name, address=there, tail="") for there in ("arn:x", "-", "192.0.2.7", "arn:") for name in who
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(met, "MOST", most)
        for _ in range(2):
            assert_found("\n".join(lines).encode(), room=5)


def test_a_log_of_many_usual_lines_is_read_by_the_kernel_alone():
    into = BatchBuilder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_access, "row_of", None)
        server_access.parse("\n".join(ORDINARY * 20).encode(), "log", into)
    assert taken(into) == ([exactly(one.encode()) for one in ORDINARY * 20], [])


def test_only_what_is_asked_is_told_apart():
    assert usual_lines.OWNER in told_apart(frozenset({"partition"}))
    assert usual_lines.RIGHT in told_apart(frozenset({"signed_at"}))
    data = "\n".join(ORDINARY).encode()
    for name in COLUMNS:
        into = BatchBuilder(frozenset({name}))
        into.extend(columns(usual_lines.usual_lines(data, 0, LONGEST, told_apart(into.columns)), into))
        batch = into.build()
        expected = [getattr(exactly(one.encode()), name) for one in ORDINARY]
        answers = {**{n: c.texts() for n, c in batch.text.items()}, **{n: c.tolist() for n, c in batch.number.items()}}
        answers |= {"bytes": batch.bytes.tolist(), "partition": batch.partition.texts()}
        assert answers[name] == expected
        assert set(batch.text) | set(batch.number) == {name} - {"bytes", "partition"}


def test_buffers_that_do_not_fit_are_refused():
    data, count, room = line().encode(), usual_lines._COLUMNS, 4
    fitting = [
        np.zeros((count, room, 2), np.int32), np.zeros((count, room), np.int32), np.zeros((count, room), np.int32),
        np.zeros(count, np.int32), np.zeros((5, room), np.int64), np.zeros((3, room), np.int32),
    ]  # fmt: skip

    def read(at=0, asked=bytes(count), room=room, buffers=fitting):
        return kernel.usual_lines(data, at, LONGEST, asked, 0, room, *buffers)

    assert read() == (1, 0, len(data))
    assert read(at=len(data)) == (0, 0, len(data))
    assert read(room=0) == (0, 0, 0)
    for at in range(len(fitting)):
        short = [*fitting[:at], fitting[at].reshape(-1)[:-1].copy(), *fitting[at + 1 :]]
        with pytest.raises(ValueError, match="do not fit"):
            read(buffers=short)
    for wrong in ({"at": -1}, {"at": len(data) + 1}, {"room": 5}, {"room": -1}, {"asked": bytes(count - 1)}):
        with pytest.raises(ValueError, match="do not fit"):
            read(**wrong)


@needs_real_logs
def test_real_lines_are_told_as_they_are():
    files = sorted((REAL_LOGS / "s3access").glob("*.log"))
    for path in files:
        assert_found(path.read_bytes())
    assert sum(len(found(path.read_bytes())[0]) for path in files) > len(files)


def test_the_owner_of_a_line_is_as_written():
    """Even if it is the log's sign for nothing."""
    assert_found(line().replace(OWNER, "-").encode())
    assert_found(line().replace(" voice ", " - ").encode())
