"""The responder as a process of its own: takes orders out of the register, and trusts none of them.

    1 read orders → 2 fetch the log files they name → 3 recompute the finding → 4 plan → 5 guards → 6 carry out → 7 tell

Rules of this file
- An order says where to look. Rules, accounts, buckets and guards are this process's own.
- What is answered once is not answered again: answers are in the register, and are read at the start.
- Plans, ends and what was there before are taken from this process's own answers, and from people's: whoever has taken
  over the daemon may order, and may not lift.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from detector.core.admit import Admission
from detector.core.rule import Rule
from detector.core.times import epoch
from detector.errors import EdgeError
from detector.hourly import Hourly
from detector.logs.limits import LIMITS, Limits
from detector.recompute import recomputed
from detector.response.guards import ResponsePolicy
from detector.response.plan import case_of, plan
from detector.response.register import Register, cases, event, in_order
from detector.response.standing import CHECK, DAY, Case
from detector.source import Applied, Responder

ALERT_ID = re.compile(r"a-[0-9a-f]{16}", re.ASCII)
FILES = 5_000
"""Log files of an order, at most."""
RETRIES = 20
"""Turns in which an order that fails is tried again."""
WAIT = 900
"""Seconds for which log files that bear an order out are waited for: the fast path is minutes ahead of them."""
PEOPLE = 60
"""Seconds between looks for what people did."""
ORDERS = ("ordered", "effect")
"""All that is taken from the daemon. What it says was applied, lifted or undone is nothing to this process."""

NOT_BORNE_OUT = "the log files that the order names do not bear the finding out"
WAITING = frozenset({NOT_BORNE_OUT})
"""Why there is no plan yet, where further log files may change that."""

Say = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Own:
    """What this process goes by. rules: its own rule files, by id. fetch: a log file's bytes; raises EdgeError.

    beside: these log files, and those that lie between and after them: whoever orders must not choose which are read.
    """

    rules: Mapping[str, Rule]
    policy: ResponsePolicy
    hourly: int
    fetch: Callable[[str], bytes]
    beside: Callable[[Sequence[str]], Sequence[str]]
    admission: Admission = field(default_factory=Admission)
    limits: Limits = LIMITS


class Server:
    """Works off orders. pause: seconds between turns."""

    def __init__(
        self,
        register: Register,
        responder: Responder,
        own: Own,
        *,
        say: Say,
        clock: Callable[[], float] = time.time,
        pause: float = 2.0,
    ) -> None:
        self._register, self._responder, self._own, self._say, self._clock = register, responder, own, say, clock
        self.pause = pause
        self._hourly = Hourly(own.hourly)
        self._events: list[dict[str, Any]] | None = None
        self._tried: dict[str, int] = {}
        self._seen: dict[str, tuple[int, str]] = {}
        self._judged: dict[str, tuple[str, ...]] = {}
        self._asked_people = 0.0

    def turn(self) -> None:
        """One round. What edges refuse is tried again in the next."""
        try:
            events = self._read()
            found = cases(events)
        except EdgeError as error:
            self._say("register_failed", error=str(error))
            return
        for case_id, case in found.items():
            try:
                if case["state"] in ("ordered", "begun"):
                    self._answer(case_id, case)
                elif case["state"] == "stands":
                    self._look_after(case_id, case)
            except EdgeError as error:
                self._say("case_failed", case=case_id, error=str(error))
            except Exception as error:  # noqa: BLE001  one order must not keep the others from being answered
                self._say("case_failed", case=case_id, error=f"{type(error).__name__}: {error}")

    def _read(self) -> list[dict[str, Any]]:
        """All events; at the start also this process's own, by which it knows what it has done."""
        if self._events is None:
            self._events = [told for told in self._register.all() if _counts(told)]
            for told in self._events:
                who, at = (told.get("plan") or {}).get("principal_id"), epoch(told["at"]) or 0
                if told["writer"] == "responder" and told["what"] == "applied" and who:
                    self._hourly.take(str(who), at)
            return self._events
        new = self._register.new("daemon")
        if self._clock() - self._asked_people >= PEOPLE:
            self._asked_people = self._clock()
            new += self._register.new("person")
        if new:
            self._events = in_order([*self._events, *filter(_counts, new)])
        return self._events

    def _answer(self, case_id: str, case: Mapping[str, Any]) -> None:
        if case["state"] == "begun":
            if case.get("writer") == "responder":  # before this process ended: done once more, with what was there
                self._carry_out(case_id, case["plan"], case["before"], int(self._clock()))
            return
        orders = [told for told in case["events"] if told["what"] == "ordered"]
        finding, now = orders[-1].get("finding") or {}, int(self._clock())
        logs, waited = tuple(orders[-1].get("logs", ())), now - (epoch(orders[0]["at"]) or 0)
        if self._judged.get(case_id) == logs and waited < WAIT:
            return  # not borne out so far: once more when it names further files
        made = self._judged_anew(case_id, finding, logs, waited, now)
        if made is None:
            return
        who = str(made["principal_id"] or case_id)
        if not self._hourly.room(who, now):
            self._tell(case_id, "refused", f"{self._own.hourly} were carried out within an hour: a person decides", now)
            return
        new = self._hourly.take(who, now)
        before = self._responder.before(made)
        if before.status == "applied":
            self._tell(case_id, "begun", "", now, plan=made, before=dict(before.before))
            done = self._carry_out(case_id, made, before.before, now)
        else:
            done = before
            self._answered(case_id, made, before, {}, now)
        if new and done.status == "refused":
            self._hourly.give_back(who)

    def _judged_anew(
        self, case_id: str, finding: Mapping[str, Any], logs: tuple[str, ...], waited: int, now: int
    ) -> dict[str, Any] | None:
        """This process's own plan. Where there is none, that is answered, unless further files may change it."""
        try:
            made, why = self._planned(case_id, finding, logs, now)
        except EdgeError as error:
            if error.retryable and waited < WAIT:
                raise
            made, why = None, f"the log files that the order names cannot be read: {error.what}"
        if made is None:
            self._judged[case_id] = logs
            if why not in WAITING or waited >= WAIT:
                self._tell(case_id, "refused", why, now)
            return None
        return made

    def _carry_out(self, case_id: str, made: dict[str, Any], before: Mapping[str, Any], now: int) -> Applied:
        done = self._responder.apply(made)
        self._answered(case_id, made, done, before, now)
        return done

    def _answered(self, case_id: str, made: dict[str, Any], done: Applied, before: Mapping[str, Any], now: int) -> None:
        """Tell what came of it; what failed and may work is tried again first."""
        standing = done.of(made)
        if standing is None and done.status == "failed" and self._tried.setdefault(case_id, 0) < RETRIES:
            self._tried[case_id] += 1
            self._say("revocation_failed", case=case_id, error=done.detail)
            return
        if standing:
            self._tell(case_id, "applied", done.detail, now, plan=standing, before=dict(before))
        if done.status in ("refused", "failed"):  # all of it, or the rest
            self._tell(case_id, done.status, done.detail, now)

    def _planned(
        self, case_id: str, finding: Mapping[str, Any], logs: Sequence[str], now: int
    ) -> tuple[dict[str, Any] | None, str]:
        """This process's own plan, or why it makes none."""
        alert_id, rule = str(finding.get("alert_id", "")), self._own.rules.get(str(finding.get("rule_id")))
        if not ALERT_ID.fullmatch(alert_id) or case_of(alert_id) != case_id:
            return None, "the order's case is not its alert's"
        if rule is None:
            return None, "the responder's own rules have no rule of this id"
        if len(logs) > FILES:
            return None, f"the order names {len(logs):,} log files; {FILES:,} at most are read again"
        files = self._own.beside(logs)
        if len(files) > FILES:
            return None, f"{len(files):,} log files lie beside those that the order names; {FILES:,} at most are read"
        own = recomputed(finding, rule, self._fetched(files), self._own.admission, self._own.limits)
        if own is None:
            return None, NOT_BORNE_OUT
        about = own.to_json() | {
            "alert_id": alert_id,
            "state": "opened",
            "respond": list(rule.respond),
            "accept_withdrawable": rule.accept_withdrawable,
            "stage": rule.stage,
            "late": own.late,
        }
        made = plan(about, planned_at=now, settings=replace(self._own.policy, mode="enforce", armed=True))
        if not made.applicable:
            return None, " ".join(made.refusals)
        return made.to_json(), ""

    def _fetched(self, logs: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """What can be read of them. Without a file the finding may still be borne out, or not: that is seen later."""
        for name in logs:
            try:
                yield name, self._own.fetch(name)
            except EdgeError as error:
                if error.retryable:
                    raise
                self._say("fetch_failed", file=name, error=str(error))

    def _look_after(self, case_id: str, case: Mapping[str, Any]) -> None:
        """Look whether it is as it was written; lift it once its credentials are dead and nobody was denied."""
        now, made = int(self._clock()), case["plan"]
        at, around = self._seen.get(case_id, (0, ""))
        if now - at < CHECK:
            return
        how = self._responder.look(made)
        if how.state in ("gone", "changed") and self._people_acted(case_id):
            return
        self._seen[case_id] = (now, how.around if how.state == "stands" else around)
        if how.state in ("gone", "changed") and around != how.state:
            self._seen[case_id] = (now, how.state)
            self._tell(case_id, "changed", f"{how.state}: {how.detail}", now)
        elif how.state == "stands" and around not in ("", "gone", "changed", how.around):
            self._tell(case_id, "changed", "other policies that bear on it were changed", now)
        until = epoch(made.get("may_be_lifted_at")) or 0
        mine = case.get("writer") == "responder"  # what people applied people take back
        if how.state != "stands" or not mine or not Case(made).ends_by_itself or now < until:
            return
        if now - self._register.last_denied(case_id) >= DAY:
            done: Applied = self._responder.remove(made, case["before"])
            if done.status in ("applied", "already"):
                self._tell(case_id, "lifted", done.detail, now)

    def _people_acted(self, case_id: str) -> bool:
        """Whether a person has taken the case back a moment ago."""
        self._asked_people = 0.0
        return str(cases(self._read())[case_id]["state"]) != "stands"

    def _tell(self, case_id: str, what: Any, detail: str, now: int, **more: Any) -> None:
        told = event(case_id, what, at=now, by="responder", detail=detail, **more)
        self._register.add(told)
        if self._events is not None:
            self._events.append(told | {"writer": "responder"})
        self._say("case", case=case_id, what=what, detail=detail)


def _counts(told: Mapping[str, Any]) -> bool:
    """Whether this process goes by an event."""
    return told["writer"] != "daemon" or told["what"] in ORDERS
