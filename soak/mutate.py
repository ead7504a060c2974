"""Structure-aware mutations: of gzip files, of JSON values, of lines and fields, of bytes.

A mutation is bytes → bytes, and all its chance is handed to it. What the bytes are is told by looking at them, so that
any input can be mutated further.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

from detector.logs.inflate import GZIP_MAGIC, inflate

INFLATED = 1 << 18
"""What a mutated file may inflate to: enough to find what takes too long, little enough to try often."""

DEEP = "[" * 3000 + "]" * 3000
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1 << 31, 1 << 46, 1 << 63, 10**30, 1.5, -0.0, 1e308, "", " ", "-", "0", "\0", "\ud83d",
    "é" * 40, "x" * 300, "true", "2026-05-01T09:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z",
    "20260501T090000Z", "arn:aws:s3:::b/k", "arn:aws:s3:us-east-1:1:accesspoint/p/object/k", "arn:::::",
    "b/%ff?versionId=", "AwsAggregatedEvent", "AWSService", "AssumedRole", "AWSAccount", "anonymous", "AccessDenied",
    "AROA:x", "::", "a/b/c/", '"}]}', [], {}, [[]], [None], {"": None}, {"aws:s3:arn": ["arn:aws:s3:::b/k"]},
)  # fmt: skip
NAMES = (
    "Records", "eventName", "eventTime", "@timestamp", "eventSource", "eventType", "eventCategory", "eventID",
    "addendum", "sharedEventID", "userIdentity", "requestParameters", "additionalEventData", "resources",
    "detail-type", "detail", "messageType", "logEvents", "message", "id", "timestamp", "Type", "Message", "s3Bucket",
    "s3ObjectKey", "s3", "object", "bucket", "key", "name", "bytesTransferredOut", "X-Amz-Expires",
    "x-amz-copy-source", "encryptionContext", "sample_id", "purpose", "requester", "ts", "outcome", "",
)  # fmt: skip
TOKENS = (
    b'{"Records":[', b"]}", b"}", b"{", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"\\ud83d\\ude00",
    b"\0", b"\x1e", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\n", b"\r\n", b"\r", b"\t", b" ",
    b"NaN", b"Infinity", b"1e999", b"-", b"null", b'"eventName":1,', b'{"eventVersion":"1.11",', b"%", b"%25",
    b"%252F", b"%ff", b'" 200 - 1 1 1 1', b' "-" "-" -', b' HTTP/1.1" ',
    b"?X-Amz-Date=20260501T000000Z&X-Amz-Expires=60&Signature=", b"svc:", b"arn:aws:sts::1:", b"assumed-role/a/b",
    b"[01/May/2026:12:00:00 +0000]", b"[31/Feb/0000:00:00:60 -9959]", b"\x1f\x8b", b"PAR1", b"9" * 400,
)  # fmt: skip


def mutated(data: bytes, chance: Random, most: int) -> bytes:
    """These bytes after one to four mutations, at most `most` of them."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = _once(data, chance)
    return data[:most]


def _once(data: bytes, chance: Random) -> bytes:
    if data.startswith(GZIP_MAGIC):
        if chance.random() < 0.5:
            return chance.choice(CONTAINER)(data, chance)
        return gzip.compress(_once(inflate(data, INFLATED).data, chance), chance.choice((0, 1, 9)), mtime=0)
    if chance.random() < 0.02:
        return gzip.compress(data, 1, mtime=0)
    if chance.random() < 0.2:
        return chance.choice(BYTES)(data, chance)
    if (unpacked := _base64(data)) is not None:
        return base64.b64encode(_once(unpacked, chance))
    if data.lstrip()[:1] in {b"{", b"["}:
        return _json(data, chance)
    return chance.choice(LINES)(data, chance)


def _base64(data: bytes) -> bytes | None:
    """The gzip that a message of CloudWatch Logs holds, or None."""
    try:
        return base64.b64decode(data, validate=True) if data.startswith(b"H4sI") else None
    except binascii.Error:
        return None


# --- gzip: members, cuts, checksums, padding


def _split(data: bytes, chance: Random) -> bytes:
    content = inflate(data, INFLATED).data
    at = sorted(chance.randint(0, len(content)) for _ in range(chance.choice((1, 2, 20))))
    pieces = [content[a:b] for a, b in zip([0, *at], [*at, len(content)], strict=True)]
    return b"".join(gzip.compress(piece, chance.choice((0, 6)), mtime=0) for piece in pieces)


def _cut(data: bytes, chance: Random) -> bytes:
    return data[: chance.randint(0, len(data))]


def _damaged(data: bytes, chance: Random) -> bytes:
    """A bit of the header, of the checksum, or anywhere."""
    at = chance.choice((chance.randrange(12), len(data) - 1 - chance.randrange(8), chance.randrange(len(data))))
    at = max(0, min(at, len(data) - 1))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _followed(data: bytes, chance: Random) -> bytes:
    return data + chance.choice((b"\0", b"\0" * 512, b"junk", GZIP_MAGIC, data, data[: len(data) // 2]))


def _named(data: bytes, _chance: Random) -> bytes:
    """A header with a file name, a comment, an extra field and its own checksum, all at once."""
    header = b"\x1f\x8b\x08\x1e" + b"\0" * 6 + b"\x04\0ab\1\0" + b"name\0" + b"comment\0"
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    content = inflate(data, INFLATED).data
    body = packer.compress(content) + packer.flush()
    sizes = zlib.crc32(content).to_bytes(4, "little") + (len(content) & 0xFFFFFFFF).to_bytes(4, "little")
    return header + (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little") + body + sizes


Mutation = Callable[[bytes, Random], bytes]
CONTAINER: tuple[Mutation, ...] = (_split, _cut, _damaged, _followed, _named)


# --- JSON: a value in the tree is replaced, moved, doubled, wrapped, renamed; then the text is written in some form


def _json(data: bytes, chance: Random) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _lined(data, chance)
    holder = [value]
    for _ in range(chance.choice((1, 1, 2, 3))):
        _change(holder, chance)
    return _written(holder[0] if holder else None, chance)


def _lined(data: bytes, chance: Random) -> bytes:
    """What is no one JSON value: lines of JSON, or broken."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    if len(lines) > 1 and lines[at].startswith(b"{") and chance.random() < 0.5:
        lines[at] = _json(lines[at], chance).replace(b"\n", b" ")
        return b"\n".join(lines)
    return chance.choice(BYTES if chance.random() < 0.5 else LINES)(data, chance)


def _change(root: list[Any], chance: Random) -> None:
    """Change one place of a tree: its holder is a list or a dict, its place an index or a name."""
    places: list[tuple[Any, Any]] = [(root, 0)] if root else []
    for holder, at in places:
        inner = holder[at]
        if isinstance(inner, dict):
            places += [(inner, name) for name in inner]
        elif isinstance(inner, list):
            places += [(inner, index) for index in range(len(inner))]
        if len(places) > 400:
            break
    if places:
        holder, at = chance.choice(places)
        other_holder, other = chance.choice(places)
        chance.choice(TREE)(holder, at, other_holder[other], chance)


def _replace(holder: Any, at: Any, _other: Any, chance: Random) -> None:
    holder[at] = _odd(chance)


def _odd(chance: Random) -> Any:
    return deepcopy(chance.choice(VALUES))


def _remove(holder: Any, at: Any, _other: Any, _chance: Random) -> None:
    del holder[at]


def _insert(holder: Any, at: Any, other: Any, chance: Random) -> None:
    """A copy of another part, or an odd value, beside this one."""
    new = json.loads(json.dumps(other)) if chance.random() < 0.5 else _odd(chance)
    if isinstance(holder, list):
        holder.insert(at, new)
    else:
        holder[chance.choice(NAMES)] = new


def _copy(holder: Any, at: Any, other: Any, _chance: Random) -> None:
    holder[at] = json.loads(json.dumps(other))


def _rename(holder: Any, at: Any, other: Any, chance: Random) -> None:
    if isinstance(holder, dict):
        holder[chance.choice(NAMES)] = holder.pop(at)
    else:
        _replace(holder, at, other, chance)


def _repeat(holder: Any, at: Any, _other: Any, chance: Random) -> None:
    inner = holder[at]
    many = chance.choice((2, 3, 50))
    if isinstance(inner, str | list) and len(inner) * many < 4000:
        holder[at] = inner * many
    else:
        holder[at] = [inner] * 3


def _wrap(holder: Any, at: Any, _other: Any, chance: Random) -> None:
    """In something that wraps records, or as text."""
    inner = holder[at]
    holder[at] = chance.choice(
        (
            [inner], {"Records": [inner]}, {"detail-type": "AWS API Call via CloudTrail", "detail": inner},
            {"id": "1", "timestamp": 1, "message": json.dumps(inner)}, json.dumps(inner), str(inner),
            {"messageType": "DATA_MESSAGE", "logEvents": [{"id": "1", "timestamp": 1, "message": json.dumps(inner)}]},
            {"Type": "Notification", "Message": json.dumps(inner)}, {"s3Bucket": "trail-logs", "s3ObjectKey": inner},
        )
    )  # fmt: skip


TREE: tuple[Callable[[Any, Any, Any, Random], None], ...] = (
    _replace, _replace, _replace, _remove, _insert, _copy, _rename, _repeat, _wrap,
)  # fmt: skip


def _written(value: Any, chance: Random) -> bytes:
    """A value as text: compact, indented, sorted, one record a line, not escaped, nested deeply."""
    style = chance.random()
    if style < 0.1 and isinstance(value, dict) and isinstance(value.get("Records"), list):
        return b"\n".join(json.dumps(one).encode() for one in value["Records"])
    if style < 0.2:
        return json.dumps(value, indent=1).encode()
    if style < 0.3:
        return json.dumps(value, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("null", DEEP, 1).encode() if style < 0.32 else text.encode()


# --- lines and their fields


def _line(change: Callable[[bytes, Random], bytes]) -> Mutation:
    """Change one line of many."""

    def changed(data: bytes, chance: Random) -> bytes:
        lines = data.split(b"\n")
        at = chance.randrange(len(lines))
        lines[at] = change(lines[at], chance)
        return b"\n".join(lines)

    return changed


def _fields(line: bytes, chance: Random) -> bytes:
    """A field removed, doubled, swapped, emptied, or with something hostile in it."""
    fields = line.split(b" ")
    at, other = chance.randrange(len(fields)), chance.randrange(len(fields))
    match chance.randrange(6):
        case 0:
            del fields[at]
        case 1:
            fields.insert(at, fields[other])
        case 2:
            fields[at], fields[other] = fields[other], fields[at]
        case 3:
            fields[at] = chance.choice((b"", b"-", b'"-"', b'""', b"0", b"-1", b"9" * 18, b"9" * 19, b"%2525"))
        case 4:
            fields[at] = chance.choice(TOKENS)
        case _:
            fields[at] = _token(fields[at], chance)
    return b" ".join(fields)


def _doubled(line: bytes, _chance: Random) -> bytes:
    return line + b"\n" + line


def _joined(data: bytes, chance: Random) -> bytes:
    """Two lines run together, as where a line break was lost."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    return b"\n".join([*lines[:at], b"".join(lines[at : at + 2]), *lines[at + 2 :]])


LINES: tuple[Mutation, ...] = (_line(_fields), _line(_fields), _line(_fields), _line(_doubled), _line(_cut), _joined)


# --- bytes


def _token(data: bytes, chance: Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + chance.choice(TOKENS) + data[at:]


def _lost(data: bytes, chance: Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + data[at + chance.choice((1, 1, 2, 20, 300)) :]


def _flipped(data: bytes, chance: Random) -> bytes:
    return _damaged(data, chance) if data else b"\0"


def _pumped(data: bytes, chance: Random) -> bytes:
    """A piece very often: what costs more than its length in time."""
    at, size = chance.randint(0, len(data)), chance.choice((1, 2, 5, 20, 100))
    piece = data[at : at + size] or chance.choice(TOKENS)
    return data[:at] + piece * chance.choice((3, 100, max(1, 20_000 // len(piece)))) + data[at:]


BYTES: tuple[Mutation, ...] = (_token, _token, _token, _lost, _flipped, _cut, _pumped)
