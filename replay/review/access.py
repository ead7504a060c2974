"""The table of access: a row an identity and place, in columns. Pure.

It has a row for every name that was used anywhere, so nothing here is done row by row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.core.access import I32, I64, Operation
from replay.review.judged import kind_of
from replay.review.usage import Usage

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (
    "account", "kind", "role", "session_name", "bucket", "prefix", "out_of_scope", "requests", "objects", "bytes",
    "denied", "reads", "copy", "restores", "lists", "heads", "writes", "deletes", "decrypts", "control", "assumes",
    "other", "first", "last",
)  # fmt: skip
"""Columns, in order."""
COUNTED = ("read", "list", "write", "delete", "restore", "decrypt", "head", "assume")
"""Classes of operation whose columns have a plural."""


def access(usage: Usage) -> pa.Table:
    """The rows by role, session name, bucket and prefix; times are times."""
    import pyarrow as pa

    by, where, sums = usage.cells.by, usage.cells.where, usage.cells.sums
    columns: dict[str, Any] = {
        "account": _of([who.account for who in usage.who], by),
        "kind": _of([kind_of(who) for who in usage.who], by),
        "role": _of([who.role for who in usage.who], by),
        "session_name": _of([who.session_name for who in usage.who], by),
        "bucket": _of([bucket or None for bucket, _ in usage.places], where),
        "prefix": _of([prefix for _, prefix in usage.places], where),
        "out_of_scope": pa.array(usage.cells.outside),
        "requests": sums.requests, "objects": usage.objects, "bytes": sums.bytes, "denied": usage.denied,
        "first": pa.array(sums.first).cast(pa.timestamp("s", "UTC")),
        "last": pa.array(sums.last).cast(pa.timestamp("s", "UTC")),
    }  # fmt: skip
    columns |= {_counted(one): usage.by_operation[:, one] for one in Operation}
    people = _ranks((who.role, who.session_name or "") for who in usage.who)[by]
    order: Any = np.lexsort((_ranks(usage.places)[where], people))
    return pa.table({name: columns[name] for name in COLUMNS}).take(order)


def _counted(operation: Operation) -> str:
    return f"{operation.name}s" if operation.name in COUNTED else operation.name


def _of(texts: list[str | None], rows: I32) -> Any:
    import pyarrow as pa

    return pa.array(texts, pa.string()).take(rows)


def _ranks(rows: Iterable[tuple[str, ...]]) -> I64:
    """Of each its place among them; of those that are alike the same."""
    every = list(rows)
    place = {row: at for at, row in enumerate(sorted(set(every)))}
    return np.array([place[row] for row in every], np.int64)
