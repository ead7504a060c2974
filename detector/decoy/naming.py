"""Names like their neighbours': what the names in a folder have in common, and further names of that kind. Pure.

A name is cut into pieces: UUIDs, hashes, numbers, words, and what stands between. Names with the same pieces are of one
shape, and the most common shape of a folder is its pattern. A new name takes its pieces from one neighbour, so that
what belongs together (a date's parts, a speaker and a language) stays together, but for those that make a name unique:
UUIDs, hashes, and the number with the most values.

A number comes out of a gap between the numbers there are. Where there is no gap it lies far behind the last, so that
whoever goes on counting does not soon come upon it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import cache
from typing import NamedTuple

from detector.decoy.draw import HEX, Draw

FEWEST = 4
"""Names of one shape that make a pattern."""
SAMPLE = 20_000
"""Names of a folder that are looked at: more teach nothing."""
TRIES = 64
"""Candidates that are drawn for each name that is wanted."""
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"

_PIECE = re.compile(
    r"(?P<uuid>[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12})(?![0-9A-Za-z])"
    r"|(?P<hash>(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{8,}|(?=[0-9A-F]*[A-F])(?=[0-9A-F]*[0-9])[0-9A-F]{8,})"
    r"(?![0-9A-Za-z])"
    r"|(?P<number>[0-9]{1,18})|(?P<word>[^\W\d_]+)|(?P<mark>.)",
    re.DOTALL,
)


class Piece(NamedTuple):
    """A piece of a name, and what kind it is of."""

    kind: str
    text: str


def pieces(name: str) -> tuple[Piece, ...]:
    """A name in pieces."""
    return tuple(Piece(found.lastgroup or "mark", found[0]) for found in _PIECE.finditer(name))


def _shape(cut: Sequence[Piece]) -> tuple[object, ...]:
    """What names of one pattern have in common: extension and marks as they are, of the rest kind and length."""
    last = max((at for at, piece in enumerate(cut) if piece.text == "."), default=len(cut))
    return tuple(
        piece.text
        if piece.kind == "mark" or at > last
        else "word"
        if piece.kind == "word"
        else (piece.kind, len(piece.text))
        for at, piece in enumerate(cut)
    )


class Pattern:
    """The most common shape among names. None of them may be more than a name: no slash in it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._members = [pieces(name) for name in names]
        columns = list(zip(*self._members, strict=True))
        self._fresh = {at for at, column in enumerate(columns) if column[0].kind in ("uuid", "hash")}
        values = {
            at: {piece.text for piece in column} for at, column in enumerate(columns) if column[0].kind == "number"
        }
        serial = max(values, key=lambda at: (len(values[at]), at), default=None)
        if serial is not None and not self._fresh and len(values[serial]) >= max(2, len(names) // 4):
            self._fresh = {serial}
        self._columns = {at: [piece.text for piece in columns[at]] for at in self._fresh}

    def __bool__(self) -> bool:
        """Whether anything in it makes a name unique."""
        return bool(self._fresh)

    def __len__(self) -> int:
        """Names it was learnt from."""
        return len(self._members)

    def draw(self, draw: Draw) -> str:
        """A further name; it may be one there is."""
        like = draw.one_of(self._members)
        return "".join(
            _another(piece, self._columns[at], draw) if at in self._fresh else piece.text
            for at, piece in enumerate(like)
        )


def pattern_of(names: Iterable[str]) -> Pattern | None:
    """The pattern of these names; None where there is none."""
    by_shape: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, _ in zip(names, range(SAMPLE), strict=False):
        by_shape[_shape(pieces(name))].append(name)
    if not by_shape:
        return None
    most = max(by_shape.values(), key=lambda found: (len(found), found[0]))
    pattern = Pattern(most) if len(most) >= FEWEST else None
    return pattern or None


def names_like(pattern: Pattern, count: int, taken: frozenset[str] | set[str], draw: Draw) -> list[str]:
    """Further names, sorted, at most so many. One of them lies early in the alphabet: whoever takes a folder in the
    order of its listing meets it first.
    """
    drawn = {pattern.draw(draw) for _ in range(count * TRIES)} - set(taken)
    candidates = sorted(drawn)
    if len(candidates) <= count:
        return candidates
    first, rest = candidates[0], candidates[1:]
    chosen = {first}
    while len(chosen) < count:
        chosen.add(draw.one_of(rest))
    return sorted(chosen)


def _another(like: Piece, seen: Sequence[str], draw: Draw) -> str:
    if like.kind == "uuid":
        return draw.uuid(like.text)
    if like.kind == "hash":
        made = draw.letters(HEX, len(like.text))
        return made.upper() if like.text != like.text.lower() else made
    return _number(len(like.text), seen, draw)


def _number(width: int, seen: Sequence[str], draw: Draw) -> str:
    """A number of this width, which these are of, too: a day or a time of day where all of them are such."""
    for reading in (_days, _times):
        if found := reading(width, seen):
            return draw.one_of(found)
    counted = Counter(map(int, seen))
    least, most = min(counted), max(counted)
    if 2 * len(counted) <= most - least:  # wide gaps
        return f"{draw.between(least, most):0{width}d}"
    gaps = [number for number in range(least, most) if number not in counted] if most - least < 1 << 20 else []
    if gaps:
        return f"{draw.one_of(gaps):0{width}d}"
    far, room = most + max(len(counted), 8), 10**width - 1
    least, most = (far, min(2 * far - most, room)) if far <= room else (0, room)
    return f"{draw.between(least, most):0{width}d}"


def _days(width: int, seen: Sequence[str]) -> list[str]:
    """The days between the first and the last, if all are days such as 20260501."""
    days = [_day(text) for text in seen] if width == 8 else []
    found = [day for day in days if day]
    if not found or len(found) != len(days):
        return []
    first, last = min(found), max(found)
    count = min((last - first).days + 1, 3660)
    return [(first + timedelta(days=n)).strftime("%Y%m%d") for n in range(count)]


def _day(text: str) -> date | None:
    try:
        day = date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
    return day if 1990 <= day.year <= 2100 else None


def _times(width: int, seen: Sequence[str]) -> Sequence[str]:
    """All times of day, if all are such as 093000, and too many for a counter that happens to look so."""
    clock = width == 6 and all(t[:2] < "24" and t[2:4] < "60" and t[4:] < "60" for t in seen)
    varied = clock and len({t[:2] for t in seen}) >= 3
    return _clock() if varied else ()


@cache
def _clock() -> tuple[str, ...]:
    return tuple(
        f"{hour:02d}{minute:02d}{second:02d}" for hour in range(24) for minute in range(60) for second in range(60)
    )
