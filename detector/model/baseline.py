"""`Baseline`: one rule's online model of what is usual for every role. Pure: panes in, judgements out.

1. Panes come sealed, in order, each once; in a pane roles are looked at in the order of their keys. Each is scored
   first and learned after. `glance` scores open panes and learns nothing.
2. A role's score in a day depends on itself, its peer group, and what everybody knew at the last UTC midnight. So the
   peer groups may be cut into shards, a `Baseline` each, which meet at midnight: `over`, `together`, `begin`.
3. A score only rises within a pane: a channel's value is the largest its window reached in it so far. So the pane's
   score is its largest score, the day's maximum is what the line is solved for, and what is alerted on is just that.
4. An episode is told once: when it is over, what led to it counts no more.
5. On the UTC day a role is first seen all is new to it: that day fills its memory, and teaches no level.
6. State is plain numbers; after `restore` every score is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from detector.core.access import I64, U64, Index, text_hashes
from detector.core.groupings import GroupKey, group_print
from detector.core.part import Spilling
from detector.core.view import distinct
from detector.core.window import F64
from detector.model.channels import COUNTERS, DAY, PANE, SLID, SUB_PANES, WINDOWS, Counter
from detector.model.codec import opened, seal
from detector.model.day import Day, RoleDay, together
from detector.model.history import History
from detector.model.judgement import Judgement
from detector.model.judging import Judging, Told
from detector.model.levels import Levels
from detector.model.novelty import Novelty
from detector.model.organisation import MAGIC, VERSION, Organisation
from detector.model.own import Own
from detector.model.pane import Pane, Past, Slid, fresh, panes
from detector.model.pools import YOUNG
from detector.model.roles import NEVER, Identity, Pieces, Role, Row
from detector.model.rows import Counted, Rows, Who

FORGET_AFTER = 28 * DAY


class _Common(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What every sealed pane changes. slid: the sub-panes of the last one that hold something."""

    slots: int
    day: int
    now: int
    slid_at: int
    slid_slots: list[int]
    slid: list[list[int]]


class Baseline:
    """What is usual for every role, and how rare this pane is.

    Args:
        name: of its checkpoint parts, after their heads.
        share: principals a day that may be alerted on without a theft.
        cooldown: seconds; crossings at most this far apart are one episode of their role and one alert.
        learn_role_days: principal-days to see before anything can page.
        memory: bytes of Bloom filters for keys beyond each role's first.
        threshold: a line of one's own, in place of the one solved for `share`.
        frozen: hold what is usual; what was read, by whom and from where is remembered all the same.
        own: a River detector in the place of the channels; it is in no checkpoint.
    """

    def __init__(
        self,
        name: str,
        *,
        share: float,
        cooldown: int,
        learn_role_days: int,
        memory: int,
        threshold: float | None = None,
        frozen: bool = False,
        own: Own | None = None,
    ) -> None:
        self.own = own
        self.observe: Callable[[int, U64, list[GroupKey], F64], None] | None = None
        """Is told of every sealed pane: its begin, roles, their keys, and log(1 + value) of the channels."""
        self.name, self.cooldown = name, cooldown
        self.novelty = Novelty(name, memory)
        self.history = History(f"model-history/{name}")
        self.organisation = Organisation(share, learn_role_days, threshold, frozen=frozen)
        self.roles: dict[int, Role] = {}
        self.pieces = Pieces(f"model-roles/{name}")
        self.levels = Levels()
        self.judging = Judging(self.organisation, self.levels, own)
        self._slots = 0
        self._free: list[int] = []
        """Slots of forgotten roles, descending: the next new roles have them."""
        self._day = NEVER
        self._now = NEVER
        self._changed = self._turned = False
        self._slid = Slid(NEVER, np.zeros(0, np.intp), np.zeros((0, len(SLID), SUB_PANES), np.int64))

    def configure(
        self,
        *,
        share: float,
        cooldown: int,
        learn_role_days: int,
        memory: int,
        threshold: float | None,
        frozen: bool,
    ) -> None:
        """From now on these settings hold; what was learned stands."""
        self.cooldown, self.novelty.keys.room = cooldown, memory
        self.organisation.configure(share, learn_role_days, threshold, frozen=frozen)

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [*self.novelty.holders(), self.history.rows]

    def names(self) -> set[str]:
        """Names of its parts in the checkpoint."""
        own = {f"model/{self.name}", f"model-pools/{self.name}"}
        return own.union(self.pieces.names(), self.novelty.names(), self.history.rows.names())

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        if not self._changed:
            return {}
        parts = self.novelty.changes() | self.history.rows.changes() | self.pieces.changes(self.roles, self._row)
        order = np.argsort(self._slid.slots)
        slots, cells = self._slid.slots[order], self._slid.cells[order].transpose(0, 2, 1)
        role, sub, counter = np.nonzero(cells)
        sparse = [column.tolist() for column in (role, sub, counter, cells[role, sub, counter])]
        common = _Common(self._slots, self._day, self._now, self._slid.start, slots.tolist(), sparse)
        parts[f"model/{self.name}"] = seal(MAGIC, VERSION, msgspec.msgpack.encode(common))
        if self._turned:
            parts[f"model-pools/{self.name}"] = self.organisation.state(self.novelty.keys.most)
        self._changed = self._turned = False
        return parts

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on where a checkpoint stopped. `StateError`, and nothing of use, when a part is damaged."""
        if f"model/{self.name}" not in parts:
            return
        common = opened(MAGIC, VERSION, parts[f"model/{self.name}"], _Common)
        self._slots, self._day, self._now = common.slots, common.day, common.now
        if f"model-pools/{self.name}" in parts:
            most = self.organisation.load(parts[f"model-pools/{self.name}"])
            self.novelty.keys.most = most or self.novelty.keys.most
        rows = list(self.pieces.restore(parts))
        for row in rows:
            self.roles[row.print] = self._unpacked(row)
        self._free = sorted(set(range(self._slots)) - {row.slot for row in rows}, reverse=True)
        self.novelty.restore(parts, [(row.slot, row.prefixes) for row in rows])
        self.history.restore(parts, self._now // PANE, [(row.slot, row.since) for row in rows])
        cells = np.zeros((len(common.slid_slots), len(SLID), SUB_PANES), np.int64)
        role, sub, counter, count = common.slid
        cells[role, counter, sub] = count
        self._slid = Slid(common.slid_at, np.array(common.slid_slots, np.intp), cells)
        self._changed = self._turned = False

    def _row(self, one: int, role: Role) -> Row:
        return Row(
            one, (role.who.key, role.who.group, role.who.kind), role.slot, role.first, role.last, role.opened,
            role.above, role.score, role.alerted,
            self.levels.maxima[role.slot].tolist(), role.news, self.history.since(role.slot),
            self.novelty.prefixes(role.slot), self.levels.state(role.slot),
        )  # fmt: skip

    def _unpacked(self, row: Row) -> Role:
        who = Identity(*row.who)
        self.levels.load(row.slot, row.moments)
        self.levels.lean(row.slot, self.organisation.pools.level(who.group, who.kind))
        role = Role(who, row.slot, row.first, row.last, row.opened, row.above)
        if row.last >= self._day * DAY:  # else a midnight came since; it writes nobody anew
            self.levels.maxima[row.slot] = row.maxima
            role.score, role.alerted, role.news = row.score, row.alerted, row.news
        return role

    @property
    def line(self) -> float:
        """The score from which on a principal is alerted on."""
        return self.organisation.line

    @property
    def day(self) -> int:
        """Days since the epoch to the one it is in; `NEVER` before the first."""
        return self._day

    @property
    def learnt(self) -> int:
        """Principal-days it has learned from."""
        return self.organisation.pools.role_days

    @property
    def learning(self) -> bool:
        """Whether it knows too little to page."""
        return self.organisation.learning

    def seal(self, rows: Rows, prints: U64, who: Mapping[int, Identity]) -> list[Judgement]:
        """Judge sealed panes of an hour, one after the other, and learn them.

        Args:
            rows: their records by second, at least one; `role` is an index into `prints`.
            prints: fingerprint of each role, in the order of their keys.
            who: who they are; needed of those that are new.
        """
        first, last = (int(second) // PANE * PANE for second in rows.second[[0, -1]])
        if first <= self._now:
            raise ValueError(f"expected a pane after {self._now}, got {first}: panes are sealed once, in order")
        self._turn(first)
        roles = self._met(rows, prints, who)
        slots, counted = self._count(rows, prints, roles, first, self.novelty.seal)
        found: list[Judgement] = []
        sealed = panes(rows, slots, first, counted)
        for pane in sealed:
            begin, end = np.searchsorted(rows.second, [pane.start, pane.start + PANE]).tolist()
            found += self._seal(pane, roles, prints, Told(rows, counted, begin, end))
        self._keep(sealed, roles)
        self.pieces.changed.update(prints.tolist())
        self._now, self._changed = last, True
        return found

    def _seal(self, pane: Pane, roles: Sequence[Role], prints: U64, told: Told) -> list[Judgement]:
        """Judge a pane, and learn its levels and sums."""
        for one in pane.role.tolist():
            if roles[one].over(pane.start + PANE, self.cooldown):
                self.history.clear(roles[one].slot)
                roles[one].opened = roles[one].above = NEVER
            roles[one].last = pane.start
        self.history.move_to(pane.start // PANE)
        past = self._past(self._slid, pane, self.history.sums(pane.slots))
        seen = pane.seen(past)
        found = self.judging.pane(roles, pane, past, seen, told, today=True)
        for judgement in found:
            role = self.roles[judgement.role]
            role.alerted = True
            role.note(judgement.crossings, self.cooldown)
        self._teach(pane, roles, prints, past, seen)
        self.history.add(pane.slots, pane.totals)
        self._slid = pane.slid
        return found

    def _teach(self, pane: Pane, roles: Sequence[Role], prints: U64, past: Past, seen: F64) -> None:
        """Show a pane of roles that are no longer new to whoever learns what is usual."""
        day, frozen = pane.start // DAY, self.organisation.frozen
        settled = np.array([roles[one].first // DAY < day for one in pane.role.tolist()], np.bool_)
        if not frozen and settled.any():
            self.levels.learn(pane.slots[settled], seen[settled], past.mean[settled], past.scale[settled])
        if self.own or self.observe:
            news, of = fresh(seen, pane.totals)[settled], pane.role[settled]
            who = [roles[one].who for one in of.tolist()]
            if self.observe:
                self.observe(pane.start, prints[of], [one.key for one in who], news)
            if self.own and not frozen:
                self.own.learn([one.group for one in who], news)

    def mark(
        self, role: int, day: int, score: float, *, benign: bool, prefixes: Sequence[str], nets: Sequence[str]
    ) -> str:
        """Take up what a person says of a finding of a role: what it does anyway, or a theft. What came of it.

        prefixes, nets: where its objects lay (`bucket/prefix`) and where it came from.
        """
        self._changed = self._turned = True
        if not benign:
            self.organisation.calibration.drop(day, score)
            return "its day says nothing of what is usual"
        self.novelty.accept(role, text_hashes(prefixes), text_hashes(nets))
        self.organisation.calibration.count(day, score)
        return (
            f"{len(prefixes)} places and {len(nets)} networks are known now; the alert line counts it as a false alert"
        )

    def glance(self, first: int, rows: Rows, prints: U64, who: Mapping[int, Identity]) -> list[Judgement]:
        """Judge the open panes from `first` on by what is there so far of these roles; learn nothing."""
        if self.learning or not len(rows.second):
            return []
        roles = [self._known(one, first, who) for one in prints.tolist()]
        slots, counted = self._count(rows, prints, roles, first, self.novelty.count)
        told, slid = Told(rows, counted, 0, len(rows.second)), self._slid
        every = panes(rows, slots, first, counted)
        totals = np.zeros(((every[-1].start - first) // PANE + 1, len(roles), COUNTERS), np.int64)
        found: list[Judgement] = []
        for pane in every:
            number = (pane.start - first) // PANE
            totals[number, pane.role] = pane.totals
            held = self.history.sums_at(pane.slots, pane.start // PANE)
            for which, window in enumerate(WINDOWS):
                held[:, which] += totals[max(0, number + 1 - window // PANE) : number, pane.role].sum(axis=0)
            past = self._past(slid, pane, held)
            found += self.judging.pane(roles, pane, past, pane.seen(past), told)
            slid = pane.slid
        return found

    # --- a pane's counts ---------------------------------------------------------------------------------------------

    def _count(
        self, rows: Rows, prints: U64, roles: Sequence[Role], start: int, count: Callable[[Rows, Who, int], Counted]
    ) -> tuple[Index, Counted]:
        """The slots of these roles, and what their rows count."""
        slots = np.array([role.slot for role in roles], np.intp)
        groups = np.array([group_print(("peer_group", role.who.group)) for role in roles], np.uint64)
        return slots, count(rows, Who(prints, slots, groups), start)

    def _past(self, slid: Slid, pane: Pane, sums: I64) -> Past:
        return Past(slid.before(pane.start, pane.slots), sums, *self.levels.usual(pane.slots))

    def _keep(self, sealed: Sequence[Pane], roles: Sequence[Role]) -> None:
        """Keep what panes counted, for the windows of later ones and for the midnight."""
        pane = np.repeat([pane.start // PANE for pane in sealed], [len(pane.slots) for pane in sealed])
        role, slots, totals = (
            np.concatenate([getattr(pane, one) for pane in sealed]) for one in ("role", "slots", "totals")
        )
        self.history.write(pane, slots, totals)
        news = [np.bincount(role, totals[:, one], len(roles)) for one in (Counter.new, Counter.rare, Counter.foreign)]
        for at in np.flatnonzero(np.any(news, axis=0)).tolist():
            roles[at].news = [a + int(b[at]) for a, b in zip(roles[at].news, news, strict=True)]
        self._slid = self._slid._replace(cells=self._slid.cells.copy())  # and not those of the whole hour

    # --- midnight ----------------------------------------------------------------------------------------------------

    def _turn(self, pane: int) -> None:
        """At a new day, learn the one that is over."""
        day = pane // DAY
        if self._day not in (day, NEVER):
            self.begin(day, together([self.over()]))
        self._day = day

    def over(self) -> Day:
        """What the day that is over was to the roles of this shard; it changes nothing."""
        begun = (self._day + 1) * DAY
        active = [role for role in self.roles.values() if role.last >= self._day * DAY]
        slots = np.array([role.slot for role in active], np.intp)
        moments = zip(self.levels.maxima[slots], *self.levels.own(slots), strict=True)
        days = [
            RoleDay(
                role.who.key, role.who.group, role.who.kind, begun - role.first < YOUNG, role.score, role.alerted,
                role.news, maxima, mean, variance, float(weight),
            )
            for role, (maxima, mean, variance, weight) in zip(active, moments, strict=True)
        ]  # fmt: skip
        return Day(self._day, len(self.roles), days, self.novelty.over(), self.novelty.keys.wanted())

    def begin(self, today: int, over: Day) -> None:
        """A new day begins. `over`: what the last one was to all shards, `together`."""
        self.organisation.learn(over)
        if self.own:
            self.own.midnight(frozen=self.organisation.frozen)
        self.novelty.midnight(over)
        self.levels.maxima[:] = 0.0
        for role in self.roles.values():
            role.news, role.score, role.alerted = [0, 0, 0], 0.0, False
            self.levels.lean(role.slot, self.organisation.pools.level(role.who.group, role.who.kind))
        gone = {one for one, role in self.roles.items() if today * DAY - role.last > FORGET_AFTER}
        if gone:  # for so long that none of what they counted is in a window
            slots = {self.roles.pop(one).slot for one in gone}
            self.novelty.forget(slots)
            self._free = sorted({*self._free, *slots}, reverse=True)
        self.pieces.gone |= gone
        self.pieces.changed -= gone
        self._day = today
        self._changed = self._turned = True

    def _met(self, rows: Rows, prints: U64, who: Mapping[int, Identity]) -> list[Role]:
        """The roles of these rows; new ones are entered pane by pane, in the order of their keys."""
        roles = [self.roles.get(one) for one in prints.tolist()]
        new = [at for at, role in enumerate(roles) if role is None]
        if new:
            first = distinct(rows.role, len(roles))[0]
            pane = rows.second[first] // PANE * PANE
            for at in sorted(new, key=pane.__getitem__):
                one = int(prints[at])
                role = self.roles[one] = self._known(one, int(pane[at]), who)
                if self._free:
                    self._free.pop()
                self._slots = max(self._slots, role.slot + 1)
        return [self.roles[one] for one in prints.tolist()]

    def _known(self, one: int, pane: int, who: Mapping[int, Identity]) -> Role:
        """The role, or what it would be if it were new."""
        role = self.roles.get(one)
        if role is None:
            identity = who[one]
            slot = self._free[-1] if self._free else self._slots
            role = Role(identity, slot, pane)
            self.levels.reserve(slot)
            self.levels.clear(slot)
            self.levels.lean(slot, self.organisation.pools.level(identity.group, identity.kind))
        return role
