"""An `AccessBatch` as bytes and back: how records go from the process that read them to the one that counts them. Pure.

Rules of this file
- Columns travel as their arrays (one that holds nothing but one value as that value), text as one long text and the
  lengths of its pieces, identities as plain tuples; of a dictionary only what some row holds. Rejects stay behind:
  whoever made the batch has booked them.
- For what the program keeps for itself nothing is worked out: an identity that nobody has read yet stays as the log has
  it, and texts that somebody has hashed keep their hashes.
- Nothing is pickled: what comes back can be damaged, and then it is a StateError; it is never code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from detector.core.access import I32, AccessBatch, Column, Index, present, renumbered
from detector.core.builder import BatchBuilder
from detector.core.principal import Principal
from detector.core.principals import Principals, Unread
from detector.errors import StateError

T = TypeVar("T")

ARRAYS = {
    "time": np.int64, "id": np.uint64, "link": np.uint64, "skip": np.int8, "log": np.int8, "operation": np.int8,
    "outcome": np.int8, "bytes": np.int64, "has_arn": np.bool_, "unresolved": np.bool_,
}  # fmt: skip
"""Columns of a batch that are one array, and what of."""
Reader = Callable[[bytes], Principal]
_Texts = tuple[bytes, ...]
_ENCODER = msgspec.msgpack.Encoder()


def pack(batch: AccessBatch) -> bytes:
    """The rows of a batch, without its rejects."""
    return _ENCODER.encode(_told(batch))


def keep(batch: AccessBatch, own: Sequence[Reader], place: bytearray) -> None:
    """The same in this place, for the program itself, which is spared asking for memory again and again.

    own: with one of these it reads an identity that nobody has read yet.
    """
    _ENCODER.encode_into(_told(batch, own), place)


def _told(batch: AccessBatch, own: Sequence[Reader] | None = None) -> dict[str, Any]:
    who, used = _coded(batch.who, len(batch.principals))
    people = batch.principals.held(used) if own is not None else [batch.principals[code] for code in used]
    return {
        "rows": len(batch),
        "arrays": {name: _brief(getattr(batch, name)) for name in ARRAYS},
        "who": who,
        "principals": [_identity(one, own or ()) for one in people],
        "prints": batch.prints[used].tobytes(),
        "partition": _packed(batch.partition),
        "text": {name: _packed(column, hashes=own is not None) for name, column in batch.text.items()},
        "number": {name: _brief(column) for name, column in batch.number.items()},
    }


def unpack(data: bytes) -> AccessBatch:
    """The batch that was packed. Raises StateError if that is not what these bytes are."""
    return Parcel(data).batch()


class Parcel:
    """A parcel that was opened. own: as of `keep`. Raises StateError as `unpack`.

    bare: the batch without texts and numbers, by which rows of it can be chosen.
    """

    def __init__(self, data: bytes, own: Sequence[Reader] = ()) -> None:
        with _whole():
            parcel = msgspec.msgpack.decode(data)
            self._rows = rows = parcel["rows"]
            self._text, self._number = parcel["text"], parcel["number"]
            arrays: dict[str, Any] = {n: _array(parcel["arrays"][n], kind, rows) for n, kind in ARRAYS.items()}
            self.bare = AccessBatch(
                **arrays,
                who=_array(parcel["who"], np.int32, rows),
                principals=Principals([_held(told, own) for told in parcel["principals"]]),
                prints=np.frombuffer(parcel["prints"], np.uint64),
                partition=_column(parcel["partition"], rows),
                text={},
                number={},
            )

    def batch(self, columns: frozenset[str] | None = None, chosen: Index | None = None) -> AccessBatch:
        """The batch; or these columns of it, or rows. Raises StateError as `unpack`."""
        with _whole():
            text = {name: _column(one, self._rows, chosen) for name, one in _asked(self._text, columns)}
            number = {name: _array(one, np.int64, self._rows) for name, one in _asked(self._number, columns)}
        if chosen is None:
            return replace(self.bare, text=text, number=number)
        return replace(self.bare.take(chosen), text=text, number={name: one[chosen] for name, one in number.items()})


def together(batches: Sequence[AccessBatch]) -> AccessBatch:
    """All their rows, one batch after the other; at least one, with the same columns, without their rejects."""
    builder = BatchBuilder(frozenset({*batches[0].text, *batches[0].number}))
    for batch in batches:
        builder.extend(replace(batch, who=builder.who_of(batch)))
    return builder.build()


def _coded(codes: I32, count: int) -> tuple[bytes, Index]:
    """Codes below `count` anew, without those that no row has; and which were kept. Of equal ones one."""
    one = codes[:1]
    if (codes == one).all():
        return np.minimum(one, np.int32(0)).tobytes(), one[one >= 0].astype(np.intp)
    held = present(codes, count)
    return renumbered(codes, held, count).tobytes(), held


def _packed(column: Column, *, hashes: bool = False) -> _Texts:
    """Codes, all texts as one, how many characters each has (a lone surrogate is kept), and perhaps their hashes."""
    codes, used = _coded(column.codes, len(column.values))
    values = column.values if len(used) == len(column.values) else [column.values[code] for code in used.tolist()]
    lengths = np.fromiter(map(len, values), np.int32, len(values))
    told = [column.hashed[used].tobytes()] if hashes and column.hashed is not None else []
    return codes, "".join(values).encode("utf-8", "surrogatepass"), lengths.tobytes(), *told


def _column(packed: _Texts, rows: int, chosen: Index | None = None) -> Column:
    """The column, or these rows of it with their texts only."""
    coded, joined, lengths, *told = packed
    codes, text = _array(coded, np.int32, rows), joined.decode("utf-8", "surrogatepass")
    ends = np.cumsum(np.frombuffer(lengths, np.int32))
    starts, hashed = ends - np.frombuffer(lengths, np.int32), [np.frombuffer(one, np.uint64) for one in told]
    if chosen is not None:
        used = present(codes[chosen], len(ends))
        codes = renumbered(codes[chosen], used, len(ends))
        starts, ends, hashed = starts[used], ends[used], [one[used] for one in hashed]
    values = [text[first:end] for first, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return Column(codes, values, [np.append(one, np.uint64(0)) for one in hashed])


def _brief(array: npt.NDArray[Any]) -> bytes:
    """An array as bytes; of equal values one."""
    return (array[:1] if (array == array[:1]).all() else array).tobytes()


def _array(data: bytes, kind: type[np.generic], rows: int) -> npt.NDArray[Any]:
    """The array of so many rows that these bytes are. Raises ValueError."""
    array = np.frombuffer(data, kind)
    if len(array) not in {1, rows}:
        raise ValueError(f"{len(array)} values for {rows} rows")
    return np.full(rows, array) if len(array) == 1 else array


def _identity(one: Principal | Unread, own: Sequence[Reader]) -> list[Any]:
    """An identity, as plain data."""
    return [own.index(one.read), one.text] if isinstance(one, Unread) else [_bytes(part) for part in one]


def _held(told: Any, own: Sequence[Reader]) -> Principal | Unread:
    """The identity that was told so."""
    return Unread(own[told[0]], told[1]) if len(told) == len(Unread._fields) else Principal(*map(_text, told))


@contextmanager
def _whole() -> Iterator[None]:
    """For what is read of a parcel. Raises StateError if it is not what was packed."""
    try:
        yield
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
        raise StateError(
            f"records on their way between processes were damaged: {error}", remedy="run the command again"
        ) from error


def _asked(packed: Mapping[str, T], columns: frozenset[str] | None) -> Iterator[tuple[str, T]]:
    """Those of these columns that are asked for."""
    return ((name, one) for name, one in packed.items() if columns is None or name in columns)


def _bytes(part: object) -> object:
    """A text of an identity: as bytes, since msgpack refuses half a character."""
    return part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part


def _text(part: Any) -> Any:
    return part.decode("utf-8", "surrogatepass") if isinstance(part, bytes) else part
