"""Which means there is against an identity: the table of what IAM can revoke and what a person has to do instead. Pure.

`KINDS` is read from the top, the first that fits counts. Only its last-but-one row can be revoked by bucketwatch.

Source: IAM user guide, "Revoke IAM role temporary security credentials", "AWS global condition context keys",
"Using service-linked roles"; IAM Identity Center user guide, "Revoke active IAM role sessions".
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from detector.response.plain import printable

Means = Literal["role_session_policy", "none"]

SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
USER_ID = re.compile(r"AROA[A-Z0-9]{4,124}:([\w+=,.@-]{2,64})", re.ASCII)
"""`aws:userid` of a role session. What is outside this alphabet is no session name: wildcards, policy variables."""

ROLE_ARN = re.compile(r"arn:(aws[a-z0-9-]*):iam::(\d{12}):role(/(?:[\x21-\x7e]*/)?)([\w+=,.@-]{1,64})", re.ASCII)
ACCESS_KEY = re.compile(r"A[A-Z0-9]{15,127}", re.ASCII)
USER_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)


class Role(NamedTuple):
    """A role as its ARN names it. `path` begins and ends with a slash."""

    arn: str
    partition: str
    account: str
    path: str
    name: str


def role_of(arn: object) -> Role | None:
    """The role of an IAM role ARN; None for anything else, the session's own ARN (which drops the path) among it."""
    match = ROLE_ARN.fullmatch(arn) if isinstance(arn, str) else None
    return Role(match[0], match[1], match[2], match[3], match[4]) if match else None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a finding is about, as its `principal` says, and the accounts in which IAM may be written."""

    principal: Mapping[str, Any]
    accounts: frozenset[str]

    @property
    def type(self) -> str:
        return str(self.principal.get("type") or "")

    @property
    def session(self) -> str:
        return str(self.principal.get("session") or "")

    @property
    def user_id(self) -> str:
        return str(self.principal.get("principal_id") or "")

    @property
    def session_name(self) -> str:
        return self.user_id.partition(":")[2] or str(self.principal.get("session_name") or "")

    @property
    def role(self) -> Role | None:
        return role_of(self.principal.get("role"))

    @property
    def account(self) -> str:
        return self.role.account if self.role else str(self.principal.get("account") or "")

    @property
    def partition(self) -> str:
        match = re.match(r"arn:(aws[a-z0-9-]*):", self.role.arn if self.role else self.session)
        return match[1] if match else "aws"

    @property
    def is_role_session(self) -> bool:
        return self.type == "AssumedRole" or ":assumed-role/" in self.session

    @property
    def is_real_session(self) -> bool:
        """Whether all that names the session agrees and is what AWS would write; a forged or cut log is not."""
        match = USER_ID.fullmatch(self.user_id)
        told = self.principal.get("session_name")
        return bool(
            match
            and told in (None, match[1])
            and (":assumed-role/" not in self.session or self.session.endswith("/" + match[1]))
        )


class Kind(NamedTuple):
    """One kind of identity: how it is told, what means there is, why, and what a person does."""

    name: str
    is_it: Callable[[Identity], bool]
    means: Means
    why: str
    steps: Callable[[Identity], tuple[str, ...]]


def kind_of(identity: Identity) -> Kind:
    """The identity's row of the table."""
    return next(kind for kind in KINDS if kind.is_it(identity))


# --- what a person does


def _always(*steps: str) -> Callable[[Identity], tuple[str, ...]]:
    return lambda _identity: steps


def _user_steps(identity: Identity) -> tuple[str, ...]:
    """Turn every key off that was seen, and end the tokens that were made with it."""
    user = identity.session.rsplit("/", 1)[-1]
    keys = [key for key in identity.principal.get("access_key_ids") or () if ACCESS_KEY.fullmatch(str(key))]
    named = USER_NAME.fullmatch(user) and not user.startswith("-")
    off = [
        shlex.join(
            ["aws", "iam", "update-access-key", "--user-name", user, "--access-key-id", key, "--status", "Inactive"]
        )
        for key in keys
        if named and key.startswith("AKIA")
    ]
    return (
        *(f"Turn the access key off: {command}" for command in off),
        *(() if off else (f"Turn the access keys of {printable(identity.session, 200)} off in IAM.",)),
        "Attach a deny-all policy to the user for 36 hours: tokens made with the key outlive it.",
        "Look for roles the user assumed in the meantime: those sessions live on and are revoked one by one.",
    )


def _log_steps(identity: Identity) -> tuple[str, ...]:
    role = identity.session.partition(":assumed-role/")[2].split("/")[0]
    read = shlex.join(["aws", "iam", "get-role", f"--role-name={role}", "--query", "Role.[Arn,RoleId]"])
    return (
        *((f"Find the role's id: {read}",) if USER_NAME.fullmatch(role) else ()),
        "Find the session in CloudTrail (userIdentity.principalId) and plan from a finding of that log.",
        "Or deny aws:userid `<role id>:<session name>` on the role by hand.",
    )


def _bucket_steps(identity: Identity) -> tuple[str, ...]:
    who = f" with a condition on aws:userid {identity.user_id}" if identity.is_real_session else ""
    return (
        f"Deny it in the bucket's policy{who}; keep the old policy's text to take it back.",
        f"Tell the owner of account {printable(identity.account, 40)}: only they can end the session itself.",
    )


KINDS = (
    Kind(
        "anonymous",
        lambda i: i.type == "anonymous" or i.session.startswith("anonymous"),
        "none",
        "the requests were made without credentials: there is no session to revoke",
        _always("Turn Block Public Access on for the bucket, or take the public grant out of its policy and ACLs."),
    ),
    Kind(
        "AWS service",
        lambda i: i.type == "AWSService" or i.session.startswith("service:"),
        "none",
        "an AWS service acted for itself: it has no session to revoke",
        _always(
            "Find the configuration that makes the service read (replication, inventory, batch jobs) and change it."
        ),
    ),
    Kind(
        "root",
        lambda i: i.type == "Root",
        "none",
        "the permissions of an account's root user cannot be changed by IAM",
        _always(
            "Change the root user's password, delete its access keys and check its MFA devices, now.",
            "In an organisation, deny the account by a service control policy meanwhile.",
        ),
    ),
    Kind(
        "IAM user",
        lambda i: i.type == "IAMUser",
        "none",
        "an IAM user has long-term keys, not a role session: keys are turned off by a person",
        _user_steps,
    ),
    Kind(
        "federated user",
        lambda i: i.type == "FederatedUser",
        "none",
        "a federated user's session has the permissions of the IAM user who made it, not of a role",
        _always(
            "Put a deny with aws:TokenIssueTime on the IAM user that made the session (it hits all sessions it made),"
            " or deny the session's ARN in the bucket's policy."
        ),
    ),
    Kind(
        "no single session",
        lambda i: not i.session,
        "none",
        "the finding names no single session",
        _always(
            "Find the sessions in the finding's evidence, then plan from a finding of one session, or run"
            " `bucketwatch investigate` for the group and decide for each."
        ),
    ),
    Kind(
        "access log only",
        lambda i: i.is_role_session and not i.user_id,
        "none",
        "the record has no principal id (S3 access logs never do), and a session is denied by that id only",
        _log_steps,
    ),
    Kind(
        "foreign role",
        lambda i: i.type == "AWSAccount" or (i.is_role_session and i.account not in i.accounts),
        "none",
        "the role is in an account where bucketwatch may not write to IAM (response.accounts)",
        _bucket_steps,
    ),
    Kind(
        "service-linked role",
        lambda i: i.role is not None and i.role.path.startswith("/aws-service-role/"),
        "none",
        "a service-linked role cannot be changed (IAM answers UnmodifiableEntity)",
        _always("Stop it in the service that owns the role, or deny aws:userid in the bucket's policy."),
    ),
    Kind(
        "Identity Center role",
        lambda i: i.role is not None and _is_sso(i.role),
        "none",
        "an AWSReservedSSO role belongs to IAM Identity Center and cannot be changed in IAM",
        _always(
            "Revoke the person's session in IAM Identity Center and disable the user.",
            "Deny identitystore:userId in the permission set's inline policy, or aws:userid in the bucket's policy.",
        ),
    ),
    Kind(
        "no real session",
        lambda i: i.is_role_session and not i.is_real_session,
        "none",
        "the session's name, id and ARN do not agree or are not what AWS writes: the log may be forged or cut",
        _always("Check the log file's integrity (aws cloudtrail validate-logs) before anything is denied."),
    ),
    Kind(
        "role not named",
        lambda i: i.is_role_session and i.role is None,
        "none",
        "the record does not name the role's own ARN, and a session's ARN leaves the role's path out",
        _log_steps,
    ),
    Kind(
        "role session",
        lambda i: i.type == "AssumedRole",
        "role_session_policy",
        "a session of a role in our own account: a deny on the role, bound to this session, ends what it may do",
        _always(),
    ),
    Kind(
        "unknown",
        lambda _identity: True,
        "none",
        "bucketwatch knows no means against this kind of identity",
        _always("Deny the identity in the bucket's policy, and end its session where it signs in."),
    ),
)


def _is_sso(role: Role) -> bool:
    return role.path.startswith("/aws-reserved/") or role.name.startswith("AWSReservedSSO_")
