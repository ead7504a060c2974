"""Lines of S3 server access logs: one as S3 writes it, odd ones, hostile ones. All names and addresses are invented."""

from __future__ import annotations

from hypothesis import strategies as st

OWNER = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"
HOST_ID = "DX8oFoKQx0o5V3lwEuWBxF5p2fSXrwINj0rnxmas0YgjWuPqYLK/vnW60Txh23K93aahe0IFw2c="
ROLE = "arn:aws:sts::111122223333:assumed-role/Reader"
CHINA = "arn:aws-cn:sts::111122223333:assumed-role/Reader"
SESSION = f"{ROLE}/contractor-42"
ACCESS_POINT = "arn:aws:s3:us-east-1:111122223333:accesspoint/voice"
TAIL = (
    f"3HL4kqtJvjVBH40N {HOST_ID} SigV4 TLS_AES_128_GCM_SHA256 AuthHeader h.s3.amazonaws.com TLSv1.3 "
    f"{ACCESS_POINT} Yes eu-west-1"
)


def line(
    *,
    at="01/May/2026:12:00:00 +0000",
    address="192.0.2.7",
    requester=SESSION,
    request_id="3E57427F3EXAMPLE",
    operation="REST.GET.OBJECT",
    key="raw/a.wav",
    request='"GET /voice/raw/a.wav HTTP/1.1"',
    status="200",
    error="-",
    sent="4096",
    referer='"-"',
    agent='"aws-cli/2.0"',
    tail=TAIL,
):
    """A line of an access log with these fields as written; `tail` is all from the version id on."""
    left = f"{OWNER} voice [{at}] {address} {requester} {request_id} {operation} {key} {request}"
    return " ".join(part for part in (left, status, error, sent, "8192 70 10", referer, agent, tail) if part)


FAKE_404 = f'x" 404 NoSuchKey - - 1 1 "-" "y" - {HOST_ID} - - - h TLSv1.2 - - eu-west-1'
SIGNED = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260501T115500Z&X-Amz-Expires=3600&X-Amz-Signature=abc"
QUERY_TAIL = TAIL.replace("AuthHeader", "QueryString")

MANGLED = st.builds(
    lambda text, at, junk: text.encode()[: at % 700] + junk + text.encode()[at % 700 :],
    st.sampled_from([line(), line(requester="-", tail="-"), line(request="-", referer="-", agent="-")]),
    st.integers(0, 10_000),
    st.binary(max_size=6) | st.sampled_from([b'"', b" ", b"\n", b"\r\n", b"\xff", b"-", b"]", b"%"]),
)
HOSTILE_BYTES = [
    b'"', b'""', b'" "', b"\\", b'\\"', b"\t", b"\0", b"\r", b"\x0b", b"\x1c", b"\x7f", b"!", b"#", b" ", b"  ", b"-",
    b"[", b"]", b"\xff", b"\xc3", b"\xc3\xa9", b"\xc2\xa0", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\x83",
    b"\xed\xa0\x80",
    b"a" * 3_000, b"HTTP/1.1", b"%2520", b"0", b":", b"/", FAKE_404.encode(),
]  # fmt: skip
"""Quotes, doubled and escaped; controls; spaces of other alphabets; what is no UTF-8; what is long."""
ODD = {
    "at": [
        "01/May/2026:12:59:59 +0000", "01/May/2026:12:60:00 +0000", "31/Feb/2026:12:00:00 +0000",
        "01/May/2026:24:00:00 +0000",
        "01/Jan/1970:00:30:00 +0030", "01/Jan/1970:00:30:00 +0031", "01/May/2026:12:0/:00 -0345",
        "01/May/2026:12:00-00 +0000",
        "16/Mar/2242:12:56:31 +0000", "16/Mar/2242:12:56:32 +0000", "1/May/26:1:1:1 +0", "\u0660",
    ],
    "requester": ["-", "-x", "arn:aws:sts::1:assumed-role/r/s", "svc:x.amazonaws.com", "a  b", " a", "", "{}", '"-"'],
    "address": ["-", "2001:db8::1", "", "é", '"'],
    "request_id": ["1", "-", "", "é", "R" * 30],
    "operation": ["BATCH.DELETE.OBJECT", "REST.GET.ACL", "REST.COPY.OBJECT_GET", "X", "-", ""],
    "key": ["-", "a%2520b", "%", "!", "k" * 1_000, "k" * 2_100, "é", '"', ""],
    "request": [
        "-", '"-"', '"x"', '""', '"- - -"', '"GET /a"b HTTP/1.1"', '"GET /a b HTTP/1.1"', '"GET  HTTP/1.1"',
        '"GET /é HTTP/1.1"',
        '"GET /a?X-Amz-Signature=1 HTTP/1.1"', f'"GET /a?{SIGNED} HTTP/1.1"', '"G3T /a HTTP/1.1"',
        '"PATCH_ME-now / HTTP/2"',
        f'"{"M" * 32} / HTTP/12345678"', f'"{"M" * 33} / HTTP/1"', '"GET / HTTP/123456789"', '"GET / HTTP/"',
        '"GET / FTP/1"', '"GET / HTTP/1.1 "', '" GET / HTTP/1.1"',
    ],
    "status": ["-", "206", "403", "2000", "٢٠٠", "20x", ""],
    "error": ["AccessDenied", "e" * 99, "e" * 100, "a/b", "é", ""],
    "sent": [
        "-", "7", "12345678", "123456789", "9" * 16, "9" * 17, "9" * 18, "9" * 19, "٣", "1x", "x1234567", "-1",
        "1 1", "",
        f"{1 << 46}", f"{(1 << 46) - 1}", "12345678x", "1234567/", "1234567:",
    ],
    "referer": ["-", '"a"b"', '"" ""', '"', "", '"é"'],
    "agent": ["-", '"-"', '"a" "b"', '"a" 200 - 1 1 1 1 "b"', '"é\u2028"', '"', '"b"c"', '"x"y', ""],
    "tail": [
        QUERY_TAIL, "-", "", f"- x {HOST_ID} SigV4", f"{'v' * 40} {HOST_ID} SigV4 - - h", "- h",
        f"- {HOST_ID[:37]} {HOST_ID} - - -",
        f"- {'é' * 20} {HOST_ID} - AuthHeader QueryString", f"{TAIL}\r", f"- {HOST_ID} ",
        f"  {HOST_ID} {HOST_ID} a b c",
    ],
}  # fmt: skip
ODD_LINES = st.lists(
    st.sampled_from([(field, text) for field, texts in ODD.items() for text in texts]), max_size=3
).map(lambda fields: line(**dict(fields)).encode())
HOSTILE_LINES = st.builds(
    lambda made, at, size, junk: made[: at % len(made)] + junk + made[at % len(made) + size :],
    ODD_LINES,
    st.integers(0, 1_000),
    st.integers(0, 2),
    st.sampled_from(HOSTILE_BYTES) | st.binary(max_size=4),
)
LOGS = st.builds(
    lambda lines, end: b"\n".join(lines) + end,
    st.lists(
        ODD_LINES | HOSTILE_LINES | MANGLED | st.sampled_from([b"", b" ", b"\r", line().encode() * 2]), max_size=8
    ),
    st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]),
)
