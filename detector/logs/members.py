"""The members of a document's records as columns: found by the kernel, or decoded record by record. Pure.

`Sliced` and `Decoded` answer alike. The kernel reads what is in order; any other document is decoded by `documents.py`,
whose reading is the one that counts. A member is named as in `record.py`; those of the first two resources as
`resources.0.ARN` and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from detector.core.access import I32, I64, U64, Column, Index, Mask, intern, text_hashes
from detector.core.times import epoch
from detector.logs import kernel
from detector.logs.kernel import ALL_DIFFERENT, HASHED, TIMED, Found, plan
from detector.logs.record import NO_IDENTITY, Shape


class Identities(NamedTuple):
    """Who made requests, as JSON text. codes: of each row. hashes: of each text, keyed with a secret of this process so
    that nobody can make two that are alike (SipHash, as Python's own of bytes). texts: of codes.
    """

    codes: I32
    hashes: U64
    texts: Callable[[Index], list[bytes]]


@lru_cache(maxsize=1 << 16)
def seconds(text: str | None) -> int:
    """Epoch seconds of a time; -1 if it is none."""
    second = epoch(text)
    return -1 if second is None else second


class Decoded:
    """Members of records that are decoded, as `record.shape` shapes them."""

    def __init__(self, records: list[Any], shape: Shape) -> None:
        self._records, self._shape = records, shape
        self._paths = plan(shape.struct).paths

    def __len__(self) -> int:
        return len(self._records)

    def take(self, rows: Index) -> Decoded:
        """These rows only."""
        return Decoded([self._records[row] for row in rows.tolist()], self._shape)

    def record(self, row: int) -> Any:
        """A record as it is decoded."""
        return self._records[row]

    def column(self, member: str) -> Column:
        """A member that is a text."""
        return Column.of(self._all(member), distinct=member in ALL_DIFFERENT)

    def rest(self, member: str, prefixes: Column) -> Column:
        """What follows in a text after the prefix of its row; null if it does not begin so, or ends there."""
        pairs = zip(self._all(member), prefixes.texts(), strict=True)
        return Column.of(
            [(prefix and text and text.startswith(prefix) and text[len(prefix) :]) or None for text, prefix in pairs]
        )

    def begins(self, member: str, text: str) -> Mask:
        """The rows in which a text begins so."""
        return np.array([one is not None and one.startswith(text) for one in self._all(member)], np.bool_)

    def numbers(self, member: str) -> npt.NDArray[np.float64]:
        """A member that is a number; NaN for null."""
        return np.array([np.nan if one is None else one for one in self._all(member)], np.float64)

    def values(self, member: str) -> list[Any]:
        """A member of another type, row by row."""
        return self._all(member)

    def given(self, *members: str) -> list[int]:
        """The rows in which one of these members is not null."""
        every = zip(*map(self._all, members), strict=True)
        return [row for row, values in enumerate(every) if any(value is not None for value in values)]

    def identities(self) -> Identities:
        """Who made the requests."""
        codes, texts = intern([bytes(record.userIdentity) for record in self._records])
        hashes = np.fromiter(map(hash, texts), np.int64, len(texts)).astype(np.uint64)
        return Identities(codes, hashes, lambda chosen: [texts[code] for code in chosen.tolist()])

    def times(self) -> I64:
        """Epoch seconds of every record; -1 where there is no time."""
        return np.array([seconds(record.eventTime) for record in self._records], np.int64)

    def identified(self) -> bool:
        """Whether every record has an id."""
        return all([record.eventID for record in self._records])  # noqa: C419  a list is faster

    def hashes(self) -> U64:
        """xxh64 of every record's id."""
        return text_hashes([record.eventID for record in self._records])

    def lengths(self, member: str) -> npt.NDArray[np.int32]:
        """How many elements a list has; -1 for null."""
        return np.array([-1 if one is None else len(one) for one in self._all(member)], np.int32)

    def _all(self, member: str) -> list[Any]:
        first, *more = self._paths[member]
        values = list(map(attrgetter(str(first)), self._records))
        for part in more:
            if isinstance(part, int):
                values = [one[part] if one is not None and len(one) > part else None for one in values]
            else:
                values = [None if one is None else getattr(one, part) for one in values]
        return values


class Sliced:
    """Members of records as the kernel found them. What is wrong with a text in itself raises an error of
    `documents.UNDECODABLE` when it is asked for.
    """

    def __init__(self, shape: Shape, found: Found, rows: Index | None = None) -> None:
        self._shape = shape
        self._plan = plan(shape.struct)
        self._found = found
        self._rows: Index | slice = slice(found.rows) if rows is None else rows
        self._records = found.slices[0, self._rows]
        self._count = found.rows if rows is None else len(rows)
        self._known: dict[str, Column] = {}

    def __len__(self) -> int:
        return self._count

    def take(self, rows: Index) -> Sliced:
        """These rows only; of all."""
        return Sliced(self._shape, self._found, rows)

    def record(self, row: int) -> Any:
        """A record as it is decoded."""
        (text,) = self._found.pieces(self._records[row : row + 1])
        return self._shape.record.decode(text)

    def column(self, member: str) -> Column:
        """A member that is a text."""
        known = self._known.get(member)
        if known is None:
            at = self._plan.columns[member]
            if member in ALL_DIFFERENT:
                known = Column.of(self._texts(self._slices(member)), distinct=True)
            else:
                codes, firsts = self._coded(at)
                known = Column(codes, self._texts(self._found.slices[at, firsts]))  # type: ignore[arg-type]  # a value is no null
            self._known[member] = known
        return known

    def rest(self, member: str, prefixes: Column) -> Column:
        """What follows in a text after the prefix of its row; null if it does not begin so, or ends there.

        Also null where that cannot be told at a glance: in a text with escapes.
        """
        slices, hashes = self._found.rest(
            self._slices(member), prefixes.codes, [prefix.encode() for prefix in prefixes.values]
        )
        there = slices[:, 0] >= 0
        codes = np.where(there, np.cumsum(there, dtype=np.int32) - 1, np.int32(-1))
        return Column(codes, self._texts(slices[there]), [np.append(hashes[there], np.uint64(0))])  # type: ignore[arg-type]  # none is null

    def begins(self, member: str, text: str) -> Mask:
        """The rows in which a text begins so."""
        return self.column(member).fit(lambda value: value.startswith(text))

    def numbers(self, member: str) -> npt.NDArray[np.float64]:
        """A member that is a number; NaN for null."""
        return self._found.numbers(self._slices(member))

    def values(self, member: str) -> list[Any]:
        """A member of another type, row by row."""
        at, type_ = self._plan.columns[member], self._plan.types[member]
        codes, firsts = self._coded(at)
        decode = msgspec.json.Decoder(type_).decode
        values = [*map(decode, self._found.pieces(self._found.slices[at, firsts])), None]
        return [values[code] for code in codes.tolist()]

    def given(self, *members: str) -> list[int]:
        """The rows in which one of these members is not null."""
        at = np.array([self._plan.columns[member] for member in members])
        codes, _, counts = self._found.coded
        there = [codes[column, self._rows] >= 0 for column in at[counts[at] > 0].tolist()]
        return np.flatnonzero(np.logical_or.reduce(there)).tolist() if there else []

    def identities(self) -> Identities:
        """Who made the requests."""
        codes, firsts = self._coded(self._plan.columns["userIdentity"])
        slices = self._found.slices[self._plan.columns["userIdentity"], firsts]
        hashes = kernel.keyed_hashes(self._found.documents, slices)
        if codes.min(initial=0) >= 0:
            return Identities(codes, hashes, lambda chosen: self._found.pieces(slices[chosen]))
        texts = [*self._found.pieces(slices), bytes(NO_IDENTITY)]
        hashes = np.append(hashes, np.int64(hash(texts[-1])).astype(np.uint64))
        codes = np.where(codes < 0, np.int32(len(slices)), codes)
        return Identities(codes, hashes, lambda chosen: [texts[code] for code in chosen.tolist()])

    def times(self) -> I64:
        """Epoch seconds of every record; -1 where there is no time."""
        times = self._found.times[self._rows]
        if times.min(initial=0) < 0:
            column = self.column(TIMED)
            for row in np.flatnonzero(times < 0).tolist():
                times[row] = seconds(column.text(row))
        return times

    def identified(self) -> bool:
        """Whether every record has an id."""
        return self._found.told(HASHED, self._rows)

    def hashes(self) -> U64:
        """xxh64 of every record's id."""
        escaped = (self._slices(HASHED)[:, 1] < 0).any()
        return text_hashes(self.column(HASHED).values) if escaped else self._found.hashes[self._rows]

    def lengths(self, member: str) -> npt.NDArray[np.int32]:
        """How many elements a list has; -1 for null."""
        return self._slices(member)[:, 0]

    def _slices(self, member: str) -> npt.NDArray[np.int32]:
        """Where a member lies."""
        return self._found.slices[self._plan.columns[member], self._rows]

    def _coded(self, at: int) -> tuple[I32, npt.NDArray[np.int32]]:
        """A column's codes, and the rows in which its values come first."""
        codes, firsts, counts = self._found.coded
        return codes[at, self._rows], firsts[at, : counts[at]]

    def _texts(self, slices: npt.NDArray[np.int32]) -> list[str | None]:
        """The texts that lie there."""
        found = self._found.texts(slices)
        for row in np.flatnonzero(slices[:, 1] < -1):
            found[row] = self._unescaped(*slices[row].tolist())
        return found

    def _unescaped(self, start: int, stop: int) -> str:
        """A text with escapes in it, whose end is negative."""
        (spelled,) = self._found.pieces(np.array([[start - 1, 1 - stop]], np.int32))
        found: str = msgspec.json.decode(spelled, type=str)
        return found


Members = Sliced | Decoded


def sliced(data: bytes, shape: Shape, form: int, nesting: int, longest: int) -> Sliced | None:
    """The members of a document, if there is a kernel and the document is in order."""
    found = kernel.found(data, plan(shape.struct), form, nesting, longest) if kernel.BUILT else None
    return Sliced(shape, found) if found else None
