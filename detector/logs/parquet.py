"""Access-record Parquet: the replay cache, the daemon's archive, and an input like any log. Pure: bytes in, rows out.

Rules of this file
- The columns are the contract's. What is counted must survive a round trip, so further columns carry what they lack:
  the keys behind the shown session and role, `identity_center_user`, `issued_to`, `link`, `partition`, `has_arn`,
  `log_operation`.
- A cache has two more, made of the key, so that it need not be read to count: `prefix` (its folder) and `object` (the
  hash of bucket and key, null without a key). Readers that go by records pass over them.
- In a file that others wrote those columns may be missing. Then the keys are derived as the contract's table of
  identities has it, and the rest has its neutral value.
- A row with a null or a value that is none of the contract's is a reject; a file without a fixed column, or with one
  of another type, is refused as a whole, by name.
- pyarrow is slow to import and is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detector.core.access import (
    MAX_BYTES,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    AccessBatch,
    Column,
    Log,
    Operation,
    Outcome,
    Row,
    Skip,
    intern,
    text_hash,
)
from detector.core.builder import BatchBuilder
from detector.core.finding import prefixes_of
from detector.core.principal import UNKNOWN, Principal
from detector.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Cells = list[Any]
"""A column as Python values: None is null, `_BAD` is a value that the contract does not have."""

_BAD: Final = object()

FIXED_COLUMNS = (
    "time", "operation", "api", "outcome", "session", "role", "account", "session_name", "principal_type",
    "principal_id", "bucket", "key", "bytes", "destination", "source_ip", "user_agent", "auth", "event_id", "log",
)  # fmt: skip
"""Columns that every access-record Parquet has."""

_PRINCIPAL: dict[str, Callable[[Principal], str | None]] = {
    "session": lambda who: who.session_shown,
    "role": lambda who: who.role_shown,
    "account": lambda who: who.account,
    "session_name": lambda who: who.session_name,
    "principal_type": lambda who: who.type,
    "principal_id": lambda who: who.principal_id,
    "access_key": lambda who: who.access_key,
    "source_identity": lambda who: who.source_identity,
    "invoked_by": lambda who: who.invoked_by,
    "identity_center_user": lambda who: who.identity_center_user,
    "issued_to": lambda who: who.issued_to,
    "session_key": lambda who: who.session,
    "role_key": lambda who: who.role,
}
"""Column → the part of a row's principal it holds. A finding shows ARNs: `session` and `role` are what is shown."""

_CLASSES: dict[str, type[IntEnum]] = {"operation": Operation, "outcome": Outcome, "log": Log}
_AUTHS = ("header", "query", "none")
_TEXTS = (*_CLASSES, *_PRINCIPAL, *TEXT_COLUMNS, "partition")
_TIMES = ("time", "issued_at", "signed_at")
_WHOLES = ("bytes", "status", "signed_for", "link")
_FLAGS = ("mfa", "has_arn")
_COLUMNS = (*_TEXTS, *_TIMES, *_WHOLES, *_FLAGS)
_NEVER_NULL = ("time", *_CLASSES, "session", "role", "account", "event_id")
"""What a row cannot be judged, counted or told from its duplicate without."""
_MAY_BE_BAD = (*_CLASSES, "bytes", "auth")

_UNITS_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def to_table(batch: AccessBatch, *, of_objects: bool = False) -> pa.Table:
    """The access events of a batch as a table, without the skipped rows: the contract's columns, then the further ones.

    Text is dictionary-encoded, without values that no row has. of_objects: with `prefix` and `object`.
    """
    import pyarrow as pa

    batch = batch.take(batch.skip == Skip.no)
    seconds = pa.timestamp("s", "UTC")
    columns: dict[str, Any] = {name: _dictionary(column) for name, column in _texts(batch).items()}
    columns |= {name: pa.array(batch.number[name], mask=batch.number[name] < 0) for name in NUMBER_COLUMNS}
    columns |= {"time": pa.array(batch.time), "bytes": pa.array(batch.bytes), "link": pa.array(batch.link)}
    columns["has_arn"] = pa.array(batch.has_arn)
    columns["mfa"] = pa.array([batch.principals[code].mfa for code in batch.who], pa.bool_())
    columns["issued_at"] = pa.array([batch.principals[code].issued_at for code in batch.who], pa.int64())
    columns |= {name: columns[name].cast(seconds) for name in _TIMES}
    if of_objects:
        columns |= _of_objects(batch)
    order = (*FIXED_COLUMNS, *(name for name in columns if name not in FIXED_COLUMNS))
    return pa.table({name: columns[name] for name in order})


def _texts(batch: AccessBatch) -> dict[str, Column]:
    classes = {"operation": batch.operation, "outcome": batch.outcome, "log": batch.log}
    texts = {n: Column(codes.astype(np.int32), [c.name for c in _CLASSES[n]]) for n, codes in classes.items()}
    for name, part in _PRINCIPAL.items():
        codes, values = intern([part(who) for who in batch.principals])
        texts[name] = Column(codes[batch.who], values)
    return texts | batch.text | {"partition": batch.partition}


def _of_objects(batch: AccessBatch) -> dict[str, Any]:
    import pyarrow as pa

    key, hashes = batch.text["key"], batch.object_hash(np.arange(len(batch)))
    codes, values = intern(prefixes_of(key.values))
    folder = Column(np.append(codes, np.int32(-1))[key.codes], values)
    return {"prefix": _dictionary(folder), "object": pa.array(hashes, mask=key.codes < 0)}


def _dictionary(column: Column) -> pa.Array[Any]:
    """The column over the values its rows really have: a slice of a big batch does not carry the batch's dictionary."""
    import pyarrow as pa

    null = column.codes < 0
    used, codes = np.unique(column.codes[~null], return_inverse=True)
    indices: Any = np.zeros(len(null), np.int32)
    indices[~null] = codes
    values = pa.array([column.values[code] for code in used], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(indices, mask=null), values)


def parse(data: bytes, name: str, into: BatchBuilder) -> list[str]:
    """Add a row or a reject to `into` for every row of a Parquet file; `name` is the file rejects are filed under.

    Returns the nullable columns that the file lacks: rules that ask for them cannot look at these records.
    Raises InputError if the bytes are no Parquet, or if a fixed column is missing or a column has another type.
    Reasons of rejects: `null_<column>` and `bad_<column>`.
    """
    return add_rows(_table(data, name), name, into)


def add_rows(table: pa.Table, name: str, into: BatchBuilder) -> list[str]:
    """As `parse`, of a table. Raises InputError."""
    cells, lacks = _read(table, name)
    problems = _problems(cells)
    for number, (problem, row) in enumerate(zip(problems, _rows(cells), strict=True), 1):
        if problem:
            into.reject(name, number, problem)
        else:
            into.add(row)
    return lacks


def _table(data: bytes, name: str) -> pa.Table:
    """The columns of the file that are known."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pa.BufferReader(data))
        present = set(file.schema_arrow.names)
        return file.read([column for column in _COLUMNS if column in present])
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"no readable Parquet: {error}", where=name, remedy="check that it was copied whole"
        ) from error


def _read(table: pa.Table, name: str) -> tuple[dict[str, Cells], list[str]]:
    """Every known column of a table as cells, and the columns it lacks, whose cells are null."""
    present = set(table.schema.names)
    missing = [column for column in FIXED_COLUMNS if column not in present]
    if missing:
        raise InputError(
            f"access-record Parquet lacks the column {', '.join(missing)}",
            where=name,
            remedy="write all fixed columns, with nulls where a value is unknown",
        )
    nothing: Cells = [None] * table.num_rows
    lacks = [column for column in _COLUMNS if column not in present]
    return {c: _cells(c, table[c], name) if c in present else nothing for c in _COLUMNS}, lacks


def _cells(name: str, column: pa.ChunkedArray[Any], file: str) -> Cells:
    import pyarrow as pa

    try:
        if name in _TEXTS:
            return _text_cells(name, column)
        if name in _TIMES:
            return _time_cells(column)
        type_ = pa.bool_() if name in _FLAGS else pa.uint64() if name == "link" else pa.int64()
        cells: Cells = column.cast(type_).to_pylist()
    except pa.ArrowException as error:
        raise InputError(f"column {name} has the type {column.type}: {error}", where=file) from error
    if name == "bytes":
        return [0 if cell is None else _BAD if not 0 <= cell < MAX_BYTES else cell for cell in cells]
    return cells


def _text_cells(name: str, column: pa.ChunkedArray[Any]) -> Cells:
    """Text by way of its distinct values. Parquet text is whatever bytes were written: what is no UTF-8 is replaced."""
    import pyarrow as pa

    encoded: Any = column.cast(pa.large_binary()).combine_chunks().dictionary_encode()
    texts = [value.decode("utf-8", "replace") for value in encoded.dictionary.to_pylist()]
    values: Cells = [*_checked(name, texts), None]
    return [values[code] for code in encoded.indices.fill_null(len(texts)).to_pylist()]


def _checked(name: str, texts: list[str]) -> Cells:
    if name in _CLASSES:
        return [_CLASSES[name].__members__.get(text, _BAD) for text in texts]
    return [text if text in _AUTHS else _BAD for text in texts] if name == "auth" else list(texts)


def _time_cells(column: pa.ChunkedArray[Any]) -> Cells:
    """Epoch seconds, rounded down; a time without a zone is UTC."""
    import pyarrow as pa

    units = 1
    if pa.types.is_timestamp(column.type):
        units = _UNITS_A_SECOND[column.type.unit]
    elif not pa.types.is_null(column.type):
        raise pa.ArrowTypeError("expected a timestamp")
    return [None if cell is None else cell // units for cell in column.cast(pa.int64()).to_pylist()]


def _problems(cells: dict[str, Cells]) -> list[str | None]:
    """Row by row why it is rejected, the first reason of several."""
    problems: list[str | None] = [None] * len(cells["time"])
    checks = [(name, None, f"null_{name}") for name in _NEVER_NULL] + [(n, _BAD, f"bad_{n}") for n in _MAY_BE_BAD]
    for name, wrong, reason in checks:
        for row, cell in enumerate(cells[name]):
            if cell is wrong and problems[row] is None:
                problems[row] = reason
    return problems


def _rows(cells: dict[str, Cells]) -> Iterator[Row]:
    """All rows, the bad ones too."""
    who = list(_principals(cells))
    columns = cells | {
        "id": [text_hash(event_id or "") for event_id in cells["event_id"]],
        "partition": [partition or "" for partition in cells["partition"]],
        "link": [link or 0 for link in cells["link"]],
        "skip": [Skip.no] * len(who),
        "who": who,
        "has_arn": _has_arn(cells),
    }
    columns |= {n: [-1 if cell is None or cell < 0 else cell for cell in cells[n]] for n in NUMBER_COLUMNS}
    return map(Row._make, zip(*(columns[name] for name in Row._fields), strict=True))


def _has_arn(cells: dict[str, Cells]) -> list[bool]:
    """Whether the record named the caller's ARN; where the file does not say, whether an ARN is shown."""
    shown = ((session or "").startswith("arn:") for session in cells["session"])
    return [arn if flag is None else flag for flag, arn in zip(cells["has_arn"], shown, strict=True)]


def _principals(cells: dict[str, Cells]) -> Iterator[Principal]:
    """Row by row who it was; equal identities are one object."""
    names = (*_PRINCIPAL, "issued_at", "mfa")
    seen: dict[tuple[Any, ...], Principal] = {}
    for parts in zip(*(cells[name] for name in names), strict=True):
        if parts not in seen:
            seen[parts] = _principal(dict(zip(names, parts, strict=True)))
        yield seen[parts]


def _principal(part: dict[str, Any]) -> Principal:
    session, role = _keys(part)
    return Principal(
        type=part["principal_type"] or UNKNOWN,
        session=part["session_key"] or session,
        session_shown=part["session"],
        role=part["role_key"] or role,
        role_shown=part["role"],
        account=part["account"],
        session_name=part["session_name"],
        principal_id=part["principal_id"],
        access_key=part["access_key"],
        issued_at=part["issued_at"],
        source_identity=part["source_identity"],
        mfa=part["mfa"],
        invoked_by=part["invoked_by"],
        identity_center_user=part["identity_center_user"],
        issued_to=part["issued_to"],
    )


def _keys(part: dict[str, Any]) -> tuple[str, str]:
    """Session and role keys of an identity of which the file has only what is shown: the contract's table of kinds."""
    principal_id, kind = part["principal_id"] or "", part["principal_type"]
    of_role = kind in {"AssumedRole", "Role"} or (kind == "AWSAccount" and principal_id.startswith("AROA"))
    if not principal_id or not of_role:
        return part["session"], part["role"]
    return principal_id, principal_id.partition(":")[0]
