"""A drill in the user's own logs: who could be robbed there, of what, and the records in the order they would come.

The logs are read twice: once for what a thief finds (real buckets, keys, roles, networks), once for the trial. They are
never changed: what a thief does is put between their records in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from detector.core.access import AccessBatch, Operation, Outcome
from detector.core.finding import prefix_of
from detector.core.peers import peer_group
from detector.core.principal import Principal
from detector.core.times import iso
from detector.errors import InputError
from replay.drill.calls import Actor, Partition, token
from replay.drill.decoys import Decoys
from replay.drill.thefts import DAY, Scene, Victim
from replay.drill.traffic import S3, Arrival, Place, Who
from replay.files import Files, LogPath, find
from replay.reader import FileRead, batches, records

MOST_PLACES, MOST_KEYS, MOST_VICTIMS = 2_000, 200, 2_000
"""Of prefixes, of keys known in each, and of identities: what is remembered of large logs."""
FEWEST, ENOUGH = 2_000, 60_000
"""Objects a prefix is taken to have at least, and all together; those that the logs do not show are named like their
neighbours."""
LOOKED_AT = frozenset({"bucket", "key", "partition", "source_ip", "user_agent", "vpc_endpoint"})


@dataclass(slots=True)
class _Role:
    """What was seen of one role: its latest credentials, where from, what it read."""

    who: Principal
    at: int
    where: tuple[str, str, str | None]
    prefixes: Counter[tuple[str, str]] = field(default_factory=Counter)
    days: set[int] = field(default_factory=set)


class OwnLogs:
    """The user's logs as a place to steal from. `scene` and `arrivals` may be asked for as often as one likes."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._roles: dict[str, _Role] = {}
        self._keys: dict[tuple[str, str], list[str]] = {}
        self._homes: dict[str, Partition] = {}
        self.first, self.last, self.records = 1 << 62, 0, 0
        self._files = self._looked_at(find(paths))
        if not self.records:
            raise InputError(
                "no record of S3 access in these logs", where=", ".join(paths), remedy="name logs, or no path at all"
            )

    def home(self, bucket: str) -> Partition:
        """The account and region in whose log files a bucket was named."""
        return self._homes.get(bucket) or next(iter(self._homes.values()), Partition("111122223333", "us-east-1"))

    def scene(self, seed: int) -> Scene:
        """What a thief finds here."""
        places = {
            (bucket, prefix): Place(bucket, prefix, _ending(keys), tuple(keys))
            for (bucket, prefix), keys in self._keys.items()
        }
        fewest = max(FEWEST, ENOUGH // max(1, len(places)))
        stock = {place: max(fewest, len(place.seen)) for place in places.values()}
        readers = sorted(self._roles.items(), key=lambda item: (-item[1].prefixes.total(), item[0]))
        victims = tuple(
            Victim(
                Who(number, partial(_as_seen, role)),
                peer_group(role.who),
                tuple(places[one] for one, _ in role.prefixes.most_common(20) if one in places),
                role.prefixes.total() / max(1, len(role.days)),
            )
            for number, (_, role) in enumerate(readers[:MOST_VICTIMS], 1)
            if role.prefixes
        )
        account = next(iter(self._homes.values()), Partition("111122223333", "")).account
        return Scene(victims, stock, account, np.random.default_rng((seed, 13)), set())

    def arrivals(self, columns: frozenset[str], _decoys: Decoys | None = None) -> Iterator[Arrival]:
        """The records in the order in which files of five minutes would have brought them."""
        waiting: list[Arrival] = []
        for first, files in self._files:
            waiting.sort(key=lambda arrival: arrival.at)
            ready = [arrival for arrival in waiting if arrival.at <= first]
            yield from ready
            waiting = waiting[len(ready) :]
            for batch, _ in batches(Files(files), partial(records, columns=columns)):
                waiting += _slices(batch)
        yield from sorted(waiting, key=lambda arrival: arrival.at)

    def _looked_at(self, files: Files) -> list[tuple[int, list[LogPath]]]:
        """Note what is in the files; groups of them by the time of their first record."""
        spans: list[tuple[int, LogPath]] = []
        for batch, outcomes in batches(files, partial(records, columns=LOOKED_AT)):
            self._note(batch)
            spans += [(read.first, read.file) for read in outcomes if read.first is not None and read.kind]
            _complain(outcomes)
        spans.sort(key=lambda span: (span[0], str(span[1].path)))
        return [(spans[at][0], [file for _, file in spans[at : at + 32]]) for at in range(0, len(spans), 32)]

    def _note(self, batch: AccessBatch) -> None:
        rows = np.flatnonzero((batch.skip == 0) & (batch.time > 0))
        if not len(rows):
            return
        batch = batch.take(rows)
        self.records += len(batch)
        self.first, self.last = min(self.first, int(batch.time.min())), max(self.last, int(batch.time.max()))
        buckets, key, partition = batch.text["bucket"], batch.text["key"], batch.partition
        for row in np.unique(buckets.codes, return_index=True)[1].tolist():
            account, _, region = (partition.text(row) or "").partition("/")
            if (bucket := buckets.text(row)) and account.isdigit():
                self._homes.setdefault(bucket, Partition(account, region or "us-east-1"))
        read = (batch.operation == Operation.read) & (batch.outcome == Outcome.success) & (key.codes >= 0)
        for row in np.flatnonzero(read & (buckets.codes >= 0) & (batch.who >= 0)).tolist():
            self._read(batch, row)

    def _read(self, batch: AccessBatch, row: int) -> None:
        """One object read: by whom, from where, which prefix."""
        who, bucket, key = batch.principals[batch.who[row]], batch.text["bucket"].text(row), batch.text["key"].text(row)
        if bucket is None or key is None:
            return
        prefix = prefix_of(key)
        known = self._keys.get((bucket, prefix))
        if known is None and len(self._keys) < MOST_PLACES:
            known = self._keys[bucket, prefix] = []
        if known is not None and len(known) < MOST_KEYS and key[len(prefix) :] not in known:
            known.append(key[len(prefix) :])
        if who.type in ("AWSService", "anonymous") or who.invoked_by:
            return
        at = int(batch.time[row])
        address, agent, endpoint = (batch.text[name].text(row) for name in ("source_ip", "user_agent", "vpc_endpoint"))
        role = self._roles.get(who.role)
        if role is None:
            role = self._roles[who.role] = _Role(who, at, (address or "", agent or "", endpoint))
        elif at >= role.at:
            role.who, role.at, role.where = who, at, (address or "", agent or "", endpoint)
        role.prefixes[bucket, prefix] += 1
        role.days.add(at // DAY)


def _complain(outcomes: Sequence[FileRead]) -> None:
    unknown = next((read for read in outcomes if read.file.outright and not read.kind), None)
    if unknown is not None:
        raise InputError(f"no known log: {unknown.reason}", where=unknown.file.name, remedy="name log files or folders")


def _slices(batch: AccessBatch) -> Iterator[Arrival]:
    """A batch in pieces of five minutes, each when its file would have come."""
    batch = batch.take(np.flatnonzero(batch.time > 0))
    due = -(-(batch.time + S3.soonest) // S3.tick) * S3.tick
    order = np.argsort(due, kind="stable")
    starts = np.flatnonzero(np.diff(due[order], prepend=-1))
    for first, end in pairwise([*starts.tolist(), len(order)]):
        yield Arrival(int(due[order[first]]), batch.take(order[first:end]))


def _ending(keys: Sequence[str]) -> str:
    """How objects that the logs do not show end: as most that they show."""
    endings = Counter(f".{key.rpartition('.')[2]}" if "." in key else "" for key in keys)
    return min(endings, key=lambda ending: (-endings[ending], ending), default="")


def _as_seen(role: _Role, issued: int, _variant: int) -> Actor:
    address, agent, endpoint = role.where
    return Actor(identity_of(role.who, issued), address, agent, endpoint)


def identity_of(who: Principal, issued: int) -> dict[str, Any]:
    """The userIdentity that an identity is read from; a role's session with credentials issued at this second."""
    arn = who.session_shown if who.session_shown.startswith("arn:") else None
    whole: dict[str, Any] = {
        "type": who.type,
        "principalId": who.principal_id,
        "arn": arn,
        "accountId": who.account,
        "accessKeyId": who.access_key,
    }
    if who.type == "AssumedRole" or (arn and ":assumed-role/" in arn):
        whole |= {"type": "AssumedRole", "accessKeyId": token("ASIA", 20, who.session, issued)}
        issuer = {"type": "Role", "arn": who.role_shown if ":role/" in who.role_shown else None, "principalId": None}
        issuer["principalId"] = who.role if who.principal_id else None
        context = {"sessionIssuer": issuer, "attributes": {"creationDate": iso(issued), "mfaAuthenticated": "false"}}
        whole["sessionContext"] = context
    return {name: value for name, value in whole.items() if value is not None}
