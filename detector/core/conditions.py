"""What a field of a `where` says, as a condition: which of some rows of a batch it leaves. Pure.

Texts are compared once for each distinct value in the rows still in question, never once a row; principals once for
each fingerprint.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from detector.core.access import (
    I8,
    I32,
    I64,
    AccessBatch,
    Column,
    Index,
    Log,
    Mask,
    Operation,
    Outcome,
    present,
    text_hash,
)
from detector.core.addresses import AddressLists, Networks, network
from detector.core.globs import expression, glob
from detector.core.made import Made, one_by_one
from detector.core.principal import Principal
from detector.core.rule import OPERATIONS, Conditions, Retention
from detector.core.watermark import FOREVER

Keep = Callable[[AccessBatch, Index], Mask]
"""Which of these rows of a batch a condition leaves."""

NOBODY = "nobody"
"""For whom credentials were made of which AWS does not say it: people's, keys of users, and of some machines."""
PRINCIPAL_FIELDS: dict[str, Callable[[Principal], tuple[str | None, ...]]] = {
    "session": lambda p: (p.session_shown, p.session),
    "role": lambda p: (p.role_shown, p.role),
    "account": lambda p: (p.account,),
    "session_name": lambda p: (p.session_name,),
    "principal_type": lambda p: (p.type,),
    "issued_to": lambda p: (p.issued_to or NOBODY,),
    "access_key": lambda p: (p.access_key,),
    "source_identity": lambda p: (p.source_identity,),
    "invoked_by": lambda p: (p.invoked_by,),
}
"""Field of a `where` → the texts of a principal it is compared with."""

TEXT_FIELDS = (
    "bucket", "bucket_account", "user_agent", "region", "vpc_endpoint", "access_point", "destination",
    "destination_account", "auth", "tls", "error_code", "sse", "kms_key", "purpose", "version_id", "key",
)  # fmt: skip


def operations(wanted: tuple[str, ...]) -> tuple[Mask, re.Pattern[str] | None]:
    """Classes by code, and the expression of API names."""
    classes = codes_of(Operation, [name for name in wanted if name in OPERATIONS])
    if classes[Operation.read]:
        classes[Operation.copy] = True
    names = [name for name in wanted if name not in OPERATIONS]
    return classes, glob(names) if names else None


def outcomes(wanted: tuple[str, ...]) -> Mask:
    """Outcomes by code."""
    return codes_of(Outcome, Outcome.__members__ if "any" in wanted else wanted)


def codes_of(kinds: type[Outcome | Log | Operation], names: Iterable[str]) -> Mask:
    """By code, whether it is one of these."""
    wanted = np.zeros(len(kinds), np.bool_)
    for name in names:
        wanted[kinds[name]] = True
    return wanted


def matching(column: Column, rows: Index, wanted: re.Pattern[str]) -> Mask:
    """Which of these rows have a text that matches; each distinct text is compared once."""
    return having(column, rows, lambda text: wanted.fullmatch(text) is not None)


def having(column: Column, rows: Index, holds: Callable[[str], bool]) -> Mask:
    """Which of these rows have such a text; each distinct text is looked at once."""
    table = np.zeros(len(column.values) + 1, np.bool_)
    if len(column.values) > len(rows):
        codes = present(column.codes[rows], len(column.values))
        table[codes] = [holds(column.values[code]) for code in codes.tolist()]
    else:
        table[:-1] = [*map(holds, column.values)]
    return told(table, column.codes, rows)


def told(table: Mask, codes: I32 | I8, rows: Index) -> Mask:
    """What a table says of these rows by their codes; where it says no to all, no row is looked at."""
    return table[codes[rows]] if table.any() else np.zeros(len(rows), np.bool_)


def kept(batch: AccessBatch, rows: Index, every: Iterable[Keep]) -> Index:
    """Of these rows those that all conditions leave; the very same ones where that is all of them."""
    for keep in every:
        if len(rows):
            left = keep(batch, rows)
            rows = rows if left.all() else rows[left]
    return rows


def keeps(conditions: Conditions, makers: dict[str, Callable[[Any], Keep]]) -> list[Keep]:
    """The conditions of the given fields, in the order of their makers."""
    given = conditions.given()
    return [make(given[name]) for name, make in makers.items() if name in given]


def _outcome(wanted: tuple[str, ...]) -> Keep:
    table = outcomes(wanted)
    return lambda batch, rows: table[batch.outcome[rows]]


def operation(wanted: tuple[str, ...]) -> Keep:
    """Records of these classes of operation, or with these API names."""
    classes, names = operations(wanted)

    def keep(batch: AccessBatch, rows: Index) -> Mask:
        found = told(classes, batch.operation, rows)
        for name in ("api", "log_operation") if names else ():
            found |= matching(batch.text[name], rows, names)  # type: ignore[arg-type]  # asked above
        return found

    return keep


def _text(name: str) -> Callable[[tuple[str, ...]], Keep]:
    def make(patterns: tuple[str, ...]) -> Keep:
        wanted = glob(patterns, path=name == "key")
        return lambda batch, rows: matching(batch.text[name], rows, wanted)

    return make


def _change(words: tuple[str, ...]) -> Keep:
    wanted = set(words)
    return lambda batch, rows: having(batch.text["change"], rows, lambda text: not wanted.isdisjoint(text.split()))


def _source_ip(patterns: tuple[str, ...]) -> Keep:
    """Addresses by glob, or by network."""
    networks = Networks(network(text) for text in patterns if "/" in text)
    globs = [text for text in patterns if "/" not in text]
    texts = glob(globs)

    def holds(address: str) -> bool:
        return address in networks or (bool(globs) and texts.fullmatch(address) is not None)

    return lambda batch, rows: having(batch.text["source_ip"], rows, holds)


def _source_ip_in(lists: AddressLists) -> Keep:
    return lambda batch, rows: having(batch.text["source_ip"], rows, lists.networks.__contains__)


def _principal(name: str) -> Callable[[tuple[str, ...]], Keep]:
    def make(patterns: tuple[str, ...]) -> Keep:
        wanted, texts = glob(patterns), PRINCIPAL_FIELDS[name]
        return _of_those(lambda p: any(text is not None and wanted.fullmatch(text) for text in texts(p)))

    return make


def _mfa(wanted: bool) -> Keep:
    return _of_those(lambda p: p.mfa is wanted)


def _of_those(is_one: Callable[[Principal], bool]) -> Keep:
    known = Made(one_by_one(is_one))
    return lambda batch, rows: told(known.by_code(batch, rows).astype(np.bool_), batch.who, rows)


def _session_age_over(seconds: int) -> Keep:
    issued: Made[Principal] = Made(
        one_by_one(lambda who: (FOREVER if who.issued_at is None else who.issued_at) % (1 << 64)), nobody=FOREVER
    )

    def keep(batch: AccessBatch, rows: Index) -> Mask:
        since = issued.by_code(batch, rows).view(np.int64)
        old: Mask = np.greater(batch.time[rows] - since[batch.who[rows]], seconds)
        return old

    return keep


def _signed_for_over(seconds: int) -> Keep:
    return lambda batch, rows: batch.number["signed_for"][rows] > seconds


def _signed_age_over(seconds: int) -> Keep:
    def keep(batch: AccessBatch, rows: Index) -> Mask:
        at = batch.number["signed_at"][rows]
        old: Mask = (at >= 0) & (batch.time[rows] - at > seconds)
        return old

    return keep


def _account_against(column: str) -> Callable[[str], Keep]:
    """Whether who asked is of the account that owns the bucket. Nobody and services are of none."""

    def make(wanted: str) -> Keep:
        accounts: Made[Principal] = Made(
            one_by_one(lambda who: text_hash(who.account) if who.account.isdecimal() else 0)
        )

        def keep(batch: AccessBatch, rows: Index) -> Mask:
            asking, owning = accounts.by_code(batch, rows)[batch.who[rows]], batch.text[column].take(rows)
            same: Mask = asking == owning.hashes() if wanted == "own" else asking != owning.hashes()
            known: Mask = (asking != 0) & (owning.codes >= 0)
            return same & known

        return keep

    return make


def _retention(kept: Retention) -> Keep:
    """Objects that are read when the date in their key is over, and the time they may be kept for after it."""
    expressions = [re.compile(_dated(pattern), re.DOTALL) for pattern in kept.key]

    def keep(batch: AccessBatch, rows: Index) -> Mask:
        keys = batch.text["key"].take(rows)
        ends: I64 = np.full(len(keys.values) + 1, FOREVER)
        for code in np.unique(keys.codes):
            if code >= 0:
                ends[code] = min(_end_of_date(e.fullmatch(keys.values[code])) for e in expressions)
        over: Mask = batch.time[rows] - kept.keep >= ends[keys.codes]
        return over

    return keep


def _dated(pattern: str) -> str:
    """A glob with the parts of a date in it; a part that comes twice is the same both times."""
    digits = {"yyyy": "[0-9]{4}", "mm": "[0-9]{2}", "dd": "[0-9]{2}"}
    pieces, named = [], set[str]()
    for piece in re.split(r"(\{[^}]*\})", pattern):
        name = piece[1:-1] if piece.startswith("{") else ""
        if not name:
            pieces.append(expression(piece, path=True))
        else:
            pieces.append(f"(?P={name})" if name in named else f"(?P<{name}>{digits[name]})")
            named.add(name)
    return "".join(pieces)


def _end_of_date(found: re.Match[str] | None) -> int:
    """Epoch seconds at which the day, month or year in a key is over; FOREVER where there is none."""
    if found is None:
        return FOREVER
    parts = {name: int(digits) for name, digits in found.groupdict().items()}
    year, month = parts["yyyy"], parts.get("mm", 12)
    try:
        day = parts.get("dd", monthrange(year, month)[1])
        return int(datetime(year, month, day, tzinfo=UTC).timestamp()) + 86_400
    except ValueError:
        return FOREVER


FURTHER: dict[str, Callable[[Any], Keep]] = {
    **{name: _principal(name) for name in PRINCIPAL_FIELDS},
    **{name: _text(name) for name in TEXT_FIELDS},
    "mfa": _mfa,
    "session_age_over": _session_age_over,
    "signed_for_over": _signed_for_over,
    "signed_age_over": _signed_age_over,
    "change": _change,
    "source_ip": _source_ip,
    "account_is": _account_against("bucket_account"),
    "destination_is": _account_against("destination_account"),
    "source_ip_in": _source_ip_in,
    "retention": _retention,
}
"""Field of a `where` that codes alone do not tell → maker of its condition, the cheaper ones first."""
ALL: dict[str, Callable[[Any], Keep]] = {
    "outcome": _outcome,
    "operation": operation,
    **FURTHER,
}
"""Field of `unless` → maker of its condition."""
