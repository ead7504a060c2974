"""Several plans → the smallest set of actions that stops all of them. Pure.

A thief who rotates credentials, or fans out over sessions, makes many findings; what a person (or the quota of a role)
can take is one document a role. What another action covers is left out: the session where all of the role's sessions
are denied, the issue time where the name is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from detector.response.action import SHARED, Action
from detector.response.documents import Denial, document, policy_name, sid, statement, weight
from detector.response.guards import ResponsePolicy
from detector.response.identity import ACCOUNT
from detector.response.plan import RevocationPlan, case_of
from detector.response.plan import plan as plan_of

MOST, IN_BOUNDARY = 6_144, 3_072
"""Characters of one document, at most: more does not fit beside what a role, or a boundary, has already."""


def smallest(plans: Sequence[RevocationPlan]) -> tuple[str, tuple[Action, ...], tuple[str, ...]]:
    """The case that stands for all of these plans, its actions, and whom these hit beyond the plans."""
    if len(plans) == 1:
        return plans[0].case_id, plans[0].actions, ()
    case = case_of("\x1f".join(sorted({plan.alert_id for plan in plans})))
    joined: dict[tuple[str, ...], list[Action]] = {}
    for action in (action for plan in plans for action in plan.actions):
        joined.setdefault(_kind(action), []).append(action)
    found = [_joined(case, actions) for actions in joined.values()]
    kept = tuple(one for n, one in enumerate(found) if not any(_spares(found, n, m) for m in range(len(found))))
    asked = [action for plan in plans for action in plan.actions]
    wider = [action.target for action in kept if not any(_names_as_much(action, one) for one in asked)]
    return case, kept, tuple(f"all sessions of {role} so far: there are too many to name each" for role in wider)


def together(plans: Sequence[RevocationPlan]) -> RevocationPlan:
    """Several plans as one, which is a person's to carry out; a single one as it is."""
    if len(plans) == 1:
        return plans[0]
    case, actions, wider = smallest(plans)
    return replace(
        plans[0],
        case_id=case,
        session=", ".join(sorted({one.session for one in plans if one.session})),
        actions=actions,
        why="; ".join(dict.fromkeys(one.why for one in plans)),
        also_hits="; ".join(dict.fromkeys((*wider, *(one.also_hits for one in plans if one.also_hits)))),
        cannot_stop=tuple(dict.fromkeys(text for one in plans for text in one.cannot_stop)),
        steps=tuple(dict.fromkeys(text for one in plans for text in one.steps)),
        may_be_lifted_at=max(one.may_be_lifted_at for one in plans),
        applicable=False,
        refusals=tuple(dict.fromkeys(text for one in plans for text in one.refusals)),
        forbidden=tuple(dict.fromkeys(text for one in plans if one.actions for text in one.forbidden)),
    )


def one_plan(findings: Iterable[Mapping[str, Any]], *, planned_at: int) -> dict[str, Any] | None:
    """One plan against everybody whom these findings name, each session once; None if they name nobody.

    It is made for a person with rights of their own: wherever the sessions are, as if the operator allowed it.
    """
    by_session: dict[str, Mapping[str, Any]] = {}
    for one in findings:
        if who := one.get("principal"):
            by_session.setdefault(str(who.get("principal_id") or who.get("session") or who.get("role")), one)
    told = [one["principal"].get("account") for one in by_session.values()]
    policy = ResponsePolicy(accounts=frozenset(a for a in told if isinstance(a, str) and ACCOUNT.fullmatch(a)))
    made = [plan_of(one, planned_at=planned_at, settings=policy) for one in by_session.values()]
    return together(made).to_json() if made else None


def _spares(found: Sequence[Action], number: int, other: int) -> bool:
    """Whether another of these makes this one needless; of two that cover each other the first stays."""
    one, more = found[number], found[other]
    return _covered(one, more) and not (number < other and _covered(more, one))


def _names_as_much(action: Action, asked: Action) -> bool:
    """Whether somebody asked for a denial of this kind there: one without names only if all of the role was meant."""
    return action.target == asked.target and (bool(action.denial.user_ids) or not asked.denial.user_ids)


def _kind(action: Action) -> tuple[str, ...]:
    """Actions alike in this can be one."""
    denial = action.denial
    how = (str(bool(denial.user_ids)), repr(denial._replace(user_ids=(), until=denial.until and 0)))
    return (action.writes, action.target, action.name if action.writes == "access_key" else "", *how)


def _joined(case: str, actions: Sequence[Action]) -> Action:
    first = actions[0]
    if first.writes == "access_key":
        return first
    ids = tuple(sorted({one for action in actions for one in action.denial.user_ids}))
    untils = [action.denial.until for action in actions if action.denial.until is not None]
    denial = first.denial._replace(user_ids=ids, until=max(untils, default=None))
    made = _written(first, case, denial)
    if weight(made.document) > (IN_BOUNDARY if first.writes == "boundary" else MOST) and denial.until is not None:
        made = _written(first, case, denial._replace(user_ids=()))  # too many names: a person has to decide
    return made


def _written(action: Action, case: str, denial: Denial) -> Action:
    """The action with another denial."""
    if action.writes in SHARED:
        bucket = action.target if action.writes == "bucket_policy" else ""
        return replace(action, name=sid(case), denial=denial, document=statement(case, denial, bucket))
    return replace(action, name=policy_name(case), denial=denial, document=document(case, denial))


def _covered(action: Action, other: Action) -> bool:
    alike = action is not other and (action.writes, action.target) == (other.writes, other.target)
    return alike and action.writes != "access_key" and other.denial.covers(action.denial)
