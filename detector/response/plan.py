"""A finding → what to do about its session, as data a person can read before anything is done. Pure.

Rules of this file
- A plan denies one session and nobody else: `aws:userid` is that session's id, and `aws:TokenIssueTime` lets what is
  issued after the plan through, so that the same name can work again.
- A plan may be carried out by itself (`applicable`) only if not one of `GUARDS` objects; all objections are listed.
- Text from a log reaches a command or a policy only if AWS itself could have written it (see `means.USER_ID`).

Source: IAM user guide, "Revoke IAM role temporary security credentials"; "AWS global condition context keys".
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from detector.core.principal import fingerprint
from detector.core.times import epoch, iso
from detector.response.means import SESSION_NAME, USER_ID, Identity, Kind, Means, Role, kind_of
from detector.response.plain import printable

LONGEST_SESSION = 12 * 3600
"""Seconds a role session lives at most: after that the deny holds nothing any more and only fills the role's quota."""

FIRST_DAY = 86_400
OWN_ROLES = ("bucketwatch*", "detector-*", "*breakglass*", "*break-glass*")
"""Roles no plan is applied to by itself: our own (a forged log could turn us off) and the way in for emergencies."""

WITHDRAWABLE = frozenset({"baseline", "first_seen", "unaudited", "silence"})
"""Kinds of finding that are opened on part of the data and may be withdrawn."""

REGIONS = {"aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
"""Where IAM of a partition is reached; in `aws` it needs no region."""

INSTANCE = re.compile(r"i-[0-9a-f]{8,17}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ResponsePolicy:
    """What the operator allows. Times in seconds; `enforcing_since`: epoch second at which enforce mode began."""

    mode: Literal["off", "plan", "enforce"] = "plan"
    max_age: int = 1800
    armed: bool = False
    accounts: frozenset[str] = frozenset()
    enforcing_since: int = 0
    protected_roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RevocationPlan:
    """What would be done to whom, why, what else it hits, and what it cannot stop.

    `document`: the exact policy, or None where `means` is `none` and only `steps` for a person remain.
    `commands`: the first applies the plan, the second takes it back. Times in epoch seconds.
    """

    case_id: str
    alert_id: str
    rule_id: str
    planned_at: int
    means: Means
    session: str
    principal_id: str
    account: str
    partition: str
    role_arn: str
    role_name: str
    policy_name: str
    document: dict[str, Any] | None
    why: str
    also_hits: str
    cannot_stop: tuple[str, ...]
    steps: tuple[str, ...]
    commands: tuple[str, ...]
    may_be_lifted_at: int
    applicable: bool
    refusals: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The plan as it stands in an alert, in the journal and in a file."""
        return {
            "case_id": self.case_id,
            "alert_id": self.alert_id,
            "rule_id": self.rule_id,
            "planned_at": iso(self.planned_at),
            "means": self.means,
            "session": self.session,
            "principal_id": self.principal_id,
            "account": self.account,
            "partition": self.partition,
            "role_arn": self.role_arn,
            "role_name": self.role_name,
            "policy_name": self.policy_name,
            "document": self.document,
            "why": self.why,
            "also_hits": self.also_hits,
            "cannot_stop": list(self.cannot_stop),
            "steps": list(self.steps),
            "commands": list(self.commands),
            "may_be_lifted_at": iso(self.may_be_lifted_at),
            "applicable": self.applicable,
            "refusals": list(self.refusals),
        }


@dataclass(frozen=True, slots=True)
class _Case:
    """All a guard may look at."""

    finding: Mapping[str, Any]
    planned_at: int
    settings: ResponsePolicy
    identity: Identity
    kind: Kind

    @property
    def role(self) -> Role | None:
        return self.identity.role


def plan(finding_json: Mapping[str, Any], *, planned_at: int, settings: ResponsePolicy) -> RevocationPlan:
    """The plan against a finding's session.

    finding_json: the contract's finding or alert, with the rule's own `respond` (and `stage`, if staged) beside it.
    planned_at: epoch second; credentials issued up to then are denied, later ones are not.
    """
    identity = Identity(finding_json.get("principal") or {}, settings.accounts)
    kind = kind_of(identity)
    case = _Case(finding_json, planned_at, settings, identity, kind)
    alert_id = _alert_id(finding_json)
    case_id = case_of(alert_id)
    role = identity.role if kind.means == "role_session_policy" else None
    document = session_document(case_id, identity.user_id, planned_at) if role else None
    refusals = tuple(guard.text for guard in GUARDS if guard.objects(case))
    return RevocationPlan(
        case_id=case_id,
        alert_id=alert_id,
        rule_id=str(finding_json.get("rule_id") or ""),
        planned_at=planned_at,
        means=kind.means,
        session=identity.session,
        principal_id=identity.user_id,
        account=identity.account,
        partition=identity.partition,
        role_arn=role.arn if role else "",
        role_name=role.name if role else "",
        policy_name=policy_name(case_id) if role else "",
        document=document,
        why=_why(case),
        also_hits=_also_hits(identity, planned_at) if role else "",
        cannot_stop=_cannot_stop(identity, planned_at) if role else (),
        steps=kind.steps(identity),
        commands=_commands(role, policy_name(case_id), document) if role and document else (),
        may_be_lifted_at=planned_at + LONGEST_SESSION,
        applicable=role is not None and not refusals,
        refusals=refusals,
    )


def case_of(alert_id: str) -> str:
    """The case an alert's revocation is filed under: the same for every alert of one finding."""
    return f"{fingerprint(('case', alert_id)):016x}"


def policy_name(case_id: str) -> str:
    """One policy a case: two cases never overwrite each other, and taking one back leaves the other."""
    return f"bucketwatch-{case_id}"


def session_document(case_id: str, user_id: str, planned_at: int) -> dict[str, Any]:
    """The policy that denies everything to one session's credentials issued up to `planned_at` (epoch seconds)."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": f"BucketwatchCase{case_id}",
                "Effect": "Deny",
                "Action": "*",
                "Resource": "*",
                "Condition": {
                    "StringEquals": {"aws:userid": user_id},
                    "DateLessThanEquals": {"aws:TokenIssueTime": iso(planned_at)},
                },
            }
        ],
    }


def policy_text(document: Mapping[str, Any]) -> str:
    """A policy as it is sent: no white space, ASCII."""
    return json.dumps(document, separators=(",", ":"))


def _alert_id(finding: Mapping[str, Any]) -> str:
    # a line of findings.jsonl has no alert id: its finding id names the case just as stably
    return str(finding.get("alert_id") or finding.get("finding_id") or "")


# --- guards: what speaks against applying a plan without a person


class Guard(NamedTuple):
    """One reason not to act alone."""

    name: str
    objects: Callable[[_Case], bool]
    text: str


def _not_armed_yet(case: _Case) -> bool:
    return not case.settings.armed and case.settings.enforcing_since + FIRST_DAY > case.planned_at


def _too_old(case: _Case) -> bool:
    last = epoch(case.finding.get("last_at"))
    return last is None or case.planned_at - last > case.settings.max_age


def _protected(case: _Case) -> bool:
    if case.role is None:
        return False
    patterns = [pattern.lower() for pattern in (*OWN_ROLES, *case.settings.protected_roles)]
    names = (case.role.name.lower(), case.role.arn.lower(), f"{case.role.path}{case.role.name}".lower())
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _not_asked_for(case: _Case) -> bool:
    respond = case.finding.get("respond")
    return not isinstance(respond, (list, tuple)) or "revoke" not in respond


GUARDS = (
    Guard(
        "rule",
        _not_asked_for,
        "the rule does not say `respond: [revoke]`",
    ),
    Guard("staged", lambda c: c.finding.get("stage", "live") != "live", "the rule is staged: it is on trial"),
    Guard("mode", lambda c: c.settings.mode != "enforce", "response.mode is not `enforce`"),
    Guard("armed", _not_armed_yet, "enforce mode is younger than a day and response.armed is not set"),
    Guard("age", _too_old, "the last record of the finding is older than response.max_age"),
    Guard("late", lambda c: bool(c.finding.get("late")), "the finding came of late records: the session may be over"),
    Guard("withdrawn", lambda c: c.finding.get("state") == "withdrawn", "the finding was withdrawn"),
    Guard(
        "severity",
        lambda c: c.finding.get("severity") not in ("medium", "high", "critical"),
        "the finding's severity is info or low",
    ),
    Guard(
        "kind",
        lambda c: c.finding.get("kind") in WITHDRAWABLE,
        "a finding of this kind may be withdrawn when all data is known",
    ),
    Guard("case", lambda c: not _alert_id(c.finding), "the finding has no id: the revocation could not be taken back"),
    Guard("means", lambda c: c.kind.means == "none", "no policy can revoke this identity (see `why`)"),
    Guard(
        "account",
        lambda c: c.identity.account not in c.settings.accounts,
        "the account is not in response.accounts",
    ),
    Guard(
        "two accounts",
        lambda c: c.role is not None and c.identity.principal.get("account") not in (None, c.role.account),
        "the session's account is not the role's: the log may be forged",
    ),
    Guard(
        "protected", _protected, "the role is protected (bucketwatch's own, break-glass, or response.protected_roles)"
    ),
    Guard(
        "service-linked",
        lambda c: c.role is not None and c.role.path.startswith("/aws-service-role/"),
        "the role is service-linked",
    ),
    Guard(
        "Identity Center",
        lambda c: c.role is not None and (c.role.path.startswith("/aws-reserved/") or "AWSReservedSSO_" in c.role.name),
        "the role belongs to IAM Identity Center",
    ),
    Guard(
        "session name",
        lambda c: SESSION_NAME.fullmatch(c.identity.session_name) is None,
        "the session name is not one AWS allows (2 to 64 of letters, digits, _+=,.@-): the log may be forged",
    ),
    Guard(
        "user id",
        lambda c: USER_ID.fullmatch(c.identity.user_id) is None,
        "the principal id is not `AROA…:name`; wildcards and policy variables never reach a policy",
    ),
    Guard(
        "agreement",
        lambda c: not c.identity.is_real_session,
        "the session's name, id and ARN do not agree: the log may be forged",
    ),
)


# --- what a person reads and runs


def _why(case: _Case) -> str:
    finding = case.finding
    title = printable(finding.get("title") or finding.get("rule_id") or "a finding", 200)
    return f"{title}: {case.kind.why}"


def _also_hits(identity: Identity, planned_at: int) -> str:
    return (
        f"every other set of credentials issued under the session name {identity.session_name} of this role up to"
        f" {iso(planned_at)}: whoever shares the name (a Lambda function, a task, a second login) is cut off with it"
    )


def _cannot_stop(identity: Identity, planned_at: int) -> tuple[str, ...]:
    renewed = (
        "an EC2 instance fetches new credentials by itself: isolate the instance too; " if _instance(identity) else ""
    )
    return (
        f"{renewed}the role being assumed again under the same name after {iso(planned_at)}",
        "sessions of other roles that were assumed from this one (up to one hour): look for its AssumeRole events",
        "data that was already copied, and downloads already under way",
    )


def _instance(identity: Identity) -> bool:
    return INSTANCE.fullmatch(identity.session_name) is not None


def _commands(role: Role, name: str, document: Mapping[str, Any]) -> tuple[str, str]:
    region = ["--region", REGIONS[role.partition]] if role.partition in REGIONS else []
    # `=` because a role's name may begin with a dash
    target = [f"--role-name={role.name}", "--policy-name", name]
    put = ["aws", "iam", "put-role-policy", *region, *target, "--policy-document", policy_text(document)]
    return shlex.join(put), shlex.join(["aws", "iam", "delete-role-policy", *region, *target])
