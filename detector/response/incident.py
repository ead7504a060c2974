"""Several plans → the smallest set of actions that stops all of them. Pure.

A thief who rotates credentials, or fans out over sessions, makes many findings; what a person (or the quota of a role)
can take is one document a role. What another action covers is left out: the session where all of the role's sessions
are denied, the issue time where the name is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from detector.response.action import Action
from detector.response.documents import Denial, document, policy_name, sid, statement, weight
from detector.response.plan import RevocationPlan, case_of

MOST = 6_144
"""Characters of one document, at most: more does not fit beside what a role has already."""


def smallest(plans: Sequence[RevocationPlan]) -> tuple[str, tuple[Action, ...], tuple[str, ...]]:
    """The case that stands for all of these plans, its actions, and whom these hit beyond the plans."""
    if len(plans) == 1:
        return plans[0].case_id, plans[0].actions, ()
    case = case_of("\x1f".join(sorted({plan.alert_id for plan in plans})))
    joined: dict[tuple[str, ...], list[Action]] = {}
    for action in (action for plan in plans for action in plan.actions):
        same = joined.setdefault(_kind(action), [])
        same.append(action)
    found = [_joined(case, actions) for actions in joined.values()]
    kept = tuple(action for action in found if not any(_covered(action, other) for other in found))
    asked = {(action.target, bool(action.denial.user_ids)) for plan in plans for action in plan.actions}
    wider = [a.target for a in kept if a.writes == "role_policy" and (a.target, bool(a.denial.user_ids)) not in asked]
    return case, kept, tuple(f"all sessions of {role} so far: there are too many to name each" for role in wider)


def _kind(action: Action) -> tuple[str, ...]:
    """Actions alike in this can be one."""
    denial = action.denial
    how = (str(bool(denial.user_ids)), str(denial.until is None), repr(denial.outside))
    return (action.writes, action.target, action.name if action.writes == "access_key" else "", *how)


def _joined(case: str, actions: Sequence[Action]) -> Action:
    first = actions[0]
    if first.writes == "access_key":
        return first
    ids = tuple(sorted({one for action in actions for one in action.denial.user_ids}))
    untils = [action.denial.until for action in actions if action.denial.until is not None]
    denial = Denial(ids, max(untils, default=None), first.denial.outside, first.denial.presigned_after)
    bucket = first.target if first.writes == "bucket_policy" else ""
    if first.writes in ("bucket_policy", "boundary"):
        return replace(first, name=sid(case), denial=denial, document=statement(case, denial, bucket))
    made = document(case, denial)
    if weight(made) > MOST:  # too many names: all of the role's sessions so far, which a person has to decide
        denial = Denial(until=denial.until)
        made = document(case, denial) if denial.until is not None else made
    return replace(first, name=policy_name(case), denial=denial, document=made)


def _covered(action: Action, other: Action) -> bool:
    alike = action is not other and (action.writes, action.target) == (other.writes, other.target)
    return alike and action.writes != "access_key" and other.denial.covers(action.denial)
