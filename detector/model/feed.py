"""From batches to what the model counts: rows by role and second, and who and what their hashes stand for. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec
import numpy as np

from detector.core.access import I64, U64, Column, Index, Operation, Outcome
from detector.core.evidence import TEXT_LIMIT
from detector.core.groupings import group_print
from detector.core.part import Run
from detector.core.peers import acting, peer_group
from detector.core.principal import Principal, is_identity_center_role
from detector.core.rule import Peers
from detector.core.runs import Segments, concat
from detector.core.sighting import Texts
from detector.core.table import Table
from detector.core.view import BatchView, folders_of
from detector.core.window import by_value, grouped, hash_order, steady_order
from detector.model.channels import HOUR, PANE
from detector.model.keys import Keys
from detector.model.roles import Identity
from detector.model.rows import COPY, ERROR, READ, Rows

NOT_MODIFIED = 304
_ENCODE = msgspec.json.encode
_DECODE = msgspec.json.Decoder(tuple[tuple[str, ...], str, str]).decode


@lru_cache(maxsize=1 << 14)
def _identity(text: str) -> Identity:
    """Who wrote itself so: a role is met in every pane it is active in."""
    return Identity(*_DECODE(text))


def by_role(runs: Sequence[Run]) -> Run:
    """Runs as one, by role."""
    run = concat(runs)
    order = hash_order(run[0])
    return tuple(column[order] for column in run)


class Feed:
    """Rows that wait for their pane to be sealed. `name` heads the names of its parts in a checkpoint.

    remember: keep what the hashes of prefixes and networks stand for.
    """

    def __init__(self, name: str, peers: Peers, shared: tuple[str, ...], slack: int, *, remember: bool = True) -> None:
        self.rows = Segments(f"pane/{name}", by_role)
        self.texts = Texts(f"pane-texts/{name}", slack)
        self._who = Keys(f"pane-keys/{name}")
        self._peers, self._shared, self._remembers = peers, shared, remember
        self._acting = Table()

    def absorb(self, view: BatchView, chosen: Index) -> tuple[U64, I64]:
        """Take in these rows of a batch; the role and second of each."""
        batch = view.batch
        succeeded = batch.outcome == Outcome.success
        reads = (batch.operation == Operation.read) | (batch.operation == Operation.copy)
        failed = ~succeeded & (batch.number["status"] != NOT_MODIFIED)
        rows = chosen[((batch.who >= 0) & ((succeeded & reads) | failed))[chosen]]
        if not len(rows):
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        role, second = self._roles(view, rows), view.time[rows]
        copies = succeeded[rows] & (batch.operation[rows] == Operation.copy)
        what = np.where(failed[rows], ERROR, np.where(copies, COPY, READ)).astype(np.uint8)
        to = np.where(copies, batch.text["destination"].hashes()[rows], batch.bytes[rows].astype(np.uint64))
        run: Run = (
            role, second.astype(np.uint32), view.who()[rows], batch.object_hash(rows), self._prefixes(view, rows),
            self._nets(view, rows), to, what,
        )  # fmt: skip
        for hour, some in by_value(second // HOUR):
            self.rows.append(hour, by_role([tuple(column[some] for column in run)]))
        return role, second

    def hours(self, first: int, end: int) -> Iterator[tuple[Rows, U64, dict[int, Identity], U64]]:
        """The panes from `first` to `end` that hold something, by hour: rows, roles by key, who is who, credentials."""
        for hour in self.rows.segments():
            if (hour + 1) * HOUR > first and hour * HOUR < end:
                run = _by_time(concat([part.whole() for part in self.rows.parts(hour, hour)]), first, end)
                if len(run[0]):
                    yield self._rows(run, run[1].astype(np.int64) // PANE)

    def open(self, first: int, last: int, roles: U64) -> tuple[Rows, U64, dict[int, Identity], U64] | None:
        """The rows of some roles (sorted) from second `first` to `last`."""
        runs = []
        for part in self.rows.parts(first // HOUR, last // HOUR):
            keys = part.keys()
            hit = np.flatnonzero(np.isin(keys, roles))
            if len(hit):
                runs.append(tuple(column[hit] for column in part.whole()))
        if not runs:
            return None
        run = _by_time(concat(runs), first, last + 1)
        return self._rows(run, np.zeros(len(run[0]), np.int64)) if len(run[0]) else None

    def credentials(self, role: int, first: int, last: int) -> list[int]:
        """Fingerprints of the credentials with which a role was active from second `first` to `last`."""
        found: set[int] = set()
        for part in self.rows.parts(first // HOUR, last // HOUR):
            _, second, who, *_ = part.span(role, role)
            found.update(who[(second >= first) & (second <= last)].tolist())
        return sorted(found)

    def text(self, hashes: Sequence[int]) -> dict[int, str]:
        """What these hashes of prefixes and networks stand for."""
        found = self.texts.of(np.array(sorted(set(hashes)), np.uint64))
        return {one: text.decode("utf-8", "replace") for one, text in found.items()}

    def forget_before(self, second: int) -> bool:
        """Let go of rows before this second; whether there were any."""
        if not self.rows.drop_before(second // HOUR):
            return False
        self.texts.forget_before(second // HOUR)
        held = {one for part in self.rows.all_parts() for one in np.unique(part.whole()[2]).tolist()}
        self._who.keep(held)
        self._acting = Table()
        return True

    def names(self) -> set[str]:
        """Names of its parts in the checkpoint."""
        return self.rows.names() | self.texts.names() | self._who.names()

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        return self.rows.changes() | self.texts.changes() | self._who.changes()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint."""
        self.rows.restore(parts)
        self.texts.restore(parts)
        self._who.restore(parts)

    def _rows(self, run: Run, pane: I64) -> tuple[Rows, U64, dict[int, Identity], U64]:
        """Rows, roles by key, who each is by its credentials in its first pane, and the credentials of each row."""
        role, second, who, object_, prefix, net, amount, what = run
        credentials, first, of_row = grouped(who)
        candidates: dict[int, tuple[int, Identity]] = {}
        for one, print_, begun in zip(role[first].tolist(), credentials.tolist(), pane[first].tolist(), strict=True):
            candidate = begun, _identity(self._who[print_])
            candidates[one] = min(candidates.get(one, candidate), candidate)
        known = {one: identity for one, (_, identity) in candidates.items()}
        prints = np.array(sorted(known, key=lambda one: known[one].key), np.uint64)
        order = np.argsort(prints)
        at = order[np.searchsorted(prints[order], role[first])][of_row]
        rows = Rows(at, second.astype(np.int64), object_, prefix, net, amount, what.astype(np.int64))
        return rows, prints, known, who

    def _roles(self, view: BatchView, rows: Index) -> U64:
        """Fingerprint of whose habits each row is of: see `acting`. Who is new is remembered."""
        batch = view.batch
        met = np.zeros(len(batch.principals), np.bool_)
        met[batch.who[rows]] = True
        codes = np.flatnonzero(met)
        prints = batch.prints[codes]
        roles = self._acting.values_of(prints)
        new = np.flatnonzero(roles == 0)
        if len(new):
            roles[new] = self._meet([batch.principals[code] for code in codes[new].tolist()], prints[new])
        of_code = np.zeros(len(met), np.uint64)
        of_code[codes] = roles
        return of_code[batch.who[rows]]

    def _meet(self, people: Sequence[Principal], prints: U64) -> U64:
        """Remember who these credentials are; fingerprints of whose habits theirs are."""
        keys = [acting(who, self._shared) for who in people]
        roles = np.fromiter(map(group_print, keys), np.uint64, len(keys))
        texts = [
            _ENCODE((key, peer_group(who, self._peers), kind_of(who))).decode()
            for who, key in zip(people, keys, strict=True)
        ]
        self._who.put(dict(zip(prints.tolist(), texts, strict=True)))
        unique, at = np.unique(prints, return_index=True)
        self._acting.put(unique, roles[at])
        return roles

    def _prefixes(self, view: BatchView, rows: Index) -> U64:
        """Hash of (bucket, prefix); what it stands for is remembered."""
        return self._remembered(folders_of(view.batch, rows), view.time[rows])

    def _nets(self, view: BatchView, rows: Index) -> U64:
        """Hash of the network, 0 where it can be no news: a private one, or AWS itself."""
        nets = view.nets().take(rows)
        news = Column(np.where(nets.fit(_can_be_news), nets.codes, np.int32(-1)), nets.values)
        return self._remembered(news, view.time[rows])

    def _remembered(self, column: Column, seconds: I64) -> U64:
        """The hashes of a column, once it is remembered what they stand for, at the times of its rows."""
        each = column.each()
        if self._remembers and len(each.codes):
            keys, first, _ = grouped(each.hashes())
            hour = np.full(len(keys), int(seconds.max()) // HOUR, np.int64)
            codes = each.codes[first]
            self.texts.put(keys, hour, lambda new: as_kept([column.values[at] for at in codes[new].tolist()]))
        return column.hashes()


def kind_of(who: Principal) -> str:
    """What kind of identity this is; pools of small groups lean on it."""
    if is_identity_center_role(who.role_shown):
        return "person"
    if who.type == "AssumedRole":
        return f"role of {who.issued_to}" if who.issued_to else "role"
    return who.type


@lru_cache(maxsize=1 << 16)
def _can_be_news(net: str) -> bool:
    """Private networks collide between VPCs, and a service is where its calls come from."""
    try:
        return not ipaddress.ip_network(net).is_private
    except ValueError:
        return net.startswith("vpce-")


def as_kept(texts: Sequence[str]) -> list[bytes]:
    """These texts as they are kept."""
    try:
        encoded = list(map(str.encode, texts))
    except UnicodeEncodeError:  # a lone surrogate
        encoded = [text.encode("utf-8", "replace") for text in texts]
    long = max(map(len, encoded), default=0) > TEXT_LIMIT
    return [text[:TEXT_LIMIT] for text in encoded] if long else encoded


def _by_time(run: Run, first: int, end: int) -> Run:
    """The rows from second `first` to `end` (not included), by second.

    Within one they are in the order of a hash of the rest, so that it does not depend on how they came.
    """
    inside = (run[1] >= first) & (run[1] < end)
    if not inside.all():
        run = tuple(column[inside] for column in run)
    tie = (run[0] ^ run[3]) * np.uint64(0x9E37_79B9_7F4A_7C15) + run[5] + run[6]
    order = hash_order(tie)
    order = order[steady_order(run[1][order])]
    return tuple(column[order] for column in run)
