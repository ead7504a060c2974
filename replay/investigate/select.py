"""The records of whom an investigation is about, and of whom is followed with them: a few passes over few columns.

1. Who is asked for: their uses (who, from where, when) and every call that began a session.
2. Whom they began, who began them, and who else was at their addresses, by the rule of `follow`.
   So far the index tells; records are looked at only where a time cuts through those it tells of together.
3. The records of all of these. Copies among them lead to buckets; who else read there comes after, round by round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.core.access import I8, I64, Column, Index
from detector.core.times import iso
from replay.cache.indexed import Indexed, Met, no_edges
from replay.cache.parts import joined
from replay.columns import Piece, bounds, in_threads, together
from replay.investigate.follow import (
    USE,
    Followed,
    Span,
    Use,
    Uses,
    about,
    backward,
    forward,
    sideways,
    spans,
)
from replay.investigate.groups import Group, groups, over_groups
from replay.investigate.reach import Reach, Why
from replay.investigate.who import Who, names

if TYPE_CHECKING:
    import pyarrow as pa

ROUNDS = 5
"""Copies of copies that are followed."""
TOGETHER = 1 << 16
"""Records that are handed on at once."""
MOST_USES = 200_000
"""Uses that are held; of an identity with more (everybody who is anonymous), nothing beside it is followed."""


@dataclass(slots=True)
class Copied:
    """Copies into a bucket. keys: that they were written under, as far as the log names them.

    before: roles that read there before the first copy. readers: sessions → role, requests, times, usual or not.
    """

    bucket: str
    account: str | None
    first: int
    last: int
    copies: int = 0
    keyless: int = 0
    keys: set[str] = field(default_factory=set)
    before: set[str] = field(default_factory=set)
    readers: dict[str, dict[str, Any]] = field(default_factory=dict)


def chosen(parts: Sequence[Indexed], who: Who, since: int | None, until: int | None) -> tuple[Reach, Followed, Uses]:
    """Who is followed. Empty uses: nobody is there whom the question is about."""
    reach, found = Reach(since, until), Followed()
    who.begin(reach)
    uses, edges = _look(parts, reach, begun=True)
    if not uses or len(uses) > MOST_USES:
        found.capped = len(uses) > MOST_USES
        return reach, found, uses
    if forward(edges, reach, found):
        uses, _ = _look(parts, reach)
    more = backward(edges, uses, reach, found)
    if addresses := spans(uses):
        there, _ = _look(parts, about(addresses, since, until))
        more |= sideways(uses, there, reach, found)
    if more:
        forward(edges, reach, found)
    return reach, found, uses


def known(parts: Sequence[Indexed], columns: Sequence[str]) -> set[str]:
    """All names that stand in these columns."""
    return set[str]().union(*in_threads(parts, lambda part: names(part.met(), columns)))


def _look(parts: Sequence[Indexed], reach: Reach, *, begun: bool = False) -> tuple[dict[Use, Span], Piece]:
    """The uses that are reached; with `begun` every call that began a session, too."""
    import pyarrow as pa

    def look(part: Indexed) -> tuple[list[tuple[Use, Span]], pa.Table]:
        met = part.met()
        return _used(part, met, reach), met.edges

    uses: dict[Use, Span] = {}
    tables = [no_edges()]
    for found, edges in in_threads(parts, look):
        for use, span in found if len(uses) <= MOST_USES else ():
            uses[use] = uses[use] | span if use in uses else span
        if begun:
            tables.append(edges)
    return uses, Piece(pa.concat_tables(tables))


def _used(part: Indexed, met: Met, reach: Reach) -> list[tuple[Use, Span]]:
    """The uses that are reached; of row groups of which the index cannot tell which of their records are, by these."""
    some = reach.why(met) > 0
    if not some.any():
        return []
    cut = np.unique(met.group[some & (reach.why(met, whole=True) == 0)]).tolist()
    found = _uses(met, np.flatnonzero(some & ~np.isin(met.group, cut)), met.requests)
    for group in groups(part, cut) if cut else ():
        found += _uses(group, np.flatnonzero(reach.why(group)), np.ones(len(group), np.int64))
    return found


def _uses(piece: Piece, rows: Index, requests: I64) -> list[tuple[Use, Span]]:
    if not len(rows):
        return []
    columns = [piece.text(name).take(rows) for name in USE]
    codes, met = together([Column(*_small(column)) for column in columns])
    first, last = bounds(codes, len(met), *(times[rows] for times in piece.span()))
    many = np.zeros(len(met), np.int64)
    np.add.at(many, codes, requests[rows])
    spans_ = map(Span, first.tolist(), last.tolist(), many.tolist())
    return list(zip([Use(*texts) for texts in met], spans_, strict=True))


def _small(column: Column) -> tuple[Any, list[str]]:
    """The column over the values that its rows have."""
    used, codes = np.unique(column.codes, return_inverse=True)
    null = bool(len(used)) and used[0] < 0
    values = [column.values[code] for code in used[int(null) :].tolist()]
    return (codes - int(null)).astype(np.int32), values


def events(parts: Sequence[Indexed], reach: Reach, copies: dict[str, Copied]) -> Iterator[pa.Table]:
    """All records that are reached, with `because`, some at a time; then those of who read copies.

    copies: what becomes of them is put in here.
    """
    held: list[pa.Table] = []
    for table in _events(parts, reach, copies):
        held.append(table)
        if sum(map(len, held)) >= TOGETHER:
            yield joined(held)
            held = []
    if held:
        yield joined(held)


def _events(parts: Sequence[Indexed], reach: Reach, copies: dict[str, Copied]) -> Iterator[pa.Table]:
    pending: dict[str, Copied] = {}

    def look(part: Indexed) -> list[pa.Table]:
        met = part.met()
        some = np.unique(met.group[reach.why(met) > 0]).tolist()
        return [_taken(group, why) for group in groups(part, some) if (why := reach.why(group)).any()] if some else []

    for table in (table for some in in_threads(parts, look) for table in some):
        _note(Piece(table), pending)
        yield table
    for _ in range(ROUNDS):
        new = {bucket: one for bucket, one in pending.items() if bucket not in copies}
        copies |= new
        if not new:
            return
        _learn_before(parts, new)
        pending = {}
        for group in (group for part in parts for group in groups(part)):
            of_copies = _readers(group, reach, new)
            if of_copies is not None and of_copies.any():
                table = _taken(group, of_copies)
                _note(Piece(table), pending)
                yield table


def _taken(group: Group, why: I8) -> pa.Table:
    import pyarrow as pa

    rows = np.flatnonzero(why)
    because: Any = pa.DictionaryArray.from_arrays(why[rows].astype(np.int32), pa.array([one.name for one in Why]))
    return group.rows(rows).append_column("because", because)


def _note(piece: Piece, copies: dict[str, Copied]) -> None:
    """The copies among records."""
    rows = np.flatnonzero(piece.text("operation").are("copy") & piece.text("outcome").are("success"))
    if not len(rows):
        return
    to, key, account = (piece.text(name).texts() for name in ("destination", "destination_key", "destination_account"))
    time = piece.seconds("time").tolist()
    for row in rows.tolist():
        bucket = to[row]
        if bucket is None:
            continue
        one = copies.setdefault(bucket, Copied(bucket, account[row], time[row], time[row]))
        one.copies += 1
        one.first, one.last = min(one.first, time[row]), max(one.last, time[row])
        if key[row] is None:
            one.keyless += 1
        else:
            one.keys.add(key[row] or "")


def _learn_before(parts: Sequence[Indexed], copies: dict[str, Copied]) -> None:
    """Which roles read in these buckets before the first copy came."""

    def look(group: Group) -> list[tuple[str, str | None]]:
        rows = _reads_in(group, copies)
        first = _firsts(group, copies)
        rows = rows[group.seconds("time")[rows] < first[group.text("bucket").codes[rows]]] if len(rows) else rows
        pairs = [group.text(name).take(rows) for name in ("bucket", "role")] if len(rows) else []
        return [(met[0] or "", met[1]) for met in together([Column(*_small(one)) for one in pairs])[1]] if pairs else []

    for some in over_groups(parts, look):
        for bucket, role in (pair for found in some for pair in found):
            copies[bucket].before.add(role or "")


def _reads_in(group: Group, copies: dict[str, Copied]) -> Index:
    """Rows that read in these buckets."""
    if not group.may_hold("bucket", copies):
        return np.zeros(0, np.intp)
    bucket = group.text("bucket")
    hit = np.array([*(name in copies for name in bucket.values), False], np.bool_)
    if not hit.any():
        return np.zeros(0, np.intp)
    operation = group.text("operation")
    reads = (operation.are("read") | operation.are("copy")) & group.text("outcome").are("success")
    return np.flatnonzero(hit[bucket.codes] & reads)


def _firsts(group: Group, copies: dict[str, Copied]) -> Any:
    """When the first copy came, by code of the bucket."""
    return np.array([copies[name].first if name in copies else 0 for name in group.text("bucket").values] + [0])


def _readers(group: Group, reach: Reach, copies: dict[str, Copied]) -> I8 | None:
    """Reads of copies by others than those who are followed, and than the roles that read there before."""
    rows = _reads_in(group, copies)
    if not len(rows):
        return None
    rows = rows[group.seconds("time")[rows] >= _firsts(group, copies)[group.text("bucket").codes[rows]]]
    rows = rows[reach.why(group)[rows] == 0]
    if not len(rows):
        return None
    bucket, keys = group.text("bucket").take(rows), group.rows(rows, ["key"])["key"].to_pylist()
    session, role = (group.text(name).take(rows).texts() for name in ("session", "role"))
    time = group.seconds("time")[rows].tolist()
    why = np.zeros(len(group), np.int8)
    for at, row in enumerate(rows.tolist()):
        one = copies[bucket.text(at) or ""]
        if keys[at] not in one.keys and not one.keyless:
            continue
        usual = (role[at] or "") in one.before
        reader = one.readers.setdefault(
            session[at] or "", {"role": role[at], "usual": usual, "reads": 0, "first": time[at], "last": time[at]}
        )
        reader["reads"] += 1
        reader["first"], reader["last"] = min(reader["first"], time[at]), max(reader["last"], time[at])
        why[row] = 0 if usual else Why.copy
    return why


def told(copies: dict[str, Copied]) -> list[dict[str, Any]]:
    """What became of copies, for people and scripts."""
    return [
        {
            "bucket": one.bucket,
            "account": one.account,
            "copies": one.copies,
            "keys_known": not one.keyless,
            "first": iso(one.first),
            "last": iso(one.last),
            "readers_count": len(one.readers),
            "readers": [
                {"session": session} | reader | {"first": iso(reader["first"]), "last": iso(reader["last"])}
                for session, reader in sorted(one.readers.items(), key=lambda pair: (pair[1]["usual"], pair[0]))[:100]
            ],
        }
        for one in sorted(copies.values(), key=lambda one: one.bucket)
    ]
