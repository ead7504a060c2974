"""From batches to what the model counts: rows by role and second, and who and what their hashes stand for. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import msgspec
import numpy as np

from detector.core.access import I64, U64, Column, Index, Operation, Outcome
from detector.core.evidence import TEXT_LIMIT
from detector.core.part import Run
from detector.core.peers import acting, peer_group
from detector.core.principal import Principal, is_identity_center_role
from detector.core.rule import Peers
from detector.core.runs import Segments, concat
from detector.core.sighting import Texts
from detector.core.view import BatchView, group_print
from detector.core.window import by_value, starts_of_runs
from detector.model.channels import HOUR, PANE
from detector.model.keys import Keys
from detector.model.novelty import COPY, ERROR, READ, Rows
from detector.model.roles import Identity

NOT_MODIFIED = 304
_ENCODE = msgspec.json.encode
_DECODE = msgspec.json.Decoder(tuple[tuple[str, ...], str, str]).decode


@lru_cache(maxsize=1 << 14)
def _identity(text: str) -> Identity:
    """Who wrote itself so: a role is met in every pane it is active in."""
    return Identity(*_DECODE(text))


def by_role(runs: Sequence[Run]) -> Run:
    """Runs as one, by role and second."""
    run = concat(runs)
    order = np.lexsort((run[1], run[0]))
    return tuple(column[order] for column in run)


class Feed:
    """Rows that wait for their pane to be sealed. `name` heads the names of its parts in a checkpoint."""

    def __init__(self, name: str, peers: Peers, shared: tuple[str, ...], slack: int) -> None:
        self.rows = Segments(f"pane/{name}", by_role)
        self.texts = Texts(f"pane-texts/{name}", slack)
        self._who = Keys(f"pane-keys/{name}")
        self._peers, self._shared = peers, shared
        self._met: set[int] = set()

    def absorb(self, view: BatchView, chosen: Index) -> tuple[U64, I64]:
        """Take in these rows of a batch; the role and second of each."""
        batch = view.batch
        succeeded = batch.outcome == Outcome.success
        reads = (batch.operation == Operation.read) | (batch.operation == Operation.copy)
        failed = ~succeeded & (batch.number["status"] != NOT_MODIFIED)
        rows = chosen[((batch.who >= 0) & ((succeeded & reads) | failed))[chosen]]
        if not len(rows):
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        role, second = self._acting(view, rows), view.time[rows]
        copies = succeeded[rows] & (batch.operation[rows] == Operation.copy)
        what = np.where(failed[rows], ERROR, np.where(copies, COPY, READ)).astype(np.uint8)
        to = np.where(copies, batch.text["destination"].hashes()[rows], batch.bytes[rows].astype(np.uint64))
        run: Run = (
            role, second.astype(np.uint32), view.who()[rows], batch.object_hash(rows), self._prefixes(view, rows),
            self._nets(view, rows), to, what,
        )  # fmt: skip
        for hour, some in by_value(second // HOUR):
            self.rows.append(hour, by_role([tuple(column[some] for column in run)]))
        self._meet(view, rows)
        return role, second

    def panes(self, first: int, end: int) -> Iterator[tuple[int, Rows, U64, dict[int, Identity], U64]]:
        """The panes from `first` to `end` that hold something: start, rows, roles by key, who is who, credentials."""
        for hour in self.rows.segments():
            if (hour + 1) * HOUR > first and hour * HOUR < end:
                run = concat([part.whole() for part in self.rows.parts(hour, hour)])
                kept = (run[1] >= first) & (run[1] < end)
                run = tuple(column[kept] for column in run)
                run = tuple(column[order] for column in run) if len(order := _in_order(run)) else run
                pane = run[1].astype(np.int64) // PANE
                edges = [*starts_of_runs(pane).tolist(), len(pane)]
                for start, stop in pairwise(edges):
                    yield int(pane[start]) * PANE, *self._rows(tuple(column[start:stop] for column in run))

    def open(self, first: int, roles: U64) -> tuple[Rows, U64, dict[int, Identity], U64] | None:
        """The rows of some roles (sorted) from a second on."""
        runs = []
        for part in self.rows.parts(first // HOUR, (1 << 40)):
            keys = part.keys()
            hit = np.flatnonzero(np.isin(keys, roles))
            if len(hit):
                runs.append(tuple(column[hit] for column in part.whole()))
        if not runs:
            return None
        run = concat(runs)
        run = tuple(column[run[1] >= first] for column in run)
        if not len(run[0]):
            return None
        order = _in_order(run)
        return self._rows(tuple(column[order] for column in run))

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
        self._met &= held
        return True

    def names(self) -> set[str]:
        """Names of its parts in the checkpoint."""
        return self.rows.names() | self.texts.rows.names() | self._who.names()

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        return self.rows.changes() | self.texts.rows.changes() | self._who.changes()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint."""
        self.rows.restore(parts)
        self.texts.rows.restore(parts)
        self._who.restore(parts)

    def _rows(self, run: Run) -> tuple[Rows, U64, dict[int, Identity], U64]:
        role, second, who, object_, prefix, net, amount, what = run
        candidates: dict[int, Identity] = {}
        credentials, first, of_row = np.unique(who, return_index=True, return_inverse=True)
        roles = role[first]
        for one, print_ in zip(roles.tolist(), credentials.tolist(), strict=True):
            identity = _identity(self._who[print_])
            candidates[one] = min(candidates.get(one, identity), identity)
        prints = np.array(sorted(candidates, key=lambda one: candidates[one].key), np.uint64)
        order = np.argsort(prints)
        at = order[np.searchsorted(prints[order], roles)][of_row]
        rows = Rows(at, second.astype(np.int64), object_, prefix, net, amount, what.astype(np.int64))
        return rows, prints, candidates, who

    def _meet(self, view: BatchView, rows: Index) -> None:
        batch = view.batch
        new: dict[int, str] = {}
        for code in np.unique(batch.who[rows]).tolist():
            one = int(batch.prints[code])
            if one not in self._met:
                self._met.add(one)
                who = batch.principals[code]
                new[one] = _ENCODE((acting(who, self._shared), peer_group(who, self._peers), kind_of(who))).decode()
        if new:
            self._who.put(new)

    def _acting(self, view: BatchView, rows: Index) -> U64:
        """Fingerprint of whose habits each row is of: see `acting`."""
        batch = view.batch
        prints = np.zeros(len(batch.principals), np.uint64)
        for code in np.unique(batch.who[rows]).tolist():
            prints[code] = group_print(acting(batch.principals[code], self._shared))
        return prints[batch.who[rows]]

    def _prefixes(self, view: BatchView, rows: Index) -> U64:
        """Hash of (bucket, prefix); what it stands for is remembered."""
        folders = view.folders().take(rows)
        hashes = folders.hashes()
        self._remember(hashes, view.time[rows], folders)
        return hashes

    def _nets(self, view: BatchView, rows: Index) -> U64:
        """Hash of the network, 0 where it can be no news: a private one, or AWS itself."""
        nets = view.nets().take(rows)
        news = np.array([*(_can_be_news(net) for net in nets.values), False], np.bool_)
        hashes = np.where(news[nets.codes], nets.hashes(), np.uint64(0))
        self._remember(hashes, view.time[rows], nets)
        return hashes

    def _remember(self, hashes: U64, seconds: I64, column: Column) -> None:
        """What these hashes of rows of a column stand for; 0 stands for nothing."""
        unique, at = np.unique(hashes, return_index=True)
        kept = unique != 0
        unique, at = unique[kept], at[kept]
        if len(unique):
            hour = np.full(len(unique), int(seconds.max()) // HOUR, np.int64)

            def texts(new: list[int]) -> list[bytes]:
                chosen = map(column.values.__getitem__, column.codes[at[new]].tolist())
                return [text.encode("utf-8", "replace")[:TEXT_LIMIT] for text in chosen]

            self.texts.put(unique, hour, texts)


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


def _in_order(run: Run) -> Index:
    """Order by second; within one by a hash of the rest, so that it does not depend on how the rows came."""
    tie = (run[0] ^ run[3]) * np.uint64(0x9E37_79B9_7F4A_7C15) + run[5] + run[6]
    return np.lexsort((tie, run[1]))
