"""An `AccessBatch` as bytes and back: how records go from the process that read them to the one that counts them. Pure.

Rules of this file
- Columns travel as their arrays (one that holds nothing but one value as that value), text as one long text and the
  lengths of its pieces, identities as plain tuples; of a dictionary only what some row holds. Rejects stay behind:
  whoever made the batch has booked them.
- Nothing is pickled: what comes back can be damaged, and then it is a StateError; it is never code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from detector.core.access import I32, AccessBatch, Column, present, renumbered
from detector.core.builder import BatchBuilder
from detector.core.principal import Principal
from detector.core.principals import Principals
from detector.errors import StateError

ARRAYS = {
    "time": np.int64, "id": np.uint64, "link": np.uint64, "skip": np.int8, "log": np.int8, "operation": np.int8,
    "outcome": np.int8, "bytes": np.int64, "has_arn": np.bool_, "unresolved": np.bool_,
}  # fmt: skip
"""Columns of a batch that are one array, and what of."""
_Texts = tuple[bytes, bytes, bytes]


def pack(batch: AccessBatch) -> bytes:
    """The rows of a batch, without its rejects."""
    who, used = _used(batch.who, len(batch.principals))
    parcel = {
        "rows": len(batch),
        "arrays": {name: _brief(getattr(batch, name)) for name in ARRAYS},
        "who": _brief(who),
        "principals": [[_bytes(part) for part in batch.principals[code]] for code in used],
        "prints": batch.prints[used].tobytes(),
        "partition": _packed(batch.partition),
        "text": {name: _packed(column) for name, column in batch.text.items()},
        "number": {name: _brief(column) for name, column in batch.number.items()},
    }
    return msgspec.msgpack.encode(parcel)


def unpack(data: bytes) -> AccessBatch:
    """The batch that was packed. Raises StateError if that is not what these bytes are."""
    try:
        parcel = msgspec.msgpack.decode(data)
        rows = parcel["rows"]
        arrays: dict[str, Any] = {n: _array(parcel["arrays"][n], kind, rows) for n, kind in ARRAYS.items()}
        return AccessBatch(
            **arrays,
            who=_array(parcel["who"], np.int32, rows),
            principals=Principals([Principal(*map(_text, parts)) for parts in parcel["principals"]]),
            prints=np.frombuffer(parcel["prints"], np.uint64),
            partition=_column(parcel["partition"], rows),
            text={name: _column(column, rows) for name, column in parcel["text"].items()},
            number={name: _array(column, np.int64, rows) for name, column in parcel["number"].items()},
        )
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise StateError(
            f"records on their way between processes were damaged: {error}", remedy="run the command again"
        ) from error


def together(batches: Sequence[AccessBatch]) -> AccessBatch:
    """All their rows, one batch after the other; at least one, with the same columns, without their rejects."""
    builder = BatchBuilder(frozenset({*batches[0].text, *batches[0].number}))
    for batch in batches:
        codes = builder.codes_of(batch.prints, batch.principals)
        builder.extend(replace(batch, who=np.append(codes, np.int32(-1))[batch.who]))
    return builder.build()


def _used(codes: I32, count: int) -> tuple[I32, list[int]]:
    """Codes anew, without those that no row has; and which were kept."""
    held = present(codes, count)
    return renumbered(codes, held, count), held.tolist()


def _packed(column: Column) -> _Texts:
    """Codes, all texts as one, and how many characters each has (a lone surrogate is kept)."""
    codes, used = _used(column.codes, len(column.values))
    values = column.values if len(used) == len(column.values) else [column.values[code] for code in used]
    lengths = np.fromiter(map(len, values), np.int32, len(values))
    return _brief(codes), "".join(values).encode("utf-8", "surrogatepass"), lengths.tobytes()


def _column(packed: _Texts, rows: int) -> Column:
    codes, joined, lengths = packed
    text = joined.decode("utf-8", "surrogatepass")
    ends = np.cumsum(np.frombuffer(lengths, np.int32)).tolist()
    values = [text[first:end] for first, end in zip([0, *ends], ends, strict=False)]
    return Column(_array(codes, np.int32, rows), values)


def _brief(array: npt.NDArray[Any]) -> bytes:
    """An array as bytes; of equal values one."""
    return (array[:1] if (array == array[:1]).all() else array).tobytes()


def _array(data: bytes, kind: type[np.generic], rows: int) -> npt.NDArray[Any]:
    """The array of so many rows that these bytes are. Raises ValueError."""
    array = np.frombuffer(data, kind)
    if len(array) not in {1, rows}:
        raise ValueError(f"{len(array)} values for {rows} rows")
    return np.full(rows, array) if len(array) == 1 else array


def _bytes(part: object) -> object:
    """A text of an identity: as bytes, since msgpack refuses half a character."""
    return part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part


def _text(part: Any) -> Any:
    return part.decode("utf-8", "surrogatepass") if isinstance(part, bytes) else part
