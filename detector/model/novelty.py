"""What was never there before: memory of keys, prefixes, networks and destinations, and first-time counts. Pure.

1. A pane is counted against what the panes before it left; then it is learned. Counting changes nothing.
2. Of keys a role's first `EXACT` are remembered as 64-bit hashes, further ones in Bloom filters of about 13 bits a key
   that double in size, up to `LAYERS` or the memory the rule gives them all. Then only prefixes tell: a key is new if
   its prefix is. Every step may miss a new key, and invents none.
3. What "the organisation" knows is what it knew at the last UTC midnight: so peer groups can be held apart by day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from detector.core.access import I64, U64, Index, Mask
from detector.core.bloom import FULL, Bloom
from detector.core.part import Run
from detector.core.runs import Segments, concat
from detector.core.table import SPREAD
from detector.core.view import distinct
from detector.core.window import starts_of_runs
from detector.model.channels import DAY, PANE, RARE, SUB_PANE, YOUNG_PREFIX, Counter
from detector.model.facts import NONE, Facts

READ, ERROR, COPY = 0, 1, 2
EXACT = 1024
FIRST_LAYER = 1 << 10
"""Words of a role's first Bloom filter."""
LAYERS = 6
MOST_PREFIXES = 1 << 14
"""Prefixes of a role that are remembered; further ones are never news."""
MANY = RARE + 2
"""Readers of a prefix are counted up to here."""
_PREFIX, _NET, _GROUP_NET, _ALL_NET, _TO, _ALL_TO, _READERS, _ALL_READERS = (
    np.uint64(number * 0x9E3779B97F4A7C15 % (1 << 64)) for number in range(1, 9)
)
_ODD = np.uint64(0xD6E8_FEB8_6659_FD93)


def mix(salt: np.uint64, one: U64, other: U64 | None = None) -> U64:
    """One key of two, of a kind."""
    mixed = (one + salt) * _ODD
    if other is not None:
        mixed = (mixed ^ (mixed >> np.uint64(32)) ^ other) * SPREAD
    return mixed ^ (mixed >> np.uint64(29))


class Rows(NamedTuple):
    """Records of roles, as the model looks at them, by second. `role`: index of the row's role in `Who`.

    net: 0 where the source can be no news. amount: bytes, or of a copy the hash of its destination.
    """

    role: Index
    second: I64
    object: U64
    prefix: U64
    net: U64
    amount: U64
    what: I64


class Who(NamedTuple):
    """The roles of `Rows`: fingerprint, slot, and fingerprint of the peer group of each."""

    role: U64
    slot: Index
    group: U64


class Event(NamedTuple):
    """Countable things: index of the role, sub-pane since the first, and how much each counts (None: 1)."""

    role: Index
    sub: I64
    weight: I64 | None = None


class Learnt(NamedTuple):
    """What counting found to be new, to be put in memory once the pane is sealed."""

    pairs: U64
    slots: Index
    first: list[tuple[U64, I64]]
    readers: tuple[U64, I64]
    prefixes: Index
    today: U64


class Counted(NamedTuple):
    """Counter → what was counted; prefix hash of every new key (for the explanation); what is to be learnt."""

    events: dict[Counter, Event]
    new_rows: Index
    learnt: Learnt


class KeyMemory:
    """(role, key) pairs that were read. `room`: bytes of all Bloom filters together."""

    def __init__(self, name: str, room: int) -> None:
        self.name, self.room = name, room
        self.exact = Facts(f"model-keys/{name}")
        self._counts = np.zeros(256, np.int64)
        self._blooms: dict[int, list[Bloom]] = {}
        self._changed: set[tuple[int, int]] = set()

    def known(self, pairs: U64, slots: Index) -> Mask:
        """Which of these pairs were put in (a few more may look so)."""
        known: Mask = self.exact.get(pairs) != NONE
        for slot in np.unique(slots[~known]).tolist() if self._blooms else ():
            for bloom in self._blooms.get(slot, ()):
                rows = np.flatnonzero((slots == slot) & ~known)
                known[rows] = bloom.may_hold(pairs[rows])
        return known

    def saturated(self, slots: Index) -> Mask:
        """Roles of which no more keys can be remembered."""
        full = self._full()
        return np.array([self._is_full(slot, full=full) for slot in slots.tolist()], np.bool_)

    def put(self, pairs: U64, slots: Index) -> None:
        """Put in new pairs, in the order in which they came."""
        self._reserve(int(slots.max(initial=0)))
        order = np.argsort(slots, kind="stable")
        pairs, slots = pairs[order], slots[order]
        starts = starts_of_runs(slots)
        rank = np.arange(len(slots)) - np.repeat(starts, np.diff(np.append(starts, len(slots))))
        place = self._counts[slots] + rank
        exact = place < EXACT
        self.exact.put(pairs[exact], slots[exact])
        for slot in np.unique(slots[~exact]).tolist():
            self._put_more(slot, pairs[~exact & (slots == slot)])
        self._counts += np.bincount(slots, minlength=len(self._counts))

    def _put_more(self, slot: int, pairs: U64) -> None:
        layers = self._blooms.setdefault(slot, [])
        while len(pairs):
            if not layers or layers[-1].full:
                if self._is_full(slot, full=self._full()):
                    return
                layers.append(Bloom(FIRST_LAYER << len(layers)))
            bloom = layers[-1]
            room = FULL * len(bloom) + 1 - bloom.added
            bloom.add(np.sort(pairs[:room]))
            pairs = pairs[room:]
            self._changed.add((slot, len(layers) - 1))

    def _is_full(self, slot: int, *, full: bool) -> bool:
        layers = self._blooms.get(slot, [])
        return bool(layers and layers[-1].full and (full or len(layers) >= LAYERS))

    def _full(self) -> bool:
        return self.nbytes >= self.room

    @property
    def nbytes(self) -> int:
        """Bytes of all Bloom filters."""
        return sum(bloom.nbytes for layers in self._blooms.values() for bloom in layers)

    def _reserve(self, slot: int) -> None:
        if slot >= len(self._counts):
            grown = np.zeros(max(slot + 1, 2 * len(self._counts)), np.int64)
            grown[: len(self._counts)] = self._counts
            self._counts = grown

    def forget(self, slots: set[int]) -> None:
        """Let go of the keys of these roles."""
        gone = np.fromiter(slots, np.uint32, len(slots))
        self.exact.keep(lambda run: ~np.isin(run[1], gone))
        for slot in slots:
            for layer in range(len(self._blooms.pop(slot, ()))):
                self._changed.add((slot, layer))
            if slot < len(self._counts):
                self._counts[slot] = 0

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        out = self.exact.runs.changes()
        for slot, layer in sorted(self._changed):
            layers = self._blooms.get(slot, [])
            packed = msgspec.msgpack.encode(layers[layer].snapshot()) if layer < len(layers) else None
            out[f"model-bloom/{self.name}/{slot}/{layer}"] = packed
        self._changed.clear()
        return out

    def names(self) -> set[str]:
        """Names of its parts in the checkpoint."""
        layers = {
            f"model-bloom/{self.name}/{slot}/{layer}"
            for slot, held in self._blooms.items()
            for layer in range(len(held))
        }
        return self.exact.runs.names() | layers

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint."""
        self.exact.restore(parts)
        self._count(self.exact.all()[1].astype(np.intp))
        found: dict[int, dict[int, Bloom]] = {}
        for name, part in parts.items():
            if name.startswith(f"model-bloom/{self.name}/"):
                slot, layer = map(int, name.split("/")[-2:])
                found.setdefault(slot, {})[layer] = Bloom.restore(msgspec.msgpack.decode(part))
        for slot, layers in found.items():
            self._blooms[slot] = [layers[number] for number in sorted(layers)]
            self._count(np.repeat(np.intp(slot), sum(bloom.added for bloom in layers.values())))

    def _count(self, slots: Index) -> None:
        self._reserve(int(slots.max(initial=0)))
        self._counts += np.bincount(slots, minlength=len(self._counts))


class Novelty:
    """What the roles of a rule have read, from where, and where to. `name`: of its checkpoint parts."""

    def __init__(self, name: str, room: int) -> None:
        self.keys = KeyMemory(name, room)
        self.first = Facts(f"model-first/{name}")
        self.readers = Facts(f"model-readers/{name}", most=True)
        self.today = Segments(f"model-today/{name}", _sorted)
        self._prefixes = np.zeros(256, np.int64)

    def count(self, rows: Rows, who: Who, start: int) -> Counted:
        """Count the rows of sealed panes, or of open ones so far. `start`: second the first pane begins at."""
        sub = (rows.second - start) // SUB_PANE
        midnight = start // DAY * DAY
        reads = np.flatnonzero(rows.what != ERROR)
        failed = np.flatnonzero(rows.what == ERROR)
        plain = np.flatnonzero(rows.what == READ)
        keyed = reads[rows.object[reads] != 0]
        events = {
            Counter.reads: Event(rows.role[reads], sub[reads]),
            Counter.bytes: Event(rows.role[plain], sub[plain], rows.amount[plain].astype(np.int64)),
            Counter.errors: Event(rows.role[failed], sub[failed]),
            Counter.active: self._active(rows, sub, reads),
        }
        touched, of_row, first_rows, is_new_prefix = self._touched(rows, who, keyed)
        new, pairs = self._new_keys(rows, who, keyed, is_new_prefix[of_row])
        readers = self._readers(rows, who, first_rows[is_new_prefix])
        near = of_row[np.searchsorted(keyed, new)]
        young = rows.second[new] - touched[near] < YOUNG_PREFIX
        rare, foreign = self._rare(rows, who, new[young], touched[near[young]], readers, midnight)
        nets, first_nets, strange = self._nets(rows, who, sub, events)
        copies, all_copies, first_copies = self._copies(rows, who)
        for counter, chosen in (
            (Counter.new, new),
            (Counter.prefixes, first_rows[is_new_prefix]),
            (Counter.young, new[young]),
            (Counter.rare, new[young][rare]),
            (Counter.foreign, new[young][foreign]),
            (Counter.strange, new[strange[new]]),
            (Counter.new_copies, copies),
            (Counter.strange_copies, all_copies),
        ):
            events[counter] = Event(rows.role[chosen], sub[chosen])
        learnt = Learnt(
            pairs,
            who.slot[rows.role[new]],
            [self._first_prefixes(rows, who, first_rows[is_new_prefix]), *first_nets, *first_copies],
            (readers[0], readers[2]),
            who.slot[rows.role[first_rows[is_new_prefix]]],
            np.concatenate([mix(_ALL_READERS, rows.prefix[first_rows[is_new_prefix]]), nets]),
        )
        return Counted(events, new, learnt)

    def learn(self, learnt: Learnt, day: int) -> None:
        """Remember what a sealed pane had."""
        self.keys.put(learnt.pairs, learnt.slots)
        for keys, seconds in learnt.first:
            self.first.put(keys, seconds)
        gp, count = learnt.readers
        self.readers.put(gp, count)
        slots = learnt.prefixes
        self._reserve(int(slots.max(initial=0)))
        self._prefixes += np.bincount(slots, minlength=len(self._prefixes))
        self.today.append(day, (np.sort(learnt.today),))

    def accept(self, role: int, prefixes: U64, nets: U64) -> None:
        """A person said that these places and networks are a role's business: they are no news to it."""
        for salt, keys in ((_PREFIX, prefixes), (_NET, nets)):
            self.first.put(mix(salt, np.full(len(keys), role, np.uint64), keys), np.zeros(len(keys), np.int64))
        self.readers.put(mix(_ALL_NET, nets), np.ones(len(nets), np.int64))

    def midnight(self, day: int) -> None:
        """A day is over: what its roles touched is known to the whole organisation."""
        parts = [part.whole() for part in self.today.all_parts()]
        if parts:
            keys, counts = np.unique(np.concatenate([key for key, *_ in parts]), return_counts=True)
            known = np.maximum(self.readers.get(keys), 0)
            self.readers.put(keys, np.minimum(known + counts, MANY))
        self.today.drop_before(day + 1)

    def forget(self, slots: set[int]) -> None:
        """Let go of what these roles read."""
        self.keys.forget(slots)
        for slot in slots:
            if slot < len(self._prefixes):
                self._prefixes[slot] = 0

    def holders(self) -> list[Segments]:
        """The parts of its state that may leave memory."""
        return [self.keys.exact.runs, self.first.runs, self.readers.runs, self.today]

    def prefixes(self, slot: int) -> int:
        """How many prefixes a role touched."""
        return int(self._prefixes[slot]) if slot < len(self._prefixes) else 0

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        first, readers = self.first.runs.changes(), self.readers.runs.changes()
        return self.keys.changes() | first | readers | self.today.changes()

    def names(self) -> set[str]:
        """Names of its parts in the checkpoint."""
        return self.keys.names().union(self.first.runs.names(), self.readers.runs.names(), self.today.names())

    def restore(self, parts: Mapping[str, bytes], prefixes: Iterable[tuple[int, int]]) -> None:
        """Take in the parts of a checkpoint. prefixes: how many each role (by slot) touched."""
        self.keys.restore(parts)
        self.first.restore(parts)
        self.readers.restore(parts)
        self.today.restore(parts)
        for slot, count in prefixes:
            self._reserve(slot)
            self._prefixes[slot] = count

    def _reserve(self, slot: int) -> None:
        if slot >= len(self._prefixes):
            grown = np.zeros(max(slot + 1, 2 * len(self._prefixes)), np.int64)
            grown[: len(self._prefixes)] = self._prefixes
            self._prefixes = grown

    def _active(self, rows: Rows, sub: I64, reads: Index) -> Event:
        pane, roles = sub[reads] // (PANE // SUB_PANE), int(rows.role.max(initial=0)) + 1
        first = reads[distinct(pane * roles + rows.role[reads], (int(pane.max(initial=0)) + 1) * roles)[0]]
        return Event(rows.role[first], sub[first])

    def _touched(self, rows: Rows, who: Who, keyed: Index) -> tuple[I64, Index, Index, Mask]:
        """Each (role, prefix): when it was first touched, which rows are of it, its first row, whether it is new."""
        pairs = mix(_PREFIX, who.role[rows.role[keyed]], rows.prefix[keyed])
        unique, at, of_row = np.unique(pairs, return_index=True, return_inverse=True)
        first_rows = keyed[at]
        before = self.first.get(unique)
        slots = who.slot[rows.role[first_rows]]
        self._reserve(int(slots.max(initial=0)))
        full = self._prefixes[slots] >= MOST_PREFIXES
        touched = np.where(before != NONE, before, np.where(full, 0, rows.second[first_rows]))
        return touched, of_row, first_rows, (before == NONE) & ~full

    def _first_prefixes(self, rows: Rows, who: Who, chosen: Index) -> tuple[U64, I64]:
        return mix(_PREFIX, who.role[rows.role[chosen]], rows.prefix[chosen]), rows.second[chosen]

    def _new_keys(self, rows: Rows, who: Who, keyed: Index, in_new_prefix: Mask) -> tuple[Index, U64]:
        """Rows that read a key the role had never read, by time; and these (role, key) pairs."""
        pairs = mix(np.uint64(0), who.role[rows.role[keyed]], rows.object[keyed])
        unique, at = np.unique(pairs, return_index=True)
        slots = who.slot[rows.role[keyed[at]]]
        new = ~self.keys.known(unique, slots)
        if self.keys.nbytes:
            full = self.keys.saturated(who.slot)[rows.role[keyed[at]]]
            new &= ~full | in_new_prefix[at]
        order = np.argsort(at[new])
        return keyed[at[new][order]], unique[new][order]

    def _readers(self, rows: Rows, who: Who, first: Index) -> tuple[U64, I64, I64]:
        """Of prefixes that a role touched first: (group, prefix), second, and how many roles had, with this one."""
        gp = mix(_READERS, who.group[rows.role[first]], rows.prefix[first])
        order = np.lexsort((rows.second[first], gp))
        gp, second = gp[order], rows.second[first][order]
        starts = starts_of_runs(gp)
        rank = np.arange(len(gp)) - np.repeat(starts, np.diff(np.append(starts, len(gp))))
        before = np.repeat(np.maximum(self.readers.get(gp[starts]), 0), np.diff(np.append(starts, len(gp))))
        return gp, second, np.minimum(before + rank + 1, MANY)

    def _rare(
        self, rows: Rows, who: Who, young: Index, touched: I64, readers: tuple[U64, I64, I64], midnight: int
    ) -> tuple[Mask, Mask]:
        """Which new keys lie in prefixes that hardly a peer reads; which in prefixes that were somebody else's."""
        gp = mix(_READERS, who.group[rows.role[young]], rows.prefix[young])
        keys, second, count = readers
        unique, of_row = np.unique(gp, return_inverse=True)
        now = np.maximum(self.readers.get(unique), 0)[of_row]
        place = np.searchsorted(unique, keys)
        hit = (place < len(unique)) & (unique[np.minimum(place, len(unique) - 1)] == keys) if len(unique) else place < 0
        at = place[hit] << 34 | second[hit] - midnight
        last = np.searchsorted(at, of_row << 34 | rows.second[young] - midnight, "right") - 1
        mine = (last >= 0) & (at[last] >> 34 == of_row) if len(at) else np.zeros(len(young), np.bool_)
        now = np.where(mine, count[hit][last] if len(at) else 0, now)
        known = np.maximum(self.readers.get(mix(_ALL_READERS, rows.prefix[young])), 0)
        others = known - (touched < midnight)
        return now <= RARE, (others >= 1) & (others <= RARE)

    def _nets(
        self, rows: Rows, who: Who, sub: I64, events: dict[Counter, Event]
    ) -> tuple[U64, list[tuple[U64, I64]], Mask]:
        """Count networks. Networks new today; what was first seen when; which rows come from where nobody had."""
        there = np.flatnonzero(rows.net != 0)
        role, net = rows.role[there], rows.net[there]
        mine, at = np.unique(mix(_NET, who.role[role], net), return_index=True)
        new = self.first.get(mine) == NONE
        ours, at_ours = np.unique(mix(_GROUP_NET, who.group[role], net), return_index=True)
        new_ours = self.first.get(ours) == NONE
        known, of_row = np.unique(net, return_inverse=True)
        all_new = self.readers.get(mix(_ALL_NET, known)) == NONE
        strange = np.zeros(len(rows.net), np.bool_)
        strange[there] = all_new[of_row]
        for counter, chosen in (
            (Counter.nets, at), (Counter.new_nets, at[new]), (Counter.group_nets, at_ours[new_ours]),
        ):  # fmt: skip
            events[counter] = Event(rows.role[there[chosen]], sub[there[chosen]])
        first = [
            (mine[new], rows.second[there[at[new]]]),
            (ours[new_ours], rows.second[there[at_ours[new_ours]]]),
        ]
        to = rows.amount[rows.what == COPY]
        today = np.concatenate([mix(_ALL_NET, known[all_new]), mix(_ALL_TO, np.unique(to))])
        return today, first, strange

    def _copies(self, rows: Rows, who: Who) -> tuple[Index, Index, list[tuple[U64, I64]]]:
        """Copies to where the role, and to where nobody, had copied until a day ago or midnight."""
        copies = np.flatnonzero(rows.what == COPY)
        to = rows.amount[copies]
        unique, at, of_row = np.unique(
            mix(_TO, who.role[rows.role[copies]], to), return_index=True, return_inverse=True
        )
        before = self.first.get(unique)
        touched = np.where(before != NONE, before, rows.second[copies[at]])
        new = rows.second[copies] - touched[of_row] < DAY
        strange = self.readers.get(mix(_ALL_TO, to)) == NONE
        fresh = before == NONE
        return copies[new], copies[strange], [(unique[fresh], rows.second[copies[at[fresh]]])]


def _sorted(runs: Sequence[Run]) -> Run:
    run = concat(runs)
    return (np.sort(run[0]),)
