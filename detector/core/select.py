"""A rule's `where` as a mask over a batch. Pure.

Texts are compared once for each distinct value in the rows still in question, never once a row. In object keys `*`
stays within one `/` segment and `**` crosses segments; elsewhere `*` matches anything. `?` is one character.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np

from detector.core.access import (
    I64,
    OBJECT_MIX,
    U64,
    AccessBatch,
    Column,
    Index,
    Log,
    Mask,
    Operation,
    Outcome,
    text_hash,
)
from detector.core.addresses import AddressLists, Networks, network
from detector.core.kinds.sigma import SigmaRule
from detector.core.principal import Principal
from detector.core.rule import OPERATIONS, Conditions, DecoyRule, Retention, Rule, Where
from detector.core.watermark import FOREVER

Keep = Callable[[AccessBatch, Index], Mask]
"""Which of these rows of a batch a condition leaves."""

REMEMBERED = 1 << 16
"""Principals of whom a selector remembers whether they are meant."""
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


def glob(patterns: Iterable[str], *, path: bool = False) -> re.Pattern[str]:
    """One expression for "any of these globs". `path`: `*` stays within a `/` segment."""
    return re.compile("|".join(f"(?:{expression(pattern, path=path)})" for pattern in patterns), re.DOTALL)


def expression(pattern: str, *, path: bool) -> str:
    """A glob as an expression. `path`: `*` stays within a `/` segment.

    Texts are hostile. Of what follows a wildcard only the first place is tried, since a later one leaves no more to
    the rest; the last wildcard alone goes back, to reach the end. So the time is in proportion to the text, with `*`
    after `**` at most to its square, whatever the pattern.
    """
    *inner, last = pattern.split("**") if path else [pattern]
    before = [_chunk(text, path=path, ends=False) for text in inner]
    after = ".*" if inner else ""
    return "".join([*before[:1], *(f"(?>.*?{one})" for one in before[1:]), after, _chunk(last, path=path, ends=True)])


def _chunk(pattern: str, *, path: bool, ends: bool) -> str:
    """A glob without `**`. ends: the text has to end with it; else as soon as it can."""
    star, one = ("[^/]*", "[^/]") if path else (".*", ".")
    first, *others = ["".join(one if c == "?" else re.escape(c) for c in text) for text in re.split(r"\*+", pattern)]
    last = [star + others.pop()] if ends and others else []
    return "".join([first, *(f"(?>{star}?{text})" for text in others), *last])


def logs_of(where: Where) -> tuple[Log, ...]:
    """The kinds of log that a rule reads.

    The application's audit log tells of requests that AWS logs too: counted with them, each would count twice. So it
    is read only by rules that name it.
    """
    return tuple(Log[name] for name in where.log) if where.log else (Log.cloudtrail, Log.server_access)


class Selector:
    """The compiled `where` of a rule: first what is told by codes alone, then texts, of the rows that are left.

    coarse: equal for two selectors whose first step is the same.
    """

    def __init__(self, where: Where) -> None:
        self.logs = logs_of(where)
        self.coarse = (where.outcome, self.logs, where.operation)
        self._classes, self._names = _operations(where.operation)
        self._outcomes = _codes(Outcome, Outcome.__members__ if "any" in where.outcome else where.outcome)
        self._logs = _codes(Log, [log.name for log in self.logs])
        self._principal = {
            name: glob(patterns) for name in PRINCIPAL_FIELDS if (patterns := getattr(where, name)) is not None
        }
        self._known: dict[int, bool] = {}
        self._further = _keeps(where, FURTHER)
        self._unless = _keeps(where.unless, ALL) if where.unless else []
        asked_ = _columns_of(where.unless) if where.unless else set()
        silent = [log.name for log in self.logs if asked_ & ABSENT[log]]
        self._tells = ~_codes(Log, silent)  # what a log never says, it does not deny either
        self._text = {
            name: glob(patterns, path=name == "key")
            for name in TEXT_FIELDS
            if (patterns := getattr(where, name)) is not None
        }

    def mask(self, batch: AccessBatch) -> Mask:
        """Which rows of the batch the rule counts."""
        chosen = np.zeros(len(batch), np.bool_)
        chosen[self.narrow(batch, self.begin(batch))] = True
        return chosen

    def begin(self, batch: AccessBatch) -> Index:
        """The rows of the right operation, outcome and kind of log."""
        chosen = self._outcomes[batch.outcome] & self._logs[batch.log]
        if self._names is None:
            return np.flatnonzero(chosen & self._classes[batch.operation])
        rows = np.flatnonzero(chosen)
        named = self._classes[batch.operation[rows]]
        for name in ("api", "log_operation"):
            named |= matching(batch.text[name], rows, self._names)
        return rows[named]

    def narrow(self, batch: AccessBatch, rows: Index) -> Index:
        """Of these rows those for which all else holds: principals, texts, what is dearer, and `unless`."""
        if self._principal and len(rows):
            rows = rows[of_principals(batch, rows, self._is_one, self._known)]
        for name, texts in self._text.items():
            if len(rows):
                rows = rows[matching(batch.text[name], rows, texts)]
        rows = _kept(batch, rows, self._further)
        if self._unless and len(rows):
            rows = rows[self._tells[batch.log[rows]]]
            rows = np.setdiff1d(rows, _kept(batch, rows, self._unless), assume_unique=True)
        return rows

    def _is_one(self, who: Principal) -> bool:
        return all(
            any(text is not None and wanted.fullmatch(text) for text in PRINCIPAL_FIELDS[name](who))
            for name, wanted in self._principal.items()
        )


@lru_cache(maxsize=1024)
def selector(where: Where) -> Selector:
    """The selector of a `where`: rules that say the same share one."""
    return Selector(where)


class DecoySelector(Selector):
    """The records that take a decoy and are no registered reader's.

    Decoys are looked up by hash, and what is found is compared: a key can be made to have the hash of another.
    """

    def __init__(self, rule: DecoyRule) -> None:
        super().__init__(rule.where)
        places = (one.removeprefix("s3://").partition("/") for one in rule.decoys)
        self._decoys = {(bucket, key) for bucket, _, key in places}
        self._hashes = _object_hashes(self._decoys)
        self._readers = [(selector(reader.where), reader.ends_at) for reader in rule.readers]

    def narrow(self, batch: AccessBatch, rows: Index) -> Index:
        """Of these rows those that take a decoy, and are no reader's."""
        rows = super().narrow(batch, rows) if self._decoys else rows[:0]
        if len(rows):
            objects = batch.object_hash(rows)
            near = np.minimum(np.searchsorted(self._hashes, objects), len(self._hashes) - 1)
            rows = rows[self._hashes[near] == objects]
            bucket, key = batch.text["bucket"], batch.text["key"]
            taken = [(bucket.text(row), key.text(row)) in self._decoys for row in rows.tolist()]
            rows = rows[np.array(taken, np.bool_)]
        for reader, ends_at in self._readers if len(rows) else ():
            rows = rows[~reader.mask(batch)[rows] | (batch.time[rows] >= ends_at)]
        return rows


def _object_hashes(objects: Iterable[tuple[str, str]]) -> U64:
    """Sorted hashes of these objects, as `AccessBatch.object_hash` makes them."""
    mix, whole = int(OBJECT_MIX), (1 << 64) - 1
    found = sorted((text_hash(bucket) * mix + text_hash(key)) & whole for bucket, key in objects)
    return np.array(found, np.uint64)


def selectors_of(rule: Rule) -> list[Selector]:
    """Which records a rule looks at: what any of these chooses."""
    if isinstance(rule, DecoyRule):
        return [DecoySelector(rule)]
    if isinstance(rule, SigmaRule):
        from detector.core.sigma_mask import SigmaSelector  # its engine for expressions is there only with Sigma

        return [SigmaSelector(rule)]
    return [selector(where) for where in dict.fromkeys(rule.wheres)]


def _operations(wanted: tuple[str, ...] | None) -> tuple[Mask, re.Pattern[str] | None]:
    """Classes by code, and the expression of API names."""
    if wanted is None:
        return np.ones(len(Operation), np.bool_), None
    classes = _codes(Operation, [name for name in wanted if name in OPERATIONS])
    if classes[Operation.read]:
        classes[Operation.copy] = True
    names = [name for name in wanted if name not in OPERATIONS]
    return classes, glob(names) if names else None


def _codes(kinds: type[Outcome | Log | Operation], names: Iterable[str]) -> Mask:
    wanted = np.zeros(len(kinds), np.bool_)
    for name in names:
        wanted[kinds[name]] = True
    return wanted


def of_principals(batch: AccessBatch, rows: Index, is_one: Callable[[Principal], bool], known: dict[int, bool]) -> Mask:
    """Which of these rows are of such a principal. known: verdicts by fingerprint, to which new ones are added."""
    who = batch.who[rows]
    table = np.zeros(len(batch.principals) + 1, np.bool_)  # the last is nobody's, whose code is -1
    met = np.zeros(len(table), np.bool_)
    met[who] = True
    if len(known) > REMEMBERED:
        known.clear()
    for code in np.flatnonzero(met[:-1]).tolist():
        print_ = int(batch.prints[code])
        verdict = known.get(print_)
        if verdict is None:
            verdict = known[print_] = is_one(batch.principals[code])
        table[code] = verdict
    return table[who]


def matching(column: Column, rows: Index, wanted: re.Pattern[str]) -> Mask:
    """Which of these rows have a text that matches; each distinct text is compared once."""
    return _having(column, rows, lambda text: wanted.fullmatch(text) is not None)


def _having(column: Column, rows: Index, holds: Callable[[str], bool]) -> Mask:
    """Which of these rows have such a text; each distinct text is looked at once."""
    codes = column.codes[rows]
    table = np.zeros(len(column.values) + 1, np.bool_)
    table[codes] = True
    for code in np.flatnonzero(table[:-1]).tolist():
        table[code] = holds(column.values[code])
    table[-1] = False
    return table[codes]


# --- makers of conditions: what a field says → which rows it leaves


def _kept(batch: AccessBatch, rows: Index, keeps: Iterable[Keep]) -> Index:
    for keep in keeps:
        if len(rows):
            rows = rows[keep(batch, rows)]
    return rows


def _keeps(conditions: Conditions, makers: dict[str, Callable[[Any], Keep]]) -> list[Keep]:
    given = conditions.given()
    return [make(given[name]) for name, make in makers.items() if name in given]


def _outcome(wanted: tuple[str, ...]) -> Keep:
    table = _codes(Outcome, Outcome.__members__ if "any" in wanted else wanted)
    return lambda batch, rows: table[batch.outcome[rows]]


def _operation(wanted: tuple[str, ...]) -> Keep:
    classes, names = _operations(wanted)

    def keep(batch: AccessBatch, rows: Index) -> Mask:
        found = classes[batch.operation[rows]]
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
    return lambda batch, rows: _having(batch.text["change"], rows, lambda text: not wanted.isdisjoint(text.split()))


def _source_ip(patterns: tuple[str, ...]) -> Keep:
    """Addresses by glob, or by network."""
    networks = Networks(network(text) for text in patterns if "/" in text)
    globs = [text for text in patterns if "/" not in text]
    texts = glob(globs)

    def holds(address: str) -> bool:
        return address in networks or (bool(globs) and texts.fullmatch(address) is not None)

    return lambda batch, rows: _having(batch.text["source_ip"], rows, holds)


def _source_ip_in(lists: AddressLists) -> Keep:
    return lambda batch, rows: _having(batch.text["source_ip"], rows, lists.networks.__contains__)


def _principal(name: str) -> Callable[[tuple[str, ...]], Keep]:
    def make(patterns: tuple[str, ...]) -> Keep:
        wanted, texts = glob(patterns), PRINCIPAL_FIELDS[name]
        return _of_those(lambda p: any(text is not None and wanted.fullmatch(text) for text in texts(p)))

    return make


def _mfa(wanted: bool) -> Keep:
    return _of_those(lambda p: p.mfa is wanted)


def _of_those(is_one: Callable[[Principal], bool]) -> Keep:
    known: dict[int, bool] = {}
    return lambda batch, rows: of_principals(batch, rows, is_one, known)


def _session_age_over(seconds: int) -> Keep:
    def keep(batch: AccessBatch, rows: Index) -> Mask:
        who = batch.who[rows]
        issued = np.full(len(batch.principals) + 1, FOREVER)
        for code in np.unique(who).tolist():
            at = batch.principals[code].issued_at if code >= 0 else None
            issued[code] = FOREVER if at is None else at
        old: Mask = np.greater(batch.time[rows] - issued[who], seconds)
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
        def keep(batch: AccessBatch, rows: Index) -> Mask:
            who, owning = batch.who[rows], batch.text[column].take(rows)
            accounts = np.zeros(len(batch.principals) + 1, np.uint64)
            for code in np.unique(who).tolist():
                account = batch.principals[code].account if code >= 0 else ""
                accounts[code] = text_hash(account) if account.isdecimal() else 0
            asking = accounts[who]
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
"""Field of a `where` that is neither a class, nor a text of the record or its principal → maker of its condition."""
ALL: dict[str, Callable[[Any], Keep]] = {
    "outcome": _outcome,
    "operation": _operation,
    **{name: _principal(name) for name in PRINCIPAL_FIELDS},
    **{name: _text(name) for name in TEXT_FIELDS},
    **FURTHER,
}
"""Field of `unless` → maker of its condition."""

ABSENT: dict[Log, frozenset[str]] = {
    Log.cloudtrail: frozenset({"purpose"}),
    Log.server_access: frozenset(
        {
            "vpc_endpoint", "access_key", "destination", "destination_account", "bucket_account", "source_identity",
            "mfa", "issued_at", "issued_to", "sse", "kms_key", "change", "purpose",
        }
    ),
    Log.access_audit: frozenset(
        {
            "region", "vpc_endpoint", "access_point", "access_key", "destination", "destination_account",
            "bucket_account", "auth", "signed_at", "signed_for", "tls", "source_identity", "mfa", "issued_at",
            "issued_to", "invoked_by", "sse", "kms_key", "version_id", "error_code", "change",
        }
    ),
}  # fmt: skip
"""Columns that a kind of log never fills."""


MADE_OF: dict[str, frozenset[str]] = {
    "person": frozenset({"source_identity"}),
    "peer_group": frozenset({"role"}),
    "source_net": frozenset({"vpc_endpoint", "source_ip"}),
    "source_nets": frozenset({"vpc_endpoint", "source_ip"}),
    "public_net": frozenset({"vpc_endpoint", "source_ip"}),
    "public_ip": frozenset({"source_ip"}),
    "prefix": frozenset({"bucket", "key"}),
    "source_ip_in": frozenset({"source_ip"}),
    "retention": frozenset({"key"}),
    "session_age_over": frozenset({"issued_at"}),
    "signed_for_over": frozenset({"signed_for"}),
    "signed_age_over": frozenset({"signed_at"}),
    "account_is": frozenset({"bucket_account"}),
    "destination_is": frozenset({"destination_account"}),
}
"""Level, measure or field that is no column itself → the columns it is made of."""


def columns_of(name: str) -> frozenset[str]:
    """The columns that a level, measure or field looks at."""
    return MADE_OF.get(name, frozenset({name}))


def _columns_of(conditions: Conditions) -> set[str]:
    return set[str]().union(*map(columns_of, conditions.given()))


def asked(rule: Rule) -> set[str]:
    """Columns that a rule asks for: on records without them it cannot match, or tells apart less than it says."""
    names = (*rule.levels, *rule.measures)
    made = {column for name in names for column in MADE_OF.get(name, ())}
    plain = {level for level in rule.levels if level not in MADE_OF}
    wheres = [*rule.wheres, *(reader.where for reader in getattr(rule, "readers", ()))]
    conditions = [one for where in wheres for one in (where, where.unless) if one is not None]
    fields = set[str]().union(*map(_columns_of, conditions))
    return fields | plain | made | rule.extra_columns


def watches_bucket(rule: Rule, pattern: str) -> bool:
    """Whether a rule may count records of the buckets a glob stands for (a guess: by a name the glob could mean)."""
    wanted = rule.where.bucket
    name = pattern.replace("**", "x").replace("*", "x").replace("?", "x")
    return wanted is None or pattern in wanted or glob(wanted).fullmatch(name) is not None
