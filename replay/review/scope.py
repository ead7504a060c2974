"""What lies outside of a name's scope, and whose objects somebody read: judged once for each combination of texts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.core.access import I8, I32, AccessBatch, Column, Log, Mask, Operation, Outcome
from detector.core.asked import columns_asked
from detector.core.entitled import Entitlements
from detector.core.kinds.scope import PIECE, Scope
from detector.core.owner import Owners
from detector.core.principal import Principal
from detector.core.principals import Principals
from detector.core.select import Selector
from detector.errors import InputError
from replay.columns import Piece, pair, together
from replay.review.sums import Side, side

KNOWN = frozenset({"bucket", "key", "role", "account", "session_name", "principal_type", "operation", "outcome", "log"})
"""What a scope may look at here."""
OPTION = "session_name=contractor-{id} key={id}/**"
LEAVES = np.isin(np.arange(len(Operation)), (Operation.read, Operation.copy))
"""By class of operation: whether content leaves."""
FIELDS = {"session_name": "session_name", "role": "role", "key": "allowed_key"}


@dataclass(frozen=True, slots=True)
class Scopes:
    """What names entitle to, and who owns which object. owners: None if it was not said."""

    rules: tuple[Scope, ...] = ()
    owners: Owners | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Further columns that must be read: whole keys, where folders do not say enough."""
        by_folder = all(Entitlements(rule).by_folder for rule in self.rules)
        return () if by_folder and (self.owners is None or self.owners.by_folder) else ("key",)

    @property
    def not_judged(self) -> dict[str, list[str]]:
        """Rules that look at what is not looked at here: id → columns."""
        return {rule.id: sorted(more) for rule in self.rules if (more := _asked(rule) - KNOWN)}

    def judge(
        self, piece: Piece, texts: dict[str, Column], who: tuple[I32, Sequence[Any]], operation: I8
    ) -> tuple[Mask, dict[str, Side]]:
        """Which rows lie outside of a scope, and the table of owners. who: codes, and the texts of `OF_WHO`."""
        key = piece.text("key") if self.columns else texts["prefix"]
        return self._outside(texts, key, who), self._owners(piece, texts, key, who[0], operation)

    def _outside(self, texts: dict[str, Column], key: Column, who: tuple[I32, Sequence[Any]]) -> Mask:
        rules = [rule for rule in self.rules if rule.id not in self.not_judged]
        if not rules:
            return np.zeros(len(key.codes), np.bool_)
        names = ("bucket", "operation", "outcome", "log")
        place, places = together([*(texts[name] for name in names), key])
        row, pairs = pair(who[0], place, len(places))
        batch = _batch(who[1], [(one // len(places), *places[one % len(places)]) for one in pairs.tolist()])
        outside = np.zeros(len(pairs), np.bool_)
        for rule in rules:
            outside[Entitlements(rule).outside(batch, np.flatnonzero(Selector(rule.where).mask(batch)))] = True
        return outside[row]

    def _owners(self, piece: Piece, texts: dict[str, Column], key: Column, who: I32, operation: I8) -> dict[str, Side]:
        if self.owners is None:
            return {}
        owners = Column.of(self.owners.of_each(key.values))
        owner = Column(np.append(owners.codes, np.int32(-1))[key.codes], owners.values)
        rows = np.flatnonzero((owner.codes >= 0) & LEAVES[operation] & texts["outcome"].are("success"))
        time, size = piece.seconds("time")[rows], piece.number("bytes")[rows]
        return {"owners": side(who[rows], owner.codes[rows], owner.values, time, size)}


def _asked(rule: Scope) -> set[str]:
    """What the rule's `where` looks at."""
    conditions = [one for one in (rule.where, rule.where.unless) if one is not None]
    return set[str]().union(*map(columns_asked, conditions))


def _batch(people: Sequence[Any], rows: Sequence[tuple[Any, ...]]) -> AccessBatch:
    """Rows of (identity, bucket, operation, outcome, log, key), as rules look at them."""
    count = len(rows)
    who, bucket, operation, outcome, log, key = zip(*rows, strict=True) if rows else ((),) * 6
    none = np.zeros(count, np.int64)
    return AccessBatch(
        time=none, id=none.astype(np.uint64), link=none.astype(np.uint64), skip=none.astype(np.int8),
        log=np.array([Log[one] for one in log], np.int8),
        operation=np.array([Operation[one] for one in operation], np.int8),
        outcome=np.array([Outcome[one] for one in outcome], np.int8),
        bytes=none, who=np.array(who, np.int32), has_arn=none.astype(np.bool_), unresolved=none.astype(np.bool_),
        principals=Principals([_principal(one) for one in people]),
        prints=np.arange(1, len(people) + 1, dtype=np.uint64),
        partition=Column.null(count), text={"bucket": Column.of(bucket), "key": Column.of(key)}, number={},
    )  # fmt: skip


def _principal(texts: Sequence[str | None]) -> Principal:
    key, role, name, type_, account = texts
    return Principal(type_ or "", key or "", role or "", key or role or "", role or "", account or "", name)


def scope_of(text: str) -> Scope:
    """The scope that `--scope` names: about the names, and roles, that its patterns fit. Raises InputError."""
    from pydantic import ValidationError

    try:
        words = [word.partition("=") for word in shlex.split(text)]
    except ValueError as error:
        raise InputError(f"--scope: {error}, got '{text}'") from error
    if not words or any(name not in (*FIELDS, "bucket") or not value for name, _, value in words):
        names = ", ".join((*FIELDS, "bucket"))
        raise InputError(f"--scope: expected {names} and what each is, such as '{OPTION}', got '{text}'")
    given: dict[str, tuple[str, ...]] = {}
    for name, _, value in words:
        given[name] = (*given.get(name, ()), value)
    where: dict[str, tuple[str, ...]] = {
        name: tuple(map(_glob, given[name])) for name in ("session_name", "role") if name in given
    }
    where |= {"bucket": given["bucket"]} if "bucket" in given else {}
    fields = {FIELDS[name]: values for name, values in given.items() if name != "bucket"}
    try:
        return Scope.model_validate(
            {"id": "scope-option", "title": text, "severity": "medium", "kind": "scope", "group_by": "session",
             "description": text, "where": where | {"outcome": ("any",)}} | fields
        )  # fmt: skip
    except ValidationError as error:
        told = "; ".join(str(problem["msg"]).removeprefix("Value error, ") for problem in error.errors())
        raise InputError(f"--scope: {told}", remedy=f"write it as '{OPTION}'") from error


def _glob(pattern: str) -> str:
    """The pattern as a glob: a placeholder is anything."""
    return "".join("*" if piece["name"] else piece[0] for piece in PIECE.finditer(pattern))


def scopes_in(rules: Sequence[Any]) -> Iterator[Scope]:
    """The scope rules among rules."""
    yield from (rule for rule in rules if isinstance(rule, Scope))
