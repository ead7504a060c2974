"""Carries plans out, and looks after what was carried out: does it hold, was it changed, when does it end.

Rules of this file
- What was there before is in a checkpoint before anything is written, and that it was written in the next.
- A denial does not wait for the register: what cannot be written there is tried again, and is in the checkpoint.
- A case that a person took back is not opened again without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from detector.core.access import AccessBatch
from detector.core.people import People
from detector.core.times import epoch, iso
from detector.drain import Drain, Hurry
from detector.edges import Edges
from detector.errors import EdgeError, StateError
from detector.hourly import Hourly
from detector.response.company import Company
from detector.response.notices import notice
from detector.response.reading import Reading
from detector.response.register import Register, event
from detector.response.standing import LIFTED, ORDERED, STANDS, UNDONE, Case, Standing, lifetime
from detector.source import Applied
from detector.spool import Entry

PATIENCE = 60
"""Seconds for which a failure that may pass by itself is nobody's concern."""
MOST_LOGS = 6_000
"""Log files that an order names: the responder reads no more, and says so."""
DONE = frozenset({"applied", "already", "ordered"})
POLL = 60
"""Seconds between looks into the register."""
EFFECT = 600
"""Seconds between two writings of what a case has done; whether it holds is written at once."""
OF_FINDING = (
    "alert_id",
    "rule_id",
    "title",
    "severity",
    "kind",
    "opened_at",
    "last_at",
    "group",
    "principal",
    "respond",
    "window_seconds",
)
"""What is kept of a finding with its case."""
OF_EVENT = ("case_id", "at", "what", "by", "writer", "detail", "reason", "plan", "before")
"""What is journalled of an event that somebody else wrote: nothing that could pass for a finding."""

Say = Callable[..., None]


class Casework:
    """Plans and cases, joined with responder and register.

    max_age: seconds after its last record for which a finding may be answered without a person. verify_after: see
    `Standing`. note, alarm: journal an entry; send an alarm. clock: epoch seconds.
    """

    def __init__(
        self,
        edges: Edges,
        max_age: int,
        hourly: Hourly,
        verify_after: int,
        *,
        note: Callable[[str, dict[str, Any]], object],
        alarm: Callable[[str, dict[str, Any]], None],
        say: Say,
        clock: Callable[[], float],
        drain: Drain,
    ) -> None:
        self.edges, self.max_age, self.hourly, self.drain = edges, max_age, hourly, drain
        self._note, self._alarm, self._say, self._clock = note, alarm, say, clock
        self._reading, self._company = Reading(), Company()
        self.standing = Standing(verify_after)
        self._register = Register(edges.cases, "daemon") if edges.cases else None
        self._unwritten: list[dict[str, Any]] = []
        self._effects: dict[str, tuple[float, str]] = {}
        self._polled = 0.0
        self._dirty = self._touched = False
        self._failing: dict[str, int] = {}
        self._told_failed: set[str] = set()

    def carry_out(self, entry: Entry, settle: Callable[[], None]) -> Applied:
        """Do what an entry's plan says, if it is still right. Raises Hurry."""
        plan, finding = entry.plan or {}, entry.body
        case, now = str(plan["case_id"]), int(self._clock())
        if begun := self._found_standing(entry, now):
            return begun
        if (why := self._outdated(case)) is not None:
            return Applied(case, "refused", why)
        if now - (epoch(finding.get("last_at")) or 0) > self.max_age:
            return self._failed(entry, Applied(case, "refused", "the finding is older than response.max_age by now"))
        who = str(plan.get("principal_id") or case)
        if not self.hourly.room(who, now):
            if told := self.hourly.refused(now):
                self._alarm("revocation_limit", told)
            what = f"{self.hourly.limit} were carried out within an hour (response.hourly): a person decides"
            return Applied(case, "refused", what)
        responder = self.edges.responder
        assert responder is not None  # noqa: S101  asked in _outdated
        self.edges.insist()
        new = self.hourly.take(who, now)
        with self.drain.edge():
            first = responder.before(plan) if entry.before is None else Applied(case, "applied", "", entry.before)
        if first.status == "applied" and entry.before is None:
            entry.before = dict(first.before)
            settle()
        applied = first
        if first.status == "applied":
            with self.drain.edge():
                applied = responder.apply(plan)
        if new and applied.status == "refused":
            self.hourly.give_back(who)
        if standing := applied.of(plan):
            self._opened(entry, standing, applied, now)
        return applied if applied.status in DONE else self._failed(entry, applied)

    def note_read(self, names: Iterable[str]) -> None:
        """These log files were read: another process has to find them again."""
        if self.edges.responder is not None and self.edges.responder.separate:
            self._reading.note(names, int(self._clock()))

    def meet(self, events: AccessBatch) -> None:
        """Look among a turn's events for whom cases deny, and who is in whose company."""
        self.standing.meet(events)
        if self.edges.responder is not None:
            self._company.meet(events)

    def in_company(self, about: dict[str, Any], people: People) -> dict[str, Any]:
        """A finding with all that was seen of its session lately, whatever its rule looks at."""
        who, evidence = about.get("principal") or {}, about.get("evidence") or {}
        if not who.get("principal_id"):
            return about
        mine = people.credentials("session", str(who["principal_id"]))
        lately = self._company.of(mine, epoch(about.get("last_at")) or 0)
        issued = {iso(at) for one in lately if (at := mine[one].issued_at) is not None}
        networks = {net for found in lately.values() for net in found}
        return about | {
            "principal": who | {"issue_times": sorted({*(who.get("issue_times") or ()), *issued})},
            "evidence": evidence | {"networks": sorted(networks)},
        }

    def withdrawn(self, alert_id: str) -> None:
        """A finding was corrected away."""
        if told := self.standing.withdrawn(alert_id, int(self._clock())):
            self._alarm("revocation_withdrawn", told)

    def tell(self) -> None:
        """Raise the alarms that are due: before the checkpoint."""
        now = int(self._clock())
        for told in (*self.standing.alarms(now), *self.standing.renew(now)):
            self._alarm("revocation_told", told)

    def work(self, *, lift: bool = True) -> None:
        """When there is time: read and write the register, look at one case in AWS, lift what has ended.

        lift: not before the logs of a time in which nobody was here have been read.
        """
        now = int(self._clock())
        if not self.edges.cases and not self.standing.cases:
            return
        self.edges.insist()
        for step in (self._exchange, self._look, *([self._lift] if lift else [])):
            try:
                with self.drain.edge():
                    step(now)
            except Hurry:
                return
            except EdgeError as error:  # a register that cannot be reached must not keep anybody from looking
                self._polled = now
                self._say("cases_failed", error=str(error))
        self.standing.forget(now)

    def values(self) -> dict[str, float]:
        """Metrics (see `metrics.METRICS`)."""
        cases = self.standing.standing()
        return {"cases_standing": len(cases), "cases_not_holding": sum(case.successes > 0 for case in cases)}

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint."""
        parts = self.standing.changes()
        if self._dirty or self._touched:
            known = sorted(self._register.known) if self._register else []
            parts["register"] = msgspec.msgpack.encode([self._unwritten, known])
            self._dirty = self._touched = False
        return parts | self._reading.changes()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint. Raises StateError."""
        try:
            self.standing.restore(parts)
            self._reading.restore(parts)
            if "register" in parts:
                kept = msgspec.msgpack.decode(parts["register"], type=tuple[list[dict[str, Any]], list[str]])
                self._unwritten, known = kept
                if self._register:
                    self._register.known = set(known)
        except msgspec.MsgspecError as error:
            raise StateError("the checkpoint's cases cannot be read", remedy="run the version that wrote it") from error

    @property
    def unsaved(self) -> bool:
        """Whether a checkpoint would hold something new."""
        return self.standing.unsaved or self._dirty

    def _found_standing(self, entry: Entry, now: int) -> Applied | None:
        """It was begun before a crash. What stands is a case, whatever speaks against carrying it out by now."""
        responder, plan = self.edges.responder, entry.plan or {}
        if entry.before is None or plan["case_id"] in self.standing.cases or responder is None or responder.separate:
            return None
        with self.drain.edge():
            how = responder.look(plan)
        if how.state != "stands":
            return None
        applied = Applied(plan["case_id"], "already", "it was carried out before the daemon stopped")
        self._opened(entry, plan, applied, now)
        return applied

    def _failed(self, entry: Entry, applied: Applied) -> Applied:
        """It was not carried out: a person has to, and is told once; of what may pass only if it does not."""
        now, case = int(self._clock()), applied.case_id
        since = self._failing.setdefault(case, now)
        if case not in self._told_failed and not (applied.passing and now - since < PATIENCE):
            self._told_failed.add(case)
            told = f"{applied.status}: {applied.detail}"
            self._alarm("revocation_failed", notice(entry.plan or {}, "failed", told, since=now, now=now))
        return applied

    def _outdated(self, case: str) -> str | None:
        """Why what was right when planned is not any more: another mode, a person who was there."""
        if self.edges.responder is None:
            return "the daemon is no longer in enforce mode (what it had begun may stand: see the role)"
        known = self.standing.cases.get(case)
        if known is not None and known.state == UNDONE:
            return "a person took this case back: only a person applies it again"
        return None

    def _opened(self, entry: Entry, plan: dict[str, Any], applied: Applied, now: int) -> None:
        """It was carried out, as far as it stands, or ordered. What stood already is not told again."""
        finding, before = entry.body, entry.before or {}
        known = self.standing.cases.get(plan["case_id"])
        if known is not None and known.state == STANDS and known.plan == plan:
            return
        about = {name: finding[name] for name in OF_FINDING if name in finding}
        lift_at = epoch(plan.get("may_be_lifted_at")) or now
        case = Case(plan, about, before, applied_at=now, lift_at=lift_at)
        self.standing.put(case)
        if applied.status == "ordered":
            case.state = ORDERED
            case.began = (epoch(finding.get("opened_at")) or now) - int(finding.get("window_seconds") or 0)
            self._order(case, now)
            return
        self._write(
            event(
                case.id, "applied", at=now, by="daemon", detail=applied.detail, plan=plan, before=before, finding=about
            )
        )

    def _order(self, case: Case, now: int) -> None:
        """Order it, or order it anew: log files come after what the fast path told."""
        logs = self._reading.since(case.began)[-MOST_LOGS:]
        case.logs, self.standing.unsaved = len(logs), True
        told = event(case.id, "ordered", at=now, by="daemon", plan=case.plan, finding=case.finding, logs=logs)
        self._write(told)

    def _write(self, told: dict[str, Any]) -> None:
        if self._register:
            self._unwritten.append(told)
            self._dirty = True

    def _exchange(self, now: int) -> None:
        """Write what is to be written, and read what people and the responder wrote."""
        if self._register is None:
            return
        for case in self.standing.ordered() if now - self._polled >= POLL else ():
            if min(len(self._reading.since(case.began)), MOST_LOGS) > case.logs:
                self._order(case, now)
        while self._unwritten:
            self._register.add(self._unwritten[0])
            del self._unwritten[0]
            self._touched = True  # written twice does no harm: that may wait for the next checkpoint there is
        self._write_effects(self._register, now)
        if now - self._polled >= POLL:
            self._polled = now
            for told in self._register.new():
                try:
                    self._take(told, now)
                except Exception as error:  # noqa: BLE001  whatever somebody wrote there, the daemon goes on
                    self._say("case_unusable", case=told["case_id"], error=f"{type(error).__name__}: {error}")
            for name in self._register.unread:
                self._say("case_unreadable", file=name)
            self._register.unread.clear()

    def _write_effects(self, register: Register, now: int) -> None:
        for case in self.standing.standing():
            at, before = self._effects.get(case.id, (0.0, ""))
            effect = case.effect()
            news = effect.partition(":")[0] != before.partition(":")[0]
            if news or (effect != before and now - at >= EFFECT):
                last = iso(case.last_denied) if case.last_denied else ""
                register.add(event(case.id, "effect", at=now, by="daemon", detail=effect, last_denied=last))
                self._effects[case.id] = (now, effect)

    def _take(self, told: dict[str, Any], now: int) -> None:
        """What somebody else did."""
        self._dirty = True
        case_id, what, at = str(told["case_id"]), told["what"], min(epoch(told["at"]) or now, now)
        self._note("case", {name: told[name] for name in OF_EVENT if name in told})
        self._say("case", case=case_id, what=what, by=told.get("by", ""))
        known = self.standing.cases.get(case_id)
        plan = told.get("plan") or (known.plan if known else None)
        if what == "applied" and plan and plan.get("actions"):
            lift_at = now + lifetime(plan)
            finding = told.get("finding") or (known.finding if known else {})
            by = str(told.get("by", told["writer"]))
            self.standing.put(Case(plan, finding, told.get("before") or {}, STANDS, by, at, lift_at))
        elif what in (UNDONE, LIFTED):
            self.standing.end(case_id, what, at)
        elif what in ("refused", "failed") and known and told["writer"] == "responder":
            if known.state == ORDERED:
                self.standing.end(case_id, LIFTED, at)
            why = f"the responder {what} it: {told.get('detail', '')}"
            self._alarm("revocation_failed", notice(known.plan, "failed", why, since=now, now=now))
        elif what == "changed" and known:
            self._alarm("revocation_changed", self.standing.tell_changed(known, str(told.get("detail", "")), now))

    def _look(self, now: int) -> None:
        responder = self.edges.responder
        case = self.standing.due_to_check(now) if responder and not responder.separate else None
        if case is None or responder is None:
            return
        how = responder.look(case.plan)
        if how.state in ("gone", "changed"):  # it may have been a person, a moment ago
            self._polled = 0
            self._exchange(now)
            if case.state != STANDS or self.standing.ended_itself(case, now):
                return
        if how.state == "unknown":
            self._say("case_not_seen", case=case.id, why=how.detail)
        if told := self.standing.looked(case, how, now):
            self._write(event(case.id, "changed", at=now, by="daemon", detail=how.detail))
            self._alarm("revocation_changed", told)

    def _lift(self, now: int) -> None:
        responder = self.edges.responder
        if responder is None:
            return
        for case in list(self.standing.due_to_lift(now)):
            applied = responder.remove(case.plan, case.before)
            self._say("revocation_ends", case=case.id, status=applied.status, detail=applied.detail)
            if applied.status in ("applied", "already") or "unlifted" not in case.told:
                self._note("revocation_ends", {"case_id": case.id, "status": applied.status, "detail": applied.detail})
            if applied.status in ("applied", "already"):
                self.standing.end(case.id, LIFTED, now)
                self._write(event(case.id, "lifted", at=now, by="daemon", detail=applied.detail))
            elif told := self.standing.unlifted(case, applied.detail, now):
                self._alarm("revocation_told", told)
