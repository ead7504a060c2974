"""What lies outside of a name's scope, and whose objects somebody read: judged once for each combination of texts.

What rules are is loaded only where there are any: a fifth of a second.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.core.access import I8, I32, AccessBatch, Column, Log, Mask, Operation, Outcome
from detector.core.principal import Principal
from detector.core.principals import Principals
from detector.errors import InputError
from replay.cache.summed import FIGURES
from replay.columns import Piece

if TYPE_CHECKING:
    import pyarrow as pa

    from detector.core.kinds.scope import Scope
    from detector.core.owner import Owners

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
    def looked_at(self) -> str:
        """The column that is looked at: whole keys, where folders do not say enough."""
        by_folder = all(map(_by_folder, self.rules))
        return "prefix" if by_folder and (self.owners is None or self.owners.by_folder) else "key"

    @property
    def folders(self) -> int | None:
        """How many folders of a key are looked at, at most; None: there is no knowing."""
        if self.rules or self.looked_at == "key":
            return None
        return self.owners.folders if self.owners else 0

    @property
    def not_judged(self) -> dict[str, list[str]]:
        """Rules that look at what is not looked at here: id → columns."""
        return {rule.id: sorted(more) for rule in self.rules if (more := _asked(rule) - KNOWN)}

    def outside(self, cells: Piece, key: Column, people: Sequence[Any]) -> Mask:
        """Which rows lie outside of a scope. key: or its folder. people: texts of `OF_WHO`, by `who`."""
        rules = [rule for rule in self.rules if rule.id not in self.not_judged]
        outside = np.zeros(len(cells), np.bool_)
        if not rules:
            return outside
        from detector.core.entitled import Entitlements
        from detector.core.select import Selector

        texts = {name: cells.text(name) for name in ("bucket", "operation", "outcome", "log")}
        batch = _batch(people, cells.table["who"].to_numpy(), texts, key)
        for rule in rules:
            outside[Entitlements(rule).outside(batch, np.flatnonzero(Selector(rule.where).mask(batch)))] = True
        return outside

    def owned(self, cells: Piece, key: Column) -> pa.Table:
        """The rows of who read something that has an owner, with the owner."""
        import pyarrow as pa

        owner = Column.of(self.owners.of_each(key.values) if self.owners else [])
        codes = np.append(owner.codes, np.int32(-1))[key.codes]
        left = LEAVES[coded(cells.text("operation"), Operation)] & cells.text("outcome").are("success")
        rows = np.flatnonzero((codes >= 0) & left)
        owners: Any = pa.DictionaryArray.from_arrays(codes[rows], pa.array(owner.values, pa.string()))
        table = cells.table.take(rows)
        return pa.table({"who": table["who"], "owner": owners} | {name: table[name] for name in FIGURES})


def _by_folder(rule: Scope) -> bool:
    from detector.core.entitled import Entitlements

    return Entitlements(rule).by_folder and "key" not in _asked(rule)


def coded(column: Column, kind: type[Operation | Outcome | Log]) -> I8:
    """Every row's member of an enumeration; what is none is the first."""
    found: I8 = np.array([*(int(kind.__members__.get(text, 0)) for text in column.values), 0], np.int8)[column.codes]
    return found


def _asked(rule: Scope) -> set[str]:
    """What the rule's `where` looks at."""
    from detector.core.asked import columns_asked

    conditions = [one for one in (rule.where, rule.where.unless) if one is not None]
    return set[str]().union(*map(columns_asked, conditions))


def _batch(people: Sequence[Any], who: I32, texts: dict[str, Column], key: Column) -> AccessBatch:
    """Rows as rules look at them."""
    none = np.zeros(len(who), np.int64)
    return AccessBatch(
        time=none, id=none.astype(np.uint64), link=none.astype(np.uint64), skip=none.astype(np.int8),
        log=coded(texts["log"], Log), operation=coded(texts["operation"], Operation),
        outcome=coded(texts["outcome"], Outcome), bytes=none, who=who, has_arn=none.astype(np.bool_),
        unresolved=none.astype(np.bool_), principals=Principals([_principal(one) for one in people]),
        prints=np.arange(1, len(people) + 1, dtype=np.uint64), partition=Column.null(len(who)),
        text={"bucket": texts["bucket"], "key": key}, number={},
    )  # fmt: skip


def _principal(texts: Sequence[str | None]) -> Principal:
    key, role, name, type_, account = texts
    return Principal(type_ or "", key or "", role or "", key or role or "", role or "", account or "", name)


def scope_of(text: str) -> Scope:
    """The scope that `--scope` names: about the names, and roles, that its patterns fit. Raises InputError."""
    from pydantic import ValidationError

    from detector.core.kinds.scope import Scope

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
    from detector.core.kinds.scope import PIECE

    return "".join("*" if piece["name"] else piece[0] for piece in PIECE.finditer(pattern))


def scopes_in(rules: Sequence[Any]) -> Iterator[Scope]:
    """The scope rules among rules."""
    from detector.core.kinds.scope import Scope

    yield from (rule for rule in rules if isinstance(rule, Scope))
