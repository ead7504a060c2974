"""Revocations that stand, and what the logs say of them: do they hold, who comes back, when may they end. Pure.

Rules of this file
- A case is judged by event time: what was read before the denial, and is told of later, says nothing against it.
- Only whom the case denies counts: a session with credentials issued later, or a workload in its own networks, may
  read.
- Each thing is told once, until it changes. How it is told: `response.notices`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from detector.core.access import AccessBatch, Column, Outcome
from detector.core.principal import Principal
from detector.core.times import duration, epoch, iso
from detector.response.action import action_of
from detector.response.documents import Denial, Networks
from detector.response.identity import is_ip
from detector.response.notices import notice
from detector.source import Standing as Lying

DAY = 86_400
CHECK = 300
"""Seconds after which it is looked anew whether a case is still as it was written."""
UNSEEN = 1800
"""Seconds for which it may be unknown how a case lies."""
ANSWER = 120
"""Seconds within which the responder's own process has to answer an order."""
CLOSED_KEPT = 90 * DAY
"""Seconds for which a case that was taken back is remembered: nothing opens it again."""
ORDERED, STANDS, UNDONE, LIFTED = "ordered", "stands", "undone", "lifted"


class Case(msgspec.Struct):
    """One revocation. Times in epoch seconds, 0 for never.

    plan: as it was carried out. finding: what it was for, without lists. before: see `source.Applied`. state: `ordered`
    (from the responder), `stands`, `undone` (by a person), `lifted` (it had ended by itself). by: who carried it out.
    began, logs: of an order, since when log files matter, and how many it named. around: see `source.Standing`.
    successes, denied: requests of whom it denies, after it was applied.
    """

    plan: dict[str, Any]
    finding: dict[str, Any] = msgspec.field(default_factory=dict)
    before: dict[str, Any] = msgspec.field(default_factory=dict)
    state: str = STANDS
    by: str = "daemon"
    applied_at: int = 0
    lift_at: int = 0
    ended_at: int = 0
    around: str = ""
    checked_at: int = 0
    successes: int = 0
    last_success: int = 0
    denied: int = 0
    first_denied: int = 0
    last_denied: int = 0
    back_since: int = 0
    unseen_since: int = 0
    began: int = 0
    logs: int = 0
    told: list[str] = msgspec.field(default_factory=list)

    @property
    def id(self) -> str:
        """The case's."""
        return str(self.plan.get("case_id", ""))

    @property
    def ends_by_itself(self) -> bool:
        """Whether all of it denies credentials by their issue time: once these are dead it holds nothing any more."""
        actions = self.plan.get("actions") or ()
        return all(action["denial"].get("issued_until") is not None for action in actions)

    def effect(self) -> str:
        """For a person: what it has done so far."""
        if self.state == ORDERED:
            return "ordered from the responder"
        if self.denied:
            times = f"the first at {iso(self.first_denied)}, the last at {iso(self.last_denied)}"
            holds = "holding" if self.last_success <= self.last_denied else "NOT HOLDING"
            return f"{holds}: {self.denied:,} requests denied, {times}"
        if self.last_success:
            return f"NOT HOLDING: last read at {iso(self.last_success)}"
        return "nothing was seen of it since"


class Standing:
    """All cases. verify_after: seconds after applying from which on a success is an alarm."""

    def __init__(self, verify_after: int = 300) -> None:
        self.cases: dict[str, Case] = {}
        self._verify_after = verify_after
        self.unsaved = self._touched = False

    def put(self, case: Case) -> None:
        """A case was carried out, ordered, or extended by a later plan."""
        known = self.cases.get(case.id)
        if known is not None and known.state in (STANDS, ORDERED):
            case.before = {**case.before, **{k: v for k, v in known.before.items() if v is not None}}
            case.told = [one for one in known.told if one == "holding"]
        self.cases[case.id] = case
        self.unsaved = True

    def end(self, case_id: str, state: str, now: int) -> None:
        """A case was taken back, or has ended."""
        case = self.cases.get(case_id)
        if case is not None and case.state not in (UNDONE, LIFTED):
            case.state, case.ended_at, self.unsaved = state, now, True

    def standing(self) -> list[Case]:
        """Cases whose denial should be in force."""
        return [case for case in self.cases.values() if case.state == STANDS]

    def ordered(self) -> list[Case]:
        """Cases that the responder has not answered."""
        return [case for case in self.cases.values() if case.state == ORDERED]

    # --- what the logs say

    def meet(self, events: AccessBatch) -> None:
        """Look among a turn's events for whom the cases deny."""
        cases = self.standing()
        if not cases or not len(events):
            return
        needles = [text for case in cases for text in _needles(case)]
        rows_of: dict[int, Any] = {}
        for code in events.principals.naming(needles):
            who = events.principals[code]
            for case in cases:
                for action in case.plan["actions"]:
                    if _is_denied(action, who):
                        rows = rows_of.setdefault(code, np.flatnonzero(events.who == code))
                        self._note(case, action, who, events, rows)

    def _note(self, case: Case, action: Mapping[str, Any], who: Principal, events: AccessBatch, rows: Any) -> None:
        rows = rows[events.time[rows] > case.applied_at]
        rows = rows[_inside(action, events, rows)]
        if not len(rows):
            return
        self.unsaved = True
        times, outcome = events.time[rows], events.outcome[rows]
        success, denied = times[outcome == Outcome.success], times[outcome == Outcome.denied]
        until = epoch(action["denial"].get("issued_until"))
        if until is not None and who.issued_at is not None and who.issued_at > until:
            if len(success) and not case.back_since:
                case.back_since = int(success.min())
            return
        if len(denied):
            case.denied += len(denied)
            case.first_denied = min(case.first_denied or int(denied.min()), int(denied.min()))
            case.last_denied = max(case.last_denied, int(denied.max()))
        late = success[success > case.applied_at + self._verify_after]
        if len(success):
            case.last_success = max(case.last_success, int(success.max()))
        case.successes += len(late)

    # --- what is told

    def alarms(self, now: int) -> Iterator[dict[str, Any]]:
        """What has not been told yet of how the cases hold."""
        for case in self.cases.values():
            for what, told in _signs(case, self._verify_after, now):
                if self._is_new(case, what):
                    yield notice(case.plan, what, told, since=case.applied_at, now=now)

    def _is_new(self, case: Case, what: str) -> bool:
        if what in case.told:
            return False
        case.told.append(what)
        self.unsaved = True
        return True

    def looked(self, case: Case, how: Lying, now: int) -> dict[str, Any] | None:
        """How a case lies in AWS; an alarm if somebody changed it, or what is around it."""
        case.checked_at, self._touched = now, True  # that may wait for the next checkpoint there is
        what = told = ""
        case.unseen_since = (case.unseen_since or now) if how.state == "unknown" else 0
        if how.state == "unknown" and now - case.unseen_since >= UNSEEN:
            what, told = "unseen", f"For {duration(UNSEEN)} nobody could see how case {case.id} lies: {how.detail}"
        if how.state in ("gone", "changed"):
            what, told = how.state, f"The denial of case {case.id} is {how.state}: {how.detail}."
        elif how.state == "stands":
            if case.around not in ("", how.around):
                what = f"around {how.around}"
                told = f"Other policies that bear on the denial of case {case.id} were changed."
            case.around = how.around
            past = ("gone", "changed", "unseen")
            case.told = [one for one in case.told if one not in past and not (what and one.startswith("around"))]
        if what and self._is_new(case, what):
            return notice(case.plan, "unseen" if what == "unseen" else "changed", told, since=now, now=now)
        return None

    def tell_changed(self, case: Case, detail: str, now: int) -> dict[str, Any]:
        """The responder has seen that somebody changed a case."""
        return notice(case.plan, "changed", f"The denial of case {case.id} was changed: {detail}.", since=now, now=now)

    def unlifted(self, case: Case, detail: str, now: int) -> dict[str, Any] | None:
        """It could not be lifted: once more in an hour; told once."""
        case.lift_at, self.unsaved = now + 3600, True
        if self._is_new(case, "unlifted"):
            return notice(case.plan, "unlifted", f"Case {case.id} could not be lifted: {detail}", since=now, now=now)
        return None

    def ended_itself(self, case: Case, now: int) -> bool:
        """Whether a denial that is gone had nothing left to deny: room was made for another."""
        dead = case.ends_by_itself and now >= (epoch(case.plan.get("planned_at")) or now) + lifetime(case.plan)
        if dead:
            self.end(case.id, LIFTED, now)
        return dead

    def due_to_check(self, now: int) -> Case | None:
        """The case that was not looked at for the longest time, if that is long."""
        due = [case for case in self.standing() if now - case.checked_at >= CHECK]
        return min(due, key=lambda case: case.checked_at, default=None)

    def due_to_lift(self, now: int) -> Iterator[Case]:
        """Cases whose credentials are dead, and of which nothing was denied for a day."""
        for case in self.standing():
            if case.ends_by_itself and now >= case.lift_at and now - case.last_denied >= DAY:
                yield case

    def renew(self, now: int) -> Iterator[dict[str, Any]]:
        """Cases that should have ended and may not: they stay for another day, and that is told."""
        for case in self.standing():
            if now < case.lift_at or (case.ends_by_itself and now - case.last_denied >= DAY):
                continue
            case.lift_at, self.unsaved = now + DAY, True
            if case.ends_by_itself:
                told = f"{case.denied:,} requests were denied, the last at {iso(case.last_denied)}."
                yield notice(case.plan, "renewed", told, since=now, now=now)
            elif self._is_new(case, "kept"):
                told = f"Case {case.id} is not bound to an issue time: it stands until a person undoes it."
                yield notice(case.plan, "kept", told, since=case.applied_at, now=now)

    def withdrawn(self, alert_id: str, now: int) -> dict[str, Any] | None:
        """A finding was corrected away: its revocation is offered for undo."""
        for case in self.standing():
            if case.plan.get("alert_id") == alert_id and self._is_new(case, "withdrawn"):
                told = f"The finding behind case {case.id} was withdrawn."
                return notice(case.plan, "withdrawn", told, since=case.applied_at, now=now)
        return None

    def forget(self, now: int) -> None:
        """Let go of what ended long ago."""
        old = [n for n, case in self.cases.items() if case.ended_at and now - case.ended_at > CLOSED_KEPT]
        for name in old:
            del self.cases[name]

    # --- state

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that changed."""
        if not (self.unsaved or self._touched):
            return {}
        self.unsaved = self._touched = False
        return {"cases": msgspec.msgpack.encode(self.cases)}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint."""
        if "cases" in parts:
            self.cases = msgspec.msgpack.decode(parts["cases"], type=dict[str, Case])
        for case in self.cases.values():  # nobody looked while the daemon was down
            case.checked_at = 0


def lifetime(plan: Mapping[str, Any]) -> int:
    """Seconds for which credentials that a plan denies may live after they were issued."""
    return max(action_of(action, str(plan["case_id"])).lifetime for action in plan["actions"])


def _needles(case: Case) -> list[bytes]:
    """Texts of which one occurs in every identity that the case may deny."""
    names = [
        name
        for action in case.plan["actions"]
        for name in action["denial"]["user_ids"] or (action["target_id"], action["target"])
    ]
    return [name.encode() for name in names if name]


def _is_denied(action: Mapping[str, Any], who: Principal) -> bool:
    """Whether an action is about this identity, whenever its credentials were issued."""
    ids: Sequence[str] = action["denial"]["user_ids"]
    if ids:
        return who.principal_id in list(ids)
    if person := action["denial"].get("source_identity"):
        return who.role_shown == action["target"] and bool(who.source_identity == person)
    if action["writes"] == "access_key":
        return bool(who.access_key == action["name"])
    if action["writes"] == "user_policy":
        return who.session_shown == action["target"] and who.issued_at is not None
    return who.role_shown == action["target"] or bool(who.role == action["target_id"])


def _inside(action: Mapping[str, Any], events: AccessBatch, rows: Any) -> Any:
    """Which of these rows the action denies, by bucket and by network."""
    denial = Denial.of(action["denial"])
    if action["writes"] == "bucket_policy":
        bucket = action["target"].rsplit(":", 1)[-1]
        return events.text["bucket"].take(rows).are(bucket)
    if not any(denial.outside):
        return np.ones(len(rows), np.bool_)
    address, endpoint = events.text["source_ip"], events.text["vpc_endpoint"]
    pairs = np.stack([address.codes[rows], endpoint.codes[rows]])
    places, which = np.unique(pairs, axis=1, return_inverse=True)
    own = [_is_own(denial.outside, _text(address, a), _text(endpoint, e)) for a, e in places.T.tolist()]
    return ~np.array(own, np.bool_)[which.reshape(-1)]


def _text(column: Column, code: int) -> str:
    return column.values[code] if code >= 0 else ""


def _is_own(networks: Networks, address: str, endpoint: str) -> bool:
    """Whether a request from there may be the workload's own: of which VPC an endpoint is, no record says; an AWS
    service that calls for it has a name, or no address.
    """
    if endpoint:
        return bool(networks.vpcs) or networks.holds("", endpoint)
    return networks.holds(address) or not is_ip(address)


def _signs(case: Case, verify_after: int, now: int) -> Iterator[tuple[str, str]]:
    """What can be said of how a case holds."""
    if case.state == ORDERED and now - case.applied_at >= ANSWER:
        yield "unanswered", f"Case {case.id} was ordered at {iso(case.applied_at)}; nobody has answered yet."
    if case.state != STANDS:
        return
    name, applied = case.plan.get("session") or case.id, iso(case.applied_at)
    if case.successes:
        late = f"succeeded more than {duration(verify_after)} after it was denied at {applied}"
        yield "not_holding", f"{case.successes:,} requests of {name} {late}, the last at {iso(case.last_success)}."
    elif case.denied:
        after = f"{max(0, case.first_denied - case.applied_at)} s later the first of its requests was refused"
        last = f" Its last success was {case.last_success - case.applied_at} s after." if case.last_success else ""
        saved = f"{case.denied:,} in all so far, and what they asked for did not leave"
        yield "holding", f"{name} was denied at {applied}; {after}, {saved}.{last}"
    if case.back_since:
        whose = "credentials issued after the denial: its owner, or a thief who can assume the role again"
        yield "back", f"{name} reads again since {iso(case.back_since)}, with {whose}."
