"""What is in a decoy: bytes that look at first sight like what its name says, and hold nothing. Pure.

`noise` decides them, so that a plan can be carried out again, and what lies there can be told from what does not.
Texts and sound are whole; of other formats the first bytes are right, and the rest is noise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import shake_256

MAGIC: dict[str, bytes] = {
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04",
    "avi": b"RIFF\x00\x00\x00\x00AVI LIST",
    "bmp": b"BM",
    "bz2": b"BZh91AY&SY",
    "flac": b"fLaC\x00\x00\x00\x22",
    "gif": b"GIF89a",
    "gz": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    "h5": b"\x89HDF\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00",
    "jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00",
    "m4a": b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00",
    "mkv": b"\x1a\x45\xdf\xa3",
    "mp3": b"ID3\x04\x00\x00\x00\x00\x00\x00\xff\xfb\x90\x64",
    "mp4": b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41",
    "npy": b"\x93NUMPY\x01\x00",
    "ogg": b"OggS\x00\x02",
    "opus": b"OggS\x00\x02",
    "orc": b"ORC",
    "parquet": b"PAR1\x15\x04\x15",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "tif": b"II*\x00",
    "webm": b"\x1a\x45\xdf\xa3",
    "xlsx": b"PK\x03\x04\x14\x00\x06\x00",
    "xz": b"\xfd7zXZ\x00\x00\x04",
    "zip": b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
    "zst": b"\x28\xb5\x2f\xfd",
}
"""Extension → how files of that kind begin. Source: the formats' own specifications."""


def content(key: str, size: int, noise: str) -> bytes:
    """The bytes of a decoy of this name, `size` of them."""
    extension = key.rpartition("/")[2].rpartition(".")[2].lower()
    if extension in TEXTS:
        return _lines(TEXTS[extension], size, noise)
    if extension == "json":
        return _document(size, noise)
    if extension == "wav":
        return _wav(size, noise)
    head = MAGIC.get(extension, b"")[:size]
    return head + shake_256(noise.encode()).digest(size - len(head))


def _csv(number: int, text: str) -> str:
    return f"{number + 1},{text[:12]},{int(text[12:18], 16)},{text[18:26]}\n"


def _json(number: int, text: str) -> str:
    return f'{{"id": "{text[:12]}", "n": {number + 1}, "value": {int(text[12:18], 16)}, "ref": "{text[18:26]}"}}\n'


def _text(number: int, text: str) -> str:
    return f"{number + 1:06d} {text[:8]} {text[8:16]} {text[16:26]}\n"


TEXTS: dict[str, Callable[[int, str], str]] = {
    "csv": _csv, "jsonl": _json, "ndjson": _json, "log": _text, "md": _text, "srt": _text,
    "textgrid": _text, "tsv": lambda number, text: _csv(number, text).replace(",", "\t"), "txt": _text,
}  # fmt: skip
"""Extension → a line of such a file: by its number and 26 hexadecimal digits."""


def _lines(line: Callable[[int, str], str], size: int, noise: str) -> bytes:
    """Whole lines as far as they go; the last is filled up with blanks, so that a reader of lines takes it."""
    made = bytearray()
    drawn = shake_256(noise.encode()).hexdigest(max(size, 26))
    for number in range(size // 20 + 1):
        at = number * 26 % max(1, len(drawn) - 26)
        one = line(number, drawn[at : at + 26]).encode()
        if len(made) + len(one) > size:
            break
        made += one
    return bytes(made[:-1] + b" " * (size - len(made)) + made[-1:]) if made else b" " * size


def _document(size: int, noise: str) -> bytes:
    """One list of records."""
    inside = _lines(_json, size - 2, noise).rstrip() if size > 2 else b""
    listed = inside.replace(b"\n", b",")  # one byte for another
    return (b"[" + listed + b" " * (size - 2 - len(listed)) + b"]")[:size]


def _wav(size: int, noise: str) -> bytes:
    """One channel of 16 bits, 16 kHz: a low hiss."""
    data = max(0, size - 44) // 2 * 2
    head = (
        b"RIFF" + struct.pack("<I", 36 + data) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    )
    head += b"data" + struct.pack("<I", data)
    hiss = bytearray(data)
    hiss[0::2] = shake_256(noise.encode()).digest(data // 2)
    return (head + bytes(hiss) + b"\0" * size)[:size]
