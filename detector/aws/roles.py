"""Carries revocation plans out in IAM: one inline policy a case on the session's role.

Rules of this file
- `iam:PutRolePolicy` can grant as well as deny. A plan is data that may have lain in a file: only the very document
  that `response.plan` writes for its session, time and case is ever put, on the very role (ARN and id) the log named.
- What is there is read before and after. A policy of our name that we did not write is never touched.
- Whether a plan may be applied without a person (`applicable`) is the caller's question, answered in `response.plan`.

Source: IAM API reference, PutRolePolicy, "Quotas": 10,240 characters of inline policies a role, white space aside.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from detector.aws.session import OtherAccount, client, code_of, edge
from detector.core.times import epoch
from detector.errors import EdgeError
from detector.response.means import USER_ID, role_of
from detector.response.plan import REGIONS, policy_name, policy_text, session_document
from detector.source import Applied

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

QUOTA = 10_240
READ_BACK = 4
"""Times a policy just written is looked for: IAM shows it to readers after a while."""

REFUSALS = frozenset({"LimitExceeded", "UnmodifiableEntity"})


class _RefusedError(Exception):
    """The plan is not carried out, and why."""


class IamResponder:
    """Applies plans and takes them back.

    accounts: for an account other than the daemon's own, the role to assume there.
    """

    def __init__(
        self,
        accounts: Mapping[str, OtherAccount | None] | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._accounts, self._sleep = dict(accounts or {}), sleep

    def apply(self, plan: Mapping[str, Any]) -> Applied:
        """Deny the plan's session; safe to repeat. Never raises for what AWS refuses: the answer says so."""
        return self._attempt(plan, self._apply)

    def remove(self, plan: Mapping[str, Any]) -> Applied:
        """Take the plan's policy back, if it is exactly what was written."""
        return self._attempt(plan, self._remove)

    def _attempt(self, plan: Mapping[str, Any], step: Callable[[IAMClient, Mapping[str, Any]], Applied]) -> Applied:
        case = str(plan.get("case_id", ""))
        try:
            _checked(plan)
            return step(self._iam(plan), plan)
        except _RefusedError as why:
            return Applied(case, "refused", str(why))
        except EdgeError as error:
            return Applied(case, "refused" if code_of(error) in REFUSALS else "failed", str(error))

    def _iam(self, plan: Mapping[str, Any]) -> IAMClient:
        # made anew each time: credentials of another account end after an hour, revocations are rare
        iam: IAMClient = client("iam", region=REGIONS.get(plan["partition"]), other=self._accounts.get(plan["account"]))
        return iam

    def _apply(self, iam: IAMClient, plan: Mapping[str, Any]) -> Applied:
        case, role, document = plan["case_id"], plan["role_name"], plan["document"]
        _same_role(iam, plan)
        standing = _policies(iam, role)
        ours = standing.pop(plan["policy_name"], None)
        if ours is not None:
            until = _covers_until(ours, plan)
            if until is None:
                raise _RefusedError(f"{plan['policy_name']} on {role} was changed by somebody else: look at it first")
            if until >= (epoch(plan["planned_at"]) or 0):  # an earlier date would set stolen credentials free again
                return Applied(case, "already", f"{plan['policy_name']} stands on {role}")
        _fits(standing, document, role)
        with edge("deny the session", where=plan["role_arn"]):
            iam.put_role_policy(RoleName=role, PolicyName=plan["policy_name"], PolicyDocument=policy_text(document))
        return self._proven(iam, plan)

    def _proven(self, iam: IAMClient, plan: Mapping[str, Any]) -> Applied:
        """What a reader sees after the write. IAM needs a while (up to minutes) until every request feels it."""
        for attempt in range(READ_BACK):
            if _policy(iam, plan["role_name"], plan["policy_name"]) == plan["document"]:
                return Applied(plan["case_id"], "applied", f"{plan['policy_name']} stands on {plan['role_name']}")
            self._sleep(0.5 * 2**attempt)
        return Applied(plan["case_id"], "failed", "IAM took the policy but does not show it: look at the role")

    def _remove(self, iam: IAMClient, plan: Mapping[str, Any]) -> Applied:
        case, role, name = plan["case_id"], plan["role_name"], plan["policy_name"]
        standing = _policy(iam, role, name)
        if standing is None:
            return Applied(case, "already", f"{name} does not stand on {role}")
        if standing != plan["document"]:
            raise _RefusedError(f"{name} on {role} is not what this plan wrote: look at it and delete it by hand")
        with edge("take the denial back", where=plan["role_arn"]):
            iam.delete_role_policy(RoleName=role, PolicyName=name)
        return Applied(case, "applied", f"{name} was taken from {role}")


def _checked(plan: Mapping[str, Any]) -> None:
    """Refuse whatever `response.plan` would not have written: a plan may have been edited on its way."""
    case, user_id, planned_at = (
        str(plan.get("case_id", "")),
        str(plan.get("principal_id", "")),
        epoch(plan.get("planned_at")),
    )
    role = role_of(plan.get("role_arn"))
    if plan.get("means") != "role_session_policy":
        raise _RefusedError("the plan has no means IAM can carry out: see its steps")
    if role is None or planned_at is None or not USER_ID.fullmatch(user_id) or not case.isalnum():
        raise _RefusedError("the plan does not name a role, a session, a time and a case as bucketwatch writes them")
    if plan.get("document") != session_document(case, user_id, planned_at):
        raise _RefusedError("the plan's policy is not the one bucketwatch writes for its session: it was edited")
    told = [plan.get(name) for name in ("role_name", "account", "partition", "policy_name")]
    if told != [role.name, role.account, role.partition, policy_name(case)]:
        raise _RefusedError("the plan's role, account or policy name contradict each other: it was edited")


def _same_role(iam: IAMClient, plan: Mapping[str, Any]) -> None:
    """A role of the same name in another account, or made anew since, is somebody else's."""
    with edge("read the role", where=plan["role_arn"]):
        role = iam.get_role(RoleName=plan["role_name"])["Role"]
    if role["Arn"] != plan["role_arn"]:
        raise _RefusedError(f"these credentials reach {role['Arn']}, not {plan['role_arn']}: see response.accounts")
    if role["RoleId"] != plan["principal_id"].partition(":")[0]:
        raise _RefusedError("the role was deleted and made anew since: the session's credentials are dead already")


def _policies(iam: IAMClient, role: str) -> dict[str, Any]:
    """The role's inline policies by name."""
    with edge("list the role's inline policies", where=role):
        pages = iam.get_paginator("list_role_policies").paginate(RoleName=role)
        names = [name for page in pages for name in page["PolicyNames"]]
    found = {name: _policy(iam, role, name) for name in names}
    return {name: document for name, document in found.items() if document is not None}


def _policy(iam: IAMClient, role: str, name: str) -> Any:
    """One inline policy's document, None if there is none (any more)."""
    try:
        with edge("read an inline policy", where=f"{role}/{name}"):
            return iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    except EdgeError as error:
        if code_of(error) == "NoSuchEntity":
            return None
        raise


def _covers_until(standing: Any, plan: Mapping[str, Any]) -> int | None:
    """Up to when a standing policy denies the plan's session, if it is this case's own; None if it is not."""
    try:
        stamp = epoch(standing["Statement"][0]["Condition"]["DateLessThanEquals"]["aws:TokenIssueTime"])
    except (KeyError, IndexError, TypeError):
        return None
    if stamp is None or standing != session_document(plan["case_id"], plan["principal_id"], stamp):
        return None
    return stamp


def _fits(standing: Mapping[str, Any], document: Any, role: str) -> None:
    used, needed = sum(map(_weight, standing.values())), _weight(document)
    if used + needed > QUOTA:
        raise _RefusedError(
            f"{role} holds {used:,} characters of inline policies, the denial needs {needed:,}, IAM allows {QUOTA:,}."
            " Take back old cases (policies named bucketwatch-*, 12 hours after they were written), or move an inline"
            " policy of the role to a managed one"
        )


def _weight(document: Any) -> int:
    """Characters as IAM counts them: white space is free."""
    return sum(not c.isspace() for c in json.dumps(document, separators=(",", ":"), ensure_ascii=False))
