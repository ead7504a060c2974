"""What speaks against carrying a plan out: without a person, or at all. Pure.

Whatever a rule says, these are asked. Each objection says why, and what a person can do instead. Those that are
`absolute` also hold for a person at the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from detector.core.principal import DRILL_ACCOUNT
from detector.core.rule import KINDS
from detector.core.times import epoch
from detector.response.documents import Networks
from detector.response.identity import SESSION_NAME, USER_ID, Identity, Role, is_identity_center
from detector.response.means import Kind

FIRST_DAY = 86_400
OWN_ROLES = ("bucketwatch*", "detector-*", "*breakglass*", "*break-glass*")
"""Roles no plan is applied to: our own (a forged log could turn us off) and the way in for emergencies."""

WITHDRAWABLE = frozenset(kind for kind, rule in KINDS.items() if rule.withdrawable)
"""Kinds of finding that are opened on part of the data and may be withdrawn."""

ON_ROLES = frozenset({"credential_set", "session_name", "off_host", "role_sessions", "person"})
"""Means that write to the session's role."""


@dataclass(frozen=True, slots=True)
class ResponsePolicy:
    """What the operator allows. Times in seconds; `enforcing_since`: epoch second at which enforce mode began.

    accounts: where IAM may be written. buckets: globs of buckets whose policy may be, and the account that has them.
    workloads: see `Identity`. own_roles: ARNs of the roles that detector and responder run as. boundaries: by account
    the ARN of the permissions boundary that is written there instead of roles.
    """

    mode: Literal["off", "plan", "enforce"] = "plan"
    max_age: int = 1800
    armed: bool = False
    accounts: frozenset[str] = frozenset()
    enforcing_since: int = 0
    protected_roles: tuple[str, ...] = ()
    own_roles: frozenset[str] = frozenset()
    buckets: Mapping[str, str] = field(default_factory=dict)
    workloads: tuple[tuple[str, Networks], ...] = ()
    boundaries: Mapping[str, str] = field(default_factory=dict)

    def account_of(self, bucket: str) -> str:
        """The account in which this bucket's policy may be written; empty if it may not."""
        return next((account for glob, account in self.buckets.items() if fnmatchcase(bucket, glob)), "")


@dataclass(frozen=True, slots=True)
class Case:
    """All a guard may look at. `writable`: whether the plan writes only where the operator allows. `presigned_after`:
    age of signatures in seconds, for signed URLs.
    """

    finding: Mapping[str, Any]
    planned_at: int
    settings: ResponsePolicy
    identity: Identity
    kind: Kind
    writable: bool = True
    presigned_after: int = 0
    unbounded: bool = False

    @property
    def role(self) -> Role | None:
        """The session's role."""
        return self.identity.role

    @property
    def alert_id(self) -> str:
        """A line of findings.jsonl has no alert id: its finding id names the case just as stably."""
        return str(self.finding.get("alert_id") or self.finding.get("finding_id") or "")


class Guard(NamedTuple):
    """One reason not to act alone. instead: what a person can do. absolute: not even a person's command does it."""

    name: str
    objects: Callable[[Case], bool]
    text: str
    instead: str
    absolute: bool = False


def objections(case: Case, *, absolute: bool = False) -> tuple[str, ...]:
    """What speaks against it, with what to do instead: all of it, or only what is absolute."""
    asked = (guard for guard in GUARDS if guard.absolute or not absolute)
    return tuple(f"{guard.text}. {guard.instead}" for guard in asked if guard.objects(case))


def _not_armed_yet(case: Case) -> bool:
    return not case.settings.armed and case.settings.enforcing_since + FIRST_DAY > case.planned_at


def _too_old(case: Case) -> bool:
    last = epoch(case.finding.get("last_at"))
    return last is None or case.planned_at - last > case.settings.max_age


def _protected(case: Case) -> bool:
    """By name, by path and name, or by ARN; users as roles, and all roles of a person."""
    identity = case.identity
    arns = [identity.session] if ":user/" in identity.session else [role.arn for role in identity.roles]
    arns += [case.role.arn] if case.role else []
    if ":assumed-role/" in identity.session:  # what is not ours to write has no role's ARN
        arns.append(identity.session.rsplit("/", 1)[0])
    patterns = [pattern.lower() for pattern in (*OWN_ROLES, *case.settings.protected_roles)]
    paths = [arn.lower().rsplit(":", 1)[-1].partition("/")[2] for arn in arns]
    names = {one for path in paths for one in (path.rsplit("/", 1)[-1], f"/{path}")} | {arn.lower() for arn in arns}
    return bool(case.settings.own_roles.intersection(arns)) or any(
        fnmatchcase(name, pattern) for name in names for pattern in patterns
    )


def _drilled(case: Case) -> bool:
    """By any of its names: whoever is marked anywhere is no real session."""
    named = (case.identity.principal.get("account"), case.identity.session, case.role and case.role.arn)
    return any(name == DRILL_ACCOUNT or f":{DRILL_ACCOUNT}:" in str(name) for name in named if name)


def _not_asked_for(case: Case) -> bool:
    respond = case.finding.get("respond")
    return not isinstance(respond, (list, tuple)) or "revoke" not in respond


def _withdrawable(case: Case) -> bool:
    return case.finding.get("kind") in WITHDRAWABLE and case.finding.get("accept_withdrawable") is not True


def _not_from_cloudtrail(case: Case) -> bool:
    logs = (case.finding.get("evidence") or {}).get("logs") or ()
    return set(map(str, logs)) != {"cloudtrail"}


def _self_told(case: Case) -> bool:
    return "access_audit" in map(str, (case.finding.get("evidence") or {}).get("logs") or ())


def _on_role(case: Case) -> bool:
    return case.kind.means in ON_ROLES


def _named(case: Case) -> bool:
    """Whether the means rests on the session's id."""
    return _on_role(case) and case.kind.means not in ("role_sessions", "person")


def _two_at_once(case: Case) -> bool:
    return case.kind.means in ("credential_set", "session_name", "bucket_policy") and (
        len(case.identity.nets) > 1 or len(case.identity.issue_times) > 1
    )


WHOLE = frozenset({"session", "role"})
"""Groups that hold all that the session did, as far as the rule looks."""

RULES = "Say so in the rule, or carry the plan out by hand (`bucketwatch respond apply`)"
BY_HAND = "Read the plan, and carry it out by hand if it is right (`bucketwatch respond apply`)"
STEPS = "Do what the plan's steps say"
LOOK = "Check the log files (aws cloudtrail validate-logs) before anything is denied"

GUARDS = (
    Guard("rule", _not_asked_for, "the rule does not say `respond: [revoke]`", RULES),
    Guard("staged", lambda c: c.finding.get("stage", "live") != "live", "the rule is staged: it is on trial", BY_HAND),
    Guard("mode", lambda c: c.settings.mode != "enforce", "response.mode is not `enforce`", BY_HAND),
    Guard(
        "armed",
        _not_armed_yet,
        "enforce mode is younger than a day and response.armed is not set: this is what it would have done",
        BY_HAND,
    ),
    Guard("age", _too_old, "the last record of the finding is older than response.max_age", BY_HAND),
    Guard(
        "late",
        lambda c: bool(c.finding.get("late")),
        "the finding came of late records: the session may be over",
        BY_HAND,
    ),
    Guard(
        "log",
        _not_from_cloudtrail,
        "the finding does not rest on CloudTrail alone: in other logs times and identities are not bound to each other",
        "Find the session in CloudTrail, and plan from there",
    ),
    Guard(
        "withdrawn",
        lambda c: c.finding.get("state") == "withdrawn",
        "the finding was withdrawn",
        "Nothing is to be done; take back what was done for it (`bucketwatch respond undo`)",
    ),
    Guard(
        "severity",
        lambda c: c.finding.get("severity") not in ("medium", "high", "critical"),
        "the finding's severity is info or low",
        RULES,
    ),
    Guard(
        "kind",
        _withdrawable,
        "a finding of this kind may be withdrawn when all data is known",
        "Say `accept_withdrawable: true` in the rule, or carry the plan out by hand",
    ),
    Guard(
        "two at once",
        _two_at_once,
        "the session's name is in use from two networks, or with credentials of two issue times: one of them may be"
        " the owner",
        "Ask the owner which is theirs (both stand in the plan), then carry it out by hand",
    ),
    Guard(
        "workload",
        lambda c: c.kind.means == "session_name" or (c.kind.means == "bucket_policy" and bool(c.identity.workload)),
        "the deny would take a workload down with the thief",
        STEPS,
    ),
    Guard(
        "endpoint",
        lambda c: c.kind.means == "off_host" and c.identity.unplaced,
        "reads came through a VPC endpoint that response.workloads does not name: it may be the workload's own",
        "Name the endpoint there, or ask whose it is",
    ),
    Guard(
        "part",
        lambda c: bool(set(c.finding.get("group") or ()) - WHOLE),
        "the finding is about a part of what the session did (its group): others of the name are not seen in it",
        BY_HAND,
    ),
    Guard(
        "unbounded",
        lambda c: c.unbounded,
        "the denial has no end of its own",
        BY_HAND,
    ),
    Guard(
        "others",
        lambda c: c.kind.means in ("role_sessions", "presigned_urls", "person"),
        "the deny hits others than the one session",
        STEPS,
    ),
    Guard(
        "audit log",
        _self_told,
        "the finding rests on the application's audit log: whoever writes it says who it was, and could frame anybody",
        "Find the session in CloudTrail, and plan from a finding there",
        absolute=True,
    ),
    Guard(
        "case",
        lambda c: not c.alert_id,
        "the finding has no id: the revocation could not be taken back",
        "Plan from a finding or an alert of bucketwatch",
        absolute=True,
    ),
    Guard(
        "drill",
        _drilled,
        "the finding is a drill's (account 000000000000, which AWS gives to nobody)",
        "Nothing is to be done: nobody stole anything",
        absolute=True,
    ),
    Guard("means", lambda c: c.kind.means == "none", "no policy can revoke this identity (see `why`)", STEPS, True),
    Guard(
        "place",
        lambda c: not c.writable,
        "it would be written where the operator has not allowed it (response.accounts, response.buckets)",
        "Name the account or the bucket there, or run the plan's commands with rights of your own",
        absolute=True,
    ),
    Guard(
        "two accounts",
        lambda c: c.role is not None and c.identity.principal.get("account") not in (None, c.role.account),
        "the session's account is not the role's: the log may be forged",
        LOOK,
        absolute=True,
    ),
    Guard(
        "protected",
        _protected,
        "the role or user is protected (bucketwatch's own, break-glass, or response.protected_roles)",
        "Look who uses it: if it is a thief, this is the worst case, and people's work",
        absolute=True,
    ),
    Guard(
        "service-linked",
        lambda c: c.role is not None and _on_role(c) and c.role.path.startswith("/aws-service-role/"),
        "the role is service-linked",
        STEPS,
        absolute=True,
    ),
    Guard(
        "Identity Center",
        lambda c: c.role is not None and _on_role(c) and is_identity_center(c.role),
        "the role belongs to IAM Identity Center",
        STEPS,
        absolute=True,
    ),
    Guard(
        "session name",
        lambda c: _named(c) and SESSION_NAME.fullmatch(c.identity.session_name) is None,
        "the session name is not one AWS allows (2 to 64 of letters, digits, _+=,.@-): the log may be forged",
        LOOK,
        absolute=True,
    ),
    Guard(
        "user id",
        lambda c: _named(c) and USER_ID.fullmatch(c.identity.user_id) is None,
        "the principal id is not `AROA…:name`; wildcards and policy variables never reach a policy",
        LOOK,
        absolute=True,
    ),
    Guard(
        "agreement",
        lambda c: _named(c) and not c.identity.is_real_session,
        "the session's name, id and ARN do not agree: the log may be forged",
        LOOK,
        absolute=True,
    ),
)
