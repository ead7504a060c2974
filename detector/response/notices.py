"""What is told of a revocation that stands: how bad, what it means, what to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from detector.core.alarm import alarm

RULE = "bucketwatch.revocation_"


WITH_PLAN = frozenset({"failed", "unanswered"})
"""Notices that have the plan in them: a person has to carry it out."""


class _Notice(NamedTuple):
    """Of one kind. CASE and ALERT in a runbook stand for the ids."""

    severity: str
    title: str
    runbook: str


NOTICES = {
    "not_holding": _Notice(
        "critical",
        "A revocation does not hold",
        "1. Is the policy on the role (`bucketwatch respond list`)? 2. IAM may take minutes: if it goes on, deny the"
        " session whenever its credentials were issued (`bucketwatch respond plan ALERT --unbounded`), or attach"
        " AWSDenyAll to the role, which hits all of its sessions. 3. Look for chained roles.",
    ),
    "failed": _Notice(
        "critical",
        "A revocation could not be carried out",
        "The session reads on. Run the plan's command with rights of your own, now; then see why (`bucketwatch"
        " doctor`): does the responder have iam:PutRolePolicy on this role's path, is its trust right, is the role's"
        " quota full?",
    ),
    "unanswered": _Notice(
        "critical",
        "The responder does not answer",
        "The session reads on. Is `bucketwatch respond serve` running, and does it read the same register"
        " (response.cases)? Until it does: `bucketwatch respond apply ALERT`.",
    ),
    "holding": _Notice(
        "medium",
        "A revocation holds",
        "Nothing has to be done at once. Find out how the credentials were stolen before the case ends.",
    ),
    "back": _Notice(
        "high",
        "A revoked session has new credentials",
        "Ask the owner. If it is not theirs: `bucketwatch respond plan ALERT --unbounded` denies the session's name"
        " whenever its credentials were issued; then close the way by which the role is assumed.",
    ),
    "changed": _Notice(
        "critical",
        "Somebody changed a revocation, or what is around it",
        "Find the change in CloudTrail (PutRolePolicy, DeleteRolePolicy, PutBucketPolicy, UpdateAssumeRolePolicy). If"
        " nobody of yours made it, a thief has rights on IAM: treat the account as taken. `bucketwatch respond apply"
        " ALERT` puts the denial back.",
    ),
    "unseen": _Notice(
        "high",
        "Nobody can see whether a revocation still stands",
        "Does the responder still have its rights and its trust (`bucketwatch doctor`)? If somebody took them away,"
        " treat the account as taken. `bucketwatch respond list --look --own-credentials` looks with yours.",
    ),
    "unlifted": _Notice(
        "medium",
        "A revocation that has ended could not be taken back",
        "It denies dead credentials only, and fills a quota. Look at the policy, and delete it by hand.",
    ),
    "renewed": _Notice(
        "medium",
        "A revocation was due to end and is kept",
        "Somebody still tries. Find out where from, before it is lifted.",
    ),
    "kept": _Notice(
        "medium",
        "A revocation without an end stands",
        "Undo it when its cause is gone: `bucketwatch respond undo CASE`.",
    ),
    "withdrawn": _Notice(
        "high",
        "The finding behind a revocation was withdrawn",
        "With all records in, the rule was not met. If nothing else speaks for it: `bucketwatch respond undo CASE"
        " --force --reason 'finding withdrawn'`.",
    ),
}


def notice(plan: Mapping[str, Any], what: str, told: str, *, since: int, now: int) -> dict[str, Any]:
    """The alarm about a plan's case. since, now: epoch seconds; what is told twice has another `since`."""
    kind, case, alert = NOTICES[what], str(plan.get("case_id", "")), str(plan.get("alert_id", ""))
    told_of = alarm(
        RULE + what,
        case,
        "opened",
        since=since,
        now=now,
        title=kind.title,
        explanation=told,
        runbook=kind.runbook.replace("CASE", case).replace("ALERT", alert),
        group={"case": case, "session": str(plan.get("session") or "")},
        severity=kind.severity,
    )
    return told_of | ({"plan": dict(plan)} if what in WITH_PLAN else {})
