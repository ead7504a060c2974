"""Where the fields of usual server access log lines lie, for many lines at a time. Pure.

A line is usual if what stands left of its referer leaves nothing to choose:

    owner bucket [time] address requester request-id operation key "method target version" status … turn-around "re…

Its first separators (space, quote, and any control character, so that none can hide in a field) are these and no
others; no field is empty, and each is of the form that the exact parser of `access_line.py` demands. So that parser
has no other reading of it either, whatever the requester wrote. What stands right of the referer's first quote takes
no part in this. Instead of a whole request it may say `"-"`. A line that is not usual is not wrong: it is read by
itself.

All separators of a block are found by one comparison over its bytes; then each field is looked at in all lines at once.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detector.core.access import I64, U64, Column, Index, Mask, intern
from detector.logs.access_line import METHOD, RESULT, VERSION, epoch_seconds

Octets = npt.NDArray[np.uint8]

OWNER, BUCKET, _, _, ADDRESS, REQUESTER, REQUEST_ID, OPERATION, KEY = range(9)
"""Fields left of the request; the time is two."""
_REQUEST = b" " * 9 + b'"  "' + b" " * 7 + b'"'
_NO_REQUEST = b" " * 9 + b'""' + b" " * 7 + b'"'
"""The separators of a usual line up to the referer's first quote."""
_FIRST_BEYOND = ord("#")  # a byte below is a separator, or "!", which is none
_LENGTH_OF_TIME = len("[06/Feb/2019:00:00:38 +0000]")
_MINUTES_AND_SECONDS = [16, 17, 19, 20]
"""Places of their digits in a time."""
_LONGEST_LEFT = 2_048  # of all before the request; a key has at most 1,024 bytes, but may be spelled longer
_LONGEST_NUMBER = 16  # digits; objects have at most 14
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_METHOD, _VERSION, _RESULT = (re.compile(form, re.ASCII) for form in (METHOD, VERSION, RESULT))


class Places(NamedTuple):
    """Where n lines of a block and their fields lie.

    number: of the line in the block, from 0. begin, end: of the line. left (9, n): where the fields from owner to key
    end. request (4, n): its first quote, the ends of method and target, its last quote; without a request its quotes
    are the first, second and fourth. figures (8, n): the spaces before, between and after the six fields that follow
    it, and the referer's first quote.
    """

    number: Index
    begin: I64
    end: I64
    left: I64
    request: I64
    figures: I64


class UsualLines(NamedTuple):
    """n usual lines of a block. time: epoch seconds. result: status and error, a space between them."""

    block: bytes
    places: Places
    time: I64
    result: Column

    def __len__(self) -> int:
        return len(self.time)

    def span(self, field: int) -> tuple[I64, I64]:
        """Where a field left of the request begins and ends."""
        left = self.places.left
        return (left[field - 1] + 1 if field else self.places.begin), left[field]

    def texts(self, field: int) -> list[str]:
        """A field left of the request, as written."""
        return list(map(bytes.decode, joined(self.block, self.span(field))))

    def column(self, field: int) -> Column:
        """A field left of the request that is often the same, as written."""
        return _column(self.block, *self.span(field))

    def sent(self) -> I64:
        """The number of bytes sent."""
        figures = self.places.figures
        return _numbers(self.block, figures[2] + 1, figures[3])


class _Lines(NamedTuple):
    """All lines of a block: where they begin and end; separators (where, what) and which is a line's first."""

    begin: I64
    end: I64
    at: I64
    kinds: Octets
    first: Index


def joined(block: bytes, *fields: tuple[I64, I64]) -> list[bytes]:
    """For every line the texts between these places, with a zero byte between them; the last is not empty.

    Every line has a slot, into which its texts are copied from left to right, all as wide as the longest: what is too
    much of one is overwritten by the next, and after the last by zeros, which numpy leaves out.
    """
    lengths = np.array([end - begin for begin, end in fields])
    ends = lengths.sum(axis=0) + len(fields) - 1
    if not len(ends):
        return []
    widths, longest = lengths.max(axis=1).tolist(), int(ends.max())
    slot = longest + max(widths)
    out = np.zeros(len(ends) * slot, np.uint8)
    at = np.arange(0, len(out), slot)
    for (begin, _), length, width in zip(fields, lengths, widths, strict=True):
        _windows(out, width)[at] = _taken(block, begin, width)
        at = at + length + 1
        out[at - 1] = 0
    _windows(out, widths[-1])[at - 1] = np.zeros((), f"V{widths[-1]}")
    texts: list[bytes] = np.ndarray(len(ends), f"S{longest}", out, strides=(slot,)).tolist()
    return texts


def _windows(octets: Octets | bytes, width: int) -> npt.NDArray[np.void]:
    """So many bytes from every place on; no memory of its own."""
    return np.ndarray(max(0, len(octets) - width + 1), f"V{width}", octets, strides=(1,))


def _taken(block: bytes, begin: I64, width: int) -> npt.NDArray[np.void]:
    """So many bytes from these places on; after the block's end they are zeros."""
    beyond = begin[-1] + width > len(block)
    return _windows(block + bytes(width) if beyond else block, width)[begin]


def is_nothing(block: bytes, begin: I64, end: I64) -> Mask:
    """Where the text between these places is the log's sign for nothing."""
    found: Mask = (end - begin == 1) & (_octets(block)[begin] == ord("-"))
    return found


def usual_lines(block: bytes, longest_line: int) -> tuple[UsualLines, I64, I64]:
    """The usual lines of a block, none longer than so many bytes, and where all of its lines begin and end.

    The block ends with a line break.
    """
    lines = _lines(block)
    places = _in_usual_order(lines)
    places = _chosen(places, _as_long_as_usual(places, longest_line) & _ascii(block, places))
    time, right = _times(block, places.left[1] + 1)
    right &= _right_numbers(block, places) & _right_request(block, places) & _matches(_RESULT, _result(block, places))
    places = _chosen(places, right)
    return UsualLines(block, places, time[right], _result(block, places)), lines.begin, lines.end


def _octets(block: bytes) -> Octets:
    return np.frombuffer(block, np.uint8)


def _words(octets: Octets | bytes) -> U64:
    """The eight bytes from every place on as one number, the first byte its lowest; no memory of its own."""
    return np.ndarray(max(0, len(octets) - 7), "<u8", octets, strides=(1,))


def _lines(block: bytes) -> _Lines:
    octets = _octets(block)
    at = np.flatnonzero(octets < _FIRST_BEYOND)
    kinds = octets[at]
    marks = kinds == ord("!")
    if marks.any():
        at, kinds = at[~marks], kinds[~marks]
    breaks = np.flatnonzero(kinds == ord("\n"))
    end = at[breaks]
    return _Lines(np.append(0, end[:-1] + 1), end, at, kinds, np.append(0, breaks[:-1] + 1))


def _in_usual_order(lines: _Lines) -> Places:
    """The lines whose first separators are the usual ones; nothing else of them is known."""
    kinds = np.append(lines.kinds, np.zeros(len(_REQUEST), np.uint8))
    with_request, without = (_begins_with(kinds, lines.first, order) for order in (_REQUEST, _NO_REQUEST))
    number = np.flatnonzero(with_request | without)
    first = lines.first[number]
    last_quote = first + np.where(with_request[number], 12, 10)
    return Places(
        number,
        lines.begin[number],
        lines.end[number],
        left=_following(lines.at, first, 9),
        request=np.append(_following(lines.at, first + 9, 3), [lines.at[last_quote]], axis=0),
        figures=_following(lines.at, last_quote + 1, 8),
    )


def _following(places: I64, first: Index, count: int) -> I64:
    """So many places from each of these on, one below the other."""
    if not len(first):
        return np.zeros((count, 0), np.int64)
    windows = np.ndarray(len(places) - count + 1, f"V{8 * count}", places, strides=(8,))
    return np.ascontiguousarray(windows[first].view(np.int64).reshape(-1, count).T)


def _begins_with(kinds: Octets, first: Index, order: bytes) -> Mask:
    """Where these kinds of separators stand from these places on."""
    found: Mask = _windows(kinds, len(order)).view(f"S{len(order)}")[first] == order
    return found


def _chosen(places: Places, mask: Mask) -> Places:
    return places if mask.all() else Places._make(array[..., mask] for array in places)


def _as_long_as_usual(lines: Places, longest_line: int) -> Mask:
    """No field is empty, and nothing stands between quotes and the spaces around them."""
    _, begin, end, left, request, figures = lines
    found: Mask = (
        (end - begin <= longest_line)
        & (left[0] > begin)
        & (left[1:] - left[:-1] > 1).all(axis=0)
        & (left[8] - begin <= _LONGEST_LEFT)
        & (left[3] - left[1] == _LENGTH_OF_TIME + 1)
        & (request[0] - left[8] == 1)
        & (figures[0] - request[3] == 1)
        & (figures[1:7] - figures[:6] > 1).all(axis=0)
        & (figures[3:7] - figures[2:6] <= _LONGEST_NUMBER + 1).all(axis=0)
        & (figures[7] - figures[6] == 1)
    )
    return found


def _ascii(block: bytes, lines: Places) -> Mask:
    """Whether all up to the referer is ASCII."""
    if block.isascii():
        return np.ones(len(lines.number), np.bool_)
    high = np.flatnonzero(_octets(block) >= 0x80)
    found: Mask = np.searchsorted(high, lines.begin) == np.searchsorted(high, lines.figures[7])
    return found


def _times(block: bytes, at: I64) -> tuple[I64, Mask]:
    """Epoch seconds of the times at these places, and whether they are times; an hour is read where it changes."""
    if not len(at):
        return at, at < 0
    octets = _taken(block, at, _LENGTH_OF_TIME).view(np.uint8).reshape(-1, _LENGTH_OF_TIME)
    hour = np.delete(octets, _MINUTES_AND_SECONDS, axis=1)
    new = np.append(True, (hour[1:] != hour[:-1]).any(axis=1))
    hours = np.array([_hour(text.tobytes().decode()) for text in octets[new]], np.int64)
    begin = hours[np.cumsum(new) - 1]
    digits = octets[:, _MINUTES_AND_SECONDS] - np.uint8(ord("0"))
    right: Mask = (begin >= 0) & (digits <= np.array([5, 9, 5, 9], np.uint8)).all(axis=1)
    return begin + digits @ np.array([600, 60, 10, 1]), right


def _hour(time: str) -> int:
    """When the hour of `[06/Feb/2019:00:00:38 +0000]` begins, in epoch seconds; -1 if a second of it is no time."""
    hour, zone = time[1:16], time[21:27]
    begin, last = epoch_seconds(f"{hour}00:00{zone}"), epoch_seconds(f"{hour}59:59{zone}")
    framed = (time[0], time[18], time[27]) == ("[", ":", "]")
    return begin if framed and begin is not None and last is not None else -1


_ZEROS = np.uint64(0x3030_3030_3030_3030)


def _eight_digits(words: U64, end: I64, length: I64) -> U64:
    """The last eight bytes before `end`; those that are not among the last `length` are taken for zeros."""
    own = _ALL << (8 * (8 - np.clip(length, 0, 8))).astype(np.uint64)
    eight: U64 = (words[end - 8] & own) | (_ZEROS & ~own)
    return eight


def _are_digits(eight: U64) -> Mask:
    high, six = np.uint64(0xF0F0_F0F0_F0F0_F0F0), np.uint64(0x0606_0606_0606_0606)
    found: Mask = ((eight & high) == _ZEROS) & (((eight + six) & high) == _ZEROS)
    return found


def _value(eight: U64) -> U64:
    """The number that eight digits are: neighbours are joined to pairs, to fours, to eight."""
    pairs = (eight - _ZEROS) * np.uint64(10 << 8 | 1) >> np.uint64(8) & np.uint64(0x00FF_00FF_00FF_00FF)
    fours = pairs * np.uint64(100 << 16 | 1) >> np.uint64(16) & np.uint64(0x0000_FFFF_0000_FFFF)
    return fours * np.uint64(10_000 << 32 | 1) >> np.uint64(32)


def _numbers(block: bytes, begin: I64, end: I64) -> I64:
    """Whole numbers of at most 16 digits; `-` is 0."""
    words, length = _words(block), end - begin
    value = _value(_eight_digits(words, end, length))
    if (length > 8).any():
        value += _value(_eight_digits(words, end - 8, length - 8)) * np.uint64(100_000_000)
    return np.where(is_nothing(block, begin, end), 0, value.astype(np.int64))


def _right_numbers(block: bytes, lines: Places) -> Mask:
    """Whether the last four figures are whole numbers or `-`."""
    words, begin, end = _words(block), lines.figures[2:6] + 1, lines.figures[3:7]
    length = end - begin
    right = _are_digits(_eight_digits(words, end, length))
    if (length > 8).any():
        right &= _are_digits(_eight_digits(words, end - 8, length - 8))
    found: Mask = np.logical_and.reduce(right | is_nothing(block, begin, end))
    return found


def _right_request(block: bytes, lines: Places) -> Mask:
    """Whether the request is a method, a target and a version, or `-`."""
    whole = lines.request[2] < lines.request[3]
    right = is_nothing(block, lines.request[0] + 1, lines.request[1])
    quote, method, target, last_quote = lines.request if whole.all() else lines.request[:, whole]
    right[whole] = (
        (target - method > 1)
        & _matches(_METHOD, _column(block, quote + 1, method))
        & _matches(_VERSION, _column(block, target + 1, last_quote))
    )
    return right


def _column(block: bytes, begin: I64, end: I64) -> Column:
    """Texts that are often all the same."""
    if _alike(block, begin, end):
        return Column(np.zeros(len(begin), np.int32), [block[begin[0] : end[0]].decode()])
    codes, values = intern(joined(block, (begin, end)))
    return Column(codes, list(map(bytes.decode, values)))


def _alike(block: bytes, begin: I64, end: I64) -> bool:
    """Whether there are texts, all the same."""
    if not len(begin) or (end - begin != end[0] - begin[0]).any():
        return False
    width = int(end[0] - begin[0])
    return _taken(block, begin, width).tobytes() == block[begin[0] : end[0]] * len(begin)


def _result(block: bytes, lines: Places) -> Column:
    """Status and error."""
    return _column(block, lines.figures[0] + 1, lines.figures[2])


def _matches(form: re.Pattern[str], column: Column) -> Mask:
    found: Mask = np.array([form.fullmatch(text) is not None for text in column.values], np.bool_)[column.codes]
    return found
