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

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from detector.core.access import (
    ALL_DIFFERENT,
    I8,
    I32,
    MAX_BYTES,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    AccessBatch,
    Column,
    Index,
    Log,
    Mask,
    Operation,
    Outcome,
    Skip,
    intern,
    present,
    renumbered,
    unresolved,
)
from detector.core.builder import BatchBuilder
from detector.core.finding import prefixes_of
from detector.core.principal import UNKNOWN, Principal
from detector.core.principals import Principals
from detector.errors import InputError
from detector.logs.cells import Cells

if TYPE_CHECKING:
    import pyarrow as pa

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
REASONS = (*(f"null_{name}" for name in _NEVER_NULL), *(f"bad_{name}" for name in (*_CLASSES, "bytes", "auth")))
"""Why a row is rejected; of several the first."""
NO_TIME = -(1 << 62)


def to_table(batch: AccessBatch, *, of_objects: bool = False) -> pa.Table:
    """The access events of a batch as a table, without the skipped rows: the contract's columns, then the further ones.

    Text is dictionary-encoded, without values that no row has, unless hardly two rows are alike. of_objects: with
    `prefix` and `object`.
    """
    import pyarrow as pa

    batch = batch.take(batch.skip == Skip.no)
    people = [*batch.principals]
    who: Any = pa.array(batch.who)
    seconds = pa.timestamp("s", "UTC")
    columns: dict[str, Any] = {
        name: _plain(column) if name in ALL_DIFFERENT else dictionary(column)
        for name, column in _texts(batch, people).items()
    }
    columns |= {name: pa.array(batch.number[name], mask=batch.number[name] < 0) for name in NUMBER_COLUMNS}
    columns |= {"time": pa.array(batch.time), "bytes": pa.array(batch.bytes), "link": pa.array(batch.link)}
    columns["has_arn"] = pa.array(batch.has_arn)
    columns["mfa"] = pa.array([one.mfa for one in people], pa.bool_()).take(who)
    columns["issued_at"] = pa.array([one.issued_at for one in people], pa.int64()).take(who)
    columns |= {name: columns[name].cast(seconds) for name in _TIMES}
    if of_objects:
        columns |= _of_objects(batch)
    order = (*FIXED_COLUMNS, *(name for name in columns if name not in FIXED_COLUMNS))
    return pa.table({name: columns[name] for name in order})


def _texts(batch: AccessBatch, people: Sequence[Principal]) -> dict[str, Column]:
    classes = {"operation": batch.operation, "outcome": batch.outcome, "log": batch.log}
    texts = {n: Column(codes.astype(np.int32), [c.name for c in _CLASSES[n]]) for n, codes in classes.items()}
    for name, part in _PRINCIPAL.items():
        codes, values = intern([*map(part, people)])
        texts[name] = Column(codes[batch.who], values)
    return texts | batch.text | {"partition": batch.partition}


def _of_objects(batch: AccessBatch) -> dict[str, Any]:
    import pyarrow as pa

    key, hashes = batch.text["key"], batch.object_hash(np.arange(len(batch)))
    folder = _plain(Column(key.codes, prefixes_of(key.values)))
    return {"prefix": folder, "object": pa.array(hashes, mask=key.codes < 0)}


def dictionary(column: Column) -> pa.Array[Any]:
    """The column over the values its rows really have: a slice of a big batch does not carry the batch's dictionary."""
    import pyarrow as pa

    used = present(column.codes, len(column.values))
    indices: Any = pa.array(renumbered(column.codes, used, len(column.values)), mask=column.codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array([column.values[code] for code in used], pa.string()))


def _plain(column: Column) -> pa.Array[Any]:
    """The column as texts."""
    import pyarrow as pa

    codes: Any = pa.array(column.codes, mask=column.codes < 0)
    return pa.array(column.values, pa.string()).take(codes)


def without_dictionaries(table: pa.Table) -> pa.Table:
    """The table with plain texts: a slice has the dictionaries of all that it was cut from."""
    import pyarrow as pa

    fields = [(one.name, one.type.value_type if pa.types.is_dictionary(one.type) else one.type) for one in table.schema]
    return table.cast(pa.schema(fields))


def parse(data: bytes, name: str, into: BatchBuilder) -> list[str]:
    """Add a row or a reject to `into` for every row of a Parquet file; `name` is the file rejects are filed under.

    Returns the nullable columns that the file lacks: rules that ask for them cannot look at these records.
    Raises InputError if the bytes are no Parquet, or if a fixed column is missing or a column has another type.
    Reasons of rejects: `null_<column>` and `bad_<column>`.
    """
    return add_rows(_table(data, name), name, into)


def add_rows(table: pa.Table, name: str, into: BatchBuilder) -> list[str]:
    """As `parse`, of a table. Raises InputError."""
    present = set(table.schema.names)
    missing = [column for column in FIXED_COLUMNS if column not in present]
    if missing:
        raise InputError(
            f"access-record Parquet lacks the column {', '.join(missing)}",
            where=name,
            remedy="write all fixed columns, with nulls where a value is unknown",
        )
    cells = Cells(table, name, times=_TIMES)
    cells.check(_TEXTS, (*_TIMES, "bytes", *NUMBER_COLUMNS), _FLAGS)
    problems = _problems(cells)
    rows = np.flatnonzero(~problems.any(axis=0))
    for row in np.flatnonzero(problems.any(axis=0)).tolist():
        into.reject(name, row + 1, REASONS[int(problems[:, row].argmax())])
    into.extend(_piece(cells, rows, into))
    return [column for column in _COLUMNS if column not in present]


def asked_of(columns: frozenset[str]) -> list[str]:
    """The columns of a file that reading these takes."""
    return [one for one in _COLUMNS if one in columns or one in FIXED_COLUMNS or one not in TEXT_COLUMNS]


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


def _problems(cells: Cells) -> npt.NDArray[np.bool_]:
    """Reason by row: whether a row is rejected for it. The first of several is told."""
    wrong = {f"null_{name}": cells.null(name) for name in _NEVER_NULL}
    wrong |= {f"bad_{name}": _coded(name, cells.text(name)) < -1 for name in _CLASSES}
    size = cells.whole("bytes", 0)
    wrong["bad_bytes"] = (size < 0) | (size >= MAX_BYTES)
    wrong["bad_auth"] = cells.text("auth").fit(lambda text: text not in _AUTHS)
    return np.array([wrong[reason] for reason in REASONS])


def _coded(name: str, column: Column) -> I8:
    """The members of a class of each row; -1 for null, -2 for what is none of them."""
    members = _CLASSES[name].__members__
    return np.array([*(members.get(text, -2) for text in column.values), -1], np.int8)[column.codes]


def _piece(cells: Cells, rows: Index, into: BatchBuilder) -> AccessBatch:
    """These rows, all of them good."""
    log, operation, outcome = (_coded(name, cells.text(name))[rows] for name in ("log", "operation", "outcome"))
    nameless = cells.null("bucket")[rows] & (log != Log.access_audit)
    size = cells.whole("bytes", 0)[rows] if "bytes" in into.columns else np.zeros(len(rows), np.int64)
    return AccessBatch(
        time=cells.whole("time")[rows],
        id=cells.text("event_id").take(rows).hashes(),
        link=cells.link()[rows],
        skip=np.zeros(len(rows), np.int8),
        log=log,
        operation=operation,
        outcome=outcome,
        bytes=size,
        who=_who(cells, rows, into),
        has_arn=_has_arn(cells)[rows],
        unresolved=unresolved(operation, nameless, ~cells.null("key")[rows]),
        principals=Principals(),
        prints=np.zeros(0, np.uint64),
        partition=cells.text("partition").take(rows).filled(""),
        text={name: cells.text(name).take(rows) for name in TEXT_COLUMNS if name in into.columns},
        number={name: np.maximum(cells.whole(name)[rows], -1) for name in NUMBER_COLUMNS if name in into.columns},
    )


def _has_arn(cells: Cells) -> Mask:
    """Whether the record named the caller's ARN; where the file does not say, whether an ARN is shown."""
    session, flag = cells.text("session"), cells.flag("has_arn")
    shown = session.fit(lambda text: text.startswith("arn:"))
    return np.where(flag < 0, shown, flag == 1)


def _who(cells: Cells, rows: Index, into: BatchBuilder) -> I32:
    """Codes of who each row's request is from. Rows of one identity that follow each other are told by the first."""
    if not len(rows):
        return np.zeros(0, np.int32)
    texts = {name: cells.text(name) for name in _PRINCIPAL}
    issued, mfa = cells.whole("issued_at", NO_TIME)[rows], cells.flag("mfa")[rows]
    columns: list[npt.NDArray[Any]] = [*(column.codes[rows] for column in texts.values()), issued, mfa]
    changes = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    starts = np.flatnonzero(np.append(True, changes))
    first, number = _distinct([column[starts] for column in columns])
    people = []
    for at in starts[first].tolist():
        part: dict[str, Any] = {name: column.text(int(rows[at])) for name, column in texts.items()}
        part["issued_at"] = None if issued[at] == NO_TIME else int(issued[at])
        part["mfa"] = None if mfa[at] < 0 else bool(mfa[at])
        people.append(_principal(part))
    return np.repeat(into.codes(people)[number], np.diff(np.append(starts, len(rows))))


def _distinct(columns: Sequence[npt.NDArray[Any]]) -> tuple[Index, Index]:
    """Of rows of several columns the first of each that are alike, and of each row its number among these."""
    number = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, codes = np.unique(column, return_inverse=True)
        number = np.unique(number * len(values) + codes, return_inverse=True)[1]
    return np.unique(number, return_index=True)[1], number


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
