"""A rule's `where` as a mask over a batch. Pure.

Texts are compared once for each distinct value in the rows still in question, never once a row. In object keys `*`
stays within one `/` segment and `**` crosses segments; elsewhere `*` matches anything. `?` is one character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from detector.core.access import OBJECT_MIX, U64, AccessBatch, Column, Log, Mask, Operation, Outcome, text_hash
from detector.core.principal import Principal
from detector.core.rule import OPERATIONS, DecoyRule, Rule, Where

PRINCIPAL_FIELDS: dict[str, Callable[[Principal], tuple[str | None, ...]]] = {
    "session": lambda p: (p.session_shown, p.session),
    "role": lambda p: (p.role_shown, p.role),
    "account": lambda p: (p.account,),
    "session_name": lambda p: (p.session_name,),
    "principal_type": lambda p: (p.type,),
}
"""Field of a `where` → the texts of a principal it is compared with."""

TEXT_FIELDS = (
    "bucket", "source_ip", "user_agent", "region", "vpc_endpoint", "access_point", "destination", "auth", "tls", "key",
)  # fmt: skip


def glob(patterns: Iterable[str], *, path: bool = False) -> re.Pattern[str]:
    """One expression for "any of these globs". `path`: `*` stays within a `/` segment."""
    return re.compile("|".join(f"(?:{_expression(pattern, path=path)})" for pattern in patterns), re.DOTALL)


def _expression(pattern: str, *, path: bool) -> str:
    star, one = ("[^/]*", "[^/]") if path else (".*", ".")
    pieces = re.split(r"(\*\*|\*|\?)", pattern)
    return "".join({"**": ".*", "*": star, "?": one}.get(piece, re.escape(piece)) for piece in pieces)


def logs_of(where: Where) -> tuple[Log, ...]:
    """The kinds of log that a rule reads.

    The application's audit log tells of requests that AWS logs too: counted with them, each would count twice. So it
    is read only by rules that name it.
    """
    return tuple(Log[name] for name in where.log) if where.log else (Log.cloudtrail, Log.server_access)


class Selector:
    """The compiled `where` of a rule."""

    def __init__(self, where: Where) -> None:
        self._operations = _operations(where.operation)
        self._outcomes = _codes(Outcome, where.outcome) if "any" not in where.outcome else None
        self._principal = {
            name: glob(patterns) for name in PRINCIPAL_FIELDS if (patterns := getattr(where, name)) is not None
        }
        self._text = {
            name: glob(patterns, path=name == "key")
            for name in TEXT_FIELDS
            if (patterns := getattr(where, name)) is not None
        }
        self.logs = logs_of(where)
        self._logs = _codes(Log, [log.name for log in self.logs])

    def mask(self, batch: AccessBatch) -> Mask:
        """Which rows of the batch the rule counts."""
        chosen = np.ones(len(batch), np.bool_)
        if self._outcomes is not None:
            chosen &= self._outcomes[batch.outcome]
        chosen &= self._logs[batch.log]
        if self._operations is not None:
            classes, names = self._operations
            chosen &= classes[batch.operation] | _any_text(batch, ("api", "log_operation"), names)
        for name, expression in self._principal.items():
            texts = PRINCIPAL_FIELDS[name]
            table = [any(t is not None and expression.fullmatch(t) for t in texts(p)) for p in batch.principals]
            chosen &= np.array([*table, False], np.bool_)[batch.who]
        for name, expression in self._text.items():
            chosen = _narrow(chosen, batch.text[name], expression)
        return chosen


class DecoySelector(Selector):
    """The records that take a decoy and are no registered reader's.

    Decoys are looked up by hash, and what is found is compared: a key can be made to have the hash of another.
    """

    def __init__(self, rule: DecoyRule) -> None:
        super().__init__(rule.where)
        places = (one.removeprefix("s3://").partition("/") for one in rule.decoys)
        self._decoys = {(bucket, key) for bucket, _, key in places}
        self._hashes = _object_hashes(self._decoys)
        self._readers = [(Selector(reader.where), reader.ends_at) for reader in rule.readers]

    def mask(self, batch: AccessBatch) -> Mask:
        """Which rows of the batch the rule counts."""
        chosen = super().mask(batch)
        rows = np.flatnonzero(chosen & bool(self._decoys))
        chosen[:] = False
        if len(rows):
            objects = batch.object_hash(rows)
            near = np.minimum(np.searchsorted(self._hashes, objects), len(self._hashes) - 1)
            rows = rows[self._hashes[near] == objects]
            bucket, key = batch.text["bucket"], batch.text["key"]
            chosen[[row for row in rows.tolist() if (bucket.text(row), key.text(row)) in self._decoys]] = True
        if chosen.any():
            for reader, ends_at in self._readers:
                chosen &= ~reader.mask(batch) | (batch.time >= ends_at)
        return chosen


def _object_hashes(objects: Iterable[tuple[str, str]]) -> U64:
    """Sorted hashes of these objects, as `AccessBatch.object_hash` makes them."""
    mix, whole = int(OBJECT_MIX), (1 << 64) - 1
    found = sorted((text_hash(bucket) * mix + text_hash(key)) & whole for bucket, key in objects)
    return np.array(found, np.uint64)


def selector_of(rule: Rule) -> Selector:
    """Which records a rule counts."""
    return DecoySelector(rule) if isinstance(rule, DecoyRule) else Selector(rule.where)


def _operations(wanted: tuple[str, ...] | None) -> tuple[Mask, re.Pattern[str] | None] | None:
    if wanted is None:
        return None
    classes = np.zeros(len(Operation), np.bool_)
    for name in wanted:
        if name in OPERATIONS:
            classes[Operation[name]] = True
    if classes[Operation.read]:
        classes[Operation.copy] = True
    names = [name for name in wanted if name not in OPERATIONS]
    return classes, glob(names) if names else None


def _codes(kinds: type[Outcome | Log], names: Iterable[str]) -> Mask:
    wanted = np.zeros(len(kinds), np.bool_)
    for name in names:
        wanted[kinds[name]] = True
    return wanted


def _any_text(batch: AccessBatch, columns: Iterable[str], expression: re.Pattern[str] | None) -> Mask:
    found = np.zeros(len(batch), np.bool_)
    if expression is not None:
        for name in columns:
            found |= _narrow(np.ones(len(batch), np.bool_), batch.text[name], expression)
    return found


def _narrow(chosen: Mask, column: Column, expression: re.Pattern[str]) -> Mask:
    """Of the chosen rows those whose text matches; each distinct text is compared once."""
    table = np.zeros(len(column.values) + 1, np.bool_)
    for code in np.unique(column.codes[chosen]):
        table[code] = code >= 0 and expression.fullmatch(column.values[code]) is not None
    return chosen & table[column.codes]


ABSENT: dict[Log, frozenset[str]] = {
    Log.cloudtrail: frozenset(),
    Log.server_access: frozenset({"vpc_endpoint", "access_key", "destination", "source_identity"}),
    Log.access_audit: frozenset(
        {"region", "vpc_endpoint", "access_point", "access_key", "destination", "auth", "tls", "source_identity"}
    ),
}
"""Columns that a kind of log never fills."""


MADE_OF: dict[str, frozenset[str]] = {
    "person": frozenset({"source_identity"}),
    "peer_group": frozenset({"role"}),
    "source_net": frozenset({"vpc_endpoint", "source_ip"}),
    "source_nets": frozenset({"vpc_endpoint", "source_ip"}),
}
"""Level or measure that is no column itself → the columns it is made of."""


def asked(rule: Rule) -> set[str]:
    """Columns that a rule asks for: on records without them it cannot match, or tells apart less than it says."""
    made = {column for name in (*rule.group_by, rule.measure) for column in MADE_OF.get(name, ())}
    plain = {level for level in rule.group_by if level not in MADE_OF}
    wheres = [rule.where, *(reader.where for reader in getattr(rule, "readers", ()))]
    return {name for name in Where.model_fields if any(getattr(w, name) is not None for w in wheres)} | plain | made


def watches_bucket(rule: Rule, pattern: str) -> bool:
    """Whether a rule may count records of the buckets a glob stands for (a guess: by a name the glob could mean)."""
    wanted = rule.where.bucket
    name = pattern.replace("**", "x").replace("*", "x").replace("?", "x")
    return wanted is None or pattern in wanted or glob(wanted).fullmatch(name) is not None
