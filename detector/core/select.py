"""A rule's `where` as a mask over a batch. Pure.

Texts are compared once for each distinct value in the rows still in question, never once a row. In object keys `*`
stays within one `/` segment and `**` crosses segments; elsewhere `*` matches anything. `?` is one character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np

from detector.core.access import OBJECT_MIX, U64, AccessBatch, Column, Index, Log, Mask, Operation, Outcome, text_hash
from detector.core.kinds.sigma import SigmaRule
from detector.core.principal import Principal
from detector.core.rule import OPERATIONS, DecoyRule, Rule, Where

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
}
"""Field of a `where` → the texts of a principal it is compared with."""

TEXT_FIELDS = (
    "bucket", "source_ip", "user_agent", "region", "vpc_endpoint", "access_point", "destination", "auth", "tls", "key",
)  # fmt: skip


def glob(patterns: Iterable[str], *, path: bool = False) -> re.Pattern[str]:
    """One expression for "any of these globs". `path`: `*` stays within a `/` segment."""
    return re.compile("|".join(f"(?:{expression(pattern, path=path)})" for pattern in patterns), re.DOTALL)


def expression(pattern: str, *, path: bool) -> str:
    """A glob as an expression. `path`: `*` stays within a `/` segment."""
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
        """Of these rows those of the right principals and texts."""
        if self._principal and len(rows):
            rows = rows[of_principals(batch, rows, self._is_one, self._known)]
        for name, texts in self._text.items():
            if len(rows):
                rows = rows[matching(batch.text[name], rows, texts)]
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
    codes = column.codes[rows]
    table = np.zeros(len(column.values) + 1, np.bool_)
    table[codes] = True
    for code in np.flatnonzero(table[:-1]).tolist():
        table[code] = wanted.fullmatch(column.values[code]) is not None
    table[-1] = False
    return table[codes]


ABSENT: dict[Log, frozenset[str]] = {
    Log.cloudtrail: frozenset(),
    Log.server_access: frozenset({"vpc_endpoint", "access_key", "destination", "source_identity", "issued_to"}),
    Log.access_audit: frozenset(
        {
            "region",
            "vpc_endpoint",
            "access_point",
            "access_key",
            "destination",
            "auth",
            "tls",
            "source_identity",
            "issued_to",
        }
    ),
}
"""Columns that a kind of log never fills."""


MADE_OF: dict[str, frozenset[str]] = {
    "person": frozenset({"source_identity"}),
    "peer_group": frozenset({"role"}),
    "source_net": frozenset({"vpc_endpoint", "source_ip"}),
    "source_nets": frozenset({"vpc_endpoint", "source_ip"}),
    "public_net": frozenset({"vpc_endpoint", "source_ip"}),
    "public_ip": frozenset({"source_ip"}),
    "prefix": frozenset({"bucket", "key"}),
}
"""Level or measure that is no column itself → the columns it is made of."""


def asked(rule: Rule) -> set[str]:
    """Columns that a rule asks for: on records without them it cannot match, or tells apart less than it says."""
    names = (*rule.levels, *rule.measures)
    made = {column for name in names for column in MADE_OF.get(name, ())}
    plain = {level for level in rule.levels if level not in MADE_OF}
    wheres = [*rule.wheres, *(reader.where for reader in getattr(rule, "readers", ()))]
    fields = {name for where in wheres for name in Where.model_fields if getattr(where, name) is not None}
    return fields | plain | made | rule.extra_columns


def watches_bucket(rule: Rule, pattern: str) -> bool:
    """Whether a rule may count records of the buckets a glob stands for (a guess: by a name the glob could mean)."""
    wanted = rule.where.bucket
    name = pattern.replace("**", "x").replace("*", "x").replace("?", "x")
    return wanted is None or pattern in wanted or glob(wanted).fullmatch(name) is not None
